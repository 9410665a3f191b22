"""
All that an engine must do: suites that every engine passes in each world it works in.

The module that tests an engine has this line, as tests of Twisted's own reactors do::

    globals().update(engineTests("Portable", PortablePlane))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from twisted.trial.unittest import TestCase

from tests.plane.bytesuite import ByteSuite
from tests.plane.deflatesuite import DeflateSuite
from tests.plane.floodsuite import FloodSuite
from tests.plane.framesuite import FrameSuite
from tests.plane.messagesuite import MessageSuite
from tests.plane.streamsuite import StreamHookSuite
from tests.plane.tlssuite import BetweenOpenSSL12, BetweenOpenSSL13, TLSSuite
from tests.plane.worlds import InMemory, OnSockets, OnTransports, UnderTLS, UnderTLS12
from wsrelay.plane.engine import IPlane

__all__ = ["SUITES", "WORLDS", "engineTests"]

SUITES: Sequence[type[Any]] = (
    ByteSuite,
    StreamHookSuite,
    FrameSuite,
    MessageSuite,
    DeflateSuite,
    FloodSuite,
)
WORLDS: Sequence[type[Any]] = (InMemory, OnSockets, OnTransports, UnderTLS)

# What is about TLS itself; of the rest, TLS 1.2 has what depends most on it, for time's sake.
_TLS: Sequence[tuple[type[Any], type[Any]]] = (
    (TLSSuite, BetweenOpenSSL13),
    (TLSSuite, BetweenOpenSSL12),
    (ByteSuite, UnderTLS12),
    (FrameSuite, UnderTLS12),
)


def engineTests(
    engine: str,
    make: Callable[[Any], IPlane],
    worlds: Sequence[type[Any]] = WORLDS,
    skip: str | None = None,
) -> dict[str, type[TestCase]]:
    """
    A C{TestCase} for each suite in each world, by name; and those of TLS.

    @param make: makes the plane, given a reactor or, in memory, a clock.
    @param skip: why the engine cannot be tested here.
    """
    made: dict[str, type[TestCase]] = {}
    for suite, world in (*product(SUITES, worlds), *_TLS):
        name = f"{engine}{suite.__name__.removesuffix('Suite')}{world.__name__}Tests"
        body: dict[str, Any] = {
            "__doc__": f"{suite.__doc__}\n({engine}, {world.__name__}.)",
            "__module__": f"tests.plane.test_{engine.lower()}",
            "makePlane": lambda self: make(self.clock),
        }
        if skip is not None:
            body["skip"] = skip
        made[name] = type(name, (world, suite, TestCase), body)
    return made

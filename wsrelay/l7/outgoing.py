# -*- test-case-name: tests.l7.test_outgoing -*-
"""
A request as it goes on the wire to a backend.

It is written before anybody is dialled for it, so that a bad one is never dialled for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import frozen

from wsrelay.errors import PluginFault
from wsrelay.l4.plans import Plan
from wsrelay.rules import Rules
from wsrelay.wire.bodies import BodyKind, Framing
from wsrelay.wire.heads import writeRequest

__all__ = ["Outgoing", "isPersonal", "options", "written"]


@frozen
class Outgoing:
    """
    What is sent.

    @ivar head: the whole head, as it goes on the wire.
    @ivar isUpgrade: whether a 101 may come back.
    @ivar hasBody: whether a body follows.
    @ivar isPersonal: whether a connection that it was sent on belongs to its client from then on.
    @ivar rules: those of the route, for the C{Host} of the backend that was dialled.
    """

    method: str
    head: bytes
    isUpgrade: bool = False
    hasBody: bool = False
    rules: Rules | None = None
    isPersonal: bool = False


# What a backend is told about its connection: whether it may stay, and trailers are taken.
_OPTIONS: Mapping[tuple[bool, bool], tuple[tuple[bytes, bytes], ...]] = {
    (True, False): (),
    (False, False): ((b"Connection", b"close"),),
    (True, True): ((b"TE", b"trailers"), (b"Connection", b"TE")),
    (False, True): ((b"TE", b"trailers"), (b"Connection", b"TE, close")),
}


# Schemes that log in a connection, not a request (RFC 4559 section 6): whoever comes next on it
# would be taken for the one who came before.
_LOGIN = re.compile(rb"(?:^|[,:\n])[ \t]*(?:ntlm|negotiate)\b", re.IGNORECASE)


def isPersonal(said: bytes) -> bool:
    """
    Whether a head, or a value of C{WWW-Authenticate}, speaks of a login that belongs to its
    connection.
    """
    return _LOGIN.search(said) is not None


def options(mayStay: bool, takesTrailers: bool) -> tuple[tuple[bytes, bytes], ...]:
    """The fields that say so."""
    return _OPTIONS[mayStay, takesTrailers]


def written(
    plan: Plan,
    method: str,
    target: str,
    isUpgrade: bool,
    framing: Framing,
    fields: list[tuple[bytes, bytes]],
) -> Outgoing:
    """
    A request with these fields, ready to be sent.

    @raise PluginFault: a filter has edited it in a way that must not go on the wire.
    """
    try:
        head = writeRequest(method, target, fields, isChecked=not plan.requestFilters)
    except ValueError as error:
        raise PluginFault("filter", f"edited the request: {error}") from error
    hasBody = framing.kind is not BodyKind.NONE
    personal = b"\nauthorization:" in head.lower() and isPersonal(head)
    return Outgoing(method, head, isUpgrade, hasBody, plan.forward.rules, personal)

# -*- test-case-name: tests.l4.test_sniff -*-
"""
Reads the TLS ClientHello of a leg and hands everything on untouched.

It is the only thing that layer 4 ever reads: what a peer says before encryption starts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure

from wsrelay.errors import BadRequest, ClientFault, RequestTimeout
from wsrelay.plane.legs import Leg
from wsrelay.wire.clienthello import ClientHello, HelloReader

__all__ = ["Sniffer"]


class Sniffer:
    """Receives from a leg until the ClientHello is complete; then the leg holds all of it."""

    def __init__(
        self,
        clock: Any,
        leg: Leg,
        timeout: float,
        read: Callable[[ClientHello], None],
        failed: Callable[[ClientFault], None],
    ) -> None:
        """
        @param timeout: seconds for the whole ClientHello.
        @param read: called once with what it said; the leg holds still then.
        @param failed: called once instead: no TLS, malformed, too late, or gone.
        """
        self._leg = leg
        self._read = read
        self._failed = failed
        self._reader = HelloReader()
        self._timer = clock.callLater(timeout, self._late)
        leg.hand(self)

    def received(self, data: bytes) -> None:
        """More of it."""
        try:
            hello = self._reader.feed(data)
        except BadRequest as error:
            self._give(error)
            return
        if hello is not None:
            self._timer.cancel()
            self._leg.hold(self._reader.data)
            self._read(hello)

    def finished(self) -> None:
        """The client ended its stream before it had said enough."""
        self._give(BadRequest("closed before its ClientHello was complete"))

    def lost(self, reason: Failure) -> None:
        """The client left."""
        self._give(BadRequest("left before its ClientHello was complete"))

    def _late(self) -> None:
        self._give(RequestTimeout("the ClientHello did not arrive in time"))

    def _give(self, error: ClientFault) -> None:
        if self._timer.active():
            self._timer.cancel()
        self._leg.hold()
        self._failed(error)

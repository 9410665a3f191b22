# -*- test-case-name: tests.l7.test_refusals -*-
"""
What a client hears that is not admitted (L{wsrelay.l4.limits}).

A small complete answer, before anything was read. A few of those who get one have a moment to
read it: to close while a request is on its way would have our kernel reset the connection, and
the client may never see why. In a flood the others are closed at once, and where TLS has
not even begun there is nothing to be said at all.
"""

from __future__ import annotations

from typing import Any

from twisted.python.failure import Failure

from wsrelay.l4.limits import Refusal
from wsrelay.l7.linger import Linger
from wsrelay.l7.pages import phrase
from wsrelay.plane.legs import Leg
from wsrelay.wire.heads import writeResponse

__all__ = ["Refusals"]

# So many have a moment at the same time: a small part of the reserve.
_MOST_WAITING = 4
# What was written is small, and on its way at once. Seconds.
_PATIENCE = 1.0


class Refusals:
    """
    Answers those who are not admitted.

    @ivar waiting: how many of them have not left.
    """

    def __init__(self, clock: Any) -> None:
        """@param clock: an L{IReactorTime} provider."""
        self.waiting = 0
        self._clock = clock

    def answer(self, leg: Leg, refusal: Refusal) -> None:
        """Say so, and close."""
        if leg.isTLS:
            leg.abort()
            return
        leg.write(_answer(refusal))
        if self.waiting >= _MOST_WAITING:
            leg.close()
        else:
            self.waiting += 1
            leg.hand(_Leaving(self, leg, self._clock))


class _Leaving:
    """One that has a moment; the receiver of its leg."""

    def __init__(self, refusals: Refusals, leg: Leg, clock: Any) -> None:
        self._refusals = refusals
        self._linger = Linger(clock, leg, _PATIENCE)
        self.received = self._linger.received
        self._linger.wait()

    def finished(self) -> None:
        """The client has ended its side; the leg closes by itself."""

    def lost(self, reason: Failure) -> None:
        """It has left."""
        self._linger.lost()
        self._refusals.waiting -= 1


def _answer(refusal: Refusal) -> bytes:
    body = f"{refusal.status} {phrase(refusal.status)}\n".encode()
    fields = (
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", b"%d" % len(body)),
        (b"Retry-After", b"%d" % refusal.retryAfter),
        (b"Connection", b"close"),
    )
    return writeResponse(refusal.status, phrase(refusal.status), fields, True) + body

# -*- test-case-name: tests.l7.test_errand -*-
"""
An I{errand}: one request to a pool, and its answer.

It picks a backend, takes a connection that waits there or dials, and has the answer told to
whoever sent it. A connection that waited may have been closed by the backend at the very moment
when it was taken: then the request is sent once more, on a new connection, where that is safe.

It knows neither client nor filters, so a cache can send one too.
"""

from __future__ import annotations

from typing import Any, Protocol as TypingProtocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from wsrelay.backends.backend import Backend
from wsrelay.backends.pool import Dialled, Pool
from wsrelay.errors import BackendFault
from wsrelay.l7.origin import Hearer, Origin
from wsrelay.l7.outgoing import Outgoing
from wsrelay.l7.trailers import Trailers
from wsrelay.model import Inbound, RouteSettings
from wsrelay.plane.legs import Leg

__all__ = ["Errand", "Sender"]

# Asked twice, they do what they do when asked once (RFC 9110 section 9.2.2): those alone are
# sent again when it is not known whether they arrived.
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})

# The others must not meet a connection that is just being closed. Servers close after some
# seconds at the earliest, so one that has been used within this time is there. Seconds.
_SURE = 1.0


class Sender(Hearer, TypingProtocol):
    """Who sends an errand, and hears of its answer."""

    def dialled(self, backend: Backend, leg: Leg) -> None:
        """There is a connection; the request is about to be sent, perhaps once more."""

    def sent(self) -> None:
        """The head was; now the body may follow."""

    def unreachable(self, failure: Failure) -> None:
        """There is none."""


class Errand:
    """
    One errand, see the module.

    @ivar origin: the connection that it is on; C{None} before there is one.
    """

    __slots__ = (
        "_clock",
        "_dial",
        "_inbound",
        "_isReused",
        "_outgoing",
        "_pool",
        "_sender",
        "_settings",
        "origin",
    )

    def __init__(
        self,
        pool: Pool,
        inbound: Inbound,
        settings: RouteSettings,
        outgoing: Outgoing,
        sender: Sender,
        clock: Any,
    ) -> None:
        """@param inbound: for whom; balancers ask."""
        self._pool = pool
        self._inbound = inbound
        self._settings = settings
        self._outgoing = outgoing
        self._sender: Any = sender
        self._clock = clock
        self._dial: Deferred[Any] | None = None
        self._isReused = False
        self.origin: Any = None

    # -- for the sender

    def begin(self) -> None:
        """Find a connection and send the head."""
        pool, backend = self._pool, None
        outgoing = self._outgoing
        isShared = not (outgoing.isUpgrade or outgoing.isPersonal)
        if pool.keepsAlive and pool.backends and isShared:
            backend = pool.choose(pool.backends, self._inbound)
            isIdempotent = outgoing.method in _IDEMPOTENT
            origin = pool.take(backend, None if isIdempotent else _SURE)
            if origin is not None:
                self._isReused = True
                self._send(origin)
                return
        self._connect(backend)

    def feed(self, source: Any) -> None:
        """The request's body comes from C{source}, which is paused while nobody reads it."""
        self.origin.feed(source)

    def send(self, data: bytes) -> None:
        """Some of the request's body, framed."""
        self.origin.send(data)

    def fed(self) -> None:
        """The request's body is complete."""
        self.origin.fed()

    def readBody(self) -> None:
        """The response's head was dealt with: read on."""
        self.origin.readBody()

    def give(self) -> Leg:
        """The leg, holding still, after a 101."""
        self._sender = None
        leg: Leg = self.origin.give()
        return leg

    @property
    def producer(self) -> Any:
        """Pauses the response's body."""
        return self.origin

    @property
    def trailers(self) -> Trailers:
        """Behind the response's body, once it is complete."""
        return () if self.origin is None else self.origin.trailers

    @property
    def isFull(self) -> bool:
        """Whether the backend does not read what it is sent."""
        return self.origin is not None and self.origin.isFull

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        self._sender = None
        # A dial that came to its end at once is still known here.
        if self.origin is not None:
            self.origin.cancel()
        elif self._dial is not None:
            self._dial.cancel()

    # -- finding a connection

    def _connect(self, first: Backend | None) -> None:
        dial = self._pool.connect(self._inbound, self._settings.connectTimeout, first)
        self._dial = dial.addCallbacks(self._connected, self._unreachable)
        dial.addErrback(self._failed)

    def _connected(self, dialled: Dialled) -> None:
        self._dial = None
        if self._sender is None:
            dialled.leg.abort()
            return
        self._send(Origin(self._pool, dialled, self._clock, self._settings.closeTimeout))

    def _unreachable(self, failure: Failure) -> None:
        self._dial = None
        if self._sender is not None:
            self._sender.unreachable(failure)
        elif not failure.check(CancelledError):
            failure.trap(BackendFault)

    def _failed(self, failure: Failure) -> None:
        """Something of ours raised: let it be told like any other end."""
        sender, self._sender = self._sender, None
        if self.origin is not None:
            self.origin.cancel()
        if sender is not None:
            sender.unreachable(failure)

    def _send(self, origin: Origin) -> None:
        self.origin = origin
        self._sender.dialled(origin.backend, origin.leg)
        if self._sender is None:
            # It has thought better of it.
            origin.leg.abort()
            return
        outgoing = self._outgoing
        head = outgoing.head
        if outgoing.rules is not None:
            head = outgoing.rules.headFor(head, origin.backend.destination.authority)
        origin.begin(
            head,
            outgoing.method,
            outgoing.isUpgrade,
            self._sender,
            self._broken,
            not outgoing.isPersonal,
        )
        if self._sender is not None:
            self._sender.sent()

    def _broken(self, error: BackendFault) -> None:
        """The connection that it was on has failed."""
        sender, origin = self._sender, self.origin
        if sender is None:
            return
        if self._isReused and not origin.hasHeard and self._isRepeatable:
            self._isReused = False
            self.origin = None
            self._connect(origin.backend)
        else:
            sender.failed(error)

    @property
    def _isRepeatable(self) -> bool:
        return not self._outgoing.hasBody and self._outgoing.method in _IDEMPOTENT

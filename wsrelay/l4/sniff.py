# -*- test-case-name: tests.l4.test_sniff -*-
"""
What must be known of a client before a tunnel can be decided about.

A L{Sniffer} reads what a peer says before encryption starts, the TLS ClientHello, and hands
everything on untouched: it is the only thing that layer 4 ever reads. A L{Shake} waits for
the TLS handshake, where TLS ends at the listener.

Both have a deadline. Neither decides anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.errors import BadRequest, ClientFault, RequestTimeout
from wsrelay.model import Address
from wsrelay.plane.legs import Leg
from wsrelay.tls.facts import NO_TLS, tlsFacts
from wsrelay.wire.clienthello import ClientHello, HelloReader
from wsrelay.wire.proxyproto import Proxied

__all__ = ["Arrival", "Patience", "Shake", "Sniffer"]


_NOT_PROXIED = Proxied()


@implementer(IHandshakeListener)
class Arrival(Leg):
    """
    The leg of a client.

    @ivar hasShaken: whether the TLS handshake is complete, where TLS ends here.
    @ivar shaken: called when it is.
    @ivar facts: what the handshake has settled.
    @ivar proxied: what a balancer in front said about the client.
    """

    __slots__ = ("facts", "hasShaken", "proxied", "shaken")

    def __init__(self, made: Callable[[Any], None] | None = None) -> None:
        """@param made: called once, when the connection is there."""
        super().__init__(made)
        self.hasShaken = False
        self.shaken: Callable[[], None] | None = None
        self.facts = NO_TLS
        self.proxied = _NOT_PROXIED

    @property
    def peer(self) -> Address:
        """Where the client is."""
        return self.proxied.source or super().peer

    @property
    def local(self) -> Address:
        """Where the client arrived."""
        return self.proxied.destination or super().local

    def handshakeCompleted(self) -> None:
        """Encryption has started."""
        self.hasShaken = True
        if self.isTLS:
            self.facts = tlsFacts(self.transport)
        if self.shaken is not None:
            self.shaken()

    def whenGone(self, call: Callable[[], None]) -> None:
        """Call C{call} at the end of the connection, after those who were called for before."""
        before = self._gone

        def gone() -> None:
            if before is not None:
                before()
            call()

        self._gone = gone

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client is gone."""
        self.shaken = None
        super().connectionLost(reason)


class Patience:
    """
    In charge of a leg for a while; then the leg holds still, and one of two is called.

    What comes is the business of a subclass, which has C{received} and calls L{let} at its
    end, or L{give} with what is wrong.
    """

    def __init__(
        self,
        clock: Any,
        leg: Leg,
        timeout: float,
        what: str,
        failed: Callable[[ClientFault], None],
    ) -> None:
        """
        @param timeout: seconds for all of it.
        @param what: what is waited for, for the log.
        @param failed: called once if it does not come: too late, or the client is gone.
        """
        self._leg = leg
        self._what = what
        self._failed = failed
        self._timer = clock.callLater(timeout, self._late)

    def received(self, data: bytes) -> None:
        """Bytes came."""
        raise NotImplementedError

    def finished(self) -> None:
        """The client ended its stream before it had said enough."""
        self.give(BadRequest(f"closed before its {self._what} was complete"))

    def lost(self, reason: Failure) -> None:
        """The client left."""
        self.give(BadRequest(f"left before its {self._what} was complete"))

    def _late(self) -> None:
        self.give(RequestTimeout(f"the {self._what} was not complete in time"))

    def give(self, error: ClientFault) -> None:
        """It will not come."""
        self.let()
        self._failed(error)

    def let(self, rest: bytes = b"") -> None:
        """Have the leg hold still, C{rest} for the next in charge."""
        if self._timer.active():
            self._timer.cancel()
        self._leg.hold(rest)


class Sniffer(Patience):
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
        super().__init__(clock, leg, timeout, "ClientHello", failed)
        self._read = read
        self._reader = HelloReader()
        leg.hand(self)

    def received(self, data: bytes) -> None:
        """More of it."""
        try:
            hello = self._reader.feed(data)
        except BadRequest as error:
            self.give(error)
            return
        if hello is not None:
            self.let(self._reader.data)
            self._read(hello)


class Shake(Patience):
    """In charge of a leg until its TLS handshake is complete; what came behind it is held."""

    def __init__(
        self,
        clock: Any,
        leg: Arrival,
        timeout: float,
        done: Callable[[], None],
        failed: Callable[[ClientFault], None],
    ) -> None:
        """
        @param timeout: seconds for the whole handshake.
        @param done: called once when it is complete; the leg holds still then.
        @param failed: called once instead: too late, or gone.
        """
        super().__init__(clock, leg, timeout, "TLS handshake", failed)
        self._done = done
        if leg.hasShaken:
            self._shaken()
            return
        leg.shaken = self._shaken
        leg.hand(self)

    def received(self, data: bytes) -> None:
        """There is nothing to read before the handshake."""
        self._leg.hold(data)

    def _shaken(self) -> None:
        self.let()
        self._done()

    def lost(self, reason: Failure) -> None:
        """The client left, or TLS failed."""
        self.give(BadRequest(f"no TLS handshake: {reason.getErrorMessage()}"))

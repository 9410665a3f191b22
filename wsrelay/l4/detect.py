# -*- test-case-name: tests.l4.test_detect -*-
"""
C{forwarder = "detect"}: one listener for several protocols, told apart by their first bytes.

What a client says first is TLS, HTTP, or B{opaque}: anything else, and silence, since with
many protocols (SMTP, MySQL) the server speaks first. TLS for the names that pass through is a
tunnel that is not touched; other TLS ends here, and what is inside is told apart again. (It all
passes through where the listener has no certificates.) HTTP goes to layer 7, which is handed
in, and all that is opaque through a tunnel.

A handful of bytes decides; none of them is changed or lost. What was decided is never decided
anew, so a request that does not look like one at its beginning is not a request.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from attrs import evolve, frozen
from zope.interface import implementer

from wsrelay.errors import ClientFault
from wsrelay.interfaces import IForwarder
from wsrelay.l4.listener import Listener
from wsrelay.l4.reception import ArrivalFactory, turnAway
from wsrelay.l4.securing import secure
from wsrelay.l4.sniff import Arrival, Patience, Shake, Sniffer
from wsrelay.l4.tunnel import Tunnel
from wsrelay.model import Inbound
from wsrelay.routing.matchers import ServerNameMatcher
from wsrelay.wire.clienthello import ClientHello

__all__ = ["DetectForwarder", "Tongue", "tell"]


class Tongue(enum.Enum):
    """What a client speaks."""

    TLS = "TLS"
    HTTP = "HTTP"
    OPAQUE = "opaque"


# A registered method has at most 17 letters. HTTP would allow more than letters, but so do the
# first words of other protocols: "a1 LOGIN", "SSH-2.0-OpenSSH_9.6 Debian".
_METHOD = re.compile(rb"[A-Z][A-Z-]{0,23}")
# More is never looked at.
_ENOUGH = 32

# What is spoken behind TLS by a name (RFC 7301 section 6), unless the listener says otherwise.
_PROTOCOLS = (b"http/1.1", b"http/1.0")


def tell(start: bytes) -> Tongue | None:
    """
    What a connection that begins like this speaks.

    HTTP is a method, a space, and what a request target begins with: C{/}, C{*} or C{http},
    or anything with C{CONNECT}. So SMTP's C{EHLO example.org} is none.

    @return: C{None} if it is still too short; that is never so for more than 32 bytes.
    """
    if start[:1] == b"\x16":
        # A record with a handshake in it (RFC 8446 section 5.1), of a version 3.x.
        return None if len(start) < 2 else Tongue.TLS if start[1] == 3 else Tongue.OPAQUE
    method, space, target = start[:_ENOUGH].partition(b" ")
    if not _METHOD.fullmatch(method):
        return Tongue.OPAQUE if start else None
    if not space:
        return None
    if method == b"CONNECT":
        return Tongue.HTTP
    scheme = target[:4].lower()
    if target[:1] in (b"/", b"*") or scheme == b"http":
        return Tongue.HTTP
    return None if b"http".startswith(scheme) else Tongue.OPAQUE


class _Ear(Patience):
    """In charge of a leg until it is known what the client speaks; then all of it is held."""

    def __init__(
        self,
        clock: Any,
        leg: Arrival,
        timeout: float,
        told: Callable[[Tongue], None],
        failed: Callable[[ClientFault], None],
    ) -> None:
        """
        @param timeout: seconds after which whatever has come is opaque.
        @param told: called once with what it is; the leg holds still then.
        @param failed: called once instead: gone.
        """
        super().__init__(clock, leg, timeout, "first byte", failed)
        self._told = told
        self._data = b""
        leg.resumeProducing()
        leg.hand(self)

    def received(self, data: bytes) -> None:
        """More of it."""
        self._data += data
        tongue = tell(self._data)
        if tongue is not None:
            self._tell(tongue)

    def finished(self) -> None:
        """The client has said all; where that is nothing, it wanted nothing."""
        if self._data:
            self._tell(Tongue.OPAQUE)
        else:
            super().finished()

    def _late(self) -> None:
        self._tell(Tongue.OPAQUE)

    def _tell(self, tongue: Tongue) -> None:
        self.let(self._data)
        self._told(tongue)


@frozen
class _Settings:
    """What the connections of a listener share."""

    http: Callable[[Any, Any], Any]
    passthrough: ServerNameMatcher
    timeout: float


@implementer(IForwarder)
class DetectForwarder:
    """C{forwarder = "detect"}, see the module."""

    def __init__(
        self,
        http: Callable[[Any, Any], Any],
        passthrough: Iterable[str] = (),
        timeout: float = 2.0,
    ) -> None:
        """
        @param http: called with the listener and a leg that speaks HTTP, in nobody's charge.
        @param passthrough: the server names, exact or C{*.}, whose TLS is not touched.
        @param timeout: seconds of silence after which a client is taken to wait for the server.
        @raise ValueError: one of C{passthrough} is no name.
        """
        names = ServerNameMatcher(tuple(passthrough))
        self._settings = _Settings(http, names, timeout)

    def forwardingFactory(self, listener: Any) -> ArrivalFactory:
        """See L{IForwarder.forwardingFactory}."""

        def arrived(leg: Arrival) -> None:
            _Detection(self._settings, listener, leg)

        return ArrivalFactory(arrived, _PROTOCOLS, endsTLS=True)


class _Detection:
    """One connection, until it is known where it belongs."""

    def __init__(self, settings: _Settings, listener: Listener, leg: Arrival) -> None:
        self._settings = settings
        self._listener = listener
        self._clock = listener.relay.clock
        self._leg = leg
        # Addresses are asked for now: a client that is gone has none.
        self._inbound = listener.inbound(leg)
        if leg.isTLS:
            Shake(self._clock, leg, self._headTimeout, self._shaken, self._turnAway)
        else:
            self._listen(self._outside)

    @property
    def _headTimeout(self) -> float:
        return self._listener.settings.headTimeout

    def _listen(self, told: Callable[[Tongue], None]) -> None:
        _Ear(self._clock, self._leg, self._settings.timeout, told, self._turnAway)

    def _outside(self, tongue: Tongue) -> None:
        if tongue is Tongue.TLS:
            self._leg.resumeProducing()
            Sniffer(self._clock, self._leg, self._headTimeout, self._greeted, self._turnAway)
        else:
            self._inside(tongue)

    def _greeted(self, hello: ClientHello) -> None:
        known = evolve(self._inbound, serverName=hello.serverName, alpn=hello.alpn)
        terminator = self._listener.tls
        if terminator is None or self._settings.passthrough.matches(known):
            self._tunnel(known)
        else:
            # The client hears of what fails from TLS itself, which closes the connection.
            self._inbound = evolve(known, secure=True)
            failed = partial(turnAway, self._listener, self._inbound)
            secure(self._leg, terminator, self._clock, self._headTimeout, self._shaken, failed)

    def _shaken(self) -> None:
        self._inbound = evolve(self._listener.inbound(self._leg), id=self._inbound.id)
        protocols = self._inbound.alpn
        if not protocols:
            self._listen(self._inside)
        else:
            # It was agreed on, so it need not be guessed.
            isHTTP = protocols[0].encode("latin-1") in _PROTOCOLS
            self._inside(Tongue.HTTP if isHTTP else Tongue.OPAQUE)

    def _inside(self, tongue: Tongue) -> None:
        if tongue is Tongue.HTTP:
            self._settings.http(self._listener, self._leg)
        else:
            # TLS in TLS, too: its end is for others to find.
            self._tunnel(self._inbound)

    def _tunnel(self, inbound: Inbound) -> None:
        Tunnel(self._listener, self._leg, inbound).begin()

    def _turnAway(self, error: ClientFault) -> None:
        turnAway(self._listener, self._inbound, error, self._leg)

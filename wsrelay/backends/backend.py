# -*- test-case-name: tests.backends.test_backend -*-
"""
One destination: what its URL says, and how it is dialled.

A L{Destination} is the value in the configuration, a L{Backend} the living thing that
counts its connections. Neither knows whether it is well; that is the pool's business.

Where TLS is spoken, a connection counts as made once the handshake is complete and the
certificate was found good: before that nothing may be sent, and another backend can still be
tried.

A backend may want to hear first of all for whom the relay speaks: the PROXY header is then
written before anything else, TLS included.
"""

from __future__ import annotations

import functools
import re
import socket
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)
from twisted.internet.error import ConnectingCancelledError, TimeoutError
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.interfaces import IBackend
from wsrelay.model import Inbound
from wsrelay.plane.engine import IPlane
from wsrelay.plane.legs import Leg, LegFactory
from wsrelay.tls.backends import BackendTLS
from wsrelay.wire.proxyproto import Proxied, proxiedOf

__all__ = ["Backend", "Destination"]

# scheme: (default port, whether TLS is spoken)
_SCHEMES = {
    "ws": (80, False),
    "http": (80, False),
    "wss": (443, True),
    "https": (443, True),
    "tcp": (0, False),
    "tls": (0, True),
}


@frozen
class Destination:
    """
    What a backend URL says.

    @ivar url: as it was written.
    @ivar scheme: C{ws}, C{wss}, C{http}, C{https}, C{tcp}, C{tls} or C{unix}.
    @ivar host: name (ASCII, lower-case) or IP address; the path for C{unix}.
    @ivar port: 0 for C{unix}.
    @ivar isSecure: whether TLS is spoken to it.
    """

    url: str
    scheme: str
    host: str
    port: int
    isSecure: bool

    @classmethod
    def parse(cls, url: str) -> Destination:
        """
        Read C{ws://host:port}, C{http://}, C{wss://}, C{https://}, C{tcp:host:port},
        C{tls:host:port} or C{unix:/path}.

        @raise ValueError: it is none of these; the message says what would be right.
        """
        scheme, colon, rest = url.partition(":")
        scheme = scheme.lower()
        if scheme == "unix" and colon:
            path = rest[2:] if rest.startswith("//") else rest
            if not path.startswith("/"):
                raise ValueError('expected "unix:" and an absolute path')
            return cls(url, scheme, path, 0, False)
        if scheme not in _SCHEMES or not colon:
            raise ValueError(
                "expected ws://, wss://, http://, https://, tcp:HOST:PORT, tls:HOST:PORT "
                "or unix:/PATH"
            )
        default, isSecure = _SCHEMES[scheme]
        if not (url.isprintable() and " " not in url):
            raise ValueError("white space and control characters do not belong into a URL")
        try:
            parsed = urlsplit(url if rest.startswith("//") else f"{scheme}://{rest}")
            host = _asciiHost(parsed.hostname or "")
        except ValueError as error:
            raise ValueError("the host is neither a name nor an IP address") from error
        if parsed.path not in ("", "/") or parsed.query or parsed.fragment:
            raise ValueError(
                "a backend is a host and a port; the path comes from the client's request"
            )
        if parsed.username is not None or parsed.password is not None:
            raise ValueError("user names and passwords do not belong into a backend's URL")
        try:
            port = parsed.port
        except ValueError as error:
            raise ValueError("the port must be a number from 1 to 65535") from error
        if port == 0:
            raise ValueError("the port must be a number from 1 to 65535")
        if not host or not (port or default):
            form = f"{scheme}://HOST:PORT" if default else f"{scheme}:HOST:PORT"
            raise ValueError(f"expected a host and a port, as in {form}")
        return cls(url, scheme, host, port or default, isSecure)

    @property
    def authority(self) -> str:
        """What a C{Host} header would say, where the client sent none."""
        if self.scheme == "unix":
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _SCHEMES[self.scheme][0] else f"{host}:{self.port}"

    def endpoint(self, reactor: Any, plane: IPlane | None = None) -> IStreamClientEndpoint:
        """
        The endpoint that dials it, still without TLS. It has no deadline of its own.

        @param plane: dials what is plain and has an address, if it can.
        """
        family = self._family()
        plain: Any = None
        if plane is not None and family is not None and not self.isSecure:
            plain = plane.endpoint(family, self.host, self.port)
        if plain is None:
            plain = _ENDPOINTS[family](reactor, self.host, self.port)
        return plain  # type: ignore[no-any-return]  # all of them provide it

    def _family(self) -> int | None:
        """What the socket would be of; C{None} where there is only a name."""
        if self.scheme == "unix":
            return socket.AF_UNIX
        if isIPv6Address(self.host):
            return socket.AF_INET6
        return socket.AF_INET if isIPAddress(self.host) else None


# Documented for reactor.connectTCP, but the endpoints say float.
_NEVER: Any = None
_ENDPOINTS: dict[int | None, Callable[[Any, str, int], Any]] = {
    socket.AF_UNIX: lambda reactor, path, _: UNIXClientEndpoint(reactor, path, _NEVER),
    socket.AF_INET6: lambda reactor, host, port: TCP6ClientEndpoint(reactor, host, port, _NEVER),
    socket.AF_INET: lambda reactor, host, port: TCP4ClientEndpoint(reactor, host, port, _NEVER),
    None: lambda reactor, host, port: HostnameEndpoint(reactor, host, port, _NEVER),
}

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?")


def _asciiHost(host: str) -> str:
    """
    A host as DNS, TLS and a C{Host} field want it.

    @raise ValueError: it is none.
    """
    if isIPv6Address(host):
        return host
    host = host.encode("idna").decode("ascii").lower()
    # All digits and dots, but no IPv4 address: inet_aton would make one of it.
    isNumber = host.replace(".", "").isdigit() and not isIPAddress(host)
    if host and (isNumber or not _NAME.fullmatch(host)):
        raise ValueError("not a host")
    return host


@implementer(IHandshakeListener)
class _SecureLeg(Leg):
    """
    A leg whose TLS handshake is heard of.

    @ivar shaken: fires with the leg, holding still, after the handshake; fails with why there
        was none. Cancelling it aborts the connection.
    """

    def __init__(self, gone: Callable[[], None]) -> None:
        # The handshake is done with what is read, so it does not hold still yet.
        super().__init__(lambda leg: None, gone)
        self.shaken: Deferred[Leg] = Deferred(lambda _: self.abort())

    def handshakeCompleted(self) -> None:
        """The backend is who it should be."""
        self.pauseProducing()
        self.shaken.callback(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone, perhaps for want of a handshake."""
        super().connectionLost(reason)
        if not self.shaken.called:
            self.shaken.errback(reason)


class _AnnouncedTLS(BufferingTLSTransport):
    """TLS behind a PROXY header."""

    def __init__(self, header: bytes, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._header = header

    def makeConnection(self, transport: Any) -> None:
        """The header goes first, then the handshake begins."""
        transport.write(self._header)
        super().makeConnection(transport)  # type: ignore[no-untyped-call]  # Twisted's is not


def _announce(header: bytes, leg: Leg) -> None:
    leg.write(header)
    leg.pauseProducing()


@implementer(IBackend)
class Backend:
    """
    A destination that counts.

    @ivar name: its URL.
    @ivar weight: how much it takes, compared with others.
    @ivar active: connections that are open or being opened.
    @ivar isPersonal: whether a connection to it speaks for one client, whom it names in a
        PROXY header, and so must not serve another.
    """

    def __init__(
        self,
        destination: Destination,
        reactor: Any,
        tls: BackendTLS,
        weight: int = 1,
        *,
        clock: Any = None,
        plane: IPlane | None = None,
        announce: Callable[[Proxied], bytes] | None = None,
    ) -> None:
        """
        @param clock: times the dials; the reactor if none is given.
        @param plane: see L{Destination.endpoint}.
        @param announce: writes the header that each connection begins with; C{None} is none.
        """
        self.destination = destination
        self.name = destination.url
        self.weight = weight
        self.active = 0
        self.isPersonal = announce is not None
        self._announce = announce
        self._reactor = reactor
        self._clock = clock or reactor
        self._tls = tls
        self._plane = plane
        self._factory = LegFactory(self._leg)
        # One object for all legs.
        self._oneLess = self._gone

    def __repr__(self) -> str:
        return f"<Backend {self.name} active={self.active}>"

    @functools.cached_property
    def _endpoint(self) -> IStreamClientEndpoint:
        return self.destination.endpoint(self._reactor, self._plane)

    @functools.cached_property
    def _creator(self) -> IOpenSSLClientConnectionCreator:
        return self._tls.connectionCreator(self.destination.host)

    def _leg(self) -> Leg:
        return _SecureLeg(self._oneLess) if self.destination.isSecure else Leg(gone=self._oneLess)

    def connect(self, timeout: float, inbound: Inbound | None = None) -> Deferred[Leg]:
        """
        Dial.

        @param timeout: seconds for everything: the name to be looked up, the connection to be
            there and, for TLS, the handshake to be complete.
        @param inbound: the client that it is for, if the backend wants to hear of it; C{None}
            is a connection of the relay's own.
        @return: fires with a leg that holds still. Fails with C{TimeoutError}, with
            L{UntrustedPeer<wsrelay.tls.backends.UntrustedPeer>}, or as the endpoint does.
            Cancelling it gives up, and fails with C{CancelledError}.
        """
        self.active += 1
        dial: Deferred[Any] = self._endpoint.connect(self._protocols(inbound))
        dial.addErrback(self._unconnected)
        if self.destination.isSecure:
            dial.addCallback(lambda tls: tls.wrappedProtocol.shaken)
        return dial.addBoth(_Deadline(self._clock, timeout, dial).over)

    def _protocols(self, inbound: Inbound | None) -> IProtocolFactory:
        """What makes the protocol of one connection: a leg, perhaps in TLS."""
        header = None if self._announce is None else self._announce(proxiedOf(inbound))
        if self.destination.isSecure:
            factory = TLSMemoryBIOFactory(self._creator, True, self._factory)
            if header is not None:
                factory.protocol = partial(_AnnouncedTLS, header)  # type: ignore[assignment]  # it is only called
            return factory
        if header is not None:
            return LegFactory(partial(Leg, partial(_announce, header), self._oneLess))
        return self._factory

    def _gone(self) -> None:
        self.active -= 1

    def _unconnected(self, failure: Failure) -> Failure:
        # There is no leg, so none will be gone.
        self.active -= 1
        return failure


class _Deadline:
    """Cancels a dial that takes too long, and says so."""

    __slots__ = ("_dial", "_isLate", "_timer")

    def __init__(self, clock: Any, timeout: float, dial: Deferred[Any]) -> None:
        self._dial = dial
        self._isLate = False
        self._timer = clock.callLater(timeout, self._late)

    def _late(self) -> None:
        self._isLate = True
        self._dial.cancel()

    def over(self, result: Any) -> Any:
        """The dial has come to its end, this or that way."""
        if self._timer.active():
            self._timer.cancel()
        if not isinstance(result, Failure):
            return result
        if self._isLate:
            return Failure(TimeoutError())
        # Endpoints have an error of their own for what Deferreds call CancelledError.
        return Failure(CancelledError()) if result.check(ConnectingCancelledError) else result

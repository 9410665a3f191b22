# -*- test-case-name: tests.backends.test_backend -*-
"""
One destination: what its URL says, and how it is dialled.

A L{Destination} is the value in the configuration, a L{Backend} the living thing that
counts its connections. Neither knows whether it is well; that is the pool's business.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from zope.interface import implementer

from wsrelay.interfaces import IBackend
from wsrelay.plane.legs import Leg
from wsrelay.tls import BackendTLS

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
    @ivar host: name or IP address; the path for C{unix}.
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
        parsed = urlsplit(url if rest.startswith("//") else f"{scheme}://{rest}")
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
        if not parsed.hostname or not (port or default):
            raise ValueError(f"expected a host and a port, as in {scheme}:HOST:PORT")
        return cls(url, scheme, parsed.hostname, port or default, isSecure)

    @property
    def authority(self) -> str:
        """What a C{Host} header would say, where the client sent none."""
        if self.scheme == "unix":
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _SCHEMES[self.scheme][0] else f"{host}:{self.port}"

    def endpoint(self, reactor: Any, timeout: float, tls: BackendTLS) -> IStreamClientEndpoint:
        """The endpoint that dials it, within C{timeout} seconds."""
        plain: Any
        if self.scheme == "unix":
            return UNIXClientEndpoint(reactor, self.host, timeout)
        if ":" in self.host:
            plain = TCP6ClientEndpoint(reactor, self.host, self.port, timeout)
        elif self.host.replace(".", "").isdigit():
            plain = TCP4ClientEndpoint(reactor, self.host, self.port, timeout)
        else:
            plain = HostnameEndpoint(reactor, self.host, self.port, timeout)
        if self.isSecure:
            return wrapClientTLS(tls.connectionCreator(self.host), plain)
        return plain  # type: ignore[no-any-return]  # all three provide it


class _LegFactory(Factory):
    """Makes the one leg of a dial; a class of its own because C{noisy} is per class."""

    noisy = False

    def __init__(self, leg: Leg) -> None:
        self._leg = leg

    def buildProtocol(self, addr: Any) -> Leg:
        return self._leg


@implementer(IBackend)
class Backend:
    """
    A destination that counts.

    @ivar name: its URL.
    @ivar weight: how much it takes, compared with others.
    @ivar active: connections that are open or being opened.
    """

    def __init__(
        self, destination: Destination, reactor: Any, tls: BackendTLS, weight: int = 1
    ) -> None:
        self.destination = destination
        self.name = destination.url
        self.weight = weight
        self.active = 0
        self._reactor = reactor
        self._tls = tls
        self._endpoints: dict[float, IStreamClientEndpoint] = {}

    def __repr__(self) -> str:
        return f"<Backend {self.name} active={self.active}>"

    def connect(self, timeout: float) -> Deferred[Leg]:
        """
        Dial.

        @param timeout: seconds, until the connection is there; for TLS the handshake goes on
            with the first bytes.
        @return: fires with a leg that holds still; fails as the endpoint does.
        """
        endpoint = self._endpoints.get(timeout)
        if endpoint is None:
            endpoint = self.destination.endpoint(self._reactor, timeout, self._tls)
            self._endpoints[timeout] = endpoint
        self.active += 1
        connecting = endpoint.connect(_LegFactory(Leg(gone=self._gone)))
        connecting.addErrback(self._failed)
        return connecting  # type: ignore[no-any-return]  # endpoints are not typed

    def _gone(self) -> None:
        self.active -= 1

    def _failed(self, failure: Any) -> Any:
        self.active -= 1
        return failure

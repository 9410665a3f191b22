# -*- test-case-name: tests.plane.test_transports -*-
"""
Sockets that the native engine serves from the beginning: accepted or dialled in C.

To Twisted's factories and protocols they are what its own transports and endpoints are, at a
fraction of the price: no reactor call for each socket, no C{Connector}, no C{Deferred} but the
one that a dial fires, and nothing to take apart when a link adopts the connection.

Only for plain TCP and UNIX sockets, and only for protocols that have a half-close: legs.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.error import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    getConnectError,
)
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolFactory,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.model import Address
from wsrelay.plane import _native
from wsrelay.plane.legs import LegFactory

__all__ = ["NativeEndpoint", "NativePort", "NativeTransport", "endOf", "isPlain"]

_log = Logger()

_DONE = Failure(ConnectionDone())
_ABORTED = Failure(ConnectionAborted())


def endOf(error: int) -> Failure:
    """Why a connection ended: an C{errno}, or 0 for a clean end."""
    if error == 0:
        return _DONE
    if error == errno.ECONNABORTED:
        return _ABORTED
    return Failure(ConnectionLost(os.strerror(error)))


@implementer(ITCPTransport)
class NativeTransport(_native.Transport):
    """
    One connection. What is called for each of them is in C; here is the rest.

    @ivar protocol: who hears of it.
    """

    __slots__ = ()

    @property
    def connected(self) -> bool:
        """Whether there is still a connection, and it is ours."""
        return self.fileno() >= 0

    # -- what the extension calls

    def dialled(self, error: int) -> None:
        """A dial has come to its end; the protocol is not there yet, but its dial is."""
        self.protocol.dialled(error)

    def lost(self, error: int) -> None:
        """The end, see L{endOf}."""
        self.connectionLost(endOf(error))

    def failed(self, error: BaseException) -> None:
        """The protocol raised; the connection is cut."""
        _log.failure("{protocol!r} failed", Failure(error), protocol=self.protocol)

    def connectionLost(self, reason: Failure) -> None:
        """Tell the protocol, once."""
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(reason)

    # -- facts

    @property
    def peer(self) -> Address:
        """Where the other end is."""
        return _addressOf(self._peer)

    @property
    def local(self) -> Address:
        """Where this end is."""
        return _addressOf(self.sockname())

    def getPeer(self) -> Any:
        """Where the other end is."""
        return _twisted(self._peer)

    def getHost(self) -> Any:
        """Where this end is."""
        return _twisted(self.sockname())

    def getHandle(self) -> socket.socket:
        """A socket object, of a descriptor of its own."""
        return socket.socket(fileno=os.dup(self.fileno()))

    def getTcpNoDelay(self) -> bool:
        """Always: what is relayed was put together by others."""
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """It stays as it is."""

    def getTcpKeepAlive(self) -> bool:
        """Whether the kernel probes an idle peer."""
        with self.getHandle() as handle:
            return bool(handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Have the kernel probe an idle peer."""
        with self.getHandle() as handle:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)

    def writeSequence(self, data: Any) -> None:
        """Send all of it."""
        self.write(b"".join(data))


def _addressOf(name: tuple[str, int] | str | None) -> Address:
    if isinstance(name, tuple):
        return Address(*name)
    return Address(f"unix:{name or ''}")


def _twisted(name: tuple[str, int] | str | None) -> IAddress:
    if not isinstance(name, tuple):
        return UNIXAddress(os.fsencode(name) if name else None)
    make = IPv6Address if ":" in name[0] else IPv4Address
    return make("TCP", *name)


class _Dial:
    """In the place of the protocol until there is a connection."""

    __slots__ = ("_factory", "_transport", "done")

    def __init__(self, transport: NativeTransport, factory: IProtocolFactory) -> None:
        self._transport = transport
        self._factory = factory
        self.done: Deferred[Any] = Deferred(self._cancel)

    def _cancel(self, done: Deferred[Any]) -> None:
        self._transport.abortConnection()

    def dialled(self, error: int) -> None:
        transport, done = self._transport, self.done
        transport.protocol = None
        if done.called:
            transport.abortConnection()
            return
        if error:
            done.errback(Failure(getConnectError((error, os.strerror(error)))))
            return
        try:
            protocol: Any = self._factory.buildProtocol(transport.getPeer())
            transport.protocol = protocol
            protocol.makeConnection(transport)
        except Exception:
            transport.abortConnection()
            done.errback(Failure())
            return
        done.callback(protocol)


@implementer(IStreamClientEndpoint)
class NativeEndpoint:
    """Dials one address."""

    def __init__(self, plane: Any, family: int, host: str, port: int = 0) -> None:
        """
        @param plane: the extension's.
        @param family: C{AF_INET}, C{AF_INET6} or C{AF_UNIX}.
        @param host: an IP address, or the path of a UNIX socket.
        """
        self._plane = plane
        self._target = family, host, port

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """See L{IStreamClientEndpoint.connect}. Cancelling it fails with C{CancelledError}."""
        transport = NativeTransport(self._plane)
        dial = _Dial(transport, protocolFactory)
        transport.protocol = dial
        error = transport.connect(*self._target)
        if error:
            return fail(getConnectError((error, os.strerror(error))))
        return dial.done


def isPlain(port: Any) -> bool:
    """
    Whether the connections of a listening port can be accepted here: plain sockets for legs.
    (Where TLS ends its wrapper is the port's factory.)
    """
    return type(port) in (tcp.Port, unix.Port) and isinstance(port.factory, LegFactory)


@implementer(IListeningPort)
class NativePort:
    """
    A listening port of Twisted's whose connections are accepted here. The socket stays
    Twisted's, and it is Twisted that copes when there are no descriptors left.
    """

    def __init__(self, plane: Any, port: Any) -> None:
        """@param plane: the extension's."""
        self._port = port
        port.stopReading()
        self._acceptor = plane.accept(port.fileno(), NativeTransport, self._accepted, port.doRead)

    def startListening(self) -> None:
        """It does."""

    def stopListening(self) -> Deferred[None]:
        """Accept nothing more, and close the socket."""
        self._acceptor.close()
        return maybeDeferred(self._port.stopListening)

    def getHost(self) -> IAddress:
        """Where it listens."""
        return self._port.getHost()  # type: ignore[no-any-return]  # Twisted's is not typed

    def _accepted(self, transport: NativeTransport) -> None:
        try:
            protocol = self._port.factory.buildProtocol(None)
            transport.protocol = protocol
            protocol.makeConnection(transport)
        except Exception:
            _log.failure("{port!r} could not serve a connection", port=self._port)
            transport.abortConnection()

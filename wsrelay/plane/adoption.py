# -*- test-case-name: tests.plane.test_adoption -*-
"""
How the native engine takes a connection over from whoever has served it so far.

A leg that can be taken is in somebody's I{grip}: that of a L{NativeTransport}, which gives
its descriptor away and is not needed any more, or that of a L{TwistedGrip} on a transport of
Twisted's, plain or with TLS, of whose descriptor a duplicate is taken. (Sharing the number
has once delivered one connection's bytes to another socket, after a close.) From then on a
leg has an L{Adopted} in place of its transport and of its receiver.

What comes of the connection is the link's business.
"""

from __future__ import annotations

import os
from typing import Any

from OpenSSL.SSL import Error as SSLError
from twisted.internet.abstract import FileDescriptor
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from wsrelay.model import Direction
from wsrelay.plane.engine import Owner
from wsrelay.plane.legs import Leg
from wsrelay.plane.transports import NativeTransport
from wsrelay.tls.layer import TLSLayer

__all__ = ["Adopted", "Adopter", "LayeredGrip", "NativeTLSGrip", "TwistedGrip", "adopt", "take"]

_log = Logger()
_TLS_FUNCTIONS = ("SSL_read", "SSL_write", "SSL_get_error", "SSL_shutdown", "ERR_clear_error")


class Adopter:
    """
    Says which legs can be taken.

    @ivar tlsFunctions: addresses of what the extension calls, of the OpenSSL that pyOpenSSL
        uses; none if this build of cryptography does not give them.
    """

    def __init__(self) -> None:
        self.tlsFunctions: tuple[int, ...] = ()
        self._openssl: Any = None
        self._hasWarned = False
        try:
            from cryptography.hazmat.bindings._rust import _openssl

            ffi, lib = _openssl.ffi, _openssl.lib
            self.tlsFunctions = tuple(
                int(ffi.cast("uintptr_t", ffi.addressof(lib, name))) for name in _TLS_FUNCTIONS
            )
            self._openssl = _openssl
        except Exception:
            _log.debug("OpenSSL's functions are out of reach")

    def grip(self, leg: Leg) -> Any:
        """What has a leg in its grip, for L{take}; C{None} if it cannot be taken."""
        transport = leg.transport
        if leg.isLost:
            return None
        if isinstance(transport, NativeTransport):
            return transport if transport.isOpen else None
        if isinstance(transport, TLSLayer):
            return self._layered(transport)
        tls = None
        while isinstance(transport, ProtocolWrapper):
            if isinstance(transport, TLSMemoryBIOProtocol):
                if tls is not None or self._openssl is None:
                    self._warn()
                    return None
                tls = transport
            transport = transport.transport
        if not isinstance(transport, FileDescriptor) or not hasattr(transport, "socket"):
            return None
        if transport.disconnecting or not transport.connected:
            return None
        if tls is not None and not _isFlushed(transport, tls):
            return None
        return TwistedGrip(transport, tls, self._openssl)

    def _layered(self, layer: TLSLayer) -> Any:
        """The same for TLS of the relay's own."""
        transport = layer.transport
        if self._openssl is None:
            self._warn()
            return None
        if not layer.isOpen:
            return None
        if isinstance(transport, NativeTransport):
            isFree = transport.isOpen and not transport.unsent
            return NativeTLSGrip(transport, layer, self._openssl) if isFree else None
        if not isinstance(transport, FileDescriptor) or not hasattr(transport, "socket"):
            return None
        if transport.disconnecting or not transport.connected or not _isSent(transport):
            return None
        return LayeredGrip(transport, layer, self._openssl)

    def _warn(self) -> None:
        if not self._hasWarned:
            self._hasWarned = True
            _log.warn("TLS legs stay on the portable plane: OpenSSL's functions are out of reach")

    def secure(self, *grips: Any) -> bool:
        """Have the descriptors that are needed, of all or none."""
        secured: list[TwistedGrip] = []
        try:
            for grip in grips:
                if isinstance(grip, TwistedGrip):
                    grip.duplicate()
                    secured.append(grip)
        except OSError as error:
            for each in secured:
                os.close(each.descriptor)
            _log.warn("no descriptors left, relayed by the portable plane: {error}", error=error)
            return False
        return True


def _isFlushed(transport: Any, tls: Any) -> bool:
    """Whether all that was written to a TLS leg, encrypted by now, has left."""
    tls._aggregator.flush()
    tls._flushSendBIO()
    return _isSent(transport) and not tls._appSendBuffer


def _isSent(transport: Any) -> bool:
    """Whether a transport of Twisted's has nothing left to send."""
    if transport.dataBuffer or transport._tempDataBuffer:
        transport.doWrite()
    return not (transport.dataBuffer or transport._tempDataBuffer)


def _nothing() -> None:
    """Stands in for what must not be done any more."""


class TwistedGrip:
    """
    A transport of Twisted's that has a socket.

    @ivar transport: the socket's own, below all wrappers.
    @ivar session: pyOpenSSL's; C{None} without TLS. Twisted may drop its own reference before
        the extension has done with it.
    @ivar descriptor: ours, for the same socket.
    """

    __slots__ = ("_openssl", "_tls", "descriptor", "session", "transport")

    def __init__(self, transport: Any, tls: Any, openssl: Any) -> None:
        self.transport = transport
        self.session: Any = None if tls is None else tls._tlsConnection
        self.descriptor = -1
        self._tls = tls
        self._openssl = openssl

    def duplicate(self) -> None:
        """
        Have a descriptor of our own.

        @raise OSError: there is none left.
        """
        self.descriptor = os.dup(self.transport.fileno())

    def letGo(self) -> tuple[int, bytes, bytes]:
        """
        Stop Twisted from serving it.

        @return: the address of the SSL object, or 0; what was decrypted and not delivered;
            what was written and has not been sent.
        """
        transport = self.transport
        early = b"" if self._tls is None else self._drained()
        transport.stopReading()
        transport.stopWriting()
        unsent = bytes(transport.dataBuffer[transport.offset :]) + b"".join(
            transport._tempDataBuffer
        )
        transport.dataBuffer, transport.offset = b"", 0
        transport._tempDataBuffer, transport._tempDataLen = [], 0
        return 0 if self._tls is None else self._bare(), early, unsent

    def _drained(self) -> bytes:
        """
        What OpenSSL has decrypted or can decrypt without reading more: after that the memory
        BIO is empty, and bytes of a record that is not whole stand in OpenSSL's own buffer.
        """
        found = []
        while True:
            try:
                found.append(self.session.recv(2**15))
            except SSLError:
                # WantReadError: nothing more. Anything else the extension will meet again. What
                # OpenSSL has answered meanwhile (an alert, a KeyUpdate) goes out.
                _isFlushed(self.transport, self._tls)
                return b"".join(found)

    def _bare(self) -> int:
        """Put the socket in place of the memory BIOs. @return: the SSL object's address."""
        tls, openssl, ssl = self._tls, self._openssl, self.session._ssl
        openssl.lib.SSL_set_fd(ssl, self.descriptor)
        # The BIOs are gone with that; nobody may touch them again, not even the method of
        # Twisted's that may be delivering to us at this very moment (a backend's 101).
        tls._lostTLSConnection = True
        tls._flushSendBIO = tls._flushReceiveBIO = _nothing
        return int(openssl.ffi.cast("uintptr_t", ssl))


def _address(openssl: Any, session: Any, descriptor: int) -> int:
    """Put a socket in place of the memory BIOs of a session. @return: its SSL object's address."""
    openssl.lib.SSL_set_fd(session._ssl, descriptor)
    return int(openssl.ffi.cast("uintptr_t", session._ssl))


class LayeredGrip(TwistedGrip):
    """A transport of Twisted's, and TLS of the relay's own on it."""

    __slots__ = ()

    def __init__(self, transport: Any, layer: TLSLayer, openssl: Any) -> None:
        super().__init__(transport, None, openssl)
        self._tls = layer

    def _drained(self) -> bytes:
        self.session, early = self._tls.giveAway()
        _isSent(self.transport)
        return early  # type: ignore[no-any-return]  # _tls is of several kinds

    def _bare(self) -> int:
        return _address(self._openssl, self.session, self.descriptor)


class NativeTLSGrip:
    """
    A transport of the extension's, and TLS of the relay's own on it.

    @ivar transport: gives its descriptor away.
    @ivar session: pyOpenSSL's, once it was let go.
    """

    __slots__ = ("_layer", "_openssl", "session", "transport")

    def __init__(self, transport: NativeTransport, layer: TLSLayer, openssl: Any) -> None:
        self.transport = transport
        self.session: Any = None
        self._layer = layer
        self._openssl = openssl

    def letGo(self) -> tuple[int, bytes]:
        """@return: the address of the SSL object; what was decrypted and not delivered."""
        self.session, early = self._layer.giveAway()
        return _address(self._openssl, self.session, self.transport.fileno()), early


def take(leg: Leg, grip: Any) -> tuple[Any, int, bytes, bytes]:
    """
    Take a leg away from what has it in its grip.

    @return: a descriptor of the link's, or the L{NativeTransport} that has one; the address of
        its SSL object, or 0; what was read and not used; what was written and not sent.
    """
    if isinstance(grip, TwistedGrip):
        early = leg.takeEarly()
        ssl, more, unsent = grip.letGo()
        return grip.descriptor, ssl, early + more, unsent
    if isinstance(grip, NativeTLSGrip):
        early = leg.takeEarly()
        ssl, more = grip.letGo()
        return grip.transport, ssl, early + more, b""
    # The extension takes it over as it stands, with what it has not sent.
    return grip, 0, leg.takeEarly(), b""


class Adopted:
    """
    Stands on both sides of a leg that the extension serves.

    As its transport it knows the facts, and whoever wants to end the connection ends the
    link. As its receiver it tells the owner of the leg's loss, and hears nothing else.
    """

    __slots__ = ("_direction", "_link", "_owner")

    def __init__(self, link: Any, direction: Direction, owner: Owner) -> None:
        """
        @param link: the extension's.
        @param direction: the leg is its sender's.
        """
        self._link = link
        self._direction = direction
        self._owner: Owner | None = owner

    # -- the transport

    def end(self, leg: Leg, reason: Failure) -> None:
        """The connection is gone: run the end as usual, and with it the leg's."""
        raise NotImplementedError

    def loseConnection(self) -> None:
        """End the link after all that was forwarded."""
        self._link.close()

    def abortConnection(self) -> None:
        """End the link at once."""
        self._link.abort()

    loseWriteConnection = loseConnection

    def pauseProducing(self) -> None:
        """The extension knows when to read."""

    resumeProducing = unregisterProducer = pauseProducing

    # -- the receiver

    def received(self, data: bytes) -> None:
        """Never: the transport does not read any more."""

    def finished(self) -> None:
        """The extension sees it too."""

    def lost(self, reason: Failure) -> None:
        """The transport has come to its end."""
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.legLost(self._direction, reason)


class _AdoptedNative(Adopted):
    """The transport has given all it had; what is left of it are the peer's words."""

    __slots__ = ("_peer", "_plane", "_session")

    def __init__(self, transport: NativeTransport, session: Any, *rest: Any) -> None:
        """@param session: with TLS, to be kept alive; else C{None}."""
        super().__init__(*rest)
        self._session = session
        self._plane = transport.plane
        self._peer = transport._peer

    def __getattr__(self, name: str) -> Any:
        """As a transport says that has no descriptor any more; that costs as good as nothing."""
        return getattr(NativeTransport(self._plane, -1, self._peer), name)

    def end(self, leg: Leg, reason: Failure) -> None:
        """There is nobody else to be told."""
        leg.connectionLost(reason)


class _AdoptedTwisted(Adopted):
    """The transport of Twisted's counts as connected until the end."""

    __slots__ = ("_grip", "_transport")

    def __init__(self, grip: TwistedGrip, transport: Any, *rest: Any) -> None:
        super().__init__(*rest)
        self._grip = grip
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def end(self, leg: Leg, reason: Failure) -> None:
        """Whoever counts connections counts right."""
        self._grip.transport.connectionLost(reason)


def adopt(leg: Leg, grip: Any, link: Any, direction: Direction, owner: Owner) -> None:
    """
    Put a leg that was taken in the charge of a link of the extension's.

    @param direction: the leg is its sender's.
    """
    adopted: Adopted
    if isinstance(grip, TwistedGrip):
        adopted = _AdoptedTwisted(grip, leg.transport, link, direction, owner)
    else:
        session = None
        if isinstance(grip, NativeTLSGrip):
            grip, session = grip.transport, grip.session
            # It and the layer know each other, which no garbage collector sees in the extension.
            grip.protocol = None
        adopted = _AdoptedNative(grip, session, link, direction, owner)
    leg.hand(adopted)
    leg.transport = adopted

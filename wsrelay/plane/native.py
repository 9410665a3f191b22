# -*- test-case-name: tests.plane.test_native -*-
"""
The native engine: sockets are served by C, in the reactor's own thread.

The extension (in C, begin with C{_native.h}) owns one epoll instance; its descriptor is the
one that the reactor watches for all links together. What is here takes legs away from Twisted
and hands their descriptors over, answers what C cannot decide by itself, and runs the
transports' C{connectionLost} at the end, so that whoever counts connections counts right.

A leg that cannot be taken (a transport of an unknown kind, TLS by another OpenSSL) is
relayed by the portable engine; the owner of the link does not notice.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from functools import partial
from typing import Any

from OpenSSL.SSL import Error as SSLError
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IListeningPort, IReadDescriptor, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.answers import whenAnswered
from wsrelay.errors import Violation
from wsrelay.model import (
    Counts,
    Direction,
    Interest,
    Message,
    Reply,
    Retire,
)
from wsrelay.plane import _native
from wsrelay.plane.engine import ILink, IPlane, Lane, Owner
from wsrelay.plane.legs import Leg
from wsrelay.plane.messages import WORTH_DEFLATING, codec
from wsrelay.plane.portable import PortablePlane
from wsrelay.plane.transports import NativeEndpoint, NativePort, NativeTransport, endOf, isPlain
from wsrelay.plane.verdicts import isLater, parts, replacement, stream
from wsrelay.wire.deflate import Deflater, Inflater
from wsrelay.wire.frames import BINARY, TEXT, encode

__all__ = ["NativeLink", "NativePlane"]

_log = Logger()
_DIRECTIONS = (Direction.TO_BACKEND, Direction.TO_CLIENT)
_INDEX = {Direction.TO_BACKEND: 0, Direction.TO_CLIENT: 1}
_TLS_FUNCTIONS = ("SSL_read", "SSL_write", "SSL_get_error", "SSL_shutdown", "ERR_clear_error")


def _tlsAddresses() -> tuple[Any, list[int]] | None:
    """
    C{SSL_set_fd}, and the addresses of what the extension calls, of the OpenSSL that
    pyOpenSSL uses; C{None} if this build of cryptography does not give them.
    """
    try:
        from cryptography.hazmat.bindings._rust import _openssl

        lib, ffi = _openssl.lib, _openssl.ffi
        addresses = [
            int(ffi.cast("uintptr_t", ffi.addressof(lib, name))) for name in _TLS_FUNCTIONS
        ]
        return (lib.SSL_set_fd, ffi), addresses
    except Exception:
        return None


@implementer(IPlane, IReadDescriptor)
class NativePlane:
    """The engine in C."""

    name = "native"

    def __init__(self, reactor: Any) -> None:
        """@param reactor: an L{IReactorFDSet} and L{IReactorTime} provider."""
        self._reactor = reactor
        self._portable = PortablePlane(reactor)
        self._plane = _native.Plane(Message, partial(_watch, weakref.ref(self)))
        tls = _tlsAddresses()
        self._setFd: Any = None
        if tls is not None:
            self._setFd, addresses = tls
            self._plane.useTLS(*addresses)
        self._hasWarned = False
        #: Called by the reactor when anything is ready.
        self.doRead = self._plane.process

    def fileno(self) -> int:
        """The descriptor of the epoll instance."""
        return self._plane.fileno()

    def logPrefix(self) -> str:
        """Whose turn it is."""
        return "plane"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is at its end."""

    def watch(self, isWanted: bool) -> None:
        """The reactor watches only while there is something to be served."""
        if isWanted:
            self._reactor.addReader(self)
        else:
            self._reactor.removeReader(self)

    def accept(self, port: IListeningPort) -> IListeningPort:
        """Accept the connections of a port, see L{IPlane.accept}."""
        return NativePort(self._plane, port) if isPlain(port) else port

    def endpoint(self, family: int, host: str, port: int) -> IStreamClientEndpoint:
        """What dials an address, see L{IPlane.endpoint}."""
        return NativeEndpoint(self._plane, family, host, port)

    def link(
        self, client: Leg, backend: Leg, lanes: Mapping[Direction, Lane], owner: Owner
    ) -> Any:
        """Join two legs, see L{IPlane.link}."""
        taken = self._reach(client), self._reach(backend)
        if taken[0] is None or taken[1] is None:
            return self._portable.link(client, backend, lanes, owner)
        descriptors = _duplicates(taken[0][0], taken[1][0])
        if descriptors is None:
            return self._portable.link(client, backend, lanes, owner)
        return NativeLink(self, self._setFd, (client, backend), taken, descriptors, lanes, owner)

    def join(self, *arguments: Any) -> Any:
        """A link of the extension's."""
        return self._plane.link(*arguments)

    def _reach(self, leg: Leg) -> tuple[Any, Any] | None:
        """The socket's own transport below a leg, and its TLS, if it can be taken."""
        transport, tls = leg.transport, None
        if leg.isLost:
            return None
        if isinstance(transport, NativeTransport):
            return (transport, None) if transport.isOpen else None
        while isinstance(transport, ProtocolWrapper):
            if isinstance(transport, TLSMemoryBIOProtocol):
                if tls is not None or self._setFd is None:
                    self._warn()
                    return None
                tls = transport
            transport = transport.transport
        if not isinstance(transport, FileDescriptor) or not hasattr(transport, "socket"):
            return None
        if transport.disconnecting or not transport.connected:
            return None
        if tls is not None and not _flushed(transport, tls):
            return None
        return transport, tls

    def _warn(self) -> None:
        if not self._hasWarned:
            self._hasWarned = True
            _log.warn("TLS legs stay on the portable plane: OpenSSL's functions are out of reach")


def _watch(plane: weakref.ref[NativePlane], isWanted: bool) -> None:
    """The extension must not keep alive what keeps it alive: it is not searched for cycles."""
    owner = plane()
    if owner is not None:
        owner.watch(isWanted)


def _flushed(transport: Any, tls: Any) -> bool:
    """Whether all that was written to a TLS leg, encrypted by now, has left."""
    tls._aggregator.flush()
    tls._flushSendBIO()
    if transport.dataBuffer or transport._tempDataBuffer:
        transport.doWrite()
    return not (tls._appSendBuffer or transport.dataBuffer or transport._tempDataBuffer)


def _duplicates(*transports: Any) -> tuple[int, ...] | None:
    """
    A descriptor of our own for each, -1 where the transport's own will be given away; C{None}
    when there are not enough.
    """
    found: list[int] = []
    try:
        for transport in transports:
            isNative = isinstance(transport, NativeTransport)
            found.append(-1 if isNative else os.dup(transport.fileno()))
    except OSError as error:
        for descriptor in found:
            if descriptor >= 0:
                os.close(descriptor)
        _log.warn("no descriptors left, relayed by the portable plane: {error}", error=error)
        return None
    return tuple(found)


def _nothing() -> None:
    """Stands in for what must not be done any more."""


def _drained(tls: Any) -> bytes:
    """
    What OpenSSL has decrypted or can decrypt without reading more: after that the memory BIO
    is empty, and bytes of a record that is not whole stand in OpenSSL's own buffer.
    """
    found = []
    while True:
        try:
            found.append(tls._tlsConnection.recv(2**15))
        except SSLError:
            # WantReadError: nothing more. Anything else the extension will meet again.
            return b"".join(found)


class _Ear:
    """Hears the end of a leg from Twisted."""

    def __init__(self, direction: Direction, owner: Owner) -> None:
        self._direction = direction
        self._owner = owner

    def received(self, data: bytes) -> None:
        """Never: the transport does not read any more."""

    def finished(self) -> None:
        """The extension sees it too."""

    def lost(self, reason: Failure) -> None:
        """The transport has run its C{connectionLost}."""
        self._owner.legLost(self._direction, reason)


class _Nobody:
    """The owner of a link that was closed: it hears of its legs only, by L{_Ear}."""

    def _hear(self, *what: Any) -> None:
        pass

    closeReceived = violated = hookAsked = hookFailed = streamEnded = _hear


_NOBODY: Any = _Nobody()


class _Adopted:
    """
    Stands in for the transport of a leg that the extension serves: facts are the
    transport's, whoever wants to end the connection ends the link.
    """

    def __init__(self, transport: Any, link: Any) -> None:
        self._transport = transport
        self._link = link

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

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


@implementer(ILink)
class NativeLink:
    """Two joined legs, see L{ILink}; the handler of the extension's link."""

    def __init__(
        self,
        plane: NativePlane,
        setFd: Any,
        legs: tuple[Leg, Leg],
        taken: tuple[Any, Any],
        descriptors: tuple[int, ...],
        lanes: Mapping[Direction, Lane],
        owner: Owner,
    ) -> None:
        self._legs = legs
        self._taken = taken
        # Twisted may drop its own references before the extension has done with the SSL objects.
        self._sessions = [tls._tlsConnection for _, tls in taken if tls is not None]
        self._setFd = setFd
        self._lanes = tuple(lanes[direction] for direction in _DIRECTIONS)
        self._owner = owner
        self._deflaters: list[Deflater | None] = [None, None]
        fd0, ssl0, early0, unsent0 = self._detach(legs[0], taken[0], descriptors[0])
        fd1, ssl1, early1, unsent1 = self._detach(legs[1], taken[1], descriptors[1])
        self._early = early0, early1
        self._unsent: tuple[tuple[int, bytes], ...] = (1, unsent0), (0, unsent1)
        self._link = plane.join(self, fd0, fd1, ssl0, ssl1, self._describe(0), self._describe(1))
        for leg, direction in zip(legs, _DIRECTIONS, strict=True):
            leg.hand(_Ear(direction, owner))
            leg.transport = _Adopted(leg.transport, self._link)

    def start(self) -> None:
        """Begin, see L{ILink.start}."""
        early, self._early = self._early, (b"", b"")
        unsent, self._unsent = self._unsent, ()
        self._link.start(*early)
        # Not before: a peer may be gone, and the owner must know its link to hear of that.
        for index, data in unsent:
            if data:
                self._link.write(index, data)

    def _detach(self, leg: Leg, taken: Any, descriptor: int) -> tuple[int, int, bytes, bytes]:
        """The descriptor, the SSL's address, what the leg had held, what was not sent yet."""
        transport, tls = taken
        if descriptor < 0:
            descriptor, unsent = transport.give()
            return descriptor, 0, leg.takeEarly(), unsent
        transport.stopReading()
        transport.stopWriting()
        ssl = 0
        early = leg.takeEarly()
        if tls is not None:
            early += _drained(tls)
        unsent = bytes(transport.dataBuffer[transport.offset :]) + b"".join(
            transport._tempDataBuffer
        )
        transport.dataBuffer, transport.offset = b"", 0
        transport._tempDataBuffer, transport._tempDataLen = [], 0
        if tls is not None:
            setFd, ffi = self._setFd
            connection = tls._tlsConnection
            setFd(connection._ssl, descriptor)
            # Its BIOs are gone with that; nobody may touch them again, not even the method of
            # Twisted's that may be delivering to us at this very moment (a backend's 101).
            tls._lostTLSConnection = True
            tls._flushSendBIO = tls._flushReceiveBIO = _nothing
            ssl = int(ffi.cast("uintptr_t", connection._ssl))
        return descriptor, ssl, early, unsent

    def _describe(self, index: int) -> tuple[Any, ...]:
        """A lane as the extension wants it."""
        lane = self._lanes[index]
        inflate, afresh = None, False
        if lane.inflate is not None:
            afresh, bits = codec(lane.inflate, _DIRECTIONS[index])
            inflate = partial(Inflater(afresh, bits).inflate, limit=lane.maxMessage)
        if lane.deflate is not None:
            self._deflaters[index] = Deflater(*codec(lane.deflate, _DIRECTIONS[index]))
        rsv = lane.rsv
        if lane.level is Interest.MESSAGES:
            rsv = 0x40 if inflate is not None else 0
        return (
            int(lane.level),
            lane.hook,
            -1 if lane.maxFrame is None else lane.maxFrame,
            -1 if lane.maxMessage is None else lane.maxMessage,
            rsv,
            inflate,
            lane.inflate == lane.deflate,
            afresh,
            lane.deflate is not None,
        )

    # -- ILink

    def counts(self) -> Mapping[Direction, Counts]:
        """What went each way, see L{ILink.counts}."""
        return {
            direction: Counts(*self._link.counts(index))
            for index, direction in enumerate(_DIRECTIONS)
        }

    def idleFor(self) -> float:
        """Seconds without a byte, see L{ILink.idleFor}."""
        return float(self._link.idleFor())

    def inject(self, direction: Direction, frame: bytes) -> None:
        """A frame of the relay's own, see L{ILink.inject}."""
        self._link.inject(_INDEX[direction], frame, False)

    def send(self, direction: Direction, message: Message) -> None:
        """A message of the relay's own, see L{ILink.send}."""
        self._sendOn(_INDEX[direction], message)

    def mute(self, direction: Direction, last: bytes = b"") -> bool:
        """The last frame of a direction, see L{ILink.mute}."""
        return bool(self._link.mute(_INDEX[direction], last))

    def closeWith(self, direction: Direction, last: bytes) -> bool:
        """Another Close than the sender's, see L{ILink.closeWith}."""
        return bool(self._link.closeWith(_INDEX[direction], last))

    def finish(self, direction: Direction) -> None:
        """Half-close, see L{ILink.finish}."""
        self._link.finish(_INDEX[direction])

    def close(self) -> None:
        """Close both legs, see L{ILink.close}."""
        self._owner = _NOBODY
        self._link.close()

    def abort(self) -> None:
        """Abort both legs, see L{ILink.abort}."""
        self._owner = _NOBODY
        self._link.abort()

    # -- what the extension tells

    def lost(self, index: int, error: int) -> None:
        """A descriptor was closed: let the transport run its end, and with it the leg."""
        transport, _ = self._taken[index]
        if self._legs[1 - index].isLost:
            self._owner = _NOBODY
        transport.connectionLost(endOf(error))

    def ended(self, index: int) -> None:
        """The end of a stream; a stream filter may have a last word."""
        lane = self._lanes[index]
        if lane.level is Interest.BYTES and lane.hook is not None:
            self._askLast(index, lane.hook)
        else:
            self._owner.streamEnded(_DIRECTIONS[index])

    def violated(self, index: int, code: int, detail: str) -> None:
        """A sender broke the rules."""
        self._owner.violated(_DIRECTIONS[index], Violation(code, detail))

    def closeReceived(self, index: int, code: int | None, reason: str) -> None:
        """A Close frame came."""
        self._owner.closeReceived(_DIRECTIONS[index], code, reason)

    def failed(self, index: int, error: BaseException) -> None:
        """A hook raised."""
        self._failed(index, Failure(error))

    def decide(
        self,
        index: int,
        message: Message,
        payload: bytes,
        verdict: Any,
        wire: bytes,
        compressed: bool,
    ) -> None:
        """A message hook answered something that C does not handle by itself."""
        seen = message, payload, wire, compressed
        if isLater(verdict):
            self._wait(index, verdict, lambda value: self._apply(index, value, *seen))
        else:
            self._apply(index, verdict, *seen)

    def decideChunk(self, index: int, chunk: bytes, verdict: Any) -> None:
        """A stream hook answered something that C does not handle by itself."""
        if isLater(verdict):
            self._wait(index, verdict, lambda value: self._applyChunk(index, chunk, value))
        else:
            self._applyChunk(index, chunk, verdict)

    # -- verdicts

    def _wait(self, index: int, verdict: Any, apply: Any) -> None:
        """Hold one direction still until the answer is there."""
        link = self._link
        link.hold(index)

        def answered(value: Any) -> None:
            apply(value)
            link.release(index)

        def failed(failure: Failure) -> None:
            self._failed(index, failure)
            link.release(index)

        whenAnswered(verdict, answered, failed)

    def _failed(self, index: int, failure: Failure) -> None:
        if self._lanes[index].level is Interest.BYTES:
            self._link.silence(index)
        self._owner.hookFailed(_DIRECTIONS[index], failure)
        if not self._link.isMute(index):
            self._link.silence(index)

    def _apply(
        self,
        index: int,
        verdict: Any,
        message: Message,
        payload: bytes,
        wire: bytes,
        compressed: bool,
    ) -> None:
        """What L{MessageFlow} does with an answer; the two are held to one suite."""
        link = self._link
        if link.isMute(index):
            return
        isText = wire[0] & 0x0F == TEXT
        original = Message(payload, isText), wire, compressed
        if verdict is None:
            self._forward(index, *original)
            return
        try:
            todo = parts(verdict, message)
        except Exception:
            self._failed(index, Failure())
            return
        isTouched = message.data is not payload or message.isText != isText
        isOriginal = not isTouched and any(part is message for part in todo)
        if compressed and not isOriginal:
            link.outOfStep(index)
        for part in todo:
            if part is message and isOriginal:
                isOriginal = False
                self._forward(index, *original)
            elif isinstance(part, Message):
                self._write(index, part)
            elif isinstance(part, Reply):
                self._sendOn(1 - index, replacement(part.data, Message(b"")))
            else:
                self._owner.hookAsked(_DIRECTIONS[index], part)
                if not link.isMute(index):
                    link.silence(index)

    def _forward(self, index: int, message: Message, wire: bytes, compressed: bool) -> None:
        if not compressed or self._link.mayForward(index):
            self._link.write(index, wire)
        else:
            self._write(index, message)

    def _write(self, index: int, message: Message) -> None:
        deflater, data, isDeflated = self._deflaters[index], message.data, False
        if deflater is not None and len(data) >= WORTH_DEFLATING:
            data, isDeflated = deflater.deflate(data), True
            self._link.outOfStep(index)
        self._link.write(index, _frame(index, message.isText, data, isDeflated))

    def _sendOn(self, index: int, message: Message) -> None:
        self._link.inject(index, _frame(index, message.isText, message.data, False), True)

    def _applyChunk(self, index: int, chunk: bytes, verdict: Any) -> None:
        link = self._link
        if link.isMute(index):
            return
        try:
            answer = stream(verdict, chunk)
        except TypeError:
            self._failed(index, Failure())
            return
        if isinstance(answer, bytes):
            link.write(index, answer)
        elif isinstance(answer, Retire):
            self._lanes[index].hook = None
            link.retire(index)
            link.write(index, answer.data)
        else:
            link.silence(index)
            self._owner.hookAsked(_DIRECTIONS[index], answer)

    def _askLast(self, index: int, hook: Any) -> None:
        def apply(value: Any) -> None:
            self._applyChunk(index, b"", value)
            self._owner.streamEnded(_DIRECTIONS[index])

        if self._link.isMute(index):
            self._owner.streamEnded(_DIRECTIONS[index])
            return
        try:
            verdict = hook(b"")
        except Exception:
            self._failed(index, Failure())
            return
        if isLater(verdict):
            self._wait(index, verdict, apply)
        else:
            apply(verdict)


def _frame(index: int, isText: bool, data: bytes, isDeflated: bool) -> bytes:
    key = os.urandom(4) if index == 0 else None
    return encode(TEXT if isText else BINARY, data, key, rsv1=isDeflated)

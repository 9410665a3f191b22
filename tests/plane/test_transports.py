# -*- test-case-name: tests.plane.test_transports -*-
"""
Sockets that the native engine accepts and dials: to a protocol they are what Twisted's are.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, DeferredQueue
from twisted.internet.endpoints import TCP4ServerEndpoint, UNIXServerEndpoint
from twisted.internet.error import (
    ConnectError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
)
from twisted.internet.interfaces import IHalfCloseableProtocol, ITCPTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from wsrelay.model import Address
from wsrelay.plane.legs import LegFactory

NativePlane: Any = None
try:
    from wsrelay.plane.native import NativePlane
    from wsrelay.plane.transports import NativePort, NativeTransport, isPlain
except ImportError:
    _SKIP: str | None = "the extension is not built: no compiler, or another platform"
else:
    _SKIP = None

MUCH = 3_000_000


@implementer(IHalfCloseableProtocol)
class Talker(Protocol):
    """Remembers what it hears."""

    transport: Any

    def __init__(self, made: Any = None) -> None:
        self.heard = bytearray()
        self.isEnded = False
        self.reason: Failure | None = None
        self._made = made

    def connectionMade(self) -> None:
        """It has begun."""
        if self._made is not None:
            self._made(self)

    def dataReceived(self, data: bytes) -> None:
        """Remember it."""
        self.heard += data

    def readConnectionLost(self) -> None:
        """The other side has said all."""
        self.isEnded = True

    def writeConnectionLost(self) -> None:
        """We have."""

    def connectionLost(self, reason: Any = None) -> None:
        """It is over."""
        assert self.reason is None, "told twice"
        self.reason = reason


class Gauge:
    """A producer that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        """Stop."""
        self.told.append("pause")

    def resumeProducing(self) -> None:
        """Go on."""
        self.told.append("resume")

    def stopProducing(self) -> None:
        """It is over."""
        self.told.append("stop")


class Handler:
    """Of a link; hears of its ends."""

    def __init__(self) -> None:
        self.lostSides: list[int] = []

    def lost(self, index: int, error: int) -> None:
        """A side is gone."""
        self.lostSides.append(index)


class TransportCase(TestCase):
    """Two talkers, one accepted and one dialled by the engine."""

    skip = _SKIP
    timeout = 20

    def setUp(self) -> None:
        self.plane = NativePlane(reactor)
        self.arrived: DeferredQueue[Talker] = DeferredQueue()
        self.there: list[Talker] = []

    async def tearDown(self) -> None:
        """Nothing of it is left: no transport, and no reader in the reactor."""
        for talker in self.there:
            if talker.reason is None:
                talker.transport.abortConnection()
        await self.until(lambda: self.plane._plane.transports == 0)
        await self.until(lambda: self.plane not in reactor.getReaders())  # type: ignore[attr-defined]  # the reactor is a module

    async def until(self, condition: Any) -> None:
        """Wait; the test's timeout bounds it."""
        while not condition():
            await deferLater(reactor, 0)  # type: ignore[arg-type]  # the reactor is a module

    async def listen(self, endpoint: Any = None) -> Any:
        """A port whose connections the engine accepts."""
        endpoint = endpoint or TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        factory: Any = LegFactory(lambda: self.talker(self.arrived.put))  # type: ignore[arg-type,return-value]  # no leg
        port = self.plane.accept(await endpoint.listen(factory))
        self.addCleanup(port.stopListening)
        return port

    def talker(self, made: Any = None) -> Talker:
        """One that the test ends."""
        self.there.append(Talker(made))
        return self.there[-1]

    async def pair(self) -> tuple[Talker, Talker]:
        """The one who has dialled, and the one who was dialled."""
        port = (await self.listen()).getHost().port
        one = await self.dial(socket.AF_INET, "127.0.0.1", port)
        other = await self.arrived.get()
        for talker in (one, other):
            with talker.transport.getHandle() as handle:
                for size in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                    handle.setsockopt(socket.SOL_SOCKET, size, 32 * 1024)
        return one, other

    async def dial(self, family: int, host: str, port: int = 0) -> Talker:
        """Dial."""
        endpoint = self.plane.endpoint(family, host, port)
        found: Talker = await endpoint.connect(Factory.forProtocol(self.talker))
        return found


class TalkTests(TransportCase):
    """Bytes, pauses and ends."""

    async def test_bothWays(self) -> None:
        """What one writes the other hears, and each knows where the other is."""
        one, other = await self.pair()
        for talker in (one, other):
            verifyObject(ITCPTransport, talker.transport)
            self.assertIsInstance(talker.transport, NativeTransport)
        one.transport.write(b"a question")
        other.transport.writeSequence([b"an ", b"answer"])
        await self.until(lambda: one.heard == b"an answer" and other.heard == b"a question")
        self.assertEqual(one.transport.getPeer(), other.transport.getHost())
        self.assertEqual(one.transport.getHost(), other.transport.getPeer())
        host = one.transport.getHost()
        self.assertEqual(one.transport.local, Address("127.0.0.1", host.port))
        self.assertEqual(other.transport.peer, one.transport.local)

    async def test_much(self) -> None:
        """More than the socket takes is kept, in order, and its producer is paused meanwhile."""
        one, other = await self.pair()
        gauge = Gauge()
        other.transport.pauseProducing()
        one.transport.registerProducer(gauge, True)
        data = os.urandom(MUCH)
        for start in range(0, MUCH, 100_000):
            one.transport.write(data[start : start + 100_000])
        self.assertEqual(gauge.told, ["pause"])
        other.transport.resumeProducing()
        await self.until(lambda: len(other.heard) == MUCH)
        self.assertEqual(bytes(other.heard), data)
        self.assertEqual(gauge.told, ["pause", "resume"])
        one.transport.unregisterProducer()

    async def test_pulled(self) -> None:
        """A producer that waits to be asked is asked whenever there is room."""
        one, other = await self.pair()
        gauge = Gauge()
        one.transport.registerProducer(gauge, False)
        self.assertEqual(gauge.told, ["resume"])
        one.transport.write(b"x" * MUCH)
        await self.until(lambda: len(other.heard) == MUCH)
        await self.until(lambda: len(gauge.told) > 1)
        self.assertEqual(set(gauge.told), {"resume"})
        one.transport.abortConnection()
        await self.until(lambda: one.reason is not None)
        self.assertEqual(gauge.told[-1], "stop")

    async def test_paused(self) -> None:
        """Whoever is paused hears nothing, and all of it when he goes on."""
        one, other = await self.pair()
        other.transport.pauseProducing()
        one.transport.write(b"later")
        one.transport.loseWriteConnection()
        for _ in range(20):
            await deferLater(reactor, 0)  # type: ignore[arg-type]  # the reactor is a module
        self.assertEqual((bytes(other.heard), other.isEnded), (b"", False))
        other.transport.resumeProducing()
        await self.until(lambda: other.isEnded)
        self.assertEqual(bytes(other.heard), b"later")

    async def test_halfClose(self) -> None:
        """A FIN leaves the other way open; after the second one both are told the end."""
        one, other = await self.pair()
        one.transport.write(b"x" * MUCH)
        one.transport.loseWriteConnection()
        one.transport.write(b"not sent any more")
        await self.until(lambda: other.isEnded)
        self.assertEqual(len(other.heard), MUCH)
        other.transport.write(b"still here")
        await self.until(lambda: one.heard == b"still here")
        other.transport.loseConnection()
        await self.until(lambda: one.reason is not None and other.reason is not None)
        for talker in (one, other):
            self.assertIsInstance(talker.reason.value, ConnectionDone)  # type: ignore[union-attr]  # waited for
        self.assertTrue(one.isEnded)

    async def test_closedAfterMuch(self) -> None:
        """loseConnection sends first what was written."""
        one, other = await self.pair()
        other.transport.pauseProducing()
        one.transport.write(b"x" * MUCH)
        one.transport.loseConnection()
        self.assertTrue(one.transport.disconnecting)
        other.transport.resumeProducing()
        await self.until(lambda: other.isEnded)
        self.assertEqual(len(other.heard), MUCH)
        self.assertFalse(one.transport.connected)

    async def test_aborted(self) -> None:
        """A connection that is aborted breaks for the other side, even one that is paused."""
        one, other = await self.pair()
        other.transport.pauseProducing()
        one.transport.abortConnection()
        self.assertIsNone(one.reason, "nobody is told from within his own call")
        await self.until(lambda: one.reason is not None and other.reason is not None)
        self.assertIsInstance(one.reason.value, ConnectionAborted)  # type: ignore[union-attr]  # waited for
        self.assertIsInstance(other.reason.value, ConnectionLost)  # type: ignore[union-attr]  # as above
        # What is over may still be asked.
        one.transport.write(b"nothing")
        one.transport.loseConnection()
        one.transport.abortConnection()
        one.transport.resumeProducing()
        gauge = Gauge()
        one.transport.registerProducer(gauge, True)
        self.assertEqual(gauge.told, ["stop"])

    async def test_raises(self) -> None:
        """A protocol that raises is logged and cut off; others notice nothing."""
        one, other = await self.pair()
        other.dataReceived = lambda data: 1 // 0  # type: ignore[assignment,return-value,method-assign]  # it raises
        one.transport.write(b"go")
        await self.until(lambda: other.reason is not None)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIsInstance(other.reason.value, ConnectionAborted)  # type: ignore[union-attr]  # waited for

    async def test_linked(self) -> None:
        """A link takes a connection over with all that it has not sent; then it is nobody's."""
        (one, other), (third, fourth) = await self.pair(), await self.pair()
        other.transport.pauseProducing()
        one.transport.write(b"x" * MUCH)
        lane = (0, None, -1, -1, -1, 0.0, 0, None, True, False, False)
        handler = Handler()
        ends = one.transport, third.transport
        link = self.plane._plane.link(handler, *ends, 0, 0, lane, lane)
        self.assertEqual([end.fileno() for end in ends], [-1, -1])
        self.assertRaises(ValueError, self.plane._plane.link, handler, *ends, 0, 0, lane, lane)
        one.transport.write(b"nowhere")
        fourth.transport.write(b" and more")
        link.start(b"", b"")
        other.transport.resumeProducing()
        await self.until(lambda: len(other.heard) == MUCH + 9)
        other.transport.write(b"back")
        await self.until(lambda: fourth.heard == b"back")
        link.abort()
        await self.until(lambda: handler.lostSides == [0, 1])
        self.assertEqual([each.reason for each in (one, third)], [None, None])
        for each in (one, third):
            each.transport.connectionLost(Failure(ConnectionDone()))
            self.assertIsNotNone(each.reason)

    async def test_options(self) -> None:
        """What is set reaches the socket."""
        one, _ = await self.pair()
        one.transport.setTcpKeepAlive(True)
        self.assertTrue(one.transport.getTcpKeepAlive())
        with one.transport.getHandle() as handle:
            self.assertTrue(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


class DialTests(TransportCase):
    """What can become of a dial."""

    async def test_refused(self) -> None:
        """A port where nobody listens."""
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            dial = self.dial(socket.AF_INET, "127.0.0.1", silent.getsockname()[1])
            with self.assertRaises(ConnectionRefusedError):
                await dial

    async def test_notEvenBegun(self) -> None:
        """What the kernel refuses at once fails as well: a path that is not there."""
        with self.assertRaises(ConnectError) as caught:
            await self.dial(socket.AF_UNIX, self.mktemp())
        self.assertEqual(caught.exception.osError, errno.ENOENT)

    async def test_noAddress(self) -> None:
        """A name is no address."""
        with self.assertRaises(ConnectError):
            await self.dial(socket.AF_INET, "localhost", 1)

    async def test_cancelled(self) -> None:
        """A dial that is cancelled fails at once, and leaves nothing behind."""
        with socket.socket() as full:
            # With a backlog that is full the handshake is not answered.
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            others = [socket.socket() for _ in range(4)]
            for other in others:
                self.addCleanup(other.close)
                other.setblocking(False)
                other.connect_ex(full.getsockname())
            endpoint = self.plane.endpoint(socket.AF_INET, *full.getsockname())
            dial: Deferred[Any] = endpoint.connect(Factory.forProtocol(self.talker))
            dial.cancel()
            with self.assertRaises(CancelledError):
                await dial
            await self.until(lambda: self.plane._plane.transports == 0)
        self.assertEqual(self.there, [])

    async def test_brokenFactory(self) -> None:
        """A factory that raises fails the dial."""
        port = (await self.listen()).getHost().port
        endpoint = self.plane.endpoint(socket.AF_INET, "127.0.0.1", port)
        with self.assertRaises(ZeroDivisionError):
            await endpoint.connect(Factory.forProtocol(lambda: 1 // 0))  # type: ignore[arg-type,return-value]  # it raises
        other = await self.arrived.get()
        await self.until(lambda: other.reason is not None)


class PortTests(TransportCase):
    """Ports whose connections the engine accepts."""

    async def test_families(self) -> None:
        """UNIX sockets and IPv6 as well; a UNIX client has no address."""
        path = self.mktemp()
        await self.listen(UNIXServerEndpoint(reactor, path))
        one = await self.dial(socket.AF_UNIX, path)
        other = await self.arrived.get()
        self.assertEqual(one.transport.peer, Address(f"unix:{path}"))
        self.assertEqual(other.transport.local, Address(f"unix:{path}"))
        self.assertEqual(other.transport.peer, Address("unix:"))
        self.assertEqual(one.transport.getPeer(), other.transport.getHost())

    async def test_others(self) -> None:
        """What is no plain port of legs stays Twisted's."""
        factory = Factory.forProtocol(Talker)
        factory.noisy = False
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.assertFalse(isPlain(port))
        self.assertIs(self.plane.accept(port), port)
        await port.stopListening()

    async def test_stopped(self) -> None:
        """A port that has stopped accepts nobody; who is there stays."""
        port = await self.listen()
        self.assertIsInstance(port, NativePort)
        where = port.getHost().port
        one = await self.dial(socket.AF_INET, "127.0.0.1", where)
        other = await self.arrived.get()
        await port.stopListening()
        with self.assertRaises(ConnectionRefusedError):
            await self.dial(socket.AF_INET, "127.0.0.1", where)
        one.transport.write(b"still here")
        await self.until(lambda: other.heard == b"still here")

    async def test_factoryRaises(self) -> None:
        """A client whose protocol cannot be made is cut off; the next one is served."""
        port = await self.listen()
        where = port.getHost().port
        make, failures = port._port.factory._make, [1]

        def sometimes() -> Any:
            return make() if not failures else 1 // failures.pop() - 1 // 0

        port._port.factory._make = sometimes
        one = await self.dial(socket.AF_INET, "127.0.0.1", where)
        await self.until(lambda: one.reason is not None)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        await self.dial(socket.AF_INET, "127.0.0.1", where)
        self.assertIsNone((await self.arrived.get()).reason)

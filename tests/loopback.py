# -*- test-case-name: tests.backends.test_backend -*-
"""
Real connections on the loopback interface, in the test's own reactor.

A L{Peer} is either end of one: it remembers what came, and hands out Deferreds for what is
still to come. Nothing waits longer than L{Loopback.timeout}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    connectProtocol,
)
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from wsrelay.l4.hub import Hub
from wsrelay.model import Closed, Event

__all__ = ["Loopback", "Peer", "Recorder", "Server"]


@implementer(IHalfCloseableProtocol)
class Peer(Protocol):
    """
    One end of a connection.

    @ivar data: what came so far.
    @ivar made: fires when the connection is there.
    @ivar own: its own port, as long as it lasts and after.
    @ivar finished: fires when the other side sends no more.
    @ivar over: fires when the other side sends no more, or the connection is gone.
    @ivar lost: fires when the connection is gone.
    @ivar reason: why it is.
    """

    transport: Any

    def __init__(self) -> None:
        self.data = b""
        self.own = 0
        self.made: Deferred[None] = Deferred()
        self.over: Deferred[None] = Deferred()
        self.finished: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()
        self.reason: Failure | None = None
        self._waiting: list[tuple[Callable[[bytes], bool], Deferred[bytes]]] = []

    def connectionMade(self) -> None:
        """It is there."""
        self.own = getattr(self.transport.getHost(), "port", 0)
        self.made.callback(None)

    def dataReceived(self, data: bytes) -> None:
        """Remember it."""
        self.data += data
        self._look()

    def _look(self) -> None:
        for each in list(self._waiting):
            if each[0](self.data):
                self._waiting.remove(each)
                each[1].callback(self.data)

    def when(self, holds: Callable[[bytes], bool]) -> Deferred[bytes]:
        """Fires with all that came, once C{holds} is true of it."""
        waiter: Deferred[bytes] = Deferred()
        self._waiting.append((holds, waiter))
        self._look()
        return waiter

    def whenGot(self, data: bytes) -> Deferred[bytes]:
        """Fires once C{data} is all that came."""
        return self.when(lambda got: got == data)

    def readConnectionLost(self) -> None:
        """The other side sends no more."""
        self.finished.callback(None)
        self._end()

    def _end(self) -> None:
        if not self.over.called:
            self.over.callback(None)

    def writeConnectionLost(self) -> None:
        """Our own end of the stream is out."""

    def connectionLost(self, reason: Any = None) -> None:
        """It is gone."""
        self.reason = reason
        self.lost.callback(None)
        self._end()

    def send(self, data: bytes) -> None:
        """Send."""
        self.transport.write(data)


class Server(Factory):
    """
    Remembers its connections.

    @ivar peers: a queue of those that came.
    @ivar count: how many came so far.
    """

    noisy = False

    def __init__(self, make: Callable[[], Any] = Peer) -> None:
        self._make = make
        self.peers: DeferredQueue[Any] = DeferredQueue()
        self.count = 0

    def buildProtocol(self, addr: Any) -> Any:
        """One more."""
        self.count += 1
        peer = self._make()
        peer.made.addCallback(lambda _: self.peers.put(peer))
        return peer


class Recorder:
    """An observer that remembers, and can be waited for."""

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self._ends: DeferredQueue[Closed] = DeferredQueue()

    def observe(self, event: Event) -> None:
        """Remember it."""
        self.heard.append(event)
        if isinstance(event, Closed):
            self._ends.put(event)

    def ended(self) -> Deferred[Closed]:
        """Fires with the next L{Closed}."""
        return self._ends.get()

    @property
    def kinds(self) -> list[str]:
        """The names of the events so far."""
        return [type(event).__name__ for event in self.heard]


class Loopback(TestCase):
    """A test with connections; all of them end with it."""

    timeout = 20

    def setUp(self) -> None:
        """Begin with nothing open."""
        self.recorder = Recorder()
        self.hub = Hub(reactor, [self.recorder])

    async def listen(self, factory: Any, tls: Any = None) -> int:
        """
        Listen until the test is over.

        @param tls: C{CertificateOptions}, for TLS.
        @return: the port.
        """
        if tls is not None:
            factory = TLSMemoryBIOFactory(tls, False, factory)
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def dial(self, port: int) -> Peer:
        """A client, whose connection ends with the test."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        peer: Peer = await connectProtocol(endpoint, Peer())
        self.addCleanup(self.hangUp, peer)
        return peer

    def hangUp(self, peer: Any) -> Any:
        """End a connection, if it is still there, and wait for its end."""
        if not peer.lost.called:
            peer.transport.abortConnection()
            return peer.lost
        return None

    async def turns(self) -> None:
        """Let everything happen that can happen by now: a connection of our own goes by."""
        server = Server()
        client = await self.dial(await self.listen(server))
        client.send(b"?")
        peer = await server.peers.get()
        await peer.whenGot(b"?")
        await self.hangUp(client)
        await peer.lost

    def refusing(self) -> int:
        """A port that nobody listens on."""
        from tests.ports import freePort

        return freePort()

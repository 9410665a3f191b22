# -*- test-case-name: tests.l7.test_resource -*-
"""
The relay inside somebody else's C{twisted.web} site, over real connections.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

from wsrelay.interfaces import IMessageFilter, IRequestFilter
from wsrelay.l7.resource import RelayResource
from wsrelay.model import Closed, Direction, Event, Interest, Kind, Party, Respond
from wsrelay.wire.frames import BINARY, TEXT, encode, encodeClose
from wsrelay.wire.handshake import acceptKey

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
MASK = b"\x01\x02\x03\x04"
HANDSHAKE = (
    b"GET %s HTTP/1.1\r\nHost: example.org\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)
ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + acceptKey(KEY) + b"\r\nX-From: backend\r\n\r\n"
)


class Peer(Protocol):
    """A raw peer: waits for bytes, sends bytes."""

    transport: Any

    def __init__(self) -> None:
        self.buffer = b""
        self.made: Deferred[Peer] = Deferred()
        self.gone: Deferred[None] = Deferred()
        self._wanted: tuple[Callable[[bytes], bool], Deferred[bytes]] | None = None

    def connectionMade(self) -> None:
        """It is there."""
        self.made.callback(self)

    def dataReceived(self, data: bytes) -> None:
        """Keep it until somebody wants it."""
        self.buffer += data
        self._look()

    def connectionLost(self, reason: Any = None) -> None:
        """It is gone."""
        self.gone.callback(None)

    def until(self, isThere: Callable[[bytes], bool]) -> Deferred[bytes]:
        """Everything that came so far, once C{isThere} holds for it."""
        waiting: Deferred[bytes] = Deferred()
        waiting.addTimeout(10, reactor)  # type: ignore[arg-type]  # the reactor is a module
        self._wanted = isThere, waiting
        self._look()
        return waiting

    def _look(self) -> None:
        if self._wanted is not None and self._wanted[0](self.buffer):
            (_, waiting), self._wanted = self._wanted, None
            data, self.buffer = self.buffer, b""
            waiting.callback(data)

    def ends(self, tail: bytes) -> Deferred[bytes]:
        """Everything that came, once it ends with C{tail}."""
        return self.until(lambda data: data.endswith(tail))


class Recorder:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.closed: Deferred[Closed] = Deferred()

    def observe(self, event: Event) -> None:
        """Remember the end."""
        if isinstance(event, Closed):
            self.closed.callback(event)


@implementer(IMessageFilter)
class Louder:
    """Towards the backend in capitals."""

    def interest(self, route: Any, direction: Direction) -> Interest:
        """One direction only."""
        return Interest.MESSAGES if direction is Direction.TO_BACKEND else Interest.FRAMES

    def attach(self, session: Any, direction: Direction) -> Any:
        """The same for every session."""
        return lambda message: message.data.upper()


@implementer(IRequestFilter)
class Guard:
    """Lets nobody in."""

    def requestReceived(self, exchange: Any) -> Respond:
        """Refuse."""
        return Respond(401, ((b"WWW-Authenticate", b"Basic"),), b"who are you?")

    def responseReceived(self, exchange: Any) -> None:
        """Never called."""


class RelayResourceTests(TestCase):
    """A site with the relay below C{/ws}, a raw client and a raw backend."""

    timeout = 20

    async def _site(self, **options: Any) -> None:
        self.backends: list[Peer] = []
        self.waiting: list[Deferred[Peer]] = []
        self.recorder = Recorder()

        def arrived() -> Peer:
            peer = Peer()
            if self.waiting:
                peer.made.chainDeferred(self.waiting.pop(0))
            return peer

        backend = await self._listen(Factory.forProtocol(arrived))
        url = f"ws://127.0.0.1:{backend}"
        root = Resource()
        root.putChild(b"ws", RelayResource([url], observers=[self.recorder], **options))
        root.putChild(b"page", _Page())
        self.port = await self._listen(Site(root))

    async def _listen(self, factory: Any) -> int:
        factory.noisy = False
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        port = await endpoint.listen(factory)
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def _client(self) -> Peer:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        peer: Peer = await endpoint.connect(Factory.forProtocol(Peer))
        self.addCleanup(self._closed, peer)
        return peer

    def _closed(self, peer: Peer) -> Deferred[None]:
        peer.transport.abortConnection()
        return peer.gone

    async def _open(self) -> tuple[Peer, Peer]:
        """A client and a backend that have shaken hands."""
        client = await self._client()
        backend: Deferred[Peer] = Deferred()
        self.waiting.append(backend)
        client.transport.write(HANDSHAKE % b"/ws/room?x=1")
        there = await backend
        self.addCleanup(self._closed, there)
        head = await there.ends(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"GET /ws/room?x=1 HTTP/1.1\r\n"), head)
        self.assertIn(b"X-Forwarded-For: 127.0.0.1\r\n", head)
        there.transport.write(ACCEPTED)
        answer = await client.ends(b"\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 101 "), answer)
        self.assertIn(b"X-From: backend\r\n", answer)
        return client, there

    async def test_relays(self) -> None:
        """A WebSocket below the resource reaches the backend, both ways, to its close code."""
        await self._site()
        client, backend = await self._open()
        hello = encode(TEXT, b"hello", MASK)
        client.transport.write(hello)
        self.assertEqual(await backend.ends(hello), hello)
        reply = encode(BINARY, b"\x00" * 70000)
        backend.transport.write(reply)
        self.assertEqual(await client.until(lambda data: len(data) >= len(reply)), reply)
        goodbye = encodeClose(4001, "bye", MASK)
        client.transport.write(goodbye)
        self.assertEqual(await backend.ends(goodbye), goodbye)
        backend.transport.write(encodeClose(4001, "bye"))
        backend.transport.loseConnection()
        event = await self.recorder.closed
        self.assertEqual(event.kind, Kind.SESSION)
        self.assertEqual(event.codes, {Party.CLIENT: 4001, Party.BACKEND: 4001})

    async def test_rightBehindTheHandshake(self) -> None:
        """Frames in the same segment as the handshake arrive, once."""
        await self._site()
        client = await self._client()
        arrival: Deferred[Peer] = Deferred()
        self.waiting.append(arrival)
        early = encode(TEXT, b"early", MASK)
        client.transport.write(HANDSHAKE % b"/ws" + early)
        backend = await arrival
        self.addCleanup(self._closed, backend)
        await backend.ends(b"\r\n\r\n")
        reply = encode(TEXT, b"at once")
        backend.transport.write(ACCEPTED + reply)
        self.assertEqual(await backend.ends(early), early)
        answer = await client.ends(reply)
        self.assertEqual(answer.partition(b"\r\n\r\n")[2], reply)

    async def test_messageFilter(self) -> None:
        """Message filters work there too."""
        await self._site(filters={"louder": Louder()})
        client, backend = await self._open()
        client.transport.write(encode(TEXT, b"hello", MASK))
        frame = await backend.until(lambda data: len(data) == 11)
        payload = bytes(a ^ b for a, b in zip(frame[6:], frame[2:6] * 2, strict=False))
        self.assertEqual(payload, b"HELLO")

    async def test_requestFilterRefuses(self) -> None:
        """What a request filter answers is the site's answer, and nothing is dialled."""
        await self._site(filters={"guard": Guard()})
        client = await self._client()
        client.transport.write(HANDSHAKE % b"/ws")
        answer = await client.ends(b"who are you?")
        self.assertTrue(answer.startswith(b"HTTP/1.1 401 "), answer)
        self.assertIn(b"WWW-Authenticate: Basic\r\n", answer)
        event = await self.recorder.closed
        self.assertEqual((event.status, event.backend), (401, ""))

    async def test_backendRefuses(self) -> None:
        """The backend's refusal is the answer, and the connection serves the site again."""
        await self._site()
        client = await self._client()
        arrival: Deferred[Peer] = Deferred()
        self.waiting.append(arrival)
        client.transport.write(HANDSHAKE % b"/ws")
        backend = await arrival
        await backend.ends(b"\r\n\r\n")
        refusal = b"HTTP/1.1 403 Forbidden\r\nX-Why: closed\r\nContent-Length: 4\r\n\r\nnope"
        backend.transport.write(refusal)
        answer = await client.ends(b"nope")
        self.assertTrue(answer.startswith(b"HTTP/1.1 403 "), answer)
        self.assertIn(b"X-Why: closed\r\n", answer)
        await backend.gone
        client.transport.write(b"GET /page HTTP/1.1\r\nHost: example.org\r\n\r\n")
        self.assertIn(b"200 OK", await client.ends(b"a page"))

    async def test_noWebSocket(self) -> None:
        """A plain request is told which protocol would be right."""
        await self._site()
        client = await self._client()
        client.transport.write(b"GET /ws HTTP/1.1\r\nHost: example.org\r\n\r\n")
        answer = await client.ends(b"426 Upgrade Required\n")
        self.assertIn(b"Upgrade: websocket\r\n", answer)

    async def test_lenientSite(self) -> None:
        """What the site takes for a request but the relay does not is refused."""
        await self._site()
        client = await self._client()
        twoHosts = (HANDSHAKE % b"/ws").replace(b"Host:", b"Host: a\r\nHost:")
        client.transport.write(twoHosts)
        answer = await client.ends(b"400 Bad Request\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)

    async def test_clientLeaves(self) -> None:
        """A client that leaves before the backend answers takes the backend's leg with it."""
        await self._site()
        client = await self._client()
        arrival: Deferred[Peer] = Deferred()
        self.waiting.append(arrival)
        client.transport.write(HANDSHAKE % b"/ws")
        backend = await arrival
        await backend.ends(b"\r\n\r\n")
        client.transport.abortConnection()
        await backend.gone
        event = await self.recorder.closed
        self.assertEqual(event.reason.party, Party.CLIENT)

    def test_badURL(self) -> None:
        """A URL that is none is refused when the resource is made."""
        self.assertRaises(ValueError, RelayResource, ["gopher://127.0.0.1"])


class _Page(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        """A page."""
        return b"a page"

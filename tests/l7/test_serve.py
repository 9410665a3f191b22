# -*- test-case-name: tests.l7.test_serve -*-
"""
Resources of C{twisted.web} and Autobahn behind the relay's own reader.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from tests.l7.harness import ACCEPT, PAGE, UPGRADE, RelayTestCase, settled, turns
from tests.l7.tls import clientOptions, serverOptions
from wsrelay.model import Established, Kind, Party, Phase, Serve
from wsrelay.wire.frames import BINARY, PING, PONG, TEXT, encode

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSE = b"Connection: close"


class Page(Resource):
    """A resource that is one function, and notes what it was asked."""

    isLeaf = True

    def __init__(self, render: Callable[[Any], Any]) -> None:
        super().__init__()
        self.asked: list[bytes] = []
        self.left: list[Any] = []
        self._function = render

    def render(self, request: Request) -> Any:
        """Answer."""
        self.asked.append(request.uri)
        request.notifyFinish().addBoth(self.left.append)
        return self._function(request)


def echo(request: Request) -> bytes:
    """The answer is the body."""
    return bytes(request.content.read())


class ResourceTests(RelayTestCase):
    """Plain HTTP."""

    async def serve(self, render: Callable[[Any], Any], **options: Any) -> Any:
        """A client of a relay that serves one resource."""
        self.page = Page(render)
        await self.start(Serve(self.page, **options))
        return await self.client()

    async def body(self, client: Any) -> tuple[bytes, bytes]:
        """Head and body of the answer, and the end of the connection."""
        heard = await client.gone()
        head, _, body = heard.partition(b"\r\n\r\n")
        self.assertFalse(client.isBroken)
        client.close()
        return head, body

    async def test_get(self) -> None:
        """It sees the head that the relay writes, and the client gets its answer."""
        seen: list[Any] = []

        def render(request: Request) -> bytes:
            seen.append((request.method, request.uri, request.getHeader("x-forwarded-for")))
            seen.append(request.getClientAddress().host)
            request.setResponseCode(202)
            return b"hello"

        client = await self.serve(render)
        client.say(b"GET /x?y HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n")
        head, body = await self.body(client)
        self.assertTrue(head.startswith(b"HTTP/1.1 202 "), head)
        self.assertEqual(body, b"hello")
        self.assertEqual(seen, [(b"GET", b"/x?y", "127.0.0.1"), "127.0.0.1"])
        await self.assertEnd(Party.RELAY, Phase.RELAY, "the resource closed", 202)

    async def test_post(self) -> None:
        """It sees the body, of known length or in chunks, in any pieces."""
        for said in (
            b"Content-Length: 10\r\n\r\nhelloworld",
            b"Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n5\r\nworld\r\n0\r\nX: 1\r\n\r\n",
            b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\nhelloworld",
        ):
            for size in (1, 1000):
                client = await self.serve(echo)
                said = b"POST / HTTP/1.1\r\nHost: a\r\n" + said.removeprefix(
                    b"POST / HTTP/1.1\r\nHost: a\r\n"
                )
                for position in range(0, len(said), size):
                    client.say(said[position : position + size])
                    await turns(1)
                head, body = await self.body(client)
                self.assertTrue(body.endswith(b"helloworld"), (head, body))
                self.assertEqual(head.startswith(b"HTTP/1.1 100 "), b"Expect" in said)
                await self.assertEnd(Party.RELAY, Phase.RELAY, status=200)
                await self.again()

    async def test_old(self) -> None:
        """A client of HTTP/1.0 gets an answer that it can read."""

        def render(request: Request) -> bytes:
            request.write(b"hel")
            request.write(b"lo")
            request.finish()
            return NOT_DONE_YET  # type: ignore[return-value]  # as it is

        client = await self.serve(render)
        client.say(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        head, body = await self.body(client)
        self.assertNotIn(b"chunked", head)
        self.assertEqual(body, b"hello")

    async def test_tooLarge(self) -> None:
        """A body over the limit never reaches it: refused at once, or as soon as it is over."""
        chunked = b"Transfer-Encoding: chunked\r\n\r\n"
        for said in (
            b"Content-Length: 11\r\n\r\n",
            chunked + b"b\r\n01234567890\r\n0\r\n\r\n",
            chunked + b"5\r\n01234\r\n" * 3 + b"20000\r\n",
        ):
            client = await self.serve(echo, maxBody=10)
            client.say(b"POST / HTTP/1.1\r\nHost: a\r\n" + said + b"x" * 100_000)
            await client.hearEnd(PAGE("413 Request Entity Too Large", CLOSE))
            client.close()
            self.assertEqual(self.page.asked, [])
            await self.assertEnd(Party.CLIENT, Phase.RELAY, "over 10 bytes", 413)
            await self.again()

    async def test_badBody(self) -> None:
        """A body that is none is 400, and never reaches it."""
        client = await self.serve(echo)
        client.say(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n"
        )
        await client.hearEnd(PAGE("400 Bad Request", CLOSE))
        client.close()
        self.assertEqual(self.page.asked, [])
        await self.assertEnd(Party.CLIENT, Phase.RELAY, status=400)

    async def test_pipelined(self) -> None:
        """A second request on the connection is never read: it was not decided about."""
        for said in (GET, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"):
            client = await self.serve(echo)
            client.say(said + GET.replace(b"/", b"/admin", 1))
            await self.body(client)
            self.assertEqual(self.page.asked, [b"/"])
            self.assertEqual(len(await self.ends()), 1)
            await self.again()

    async def test_large(self) -> None:
        """A large answer waits for a client that reads slowly, and arrives."""
        size = 20_000_000
        client = await self.serve(lambda request: b"x" * size)
        client.transport.pauseProducing()
        client.say(GET)
        await turns(100)
        client.transport.resumeProducing()
        _, body = await self.body(client)
        self.assertEqual(len(body), size)

    async def test_streams(self) -> None:
        """A producer is paused while the client does not read."""
        sent: list[int] = []

        class Producer:
            """Writes whenever it may."""

            def __init__(self, request: Any) -> None:
                self.request = request
                request.registerProducer(self, False)

            def resumeProducing(self) -> None:
                """A piece."""
                sent.append(100_000)
                self.request.write(bytes(100_000))
                if len(sent) == 300:
                    self.request.unregisterProducer()
                    self.request.finish()

            def stopProducing(self) -> None:
                """Nobody wants it."""

        def render(request: Request) -> Any:
            Producer(request)
            return NOT_DONE_YET

        client = await self.serve(render)
        client.transport.pauseProducing()
        client.say(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        before = -1
        while len(sent) != before:
            before = len(sent)
            await turns(50)
        self.assertLess(len(sent), 300)
        client.transport.resumeProducing()
        _, body = await self.body(client)
        self.assertEqual(len(body), sum(sent))

    async def test_leaves(self) -> None:
        """It hears when the client leaves before the answer."""
        for said in (GET, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"):
            client = await self.serve(lambda request: NOT_DONE_YET)
            client.say(said)
            await self.until(lambda: bool(self.page.asked), "the request")
            client.vanish()
            await self.assertEnd(Party.CLIENT, Phase.RELAY, "closed its connection", 0)
            self.assertEqual(len(self.page.left), 1)
            self.assertIsNotNone(self.page.left[0])
            await self.again()

    async def test_leavesInItsBody(self) -> None:
        """It is never asked when the client leaves before the whole request came."""
        for leave in ("finish", "vanish"):
            client = await self.serve(echo)
            client.say(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
            await self.until(lambda: bool(self.events), "the request")
            await turns()
            getattr(client, leave)()
            await self.assertEnd(Party.CLIENT, Phase.RELAY, "closed its connection")
            self.assertEqual(self.page.asked, [])
            await self.again()

    async def test_halfClosed(self) -> None:
        """A client that sends no more still gets its answer."""
        wait: list[Any] = []

        def render(request: Request) -> Any:
            wait.append(request)
            return NOT_DONE_YET

        client = await self.serve(render)
        client.say(GET)
        client.finish()
        await self.until(lambda: bool(wait), "the request")
        await turns()
        wait[0].write(b"hello")
        wait[0].finish()
        _, body = await self.body(client)
        self.assertIn(b"hello", body)
        await self.assertEnd(Party.RELAY, Phase.RELAY, "the resource closed", 200)

    async def test_raises(self) -> None:
        """One that fails is 500, and its traceback is not shown."""

        def render(request: Request) -> bytes:
            raise ValueError("secret")

        client = await self.serve(render)
        client.say(GET)
        head, body = await self.body(client)
        self.assertTrue(head.startswith(b"HTTP/1.1 500 "), head)
        self.assertNotIn(b"secret", body)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    async def test_neverReads(self) -> None:
        """A client that never reads its answer is left."""
        client = await self.serve(lambda request: b"x" * 20_000_000)
        client.transport.pauseProducing()
        client.say(GET)
        await self.until(lambda: bool(self.page.asked), "the request")
        await turns()
        self.clock.advance(2)
        self.clock.advance(75)
        await self.ends()

    async def test_sessions(self) -> None:
        """Its sessions live from one request to the next."""
        uids: list[bytes] = []

        def render(request: Request) -> bytes:
            session = request.getSession()
            uids.append(session.uid)
            if len(uids) == 2:
                session.expire()
            return b""

        client = await self.serve(render)
        client.say(GET)
        head, _ = await self.body(client)
        cookie = head.partition(b"Set-Cookie: ")[2].partition(b";")[0]
        again = await self.client()
        again.say(GET.replace(b"\r\n\r\n", b"\r\nCookie: " + cookie + b"\r\n\r\n"))
        await self.body(again)
        self.assertEqual(uids[0], uids[1])

    async def test_secure(self) -> None:
        """It knows that the client came with TLS, and the connection ends as TLS wants it."""
        secure: list[bool] = []

        def render(request: Request) -> bytes:
            secure.append(request.isSecure())
            return echo(request)

        await self.start(Serve(Page(render)), tls=serverOptions())
        client = await self.client(tls=clientOptions())
        client.say(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + bytes(200_000)
        )
        _, body = await self.body(client)
        self.assertEqual((secure, len(body)), ([True], 200_000))
        await self.until(lambda: not self.openLegs(), "the connection to end")


class Echo(WebSocketServerProtocol):
    """Says everything twice, and remembers how it ended."""

    def onOpen(self) -> None:
        """Greet."""
        self.factory.opened.append(self)
        self.sendMessage(b"welcome")

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Back."""
        self.sendMessage(payload, isBinary)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Remember."""
        self.factory.ended.append((wasClean, code))


class WebSocketTests(RelayTestCase):
    """Autobahn's C{WebSocketResource}."""

    ANSWER = b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n"

    def resource(self) -> Any:
        """A resource whose protocol leaves no timers behind."""
        self.factory: Any = WebSocketServerFactory("ws://127.0.0.1")
        self.factory.protocol = Echo
        self.factory.opened = []
        self.factory.ended = []
        self.factory.setProtocolOptions(
            openHandshakeTimeout=0, closeHandshakeTimeout=0, maxMessagePayloadSize=10_000_000
        )
        self.factory.startFactory()
        return WebSocketResource(self.factory)

    async def open(self, behind: bytes = b"", tls: bool = False) -> Any:
        """A client that has been accepted and greeted."""
        await self.start(Serve(self.resource()), tls=serverOptions() if tls else None)
        client = await self.client(tls=clientOptions() if tls else None)
        client.say(UPGRADE + b"\r\n" + behind)
        head = await client.head()
        self.assertTrue(head.startswith(b"HTTP/1.1 101 "), head)
        self.assertIn(self.ANSWER, head)
        await client.hearText(b"welcome")
        return client

    async def test_echo(self) -> None:
        """It opens, relays and closes, and events say so."""
        client = await self.open()
        client.sayFrame(TEXT, b"hello")
        await client.hearText(b"hello")
        client.sayFrame(PING, b"?")
        self.assertEqual(await client.frame(), (0x80 | PONG, b"?"))
        client.sayClose(3000, "bye")
        await client.hearClose(1000)
        await client.hearEnd()
        client.close()
        end = await self.assertEnd(Party.RELAY, Phase.RELAY, "the resource closed", 101)
        self.assertIs(end.kind, Kind.SESSION)
        self.assertEqual(self.factory.ended, [(True, 3000)])
        self.assertEqual(sum(type(event) is Established for event in self.events), 1)

    async def test_behind(self) -> None:
        """Frames right behind the handshake are delivered in order, and once."""
        frames = encode(TEXT, b"one", bytes(4)) + encode(BINARY, b"t" * 70_000, bytes(4))
        client = await self.open(behind=frames[:40_000])
        client.say(frames[40_000:])
        await client.hearText(b"one")
        self.assertEqual(await client.frame(), (0x80 | BINARY, b"t" * 70_000))

    async def test_big(self) -> None:
        """Big messages pass."""
        for tls in (False, True):
            client = await self.open(tls=tls)
            client.sayFrame(BINARY, b"x" * 5_000_000)
            self.assertEqual(await client.frame(), (0x80 | BINARY, b"x" * 5_000_000))
            await self.again()

    async def test_secure(self) -> None:
        """It knows what TLS says about the client."""
        await self.open(tls=True)
        details = self.factory.opened[0].transport_details
        self.assertTrue(details.is_secure)
        self.assertNotEqual(details.channel_id["tls-unique"], bytes(32))

    async def test_backpressure(self) -> None:
        """It may register a producer, which is paused while the client does not read."""

        class Producer:
            """Says something whenever it may."""

            def __init__(self, protocol: Any) -> None:
                self.protocol, self.count, self.isPaused = protocol, 0, False

            def produce(self) -> None:
                """As much as there is room for."""
                self.isPaused = False
                while not self.isPaused and self.count < 300:
                    self.count += 1
                    self.protocol.sendMessage(bytes(100_000), True)

            def pauseProducing(self) -> None:
                """No more."""
                self.isPaused = True

            def resumeProducing(self) -> None:
                """On."""
                self.produce()

            def stopProducing(self) -> None:
                """Nobody wants it."""
                self.isPaused = True

        client = await self.open()
        client.transport.pauseProducing()
        (protocol,) = self.factory.opened
        producer = Producer(protocol)
        protocol.registerProducer(producer, True)
        producer.produce()
        before = -1
        while producer.count != before:
            before = producer.count
            await turns(50)
        self.assertLess(producer.count, 300)
        client.transport.resumeProducing()
        await client.when(lambda: len(client.heard) > 30_000_000)
        protocol.unregisterProducer()

    async def test_doesNotRead(self) -> None:
        """When it does not read, the client is held."""
        client = await self.open()
        (protocol,) = self.factory.opened
        protocol.transport.pauseProducing()
        for _ in range(30):
            client.sayFrame(BINARY, bytes(1_000_000))
        self.assertGreater(await settled(client), 5_000_000)
        protocol.onMessage = lambda payload, isBinary: None
        protocol.transport.resumeProducing()
        await self.until(lambda: not client.transport.dataBuffer, "it to be read")

    async def test_leaves(self) -> None:
        """It hears when the client leaves without a word."""
        for leave in ("finish", "vanish"):
            client = await self.open()
            getattr(client, leave)()
            await client.gone()
            client.close()
            await self.assertEnd(Party.CLIENT, Phase.RELAY, "closed its connection", 101)
            self.assertEqual(self.factory.ended, [(False, 1006)])
            await self.again()

    async def test_drops(self) -> None:
        """It may drop the connection."""
        client = await self.open()
        self.factory.opened[0].dropConnection(abort=True)
        await client.hearCut()
        await self.assertEnd(Party.RELAY, Phase.RELAY, "the resource aborted", 101)

    async def test_refuses(self) -> None:
        """One that refuses the handshake answers, and the connection ends."""
        await self.start(Serve(self.resource()))

        def refuse(request: Any) -> Any:
            from autobahn.websocket.types import ConnectionDeny

            raise ConnectionDeny(403, "no")

        self.patch(Echo, "onConnect", lambda _, request: refuse(request))
        client = await self.client()
        client.say(UPGRADE + b"\r\n")
        heard = await client.gone()
        self.assertTrue(heard.startswith(b"HTTP/1.1 403 no"), heard)
        client.close()
        await self.assertEnd(Party.RELAY, Phase.RELAY, status=403)

    async def test_noWebSocket(self) -> None:
        """A handshake to a resource that knows none is an ordinary request; the end follows."""
        await self.start(Serve(Page(lambda request: b"hello")))
        client = await self.client()
        client.say(UPGRADE + b"\r\n" + encode(TEXT, b"early", bytes(4)))
        heard = await client.gone()
        self.assertTrue(heard.startswith(b"HTTP/1.1 200 OK"), heard)
        client.close()
        await self.assertEnd(Party.RELAY, Phase.RELAY, "the resource closed", 200)

    async def test_noHandshake(self) -> None:
        """A handshake that is none never reaches it."""
        await self.start(Serve(self.resource()))
        client = await self.client()
        client.say(UPGRADE.replace(b"13", b"8") + b"\r\n")
        head = await client.head()
        self.assertTrue(head.startswith(b"HTTP/1.1 426 "), head)

    async def test_lineSeparators(self) -> None:
        """Bytes that Autobahn takes for ends of lines do not reach it."""
        seen: list[Any] = []
        await self.start(Serve(self.resource()))
        self.patch(Echo, "onConnect", lambda _, request: seen.append(request.headers))
        client = await self.client()
        client.say(UPGRADE + b"X: a\xc2\x85X-User: admin\r\n\r\n")
        await client.head()
        self.assertNotIn("x-user", seen[0])

    async def test_stop(self) -> None:
        """When the relay stops, it closes."""
        client = await self.open()
        await turns()
        self.assertEqual(self.relay.openCount, 1)
        self.relay.leaveAll()
        await client.hearEnd()
        client.close()
        await self.assertEnd(Party.RELAY, Phase.RELAY, "the relay stops", 101)

    async def test_failsAtOnce(self) -> None:
        """One that fails when it has already taken the connection over: it is cut."""
        await self.start(Serve(self.resource()))
        self.patch(Echo, "makeConnection", lambda _, transport: 1 // 0)
        client = await self.client()
        client.say(UPGRADE + b"\r\n")
        await client.hearCut()
        await self.assertEnd(Party.PLUGIN, Phase.RELAY, "the resource failed")
        self.assertGreater(len(self.flushLoggedErrors()), 0)

    async def test_later(self) -> None:
        """A resource may take its time before it takes the connection over."""
        wait: Deferred[None] = Deferred()
        resource = self.resource()

        def render(request: Any) -> Any:
            wait.addCallback(lambda _: resource.render(request))
            return NOT_DONE_YET

        await self.start(Serve(Page(render)))
        client = await self.client()
        client.say(UPGRADE + b"\r\n" + encode(BINARY, bytes(200_000), bytes(4)))
        await turns()
        self.assertEqual(bytes(client.heard), b"")
        wait.callback(None)
        await client.head()
        await client.hearText(b"welcome")
        self.assertEqual(await client.frame(), (0x80 | BINARY, bytes(200_000)))

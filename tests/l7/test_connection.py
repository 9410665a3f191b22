# -*- test-case-name: tests.l7.test_connection -*-
"""
The client's side of HTTP: bytes in, bytes out.
"""

from __future__ import annotations

from tests.l7.harness import FORWARDED, PAGE, RelayTestCase, answer, turns
from wsrelay.l4.listener import ListenerSettings
from wsrelay.model import Opened, Party, Phase, Respond

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
GOT = b"GET / HTTP/1.1\r\nHost: a\r\n" + FORWARDED + b"Connection: close\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSING = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n"

#: A chunked request with what may stand in one, and a request behind it.
CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;ext=1\r\nhello\r\n0A\r\n0123456789\r\n0\r\nX-Trailer: 1\r\n\r\n"
)


def response(*lines: str, body: bytes = b"") -> bytes:
    """A response of a backend."""
    return "".join(line + "\r\n" for line in (*lines, "")).encode() + body


class FramingTests(RelayTestCase):
    """How a response is framed for the client that asked."""

    async def converse(self, request: bytes, said: bytes, heard: bytes, isLast: bool) -> None:
        """One request, what the backend says and then closes, and what the client hears."""
        await self.start()
        client = await self.client()
        client.say(request)
        backend = await self.backend()
        await backend.head()
        backend.say(said)
        backend.close()
        if isLast:
            await client.hearEnd(heard)
        else:
            await client.hear(heard)
            client.say(GET)
            await (await self.backend()).hear(GOT)

    async def test_length(self) -> None:
        """A length is passed on."""
        said = response("HTTP/1.1 200 OK", "Content-Length: 5", "Server: x", body=b"hello")
        heard = response("HTTP/1.1 200 OK", "Server: x", "Content-Length: 5", body=b"hello")
        await self.converse(GET, said, heard, isLast=False)

    async def test_chunked(self) -> None:
        """Chunks are written anew: no size, extension or trailer is copied."""
        body = b"0005;x=y\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n"
        said = response("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=body)
        heard = response(
            "HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"
        )
        await self.converse(GET, said, heard, isLast=False)

    async def test_chunkedForOld(self) -> None:
        """A client of HTTP/1.0 gets no chunks: the end of the connection ends the body."""
        said = response(
            "HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"
        )
        heard = response("HTTP/1.1 200 OK", "Connection: close", body=b"hello")
        await self.converse(OLD, said, heard, isLast=True)

    async def test_untilClose(self) -> None:
        """A body that ends with the backend's connection becomes chunks."""
        said = response("HTTP/1.0 200 OK", body=b"hello")
        heard = response(
            "HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"
        )
        await self.converse(GET, said, heard, isLast=False)

    async def test_untilCloseForOld(self) -> None:
        """The same for a client of HTTP/1.0 ends with its connection, too."""
        said = response("HTTP/1.1 200 OK", body=b"hello")
        heard = response("HTTP/1.1 200 OK", "Connection: close", body=b"hello")
        await self.converse(OLD, said, heard, isLast=True)

    async def test_lengthForOld(self) -> None:
        """A connection of HTTP/1.0 is not kept, whatever the client asks."""
        said = response("HTTP/1.1 200 OK", "Content-Length: 5", body=b"hello")
        heard = response(
            "HTTP/1.1 200 OK", "Content-Length: 5", "Connection: close", body=b"hello"
        )
        request = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        await self.converse(request, said, heard, isLast=True)

    async def test_close(self) -> None:
        """A client that asks to close is closed."""
        said = response("HTTP/1.1 200 OK", "Content-Length: 5", body=b"hello")
        heard = response(
            "HTTP/1.1 200 OK", "Content-Length: 5", "Connection: close", body=b"hello"
        )
        await self.converse(CLOSING, said, heard, isLast=True)

    async def test_head(self) -> None:
        """The answer to HEAD has a length and no body."""
        said = response("HTTP/1.1 200 OK", "Content-Length: 5000000")
        await self.converse(HEAD, said, said, isLast=False)

    async def test_headWithoutLength(self) -> None:
        """The answer to HEAD need not have a length."""
        said = response("HTTP/1.1 200 OK", "Transfer-Encoding: chunked")
        await self.converse(HEAD, said, response("HTTP/1.1 200 OK"), isLast=False)

    async def test_noContent(self) -> None:
        """204 has neither body nor length."""
        said = response("HTTP/1.1 204 No Content")
        await self.converse(GET, said, said, isLast=False)

    async def test_notModified(self) -> None:
        """304 has no body, and may have the length of the one it stands for."""
        for said in [
            response("HTTP/1.1 304 Not Modified", "ETag: x"),
            response("HTTP/1.1 304 Not Modified", "ETag: x", "Content-Length: 5000000"),
        ]:
            await self.converse(GET, said, said, isLast=False)
            await self.again()

    async def test_empty(self) -> None:
        """A body of no bytes is a body."""
        said = response("HTTP/1.1 200 OK", "Content-Length: 0")
        await self.converse(GET, said, said, isLast=False)

    async def test_interim(self) -> None:
        """Interim responses pass, cleaned, and before the final one."""
        said = (
            response("HTTP/1.1 100 Continue")
            + response("HTTP/1.1 103 Early Hints", "Link: </x>", "Connection: X", "X: 1")
            + response("HTTP/1.1 200 OK", "Content-Length: 2", body=b"ok")
        )
        heard = (
            response("HTTP/1.1 100 Continue")
            + response("HTTP/1.1 103 Early Hints", "Link: </x>")
            + response("HTTP/1.1 200 OK", "Content-Length: 2", body=b"ok")
        )
        await self.converse(GET, said, heard, isLast=False)

    async def test_interimForOld(self) -> None:
        """A client of HTTP/1.0 never gets an interim response (RFC 9110 section 15.2)."""
        said = response("HTTP/1.1 100 Continue") + response(
            "HTTP/1.1 200 OK", "Content-Length: 2", body=b"ok"
        )
        heard = response("HTTP/1.1 200 OK", "Content-Length: 2", "Connection: close", body=b"ok")
        await self.converse(OLD, said, heard, isLast=True)

    async def test_upgradeRequired(self) -> None:
        """426 says to what, which is hop by hop and so said anew (RFC 9110 section 15.5.22)."""
        said = response(
            "HTTP/1.1 426 Upgrade Required", "Upgrade: h2c, websocket", "Content-Length: 0"
        )
        heard = response(
            "HTTP/1.1 426 Upgrade Required",
            "Content-Length: 0",
            "Upgrade: websocket",
            "Connection: Upgrade",
        )
        await self.converse(GET, said, heard, isLast=False)


class ReadingTests(RelayTestCase):
    """Heads and bodies of requests."""

    async def test_byteByByte(self) -> None:
        """A request may come in any pieces."""
        await self.start()
        client = await self.client()
        for position in range(len(CHUNKED)):
            client.say(CHUNKED[position : position + 1])
            await turns(1)
        backend = await self.backend()
        head = b"POST / HTTP/1.1\r\nHost: a\r\n" + FORWARDED
        await backend.hear(head + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        await backend.when(lambda: backend.heard.endswith(b"0\r\n\r\n"))
        content = bytes(backend.heard).replace(b"\r\n", b" ").split(b" ")[1::2]
        self.assertEqual(b"".join(content), b"hello0123456789")
        self.assertNotIn(b";", backend.heard)
        backend.say(answer("200 OK"))
        await client.hear(answer("200 OK"))

    async def test_absoluteForm(self) -> None:
        """An absolute target is taken apart, and its authority is the host."""
        await self.start()
        client = await self.client()
        client.say(b"GET http://b:80/x?y HTTP/1.1\r\nHost: a\r\n\r\n")
        backend = await self.backend()
        forwarded = FORWARDED.replace(b"Host: a", b"Host: b:80")
        await backend.hear(b"GET /x?y HTTP/1.1\r\nHost: b:80\r\n" + forwarded)

    async def test_malformed(self) -> None:
        """What is not exactly HTTP is answered and closed, and nothing is forwarded."""
        post = b"POST / HTTP/1.1\r\nHost: a\r\n"
        table: list[tuple[bytes, str]] = [
            (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400 Bad Request"),
            (b"GET / HTTP/1.1\r\n\r\n", "400 Bad Request"),
            (b"GET / HTTP/1.1\nHost: a\n\n", "400 Bad Request"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n", "400 Bad Request"),
            (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505 HTTP Version Not Supported"),
            (post + b"Expect: 200-ok\r\n\r\n", "417 Expectation Failed"),
        ]
        for said, status in table:
            await self.start()
            client = await self.client()
            client.say(said + GET)
            await client.hearEnd(PAGE(status, b"Connection: close"))
            await self.assertEnd(Party.CLIENT, Phase.ACCEPT, status=int(status[:3]))
            self.assertEqual(self.servers.all, [])
            await self.again()

    async def test_ambiguous(self) -> None:
        """A body whose end is not certain is refused, and what follows is never a request."""
        for lines, status in [
            (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "400 Bad Request"),
            (b"Content-Length: 0\r\nContent-Length: 27\r\n", "400 Bad Request"),
            (b"Content-Length: +5\r\n", "400 Bad Request"),
            (b"Transfer-Encoding: xchunked\r\n", "400 Bad Request"),
            (b"Transfer-Encoding: gzip, chunked\r\n", "501 Not Implemented"),
        ]:
            await self.start()
            client = await self.client()
            client.say(b"POST / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n" + GET)
            await client.hearEnd(PAGE(status, b"Connection: close"))
            await self.assertEnd(Party.CLIENT, Phase.DECIDE, status=int(status[:3]))
            self.assertEqual((self.servers.all, len(self.closed())), ([], 1))
            await self.again()

    async def test_limits(self) -> None:
        """A head with too many bytes or fields is 431."""
        long = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 1000 + b"\r\n\r\n"
        many = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 10 + b"\r\n"
        for said in (long, long[:950], many):
            await self.start(listener=ListenerSettings(maxHead=900, maxHeaders=10))
            client = await self.client()
            client.say(said)
            await client.hearEnd(PAGE("431 Request Header Fields Too Large", b"Connection: close"))
            await self.assertEnd(Party.CLIENT, Phase.ACCEPT, status=431)
            await self.again()

    async def test_badBody(self) -> None:
        """A body that turns out to be none is 400, and the backend is cut."""
        await self.start()
        client = await self.client()
        client.say(CHUNKED.partition(b"0A")[0] + b"+1\r\nx\r\n" + GET)
        backend = await self.backend()
        await backend.hearCut()
        await client.hearEnd(PAGE("400 Bad Request", b"Connection: close"))
        await self.assertEnd(Party.CLIENT, Phase.ANSWER, "chunk head", 400)


class OrderTests(RelayTestCase):
    """Several requests of one connection."""

    async def test_keptAlive(self) -> None:
        """One after the other, each to a connection of its own."""
        await self.start()
        client = await self.client()
        for body in (b"one", b"two"):
            client.say(GET)
            backend = await self.backend()
            await backend.hear(GOT)
            backend.say(answer("200 OK", body))
            await client.hear(answer("200 OK", body))
        self.assertEqual(len(await self.ends(2)), 2)

    async def test_pipelined(self) -> None:
        """What is sent ahead waits for its turn; the answers come in order, each once."""
        await self.start()
        client = await self.client()
        client.say(CHUNKED + GET + CLOSING)
        for body in (b"one", b"two", b"three"):
            self.assertEqual(self.servers.came, [])
            backend = await self.backend()
            await backend.head()
            await turns()
            backend.say(answer("200 OK", body))
        last = answer("200 OK", b"three").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        await client.hearEnd(answer("200 OK", b"one") + answer("200 OK", b"two") + last)

    async def test_pipelinedAndFinished(self) -> None:
        """A client that has asked for everything and closed its side gets it all, then the end."""
        await self.start()
        client = await self.client()
        client.say(GET + GET)
        client.finish()
        for body in (b"one", b"two"):
            backend = await self.backend()
            await backend.head()
            await turns()
            backend.say(answer("200 OK", body))
        said = answer("200 OK", b"one") + answer("200 OK", b"two")
        await client.when(lambda: client.isEnded)
        self.assertEqual(bytes(client.heard).replace(b"Connection: close\r\n", b""), said)

    async def test_manyAtOnce(self) -> None:
        """However many requests are answered on the spot, each is answered."""
        await self.start(Respond(200, (), b"ok"))
        client = await self.client()
        client.say(GET * 2000)
        await client.hear(answer("200 OK", b"ok") * 2000)
        opened = [type(event) is Opened for event in self.events if len(self.events)]
        self.assertEqual(opened[:6], [True, False, False] * 2, "one ends before the next")

    async def test_noSmuggling(self) -> None:
        """The body of a request that nobody wanted is not read as the next request."""
        body = b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"
        for framing in (
            b"Content-Length: %d\r\n\r\n" % len(body) + body,
            b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
        ):
            await self.start(Respond(404))
            client = await self.client()
            client.say(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + GET)
            await client.hearEnd(
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            self.assertEqual(len(self.closed()), 1)
            await self.again()

    async def test_behindAnError(self) -> None:
        """After a head that is none, nothing is read any more."""
        await self.start(Respond(200))
        client = await self.client()
        client.say(GET + b"\x00" + GET)
        await client.hearEnd(answer("200 OK") + PAGE("400 Bad Request", b"Connection: close"))
        self.assertEqual([end.status for end in await self.ends(2)], [200, 400])

    async def test_earlyAnswer(self) -> None:
        """A backend may answer before it has the whole body; then the connection closes."""
        await self.start()
        client = await self.client()
        client.say(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nsome")
        backend = await self.backend()
        await backend.head()
        await backend.hear(b"some")
        backend.say(answer("413 Too Large", b"no"))
        await client.hearEnd(
            answer("413 Too Large", b"no").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        )
        await self.assertEnd(Party.BACKEND, Phase.RELAY, "answered 413", 413)

    async def test_earlyHead(self) -> None:
        """While an early answer is on its way, the rest of the body still reaches the backend."""
        await self.start()
        client = await self.client()
        client.say(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nsome")
        backend = await self.backend()
        await backend.head()
        await backend.hear(b"some")
        backend.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhe")
        await client.hear(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nhe")
        client.say(b"more")
        await backend.hear(b"more")
        backend.say(b"re")
        await client.hearEnd(b"re")

    async def test_halfClosed(self) -> None:
        """A client that sends no more still gets what it asked for."""
        await self.start()
        client = await self.client()
        client.say(GET)
        client.finish()
        backend = await self.backend()
        await backend.head()
        await turns()
        backend.say(answer("200 OK", b"hello"))
        await client.hearEnd(
            answer("200 OK", b"hello").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        )


class ClosingTests(RelayTestCase):
    """Deadlines, and how the last bytes arrive."""

    async def test_silentConnection(self) -> None:
        """Who connects and says nothing is closed without a word, and without an event."""
        await self.start()
        client = await self.client()
        client.say(b"\r\n")
        await self.until(lambda: bool(self._legs), "the connection to arrive")
        await turns()
        self.clock.advance(10)
        await client.hearEnd()
        self.assertEqual(self.events, [])

    async def test_slowHead(self) -> None:
        """The whole head has one deadline, however often a byte comes."""
        await self.start()
        client = await self.client()
        for byte in b"GET / HTTP":
            client.say(bytes([byte]))
            await turns()
            self.clock.advance(0.9)
        self.clock.advance(1.1)
        await client.hearEnd(PAGE("408 Request Timeout", b"Connection: close"))
        await self.assertEnd(Party.CLIENT, Phase.ACCEPT, status=408)

    async def test_idle(self) -> None:
        """Between two requests a connection may stay for a while, then it is closed silently."""
        await self.start(Respond(200))
        client = await self.client()
        client.say(GET)
        await client.hear(answer("200 OK"))
        self.clock.advance(74)
        client.say(GET)
        await client.hear(answer("200 OK"))
        self.clock.advance(75)
        await client.hearEnd()
        self.assertEqual(len(self.closed()), 2)

    async def test_slowNextHead(self) -> None:
        """Once the next request has begun, it has the deadline of a head again."""
        await self.start(Respond(200))
        client = await self.client()
        client.say(GET)
        await client.hear(answer("200 OK"))
        self.clock.advance(70)
        client.say(b"GET")
        await turns()
        self.clock.advance(9)
        await turns()
        self.assertFalse(client.isEnded)
        self.clock.advance(1)
        await client.hearEnd(PAGE("408 Request Timeout", b"Connection: close"))

    async def test_leavesInAHead(self) -> None:
        """Who leaves in the middle of a head has asked for nothing."""
        for leave in ("finish", "vanish"):
            await self.start()
            client = await self.client()
            client.say(b"GET / HT")
            await turns()
            getattr(client, leave)()
            await client.gone()
            await self.until(lambda: not self.openLegs(), "the leg to be lost")
            self.assertEqual(self.events, [])
            await self.again()

    async def test_lingers(self) -> None:
        """What a client still sends is read for nothing, so that the answer arrives."""
        await self.start(Respond(404, (), b"no"))
        client = await self.client()
        client.say(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100000)
        client.say(b"x" * 100000)
        await client.hearEnd(
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
        )
        self.assertFalse(client.isBroken)

    async def test_lingersBounded(self) -> None:
        """A client that neither stops nor leaves is left."""
        await self.start(Respond(404))
        client = await self.client()
        client.say(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n")
        await client.head()
        client.say(b"x" * 2000000)
        await turns()
        self.clock.advance(2)
        await self.until(lambda: not self.openLegs(), "the relay to leave")

    async def test_slowReader(self) -> None:
        """A last answer has as long as it takes to be read; one never read is given up."""
        body = b"x" * 8_000_000
        await self.start(Respond(200, (), body))
        client = await self.client()
        client.transport.pauseProducing()
        client.say(OLD)
        await self.ends()
        self.clock.advance(2)
        self.clock.advance(70)
        await turns()
        client.transport.resumeProducing()
        await client.when(lambda: client.isEnded)
        self.assertTrue(client.heard.endswith(body))
        never = await self.client()
        never.transport.pauseProducing()
        never.say(OLD)
        await self.ends(2)
        self.clock.advance(2)
        self.clock.advance(75)
        await self.until(lambda: self.openLegs() == 0, "the relay to give up")

    async def test_timersOfMany(self) -> None:
        """No timer outlives its connection."""
        await self.start(Respond(200))
        clients = [await self.client() for _ in range(3)]
        for client, said in zip(clients, (b"", GET, CLOSING), strict=True):
            client.say(said)
            client.finish()
            await client.gone()
        await self.until(lambda: not self.openLegs(), "the legs to be lost")
        self.assertEqual(self.clock.getDelayedCalls(), [])

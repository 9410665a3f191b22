# -*- test-case-name: tests.l7.test_origin -*-
"""
What a backend may answer, and what it may not.
"""

from __future__ import annotations

from tests.l7.harness import PAGE, RelayTestCase, Server, answer, settled, turns
from tests.l7.tls import serverOptions
from wsrelay.model import Party, Phase

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HELLO = answer("200 OK", b"hello")


class FetchTestCase(RelayTestCase):
    """A client that has asked, and a backend that is about to answer."""

    async def fetch(self, said: bytes, request: bytes = GET) -> Server:
        """The backend says this, whatever it was asked."""
        await self.start()
        self.asking = await self.client()
        self.asking.say(request)
        backend = await self.backend()
        await backend.head()
        backend.say(said)
        return backend


class HeadTests(FetchTestCase):
    """The head of a response."""

    async def test_bad(self) -> None:
        """What is not exactly HTTP, or not what was asked for, is 502; the backend is cut."""
        ok = b"HTTP/1.1 200 OK\r\n"
        for said in [
            b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
            b"HTTP/1.1 999 Odd\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            ok + b"X : 1\r\n\r\n",
            ok + b"X: 1\r\n folded\r\n\r\n",
            ok + b"X: \x00\r\n\r\n",
            ok + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            ok + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            ok + b"Content-Length: -5\r\n\r\nhello",
            ok + b"Transfer-Encoding: gzip\r\n\r\nhello",
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n" * 17 + HELLO,
            ok + b"X: " + b"x" * 70000,
            ok + b"X: 1\r\n" * 201 + b"\r\n",
        ]:
            backend = await self.fetch(said)
            await self.asking.through(PAGE("502 Bad Gateway"))
            self.assertFalse(self.asking.isEnded, "the client is not at fault")
            await backend.gone()
            await self.assertEnd(Party.BACKEND, Phase.ANSWER, "http://127.0.0.1", 502)
            await self.again()

    async def test_byteByByte(self) -> None:
        """A response may come in any pieces."""
        backend = await self.fetch(b"")
        said = (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        said += b"5\r\nhello\r\n0\r\n\r\n"
        for byte in said:
            backend.say(bytes([byte]))
            await turns(1)
        heard = await self.asking.through(b"0\r\n\r\n")
        _, interim, body = heard.partition(b"chunked\r\n\r\n")
        self.assertTrue(heard.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"))
        self.assertEqual(b"".join(body.split(b"\r\n")[1::2]), b"hello" if interim else b"")

    async def test_interims(self) -> None:
        """As many interim responses as anybody needs pass."""
        hint = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        await self.fetch(hint * 16 + HELLO)
        await self.asking.hear(hint * 16 + HELLO)

    async def test_opaque(self) -> None:
        """Bytes beyond ASCII pass as they are."""
        said = b"HTTP/1.1 200 \xe9t\xe9\r\nX: \xff\r\nContent-Length: 0\r\n\r\n"
        await self.fetch(said)
        await self.asking.hear(said)


class BodyTests(FetchTestCase):
    """The body of a response."""

    async def test_bad(self) -> None:
        """A body that is none cuts the client, who must not take it for whole."""
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for body in (b"5\nhello", b"0x5\r\nhello\r\n", b"5\r\nhelloo\n", b"5\r\nhello\r\n-1\r\n"):
            backend = await self.fetch(head + body)
            self.assertFalse((await self.asking.hearCut()).endswith(b"0\r\n\r\n"))
            await backend.gone()
            await self.assertEnd(Party.BACKEND, Phase.RELAY, "chunk", 200)
            await self.again()

    async def test_behind(self) -> None:
        """What stands behind a response is nobody's: no second answer ever reaches a client."""
        evil = answer("200 OK", b"evil")
        for request, said, heard in [
            (GET, HELLO + evil, HELLO),
            (
                GET.replace(b"GET", b"HEAD"),
                HELLO + evil,
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            ),
            (
                GET,
                b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n" + evil,
                b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            ),
            (
                GET,
                b"HTTP/1.1 204 No Content\r\n\r\n" + evil,
                b"HTTP/1.1 204 No Content\r\n\r\n",
            ),
        ]:
            await self.fetch(said, request)
            await self.asking.hear(heard)
            await self.ends()
            self.asking.say(GET)
            backend = await self.backend()
            backend.say(answer("200 OK", b"next"))
            await self.asking.hear(answer("200 OK", b"next"))
            await self.again()

    async def test_stays(self) -> None:
        """A backend that keeps its connection open all the same is left."""
        backend = await self.fetch(HELLO)
        await self.asking.hear(HELLO)
        await backend.hearEnd()
        self.assertEqual(self._backends[0].active, 1)
        self.clock.advance(2)
        await self.until(lambda: not self._backends[0].active, "the relay to leave")

    async def test_doesNotRead(self) -> None:
        """One that answers and never reads the request is left, too."""
        await self.start()
        client = await self.client()
        client.say(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000000\r\n\r\n")
        client.say(b"x" * 30_000_000)
        backend = await self.backend()
        backend.transport.pauseProducing()
        await settled(client)
        backend.say(answer("200 OK"))
        await self.assertEnd(Party.BACKEND, Phase.RELAY, "answered 200", 200)
        self.clock.advance(2)
        self.clock.advance(10)
        await self.until(lambda: not self._backends[0].active, "the relay to leave")


class TLSTests(FetchTestCase):
    """Backends with TLS."""

    async def test_relays(self) -> None:
        """Request and response pass, and the connection ends when both have said so."""
        await self.start(backendTLS=serverOptions(), scheme="https")
        client = await self.client()
        client.say(GET)
        backend = await self.backend()
        await backend.head()
        backend.say(HELLO)
        await client.hear(HELLO)
        await self.assertEnd(Party.BACKEND, Phase.RELAY, "answered 200", 200)
        await self.until(lambda: not self._backends[0].active, "the connection to end")

    async def test_untilClose(self) -> None:
        """A body until the end of the session is whole only if TLS said it was the end."""
        for leave in ("close", "vanish"):
            await self.start(backendTLS=serverOptions(), scheme="https")
            client = await self.client()
            client.say(GET)
            backend = await self.backend()
            await backend.head()
            backend.say(b"HTTP/1.1 200 OK\r\n\r\nhello")
            await client.through(b"5\r\nhello\r\n")
            getattr(backend, leave)()
            if leave == "close":
                await client.hear(b"0\r\n\r\n")
            else:
                await client.hearCut()
            await self.again()

    async def test_noTLS(self) -> None:
        """A backend that does not speak TLS is 502."""
        await self.start(scheme="https")
        client = await self.client()
        client.say(GET)
        (await self.backend()).say(b"HTTP/1.1 200 OK\r\n\r\n")
        await client.through(PAGE("502 Bad Gateway"))
        await self.assertEnd(Party.BACKEND, Phase.DIAL, "TLS handshake", 502)

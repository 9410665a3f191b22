# -*- test-case-name: tests.filters.test_forwardauth -*-
"""
A service that is asked about each request.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from tests.certificates import theAuthority
from tests.filters.support import HANDSHAKE, FilterTestCase, exchangeOf
from tests.loopback import Server
from wsrelay.filters.forwardauth import ForwardAuthFilter, ForwardAuthOptions


class ForwardAuthTests(FilterTestCase):
    """The filter."""

    async def made(self, tls: Any = None, port: int = 0, **options: Any) -> ForwardAuthFilter:
        """A filter that asks the service, or somebody else."""
        port = port or await self.serve(tls)
        scheme = "https" if tls is not None else "http"
        url = f"{scheme}://127.0.0.1:{port}/check?x=1"
        made = ForwardAuthFilter(ForwardAuthOptions(url=url, **options), self.given)
        self.addCleanup(made.asker.close)
        return made

    async def test_question(self) -> None:
        """The service is told what is asked for and by whom, and what it needs to see."""
        made = await self.made()
        exchange = exchangeOf(
            b"Authorization: Basic x",
            b"Cookie: a=b",
            b"Cookie: c=d",
            b"X-Forwarded-For: 1.2.3.4",
            b"X-Forwarded-Uri: /public",
            b"X-Forwarded-Method: GET",
            b"X-Other: 1",
            b"Content-Length: 5",
            method=b"POST",
            target=b"/secret?x=y",
            secure=True,
        )
        self.assertIsNone(await self.answerTo(made, exchange))
        (asked,) = self.service.asked
        self.assertEqual((asked.method, asked.uri), (b"GET", b"/check?x=1"))
        for name, wanted in [
            ("X-Forwarded-Method", ["POST"]),
            ("X-Forwarded-Proto", ["https"]),
            ("X-Forwarded-Host", ["a.example"]),
            ("X-Forwarded-Uri", ["/secret?x=y"]),
            ("X-Forwarded-For", ["192.0.2.1"]),
            ("Authorization", ["Basic x"]),
            ("Cookie", ["a=b", "c=d"]),
            ("X-Other", []),
            ("Content-Length", []),
        ]:
            self.assertEqual(self.service.field(name), wanted, name)

    async def test_earlierFilters(self) -> None:
        """The service sees of the request what earlier filters have left, and no more."""
        made = await self.made(requestHeaders=["Authorization", "X-Forwarded-Uri", "X-New"])
        exchange = exchangeOf(b"Authorization: Basic x", b"X-Forwarded-Uri: /public")
        exchange.outbound.headers.remove("Authorization")
        exchange.outbound.headers.set("X-New", "1")
        exchange.outbound.headers.set("X-Forwarded-For", "1.2.3.4")
        await self.answerTo(made, exchange)
        self.assertEqual(self.service.field("Authorization"), [])
        self.assertEqual(self.service.field("X-New"), ["1"])
        self.assertEqual(self.service.field("X-Forwarded-Uri"), ["/"])
        self.assertEqual(self.service.field("X-Forwarded-For"), ["192.0.2.1"])
        self.assertEqual(self.service.field("X-Forwarded-Host"), ["a.example"])

    async def test_statuses(self) -> None:
        """2xx passes, 300-499 is the client's answer, everything else is 503."""
        made = await self.made()
        for status, wanted in [
            (200, 0),
            (204, 0),
            (299, 0),
            (300, 300),
            (302, 302),
            (401, 401),
            (403, 403),
            (404, 404),
            (499, 499),
            (500, 503),
            (503, 503),
            (599, 503),
            (600, 503),
            (999, 503),
        ]:
            self.service.status = status
            with capturedLogs():
                self.assertEqual(await self.statusOf(made), wanted, status)

    async def test_copied(self) -> None:
        """What it says of the client is told to the backend; what the client says is not."""
        made = await self.made(copyHeaders=["X-User", "X-Groups"])
        forgeries = (b"X-User: root", b"x_groups: root", b"X.Groups: root", b"X-Other: 1")
        for told in ([(b"x-user", b"ada"), (b"X-Groups", b"a"), (b"X-Groups", b"b")], []):
            self.service.fields = [*told, (b"X-Secret", b"1")]
            exchange = exchangeOf(*forgeries)
            self.assertIsNone(await self.answerTo(made, exchange))
            self.assertEqual(exchange.told("X-User"), ["ada"] if told else [])
            self.assertEqual(exchange.told("X-Groups"), ["a", "b"] if told else [])
            names = {name.lower() for name, _ in exchange.outbound.headers}
            self.assertIn("x-other", names)
            self.assertFalse(names & {"x_groups", "x.groups", "x-secret"})

    async def test_answered(self) -> None:
        """Its refusal reaches the client: status, body, and the fields that are chosen."""
        made = await self.made()
        self.service.status, self.service.body = 302, b"this way"
        self.service.fields = [
            (b"Location", b"https://login.example/?rd=/"),
            (b"Set-Cookie", b"a=b"),
            (b"Set-Cookie", b"c=d"),
            (b"X-Internal", b"1"),
        ]
        respond = await self.answerTo(made, exchangeOf())
        assert respond is not None
        self.assertEqual((respond.status, respond.body), (302, b"this way"))
        names = [name for name, _ in respond.headers]
        self.assertEqual(names[:3], [b"Location", b"Set-Cookie", b"Set-Cookie"])
        self.assertNotIn(b"X-Internal", names)

    async def test_unanswered(self) -> None:
        """No service, none in time, half an answer, or one too long: 503, and the log says so."""
        answers = (b"", b"what?", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        with capturedLogs() as logs:
            made = await self.made(port=self.refusing())
            self.assertEqual(await self.statusOf(made, b"Cookie: sekrit"), 503)
            for said in answers:
                server = Server()
                made = await self.made(port=await self.listen(server), timeout=5)
                answer = Deferred.fromCoroutine(self.statusOf(made, b"Cookie: sekrit"))
                peer = await server.peers.get()
                await peer.when(lambda got: b"\r\n\r\n" in got)
                peer.send(said)
                peer.transport.loseConnection()
                self.assertEqual(await answer, 503)
                await peer.lost
            silent = Server()
            made = await self.made(port=await self.listen(silent), timeout=0.05)
            answer = Deferred.fromCoroutine(self.statusOf(made))
            peer = await silent.peers.get()
            self.assertEqual(await answer, 503)
            self.addCleanup(self.hangUp, peer)
            self.service.body = b"x" * 101
            for status in (200, 403):
                self.service.status = status
                self.assertEqual(await self.statusOf(await self.made(maxBody=100)), 503)
        told = [formatEvent(each) or "" for each in logs]
        count = len([each for each in told if "the service did not answer" in each])
        self.assertEqual(count, 7)
        self.assertNotIn("sekrit", "".join(told))

    async def test_unsafe(self) -> None:
        """A field of its that is not safe to write is as good as no answer."""
        server = Server()
        port = await self.listen(server)
        for status in (b"200 OK", b"403 Forbidden"):
            made = await self.made(port=port, copyHeaders=["X-User"], answerHeaders=["X-User"])
            answer = Deferred.fromCoroutine(self.statusOf(made))
            peer = await server.peers.get()
            head = b"HTTP/1.1 " + status + b"\r\nX-User: a\x0bb\r\nContent-Length: 0\r\n\r\n"
            await peer.when(lambda got: b"\r\n\r\n" in got)
            peer.send(head)
            with capturedLogs():
                self.assertEqual(await answer, 503)
            peer.transport.loseConnection()
            await peer.lost

    async def test_twice(self) -> None:
        """Two Authorization fields are answered with 400, and nobody is asked."""
        made = await self.made()
        shown = b"Authorization: Basic x"
        self.assertEqual(await self.statusOf(made, shown, shown), 400)
        self.assertEqual(self.service.asked, [])

    async def test_waiting(self) -> None:
        """So many are asked about at a time; the next one gets 503 at once."""
        made = await self.made(waiting=2)
        self.service.isHolding = True
        answers = [Deferred.fromCoroutine(self.statusOf(made)) for _ in range(3)]
        self.assertEqual(self.successResultOf(answers.pop()), 503)
        while len(self.service.held) < 2:
            await self.turns()
        self.service.release()
        for answer in answers:
            self.assertEqual(await answer, 0)
        self.assertEqual(await self.statusOf(made), 0)

    async def test_secure(self) -> None:
        """Over https it must be who is trusted."""
        ca = theAuthority().write(Path(self.mktemp()))
        made = await self.made(theAuthority().issue("127.0.0.1").options(), ca=ca)
        self.assertEqual(await self.statusOf(made), 0)
        made = await self.made(theAuthority().issue("other.example").options(), ca=ca)
        with capturedLogs():
            self.assertEqual(await self.statusOf(made), 503)
        self.assertEqual(len(self.service.asked), 1)

    def test_options(self) -> None:
        """Passwords are not sent in the clear through a network, unless it is written out."""
        for url, isFine in [
            ("https://a.example/", True),
            ("http://localhost:1/", True),
            ("http://127.0.0.1/", True),
            ("http://[::1]:8/x", True),
            ("http://a.example/", False),
            ("http://localhost.a.example/", False),
            ("http://127.0.0.1.a.example/", False),
        ]:
            if isFine:
                self.assertEqual(ForwardAuthOptions(url=url).url, url)
            else:
                error = self.assertRaises(ValidationError, ForwardAuthOptions, url=url)
                self.assertIn("expected https", str(error))
                self.assertTrue(ForwardAuthOptions(url=url, insecure=True).insecure)
        for name in ("requestHeaders", "copyHeaders", "answerHeaders"):
            for wrong in ("Transfer-Encoding", "Host", "a b"):
                self.assertRaises(
                    ValidationError, ForwardAuthOptions, **{"url": "https://a/", name: [wrong]}
                )


class RelayTests(FilterTestCase):
    """Inside a relay."""

    async def test_refused(self) -> None:
        """A WebSocket that the service refuses gets its answer instead of a 101."""
        asked = await self.serve()
        self.service.status, self.service.body = 302, b"this way"
        self.service.fields = [(b"Location", b"/login"), (b"Content-Type", b"text/plain")]
        options = f'use = "forward-auth"\nurl = "http://127.0.0.1:{asked}/"'
        port, backend = await self.relay(options)
        heard = await self.refusedRaw(port, HANDSHAKE + b"\r\n", lambda got: b"this way" in got)
        self.assertTrue(heard.startswith(b"HTTP/1.1 302 Found\r\nLocation: /login\r\n"), heard)
        self.assertIn(b"\r\nContent-Length: 8\r\n", heard)
        self.service.status = 500
        heard = await self.refusedRaw(port, HANDSHAKE + b"\r\n")
        self.assertTrue(heard.startswith(b"HTTP/1.1 503 Service Unavailable\r\n"), heard)
        self.assertEqual(backend.count, 0)

    async def test_passes(self) -> None:
        """One that it lets in reaches the backend, with what it says of the client."""
        asked = await self.serve()
        self.service.fields = [(b"X-User", b"ada")]
        port, backend = await self.relay(
            f'use = "forward-auth"\nurl = "http://127.0.0.1:{asked}/"\ncopyHeaders = ["X-User"]'
        )
        client = await self.dial(port)
        client.send(HANDSHAKE + b"X_USER: root\r\nConnection: X-User\r\n\r\n")
        peer = await backend.peers.get()
        head = await peer.when(lambda got: b"\r\n\r\n" in got)
        self.assertIn(b"\r\nX-User: ada\r\n", head)
        self.assertNotIn(b"root", head)
        await self.hangUp(client)
        await peer.lost

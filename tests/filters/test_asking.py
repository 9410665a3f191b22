# -*- test-case-name: tests.filters.test_asking -*-
"""
Asking HTTP services.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tests.certificates import theAuthority
from tests.filters.support import FilterTestCase
from tests.loopback import Server
from wsrelay.filters.asking import Asker, Told, Unanswered, Url


class AskerTests(FilterTestCase):
    """One service."""

    def asker(self, port: int, scheme: str = "http", **how: Any) -> Asker:
        """Somebody who asks it, patiently."""
        how = {"timeout": 5.0, "maxBody": 100, **how}
        made = Asker(self.given.reactor, f"{scheme}://127.0.0.1:{port}/check?a=b", **how)
        self.addCleanup(made.close)
        return made

    async def test_asks(self) -> None:
        """The question has its fields, and the whole answer comes back, whatever its status."""
        asker = self.asker(await self.serve())
        self.service.body = b"x" * 100
        for status in (200, 204, 302, 401, 503):
            self.service.status = status
            self.service.fields = [(b"X-Told", b"1"), (b"X-Told", b"2")]
            told: Told = await asker.ask([(b"Cookie", b"a=b"), (b"Cookie", b"c=d")])
            self.assertEqual(told.status, status)
            self.assertEqual(told.headers.getAll("x-told"), ["1", "2"])
            self.assertEqual(told.body, b"" if status == 204 else b"x" * 100)
        request = self.service.asked[-1]
        self.assertEqual((request.method, request.uri), (b"GET", b"/check?a=b"))
        self.assertEqual(self.service.field("cookie"), ["a=b", "c=d"])

    async def test_kept(self) -> None:
        """One connection serves many questions."""
        asker = self.asker(await self.serve())
        for _ in range(5):
            await asker.ask()
        self.assertEqual((len(self.channels), len(self.service.asked)), (1, 5))

    async def test_tooLong(self) -> None:
        """An answer that is too long is none, whether it says so or not."""
        asker = self.asker(await self.serve())
        self.service.body = b"x" * 101
        with self.assertRaises(Unanswered):
            await asker.ask()
        endless = Server()
        asker = self.asker(await self.listen(endless))
        asked = asker.ask()
        peer = await endless.peers.get()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1000)
        with self.assertRaises(Unanswered) as caught:
            await asked
        self.assertIn("too long", str(caught.exception))
        await peer.over
        self.addCleanup(self.hangUp, peer)

    async def test_noAnswer(self) -> None:
        """Nobody there, no HTTP, half an answer, and none in time are no answers."""
        with self.assertRaises(Unanswered):
            await self.asker(self.refusing()).ask()
        for said in (b"what?\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", b""):
            server = Server()
            asked = self.asker(await self.listen(server)).ask()
            peer = await server.peers.get()
            await peer.when(lambda got: b"\r\n\r\n" in got)
            peer.send(said)
            peer.transport.loseConnection()
            with self.assertRaises(Unanswered):
                await asked
            await peer.lost

    async def test_late(self) -> None:
        """After the time that it has, nobody waits any more, for a head or for a body."""
        for said in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"):
            server = Server()
            asked = self.asker(await self.listen(server), timeout=0.05).ask()
            peer = await server.peers.get()
            peer.send(said)
            with self.assertRaises(Unanswered) as caught:
                await asked
            self.assertEqual(str(caught.exception), "nothing whole in 0.05 s")
            await peer.over
            self.addCleanup(self.hangUp, peer)

    async def test_certificates(self) -> None:
        """A certificate must be for the name, from who is trusted."""
        ca = theAuthority().write(Path(self.mktemp()))
        for names, trusted, isFine in [
            (("127.0.0.1",), ca, True),
            (("127.0.0.1",), None, False),
            (("a.example",), ca, False),
        ]:
            port = await self.serve(theAuthority().issue(*names).options())
            asked = self.asker(port, "https", ca=trusted).ask()
            if isFine:
                self.assertEqual((await asked).status, 200)
            else:
                with self.assertRaises(Unanswered):
                    await asked

    def test_ca(self) -> None:
        """A file of certificates must hold some."""
        path = Path(self.mktemp())
        for text in (None, "", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"):
            if text is not None:
                path.write_text(text)
            with self.assertRaises(ValueError) as caught:
                self.asker(1, "https", ca=path)
            self.assertIn(f"ca: {path}: ", str(caught.exception))

    def test_url(self) -> None:
        """What is asked is an HTTP URL, with nothing in it that would be lost or shown."""
        adapter: TypeAdapter[str] = TypeAdapter(Url)
        for right in ("http://a", "https://[::1]:8/x?y=z"):
            self.assertEqual(adapter.validate_python(right), right)
        for wrong in (
            "a",
            "ftp://a",
            "file:///etc/passwd",
            "http://",
            "http://u:p@a",
            "http://a#b",
            "http://a b",
            "http://a\r\n",
            "http://\xe4",
            "http://a:x",
            "http://[::1",
        ):
            with self.assertRaises(ValidationError, msg=wrong):
                adapter.validate_python(wrong)

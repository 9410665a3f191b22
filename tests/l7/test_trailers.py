"""
Trailers: which of them reach the other side, and how.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.l7.harness import FORWARDED, OnNativePlane, RelayTestCase, answer
from wsrelay.backends.pool import KeepAlive
from wsrelay.l7.trailers import announced, passing
from wsrelay.model import Forward, Headers
from wsrelay.rules import FieldRules, Rules

HELLO = answer("200 OK", b"hello")
BODY = b"5\r\nhello\r\n0\r\n"


class PassingTests(SynchronousTestCase):
    """Names that may and may not stand behind a body."""

    def test_table(self) -> None:
        """What was announced passes, unless it means something on the way."""
        for said, trailer, passes in [
            (b"X-Checksum", b"X-Checksum", True),
            (b"x-checksum", b"X-CHECKSUM", True),
            (b"a, X-Checksum , b", b"x-checksum", True),
            (b"Server-Timing", b"Server-Timing", True),
            (b"Digest", b"Repr-Digest", False),
            (b"X Sum", b"X Sum", False),
            (b"", b"X-Checksum", False),
            (b"Content-Length", b"Content-Length", False),
            (b"Transfer-Encoding", b"Transfer-Encoding", False),
            (b"Host", b"Host", False),
            (b"Authorization", b"Authorization", False),
            (b"Cookie", b"Cookie", False),
            (b"Set-Cookie", b"Set-Cookie", False),
            (b"Content-Type", b"Content-Type", False),
            (b"If-Match", b"If-Match", False),
            (b"X-Forwarded-For", b"X-Forwarded-For", False),
            (b"X_Forwarded_For", b"X_Forwarded_For", False),
            (b"Sec-WebSocket-Key", b"Sec-WebSocket-Key", False),
            (b"X-HTTP-Method-Override", b"X-HTTP-Method-Override", False),
            (b"Connection", b"Connection", False),
        ]:
            names = announced(Headers([(b"Trailer", said)]))
            kept = passing([(trailer, b"1")], names)
            self.assertEqual(kept, [(trailer, b"1")] if passes else [], (said, trailer))


class TrailerTests(RelayTestCase):
    """Trailers through the relay."""

    async def test_request(self) -> None:
        """Those of a request reach the backend, behind the body that the relay frames."""
        await self.start()
        client = await self.client()
        client.say(
            b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Host\r\n"
            b"\r\n" + BODY + b"X-Sum:  7 \r\nHost: evil\r\nX-Other: 1\r\n\r\n"
        )
        backend = await self.backend()
        await backend.hear(
            b"PUT / HTTP/1.1\r\nHost: a\r\n"
            + FORWARDED
            + b"Transfer-Encoding: chunked\r\nTrailer: x-sum\r\nConnection: close\r\n\r\n"
            + BODY
            + b"X-Sum: 7\r\n\r\n"
        )
        backend.say(HELLO)
        await client.hear(HELLO)

    async def test_edited(self) -> None:
        """Where filters or rules vouch for fields, those of a request end here."""
        rules = Rules(request=FieldRules(remove=("X-User",)))
        await self.start(Forward("pool", (), "route", rules=rules))
        client = await self.client()
        client.say(
            b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-User\r\n\r\n"
            + BODY
            + b"X-User: mallory\r\n\r\n"
        )
        backend = await self.backend()
        heard = await backend.through(b"0\r\n\r\n")
        self.assertNotIn(b"X-User", heard)
        self.assertNotIn(b"Trailer", heard)
        backend.say(HELLO)
        await client.hear(HELLO)

    async def test_response(self) -> None:
        """Those of a response reach a client that takes them, and no other."""
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
        trailers = b"X-Sum: 7\r\nSet-Cookie: a=b\r\n\r\n"
        for fields, heard in [
            (b"TE: trailers\r\n", head + b"Trailer: x-sum\r\n\r\n" + BODY + b"X-Sum: 7\r\n\r\n"),
            (b"TE: gzip, Trailers;q=1\r\n", None),
            (b"", head + b"\r\n" + BODY + b"\r\n"),
        ]:
            await self.start(keepAlive=KeepAlive(1, 10.0))
            client = await self.client()
            client.say(b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n")
            backend = await self.backend()
            await backend.head()
            backend.say(head + b"Trailer: X-Sum, Set-Cookie\r\n\r\n" + BODY + trailers)
            if heard is not None:
                await client.hear(heard)
            else:
                await client.through(b"X-Sum: 7\r\n\r\n")
            await self.again()

    async def test_old(self) -> None:
        """A client of HTTP/1.0 gets the body alone."""
        await self.start()
        client = await self.client()
        client.say(b"GET / HTTP/1.0\r\nHost: a\r\nTE: trailers\r\n\r\n")
        backend = await self.backend()
        await backend.head()
        backend.say(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            + BODY
            + b"X-Sum: 7\r\n\r\n"
        )
        await client.hearEnd(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello")


class NativeTrailerTests(OnNativePlane, TrailerTests):
    """The same with the native engine's connections."""

# -*- test-case-name: tests.l7.test_exchange_cache -*-
"""
A cache behind an exchange: bytes in, bytes out.

What may be kept, and for how long, stands in the tests of L{wsrelay.wire.caching} and of the cache
itself.
"""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from tests.l7.harness import FORWARDED, PAGE, OnNativePlane, RelayTestCase, answer
from tests.l7.peers import Client
from wsrelay.backends.pool import KeepAlive
from wsrelay.interfaces import IRequestFilter
from wsrelay.l7.cache import Cache, CacheSettings
from wsrelay.model import Forward, Party, Phase
from wsrelay.rules import FieldRules, Rules

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
KEPT = answer("200 OK", b"hello", b"Cache-Control: max-age=60", b'ETag: "7"')
MISS = b"Cache-Status: wsrelay; fwd=uri-miss; stored\r\n"
# The relay's time begins with the epoch.
_HEAD = (
    b'HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nETag: "7"\r\n'
    b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
)
_LENGTH = b"Content-Length: 5\r\n"
_MARK = b"Age: 0\r\nCache-Status: wsrelay; hit; ttl=60\r\n"
HIT = _HEAD + _LENGTH + _MARK


@implementer(IRequestFilter)
class Seal:
    """A filter that edits every answer."""

    def requestReceived(self, exchange: Any) -> None:
        """Nothing to do."""

    def responseReceived(self, exchange: Any) -> None:
        """One more field."""
        exchange.response.headers.set("X-Seal", "1")


class CacheTests(RelayTestCase):
    """A route whose answers are kept."""

    async def begin(self, forward: Forward | None = None, **more: Any) -> Client:
        """A client whose first request was answered by the backend."""
        self.cache = Cache(CacheSettings(), self.clock, self.clock.seconds)
        forward = forward or Forward("pool", (), "route", cache="pages")
        caches = {"pages": self.cache}
        await self.start(forward, caches=caches, keepAlive=KeepAlive(2, 10.0), **more)
        client = await self.client()
        client.say(GET)
        backend = await self.backend()
        await backend.hear(b"GET / HTTP/1.1\r\nHost: a\r\n" + FORWARDED + b"\r\n")
        backend.say(KEPT)
        await client.through(b"hello")
        return client

    async def test_hit(self) -> None:
        """The second answer is the relay's, for every client, many at once and one by one."""
        client = await self.begin()
        for each in (client, await self.client()):
            each.say(GET)
            await each.hear(HIT + b"\r\nhello")
        client.say(GET * 3)
        await client.hear((HIT + b"\r\nhello") * 3)
        self.assertEqual(self.cache.counts.hits, 5)
        self.assertEqual(len(self.servers.all), 1)
        end = await self.assertEnd(Party.RELAY, Phase.RELAY, "answered 200 from the cache", 200)
        self.assertEqual((end.backend, end.route), ("", "route"))

    async def test_lastOne(self) -> None:
        """A client that wants no other answer is told that there is none."""
        for request in (
            GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
            GET.replace(b"1.1", b"1.0"),
        ):
            await self.begin()
            client = await self.client()
            client.say(request)
            await client.hearEnd(HIT + b"Connection: close\r\n\r\nhello")
            await self.again()

    async def test_parts(self) -> None:
        """Who asks for the head alone, or has the answer already, gets no body."""
        client = await self.begin()
        client.say(GET.replace(b"GET", b"HEAD"))
        await client.hear(_HEAD + _MARK + _LENGTH + b"\r\n")
        client.say(GET.replace(b"\r\n\r\n", b'\r\nIf-None-Match: "7"\r\n\r\n'))
        head = await client.head()
        self.assertTrue(head.startswith(b"HTTP/1.1 304 Not Modified\r\n"), head)
        self.assertEqual(len(self.servers.all), 1)

    async def test_edited(self) -> None:
        """Filters and rules of the route see what comes from the cache, too."""
        rules = Rules(response=FieldRules(set=(("X-Rule", "2"),)))
        forward = Forward("pool", ("seal",), "route", rules=rules, cache="pages")
        client = await self.begin(forward, filters={"seal": Seal()})
        client.say(GET)
        head = await client.head()
        self.assertIn(b"\r\nX-Seal: 1\r\n", head)
        self.assertIn(b"\r\nX-Rule: 2\r\n", head)
        self.assertIn(b"; hit; ", head)
        await client.hear(b"hello")

    async def test_changed(self) -> None:
        """Once something was changed the backend is asked again."""
        client = await self.begin()
        (backend,) = self.servers.all
        client.say(b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n")
        await backend.head()
        backend.say(answer("204 No Content")[:-2].replace(b"Content-Length: 0\r\n", b"") + b"\r\n")
        await client.head()
        client.say(GET)
        await backend.head()
        backend.say(KEPT)
        said = await client.through(b"hello")
        self.assertIn(MISS, said)

    async def test_backendGone(self) -> None:
        """What is kept is there when the backend is not; what is not kept is 502."""
        client = await self.begin()
        (backend,) = self.servers.all
        await self.stopBackend()
        backend.vanish()
        client.say(GET)
        await client.hear(HIT + b"\r\nhello")
        client.say(GET.replace(b" / ", b" /other "))
        await client.through(PAGE("502 Bad Gateway"))


class NativeCacheTests(OnNativePlane, CacheTests):
    """The same with the native engine's connections."""

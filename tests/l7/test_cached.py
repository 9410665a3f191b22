# -*- test-case-name: tests.l7.test_cached -*-
"""
What one client gets from a cache.
"""

from __future__ import annotations

from typing import Any

from tests.l7.harness import RelayTestCase, answer
from tests.l7.scripted import DATE, FRESH, Asking, CacheTestCase, fieldsOf
from wsrelay.backends.balancers import RoundRobin
from wsrelay.backends.pool import Pool
from wsrelay.l7.cache import Cache, CacheSettings
from wsrelay.l7.errand import Errand
from wsrelay.l7.outgoing import Outgoing
from wsrelay.model import (
    Address,
    Headers,
    Inbound,
    MutableHeaders,
    OutboundRequest,
    Request,
    Response,
    RouteSettings,
)
from wsrelay.wire.bodies import BodyKind, Framing
from wsrelay.wire.heads import writeRequest

HOUR_AGO = "Sun, 06 Nov 1994 07:49:37 GMT"


class HitTests(CacheTestCase):
    """What is kept is served."""

    def test_fresh(self) -> None:
        """An answer is used until it is stale, with its age and what the cache did."""
        first = self.ask()
        self.last.answer(FRESH, "X: 1")
        self.assertEqual(first.outcome, (200, b"hello", True))
        self.assertEqual(first.said, "wsrelay; fwd=uri-miss; stored")
        self.clock.advance(59)
        second = self.ask()
        self.assertHit(second)
        expected = fieldsOf(DATE, FRESH, "X: 1", "Content-Length: 5", "Age: 59")
        expected += fieldsOf("Cache-Status: wsrelay; hit; ttl=1")
        self.assertEqual(second.fields, Headers(expected))
        self.assertEqual(second.framing, Framing(BodyKind.LENGTH, 5))
        self.clock.advance(1)
        self.assertMiss(self.ask())

    def test_oldWhenItCame(self) -> None:
        """What another cache says about age and itself is counted, and not said twice."""
        self.keep(FRESH, "Age: 50", "Cache-Status: other; hit")
        hit = self.ask()
        self.assertEqual(hit.fields.getAll("age"), ["50"])
        self.assertEqual(hit.fields.getAll("cache-status"), ["wsrelay; hit; ttl=10"])
        self.clock.advance(10)
        self.assertMiss(self.ask())

    def test_otherCaches(self) -> None:
        """What caches closer to the backend say of this request is passed on."""
        asking = self.ask()
        self.last.answer("Cache-Status: other; fwd=miss")
        said = ["other; fwd=miss", "wsrelay; fwd=uri-miss"]
        self.assertEqual(asking.fields.getAll("cache-status"), said)

    def test_delay(self) -> None:
        """The time that the answer took counts for its age."""
        self.ask()
        self.clock.advance(5)
        self.last.answer(FRESH, "Age: 2")
        self.assertEqual(self.ask().fields.get("age"), "7")

    def test_noDate(self) -> None:
        """What had no date gets that of its arrival (RFC 9110 section 6.6.1)."""
        self.ask()
        sent = self.last
        head = Response(204, "", Headers(fieldsOf(FRESH)))
        sent.hearer.responded(head, Framing(BodyKind.NONE))
        sent.end()
        self.assertEqual(f"Date: {self.ask().fields.get('date')}", DATE)

    def test_bare(self) -> None:
        """An answer without body is kept, too."""
        self.ask()
        self.last.answer(FRESH, status=204)
        hit = self.ask()
        self.assertEqual((hit.outcome, hit.framing), ((204, b"", True), Framing(BodyKind.NONE)))
        self.assertNotIn("content-length", hit.fields)

    def test_chunked(self) -> None:
        """A body of any pieces is kept, with its length."""
        self.ask()
        self.last.head(FRESH)
        self.last.body(b"h", b"ell", b"o")
        self.last.end()
        hit = self.ask()
        self.assertHit(hit)
        self.assertEqual((hit.pieces, hit.fields.get("content-length")), (1, "5"))

    def test_hopByHop(self) -> None:
        """What was meant for the connection to the backend is not kept (section 3.1)."""
        self.keep(FRESH, "Connection: X-A", "X-A: 1", "Keep-Alive: timeout=5")
        fields = self.ask().fields
        for name in ("connection", "x-a", "keep-alive"):
            self.assertNotIn(name, fields)

    def test_large(self) -> None:
        """A large body goes out as the client takes it."""
        body = bytes(range(256)) * 1000
        self.keep(FRESH, body=body)
        hit = self.ask(pausesAfter=2)
        self.assertEqual(hit.pieces, 1, "nobody has been told yet how to pause it")
        self.clock.advance(0)
        self.assertEqual((hit.pieces, hit.isOver), (2, False))
        self.clock.advance(1)
        hit.errand.producer.resumeProducing()
        self.assertHit(hit, body)

    def test_left(self) -> None:
        """A client that leaves hears nothing more."""
        self.keep(FRESH, body=b"x" * 200_000)
        hit = self.ask()
        hit.errand.cancel()
        self.clock.advance(0)
        self.assertEqual((hit.pieces, hit.isOver), (1, False))


class WishTests(CacheTestCase):
    """Clients may ask for more than is stored."""

    def test_noCache(self) -> None:
        """A reload asks the backend, with what was kept if that can be confirmed."""
        self.keep(FRESH, 'ETag: "1"')
        asking = self.ask("Cache-Control: no-cache")
        sent = self.assertMiss(asking)
        self.assertEqual(sent.fields.get("if-none-match"), '"1"')
        sent.answer(status=304)
        self.assertEqual(asking.outcome, (200, b"hello", True))
        self.assertEqual(asking.said, "wsrelay; fwd=request; fwd-status=304")

    def test_deaf(self) -> None:
        """The operator may choose not to hear it."""
        self.start(isObedient=False)
        self.keep()
        self.assertHit(self.ask("Cache-Control: no-cache", "Pragma: no-cache"))

    def test_onlyIfCached(self) -> None:
        """Who wants nothing but what is kept gets that, or 504 (section 5.2.1.7)."""
        wish = "Cache-Control: only-if-cached"
        for method, body in [("GET", b"504 Gateway Timeout\n"), ("HEAD", b"")]:
            asking = self.ask(wish, method=method)
            self.assertEqual(asking.outcome, (504, body, True))
        self.assertEqual(self.sent, [])
        self.keep()
        self.assertHit(self.ask(wish))

    def test_noStore(self) -> None:
        """The answer to who wants nothing kept is not (section 5.2.1.5)."""
        asking = self.ask("Cache-Control: no-store", 'If-None-Match: "1"')
        self.assertEqual(self.last.fields.get("if-none-match"), '"1"')
        self.last.answer(FRESH)
        self.assertEqual(asking.said, "wsrelay; fwd=uri-miss")
        self.assertMiss(self.ask())

    def test_stale(self) -> None:
        """Who takes something stale gets it."""
        self.keep()
        self.clock.advance(65)
        hit = self.ask("Cache-Control: max-stale=10")
        self.assertHit(hit)
        self.assertEqual(hit.said, "wsrelay; hit; ttl=-5")


class ConditionTests(CacheTestCase):
    """Clients that have something already."""

    def test_fresh(self) -> None:
        """A client that has what is kept is told so, and what a 304 must say (15.4.5)."""
        tag, modified = 'ETag: "1"', f"Last-Modified: {HOUR_AGO}"
        self.keep(FRESH, tag, modified, "Content-Type: a", "Vary: Accept")
        for field in ('If-None-Match: "0", W/"1"', f"If-Modified-Since: {HOUR_AGO}"):
            hit = self.ask(field)
            self.assertEqual(hit.outcome, (304, b"", True), field)
            self.assertEqual(hit.framing, Framing(BodyKind.NONE))
            names = [name for name, _ in hit.fields]
            expected = ["Date", "Cache-Control", "ETag", "Last-Modified", "Vary", "Age"]
            self.assertEqual(names, [*expected, "Cache-Status"])
        self.assertHit(self.ask('If-None-Match: "2"'))

    def test_miss(self) -> None:
        """What a client has does not keep the cache from being filled for the others."""
        asking = self.ask('If-None-Match: "1"', f"If-Modified-Since: {HOUR_AGO}")
        sent = self.assertMiss(asking)
        self.assertNotIn("if-none-match", sent.fields)
        self.assertNotIn("if-modified-since", sent.fields)
        sent.answer(FRESH, 'ETag: "1"')
        self.assertEqual(asking.outcome, (304, b"", True))
        self.assertHit(self.ask())

    def test_missNotKept(self) -> None:
        """Where nothing is kept, nothing is read that nobody wants."""
        asking = self.ask('If-None-Match: "1"')
        self.last.answer("Cache-Control: no-store", 'ETag: "1"')
        self.assertEqual(asking.outcome, (304, b"", True))
        self.assertTrue(self.last.isCancelled)

    def test_head(self) -> None:
        """HEAD is answered from a GET, and is no reason to keep anything."""
        asking = self.ask(method="HEAD")
        self.last.answer(FRESH, body=b"")
        self.assertEqual(asking.outcome, (200, b"", True))
        self.keep()
        hit = self.ask(method="HEAD")
        self.assertEqual(hit.outcome, (200, b"", True))
        self.assertEqual(
            (hit.fields.get("content-length"), hit.framing.kind), ("5", BodyKind.NONE)
        )

    def test_headLeaves(self) -> None:
        """A client that leaves takes its own errand with it."""
        asking = self.ask(method="HEAD")
        asking.errand.cancel()
        self.assertTrue(self.last.isCancelled)


class PassingTests(CacheTestCase):
    """Requests that the cache has nothing to do with."""

    def test_passing(self) -> None:
        """What means something else than its URL says goes by, and is marked so."""
        self.keep()
        for line in [
            "Range: bytes=0-1",
            "If-Match: *",
            "If-Unmodified-Since: x",
            "X-HTTP-Method-Override: DELETE",
            "X_Http_Method_Override: DELETE",
            "X-Original-URL: /admin",
            "Content-Length: 5",
            "Transfer-Encoding: chunked",
        ]:
            asking = self.ask(line)
            self.assertMiss(asking)
            asking.errand = self.last
            self.last.answer(FRESH, body=b"evil")
            self.assertEqual(asking.said, "wsrelay; fwd=bypass", line)
            self.assertHit(self.ask())

    def test_method(self) -> None:
        """Other methods go by, and forget what they have changed (section 4.4)."""
        for method, status, isKept in [
            ("OPTIONS", 200, True),
            ("POST", 500, True),
            ("POST", 404, True),
            ("POST", 204, False),
            ("PUT", 303, False),
            ("FROB", 200, False),
        ]:
            self.start()
            self.keep()
            self.ask(method=method)
            self.last.answer(status=status)
            if isKept:
                self.assertHit(self.ask())
            else:
                self.assertMiss(self.ask())


class ErrandTests(RelayTestCase):
    """With errands to a true backend."""

    async def begin(self) -> None:
        """A backend, and a cache before it."""
        await self.start()
        backend = self._backends[0]
        self.pool = Pool("pool", [backend], RoundRobin())
        self.cache = Cache(CacheSettings(), self.clock, self.clock.seconds)

    def make(self, fields: list[tuple[bytes, bytes]], hearer: Any) -> Errand:
        """What an exchange would make."""
        outgoing = Outgoing("GET", writeRequest("GET", "/", [*fields, (b"Connection", b"close")]))
        settings = RouteSettings()
        return Errand(self.pool, self.inbound(), settings, outgoing, hearer, self.clock)

    def inbound(self) -> Inbound:
        """A client."""
        client = Address("127.0.0.1", 1)
        request = Request("GET", "/", Headers(fieldsOf("Host: a")))
        return Inbound("1", "public", client, client, request=request)

    def ask(self) -> Asking:
        """It asks."""
        asking = Asking()
        request = OutboundRequest("GET", "/", MutableHeaders(fieldsOf("Host: a")))
        asking.errand = self.cache.errand(request, self.inbound(), asking, self.make)
        asking.errand.begin()
        return asking

    async def test_road(self) -> None:
        """An answer is fetched once, used, and confirmed."""
        await self.begin()
        first, second = self.ask(), self.ask()
        backend = await self.backend()
        self.assertNotIn(b"If-None-Match", await backend.head())
        backend.say(answer("200 OK", b"hello", FRESH.encode(), b'ETag: "1"'))
        await self.until(lambda: first.isComplete and second.isComplete, "the answers")
        self.assertEqual(self.ask().outcome, (200, b"hello", True))
        self.clock.advance(61)
        third = self.ask()
        backend = await self.backend()
        self.assertIn(b'If-None-Match: "1"\r\n', await backend.head())
        backend.say(b"HTTP/1.1 304 Not Modified\r\n\r\n")
        await self.until(lambda: third.isComplete, "the answer")
        outcomes = {each.outcome for each in (first, second, third, self.ask())}
        self.assertEqual(outcomes, {(200, b"hello", True)})
        self.assertEqual(len(self.servers.all), 2)

    async def test_fails(self) -> None:
        """When a backend breaks the connection, all who wait are told, or try again."""
        await self.begin()
        leader, other = self.ask(), self.ask()
        backend = await self.backend()
        await backend.head()
        backend.vanish()
        await self.until(lambda: leader.error is not None, "the failure")
        backend = await self.backend()
        backend.say(answer("200 OK", b"hello"))
        await self.until(lambda: other.isComplete, "the answer")
        self.assertEqual(other.outcome, (200, b"hello", True))

    async def test_leaves(self) -> None:
        """When the client leaves, so does the relay."""
        await self.begin()
        asking = self.ask()
        backend = await self.backend()
        await backend.head()
        asking.errand.cancel()
        await backend.gone()

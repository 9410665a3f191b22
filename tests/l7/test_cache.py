# -*- test-case-name: tests.l7.test_cache -*-
"""
What a cache keeps things by, how much of it, and how to get rid of it.
"""

from __future__ import annotations

from tests.l7.scripted import FRESH, CacheTestCase, fieldsOf
from wsrelay.l7.cache import CacheSettings
from wsrelay.model import (
    Address,
    Headers,
    Inbound,
    MutableHeaders,
    OutboundRequest,
    Request,
    Response,
)


class KeyTests(CacheTestCase):
    """Nobody gets the answer to another question."""

    def test_other(self) -> None:
        """Whatever may make a difference to a backend makes one here."""
        self.keep()
        evil = fieldsOf("Host: a", "X-Forwarded-Host: evil")
        for other in [
            {"target": "/x"},
            {"target": "/?"},
            {"target": "//"},
            {"target": "/%2f"},
            {"host": "b"},
            {"host": "A"},
            {"host": "a:80"},
            {"secure": True},
            {"pool": "other"},
            {"outbound": evil},
            {"outbound": fieldsOf("Host: a", "X-Forwarded-Proto: https")},
            {"outbound": fieldsOf("Host: rewritten")},
        ]:
            self.assertMiss(self.ask(**other))  # type: ignore[arg-type]  # each has its type
        self.assertHit(self.ask())

    def test_unkeyed(self) -> None:
        """What makes none does not keep anybody from what is kept."""
        self.keep()
        for line in ["User-Agent: x", "Cookie: a=b", "Authorization: Basic eA==", "X-A: 1"]:
            self.assertHit(self.ask(line))

    def test_authorization(self) -> None:
        """An answer to somebody who is known is for all only if it says so (section 3.5)."""
        for inbound, outbound in [
            (["Authorization: x"], None),
            (["Authorization: x"], fieldsOf("Host: a")),
            ([], fieldsOf("Host: a", "Authorization: x")),
        ]:
            for said, isKept in [(FRESH, False), (FRESH + ", public", True)]:
                self.start()
                self.ask(*inbound, outbound=outbound)
                self.last.answer(said)
                self.assertEqual(len(self.cache), isKept)

    def test_vary(self) -> None:
        """Each variant is kept by itself (section 4.1)."""
        for accept in ("a", "b"):
            self.ask(f"Accept: {accept}")
            self.last.answer(FRESH, "Vary: Accept", body=accept.encode())
        self.assertHit(self.ask("Accept: a"), b"a")
        self.assertHit(self.ask("accept: b", "User-Agent: x"), b"b")
        asking = self.ask("Accept: c")
        self.assertMiss(asking)
        self.last.answer(FRESH, "Vary: Accept")
        self.assertEqual(asking.said, "wsrelay; fwd=vary-miss; stored")

    def test_varyGrows(self) -> None:
        """When an answer depends on more than was known, the older ones are not trusted."""
        self.ask("Accept: a")
        self.last.answer(FRESH, "Vary: Accept")
        self.ask("Accept: b", "X: 1")
        self.last.answer(FRESH, "Vary: X", body=b"x")
        self.assertMiss(self.ask("Accept: a"))
        self.assertHit(self.ask("Accept: b", "X: 1"), b"x")
        self.assertMiss(self.ask("Accept: b", "X: 2"))


class BoundTests(CacheTestCase):
    """It keeps as many bytes as it may."""

    settings = CacheSettings(size=20_000, maxEntry=5000)

    def test_evicts(self) -> None:
        """What was used longest ago goes first."""
        for number in range(3):
            self.keep(FRESH, body=b"x" * 4000, target=f"/{number}")
        self.ask(target="/0")
        self.keep(FRESH, body=b"x" * 4000, target="/3")
        self.assertLessEqual(self.cache.used, 20_000)
        for number, isKept in [(0, True), (2, True), (3, True), (1, False)]:
            asking = self.ask(target=f"/{number}")
            self.assertEqual(asking.isComplete, isKept, number)
        self.assertEqual(self.cache.counts.evicted, 1)

    def test_many(self) -> None:
        """Small answers count with all that it takes to keep them."""
        for number in range(100):
            self.keep(FRESH, target=f"/{number}")
        self.assertLess(len(self.cache), 15)
        self.assertEqual(self.cache.counts.kept, 100)

    def test_headsCount(self) -> None:
        """So do large heads and long URLs, also those that a 304 brings."""
        self.keep(FRESH, target="/" + "x" * 30_000)
        self.assertEqual(len(self.cache), 0)
        self.keep(FRESH, 'ETag: "1"')
        used = self.cache.used
        self.clock.advance(61)
        self.ask()
        self.last.answer("X: " + "x" * 3000, status=304)
        self.assertGreater(self.cache.used, used + 3000)
        self.ask("Cache-Control: no-cache")
        self.last.answer("X: " + "x" * 30_000, status=304)
        self.assertEqual(self.cache.used, 0)

    def test_settings(self) -> None:
        """An entry must fit."""
        for size, maxEntry in [(10, 11), (10, 0)]:
            with self.assertRaisesRegex(ValueError, "maxEntry must be"):
                CacheSettings(size, maxEntry)

    def test_passed(self) -> None:
        """Remembering what was not kept is bounded as well."""
        for number in range(9000):
            self.cache.passed((b"http", b"a", f"/{number}"))
        self.assertLess(len(self.cache._passed), 9000)


class PurgeTests(CacheTestCase):
    """Getting rid of it."""

    def test_url(self) -> None:
        """A URL is dropped with all its variants, however its default port is written."""
        for host, url, count in [
            ("a", "http://a/", 2),
            ("a", "http://A", 2),
            ("a", "http://a:80/", 2),
            ("a:80", "http://a/", 2),
            ("a:81", "http://a:81/", 2),
            ("a:81", "http://a/", 0),
            ("a", "https://a/", 0),
            ("a", "http://a/x", 0),
            ("a", "http://a/?x", 0),
        ]:
            self.start()
            for accept in "xy":
                self.ask(f"Accept: {accept}", host=host)
                self.last.answer(FRESH, "Vary: Accept")
            self.assertEqual(self.cache.purge(url), count, url)
            self.assertEqual((len(self.cache), self.cache.used == 0), (2 - count, count == 2))

    def test_query(self) -> None:
        """The query belongs to the URL."""
        self.keep(target="/x?a=b&c")
        self.assertEqual(self.cache.purge("http://a/x?a=b&c"), 1)

    def test_bad(self) -> None:
        """What is no URL is refused, and says what one is."""
        for url in ("", "/x", "a/x", "ftp://a/", "http:///x", "http://\xe4/"):
            with self.assertRaisesRegex(ValueError, "expected an http or https URL"):
                self.cache.purge(url)

    def test_onItsWay(self) -> None:
        """What is on its way when it is purged reaches its clients and is not kept."""
        for isLate in (False, True):
            self.start()
            leader, other = self.ask(), self.ask()
            if isLate:
                self.sent[0].head(FRESH, length=5)
            self.cache.purge("http://a/")
            self.assertMiss(self.ask())
            self.assertEqual(len(self.sent), 2)
            if not isLate:
                self.sent[0].head(FRESH, length=5)
                self.assertEqual(len(self.sent), 3, "the other asks again")
            self.sent[0].body(b"hello")
            self.sent[0].end()
            self.assertTrue(leader.isComplete)
            self.assertEqual((other.isComplete, len(self.cache)), (isLate, 0))

    def test_clear(self) -> None:
        """All can be dropped at once."""
        for number in range(3):
            self.keep(target=f"/{number}")
        self.assertEqual(self.cache.clear(), 3)
        self.assertEqual((len(self.cache), self.cache.used), (0, 0))

    def test_heard(self) -> None:
        """What changes something drops its own URL, and those it names on the same host."""
        client = Address("127.0.0.1", 1)
        fields = fieldsOf("Host: a")
        for method, said, dropped in [
            ("POST", "", {"/x"}),
            ("GET", "", set()),
            ("POST", "Location: /y", {"/x", "/y"}),
            ("POST", "Content-Location: y", {"/x", "/y"}),
            ("POST", "Location: http://a/y", {"/x", "/y"}),
            ("POST", "Location: http://b/y", {"/x"}),
            ("POST", "Location: https://a/y", {"/x"}),
            ("POST", "Location: http://[/", {"/x"}),
        ]:
            self.start()
            for target in ("/x", "/y"):
                self.keep(target=target)
            request = Request(method, "/x", Headers(fields))
            self.cache.heard(
                OutboundRequest(method, "/x", MutableHeaders(fields)),
                Inbound("1", "public", client, client, request=request),
                Response(201, "", Headers(fieldsOf(said))),
            )
            left = {url[2] for url in self.cache._resources}
            self.assertEqual({"/x", "/y"} - left, dropped, (method, said))

    def test_counts(self) -> None:
        """What happened is counted."""
        self.keep()
        self.ask()
        self.ask(method="POST")
        self.ask(target="/x")
        self.ask(target="/x")
        counts = self.cache.counts
        self.assertEqual((counts.hits, counts.misses, counts.collapsed), (1, 3, 1))
        self.assertEqual((counts.passed, counts.kept, counts.evicted), (1, 1, 0))

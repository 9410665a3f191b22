# -*- test-case-name: tests.filters.test_purge -*-
"""
Who may drop what is kept, and what is dropped.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.filters.support import FilterTestCase, GivenRelay, exchangeOf
from wsrelay.filters.purge import PurgeFilter, PurgeOptions
from wsrelay.interfaces import IRelay, IRequestFilter
from wsrelay.model import Respond

_LOCAL = ["127.0.0.0/8", "::1"]

#: allow, who asks, by which method, the status of the answer; 0 is none.
ASKERS = [
    (_LOCAL, "127.0.0.1", "PURGE", 200),
    (_LOCAL, "127.255.0.1", "PURGE", 200),
    (_LOCAL, "::1", "PURGE", 200),
    (_LOCAL, "::ffff:127.0.0.1", "PURGE", 200),
    (_LOCAL, "192.0.2.1", "PURGE", 403),
    (_LOCAL, "::2", "PURGE", 403),
    (_LOCAL, "unix:", "PURGE", 403),
    (_LOCAL, "unix:/run/x", "PURGE", 403),
    (["10.0.0.0/8"], "10.1.2.3", "PURGE", 200),
    (["10.0.0.0/8"], "127.0.0.1", "PURGE", 403),
    ([], "127.0.0.1", "PURGE", 403),
    (_LOCAL, "127.0.0.1", "GET", 0),
    (_LOCAL, "127.0.0.1", "HEAD", 0),
    (_LOCAL, "127.0.0.1", "PURGED", 0),
    (_LOCAL, "192.0.2.1", "POST", 0),
]

#: Target and Host of a request, whether it came by TLS, and what is purged.
URLS = [
    (b"/", b"a.example", False, "http://a.example/"),
    (b"/", b"a.example", True, "https://a.example/"),
    (b"/x?a=b&c=%2F", b"a.example:8080", False, "http://a.example:8080/x?a=b&c=%2F"),
    (b"//x/../y", b"[2001:db8::1]:81", True, "https://[2001:db8::1]:81//x/../y"),
    (b"http://b.example?x", b"a.example", False, "http://b.example/?x"),
    (b"http://b.example:81", b"a.example", True, "https://b.example:81/"),
]


class PurgeFilterTests(SynchronousTestCase):
    """The filter by itself."""

    def asked(
        self,
        client: str = "127.0.0.1",
        options: PurgeOptions | None = None,
        method: bytes = b"PURGE",
        **how: Any,
    ) -> Respond | None:
        """What is answered."""
        self.given = GivenRelay()
        made = PurgeFilter(options or PurgeOptions(), self.given)
        exchange = exchangeOf(client=client, method=method, **how)
        self.assertIsNone(made.responseReceived(exchange))
        return made.requestReceived(exchange)

    def test_interface(self) -> None:
        """It is a request filter; the tests give it what a relay would."""
        self.assertTrue(verifyObject(IRequestFilter, PurgeFilter(PurgeOptions(), GivenRelay())))
        self.assertTrue(verifyObject(IRelay, GivenRelay()))

    def test_askers(self) -> None:
        """Clients of the networks that are allowed may, nobody else; other methods pass."""
        for allow, client, method, wanted in ASKERS:
            told = self.asked(client, PurgeOptions(allow=allow), method=method.encode())
            status = told.status if told is not None else 0
            self.assertEqual(status, wanted, (allow, client, method))
            self.assertEqual(len(self.given.purged), wanted == 200, (allow, client, method))

    def test_default(self) -> None:
        """Nothing said, only who is on the same machine may."""
        self.assertEqual(PurgeOptions(), PurgeOptions(allow=_LOCAL, method="PURGE"))

    def test_urls(self) -> None:
        """What is purged is the URL of the request."""
        for target, host, secure, wanted in URLS:
            told = self.asked(target=target, host=host, secure=secure)
            self.assertEqual(self.given.purged, [wanted])
            assert told is not None
            self.assertEqual((told.status, told.body), (200, b"0 dropped\n"))

    def test_method(self) -> None:
        """The method can be another one; then C{PURGE} passes."""
        options = PurgeOptions(method="BAN")
        self.assertIsNone(self.asked(options=options))
        self.assertIsNotNone(self.asked(options=options, method=b"BAN"))

    def test_wrong(self) -> None:
        """Networks that are none and methods that mean something else are refused."""
        for key, value, wanted in [
            ("allow", ["127.0.0.1/8"], "host bits set"),
            ("allow", ["localhost"], "expected an IP address or network"),
            *(
                ("method", method, "expected a method that means nothing else")
                for method in ("GET", "HEAD", "DELETE", "OPTIONS", "purge", "PUR GE", "")
            ),
        ]:
            error = self.assertRaises(ValidationError, PurgeOptions, **{key: value})
            self.assertIn(wanted, str(error))


#: How a URL was asked for, how it is purged (protocol and host), and how many answers go.
SPELLINGS = [
    ("http a.example", "http a.example", 1),
    ("http a.example", "http A.Example", 1),
    ("http A.EXAMPLE", "http a.example", 1),
    ("http a.example", "http a.example:80", 1),
    ("http a.example:80", "http a.example", 1),
    ("http a.example:80", "http a.example:80", 1),
    ("https a.example", "https a.example:443", 1),
    ("https a.example:443", "https a.example", 1),
    ("http a.example:8080", "http a.example:8080", 1),
    ("http [2001:db8::1]", "http [2001:DB8::1]:80", 1),
    ("http a.example", "https a.example", 0),
    ("https a.example", "http a.example", 0),
    ("http a.example:443", "http a.example", 0),
    ("https a.example:80", "https a.example", 0),
    ("http a.example:8080", "http a.example", 0),
    ("http a.example", "http b.example", 0),
    ("http a.example", "http a.example.", 0),
]

#: The same for targets of one host.
TARGETS = [
    ("/x", "/x", 1),
    ("/x?a=b&c", "/x?a=b&c", 1),
    ("//x/../y", "//x/../y", 1),
    ("/x%20y", "/x%20y", 1),
    ("/x?a", "/x", 0),
    ("/x", "/X", 0),
    ("/x", "/x/", 0),
    ("/x?", "/x?", 1),
    ("/x", "/x?", 0),
    ("/x?", "/x", 0),
]


class RelayTests(FilterTestCase):
    """Inside a relay with a cache."""

    async def begin(self, listener: str = "", options: str = "") -> None:
        """A relay in front of a service whose answers may be kept."""
        self.service.fields = [(b"Cache-Control", b"max-age=60")]
        self.service.body = b"hello"
        backend = await self.serve()
        text = f"""
[listener.public]
endpoint = "tcp:0:interface=127.0.0.1"
{listener}
[[route]]
pool = "p"
cache = "pages"
filters = ["door"]
[cache.pages]
[cache.others]
[pool.p]
backends = "http://127.0.0.1:{backend}"
[plugin.door]
use = "purge"
{options}
"""
        self.port = self.portOf(self.started(text))

    async def ask(self, line: str, *fields: str, version: str = "1.1") -> bytes:
        """The whole answer to a request of this method and target."""
        head = [f"{line} HTTP/{version}", *fields, "Connection: close", "", ""]
        client = await self.dial(self.port)
        client.send("\r\n".join(head).encode())
        await client.over
        return client.data

    async def purged(self, target: str, *fields: str) -> int:
        """How many answers are said to be dropped."""
        told = await self.ask(f"PURGE {target}", *fields)
        self.assertTrue(told.startswith(b"HTTP/1.1 200 OK\r\n"), told)
        count, word = told.partition(b"\r\n\r\n")[2].split(b" ", 1)
        self.assertEqual(word, b"dropped\n")
        return int(count)

    async def assertAsked(self, count: int, *fields: str, line: str = "GET /") -> None:
        """The client gets the page, and the backend was asked so often by then."""
        told = await self.ask(line, *fields)
        self.assertTrue(told.endswith(b"\r\n\r\nhello"), told)
        self.assertEqual(len(self.service.asked), count, told)

    async def test_purge(self) -> None:
        """What was purged is fetched anew; every variant of it goes, and nothing else."""
        await self.begin()
        self.service.fields.append((b"Vary", b"Accept-Language"))
        host = "Host: a.example"
        await self.assertAsked(1, host, "Accept-Language: de")
        await self.assertAsked(2, host, "Accept-Language: en")
        await self.assertAsked(3, host, line="GET /other")
        await self.assertAsked(3, host, "Accept-Language: de")
        self.assertEqual(await self.purged("/", host), 2)
        await self.assertAsked(3, host, line="GET /other")
        await self.assertAsked(4, host, "Accept-Language: de")
        self.assertEqual(await self.purged("/nothing", host), 0)
        self.assertEqual({request.method for request in self.service.asked}, {b"GET"})

    async def test_forbidden(self) -> None:
        """Who is not in a network that is allowed gets 403, and nothing is dropped."""
        await self.begin(options='allow = ["192.0.2.0/24"]')
        await self.assertAsked(1, "Host: a.example")
        told = await self.ask("PURGE /", "Host: a.example", "X-Forwarded-For: 192.0.2.1")
        self.assertTrue(told.startswith(b"HTTP/1.1 403 Forbidden\r\n"), told)
        self.assertTrue(told.endswith(b"\r\n\r\n403 Forbidden\n"), told)
        await self.assertAsked(1, "Host: a.example")

    async def test_behindProxy(self) -> None:
        """Behind a proxy that is trusted, client and URL are those that the proxy names."""
        await self.begin('trusted = ["127.0.0.1"]', 'allow = ["192.0.2.0/24"]')
        seen = ("Host: inside", "X-Forwarded-Host: a.example", "X-Forwarded-Proto: https")
        mine, others = "X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 198.51.100.1"
        await self.assertAsked(1, *seen, others)
        told = await self.ask("PURGE /", *seen, others)
        self.assertTrue(told.startswith(b"HTTP/1.1 403 "), told)
        self.assertEqual(await self.purged("/", "Host: inside", mine), 0)
        await self.assertAsked(1, *seen, others)
        self.assertEqual(await self.purged("/", *seen, mine), 1)
        await self.assertAsked(2, *seen, others)

    async def test_spellings(self) -> None:
        """Case and default ports of a host mean nothing; protocol and other ports do."""
        await self.begin('trusted = ["127.0.0.1"]')
        for number, (asked, purged, count) in enumerate(SPELLINGS):
            target = f"/{number}"
            await self.assertAsked(number + 1, *_said(asked), line=f"GET {target}")
            self.assertEqual(await self.purged(target, *_said(purged)), count, (asked, purged))

    async def test_targets(self) -> None:
        """Path and query count as they were written."""
        await self.begin()
        for number, (asked, purged, count) in enumerate(TARGETS):
            host = f"Host: {number}.example"
            await self.assertAsked(number + 1, host, line=f"GET {asked}")
            self.assertEqual(await self.purged(purged, host), count, (asked, purged))

    async def test_forms(self) -> None:
        """A whole URL as the target is that URL; without any host there is none, and 400."""
        await self.begin()
        await self.assertAsked(1, "Host: a.example", line="GET /x")
        self.assertEqual(await self.purged("http://A.example:80/x", "Host: other"), 1)
        told = await self.ask("PURGE /", version="1.0")
        self.assertTrue(told.startswith(b"HTTP/1.1 400 Bad Request\r\n"), told)


def _said(seen: str) -> tuple[str, str, str]:
    """What a trusted proxy on this machine says about a request."""
    proto, host = seen.split(" ")
    return f"Host: {host}", f"X-Forwarded-Proto: {proto}", "X-Forwarded-For: 127.0.0.1"

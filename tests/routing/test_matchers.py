"""Tests for the conditions of routes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any

from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.errors import BadRequest
from wsrelay.model import Address, Headers, Inbound, Request
from wsrelay.routing.matchers import (
    AlpnMatcher,
    CookieMatcher,
    Glob,
    HeaderMatcher,
    HostMatcher,
    ListenerMatcher,
    MethodMatcher,
    NetworkMatcher,
    PathMatcher,
    PathPrefixMatcher,
    PathRegexMatcher,
    QueryMatcher,
    ServerNameMatcher,
)

HERE = Address("192.0.2.1", 80)


def connected(client: str = "192.0.2.9", **facts: Any) -> Inbound:
    """A client before it said anything."""
    return Inbound(id="1", listener="public", client=Address(client, 1), local=HERE, **facts)


def asked(target: str = "/", host: str = "example.org", *fields: tuple[bytes, bytes]) -> Inbound:
    """A client with a request."""
    headers = Headers([(b"Host", host.encode()), *fields])
    return connected(request=Request("GET", target, headers))


class MatcherTests(SynchronousTestCase):
    """Each condition holds for what it names, and for nothing else."""

    def assertMatches(self, matcher: Any, yes: Iterable[Inbound], no: Iterable[Inbound]) -> None:
        """Drive one table both ways."""
        for inbound in yes:
            self.assertTrue(matcher.matches(inbound), f"{matcher} should match {inbound}")
        for inbound in no:
            self.assertFalse(matcher.matches(inbound), f"{matcher} should not match {inbound}")

    def assertRejects(self, make: Any, patterns: dict[str, str]) -> None:
        """Each pattern is a C{ValueError} that says why, and shows it."""
        for pattern, why in patterns.items():
            error = self.assertRaises(ValueError, make, [pattern])
            self.assertIn(why, str(error))
            self.assertIn(pattern, str(error))

    def test_listener(self) -> None:
        """A listener is compared by name."""
        self.assertMatches(ListenerMatcher(["a", "public"]), [connected(), asked()], [])
        self.assertMatches(ListenerMatcher(["Public"]), [], [connected()])

    def test_network(self) -> None:
        """A network holds the addresses in it; IPv4 over an IPv6 socket counts as IPv4."""
        matcher = NetworkMatcher(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"])
        yes = ["10.1.2.3", "192.0.2.7", "2001:db8::1", "::ffff:10.0.0.1"]
        no = ["11.0.0.1", "192.0.2.8", "2001:db9::1", "::1", "unix:", "unix:/run/x"]
        self.assertMatches(matcher, map(connected, yes), map(connected, no))

    def test_badNetworks(self) -> None:
        """A network that is none, or that no client can be in, is an error."""
        self.assertRejects(
            NetworkMatcher,
            {
                "10.0.0.1/8": 'write "10.0.0.0/8"',
                "10.0.0": "not an IP address or network",
                "10.0.0.0/33": "not an IP address or network",
                "example.org": "not an IP address or network",
                "::ffff:10.0.0.0/104": "compared as IPv4",
            },
        )

    def test_serverName(self) -> None:
        """The name of the TLS handshake is compared like a host."""
        matcher = ServerNameMatcher(["a.example", "*.b.example"])
        yes = ["a.example", "x.b.example", "x.y.b.example"]
        no = ["b.example", "xa.example", "a.example.org", ".b.example", ""]
        self.assertMatches(
            matcher,
            [connected(serverName=name) for name in yes],
            [connected(), *(connected(serverName=name) for name in no)],
        )

    def test_alpn(self) -> None:
        """One protocol in common is enough."""
        matcher = AlpnMatcher(["h2", "xmpp-client"])
        yes = [connected(alpn=("http/1.1", "h2")), connected(alpn=("xmpp-client",))]
        self.assertMatches(matcher, yes, [connected(), connected(alpn=("http/1.1",))])

    def test_host(self) -> None:
        """Hosts are compared without case, port and final dot; a wildcard is for names below."""
        matcher = HostMatcher(["Example.org.", "*.example.net", "[2001:db8::1]", "192.0.2.1"])
        yes = [
            *("example.org", "EXAMPLE.org:8080", "example.org.", "example.org.:80"),
            *("a.example.net", "a.b.Example.net", "[2001:db8::1]:80", "192.0.2.1:81"),
        ]
        no = [
            "www.example.org",
            "example.net",
            ".example.net",
            "aexample.net",
            "",
            "example.org..",
        ]
        self.assertMatches(
            matcher,
            [asked(host=host) for host in yes],
            [connected(), *(asked(host=host) for host in no)],
        )

    def test_noHost(self) -> None:
        """A request without Host, as HTTP/1.0 allows, has none of the hosts."""
        inbound = connected(request=Request("GET", "/", Headers(), (1, 0)))
        self.assertMatches(HostMatcher(["*.example.org"]), [], [inbound])

    def test_badHosts(self) -> None:
        """A host that cannot be asked for is an error."""
        self.assertRejects(
            HostMatcher,
            {
                "example.org:80": "without the port",
                "münchen.example": "in ASCII",
                "*": "a wildcard is",
                "www.*": "a wildcard is",
                "*.*.example.org": "a wildcard is",
                "a b": "not a host name",
                "": "not a host name",
                "a..b": "not a host name",
                "http//a": "not a host name",
            },
        )

    def test_method(self) -> None:
        """Methods are compared with their case."""
        self.assertMatches(MethodMatcher(["GET", "QUERY"]), [asked()], [connected()])
        self.assertMatches(MethodMatcher(["HEAD"]), [], [asked()])
        self.assertRejects(MethodMatcher, {"get": 'write "GET"'})

    def test_path(self) -> None:
        """A path matches whole, in normal form, whatever its query."""
        matcher = PathMatcher(["/chat", "/ws/*", "/*.php", "/café"])
        yes = ["/chat", "/chat?x", "//%63hat", "/x/../chat", "/ws/", "/ws/a/b", "/a/b.php"]
        yes += ["/caf%C3%a9"]
        no = ["/chat/", "/chatty", "/ws", "/Chat", "/"]
        self.assertMatches(matcher, map(asked, yes), [connected(), *map(asked, no)])

    def test_pathPrefix(self) -> None:
        """A prefix matches whole segments."""
        matcher = PathPrefixMatcher(["/api", "/v2/"])
        yes = ["/api", "/api/", "/api/x", "/api?x", "/api%2fx", "/v2/", "/v2/x"]
        no = ["/apix", "/v2", "/", "/x/api"]
        self.assertMatches(matcher, map(asked, yes), [connected(), *map(asked, no)])
        self.assertMatches(PathPrefixMatcher(["/"]), map(asked, ["/", "/a/b"]), [asked("*")])

    def test_pathRegex(self) -> None:
        """A regular expression matches the whole path in normal form."""
        matcher = PathRegexMatcher(["/rooms/[0-9]+", "/a|/b"])
        yes = ["/rooms/12", "/rooms/%31?x", "/a", "/b"]
        no = ["/rooms/", "/rooms/1/", "/x/rooms/1", "/ab"]
        self.assertMatches(matcher, map(asked, yes), [connected(), *map(asked, no)])
        self.assertRejects(PathRegexMatcher, {"(": "not a regular expression"})

    def test_noNormalForm(self) -> None:
        """A path that can be read in two ways neither matches nor fails to match."""
        for matcher in (
            PathMatcher(["/a"]),
            PathPrefixMatcher(["/a"]),
            PathRegexMatcher(["/a"]),
        ):
            self.assertRaises(BadRequest, matcher.matches, asked("/x%2f../a"))

    def test_badPaths(self) -> None:
        """A path that no request can have is an error."""
        for make in (PathMatcher, PathPrefixMatcher):
            self.assertRejects(make, {"a/b": "begin with a slash", "/a?b": "can match nothing"})

    def test_header(self) -> None:
        """One field of that name with one of the values is enough; names have no case."""
        matcher = HeaderMatcher("X-Kind", ["one", "t*o", "é"])
        values = [b"one", b"two", b"to", "é".encode()]
        yes = [asked("/", "h", (b"x-KIND", value)) for value in values]
        yes += [asked("/", "h", (b"X-Kind", b"no"), (b"X-Kind", b"one"))]
        no = [connected(), asked(), asked("/", "h", (b"X-Kind", b"ONE"), (b"X-Kinds", b"one"))]
        self.assertMatches(matcher, yes, no)
        present = asked("/", "h", (b"X-Kind", b""))
        self.assertMatches(HeaderMatcher("x-kind", ["*"]), [present], [asked()])
        self.assertRaises(ValueError, HeaderMatcher, "x y", ["*"])

    def test_cookie(self) -> None:
        """A cookie is compared by name and value."""
        matcher = CookieMatcher("beta", ["yes", "group-*"])

        def withCookie(value: bytes) -> Inbound:
            return asked("/", "h", (b"Cookie", value))

        yes = [withCookie(b"a=1; beta=yes"), withCookie(b"beta=group-7")]
        no = [connected(), asked(), withCookie(b"beta=no"), withCookie(b"Beta=yes")]
        self.assertMatches(matcher, yes, no)
        self.assertRaises(ValueError, CookieMatcher, "a=b", ["*"])

    def test_query(self) -> None:
        """A parameter of the query is compared percent-decoded; any of its values will do."""
        matcher = QueryMatcher("v", ["2", "3.*", "ü"])
        yes = ["/?v=2", "/?v=1&v=2", "/?a&v=3.1", "/?v=%32", "/?v=%C3%BC"]
        no = ["/", "/?v", "/?v=22", "/?V=2", "/v=2"]
        self.assertMatches(matcher, map(asked, yes), [connected(), *map(asked, no)])
        self.assertMatches(QueryMatcher("v", ["*"]), [asked("/?v"), asked("/?v=")], [asked()])


class GlobTests(SynchronousTestCase):
    """Patterns with a star."""

    @given(st.text("ab*", max_size=8).filter(lambda p: "*" in p), st.text("ab\n", max_size=12))
    @settings(max_examples=500, deadline=None)
    def test_likeARegex(self, pattern: str, text: str) -> None:
        """A star is what C{.*} is in a regular expression."""
        regex = ".*".join(map(re.escape, pattern.split("*")))
        expected = re.fullmatch(regex, text, re.DOTALL) is not None
        self.assertEqual(Glob(pattern).matches(text), expected)

    def test_isLinear(self) -> None:
        """A pattern with many stars does not give a client a way to waste our time."""
        began = time.process_time()
        self.assertFalse(Glob("*" + "a*" * 40 + "b").matches("a" * 100_000 + "c"))
        self.assertFalse(Glob("*" + "ab*" * 40).matches("a" * 100_000))
        self.assertLess(time.process_time() - began, 5.0)

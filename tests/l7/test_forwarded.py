# -*- test-case-name: tests.l7.test_forwarded -*-
"""
Who the client is where proxies stand in front: fields in, facts out, and what is said then.
"""

from __future__ import annotations

from attrs import evolve
from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.l7.test_fields import fields, inbound
from wsrelay.l7.fields import outboundRequest
from wsrelay.l7.forwarded import FAMILIES, SAYINGS, Trust
from wsrelay.model import Address, Headers, Inbound, Request

NETWORKS = ["10.0.0.0/8", "fd00::/8"]
PEER = "10.1.2.3"

# Lines of the request; client, proxies on the way, secure, Host, port of the listener.
FACTS = tuple[str, list[str], bool, str, int]
NOTHING: FACTS = (PEER, [], False, "inner", 80)
X_FORWARDED: list[tuple[str, FACTS]] = [
    ("", NOTHING),
    ("X-Forwarded-For: 192.0.2.7", ("192.0.2.7", [PEER], False, "inner", 80)),
    ("x-FORWARDED-for: 192.0.2.7", ("192.0.2.7", [PEER], False, "inner", 80)),
    ("X-Forwarded-For: 192.0.2.7:4711", ("192.0.2.7", [PEER], False, "inner", 80)),
    ("X-Forwarded-For: 2001:db8::7", ("2001:db8::7", [PEER], False, "inner", 80)),
    ("X-Forwarded-For: [2001:DB8::7]:80", ("2001:db8::7", [PEER], False, "inner", 80)),
    ("X-Forwarded-For: ::ffff:192.0.2.7", ("192.0.2.7", [PEER], False, "inner", 80)),
    # proxies behind proxies; the rest is the client's own invention
    (
        "X-Forwarded-For: 192.0.2.7, 10.0.0.9 ,fd00::1",
        ("192.0.2.7", ["10.0.0.9", "fd00::1", PEER], False, "inner", 80),
    ),
    (
        "X-Forwarded-For: 127.0.0.1, 192.0.2.7, 10.0.0.9",
        ("192.0.2.7", ["10.0.0.9", PEER], False, "inner", 80),
    ),
    (
        "X-Forwarded-For: 1.1.1.1\nX-Forwarded-For: 192.0.2.7\nX-Forwarded-For: 10.0.0.9",
        ("192.0.2.7", ["10.0.0.9", PEER], False, "inner", 80),
    ),
    ("X-Forwarded-For: <b>, 192.0.2.7", ("192.0.2.7", [PEER], False, "inner", 80)),
    ("X-Forwarded-For: 10.0.0.8, 10.0.0.9", ("10.0.0.8", ["10.0.0.9", PEER], False, "inner", 80)),
    # protocol, host, port
    (
        "X-Forwarded-For: 192.0.2.7\nX-Forwarded-Proto: HTTPS\nX-Forwarded-Host: A.example:8443\n"
        "X-Forwarded-Port: 8443",
        ("192.0.2.7", [PEER], True, "A.example:8443", 8443),
    ),
    ("X-Forwarded-Proto: wss", (PEER, [], True, "inner", 80)),
    ("X-Forwarded-Proto: http", NOTHING),
    (
        "X-Forwarded-For: 192.0.2.7, 10.0.0.9\nX-Forwarded-Proto: https, http",
        ("192.0.2.7", ["10.0.0.9", PEER], True, "inner", 80),
    ),
    (
        "X-Forwarded-For: 192.0.2.7\nX-Forwarded-Proto: https, http",
        ("192.0.2.7", [PEER], False, "inner", 80),
    ),
    # malformed: as a whole it is as if nothing had been said
    ("X-Forwarded-For: 192.0.2.7, unknown", NOTHING),
    ("X-Forwarded-For: 192.0.2.7,", NOTHING),
    ("X-Forwarded-For:", NOTHING),
    ("X-Forwarded-For: 192.0.2.300", NOTHING),
    ("X-Forwarded-For: 192.0.2.07", NOTHING),
    ("X-Forwarded-For: a.example", NOTHING),
    ("X-Forwarded-For: [192.0.2.7]", NOTHING),
    ("X-Forwarded-For: fe80::1%eth0", NOTHING),
    ("X-Forwarded-For: 192.0.2.7\nX-Forwarded-Proto: gopher", NOTHING),
    ("X-Forwarded-For: 192.0.2.7\nX-Forwarded-Host: a/b", NOTHING),
    ("X-Forwarded-For: 192.0.2.7\nX-Forwarded-Host: u@a", NOTHING),
    ("X-Forwarded-For: 192.0.2.7\nX-Forwarded-Port: 0", NOTHING),
    ("X-Forwarded-For: 192.0.2.7\nX-Forwarded-Port: 65536", NOTHING),
    ("X-Forwarded-Proto: https, http", NOTHING),
    (
        "X-Forwarded-For: 192.0.2.7, 10.0.0.8, 10.0.0.9\nX-Forwarded-Proto: https, http",
        NOTHING,
    ),
    ("X-Forwarded-For: " + ", ".join(["10.0.0.9"] * 32), NOTHING),
    # not the fields that are asked for, or not quite their names
    ("Forwarded: for=192.0.2.7;proto=https", NOTHING),
    ("X_Forwarded_For: 192.0.2.7", NOTHING),
    ("X-Real-IP: 192.0.2.7", NOTHING),
]
RFC_7239: list[tuple[str, FACTS]] = [
    ("Forwarded: for=192.0.2.7", ("192.0.2.7", [PEER], False, "inner", 80)),
    ('Forwarded: For="[2001:db8::7]:4711"', ("2001:db8::7", [PEER], False, "inner", 80)),
    (
        'Forwarded: for=192.0.2.7 ; Proto=https;host="a.example:8443"; by=_x',
        ("192.0.2.7", [PEER], True, "a.example:8443", 80),
    ),
    (
        "Forwarded: for=1.1.1.1;proto=http, for=192.0.2.7;proto=https;host=a.example,for=10.0.0.9",
        ("192.0.2.7", ["10.0.0.9", PEER], True, "a.example", 80),
    ),
    # what the client has left open closes nothing that the proxy appends
    ('Forwarded: for="1.1.1.1, for=192.0.2.7', ("192.0.2.7", [PEER], False, "inner", 80)),
    ('Forwarded: for="x\nForwarded: for=192.0.2.7', ("192.0.2.7", [PEER], False, "inner", 80)),
    ("Forwarded: for=unknown", NOTHING),
    ("Forwarded: for=_hidden", NOTHING),
    ("Forwarded: proto=https", NOTHING),
    ("Forwarded: for=192.0.2.7;for=192.0.2.8", NOTHING),
    ("Forwarded: for=192.0.2.7;proto=gopher", NOTHING),
    ('Forwarded: for=192.0.2.7;host="a b"', NOTHING),
    ("Forwarded: for=2001:db8::7", NOTHING),
    ("Forwarded: for=192.0.2.7 proto=https", NOTHING),
    ("Forwarded: for = 192.0.2.7", NOTHING),
    ("Forwarded:", NOTHING),
    ("X-Forwarded-For: 192.0.2.7", NOTHING),
]


def asked(text: str, client: str = PEER) -> Inbound:
    """A request to "inner" with these lines, from this peer."""
    return inbound(f"Host: inner\n{text}", client=client)


def factsOf(seen: Inbound) -> FACTS:
    """What the tables above tell of a client."""
    assert seen.request is not None
    (host,) = seen.request.headers.getAll("Host")
    via = [hop.host for hop in seen.via]
    return seen.client.host, via, seen.secure, host, seen.local.port


class TrustTests(SynchronousTestCase):
    """What is believed, and of whom."""

    def test_xForwarded(self) -> None:
        """A chain is followed from its right end to the first that is no trusted proxy."""
        trust = Trust(NETWORKS)
        for text, facts in X_FORWARDED:
            self.assertEqual(factsOf(trust.believed(asked(text))), facts, text)

    def test_rfc7239(self) -> None:
        """So is C{Forwarded}, where that is what the proxies write."""
        trust = Trust(NETWORKS, "rfc7239")
        for text, facts in RFC_7239:
            self.assertEqual(factsOf(trust.believed(asked(text))), facts, text)

    def test_strangers(self) -> None:
        """Nobody else is believed anything."""
        for client in ("192.0.2.1", "11.0.0.1", "fe00::1", "unix:", "unix:/run/x"):
            for family, table in (("x-forwarded", X_FORWARDED), ("rfc7239", RFC_7239)):
                trust = Trust(NETWORKS, family)
                for text, _ in table:
                    plain = asked(text, client)
                    self.assertIs(trust.believed(plain), plain)

    def test_covers(self) -> None:
        """Networks and addresses are proxies, and UNIX sockets when it is said so."""
        trust = Trust(["10.0.0.1", "fd00::/8", "unix"])
        for host, expected in [
            ("10.0.0.1", True),
            ("::ffff:10.0.0.1", True),
            ("10.0.0.2", False),
            ("fd00::1%eth0", True),
            ("unix:", True),
            ("unix:/run/x", True),
        ]:
            for _ in "12":  # the second time it is remembered
                self.assertEqual(trust.covers(Address(host, 1)), expected, host)
        self.assertFalse(Trust(["10.0.0.1"]).covers(Address("unix:")))

    def test_manyPeers(self) -> None:
        """However many peers come, they are told apart."""
        trust = Trust(["10.0.0.0/16"])
        for number in range(3000):
            host = f"10.{number % 2}.{number // 256}.{number % 256}"
            self.assertEqual(trust.covers(Address(host)), number % 2 == 0)

    def test_wrong(self) -> None:
        """What is no network, or no family of fields, is refused."""
        for networks, family in [(["x"], "x-forwarded"), (["10.0.0.1/8"], "rfc7239"), ([], "x")]:
            with self.assertRaises(ValueError):
                Trust(networks, family)

    def test_noRequest(self) -> None:
        """At layer 4 nobody says anything."""
        plain = evolve(asked(""), request=None)
        self.assertIs(Trust(NETWORKS).believed(plain), plain)

    @settings(max_examples=300, deadline=None)
    @given(
        st.sampled_from(FAMILIES),
        st.text(alphabet='for=;,"\\[]:.0123456789abpt http', max_size=60),
        st.sampled_from(["", "10.0.0.9", "10.0.0.9, 10.0.0.8"]),
    )
    def test_clientsInvention(self, family: str, invented: str, proxies: str) -> None:
        """Whatever a client writes in front, what trusted proxies append is what holds."""
        behind = proxies.split(", ") if proxies else []
        if family == "rfc7239":
            name, own = b"Forwarded", [f"for={each}" for each in ["192.0.2.7", *behind]]
        else:
            name, own = b"X-Forwarded-For", ["192.0.2.7", *behind]
        value = ", ".join([invented, *own]).encode()
        request = Request("GET", "/", Headers([(b"Host", b"inner"), (name, value)]))
        seen = Trust(NETWORKS, family).believed(evolve(asked(""), request=request))
        self.assertEqual(seen.client.host, "192.0.2.7")
        self.assertEqual([hop.host for hop in seen.via], [*behind, PEER])


class SayingTests(SynchronousTestCase):
    """What backends are told."""

    def said(self, word: str, seen: Inbound) -> list[tuple[bytes, bytes]]:
        """The fields about the client."""
        fields = outboundRequest(seen, False, "b", SAYINGS[word]).headers.raw
        return [pair for pair in fields if pair[0] != b"Host"]

    def test_replaced(self) -> None:
        """What a stranger said is replaced by what the relay knows."""
        plain = asked("X-Forwarded-For: 1.1.1.1\nForwarded: for=1.1.1.1", "2001:db8::7")
        seen = Trust(NETWORKS).believed(plain)
        x = fields(
            "X-Forwarded-For: 2001:db8::7\nX-Forwarded-Proto: http\nX-Forwarded-Host: inner"
        )
        rfc = fields('Forwarded: for="[2001:db8::7]";proto=http;host=inner')
        for word, expected in [
            ("x-forwarded", x),
            ("rfc7239", rfc),
            ("both", x + rfc),
            ("off", []),
        ]:
            self.assertEqual(self.said(word, seen), expected, word)

    def test_appended(self) -> None:
        """To what a trusted proxy said the proxy itself is added; inventions stay behind."""
        plain = asked(
            "X-Forwarded-For: 127.0.0.1, 192.0.2.7, 10.0.0.9\nX-Forwarded-Proto: https\n"
            "X-Forwarded-Host: a.example:8443"
        )
        seen = Trust(NETWORKS).believed(plain)
        x = fields(
            "X-Forwarded-For: 192.0.2.7, 10.0.0.9, 10.1.2.3\nX-Forwarded-Proto: https\n"
            "X-Forwarded-Host: a.example:8443"
        )
        rfc = fields(
            'Forwarded: for=192.0.2.7;proto=https;host="a.example:8443", for=10.0.0.9, '
            "for=10.1.2.3"
        )
        for word, expected in [
            ("x-forwarded", x),
            ("rfc7239", rfc),
            ("both", x + rfc),
            ("off", []),
        ]:
            self.assertEqual(self.said(word, seen), expected, word)

    def test_readAgain(self) -> None:
        """The next relay, which trusts this one, knows the same client."""
        seen = Trust(NETWORKS).believed(asked("X-Forwarded-For: 192.0.2.7, 10.0.0.9"))
        for word, family in (("x-forwarded", "x-forwarded"), ("rfc7239", "rfc7239")):
            outbound = outboundRequest(seen, False, "b", SAYINGS[word])
            request = Request("GET", "/", Headers(outbound.headers.raw))
            there = Trust(NETWORKS, family).believed(
                evolve(seen, client=Address("10.9.9.9"), via=(), request=request)
            )
            self.assertEqual(
                (there.client, there.request and there.request.host), (seen.client, "inner")
            )
            self.assertEqual([hop.host for hop in there.via], ["10.0.0.9", PEER, "10.9.9.9"])

    def test_unix(self) -> None:
        """A client on a UNIX socket is unknown, and so it is said."""
        self.assertEqual(self.said("x-forwarded", asked("", "unix:/x"))[0][1], b"unknown")
        self.assertIn(b"for=unknown;", self.said("rfc7239", asked("", "unix:/x"))[0][1])

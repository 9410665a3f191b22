"""Tests for what is known of clients."""

from __future__ import annotations

import ipaddress

from twisted.trial.unittest import SynchronousTestCase

from wsrelay.model import (
    Address,
    Headers,
    Request,
)


def request(target: str = "/", **headers: str) -> Request:
    """A request with these header fields."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request("GET", target, Headers(raw))


class AddressTests(SynchronousTestCase):
    """One end of a connection."""

    def test_forms(self) -> None:
        """An address is written as people write it, and has an IP address if it is one."""
        for address, text, ip in [
            (Address("192.0.2.1", 80), "192.0.2.1:80", "192.0.2.1"),
            (Address("192.0.2.1"), "192.0.2.1", "192.0.2.1"),
            (Address("2001:db8::1"), "2001:db8::1", "2001:db8::1"),
            (Address("2001:db8::1", 80), "[2001:db8::1]:80", "2001:db8::1"),
            (Address("fe80::1%eth0", 80), "[fe80::1%eth0]:80", "fe80::1"),
            (Address("::ffff:192.0.2.1", 80), "[::ffff:192.0.2.1]:80", "192.0.2.1"),
            (Address("unix:"), "unix:", None),
            (Address("unix:/run/relay.sock"), "unix:/run/relay.sock", None),
            (Address("unix:/run/a:b"), "unix:/run/a:b", None),
        ]:
            self.assertEqual(str(address), text)
            self.assertEqual(address.ip, ip and ipaddress.ip_address(ip), text)
            self.assertEqual(address.name, ip or "unknown", text)


class RequestTests(SynchronousTestCase):
    """A request head, and what is read out of it."""

    def test_path(self) -> None:
        """The path is what stands before the first question mark, as it was written."""
        for target, path in [("/a%2Fb?c?d", "/a%2Fb"), ("/", "/"), ("/?", "/"), ("*", "*")]:
            self.assertEqual(request(target).path, path)

    def test_host(self) -> None:
        """The host is lower-case and without port."""
        for header, host in [
            ("Example.ORG:80", "example.org"),
            ("example.org", "example.org"),
            ("[2001:DB8::1]:80", "2001:db8::1"),
            ("[::1]", "::1"),
            ("", ""),
        ]:
            self.assertEqual(request(Host=header).host, host)
        self.assertEqual(request().host, "")

    def test_query(self) -> None:
        """Parameters are percent-decoded, in order, and may be empty or repeated."""
        self.assertEqual(
            request("/a?b=1&c=&b=%C3%A9+2&d;e=3").query,
            {"b": ["1", "\xe9 2"], "c": [""], "d;e": ["3"]},
        )
        self.assertEqual(request("/a").query, {})

    def test_cookies(self) -> None:
        """Cookies are found over several lines; what is no cookie is left out."""
        headers = Headers([(b"Cookie", b"a=1; b=x=y==;c"), (b"cookie", b'd="2"; =3; e=')])
        self.assertEqual(
            Request("GET", "/", headers).cookies, {"a": "1", "b": "x=y==", "d": '"2"', "e": ""}
        )
        self.assertEqual(request().cookies, {})

    def test_firstCookieWins(self) -> None:
        """Of two cookies of one name the first counts: it is of the more specific path."""
        self.assertEqual(request(Cookie="a=1; a=2").cookies, {"a": "1"})

    def test_cookiesAsSent(self) -> None:
        """A cookie is found whatever it is called and whatever is in it."""
        self.assertEqual(
            request(Cookie='path=x; a={"b": 1}; c=d e; f=\xe9').cookies,
            {"path": "x", "a": '{"b": 1}', "c": "d e", "f": "\xe9"},
        )

    def test_equality(self) -> None:
        """Two readings of the same head are the same request, whatever was asked of one."""
        one, other = request("/a?b=1", Host="x"), request("/a?b=1", Host="x")
        self.assertEqual(one.query, {"b": ["1"]})
        self.assertEqual(one, other)
        self.assertEqual(hash(one), hash(other))

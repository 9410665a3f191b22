# -*- test-case-name: tests.wire.test_heads -*-
"""
Heads, lines and hosts, and what each must be read as: the tables of L{tests.wire.test_heads}.
"""

from __future__ import annotations

from wsrelay.errors import (
    BadRequest,
    ExpectationFailed,
    HeadTooLarge,
    MethodNotAllowed,
    RelayError,
    VersionNotSupported,
)

TOKEN_BYTES = frozenset(
    b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)
LOWER_CASE = frozenset(b"abcdefghijklmnopqrstuvwxyz")
CONTROLS = frozenset([*range(32), 127])


def request(line: bytes = b"GET / HTTP/1.1", *fields: bytes, host: bytes = b"Host: a") -> bytes:
    """A request head with these lines."""
    return b"".join(text + b"\r\n" for text in (line, host, *fields) if text) + b"\r\n"


def response(line: bytes = b"HTTP/1.1 200 OK", *fields: bytes) -> bytes:
    """A response head with these lines."""
    return b"".join(text + b"\r\n" for text in (line, *fields)) + b"\r\n"


# (head, method, target, fields, version)
GOOD_REQUESTS: list[tuple[bytes, str, str, list[tuple[bytes, bytes]], tuple[int, int]]] = [
    (request(), "GET", "/", [(b"Host", b"a")], (1, 1)),
    (request(b"GET / HTTP/1.0"), "GET", "/", [(b"Host", b"a")], (1, 0)),
    (request(b"GET / HTTP/1.0", host=b""), "GET", "/", [], (1, 0)),
    (request(b"GET //x?y HTTP/1.1"), "GET", "//x?y", [(b"Host", b"a")], (1, 1)),
    (request(b"FROB-1 /%00 HTTP/1.1"), "FROB-1", "/%00", [(b"Host", b"a")], (1, 1)),
    (request(b"OPTIONS * HTTP/1.1"), "OPTIONS", "*", [(b"Host", b"a")], (1, 1)),
    # Absolute-form: the authority wins over Host, in its place (RFC 9112 section 3.2.2).
    (request(b"GET http://b:81/x?y HTTP/1.1"), "GET", "/x?y", [(b"Host", b"b:81")], (1, 1)),
    (request(b"GET HTTPS://b HTTP/1.1"), "GET", "/", [(b"Host", b"b")], (1, 1)),
    (request(b"GET http://b?y/z HTTP/1.1"), "GET", "/?y/z", [(b"Host", b"b")], (1, 1)),
    (request(b"GET http://b/ HTTP/1.0", host=b""), "GET", "/", [(b"Host", b"b")], (1, 0)),
    (request(b"OPTIONS http://b HTTP/1.1"), "OPTIONS", "*", [(b"Host", b"b")], (1, 1)),
    (request(b"OPTIONS http://b/ HTTP/1.1"), "OPTIONS", "/", [(b"Host", b"b")], (1, 1)),
    (request(b"OPTIONS http://b?c HTTP/1.1"), "OPTIONS", "/?c", [(b"Host", b"b")], (1, 1)),
    (
        request(b"GET http://b/ HTTP/1.1", b"x: 1", b"X: 2", host=b"hOST: a"),
        "GET",
        "/",
        [(b"hOST", b"b"), (b"x", b"1"), (b"X", b"2")],
        (1, 1),
    ),
]

# (line behind "Host: a", the field it is)
GOOD_FIELDS: list[tuple[bytes, tuple[bytes, bytes]]] = [
    (b"A:b", (b"A", b"b")),
    (b"A: b", (b"A", b"b")),
    (b"A:\t \tb c\t d \t", (b"A", b"b c\t d")),
    (b"A:", (b"A", b"")),
    (b"A: \t ", (b"A", b"")),
    (b"A: :b: c", (b"A", b":b: c")),
    (b"A: b\x85Host: c", (b"A", b"b\x85Host: c")),
    (b"A: \xc3\xa9\xff\x80", (b"A", b"\xc3\xa9\xff\x80")),
    (b"!#$%&'*+-.^_`|~09az: b", (b"!#$%&'*+-.^_`|~09az", b"b")),
    (b"Expect: 100-Continue", (b"Expect", b"100-Continue")),
]

BAD_FIELDS: list[bytes] = [
    b"A : b",
    b"A\t: b",
    b" A: b",
    b"\tA: b",
    b": b",
    b":",
    b"A",
    b"A b: c",
    b"A: b\r\n c",
    b"A: b\r\n\tc",
    b"A: b\r\n ",
    b"A: b\r",
    b"A: b\rC: d",
    b"\rA: b",
    b"A: b\nC: d",
    b"A: b\n",
    b"\nA: b",
    b"A: b\n\r",
    b"A: b\r\r\nC: d\n",
    b"A: \r x\n\r\nB: y",
    b"A: b\r\n\r\nC: d",
    b"A\xff: b",
    b"A(: b",
    b"Host: a",
    b"Host: b",
    b"HOST: a",
]

GOOD_HOSTS = [
    b"a", b"A.b-c.example", b"a.example.", b"a_b", b"a:1", b"a:65535", b"127.0.0.1:80",
    b"[::1]", b"[2001:DB8::1]:8080", b"[::ffff:1.2.3.4]", b"9", b"x" * 253,
    b"x" * 254 + b":65535",
]  # fmt: skip

BAD_HOSTS = [
    b"", b"a b", b"a,b", b"a@b", b"u:p@b", b"a/b", b"a?b", b"a#b", b"a\\b", b"http://a", b"a:",
    b":80", b"a:0", b"a:080", b"a:65536", b"a:99999", b"a:123456", b"a:8x", b"a:-1", b"a:80:80",
    b".", b".a", b"a..b", b"a%2e", b"a;b", b"a'b", b"*", b"\xc3\xa9", b"::1", b"[::1", b"::1]",
    b"[]", b"[::1]x", b"[::1%25lo]", b"[1.2.3.4]", b"[v1.x]", b"[:::]", b"[12345::]", b"a\x85",
    b"x" * 300, b"x" * 255 + b":65535",
]  # fmt: skip

# (head, error, status)
BAD_REQUESTS: list[tuple[bytes, type[RelayError], int]] = [
    (request(host=b""), BadRequest, 400),
    (request(b"GET / HTTP/1.0", b"Host: a"), BadRequest, 400),
    (request(b"GET /a#b HTTP/1.1"), BadRequest, 400),
    (request(b"GET /a b HTTP/1.1"), BadRequest, 400),
    (request(b"GET  / HTTP/1.1"), BadRequest, 400),
    (request(b"GET /  HTTP/1.1"), BadRequest, 400),
    (request(b" GET / HTTP/1.1"), BadRequest, 400),
    (request(b"GET / HTTP/1.1 "), BadRequest, 400),
    (request(b"GET\t/ HTTP/1.1"), BadRequest, 400),
    (request(b"GET /\tHTTP/1.1"), BadRequest, 400),
    (request(b"GET a HTTP/1.1"), BadRequest, 400),
    (request(b"GET * HTTP/1.1"), BadRequest, 400),
    (request(b"OPTIONS ** HTTP/1.1"), BadRequest, 400),
    (request(b"GET ?a HTTP/1.1"), BadRequest, 400),
    (request(b"GET \\a HTTP/1.1"), BadRequest, 400),
    (request(b"GET a:80 HTTP/1.1"), BadRequest, 400),
    (request(b"GET http:/a HTTP/1.1"), BadRequest, 400),
    (request(b"GET http:///a HTTP/1.1"), BadRequest, 400),
    (request(b"GET http://u@a/ HTTP/1.1"), BadRequest, 400),
    (request(b"GET http://a:x/ HTTP/1.1"), BadRequest, 400),
    (request(b"GET http://a,b/ HTTP/1.1"), BadRequest, 400),
    (request(b"GET ftp://a/ HTTP/1.1"), BadRequest, 400),
    (request(b"GET ws://a/ HTTP/1.1"), BadRequest, 400),
    (request(b"GET xhttp://a/ HTTP/1.1"), BadRequest, 400),
    (request(b"GET http://b/ HTTP/1.1", host=b""), BadRequest, 400),
    (request(b"GET http://b/ HTTP/1.1", host=b"Host: a@b"), BadRequest, 400),
    (request(b"get / HTTP/1.1"), BadRequest, 400),
    (request(b"Get / HTTP/1.1"), BadRequest, 400),
    (request(b"GE(T / HTTP/1.1"), BadRequest, 400),
    (request(b"/ HTTP/1.1"), BadRequest, 400),
    (request(b" / HTTP/1.1"), BadRequest, 400),
    (request(b"GET HTTP/1.1"), BadRequest, 400),
    (request(b"GET /"), BadRequest, 400),
    (request(b"GET"), BadRequest, 400),
    (request(b"GET / http/1.1"), BadRequest, 400),
    (request(b"GET / HTTP/1.10"), BadRequest, 400),
    (request(b"GET / HTTP/1"), BadRequest, 400),
    (request(b"GET / HTTP/1.1x"), BadRequest, 400),
    (request(b"GET / RTSP/1.0"), BadRequest, 400),
    (b"\r\n" + request(), BadRequest, 400),
    (b"\n" + request(), BadRequest, 400),
    (b"GET / HTTP/1.1\nHost: a\r\n\r\n", BadRequest, 400),
    (b"GET / HTTP/1.1\nHost: a\n\n", BadRequest, 400),
    (b"GET / HTTP/1.1\r\nHost: a\n\n", BadRequest, 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\n", BadRequest, 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r", BadRequest, 400),
    (b"GET / HTTP/1.1\r\n", BadRequest, 400),
    (b"GET / HTTP/1.0\r\n", BadRequest, 400),
    (b"", BadRequest, 400),
    (b"\r\n\r\n", BadRequest, 400),
    (request() + b"x", BadRequest, 400),
    (request() + request(), BadRequest, 400),
    (request(b"GET / HTTP/1.2"), VersionNotSupported, 505),
    (request(b"GET / HTTP/0.9"), VersionNotSupported, 505),
    (b"PRI * HTTP/2.0\r\n\r\n", VersionNotSupported, 505),
    (request(b"CONNECT a:443 HTTP/1.1"), MethodNotAllowed, 405),
    (request(b"CONNECT / HTTP/1.1"), MethodNotAllowed, 405),
    (request(b"POST / HTTP/1.1", b"Expect: x"), ExpectationFailed, 417),
    (request(b"POST / HTTP/1.1", b"Expect:"), ExpectationFailed, 417),
    (request(b"POST / HTTP/1.1", b"Expect: 100-continue, x"), ExpectationFailed, 417),
    (request(b"POST / HTTP/1.0", b"expect: 100-continue\x85"), ExpectationFailed, 417),
    (
        request(b"POST / HTTP/1.1", b"Expect: 100-continue", b"Expect: 100-continue"),
        ExpectationFailed,
        417,
    ),
    (request(b"GET / HTTP/1.1", *[b"A: b"] * 100), HeadTooLarge, 431),
]

# (line, status, reason, version)
GOOD_STATUS_LINES: list[tuple[bytes, int, str, tuple[int, int]]] = [
    (b"HTTP/1.1 200 OK", 200, "OK", (1, 1)),
    (b"HTTP/1.0 404 Not Found", 404, "Not Found", (1, 0)),
    (b"HTTP/1.1 101 Switching Protocols", 101, "Switching Protocols", (1, 1)),
    (b"HTTP/1.1 599 ", 599, "", (1, 1)),
    (b"HTTP/1.1 100", 100, "", (1, 1)),
    (b"HTTP/1.1 200  \t\xe9 ", 200, " \t\xe9 ", (1, 1)),
]

BAD_STATUS_LINES = [
    b"", b"HTTP/1.1", b"HTTP/1.1 ", b"HTTP/1.1 20", b"HTTP/1.1 2000", b"HTTP/1.1 2OO OK",
    b"HTTP/1.1 000 OK", b"HTTP/1.1 099 OK", b"HTTP/1.1 600 OK", b"HTTP/1.1 999 OK",
    b"HTTP/1.1  200 OK", b"HTTP/1.1\t200 OK", b" HTTP/1.1 200 OK", b"HTTP/1.1 -20 OK",
    b"HTTP/1.1 200OK", b"HTTP/1.1 200\tOK", b"http/1.1 200 OK", b"HTTP/2.0 200 OK",
    b"HTTP/1.2 200 OK", b"HTTP/0.9 200 OK", b"HTTP/1.10 200 OK", b"ICY 200 OK", b"ICE/1.0 200 OK",
    b"HTTP/1.1 200 a\x00b", b"HTTP/1.1 200 a\rb", b"HTTP/1.1 200 a\nb", b"HTTP/1.1 200 \x1b[2J",
    b"<html>", b"\r\nHTTP/1.1 200 OK", b"GET / HTTP/1.1",
]  # fmt: skip

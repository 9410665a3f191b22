# -*- test-case-name: tests.l7.test_hostile -*-
"""
What a client writes that is harmless once it was written anew, and exactly what reaches the
backend: more tables of L{tests.l7.test_hostile}, beside L{tests.l7.attacks}.
"""

from __future__ import annotations

from attrs import frozen

from tests.l7.attacks import CHUNKS, SMUGGLED, head
from tests.l7.harness import FORWARDED

__all__ = ["CLOAKED", "PASSED", "PATHS", "Passed", "reached"]


@frozen
class Passed:
    """
    What is harmless once it was written anew.

    @ivar said: the client's bytes.
    @ivar reached: the requests that reach the backend, without C{Connection}.
    """

    name: str
    said: bytes
    reached: tuple[bytes, ...]


def reached(
    line: bytes = b"GET / HTTP/1.1",
    fields: bytes = b"",
    behind: bytes = b"\r\n",
    host: bytes = b"a",
) -> bytes:
    """
    A request as the relay writes it.

    @param behind: the framing, the empty line, and the body.
    """
    own = FORWARDED.replace(b"Host: a", b"Host: " + host)
    return line + b"\r\nHost: " + host + b"\r\n" + fields + own + behind


_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_POST, _GOT = b"POST / HTTP/1.1", b"GET / HTTP/1.1"
_FIVE = b"Content-Length: 5\r\n\r\nhello"
_PIECES = b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS
_PLAIN = head(_GOT)


def passed(name: str, fields: bytes, kept: bytes = b"") -> Passed:
    """A GET with these lines of fields, C{kept} of which reach the backend."""
    return Passed(name, head(_GOT, b"Host: a\r\n" + fields), (reached(fields=kept),))


def sent(name: str, framing: bytes, body: bytes, behind: bytes) -> Passed:
    """A POST that is framed so, and how it is framed then."""
    said = head(_POST, b"Host: a\r\n" + framing) + body
    return Passed(name, said, (reached(_POST, behind=behind),))


_REWRITTEN = [
    sent("white space around a length", b"Content-Length: \t 5 \t\r\n", b"hello", _FIVE),
    sent("no space before a length", b"content-length:5\r\n", b"hello", _FIVE),
    sent("white space around a coding", b"TRANSFER-ENCODING:\tchunked \r\n", CHUNKS, _PIECES),
    sent("no content", b"Content-Length: 0\r\n", b"", b"Content-Length: 0\r\n\r\n"),
    sent("neither length nor coding", b"", b"", b"\r\n"),
    sent(
        "zeros and an extension", _CHUNKED, b'0005;a="b\\";c"\r\nhello\r\n000;x\r\n\r\n', _PIECES
    ),
    sent(
        "fields that no trailer may set (RFC 9110 section 6.5.1)",
        _CHUNKED,
        b"5\r\nhello\r\n0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: evil\r\n"
        b"Authorization: x\r\nCookie: a=b\r\nX-Forwarded-For: 6.6.6.6\r\n"
        b"Content-Type: x/y\r\n\r\n",
        _PIECES,
    ),
    Passed(
        "an absolute target is the Host",
        head(b"GET http://b:81/x?y HTTP/1.1"),
        (reached(b"GET /x?y HTTP/1.1", host=b"b:81"),),
    ),
    Passed(
        "the server as a whole",
        head(b"OPTIONS http://b HTTP/1.1"),
        (reached(b"OPTIONS * HTTP/1.1", host=b"b"),),
    ),
    Passed("an empty line first", b"\r\n" + _PLAIN, (reached(),)),
    Passed(
        "content of a GET",
        head(_GOT, b"Host: a\r\nContent-Length: 5\r\n") + b"hello",
        (reached(behind=_FIVE),),
    ),
    passed("NEL in a value", b"A: b\x85Host: evil\r\n", b"A: b\x85Host: evil\r\n"),
    passed(
        "an escaped line end in a value", b"A: %0d%0aHost: evil\r\n", b"A: %0d%0aHost: evil\r\n"
    ),
    passed("white space around a value", b"A:\t b  \r\n", b"A: b\r\n"),
    Passed(
        "escaped line ends in a target",
        head(b"GET /%0d%0aHost:%20evil HTTP/1.1"),
        (reached(b"GET /%0d%0aHost:%20evil HTTP/1.1"),),
    ),
    Passed(
        "Content-Encoding: chunked",
        head(_POST, b"Host: a\r\nContent-Encoding: chunked\r\nContent-Length: 5\r\n") + b"hello",
        (reached(_POST, b"Content-Encoding: chunked\r\n", _FIVE),),
    ),
]

_UPGRADES = [
    passed(
        "h2c",
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    ),
    passed(
        "h2c that Connection does not name",
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    ),
    passed("HTTP2-Settings alone", b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
    passed("TLS/1.0", b"Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n"),
    passed("websocket/13", b"Connection: Upgrade\r\nUpgrade: websocket/13\r\n"),
    passed("web socket", b"Connection: Upgrade\r\nUpgrade: web socket\r\n"),
    passed("an empty Upgrade", b"Connection: Upgrade\r\nUpgrade:\r\n"),
    passed("Connection: Upgrade alone", b"Connection: Upgrade\r\n"),
]

_TRUST = [
    *(
        passed(f"{name.decode()} of a client", name + b": 6.6.6.6\r\n")
        for name in [
            b"X-Forwarded-For",
            b"x-forwarded-for",
            b"X-FORWARDED-FOR",
            b"X_Forwarded_For",
            b"X-Forwarded_For",
            b"x_forwarded_proto",
            b"X-Forwarded-Host",
            b"X-Forwarded-Port",
            b"X-Forwarded-Server",
            b"Forwarded",
            b"X-Real-IP",
            b"X_Real_IP",
            b"x-real_ip",
            b"Client-Cert",
            b"Client_Cert",
            b"Client-Cert-Chain",
        ]
    ),
    passed(
        "hop-by-hop fields",
        b"TE: gzip\r\nTrailer: A\r\nKeep-Alive: timeout=9\r\nProxy-Connection: close\r\n"
        b"Proxy-Authorization: Basic eA==\r\n",
    ),
    *(
        passed(
            f"Connection names {name.decode()}", b"Connection: " + name + b"\r\n" + field, field
        )
        for name, field in [
            (b"Host", b""),
            (b"x-forwarded-for", b""),
            (b"X-Forwarded-Proto, X-Forwarded-Host", b""),
            (b"AUTHORIZATION", b"Authorization: Basic eA==\r\n"),
            (b"Cookie", b"Cookie: a=b\r\n"),
            (b"a, Cookie, b", b"Cookie: a=b\r\n"),
            (b"Origin", b"Origin: https://a\r\n"),
            (b"Content-Type", b"Content-Type: x/y\r\n"),
            (b"Sec-WebSocket-Protocol", b"Sec-WebSocket-Protocol: a\r\n"),
        ]
    ),
    passed(
        "Connection names what is its own",
        b"Connection: keep-alive, X-Mine\r\nX-Mine: 1\r\nX-Other: 2\r\n",
        b"X-Other: 2\r\n",
    ),
    passed(
        "Connection names on two lines",
        b"Connection: X-Mine\r\nConnection: X-Other\r\nX-Other: 2\r\nx-mine: 1\r\n",
    ),
    Passed(
        "Connection names Content-Length",
        head(_POST, b"Host: a\r\nConnection: Content-Length\r\nContent-Length: 5\r\n") + b"hello",
        (reached(_POST, behind=_FIVE),),
    ),
    Passed(
        "Connection names Transfer-Encoding",
        head(_POST, b"Host: a\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n")
        + CHUNKS,
        (reached(_POST, behind=_PIECES),),
    ),
]

_PIPELINED = [
    Passed(
        "three requests at once",
        head(b"GET /1 HTTP/1.1") + head(b"GET /2 HTTP/1.1") + head(b"GET /3 HTTP/1.1"),
        (reached(b"GET /1 HTTP/1.1"), reached(b"GET /2 HTTP/1.1"), reached(b"GET /3 HTTP/1.1")),
    ),
    Passed(
        "a request in a body is content",
        head(_POST, b"Host: a\r\nContent-Length: %d\r\n" % len(SMUGGLED)) + SMUGGLED,
        (reached(_POST, behind=b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED),),
    ),
    Passed(
        "a request in the body of a GET is content",
        head(_GOT, b"Host: a\r\nContent-Length: %d\r\n" % len(SMUGGLED)) + SMUGGLED,
        (reached(behind=b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED),),
    ),
    Passed(
        "a request in a chunk is content",
        head(_POST, b"Host: a\r\n" + _CHUNKED)
        + b"%X\r\n" % len(SMUGGLED)
        + SMUGGLED
        + b"\r\n0\r\n\r\n",
        (
            reached(
                _POST,
                behind=_CHUNKED + b"\r\n%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n",
            ),
        ),
    ),
    Passed(
        "the first half of a request in a body is content, too",
        head(_POST, b"Host: a\r\nContent-Length: 20\r\n") + b"GET /s HTTP/1.1\r\nX: " + _PLAIN,
        (reached(_POST, behind=b"Content-Length: 20\r\n\r\nGET /s HTTP/1.1\r\nX: "), reached()),
    ),
]

_DISGUISED = [
    # Some backends take "_" for "-" (CGI does): they would see a length that we do not. Such a
    # field is left out, as those of L{wsrelay.l7.fields} that begin with C{X_Forwarded}.
    passed("Content_Length", b"Content_Length: 5\r\n"),
    passed("Transfer_Encoding", b"Transfer_Encoding: chunked\r\n"),
    # RFC 9110 section 10.1.1: no content, no expectation. A backend that waits for content, or
    # answers 100 to nothing, is out of step with us on a connection that is kept.
    passed("an expectation without content", b"Expect: 100-continue\r\n"),
    Passed(
        "an expectation in HTTP/1.0",
        head(b"POST / HTTP/1.0", b"Host: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n")
        + b"hello",
        (reached(_POST, behind=_FIVE),),
    ),
]

PASSED = [*_REWRITTEN, *_UPGRADES, *_TRUST, *_DISGUISED, *_PIPELINED]

#: What C{/admin} is called by clients that must not get there: refused, or 400 or 404, but never
#: forwarded by the route behind the one that guards it.
PATHS = [
    b"/admin", b"/%61dmin", b"/%61%64%6d%69%6e", b"//admin", b"///admin", b"/./admin",
    b"/x/../admin", b"/x/%2e%2e/admin", b"/x/.%2E/admin", b"/%2e/admin", b"/;x/admin", b"/admin;x",
    b"/admin;x=/../y", b"/x/..;/admin", b"/x;/../admin", b"/%2fadmin", b"/%2Fadmin", b"/\\admin",
    b"/%5cadmin", b"/x/..\\admin", b"/x/..%2fadmin", b"/x%2f..%2fadmin", b"/x/..%5cadmin",
    b"/admin%00", b"/%00admin", b"/admin%", b"/admin%2", b"/admin%zz", b"/%c0%afadmin",
    b"/x/%c0%ae%c0%ae/admin", b"/%e0%80%afadmin", b"/x/../../admin", b"/../admin", b"/admin?x",
    b"/admin?/../x", b"/admin/", b"/admin/x", b"/admin//x", b"/admin%2fx", b"/admin/.",
    b"http://a/admin", b"http://a//admin", b"http://a/%61dmin", b"http://b/x/../admin",
    b"https://a/admin",
]  # fmt: skip

#: Decoded once, and only once: these are no spellings of C{/admin}, and reach the backend as they
#: are.
CLOAKED = [
    b"/%2561dmin",
    b"/%252e%252e/admin",
    b"/x%252f..%252fadmin",
    b"/xadmin",
    b"/x?/admin",
    b"/x;/admin",
]

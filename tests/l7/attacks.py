# -*- test-case-name: tests.l7.test_hostile -*-
"""
What a hostile client writes and is refused: tables of L{tests.l7.test_hostile}.

Each row is named by what it tries. Sources are RFC 9112 and 9110, the corpora of HTTP Garden and
Http11Probe, PortSwigger's desync classes, and the advisories of other proxies. What is not refused
but written anew stands in L{tests.l7.rewrites}, what a hostile backend writes in
L{tests.l7.misanswers}.
"""

from __future__ import annotations

from attrs import frozen

from tests.l7.harness import KEY

__all__ = ["BAD_BODIES", "CHUNKS", "REFUSED", "SMUGGLED", "Refused", "head"]

#: What stands behind every attack: nothing may ever come of it.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

#: Content in chunks, as an attacker hopes that only one of two readers will see it.
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"


@frozen
class Refused:
    """
    An attack that is answered by the relay, once, and ends the connection. Nothing of it reaches
    a backend.

    @ivar said: the client's bytes.
    """

    name: str
    said: bytes
    status: int = 400


def post(fields: bytes, line: bytes = b"POST / HTTP/1.1") -> bytes:
    """A request with these lines of fields, and chunks behind it."""
    return line + b"\r\nHost: a\r\n" + fields + b"\r\n" + CHUNKS


def head(line: bytes, fields: bytes = b"Host: a\r\n") -> bytes:
    """A request of this line and these lines of fields."""
    return line + b"\r\n" + fields + b"\r\n"


# ------------------------------------------------------------------- two ways to read a length

_LENGTH, _CODING = b"Content-Length: ", b"Transfer-Encoding: "
_CHUNKED = _CODING + b"chunked\r\n"

# The long ones: 19 digits, 2 ** 64 + 5, 400 digits.
_LENGTHS = [
    b"", b" ", b"\t", b"+5", b"-5", b"-0", b"+0", b"05", b"00", b"0200", b"0x5", b"0o5", b"5h",
    b"1_0", b"1 0", b"5,", b",5", b"5,5", b"5, 5", b"5, 6", b"5, 5, 5", b"5;a", b"5.0", b"5e0",
    b"five", b"0x", b"NaN", b'"5"', b"\xb2", b"\xd9\xa5", b"5\x85", b"5\xa0", b"9" * 19,
    b"18446744073709551621", b"9" * 400, b"\x0b5", b"5\x0c", b"5\x00", b"\x005", b"5\x1c", b"5\rX",
    b"5\r\n 6", b"\r\n 5",
]  # fmt: skip

_CODINGS = [
    b"", b" ", b"identity", b"gzip", b"cow", b"xchunked", b"x-chunked", b"chunkedx", b"chunk",
    b"chun ked", b"Chunked", b"CHUNKED", b"chunked, identity", b"chunked, gzip",
    b"chunked, chunked", b"chunked, Chunked", b"chunked chunked", b"chunked;q=1",
    b"chunked;ext=val", b"chunked,", b", chunked", b",chunked", b'"chunked"', b"'chunked'",
    b"\x0bchunked", b"\x0cchunked", b"chunked\x00", b"chunked\x0b", b"chunked\x0c", b"chunked\x1c",
    b"chunked\x85", b"chunked\xa0", b"\xa0chunked", b"chunked\rX: y", b"\r\n chunked",
    b"\r\n\tchunked", b"chunked\r\n x", b"c\x68unked\x7f",
]  # fmt: skip

_LENGTH_FIELDS = {
    "both lengths": _LENGTH + b"5\r\n" + _CHUNKED,
    "both lengths, the coding first": _CHUNKED + _LENGTH + b"5\r\n",
    "both lengths, no content": _LENGTH + b"0\r\n" + _CHUNKED,
    "both lengths in other cases": b"content-LENGTH: 5\r\ntransfer-ENCODING: chunked\r\n",
    "both lengths, the length bad": _LENGTH + b"+5\r\n" + _CHUNKED,
    "both lengths, the coding unknown": _LENGTH + b"5\r\n" + _CODING + b"cow\r\n",
    "both lengths, the coding identity": _LENGTH + b"5\r\n" + _CODING + b"identity\r\n",
    "both lengths, the coding empty": _LENGTH + b"5\r\n" + _CODING + b"\r\n",
    "both lengths, far apart": _LENGTH + b"5\r\n" + b"A: b\r\n" * 50 + _CHUNKED,
    "two lengths": _LENGTH + b"5\r\n" + _LENGTH + b"6\r\n",
    "two lengths, equal": _LENGTH + b"5\r\n" + _LENGTH + b"5\r\n",
    "two lengths, one empty": _LENGTH + b"5\r\n" + _LENGTH + b"\r\n",
    "two codings": _CHUNKED + _CHUNKED,
    "two codings, identity last": _CHUNKED + _CODING + b"identity\r\n",
    "two codings, identity first": _CODING + b"identity\r\n" + _CHUNKED,
    "two codings, one unknown": _CHUNKED + _CODING + b"cow\r\n",
    "two codings, one empty": _CODING + b"\r\n" + _CHUNKED,
    "a space before the colon of the length": b"Content-Length : 5\r\n",
    "a tab before the colon of the length": b"Content-Length\t: 5\r\n",
    "a length behind a space": b" Content-Length: 5\r\n",
    "a length without colon": b"Content-Length 5\r\n",
    "a length behind a NUL": b"\x00Content-Length: 5\r\n",
    "a tab in the length's name": b"Content\tLength: 5\r\n",
    "a space before the colon of the coding": b"Transfer-Encoding : chunked\r\n",
    "a vertical tab before the colon of the coding": b"Transfer-Encoding\x0b: chunked\r\n",
    "a line feed before the colon of the coding": b"Transfer-Encoding\n: chunked\r\n",
    "a coding behind a space": b" " + _CHUNKED,
    "a coding behind a bare LF": b"X: y\n" + _CHUNKED,
    "a coding behind a bare CR": b"X: y\r" + _CHUNKED,
    "a coding behind LF CR": b"X: y\n\r" + _CHUNKED,
    "a coding folded into a value": b"X: y\r\n " + _CHUNKED,
    "a coding in \xe9": b"Transfer-Encod\xc4\xb1ng: chunked\r\n",
}

_FRAMING = [
    *(
        Refused(f"Content-Length: {each[:40]!r}", post(_LENGTH + each + b"\r\n"))
        for each in _LENGTHS
    ),
    *(
        Refused(f"Transfer-Encoding: {each!r}", post(_CODING + each + b"\r\n"))
        for each in _CODINGS
    ),
    *(Refused(name, post(fields)) for name, fields in _LENGTH_FIELDS.items()),
    # A coding that is well-formed and not ours.
    Refused("gzip below chunked", post(_CODING + b"gzip, chunked\r\n"), 501),
    Refused("identity below chunked", post(_CODING + b"identity, chunked\r\n"), 501),
    Refused("chunked in HTTP/1.0", post(_CHUNKED, b"POST / HTTP/1.0")),
    Refused(
        "chunked in HTTP/1.0, with a length",
        post(_LENGTH + b"5\r\n" + _CHUNKED, b"POST / HTTP/1.0"),
    ),
    Refused("both lengths on a GET", post(_LENGTH + b"5\r\n" + _CHUNKED, b"GET / HTTP/1.1")),
    Refused("TRACE with content", post(_LENGTH + b"5\r\n", b"TRACE / HTTP/1.1")),
    Refused("TRACE with chunks", post(_CHUNKED, b"TRACE / HTTP/1.1")),
]

# ---------------------------------------------------------------------------------- whole lines

_LINES = {
    "a folded line": b"A: b\r\n c\r\n",
    "a line folded with a tab": b"A: b\r\n\tc\r\n",
    "a folded line of nothing": b"A: b\r\n \r\n",
    "a fold before the first field": b" A: b\r\n",
    "a bare LF": b"A: b\nC: d\r\n",
    "a bare LF at the end": b"A: b\r\n\n",
    "a bare CR": b"A: b\rC: d\r\n",
    "a bare CR at the end": b"A: b\r\r\n",
    "LF CR": b"A: b\n\rC: d\r\n",
    "a NUL in a value": b"A: b\x00c\r\n",
    "a NUL in a name": b"A\x00: b\r\n",
    "an escape in a value": b"A: \x1b[2J\r\n",
    "DEL in a value": b"A: b\x7f\r\n",
    "a vertical tab": b"A: b\x0bC: d\r\n",
    "a form feed": b"A: b\x0cC: d\r\n",
    "a file separator": b"A: b\x1cC: d\r\n",
    "a record separator": b"A: b\x1eC: d\r\n",
    "a space before the colon": b"A : b\r\n",
    "a tab before the colon": b"A\t: b\r\n",
    "an empty name": b": b\r\n",
    "nothing but a colon": b":\r\n",
    "no colon": b"A b\r\n",
    "a space in a name": b"A b: c\r\n",
    "a name in brackets": b"[A]: b\r\n",
    "a name with \xe9": b"A\xc3\xab: b\r\n",
    "a name with NEL": b"A\x85B: c\r\n",
    "a second Host": b"Host: a\r\n",
    "another Host": b"Host: evil\r\n",
    "a second Host in another case": b"hOsT: evil\r\n",
    "a second Host, empty": b"Host:\r\n",
    "a second Host behind a bare LF": b"X: y\nHost: evil\r\n",
    "a second Host behind a space": b"X: y\r\n Host: evil\r\n",
}

_REQUEST_LINES = {
    "a fragment": b"GET /a#b HTTP/1.1",
    "a fragment in the query": b"GET /a?b#c HTTP/1.1",
    "two spaces before the target": b"GET  / HTTP/1.1",
    "two spaces behind the target": b"GET /  HTTP/1.1",
    "a space in the target": b"GET /a b HTTP/1.1",
    "two requests on one line": b"GET /a HTTP/1.1 /b HTTP/1.1",
    "a space at the start": b" GET / HTTP/1.1",
    "a space at the end": b"GET / HTTP/1.1 ",
    "tabs": b"GET\t/\tHTTP/1.1",
    "a tab in the target": b"GET /a\tb HTTP/1.1",
    "a vertical tab for a space": b"GET\x0b/\x0bHTTP/1.1",
    "a bare CR for a space": b"GET /\rHTTP/1.1",
    "a bare CR in the target": b"GET /a\rb HTTP/1.1",
    "a NUL in the target": b"GET /\x00 HTTP/1.1",
    "UTF-8 in the target": b"GET /\xc3\xa9 HTTP/1.1",
    "an overlong slash in the target": b"GET /\xc0\xaf HTTP/1.1",
    "no target": b"GET HTTP/1.1",
    "an empty target": b"GET  HTTP/1.1",
    "a relative target": b"GET a HTTP/1.1",
    "an authority as target": b"GET a:80 HTTP/1.1",
    "a query as target": b"GET ?a HTTP/1.1",
    "a backslash as target": b"GET \\a HTTP/1.1",
    "an asterisk for GET": b"GET * HTTP/1.1",
    "an asterisk and a path": b"OPTIONS */ HTTP/1.1",
    "an absolute target with user-info": b"GET http://u:p@a/ HTTP/1.1",
    "an absolute target with a bad port": b"GET http://a:99999/ HTTP/1.1",
    "an absolute target without host": b"GET http:///a HTTP/1.1",
    "an absolute target of two hosts": b"GET http://a,b/ HTTP/1.1",
    "an absolute target with a backslash": b"GET http://a\\@b/ HTTP/1.1",
    "another scheme": b"GET gopher://a/ HTTP/1.1",
    "a file": b"GET file:///etc/passwd HTTP/1.1",
    "a lower-case method": b"get / HTTP/1.1",
    "a mixed-case method": b"Get / HTTP/1.1",
    "no method": b"/ HTTP/1.1",
    "a method that is no token": b"GE(T / HTTP/1.1",
    "a colon in the method": b"GET: / HTTP/1.1",
    "no version (HTTP/0.9)": b"GET /",
    "HTTP/1": b"GET / HTTP/1",
    "HTTP/1.10": b"GET / HTTP/1.10",
    "HTTP/01.1": b"GET / HTTP/01.1",
    "HTTP/1.1 and more": b"GET / HTTP/1.1x",
    "HTTP/ 1.1": b"GET / HTTP/ 1.1",
    "a comma in the version": b"GET / HTTP/1,1",
    "a lower-case version": b"GET / http/1.1",
    "another protocol": b"GET / ICY/1.1",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a PROXY header": b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET / HTTP/1.1",
}

_OTHER_LINES = {
    "HTTP/0.9": (b"GET / HTTP/0.9", 505),
    "HTTP/1.2": (b"GET / HTTP/1.2", 505),
    "HTTP/2.0": (b"GET / HTTP/2.0", 505),
    "HTTP/9.9": (b"GET / HTTP/9.9", 505),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1", 405),
    "CONNECT to a path": (b"CONNECT / HTTP/1.1", 405),
    "a long target": (b"GET /" + b"a" * 100_000 + b" HTTP/1.1", 431),
    "a long method": (b"G" * 100_000 + b" / HTTP/1.1", 431),
}

_HOSTS = [
    b"", b" ", b"a b", b"a,b", b"a, b", b"u@a", b"u:p@a", b"a@b:80", b"a/b", b"a?b", b"a#b",
    b"a\\b", b"http://a", b"a:", b":80", b"a:0", b"a:080", b"a:8o", b"a:+80", b"a:-1", b"a:80:80",
    b"a:65536", b"a: 80", b"a :80", b"a:80 b", b"a;b", b"a\tb", b"a\x00", b"a\x0b", b"a\x85",
    b"\xc3\xa9", b"a%00", b"%61", b".", b".a", b"a..b", b"*", b"[", b"[]", b"[::1", b"::1",
    b"[::1]a", b"[::1%25lo]", b"[1.2.3.4]", b"a\rb", b"a\r\n b", b"a" * 300, b"'a'", b"a|b",
    b"{a}",
]  # fmt: skip

_EXPECTATIONS = [
    b"", b"100", b"100-continue, x", b"100-continue,", b"100-continue;a", b"x", b"x 100-continue",
    b"y, 100-continue", b"100 continue", b"100-continue\x85", b"200-ok",
    b"100-continue, 100-continue", b"100-continu\xe9", b'"100-continue"',
    b"100-continue\r\nExpect: 100-continue", b"100-continue\r\nExpect: x",
]  # fmt: skip

_HEADS = [
    *(
        Refused(name, head(b"GET / HTTP/1.1", b"Host: a\r\n" + lines))
        for name, lines in _LINES.items()
    ),
    *(
        Refused(f"{name}, first", head(b"GET / HTTP/1.1", lines + b"Host: a\r\n"))
        for name, lines in _LINES.items()
    ),
    *(Refused(name, head(line)) for name, line in _REQUEST_LINES.items()),
    *(Refused(name, head(line), status) for name, (line, status) in _OTHER_LINES.items()),
    *(
        Refused(f"Host: {host[:40]!r}", head(b"GET / HTTP/1.1", b"Host: " + host + b"\r\n"))
        for host in _HOSTS
    ),
    *(
        Refused(f"Expect: {each!r}", post(_LENGTH + b"5\r\nExpect: " + each + b"\r\n"), 417)
        for each in _EXPECTATIONS
    ),
    Refused("no Host", head(b"GET / HTTP/1.1", b"")),
    Refused("no Host, an absolute target", head(b"GET http://a/ HTTP/1.1", b"")),
    Refused("two Hosts in HTTP/1.0", head(b"GET / HTTP/1.0", b"Host: a\r\nHost: a\r\n")),
    Refused("a bad Host in HTTP/1.0", head(b"GET / HTTP/1.0", b"Host: a@b\r\n")),
    Refused("two empty lines first", b"\r\n\r\n" + head(b"GET / HTTP/1.1")),
    Refused("a line feed first", b"\n" + head(b"GET / HTTP/1.1")),
    Refused("bare LFs", head(b"GET / HTTP/1.1").replace(b"\r\n", b"\n")),
    Refused("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    Refused("10 000 fields", head(b"GET / HTTP/1.1", b"Host: a\r\n" + b"A: b\r\n" * 10_000), 431),
    Refused("101 fields", head(b"GET / HTTP/1.1", b"Host: a\r\n" + b"A: b\r\n" * 100), 431),
    Refused(
        "a long name", head(b"GET / HTTP/1.1", b"Host: a\r\n" + b"a" * 100_000 + b": b\r\n"), 431
    ),
    Refused(
        "a long value", head(b"GET / HTTP/1.1", b"Host: a\r\nA: " + b"b" * 100_000 + b"\r\n"), 431
    ),
]

# ------------------------------------------------------------------------------- the WebSocket

_GOOD = {
    b"Host": b"a",
    b"Connection": b"Upgrade",
    b"Upgrade": b"websocket",
    b"Sec-WebSocket-Version": b"13",
    b"Sec-WebSocket-Key": KEY,
}


def upgrade(line: bytes = b"GET / HTTP/1.1", more: bytes = b"", **changes: bytes | None) -> bytes:
    """
    A handshake in which something is wrong.

    @param changes: other values, or C{None}, by the last word of the field's name.
    """
    lines = []
    for name, good in _GOOD.items():
        value = changes.get(name.rpartition(b"-")[2].decode(), good)
        if value is not None:
            lines.append(name + b": " + value + b"\r\n")
    return head(line, b"".join(lines) + more)


_HANDSHAKES = [
    Refused("no version", upgrade(Version=None), 426),
    Refused("version 12", upgrade(Version=b"12"), 426),
    Refused("version 777", upgrade(Version=b"777"), 426),
    Refused("version 13, 8", upgrade(Version=b"13, 8"), 426),
    Refused("version 013", upgrade(Version=b"013"), 426),
    Refused("an empty version", upgrade(Version=b""), 426),
    Refused("two versions", upgrade(more=b"Sec-WebSocket-Version: 13\r\n"), 426),
    Refused("no key", upgrade(Key=None)),
    Refused("an empty key", upgrade(Key=b"")),
    Refused("a short key", upgrade(Key=b"c2hvcnQ=")),
    Refused("a key that is no base64", upgrade(Key=b"x" * 24)),
    Refused("two keys", upgrade(more=b"Sec-WebSocket-Key: " + KEY + b"\r\n")),
    Refused("websocket, h2c", upgrade(Upgrade=b"websocket, h2c")),
    Refused("h2c, websocket", upgrade(Upgrade=b"h2c, websocket")),
    Refused("websocket twice", upgrade(Upgrade=b"websocket, websocket")),
    Refused("h2c on a second line", upgrade(more=b"Upgrade: h2c\r\n")),
    Refused("no Connection", upgrade(Connection=None)),
    Refused("Connection: keep-alive", upgrade(Connection=b"keep-alive")),
    Refused("Connection: close", upgrade(Connection=b"close")),
    Refused("Connection: Upgrade;x", upgrade(Connection=b"Upgrade;x")),
    Refused("a POST", upgrade(b"POST / HTTP/1.1")),
    Refused("a HEAD", upgrade(b"HEAD / HTTP/1.1")),
    Refused("an OPTIONS *", upgrade(b"OPTIONS * HTTP/1.1")),
    Refused("HTTP/1.0", upgrade(b"GET / HTTP/1.0")),
    Refused("a length", upgrade(more=b"Content-Length: 5\r\n")),
    Refused("chunks", upgrade(more=b"Transfer-Encoding: chunked\r\n")),
    Refused("both lengths and an upgrade", upgrade(more=b"Content-Length: 5\r\n" + _CHUNKED)),
    Refused("an expectation", upgrade(more=b"Expect: 100-continue\r\n")),
    Refused("two origins", upgrade(more=b"Origin: https://a\r\nOrigin: https://b\r\n")),
    Refused("a subprotocol twice", upgrade(more=b"Sec-WebSocket-Protocol: a, a\r\n")),
    Refused("an empty subprotocol", upgrade(more=b"Sec-WebSocket-Protocol:\r\n")),
    Refused("a subprotocol that is none", upgrade(more=b"Sec-WebSocket-Protocol: a b\r\n")),
    Refused(
        "a thousand subprotocols",
        upgrade(
            more=b"Sec-WebSocket-Protocol: "
            + b", ".join(b"p%d" % n for n in range(1000))
            + b"\r\n"
        ),
    ),
    Refused(
        "a thousand extensions",
        upgrade(more=b"Sec-WebSocket-Extensions: a" + b", a" * 999 + b"\r\n"),
    ),
    Refused("an extension that is none", upgrade(more=b'Sec-WebSocket-Extensions: a; b="\r\n')),
]

REFUSED = [*_FRAMING, *_HEADS, *_HANDSHAKES]

# ------------------------------------------------------------------------------------- chunks

#: Bodies behind C{Transfer-Encoding: chunked}: the client is answered 400 and closed, and what the
#: backend has got by then is never a whole request.
BAD_BODIES = {
    "a bare LF behind the size": b"5\nhello\r\n0\r\n\r\n",
    "a bare CR behind the size": b"5\rhello\r\n0\r\n\r\n",
    "CR CR LF behind the size": b"5\r\r\nhello\r\n0\r\n\r\n",
    "a bare LF behind the content": b"5\r\nhello\n0\r\n\r\n",
    "a bare CR behind the content": b"5\r\nhello\r0\r\n\r\n",
    "nothing behind the content": b"5\r\nhello0\r\n\r\n",
    "more content than the size": b"5\r\nhello!!\r\n0\r\n\r\n",
    "less content than the size": b"6\r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "a size that is none": b"five\r\nhello\r\n0\r\n\r\n",
    "a plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "a minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "minus nothing": b"5\r\nhello\r\n-0\r\n\r\n",
    "0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "h": b"5h\r\nhello\r\n0\r\n\r\n",
    "an underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "a space before the size": b" 5\r\nhello\r\n0\r\n\r\n",
    "a space behind the size": b"5 \r\nhello\r\n0\r\n\r\n",
    "a tab behind the size": b"5\t\r\nhello\r\n0\r\n\r\n",
    "a NUL behind the size": b"5\x00\r\nhello\r\n0\r\n\r\n",
    "two sizes": b"5,5\r\nhello\r\n0\r\n\r\n",
    "a size of 2 ** 64 + 5": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "a size of 17 digits": b"00000000000000005\r\nhello\r\n0\r\n\r\n",
    "leading zeros without end": b"0" * 2000,
    "a semicolon and nothing": b"5;\r\nhello\r\n0\r\n\r\n",
    "two semicolons": b"5;;a\r\nhello\r\n0\r\n\r\n",
    "an extension without name": b"5;=a\r\nhello\r\n0\r\n\r\n",
    "an extension without value": b"5;a=\r\nhello\r\n0\r\n\r\n",
    "a space before the extension": b"5 ;a\r\nhello\r\n0\r\n\r\n",
    "a space in an extension": b"5;a b\r\nhello\r\n0\r\n\r\n",
    "an extension that is no token": b"5;a[=b\r\nhello\r\n0\r\n\r\n",
    "an empty extension and a bare LF": b"5;\nhello\r\n0\r\n\r\n",
    "a bare LF in an extension": b"5;a\nxx\r\nhello\r\n0\r\n\r\n",
    "a bare LF in a quoted extension": b'5;a="\n"\r\nhello\r\n0\r\n\r\n',
    "a bare CR in an extension": b"5;a\rX\r\nhello\r\n0\r\n\r\n",
    "CR LF in a quoted extension": b'5;a="\r\nhello"\r\n0\r\n\r\n',
    "a NUL in an extension": b"5;\x00a\r\nhello\r\n0\r\n\r\n",
    "an extension with an open quote": b'5;a="b\r\nhello\r\n0\r\n\r\n',
    "something behind a quote": b'5;a="b"c\r\nhello\r\n0\r\n\r\n',
    "an extension without end": b"5;" + b"a" * 70_000,
    "a bad extension of the last chunk": b"5\r\nhello\r\n0;\r\n\r\n",
    "a last chunk of + 0": b"5\r\nhello\r\n+0\r\n\r\n",
    "a bare LF at the end": b"5\r\nhello\r\n0\r\n\n",
    "a bare LF behind the last size": b"5\r\nhello\r\n0\n\r\n",
    "a space before the end": b"5\r\nhello\r\n0\r\n \r\n",
    "a folded trailer": b"5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n",
    "a space before the colon of a trailer": b"5\r\nhello\r\n0\r\nA : b\r\n\r\n",
    "a trailer without name": b"5\r\nhello\r\n0\r\n: b\r\n\r\n",
    "a trailer without colon": b"5\r\nhello\r\n0\r\nA\r\n\r\n",
    "a request for a trailer": b"5\r\nhello\r\n0\r\n" + SMUGGLED,
    "a bare LF in a trailer": b"5\r\nhello\r\n0\r\nA: b\nC: d\r\n\r\n",
    "a bare CR in a trailer": b"5\r\nhello\r\n0\r\nA: b\rC: d\r\n\r\n",
    "a NUL in a trailer": b"5\r\nhello\r\n0\r\nA: \x00\r\n\r\n",
    "a trailer without end": b"5\r\nhello\r\n0\r\nA: " + b"b" * 70_000,
    "trailers without end": b"5\r\nhello\r\n0\r\n" + b"A: b\r\n" * 10_000,
}

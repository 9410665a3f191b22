# -*- test-case-name: tests.l7.test_hostile -*-
"""
What a hostile or broken backend answers, and what must come of it: more tables of
L{tests.l7.test_hostile}. C{tests.l7.attacks} is the other side.
"""

from __future__ import annotations

from attrs import frozen

from tests.l7.harness import ACCEPT, KEY

__all__ = [
    "BAD",
    "CUT",
    "NO_TUNNEL",
    "NO_WEBSOCKET",
    "POISON",
    "REWRITTEN",
    "Rewritten",
]

OK = b"HTTP/1.1 200 OK\r\n"
_LENGTH, _CODING = b"Content-Length: ", b"Transfer-Encoding: "
_CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"

#: What a desynchronised client would take for the answer to its next request.
POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"


def _ok(fields: bytes, body: bytes = _CHUNKS) -> bytes:
    return OK + fields + b"\r\n" + body


_LENGTHS = [
    b"", b"+5", b"-5", b"0x5", b"05", b"5_0", b"5 5", b"5,5", b"5, 5", b"5, 6", b"5;", b"five",
    b"5.0", b"\xb2", b"5\x85", b"9" * 19, b"18446744073709551621", b"5\x00", b"\x0b5", b"5\r\n 6",
]  # fmt: skip

_CODINGS = [
    b"", b"identity", b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked",
    b"xchunked", b"chunkedx", b"chunked;a=b", b"chunked,", b", chunked", b'"chunked"',
    b"chunked\x00", b"\x0bchunked", b"chunked\x85", b"\r\n chunked",
]  # fmt: skip

_STATUS_LINES = [
    b"", b"HTTP/1.1", b"HTTP/1.1 ", b"HTTP/1.1 OK", b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK",
    b"HTTP/1.1 2OO OK", b"HTTP/1.1 -20 OK", b"HTTP/1.1 099 OK", b"HTTP/1.1 000 OK",
    b"HTTP/1.1 600 OK", b"HTTP/1.1 999 OK", b"HTTP/1.1  200 OK", b"HTTP/1.1\t200 OK",
    b" HTTP/1.1 200 OK", b"HTTP/1.1 200OK", b"HTTP/1.1 200\tOK", b"http/1.1 200 OK",
    b"HTTP/1.2 200 OK", b"HTTP/2.0 200 OK", b"HTTP/0.9 200 OK", b"HTTP/1.10 200 OK",
    b"HTTP/1 200 OK", b"ICY 200 OK", b"HTTP/1.1 200 a\x00", b"HTTP/1.1 200 a\rSet-Cookie: b",
    b"HTTP/1.1 200 a\nSet-Cookie: b", b"HTTP/1.1 200 \x1b[2J", b"GET / HTTP/1.1",
    b"<html><h1>It works!</h1>", b"SSH-2.0-OpenSSH_9.2", b"220 mail.example ESMTP",
    b"\x15\x03\x01\x00\x02\x02\x0a", b"\r\n\r\nHTTP/1.1 200 OK",
]  # fmt: skip

_LINES = {
    "a folded line": b"A: b\r\n c\r\n",
    "a fold first": b" A: b\r\n",
    "a bare LF": b"A: b\nC: d\r\n",
    "a bare CR": b"A: b\rC: d\r\n",
    "a NUL": b"A: b\x00\r\n",
    "an escape": b"A: \x1b[2J\r\n",
    "a vertical tab": b"A: b\x0bC: d\r\n",
    "a space before the colon": b"A : b\r\n",
    "no name": b": b\r\n",
    "no colon": b"A\r\n",
    "a name with a control": b"A\x01: b\r\n",
    "both lengths": _LENGTH + b"5\r\n" + _CODING + b"chunked\r\n",
    "both lengths, the coding first": _CODING + b"chunked\r\n" + _LENGTH + b"5\r\n",
    "two lengths": _LENGTH + b"5\r\n" + _LENGTH + b"6\r\n",
    "two lengths, equal": _LENGTH + b"5\r\n" + _LENGTH + b"5\r\n",
    "two codings": _CODING + b"chunked\r\n" + _CODING + b"chunked\r\n",
    "a coding behind a bare LF": b"X: y\n" + _CODING + b"chunked\r\n",
    "201 fields": b"A: b\r\n" * 201,
}

_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\n"
_SWITCHED = {
    b"Upgrade": b"websocket",
    b"Connection": b"Upgrade",
    b"Sec-WebSocket-Accept": ACCEPT,
}


def _switch(line: bytes = _SWITCH, more: bytes = b"", **changes: bytes | None) -> bytes:
    """A 101 in which something is wrong: other values by the last word of the name."""
    fields = more
    for name, good in _SWITCHED.items():
        value = changes.get(name.rpartition(b"-")[2].decode(), good)
        if value is not None:
            fields += name + b": " + value + b"\r\n"
    return line + fields + b"\r\n"


#: Answered 502, and nothing of it reaches the client. The backend's connection is cut.
BAD: dict[str, bytes] = {
    **{f"Content-Length: {each!r}": _ok(_LENGTH + each + b"\r\n") for each in _LENGTHS},
    **{f"Transfer-Encoding: {each!r}": _ok(_CODING + each + b"\r\n") for each in _CODINGS},
    **{f"status line {each!r}": each + b"\r\nContent-Length: 0\r\n\r\n" for each in _STATUS_LINES},
    **{name: _ok(lines) for name, lines in _LINES.items()},
    "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + _CHUNKS,
    "bare LFs": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "a head without end": OK + b"A: " + b"b" * 100_000,
    "fields without end": OK + b"A: b\r\n" * 50_000,
    "a status line without end": b"HTTP/1.1 200 " + b"O" * 100_000,
    "garbage without end": b"\xff" * 100_000,
    "101 that nobody asked for": _SWITCH + b"\r\n",
    "101 to a WebSocket that nobody asked for": _switch(),
    "101 to h2c": _SWITCH + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "204 with a length": b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
    "204 with chunks": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n" + _CHUNKS,
    "1xx for ever": b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
    "100 with a length": b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello",
    "103 with chunks": b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n" + _CHUNKS,
}


@frozen
class Rewritten:
    """
    An answer that reaches the client in one form.

    @ivar said: by the backend, which then closes.
    @ivar heard: by the client, on a connection that stays.
    @ivar method: what was asked.
    """

    name: str
    said: bytes
    heard: bytes
    method: bytes = b"GET"


_NO_CONTENT, _NOT_MODIFIED = b"HTTP/1.1 204 No Content\r\n", b"HTTP/1.1 304 Not Modified\r\n"
_HELLO = _ok(_LENGTH + b"5\r\n", b"hello")
_PIECES = _ok(_CODING + b"chunked\r\n", _CHUNKS)

REWRITTEN = [
    Rewritten("more than the length", _HELLO + POISON, _HELLO),
    Rewritten(
        "more than no length", _ok(_LENGTH + b"0\r\n", POISON), _ok(_LENGTH + b"0\r\n", b"")
    ),
    Rewritten("something behind the last chunk", _PIECES + POISON, _PIECES),
    Rewritten("content of HEAD", _HELLO, _ok(_LENGTH + b"5\r\n", b""), b"HEAD"),
    Rewritten(
        "an answer for content of HEAD",
        _ok(_LENGTH + b"50\r\n", POISON),
        _ok(_LENGTH + b"50\r\n", b""),
        b"HEAD",
    ),
    Rewritten("chunks of HEAD", _PIECES, OK + b"\r\n", b"HEAD"),
    Rewritten("content of 204", _NO_CONTENT + b"\r\n" + POISON, _NO_CONTENT + b"\r\n"),
    Rewritten(
        "204 with a length of 0",
        _NO_CONTENT + b"Content-Length: 0\r\n\r\n" + POISON,
        _NO_CONTENT + b"\r\n",
    ),
    Rewritten("content of 304", _NOT_MODIFIED + b"\r\n" + POISON, _NOT_MODIFIED + b"\r\n"),
    Rewritten(
        "304 with a length, and content",
        _NOT_MODIFIED + b"Content-Length: 56\r\n\r\n" + POISON,
        _NOT_MODIFIED + b"Content-Length: 56\r\n\r\n",
    ),
    Rewritten("Chunked", _ok(_CODING + b"Chunked\r\n"), _PIECES),
    Rewritten("a length in white space", _ok(_LENGTH + b"\t5 \r\n", b"hello"), _HELLO),
    Rewritten(
        "no reason",
        b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
    ),
    Rewritten("the end of the connection ends it", b"HTTP/1.0 200 OK\r\n\r\nhello", _PIECES),
    Rewritten(
        "a trailer that sets a cookie",
        _ok(_CODING + b"chunked\r\n", b"5\r\nhello\r\n0\r\nSet-Cookie: a=b\r\n\r\n"),
        _PIECES,
    ),
    Rewritten(
        "NEL in a value",
        _ok(b"A: b\x85Set-Cookie: c\r\n" + _LENGTH + b"5\r\n", b"hello"),
        _ok(b"A: b\x85Set-Cookie: c\r\n" + _LENGTH + b"5\r\n", b"hello"),
    ),
    Rewritten(
        "fields of one connection",
        _ok(
            b"Connection: X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=9\r\n"
            b"Proxy-Authenticate: Basic\r\n"
            b"Upgrade: h2c\r\nProxy-Connection: close\r\nTrailer: A\r\nX-Other: 2\r\n"
            + _LENGTH
            + b"5\r\n",
            b"hello",
        ),
        _ok(b"X-Other: 2\r\n" + _LENGTH + b"5\r\n", b"hello"),
    ),
    Rewritten(
        "Connection names Content-Length",
        _ok(b"Connection: Content-Length\r\n" + _LENGTH + b"5\r\n", b"hello"),
        _HELLO,
    ),
    Rewritten(
        "an interim answer of one connection",
        b"HTTP/1.1 103 Early Hints\r\nConnection: X\r\nX: 1\r\nUpgrade: h2c\r\n\r\n" + _HELLO,
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + _HELLO,
    ),
]

#: Answers whose head was good: what follows is not, and the client must notice.
CUT: dict[str, bytes] = {
    "less than the length": _ok(_LENGTH + b"50\r\n", b"hello"),
    "a last chunk is missing": _ok(_CODING + b"chunked\r\n", b"5\r\nhello\r\n"),
    "half a chunk": _ok(_CODING + b"chunked\r\n", b"5\r\nhel"),
    "a size that is none": _ok(_CODING + b"chunked\r\n", b"5\r\nhello\r\nx\r\n\r\n"),
    "a size of - 1": _ok(_CODING + b"chunked\r\n", b"5\r\nhello\r\n-1\r\n\r\n"),
    "a bare LF behind the size": _ok(_CODING + b"chunked\r\n", b"5\nhello\r\n0\r\n\r\n"),
    "a bare LF in an extension": _ok(_CODING + b"chunked\r\n", b"5;a\nhello\r\n0\r\n\r\n"),
    "nothing behind the content": _ok(_CODING + b"chunked\r\n", b"5\r\nhello0\r\n\r\n"),
    "a huge size": _ok(_CODING + b"chunked\r\n", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    "an extension without end": _ok(_CODING + b"chunked\r\n", b"5;" + b"a" * 70_000),
    "trailers without end": _ok(_CODING + b"chunked\r\n", b"0\r\n" + b"A: b\r\n" * 20_000),
    "a trailer that splits": _ok(_CODING + b"chunked\r\n", b"0\r\nA: b\nC: d\r\n\r\n"),
}

#: Answers to a WebSocket handshake that are none: 502, whatever was meant by them.
NO_WEBSOCKET: dict[str, bytes] = {
    "no accept": _switch(Accept=None),
    "an empty accept": _switch(Accept=b""),
    "the key as accept": _switch(Accept=KEY),
    "the accept of another key": _switch(Accept=b"HSmrc0sMlYUkAGmm5OPpG2HaGWk="),
    "the accept in lower case": _switch(Accept=ACCEPT.lower()),
    "two accepts": _switch(more=b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n"),
    "no Upgrade": _switch(Upgrade=None),
    "Upgrade: h2c": _switch(Upgrade=b"h2c"),
    "Upgrade: websocket, h2c": _switch(Upgrade=b"websocket, h2c"),
    "Upgrade on two lines": _switch(more=b"Upgrade: h2c\r\n"),
    "no Connection": _switch(Connection=None),
    "Connection: close": _switch(Connection=b"close"),
    "HTTP/1.0": _switch(b"HTTP/1.0 101 Switching Protocols\r\n"),
    "a subprotocol nobody offered": _switch(more=b"Sec-WebSocket-Protocol: chat\r\n"),
    "an empty subprotocol": _switch(more=b"Sec-WebSocket-Protocol:\r\n"),
    "an extension nobody offered": _switch(
        more=b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
    ),
    "an empty extension": _switch(more=b"Sec-WebSocket-Extensions:\r\n"),
    "a length": _switch(more=b"Content-Length: 5\r\n"),
    "chunks": _switch(more=b"Transfer-Encoding: chunked\r\n"),
    "a folded line": _switch(more=b"A: b\r\n c\r\n"),
    "a bare LF": _switch(more=b"A: b\nC: d\r\n"),
    "only a status": _SWITCH + b"\r\n",
    "a status of 1010": _switch(b"HTTP/1.1 1010 Switching Protocols\r\n"),
    "frames at once": b"\x81\x05hello\r\n\r\n",
    "1xx for ever": b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
}

_PROMISES = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + ACCEPT + b"\r\n"
)

#: Answers to a WebSocket handshake that are HTTP, and reach the client as such: what they promise
#: besides makes no tunnel of them. Each is a status line and what the backend adds to it.
NO_TUNNEL: dict[bytes, bytes] = {
    b"200 OK": _PROMISES,
    b"201 Created": _PROMISES,
    b"206 Partial Content": b"",
    b"301 Moved Permanently": b"Connection: Upgrade\r\n",
    b"400 Bad Request": b"Sec-WebSocket-Version: 13\r\nConnection: keep-alive\r\n",
    b"401 Unauthorized": b"Upgrade: websocket\r\n",
    b"403 Forbidden": b"",
    b"426 Upgrade Required": _PROMISES + b"Sec-WebSocket-Version: 13\r\n",
    b"500 Internal Server Error": _PROMISES,
    b"503 Service Unavailable": b"",
}

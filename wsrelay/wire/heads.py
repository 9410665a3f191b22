# -*- test-case-name: tests.wire.test_heads -*-
"""
HTTP/1.1 heads: the request or status line and the header fields (RFC 9112 sections 2-5).

A I{head} is everything up to and including the empty line. L{HeadReader} finds where it
ends, L{parseRequest} and L{parseResponse} read it, L{writeRequest} and L{writeResponse}
write one. There is no other reading of a head in the relay: what is routed, filtered,
served or forwarded is the value made here.

The parser accepts less than RFC 9112 allows wherever two recipients are known to read
the same bytes differently: a control character other than tab, a bare CR or LF, a folded
line, white space around a name, two C{Host} fields, C{#} or non-ASCII in a target are all
errors and never repaired.

It is two regular expressions and one count, because that is the whole grammar in one
place. Where it was built, an extension (in C, C{_heads.c}) reads and writes the heads that
are common, and leaves all others to this: whatever it is not sure of is read here, and only
here is said what is wrong with a head. Both give the same, and both take time linear in the
head; the figures stand in C{docs/explanation/http-heads.md}.

Not here: what follows a head (L{wsrelay.wire.bodies}), and the WebSocket handshake
(L{wsrelay.wire.handshake}).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus
from ipaddress import AddressValueError, IPv6Address

from wsrelay.errors import (
    BadRequest,
    BadResponse,
    ExpectationFailed,
    HeadTooLarge,
    MethodNotAllowed,
    VersionNotSupported,
)
from wsrelay.model import Headers, Request, Response

try:
    from wsrelay.wire import _heads
except ImportError:  # not built: what follows does everything
    _heads = None  # type: ignore[assignment]  # each use asks

__all__ = [
    "TOKEN",
    "HeadReader",
    "parseRequest",
    "parseResponse",
    "writeRequest",
    "writeResponse",
]

# ------------------------------------------------------------------------- the grammar

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
"""What a name is made of, as a regular expression (RFC 9110 section 5.6.2)."""

# Methods are case-sensitive and every registered one is in upper case (RFC 9110 section
# 9.1), so a lower-case method is a client testing what we do.
_METHOD = rb"[!#$%&'*+\-.^_`|~0-9A-Z]+"

# Exactly one space twice (RFC 9112 section 3). A target has no "#": a fragment is never
# sent, and servers that cut it off see another path than we would (CVE-2023-45539).
_REQUEST_LINE = re.compile(rb"(" + _METHOD + rb") ([!-\"$-~]+) HTTP/([0-9]\.[0-9])\r\n")

# The space before an empty reason may be missing: many servers leave it out.
_STATUS_LINE = re.compile(rb"HTTP/([0-9]\.[0-9]) ([1-5][0-9][0-9])(?: (.*))?\r\n")

# One field line. Possessive, so that no byte is read again from another start; "^" ties
# each match to the start of a line.
_FIELD = re.compile(rb"^(" + TOKEN + rb"+):[ \t]*+(.*[^ \t\r\n]|)[ \t]*+\r\n", re.MULTILINE)

# What may stand inside a line (RFC 9110 section 5.5): tab, printable ASCII, and \x80-\xff
# as opaque bytes. Another parser may take \x85 for a line end; what it gets was written by
# us, on one line, for a recipient that speaks HTTP.
_INLINE = bytes(byte for byte in range(256) if byte == 9 or (byte >= 32 and byte != 127))

# uri-host [":" port] (RFC 9110 section 7.2) without what no resolver knows: user-info,
# percent-encoding, sub-delims, an empty port. Checked further in L{_isHost}.
_HOST = re.compile(
    rb"(?:[A-Za-z0-9_-]++(?:\.[A-Za-z0-9_-]++)*+\.?|\[([0-9A-Fa-f:.]{2,45})\])"
    rb"(?::([1-9][0-9]{0,4}))?"
)
_ABSOLUTE = re.compile(rb"https?://([^/?]+)(.*)", re.IGNORECASE)

_VERSIONS = {b"1.1": (1, 1), b"1.0": (1, 0)}

# The first lines of almost all responses, read and written before they come.
_STATUS_LINES = {
    f"HTTP/1.1 {each.value} {each.phrase}\r\n".encode("ascii"): (each.value, each.phrase, (1, 1))
    for each in HTTPStatus
}
_WRITTEN_LINES = {said[:2]: line for line, said in _STATUS_LINES.items()}


def _readFields(
    head: bytes, start: int, maxHeaders: int, fault: type[Exception], tooMany: type[Exception]
) -> list[tuple[bytes, bytes]]:
    """
    The fields of a head whose first line ends at C{start}.

    In a head that passes, CR and LF take turns; each match of L{_FIELD} is one whole line
    with CR LF at its end; and there are as many matches as lines. So there is no bare CR,
    no bare LF, and nothing was skipped.
    """
    lines = head.count(b"\n")
    if head.translate(None, _INLINE) != b"\r\n" * lines:
        raise fault("a control character, a bare CR or a bare LF in the head")
    if lines - 2 > maxHeaders:
        raise tooMany(f"{lines - 2} header fields, {maxHeaders} are allowed")
    fields: list[tuple[bytes, bytes]] = _FIELD.findall(head, start)
    if len(fields) != lines - 2 or head[-4:] != b"\r\n\r\n":
        raise fault("a line of the head is no header field")
    return fields


# ----------------------------------------------------------------------------- requests


def parseRequest(head: bytes, maxHeaders: int = 100) -> Request:
    """
    Read one request head.

    An absolute-form target is taken apart: the target becomes its path and query, and the
    C{Host} its authority (RFC 9112 section 3.2.2).

    @param head: everything up to and including the empty line, nothing behind it.
    @param maxHeaders: how many header fields are allowed.
    @raise VersionNotSupported: neither HTTP/1.0 nor HTTP/1.1.
    @raise MethodNotAllowed: C{CONNECT}.
    @raise ExpectationFailed: an C{Expect} that is not C{100-continue}.
    @raise HeadTooLarge: more fields than C{maxHeaders}.
    @raise BadRequest: anything else that is not exactly HTTP.
    """
    if _heads is not None and (read := _heads.request(head, maxHeaders)) is not None:
        method, target, version, fields, index = read
        return Request(method, target, Headers(fields, index), version)
    return _readRequest(head, maxHeaders)


def _readRequest(head: bytes, maxHeaders: int) -> Request:
    """Any request head; what is no such head is an error here."""
    line = _REQUEST_LINE.match(head)
    if line is None:
        raise BadRequest(f"not a request line: {head[:80]!r}")
    method, target, digits = line.groups()
    version = _VERSIONS.get(digits)
    if version is None:
        raise VersionNotSupported(f"HTTP/{digits.decode('ascii')}")
    if method == b"CONNECT":
        raise MethodNotAllowed("CONNECT")
    headers = Headers(_readFields(head, line.end(), maxHeaders, BadRequest, HeadTooLarge))
    _checkHost(headers, version)
    if not target.startswith(b"/"):
        target, headers = _otherForm(method, target, headers)
    expectations = headers.rawAll(b"expect")
    if expectations:
        _checkExpectation(expectations)
    return Request(method.decode("ascii"), target.decode("ascii"), headers, version)


def _checkHost(headers: Headers, version: tuple[int, int]) -> None:
    """Exactly one valid C{Host}; HTTP/1.0 may have none (RFC 9112 section 3.2)."""
    hosts = headers.rawAll(b"host")
    if len(hosts) != 1:
        if hosts or version == (1, 1):
            raise BadRequest(f"{len(hosts)} Host fields")
    elif len(hosts[0]) > _MAX_HOST or not _isHost(hosts[0]):
        raise BadRequest(f"not a Host: {hosts[0][:80]!r}")


# 253 characters of name, a final dot, a colon, a port.
_MAX_HOST = 260


# A relay has few hosts. Few are kept, since clients choose the keys.
@lru_cache(256)
def _isHost(value: bytes) -> bool:
    """
    Whether this is a name, IPv4 or bracketed IPv6 address, and maybe a port.

    @param value: at most L{_MAX_HOST} bytes.
    """
    match = _HOST.fullmatch(value)
    if match is None:
        return False
    address, port = match.groups()
    if address is not None:
        try:
            IPv6Address(address.decode("ascii"))
        except AddressValueError:
            return False
    return port is None or int(port) < 65536


def _otherForm(method: bytes, target: bytes, headers: Headers) -> tuple[bytes, Headers]:
    """A target that is no origin-form, and the fields that go with it (section 3.2)."""
    if target == b"*" and method == b"OPTIONS":
        return target, headers
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or len(absolute[1]) > _MAX_HOST or not _isHost(absolute[1]):
        raise BadRequest(f"not a request target: {target[:80]!r}")
    authority, rest = absolute.groups()
    if not rest.startswith(b"/"):
        # Section 3.2.4: OPTIONS without path and query asks about the server as a whole.
        rest = b"*" if method == b"OPTIONS" and not rest else b"/" + rest
    return rest, _withHost(headers, authority)


def _withHost(headers: Headers, authority: bytes) -> Headers:
    """The same fields with this C{Host}, in its place."""
    if "host" not in headers:
        return Headers([(b"Host", authority), *headers.raw])
    return Headers(
        (name, authority if name.lower() == b"host" else value) for name, value in headers.raw
    )


def _checkExpectation(expectations: list[bytes]) -> None:
    """RFC 9110 section 10.1.1 knows one expectation; a list of it is a disguise."""
    if [value.lower() for value in expectations] != [b"100-continue"]:
        raise ExpectationFailed(f"Expect: {b', '.join(expectations)[:80]!r}")


# ---------------------------------------------------------------------------- responses


def parseResponse(head: bytes, maxHeaders: int = 200) -> Response:
    """
    Read one response head, as strictly as a request.

    @param head: everything up to and including the empty line, nothing behind it.
    @param maxHeaders: how many header fields are allowed.
    @raise BadResponse: it is not exactly HTTP/1.0 or HTTP/1.1.
    """
    if _heads is not None and (read := _heads.response(head, maxHeaders)) is not None:
        status, reason, version, fields, index = read
        return Response(status, reason, Headers(fields, index), version)
    return _readResponse(head, maxHeaders)


def _readResponse(head: bytes, maxHeaders: int) -> Response:
    """Any response head; what is no such head is an error here."""
    start = head.find(b"\n") + 1
    status, reason, version = _STATUS_LINES.get(head[:start]) or _readStatusLine(head)
    fields = _readFields(head, start, maxHeaders, BadResponse, BadResponse)
    return Response(status, reason, Headers(fields), version)


def _readStatusLine(head: bytes) -> tuple[int, str, tuple[int, int]]:
    """Status, reason and version, as anybody may write them (RFC 9112 section 4)."""
    line = _STATUS_LINE.match(head)
    if line is None:
        raise BadResponse(f"not a status line: {head[:80]!r}")
    digits, status, reason = line.groups()
    version = _VERSIONS.get(digits)
    if version is None:
        raise BadResponse(f"HTTP/{digits.decode('ascii')} in the status line")
    return int(status), (reason or b"").decode("latin-1"), version


# ------------------------------------------------------------------------------ writing


def writeRequest(
    method: str, target: str, headers: Iterable[tuple[bytes, bytes]], isChecked: bool = False
) -> bytes:
    """
    A request head for HTTP/1.1. A C{Host} is the caller's affair: a client that spoke
    HTTP/1.0 may have sent none.

    @param isChecked: everything in it was read by L{parseRequest} or is the relay's own.
    @raise ValueError: these fields would not be read again as they are.
    """
    line = f"{method} {target} HTTP/1.1\r\n".encode("ascii")
    return _joined(line, headers) if isChecked else _write(line, headers, _REQUEST_LINE)


def writeResponse(
    status: int, reason: str, headers: Iterable[tuple[bytes, bytes]], isChecked: bool = False
) -> bytes:
    """
    A response head for HTTP/1.1.

    @param isChecked: everything in it was read by L{parseResponse} or is the relay's own.
    @raise ValueError: these fields would not be read again as they are.
    """
    line = _WRITTEN_LINES.get((status, reason))
    if line is None:
        line = f"HTTP/1.1 {status} {reason}\r\n".encode("latin-1")
    return _joined(line, headers) if isChecked else _write(line, headers, _STATUS_LINE)


def _joined(line: bytes, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    if _heads is not None and (head := _heads.join(line, fields)) is not None:
        return head
    return line + b"\r\n".join([*map(b": ".join, fields), b"\r\n"])


def _write(
    line: bytes, headers: Iterable[tuple[bytes, bytes]], syntax: re.Pattern[bytes]
) -> bytes:
    """
    Put a head together, and check it the way it would be read: what a plugin made up must
    not split a request or a response.
    """
    fields = [*headers]
    head = _joined(line, fields)
    if syntax.fullmatch(line) is None or fields != _readFields(
        head, len(line), len(fields), ValueError, ValueError
    ):
        raise ValueError(f"this head must not go on the wire: {head[:200]!r}")
    return head


# ------------------------------------------------------------------------------ reading

# A head that ends with bare LFs is complete too: it is then refused at once, instead of
# at the deadline.
_END = re.compile(rb"\n\r?\n")


class HeadReader:
    """
    Finds where heads end, whatever pieces they arrive in.

    One reader serves one connection for its life: after a head was returned it waits for
    the next one. What it returns ends with the empty line and is not checked any further.
    """

    __slots__ = ("_buffer", "_limit", "_maxHeaders", "_searched", "_started")

    def __init__(self, limit: int, maxHeaders: int) -> None:
        """
        @param limit: bytes a head may have, its empty line included.
        @param maxHeaders: header fields it may have.
        """
        self._limit = limit
        self._maxHeaders = maxHeaders
        self._buffer = bytearray()
        self._searched = 0
        self._started = False

    @property
    def empty(self) -> bool:
        """Whether nothing of the next head has arrived yet, blank lines aside."""
        return not self._buffer.strip(b"\r\n")

    def feed(self, data: bytes) -> tuple[bytes | None, bytes]:
        """
        Take what arrived.

        @return: the head and the bytes behind it, or C{None} and nothing: it goes on.
        @raise HeadTooLarge: it is over a limit. A caller who reads a backend's answer
            makes that a L{BadResponse}.
        """
        buffer = self._buffer
        if not buffer and data[:1] > b"\r":
            # Almost always a head comes in one piece: nothing has to be kept.
            if _heads is not None:
                cut = _heads.cut(data, self._limit, self._maxHeaders)
                if cut is not None:
                    self._started = False
                    return cut
            match = _END.search(data)
            if match is not None:
                return self._cut(data, match.end())
        buffer += data
        if not self._started:
            self._skipEmptyLine()
        match = _END.search(buffer, self._searched)
        if match is not None:
            data = bytes(buffer)
            buffer.clear()
            return self._cut(data, match.end())
        # Without its end in sight, it is longer than what is here.
        if len(buffer) >= self._limit:
            raise HeadTooLarge(f"the head is longer than {self._limit} bytes")
        self._searched = max(len(buffer) - 2, 0)
        return None, b""

    def _cut(self, data: bytes, end: int) -> tuple[bytes, bytes]:
        """A head that is complete, and what stands behind it."""
        if end > self._limit:
            raise HeadTooLarge(f"the head is longer than {self._limit} bytes")
        if data.count(b"\n", 0, end) - 2 > self._maxHeaders:
            raise HeadTooLarge(f"the head has more than {self._maxHeaders} fields")
        self._searched, self._started = 0, False
        return data[:end], data[end:]

    def _skipEmptyLine(self) -> None:
        """RFC 9112 section 2.2: old clients send one CRLF too many behind a body."""
        if self._buffer.startswith(b"\r\n"):
            del self._buffer[:2]
            self._started = True
        elif bytes(self._buffer[:2]) not in (b"", b"\r"):
            self._started = True

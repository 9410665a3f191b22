# -*- test-case-name: tests.wire.test_bodies -*-
"""
Where an HTTP/1.1 body ends, and what is in it (RFC 9112 sections 6 and 7).

The I{framing} is how a head says where its body ends: L{requestFraming} and
L{responseFraming} read it, and refuse every head that says it twice. L{bodyReader} makes
the reader for one body; readers give out the content as it arrives, keep nothing, and say
which bytes stand behind it. L{chunk} and L{lastChunk} write a chunked body.

The chunk heads that arrived are never passed on: chunk extensions are checked, bounded, and
dropped (RFC 9112 section 7.1.1). Trailers are checked, bounded, and kept for whoever knows
which of them may pass (section 7.1.2).

Not here: deadlines, limits on the size of a body, and whose fault an error is. Readers
raise L{BadRequest} on either side.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Protocol

from attrs import frozen

from wsrelay.errors import BadRequest, BadResponse, NotImplementedByRelay, RelayError
from wsrelay.model import Headers, Request, Response
from wsrelay.wire.heads import TOKEN

__all__ = [
    "BodyKind",
    "BodyReader",
    "Framing",
    "bodyReader",
    "chunk",
    "lastChunk",
    "requestFraming",
    "responseFraming",
]


# -------------------------------------------------------------------------- the framing


class BodyKind(enum.Enum):
    """What ends a body: there is none, a number of bytes, a last chunk, or the connection."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


@frozen
class Framing:
    """
    How a head says where its body ends.

    @ivar length: bytes, for L{BodyKind.LENGTH}; else 0.
    @ivar trailer: names of fields that may follow, for L{BodyKind.CHUNKED}.
    """

    kind: BodyKind
    length: int = 0
    trailer: tuple[bytes, ...] = ()


_NONE = Framing(BodyKind.NONE)
_CHUNKED = Framing(BodyKind.CHUNKED)
_CLOSE = Framing(BodyKind.CLOSE)

# No sign, list, or leading zero (an octal number to some), and less than 2**63.
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}")

_THEN_CHUNKED = re.compile(rb"(?:" + TOKEN + rb"[ \t]*,[ \t]*)+chunked")


def requestFraming(request: Request) -> Framing:
    """
    Where the request's body ends (RFC 9112 section 6.3).

    @raise BadRequest: both lengths, two, or one that is no number; a transfer coding in
        HTTP/1.0; anything but C{chunked}, spelled so; content of a C{TRACE} (RFC 9110
        section 9.3.8).
    @raise NotImplementedByRelay: another transfer coding below C{chunked}.
    """
    headers = request.headers
    codings = headers.rawAll(b"transfer-encoding")
    if not codings:
        framing = _byLength(headers, BadRequest) or _NONE
        if framing.length and request.method == "TRACE":
            raise BadRequest("TRACE with content")
        return framing
    _checkCoded(headers, request.version, BadRequest)
    # Section 7: codings are case-insensitive. Nobody writes this one otherwise, except to
    # hide it from one of two parsers.
    if codings == [b"chunked"] and request.method != "TRACE":
        return _CHUNKED
    once = b",".join(codings).lower().count(b"chunked") == 1
    if once and len(codings) == 1 and _THEN_CHUNKED.fullmatch(codings[0]):
        raise NotImplementedByRelay(f"Transfer-Encoding: {codings!r:.80}")
    raise BadRequest(f"Transfer-Encoding: {codings!r:.80}")


def responseFraming(response: Response, requestMethod: str) -> Framing:
    """
    Where the response's body ends (RFC 9112 section 6.3).

    @param requestMethod: what was asked; the answer to C{HEAD} has no body.
    @raise BadResponse: as for a request, and for a body where none may be: on a 1xx or
        204 (RFC 9110 section 8.6, RFC 9112 section 6.1).
    """
    headers = response.headers
    codings = headers.rawAll(b"transfer-encoding")
    if codings:
        _checkCoded(headers, response.version, BadResponse)
        if [coding.lower() for coding in codings] != [b"chunked"]:
            raise BadResponse(f"Transfer-Encoding: {codings!r:.80}")
        framing = _CHUNKED
    else:
        framing = _byLength(headers, BadResponse) or _CLOSE
    if response.status < 200 or response.status == 204:
        if codings or framing.length:
            raise BadResponse(f"a {response.status} with a body")
        return _NONE
    return _NONE if requestMethod == "HEAD" or response.status == 304 else framing


def _checkCoded(headers: Headers, version: tuple[int, int], fault: type[RelayError]) -> None:
    """A transfer coding excludes a length, and HTTP/1.0 (RFC 9112 sections 6.1 and 6.3)."""
    if "content-length" in headers:
        raise fault("Content-Length with Transfer-Encoding")
    if version != (1, 1):
        raise fault("Transfer-Encoding in HTTP/1.0")


def _byLength(headers: Headers, fault: type[RelayError]) -> Framing | None:
    """What C{Content-Length} says; two are one too many even when they are equal."""
    lengths = headers.rawAll(b"content-length")
    if not lengths:
        return None
    framing = _ofLength(lengths[0]) if len(lengths) == 1 else None
    if framing is None:
        raise fault(f"Content-Length: {lengths!r:.80}")
    return framing


def _ofLength(value: bytes) -> Framing | None:
    """What one C{Content-Length} says; C{None} if it is no length."""
    return _length(value) if _LENGTH.fullmatch(value) else None


@lru_cache(1024)
def _length(value: bytes) -> Framing:
    return Framing(BodyKind.LENGTH, int(value))


# -------------------------------------------------------------------------- the readers


class BodyReader(Protocol):
    """Reads one body."""

    complete: bool
    """Whether the whole body has been read; at once where there is none."""

    @property
    def trailers(self) -> Sequence[tuple[bytes, bytes]]:
        """The fields behind it."""
        ...

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """
        Take what arrived.

        @return: the content that is in it, and C{None} while the body goes on, or the bytes
            behind it once it is complete.
        @raise BadRequest: it is malformed; the reader must not be used any more.
        """
        ...

    def finish(self) -> None:
        """
        The connection ended.

        @raise BadRequest: the body was cut short.
        """
        ...


def bodyReader(framing: Framing) -> BodyReader:
    """The reader for one body that is framed so."""
    if framing.kind is BodyKind.CHUNKED:
        return _ChunkedReader()
    if framing.kind is BodyKind.CLOSE:
        return _CloseReader()
    return _LengthReader(framing.length)


class _LengthReader:
    """So many bytes."""

    __slots__ = ("_remaining", "complete")
    trailers = ()

    def __init__(self, length: int) -> None:
        self._remaining = length
        self.complete = not length

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        if len(data) < self._remaining:
            self._remaining -= len(data)
            return data, None
        end, self._remaining, self.complete = self._remaining, 0, True
        return data[:end], data[end:]

    def finish(self) -> None:
        if not self.complete:
            raise BadRequest(f"the body was cut short by {self._remaining} bytes")


class _CloseReader:
    """Everything until the connection ends."""

    __slots__ = ("complete",)
    trailers = ()

    def __init__(self) -> None:
        self.complete = False

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        return (b"", data) if self.complete else (data, None)

    def finish(self) -> None:
        self.complete = True


# RFC 9112 section 7.1. 16 digits are 64 bits, as elsewhere; no sign, prefix, underscore or
# space. Extensions are read to be refused when another parser could see a line end or a
# chunk in them (CVE-2025-43859 and its like).
_CHUNK_HEAD = re.compile(
    rb"([0-9A-Fa-f]{1,16})"
    rb"(?:;[ \t]*" + TOKEN + rb"(?:=(?:" + TOKEN + rb"|\"(?:[^\"\\\x00-\x08\x0a-\x1f\x7f]"
    rb"|\\[\t\x20-\x7e\x80-\xff])*\"))?)*"
    rb"\r\n"
)
_TRAILER = re.compile(rb"(" + TOKEN + rb"):([^\x00-\x08\x0a-\x1f\x7f]*)\r\n")

# Go allows 4 KiB of chunk head; nobody is known to send extensions any more.
_MAX_LINE = 1024
# As much as all trailers together may have; a gRPC trailer has some hundred bytes.
_MAX_TRAILERS = 8192


# Most chunks of one server have one size. Few are kept, since peers choose the keys; each is
# shorter than _MAX_LINE.
@lru_cache(256)
def _chunkSize(line: bytes) -> int:
    match = _CHUNK_HEAD.fullmatch(line)
    if match is None:
        raise BadRequest(f"not a chunk head: {line[:80]!r}")
    return int(match[1], 16)


class _ChunkedReader:
    """
    Chunks until the last one, and the trailers behind it.

    A state is the method that reads the next line (not bound: a reader must not hold on to
    itself), or C{_remaining} bytes of content before it. Only an incomplete line is kept
    between two calls.
    """

    __slots__ = ("_line", "_partial", "_remaining", "_size", "complete", "trailers")

    def __init__(self) -> None:
        self.complete = False
        self.trailers: list[tuple[bytes, bytes]] = []
        self._remaining = 0
        self._partial = b""
        self._size = 0
        self._line = _ChunkedReader._readHead

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        if self._partial:
            data, self._partial = self._partial + data, b""
        content, position = [], 0
        while not self.complete:
            if self._remaining:
                piece = data[position : position + self._remaining]
                content.append(piece)
                position += len(piece)
                self._remaining -= len(piece)
            end = data.find(b"\n", position, position + _MAX_LINE) + 1
            if not end:
                self._keep(data[position : position + _MAX_LINE])
                return b"".join(content), None
            self._line(self, data[position:end])
            position = end
        return b"".join(content), data[position:]

    def finish(self) -> None:
        if not self.complete:
            raise BadRequest("the chunked body was cut short")

    def _keep(self, partial: bytes) -> None:
        """Wait for the rest of this line, if it can still become one."""
        if len(partial) == _MAX_LINE:
            raise BadRequest(f"a line of the chunked body has over {_MAX_LINE} bytes")
        self._partial = partial

    def _readHead(self, line: bytes) -> None:
        size = self._remaining = _chunkSize(line)
        self._line = _ChunkedReader._readEnd if size else _ChunkedReader._readTrailer

    def _readEnd(self, line: bytes) -> None:
        if line != b"\r\n":
            raise BadRequest(f"not the end of a chunk: {line[:80]!r}")
        self._line = _ChunkedReader._readHead

    def _readTrailer(self, line: bytes) -> None:
        if line == b"\r\n":
            self.complete = True
            return
        self._size += len(line)
        if self._size > _MAX_TRAILERS:
            raise BadRequest(f"the trailers have over {_MAX_TRAILERS} bytes")
        match = _TRAILER.fullmatch(line)
        if match is None:
            raise BadRequest(f"not a trailer: {line[:80]!r}")
        self.trailers.append((match[1], match[2].strip(b" \t")))


# ------------------------------------------------------------------------------ writing


def chunk(data: bytes) -> bytes:
    """C{data} as one chunk; nothing for no data, since an empty chunk would be the last."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def lastChunk(trailers: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """What ends a chunked body."""
    if not trailers:
        return b"0\r\n\r\n"
    return b"0\r\n" + b"".join([b"%b: %b\r\n" % pair for pair in trailers]) + b"\r\n"

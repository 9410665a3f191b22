# -*- test-case-name: tests.wire.test_deflate -*-
"""
permessage-deflate (RFC 7692): reading its negotiation, and running it.

The relay does not negotiate for itself. It hands the client's offers on to the backend,
less those that it could not run (L{offerToBackend}), and the backend's answer on to the
client; where it must read messages it runs what the two agreed on (L{parseAnswer}). An
B{offer} is one way in which a client would compress; an B{answer} is the one that the
server took.

Windows of 8 to 15 bits are understood, which is all that RFC 7692 knows. Header fields are
read strictly by the grammar of RFC 6455 section 9.1; names are compared as they are
written. (Autobahn's C{compress_deflate} refuses 8 bits, forgets the value of the client's
hint, and takes C{+9} and C{1_0} for numbers, so it is a peer in the tests and not the
reader here.)

C{Inflater} and C{Deflater} handle whole messages; framing and RSV1 are
L{wsrelay.wire.frames}'.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import Any, Final

from attrs import frozen

from wsrelay.errors import BadHandshake, BadResponse, Violation

__all__ = [
    "NAME",
    "Deflater",
    "Inflater",
    "Offer",
    "Parameters",
    "acceptOffer",
    "offerToBackend",
    "offers",
    "parseAnswer",
]

NAME: Final = "permessage-deflate"

_CHAR = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_TOKEN = rf"{_CHAR}+"
_BLANK = r"[ \t]*"
_EXTENSION = re.compile(rf"{_BLANK}({_TOKEN}){_BLANK}")
_PARAMETER = re.compile(
    rf';{_BLANK}({_TOKEN}){_BLANK}(?:={_BLANK}(?:({_TOKEN})|"((?:\\?{_CHAR})+)"){_BLANK})?'
)
_BITS = re.compile(r"[89]|1[0-5]")


# ---------------------------------------------------------------------- negotiation


@frozen
class Parameters:
    """
    How both directions of one connection are compressed. The defaults are those of an
    answer that says nothing (RFC 7692 section 7.1).

    @ivar clientNoContextTakeover: whether the client compresses each message by itself.
    @ivar serverNoContextTakeover: the same for the server.
    @ivar clientMaxWindowBits: the client's window is two to the power of this, in bytes.
    @ivar serverMaxWindowBits: the same for the server.
    """

    clientNoContextTakeover: bool = False
    serverNoContextTakeover: bool = False
    clientMaxWindowBits: int = 15
    serverMaxWindowBits: int = 15


@frozen
class Offer:
    """
    One offer of a client (RFC 7692 section 7.1).

    @ivar clientNoContextTakeover: a hint that it would not take over context anyway.
    @ivar serverNoContextTakeover: whether the server must not.
    @ivar clientMaxWindowBits: the largest window it may use itself; C{None} when the
        server may not ask for a smaller one.
    @ivar serverMaxWindowBits: the largest window the server may use.
    """

    clientNoContextTakeover: bool = False
    serverNoContextTakeover: bool = False
    clientMaxWindowBits: int | None = None
    serverMaxWindowBits: int = 15

    def __str__(self) -> str:
        """The offer as it stands in C{Sec-WebSocket-Extensions}."""
        parts = [NAME]
        if self.clientNoContextTakeover:
            parts.append("client_no_context_takeover")
        if self.serverNoContextTakeover:
            parts.append("server_no_context_takeover")
        if self.clientMaxWindowBits is not None:
            bits = self.clientMaxWindowBits
            parts.append("client_max_window_bits" + (f"={bits}" if bits < 15 else ""))
        if self.serverMaxWindowBits < 15:
            parts.append(f"server_max_window_bits={self.serverMaxWindowBits}")
        return "; ".join(parts)

    def admits(self, answer: Parameters) -> bool:
        """Whether a server may answer this offer so (RFC 7692 sections 7.1.1 and 7.1.2)."""
        if self.serverNoContextTakeover and not answer.serverNoContextTakeover:
            return False
        if self.clientMaxWindowBits is None and answer.clientMaxWindowBits < 15:
            return False
        return answer.serverMaxWindowBits <= self.serverMaxWindowBits


def _extensions(header: str) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """
    Take C{Sec-WebSocket-Extensions} apart, in linear time.

    Empty elements of the list are skipped (RFC 9110 section 5.6.1.2). A quoted value must
    be a token once unquoted (RFC 6455 section 9.1).

    @raise ValueError: it is not made as RFC 6455 section 9.1 says.
    """
    at, end = 0, len(header)
    while at < end:
        if header[at] in ", \t":
            at += 1
            continue
        name = _EXTENSION.match(header, at)
        if name is None:
            raise ValueError("no extension name")
        at = name.end()
        parameters: list[tuple[str, str | None]] = []
        while parameter := _PARAMETER.match(header, at):
            key, value, quoted = parameter.groups()
            if quoted is not None:
                value = quoted.replace("\\", "")
            parameters.append((key, value))
            at = parameter.end()
        if at < end and header[at] != ",":
            raise ValueError(f"{header[at]!r} behind an extension")
        yield name[1], parameters


def _bits(value: str | None) -> int:
    if value is None or not _BITS.fullmatch(value):
        raise ValueError(f"not a window size: {value!r}")
    return int(value)


def _flag(value: str | None) -> bool:
    if value is not None:
        raise ValueError(f"a value where there is none: {value!r}")
    return True


_READERS: Final = {
    "client_no_context_takeover": ("clientNoContextTakeover", _flag),
    "server_no_context_takeover": ("serverNoContextTakeover", _flag),
    "client_max_window_bits": ("clientMaxWindowBits", _bits),
    "server_max_window_bits": ("serverMaxWindowBits", _bits),
}


def _read(parameters: list[tuple[str, str | None]]) -> dict[str, Any]:
    """
    The parameters of one C{permessage-deflate} as arguments of the values above.

    @raise ValueError: one is unknown, comes twice or has a wrong value: the offer must be
        declined, the answer refused (RFC 7692 section 7.1).
    """
    found: dict[str, Any] = {}
    for key, value in parameters:
        if key not in _READERS:
            raise ValueError(f"unknown parameter {key!r}")
        name, reader = _READERS[key]
        if name in found:
            raise ValueError(f"{key} twice")
        found[name] = reader(value)
    return found


def _readOffer(parameters: list[tuple[str, str | None]]) -> Offer:
    """Only here may C{client_max_window_bits} stand without value: then it hints nothing."""
    bare = ("client_max_window_bits", None)
    return Offer(**_read([(bare[0], "15") if pair == bare else pair for pair in parameters]))


def offers(header: str) -> list[Offer]:
    """
    What a client offered that this module can run, in the client's order.

    Other extensions, and offers with parameters that RFC 7692 does not know or allow, are
    left out.

    @param header: C{Sec-WebSocket-Extensions}, its lines joined with commas.
    @raise BadHandshake: C{header} is malformed.
    """
    found = []
    try:
        extensions = list(_extensions(header))
    except ValueError as error:
        raise BadHandshake(f"Sec-WebSocket-Extensions: {error}") from error
    for name, parameters in extensions:
        if name == NAME:
            with suppress(ValueError):
                found.append(_readOffer(parameters))
    return found


def offerToBackend(clientOffer: str) -> str:
    """
    What to offer a backend when the relay itself must run what is agreed on.

    @param clientOffer: as for L{offers}.
    @return: a value for C{Sec-WebSocket-Extensions}; empty when there is nothing to offer.
    @raise BadHandshake: C{clientOffer} is malformed.
    """
    return ", ".join(map(str, offers(clientOffer)))


def acceptOffer(clientOffer: str) -> tuple[str, Parameters | None]:
    """
    Answer a client whose messages the relay inflates and deflates itself, whatever the
    backend does.

    @param clientOffer: as for L{offers}.
    @return: the C{Sec-WebSocket-Extensions} of the answer and what it means; empty and
        C{None} when nothing was offered that can be accepted.
    @raise BadHandshake: C{clientOffer} is malformed.
    """
    for offer in offers(clientOffer):
        accepted = Parameters(
            offer.clientNoContextTakeover,
            offer.serverNoContextTakeover,
            serverMaxWindowBits=offer.serverMaxWindowBits,
        )
        parts = [NAME]
        if accepted.clientNoContextTakeover:
            parts.append("client_no_context_takeover")
        if accepted.serverNoContextTakeover:
            parts.append("server_no_context_takeover")
        if accepted.serverMaxWindowBits < 15:
            parts.append(f"server_max_window_bits={accepted.serverMaxWindowBits}")
        return "; ".join(parts), accepted
    return "", None


def parseAnswer(header: str, offered: str | None = None) -> Parameters | None:
    """
    Read what a backend answered.

    @param header: its C{Sec-WebSocket-Extensions}, lines joined with commas.
    @param offered: what L{offerToBackend} had sent, to hold the answer against; C{None} to
        leave that out.
    @return: C{None} when no extension was accepted.
    @raise BadResponse: C{header} is malformed, names anything but one
        C{permessage-deflate}, has a parameter that RFC 7692 does not know or allow, or is
        no answer to any offer.
    """
    try:
        extensions = list(_extensions(header))
        if not extensions:
            return None
        if [name for name, _ in extensions] != [NAME]:
            raise ValueError(f"not one {NAME}")
        answer = Parameters(**_read(extensions[0][1]))
    except ValueError as error:
        raise BadResponse(f"Sec-WebSocket-Extensions: {error}") from error
    if offered is not None and not any(offer.admits(answer) for offer in offers(offered)):
        raise BadResponse("Sec-WebSocket-Extensions: an answer to no offer")
    return answer


# -------------------------------------------------------------------------- running

# What a sender strips from each message, and a receiver puts back (section 7.2.1).
_TAIL: Final = b"\x00\x00\xff\xff"

# An empty last block. Only a stream that stands between two blocks ends with it.
_END: Final = b"\x01\x00\x00\xff\xff"

# How many streams one message may consist of. A stream ends with a block that has BFINAL
# set, which is allowed but rare, and once in a message is what its senders do; each end
# costs a copy of what follows.
_STREAMS: Final = 16

# How much is inflated at a time, and how much of the stream zlib is shown for it, in bytes: it
# copies what it leaves unread.
_STEP: Final = 256 * 1024
_PIECE: Final = 16 * 1024

_NO_LIMIT: Final = 1 << 64


def _newInflater(windowBits: int) -> zlib._Decompress:
    return zlib.decompressobj(-windowBits)


def _pieces(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), _PIECE):
        yield data[at : at + _PIECE]
    yield _TAIL


class Inflater:
    """
    Inflates the messages of one sender, in order (RFC 7692 section 7.2.2).

    With the tail put back, the payload of a message must be whole blocks: one that stops
    inside a block is a bad stream, though zlib would give out its beginning, for another
    receiver might read it differently. So is one without a byte; an empty message is C{00}.
    A block with BFINAL set may occur (section 7.2.3.4), 15 times in a message at most; what
    follows it, later messages too, cannot refer to what came before.

    Memory: the window, what L{inflate} returns, and an eighth of that while it runs.
    """

    __slots__ = ("_keep", "_stream", "_windowBits")

    def __init__(self, noContextTakeover: bool, windowBits: int) -> None:
        """
        @param noContextTakeover: whether the sender compresses each message by itself.
        @param windowBits: 8 to 15, as agreed on for the sender. References further back are
            refused whenever zlib notices them.
        """
        self._windowBits = windowBits
        self._keep = not noContextTakeover
        self._stream: zlib._Decompress | None = None

    def inflate(self, data: bytes, limit: int | None) -> bytes:
        """
        Inflate one message. After an error this object cannot be used again.

        @param data: the whole payload, unmasked.
        @param limit: how many bytes it may become. At most one byte more is ever produced,
            whatever the stream promises; C{None} is no limit, and no guard either.
        @raise Violation: 1009 if it would become more, 1007 if it is a bad stream. Which of
            them is found first depends on what comes first in the stream.
        """
        try:
            return self._inflate(data, limit)
        except zlib.error as error:
            raise Violation(1007, f"a bad compressed message: {error}") from error

    def _inflate(self, data: bytes, limit: int | None) -> bytes:
        room = _NO_LIMIT if limit is None else limit + 1
        stream = self._stream or _newInflater(self._windowBits)
        isShort = len(data) <= _PIECE
        pieces = iter((data + _TAIL,)) if isShort else _pieces(data)
        step = min(_STEP, room)
        part = stream.decompress(next(pieces), step)
        if isShort and len(part) < step and not stream.eof:
            # Nearly every message is all there already.
            self._checkEnd(stream)
            return part
        inflated, streams = BytesIO(), 1
        while True:
            room -= inflated.write(part)
            if not room:
                raise Violation(1009, f"a message inflates to more than {limit} bytes")
            if stream.eof:
                piece, stream = stream.unused_data, _newInflater(self._windowBits)
                streams += 1
            elif len(part) == step:
                piece = stream.unconsumed_tail
            else:
                piece = next(pieces, b"")
                if not piece:
                    break
            if streams > _STREAMS:
                raise Violation(1007, "a compressed message of too many streams")
            step = min(_STEP, room)
            part = stream.decompress(piece, step)
        self._checkEnd(stream)
        return inflated.getvalue()

    def _checkEnd(self, stream: zlib._Decompress) -> None:
        """Refuse a stream that stands inside a block, and keep it for the next message."""
        probe = stream.copy() if self._keep else stream
        probe.decompress(_END)
        if not probe.eof or probe.unused_data:
            raise Violation(1007, "a compressed message that is cut short")
        self._stream = stream if self._keep else None


class Deflater:
    """
    Deflates messages for one receiver, in order (RFC 7692 section 7.2.1).

    With context takeover every compressed message must pass through it, from the first one
    on that it deflated: to hand on a sender's own compressed message in between, which
    refers to what that sender had said before, would make the receiver read nonsense. To
    begin in the middle of a connection is fine: it refers to nothing that it did not
    deflate itself.

    Memory: about 256 KiB at 15 bits.
    """

    __slots__ = ("_keep", "_stream", "_windowBits")

    def __init__(self, noContextTakeover: bool, windowBits: int) -> None:
        """
        @param noContextTakeover: whether to compress each message by itself.
        @param windowBits: 8 to 15, as agreed on for this side.
        """
        # zlib cannot deflate raw streams with a window of 256 bytes. With one of 512 it
        # never refers further back than 512 - 262 bytes, which such a receiver can follow.
        self._windowBits = max(windowBits, 9)
        self._keep = not noContextTakeover
        self._stream: zlib._Compress | None = None

    def deflate(self, data: bytes) -> bytes:
        """Deflate one message; the four bytes C{00 00 FF FF} are stripped already."""
        if not data:
            # An empty block (section 7.2.3.6); what zlib flushes without input is not said.
            return b"\x00"
        stream = self._stream
        if stream is None:
            stream = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -self._windowBits)
            if self._keep:
                self._stream = stream
        return (stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH))[: -len(_TAIL)]

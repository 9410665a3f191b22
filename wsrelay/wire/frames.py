# -*- test-case-name: tests.wire.test_frames -*-
"""
WebSocket frames (RFC 6455 section 5): what one looks like, and reading a direction of them.

A B{head} is everything of a frame before its payload: two bytes, an extended length of
none, two or eight bytes, and a mask key of none or four. A B{control frame} is a Close,
Ping or Pong; every other frame is a B{data frame}. A B{fragmented} message comes in
several data frames, between which control frames may stand.

L{Scanner} reads heads only and says which bytes may be forwarded; payload is copied as it
came. Nothing here puts messages together (L{wsrelay.wire.messages}), inflates
(L{wsrelay.wire.deflate}) or invents mask keys.

B{The rules}, in the order in which they are checked, so that every reader of the same
bytes finds the same fault. Once the first two bytes of a head are there:

 1. reserved bits that no extension may use here: 1002 (5.2);
 2. an opcode that RFC 6455 does not define: 1002 (5.2);
 3. a control frame without FIN: 1002 (5.5);
 4. a continuation where no message is open, or a new data frame where one is: 1002 (5.4);
 5. a mask bit that is wrong for the direction: 1002 (5.1);
 6. a control frame with more than 125 bytes: 1002 (5.5).

Once the extended length is there, before any payload is looked at:

 7. a length that is not written in the shortest form: 1002 (5.2);
 8. a 64-bit length with the top bit set: 1002 (5.2);
 9. a data frame with more than C{maxFrame} bytes of payload: 1009;
 10. a message whose frames so far, this one included, carry more than C{maxMessage} bytes
     of payload as they come on the wire: 1009;
 11. a message of more than C{maxFragments} frames, the empty ones too: 1009. It is the
     message that is too big to process; 1008 is for what no other code suits (7.4.1).

Once a control frame is complete:

 12. a Ping or Pong that comes too soon: 1008. So many Pings as C{maxControlRate} allows in
     L{BURST} seconds, and one at least, may come at once. A Pong counts half: who is pinged
     as often as may be, and pings too, does no wrong;
 13. what L{parseClose} says about the payload of a Close.

Limits of size never concern control frames. The first fault ends the direction; the frame at
fault is neither counted nor given out.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Final

from attrs import frozen

from wsrelay.errors import Violation
from wsrelay.model import Counts

__all__ = [
    "BINARY",
    "BURST",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "RSV1",
    "TEXT",
    "Control",
    "Reader",
    "Scanner",
    "encode",
    "encodeClose",
    "mask",
    "mayBeSent",
    "parseClose",
]

# Opcodes (RFC 6455 section 5.2 and 11.8).
CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

FIN: Final = 0x80
RSV1: Final = 0x40
RESERVED: Final = 0x70

# What a frame is to the message it belongs to; BAD is 0 so that it is false.
BAD, WHOLE, FIRST, MIDDLE, LAST, CONTROL = range(6)

# Over how many seconds the rate of control frames may be made up for. Who pings now and then
# may do so in bursts; who never stops is found out.
BURST: Final = 10.0

_SHORT: Final = Struct("!BB").pack
_MEDIUM: Final = Struct("!BBH").pack
_LONG: Final = Struct("!BBQ").pack
_LENGTH16: Final = Struct("!H").unpack_from
_LENGTH64: Final = Struct("!Q").unpack_from

_NO_LIMIT: Final = 1 << 64


# -------------------------------------------------------------------------- masking


# From here on, substituting every fourth byte by table is faster than one big exclusive or.
_LARGE: Final = 512


# _TABLES[k][b] == k ^ b
_TABLES: Final = [bytes(byte ^ key for byte in range(256)) for key in range(256)]


def mask(data: bytes, key: bytes) -> bytes:
    """
    Mask a payload, or unmask it: it is the same (RFC 6455 section 5.3).

    @param key: four bytes; the first applies to the first byte of C{data}.
    """
    size = len(data)
    if size < _LARGE:
        stream = key * (size >> 2) + key[: size & 3]
        mixed = int.from_bytes(data, "little") ^ int.from_bytes(stream, "little")
        return mixed.to_bytes(size, "little")
    lanes = bytearray(data)
    for lane in range(4):
        lanes[lane::4] = lanes[lane::4].translate(_TABLES[key[lane]])
    return bytes(lanes)


# -------------------------------------------------------------------------- writing


def encode(
    opcode: int, payload: bytes, key: bytes | None = None, fin: bool = True, rsv1: bool = False
) -> bytes:
    """
    Write one frame. Nothing is checked: the caller knows what it sends.

    @param key: four bytes to mask it with, or C{None} for a frame to a client.
    @param rsv1: whether the payload is compressed (RFC 7692 section 6).
    """
    first = opcode | (FIN if fin else 0) | (RSV1 if rsv1 else 0)
    size = len(payload)
    masked = 0 if key is None else 0x80
    if size < 126:
        head = _SHORT(first, masked | size)
    elif size < 65536:
        head = _MEDIUM(first, masked | 126, size)
    else:
        head = _LONG(first, masked | 127, size)
    return head + payload if key is None else head + key + mask(payload, key)


def mayBeSent(code: int) -> bool:
    """
    Whether a close code may stand in a Close frame.

    These are 1000-1003 and 1007-1011 (RFC 6455 section 7.4.1), 1012-1014 (registered with
    IANA since), and 3000-4999 (section 7.4.2).
    """
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def encodeClose(code: int | None, reason: str = "", key: bytes | None = None) -> bytes:
    """
    Write a Close frame.

    @param code: C{None} for a Close without a code, which cannot have a reason.
    @param reason: at most 123 bytes of UTF-8.
    @raise ValueError: C{code} must not be sent, or C{reason} does not fit.
    """
    if code is None:
        if reason:
            raise ValueError("a Close without a code has no reason")
        return encode(CLOSE, b"", key)
    if not mayBeSent(code):
        raise ValueError(f"close code {code} must not go on the wire")
    words = reason.encode("utf-8")
    if len(words) > 123:
        raise ValueError("close reason is longer than 123 bytes")
    return encode(CLOSE, code.to_bytes(2, "big") + words, key)


def parseClose(payload: bytes) -> tuple[int | None, str]:
    """
    Read the unmasked payload of a Close frame (RFC 6455 section 5.5.1).

    @return: the code and reason; C{(None, "")} when the payload is empty.
    @raise Violation: 1002 for a payload of one byte or a code that must not be sent
        (L{mayBeSent}), 1007 for a reason that is not UTF-8.
    """
    if not payload:
        return None, ""
    if len(payload) == 1:
        raise Violation(1002, "a Close payload of one byte")
    code = int.from_bytes(payload[:2], "big")
    if not mayBeSent(code):
        raise Violation(1002, f"close code {code} must not go on the wire")
    try:
        return code, payload[2:].decode("utf-8")
    except UnicodeDecodeError as error:
        raise Violation(1007, "a close reason that is not UTF-8") from error


# -------------------------------------------------------------------------- reading


def _judge(first: int, inside: bool, rsv: int) -> int:
    """
    What a frame is that begins with this byte: rules 1 to 4.

    @param inside: whether a fragmented message is open.
    @param rsv: as for L{Reader}.
    """
    opcode = first & 0x0F
    allowed = rsv if rsv != RSV1 or opcode in (TEXT, BINARY) else 0
    if first & RESERVED & ~allowed:
        raise Violation(1002, "reserved bits are set")
    if opcode > PONG or BINARY < opcode < CLOSE:
        raise Violation(1002, f"unknown opcode {opcode}")
    final = bool(first & FIN)
    if opcode >= CLOSE:
        if not final:
            raise Violation(1002, "a fragmented control frame")
        return CONTROL
    if opcode != CONTINUATION and inside:
        raise Violation(1002, "a new message inside a fragmented one")
    if opcode == CONTINUATION and not inside:
        raise Violation(1002, "a continuation of no message")
    if inside:
        return LAST if final else MIDDLE
    return WHOLE if final else FIRST


@lru_cache(maxsize=16)
def _kinds(inside: bool, rsv: int) -> bytes:
    """L{_judge} as a table from first byte to kind, C{BAD} where it raises."""
    kinds = bytearray(256)
    for first in range(256):
        try:
            kinds[first] = _judge(first, inside, rsv)
        except Violation:
            kinds[first] = BAD
    return bytes(kinds)


@frozen
class Control:
    """
    One control frame that went by.

    @ivar opcode: L{CLOSE}, L{PING} or L{PONG}.
    @ivar payload: unmasked, at most 125 bytes.
    """

    opcode: int
    payload: bytes


class Reader:
    """
    What L{Scanner} and L{Assembler<wsrelay.wire.messages.Assembler>} have in common: the
    rules for one direction, and what became of it.

    @ivar violation: the first rule that was broken, or C{None}. Nothing is read after it.
    @ivar closed: whether a Close frame went by. Nothing is read after it.
    @ivar counts: what was fed; C{bytes} goes on counting after the end.
    @ivar now: when what is fed next has come, in seconds on any clock that does not jump; it
        is of use to rule 12 only.
    """

    __slots__ = (
        "_earned",
        "_flip",
        "_inside",
        "_kinds",
        "_maxFragments",
        "_maxFrame",
        "_maxMessage",
        "_number",
        "_outside",
        "_pingCost",
        "_plain",
        "_rsv",
        "_short",
        "_size",
        "_stopped",
        "closed",
        "counts",
        "now",
        "violation",
    )

    def __init__(
        self,
        masked: bool,
        maxFrame: int | None,
        maxMessage: int | None,
        rsv: int = 0,
        maxFragments: int | None = None,
        maxControlRate: float | None = None,
    ) -> None:
        """
        @param masked: whether frames must be masked (from a client) or must not be.
        @param maxFrame: payload of one data frame in bytes, as on the wire; C{None} is no
            limit.
        @param maxMessage: payload of one message in bytes, as on the wire; C{None} is no
            limit.
        @param rsv: the reserved bits that an extension may use. C{0x40} alone is RSV1 as
            permessage-deflate uses it: on the first frame of a message, never on a
            continuation or control frame (RFC 7692 section 6). The bits of any other value
            may be set on any frame.
        @param maxFragments: frames of one message; C{None} is no limit.
        @param maxControlRate: see rule 12; C{None} is no limit.
        """
        if rsv & ~RESERVED:
            raise ValueError(f"not a mask of reserved bits: {rsv:#x}")
        self.violation: Violation | None = None
        self.closed = False
        self.counts = Counts()
        self._stopped = False
        self._rsv = rsv
        self._outside = _kinds(False, rsv)
        self._inside = _kinds(True, rsv)
        self._kinds = self._outside
        # With this exclusive or, the second byte of a frame is its 7-bit length when the
        # mask bit is right, and more than 127 when it is wrong.
        self._flip = 0x80 if masked else 0
        self._short = 6 if masked else 2
        self._maxFrame = _NO_LIMIT if maxFrame is None else maxFrame
        self._maxMessage = _NO_LIMIT if maxMessage is None else maxMessage
        # A whole message of up to so many bytes breaks no rule from 5 on.
        self._plain = min(125, self._maxFrame, self._maxMessage)
        self._maxFragments = _NO_LIMIT if maxFragments is None else maxFragments
        # Payload and frames so far of the fragmented message that is open.
        self._size = self._number = 0
        # Seconds at the given rate that a Ping uses up, and until when they are used.
        self._pingCost = 0.0 if maxControlRate is None else 1 / maxControlRate
        self._earned = float("-inf")
        self.now = 0.0

    def _head(self, data: bytes, at: int, end: int, kind: int, length: int) -> tuple[int, int]:
        """
        Read the head at C{at}, its first two bytes having been looked up already.

        @return: where its payload begins and how long that is. It begins behind C{end} when
            the head is not complete.
        @raise Violation: a rule from 1 to 10 is broken.
        """
        if not kind:
            _judge(data[at], self._kinds is self._inside, self._rsv)
        if length > 127:
            raise Violation(1002, "an unmasked frame" if self._flip else "a masked frame")
        body = at + self._short
        if length > 125:
            if kind == CONTROL:
                raise Violation(1002, "a control frame of more than 125 bytes")
            extended = 2 if length == 126 else 8
            body += extended
            if at + 2 + extended > end:
                return end + 1, 0
            length = self._extended(data, at + 2, extended)
        if kind != CONTROL:
            self._checkSize(length)
            if kind != WHOLE and self._number >= self._maxFragments:
                raise Violation(1009, f"a message in more than {self._maxFragments} frames")
        return body, length

    def _extended(self, data: bytes, at: int, size: int) -> int:
        """The extended length of C{size} bytes at C{at}: rules 7 and 8."""
        length: int
        (length,) = _LENGTH16(data, at) if size == 2 else _LENGTH64(data, at)
        if length < (126 if size == 2 else 65536):
            raise Violation(1002, f"a length of {length} in {size} bytes")
        if length >> 63:
            raise Violation(1002, "a length of 64 bits")
        return length

    def _checkSize(self, length: int) -> None:
        """Rules 9 and 10."""
        if length > self._maxFrame:
            raise Violation(1009, f"a frame of {length} bytes, allowed are {self._maxFrame}")
        size = self._size + length
        if size > self._maxMessage:
            raise Violation(1009, f"a message of {size} bytes, allowed are {self._maxMessage}")

    def _fragment(self, kind: int, length: int) -> bytes:
        """
        Go on to the state behind a fragment.

        @return: the table for the next first byte.
        """
        if kind == LAST:
            self._size = self._number = 0
            self._kinds = self._outside
        else:
            self._size += length
            self._number += 1
            self._kinds = self._inside
        return self._kinds

    def _payload(self, data: bytes, body: int, after: int) -> bytes:
        """The payload between two places, unmasked."""
        payload = data[body:after]
        return mask(payload, data[body - 4 : body]) if self._flip else payload

    def _control(self, opcode: int, data: bytes, body: int, after: int) -> bytes:
        """The payload of a complete control frame: rules 12 and 13; notes a Close."""
        payload = self._payload(data, body, after)
        if opcode == CLOSE:
            parseClose(payload)
            self.closed = self._stopped = True
        else:
            self._spend(self._pingCost / 2 if opcode == PONG else self._pingCost)
        return payload

    def _spend(self, cost: float) -> None:
        """Rule 12, for a frame that takes so many seconds to earn."""
        self._earned = max(self._earned, self.now - max(BURST, self._pingCost)) + cost
        if self._earned > self.now:
            raise Violation(1008, "too many pings and pongs")

    def _stop(self, violation: Violation) -> None:
        """Note the violation, without what would keep the bytes at fault alive."""
        violation.__traceback__ = violation.__cause__ = violation.__context__ = None
        self.violation = violation
        self._stopped = True


class Scanner(Reader):
    """
    Reads one direction at level FRAMES: heads, and the payload of control frames.

    A data frame counts once its head is complete, a control frame once it is complete.

    @ivar frameBorder: where, in the bytes that L{feed} has just returned, something may be
        put between two frames: the last such place, or -1 when there is none.
    @ivar messageBorder: the same for between two messages.
    """

    __slots__ = ("_held", "_left", "frameBorder", "messageBorder")

    def __init__(
        self,
        masked: bool,
        maxFrame: int | None,
        maxMessage: int | None,
        rsv: int = 0,
        maxFragments: int | None = None,
        maxControlRate: float | None = None,
    ) -> None:
        """The arguments are those of L{Reader}."""
        super().__init__(masked, maxFrame, maxMessage, rsv, maxFragments, maxControlRate)
        self.frameBorder = 0
        self.messageBorder = 0
        # Payload still to come of the data frame whose head was forwarded, in bytes.
        self._left = 0
        # The beginning of a head or control frame.
        self._held = b""

    @property
    def atBoundary(self) -> bool:
        """Whether what was forwarded so far ends between two frames."""
        return not self._left

    @property
    def inMessage(self) -> bool:
        """Whether what was forwarded so far ends inside a message."""
        return self._left > 0 or self._kinds is self._inside

    @property
    def held(self) -> int:
        """How many bytes are held back: at most 13 of a head, or 130 of a control frame."""
        return len(self._held)

    def feed(self, data: bytes) -> tuple[bytes, list[Control]]:
        """
        Read what arrived.

        Held back are an incomplete head and an incomplete control frame. What follows a
        Close frame is thrown away. When a rule is broken, what stood before the frame at
        fault is returned and L{violation} is set; from then on nothing is forwarded.

        @return: the bytes that may be forwarded now (C{data} itself when it is all of it)
            and the control frames that are complete among them, in order.
        """
        # One function, for a call costs as much here as reading a frame.
        end = len(data)
        counts = self.counts
        counts.bytes += end
        at = self._left
        if at >= end:
            self._left = at - end
            self.frameBorder = -1 if at > end else end
            self.messageBorder = -1 if self._kinds is self._inside else self.frameBorder
            return data, []
        if self._stopped:
            self.frameBorder = 0
            self.messageBorder = -1 if self._kinds is self._inside else 0
            return b"", []
        if self._held:
            data = self._held + data
            end = len(data)
            self._held = b""
        self._left = 0
        kinds, flip, short, plain = self._kinds, self._flip, self._short, self._plain
        controls: list[Control] = []
        outside, start, message = self._outside, -1, -1
        try:
            while at + 1 < end:
                start = at
                if kinds is outside:
                    message = at
                kind = kinds[data[at]]
                length = data[at + 1] ^ flip
                body = at + short
                if kind != WHOLE or length > plain:
                    body, length = self._head(data, at, end, kind, length)
                if body > end:
                    break
                if kind == WHOLE:
                    counts.messages += 1
                elif kind == CONTROL:
                    if body + length > end:
                        break
                    opcode = data[at] & 0x0F
                    payload = self._control(opcode, data, body, body + length)
                    controls.append(Control(opcode, payload))
                else:
                    counts.messages += kind == FIRST
                    kinds = self._fragment(kind, length)
                counts.frames += 1
                at = body + length
                if self._stopped:
                    break
        except Violation as violation:
            self._stop(violation)
        self.frameBorder = start if at > end else at
        self.messageBorder = message if at > end or kinds is not outside else at
        if at >= end:
            self._left = at - end
            return data, controls
        if not self._stopped:
            self._held = data[at:]
        return data[:at], controls

# -*- test-case-name: tests.wire.test_messages -*-
"""
WebSocket messages (RFC 6455 sections 5.4 and 5.6): frames put together again.

L{Assembler} reads one direction at level MESSAGES and gives out each message as
L{Assembled}: unmasked, reassembled, inflated, and beside it B{the wire}, the very bytes of
its frames as they came, so that a message nobody changed is forwarded without being
written again.

To the rules of L{wsrelay.wire.frames} it adds these:

 14. a fragmented message whose frames, heads included, take more than twice C{maxMessage}
     and L{HEADS} bytes: 1009. It bounds what endless empty fragments may occupy, and is
     decided from the head; without C{maxMessage} there is no such bound.
 15. text that is not UTF-8: 1007 (RFC 6455 section 8.1). Looked at as it comes, so that a
     frame at fault need not be waited for; a fragment may end inside a character, but not
     with bytes that no character begins with. Compressed text is looked at when the message
     is complete.
 16. a compressed message that L{Inflater<wsrelay.wire.deflate.Inflater>} refuses: 1007 for
     a bad stream, 1009 for more than C{maxMessage} bytes.

It does not decide what is sent, and does not deflate.
"""

from __future__ import annotations

from codecs import getincrementaldecoder, utf_8_decode
from typing import TYPE_CHECKING, Final, final

from attrs import define

from wsrelay.errors import Violation
from wsrelay.wire.frames import CONTINUATION, CONTROL, LAST, RSV1, TEXT, WHOLE, Reader, mask

if TYPE_CHECKING:
    from wsrelay.wire.deflate import Inflater

__all__ = ["HEADS", "Assembled", "Assembler"]

# What the heads of a fragmented message may take beyond C{maxMessage}, in bytes. Nobody who
# has something to say cuts it into frames smaller than their heads.
HEADS: Final = 64 * 1024

_NO_LIMIT: Final = 1 << 64


@final
@define
class Assembled:
    """
    One message or control frame.

    @ivar opcode: L{TEXT<wsrelay.wire.frames.TEXT>}, C{BINARY}, C{CLOSE}, C{PING} or
        C{PONG}.
    @ivar payload: unmasked, reassembled, inflated; UTF-8 if it is text.
    @ivar wire: its frames as they came. Control frames that stood between them are not
        among them: each was given out before, by itself.
    @ivar compressed: whether it came with RSV1 set.
    """

    opcode: int
    payload: bytes
    wire: bytes
    compressed: bool = False


def _checkText(payload: bytes) -> None:
    """Rule 15 for a whole message."""
    # ASCII is recognised several times faster than it is decoded.
    if payload.isascii():
        return
    try:
        utf_8_decode(payload, "strict", True)
    except UnicodeDecodeError as error:
        raise Violation(1007, "text that is not UTF-8") from error


def _checkPiece(piece: bytes, final: bool) -> bytes:
    """
    Rule 15 for one fragment, with what the one before it left over in front.

    @return: the beginning of a character that the next fragment must complete.
    """
    if piece.isascii():
        return b""
    try:
        _, used = utf_8_decode(piece, "strict", final)
    except UnicodeDecodeError as error:
        raise Violation(1007, "text that is not UTF-8") from error
    rest = piece[used:]
    # ED A0 to ED BF would become a surrogate; Python waits for the third byte to say so.
    if rest[:1] == b"\xed" and rest[1:2] >= b"\xa0":
        raise Violation(1007, "text that is not UTF-8")
    return rest


class _Fragments:
    """The fragmented message that is open."""

    __slots__ = ("compressed", "opcode", "payload", "rest", "wire")

    def __init__(self, first: int) -> None:
        self.opcode = first & 0x0F
        self.compressed = bool(first & RSV1)
        self.wire = bytearray()
        self.payload = bytearray()
        self.rest = b""

    def add(self, wire: bytes, payload: bytes, final: bool) -> None:
        """Add one frame; rule 15."""
        if self.opcode == TEXT and not self.compressed:
            self.rest = _checkPiece(self.rest + payload, final)
        self.wire += wire
        self.payload += payload


class _Partial:
    """The text of a frame that is not complete, as far as it has come: rule 15."""

    __slots__ = ("_body", "_decoder", "_key", "_seen")

    def __init__(self, body: int, key: bytes, rest: bytes) -> None:
        """
        @param body: where the payload begins in what waits.
        @param key: the mask key, or nothing.
        @param rest: what the fragment before it left over.
        """
        self._body = body
        self._key = key
        self._seen = 0
        self._decoder = getincrementaldecoder("utf-8")()
        self._decoder.decode(rest)

    def check(self, waiting: bytearray) -> None:
        """Look at what has come since the last time."""
        piece = bytes(waiting[self._body + self._seen :])
        if self._key:
            turn = self._seen & 3
            piece = mask(piece, self._key[turn:] + self._key[:turn])
        self._seen += len(piece)
        try:
            self._decoder.decode(piece)
        except UnicodeDecodeError as error:
            raise Violation(1007, "text that is not UTF-8") from error


class Assembler(Reader):
    """
    Reads one direction at level MESSAGES.

    A frame counts once it is complete.
    """

    __slots__ = ("_fragments", "_inflater", "_limit", "_maxWire", "_need", "_partial", "_waiting")

    def __init__(
        self,
        masked: bool,
        maxFrame: int | None,
        maxMessage: int | None,
        inflater: Inflater | None = None,
        maxFragments: int | None = None,
        maxControlRate: float | None = None,
    ) -> None:
        """
        What is not said here is as for L{Reader}.

        @param maxMessage: bounds the payload as it comes and, once more, what it inflates
            to.
        @param inflater: inflates what comes with RSV1; C{None} forbids RSV1.
        """
        rsv = RSV1 if inflater is not None else 0
        super().__init__(masked, maxFrame, maxMessage, rsv, maxFragments, maxControlRate)
        self._inflater = inflater
        self._limit = maxMessage
        self._maxWire = _NO_LIMIT if maxMessage is None else 2 * maxMessage + HEADS
        self._fragments: _Fragments | None = None
        # The beginning of a frame, and how much of it there must be before it makes sense
        # to look again.
        self._waiting = bytearray()
        self._need = 0
        self._partial: _Partial | None = None

    @property
    def held(self) -> int:
        """
        How many bytes are held: of the frame that is not complete and of the message that
        is open, whose payload counts twice (as it came, and unmasked).
        """
        fragments = self._fragments
        if fragments is None:
            return len(self._waiting)
        return len(self._waiting) + len(fragments.wire) + len(fragments.payload)

    def feed(self, data: bytes) -> list[Assembled]:
        """
        Read what arrived.

        What follows a Close frame is thrown away. When a rule is broken, what was complete
        before is returned and L{violation} is set; from then on nothing is.

        @return: the messages and control frames that are complete now, in order. Control
            frames inside a fragmented message come before it.
        """
        self.counts.bytes += len(data)
        found: list[Assembled] = []
        if self._stopped:
            return found
        if self._waiting:
            self._waiting += data
            if len(self._waiting) >= self._need:
                data = bytes(self._waiting)
                self._waiting.clear()
                self._partial = None
        try:
            if not self._waiting:
                self._read(data, found)
            if self._partial is not None:
                self._partial.check(self._waiting)
        except Violation as violation:
            self._stop(violation)
        if self._stopped:
            self._fragments = None
        return found

    def _read(self, data: bytes, found: list[Assembled]) -> None:
        """Add to C{found} what is complete, and keep the rest."""
        at, end, counts = 0, len(data), self.counts
        kinds, flip, short, plain = self._kinds, self._flip, self._short, self._plain
        while at + 1 < end:
            first = data[at]
            kind = kinds[first]
            length = data[at + 1] ^ flip
            body = at + short
            if kind != WHOLE or length > plain:
                body, length = self._head(data, at, end, kind, length)
                if kind != CONTROL and kind != WHOLE and body <= end:
                    self._checkWire(body + length - at)
            after = body + length
            if after > end:
                self._need = (after if body <= end else body) - at
                if body <= end and kind != CONTROL and self._isPlainText(first):
                    key = data[body - 4 : body] if flip else b""
                    rest = self._fragments.rest if self._fragments is not None else b""
                    self._partial = _Partial(body - at, key, rest)
                break
            opcode = first & 0x0F
            # Slicing all of it is no copy.
            wire = data[at:after]
            if kind == CONTROL:
                found.append(Assembled(opcode, self._control(opcode, data, body, after), wire))
            else:
                payload = data[body:after]
                if flip:
                    payload = mask(payload, data[body - 4 : body])
                if kind != WHOLE:
                    self._add(kind, first, payload, wire, found)
                    kinds = self._fragment(kind, length)
                elif first & RSV1:
                    found.append(self._inflated(opcode, payload, wire))
                else:
                    if opcode == TEXT and not payload.isascii():
                        _checkText(payload)
                    found.append(Assembled(opcode, payload, wire))
                counts.messages += opcode != CONTINUATION
            counts.frames += 1
            at = after
            if self._stopped:
                return
        if at < end:
            if at + 1 == end:
                self._need = 2
            self._waiting += data[at:]

    def _isPlainText(self, first: int) -> bool:
        """Whether a data frame that begins with C{first} carries text as it is."""
        if self._fragments is not None:
            return self._fragments.opcode == TEXT and not self._fragments.compressed
        return first & (0x0F | RSV1) == TEXT

    def _checkWire(self, length: int) -> None:
        """Rule 14, for one more fragment of C{length} bytes, head included."""
        if self._fragments is not None:
            length += len(self._fragments.wire)
        if length > self._maxWire:
            raise Violation(1009, f"a message in too many frames: {length} bytes of them")

    def _inflated(self, opcode: int, payload: bytes, wire: bytes) -> Assembled:
        """A whole compressed message: rules 15 and 16."""
        # Without an inflater, RSV1 has been a violation before.
        if self._inflater is not None:
            payload = self._inflater.inflate(payload, self._limit)
        if opcode == TEXT:
            _checkText(payload)
        return Assembled(opcode, payload, wire, True)

    def _add(
        self, kind: int, first: int, payload: bytes, wire: bytes, found: list[Assembled]
    ) -> None:
        """Take a complete fragment; the last one makes a message."""
        fragments = self._fragments
        if fragments is None:
            fragments = self._fragments = _Fragments(first)
        fragments.add(wire, payload, kind == LAST)
        if kind == LAST:
            self._fragments = None
            found.append(self._joined(fragments))

    def _joined(self, fragments: _Fragments) -> Assembled:
        opcode, wire = fragments.opcode, bytes(fragments.wire)
        payload = bytes(fragments.payload)
        if fragments.compressed:
            return self._inflated(opcode, payload, wire)
        return Assembled(opcode, payload, wire)

# -*- test-case-name: tests.wire.test_frames -*-
"""
What the tests of frames and messages have in common.

L{reference} is the rules of L{wsrelay.wire.frames} written down once more, slowly, over a
whole stream. L{speeches} and L{rubbish} generate streams. The tables have a row for each
rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from attrs import define, field, frozen
from hypothesis import strategies as st

from wsrelay.errors import Violation
from wsrelay.wire.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    RSV1,
    TEXT,
    Control,
    encode,
    parseClose,
)

KEY = bytes.fromhex("37fa213d")

# ------------------------------------------------------------------------ the reference


@define
class Outcome:
    """What a whole stream comes to at level FRAMES."""

    forwarded: bytes = b""
    controls: list[Control] = field(factory=list)
    code: int | None = None
    closed: bool = False
    frames: int = 0
    messages: int = 0


def reference(
    stream: bytes,
    masked: bool,
    maxFrame: int | None = None,
    maxMessage: int | None = None,
    rsv: int = 0,
    maxFragments: int | None = None,
    maxControlRate: float | None = None,
) -> Outcome:
    """
    Read a whole stream, which has come at once, by the rules in the docstring of
    L{wsrelay.wire.frames}.
    """
    outcome = Outcome()
    at, size = 0, None  # size: payload of the fragmented message that is open
    number, halves = 0, 0  # its frames; pongs so far, a ping being two
    try:
        while len(stream) - at >= 2:
            first, second = stream[at], stream[at + 1]
            fin, reserved, opcode = first & 0x80, first & 0x70, first & 0x0F
            control, length = opcode >= 8, second & 0x7F
            allowed = rsv if rsv != RSV1 else RSV1 * (opcode in (1, 2))
            for broken in (
                reserved | allowed != allowed,
                opcode not in (0, 1, 2, 8, 9, 10),
                control and not fin,
                not control and (size is None) == (opcode == 0),
                masked != bool(second & 0x80),
                control and length > 125,
            ):
                if broken:
                    raise Violation(1002, "")
            body = at + 2
            if length > 125:
                width = 2 if length == 126 else 8
                body += width
                if body > len(stream):
                    break
                length = int.from_bytes(stream[at + 2 : body], "big")
                if length < (126 if width == 2 else 1 << 16) or length >= 1 << 63:
                    raise Violation(1002, "")
            total = (size or 0) + length
            if not control and maxFrame is not None and length > maxFrame:
                raise Violation(1009, "")
            if not control and maxMessage is not None and total > maxMessage:
                raise Violation(1009, "")
            isWhole = size is None and fin
            if not control and not isWhole and number + 1 > (maxFragments or number + 1):
                raise Violation(1009, "")
            key = stream[body : body + 4] if masked else bytes(4)
            body += 4 * masked
            if body > len(stream):
                break
            after = body + length
            if control:
                if after > len(stream):
                    break
                payload = bytes(b ^ key[i % 4] for i, b in enumerate(stream[body:after]))
                if opcode == CLOSE:
                    parseClose(payload)
                    outcome.closed = True
                else:
                    halves += 2 if opcode == PING else 1
                    if maxControlRate is not None and halves > max(2, 20 * maxControlRate):
                        raise Violation(1008, "")
                outcome.controls.append(Control(opcode, payload))
            else:
                outcome.messages += opcode != 0
                size = None if fin else total
                number = 0 if fin else number + 1
            outcome.frames += 1
            at = after
            if outcome.closed:
                break
    except Violation as violation:
        outcome.code = violation.code
    outcome.forwarded = stream[:at]
    return outcome


# ----------------------------------------------------------------------- the generators


def bytewise(data: bytes) -> list[bytes]:
    """Cut into single bytes."""
    return [data[at : at + 1] for at in range(len(data))]


def cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """Cut into pieces of these sizes, over and over."""
    found, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        found.append(data[at : at + size])
        at, turn = at + size, turn + 1
    return found


cuts = st.lists(st.integers(1, 300), min_size=1, max_size=8)
keys = st.binary(min_size=4, max_size=4)
payloads = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([125, 126, 127, 300, 65535, 65536]).map(lambda size: b"x" * size),
)
closes = st.one_of(
    st.just(b""),
    st.tuples(st.sampled_from([1000, 1003, 1014, 3000, 4999]), st.text(max_size=20)).map(
        lambda close: close[0].to_bytes(2, "big") + close[1].encode()
    ),
)


@frozen
class Said:
    """
    What one side said.

    @ivar stream: all of it.
    @ivar units: opcode, payload and frames of each message and control frame, in the order
        in which they are complete.
    @ivar edges: every place in the stream between two frames.
    @ivar gaps: every place in it between two messages.
    """

    stream: bytes
    units: list[tuple[int, bytes, bytes]]
    edges: set[int]
    gaps: set[int]

    @staticmethod
    def last(places: set[int], start: int, end: int) -> int:
        """The last of these places in a part of the stream, from its start; -1 if none."""
        return max((place for place in places if start <= place <= end), default=start - 1) - start


@st.composite
def speeches(draw: st.DrawFn, masked: bool) -> Said:
    """Anything that one side may say, with control frames inside fragmented messages."""
    frames: list[bytes] = []
    units: list[tuple[int, bytes, bytes]] = []
    gaps = {0}

    def frame(opcode: int, payload: bytes, fin: bool = True) -> bytes:
        frames.append(encode(opcode, payload, draw(keys) if masked else None, fin))
        return frames[-1]

    def gap() -> None:
        gaps.add(sum(map(len, frames)))

    def control(opcode: int, payload: bytes) -> None:
        units.append((opcode, payload, frame(opcode, payload)))

    for _ in range(draw(st.integers(0, 4))):
        if draw(st.integers(0, 4)) == 0:
            control(PING, b"between")
            gap()
        opcode = draw(st.sampled_from([TEXT, BINARY]))
        payload = draw(st.text(max_size=40)).encode() if opcode == TEXT else draw(payloads)
        parts = (cut(payload, draw(cuts)) if draw(st.booleans()) else [payload]) or [b""]
        wire = b""
        for number, part in enumerate(parts):
            if number and draw(st.integers(0, 9)) == 0:
                control(draw(st.sampled_from([PING, PONG])), draw(st.binary(max_size=125)))
            wire += frame(CONTINUATION if number else opcode, part, number == len(parts) - 1)
        units.append((opcode, payload, wire))
        gap()
    if draw(st.booleans()):
        control(CLOSE, draw(closes))
        gap()
    return Said(b"".join(frames), units, {0, *accumulate(map(len, frames))}, gaps)


@st.composite
def rubbish(draw: st.DrawFn) -> bytes:
    """Streams that are nearly right: frames with odd heads, and a flipped byte."""
    stream = b""
    for _ in range(draw(st.integers(1, 6))):
        opcode = draw(st.sampled_from([0, 0, 1, 1, 2, 8, 9, 10, 3, 15]))
        fin, rsv1 = draw(st.integers(0, 3)) > 0, draw(st.integers(0, 5)) == 0
        payload = draw(st.one_of(closes, st.binary(max_size=40), st.just(bytes(130))))
        key = draw(st.one_of(st.none(), keys, keys))
        stream += encode(opcode, payload, key, fin, rsv1)
    if draw(st.booleans()):
        at = draw(st.integers(0, len(stream) - 1))
        stream = stream[:at] + bytes([draw(st.integers(0, 255))]) + stream[at + 1 :]
    return stream + draw(st.binary(max_size=8))


# ------------------------------------------------------------------------- the examples

# RFC 6455 section 5.7: what is said, and the frames it is said in.
RFC_EXAMPLES = [
    ("a single-frame unmasked text", "810548656c6c6f", (TEXT, b"Hello", None, True)),
    ("a single-frame masked text", "818537fa213d7f9f4d5158", (TEXT, b"Hello", KEY, True)),
    ("the first of two fragments", "010348656c", (TEXT, b"Hel", None, False)),
    ("the second of two fragments", "80026c6f", (CONTINUATION, b"lo", None, True)),
    ("an unmasked ping", "890548656c6c6f", (PING, b"Hello", None, True)),
    ("a masked pong", "8a8537fa213d7f9f4d5158", (PONG, b"Hello", KEY, True)),
    ("256 bytes of binary", "827e0100" + "61" * 256, (BINARY, b"a" * 256, None, True)),
    (
        "64 KiB of binary",
        "827f0000000000010000" + "61" * 65536,
        (BINARY, b"a" * 65536, None, True),
    ),
]

# What breaks a rule for somebody who reads a server: bytes, and the close code.
VIOLATIONS = [
    ("RSV1 without an extension", "c1021234", 1002),
    ("RSV2", "a1021234", 1002),
    ("RSV3", "91021234", 1002),
    ("RSV1 on a ping", "c900", 1002),
    *((f"opcode {code:#x}", f"{0x80 | code:x}00", 1002) for code in (3, 4, 5, 6, 7)),
    *((f"opcode {code:#x}", f"{0x80 | code:x}00", 1002) for code in range(11, 16)),
    ("a masked frame from a server", "818537fa213d7f9f4d5158", 1002),
    ("a masked ping from a server", "898037fa213d", 1002),
    ("a ping without FIN", "0900", 1002),
    ("a close without FIN", "0802 03e8", 1002),
    ("a ping of 126 bytes", "897e007e" + "00" * 126, 1002),
    ("a ping with a 64-bit length", "897f0000000000000001 00", 1002),
    ("a continuation at the start", "8001 78", 1002),
    ("an unfinished continuation at the start", "0001 78", 1002),
    ("a continuation after a whole message", "8100 8000", 1002),
    ("a continuation after the last fragment", "0100 8000 8000", 1002),
    ("a message inside a fragmented one", "0101 78 8101 78", 1002),
    ("a fragmented message inside another", "0101 78 0201 78", 1002),
    ("125 bytes in a 16-bit length", "827e007d" + "00" * 125, 1002),
    ("nothing in a 16-bit length", "827e0000", 1002),
    ("65535 bytes in a 64-bit length", "827f000000000000ffff", 1002),
    ("the top bit of a 64-bit length", "827f8000000000000000", 1002),
    ("all bits of a 64-bit length", "827fffffffffffffffff", 1002),
    ("a close of one byte", "8801 03", 1002),
    *(
        (f"close code {code}", f"8802{code:04x}", 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535)
    ),
    ("a close reason that is not UTF-8", "8804 03e8 c328", 1007),
    ("a close reason with half a character", "8803 03e8 c3", 1007),
    ("a close reason with a surrogate", "8805 03e8 eda080", 1007),
]

# Sizes: the limits for a frame and a message, the frames, and the close code if any.
SIZES = [
    ("a frame as big as may be", 3, None, "8203000000", None),
    ("a frame one byte too big", 3, None, "820400000000", 1009),
    ("a message as big as may be", None, 3, "8203000000", None),
    ("a message one byte too big", None, 3, "8204", 1009),
    ("only an empty message is allowed", None, 0, "8200 8201", 1009),
    ("fragments that come to the limit", None, 3, "02020000 8001 00", None),
    ("fragments that go over it", None, 3, "02020000 8002", 1009),
    ("fragments over it with a ping between", None, 3, "02020000 8900 0002", 1009),
    ("three fragments over it", None, 3, "020100 000100 8002", 1009),
    ("a new fragmented message counts anew", None, 3, "02020000 800100 02020000 800100", None),
    ("a new message counts anew", None, 3, "02020000 800100 8203000000", None),
    ("a promise of many gigabytes", 1 << 20, None, "827f00ffffffffffffff", 1009),
    ("the same for a message", None, 1 << 20, "827f00ffffffffffffff", 1009),
    ("the biggest frame there is", None, None, "827f7fffffffffffffff", None),
    ("126 bytes where 126 are allowed", 126, None, "827e007e", None),
    ("127 bytes where 126 are allowed", 126, None, "827e007f", 1009),
    ("a fragment as big as may be", 3, None, "0203000000 8003000000", None),
    ("a control frame knows no limit", 0, 0, "8905 0000000000", None),
    ("a wrong length is worse than a big one", 3, 3, "827e0064", 1002),
]

# Frames: how many a message may have, and the close code if any.
FRAGMENTS = [
    ("as many as may be", 3, "0100 0000 8000", None),
    ("one too many", 3, "0100 0000 0000 8000", 1009),
    ("a first fragment is one, too", 1, "0100", None),
    ("a whole message is not cut", 1, "8100 8100 8100", None),
    ("a second where one is allowed", 1, "0100 8000", 1009),
    ("control frames do not count", 2, "0100 8900 8a00 8900 8000", None),
    ("a new message counts anew", 2, "0100 8000 8100 0100 8000 0100 0000 00", None),
    ("bytes do not make up for it", 2, "0101 78 0001 78 0001 78", 1009),
    ("a wrong length is worse", 1, "0100 807e0001", 1002),
]

# Control frames: how many pings a second, the frames, and the close code if any.
CONTROL_RATES = [
    ("pings of ten seconds at once", 0.5, "8900" * 5, None),
    ("one more", 0.5, "8900" * 6, 1008),
    ("twice as many pongs", 0.5, "8a00" * 10, None),
    ("one more of them", 0.5, "8a00" * 11, 1008),
    ("some of both", 0.5, "8900 8a00" * 3 + "8a00", None),
    ("data does not count", 0.5, "8900 8100" * 5, None),
    ("a close does not count", 0.5, "8900" * 5 + "8800", None),
    ("one ping may always be", 0.001, "8900", None),
    ("but two need not", 0.001, "8900 8900", 1008),
    ("a bad close is no ping too many", 0.5, "8900" * 5 + "8801 03", 1002),
]

# What a reserved bit is to one who knows extensions: rsv, the frames, the close code if any.
RESERVED_BITS = [
    ("RSV1 on a whole message", 0x40, "c100", None),
    ("RSV1 on a first fragment", 0x40, "4100 8000", None),
    ("RSV1 on a continuation", 0x40, "4100 c000", 1002),
    ("RSV1 on a ping", 0x40, "c900", 1002),
    ("RSV1 on a close", 0x40, "c800", 1002),
    ("RSV1 and RSV2", 0x40, "e100", 1002),
    ("an extension of its own: any bit on any frame", 0x70, "7100 b000 f900 f800", None),
    ("another extension: its bit only", 0x20, "a100 a900 c100", 1002),
]


def unhex(text: str) -> bytes:
    """Hexadecimal digits, which blanks may group."""
    return bytes.fromhex(text)

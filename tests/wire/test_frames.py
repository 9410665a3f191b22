# -*- test-case-name: tests.wire.test_frames -*-
"""
L{wsrelay.wire.frames}: the rules of RFC 6455 section 5, frame by frame.

Also the generators of frames that L{tests.wire.test_messages} uses, and L{reference}: the
rules written down once more, slowly, over a whole stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from attrs import define, field, frozen
from hypothesis import example, given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.errors import Violation
from wsrelay.model import Counts
from wsrelay.wire.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    RSV1,
    TEXT,
    Control,
    Scanner,
    encode,
    encodeClose,
    mask,
    mayBeSent,
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
) -> Outcome:
    """Read a whole stream by the rules in the docstring of L{wsrelay.wire.frames}."""
    outcome = Outcome()
    at, size = 0, None  # size: payload of the fragmented message that is open
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
                outcome.controls.append(Control(opcode, payload))
            else:
                outcome.messages += opcode != 0
                size = None if fin else total
            outcome.frames += 1
            at = after
            if outcome.closed:
                break
    except Violation as violation:
        outcome.code = violation.code
    outcome.forwarded = stream[:at]
    return outcome


def scan(scanner: Scanner, pieces: Sequence[bytes]) -> Outcome:
    """Feed a scanner, and note what it makes of it."""
    outcome = Outcome()
    for piece in pieces:
        forwarded, controls = scanner.feed(piece)
        outcome.forwarded += forwarded
        outcome.controls += controls
    outcome.code = scanner.violation.code if scanner.violation else None
    outcome.closed = scanner.closed
    outcome.frames, outcome.messages = scanner.counts.frames, scanner.counts.messages
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
    """

    stream: bytes
    units: list[tuple[int, bytes, bytes]]
    edges: set[int]


@st.composite
def speeches(draw: st.DrawFn, masked: bool, closing: bool = True) -> Said:
    """Anything that one side may say, with control frames inside fragmented messages."""
    frames: list[bytes] = []
    units: list[tuple[int, bytes, bytes]] = []

    def frame(opcode: int, payload: bytes, fin: bool = True) -> bytes:
        frames.append(encode(opcode, payload, draw(keys) if masked else None, fin))
        return frames[-1]

    def control(opcode: int, payload: bytes) -> None:
        units.append((opcode, payload, frame(opcode, payload)))

    for _ in range(draw(st.integers(0, 4))):
        opcode = draw(st.sampled_from([TEXT, BINARY]))
        payload = draw(st.text(max_size=40)).encode() if opcode == TEXT else draw(payloads)
        parts = (cut(payload, draw(cuts)) if draw(st.booleans()) else [payload]) or [b""]
        wire = b""
        for number, part in enumerate(parts):
            if draw(st.integers(0, 9)) == 0:
                control(draw(st.sampled_from([PING, PONG])), draw(st.binary(max_size=125)))
            wire += frame(CONTINUATION if number else opcode, part, number == len(parts) - 1)
        units.append((opcode, payload, wire))
    if closing and draw(st.booleans()):
        control(CLOSE, draw(closes))
    return Said(b"".join(frames), units, {0, *accumulate(map(len, frames))})


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
    ("a new message counts anew", None, 3, "02020000 800100 8203000000", None),
    ("a promise of many gigabytes", 1 << 20, None, "827f00ffffffffffffff", 1009),
    ("the same for a message", None, 1 << 20, "827f00ffffffffffffff", 1009),
    ("the biggest frame there is", None, None, "827f7fffffffffffffff", None),
    ("200 bytes where 126 are allowed", 126, None, "827e00c8", 1009),
    ("a control frame knows no limit", 0, 0, "8905 0000000000", None),
    ("a wrong length is worse than a big one", 3, 3, "827e0064", 1002),
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


class EncodingTests(SynchronousTestCase):
    """Tests for L{encode}, L{encodeClose} and L{mask}."""

    def test_examples(self) -> None:
        """The examples of RFC 6455 are written byte for byte."""
        for name, wire, (opcode, payload, key, fin) in RFC_EXAMPLES:
            self.assertEqual(unhex(wire), encode(opcode, payload, key, fin), name)

    def test_rsv1(self) -> None:
        """A compressed message has RSV1 set."""
        self.assertEqual(unhex("c101aa"), encode(TEXT, b"\xaa", rsv1=True))

    def test_lengthBorders(self) -> None:
        """Each length is written in its shortest form."""
        for size, head in (
            (0, "8200"),
            (125, "827d"),
            (126, "827e007e"),
            (65535, "827effff"),
            (65536, "827f0000000000010000"),
        ):
            self.assertEqual(unhex(head), encode(BINARY, bytes(size))[: -size or None], size)

    def test_mask(self) -> None:
        """Masking is an exclusive or with the key over and over, whatever the size."""
        for size in (*range(20), 125, 126, 511, 512, 513, 514, 515, 4099):
            data = bytes(range(256)) * 17
            masked = mask(data[:size], KEY)
            self.assertEqual(bytes(b ^ KEY[i % 4] for i, b in enumerate(data[:size])), masked)

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=1200), keys)
    def test_maskTwice(self, data: bytes, key: bytes) -> None:
        """Masking twice with one key changes nothing."""
        self.assertEqual(data, mask(mask(data, key), key))

    def test_close(self) -> None:
        """A Close carries its code and reason, or nothing."""
        self.assertEqual(unhex("8800"), encodeClose(None))
        self.assertEqual(unhex("8802 03e8"), encodeClose(1000))
        self.assertEqual(unhex("8805 0fa0 e282ac"), encodeClose(4000, "\u20ac"))
        self.assertEqual(unhex("888037fa213d"), encodeClose(None, key=KEY))

    def test_badClose(self) -> None:
        """A Close that no receiver would accept is not written."""
        for code, reason in ((1005, ""), (999, ""), (5000, ""), (None, "x"), (1000, "x" * 124)):
            self.assertRaises(ValueError, encodeClose, code, reason)

    def test_mayBeSent(self) -> None:
        """Exactly the codes that RFC 6455 and IANA let on the wire may be sent."""
        allowed = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}
        self.assertEqual(allowed, {code for code in range(1 << 16) if mayBeSent(code)})

    def test_parseClose(self) -> None:
        """What was written as a Close is read from one."""
        for code, reason in ((None, ""), (1000, ""), (3000, "bye"), (1014, "\u20ac" * 41)):
            self.assertEqual((code, reason), parseClose(encodeClose(code, reason)[2:]))


class ScannerTests(SynchronousTestCase):
    """Tests for L{Scanner} on single rules; each stream goes in whole and byte by byte."""

    def scanBothWays(
        self,
        stream: bytes,
        masked: bool = False,
        maxFrame: int | None = None,
        maxMessage: int | None = None,
        rsv: int = 0,
    ) -> Outcome:
        """Scan whole and byte by byte, which must come to the same as L{reference}."""
        limits = (masked, maxFrame, maxMessage, rsv)
        expected = reference(stream, *limits)
        self.assertEqual(expected, scan(Scanner(*limits), [stream]), stream)
        self.assertEqual(expected, scan(Scanner(*limits), bytewise(stream)), stream)
        return expected

    def test_examples(self) -> None:
        """Each example of RFC 6455 goes through as it came."""
        for name, wire, (opcode, payload, key, _) in RFC_EXAMPLES:
            prefix = b"" if opcode != CONTINUATION else unhex("0100")
            outcome = self.scanBothWays(prefix + unhex(wire), masked=key is not None)
            self.assertEqual(prefix + unhex(wire), outcome.forwarded, name)
            self.assertEqual(opcode in (TEXT, BINARY) or bool(prefix), outcome.messages == 1)
            self.assertEqual([Control(opcode, payload)] * (opcode > 7), outcome.controls)
            self.assertEqual((None, 1 + bool(prefix)), (outcome.code, outcome.frames), name)

    def test_violations(self) -> None:
        """Each broken rule is found, with its code; what stood before it goes through."""
        before = unhex("8101 78 8900 0200 8001 79")
        for name, frames, code in VIOLATIONS:
            outcome = self.scanBothWays(before + unhex(frames))
            self.assertEqual(code, outcome.code, name)
            self.assertTrue(outcome.forwarded.startswith(before), name)
            self.assertFalse(outcome.closed, name)

    def test_unmasked(self) -> None:
        """A client's frame that is not masked is a violation."""
        self.assertEqual(1002, self.scanBothWays(unhex("810548656c6c6f"), masked=True).code)
        self.assertEqual(1002, self.scanBothWays(unhex("8900"), masked=True).code)

    def test_sizes(self) -> None:
        """Sizes are judged by heads alone, and control frames not at all."""
        for name, maxFrame, maxMessage, frames, code in SIZES:
            outcome = self.scanBothWays(unhex(frames), False, maxFrame, maxMessage)
            self.assertEqual(code, outcome.code, name)

    def test_reservedBits(self) -> None:
        """An extension may use its reserved bits, and where it may."""
        for name, rsv, frames, code in RESERVED_BITS:
            self.assertEqual(code, self.scanBothWays(unhex(frames), rsv=rsv).code, name)

    def test_badRsv(self) -> None:
        """Bits that are not reserved bits cannot be allowed."""
        self.assertRaises(ValueError, Scanner, False, None, None, 0x80)

    def test_early(self) -> None:
        """A fault is found as soon as the bytes that show it are there."""
        for frames in ("8300", "8180", "0900", "897e", "8000", "827e0001", "827f80" + "00" * 7):
            scanner = Scanner(False, 0, None)
            before = scan(scanner, [unhex(frames)[:-1]])
            self.assertEqual((None, b""), (before.code, before.forwarded))
            self.assertEqual(1002, scan(scanner, [unhex(frames)[-1:]]).code)

    def test_control(self) -> None:
        """Control frames are shown unmasked, and held back until they are complete."""
        scanner = Scanner(True, None, None)
        ping = encode(PING, b"are you there", KEY)
        self.assertEqual((b"", []), scanner.feed(ping[:-1]))
        self.assertEqual(len(ping) - 1, scanner.held)
        self.assertTrue(scanner.atBoundary)
        self.assertEqual((ping, [Control(PING, b"are you there")]), scanner.feed(ping[-1:]))
        self.assertEqual(0, scanner.held)

    def test_head(self) -> None:
        """A head is held back until it is complete; payload never is."""
        scanner = Scanner(True, None, None)
        frame = encode(BINARY, bytes(70000), KEY)
        self.assertEqual((b"", []), scanner.feed(frame[:13]))
        self.assertEqual((frame[:15], []), scanner.feed(frame[13:15]))
        self.assertFalse(scanner.atBoundary)
        self.assertEqual((frame[15:], []), scanner.feed(frame[15:]))
        self.assertTrue(scanner.atBoundary)

    def test_boundary(self) -> None:
        """Between fragments there is a boundary, at which a ping may be injected."""
        scanner = Scanner(False, None, None)
        scanner.feed(unhex("0101 78"))
        self.assertTrue(scanner.atBoundary)
        scanner.feed(unhex("8002 78"))
        self.assertFalse(scanner.atBoundary)

    def test_sameObject(self) -> None:
        """What may be forwarded whole is handed back without a copy."""
        scanner = Scanner(False, None, None)
        whole = encode(BINARY, b"x" * 300) * 3
        self.assertIs(whole, scanner.feed(whole)[0])
        begun = encode(BINARY, b"x" * 300)[:200]
        self.assertIs(begun, scanner.feed(begun)[0])
        middle = b"x" * 50
        self.assertIs(middle, scanner.feed(middle)[0])
        rest = b"x" * 54 + encode(TEXT, b"next")
        self.assertIs(rest, scanner.feed(rest)[0])

    def test_afterClose(self) -> None:
        """What follows a Close frame is thrown away, but counted as bytes."""
        scanner = Scanner(False, None, None)
        close = encodeClose(1001, "going away")
        self.assertEqual(
            (close, [Control(CLOSE, close[2:])]), scanner.feed(close + unhex("8101 78"))
        )
        self.assertTrue(scanner.closed)
        self.assertEqual((b"", []), scanner.feed(unhex("ff")))
        self.assertIsNone(scanner.violation)
        self.assertEqual(Counts(len(close) + 4, 1, 0), scanner.counts)

    def test_afterViolation(self) -> None:
        """After a violation nothing is forwarded, and the violation stays."""
        scanner = Scanner(False, None, None)
        self.assertEqual((unhex("8100"), []), scanner.feed(unhex("8100 8300 8100")))
        first = scanner.violation
        self.assertEqual((b"", []), scanner.feed(unhex("8100 8400")))
        self.assertIs(first, scanner.violation)
        self.assertTrue(scanner.atBoundary)
        self.assertEqual(Counts(10, 1, 1), scanner.counts)

    def test_nothing(self) -> None:
        """Feeding nothing changes nothing."""
        scanner = Scanner(False, None, None)
        pieces = [b"", b"\x81", b"", b"\x02", b"x", b"", b"y", b""]
        forwarded = [scanner.feed(piece)[0] for piece in pieces]
        self.assertEqual([b"", b"", b"", b"\x81\x02", b"x", b"", b"y", b""], forwarded)
        self.assertEqual(Counts(4, 1, 1), scanner.counts)


class ScannerStreamTests(SynchronousTestCase):
    """Tests for L{Scanner} on generated streams."""

    @settings(max_examples=100, deadline=None)
    @given(st.booleans().flatmap(lambda m: st.tuples(st.just(m), speeches(m))), cuts)
    def test_valid(self, speech: tuple[bool, Said], sizes: list[int]) -> None:
        """Invariant: what is forwarded of a valid stream, put together, is the stream."""
        masked, said = speech
        scanner = Scanner(masked, None, None)
        fed = forwarded = 0
        output = b""
        controls = []
        for piece in cut(said.stream, sizes):
            out, found = scanner.feed(piece)
            output += out
            controls += found
            fed, forwarded = fed + len(piece), len(output)
            self.assertEqual(fed - forwarded, scanner.held)
            self.assertLessEqual(scanner.held, 130)
            self.assertEqual(forwarded in said.edges, scanner.atBoundary)
        self.assertEqual(said.stream, output)
        self.assertEqual([(o, p) for o, p, _ in said.units if o > 7], _pairs(controls))
        self.assertEqual(len(said.edges) - 1, scanner.counts.frames)
        self.assertEqual(sum(o < 8 for o, _, _ in said.units), scanner.counts.messages)
        self.assertIsNone(scanner.violation)

    @settings(max_examples=200, deadline=None)
    @given(
        st.one_of(rubbish(), st.binary(max_size=200)),
        cuts,
        st.booleans(),
        st.sampled_from([None, 0, 30, 127]),
        st.sampled_from([None, 0, 50]),
        st.sampled_from([0, 0x40, 0x70, 0x20]),
    )
    @example(unhex("0101 78 8801"), [2], False, None, None, 0)
    def test_invalid(
        self,
        stream: bytes,
        sizes: list[int],
        masked: bool,
        maxFrame: int | None,
        maxMessage: int | None,
        rsv: int,
    ) -> None:
        """Invariant: any bytes, cut anyhow, come to what the rules say of the whole stream."""
        limits = (masked, maxFrame, maxMessage, rsv)
        expected = reference(stream, *limits)
        self.assertEqual(expected, scan(Scanner(*limits), cut(stream, sizes)))
        self.assertEqual(expected, scan(Scanner(*limits), [stream]))


def _pairs(controls: list[Control]) -> list[tuple[int, bytes]]:
    return [(control.opcode, control.payload) for control in controls]

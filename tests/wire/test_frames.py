# -*- test-case-name: tests.wire.test_frames -*-
"""
L{wsrelay.wire.frames}: the rules of RFC 6455 section 5, frame by frame.
"""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import example, given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.wire.frametables import (
    CONTROL_RATES,
    FRAGMENTS,
    KEY,
    RESERVED_BITS,
    RFC_EXAMPLES,
    SIZES,
    VIOLATIONS,
    Outcome,
    Said,
    bytewise,
    cut,
    cuts,
    keys,
    reference,
    rubbish,
    speeches,
    unhex,
)
from wsrelay.model import Counts
from wsrelay.wire.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    Control,
    Scanner,
    encode,
    encodeClose,
    mask,
    mayBeSent,
    parseClose,
)


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
        maxFragments: int | None = None,
        maxControlRate: float | None = None,
    ) -> Outcome:
        """Scan whole and byte by byte, which must come to the same as L{reference}."""
        limits = (masked, maxFrame, maxMessage, rsv, maxFragments, maxControlRate)
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

    def test_fragments(self) -> None:
        """The frames of a message are counted, whatever is in them."""
        for name, most, frames, code in FRAGMENTS:
            outcome = self.scanBothWays(unhex(frames), maxFragments=most)
            self.assertEqual(code, outcome.code, name)

    def test_controlRate(self) -> None:
        """Pings and pongs that come at once are as many as ten seconds allow."""
        for name, rate, frames, code in CONTROL_RATES:
            outcome = self.scanBothWays(unhex(frames), maxControlRate=rate)
            self.assertEqual(code, outcome.code, name)

    def test_controlRateInTime(self) -> None:
        """With time more pings may come, never more than those of ten seconds at once."""
        scanner = Scanner(False, None, None, maxControlRate=2)
        for now, pings in ((1000.0, 20), (1000.5, 1), (1003.5, 6), (1003.75, 0), (1e6, 20)):
            scanner.now = now
            scanner.feed(unhex("8900" * pings))
            self.assertIsNone(scanner.violation, now)
        scanner.now += 0.25
        self.assertEqual((b"", []), scanner.feed(unhex("8900")))
        assert scanner.violation is not None
        self.assertEqual(1008, scanner.violation.code)

    def test_reservedBits(self) -> None:
        """An extension may use its reserved bits, and where it may."""
        for name, rsv, frames, code in RESERVED_BITS:
            self.assertEqual(code, self.scanBothWays(unhex(frames), rsv=rsv).code, name)

    def test_badRsv(self) -> None:
        """Bits that are not reserved bits cannot be allowed."""
        self.assertRaises(ValueError, Scanner, False, None, None, 0x80)

    def test_early(self) -> None:
        """A fault is found as soon as the bytes that show it are there."""
        for frames in (
            "8300",
            "8180",
            "0900",
            "897e",
            "897f",
            "8000",
            "827e0001",
            "827f80" + "00" * 7,
        ):
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

    def test_borders(self) -> None:
        """It is known where in what goes out a frame or message may be put in."""
        for pieces, borders in (
            (["810178"], [(3, 3)]),
            (["8101 78 8102 78"], [(3, 3)]),
            (["8102 78", "79"], [(0, 0), (1, 1)]),
            (["8103 78", "79", "7a"], [(0, 0), (-1, -1), (1, 1)]),
            (["0101 78", "8900", "8001 79"], [(3, 0), (2, -1), (3, 3)]),
            (["8100 0100 8002 78", "79"], [(4, 2), (1, 1)]),
            (["8100 81"], [(2, 2)]),
            (["8100 8800 8100", "8100"], [(4, 4), (0, 0)]),
            (["8100 8300", "8100"], [(2, 2), (0, 0)]),
            (["0100 8300", "8100"], [(2, 0), (0, -1)]),
        ):
            scanner = Scanner(False, None, None)
            for piece, expected in zip(pieces, borders, strict=True):
                scanner.feed(unhex(piece))
                self.assertEqual(expected, (scanner.frameBorder, scanner.messageBorder), pieces)

    def test_boundary(self) -> None:
        """Between fragments there is a boundary, at which a ping may be injected."""
        scanner = Scanner(False, None, None)
        scanner.feed(unhex("0101 78"))
        self.assertTrue(scanner.atBoundary)
        self.assertTrue(scanner.inMessage)
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
            self.assertEqual(forwarded not in said.gaps, scanner.inMessage)
        self.assertEqual(said.stream, output)
        self.assertEqual([(o, p) for o, p, _ in said.units if o > 7], _pairs(controls))
        self.assertEqual(len(said.edges) - 1, scanner.counts.frames)
        self.assertEqual(sum(o < 8 for o, _, _ in said.units), scanner.counts.messages)
        self.assertIsNone(scanner.violation)

    @settings(max_examples=100, deadline=None)
    @given(speeches(False), cuts)
    def test_borders(self, said: Said, sizes: list[int]) -> None:
        """Invariant: the borders are the last places in what goes out where something fits."""
        scanner, sent = Scanner(False, None, None), 0
        for piece in cut(said.stream, sizes):
            end = sent + len(scanner.feed(piece)[0])
            self.assertEqual(Said.last(said.edges, sent, end), scanner.frameBorder)
            self.assertEqual(Said.last(said.gaps, sent, end), scanner.messageBorder)
            sent = end

    @settings(max_examples=200, deadline=None)
    @given(
        st.one_of(rubbish(), st.binary(max_size=200)),
        cuts,
        st.booleans(),
        st.sampled_from([None, 0, 30, 127]),
        st.sampled_from([None, 0, 50]),
        st.sampled_from([0, 0x40, 0x70, 0x20]),
        st.sampled_from([None, 1, 2]),
        st.sampled_from([None, 0.001, 0.25]),
    )
    @example(unhex("0101 78 8801"), [2], False, None, None, 0, None, None)
    def test_invalid(
        self,
        stream: bytes,
        sizes: list[int],
        masked: bool,
        maxFrame: int | None,
        maxMessage: int | None,
        rsv: int,
        maxFragments: int | None,
        maxControlRate: float | None,
    ) -> None:
        """Invariant: any bytes, cut anyhow, come to what the rules say of the whole stream."""
        limits = (masked, maxFrame, maxMessage, rsv, maxFragments, maxControlRate)
        expected = reference(stream, *limits)
        self.assertEqual(expected, scan(Scanner(*limits), cut(stream, sizes)))
        self.assertEqual(expected, scan(Scanner(*limits), [stream]))


def _pairs(controls: list[Control]) -> list[tuple[int, bytes]]:
    return [(control.opcode, control.payload) for control in controls]

# -*- test-case-name: tests.wire.test_messages -*-
"""
L{wsrelay.wire.messages}: messages out of frames.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import product

from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.wire.frametables import (
    KEY,
    RESERVED_BITS,
    RFC_EXAMPLES,
    SIZES,
    VIOLATIONS,
    Said,
    bytewise,
    cut,
    cuts,
    reference,
    rubbish,
    speeches,
    unhex,
)
from wsrelay.model import Counts
from wsrelay.wire.deflate import Deflater, Inflater
from wsrelay.wire.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Scanner,
    encode,
    encodeClose,
)
from wsrelay.wire.messages import HEADS, Assembled, Assembler

# Text that is not UTF-8, in fragments: every fragment but the last is still right.
BAD_TEXTS = [
    ("a byte that begins nothing", ["ff"]),
    ("a continuation byte alone", ["80"]),
    ("a character cut off by the end", ["e282"]),
    ("an overlong slash", ["c0"]),
    ("an overlong slash, second byte", ["e0", "80"]),
    ("an overlong slash in four bytes", ["f0", "80"]),
    ("a surrogate", ["ed", "a0"]),
    ("a surrogate in one piece", ["eda0"]),
    ("the last surrogate", ["ed", "bfbf"]),
    ("a character beyond U+10FFFF", ["f4", "90"]),
    ("a first byte beyond U+10FFFF", ["f5"]),
    ("a wrong byte inside a character", ["68c3", "28"]),
    ("an unfinished character at the end", ["e2", "82", ""]),
    ("right at first", ["cebae1bdb9cf83cebcceb5", "eda080", "656469746564"]),
]

GOOD_TEXTS = [
    ["e282ac"],
    ["e2", "82", "ac"],
    ["", "e2", "", "82ac", ""],
    ["ed9f", "bf"],
    ["ee", "8080"],
    ["f4", "8f", "bf", "bf"],
    ["f0", "90", "80", "80"],
    ["e0", "a0", "80"],
    ["00"],
    ["efbfbf", "efbbbf"],
]


def assemble(assembler: Assembler, pieces: Sequence[bytes]) -> list[Assembled]:
    """Feed it piece by piece."""
    return [unit for piece in pieces for unit in assembler.feed(piece)]


def code(assembler: Assembler | Scanner) -> int | None:
    """The close code of the violation, if there is one."""
    return assembler.violation.code if assembler.violation else None


def fragmented(opcode: int, parts: Sequence[bytes], first: int = 0) -> bytes:
    """The frames of an unmasked message; C{first} is added to its first byte."""
    last = len(parts) - 1
    stream = b"".join(
        encode(CONTINUATION if number else opcode, part, fin=number == last)
        for number, part in enumerate(parts)
    )
    return bytes([stream[0] | first]) + stream[1:]


def mayBegin(text: bytes) -> bool:
    """Whether UTF-8 can begin so: some way to complete it is UTF-8."""
    endings = [bytes(tail) for size in range(4) for tail in product(b"\x80\x90\xa0", repeat=size)]
    for ending in endings:
        try:
            (text + ending).decode()
        except UnicodeDecodeError:
            continue
        return True
    return False


def expectation(stream: bytes, masked: bool) -> tuple[list[Assembled], int | None]:
    """
    What a stream without compression comes to, by way of L{reference}: what is right at
    level FRAMES, taken apart frame by frame.
    """
    outcome = reference(stream, masked)
    found: list[Assembled] = []
    wire = payload = b""
    opcode, at = 0, 0
    for _ in range(outcome.frames):
        first, size = stream[at], stream[at + 1] & 0x7F
        body = at + 2
        if size > 125:
            body += 2 if size == 126 else 8
            size = int.from_bytes(stream[at + 2 : body], "big")
        key = stream[body : body + 4] if masked else bytes(4)
        body += 4 * masked
        after = body + size
        if after > len(stream):
            break
        plain = bytes(b ^ key[i % 4] for i, b in enumerate(stream[body:after]))
        frame, at = stream[at:after], after
        if first & 0x0F > 7:
            found.append(Assembled(first & 0x0F, plain, frame))
            continue
        opcode = first & 0x0F or opcode
        wire, payload = wire + frame, payload + plain
        final = bool(first & 0x80)
        if opcode == TEXT and not (_isText(payload) if final else mayBegin(payload)):
            return found, 1007
        if final:
            found.append(Assembled(opcode, payload, wire))
            wire = payload = b""
    return found, outcome.code


def _isText(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


class AssemblerTests(SynchronousTestCase):
    """Tests for L{Assembler} on single rules."""

    def assembleBothWays(
        self,
        stream: bytes,
        masked: bool = False,
        maxFrame: int | None = None,
        maxMessage: int | None = None,
        compressed: bool = False,
    ) -> tuple[list[Assembled], int | None]:
        """Assemble whole and byte by byte, which must come to the same."""
        results = []
        for pieces in ([stream], bytewise(stream)):
            inflater = Inflater(False, 15) if compressed else None
            assembler = Assembler(masked, maxFrame, maxMessage, inflater)
            units = assemble(assembler, pieces)
            results.append((units, code(assembler), assembler.counts, assembler.closed))
            self.assertEqual(0 if code(assembler) else assembler.held, assembler.held)
        self.assertEqual(results[0], results[1])
        return results[0][0], results[0][1]

    def test_examples(self) -> None:
        """Each example of RFC 6455 is one message or part of one."""
        for name, wire, (opcode, payload, key, fin) in RFC_EXAMPLES:
            start = b"" if opcode else unhex("0100")
            stream = start + unhex(wire)
            expected = [Assembled(opcode or TEXT, payload, stream)] if fin else []
            found = self.assembleBothWays(stream, masked=key is not None)
            self.assertEqual((expected, None), found, name)

    def test_textAsItComes(self) -> None:
        """Text that cannot become UTF-8 is refused before its frame is complete."""
        bad = b"caf\xc3\xa9 " * 20 + b"\xf4\x90"
        for key in (b"\x01\x02\x03\x04", None):
            whole = encode(TEXT, bad + b"\x80" * 500, key)
            fragments = encode(TEXT, b"caf\xc3", key, fin=False)
            second = encode(CONTINUATION, b"\xa9" + bad + b"\x80" * 500, key)
            for stream in (whole, fragments + second):
                assembler = Assembler(key is not None, None, None)
                cut = len(stream) - 500
                for at in range(cut):
                    self.assertEqual(assembler.feed(stream[at : at + 1]), [])
                self.assertEqual(
                    assembler.violation and assembler.violation.code, 1007, (key, stream)
                )

    def test_violations(self) -> None:
        """Each rule for frames holds here too; what was complete before is given out."""
        before = unhex("8101 78")
        for name, frames, expected in VIOLATIONS:
            units, found = self.assembleBothWays(before + unhex(frames))
            self.assertEqual(expected, found, name)
            self.assertEqual(Assembled(TEXT, b"x", before), units[0], name)

    def test_sizes(self) -> None:
        """Sizes are judged by heads alone, as for frames."""
        for name, maxFrame, maxMessage, frames, expected in SIZES:
            _, found = self.assembleBothWays(unhex(frames), False, maxFrame, maxMessage)
            self.assertEqual(expected, found, name)

    def test_reservedBits(self) -> None:
        """RSV1 is allowed where permessage-deflate was agreed on, and only so."""
        for name, rsv, frames, expected in RESERVED_BITS:
            if rsv == 0x40 and expected is not None:
                _, found = self.assembleBothWays(unhex(frames), compressed=True)
                self.assertEqual(expected, found, name)
        self.assertEqual(1002, self.assembleBothWays(unhex("c10100"))[1])
        self.assertIsNone(self.assembleBothWays(unhex("c10100"), compressed=True)[1])

    def test_fragmented(self) -> None:
        """A fragmented message keeps its frames; a ping inside comes out first, by itself."""
        parts = [
            encode(TEXT, b"one ", KEY, fin=False),
            encode(PING, b"?", KEY),
            encode(CONTINUATION, b"", bytes(4), fin=False),
            encode(CONTINUATION, b"two", KEY),
        ]
        units, _ = self.assembleBothWays(b"".join(parts), masked=True)
        self.assertEqual(
            [
                Assembled(PING, b"?", parts[1]),
                Assembled(TEXT, b"one two", parts[0] + parts[2] + parts[3]),
            ],
            units,
        )

    def test_atOnce(self) -> None:
        """A control frame inside a fragmented message does not wait for its end."""
        assembler = Assembler(False, None, None)
        self.assertEqual([], assembler.feed(unhex("0101 78 89")))
        self.assertEqual([Assembled(PING, b"", unhex("8900"))], assembler.feed(b"\x00\x80"))

    def test_badText(self) -> None:
        """Text that is not UTF-8 is found with the fragment that shows it, not later."""
        for name, parts in BAD_TEXTS:
            stream = fragmented(TEXT, [unhex(part) for part in parts])
            self.assertEqual(([], 1007), self.assembleBothWays(stream), name)
        for name, parts in BAD_TEXTS:
            pieces = [unhex(part) for part in parts]
            if mayBegin(b"".join(pieces)) or not mayBegin(b"".join(pieces[:-1])):
                continue
            stream = fragmented(TEXT, [*pieces, b"and so on"])
            frames = len(stream) - len(encode(CONTINUATION, b"and so on"))
            self.assertEqual(([], 1007), self.assembleBothWays(stream[:frames]), name)
            self.assertEqual(([], None), self.assembleBothWays(stream[: frames - 1]), name)

    def test_goodText(self) -> None:
        """A fragment may end inside a character."""
        for parts in GOOD_TEXTS:
            pieces = [unhex(part) for part in parts]
            stream = fragmented(TEXT, pieces)
            expected = [Assembled(TEXT, b"".join(pieces), stream)]
            self.assertEqual((expected, None), self.assembleBothWays(stream), parts)

    def test_binary(self) -> None:
        """Binary messages may be anything."""
        for _, parts in BAD_TEXTS:
            pieces = [unhex(part) for part in parts]
            stream = fragmented(BINARY, pieces)
            expected = [Assembled(BINARY, b"".join(pieces), stream)]
            self.assertEqual((expected, None), self.assembleBothWays(stream))

    def test_sameObject(self) -> None:
        """A message that was fed by itself is its own wire, without a copy."""
        for key in (None, KEY):
            frame = encode(TEXT, b"x" * 300, key)
            (unit,) = Assembler(key is not None, None, None).feed(frame)
            self.assertIs(frame, unit.wire)

    def test_close(self) -> None:
        """A Close is given out, and what follows it thrown away."""
        assembler = Assembler(False, None, None)
        close = encodeClose(1001, "bye")
        stream = unhex("0101 78") + close
        expected = [Assembled(CLOSE, close[2:], close)]
        self.assertEqual(expected, assembler.feed(stream + unhex("8001 78")))
        self.assertTrue(assembler.closed)
        self.assertEqual([], assembler.feed(unhex("8300")))
        self.assertIsNone(assembler.violation)
        self.assertEqual(Counts(len(stream) + 5, 2, 1), assembler.counts)
        self.assertEqual(0, assembler.held)

    def test_afterViolation(self) -> None:
        """After a violation nothing is given out, nothing held, and the violation stays."""
        assembler = Assembler(False, None, None)
        assembler.feed(unhex("0101 78 83"))
        self.assertEqual(4, assembler.held - len(b"x"))
        assembler.feed(unhex("00 8100"))
        first = assembler.violation
        self.assertEqual([], assembler.feed(unhex("8100")))
        self.assertIs(first, assembler.violation)
        self.assertEqual((1002, 0), (code(assembler), assembler.held))

    def test_promise(self) -> None:
        """A head that promises a lot takes no memory."""
        assembler = Assembler(False, None, None)
        assembler.feed(unhex("827f7fffffffffffffff 00"))
        self.assertEqual(11, assembler.held)

    def test_emptyFragments(self) -> None:
        """Endless empty fragments end when their heads take too much."""
        limit = 100
        assembler = Assembler(True, None, limit)
        assembler.feed(encode(TEXT, b"", KEY, fin=False))
        most = 2 * limit + HEADS
        many = encode(CONTINUATION, b"", KEY, fin=False) * (most // 6 - 1)
        assembler.feed(many)
        self.assertEqual((None, most // 6 * 6), (code(assembler), assembler.held))
        assembler.feed(many[:6])
        self.assertEqual((1009, 0), (code(assembler), assembler.held))

    def test_emptyFragmentsOrder(self) -> None:
        """A wrong length is found before too many heads, however it comes."""
        assembler = Assembler(False, None, 0)
        assembler.feed(fragmented(TEXT, [b""] * (HEADS // 2 + 1))[:-2])
        assembler.feed(unhex("00 7e 00"))
        self.assertIsNone(code(assembler))
        assembler.feed(unhex("05"))
        self.assertEqual(1002, code(assembler))

    def test_tinyFragments(self) -> None:
        """Fragments of one byte are fine as long as their heads fit."""
        for size, expected in ((65000, None), (66000, 1009)):
            stream = fragmented(BINARY, [b"x"] * size)
            units, found = self.assembleBothWays(stream, maxMessage=size)
            self.assertEqual(expected, found)
            self.assertEqual([stream] * (expected is None), [unit.wire for unit in units])

    def test_noLimit(self) -> None:
        """Without a limit there is none for fragments either."""
        stream = fragmented(TEXT, [b""] * 50000)
        units, _ = self.assembleBothWays(stream)
        self.assertEqual([Assembled(TEXT, b"", stream)], units)


class CompressedTests(SynchronousTestCase):
    """Tests for L{Assembler} with an L{Inflater}."""

    def assembler(self, maxMessage: int | None = None) -> Assembler:
        """One with context takeover."""
        return Assembler(False, None, maxMessage, Inflater(False, 15))

    def test_messages(self) -> None:
        """Compressed messages are inflated, fragmented or not; the wire stays compressed."""
        deflater = Deflater(False, 15)
        assembler = self.assembler()
        for text in ("Hello", "Hello", "", "Hello " * 1000, "\u20ac"):
            for size in (1, 7, 1 << 16):
                deflated = deflater.deflate(text.encode())
                stream = fragmented(TEXT, cut(deflated, [size]), 0x40)
                expected = [Assembled(TEXT, text.encode(), stream, True)]
                self.assertEqual(expected, assemble(assembler, bytewise(stream)))

    def test_uncompressedBetween(self) -> None:
        """A sender may leave a message uncompressed, which is no part of the context."""
        deflater, assembler = Deflater(False, 15), self.assembler()
        for text in (b"abcabcabc", b"abcabcabc"):
            frames = encode(TEXT, deflater.deflate(text), rsv1=True) + encode(TEXT, b"plain")
            units = assembler.feed(frames)
            found = [(unit.payload, unit.compressed) for unit in units]
            self.assertEqual([(text, True), (b"plain", False)], found)

    def test_text(self) -> None:
        """Compressed text must be UTF-8 as well; compressed binary need not be."""
        deflated = Deflater(False, 15).deflate(b"\xff\xfe")
        assembler = self.assembler()
        assembler.feed(encode(TEXT, deflated, rsv1=True))
        self.assertEqual(1007, code(assembler))
        (unit,) = self.assembler().feed(encode(BINARY, deflated, rsv1=True))
        self.assertEqual(b"\xff\xfe", unit.payload)

    def test_badStream(self) -> None:
        """A bad stream is a violation of the message it comes in."""
        for stream in (b"", b"\xff\xff", zlib.compress(b"x")):
            assembler = self.assembler()
            units = assembler.feed(unhex("8100") + encode(TEXT, stream, rsv1=True))
            self.assertEqual((1007, 1), (code(assembler), len(units)), stream)

    def test_bomb(self) -> None:
        """What inflates to more than a message may be is a violation; at the limit it is none."""
        bomb = encode(BINARY, Deflater(True, 15).deflate(bytes(1 << 20)), rsv1=True)
        for limit, expected in (((1 << 20) - 1, 1009), (1 << 20, None)):
            assembler = self.assembler(limit)
            assembler.feed(bomb)
            self.assertEqual(expected, code(assembler))


class AssemblerStreamTests(SynchronousTestCase):
    """Tests for L{Assembler} on generated streams."""

    @settings(max_examples=100, deadline=None)
    @given(st.booleans().flatmap(lambda m: st.tuples(st.just(m), speeches(m))), cuts)
    def test_valid(self, speech: tuple[bool, Said], sizes: list[int]) -> None:
        """Invariant: what was said is what comes out, with the frames it was said in."""
        masked, said = speech
        assembler, scanner = Assembler(masked, None, None), Scanner(masked, None, None)
        units = assemble(assembler, cut(said.stream, sizes))
        scanner.feed(said.stream)
        self.assertEqual([Assembled(*unit) for unit in said.units], units)
        self.assertEqual(scanner.counts, assembler.counts)
        self.assertEqual((None, scanner.closed), (code(assembler), assembler.closed))
        self.assertEqual(0, assembler.held)

    @settings(max_examples=200, deadline=None)
    @given(st.one_of(rubbish(), st.binary(max_size=200)), cuts, st.booleans())
    def test_invalid(self, stream: bytes, sizes: list[int], masked: bool) -> None:
        """Invariant: any bytes, cut anyhow, come to what the rules say of the whole stream."""
        for pieces in (cut(stream, sizes), [stream]):
            assembler = Assembler(masked, None, None)
            units = assemble(assembler, pieces)
            self.assertEqual(expectation(stream, masked), (units, code(assembler)))

    @settings(max_examples=100, deadline=None)
    @given(
        st.one_of(rubbish(), st.binary(max_size=200), speeches(True).map(lambda s: s.stream)),
        cuts,
        st.sampled_from([None, 0, 30, 127]),
        st.sampled_from([0, 20, 300]),
    )
    def test_agrees(
        self, stream: bytes, sizes: list[int], maxFrame: int | None, maxMessage: int
    ) -> None:
        """
        Invariant: both readers find the same fault, unless text was bad before it; and what
        is held is bounded.
        """
        scanner = Scanner(True, maxFrame, maxMessage)
        assembler = Assembler(True, maxFrame, maxMessage)
        for piece in cut(stream, sizes):
            scanner.feed(piece)
            assembler.feed(piece)
            self.assertLessEqual(assembler.held, 3 * maxMessage + 140 + HEADS)
        if code(assembler) != 1007 or code(scanner) == 1007:
            self.assertEqual(code(scanner), code(assembler))
            self.assertEqual(scanner.closed, assembler.closed)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.text(max_size=60), max_size=6), cuts, cuts, st.booleans())
    def test_compressed(
        self, texts: list[str], parts: list[int], sizes: list[int], alone: bool
    ) -> None:
        """Invariant: texts that were deflated and cut come out as they were."""
        deflater = Deflater(alone, 9)
        assembler = Assembler(False, None, None, Inflater(alone, 9))
        stream = b""
        for text in texts:
            pieces = cut(deflater.deflate(text.encode()), parts)
            stream += fragmented(TEXT, pieces, 0x40) + encode(PONG, b"")
        units = [unit for unit in assemble(assembler, cut(stream, sizes)) if unit.opcode == TEXT]
        self.assertEqual(texts, [unit.payload.decode() for unit in units])
        self.assertTrue(all(unit.compressed for unit in units))

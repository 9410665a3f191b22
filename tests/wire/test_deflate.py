# -*- test-case-name: tests.wire.test_deflate -*-
"""
L{wsrelay.wire.deflate}: RFC 7692, negotiated and run, with Autobahn for a peer.
"""

from __future__ import annotations

import tracemalloc
import zlib
from hashlib import sha256
from random import Random

from autobahn.websocket.compress_deflate import (
    PerMessageDeflate,
    PerMessageDeflateOffer,
    PerMessageDeflateOfferAccept,
)
from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.errors import BadHandshake, BadResponse, Violation
from wsrelay.wire.deflate import (
    Deflater,
    Inflater,
    Offer,
    Parameters,
    offers,
    offerToBackend,
    parseAnswer,
)

PMD = "permessage-deflate"

# What clients offer, and what of it we hand on.
OFFERS = [
    ("", ""),
    (" , ,, ", ""),
    (PMD, PMD),
    (f" {PMD} ", PMD),
    (f",{PMD},", PMD),
    (f"{PMD}; client_max_window_bits", f"{PMD}; client_max_window_bits"),
    (f"{PMD};client_max_window_bits=10", f"{PMD}; client_max_window_bits=10"),
    (f"{PMD};client_max_window_bits=15", f"{PMD}; client_max_window_bits"),
    (f'{PMD} ; server_max_window_bits = "8" ', f"{PMD}; server_max_window_bits=8"),
    (rf'{PMD};server_max_window_bits="\1\0"', f"{PMD}; server_max_window_bits=10"),
    (f"{PMD};server_max_window_bits=15", PMD),
    (
        f"{PMD};server_no_context_takeover;client_no_context_takeover",
        f"{PMD}; client_no_context_takeover; server_no_context_takeover",
    ),
    (
        f"{PMD}; server_max_window_bits=9, {PMD}",
        f"{PMD}; server_max_window_bits=9, {PMD}",
    ),
    ("x-webkit-deflate-frame", ""),
    (f"foo; bar=baz, {PMD}, quux", PMD),
    (f'foo; bar="a,b;c", {PMD}', None),
    (f'foo; bar="b", {PMD}', PMD),
    ("Permessage-Deflate", ""),
    # Offers that must be declined (RFC 7692 section 7.1); the next one still counts.
    (f"{PMD}; unknown", ""),
    (f"{PMD}; unknown=1, {PMD}", PMD),
    (f"{PMD}; Server_no_context_takeover", ""),
    (f"{PMD}; server_no_context_takeover=1", ""),
    (f"{PMD}; client_no_context_takeover=true", ""),
    (f"{PMD}; server_max_window_bits", ""),
    (f"{PMD}; client_max_window_bits; client_max_window_bits", ""),
    (f"{PMD}; server_no_context_takeover; server_no_context_takeover", ""),
    *(
        (f"{PMD}; {side}_max_window_bits={bits}", "")
        for side in ("client", "server")
        for bits in ("7", "16", "0", "08", "+9", "1_0", "9.0", "0x9", "x")
    ),
]

# Header fields that are none (RFC 6455 section 9.1).
MALFORMED = [
    ";",
    "=",
    f"{PMD};",
    f"{PMD};;",
    f"{PMD} foo",
    f"{PMD}; a=",
    f"{PMD}; =a",
    f"{PMD}; a=b c",
    f"{PMD}; a=b=c",
    f'{PMD}; a="',
    f'{PMD}; a=""',
    f'{PMD}; a="b',
    f'{PMD}; a=b"',
    f'{PMD}; a="b c"',
    f'{PMD}; a="b"c',
    f"{PMD}; a='b\x00'",
    f"{PMD}\r\n",
    f"{PMD}\x0b",
    f"{PMD}\x85",
    f"{PMD}; a=\xe9",
    f"{PMD}; a=\uff11",
    "a/b",
]

ANSWERS = [
    ("", None),
    (" ", None),
    (PMD, Parameters()),
    (f"{PMD}; server_no_context_takeover", Parameters(serverNoContextTakeover=True)),
    (f"{PMD}; client_no_context_takeover", Parameters(clientNoContextTakeover=True)),
    (
        f'{PMD}; client_max_window_bits=8; server_max_window_bits="12"',
        Parameters(clientMaxWindowBits=8, serverMaxWindowBits=12),
    ),
]

BAD_ANSWERS = [
    "foo",
    f"{PMD}, foo",
    f"{PMD}, {PMD}",
    f"{PMD}; client_max_window_bits",
    f"{PMD}; server_max_window_bits",
    f"{PMD}; server_max_window_bits=16",
    f"{PMD}; server_max_window_bits=7",
    f"{PMD}; unknown",
    f"{PMD}; server_no_context_takeover=1",
    f"{PMD}; server_no_context_takeover; server_no_context_takeover",
    *MALFORMED,
]

# An offer, an answer, and whether it is one to that offer.
MATCHES = [
    ("", PMD, False),
    (PMD, PMD, True),
    (PMD, f"{PMD}; server_no_context_takeover; client_no_context_takeover", True),
    (PMD, f"{PMD}; server_max_window_bits=8", True),
    (PMD, f"{PMD}; client_max_window_bits=10", False),
    (f"{PMD}; client_max_window_bits", f"{PMD}; client_max_window_bits=10", True),
    (f"{PMD}; client_max_window_bits=9", f"{PMD}; client_max_window_bits=10", True),
    (f"{PMD}; server_no_context_takeover", PMD, False),
    (f"{PMD}; server_max_window_bits=10", PMD, False),
    (f"{PMD}; server_max_window_bits=10", f"{PMD}; server_max_window_bits=11", False),
    (f"{PMD}; server_max_window_bits=10", f"{PMD}; server_max_window_bits=9", True),
    (f"{PMD}; server_max_window_bits=10, {PMD}", PMD, True),
]

# RFC 7692 section 7.2.3: payloads, and what each inflates to, one after the other.
RFC_EXAMPLES = [
    ("one block", ["f248cdc9c90700"], [b"Hello"]),
    ("sharing the window", ["f248cdc9c90700", "f200110000"], [b"Hello", b"Hello"]),
    ("a block without compression", ["000500faff48656c6c6f00"], [b"Hello"]),
    ("a last block", ["f348cdc9c9070000"], [b"Hello"]),
    ("a last block, and another message", ["f348cdc9c9070000", "f248cdc9c90700"], [b"Hello"] * 2),
    ("two blocks", ["f24805000000ffffcac9c90700"], [b"Hello"]),
    ("an empty message", ["00"], [b""]),
    ("an empty last block", ["030000"], [b""]),
    ("a last block that uses the tail", ["01"], [b""]),
    ("two streams", ["f348cdc9c90700" * 2 + "00"], [b"HelloHello"]),
]

BAD_STREAMS = [
    ("no byte at all", ""),
    ("an unknown kind of block", "07"),
    ("a block cut short", "f248cd"),
    ("a block without its end", "f248cdc9c907"),
    ("a last block with nothing behind it", "f348cdc9c90700"),
    ("a length that contradicts itself", "000500000048656c6c6f00"),
    ("a stored block cut short", "000500faff4865"),
    ("a stored block that promises much", "00e80317fc48"),
    ("a last block that goes on behind the tail", "010800f7ff484848"),
    ("a reference to before the beginning", "f200110000"),
    ("a reference to before a last block", "f348cdc9c90700f200110000"),
    ("a zlib head", "789cf248cdc9c90700"),
    ("a tail that is still there", "f248cdc9c907000000ffff"),
    ("hundreds of streams", "0300" * 300 + "00"),
]


class NegotiationTests(SynchronousTestCase):
    """Tests for L{offers}, L{offerToBackend} and L{parseAnswer}."""

    def test_offers(self) -> None:
        """Of a client's offers, those we can run are handed on, in order."""
        for header, expected in OFFERS:
            if expected is None:
                self.assertRaises(BadHandshake, offerToBackend, header)
            else:
                self.assertEqual(expected, offerToBackend(header), header)

    def test_offersTwice(self) -> None:
        """What we hand on means what the client offered."""
        for header, expected in OFFERS:
            if expected is not None:
                self.assertEqual(offers(header), offers(expected), header)

    def test_malformed(self) -> None:
        """A malformed header field fails the handshake."""
        for header in MALFORMED:
            self.assertRaises(BadHandshake, offers, header)

    def test_autobahn(self) -> None:
        """Autobahn's offers are understood."""
        offer = PerMessageDeflateOffer(True, True, True, 11).get_extension_string()
        self.assertEqual([Offer(True, True, 15, 11)], offers(offer))

    def test_answers(self) -> None:
        """A backend's answer is read."""
        for header, expected in ANSWERS:
            self.assertEqual(expected, parseAnswer(header), header)

    def test_badAnswers(self) -> None:
        """An answer that RFC 7692 does not allow is the backend's fault."""
        for header in BAD_ANSWERS:
            self.assertRaises(BadResponse, parseAnswer, header)

    def test_matches(self) -> None:
        """An answer must be one to an offer that was made."""
        for offered, answer, fits in MATCHES:
            if fits:
                self.assertEqual(parseAnswer(answer), parseAnswer(answer, offered))
            else:
                self.assertRaises(BadResponse, parseAnswer, answer, offered)
        self.assertIsNone(parseAnswer("", ""))

    @settings(max_examples=100, deadline=None)
    @given(st.text(alphabet=' \t,;="\\a8\x00permessage-deflate_', max_size=60))
    def test_rubbish(self, header: str) -> None:
        """Invariant: whatever the header, it is read or refused; what is handed on is read."""
        try:
            found = offers(header)
        except BadHandshake:
            self.assertRaises(BadResponse, parseAnswer, header)
        else:
            self.assertEqual(found, offers(offerToBackend(header)))

    def test_linear(self) -> None:
        """A header field made to be slow is not."""
        many = 50000
        for header in (
            'a;b="' + "\\c" * many,
            "a" * many + "\x00",
            "a" + ";b" * many + ";",
            "a" + " " * many + "b",
            "a;b=" + "\t" * many,
            "," * many + ";",
        ):
            self.assertRaises(BadHandshake, offers, header)


class InflaterTests(SynchronousTestCase):
    """Tests for L{Inflater}."""

    def fault(self, inflater: Inflater, payload: str, limit: int | None = None) -> int:
        """The code of the violation that a payload is."""
        return int(
            self.assertRaises(Violation, inflater.inflate, bytes.fromhex(payload), limit).code
        )

    def test_examples(self) -> None:
        """The examples of RFC 7692 inflate to what they should."""
        for name, payloads, expected in RFC_EXAMPLES:
            inflater = Inflater(False, 15)
            found = [inflater.inflate(bytes.fromhex(payload), None) for payload in payloads]
            self.assertEqual(expected, found, name)

    def test_noContextTakeover(self) -> None:
        """Without context takeover each message stands for itself."""
        for name, payloads, expected in RFC_EXAMPLES:
            if name != "sharing the window":
                inflater = Inflater(True, 15)
                found = [inflater.inflate(bytes.fromhex(payload), None) for payload in payloads]
                self.assertEqual(expected, found, name)
        inflater = Inflater(True, 15)
        inflater.inflate(bytes.fromhex("f248cdc9c90700"), None)
        self.assertEqual(1007, self.fault(inflater, "f200110000"))

    def test_badStreams(self) -> None:
        """A bad stream is a violation with 1007."""
        for name, payload in BAD_STREAMS:
            for alone in (True, False):
                self.assertEqual(1007, self.fault(Inflater(alone, 15), payload), name)

    def test_limit(self) -> None:
        """A message may inflate to its limit and not to a byte more."""
        payload = "f248cdc9c90700"
        self.assertEqual(b"Hello", Inflater(False, 15).inflate(bytes.fromhex(payload), 5))
        for limit in range(5):
            self.assertEqual(1009, self.fault(Inflater(False, 15), payload, limit))
        self.assertEqual(b"", Inflater(False, 15).inflate(b"\x00", 0))

    def test_limitOfStreams(self) -> None:
        """The limit is for all streams of a message together."""
        two = "f348cdc9c90700" * 2 + "00"
        self.assertEqual(1009, self.fault(Inflater(False, 15), two, 9))
        found = Inflater(False, 15).inflate(bytes.fromhex(two), 10)
        self.assertEqual(b"HelloHello", found)

    def test_bomb(self) -> None:
        """A bomb of a gigabyte is found after its first bytes."""
        stream = zlib.compressobj(9, zlib.DEFLATED, -15)
        million = stream.compress(bytes(1 << 20)) + stream.flush(zlib.Z_FULL_FLUSH)
        again = stream.compress(bytes(1 << 20)) + stream.flush(zlib.Z_FULL_FLUSH)
        bomb = million + again * 1023
        self.assertEqual(1009, self.fault(Inflater(False, 15), bomb.hex(), 4096))

    def test_memory(self) -> None:
        """What a bomb takes is its limit and little more, however it is made."""
        limit = 8 << 20
        stream = zlib.compressobj(9, zlib.DEFLATED, -15)
        million = stream.compress(bytes(1 << 20)) + stream.flush(zlib.Z_SYNC_FLUSH)
        ended = zlib.compressobj(9, zlib.DEFLATED, -15)
        final = ended.compress(bytes(1 << 20)) + ended.flush()
        for bomb in (million * 64, final * 9):
            inflater = Inflater(False, 15)
            tracemalloc.start()
            try:
                self.assertEqual(1009, self.fault(inflater, bomb.hex(), limit))
                self.assertLess(tracemalloc.get_traced_memory()[1], limit * 5 // 4)
            finally:
                tracemalloc.stop()

    def test_steps(self) -> None:
        """What takes many steps is inflated as by zlib in one, up to its last byte."""
        noise = b"".join(sha256(b"%d" % at).digest() for at in range(20_000))
        for data in (noise, bytes(1 << 20), noise + bytes(1 << 18) + noise):
            for size in (len(data), len(data) - 1, 1 << 18, (1 << 18) - 1, (1 << 18) + 1, 16384):
                stream = zlib.compressobj(6, zlib.DEFLATED, -15)
                inflater = Inflater(False, 15)
                for _ in range(2):
                    packed = stream.compress(data[:size]) + stream.flush(zlib.Z_SYNC_FLUSH)
                    self.assertEqual(data[:size], inflater.inflate(packed[:-4], size))
                packed = stream.compress(data[:size]) + stream.flush(zlib.Z_SYNC_FLUSH)
                self.assertEqual(1009, self.fault(inflater, packed[:-4].hex(), size - 1))

    def test_smallWindow(self) -> None:
        """A reference further back than the window is refused."""
        wide = Deflater(False, 15)
        text = Random(1).randbytes(2000)
        payloads = [wide.deflate(text), wide.deflate(text)]
        narrow = Inflater(False, 9)
        self.assertEqual(text, narrow.inflate(payloads[0], None))
        self.assertEqual(1007, self.fault(narrow, payloads[1].hex()))

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.binary(max_size=60), min_size=1, max_size=3), st.booleans())
    def test_rubbish(self, payloads: list[bytes], alone: bool) -> None:
        """Invariant: whatever it is fed, it gives out no more than the limit, or refuses."""
        inflater = Inflater(alone, 15)
        try:
            for payload in payloads:
                self.assertLessEqual(len(inflater.inflate(payload, 100)), 100)
        except Violation as violation:
            self.assertIn(violation.code, (1007, 1009))


class DeflaterTests(SynchronousTestCase):
    """Tests for L{Deflater}, with L{Inflater} and others behind it."""

    def test_examples(self) -> None:
        """What the examples of RFC 7692 begin with is written so."""
        deflater = Deflater(False, 15)
        found = [deflater.deflate(text).hex() for text in (b"Hello", b"Hello", b"", b"")]
        self.assertEqual(["f248cdc9c90700", "f200110000", "00", "00"], found)
        self.assertEqual(b"\x00", Deflater(True, 15).deflate(b""))

    def test_noContextTakeover(self) -> None:
        """Without context takeover the same message is the same payload."""
        deflater = Deflater(True, 15)
        self.assertEqual(deflater.deflate(b"Hello"), deflater.deflate(b"Hello"))

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.one_of(st.binary(max_size=50), st.just(b"abc" * 999)), max_size=6),
        st.booleans(),
        st.integers(8, 15),
    )
    def test_roundTrip(self, messages: list[bytes], alone: bool, bits: int) -> None:
        """Invariant: what was deflated inflates to what it was."""
        deflater, inflater = Deflater(alone, bits), Inflater(alone, bits)
        for message in messages:
            self.assertEqual(message, inflater.inflate(deflater.deflate(message), None))

    def test_smallestWindow(self) -> None:
        """A window of 8 bits is kept to, though zlib itself can only be told 9."""
        random = Random(8)
        deflater, stream = Deflater(False, 8), zlib.decompressobj(-8)
        for _ in range(200):
            text = bytes(random.choices(b"ab\x00", k=random.randrange(1, 900)))
            payload = deflater.deflate(text) + b"\x00\x00\xff\xff"
            # Byte by byte, for zlib looks beyond the window into what it has just made.
            found = b"".join(stream.decompress(bytes([byte])) for byte in payload)
            self.assertEqual(text, found)

    def test_midway(self) -> None:
        """A receiver in the middle of a connection can follow a deflater that is new."""
        receiver = Inflater(False, 15)
        receiver.inflate(Deflater(False, 15).deflate(b"what the sender said"), None)
        deflater = Deflater(False, 15)
        for text in (b"what we say", b"what we say", b"the sender"):
            self.assertEqual(text, receiver.inflate(deflater.deflate(text), None))

    def test_autobahn(self) -> None:
        """Autobahn inflates what we deflate, and the reverse."""
        for alone in (True, False):
            accept = PerMessageDeflateOfferAccept(PerMessageDeflateOffer(), alone, 0, alone)
            peer = PerMessageDeflate.create_from_offer_accept(True, accept)
            deflater, inflater = Deflater(alone, 15), Inflater(alone, 15)
            for text in (b"Hello", b"Hello", bytes(70000), b"\x00", b"Hello"):
                peer.start_decompress_message()
                found = peer.decompress_message_data(deflater.deflate(text))
                peer.end_decompress_message()
                self.assertEqual(text, found)
                peer.start_compress_message()
                payload = peer.compress_message_data(text) + peer.end_compress_message()
                self.assertEqual(text, inflater.inflate(payload, None))

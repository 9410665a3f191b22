# -*- test-case-name: tests.plane.test_native_frames -*-
"""
The frame code in C reads what L{wsrelay.wire.frames} and L{wsrelay.wire.messages} read.

The modules in Python are the specification. The same generated streams, valid and broken,
cut at the same places, go through both; what comes out, what was noticed and what was counted
must be the same. The C code is driven directly, over socket pairs, without a reactor.
"""

from __future__ import annotations

import socket
from typing import Any

from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.wire.frametables import cut, cuts, rubbish, speeches
from wsrelay.errors import Violation
from wsrelay.model import Counts, Interest, Message
from wsrelay.wire.frames import BINARY, CLOSE, TEXT, Scanner, parseClose
from wsrelay.wire.messages import Assembler

_native: Any = None
try:
    from wsrelay.plane import _native  # type: ignore[no-redef]  # it may not be there
except ImportError:
    _SKIP: str | None = "the extension is not built: no compiler, or another platform"
else:
    _SKIP = None

bounded = settings(max_examples=100, deadline=None)
streams = st.booleans().flatmap(
    lambda masked: st.tuples(
        st.just(masked),
        st.one_of(
            speeches(masked).map(lambda said: said.stream), rubbish(), st.binary(max_size=200)
        ),
    )
)
limits = st.sampled_from([None, 0, 30, 127, 1000])
reserved = st.sampled_from([0, 0x40, 0x70, 0x20])
fragments = st.sampled_from([None, 1, 2])
rates = st.sampled_from([None, 0.001, 0.1])


class Handler:
    """Hears what the extension tells."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def violated(self, index: int, code: int, detail: str) -> None:
        """A rule was broken."""
        self.events.append(("violated", code, detail))

    def closeReceived(self, index: int, code: int | None, reason: str) -> None:
        """A Close came."""
        self.events.append(("close", code, reason))

    def failed(self, index: int, error: BaseException) -> None:
        """A hook raised."""
        raise error

    def lost(self, index: int, error: int) -> None:
        """A side is gone."""

    def ended(self, index: int) -> None:
        """A stream ended."""


class Extension:
    """One link of the extension, with a peer at each end."""

    def __init__(self, masked: bool, lane: tuple[Any, ...]) -> None:
        self.handler = Handler()
        self.index = 0 if masked else 1
        self._plane = _native.Plane(Message)
        client, self._client = socket.socketpair()
        backend, self._backend = socket.socketpair()
        other = (int(Interest.BYTES), None, -1, -1, -1, 0.0, 0, None, True, False, False)
        lanes = (lane, other) if masked else (other, lane)
        self.link = self._plane.link(self.handler, client.detach(), backend.detach(), 0, 0, *lanes)
        self.link.start(b"", b"")
        self._peers = (self._client, self._backend) if masked else (self._backend, self._client)

    def feed(self, data: bytes) -> bytes:
        """Have one side say C{data} in one piece; what the other hears."""
        sender, receiver = self._peers
        sender.sendall(data)
        self._plane.process()
        heard = b""
        while True:
            try:
                heard += receiver.recv(1 << 20, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return heard

    def counts(self) -> Counts:
        """What was counted."""
        return Counts(*self.link.counts(self.index))

    def close(self) -> None:
        """Let go of everything."""
        self.link.abort()
        for peer in self._peers:
            peer.close()


def limit(value: int | None) -> int:
    """A limit as the extension has it."""
    return -1 if value is None else value


def cost(rate: float | None) -> float:
    """What a ping costs."""
    return 0.0 if rate is None else 1 / rate


class FrameTests(SynchronousTestCase):
    """Level FRAMES against L{Scanner}."""

    skip = _SKIP

    @bounded
    @given(streams, cuts, limits, limits, reserved, fragments, rates)
    def test_scanner(
        self,
        stream: tuple[bool, bytes],
        sizes: list[int],
        maxFrame: int | None,
        maxMessage: int | None,
        rsv: int,
        maxFragments: int | None,
        maxControlRate: float | None,
    ) -> None:
        """Invariant: piece by piece, both forward the same bytes and notice the same."""
        masked, data = stream
        scanner = Scanner(masked, maxFrame, maxMessage, rsv, maxFragments, maxControlRate)
        level = int(Interest.FRAMES)
        limited = limit(maxFrame), limit(maxMessage), limit(maxFragments)
        lane = (level, None, *limited, cost(maxControlRate), rsv, None, True, False, False)
        extension = Extension(masked, lane)
        expected: list[tuple[Any, ...]] = []
        try:
            for piece in cut(data, sizes):
                wasViolated = scanner.violation is not None
                forward, controls = scanner.feed(piece)
                self.assertEqual(extension.feed(piece), forward)
                if controls and controls[-1].opcode == CLOSE:
                    expected.append(("close", *parseClose(controls[-1].payload)))
                if scanner.violation is not None and not wasViolated:
                    expected.append(told(scanner.violation))
                self.assertEqual(extension.handler.events, expected)
            self.assertEqual(extension.counts(), scanner.counts)
        finally:
            extension.close()


class MessageTests(SynchronousTestCase):
    """Level MESSAGES against L{Assembler}."""

    skip = _SKIP

    def test_pingInsideText(self) -> None:
        """A ping that arrives in pieces inside a text message is not taken for text."""
        lane = (int(Interest.MESSAGES), None, -1, -1, -1, 0.0, 0, None, True, False, False)
        extension = Extension(False, lane)
        self.addCleanup(extension.close)
        ping = b"\x89\x02\xff\xfe"
        stream = b"\x01\x01\xc3" + ping + b"\x80\x01\xa9" + ping
        heard = b"".join(extension.feed(stream[at : at + 1]) for at in range(len(stream)))
        self.assertEqual(heard, ping + b"\x01\x01\xc3\x80\x01\xa9" + ping)
        self.assertEqual(extension.handler.events, [])

    @bounded
    @given(streams, cuts, limits, limits, fragments, rates)
    def test_assembler(
        self,
        stream: tuple[bool, bytes],
        sizes: list[int],
        maxFrame: int | None,
        maxMessage: int | None,
        maxFragments: int | None,
        maxControlRate: float | None,
    ) -> None:
        """Invariant: both see the same messages, forward the same bytes and notice the same."""
        masked, data = stream
        assembler = Assembler(masked, maxFrame, maxMessage, None, maxFragments, maxControlRate)
        seen: list[tuple[bytes, bool]] = []

        def hook(message: Message) -> None:
            seen.append((message.data, message.isText))

        level = int(Interest.MESSAGES)
        limited = limit(maxFrame), limit(maxMessage), limit(maxFragments)
        lane = (level, hook, *limited, cost(maxControlRate), 0, None, True, False, False)
        extension = Extension(masked, lane)
        events: list[tuple[Any, ...]] = []
        messages: list[tuple[bytes, bool]] = []
        try:
            for piece in cut(data, sizes):
                wasViolated = assembler.violation is not None
                items = assembler.feed(piece)
                self.assertEqual(extension.feed(piece), b"".join(item.wire for item in items))
                for item in items:
                    if item.opcode in (TEXT, BINARY):
                        messages.append((item.payload, item.opcode == TEXT))
                    elif item.opcode == CLOSE:
                        events.append(("close", *parseClose(item.payload)))
                if assembler.violation is not None and not wasViolated:
                    events.append(told(assembler.violation))
                self.assertEqual(extension.handler.events, events)
                self.assertEqual(seen, messages)
            self.assertEqual(extension.counts(), assembler.counts)
        finally:
            extension.close()


def told(violation: Violation) -> tuple[Any, ...]:
    """A violation as the handler hears of it."""
    return "violated", violation.code, violation.detail

# -*- test-case-name: tests.plane.test_native_splice -*-
"""
Large frames that come in bulk are moved by the kernel: nobody must be able to tell.

The extension is driven directly, over TCP on loopback, without a reactor. That frames are
spliced shows in the pipes that the process has; every test here makes sure of it first.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import time
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.plane.support import Frame, closing, framed, frames
from tests.plane.test_native_frames import _SKIP, Handler, _native
from tests.plane.worlds import DOWN, UP
from wsrelay.model import Counts, Direction, Interest, Message
from wsrelay.wire.frames import BINARY, CONTINUATION, PING, PONG, TEXT

# What is spliced begins at 16 KiB, a pipe holds 512 KiB, one read 256 KiB.
_SIZES = [0, 1, 125, 126, 4096, 16_000, 16_383, 16_384, 16_385, 65_535, 65_536, 100_001]
_SIZES += [262_144 - 10, 262_144, 524_288 - 14, 524_288 - 10, 524_288, 524_289, 1_500_000]
_PATIENCE = 20  # seconds


def pipes() -> int:
    """How many ends of pipes this process has."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{name}").startswith("pipe:")
        except OSError:
            continue  # the one of listdir()
    return count


def connection() -> tuple[socket.socket, socket.socket]:
    """Two ends of one TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    near.setblocking(False)
    far.setblocking(False)
    return near, far


class Ear(Handler):
    """Hears ends, too."""

    def lost(self, index: int, error: int) -> None:
        """A side is gone."""
        self.events.append(("lost",))

    def ended(self, index: int) -> None:
        """A stream ended."""
        self.events.append(("ended",))


class Tube:
    """
    One link, used in one direction.

    @ivar heard: what its receiver has read so far.
    """

    def __init__(self, direction: Direction, maxMessage: int = -1) -> None:
        self.before = pipes()
        self.handler = Ear()
        self.index = 0 if direction is UP else 1
        self.plane = _native.Plane(Message)
        client, clientEnd = connection()
        backend, backendEnd = connection()
        lane = (int(Interest.FRAMES), None, -1, maxMessage, -1, 0.0, 0, None, True, False, False)
        self.link = self.plane.link(
            self.handler, client.detach(), backend.detach(), 0, 0, lane, lane
        )
        self.link.start(b"", b"")
        ends = (clientEnd, backendEnd) if direction is UP else (backendEnd, clientEnd)
        self.sender, self.receiver = ends
        self.heard = bytearray()
        self.isReading = True

    def turn(self) -> None:
        """Let the extension work, and read what comes out."""
        self.plane.process()
        while self.isReading:
            try:
                data = self.receiver.recv(1 << 20)
            except BlockingIOError:
                return
            if not data:
                return
            self.heard += data

    def until(self, condition: Callable[[], bool]) -> None:
        """Go on until C{condition} holds."""
        end = time.monotonic() + _PATIENCE
        while not condition():
            self.turn()
            if time.monotonic() > end:
                raise AssertionError(f"not in {_PATIENCE} s; told: {self.handler.events}")

    def say(self, data: bytes, most: int = 1 << 30) -> None:
        """Send all of it, at most so much at once."""
        rest = memoryview(data)

        def isSaid() -> bool:
            nonlocal rest
            with contextlib.suppress(BlockingIOError):
                rest = rest[self.sender.send(rest[:most]) :]
            return not rest

        self.until(isSaid)

    def offer(self, data: bytes) -> int:
        """Send until nobody takes any more; how much was taken."""
        rest, idle = memoryview(data), 0
        while idle < 100:
            try:
                rest = rest[self.sender.send(rest) :]
                idle = 0
            except BlockingIOError:
                idle += 1
            self.turn()
        return len(data) - len(rest)

    def hears(self, count: int) -> None:
        """So many bytes reach the receiver."""
        self.until(lambda: len(self.heard) >= count)

    def takes(self, count: int) -> None:
        """So many bytes, since the beginning, are read from the sender."""
        self.until(lambda: self.counts.bytes >= count)

    def tells(self, *event: Any) -> None:
        """This, or anything, is told."""
        events = self.handler.events
        self.until(lambda: event in events if event else bool(events))

    @property
    def isSplicing(self) -> bool:
        """Whether anything went through a pipe."""
        return pipes() > self.before

    @property
    def counts(self) -> Counts:
        """What was counted."""
        return Counts(*self.link.counts(self.index))

    def close(self) -> None:
        """Let go of everything."""
        self.link.abort()
        self.sender.close()
        self.receiver.close()


class SpliceTests(SynchronousTestCase):
    """Level FRAMES in bulk."""

    skip = _SKIP

    def tube(self, direction: Direction, maxMessage: int = -1) -> Tube:
        """A tube that is closed at the end, and leaves no pipe behind."""
        tube = Tube(direction, maxMessage)

        def over() -> None:
            tube.close()
            before = tube.before
            del tube.link, tube.plane
            self.assertEqual(pipes(), before)

        self.addCleanup(over)
        return tube

    def bulk(self, direction: Direction, maxMessage: int = -1) -> Tube:
        """A tube through which much has gone, so that what comes next is spliced."""
        tube = self.tube(direction, maxMessage)
        data = framed(direction, BINARY, random.randbytes(65_536)) * 16
        said = 0

        def isSplicing() -> bool:
            nonlocal said
            tube.say(data)
            said += len(data)
            return tube.isSplicing

        tube.until(isSplicing)
        tube.hears(said)
        tube.heard.clear()
        return tube

    def stuck(self, direction: Direction, data: bytes) -> tuple[Tube, int]:
        """Much data on its way to somebody who does not read; how much of it was taken."""
        tube = self.bulk(direction)
        tube.isReading = False
        taken = tube.offer(data)
        self.assertLess(taken, len(data))
        return tube, taken

    def test_unchanged(self) -> None:
        """Frames of all sizes in all orders, however cut, arrive as they came, and are counted."""
        for direction in Direction:
            for seed in range(4):
                dice = random.Random(seed)
                tube = self.bulk(direction)
                start = tube.counts
                sizes = [65_536] * 60 + [dice.choice(_SIZES) for _ in range(40)]
                dice.shuffle(sizes)
                data = b"".join(framed(direction, BINARY, dice.randbytes(size)) for size in sizes)
                tube.say(data, dice.choice([100_000, 333_333, 1 << 30]))
                tube.hears(len(data))
                self.assertTrue(bytes(tube.heard) == data)
                frames, messages = tube.counts.frames, tube.counts.messages
                self.assertEqual(frames - start.frames, len(sizes))
                self.assertEqual(messages - start.messages, len(sizes))
                self.assertEqual(tube.counts.bytes - start.bytes, len(data))

    def test_headInTwo(self) -> None:
        """Wherever what has come so far ends in a head, it is held back until it is whole."""
        tube = self.bulk(UP)
        # Its mask key and the payload behind that look like the head of another frame.
        key, payload = b"\x82\xff\0\0", b"\0\0\0\x10\0\0" + random.randbytes(65_530)
        frame = b"\x82\xff" + len(payload).to_bytes(8, "big") + key + payload
        for cut in range(14):
            whole = frame * 40
            tube.say(whole + frame[:cut])
            tube.hears(len(whole))
            tube.say(frame[cut:] + whole)
            tube.hears(81 * len(frame))
            self.assertTrue(bytes(tube.heard) == frame * 81)
            tube.heard.clear()

    def test_fragments(self) -> None:
        """Large fragments, with control frames between them, are one message."""
        tube = self.bulk(DOWN)
        before = tube.counts
        piece = bytes(50_000)
        middle = framed(DOWN, CONTINUATION, piece, False) * 5 + framed(DOWN, PING, b"")
        data = framed(DOWN, BINARY, piece, False) + middle * 6 + framed(DOWN, CONTINUATION, piece)
        tube.say(data * 2)
        tube.hears(2 * len(data))
        self.assertTrue(bytes(tube.heard) == data * 2)
        self.assertEqual(tube.counts.messages - before.messages, 2)
        self.assertEqual(tube.counts.frames - before.frames, 2 * 38)

    def test_smallAtOnce(self) -> None:
        """The first small message behind bulk does not wait for anything."""
        tube = self.bulk(UP)
        for number in range(5):
            small = framed(UP, TEXT, b"%d" % number)
            tube.say(small)
            tube.hears(len(small))
            self.assertEqual(bytes(tube.heard), small)
            tube.heard.clear()

    def test_headInPieces(self) -> None:
        """A head may come byte by byte."""
        tube = self.bulk(UP)
        data = framed(UP, BINARY, bytes(70_000))
        before = tube.counts.bytes
        for at in range(13):
            tube.say(data[at : at + 1])
            tube.takes(before + at + 1)
            self.assertEqual(bytes(tube.heard), b"")
        tube.say(data[13:])
        tube.hears(len(data))
        self.assertTrue(bytes(tube.heard) == data)

    def test_payloadIsNotAwaited(self) -> None:
        """What has come of a large frame is handed on, whatever is missing."""
        tube = self.bulk(DOWN)
        data = framed(DOWN, BINARY, random.randbytes(900_000))
        tube.say(data[:300_000])
        tube.hears(300_000)
        tube.say(data[300_000:300_001])
        tube.hears(300_001)
        tube.say(data[300_001:])
        tube.hears(len(data))
        self.assertTrue(bytes(tube.heard) == data)

    def test_inject(self) -> None:
        """A ping of the relay's own waits for the end of a frame that is spliced."""
        for direction in Direction:
            for size in (60_000, 9_000_000):
                data = framed(direction, BINARY, bytes(size)) * (36_000_000 // size)
                tube, taken = self.stuck(direction, data)
                self.assertTrue(tube.isSplicing)
                ping = framed(direction, PING, b"own")
                tube.link.inject(tube.index, ping, False)
                tube.isReading = True
                tube.say(data[taken:])
                wanted = len(data) + len(ping)
                tube.hears(wanted)
                found = frames(bytes(tube.heard), direction)
                self.assertEqual(found.count(Frame(PING, b"own")), 1)
                self.assertNotEqual(found[-1].opcode, PING)
                found.remove(Frame(PING, b"own"))
                self.assertEqual({len(frame.payload) for frame in found}, {size})

    def test_mute(self) -> None:
        """The last frame goes out at the next border, however much is on its way."""
        for direction in Direction:
            for size in (60_000, 9_000_000):
                data = framed(direction, BINARY, bytes(size)) * (36_000_000 // size)
                tube, taken = self.stuck(direction, data)
                last = closing(direction, 1001)
                self.assertTrue(tube.link.mute(tube.index, last))
                tube.isReading = True
                tube.say(data[taken:])
                tube.takes(36_000_000)
                found = frames(bytes(tube.heard), direction)
                self.assertLess(len(found) - 1, 36_000_000 // size)
                self.assertEqual({len(frame.payload) for frame in found[:-1]}, {size})

    def test_muteAtOnce(self) -> None:
        """Without a last frame nothing more is taken; what was taken is delivered."""
        data = framed(UP, BINARY, bytes(20_000_000))
        tube, taken = self.stuck(UP, data)
        self.assertTrue(tube.link.mute(0, b""))
        tube.isReading = True
        before = tube.counts.bytes
        tube.say(data[taken:])
        tube.takes(len(data))
        self.assertTrue(data.startswith(bytes(tube.heard)))
        self.assertLess(len(tube.heard), before)
        self.assertGreater(len(tube.heard), 0)

    def test_bound(self) -> None:
        """Who does not read makes the relay take no more than a pipe holds."""
        data = framed(DOWN, BINARY, bytes(60_000)) * 1000
        tube = self.bulk(DOWN)
        before = tube.counts.bytes
        tube.isReading = False
        tube.offer(data)
        taken = tube.counts.bytes - before
        heard = 0
        tube.isReading = True
        self.assertTrue(tube.isSplicing)
        while True:
            try:
                heard += len(tube.receiver.recv(1 << 20))
            except BlockingIOError:
                break
        self.assertLessEqual(taken - heard, 524_288)

    def test_halfClose(self) -> None:
        """A FIN in the middle of a frame is told when all before it was handed on."""
        for direction in Direction:
            data = framed(direction, BINARY, bytes(30_000_000))
            tube, taken = self.stuck(direction, data)
            tube.sender.shutdown(socket.SHUT_WR)
            tube.isReading = True
            tube.hears(taken)
            tube.tells("ended")
            self.assertTrue(bytes(tube.heard) == data[:taken])
            self.assertFalse(tube.link.mute(tube.index, closing(direction, 1001)))

    def test_closeFlushes(self) -> None:
        """What was taken before the close is delivered, the end follows it."""
        data = framed(UP, BINARY, bytes(60_000)) * 500
        tube = self.bulk(UP)
        before = tube.counts.bytes
        tube.isReading = False
        tube.offer(data)
        forwarded = tube.counts.bytes - before
        tube.link.close()
        tube.isReading = True
        tube.hears(forwarded - 524_288)
        tube.sender.close()
        tube.receiver.shutdown(socket.SHUT_WR)
        tube.until(lambda: tube.handler.events.count(("lost",)) == 2)
        self.assertTrue(data.startswith(bytes(tube.heard)))

    def test_abort(self) -> None:
        """An abort in the middle of it leaves nothing behind."""
        for direction in Direction:
            tube, _ = self.stuck(direction, framed(direction, BINARY, bytes(60_000)) * 1000)
            tube.link.abort()
            self.assertEqual(tube.handler.events.count(("lost",)), 2)

    def test_receiverGone(self) -> None:
        """A receiver that closes in the middle of it is lost, and the sender is still heard."""
        for direction in Direction:
            tube, _ = self.stuck(direction, framed(direction, BINARY, bytes(60_000)) * 1000)
            tube.receiver.close()
            tube.isReading = False
            tube.tells("lost")
            tube.sender.shutdown(socket.SHUT_WR)
            tube.tells("ended")

    def test_senderGone(self) -> None:
        """A sender that breaks off in the middle of it is lost."""
        for direction in Direction:
            tube, _ = self.stuck(direction, framed(direction, BINARY, bytes(60_000)) * 1000)
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            tube.sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            tube.sender.close()
            tube.tells("lost")

    def test_violations(self) -> None:
        """Who breaks a rule after bulk: what came before is forwarded, and no byte more."""
        bad = [
            (framed(UP, 0x3, b"x"), 1002),
            (framed(UP, BINARY, bytes(70_000), True, True), 1002),
            (framed(UP, CONTINUATION, bytes(70_000)), 1002),
            (framed(DOWN, BINARY, bytes(70_000)), 1002),
            (framed(UP, BINARY, bytes(2_000_001)), 1009),
        ]
        for wrong, code in bad:
            for count in (0, 1, 7, 30):
                tube = self.bulk(UP, 2_000_000)
                fine = framed(UP, BINARY, random.randbytes(65_536)) * count
                tube.say(fine + wrong + framed(UP, BINARY, bytes(65_536)) * 4)
                tube.tells()
                tube.hears(len(fine))
                for _ in range(5):
                    tube.turn()
                self.assertEqual(
                    [event[:2] for event in tube.handler.events], [("violated", code)]
                )
                self.assertTrue(bytes(tube.heard) == fine)

    def test_close(self) -> None:
        """A Close behind bulk is told and forwarded, and nothing behind it."""
        for count in (0, 1, 7, 30):
            tube = self.bulk(DOWN)
            fine = framed(DOWN, BINARY, bytes(65_536)) * count + framed(DOWN, PONG, b"")
            fine += closing(DOWN, 1000, "bye")
            tube.say(fine + framed(DOWN, BINARY, bytes(65_536)) * 4)
            tube.tells()
            tube.hears(len(fine))
            for _ in range(5):
                tube.turn()
            self.assertEqual(tube.handler.events, [("close", 1000, "bye")])
            self.assertTrue(bytes(tube.heard) == fine)

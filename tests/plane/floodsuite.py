"""
What every engine does about senders who mean harm: floods, bombs, and control frames.
"""

from __future__ import annotations

import zlib
from typing import Any

from tests.plane.bytesuite import BOUND
from tests.plane.support import closing, framed
from tests.plane.worlds import DOWN, UP, World
from wsrelay.model import Direction, Interest, Message
from wsrelay.plane.engine import Lane
from wsrelay.wire.deflate import Parameters
from wsrelay.wire.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT

__all__ = ["FloodSuite"]

LEVELS = (Interest.FRAMES, Interest.MESSAGES)

# Frames: opcode, payload, FIN.
F = tuple[int, bytes, bool]
FIRST: F = (TEXT, b"", False)
MORE: F = (CONTINUATION, b"x", False)
EMPTY: F = (CONTINUATION, b"", False)
LAST: F = (CONTINUATION, b"", True)
WHOLE: F = (TEXT, b"whole", True)
ASK: F = (PING, b"", True)
ANSWER: F = (PONG, b"", True)

#: What may be said where three frames make a message, and one ping a second may be sent; and
#: what more is too much.
FLOODS: list[tuple[str, list[F], F, int]] = [
    ("fragments", [FIRST, MORE, MORE], MORE, 1009),
    ("empty fragments", [FIRST, EMPTY, EMPTY], EMPTY, 1009),
    ("fragments with pings between", [FIRST, ASK, EMPTY, ASK, EMPTY], EMPTY, 1009),
    ("a new message counts anew", [FIRST, EMPTY, LAST, WHOLE, FIRST, EMPTY, EMPTY], EMPTY, 1009),
    ("pings", [ASK] * 10, ASK, 1008),
    ("pongs", [ANSWER] * 20, ANSWER, 1008),
    ("pings and pongs", [ASK, ANSWER, WHOLE, ANSWER] * 5, ANSWER, 1008),
    ("pings inside a message", [FIRST, *[ASK] * 10], ASK, 1008),
]

#: Control frames that no peer may send, behind a fine message or inside one.
ABUSES: list[tuple[str, bytes, int]] = [
    ("a ping of 126 bytes", framed(UP, PING, bytes(126)), 1002),
    ("a ping in two fragments", framed(UP, PING, b"x", False), 1002),
    ("a compressed ping", framed(UP, PING, b"x", True, True), 1002),
    ("an unmasked pong", framed(DOWN, PONG, b"x"), 1002),
    ("a control frame that is not defined", framed(UP, 0xB, b""), 1002),
    ("a close of one byte", framed(UP, CLOSE, b"\x03"), 1002),
    ("a close of 126 bytes", framed(UP, CLOSE, b"\x03\xe8" + bytes(124)), 1002),
    ("a close in two fragments", framed(UP, CLOSE, b"\x03\xe8", False), 1002),
    *(
        (f"close code {code}", framed(UP, CLOSE, code.to_bytes(2, "big")), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
    ),
    ("a close reason that is not UTF-8", framed(UP, CLOSE, b"\x03\xe8\xff"), 1007),
    ("a close reason cut short", framed(UP, CLOSE, b"\x03\xe8\xe2\x82"), 1007),
]


def packed(data: bytes, keep: bool = True) -> list[bytes]:
    """Messages with this payload, compressed: one, and one that refers to it."""
    found = []
    stream: Any = None
    for _ in range(2):
        if stream is None or not keep:
            stream = zlib.compressobj(9, zlib.DEFLATED, -15)
        found.append((stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4])
    return found


class FloodSuite(World):
    """Senders who mean harm."""

    async def linkAt(
        self, level: Interest, direction: Direction, hook: Any = None, **settings: Any
    ) -> None:
        """A link with one lane at this level, and a plain one back."""
        if level is Interest.MESSAGES:
            settings["hook"] = hook or (lambda message: None)
        lanes = {direction: Lane(level, **settings), direction.opposite: Lane(Interest.FRAMES)}
        await self.link(lanes[UP], lanes[DOWN])

    async def heard(self, direction: Direction) -> bytes:
        """Close the link; what was forwarded until then."""
        self.linked.close()
        return await self.heardAtEnd(self.receiver(direction))

    async def test_floods(self) -> None:
        """As much as may be is forwarded; with one more its sender breaks the rules."""
        for name, frames, tooMuch, code in FLOODS:
            for direction in Direction:
                for level in LEVELS:
                    await self.linkAt(level, direction, maxFragments=3, maxControlRate=1)
                    fine = b"".join(framed(direction, *frame) for frame in frames)
                    self.sender(direction).say(fine + framed(direction, *tooMuch))
                    await self.event("violated", direction, code)
                    self.assertEqual(len(self.owner.named("violated")), 1, name)
                    heard = await self.heard(direction)
                    if level is Interest.FRAMES:
                        self.assertEqual(heard, fine, name)
                    for opcode in (PING, PONG):
                        one = framed(direction, opcode, b"")
                        self.assertEqual(heard.count(one), fine.count(one), name)

    async def test_noLimits(self) -> None:
        """Without limits there are none."""
        for level in LEVELS:
            await self.linkAt(level, UP)
            data = framed(UP, *FIRST) + framed(UP, *EMPTY) * 3000 + framed(UP, *LAST)
            pings = framed(UP, *ASK) * 3000
            self.client.say(data + pings)
            await self.hears(self.backend, data + pings)

    async def test_closeIsFree(self) -> None:
        """Who has pinged as often as may be can still say goodbye."""
        for level in LEVELS:
            await self.linkAt(level, UP, maxControlRate=1)
            said = framed(UP, *ASK) * 10 + closing(UP, 1000)
            self.client.say(said)
            await self.event("close", UP, 1000, "")
            self.assertEqual(await self.heard(UP), said)

    async def test_onePing(self) -> None:
        """However few a second may be sent, one ping may."""
        for level in LEVELS:
            await self.linkAt(level, UP, maxControlRate=0.001)
            self.client.say(framed(UP, *ASK))
            await self.hears(self.backend, framed(UP, *ASK))
            self.client.say(framed(UP, *ASK))
            await self.event("violated", UP, 1008)

    async def test_abuses(self) -> None:
        """Control frames that nobody may send end it, wherever they stand, with their code."""
        whole, begun = framed(UP, *WHOLE), framed(UP, *FIRST)
        for name, data, code in ABUSES:
            for before in (whole, whole + begun):
                for level in LEVELS:
                    await self.linkAt(level, UP)
                    self.client.say(before + data + whole)
                    await self.event("violated", UP, code)
                    self.assertEqual(len(self.owner.named("violated", "close")), 1, name)
                    heard = await self.heard(UP)
                    self.assertEqual(heard, whole if level > Interest.FRAMES else before, name)

    async def test_behindAClose(self) -> None:
        """Behind a Close nothing is looked at, be it data, control frames or rubbish."""
        for level in LEVELS:
            for behind in (framed(UP, *WHOLE), framed(UP, *ASK) * 100, b"\xff" * 1000):
                await self.linkAt(level, UP, maxControlRate=1)
                self.client.say(closing(UP, 1000) + behind)
                await self.event("close", UP, 1000, "")
                self.client.say(behind)
                answer = framed(DOWN, *WHOLE)
                self.backend.say(answer)
                await self.hears(self.client, answer)
                self.assertEqual(await self.heard(UP), closing(UP, 1000))
                self.assertEqual(self.owner.named("violated"), [])

    async def test_pingsNobodyReads(self) -> None:
        """Pings to somebody who does not read are not kept: their sender is not read either."""
        ping = framed(UP, PING, bytes(125))
        for level in LEVELS:
            for frames in (ping * 1000, framed(UP, *FIRST) + ping * 1000):
                await self.linkAt(level, UP)
                self.backend.pause()
                self.client.say(frames)
                for _ in range(31):
                    self.client.say(ping * 1000)
                for _ in range(200):
                    await self.turn()
                self.assertLess(self.linked.counts()[UP].bytes, BOUND)
                self.backend.resume()
                await self.until(lambda: self.linked.counts()[UP].frames >= 32_000)

    async def test_bombs(self) -> None:
        """Whatever a message would inflate to, its hook never sees more than may be."""
        seen: list[int] = []

        def hook(message: Message) -> None:
            seen.append(len(message.data))

        limit = 128 * 1024
        for keep in (True, False):
            fine = packed(bytes(limit), keep)
            bombs = [packed(bytes(limit + 1), keep), packed(bytes(100 * limit), keep)]
            parameters = Parameters(not keep, not keep)
            for bomb in bombs:
                for said in ([bomb[0]], [fine[0], bomb[1] if keep else bomb[0]]):
                    for size in (7, len(bomb[0])):
                        seen.clear()
                        await self.linkAt(
                            Interest.MESSAGES,
                            UP,
                            hook,
                            maxMessage=limit,
                            inflate=parameters,
                            deflate=parameters,
                        )
                        self.client.say(b"".join(self.fragmented(each, size) for each in said))
                        await self.event("violated", UP, 1009)
                        self.assertEqual(seen, [limit] * (len(said) - 1))

    def fragmented(self, payload: bytes, size: int) -> bytes:
        """A compressed message in frames of this size."""
        starts = range(0, len(payload), size)
        return b"".join(
            framed(
                UP,
                CONTINUATION if at else BINARY,
                payload[at : at + size],
                at == starts[-1],
                not at,
            )
            for at in starts
        )

    async def test_bombsNobodyReads(self) -> None:
        """Small messages that inflate to large ones are not all inflated at once."""
        seen: list[int] = []

        def hook(message: Message) -> None:
            seen.append(len(message.data))

        parameters = Parameters(True, True)
        await self.linkAt(Interest.MESSAGES, UP, hook, inflate=parameters, deflate=None)
        self.backend.pause()
        message = framed(UP, BINARY, packed(bytes(64 * 1024), False)[0], True, True)
        self.client.say(message * 500)
        for _ in range(200):
            await self.turn()
        self.assertLess(len(seen), 30)
        self.backend.resume()
        await self.until(lambda: len(seen) == 500)

    async def test_tinyFrames(self) -> None:
        """Data byte by byte, each in a frame of its own, arrives as it was sent."""
        data = framed(UP, BINARY, b"x") * 20_000
        for level in LEVELS:
            await self.linkAt(level, UP)
            self.client.say(data)
            await self.hears(self.backend, data)

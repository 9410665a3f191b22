"""
What every engine does with permessage-deflate (RFC 7692) at level MESSAGES.

Senders deflate and receivers inflate by zlib alone, so that an engine that loses step with
either is found out.
"""

from __future__ import annotations

import zlib
from random import Random
from typing import Any

from tests.plane.support import Frame, closing, framed, frames
from tests.plane.worlds import DOWN, UP, World
from wsrelay.model import Direction, Drop, Interest, Message
from wsrelay.plane.engine import Lane
from wsrelay.wire.deflate import Parameters
from wsrelay.wire.frames import BINARY, CLOSE, CONTINUATION, PING, TEXT

__all__ = ["DeflateSuite"]

_TAIL = b"\x00\x00\xff\xff"

KEEP = Parameters()
AFRESH = Parameters(clientNoContextTakeover=True, serverNoContextTakeover=True)
SMALL = Parameters(clientMaxWindowBits=9, serverMaxWindowBits=9)
MIXED = Parameters(clientNoContextTakeover=True, serverMaxWindowBits=10)


def codec(parameters: Parameters, direction: Direction) -> tuple[bool, int]:
    """Whether each message starts afresh this way, and the window bits."""
    if direction is UP:
        return parameters.clientNoContextTakeover, parameters.clientMaxWindowBits
    return parameters.serverNoContextTakeover, parameters.serverMaxWindowBits


class Deflating:
    """One sender."""

    def __init__(self, parameters: Parameters | None, direction: Direction) -> None:
        self._direction = direction
        self._parameters = parameters
        self._stream: Any = None

    def message(self, data: bytes, opcode: int = TEXT, pieces: int = 1) -> bytes:
        """The frames of a message, compressed if the sender may."""
        if self._parameters is None:
            return framed(self._direction, opcode, data)
        isAfresh, bits = codec(self._parameters, self._direction)
        if self._stream is None or isAfresh:
            self._stream = zlib.compressobj(9, zlib.DEFLATED, -bits)
        packed = self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)
        packed = packed.removesuffix(_TAIL)
        size = -(-len(packed) // pieces)
        return b"".join(
            framed(
                self._direction,
                CONTINUATION if at else opcode,
                packed[at * size : (at + 1) * size],
                at == pieces - 1,
                not at,
            )
            for at in range(pieces)
        )


class Inflating:
    """One receiver, who forgets everything after each message if that was agreed on."""

    def __init__(self, parameters: Parameters | None, direction: Direction) -> None:
        self._codec = None if parameters is None else codec(parameters, direction)
        self._stream: Any = None

    def messages(self, found: list[Frame]) -> list[tuple[int, bytes]]:
        """Opcode and payload of all messages among these frames."""
        whole: list[tuple[int, bytes]] = []
        opcode, isDeflated, payload = 0, False, b""
        for frame in found:
            if frame.opcode >= CLOSE:
                continue
            if frame.opcode != CONTINUATION:
                opcode, isDeflated, payload = frame.opcode, frame.rsv1, b""
            payload += frame.payload
            if frame.fin:
                whole.append((opcode, self._inflate(payload) if isDeflated else payload))
        return whole

    def _inflate(self, payload: bytes) -> bytes:
        assert self._codec is not None, "compressed, though nothing was agreed on"
        isAfresh, bits = self._codec
        if self._stream is None or isAfresh:
            self._stream = zlib.decompressobj(-bits)
        inflated: bytes = self._stream.decompress(payload + _TAIL)
        return inflated


class DeflateSuite(World):
    """Compressed messages."""

    async def linkDeflating(
        self,
        hook: Any,
        direction: Direction,
        here: Parameters | None,
        there: Parameters | None,
        **settings: Any,
    ) -> None:
        """A link whose sender and receiver have agreed on these parameters with the relay."""
        lanes = {
            direction: Lane(
                Interest.MESSAGES, hook, "hook", inflate=here, deflate=there, **settings
            ),
            direction.opposite: Lane(Interest.FRAMES, rsv=0x40),
        }
        await self.link(lanes[UP], lanes[DOWN])

    async def framesAtEnd(self, direction: Direction) -> list[Frame]:
        """Have the sender close its WebSocket; all frames that were heard until then."""
        self.sender(direction).say(closing(direction, 1000))
        await self.event("close", direction, 1000, "")
        self.linked.close()
        found = frames(await self.heardAtEnd(self.receiver(direction)), direction)
        self.assertEqual(found.pop().opcode, CLOSE)
        return found

    async def test_untouched(self) -> None:
        """Unchanged messages go on as they came, deflated once and by their sender."""
        seen: list[bytes] = []

        def hook(message: Message) -> None:
            seen.append(message.data)

        for direction in Direction:
            for parameters in (KEEP, AFRESH, SMALL, MIXED):
                await self.linkDeflating(hook, direction, parameters, parameters)
                sender = Deflating(parameters, direction)
                words = [b"one and the same message, over and over"] * 5 + [b""]
                data = b"".join(sender.message(word, pieces=2) for word in words)
                self.sender(direction).say(data)
                await self.hears(self.receiver(direction), data)
                self.assertEqual(seen, words)
                seen.clear()

    async def test_inStep(self) -> None:
        """However a filter mixes its answers, the receiver can inflate what it gets."""
        for seed in range(40 if self.isMemory else 4):
            for direction in Direction:
                for parameters in (KEEP, AFRESH, SMALL, MIXED):
                    await self.mix(Random(seed), direction, parameters, parameters)

    async def test_twoCodings(self) -> None:
        """Both legs may compress differently, or only one of them."""
        for direction in Direction:
            for here, there in [
                (KEEP, AFRESH),
                (AFRESH, KEEP),
                (KEEP, SMALL),
                (SMALL, KEEP),
                (KEEP, None),
                (None, KEEP),
                (AFRESH, None),
                (None, AFRESH),
                (MIXED, KEEP),
            ]:
                for seed in range(3):
                    await self.mix(Random(seed), direction, here, there)

    async def mix(
        self,
        random: Random,
        direction: Direction,
        here: Parameters | None,
        there: Parameters | None,
    ) -> None:
        """A session in which much is left alone and some is not."""
        expected: list[tuple[int, bytes]] = []
        answers: list[Any] = []
        sender, plain = Deflating(here, direction), Deflating(None, direction)
        said = []
        words = [b"alpha beta gamma delta " * 8, b"omega ", b"beta gamma " * 30]
        for number in range(25):
            word = random.choice(words) + b"%d" % number
            opcode = random.choice((TEXT, BINARY))
            isPlain = random.random() < 0.2
            said.append(
                plain.message(word, opcode)
                if isPlain
                else sender.message(word, opcode, random.choice((1, 3)))
            )
            answer, heard = random.choice(
                [
                    *[(None, [word])] * 6,
                    (Drop(), []),
                    (word.upper(), [word.upper()]),
                    (b"short", [b"short"]),
                    ([None, None], [word, word]),
                    ([b"before " * 20, None], [b"before " * 20, word]),
                    ([None, b"behind " * 20], [word, b"behind " * 20]),
                    ([None, b"short"], [word, b"short"]),
                ]
            )
            answers.append(answer)
            expected += [(opcode, each) for each in heard]
        answers.reverse()
        await self.linkDeflating(lambda message: answers.pop(), direction, here, there)
        self.sender(direction).say(b"".join(said))
        found = await self.framesAtEnd(direction)
        self.assertEqual(self.owner.named("failed", "violated"), [])
        self.assertEqual(Inflating(there, direction).messages(found), expected)

    async def test_droppedThenUntouched(self) -> None:
        """After a drop the relay deflates what follows: the receiver lacks what it refers to."""
        await self.linkDeflating(
            lambda message: Drop() if message.data.endswith(b"0") else None, UP, KEEP, KEEP
        )
        sender = Deflating(KEEP, UP)
        words = [b"the same long sentence in each message " * 3 + b"%d" % at for at in range(4)]
        self.client.say(b"".join(sender.message(word) for word in words))
        found = await self.framesAtEnd(UP)
        self.assertTrue(all(frame.rsv1 for frame in found))
        heard = Inflating(KEEP, UP).messages(found)
        self.assertEqual([payload for _, payload in heard], words[1:])

    async def test_twice(self) -> None:
        """A message that a filter forwards twice is the same both times."""
        for parameters in (KEEP, AFRESH):
            await self.linkDeflating(
                lambda message: [None, None] if message.data.endswith(b"1") else None,
                UP,
                parameters,
                parameters,
            )
            sender = Deflating(parameters, UP)
            # What the second refers to is, the second time, not where it was.
            words = [b"a long sentence " * 3 + bytes(range(90)), b"a long sentence 1", b"end"]
            self.client.say(b"".join(sender.message(word) for word in words))
            heard = Inflating(parameters, UP).messages(await self.framesAtEnd(UP))
            expected = [words[0], words[1], words[1], words[2]]
            self.assertEqual([payload for _, payload in heard], expected)

    async def test_plainReplacementKeepsStep(self) -> None:
        """A message that came uncompressed can be dropped without anybody losing step."""
        await self.linkDeflating(
            lambda message: Drop() if message.data == b"plain" else None, UP, KEEP, KEEP
        )
        sender = Deflating(KEEP, UP)
        word = b"the same long sentence in each message " * 3
        first, second = sender.message(word), sender.message(word)
        self.client.say(first + framed(UP, TEXT, b"plain") + second)
        await self.hears(self.backend, first + second)

    async def test_sendBetween(self) -> None:
        """A message of the relay's own is not compressed, and nobody loses step."""
        await self.linkDeflating(lambda message: None, UP, KEEP, KEEP)
        sender = Deflating(KEEP, UP)
        word = b"the same long sentence in each message " * 3
        first, second = sender.message(word), sender.message(word)
        self.client.say(first)
        await self.hears(self.backend, first)
        self.linked.send(UP, Message(b"own " * 100, True))
        self.client.say(second)
        found = await self.framesAtEnd(UP)
        self.assertEqual(found[0], Frame(TEXT, b"own " * 100))
        self.assertEqual(framed(UP, found[1].opcode, found[1].payload, rsv1=True), second)

    async def test_controlFrames(self) -> None:
        """Control frames inside a compressed message are delivered before it."""
        await self.linkDeflating(lambda message: None, UP, KEEP, KEEP)
        message = Deflating(KEEP, UP).message(b"a message in two frames", pieces=2)
        cut = len(framed(UP, TEXT, frames(message, UP)[0].payload, False, True))
        ping = framed(UP, PING, b"inside")
        self.client.say(message[:cut] + ping + message[cut:])
        await self.hears(self.backend, ping + message)

    async def test_inflatedLimit(self) -> None:
        """The limit holds for what a message inflates to."""
        for direction in Direction:
            await self.linkDeflating(lambda message: None, direction, KEEP, KEEP, maxMessage=1000)
            sender = Deflating(KEEP, direction)
            fine, bomb = sender.message(bytes(1000)), sender.message(bytes(1001))
            self.sender(direction).say(fine + bomb)
            await self.event("violated", direction, 1009)
            self.linked.close()
            self.assertEqual(await self.heardAtEnd(self.receiver(direction)), fine)

    async def test_badStream(self) -> None:
        """What cannot be inflated, or is text and not UTF-8, is a violation of its sender."""
        for data in (
            framed(UP, BINARY, b"\xff\xff\xff", rsv1=True),
            framed(UP, BINARY, b"", rsv1=True),
            Deflating(KEEP, UP).message(b"\xff\xfe", TEXT),
        ):
            await self.linkDeflating(lambda message: None, UP, KEEP, KEEP)
            self.client.say(data)
            await self.event("violated", UP, 1007)

    async def test_notAgreedOn(self) -> None:
        """A compressed message on a leg that did not agree on it breaks the protocol."""
        await self.linkDeflating(lambda message: None, UP, None, KEEP)
        self.client.say(Deflating(KEEP, UP).message(b"hello"))
        await self.event("violated", UP, 1002)

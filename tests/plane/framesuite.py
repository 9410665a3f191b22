"""
What every engine does at level FRAMES.
"""

from __future__ import annotations

from tests.plane.support import KEY, Frame, closing, framed, frames
from tests.plane.worlds import DOWN, UP, World
from wsrelay.model import Direction, Interest, Message
from wsrelay.plane.engine import ILink, Lane
from wsrelay.wire.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    encode,
    encodeClose,
)

__all__ = ["FrameSuite"]


def lane(**settings: int) -> Lane:
    """A lane of level FRAMES."""
    return Lane(Interest.FRAMES, **settings)  # type: ignore[arg-type]  # only numbers are set


def story(direction: Direction) -> bytes:
    """A bit of everything that a peer may send."""
    return b"".join(
        framed(direction, *frame)
        for frame in [
            (TEXT, b"hello"),
            (BINARY, b""),
            (PING, b"ping"),
            (TEXT, b"frag", False),
            (PONG, b"in between"),
            (CONTINUATION, b"", False),
            (CONTINUATION, b"ment", True),
            (BINARY, bytes(range(256)) * 2),
            (BINARY, bytes(70_000)),
            (TEXT, b"the end"),
        ]
    )


class FrameSuite(World):
    """Level FRAMES in both directions."""

    async def linkFrames(self, **settings: int) -> ILink:
        """A link with such lanes."""
        return await self.link(lane(**settings), lane(**settings))

    async def byteByByte(self, direction: Direction, data: bytes) -> None:
        """Say C{data} so that it is read byte by byte."""
        for at in range(len(data)):
            await self.part(direction, data[at : at + 1])

    async def part(self, direction: Direction, data: bytes) -> None:
        """Say something and see that it is read, whether forwarded or not."""
        count = self.linked.counts()[direction].bytes + len(data)
        self.sender(direction).say(data)
        await self.until(lambda: self.linked.counts()[direction].bytes == count)

    async def restOf(self, direction: Direction) -> bytes:
        """Close the link; what its receiver hears until then."""
        self.linked.close()
        return await self.heardAtEnd(self.receiver(direction))

    async def test_unchanged(self) -> None:
        """Every frame is forwarded as it came, both ways, whole and in one piece."""
        for direction in Direction:
            link = await self.linkFrames()
            data = story(direction)
            self.sender(direction).say(data)
            await self.hears(self.receiver(direction), data)
            counts = link.counts()[direction]
            self.assertEqual((counts.bytes, counts.frames, counts.messages), (len(data), 10, 6))
            self.assertEqual(self.owner.events, [])

    async def test_byteByByte(self) -> None:
        """However the bytes are cut, they come out the same."""
        for direction in Direction:
            await self.linkFrames()
            data = story(direction)[:600]
            await self.byteByByte(direction, data)
            data = data + story(direction)[600:]
            self.sender(direction).say(data[600:])
            await self.hears(self.receiver(direction), data)

    async def test_payloadIsNotAwaited(self) -> None:
        """A frame's payload is forwarded as it comes, before the frame is complete."""
        await self.linkFrames()
        data = framed(UP, BINARY, bytes(100_000))
        self.client.say(data[:50])
        await self.hears(self.backend, data[:50])
        self.client.say(data[50:])
        await self.hears(self.backend, data[50:])

    async def test_close(self) -> None:
        """A Close is forwarded as it came, told once with its code, and nothing follows it."""
        for direction in Direction:
            for code, reason in [(1000, ""), (None, ""), (1011, "no good"), (4999, "ä")]:
                link = await self.linkFrames()
                close = closing(direction, code, reason)
                self.sender(direction).say(framed(direction, TEXT, b"bye") + close)
                await self.event("close", direction, code, reason)
                self.sender(direction).say(framed(direction, TEXT, b"more"))
                link.inject(direction, framed(direction, PING, b""))
                link.send(direction, Message(b"more", True))
                self.assertFalse(link.mute(direction, closing(direction, 1001)))
                back = framed(direction.opposite, TEXT, b"the other way is open")
                self.receiver(direction).say(back)
                await self.hears(self.sender(direction), back)
                self.assertEqual(
                    await self.restOf(direction), framed(direction, TEXT, b"bye") + close
                )
                self.assertEqual(len(self.owner.named("close")), 1)

    async def test_closeByteByByte(self) -> None:
        """A Close that arrives in pieces is held back until it is whole."""
        await self.linkFrames()
        close = closing(UP, 1000, "done")
        await self.byteByByte(UP, close[:-1])
        self.assertEqual((bytes(self.backend.heard), self.owner.events), (b"", []))
        self.client.say(close[-1:])
        await self.hears(self.backend, close)
        await self.event("close", UP, 1000, "done")

    async def test_closeBothWays(self) -> None:
        """The closing handshake passes through, and both Closes are told."""
        await self.linkFrames()
        self.backend.say(closing(DOWN, 1001, "restart"))
        await self.hears(self.client, closing(DOWN, 1001, "restart"))
        self.client.say(closing(UP, 1001))
        await self.hears(self.backend, closing(UP, 1001))
        await self.event("close", UP, 1001, "")
        self.assertEqual(len(self.owner.events), 2)

    async def test_violations(self) -> None:
        """Of somebody who breaks the rules, what came before is forwarded, and no byte more."""
        before = framed(UP, TEXT, b"fine")
        open_ = before + framed(UP, TEXT, bytes(900), False)
        bad = [
            (before, framed(UP, 0x3, b"x"), 1002),
            (before, framed(UP, 0xB, b"x"), 1002),
            (before, framed(UP, TEXT, b"x", True, True), 1002),
            (before, framed(UP, CONTINUATION, b"x"), 1002),
            (open_, framed(UP, TEXT, b"x"), 1002),
            (before, framed(UP, PING, b"x", False), 1002),
            (before, framed(UP, PING, b"x" * 126), 1002),
            (before, encode(TEXT, b"x"), 1002),
            (before, framed(UP, CLOSE, b"x"), 1002),
            (before, framed(UP, CLOSE, b"\x03\xed"), 1002),
            (before, framed(UP, CLOSE, b"\x03\xe8\xff"), 1007),
            (before, framed(UP, BINARY, bytes(1001)), 1009),
            (open_, framed(UP, CONTINUATION, bytes(900)), 1009),
        ]
        for fine, data, code in bad:
            for isWhole in (True, False):
                await self.linkFrames(maxFrame=1000, maxMessage=1500)
                if isWhole:
                    self.client.say(fine + data)
                else:
                    self.client.say(fine)
                    for at in range(min(len(data), 16)):
                        self.client.say(data[at : at + 1])
                        await self.turn()
                await self.event("violated", UP, code)
                self.client.say(framed(UP, TEXT, b"more"))
                answer = framed(DOWN, TEXT, b"still open")
                self.backend.say(answer)
                await self.hears(self.client, answer)
                self.assertEqual(await self.restOf(UP), fine, data[:20])
                self.assertEqual(len(self.owner.named("violated", "close")), 1)

    async def test_violationOfTheBackend(self) -> None:
        """A backend must not mask; the client still gets the relay's own last frame."""
        link = await self.linkFrames()
        self.owner.reactions["violated"] = lambda way, code: self.assertTrue(
            link.mute(way, closing(way, 1011))
        )
        self.backend.say(framed(DOWN, TEXT, b"fine") + framed(UP, TEXT, b"masked"))
        await self.event("violated", DOWN, 1002)
        self.assertEqual(
            await self.restOf(DOWN), framed(DOWN, TEXT, b"fine") + closing(DOWN, 1011)
        )

    async def test_violationIsReadOn(self) -> None:
        """Somebody who broke the rules can go on sending: it is read, and thrown away."""
        await self.linkFrames()
        self.client.say(framed(UP, 0x3, b"x"))
        await self.event("violated", UP, 1002)
        for _ in range(40):
            self.client.say(bytes(64 * 1024))
        self.client.close()
        await self.event("ended" if not self.isTLS else "lost", UP, *[True] * self.isTLS)

    async def test_extension(self) -> None:
        """Reserved bits pass where an extension may set them."""
        data = framed(UP, BINARY, b"deflated", True, True)
        await self.linkFrames(rsv=0x40)
        self.client.say(data)
        await self.hears(self.backend, data)
        await self.linkFrames(rsv=0x70)
        data = b"\xf2\x80" + KEY
        self.client.say(data)
        await self.hears(self.backend, data)

    async def test_noLimit(self) -> None:
        """Without a limit a frame may be announced as long as it likes."""
        await self.linkFrames()
        head = b"\x82\xff" + (1 << 62).to_bytes(8, "big") + KEY
        self.client.say(head)
        await self.hears(self.backend, head)

    # -- the relay's own frames

    async def test_injectAtABorder(self) -> None:
        """Between two frames an injected frame goes out at once."""
        link = await self.linkFrames()
        for direction in Direction:
            ping = framed(direction, PING, b"own")
            link.inject(direction, ping)
            await self.hears(self.receiver(direction), ping)
            data = framed(direction, TEXT, b"data")
            self.sender(direction).say(data)
            await self.hears(self.receiver(direction), data)
            link.inject(direction, ping)
            await self.hears(self.receiver(direction), ping)

    async def test_injectInsideAFrame(self) -> None:
        """Inside a frame an injected frame waits for the frame's end, and then goes first."""
        for direction in Direction:
            link = await self.linkFrames()
            ping, pong = framed(direction, PING, b"1"), framed(direction, PONG, b"2")
            data, more = framed(direction, TEXT, b"0123456789"), framed(direction, TEXT, b"more")
            self.sender(direction).say(data[:9])
            await self.hears(self.receiver(direction), data[:9])
            link.inject(direction, ping)
            link.inject(direction, pong)
            self.sender(direction).say(data[9:])
            await self.hears(self.receiver(direction), data[9:] + ping + pong)
            self.sender(direction).say(more)
            await self.hears(self.receiver(direction), more)

    async def test_injectInsideAFrameThatIsFollowed(self) -> None:
        """It goes between frames also when the next ones arrive in the same read."""
        link = await self.linkFrames()
        self.client.say(framed(UP, BINARY, b"0123456789")[:8])
        await self.until(lambda: len(self.backend.heard) == 8)
        link.inject(UP, framed(UP, PING, b"own"))
        self.client.say(
            framed(UP, BINARY, b"0123456789")[8:]
            + framed(UP, BINARY, b"second")
            + framed(UP, BINARY, b"third")[:-2]
        )
        await self.until(lambda: link.counts()[UP].frames == 3)
        self.client.say(framed(UP, BINARY, b"third")[-2:])
        found = frames(await self.allUntilClosed(UP), UP)
        self.assertIn(Frame(PING, b"own"), found)
        found.remove(Frame(PING, b"own"))
        self.assertEqual(
            [frame.payload for frame in found[:3]], [b"0123456789", b"second", b"third"]
        )

    async def allUntilClosed(self, direction: Direction) -> bytes:
        """Have the sender close its WebSocket, and give all its receiver hears."""
        self.sender(direction).say(closing(direction, 1000))
        await self.event("close", direction, 1000, "")
        return await self.restOf(direction)

    async def test_injectInsideAHead(self) -> None:
        """While a head is still incomplete nothing of it has gone out: it is a border."""
        link = await self.linkFrames()
        data, ping = framed(UP, BINARY, bytes(300)), framed(UP, PING, b"own")
        await self.part(UP, data[:5])
        link.inject(UP, ping)
        await self.hears(self.backend, ping)
        self.client.say(data[5:])
        await self.hears(self.backend, data)

    async def test_injectInsideAMessage(self) -> None:
        """A control frame may stand between two fragments (RFC 6455 section 5.5)."""
        link = await self.linkFrames()
        first, last = framed(UP, TEXT, b"a", False), framed(UP, CONTINUATION, b"b")
        self.client.say(first)
        await self.hears(self.backend, first)
        link.inject(UP, framed(UP, PING, b""))
        await self.hears(self.backend, framed(UP, PING, b""))
        self.client.say(last)
        await self.hears(self.backend, last)

    async def test_sendAtABorder(self) -> None:
        """A message of the relay's own goes out at once between two; masked to the backend."""
        link = await self.linkFrames()
        link.send(UP, Message(b"text", True))
        link.send(DOWN, Message(b"binary"))
        await self.until(lambda: len(self.backend.heard) == 10 and len(self.client.heard) == 8)
        self.assertEqual(frames(self.backend.take(), UP), [Frame(TEXT, b"text")])
        self.assertEqual(frames(self.client.take(), DOWN), [Frame(BINARY, b"binary")])

    async def test_sendInsideAMessage(self) -> None:
        """Inside a fragmented message a message waits for its end, a control frame does not."""
        for direction in Direction:
            link = await self.linkFrames()
            first = framed(direction, TEXT, b"one ", False)
            second = framed(direction, CONTINUATION, b"two ", False)
            last = framed(direction, CONTINUATION, b"three")
            self.sender(direction).say(first + second[:-1])
            await self.hears(self.receiver(direction), first + second[:-1])
            link.send(direction, Message(b"own", True))
            link.inject(direction, framed(direction, PING, b"own"))
            self.sender(direction).say(second[-1:])
            expected = second[-1:] + framed(direction, PING, b"own")
            await self.hears(self.receiver(direction), expected)
            self.sender(direction).say(last + framed(direction, TEXT, b"next"))
            found = frames(first + second + await self.allUntilClosed(direction), direction)
            self.assertEqual(found[2], Frame(CONTINUATION, b"three"))
            self.assertEqual(
                sorted(found[3:]), sorted([Frame(TEXT, b"own"), Frame(TEXT, b"next"), found[-1]])
            )
            self.assertEqual(found[-1].opcode, CLOSE)

    async def test_ownBeforeClose(self) -> None:
        """What waited for a border goes before a Close that arrives with the border."""
        for direction in Direction:
            link = await self.linkFrames()
            data = framed(direction, TEXT, b"0123456789")
            self.sender(direction).say(data[:-3])
            await self.hears(self.receiver(direction), data[:-3])
            link.inject(direction, framed(direction, PING, b"own"))
            link.send(direction, Message(b"own"))
            self.sender(direction).say(data[-3:] + closing(direction, 1000, "bye"))
            await self.event("close", direction, 1000, "bye")
            found = frames(data[:-3] + await self.restOf(direction), direction)
            self.assertEqual([frame.opcode for frame in found], [TEXT, PING, BINARY, CLOSE])

    async def test_ownBeforeCloseInsideAMessage(self) -> None:
        """A Close inside a fragmented message leaves no place for another message."""
        link = await self.linkFrames()
        first = framed(UP, TEXT, b"0123456789", False)
        self.client.say(first[:-3])
        await self.hears(self.backend, first[:-3])
        link.inject(UP, framed(UP, PING, b"own"))
        link.send(UP, Message(b"own"))
        self.client.say(first[-3:] + closing(UP, 1000))
        await self.event("close", UP, 1000, "")
        found = frames(first[:-3] + await self.restOf(UP), UP)
        self.assertEqual([frame.opcode for frame in found], [TEXT, PING, CLOSE])

    # -- the last frame

    async def test_muteAtABorder(self) -> None:
        """The last frame goes out at once; what comes after is heard and not forwarded."""
        for direction in Direction:
            link = await self.linkFrames()
            data, last = framed(direction, TEXT, b"data"), closing(direction, 1001)
            self.sender(direction).say(data)
            await self.hears(self.receiver(direction), data)
            self.assertTrue(link.mute(direction, last))
            self.assertFalse(link.mute(direction, last))
            link.inject(direction, framed(direction, PING, b""))
            link.send(direction, Message(b"own"))
            self.sender(direction).say(data + closing(direction, 4000, "also"))
            await self.event("close", direction, 4000, "also")
            self.assertEqual(await self.restOf(direction), last)

    async def test_muteInsideAFrame(self) -> None:
        """Inside a frame the last one waits for its end."""
        for direction in Direction:
            link = await self.linkFrames()
            data, last = framed(direction, TEXT, b"0123456789"), closing(direction, 1001)
            self.sender(direction).say(data[:9])
            await self.hears(self.receiver(direction), data[:9])
            link.inject(direction, framed(direction, PING, b"own"))
            self.assertTrue(link.mute(direction, last))
            self.assertFalse(link.mute(direction, last))
            self.sender(direction).say(data[9:])
            await self.hears(
                self.receiver(direction), data[9:] + framed(direction, PING, b"own") + last
            )
            self.sender(direction).say(data + closing(direction, 1000))
            await self.event("close", direction, 1000, "")
            self.assertEqual(await self.restOf(direction), b"")

    async def test_muteAndClose(self) -> None:
        """A Close that arrives with the border is told, and the last frame goes instead of it."""
        for direction in Direction:
            link = await self.linkFrames()
            data, last = framed(direction, TEXT, b"0123456789"), closing(direction, 1001)
            self.sender(direction).say(data[:9])
            await self.hears(self.receiver(direction), data[:9])
            self.assertTrue(link.mute(direction, last))
            self.sender(direction).say(data[9:] + closing(direction, 1000, "theirs"))
            await self.event("close", direction, 1000, "theirs")
            self.assertEqual(await self.restOf(direction), data[9:] + last)

    async def test_muteInsideAMessage(self) -> None:
        """A fragmented message need not be completed before the last frame."""
        link = await self.linkFrames()
        first, last = framed(UP, TEXT, b"a", False), closing(UP, 1001)
        self.client.say(first)
        await self.hears(self.backend, first)
        self.assertTrue(link.mute(UP, last))
        await self.hears(self.backend, last)

    async def test_muteWithoutAnEnd(self) -> None:
        """Behind half a frame of somebody who has left, no frame can go out."""
        self.needsHalfClose()
        link = await self.linkFrames()
        self.client.say(framed(UP, TEXT, b"0123456789")[:9])
        self.client.finish()
        await self.event("ended", UP)
        self.assertFalse(link.mute(UP, closing(UP, 1001)))
        link.finish(UP)
        self.assertEqual(await self.heardAtEnd(self.backend), framed(UP, TEXT, b"0123456789")[:9])

    async def test_muteAfterTheEnd(self) -> None:
        """Behind whole frames of somebody who has left, the last frame goes out."""
        link = await self.linkFrames()
        data = framed(UP, TEXT, b"whole")
        self.client.say(data)
        self.client.close()
        await self.until(lambda: bool(self.owner.named("ended", "lost")))
        self.assertTrue(link.mute(UP, closing(UP, 1001)))
        self.assertEqual(await self.restOf(UP), data + closing(UP, 1001))

    async def test_muteWithoutLast(self) -> None:
        """Without a last frame nothing more is forwarded from now on."""
        link = await self.linkFrames()
        data = framed(UP, TEXT, b"data")
        self.client.say(data)
        await self.hears(self.backend, data)
        self.assertTrue(link.mute(UP))
        self.client.say(data + closing(UP, 1000))
        await self.event("close", UP, 1000, "")
        self.assertEqual(await self.restOf(UP), b"")

    async def test_muteTowardsOneWhoDoesNotRead(self) -> None:
        """To reach a border may take until the receiver reads; then the last frame goes out."""
        link = await self.linkFrames()
        self.backend.pause()
        data = framed(UP, BINARY, bytes(4 * 1024 * 1024))
        self.client.say(data + framed(UP, TEXT, b"more") + closing(UP, 1000))
        ping = framed(DOWN, PING, b"")
        for _ in range(50):
            self.backend.say(ping)
            await self.hears(self.client, ping)
        self.assertTrue(link.mute(UP, closing(UP, 1001)))
        for _ in range(50):
            self.backend.say(ping)
            await self.hears(self.client, ping)
        self.assertLess(link.counts()[UP].bytes, len(data) // 2)
        self.backend.resume()
        await self.event("close", UP, 1000, "")
        heard = await self.restOf(UP)
        self.assertTrue(heard.startswith(data) and heard.endswith(closing(UP, 1001)))

    async def test_finish(self) -> None:
        """After a half-close nothing more can go that way."""
        self.needsHalfClose()
        link = await self.linkFrames()
        data = framed(UP, TEXT, b"data")
        self.client.say(data)
        await self.hears(self.backend, data)
        link.finish(UP)
        link.inject(UP, framed(UP, PING, b""))
        self.client.say(data + encodeClose(1000, "", KEY))
        self.assertEqual(await self.heardAtEnd(self.backend), b"")
        await self.event("close", UP, 1000, "")

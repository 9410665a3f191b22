"""
What every engine does at level BYTES, and with the two connections at any level.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SkipTest

from tests.plane.worlds import DOWN, UP, World
from wsrelay.model import Direction

__all__ = ["BOUND", "MUCH", "ByteSuite", "pattern"]

# Far more than all buffers between two peers hold, in bytes.
MUCH = 4 * 1024 * 1024

# What an engine and the kernel may hold on to of it when one side does not read. (The worlds
# ask for small kernel buffers.)
BOUND = 1024 * 1024


def pattern(size: int) -> bytes:
    """Bytes that show when a part of them is missing, doubled or moved."""
    return b"".join(number.to_bytes(8, "big") for number in range(size // 8))


class ByteSuite(World):
    """Two legs and no filter."""

    async def test_bothWays(self) -> None:
        """What one says the other hears, in both directions."""
        await self.link()
        for turn in (b"one", b"two", b"three"):
            self.client.say(b"client " + turn)
            await self.hears(self.backend, b"client " + turn)
            self.backend.say(b"backend " + turn)
            await self.hears(self.client, b"backend " + turn)

    async def test_earlyBytes(self) -> None:
        """What came before the link was made is delivered first, and once, both ways."""
        client, backend = await self.pairs()
        client.hold(b"held from the client; ")
        backend.hold(b"held from the backend; ")
        self.client.say(b"unread from the client; ")
        self.backend.say(b"unread from the backend; ")
        self.join(client, backend).start()
        self.client.say(b"later")
        self.backend.say(b"later")
        await self.hears(self.backend, b"held from the client; unread from the client; later")
        await self.hears(self.client, b"held from the backend; unread from the backend; later")
        self.linked.close()
        self.assertEqual(await self.heardAtEnd(self.backend), b"")

    async def test_startedFromWithinARead(self) -> None:
        """A link may start while its leg is being read, and more of the same read is to come."""
        client, backend = await self.pairs()

        class Head:
            def received(_, data: bytes) -> None:
                client.hold(data[4:])
                self.join(client, backend).start()

            def finished(_) -> None:
                """It is not read so far."""

            def lost(_, reason: Any) -> None:
                """It is not lost."""

        data = pattern(100_000)
        self.client.say(b"head" + data)
        client.resumeProducing()
        client.hand(Head())
        await self.hears(self.backend, data)
        self.backend.say(b"answer")
        await self.hears(self.client, b"answer")

    async def test_linkedDuringTheHandshake(self) -> None:
        """A TLS handshake may still go on when the link starts, and whoever speaks first."""
        if not self.isTLS:
            raise SkipTest("there is no handshake")
        self.isHasty = True
        for direction in Direction:
            await self.link()
            self.sender(direction).say(b"hello")
            await self.hears(self.receiver(direction), b"hello")
            self.receiver(direction).say(b"welcome")
            await self.hears(self.sender(direction), b"welcome")

    async def test_nothingBeforeTheStart(self) -> None:
        """A link that was not started moves nothing, and loses nothing."""
        client, backend = await self.pairs()
        client.hold(b"early")
        link = self.join(client, backend)
        self.assertEqual(bytes(self.backend.heard), b"")
        self.assertEqual(link.counts()[UP].bytes, 0)
        link.start()
        await self.hears(self.backend, b"early")

    async def test_lostBeforeTheStart(self) -> None:
        """Of a leg that is lost before the start, what it had said is delivered."""
        client, backend = await self.pairs()
        self.client.say(b"goodbye")
        self.client.close()
        client.hold(b"hello and ")
        self.join(client, backend)
        self.owner.reactions["ended"] = lambda direction: self.linked.finish(direction)
        self.owner.reactions["lost"] = lambda *event: self.linked.close()
        self.linked.start()
        self.assertEqual(await self.heardAtEnd(self.backend), b"hello and goodbye")

    async def test_halfClose(self) -> None:
        """A FIN is told once what came before it was handed on; the other way stays open."""
        self.needsHalfClose()
        for direction in Direction:
            link = await self.link()
            sender, receiver = self.sender(direction), self.receiver(direction)
            sender.say(b"the question")
            sender.finish()
            await self.event("ended", direction)
            link.finish(direction)
            self.assertEqual(await self.heardAtEnd(receiver), b"the question")
            receiver.say(b"the ")
            receiver.say(b"answer")
            await self.hears(sender, b"the answer")
            receiver.finish()
            await self.event("ended", direction.opposite)
            link.close()
            await self.until(lambda peer=sender: peer.isOver)  # type: ignore[misc]  # bound
            await self.said("lost", 2)

    async def test_halfCloseAfterMuch(self) -> None:
        """A FIN right behind much data, to somebody who reads late, loses none of it."""
        self.needsHalfClose()
        data = pattern(MUCH)
        link = await self.link()
        self.owner.reactions["ended"] = link.finish
        self.backend.pause()
        self.client.say(data)
        self.client.finish()
        await self.roundTrips(DOWN, 5)
        self.backend.resume()
        heard = await self.heardAtEnd(self.backend)
        self.assertEqual(len(heard), len(data))
        self.assertTrue(heard == data)

    async def test_endedBeforeTheStart(self) -> None:
        """Bytes and FIN that came before the start are handed on in order."""
        self.needsHalfClose()
        client, backend = await self.pairs()
        self.client.say(b"all there is")
        self.client.finish()
        link = self.join(client, backend)
        self.owner.reactions["ended"] = link.finish
        link.start()
        self.assertEqual(await self.heardAtEnd(self.backend), b"all there is")

    async def roundTrips(self, direction: Direction, count: int) -> None:
        """Have so many messages arrive this way, one after another."""
        for number in range(count):
            word = b"%06d" % number
            self.sender(direction).say(word)
            await self.hears(self.receiver(direction), word)

    async def test_backpressure(self) -> None:
        """Who does not read stops the other from being read, and harms nobody else."""
        data = pattern(MUCH)
        for direction in Direction:
            link = await self.link()
            self.receiver(direction).pause()
            self.sender(direction).say(data)
            await self.roundTrips(direction.opposite, 200)
            self.assertLess(link.counts()[direction].bytes, BOUND)
            self.receiver(direction).resume()
            await self.hears(self.receiver(direction), data)
            self.assertEqual(link.counts()[direction].bytes, len(data))

    async def test_closeFlushes(self) -> None:
        """What was forwarded before the close is delivered, then both hear the end."""
        data = pattern(MUCH // 16)
        link = await self.link()
        self.client.pause()
        self.backend.say(data)
        await self.roundTrips(UP, 5)
        forwarded = link.counts()[DOWN].bytes
        link.close()
        self.client.resume()
        heard = await self.heardAtEnd(self.client)
        self.assertGreaterEqual(len(heard), forwarded)
        self.assertTrue(data.startswith(heard))
        self.assertEqual(await self.heardAtEnd(self.backend), b"")
        self.client.close()
        self.backend.close()
        await self.said("lost", 2)

    async def test_closeTowardsOneWhoStillSends(self) -> None:
        """A peer that is still sending hears all that was forwarded, and is not reset."""
        self.needsHalfClose()
        data = pattern(64 * 1024)
        link = await self.link()
        self.client.pause()
        self.backend.say(data)
        await self.until(lambda: link.counts()[DOWN].bytes == len(data))
        link.close()
        for _ in range(8):
            self.client.say(bytes(64 * 1024))
        self.client.resume()
        await self.until(lambda: self.client.isOver)
        self.assertTrue(self.client.isEnded)
        self.assertIsNone(self.client.reason)
        self.assertTrue(self.client.take() == data)
        self.client.finish()
        await self.event("lost", UP, True)

    async def test_closeForwardsNothingMore(self) -> None:
        """What a peer says after the close reaches nobody, and its FIN is not told."""
        link = await self.link()
        self.client.say(b"before")
        await self.hears(self.backend, b"before")
        link.close()
        self.client.say(b"after")
        self.client.close()
        self.backend.close()
        self.assertEqual(await self.heardAtEnd(self.backend), b"")
        await self.said("lost", 2)
        self.assertEqual(self.owner.named("ended"), [])

    async def test_closeAgain(self) -> None:
        """To close or abort a link in any order, any number of times, is one end."""
        for steps in ("cc", "aa", "ca", "ac", "fcac"):
            link = await self.link()
            for step in steps:
                if step == "f":
                    link.finish(UP)
                else:
                    (link.close if step == "c" else link.abort)()
            self.client.close()
            self.backend.close()
            self.assertEqual(len(await self.said("lost", 2)), 2)

    async def test_abort(self) -> None:
        """Both peers are reset at once, whatever is still to be sent."""
        link = await self.link()
        self.client.pause()
        self.backend.say(pattern(MUCH))
        await self.roundTrips(UP, 5)
        link.abort()
        await self.said("lost", 2)
        self.client.resume()
        self.assertLess(len(await self.heardAtEnd(self.client)), MUCH)
        await self.until(lambda: self.backend.reason is not None)

    async def test_peerAborts(self) -> None:
        """A reset is told as one, and the other connection is left to the owner."""
        for direction in Direction:
            link = await self.link()
            self.client.say(b"up")
            self.backend.say(b"down")
            await self.hears(self.backend, b"up")
            await self.hears(self.client, b"down")
            self.sender(direction).abort()
            self.assertEqual(await self.said("lost"), [("lost", direction, False)])
            self.assertIsNone(self.receiver(direction).reason)
            link.close()
            self.receiver(direction).close()
            await self.event("lost", direction.opposite, True)

    async def test_peerClosesBothWays(self) -> None:
        """A peer that closes has all it said delivered before its loss is told."""
        link = await self.link()
        self.owner.reactions["ended"] = lambda direction: link.close()
        self.owner.reactions["lost"] = lambda *event: link.close()
        data = pattern(256 * 1024)
        self.backend.say(data)
        self.backend.close()
        heard = await self.heardAtEnd(self.client)
        self.assertTrue(heard == data)

    async def test_killedAtAnyPoint(self) -> None:
        """Whoever dies at whichever point, each leg is lost once and nothing is said after."""

        def ended(direction: Direction) -> None:
            if len(self.owner.named("ended")) == 2:
                self.linked.close()
            else:
                self.linked.finish(direction)

        def lost(direction: Direction, isClean: bool) -> None:
            (self.linked.close if isClean else self.linked.abort)()

        story: list[Callable[[], Any]] = [
            lambda: self.client.say(b"question" * 1000),
            lambda: self.backend.say(b"answer" * 1000),
            lambda: self.backend.pause(),
            lambda: self.client.say(pattern(MUCH // 8)),
            lambda: self.client.close(),
            lambda: self.backend.close(),
        ]
        for direction in Direction:
            for point in range(len(story)):
                await self.link()
                self.owner.reactions.update(ended=ended, lost=lost)
                for step in story[:point]:
                    step()
                    await self.turn()
                self.sender(direction).abort()
                await self.turn()
                # Closing waits for who does not read.
                self.client.resume()
                self.backend.resume()
                self.assertEqual(len(await self.said("lost", 2)), 2)

    async def test_counts(self) -> None:
        """Bytes are counted by direction."""
        link = await self.link()
        self.client.say(b"12345")
        self.backend.say(b"123")
        await self.hears(self.backend, b"12345")
        await self.hears(self.client, b"123")
        counts = link.counts()
        self.assertEqual((counts[UP].bytes, counts[DOWN].bytes), (5, 3))

    async def test_inject(self) -> None:
        """At level BYTES there are no borders: what is injected goes out at once."""
        link = await self.link()
        link.inject(DOWN, b"injected")
        await self.hears(self.client, b"injected")

    async def test_mute(self) -> None:
        """After the last word nothing more goes that way; the other way stays open."""
        link = await self.link()
        self.client.say(b"heard;")
        await self.hears(self.backend, b"heard;")
        self.assertTrue(link.mute(UP, b"last"))
        self.assertFalse(link.mute(UP, b"very last"))
        link.inject(UP, b"injected")
        self.client.say(b"unheard")
        self.backend.say(b"answer")
        await self.hears(self.client, b"answer")
        link.close()
        self.assertEqual(await self.heardAtEnd(self.backend), b"last")

"""
What every engine does with the hook of a stream filter, at level BYTES.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed

from tests.plane.bytesuite import BOUND, MUCH, pattern
from tests.plane.worlds import DOWN, UP, World
from wsrelay.model import Close, Direction, Drop, Interest, Retire
from wsrelay.plane.engine import Lane

__all__ = ["StreamHookSuite"]


class StreamHookSuite(World):
    """A stream filter's hook, in either direction."""

    async def hooked(self, hook: Callable[[bytes], Any], direction: Direction = UP) -> None:
        """Make a link with this hook, whose owner passes the end on."""
        lane = Lane(Interest.BYTES, hook, "hook")
        await self.link(**{"up" if direction is UP else "down": lane})
        self.owner.reactions["ended"] = self.linked.finish

    async def test_verdicts(self) -> None:
        """None leaves a chunk as it is, bytes replace it, Drop removes it."""
        verdicts = {b"same": None, b"other": b"replaced", b"gone": Drop(), b"empty": b""}
        for direction in Direction:
            await self.hooked(lambda chunk: verdicts.get(chunk), direction)
            for chunk, expected in [
                (b"same", b"same"),
                (b"gone", b""),
                (b"other", b"replaced"),
                (b"empty", b""),
                (b"same", b"same"),
            ]:
                count = self.linked.counts()[direction].bytes + len(chunk)
                self.sender(direction).say(chunk)
                await self.until(
                    lambda count=count, way=direction: (  # type: ignore[misc]  # bound
                        self.linked.counts()[way].bytes == count
                    )
                )
                await self.hears(self.receiver(direction), expected)

    async def test_other(self) -> None:
        """The other direction does not meet the hook."""
        await self.hooked(lambda chunk: chunk.upper())
        self.client.say(b"up")
        self.backend.say(b"down")
        await self.hears(self.backend, b"UP")
        await self.hears(self.client, b"down")

    async def test_retire(self) -> None:
        """A hook that retires replaces this chunk and is never asked again."""
        asked: list[bytes] = []

        def hook(chunk: bytes) -> Any:
            asked.append(chunk)
            return Retire(b"instead;")

        await self.hooked(hook)
        self.client.say(b"first")
        await self.hears(self.backend, b"instead;")
        self.client.say(b"second")
        await self.hears(self.backend, b"second")
        if not self.isTLS:
            self.client.finish()
            await self.event("ended", UP)
        self.assertEqual(asked, [b"first"])

    async def test_retireWhenItReallyKnows(self) -> None:
        """A hook that answers Retire later is not asked about what came meanwhile."""
        answer: Deferred[Any] = Deferred()
        asked: list[bytes] = []

        def hook(chunk: bytes) -> Any:
            asked.append(chunk)
            return answer

        await self.hooked(hook)
        self.client.say(b"first;")
        await self.until(lambda: bool(asked))
        self.client.say(b"second")
        await self.roundTrip(DOWN)
        answer.callback(Retire(b"instead;"))
        await self.hears(self.backend, b"instead;second")
        self.assertEqual(asked, [b"first;"])

    async def roundTrip(self, direction: Direction) -> None:
        """Have something arrive this way."""
        self.sender(direction).say(b"\n")
        await self.until(lambda: self.receiver(direction).heard.endswith(b"\n"))
        self.receiver(direction).take()

    async def test_close(self) -> None:
        """A hook's Close is told; of this direction nothing more is forwarded."""
        await self.hooked(lambda chunk: Close(1008, "no") if chunk == b"stop" else None)
        self.client.say(b"fine")
        await self.hears(self.backend, b"fine")
        self.client.say(b"stop")
        await self.event("asked", UP, Close(1008, "no"))
        self.client.say(b"more")
        await self.roundTrip(DOWN)
        self.linked.close()
        self.assertEqual(await self.heardAtEnd(self.backend), b"")

    async def test_later(self) -> None:
        """While an answer is to come this direction waits, order kept, the other does not."""
        answer: Deferred[Any] = Deferred()
        asked: list[bytes] = []

        def hook(chunk: bytes) -> Any:
            asked.append(chunk)
            return answer if len(asked) == 1 else None

        await self.hooked(hook)
        self.client.say(b"1")
        await self.until(lambda: bool(asked))
        self.client.say(b"2")
        await self.roundTrip(DOWN)
        self.client.say(b"3")
        await self.roundTrip(DOWN)
        self.assertEqual((asked, bytes(self.backend.heard)), ([b"1"], b""))
        answer.callback(b"one")
        await self.hears(self.backend, b"one23")

    async def test_laterHoldsNoMore(self) -> None:
        """While an answer is to come, the sender is not read without bound."""
        await self.hooked(lambda chunk: Deferred())
        self.client.say(pattern(MUCH))
        for _ in range(200):
            await self.roundTrip(DOWN)
        self.assertLess(self.linked.counts()[UP].bytes, BOUND)

    async def test_coroutine(self) -> None:
        """A hook may be a coroutine function, whether it waits or not."""
        answer: Deferred[bytes] = Deferred()

        async def hook(chunk: bytes) -> bytes:
            return await answer if chunk == b"1" else b"<%b>" % chunk

        await self.hooked(hook)
        self.client.say(b"1")
        await self.roundTrip(DOWN)
        answer.callback(b"<one>")
        await self.hears(self.backend, b"<one>")
        self.client.say(b"2")
        await self.hears(self.backend, b"<2>")

    async def test_firedDeferred(self) -> None:
        """A Deferred that has already fired is an answer at once."""
        await self.hooked(lambda chunk: succeed(chunk.upper()))
        self.client.say(b"a")
        await self.hears(self.backend, b"A")
        self.client.say(b"b")
        await self.hears(self.backend, b"B")

    async def test_lastWord(self) -> None:
        """At the end of the stream the hook hears b"" once, and has a last word."""
        self.needsHalfClose()
        later: Deferred[bytes] = Deferred()
        for last, expected in [
            (None, b""),
            (b"last", b"last"),
            (Drop(), b""),
            (Retire(b"out"), b"out"),
            (later, b"later"),
        ]:
            asked: list[bytes] = []

            def hook(chunk: bytes, asked: Any = asked, last: Any = last) -> Any:
                asked.append(chunk)
                return last if not chunk else None

            await self.hooked(hook)
            self.client.say(b"data")
            self.client.finish()
            await self.hears(self.backend, b"data")
            if last is later:
                await self.until(lambda asked=asked: b"" in asked)  # type: ignore[misc]  # bound
                self.assertEqual(self.owner.named("ended"), [])
                later.callback(b"later")
            self.assertEqual(await self.heardAtEnd(self.backend), expected)
            self.assertEqual(asked.count(b""), 1)
            await self.event("ended", UP)

    async def test_endWaitsItsTurn(self) -> None:
        """A FIN that arrives while an answer is to come is told after it."""
        self.needsHalfClose()
        answer: Deferred[Any] = Deferred()
        asked: list[bytes] = []

        def hook(chunk: bytes) -> Any:
            asked.append(chunk)
            return answer if chunk else None

        await self.hooked(hook)
        self.client.say(b"1")
        self.client.finish()
        await self.until(lambda: bool(asked))
        await self.roundTrip(DOWN)
        self.assertEqual((asked, self.owner.named("ended")), ([b"1"], []))
        answer.callback(b"one")
        self.assertEqual(await self.heardAtEnd(self.backend), b"one")

    async def test_failure(self) -> None:
        """A hook that raises, fails later or answers nonsense is told, and that way is shut."""

        def raising(chunk: bytes) -> None:
            raise KeyError("oh")

        async def failing(chunk: bytes) -> None:
            raise KeyError("oh")

        for hook, kind in [
            (raising, KeyError),
            (failing, KeyError),
            (lambda chunk: 7, TypeError),
            (lambda chunk: "text", TypeError),
            (lambda chunk: Retire("text"), TypeError),  # type: ignore[arg-type]  # as plugins do
        ]:
            await self.hooked(hook)
            self.client.say(b"x")
            ((_, direction, error),) = await self.said("failed")
            self.assertEqual((direction, type(error)), (UP, kind))
            self.client.say(b"y")
            await self.roundTrip(DOWN)
            self.linked.close()
            self.assertEqual(await self.heardAtEnd(self.backend), b"")

    async def test_failureAtTheEnd(self) -> None:
        """A hook that fails at the end of the stream is told, and so is the end."""
        self.needsHalfClose()

        def hook(chunk: bytes) -> Any:
            return None if chunk else 7

        await self.hooked(hook)
        self.client.finish()
        await self.event("ended", UP)
        self.assertEqual([event[0] for event in self.owner.events], ["failed", "ended"])

    async def test_closesFromWithin(self) -> None:
        """A hook may close its tunnel itself; what it answers then is not forwarded."""

        def hook(chunk: bytes) -> Any:
            if chunk == b"stop":
                self.linked.close()

        await self.hooked(hook)
        self.client.say(b"fine")
        await self.hears(self.backend, b"fine")
        self.client.say(b"stop")
        self.assertEqual(await self.heardAtEnd(self.backend), b"")

    async def test_neverAnswered(self) -> None:
        """An answer that never comes keeps no connection alive once the link is closed."""
        asked: list[bytes] = []

        def hook(chunk: bytes) -> Any:
            asked.append(chunk)
            return Deferred()

        for end in ("close", "abort"):
            await self.hooked(hook)
            self.client.say(b"x")
            await self.until(lambda: bool(asked))
            self.client.close()
            await self.turn()
            getattr(self.linked, end)()
            self.backend.close()
            await self.said("lost", 2)
            asked.clear()

    async def test_answeredTooLate(self) -> None:
        """An answer that comes after the end changes nothing."""
        answer: Deferred[Any] = Deferred()
        await self.hooked(lambda chunk: answer)
        self.client.say(b"x")
        await self.roundTrip(DOWN)
        self.linked.abort()
        await self.said("lost", 2)
        answer.callback(Close(1008))
        self.assertEqual(self.owner.named("asked", "failed"), [])

"""
What every engine does at level MESSAGES.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from tests.plane.bytesuite import BOUND
from tests.plane.support import Frame, closing, framed, frames
from tests.plane.worlds import DOWN, UP, World
from wsrelay.errors import PluginFault
from wsrelay.model import Close, Direction, Drop, Interest, Message, Reply
from wsrelay.plane.engine import Lane
from wsrelay.plane.verdicts import compose
from wsrelay.wire.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT

__all__ = ["MessageSuite"]

Hook = Callable[[Message], Any]


def lane(hook: Hook | None = None, **settings: Any) -> Lane:
    """A lane of level MESSAGES."""
    return Lane(Interest.MESSAGES, hook, "hook", **settings)


def text(direction: Direction, *words: str) -> bytes:
    """Text messages as a peer sends them this way."""
    return b"".join(framed(direction, TEXT, word.encode()) for word in words)


class MessageSuite(World):
    """Level MESSAGES, in one direction or both."""

    async def hooked(self, hook: Hook | None, direction: Direction = UP, **settings: Any) -> None:
        """A link with this hook one way, level FRAMES the other way."""
        lanes = {direction: lane(hook, **settings), direction.opposite: Lane(Interest.FRAMES)}
        await self.link(lanes[UP], lanes[DOWN])

    async def arrive(self, direction: Direction, count: int) -> list[Frame]:
        """The next so many frames that are heard this way; they must be all."""
        heard = self.receiver(direction).heard

        def isThere() -> bool:
            try:
                return len(frames(bytes(heard), direction)) >= count
            except (AssertionError, IndexError):
                return False

        await self.until(isThere)
        found = frames(self.receiver(direction).take(), direction)
        self.assertEqual(len(found), count)
        return found

    async def roundTrip(self, direction: Direction) -> None:
        """Have something arrive this way, on a lane that looks at frames only."""
        data = framed(direction, PONG, b"round trip")
        self.sender(direction).say(data)
        await self.until(lambda: self.receiver(direction).heard.endswith(data))
        del self.receiver(direction).heard[-len(data) :]

    async def restOf(self, direction: Direction) -> list[Frame]:
        """Have the sender close its WebSocket; all frames until then, without the Close."""
        self.sender(direction).say(closing(direction, 1000))
        await self.event("close", direction, 1000, "")
        self.linked.close()
        heard = await self.heardAtEnd(self.receiver(direction))
        found = frames(heard, direction)
        self.assertEqual(found.pop().opcode, CLOSE)
        return found

    # -- what hooks see

    async def test_editedInPlace(self) -> None:
        """A message edited in place goes on as it came with None, as it is now if returned."""
        said = framed(UP, TEXT, b"as it came")

        def edit(message: Message) -> None:
            message.data, message.isText = b"\xff", False

        await self.hooked(edit, UP)
        self.client.say(said)
        await self.hears(self.backend, said)

        def retype(message: Message) -> Message:
            message.isText = False
            return message

        await self.hooked(retype, DOWN)
        self.backend.say(framed(DOWN, TEXT, b"now binary"))
        await self.hears(self.client, framed(DOWN, BINARY, b"now binary"))

    async def test_untouched(self) -> None:
        """Without a hook, or when it answers None, the very frames that came go on."""
        seen: list[tuple[bytes, bool]] = []

        def look(message: Message) -> None:
            seen.append((message.data, message.isText))

        for direction in Direction:
            for hook in (None, look):
                for isWhole in (True, False):
                    await self.hooked(hook, direction)
                    pieces = [
                        framed(direction, TEXT, b"hello"),
                        framed(direction, BINARY, b""),
                        framed(direction, TEXT, b"frag", False),
                        framed(direction, CONTINUATION, b"ment"),
                        framed(direction, BINARY, bytes(300)),
                    ]
                    data = b"".join(pieces)
                    for at in range(0, len(data), len(data) if isWhole else 1):
                        self.sender(direction).say(data[at : at + (len(data) if isWhole else 1)])
                        if not isWhole:
                            await self.turn()
                    await self.hears(self.receiver(direction), data)
                    if hook is not None:
                        expected = [(b"hello", True), (b"", False), (b"fragment", True)]
                        self.assertEqual(seen, [*expected, (bytes(300), False)])
                        seen.clear()

    async def test_controlFrames(self) -> None:
        """Control frames pass as they came, and before a message they stand inside of."""
        await self.hooked(lambda message: None)
        first, last = framed(UP, TEXT, b"frag", False), framed(UP, CONTINUATION, b"ment")
        ping, pong = framed(UP, PING, b"ping"), framed(UP, PONG, b"pong")
        self.client.say(ping + first + pong + last + ping)
        await self.hears(self.backend, ping + pong + first + last + ping)

    async def test_counts(self) -> None:
        """Bytes, frames and messages are counted as they were read."""
        await self.hooked(lambda message: Drop())
        data = framed(UP, TEXT, b"frag", False) + framed(UP, CONTINUATION, b"ment")
        self.client.say(data + framed(UP, PING, b""))
        await self.hears(self.backend, framed(UP, PING, b""))
        counts = self.linked.counts()[UP]
        self.assertEqual((counts.bytes, counts.frames, counts.messages), (len(data) + 6, 3, 1))

    # -- verdicts

    async def test_verdicts(self) -> None:
        """Each kind of answer does what the interface promises."""
        table: list[tuple[Any, list[Frame], list[Frame]]] = [
            (b"bytes keep the type", [Frame(TEXT, b"bytes keep the type")], []),
            ("str is text: ü", [Frame(TEXT, "str is text: ü".encode())], []),
            (Message(b"a message", False), [Frame(BINARY, b"a message")], []),
            (Message(b"a message", True), [Frame(TEXT, b"a message")], []),
            (b"", [Frame(TEXT, b"")], []),
            (Drop(), [], []),
            ([], [], []),
            (Reply("re"), [], [Frame(TEXT, b"re")]),
            (Reply(b"re"), [], [Frame(BINARY, b"re")]),
            ([None, Reply("re")], [Frame(TEXT, b"said")], [Frame(TEXT, b"re")]),
            (["a", b"b", Drop()], [Frame(TEXT, b"a"), Frame(TEXT, b"b")], []),
            ((None, [None]), [Frame(TEXT, b"said"), Frame(TEXT, b"said")], []),
        ]
        for direction in Direction:
            for verdict, forward, back in table:
                for isLater in (False, True):
                    answer = succeed(verdict) if isLater else verdict
                    await self.hooked(
                        lambda message, answer=answer: answer if message.isText else None,
                        direction,
                    )
                    end = Frame(BINARY, b"end")
                    self.sender(direction).say(
                        text(direction, "said") + framed(direction, BINARY, b"end")
                    )
                    found = await self.arrive(direction, len(forward) + 1)
                    self.assertEqual(found, [*forward, end])
                    if back:
                        self.assertEqual(await self.arrive(direction.opposite, len(back)), back)

    async def test_close(self) -> None:
        """A hook's Close is told, and nothing that comes after is forwarded."""
        for verdict in (Close(1008, "no"), ["last", Close(1008, "no"), "never"]):
            await self.hooked(lambda message, verdict=verdict: verdict)
            self.owner.reactions["asked"] = lambda way, close: self.assertTrue(
                self.linked.mute(way, closing(way, close.code, close.reason))
            )
            self.client.say(text(UP, "one", "two"))
            await self.event("asked", UP, Close(1008, "no"))
            self.client.say(text(UP, "three") + closing(UP, 1000))
            await self.event("close", UP, 1000, "")
            self.linked.close()
            found = frames(await self.heardAtEnd(self.backend), UP)
            words = [frame.payload for frame in found[:-1]]
            self.assertEqual(words, [b"last"] if isinstance(verdict, list) else [])
            self.assertEqual(found[-1], Frame(CLOSE, b"\x03\xf0no"))

    async def test_closeFromWithin(self) -> None:
        """What a hook answers after it has ended the session itself is not forwarded."""

        def hook(message: Message) -> None:
            self.linked.mute(UP, closing(UP, 1001))

        for late in (hook, lambda message: succeed(hook(message)), self._asCoroutine(hook)):
            await self.hooked(late)
            self.client.say(text(UP, "one", "two") + closing(UP, 1000))
            await self.event("close", UP, 1000, "")
            self.linked.close()
            self.assertEqual(await self.heardAtEnd(self.backend), closing(UP, 1001))

    def _asCoroutine(self, hook: Hook) -> Hook:
        async def later(message: Message) -> Any:
            return hook(message)

        return later

    async def test_nothingBehindAClose(self) -> None:
        """A reply to somebody who has been sent a Close does not follow it."""
        await self.link(lane(lambda message: Reply("late")), Lane(Interest.FRAMES))
        close = closing(DOWN, 1000)
        self.backend.say(close)
        await self.event("close", DOWN, 1000, "")
        self.client.say(text(UP, "said") + closing(UP, 1000))
        await self.event("close", UP, 1000, "")
        self.linked.close()
        self.assertEqual(await self.heardAtEnd(self.client), close)

    async def test_sendAndInject(self) -> None:
        """The relay's own messages and frames go out at once, and no hook sees them."""
        seen: list[bytes] = []
        await self.hooked(lambda message: seen.append(message.data))
        self.client.say(framed(UP, TEXT, b"begun", False))
        await self.until(lambda: self.linked.counts()[UP].bytes == 11)
        self.linked.send(UP, Message(b"own", True))
        self.linked.inject(UP, framed(UP, PING, b""))
        self.assertEqual(await self.arrive(UP, 2), [Frame(TEXT, b"own"), Frame(PING, b"")])
        self.client.say(framed(UP, CONTINUATION, b"!"))
        await self.arrive(UP, 2)
        self.assertEqual(seen, [b"begun!"])

    # -- answers that come later

    async def test_later(self) -> None:
        """While an answer is to come its direction waits, order kept; the other does not."""
        for direction in Direction:
            answers: list[Deferred[Any]] = []

            def hook(message: Message, answers: Any = answers) -> Any:
                answers.append(Deferred())
                return answers[-1]

            await self.hooked(hook, direction)
            ping = framed(direction, PING, b"behind")
            self.sender(direction).say(text(direction, "1", "2") + ping)
            await self.until(lambda answers=answers: len(answers) == 1)  # type: ignore[misc]  # bound
            self.sender(direction).say(text(direction, "3") + closing(direction, 1000))
            await self.roundTrip(direction.opposite)
            await self.roundTrip(direction.opposite)
            self.assertEqual((len(answers), bytes(self.receiver(direction).heard)), (1, b""))
            answers[0].callback("one")
            self.assertEqual(await self.arrive(direction, 1), [Frame(TEXT, b"one")])
            answers[1].callback(None)
            await self.hears(self.receiver(direction), text(direction, "2") + ping)
            self.assertEqual(self.owner.events, [])
            await self.until(lambda answers=answers: len(answers) == 3)  # type: ignore[misc]  # bound
            answers[2].callback(Drop())
            await self.event("close", direction, 1000, "")

    async def test_laterHoldsNoMore(self) -> None:
        """While an answer is to come, the sender is not read without bound."""
        await self.hooked(lambda message: Deferred())
        for _ in range(64):
            self.client.say(framed(UP, BINARY, bytes(64 * 1024)))
        for _ in range(200):
            await self.roundTrip(DOWN)
        self.assertLess(self.linked.counts()[UP].bytes, BOUND)

    async def test_manyFired(self) -> None:
        """Thousands of answers that are there at once, behind one that was not, are no depth."""
        first: Deferred[Any] = Deferred()

        async def hook(message: Message) -> Any:
            return await first if message.data == b"first" else message.data.upper()

        await self.hooked(hook)
        self.client.say(text(UP, "first", *["x"] * 5000))
        await self.roundTrip(DOWN)
        first.callback(Drop())
        found = await self.arrive(UP, 5000)
        self.assertEqual(set(found), {Frame(TEXT, b"X")})

    async def test_muteWhileWaiting(self) -> None:
        """A lane that is made mute no longer waits: the sender's Close is heard."""
        answer: Deferred[Any] = Deferred()
        await self.hooked(lambda message: answer)
        self.client.say(text(UP, "1", "2") + closing(UP, 1000))
        await self.roundTrip(DOWN)
        self.assertEqual(self.owner.events, [])
        self.assertTrue(self.linked.mute(UP, closing(UP, 1001)))
        await self.event("close", UP, 1000, "")
        answer.callback("too late")
        self.linked.close()
        self.assertEqual(await self.heardAtEnd(self.backend), closing(UP, 1001))

    async def test_leftWhileWaiting(self) -> None:
        """Somebody who leaves while an answer is to come is told gone after it."""
        answer: Deferred[Any] = Deferred()
        await self.hooked(lambda message: answer)
        self.client.say(text(UP, "1"))
        self.client.close()
        await self.roundTrips()
        self.assertEqual(self.owner.events, [])
        answer.callback("one")
        self.assertEqual(await self.arrive(UP, 1), [Frame(TEXT, b"one")])
        await self.until(lambda: bool(self.owner.named("ended", "lost")))

    async def roundTrips(self) -> None:
        """Let something happen, when nobody is left to say anything."""
        for _ in range(10):
            await self.turn()

    async def test_neverAnswered(self) -> None:
        """An answer that never comes keeps nothing alive."""
        for end in ("close", "abort"):
            await self.hooked(lambda message: Deferred())
            self.client.say(text(UP, "1"))
            await self.roundTrip(DOWN)
            self.client.close()
            await self.turn()
            getattr(self.linked, end)()
            self.backend.close()
            await self.said("lost", 2)

    # -- faults

    async def test_faults(self) -> None:
        """A hook that raises, fails or answers nonsense is told; nothing more is forwarded."""

        def raising(message: Message) -> Any:
            raise KeyError("oh")

        async def coroutine(message: Message) -> Any:
            raise KeyError("oh")

        hooks: list[tuple[Any, type[Exception]]] = [
            (raising, KeyError),
            (coroutine, KeyError),
            (lambda message: fail(KeyError("oh")), KeyError),
            (lambda message: 7, TypeError),
            (lambda message: True, TypeError),
            (lambda message: bytearray(b"x"), TypeError),
            (lambda message: ["fine", 7], TypeError),
            (lambda message: succeed(7), TypeError),
            (lambda message: Message("text", True), TypeError),  # type: ignore[arg-type]  # as plugins do
            (lambda message: Message(7, False), TypeError),  # type: ignore[arg-type]  # as plugins do
            (lambda message: Reply(7), TypeError),  # type: ignore[arg-type]  # as plugins do
            (lambda message: b"\xff", UnicodeDecodeError),
            (lambda message: Message(b"\xff", True), UnicodeDecodeError),
            (lambda message: "\ud800", UnicodeEncodeError),
            (lambda message: Reply("\ud800"), UnicodeEncodeError),
        ]
        for hook, kind in hooks:
            await self.hooked(hook)
            self.client.say(text(UP, "1", "2"))
            ((_, direction, error),) = await self.said("failed")
            self.assertEqual((direction, type(error)), (UP, kind))
            await self.roundTrip(DOWN)
            self.linked.close()
            self.assertEqual(await self.heardAtEnd(self.backend), b"")

    async def test_faultThatIsMuted(self) -> None:
        """After a fault the last frame goes out, and the sender's Close is still heard."""

        def raising(message: Message) -> Any:
            raise KeyError("oh")

        await self.hooked(raising)
        self.owner.reactions["failed"] = lambda way, error: self.assertTrue(
            self.linked.mute(way, closing(way, 1011))
        )
        self.client.say(text(UP, "1", "2") + closing(UP, 1000))
        await self.event("close", UP, 1000, "")
        self.assertEqual(len(self.owner.named("failed")), 1)
        self.linked.close()
        self.assertEqual(await self.heardAtEnd(self.backend), closing(UP, 1011))

    async def test_binaryNeedNotBeText(self) -> None:
        """Only text has to be UTF-8."""
        await self.hooked(lambda message: b"\xff")
        self.client.say(framed(UP, BINARY, b"x"))
        self.assertEqual(await self.arrive(UP, 1), [Frame(BINARY, b"\xff")])

    async def test_violations(self) -> None:
        """Of somebody who breaks the rules, the messages before are forwarded, and no more."""
        big = framed(UP, BINARY, bytes(900), False)
        for data, code in [
            (framed(UP, 0x3, b"x"), 1002),
            (framed(UP, TEXT, b"x", True, True), 1002),
            (framed(UP, CONTINUATION, b"x"), 1002),
            (framed(DOWN, TEXT, b"x"), 1002),
            (framed(UP, TEXT, b"\xff"), 1007),
            (framed(UP, TEXT, b"\xc3", False) + framed(UP, CONTINUATION, b"x"), 1007),
            (framed(UP, BINARY, bytes(1001)), 1009),
            (big + framed(UP, CONTINUATION, bytes(900)), 1009),
        ]:
            for answer in (None, succeed(None)):
                await self.hooked(
                    lambda message, answer=answer: answer, maxFrame=1000, maxMessage=1500
                )
                self.client.say(text(UP, "fine") + data + text(UP, "more"))
                await self.event("violated", UP, code)
                await self.roundTrip(DOWN)
                self.linked.close()
                self.assertEqual(await self.heardAtEnd(self.backend), text(UP, "fine"))

    async def test_violationWaitsItsTurn(self) -> None:
        """A violation behind a message that is still to be answered is told after it."""
        answer: Deferred[Any] = Deferred()
        await self.hooked(lambda message: answer)
        self.client.say(text(UP, "fine") + framed(UP, 0x3, b"x"))
        await self.roundTrip(DOWN)
        self.assertEqual(self.owner.events, [])
        answer.callback(None)
        await self.event("violated", UP, 1002)
        await self.hears(self.backend, text(UP, "fine"))

    # -- several hooks

    async def test_onion(self) -> None:
        """What one hook lets pass the next one sees, and replies pass none."""

        def tag(word: str) -> Hook:
            return lambda message: f"{word}({message.text})"

        def echo(message: Message) -> Any:
            return [None, Reply(message.data)]

        name, hook = compose([("a", tag("a")), ("echo", echo), ("b", tag("b"))])
        self.assertEqual(name, "a+echo+b")
        await self.link(lane(hook), lane(tag("down")))
        self.client.say(text(UP, "x"))
        self.assertEqual(await self.arrive(UP, 1), [Frame(TEXT, b"b(a(x))")])
        self.assertEqual(await self.arrive(DOWN, 1), [Frame(BINARY, b"a(x)")])

    async def test_faultsAreNamed(self) -> None:
        """Of several hooks the one at fault is named, whether it fails now or later."""

        def raising(message: Message) -> Any:
            raise KeyError("oh")

        async def failing(message: Message) -> Any:
            raise KeyError("oh")

        for bad in (raising, failing, lambda message: 7, lambda message: b"\xff"):
            for place in range(3):
                hooks: list[tuple[str, Hook]] = [
                    ("good", lambda message: None),
                    ("fine", lambda message: message.text),
                ]
                hooks.insert(place, ("bad", bad))
                await self.hooked(compose(hooks)[1])
                self.client.say(text(UP, "x"))
                ((_, _, error),) = await self.said("failed")
                self.assertIsInstance(error, PluginFault)
                self.assertEqual(error.plugin, "bad")

    # -- backpressure

    async def test_backpressure(self) -> None:
        """A receiver that does not read stops its sender."""
        await self.hooked(lambda message: message.data)
        self.backend.pause()
        message = framed(UP, BINARY, bytes(64 * 1024))
        for _ in range(64):
            self.client.say(message)
        for _ in range(200):
            await self.roundTrip(DOWN)
        self.assertLess(self.linked.counts()[UP].bytes, BOUND)
        self.backend.resume()
        await self.until(lambda: len(self.backend.heard) == 64 * len(message))

    async def test_growth(self) -> None:
        """A few bytes that a hook makes large are not all made large at once."""
        made: list[bytes] = []

        def hook(message: Message) -> bytes:
            made.append(message.data)
            return bytes(64 * 1024)

        await self.hooked(hook)
        self.backend.pause()
        self.client.say(framed(UP, BINARY, b"x") * 1000)
        for _ in range(200):
            await self.roundTrip(DOWN)
        self.assertLess(len(made), 30)
        self.backend.resume()
        await self.until(lambda: len(made) == 1000)
        size = 1000 * len(framed(UP, BINARY, bytes(64 * 1024)))
        await self.until(lambda: len(self.backend.heard) == size)

    async def test_repliesNobodyReads(self) -> None:
        """Who asks and does not read the answers is not heard any longer."""
        asked: list[bytes] = []

        def hook(message: Message) -> Reply:
            asked.append(message.data)
            return Reply(bytes(16 * 1024))

        for other in (Lane(Interest.FRAMES), lane()):
            asked.clear()
            await self.link(lane(hook), other)
            self.client.pause()
            self.client.say(framed(UP, BINARY, b"?") * 2000)
            for _ in range(200):
                await self.turn()
            self.assertLess(len(asked), 100)
            self.client.resume()
            await self.until(lambda: len(asked) == 2000)

    async def test_muteTowardsOneWhoDoesNotRead(self) -> None:
        """The sender of a mute lane is read on even when its receiver does not read."""
        await self.hooked(lambda message: message.data)
        self.backend.pause()
        for _ in range(64):
            self.client.say(framed(UP, BINARY, bytes(64 * 1024)))
        self.client.say(closing(UP, 1000))
        for _ in range(50):
            await self.roundTrip(DOWN)
        self.assertEqual(self.owner.events, [])
        self.assertTrue(self.linked.mute(UP, closing(UP, 1001)))
        await self.event("close", UP, 1000, "")

    async def test_receiverGone(self) -> None:
        """The sender to somebody who has vanished is read on, so that its Close is heard."""
        await self.hooked(lambda message: None)
        self.backend.pause()
        for _ in range(64):
            self.client.say(framed(UP, BINARY, bytes(64 * 1024)))
        self.client.say(closing(UP, 1000))
        for _ in range(50):
            await self.roundTrip(DOWN)
        self.backend.abort()
        await self.said("lost")
        await self.event("close", UP, 1000, "")

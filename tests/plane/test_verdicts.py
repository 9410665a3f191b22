# -*- test-case-name: tests.plane.test_verdicts -*-
"""
What hooks answer, and several hooks as one.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CoroutineType
from typing import Any

from hypothesis import given, settings, strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.errors import PluginFault
from wsrelay.model import Close, Drop, Message, Reply, Retire
from wsrelay.plane.verdicts import (
    compose,
    composeStream,
    isLater,
    parts,
    replacement,
    stream,
)

TEXT, BINARY = Message(b"said", True), Message(b"said", False)


async def later(value: Any) -> Any:
    """A coroutine of this value."""
    return value


class PartsTests(SynchronousTestCase):
    """The verdicts of message hooks."""

    def test_parts(self) -> None:
        """Every verdict that means something is a list of what is to be done."""
        for verdict, expected in [
            (None, [TEXT]),
            (b"x", [Message(b"x", True)]),
            ("ü", [Message(b"\xc3\xbc", True)]),
            (BINARY, [BINARY]),
            (Drop(), []),
            (Reply("x"), [Reply("x")]),
            (Close(1008), [Close(1008)]),
            ([], []),
            ((None, [b"x", (Drop(), Reply(b"y"))]), [TEXT, Message(b"x", True), Reply(b"y")]),
            ([b"x", Close(), b"y"], [Message(b"x", True), Close()]),
            ([[b"x", Close()], b"y"], [Message(b"x", True), Close()]),
        ]:
            self.assertEqual(parts(verdict, TEXT), expected)

    def test_itself(self) -> None:
        """The very message that was shown stands for "unchanged"."""
        for verdict in (None, TEXT, [None], [TEXT]):
            (part,) = parts(verdict, TEXT)
            self.assertIs(part, TEXT)

    def test_typeIsKept(self) -> None:
        """Bytes keep the type of what they replace, text is text."""
        self.assertEqual(replacement(b"x", BINARY), Message(b"x", False))
        self.assertEqual(replacement(b"x", TEXT), Message(b"x", True))
        self.assertEqual(replacement("x", BINARY), Message(b"x", True))

    def test_nonsense(self) -> None:
        """What means nothing is refused, and the error says what would."""
        for verdict in (7, True, 1.5, bytearray(b"x"), {}, {b"x"}, object(), Retire(), Drop):
            for wrapped in (verdict, [b"fine", verdict]):
                error = self.assertRaises(TypeError, parts, wrapped, TEXT)
                self.assertIn("a message hook returns None, bytes", str(error))
        for verdict in (Message("x"), Message(None), Reply(7), Reply(bytearray())):  # type: ignore[arg-type]  # as plugins do
            self.assertRaises(TypeError, parts, verdict, TEXT)

    def test_notText(self) -> None:
        """Text that is not UTF-8 is refused, binary may be anything."""
        for verdict in (b"\xff", Message(b"\xc3", True), "\ud800", Reply("\ud800")):
            self.assertRaises(UnicodeError, parts, verdict, TEXT)
        self.assertEqual(parts(b"\xff", BINARY), [Message(b"\xff", False)])
        self.assertEqual(parts(Reply(b"\xff"), TEXT), [Reply(b"\xff")])

    def test_isLater(self) -> None:
        """Deferreds and coroutines are answers to come, fired or not; nothing else is."""
        coroutine = later(None)
        for verdict, expected in [
            (Deferred(), True),
            (succeed(None), True),
            (coroutine, True),
            (None, False),
            (b"x", False),
            (later, False),
            ((each for each in "x"), False),
        ]:
            self.assertIs(isLater(verdict), expected)
        coroutine.close()


class StreamTests(SynchronousTestCase):
    """The verdicts of stream hooks."""

    def test_stream(self) -> None:
        """Every verdict is bytes or an order."""
        for verdict, expected in [
            (None, b"chunk"),
            (b"x", b"x"),
            (b"", b""),
            (Drop(), b""),
            (Retire(b"x"), Retire(b"x")),
            (Close(1008), Close(1008)),
        ]:
            self.assertEqual(stream(verdict, b"chunk"), expected)

    def test_nonsense(self) -> None:
        """What means nothing is refused, and the error says what would."""
        for verdict in (7, "x", [b"x"], Reply(b"x"), Message(b"x"), Retire("x"), bytearray()):  # type: ignore[arg-type]  # as plugins do
            error = self.assertRaises(TypeError, stream, verdict, b"chunk")
            self.assertIn("a stream hook returns None, bytes", str(error))


def tag(word: str) -> Callable[[Message], Any]:
    """A hook that shows that it was here."""
    return lambda message: f"{word}({message.text})"


class ComposeTests(SynchronousTestCase):
    """Several message hooks as one."""

    def ask(self, *hooks: Any, message: Message = TEXT) -> Any:
        """What a composition answers at once."""
        answer = compose([(str(at), hook) for at, hook in enumerate(hooks)])[1](message)  # type: ignore[misc]  # there are some
        self.assertFalse(isLater(answer))
        return answer

    def test_noneAndOne(self) -> None:
        """No hook is none, and one is itself: it costs nothing."""
        self.assertEqual(compose([]), ("", None))
        hook = tag("a")
        self.assertEqual(compose([("a", hook)]), ("a", hook))

    def test_order(self) -> None:
        """What one lets pass, the next one sees."""
        self.assertEqual(
            self.ask(tag("a"), lambda message: None, tag("b")), [Message(b"b(a(said))", True)]
        )

    def test_untouched(self) -> None:
        """Only when all leave a message alone is it untouched."""
        self.assertIsNone(self.ask(lambda message: None, lambda message: None))
        self.assertIsNone(self.ask(*[lambda message: None] * 5))

    def test_passedOnItself(self) -> None:
        """A message that stays among others is still the very message."""
        found = self.ask(lambda message: [None, Reply("x")], lambda message: None)
        self.assertIs(found[0], TEXT)
        self.assertEqual(found[1:], [Reply("x")])

    def test_several(self) -> None:
        """Each of several replacements is shown to the next one, in order; orders are not."""
        seen: list[bytes] = []

        def look(message: Message) -> None:
            seen.append(message.data)

        found = self.ask(lambda message: [b"1", Reply("r"), b"2", Drop()], look)
        self.assertEqual(seen, [b"1", b"2"])
        self.assertEqual(found, [Message(b"1", True), Reply("r"), Message(b"2", True)])

    def test_dropped(self) -> None:
        """What is dropped nobody else sees."""
        self.assertEqual(self.ask(lambda message: Drop(), lambda message: 1 / 0), [])

    def test_closed(self) -> None:
        """Behind a Close nobody is asked about anything."""
        seen: list[bytes] = []

        def close(message: Message) -> Any:
            seen.append(message.data)
            return Close(1008)

        found = self.ask(lambda message: [b"1", b"2"], close)
        self.assertEqual((found, seen), ([Close(1008)], [b"1"]))
        found = self.ask(lambda message: [b"1", Close(1008), b"2"], tag("b"))
        self.assertEqual(found, [Message(b"b(1)", True), Close(1008)])

    def test_later(self) -> None:
        """As soon as one answers later all do, and not before."""
        for place in range(3):
            deferred: Deferred[Any] = Deferred()
            asked: list[bytes] = []

            def slow(
                message: Message, asked: Any = asked, deferred: Any = deferred
            ) -> Deferred[Any]:
                asked.append(message.data)
                return deferred

            hooks: list[tuple[str, Any]] = [("a", tag("a")), ("b", tag("b"))]
            hooks.insert(place, ("slow", slow))
            answer = compose(hooks)[1](TEXT)  # type: ignore[misc]  # there are some
            self.assertIsInstance(answer, CoroutineType)
            waiting = Deferred.fromCoroutine(answer)
            self.assertNoResult(waiting)
            self.assertEqual(asked, [[b"said", b"a(said)", b"b(a(said))"][place]])
            deferred.callback("x")
            expected = [b"b(a(x))", b"b(x)", b"x"][place]
            self.assertEqual(self.successResultOf(waiting), [Message(expected, True)])

    def test_manyLater(self) -> None:
        """Coroutines and Deferreds mix, for several messages and several hooks."""
        hooks = [
            ("a", lambda message: later([b"1", b"2"])),
            ("b", lambda message: succeed(message.data + b"!")),
            ("c", lambda message: later(None)),
        ]
        waiting = Deferred.fromCoroutine(compose(hooks)[1](TEXT))  # type: ignore[misc]  # there are some
        self.assertEqual(
            self.successResultOf(waiting), [Message(b"1!", True), Message(b"2!", True)]
        )

    def test_faults(self) -> None:
        """The one that raises, fails or answers nonsense is named, with what it raised."""

        def raising(message: Message) -> Any:
            raise KeyError("oh")

        async def failing(message: Message) -> Any:
            raise KeyError("oh")

        for bad, detail in [
            (raising, "bad: KeyError: 'oh'"),
            (failing, "bad: KeyError: 'oh'"),
            (lambda message: 7, "bad: TypeError: a message hook returns"),
            (lambda message: succeed(7), "bad: TypeError: a message hook returns"),
            (lambda message: b"\xff", "bad: UnicodeDecodeError: "),
        ]:
            for place in range(3):
                hooks: list[tuple[str, Any]] = [
                    ("a", tag("a")),
                    ("b", lambda message: later(None)),
                ]
                hooks.insert(place, ("bad", bad))
                name, hook = compose(hooks)
                self.assertIn("bad", name.split("+"))
                try:
                    answer = hook(TEXT)  # type: ignore[misc]  # there are some
                    failure = self.failureResultOf(Deferred.fromCoroutine(answer))
                    error: Any = failure.value
                except PluginFault as fault:
                    error = fault
                self.assertIsInstance(error, PluginFault)
                self.assertEqual(error.plugin, "bad")
                self.assertTrue(error.detail.startswith(detail), error.detail)
                self.assertIsNotNone(error.__cause__)

    @given(st.lists(st.sampled_from("nudsl"), min_size=2, max_size=6))
    @settings(max_examples=100, deadline=None)
    def test_asOneByOne(self, kinds: list[str]) -> None:
        """A composition of plain hooks does what they do one after another."""
        hooks: dict[str, Any] = {
            "n": lambda message: None,
            "u": lambda message: message.data + b"u",
            "d": lambda message: [message.data + b"1", message.data + b"2"],
            "s": lambda message: Drop() if message.data.endswith(b"1") else None,
            "l": lambda message: later(message.data + b"l"),
        }
        expected = [b"said"]
        for kind in kinds:
            expected = {
                "n": lambda words: words,
                "u": lambda words: [word + b"u" for word in words],
                "d": lambda words: [word + end for word in words for end in (b"1", b"2")],
                "s": lambda words: [word for word in words if not word.endswith(b"1")],
                "l": lambda words: [word + b"l" for word in words],
            }[kind](expected)
        answer = compose([(kind, hooks[kind]) for kind in kinds])[1](TEXT)  # type: ignore[misc]  # there are some
        if isLater(answer):
            answer = self.successResultOf(Deferred.fromCoroutine(answer))
        found = [part.data for part in parts(answer, TEXT) if isinstance(part, Message)]
        self.assertEqual(found, expected)


class ComposeStreamTests(SynchronousTestCase):
    """Several stream hooks as one."""

    def made(self, *hooks: Any) -> Callable[[bytes], Any]:
        """A composition."""
        _, hook = composeStream([(str(at), hook) for at, hook in enumerate(hooks)])
        assert hook is not None
        return hook

    def test_noneAndOne(self) -> None:
        """No hook is none, and one is itself."""
        self.assertEqual(composeStream([]), ("", None))
        self.assertEqual(composeStream([("a", bytes.upper)]), ("a", bytes.upper))
        self.assertEqual(composeStream([("a", bytes.upper), ("b", bytes.lower)])[0], "a+b")

    def test_order(self) -> None:
        """A chunk passes through each."""
        hook = self.made(
            lambda chunk: chunk + b"1", lambda chunk: None, lambda chunk: chunk + b"2"
        )
        self.assertEqual(hook(b"x"), b"x12")

    def test_nothingLeft(self) -> None:
        """A chunk of which nothing is left stops there: nobody takes it for the end."""
        for nothing in (Drop(), b""):
            seen: list[bytes] = []
            hook = self.made(lambda chunk, nothing=nothing: nothing, seen.append)
            self.assertEqual(hook(b"x"), Drop())
            self.assertEqual(seen, [])

    def test_close(self) -> None:
        """A Close is the answer of all, and nobody else is asked."""
        seen: list[bytes] = []
        hook = self.made(lambda chunk: Close(1008), seen.append)
        self.assertEqual((hook(b"x"), seen), (Close(1008), []))

    def test_retire(self) -> None:
        """One that retires is left out from then on; its last data passes through the others."""
        asked: list[bytes] = []

        def once(chunk: bytes) -> Any:
            asked.append(chunk)
            return Retire(b"<%b>" % chunk)

        hook = self.made(lambda chunk: chunk + b"1", once, lambda chunk: chunk + b"2")
        self.assertEqual([hook(b"x"), hook(b"y")], [b"<x1>2", b"y12"])
        self.assertEqual(asked, [b"x1"])

    def test_allRetire(self) -> None:
        """When the last one has retired, all have."""
        hook = self.made(
            lambda chunk: Retire(chunk + b"1"),
            lambda chunk: Retire(chunk + b"2") if chunk.startswith(b"last") else None,
        )
        self.assertEqual(hook(b"x"), b"x1")
        self.assertEqual(hook(b"last"), Retire(b"last2"))

    def test_allRetireAtOnce(self) -> None:
        """They may all retire over the same chunk, and leave nothing of it."""
        hook = self.made(lambda chunk: Retire(chunk), lambda chunk: Retire())
        self.assertEqual(hook(b"x"), Retire(b""))

    def test_end(self) -> None:
        """At the end each hears what those before it said last, and then b""."""
        heard: list[list[bytes]] = [[], [], []]

        def made(number: int) -> Callable[[bytes], Any]:
            def hook(chunk: bytes) -> Any:
                heard[number].append(chunk)
                return b"end%d;" % number if not chunk else None

            return hook

        hook = self.made(made(0), made(1), made(2))
        self.assertEqual(hook(b"x"), b"x")
        self.assertEqual(hook(b""), b"end0;end1;end2;")
        self.assertEqual(heard, [[b"x", b""], [b"x", b"end0;", b""], [b"x", b"end0;end1;", b""]])

    def test_endOfNothing(self) -> None:
        """When nobody has a last word, nothing is said."""
        self.assertEqual(self.made(lambda chunk: None, lambda chunk: Drop())(b""), Drop())

    def test_retireAtTheEnd(self) -> None:
        """One that retires over somebody's last word is not asked about the end."""
        asked: list[bytes] = []

        def once(chunk: bytes) -> Any:
            asked.append(chunk)
            return Retire(chunk)

        hook = self.made(lambda chunk: b"last" if not chunk else None, once)
        self.assertEqual(hook(b""), b"last")
        self.assertEqual(asked, [b"last"])

    def test_later(self) -> None:
        """As soon as one answers later all do; retiring then counts from then on."""
        deferred: Deferred[Any] = Deferred()
        hook = self.made(
            lambda chunk: deferred if chunk == b"x" else b"asked again",
            lambda chunk: later(chunk + b"2"),
        )
        waiting = Deferred.fromCoroutine(hook(b"x"))
        self.assertNoResult(waiting)
        deferred.callback(Retire(b"x1"))
        self.assertEqual(self.successResultOf(waiting), b"x12")
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(hook(b"y"))), b"y2")

    def test_faults(self) -> None:
        """The one at fault is named."""

        async def failing(chunk: bytes) -> Any:
            raise KeyError("oh")

        for bad in (lambda chunk: 1 / 0, lambda chunk: "text", failing):
            name, hook = composeStream([("good", lambda chunk: None), ("bad", bad)])
            try:
                answer = hook(b"x")  # type: ignore[misc]  # there is one
                error: Any = self.failureResultOf(Deferred.fromCoroutine(answer)).value
            except PluginFault as fault:
                error = fault
            self.assertEqual((name, type(error), error.plugin), ("good+bad", PluginFault, "bad"))

    @given(st.lists(st.binary(max_size=4), max_size=8), st.integers(2, 4))
    @settings(max_examples=100, deadline=None)
    def test_nothingIsLost(self, chunks: list[bytes], count: int) -> None:
        """Hooks that hold back what they hear until the next chunk lose nothing together."""

        def delaying() -> Callable[[bytes], Any]:
            kept = [b""]

            def hook(chunk: bytes) -> bytes:
                said, kept[0] = kept[0], chunk
                return said

            return hook

        hook = self.made(*[delaying() for _ in range(count)])
        said = b"".join(
            stream(hook(chunk), chunk)  # type: ignore[misc]  # bytes, since nobody closes
            for chunk in [*filter(None, chunks), b""]
        )
        self.assertEqual(said, b"".join(chunks))

# -*- test-case-name: tests.testing.test_checks -*-
"""
What every message filter must keep to, as a check that strangers run on their own.

It knows nothing of what the filter is for; what it does to which message is for the
filter's own tests, which L{wsrelay.testing.conversations} is made for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from wsrelay.interfaces import IMessageFilter
from wsrelay.model import Direction, Forward, Interest, Message
from wsrelay.testing.conversations import Conversation

__all__ = ["SAMPLES", "checkMessageFilter"]

SAMPLES: tuple[str | bytes, ...] = (
    "hello",
    "",
    "gr\u00fc\u00dfe \u4f60\u597d \U0001f600",
    "{}",
    '{"open": [',
    "\x00",
    "a" * 70_000,
    b"hello",
    b"",
    b"\xff\xfe\x00\x80",
    bytes(range(256)) * 4096,
)
"""Text and binary, empty and large, well-formed for nobody: what any peer may send."""

# How long a filter may take over one message, in seconds of its conversation's clock.
_PATIENCE = 3600.0


def checkMessageFilter(
    messageFilter: Any,
    samples: Sequence[str | bytes] = (),
    route: Forward | None = None,
    shares: bool = False,
) -> None:
    """
    Check that a message filter can be trusted with any traffic.

     1. It provides L{IMessageFilter}; C{interest} gives an L{Interest} and, asked again, the
        same; C{attach} gives a callable or C{None}.
     2. Whatever message comes, its hook does not raise, answers what it may, at once or when
        time passes, and does not write into the message it was given.
     3. The same message in several frames is the same message to it.
     4. What is said in one session changes nothing in another.

    ::

        class RedactTests(SynchronousTestCase):
            def test_conformance(self):
                checkMessageFilter(Redact(["secret"]), samples=["a secret"])

    @param samples: messages that the filter is made for; L{SAMPLES} are sent anyway.
    @param route: the decision it is attached for.
    @param shares: whether what sessions say does, on purpose, change what others hear (a
        common limit, a chat room), or the answers are random: leaves out 3 and 4.
    @raise AssertionError: it fails; the message says at what.
    """
    route = Forward("test") if route is None else route
    try:
        verifyObject(IMessageFilter, messageFilter)
    except Invalid as error:
        raise AssertionError(str(error)) from error
    said = (*SAMPLES, *samples)
    for direction in Direction:
        if _interest(messageFilter, route, direction) < Interest.MESSAGES:
            continue
        watched = _Watched(messageFilter)
        alone = [_outcome(watched, route, direction, [each]) for each in said]
        together = _outcome(watched, route, direction, said)
        if not shares:
            _checkFrames(watched, route, direction, said, alone)
            _checkIndependence(watched, route, direction, said, together)


def _interest(messageFilter: Any, route: Forward, direction: Direction) -> Interest:
    answers = [messageFilter.interest(route, direction) for _ in range(2)]
    if not isinstance(answers[0], Interest):
        raise AssertionError(f"interest() gives an Interest, not {answers[0]!r:.100}")
    if answers[0] != answers[1]:
        raise AssertionError(f"interest() gives {answers[0]!r}, and then {answers[1]!r}")
    return answers[0]


class _Watched:
    """A filter whose hooks are looked at."""

    def __init__(self, messageFilter: Any) -> None:
        self.interest = messageFilter.interest
        self._attach = messageFilter.attach

    def attach(self, session: Any, direction: Direction) -> Callable[[Message], Any] | None:
        hook = self._attach(session, direction)
        if hook is None:
            return None
        if not callable(hook):
            raise AssertionError(f"attach() gives a callable or None, not {hook!r:.100}")

        def watched(message: Message) -> Any:
            data, isText = message.data, message.isText
            verdict = hook(message)
            if message.data is not data or message.isText is not isText:
                raise AssertionError("it writes into the message; a hook returns another one")
            return verdict

        return watched


class _Side:
    """One direction of a conversation of its own."""

    def __init__(self, messageFilter: Any, route: Forward, direction: Direction) -> None:
        self._talk = Conversation(messageFilter, route=route)
        self._direction = direction

    def say(self, message: str | bytes, frames: int = 1) -> None:
        """Say it, and see that it is answered."""
        talk, isUp = self._talk, self._direction is Direction.TO_BACKEND
        (talk.fromClient if isUp else talk.fromBackend)(message, frames=frames)
        if talk.failure is None and talk.isWaiting(self._direction):
            talk.advance(_PATIENCE)
        if talk.failure is not None:
            raise AssertionError(
                f"{self._direction.value}: at {message!r:.60}: {talk.failure}"
            ) from talk.failure
        if talk.isWaiting(self._direction):
            raise AssertionError(
                f"{self._direction.value}: at {message!r:.60}: no answer within "
                f"{_PATIENCE:.0f} s of the conversation's clock"
            )

    def outcome(self) -> tuple[Any, ...]:
        """Everything that came of it."""
        return self._talk.atClient, self._talk.atBackend, self._talk.closed


def _outcome(
    watched: Any,
    route: Forward,
    direction: Direction,
    said: Sequence[str | bytes],
    frames: int = 1,
) -> tuple[Any, ...]:
    side = _Side(watched, route, direction)
    for each in said:
        side.say(each, frames)
    return side.outcome()


def _checkFrames(
    watched: Any,
    route: Forward,
    direction: Direction,
    said: Sequence[str | bytes],
    alone: Sequence[tuple[Any, ...]],
) -> None:
    for each, outcome in zip(said, alone, strict=True):
        if _outcome(watched, route, direction, [each], frames=3) != outcome:
            raise AssertionError(
                f"{direction.value}: {each!r:.60} has another outcome in three frames, or in "
                "the next session: it keeps what belongs to a session somewhere else"
            )


def _checkIndependence(
    watched: Any,
    route: Forward,
    direction: Direction,
    said: Sequence[str | bytes],
    expected: tuple[Any, ...],
) -> None:
    one, other = _Side(watched, route, direction), _Side(watched, route, direction)
    for each in said:
        one.say(each)
        other.say(each)
    if one.outcome() != expected or other.outcome() != expected:
        raise AssertionError(
            f"{direction.value}: two sessions at once do not end as one alone does: what "
            "belongs to a session stays in what attach() gives"
        )

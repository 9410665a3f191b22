# -*- test-case-name: tests.plane.test_verdicts -*-
"""
What message hooks answer, made plain.

L{parts} turns any I{verdict} into a flat list of L{Message}, L{Drop}, L{Reply} and L{Close};
L{compose} makes one hook out of those of several filters. A single hook whose answer is
C{None} meets none of this code but L{compose} returning it as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from wsrelay.errors import PluginFault
from wsrelay.model import Close, Drop, Message, Reply, Verdict

__all__ = ["Hook", "compose", "isLater", "parts", "replacement"]

Hook = Callable[[Message], Any]


def isLater(verdict: object) -> bool:
    """Whether a verdict is still to come."""
    return isinstance(verdict, (Deferred, Coroutine))


def replacement(verdict: str | bytes | Message, message: Message) -> Message:
    """
    The message that goes on instead of C{message}: C{str} is text, C{bytes} keep its type.
    """
    if isinstance(verdict, str):
        return Message(verdict.encode("utf-8"), True)
    if isinstance(verdict, bytes):
        return Message(verdict, message.isText)
    return verdict


def parts(verdict: Verdict, message: Message) -> list[Message | Reply | Close]:
    """
    A verdict as what is to be done, in order; C{message} itself, not a copy, stands for
    "unchanged".

    @raise TypeError: the verdict means nothing.
    """
    if verdict is None:
        return [message]
    if isinstance(verdict, (str, bytes, Message)):
        return [replacement(verdict, message)]
    if isinstance(verdict, Drop):
        return []
    if isinstance(verdict, (Reply, Close)):
        return [verdict]
    if isinstance(verdict, (list, tuple)):
        return [part for each in verdict for part in parts(each, message)]
    raise TypeError(
        f"a message hook returns None, bytes, str, Message, Drop(), Reply, Close or a list "
        f"of these, not {verdict!r:.100}"
    )


def _named(name: str, hook: Hook) -> Hook:
    def named(message: Message) -> Any:
        try:
            verdict = hook(message)
        except Exception as error:
            raise PluginFault(name, f"{type(error).__name__}: {error}") from error
        return _awaited(name, verdict) if isLater(verdict) else verdict

    return named


async def _awaited(name: str, verdict: Any) -> Any:
    try:
        return await verdict
    except Exception as error:
        raise PluginFault(name, f"{type(error).__name__}: {error}") from error


async def _through(verdict: Any, message: Message, second: Hook) -> list[Any]:
    if isLater(verdict):
        verdict = await verdict
    done: list[Any] = []
    for part in parts(verdict, message):
        if not isinstance(part, Message):
            done.append(part)
            continue
        answer = second(part)
        if isLater(answer):
            answer = await answer
        done += parts(answer, part)
    return done


def _both(first: Hook, second: Hook) -> Hook:
    def both(message: Message) -> Any:
        verdict = first(message)
        if verdict is None:
            return second(message)
        return _through(verdict, message, second)

    return both


def compose(hooks: Sequence[tuple[str, Hook]]) -> tuple[str, Hook | None]:
    """
    One hook out of several, each with the name of its plugin: what one lets pass, the next
    one sees. With one or none, that hook itself.

    @return: whom to name when it raises something that carries no name, and the hook.
    """
    if not hooks:
        return "", None
    if len(hooks) == 1:
        return hooks[0]
    *front, last = [_named(name, hook) for name, hook in hooks]
    for hook in reversed(front):
        last = _both(hook, last)
    return "+".join(name for name, _ in hooks), last

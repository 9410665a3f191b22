# -*- test-case-name: tests.plane.test_verdicts -*-
"""
What hooks answer, made plain.

L{parts} turns any I{verdict} of a message hook into a flat list, L{stream} that of a stream
hook into bytes or an order; both refuse what means nothing. L{compose} and
L{composeStream} make one hook out of those of several filters. A single hook is handed out
as it is and costs nothing here.

The hooks of several filters run as a generator that yields what it must wait for, so that
they are plain calls until one really answers later.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Sequence
from types import CoroutineType
from typing import Any, TypeAlias, TypeVar

from twisted.internet.defer import Deferred

from wsrelay.errors import PluginFault
from wsrelay.model import Close, Drop, Message, Reply, Retire, Verdict

__all__ = [
    "Hook",
    "StreamHook",
    "compose",
    "composeStream",
    "isLater",
    "parts",
    "replacement",
    "stream",
]

Hook: TypeAlias = Callable[[Message], Any]
StreamHook: TypeAlias = Callable[[bytes], Any]

T = TypeVar("T")
_H = TypeVar("_H", Hook, StreamHook)


def isLater(verdict: object) -> bool:
    """Whether a verdict is still to come."""
    return isinstance(verdict, (Deferred, CoroutineType))


# -------------------------------------------------------------------- plain verdicts


def replacement(verdict: str | bytes | Message, message: Message) -> Message:
    """
    The message that goes on instead of C{message}: C{str} is text, C{bytes} keep its type.

    @raise TypeError: the payload is not C{bytes}.
    @raise UnicodeError: it is said to be text and is not UTF-8 (RFC 6455 section 5.6).
    """
    if isinstance(verdict, str):
        return Message(verdict.encode("utf-8"), True)
    new = Message(verdict, message.isText) if isinstance(verdict, bytes) else verdict
    if not isinstance(new.data, bytes):
        raise TypeError(f"the data of a message is bytes, not {new.data!r:.100}")
    if new.isText and not new.data.isascii():
        new.data.decode("utf-8")
    return new


def _checked(reply: Reply) -> Reply:
    if not isinstance(reply.data, (str, bytes)):
        raise TypeError(f"a Reply is str or bytes, not {reply.data!r:.100}")
    if isinstance(reply.data, str) and not reply.data.isascii():
        reply.data.encode("utf-8")
    return reply


def parts(verdict: Verdict, message: Message) -> list[Message | Reply | Close]:
    """
    A verdict as what is to be done, in order; C{message} itself, not a copy, stands for
    "unchanged". Nothing stands behind a L{Close}.

    @raise TypeError: the verdict means nothing.
    @raise UnicodeError: text in it is not UTF-8.
    """
    if verdict is None:
        return [replacement(message, message)]
    if isinstance(verdict, (str, bytes, Message)):
        return [replacement(verdict, message)]
    if isinstance(verdict, Drop):
        return []
    if isinstance(verdict, Reply):
        return [_checked(verdict)]
    if isinstance(verdict, Close):
        return [verdict]
    if isinstance(verdict, (list, tuple)):
        found: list[Message | Reply | Close] = []
        for each in verdict:
            found += parts(each, message)
            if found and isinstance(found[-1], Close):
                break
        return found
    raise TypeError(
        f"a message hook returns None, bytes, str, Message, Drop(), Reply, Close or a list "
        f"of these, not {verdict!r:.100}"
    )


def stream(verdict: Any, chunk: bytes) -> bytes | Retire | Close:
    """
    The verdict of a stream hook: what goes on instead of C{chunk}, or an order.

    @raise TypeError: the verdict means nothing.
    """
    if verdict is None:
        return chunk
    if isinstance(verdict, (bytes, Close)):
        return verdict
    if isinstance(verdict, Drop):
        return b""
    if isinstance(verdict, Retire) and isinstance(verdict.data, bytes):
        return verdict
    raise TypeError(
        f"a stream hook returns None, bytes, Drop(), Retire() or Close(), not {verdict!r:.100}"
    )


# -------------------------------------------------------------------- several hooks


def _run(steps: Generator[Any, Any, T]) -> T | Coroutine[Any, Any, T]:
    """
    Run a generator that yields what it must wait for: a coroutine if there is any, what the
    generator returns if there is none.
    """
    try:
        later = next(steps)
    except StopIteration as done:
        result: T = done.value
        return result
    return _goOn(steps, later)


async def _goOn(steps: Generator[Any, Any, T], later: Any) -> T:
    while True:
        try:
            try:
                answer = await later
            except Exception as error:
                later = steps.throw(error)
            else:
                later = steps.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result


def _fault(name: str, error: Exception) -> PluginFault:
    return PluginFault(name, f"{type(error).__name__}: {error}")


def _one(
    hooks: Sequence[tuple[str, _H]], make: Callable[[Sequence[tuple[str, _H]]], _H]
) -> tuple[str, _H | None]:
    """None, the one there is, or one made of all."""
    if not hooks:
        return "", None
    if len(hooks) == 1:
        return hooks[0]
    return "+".join(name for name, _ in hooks), make(hooks)


def compose(hooks: Sequence[tuple[str, Hook]]) -> tuple[str, Hook | None]:
    """
    One message hook out of several, each with the name of its plugin: what one lets pass,
    the next one sees. With one or none, that hook itself.

    Of several, the one that raises or answers nonsense is named by the L{PluginFault} that
    the hook raises or fails with.

    @return: whom to name when it raises something that carries no name, and the hook.
    """
    return _one(hooks, _chain)


def _chain(hooks: Sequence[tuple[str, Hook]]) -> Hook:
    return lambda message: _run(_through(hooks, message))


def _through(
    hooks: Sequence[tuple[str, Hook]], message: Message
) -> Generator[Any, Any, list[Message | Reply | Close] | None]:
    found: list[Message | Reply | Close] = [message]
    isUntouched = True
    for name, hook in hooks:
        passed: list[Message | Reply | Close] = []
        for part in found:
            if not isinstance(part, Message):
                passed.append(part)
                continue
            try:
                verdict = hook(part)
                if isLater(verdict):
                    verdict = yield verdict
                isUntouched = isUntouched and verdict is None
                passed += parts(verdict, part)
            except Exception as error:
                raise _fault(name, error) from error
            if passed and isinstance(passed[-1], Close):
                break
        found = passed
    return None if isUntouched else found


def composeStream(hooks: Sequence[tuple[str, StreamHook]]) -> tuple[str, StreamHook | None]:
    """
    One stream hook out of several, as L{compose} does for messages.

    A chunk passes through each until one leaves nothing of it. At the end of the stream each
    sees what those before it said last, and then its own C{b""}. One that retires is left
    out from then on; when all have, the whole has.

    @return: as for L{compose}.
    """
    return _one(hooks, _pipe)


def _pipe(hooks: Sequence[tuple[str, StreamHook]]) -> StreamHook:
    live = list(hooks)
    return lambda chunk: _run(_piped(live, chunk))


def _piped(
    live: list[tuple[str, StreamHook]], chunk: bytes
) -> Generator[Any, Any, bytes | Retire | Close | Drop]:
    isEnd = not chunk
    for each in tuple(live):
        verdict = yield from _stage(each, chunk, isEnd)
        if isinstance(verdict, Close):
            return verdict
        if isinstance(verdict, Retire):
            live.remove(each)
            verdict = verdict.data
        chunk = verdict
        if not chunk and not isEnd:
            break
    if not live:
        return Retire(chunk)
    return chunk or Drop()


def _stage(
    each: tuple[str, StreamHook], chunk: bytes, isEnd: bool
) -> Generator[Any, Any, bytes | Retire | Close]:
    """One hook: the chunk, unless it is empty, and then the end, if this is it."""
    name, hook = each
    passed = b""
    for piece in (chunk, b"") if chunk and isEnd else (chunk,):
        try:
            verdict = hook(piece)
            if isLater(verdict):
                verdict = yield verdict
            answer = stream(verdict, piece)
        except Exception as error:
            raise _fault(name, error) from error
        if isinstance(answer, Close):
            return answer
        if isinstance(answer, Retire):
            return Retire(passed + answer.data)
        passed += answer
    return passed

# -*- test-case-name: tests.test_examples -*-
"""
A message filter with options: blackens words in what a backend says.

Three things to take from it. The options are a class: the configuration is checked by it
before anything starts, and C{--plugins} prints it. The filter asks for messages in one
direction only, so the other one stays at the level of frames and costs next to nothing. And
the hook answers C{None} to what it does not change, so that those messages go on as the very
bytes that came. C{examples/redact.toml}::

    [listener.public]
    endpoint = "tcp:8080"

    [[route]]
    pool = "echo"
    filters = ["redact"]

    [pool.echo]
    backends = ["ws://127.0.0.1:9000"]

    [plugin.redact]
    use = "examples.redact:redact"
    words = ["secret", "password"]

Run it, with a backend, and talk to it, each in a terminal of its own::

    python examples/echo.py 9000
    twistd -n wsrelay --config examples/redact.toml
    python examples/say.py ws://127.0.0.1:8080/ "my Secret is safe"
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pydantic import Field
from zope.interface import implementer

from wsrelay import (
    Direction,
    Forward,
    IMessageFilter,
    Interest,
    IPluginMaker,
    IRelay,
    ISession,
    Message,
    Options,
    Verdict,
)

__all__ = ["Redact", "RedactFilter", "RedactOptions", "redact"]


class RedactOptions(Options):
    """What may stand in the plugin's table."""

    words: list[str] = Field(min_length=1, description="what nobody shall read, in any case")
    mark: str = Field(default="*", description="what stands for each character instead")


@implementer(IMessageFilter)
class RedactFilter:
    """Shared by all sessions; what belongs to one session would live in C{attach}."""

    def __init__(self, options: RedactOptions) -> None:
        longestFirst = sorted(options.words, key=len, reverse=True)
        self._words = re.compile("|".join(map(re.escape, longestFirst)), re.IGNORECASE)
        self._mark = options.mark

    def interest(self, route: Forward, direction: Direction) -> Interest:
        """Whole messages on the way to the client; frame heads are enough on the other."""
        return Interest.MESSAGES if direction is Direction.TO_CLIENT else Interest.FRAMES

    def attach(self, session: ISession, direction: Direction) -> Callable[[Message], Verdict]:
        """The same hook for every session."""
        return self._redacted

    def _redacted(self, message: Message) -> Verdict:
        if not message.isText:
            return None
        text, count = self._words.subn(self._blackened, message.text)
        return text if count else None

    def _blackened(self, found: re.Match[str]) -> str:
        return self._mark * len(found[0])


@implementer(IPluginMaker)
class Redact:
    """Makes L{RedactFilter}."""

    name = "redact"
    description = "Blackens words in the text messages that a backend sends."
    options = RedactOptions

    def make(self, options: RedactOptions, relay: IRelay) -> RedactFilter:
        """Make the filter."""
        return RedactFilter(options)


redact = Redact()

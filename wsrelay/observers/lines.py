# -*- test-case-name: tests.observers.test_lines -*-
"""
The log as lines: for people, or JSON for programs that collect logs.

A line for people has the time, the level and what happened; what has more lines than one, a
traceback for one, goes on indented, so that nothing that a peer sent can look like a line of
its own. A JSON line is one flat object: C{time}, C{level}, C{logger} and C{message}, and the
fields of what happened, spelled as in the configuration and in
L{Closed<wsrelay.model.Closed>}; C{traceback} where something failed unexpectedly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from twisted.logger import FileLogObserver, LogLevel, formatEvent

__all__ = ["LINES", "jsonLine", "logObserver", "textLine"]

# What Twisted's older logging leaves in every event; the message has it all.
_LEGACY = frozenset(("format", "isError", "message", "printed", "system", "time", "why"))

# Of one message, traceback or field, in characters.
_LONGEST = 65536

# Twisted says this of every port, by the name of our class; the relay says it better.
_NOISE = re.compile(r"\S+ starting on \S+|\(\w+ Port \S+ Closed\)")


def logObserver(out: Any, format: str) -> FileLogObserver:
    """
    An observer that writes to a file.

    @param out: a text file.
    @param format: one of L{LINES}.
    """
    return FileLogObserver(out, LINES[format])


def textLine(event: Mapping[str, Any]) -> str:
    """One event as people read it; nothing if it is noise."""
    message = _message(event)
    failure = event.get("log_failure")
    if failure is None:
        if _isNoise(message):
            return ""
        if message.isprintable() and event.get("log_level") is LogLevel.info:
            return f"{_when(event)} {message}\n"
    else:
        message = f"{message}\n{_bounded(failure.getTraceback())}"
    level = _level(event)
    head = _when(event) + (f" {level}: " if level != "info" else " ")
    first, *others = message.splitlines() or [""]
    return "\n    ".join([head + _printable(first), *map(_printable, others)]) + "\n"


def jsonLine(event: Mapping[str, Any]) -> str:
    """One event as a JSON object; nothing if it is noise."""
    message = _message(event)
    if _isNoise(message):
        return ""
    line: dict[str, Any] = {
        "time": _when(event),
        "level": _level(event),
        "logger": event.get("log_namespace", "-"),
        "message": message,
    }
    for key, value in event.items():
        if not key.startswith("log_") and key not in _LEGACY and key not in line:
            line[key] = _plain(value)
    if failure := event.get("log_failure"):
        line["traceback"] = _bounded(failure.getTraceback())
    # The one control character that JSON leaves as it is.
    return json.dumps(line).replace("\x7f", "\\u007f") + "\n"


LINES = {"text": textLine, "json": jsonLine}
"""What makes a line of an event, by the name that the configuration writes."""


def _message(event: Mapping[str, Any]) -> str:
    """What happened. Twisted's formatter also calls C{{name()}}, at thirty times the price."""
    words = event.get("log_format")
    if isinstance(words, str) and "(" not in words:
        try:
            return _bounded(words.format_map(event))
        except Exception:
            pass  # its own formatter says what is wrong with the event
    return _bounded(formatEvent(dict(event)))


def _isNoise(message: str) -> bool:
    # Looking for a word is cheaper, and most lines have none of these.
    isLike = " starting on " in message or message.endswith(" Closed)")
    return isLike and _NOISE.fullmatch(message) is not None


def _when(event: Mapping[str, Any]) -> str:
    second, part = divmod(event.get("log_time", 0.0), 1)
    return f"{_second(int(second))}.{int(part * 1000):03}Z"


@lru_cache(2)
def _second(second: int) -> str:
    """Many lines are of the same one."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _level(event: Mapping[str, Any]) -> str:
    return str(event.get("log_level", LogLevel.info).name)


def _printable(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _bounded(text: str) -> str:
    """Both ends of what is very long: a traceback has its cause at the end."""
    if len(text) <= _LONGEST:
        return text
    half = _LONGEST // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters ...\n{text[-half:]}"


def _plain(value: Any) -> Any:
    """Something that JSON has; NaN and infinities are text too."""
    if isinstance(value, str):
        return _bounded(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float) and value - value == 0:
        return value
    if isinstance(value, bytes):
        return _bounded(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    try:
        return _bounded(str(value))
    except Exception:
        return f"<{type(value).__name__}>"

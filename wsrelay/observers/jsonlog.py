# -*- test-case-name: tests.observers.test_jsonlog -*-
"""
The log as JSON: one object a line, flat, for programs that collect logs.

C{time}, C{level}, C{logger} and C{message} stand in every line. The other keys are the fields
of what is told, spelled as in the configuration and in L{Closed<wsrelay.model.Closed>};
C{traceback} is there where something failed unexpectedly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from twisted.logger import FileLogObserver, formatEvent

__all__ = ["jsonLine", "jsonLogObserver"]

# What Twisted's older logging leaves in every event; the message has it all.
_LEGACY = frozenset(("format", "isError", "message", "printed", "system", "time", "why"))


def jsonLogObserver(out: TextIO) -> FileLogObserver:
    """An observer that writes a line to C{out} for each event."""
    return FileLogObserver(out, jsonLine)


def jsonLine(event: Mapping[str, Any]) -> str:
    """One event as one line."""
    when = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
    level = event.get("log_level")
    line: dict[str, Any] = {
        "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": level.name if level is not None else "info",
        "logger": event.get("log_namespace", "-"),
        "message": formatEvent(dict(event)),
    }
    for key, value in event.items():
        if not key.startswith("log_") and key not in _LEGACY and key not in line:
            line[key] = _plain(value)
    failure = event.get("log_failure")
    if failure is not None:
        line["traceback"] = failure.getTraceback()
    return json.dumps(line) + "\n"


def _plain(value: Any) -> Any:
    """Something that JSON has; NaN and infinities are text too."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and value - value == 0:
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"

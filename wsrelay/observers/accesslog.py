# -*- test-case-name: tests.observers.test_accesslog -*-
"""
One line about each tunnel, exchange and session, when it has ended.

The line says who ended it, in which phase and why; for a WebSocket also the close code that
each side saw. Its fields are named as in the events and the configuration, so that a JSON
log can be searched for them.

What a peer said is shown with everything escaped that is no plain text, cut where it is very
long, and without the secrets that a L{Mask<wsrelay.observers.masks.Mask>} knows. Header fields
other than C{Host}, Authorization and cookies among them, are never part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from time import time
from typing import Any

from twisted.logger import ILogObserver, Logger, LogLevel
from zope.interface import implementer

from wsrelay.interfaces import IObserver
from wsrelay.model import Closed, Counts, Direction, Event, Kind, Party
from wsrelay.observers.masks import SECRETS, Mask

__all__ = ["AccessLog"]

_log = Logger("wsrelay.access")


@implementer(IObserver)
class AccessLog:
    """
    Writes the line.

    @ivar observer: an C{ILogObserver} that hears of each line directly. C{None} has them go
        through Twisted's logger to all observers that there are, at twice the price.
    """

    hears = (Closed,)

    def __init__(self, secrets: Sequence[str] = SECRETS) -> None:
        """@param secrets: query parameters whose values are not told."""
        self.observer: ILogObserver | None = None
        self._mask = Mask(secrets)

    def observe(self, event: Event) -> None:
        """Write it."""
        if not isinstance(event, Closed):
            return
        fields = _fields(event, self._mask)
        if self.observer is None:
            _log.info(_FORMATS[event.kind], **fields)
            return
        fields["log_format"] = _FORMATS[event.kind]
        fields["log_level"] = LogLevel.info
        fields["log_namespace"] = _log.namespace
        fields["log_time"] = time()
        self.observer(fields)


_HEAD = "{id} {client} > {listener} > {route} > {backend} "
_TAIL = "{bytesToBackend}+{bytesToClient} bytes {duration} s; {party}/{phase}: {detail}"
_FORMATS = {
    Kind.TUNNEL: f"{_HEAD}tunnel {_TAIL}",
    Kind.EXCHANGE: f'{_HEAD}"{{method}} {{target}}" {{status}} {_TAIL}',
    Kind.SESSION: (
        f'{_HEAD}"{{target}}" {{status}} {{messagesToBackend}}+{{messagesToClient}} messages, '
        f"client saw {{clientSaw}}, backend saw {{backendSaw}}, {_TAIL}"
    ),
}
_NONE = Counts()
_MASK = Mask()
# Of what a peer said, in characters; a name in DNS, or a path that somebody typed, is shorter.
_LONGEST = 1024
_UP, _DOWN = Direction.TO_BACKEND, Direction.TO_CLIENT


def _fields(event: Closed, mask: Mask = _MASK) -> dict[str, Any]:
    """What the line says; a dash where there is nothing to say."""
    inbound, reason, counts = event.inbound, event.reason, event.counts
    up, down = counts.get(_UP, _NONE), counts.get(_DOWN, _NONE)
    fields: dict[str, Any] = {
        "id": event.id,
        "kind": event.kind.value,
        "client": _shown(str(inbound.client)),
        "listener": _again(inbound.listener),
        "route": _again(event.route),
        "pool": _again(event.pool),
        "backend": _again(event.backend),
        "duration": round(event.duration, 3),
        "party": reason.party.value,
        "phase": reason.phase.value,
        "detail": _again(mask(reason.detail[:_LONGEST])),
        "bytesToBackend": up.bytes,
        "bytesToClient": down.bytes,
    }
    if inbound.serverName is not None:
        fields["serverName"] = _shown(inbound.serverName)
    if event.kind is not Kind.TUNNEL:
        request = inbound.request
        fields["method"] = _again(request.method if request else "")
        fields["host"] = _again(request.host if request else "")
        # In the line it stands between quotation marks.
        target = mask(request.target[:_LONGEST]) if request else ""
        fields["target"] = _shown(target).replace('"', "%22")
        fields["status"] = event.status
    if event.kind is Kind.SESSION:
        fields["clientSaw"] = event.codes.get(Party.CLIENT, "-")
        fields["backendSaw"] = event.codes.get(Party.BACKEND, "-")
        fields["messagesToBackend"] = up.messages
        fields["messagesToClient"] = down.messages
    return fields


def _shown(text: str) -> str:
    """Nothing that a peer sent may move the cursor, turn the text around or end the line."""
    if len(text) >= _LONGEST:
        text = text[:_LONGEST] + "..."
    if text.isprintable():
        return text or "-"
    return text.encode("unicode_escape").decode("ascii")


# What is said in line after line. Peers choose some of it, so it is not kept for ever.
_again = lru_cache(256)(_shown)

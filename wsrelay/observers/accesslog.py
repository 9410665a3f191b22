# -*- test-case-name: tests.observers.test_accesslog -*-
"""
One line about each tunnel, exchange and session, when it has ended.

The line says who ended it, in which phase and why; for a WebSocket also the close code that
each side saw. Its fields are named as in the events and the configuration, so that a JSON
log can be searched for them.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from wsrelay.interfaces import IObserver
from wsrelay.model import Closed, Direction, Event, Kind, Party

__all__ = ["AccessLog"]


@implementer(IObserver)
class AccessLog:
    """Writes the line."""

    log = Logger()

    def observe(self, event: Event) -> None:
        """Write it, if this is an end."""
        if isinstance(event, Closed):
            self.log.info(_FORMATS[event.kind], **_fields(event))


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


def _fields(event: Closed) -> dict[str, Any]:
    inbound = event.inbound
    request = inbound.request
    fields: dict[str, Any] = {
        "id": event.id,
        "kind": event.kind.value,
        "client": str(inbound.client),
        "listener": inbound.listener,
        "route": event.route or "-",
        "pool": event.pool or "-",
        "backend": event.backend or "-",
        "method": request.method if request else "-",
        "host": request.host if request else (inbound.serverName or "-"),
        # Query strings carry tokens.
        "target": _printable(request.path) if request else "-",
        "status": event.status,
        "duration": round(event.duration, 3),
        "party": event.reason.party.value,
        "phase": event.reason.phase.value,
        "detail": _printable(event.reason.detail),
        "clientSaw": event.codes.get(Party.CLIENT, "-"),
        "backendSaw": event.codes.get(Party.BACKEND, "-"),
    }
    for direction, suffix in _SUFFIXES:
        counts = event.counts.get(direction)
        fields["bytes" + suffix] = counts.bytes if counts else 0
        fields["messages" + suffix] = counts.messages if counts else 0
    return fields


_SUFFIXES = ((Direction.TO_BACKEND, "ToBackend"), (Direction.TO_CLIENT, "ToClient"))


def _printable(text: str) -> str:
    """Nothing that a peer sent may move the cursor or end the line."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")

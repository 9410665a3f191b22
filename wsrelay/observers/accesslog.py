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

_log = Logger("wsrelay.access")


@implementer(IObserver)
class AccessLog:
    """Writes the line."""

    def observe(self, event: Event) -> None:
        """Write it, if this is an end."""
        if isinstance(event, Closed):
            _log.info(_FORMATS[event.kind], **_fields(event))


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
_SUFFIXES = ((Direction.TO_BACKEND, "ToBackend"), (Direction.TO_CLIENT, "ToClient"))


def _fields(event: Closed) -> dict[str, Any]:
    """What the line says; a dash where there is nothing to say."""
    inbound = event.inbound
    fields: dict[str, Any] = {
        "id": event.id,
        "kind": event.kind.value,
        "client": str(inbound.client),
        "listener": inbound.listener,
        "route": event.route,
        "pool": event.pool,
        "backend": event.backend,
        "duration": round(event.duration, 3),
        "party": event.reason.party.value,
        "phase": event.reason.phase.value,
        "detail": event.reason.detail,
    }
    if inbound.serverName is not None:
        fields["serverName"] = inbound.serverName
    for direction, suffix in _SUFFIXES:
        counts = event.counts.get(direction)
        fields["bytes" + suffix] = counts.bytes if counts else 0
    if event.kind is not Kind.TUNNEL:
        fields |= _httpFields(event)
    if event.kind is Kind.SESSION:
        fields |= _sessionFields(event)
    return {key: _shown(value) for key, value in fields.items()}


def _httpFields(event: Closed) -> dict[str, Any]:
    request = event.inbound.request
    return {
        "method": request.method if request else "",
        "host": request.host if request else "",
        # Query strings carry tokens.
        "target": request.path if request else "",
        "status": event.status,
    }


def _sessionFields(event: Closed) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "clientSaw": event.codes.get(Party.CLIENT, ""),
        "backendSaw": event.codes.get(Party.BACKEND, ""),
    }
    for direction, suffix in _SUFFIXES:
        counts = event.counts.get(direction)
        fields["messages" + suffix] = counts.messages if counts else 0
    return fields


def _shown(value: Any) -> Any:
    """Nothing that a peer sent may move the cursor or end the line."""
    if not isinstance(value, str):
        return value
    text = value or "-"
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")

# -*- test-case-name: tests.demo.test_records -*-
"""
From events to I{records}: what the page is sent, as values that JSON can carry.

A I{viewer} is one open page. It gets the records of the WebSockets it opened itself: at
layer 7 it is known which these are, because the page puts a random number of its own into
the query. At layer 4 that cannot be known, so everybody gets all of them; they hold
addresses and sizes, and nothing else can be had there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from wsrelay.demo.watch import ChunkPassed, MessagePassed
from wsrelay.model import (
    Closed,
    Connected,
    Decided,
    Direction,
    Event,
    Forward,
    Inbound,
    Opened,
    Party,
)

__all__ = ["EVERYBODY", "Record", "Recorder", "viewerOf"]

Record: TypeAlias = dict[str, Any]

#: Whom the records of layer 4 are for, in place of a viewer's number.
EVERYBODY = ""

# A glance is enough: bytes of a message, characters of a part of a request.
_TEXT_SHOWN = 200
_BINARY_SHOWN = 16
_PART_SHOWN = 300


def viewerOf(inbound: Inbound) -> str | None:
    """The viewer that a client says it belongs to; C{None} if it says none."""
    if inbound.request is None:
        return EVERYBODY
    return inbound.request.query.get("viewer", [""])[0] or None


class Recorder:
    """
    Follows what is forwarded, from its opening to its end.

    Each record has the C{id} of what it is about, and says in C{what} which of these it is:
    opened, connected, chunk, message, closed.
    """

    def __init__(self) -> None:
        self._undecided: dict[str, Opened] = {}
        self._viewers: dict[str, str] = {}

    @property
    def tunnels(self) -> list[str]:
        """The ids of the tunnels that are open."""
        return [id for id, viewer in self._viewers.items() if viewer == EVERYBODY]

    def record(self, event: Event) -> tuple[str, Record] | None:
        """What an event is on the page, and for whom; C{None} if it is nothing there."""
        if isinstance(event, Opened):
            self._undecided[event.id] = event
        elif isinstance(event, Decided):
            return self._decided(event)
        write = _WRITERS.get(type(event))
        viewer = self._viewers.get(event.id)
        if isinstance(event, Closed):
            self._undecided.pop(event.id, None)
            self._viewers.pop(event.id, None)
        if write is None or viewer is None:
            return None
        return viewer, {"id": event.id, **write(event)}

    def _decided(self, event: Decided) -> tuple[str, Record] | None:
        opened = self._undecided.pop(event.id, None)
        if opened is None or not isinstance(event.decision, Forward):
            return None
        viewer = viewerOf(opened.inbound)
        if viewer is None:
            return None
        self._viewers[event.id] = viewer
        return viewer, {"id": event.id, **_opened(opened.inbound, event.decision)}


def _opened(inbound: Inbound, forward: Forward) -> Record:
    record: Record = {
        "what": "opened",
        "layer": 4,
        "client": str(inbound.client),
        "local": str(inbound.local),
        "route": forward.route,
        "pool": forward.pool,
    }
    if request := inbound.request:
        version = ".".join(map(str, request.version))
        record["layer"] = 7
        record["request"] = f"{request.method} {_short(request.target)} HTTP/{version}"
        record["headers"] = [
            [_short(part.decode("latin-1")) for part in field] for field in request.headers.raw
        ]
    return record


def _short(text: str) -> str:
    return text if len(text) <= _PART_SHOWN else text[:_PART_SHOWN] + "…"


def _connected(event: Connected) -> Record:
    return {"what": "connected", "backend": event.backend, "peer": str(event.peer)}


def _chunk(event: ChunkPassed) -> Record:
    return {
        "what": "chunk",
        "direction": event.direction.value,
        "size": event.size,
        "bytes": event.bytes,
        "chunks": event.chunks,
    }


def _message(event: MessagePassed) -> Record:
    return {
        "what": "message",
        "direction": event.direction.value,
        "isText": event.isText,
        "size": len(event.data),
        "glance": _glance(event),
        "bytes": event.bytes,
        "messages": event.messages,
    }


def _glance(event: MessagePassed) -> str:
    if event.isText:
        more = "…" if len(event.data) > _TEXT_SHOWN else ""
        # A character that was cut through is left out.
        return event.data[:_TEXT_SHOWN].decode("utf-8", "ignore") + more
    more = " …" if len(event.data) > _BINARY_SHOWN else ""
    return event.data[:_BINARY_SHOWN].hex(" ") + more


def _closed(event: Closed) -> Record:
    return {
        "what": "closed",
        "party": event.reason.party.value,
        "phase": event.reason.phase.value,
        "detail": event.reason.detail,
        "status": event.status,
        "seconds": round(event.duration, 1),
        "bytes": {direction.value: _bytes(event, direction) for direction in Direction},
        "codes": {party.value: event.codes.get(party) for party in (Party.CLIENT, Party.BACKEND)},
    }


def _bytes(event: Closed, direction: Direction) -> int:
    counts = event.counts.get(direction)
    return counts.bytes if counts else 0


_WRITERS: Mapping[type[Event], Callable[[Any], Record]] = {
    Connected: _connected,
    ChunkPassed: _chunk,
    MessagePassed: _message,
    Closed: _closed,
}

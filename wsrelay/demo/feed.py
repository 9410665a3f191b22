# -*- test-case-name: tests.demo.test_feed -*-
"""
The I{feed}: a WebSocket on which a viewer gets its records while they happen.

Each message is a JSON array of records, oldest first; the first message holds one record
that says C{ready}. When more passes than a page can show, some chunks and messages are left
out; the next one has the totals. A viewer that does not read at all is left alone.
"""

from __future__ import annotations

import json
from typing import Any

from autobahn.websocket.types import ConnectionDeny

from wsrelay.demo.guests import Guest, GuestFactory
from wsrelay.demo.records import EVERYBODY, Record, Recorder
from wsrelay.model import Event

__all__ = ["Feed", "Viewer"]

# Seconds between two messages to a viewer: faster than an eye, slower than traffic can be.
_PAUSE = 0.02

# Records that wait for the next message: beyond the first number no more of what passes,
# beyond the second no more of anything.
_ENOUGH = 200
_TOO_MANY = 2000
_PASSING = frozenset({"chunk", "message"})


class Viewer(Guest):
    """One page that looks."""

    factory: Feed
    id = ""
    _sending: Any = None

    def onConnect(self, request: Any) -> None:
        """It says who it is, in the query."""
        self._records: list[Record] = []
        self.id = request.params.get("viewer", [""])[0]
        if not self.id:
            raise ConnectionDeny(400, "say viewer=, a random number, in the query")

    def onOpen(self) -> None:
        """It wants to hear from now on."""
        super().onOpen()
        self.factory.arrived(self)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """It has heard enough."""
        self.factory.left(self)
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    def onMessageBegin(self, isBinary: bool) -> None:
        """It has nothing to say, and nothing that it says is kept."""
        super().onMessageBegin(isBinary)
        self.transport.abortConnection()

    def resumeProducing(self) -> None:
        """It reads again: what waits can go."""
        super().resumeProducing()
        self._soon()

    def tell(self, record: Record) -> None:
        """Send a record, soon."""
        waiting = len(self._records)
        if waiting >= _TOO_MANY:
            self.transport.abortConnection()
        elif waiting < _ENOUGH or record["what"] not in _PASSING:
            self._records.append(record)
            self._soon()

    def _soon(self) -> None:
        if self._records and self._sending is None and not self.isBehind:
            self._sending = self.factory.reactor.callLater(_PAUSE, self._send)

    def _send(self) -> None:
        self._sending = None
        if self.isBehind:
            return
        records, self._records = self._records, []
        self.sendMessage(json.dumps(records).encode())  # type: ignore[no-untyped-call]  # of Autobahn


class Feed(GuestFactory):
    """
    All viewers.

    @ivar facts: what each of them must know first; stands in the C{ready} record.
    """

    protocol = Viewer
    maxMessage = 0

    def __init__(self, reactor: Any, **facts: Any) -> None:
        super().__init__(reactor)
        self.facts = facts
        self._recorder = Recorder()
        self._viewers: set[Viewer] = set()

    def arrived(self, viewer: Viewer) -> None:
        """Somebody looks."""
        self._viewers.add(viewer)
        tunnels = self._recorder.tunnels
        viewer.tell({"what": "ready", "tunnels": tunnels, **self.facts})

    def left(self, viewer: Viewer) -> None:
        """Somebody looks no longer."""
        self._viewers.discard(viewer)

    def observe(self, event: Event) -> None:
        """Tell those whom it concerns."""
        told = self._recorder.record(event)
        if told is None:
            return
        concerned, record = told
        for viewer in list(self._viewers):
            if concerned in (EVERYBODY, viewer.id):
                viewer.tell(record)

# -*- test-case-name: tests.demo.test_feed -*-
"""
The I{feed}: a WebSocket on which a viewer gets its records while they happen.

Each message is a JSON array of records, oldest first; the first message holds one record
that says C{ready}. Nothing is kept for a viewer that is behind or too slow for what happens:
it misses records, which C{missed} tells, and the next one of each kind has the totals.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

from autobahn.websocket.types import ConnectionDeny

from wsrelay.demo.guests import Guest, GuestFactory
from wsrelay.demo.records import EVERYBODY, Record, Recorder
from wsrelay.model import Event

__all__ = ["Feed", "Viewer"]

# Seconds between two messages to a viewer: faster than an eye, slower than traffic can be.
_PAUSE = 0.02

# Records between two messages; more than a page could show.
_MOST = 200


class Viewer(Guest):
    """One page that looks."""

    factory: Feed
    id = ""

    def onConnect(self, request: Any) -> None:
        """It says who it is, in the query."""
        self.id = request.params.get("viewer", [""])[0]
        if not self.id:
            raise ConnectionDeny(400, "say viewer=, a random number, in the query")

    def onOpen(self) -> None:
        """It wants to hear from now on."""
        super().onOpen()
        self._records: list[Record] = []
        self._missed = 0
        self._sending: Any = None
        self.factory.arrived(self)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """It has heard enough."""
        self.factory.left(self)
        if self.__dict__.get("_sending") is not None:
            self._sending.cancel()

    def tell(self, record: Record) -> None:
        """Send a record, soon."""
        if self.isBehind or len(self._records) >= _MOST:
            self._missed += 1
            return
        self._records.append(record)
        if self._sending is None:
            self._sending = self.factory.reactor.callLater(_PAUSE, self._send)

    def _send(self) -> None:
        self._sending = None
        records, self._records = self._records, []
        if self._missed:
            records.append({"what": "missed", "records": self._missed})
            self._missed = 0
        self.sendMessage(json.dumps(records).encode())


class Feed(GuestFactory):
    """
    All viewers.

    @ivar facts: what each of them must know first; stands in the C{ready} record.
    """

    protocol = Viewer

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
        for viewer in self._viewers:
            if concerned in (EVERYBODY, viewer.id):
                viewer.tell(record)

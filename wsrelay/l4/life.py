# -*- test-case-name: tests.l4.test_life -*-
"""
What a tunnel, an exchange and a session have in common: a life that is told to observers.

It opens once, the first reason for its end is the one that counts, and it closes once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from twisted.logger import Logger

from wsrelay.model import (
    Closed,
    CloseReason,
    Connected,
    Counts,
    Decided,
    Decision,
    Direction,
    Established,
    Forward,
    Inbound,
    Interest,
    Kind,
    Opened,
    Party,
    Phase,
)

if TYPE_CHECKING:
    from wsrelay.l4.listener import Listener
    from wsrelay.plane.legs import Leg

__all__ = ["Life"]

_log = Logger()


class Life:
    """
    From L{Opened} to L{Closed}.

    @ivar phase: how far it has come.
    @ivar reason: why it ends; C{None} while it does not.
    @ivar status: the HTTP status the client got.
    @ivar codes: who saw which close code.
    """

    __slots__ = (
        "_calls",
        "_isClosed",
        "_relay",
        "_seconds",
        "_started",
        "backend",
        "codes",
        "inbound",
        "kind",
        "phase",
        "reason",
        "route",
        "status",
    )

    def __init__(self, listener: Listener, kind: Kind, inbound: Inbound) -> None:
        self._relay = listener.relay
        self._seconds = listener.relay.clock.seconds
        self._started = self._seconds()
        self.kind = kind
        self.inbound = inbound
        self.phase = Phase.DECIDE
        self.reason: CloseReason | None = None
        self.route: Forward | None = None
        self.backend = ""
        self.status = 0
        self.codes: dict[Party, int] = {}
        self._isClosed = False
        self._calls: tuple[Callable[[CloseReason], None], ...] = ()
        if self._relay.hearers[Opened]:
            self._relay.observe(Opened(inbound.id, self._started, kind, inbound))

    def decided(self, decision: Decision | None) -> None:
        """The policies have spoken."""
        if isinstance(decision, Forward):
            self.phase = Phase.DIAL
            self.route = decision
        if self._relay.hearers[Decided]:
            self._relay.observe(Decided(self.inbound.id, self._seconds(), decision))

    def connected(self, backend: str, leg: Leg) -> None:
        """A backend accepted, or one that had is used once more."""
        self.phase = Phase.ANSWER
        self.backend = backend
        if self._relay.hearers[Connected]:
            pool = self.route.pool if self.route else ""
            self._relay.observe(
                Connected(self.inbound.id, self._seconds(), pool, backend, leg.peer)
            )

    def established(
        self,
        kind: Kind,
        levels: Mapping[Direction, Interest],
        subprotocol: str | None = None,
        extensions: str = "",
    ) -> None:
        """Bytes move now."""
        self.phase = Phase.RELAY
        self.kind = kind
        if self._relay.hearers[Established]:
            now = self._seconds()
            self._relay.observe(
                Established(self.inbound.id, now, kind, levels, subprotocol, extensions)
            )

    def end(self, party: Party, detail: str) -> None:
        """It will end, because of this; a later reason changes nothing."""
        if self.reason is None:
            self.reason = CloseReason(party, self.phase, detail)

    def whenClosed(self, call: Callable[[CloseReason], None]) -> None:
        """Call C{call} once, at the end; at once if that was before."""
        if self._isClosed and self.reason is not None:
            call(self.reason)
        else:
            self._calls += (call,)

    def close(self, counts: Mapping[Direction, Counts] | None = None) -> None:
        """It has ended. A second call changes nothing."""
        if self._isClosed:
            return
        self._isClosed = True
        if self.reason is None:
            self.end(Party.RELAY, "ended")
        assert self.reason is not None
        if self._relay.hearers[Closed]:
            self._relay.observe(self._closed(self.reason, counts or {}))
        calls, self._calls = self._calls, ()
        for call in calls:
            try:
                call(self.reason)
            except Exception:
                _log.failure("{id}: a whenClosed call failed", id=self.inbound.id)

    def _closed(self, reason: CloseReason, counts: Mapping[Direction, Counts]) -> Closed:
        now = self._seconds()
        route = self.route
        return Closed(
            self.inbound.id,
            now,
            self.kind,
            self.inbound,
            reason,
            route.route if route else "",
            route.pool if route else "",
            self.backend,
            self.status,
            now - self._started,
            counts,
            self.codes,
        )

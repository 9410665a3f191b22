# -*- test-case-name: tests.l4.test_tunnel -*-
"""
A I{tunnel}: one client's TCP connection joined to one backend's, bytes opaque.

It decides and dials while the client's leg holds still, joins the legs, and from then on
only hears of their ends: a FIN one way is passed on and the other way stays open; a
connection that broke is broken towards the other side too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.answers import whenAnswered
from wsrelay.backends.pool import Dialled
from wsrelay.errors import NoRoute, PluginFault, Refused, RelayError, Violation
from wsrelay.interfaces import ITunnel
from wsrelay.l4.life import Life
from wsrelay.l4.plans import Plan
from wsrelay.l4.timers import Deadline, IdleTimer
from wsrelay.model import (
    Close,
    CloseReason,
    Counts,
    Decision,
    Direction,
    Forward,
    Inbound,
    Interest,
    Kind,
    Party,
    Refuse,
)
from wsrelay.plane.engine import ILink, Lane
from wsrelay.plane.legs import Leg
from wsrelay.plane.verdicts import composeStream

if TYPE_CHECKING:
    from wsrelay.l4.listener import Listener

__all__ = ["Tunnel", "partyOf", "sender"]

_log = Logger()


# What most tunnels share.
_NONE: frozenset[Direction] = frozenset()
_PLAIN: Mapping[Direction, Lane] = dict.fromkeys(Direction, Lane())
_LEVELS = dict.fromkeys(Direction, Interest.BYTES)


def sender(direction: Direction) -> Party:
    """Who sends in this direction."""
    return Party.CLIENT if direction is Direction.TO_BACKEND else Party.BACKEND


def partyOf(error: RelayError) -> Party:
    """Whose fault an error was."""
    return Party(error.party)


@implementer(ITunnel)
class Tunnel:
    """
    One tunnel, from its client's arrival to its end.

    @ivar id: as in log lines.
    @ivar inbound: the client's side.
    """

    route: Forward
    backend: str = ""

    def __init__(self, listener: Listener, leg: Leg, inbound: Inbound) -> None:
        """@param leg: holds still."""
        self.id = inbound.id
        self.inbound = inbound
        self._listener = listener
        self._client = leg
        self._life = Life(listener, Kind.TUNNEL, inbound)
        self._dialling: Deferred[None] | None = None
        self._link: ILink | None = None
        self._ended = self._lost = _NONE
        self._deadline = Deadline(listener.relay.clock)
        self._idle = IdleTimer(listener.relay.clock)

    # -- decide and dial

    def begin(self) -> None:
        """Ask the policies, dial, join."""
        self._listener.relay.opened(self, self._leave, self._cut)
        try:
            decision: Any = self._listener.decide(self.inbound)
        except PluginFault as fault:
            self._refuse(fault)
            return
        whenAnswered(decision, self._decided, self._failed)

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, CancelledError) and self._life.reason is not None:
            return
        if not isinstance(error, RelayError):
            _log.failure("{id}: internal error", failure, id=self.id)
            error = RelayError(f"internal error: {error!r}")
        self._refuse(error)

    def _decided(self, decision: Decision | None) -> None:
        if self._life.reason is not None:
            return
        self._life.decided(decision)
        try:
            if isinstance(decision, Forward):
                self._dial(self._listener.plans.plan(decision))
            elif decision is None:
                raise NoRoute("no route")
            elif isinstance(decision, Refuse):
                raise Refused(decision.detail or "refused by policy")
            else:
                raise PluginFault("route", f"{type(decision).__name__} means nothing at layer 4")
        except RelayError as error:
            self._refuse(error)

    def _dial(self, plan: Plan) -> None:
        self.route = plan.forward
        if len(plan.streamFilters) < len(plan.forward.filters):
            # Whoever wants requests or messages checked does not want them unchecked.
            sighted = {name for name, _ in plan.streamFilters}
            blind = [name for name in plan.forward.filters if name not in sighted]
            raise PluginFault("+".join(blind), "is no stream filter, and sees nothing at layer 4")
        dial = plan.pool.connect(self.inbound, plan.forward.settings.connectTimeout)
        self._dialling = dial.addCallbacks(partial(self._join, plan), self._failed)
        dial.addErrback(self._failed)

    def _refuse(self, error: RelayError) -> None:
        """It ends before it began."""
        self._life.end(partyOf(error), error.detail)
        self._client.abort() if isinstance(error, PluginFault) else self._client.close()
        self._finish()

    def _leave(self) -> None:
        """The relay stops."""
        self._life.end(Party.RELAY, "the relay stops")
        if self._link is not None:
            self.close()
            return
        self._client.abort()
        self._finish()
        if self._dialling is not None:
            self._dialling.cancel()

    def _cut(self) -> None:
        """The relay stops, and will not wait any longer."""
        if self._link is not None:
            self._link.abort()

    # -- relay

    def _join(self, plan: Plan, dialled: Dialled) -> None:
        self._dialling = None
        self._life.connected(dialled.backend.name, dialled.leg)
        self.backend = dialled.backend.name
        if self._client.isLost:
            self._life.end(Party.CLIENT, "left before a backend had accepted")
            dialled.leg.abort()
            self._finish()
            return
        try:
            lanes = _PLAIN
            if plan.streamFilters:
                lanes = {each: self._lane(plan, each) for each in Direction}
            if self._life.reason is None:
                self._life.established(Kind.TUNNEL, _LEVELS)
            self._link = self._listener.plane.link(self._client, dialled.leg, lanes, self)
        except Exception:
            dialled.leg.abort()
            raise
        self._begin(plan, self._link)

    def _begin(self, plan: Plan, link: ILink) -> None:
        settings = plan.forward.settings
        self._deadline.after = settings.closeTimeout
        isOver = self._life.reason is not None
        link.start()
        if isOver:
            # A filter wanted the end as soon as it was attached.
            self.close()
        elif settings.idleTimeout is not None and len(self._lost) < 2:
            self._idle.watch(link.idleFor, settings.idleTimeout, self._idleTooLong)

    def _lane(self, plan: Plan, direction: Direction) -> Lane:
        filters = plan.streamFilters
        hooks = []
        for name, each in filters if direction is Direction.TO_BACKEND else filters[::-1]:
            try:
                hook = each.attach(self, direction)
            except Exception as error:
                raise PluginFault(name, f"attach: {type(error).__name__}: {error}") from error
            if hook is not None:
                hooks.append((name, hook))
        hookName, composed = composeStream(hooks)
        return Lane(hook=composed, hookName=hookName)

    def _idleTooLong(self, seconds: float) -> None:
        self._life.end(Party.RELAY, f"idle for {seconds:.0f} s")
        self.close()

    # -- ITunnel

    def close(self) -> None:
        """End it, see L{ITunnel.close}."""
        self._life.end(Party.RELAY, "closed")
        if self._link is not None and len(self._lost) < 2:
            self._deadline.start(self._link.abort)
            self._link.close()

    def counts(self) -> Mapping[Direction, Counts]:
        """What went each way so far."""
        if self._link is None:
            return {direction: Counts() for direction in Direction}
        return self._link.counts()

    def whenClosed(self, call: Callable[[CloseReason], None]) -> None:
        """Call at the end, see L{ITunnel.whenClosed}."""
        self._life.whenClosed(call)

    # -- the owner of the link

    def streamEnded(self, direction: Direction) -> None:
        """Pass the FIN on; when both have said it, that is the end."""
        self._ended |= {direction}
        assert self._link is not None
        self._life.end(sender(direction), "closed its connection")
        if len(self._ended) == 2:
            self.close()
        else:
            self._link.finish(direction)

    def legLost(self, direction: Direction, failure: Failure) -> None:
        """One connection is gone: deliver what it had sent, or break the other too."""
        self._lost |= {direction}
        if len(self._lost) == 2:
            self._finish()
            return
        assert self._link is not None
        isClean = failure.check(ConnectionDone) is not None
        detail = "closed its connection" if isClean else "its connection broke"
        self._life.end(sender(direction), detail)
        if isClean:
            self.close()
        else:
            self._link.abort()

    def hookAsked(self, direction: Direction, close: Close) -> None:
        """A stream filter wants the end."""
        self._life.end(Party.PLUGIN, f"closed: {close.code} {close.reason}".rstrip())
        self.close()

    def hookFailed(self, direction: Direction, failure: Failure) -> None:
        """A stream filter raised."""
        error: Any = failure.value
        if not isinstance(error, PluginFault):
            filters = self._listener.plans.plan(self.route).streamFilters
            name = "+".join(name for name, _ in filters)
            error = PluginFault(name, f"{type(error).__name__}: {error}")
        _log.failure("{id}: stream hook failed: {detail}", failure, id=self.id, detail=error)
        self._life.end(Party.PLUGIN, error.detail)
        self.close()

    def violated(self, direction: Direction, violation: Violation) -> None:
        """Bytes have no rules to break."""

    def closeReceived(self, direction: Direction, code: int | None, reason: str) -> None:
        """Bytes have no Close frames."""

    def _finish(self) -> None:
        self._deadline.cancel()
        self._idle.cancel()
        self._listener.relay.closed(self)
        self._life.close(self.counts())

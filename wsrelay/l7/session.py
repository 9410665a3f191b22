# -*- test-case-name: tests.l7.test_session -*-
"""
A I{session}: one WebSocket, from its 101 to its end (RFC 6455 section 7).

Close frames pass from end to end with code and reason as they are. Where one side cannot
have heard one, because the other broke the rules, vanished, or a plugin or the operator
wants the end, the session puts its own on the wire, between two frames:

========================  ===========================  ===========================
what happened             the side at fault is told    the other side is told
========================  ===========================  ===========================
a rule was broken         1002, 1007, 1008 or 1009     1001 (backend), 1011 (client)
the client vanished                                    1001
the backend vanished                                   1011
a filter raised           1011                         1011
a filter said Close       its code and reason          its code and reason
nothing moved for long    1001                         1001
========================  ===========================  ===========================

It is over when each side has answered or is gone, or the close timeout has run out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.errors import PluginFault, Violation
from wsrelay.interfaces import IMessageFilter, ISession
from wsrelay.l4.life import Life
from wsrelay.l4.listener import Listener
from wsrelay.l4.plans import Plan
from wsrelay.l4.timers import Deadline, IdleTimer
from wsrelay.l4.tunnel import sender
from wsrelay.model import (
    Close,
    CloseReason,
    Counts,
    Direction,
    Kind,
    Message,
    Party,
    Phase,
)
from wsrelay.plane.engine import ILink, Lane
from wsrelay.plane.legs import Leg
from wsrelay.plane.verdicts import Hook, compose
from wsrelay.wire.frames import encodeClose

__all__ = ["Session"]

_log = Logger()

# RFC 6455 section 7.4.1; what a side is told about the other, and the two that stand for
# "a Close frame without a code" and "no Close frame".
_GOING_AWAY = 1001
_INTERNAL_ERROR = 1011
_NO_CODE = 1005
_NO_CLOSE = 1006

# Seconds for both sides to go in peace, when the close timeout is over.
_LAST_WORDS = 1.0

# What most sessions share, since an idle one should be small.
_NONE: frozenset[Direction] = frozenset()
_NO_NAMES: Mapping[Direction, str] = {}

_ABOUT = {Party.CLIENT: _GOING_AWAY, Party.BACKEND: _INTERNAL_ERROR}


@implementer(ISession)
class Session:
    """One session, see the module and L{ISession}."""

    def __init__(
        self, listener: Listener, life: Life, plan: Plan, subprotocol: str | None
    ) -> None:
        self.id = life.inbound.id
        self.inbound = life.inbound
        self.route = plan.forward
        self.backend = life.backend
        self.subprotocol = subprotocol
        self._listener = listener
        self._life = life
        self._link: ILink | None = None
        clock = listener.relay.clock
        self._deadline = Deadline(clock, plan.forward.settings.closeTimeout)
        self._idle = IdleTimer(clock)
        # By direction: a Close frame came from its sender; one went to its receiver; its
        # sender will say nothing more that counts; its sender's connection is gone.
        self._heard = self._told = self._gone = self._lost = _NONE
        self._hookNames: Mapping[Direction, str] = _NO_NAMES
        # A Close that takes the place of the one that the direction's sender will send.
        self._owed: dict[Direction, Close] | None = None
        # What plugins asked for while they were being attached.
        self._asked: tuple[Callable[[], None], ...] = ()

    def attach(
        self, filters: Sequence[tuple[str, IMessageFilter]], direction: Direction
    ) -> tuple[str, Hook | None]:
        """
        One hook out of those of the filters.

        @raise PluginFault: one of them raised.
        """
        hooks = []
        for name, each in filters:
            try:
                hook = each.attach(self, direction)
            except Exception as error:
                raise PluginFault(name, f"attach: {type(error).__name__}: {error}") from error
            if hook is not None:
                hooks.append((name, hook))
        hookName, hook = compose(hooks)
        self._hookNames = {**self._hookNames, direction: hookName}
        return hookName, hook

    def join(
        self, client: Leg, backend: Leg, lanes: Mapping[Direction, Lane], extensions: str
    ) -> None:
        """The client has been accepted: give both legs, holding still, to the plane."""
        levels = {direction: lane.level for direction, lane in lanes.items()}
        self._life.established(Kind.SESSION, levels, self.subprotocol, extensions)
        self._link = self._listener.plane.link(client, backend, lanes, self)
        self._listener.relay.opened(self, self._leave, self._link.abort)

    def begin(self) -> None:
        """Let the bytes move."""
        assert self._link is not None
        if self.inbound.request is not None:
            # It may be long before anybody asks.
            self.inbound.request.headers.forget()
        limit = self.route.settings.idleTimeout
        if limit is not None:
            self._idle.watch(self._link.idleFor, limit, self._idleTooLong)
        self._link.start()
        asked, self._asked = self._asked, ()
        for ask in asked:
            ask()

    def _idleTooLong(self, seconds: float) -> None:
        self._endBoth(Party.RELAY, f"idle for {seconds:.0f} s", Close(_GOING_AWAY, "idle"))

    def _leave(self) -> None:
        self._endBoth(Party.RELAY, "the relay stops", Close(_GOING_AWAY))

    # -- ISession

    def send(self, direction: Direction, data: str | bytes) -> None:
        """A message of a plugin's own, see L{ISession.send}."""
        isText = isinstance(data, str)
        payload = data.encode("utf-8") if isinstance(data, str) else data
        if self._link is None:
            self._asked += (partial(self.send, direction, data),)
        elif direction not in self._told:
            self._link.send(direction, Message(payload, isText))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """End it, see L{ISession.close}."""
        said = f"closed: {code} {reason}".rstrip()
        self._endBoth(Party.PLUGIN, said, Close(code, reason))

    def counts(self) -> Mapping[Direction, Counts]:
        """What went each way so far."""
        if self._link is None:
            return {direction: Counts() for direction in Direction}
        return self._link.counts()

    def whenClosed(self, call: Callable[[CloseReason], None]) -> None:
        """Call at the end, see L{ISession.whenClosed}."""
        self._life.whenClosed(call)

    # -- the owner of the link

    def closeReceived(self, direction: Direction, code: int | None, reason: str) -> None:
        """A side says goodbye; unless the relay has already spoken, the other hears it."""
        said = f"closed: {code} {reason}".rstrip() if code is not None else "closed without a code"
        self._ending(sender(direction), said)
        self._heard |= {direction}
        if direction not in self._told:
            self._told |= {direction}
            owed = self._takeOwed(direction)
            seen = code if owed is None else owed.code
            self._saw(direction, _NO_CODE if seen is None else seen)
        self._settle()

    def violated(self, direction: Direction, violation: Violation) -> None:
        """A side broke the rules: it is told which, the other that it will hear no more."""
        party = sender(direction)
        self._ending(party, f"broke the protocol ({violation.code}): {violation.detail}")
        self._gone |= {direction}
        self._tell(direction, Close(_ABOUT[party]))
        self._tellLast(direction.opposite, Close(violation.code))
        self._settle()

    def hookAsked(self, direction: Direction, close: Close) -> None:
        """A message filter wants the end."""
        name = self._hookNames.get(direction, "")
        said = f"{name} closed: {close.code} {close.reason}".rstrip()
        self._endBoth(Party.PLUGIN, said, close)

    def hookFailed(self, direction: Direction, failure: Failure) -> None:
        """A message filter raised or answered nonsense."""
        error: Any = failure.value
        if not isinstance(error, PluginFault):
            name = self._hookNames.get(direction, "")
            error = PluginFault(name, f"{type(error).__name__}: {error}")
        _log.failure(
            "{id}: message hook failed: {detail}", failure, id=self.id, detail=error.detail
        )
        self._endBoth(Party.PLUGIN, error.detail, Close(_INTERNAL_ERROR))

    def streamEnded(self, direction: Direction) -> None:
        """A WebSocket has no half-close: who sends no more is gone."""
        self._vanished(direction, "ended its stream without a Close frame")

    def legLost(self, direction: Direction, failure: Failure) -> None:
        """A side's connection is gone."""
        self._lost |= {direction}
        if len(self._lost) == 2:
            self._finish()
        else:
            self._vanished(direction, f"lost: {failure.getErrorMessage()}")

    def _vanished(self, direction: Direction, detail: str) -> None:
        party = sender(direction)
        if direction not in self._heard:
            self._ending(party, detail)
            self._tell(direction, Close(_ABOUT[party]))
        self._gone |= {direction}
        self._settle()

    # -- the end

    def _ending(self, party: Party, detail: str) -> None:
        assert self._link is not None
        self._life.end(party, detail)
        self._life.phase = Phase.CLOSE
        self._idle.cancel()
        self._deadline.start(self._late)

    def _endBoth(self, party: Party, detail: str, close: Close) -> None:
        if self._link is None:
            self._asked += (partial(self._endBoth, party, detail, close),)
            return
        if len(self._lost) == 2:
            return
        self._ending(party, detail)
        self._tell(Direction.TO_BACKEND, close)
        self._tell(Direction.TO_CLIENT, close)
        self._settle()

    def _tell(self, direction: Direction, close: Close) -> None:
        """Put a Close of the relay's own on this way, unless one went there already."""
        assert self._link is not None
        close = self._takeOwed(direction) or close
        if direction in self._told:
            self._link.mute(direction)
            return
        key = os.urandom(4) if direction is Direction.TO_BACKEND else None
        if self._link.mute(direction, encodeClose(close.code, close.reason, key)):
            self._told |= {direction}
            self._saw(direction, close.code)
        else:
            # It stands in the middle of a frame that nobody will complete.
            self._link.finish(direction)

    def _tellLast(self, direction: Direction, close: Close) -> None:
        """
        Put a Close of the relay's own on this way once its sender has said what it had still
        to say: it may be answering what came before.
        """
        assert self._link is not None
        if direction in self._gone or direction in self._told:
            self._tell(direction, close)
            return
        key = os.urandom(4) if direction is Direction.TO_BACKEND else None
        self._link.closeWith(direction, encodeClose(close.code, close.reason, key))
        self._owed = {**(self._owed or {}), direction: close}

    def _takeOwed(self, direction: Direction) -> Close | None:
        return self._owed.pop(direction, None) if self._owed else None

    def _late(self) -> None:
        """
        The close timeout has run out: who is owed a Close gets it now, and whoever still
        reads sees a clean end; only then is the rest cut.
        """
        assert self._link is not None
        for direction, close in list((self._owed or {}).items()):
            self._tell(direction, close)
        self._deadline = Deadline(self._listener.relay.clock, _LAST_WORDS)
        self._deadline.start(self._link.abort)
        self._link.close()

    def _saw(self, direction: Direction, code: int) -> None:
        """The receiver of this direction gets a Close, unless it has gone."""
        if direction.opposite not in self._lost:
            self._life.codes[sender(direction.opposite)] = code

    def _settle(self) -> None:
        """
        Both have answered or are gone: that is the end. While both are still there the
        backend, which is the server of its connection, closes first (section 7.1.1).
        """
        assert self._link is not None
        if len(self._heard | self._gone) == 2 and self._gone:
            self._link.close()

    def _finish(self) -> None:
        self._deadline.cancel()
        self._idle.cancel()
        for party in (Party.CLIENT, Party.BACKEND):
            self._life.codes.setdefault(party, _NO_CLOSE)
        self._listener.relay.closed(self)
        self._life.close(self.counts())

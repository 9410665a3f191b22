# -*- test-case-name: tests.l7.test_pace -*-
"""
How slow a client may be.

A L{Pace} has I{patience} with a client, in seconds. It runs out while the client is waited for
and comes back with each byte that moves, up to what it was at first: a client that keeps the
rate is never late, one that is slower or silent is late in the end, whatever it did before.
While somebody else is waited for, the backend that does not read or does not answer, the pace
is paused; L{Paced} sees to that.

This is for the bodies of requests (slow body) and for clients that do not take their response
(slow read). A request head has a deadline as a whole.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from wsrelay.plane.legs import Leg

__all__ = ["Pace", "Paced", "takenBy"]

# One looks so often while patience lasts; that is how late one may be to see that it is over.
_LOOKS = 4
# A clock that is a rounding error short must not have one look once more. Seconds.
_EARLY = 1e-6

# Where struct tcp_info (linux/tcp.h) has tcpi_bytes_acked, since Linux 4.1; and its end.
_ACKED = slice(120, 128)


def takenBy(leg: Leg) -> int | None:
    """
    How many bytes the peer's kernel has taken since the connection began; C{None} where ours
    cannot tell: it is not Linux, or no TCP. TLS makes no difference.
    """
    option = getattr(socket, "TCP_INFO", None)
    if option is None or leg.isLost:
        return None
    try:
        # The kind is not asked for, and the descriptor stays whose it is.
        peer = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, leg.transport.fileno())
    except (AttributeError, OSError, ValueError):
        return None
    try:
        acked = peer.getsockopt(socket.IPPROTO_TCP, option, _ACKED.stop)[_ACKED]
    except OSError:
        return None
    finally:
        peer.detach()
    return int.from_bytes(acked, sys.byteorder) if len(acked) == 8 else None


def _nobody() -> None:
    """In the place of whoever would be called."""


class Pace:
    """
    One body, one way; see the module. It is paused at first.

    @ivar moved: how many bytes have moved; whoever moves them adds to it.
    """

    __slots__ = (
        "_clock",
        "_isOver",
        "_late",
        "_left",
        "_most",
        "_rate",
        "_seen",
        "_since",
        "_taken",
        "_timer",
        "_waited",
        "moved",
    )

    def __init__(
        self,
        clock: Any,
        patience: float,
        rate: float,
        late: Callable[[], None],
        taken: Callable[[], int | None] | None = None,
    ) -> None:
        """
        @param clock: an L{IReactorTime} provider.
        @param patience: in seconds.
        @param rate: bytes a second; with 0 every byte gives all patience back.
        @param late: called once, when patience is at its end.
        @param taken: asked now and then how many bytes have moved, where nobody adds them to
            L{moved}. C{None} is no answer, and no client is late for that.
        """
        self.moved = 0
        self._clock = clock
        self._most = self._left = patience
        self._rate = rate
        self._late = late
        self._taken = taken
        self._seen = 0
        self._timer: Any = None
        # Since when the client is waited for, if it is, and how long it was before that and
        # since the last look.
        self._since: float | None = None
        self._waited = 0.0
        self._isOver = False

    def resume(self) -> None:
        """The client is waited for."""
        if self._since is None and not self._isOver:
            self._since = self._clock.seconds()
            if self._timer is None:
                self._gained()
                self._wait()

    def pause(self) -> None:
        """Somebody else is."""
        if self._since is not None:
            self._waited += self._clock.seconds() - self._since
            self._since = None

    def stop(self) -> None:
        """It is over: never call, and hold on to nobody."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._isOver = True
        self._late, self._taken = _nobody, None

    def _wait(self) -> None:
        self._timer = self._clock.callLater(self._most / _LOOKS, self._look)

    def _look(self) -> None:
        self._timer = None
        isWaiting = self._since is not None
        self.pause()
        self._left = min(self._most, self._left - self._waited + self._gained())
        self._waited = 0.0
        if self._left <= _EARLY:
            late = self._late
            self.stop()
            late()
        elif isWaiting:
            self.resume()

    def _gained(self) -> float:
        """What moved since this was asked last, in seconds of patience."""
        moved = self.moved if self._taken is None else self._taken()
        if moved is None:
            return self._most
        gained, self._seen = moved - self._seen, moved
        if self._rate:
            return gained / self._rate
        return self._most if gained else 0.0


@implementer(IPushProducer)
class Paced:
    """
    A producer whose pauses a pace hears of.

    For the body of a request the pace is paused with it: the backend does not read. For that of a
    response it is the reverse, the client does not read::

        fetch.feed(Paced(leg, pace.pause, pace.resume))
        leg.feed(Paced(fetch.leg, pace.resume, pace.pause))
    """

    __slots__ = ("_paused", "_resumed", "_source")

    def __init__(
        self, source: Any, paused: Callable[[], None], resumed: Callable[[], None]
    ) -> None:
        """
        @param source: an L{IPushProducer} provider.
        @param paused: called when it is paused.
        @param resumed: called when it is to go on.
        """
        self._source = source
        self._paused = paused
        self._resumed = resumed

    def pauseProducing(self) -> None:
        """Whoever it feeds does not read."""
        self._paused()
        self._source.pauseProducing()

    def resumeProducing(self) -> None:
        """It reads again."""
        self._resumed()
        self._source.resumeProducing()

    def stopProducing(self) -> None:
        """Whoever it feeds is gone."""
        self._source.stopProducing()

# -*- test-case-name: tests.l4.test_announcing -*-
"""
A balancer in front says whom it speaks for, before anything else: one step on the way of a
client that has arrived.

Who may say so is named by networks. From anybody else a PROXY header is just bytes, and what
they want is for those to find out who come next; a balancer that says nothing is closed.

What was said is on the leg from then on (L{Arrival.proxied}); see L{wsrelay.wire.proxyproto}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.logger import Logger

from wsrelay.errors import BadRequest, ClientFault
from wsrelay.l4.sniff import Arrival, Patience
from wsrelay.model import Address
from wsrelay.routing.matchers import NetworkMatcher
from wsrelay.wire.proxyproto import Proxied, ProxyReader

__all__ = ["Announcement", "Balancers", "announce", "announcing"]

_log = Logger()


class Balancers:
    """Whom to believe."""

    def __init__(self, networks: Iterable[str] | None = None) -> None:
        """
        @param networks: addresses and networks; C{None} is everybody.
        @raise ValueError: one of them is none.
        """
        self._networks = None if networks is None else NetworkMatcher(networks).networks

    def include(self, peer: Address) -> bool:
        """Whether this is one; what comes by a UNIX socket is in no network."""
        if self._networks is None:
            return True
        address = peer.ip
        return address is not None and any(address in each for each in self._networks)


class Announcement(Patience):
    """In charge of a leg until the header is complete; what came behind it is held."""

    def __init__(
        self,
        clock: Any,
        leg: Arrival,
        timeout: float,
        read: Callable[[Proxied], None],
        failed: Callable[[ClientFault], None],
    ) -> None:
        """
        @param timeout: seconds for the whole header.
        @param read: called once with what it said; the leg holds still then.
        @param failed: called once instead: no header, malformed, too late, or gone.
        """
        super().__init__(clock, leg, timeout, "PROXY header", failed)
        self._read = read
        self._reader = ProxyReader()
        leg.hand(self)

    def received(self, data: bytes) -> None:
        """More of it."""
        try:
            proxied = self._reader.feed(data)
        except BadRequest as error:
            self.give(error)
            return
        if proxied is not None:
            self.let(self._reader.rest)
            self._read(proxied)


def announce(
    leg: Arrival,
    balancers: Balancers,
    clock: Any,
    timeout: float,
    done: Callable[[Arrival], None],
    listener: str = "",
) -> None:
    """
    Hear whom a balancer speaks for.

    @param leg: as it was accepted; it reads.
    @param timeout: seconds for the whole header.
    @param listener: its name, for the log.
    @param done: called with the leg, as it was accepted but for what is known of it: at once
        if it is no balancer's. Never called if one says nothing that can be understood: that
        is logged, and the leg is cut.
    """
    if not balancers.include(leg.peer):
        done(leg)
        return
    balancer = str(leg.peer)

    def read(proxied: Proxied) -> None:
        leg.proxied = proxied
        leg.resumeProducing()
        done(leg)

    def failed(error: ClientFault) -> None:
        where = f"listener {listener}: " if listener else ""
        _log.warn(
            "{where}{balancer}: {detail}", where=where, balancer=balancer, detail=error.detail
        )
        leg.abort()

    Announcement(clock, leg, timeout, read, failed)


def announcing(
    balancers: Balancers, clock: Any, timeout: float, listener: str = ""
) -> Callable[[Arrival, Callable[[Arrival], None]], None]:
    """L{announce} as a step of L{wsrelay.l4.reception}: called with a leg and what comes next."""
    return lambda leg, then: announce(leg, balancers, clock, timeout, then, listener)

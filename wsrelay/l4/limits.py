# -*- test-case-name: tests.l4.test_limits -*-
"""
How many clients a listener takes, and how fast they may come.

L{Limits} are the numbers, L{Admission} is what keeps them, one for each listener: it is asked
about each connection and each WebSocket handshake, and says nothing or has a L{Refusal}. A
I{client} is a network: with IPv6 everybody has as many addresses as there are.

The I{reserve} is what nobody is admitted to: the kernel gives the lowest free descriptor, so
the number of a connection says how many are in use. With the last ones held back for dials, logs
and answers, a relay that is full still says so, and is well again as soon as somebody leaves.

All is counted in memory that is bounded, with no timer for anybody. What a client that was
refused hears is the business of its forwarder.
"""

from __future__ import annotations

import math
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import partial
from ipaddress import ip_network
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any

from attrs import field, frozen
from twisted.logger import Logger

from wsrelay.model import Address

__all__ = ["NO_LIMITS", "Admission", "Limits", "Rate", "Refusal", "reservedFrom"]

_log = Logger()

# How long a listener stays full nobody knows; in seconds.
_LATER = 5
# The log has a line about refusals at most so often, in seconds.
_TELL = 1.0
# As many networks are remembered for each rate. When there are more, whoever has not come for
# the longest time begins anew: a flood from everywhere is for the listener's own limits.
_MOST_NETWORKS = 65536
_MAPPED = bytes(10) + b"\xff\xff"


def reservedFrom(reserve: int | None = None) -> int:
    """
    The first descriptor that is held back.

    @param reserve: how many are, at most half of them; C{None} is one in eight, at most 128:
        in one turn of the reactor about a hundred may be accepted before any of those that were
        refused is closed.
    """
    try:
        import resource
    except ImportError:  # Windows, where descriptors are no numbers that begin at 0
        return sys.maxsize
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return sys.maxsize
    return most - (min(128, most // 8) if reserve is None else min(reserve, most // 2))


@frozen
class Refusal:
    """
    Why somebody is not admitted.

    @ivar status: 429 where it is the client's own limit, else 503.
    @ivar detail: which limit, as the configuration writes it, for the log.
    @ivar retryAfter: when it may be worth another try, in seconds.
    """

    status: int
    detail: str
    retryAfter: int = _LATER


def _masked(networks: Any) -> tuple[tuple[int, int, int], ...]:
    found = map(ip_network, networks)
    return tuple(
        (each.max_prefixlen // 8, int(each.netmask), int(each.network_address)) for each in found
    )


@frozen
class Limits:
    """
    How many, and how many a second; C{None} is no limit.

    @ivar connections: open at the same time.
    @ivar connectionsPerClient: of one client.
    @ivar rate: new connections a second.
    @ivar ratePerClient: of one client.
    @ivar handshakes: WebSocket handshakes a second.
    @ivar handshakesPerClient: of one client.
    @ivar burst: as many seconds' worth of any rate may come at once.
    @ivar prefix4: how many bits of an IPv4 address make a client.
    @ivar prefix6: how many bits of an IPv6 address.
    @ivar exempt: networks that the limits per client are not for. (As the size of their
        addresses in bytes, mask, and number.)
    """

    connections: int | None = None
    connectionsPerClient: int | None = None
    rate: float | None = None
    ratePerClient: float | None = None
    handshakes: float | None = None
    handshakesPerClient: float | None = None
    burst: float = 5.0
    prefix4: int = 32
    prefix6: int = 64
    exempt: tuple[Any, ...] = field(default=(), converter=_masked)


#: Whoever comes is taken.
NO_LIMITS = Limits()


class Rate:
    """
    So many a second, and some at once.

    All that is known of anybody is when the next one would be due if they came one by one;
    coming early is allowed, as far as the burst goes (virtual scheduling, as for cells of ATM in
    ITU-T I.371 annex A). Whoever is not late is worth no memory.
    """

    __slots__ = ("_due", "_slack", "_step")

    def __init__(self, rate: float, burst: float) -> None:
        """
        @param rate: a second.
        @param burst: as many seconds' worth may come at once, one at least.
        """
        self._step = 1 / rate
        self._slack = max(0.0, burst - self._step)
        self._due: OrderedDict[bytes, float] = OrderedDict()

    def wait(self, who: bytes, now: float) -> float:
        """How long C{who} is too early, in seconds; C{0} or less is in time."""
        # A rounding error is not too early.
        return self._due.get(who, now) - now - self._slack - 1e-9

    def take(self, who: bytes, now: float) -> None:
        """C{who} has come."""
        self._due[who] = max(self._due.get(who, now), now) + self._step
        self._due.move_to_end(who)
        if len(self._due) > _MOST_NETWORKS:
            self._due.popitem(last=False)

    def __len__(self) -> int:
        return len(self._due)


class _Rates:
    """A rate for everybody together and one for each client; either may be missing."""

    __slots__ = ("_all", "_each", "_late")

    def __init__(self, key: str, rate: float | None, each: float | None, burst: float) -> None:
        """@param key: as the configuration has it, for the log."""
        self._all = None if rate is None else Rate(rate, burst)
        self._each = None if each is None else Rate(each, burst)
        self._late = (503, f"{key} = {rate}"), (429, f"{key}PerClient = {each}")

    def __bool__(self) -> bool:
        return self._all is not None or self._each is not None

    def refuse(self, client: bytes | None, now: float) -> Refusal | None:
        """Whether C{client} comes too early; then it takes nothing from the others."""
        asked = (self._all, b""), (self._each, client)
        for index in (1, 0):
            rate, who = asked[index]
            if rate is not None and who is not None and (wait := rate.wait(who, now)) > 0:
                return Refusal(*self._late[index], retryAfter=math.ceil(wait))
        for rate, who in asked:
            if rate is not None and who is not None:
                rate.take(who, now)
        return None


class Admission:
    """
    What keeps the limits of one listener.

    @ivar isCounting: whether there is any limit on connections; without one nobody need
        call L{left}, and nothing is counted.
    @ivar open: how many connections were admitted and have not left.
    @ivar refused: how often, for each reason that there was.
    """

    def __init__(
        self, name: str, limits: Limits, clock: Any, reservedFrom: int = sys.maxsize
    ) -> None:
        """
        @param name: the listener's.
        @param clock: an L{IReactorTime} provider.
        @param reservedFrom: the first descriptor that is held back.
        """
        most, mostOfOne = limits.connections, limits.connectionsPerClient
        rate, rateOfOne = limits.rate, limits.ratePerClient
        self.open = 0
        self._name = name
        self._clock = clock
        self._reservedFrom = reservedFrom
        self._most = math.inf if most is None else most
        self._mostOfOne = math.inf if mostOfOne is None else mostOfOne
        self.isCounting = any(each is not None for each in (most, mostOfOne, rate, rateOfOne))
        self._clients: dict[bytes, int] = {}
        self._networks = _Networks(limits)
        self._arrivals = _Rates("rate", rate, rateOfOne, limits.burst)
        self._handshakes = _Rates(
            "handshakes", limits.handshakes, limits.handshakesPerClient, limits.burst
        )
        self.refused: Counter[str] = Counter()
        # What the log has heard of.
        self._told: Counter[str] = Counter()
        self._telling: Any = None

    def receive(self, leg: Any, refused: Callable[[Any, Refusal], None]) -> bool:
        """
        A connection was accepted: admit its client for as long as it stays, or see it off.

        @param leg: an L{Arrival<wsrelay.l4.sniff.Arrival>}.
        @param refused: called with the leg of a client that is not admitted, and why.
        """
        client = leg.peer
        number = getattr(leg.transport, "fileno", None)
        refusal = self.admit(client, -1 if number is None else number())
        if refusal is not None:
            refused(leg, refusal)
            return False
        if self.isCounting:
            leg.whenGone(partial(self.left, client))
        return True

    def admit(self, client: Address, descriptor: int = -1) -> Refusal | None:
        """
        A connection was accepted.

        @param client: where it comes from.
        @param descriptor: of its socket; -1 if it has none.
        @return: C{None} if it may stay; then L{left} must be called when it is gone.
        """
        if descriptor >= self._reservedFrom:
            return self._refuse(client, Refusal(503, "reserve"))
        if not self.isCounting:
            return None
        who = self._networks.of(client)
        refusal = self._crowded(who) or self._arrivals.refuse(who, self._clock.seconds())
        if refusal is not None:
            return self._refuse(client, refusal)
        self.open += 1
        if who is not None:
            self._clients[who] = self._clients.get(who, 0) + 1
        return None

    def left(self, client: Address) -> None:
        """A connection of this client that was admitted is gone."""
        if not self.isCounting:
            return
        self.open -= 1
        who = self._networks.of(client)
        if who is not None and (rest := self._clients.pop(who) - 1):
            self._clients[who] = rest

    def _crowded(self, who: bytes | None) -> Refusal | None:
        if who is not None and self._clients.get(who, 0) >= self._mostOfOne:
            return Refusal(429, f"connectionsPerClient = {self._mostOfOne}")
        if self.open >= self._most:
            return Refusal(503, f"connections = {self._most}")
        return None

    def handshake(self, client: Address) -> Refusal | None:
        """A client asks for a WebSocket; C{None} if it may have one."""
        if not self._handshakes:
            return None
        who = self._networks.of(client)
        refusal = self._handshakes.refuse(who, self._clock.seconds())
        return None if refusal is None else self._refuse(client, refusal)

    # -- the log: the first one at once, the others counted

    def _refuse(self, client: Address, refusal: Refusal) -> Refusal:
        self.refused[refusal.detail] += 1
        if self._telling is None:
            _log.warn(
                "listener {listener}: refused {client}: {detail}",
                listener=self._name,
                client=str(client),
                detail=refusal.detail,
            )
            self._wait()
        return refusal

    def _wait(self) -> None:
        self._told = self.refused.copy()
        self._telling = self._clock.callLater(_TELL, self._tell)

    def _tell(self) -> None:
        more = self.refused - self._told
        self._telling = None
        if not more:
            return
        _log.warn(
            "listener {listener}: refused {count} more: {detail}",
            listener=self._name,
            count=more.total(),
            detail=", ".join(f"{count} for {detail}" for detail, count in more.most_common()),
        )
        self._wait()


class _Networks:
    """What of an address makes a client."""

    __slots__ = ("_exempt", "_shifts")

    def __init__(self, limits: Limits) -> None:
        self._exempt = limits.exempt
        self._shifts = {4: 32 - limits.prefix4, 16: 128 - limits.prefix6}

    def of(self, client: Address) -> bytes | None:
        """
        The client, short and always the same; C{None} for one that has no limits of its own.
        All that come to UNIX sockets are one.
        """
        host = client.host
        try:
            if ":" in host:
                packed = inet_pton(AF_INET6, host.partition("%")[0]).removeprefix(_MAPPED)
            else:
                packed = inet_pton(AF_INET, host)
        except (OSError, ValueError):
            return b""
        size = len(packed)
        shift = self._shifts[size]
        if not shift and not self._exempt:
            return packed
        number = int.from_bytes(packed, "big")
        for length, mask, network in self._exempt:
            if length == size and number & mask == network:
                return None
        return (number >> shift << shift).to_bytes(size, "big")

# -*- test-case-name: tests.l4.test_listener -*-
"""
A I{listener}: where clients arrive.

It opens its endpoints with the factory of its forwarder, and asks the routing policies on
behalf of what arrives. What happens to a connection is the forwarder's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve, frozen
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from zope.interface import implementer

from wsrelay.answers import Answer, whenAnswered
from wsrelay.errors import PluginFault, RelayError
from wsrelay.interfaces import IForwarder, IListener, IRoutingPolicy
from wsrelay.l4.limits import NO_LIMITS, Admission, Limits
from wsrelay.l4.plans import Plans
from wsrelay.l4.reception import Step, received
from wsrelay.l4.sniff import Arrival
from wsrelay.l4.tunnel import Tunnel
from wsrelay.model import Decision, Forward, Inbound, Refuse, Request, Respond, Serve
from wsrelay.plane.engine import IPlane
from wsrelay.plane.legs import Leg, addressOf, takeOver
from wsrelay.plane.verdicts import isLater
from wsrelay.tls.facts import NO_TLS, TLSFacts, tlsFacts
from wsrelay.tls.terminator import Terminator
from wsrelay.wire.proxyproto import Proxied

__all__ = ["Listener", "ListenerSettings"]

# A policy makes as many different decisions as it likes; what is kept of them is bounded.
_MOST_NAMED = 1000


@frozen
class ListenerSettings:
    """
    How clients are met. Times in seconds, sizes in bytes.

    @ivar headTimeout: for a whole request head, or a whole ClientHello, to arrive.
    @ivar keepAliveTimeout: between two requests of one connection.
    @ivar maxHead: of a request head.
    @ivar maxHeaders: fields of a request head.
    @ivar bodyTimeout: how long a client may send nothing, or too little, of a request's body.
    @ivar readTimeout: how long it may take nothing, or too little, of its response.
    @ivar minRate: what is not too little, in bytes a second; 0 is one byte.
    @ivar limits: how many clients there may be.
    @ivar trust: the L{Trust<wsrelay.l7.forwarded.Trust>} in proxies in front; C{None} is in none.
    @ivar forwarded: what backends are told about clients, a key of
        L{SAYINGS<wsrelay.l7.forwarded.SAYINGS>}.
    @ivar pages: the L{Pages<wsrelay.l7.pages.Pages>} for errors; C{None} is the relay's own.
    """

    headTimeout: float = 10.0
    keepAliveTimeout: float = 75.0
    maxHead: int = 16384
    maxHeaders: int = 100
    bodyTimeout: float = 20.0
    readTimeout: float = 60.0
    minRate: int = 500
    limits: Limits = NO_LIMITS
    trust: Any = None
    forwarded: str = "x-forwarded"
    pages: Any = None


@implementer(IListener)
class Listener:
    """
    One listener.

    @ivar name: as in the configuration.
    @ivar relay: what it belongs to.
    @ivar plans: what its decisions need.
    @ivar plane: what moves its bytes.
    @ivar tls: where TLS ends, if it does so on terms of the listener's own.
    """

    def __init__(
        self,
        name: str,
        endpoints: Sequence[IStreamServerEndpoint],
        forwarder: IForwarder,
        policies: Sequence[tuple[str, IRoutingPolicy]],
        relay: Any,
        plans: Plans,
        plane: IPlane,
        settings: ListenerSettings = ListenerSettings(),
        otherwise: Forward | None = None,
        tls: Terminator | None = None,
        announced: Step | None = None,
    ) -> None:
        """
        @param policies: with their names, in the order in which they are asked.
        @param otherwise: what holds when none of them has an answer.
        @param tls: ends TLS on all endpoints; then none of them may do that by itself.
        @param announced: see L{received}.
        """
        self.name = name
        self.relay = relay
        self.plans = plans
        self.plane = plane
        self.settings = settings
        self.admission = Admission(name, settings.limits, relay.clock, relay.reservedFrom)
        self._endpoints = endpoints
        self._policies = tuple(policies)
        self._otherwise = otherwise
        self._named: dict[Forward, Forward] = {}
        self.tls = tls
        factory = forwarder.forwardingFactory(self)
        self._factory = received(self, factory, tls, self.admission, announced)
        self.ports: list[IListeningPort] = []

    async def listen(self) -> None:
        """
        Open every endpoint.

        @raise RelayError: one of them cannot be opened; the message says where.
        """
        for endpoint in self._endpoints:
            try:
                port = await endpoint.listen(self._factory)
            except Exception as error:
                raise RelayError(f"listener {self.name}: {_whyNot(error)}") from error
            self.ports.append(self.plane.accept(port))
        if self.tls is not None:
            self.tls.start(self.relay.clock)

    async def stop(self) -> None:
        """Close every endpoint that was opened; connections stay."""
        if self.tls is not None:
            self.tls.stop()
        ports, self.ports = self.ports, []
        for closing in [port.stopListening() for port in ports]:
            if closing is not None:
                await closing

    def inbound(self, leg: Leg, request: Request | None = None) -> Inbound:
        """
        The facts about a client that has just arrived. Where TLS ends at the listener, its
        server name and protocol are among them only once the handshake is complete.
        """
        facts = _factsOf(leg)
        return Inbound(
            self.relay.newId(),
            self.name,
            leg.peer,
            leg.local,
            leg.isTLS or (isinstance(leg, Arrival) and leg.proxied.tls is not None),
            facts.serverName,
            facts.alpn,
            request,
            certificate=facts.certificate,
        )

    def isMisdirected(self, inbound: Inbound) -> bool:
        """
        Whether a request is for a host that its client has not connected to: TLS ends here, and
        another certificate would have been chosen for it (RFC 9110 section 15.5.20).
        """
        request = inbound.request
        return (
            self.tls is not None
            and request is not None
            and self.tls.isMisdirected(inbound.serverName, request.host)
        )

    def tunnel(self, transport: Any, early: bytes = b"") -> None:
        """Make a tunnel of a connection, see L{IListener.tunnel}."""
        leg = takeOver(transport, early)
        Tunnel(self, leg, self.inbound(leg)).begin()

    def decide(self, inbound: Inbound) -> Decision | Deferred[Decision | None] | None:
        """Ask the policies, see L{IListener.decide}."""
        for position, (name, policy) in enumerate(self._policies):
            try:
                answer: Any = policy.route(inbound)
            except Exception as error:
                raise PluginFault(name, f"{type(error).__name__}: {error}") from error
            if answer is None:
                continue
            if isLater(answer):
                return Deferred.fromCoroutine(self._decideLater(position, answer, inbound))
            return self._checked(name, answer)
        return self._otherwise

    async def _decideLater(self, position: int, answer: Any, inbound: Inbound) -> Decision | None:
        name, _ = self._policies[position]
        while True:
            try:
                decision = await _own(answer) if isLater(answer) else answer
            except Exception as error:
                raise PluginFault(name, f"{type(error).__name__}: {error}") from error
            if decision is not None:
                return self._checked(name, decision)
            position += 1
            if position == len(self._policies):
                return self._otherwise
            name, policy = self._policies[position]
            try:
                answer = policy.route(inbound)
            except Exception as error:
                raise PluginFault(name, f"{type(error).__name__}: {error}") from error

    def _checked(self, name: str, decision: Any) -> Decision:
        if isinstance(decision, Forward):
            return decision if decision.route else self._withName(name, decision)
        if isinstance(decision, (Respond, Serve, Refuse)):
            return decision
        raise PluginFault(
            name, f"route() returned {decision!r:.100}, not Forward, Respond, Serve or Refuse"
        )

    def _withName(self, name: str, decision: Forward) -> Forward:
        named = self._named.get(decision)
        if named is None:
            if len(self._named) >= _MOST_NAMED:
                self._named.clear()
            named = self._named[decision] = evolve(decision, route=name)
        return named


def _whyNot(error: Exception) -> str:
    if not isinstance(error, CannotListenError):
        return f"cannot listen: {error}"
    reason = error.socketError
    why = getattr(reason, "strerror", None) or reason
    # A port is a path where it is a UNIX socket.
    isPath = not isinstance(error.port, int)
    where = addressOf(UNIXAddress(error.port)) if isPath else f"{error.interface}:{error.port}"
    return f"cannot listen on {where}: {why}"


def _own(answer: Answer[Any]) -> Deferred[Any]:
    """
    A Deferred of our own for an answer that is still to come. Waiting for the policy's would
    change its result, and it may be the answer to other clients too.
    """
    own: Deferred[Any] = Deferred()
    whenAnswered(answer, own.callback, own.errback)
    return own


def _factsOf(leg: Leg) -> TLSFacts:
    if not leg.isTLS:
        return _proxiedFacts(leg.proxied) if isinstance(leg, Arrival) else NO_TLS
    # A leg of a stranger's connection does not know its own.
    return leg.facts if isinstance(leg, Arrival) else tlsFacts(leg.transport)


def _proxiedFacts(proxied: Proxied) -> TLSFacts:
    """What a balancer in front, where TLS has ended, says of it."""
    if proxied.authority is None and proxied.protocol is None:
        return NO_TLS
    return TLSFacts(proxied.authority, (proxied.protocol,) if proxied.protocol else ())

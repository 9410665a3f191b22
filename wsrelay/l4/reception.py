# -*- test-case-name: tests.l4.test_reception -*-
"""
What happens to a connection between its accept and its forwarder.

It goes through I{steps}, one after the other, each of which may take its time and may turn the
client away: it is admitted, a balancer says whom it speaks for, TLS ends. All of that happens on
one and the same leg, and so listeners may accept natively whatever their steps are. Then the
forwarder hears of it, and the facts about the client are known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from twisted.internet.interfaces import IProtocolFactory, IProtocolNegotiationFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import alsoProvides

from wsrelay.errors import ClientFault
from wsrelay.l4.life import Life
from wsrelay.l4.limits import Admission, Refusal
from wsrelay.l4.securing import secure
from wsrelay.l4.sniff import Arrival
from wsrelay.model import Inbound, Kind, Party, Phase
from wsrelay.plane.legs import Leg, LegFactory
from wsrelay.tls.alpn import mendALPN
from wsrelay.tls.terminator import Terminator

if TYPE_CHECKING:
    from wsrelay.l4.listener import Listener

__all__ = ["ArrivalFactory", "Next", "Step", "received", "turnAway"]

#: What is called with a leg when a step has done with it.
Next: TypeAlias = Callable[[Arrival], None]

#: Takes a leg that is read and in nobody's charge, and gives it to the next one like that; or
#: turns the client away.
Step: TypeAlias = Callable[[Arrival, Next], None]


class ArrivalFactory(LegFactory):
    """
    Accepts connections as legs. Where TLS ends at the listener, a client that offers
    protocols (ALPN) gets one that is spoken here, or is refused; where none has a name, as
    with opaque bytes, what it offers is passed over.

    @ivar arrived: called with each L{Leg}, as soon as its connection is there.
    @ivar protocols: names for ALPN, the best liked first.
    @ivar endsTLS: whether whoever gets the legs ends TLS by itself, where it finds any, by
        L{Listener.tls<wsrelay.l4.listener.Listener.tls>} and L{secure}.
    @ivar refused: called with a plain leg that is not admitted, and why.
    """

    def __init__(
        self,
        arrived: Callable[[Any], None],
        protocols: Sequence[bytes] = (),
        endsTLS: bool = False,
        refused: Callable[[Leg, Refusal], None] | None = None,
    ) -> None:
        """
        @param arrived: called with each L{Leg}, as soon as its connection is there.
        @param protocols: names for ALPN, the best liked first.
        @param endsTLS: whether C{arrived} is called before TLS, see the attribute.
        @param refused: see the attribute; C{None} closes without a word.
        """
        super().__init__(partial(Arrival, arrived))
        self.arrived = arrived
        self.protocols = tuple(protocols)
        self.endsTLS = endsTLS
        self.refused = refused or _cut
        mendALPN()
        if protocols:
            alsoProvides(self, IProtocolNegotiationFactory)

    def acceptableProtocols(self) -> list[bytes]:
        """See C{IProtocolNegotiationFactory}."""
        return list(self.protocols)


def _cut(leg: Leg, refusal: Refusal) -> None:
    """There is no way to say why."""
    leg.abort()


def received(
    listener: Listener,
    factory: IProtocolFactory,
    terminator: Terminator | None = None,
    admission: Admission | None = None,
    announced: Step | None = None,
) -> IProtocolFactory:
    """
    What a listener opens its endpoints with.

    @param factory: the forwarder's. One that makes no legs is a stranger's: it gets TLS as
        Twisted has it, and no other step.
    @param admission: asked about each connection, as soon as it is known whose it is.
    @param announced: hears from a balancer whom it speaks for.
    """
    if not isinstance(factory, ArrivalFactory):
        if terminator is None:
            return factory
        if IProtocolNegotiationFactory.providedBy(factory):
            terminator.speak(factory.acceptableProtocols())
        return TLSMemoryBIOFactory(terminator, False, factory)
    steps: list[Step] = []
    if announced is not None:
        steps.append(announced)
    if admission is not None:
        refused = factory.refused if terminator is None else _cut
        steps.append(partial(_admitted, admission, refused))
    if terminator is not None:
        terminator.speak(factory.protocols)
        if not factory.endsTLS:
            steps.append(partial(_secured, listener, terminator))
    if not steps:
        return factory
    # With TLS of an endpoint's own it is Twisted that asks for them.
    protocols = factory.protocols if terminator is None else ()
    return ArrivalFactory(_through(steps, factory.arrived), protocols)


def _through(steps: Sequence[Step], arrived: Next) -> Next:
    """All steps in order, and then C{arrived}."""
    for step in reversed(steps):
        arrived = partial(_take, step, arrived)
    return arrived


def _take(step: Step, then: Next, leg: Arrival) -> None:
    step(leg, then)


def _admitted(
    admission: Admission, refused: Callable[[Leg, Refusal], None], leg: Arrival, then: Next
) -> None:
    if admission.receive(leg, refused):
        then(leg)


def _secured(listener: Listener, terminator: Terminator, leg: Arrival, then: Next) -> None:
    # Addresses are asked for now: a client that is gone has none.
    peer, local = leg.peer, leg.local

    def done() -> None:
        leg.resumeProducing()
        then(leg)

    def failed(error: ClientFault) -> None:
        relay = listener.relay
        inbound = Inbound(relay.newId(), listener.name, peer, local, True)
        turnAway(listener, inbound, error)

    secure(leg, terminator, listener.relay.clock, listener.settings.headTimeout, done, failed)


def turnAway(
    listener: Listener, inbound: Inbound, error: ClientFault, leg: Leg | None = None
) -> None:
    """
    It has not even said what it wants: observers hear of that.

    @param leg: is aborted; C{None} if it is being closed already.
    """
    life = Life(listener, Kind.TUNNEL, inbound)
    life.phase = Phase.ACCEPT
    life.end(Party.CLIENT, error.detail)
    if leg is not None:
        leg.abort()
    life.close()

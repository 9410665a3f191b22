# -*- test-case-name: tests.l4.test_forwarders -*-
"""
The forwarders of layer 4, C{tcp}, C{tls-terminate} and C{tls-passthrough}: what third parties'
TCP forwarding factories look like from the inside.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from attrs import evolve
from zope.interface import implementer

from wsrelay.errors import ClientFault
from wsrelay.interfaces import IForwarder
from wsrelay.l4.listener import Listener
from wsrelay.l4.reception import ArrivalFactory, turnAway
from wsrelay.l4.sniff import Arrival, Shake, Sniffer
from wsrelay.l4.tunnel import Tunnel
from wsrelay.plane.legs import Leg
from wsrelay.wire.clienthello import ClientHello

__all__ = ["ArrivalFactory", "TCPForwarder", "TLSPassthroughForwarder"]


@implementer(IForwarder)
class TCPForwarder:
    """
    C{forwarder = "tcp"} and C{"tls-terminate"}: opaque bytes, any protocol. Where the listener
    ends TLS, the handshake comes first, so that policies know its server name and no backend
    is dialled for nobody.
    """

    def forwardingFactory(self, listener: Any) -> ArrivalFactory:
        """See L{IForwarder.forwardingFactory}."""
        return ArrivalFactory(partial(_shaken, listener))


def _shaken(listener: Listener, leg: Arrival) -> None:
    if not leg.isTLS or leg.hasShaken:
        leg.pauseProducing()
        Tunnel(listener, leg, listener.inbound(leg)).begin()
        return
    # TLS of the endpoint's own. Addresses are asked for now: a client that is gone has none.
    inbound = listener.inbound(leg)

    def done() -> None:
        known = evolve(inbound, serverName=leg.facts.serverName, alpn=leg.facts.alpn)
        Tunnel(listener, leg, known).begin()

    def failed(error: ClientFault) -> None:
        turnAway(listener, inbound, error, leg)

    Shake(listener.relay.clock, leg, listener.settings.headTimeout, done, failed)


@implementer(IForwarder)
class TLSPassthroughForwarder:
    """
    C{forwarder = "tls-passthrough"}: routed by what the ClientHello says, TLS untouched.
    """

    def forwardingFactory(self, listener: Any) -> ArrivalFactory:
        """See L{IForwarder.forwardingFactory}."""
        return ArrivalFactory(partial(_sniffed, listener))


def _sniffed(listener: Listener, leg: Leg) -> None:
    # Addresses are asked for now: a client that is gone has none.
    inbound = listener.inbound(leg)

    def read(hello: ClientHello) -> None:
        known = evolve(inbound, serverName=hello.serverName, alpn=hello.alpn)
        Tunnel(listener, leg, known).begin()

    def failed(error: ClientFault) -> None:
        turnAway(listener, inbound, error, leg)

    Sniffer(listener.relay.clock, leg, listener.settings.headTimeout, read, failed)

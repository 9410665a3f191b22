# -*- test-case-name: tests.l4.test_forwarders -*-
"""
The forwarders of layer 4, C{tcp} and C{tls-passthrough}: what third parties' TCP forwarding
factories look like from the inside.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Factory
from zope.interface import implementer

from wsrelay.errors import ClientFault
from wsrelay.interfaces import IForwarder
from wsrelay.l4.life import Life
from wsrelay.l4.listener import Listener
from wsrelay.l4.sniff import Sniffer
from wsrelay.l4.tunnel import Tunnel
from wsrelay.model import Inbound, Kind, Party, Phase
from wsrelay.plane.legs import Leg
from wsrelay.wire.clienthello import ClientHello

__all__ = ["LegFactory", "TCPForwarder", "TLSPassthroughForwarder", "inboundOf"]


def inboundOf(listener: Any, leg: Leg, hello: ClientHello | None = None) -> Inbound:
    """The facts about a client that has just arrived."""
    return Inbound(
        listener.relay.newId(),
        listener.name,
        leg.peer,
        leg.local,
        leg.isTLS,
        hello.serverName if hello else None,
        hello.alpn if hello else (),
    )


class LegFactory(Factory):
    """Accepts connections as legs, and calls C{arrived} with each."""

    noisy = False

    def __init__(self, arrived: Any) -> None:
        """@param arrived: called with a L{Leg}, as soon as its connection is there."""
        self._arrived = arrived

    def buildProtocol(self, addr: Any) -> Leg:
        """One connection, one leg."""
        return Leg(self._arrived)


@implementer(IForwarder)
class TCPForwarder:
    """C{forwarder = "tcp"}: opaque bytes, any protocol."""

    def forwardingFactory(self, listener: Any) -> LegFactory:
        """See L{IForwarder.forwardingFactory}."""

        def arrived(leg: Leg) -> None:
            leg.pauseProducing()
            Tunnel(listener, leg, inboundOf(listener, leg)).begin()

        return LegFactory(arrived)


@implementer(IForwarder)
class TLSPassthroughForwarder:
    """
    C{forwarder = "tls-passthrough"}: routed by what the ClientHello says, TLS untouched.
    """

    def forwardingFactory(self, listener: Listener) -> LegFactory:
        """See L{IForwarder.forwardingFactory}."""
        clock = listener.relay.reactor

        def arrived(leg: Leg) -> None:
            def read(hello: ClientHello) -> None:
                Tunnel(listener, leg, inboundOf(listener, leg, hello)).begin()

            def failed(error: ClientFault) -> None:
                life = Life(listener, Kind.TUNNEL, inboundOf(listener, leg))
                life.phase = Phase.ACCEPT
                life.end(Party.CLIENT, error.detail)
                leg.abort()
                life.close()

            Sniffer(clock, leg, listener.settings.headTimeout, read, failed)

        return LegFactory(arrived)

# -*- test-case-name: tests.l4.test_forwarders -*-
"""
The forwarders of layer 4, C{tcp} and C{tls-passthrough}: what third parties' TCP forwarding
factories look like from the inside.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.protocol import Factory
from zope.interface import implementer

from wsrelay.errors import ClientFault
from wsrelay.interfaces import IForwarder
from wsrelay.l4.life import Life
from wsrelay.l4.listener import Listener
from wsrelay.l4.sniff import Arrival, Shake, Sniffer
from wsrelay.l4.tunnel import Tunnel
from wsrelay.model import Inbound, Kind, Party, Phase
from wsrelay.plane.legs import Leg
from wsrelay.wire.clienthello import ClientHello

__all__ = ["LegFactory", "TCPForwarder", "TLSPassthroughForwarder", "inboundOf"]


def inboundOf(listener: Any, leg: Leg, hello: ClientHello | None = None) -> Inbound:
    """
    The facts about a client that has just arrived.

    @param hello: what its ClientHello said, where TLS passes through.
    """
    serverName, alpn = (hello.serverName, hello.alpn) if hello else (None, ())
    if leg.isTLS:
        serverName, alpn = _settled(leg.transport)
    return Inbound(
        listener.relay.newId(), listener.name, leg.peer, leg.local, leg.isTLS, serverName, alpn
    )


def _settled(transport: Any) -> tuple[str | None, tuple[str, ...]]:
    """The server name and the protocol that the TLS handshake settled."""
    name = transport.getHandle().get_servername()
    protocol = getattr(transport, "negotiatedProtocol", None)
    return (
        name.decode("ascii", "replace").lower() if name else None,
        (protocol.decode("ascii", "replace"),) if protocol else (),
    )


class LegFactory(Factory):
    """Accepts connections as legs, and calls C{arrived} with each."""

    noisy = False

    def __init__(self, arrived: Callable[[Any], None]) -> None:
        """@param arrived: called with a L{Leg}, as soon as its connection is there."""
        self._arrived = arrived

    def buildProtocol(self, addr: Any) -> Leg:
        """One connection, one leg."""
        return Arrival(self._arrived)


def _turnAway(listener: Listener, leg: Leg, error: ClientFault) -> None:
    """It has not even said what it wants."""
    life = Life(listener, Kind.TUNNEL, inboundOf(listener, leg))
    life.phase = Phase.ACCEPT
    life.end(Party.CLIENT, error.detail)
    leg.abort()
    life.close()


@implementer(IForwarder)
class TCPForwarder:
    """
    C{forwarder = "tcp"}: opaque bytes, any protocol. Where the listener ends TLS, the
    handshake comes first, so that policies know its server name and no backend is dialled
    for nobody.
    """

    def forwardingFactory(self, listener: Any) -> LegFactory:
        """See L{IForwarder.forwardingFactory}."""
        clock = listener.relay.reactor

        def arrived(leg: Arrival) -> None:
            if leg.isTLS:
                timeout = listener.settings.headTimeout
                Shake(clock, leg, timeout, partial(begin, leg), partial(_turnAway, listener, leg))
            else:
                leg.pauseProducing()
                begin(leg)

        def begin(leg: Leg) -> None:
            Tunnel(listener, leg, inboundOf(listener, leg)).begin()

        return LegFactory(arrived)


@implementer(IForwarder)
class TLSPassthroughForwarder:
    """
    C{forwarder = "tls-passthrough"}: routed by what the ClientHello says, TLS untouched.
    """

    def forwardingFactory(self, listener: Any) -> LegFactory:
        """See L{IForwarder.forwardingFactory}."""
        clock = listener.relay.reactor

        def arrived(leg: Leg) -> None:
            def read(hello: ClientHello) -> None:
                Tunnel(listener, leg, inboundOf(listener, leg, hello)).begin()

            timeout = listener.settings.headTimeout
            Sniffer(clock, leg, timeout, read, partial(_turnAway, listener, leg))

        return LegFactory(arrived)

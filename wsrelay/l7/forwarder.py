# -*- test-case-name: tests.l7.test_forwarder -*-
"""
C{forwarder = "http"}: each accepted connection becomes a L{Connection}.
"""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from wsrelay.interfaces import IForwarder
from wsrelay.l4.forwarders import ArrivalFactory
from wsrelay.l7.connection import Connection
from wsrelay.l7.refusals import Refusals
from wsrelay.plane.legs import Leg

__all__ = ["HTTPForwarder"]

# As they are registered for ALPN (RFC 7301 section 6); a WebSocket begins in the first.
_PROTOCOLS = (b"http/1.1", b"http/1.0")


@implementer(IForwarder)
class HTTPForwarder:
    """HTTP/1.1 and WebSockets."""

    def forwardingFactory(self, listener: Any) -> ArrivalFactory:
        """See L{IForwarder.forwardingFactory}."""

        def arrived(leg: Leg) -> None:
            Connection(listener, leg)

        refusals = Refusals(listener.relay.clock)
        return ArrivalFactory(arrived, _PROTOCOLS, refused=refusals.answer)

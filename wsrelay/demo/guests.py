# -*- test-case-name: tests.demo.test_guests -*-
"""
What the WebSocket servers of the demo have in common, the application's and the feed's.

A I{guest} is one client of such a server. Only pages from this machine are let in: any page
that a browser has open may try to connect to 127.0.0.1, and says in C{Origin} where it is
from (RFC 6455 section 10.2). Who does not read is not read either, and knows that it is
I{behind}, so that nothing is written that would have to be kept.
"""

from __future__ import annotations

from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

__all__ = ["Guest", "GuestFactory"]

_ORIGINS = ["http://127.0.0.1:*", "http://localhost:*"]


@implementer(IPushProducer)
class Guest(WebSocketServerProtocol):
    """
    One client.

    @ivar isBehind: whether it reads more slowly than it is written to.
    """

    transport: Any
    isBehind = False

    def onOpen(self) -> None:
        """Ask the transport to say when its buffer is full."""
        self.registerProducer(self, True)

    def pauseProducing(self) -> None:
        """It does not read: do not read from it."""
        self.isBehind = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """It has caught up."""
        self.isBehind = False
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """Its connection is gone; C{onClose} hears of that."""


class GuestFactory(WebSocketServerFactory):
    """
    Lets guests in.

    @cvar maxMessage: the longest message that is taken or sent, in bytes; 0 is no limit.
    """

    protocol = Guest
    noisy = False
    maxMessage = 4096

    def __init__(self, reactor: Any) -> None:
        WebSocketServerFactory.__init__(self, reactor=reactor)
        self.setProtocolOptions(  # type: ignore[no-untyped-call]  # of Autobahn
            allowedOrigins=_ORIGINS,
            maxFramePayloadSize=self.maxMessage,
            maxMessagePayloadSize=self.maxMessage,
            # A code of the client's own comes back to it, as it would from most servers.
            echoCloseCodeReason=True,
        )

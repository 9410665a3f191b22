# -*- test-case-name: tests.conformance.test_autobahn_suite -*-
"""
An Autobahn echo server that accepts permessage-deflate: the Autobahn TestSuite's testee.

C{python -m tests.conformance.echo PORT} runs it on 127.0.0.1. Its options are those of the
suite's own test server: it fails a connection by the closing handshake, not by dropping it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept

__all__ = ["Echo", "EchoFactory", "main"]


class Echo(WebSocketServerProtocol):
    """Sends each message back."""

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Send it back, of the same type."""
        self.sendMessage(payload, isBinary)


class EchoFactory(WebSocketServerFactory):
    """Makes L{Echo} connections that agree to compress."""

    protocol = Echo

    def __init__(self) -> None:
        super().__init__()
        self.setProtocolOptions(
            openHandshakeTimeout=30,
            closeHandshakeTimeout=30,
            failByDrop=False,
            perMessageCompressionAccept=_deflate,
        )


def _deflate(offers: Iterable[Any]) -> PerMessageDeflateOfferAccept | None:
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer):
            return PerMessageDeflateOfferAccept(offer)
    return None


def main(port: int) -> None:
    """Serve until a signal comes."""
    from twisted.internet import reactor  # installed when it is imported

    reactor.listenTCP(port, EchoFactory(), interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))

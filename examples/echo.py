# -*- test-case-name: tests.test_examples -*-
"""
A backend to try things with: a WebSocket server that sends back whatever it gets. Run it
with a port::

    python examples/echo.py 9000

Nothing of wsrelay is in it.
"""

from __future__ import annotations

import sys
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import endpoints, task
from twisted.internet.defer import Deferred

__all__ = ["Echo", "main"]


class Echo(WebSocketServerProtocol):
    """Sends each message back; the text C{headers} gets the fields of the handshake."""

    def onConnect(self, request: Any) -> None:
        """The handshake has come."""
        self.fields = "\n".join(f"{name}: {value}" for name, value in request.headers.items())

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Send it back, of the same type."""
        if payload == b"headers":
            payload = self.fields.encode("utf-8")
        self.sendMessage(payload, isBinary)


async def main(reactor: Any, port: str) -> None:
    """Serve until a signal comes."""
    factory = WebSocketServerFactory()
    factory.protocol = Echo
    endpoint = endpoints.serverFromString(reactor, f"tcp:{port}:interface=127.0.0.1")
    await endpoint.listen(factory)
    print(f"listening on ws://127.0.0.1:{port}", flush=True)
    await Deferred()


if __name__ == "__main__":
    task.react(lambda reactor, *argv: Deferred.fromCoroutine(main(reactor, *argv)), sys.argv[1:])

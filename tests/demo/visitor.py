# -*- test-case-name: tests.demo.test_application -*-
"""
A WebSocket client of the demo's servers, without a network.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from wsrelay.wire.frames import BINARY, TEXT, encode, encodeClose
from wsrelay.wire.heads import HeadReader, parseResponse
from wsrelay.wire.messages import Assembled, Assembler

__all__ = ["Visitor"]

_HEAD = (
    "GET {target} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n{more}Upgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_KEY = b"\1\2\3\4"


class _Transport(StringTransport):
    """One that takes it as easily as real ones when nothing was registered."""

    def unregisterProducer(self) -> None:
        self.producer = None


class Visitor:
    """
    One client.

    @ivar status: the status of the answer to its handshake.
    @ivar transport: the server's.
    """

    def __init__(self, factory: Any, target: str, origin: str = "") -> None:
        self.transport = _Transport()
        self._protocol = factory.buildProtocol(None)
        self._protocol.makeConnection(self.transport)
        more = f"Origin: {origin}\r\n" if origin else ""
        self._protocol.dataReceived(_HEAD.format(target=target, more=more).encode())
        reader = HeadReader(4096, 50)
        head, self._rest = reader.feed(self._taken())
        assert head is not None, "no answer to the handshake"
        self.status = parseResponse(head).status
        self._assembler = Assembler(False, None, None, None)

    def say(self, data: str | bytes) -> None:
        """Send a message."""
        if isinstance(data, str):
            self._protocol.dataReceived(encode(TEXT, data.encode(), _KEY))
        else:
            self._protocol.dataReceived(encode(BINARY, data, _KEY))

    def close(self, code: int) -> None:
        """Send a Close frame."""
        self._protocol.dataReceived(encodeClose(code, "", _KEY))

    def lose(self) -> None:
        """The connection is gone."""
        self._protocol.connectionLost(Failure(ConnectionDone()))

    def stall(self) -> None:
        """Read nothing more: the server's buffer is full."""
        self.transport.producer.pauseProducing()

    def resume(self) -> None:
        """Read again."""
        self.transport.producer.resumeProducing()

    def received(self) -> list[Assembled]:
        """The messages that came since the last time, control frames among them."""
        data, self._rest = self._rest + self._taken(), b""
        return self._assembler.feed(data)

    def heard(self) -> list[str | bytes]:
        """The text and binary messages that came since the last time."""
        return [
            each.payload.decode() if each.opcode == TEXT else each.payload
            for each in self.received()
            if each.opcode in (TEXT, BINARY)
        ]

    def _taken(self) -> bytes:
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

# -*- test-case-name: tests.endtoend.test_early -*-
"""
Bytes right behind a handshake, in the same segment, are delivered in order and once.
"""

from __future__ import annotations

import socket

from tests.endtoend.raw import binaryFrame, handshakeAnswer, handshakeRequest, readHead
from tests.endtoend.support import LEVELS, EndToEnd


def _read(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := peer.recv(size - len(data))):
        data += more
    return data


class EarlyTests(EndToEnd):
    """Neither end waits for the other."""

    def _accepted(self, server: socket.socket) -> tuple[socket.socket, bytes]:
        """The backend's end of the first connection with a head, and that head."""
        while True:
            peer, _ = server.accept()
            self.addCleanup(peer.close)
            peer.settimeout(60.0)
            if peer.recv(1, socket.MSG_PEEK):
                return peer, readHead(peer)

    def _early(self, level: str, size: int) -> None:
        up = binaryFrame(b"u" * size, masked=True)
        down = binaryFrame(b"d" * size, masked=False)
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(60.0)
            relay = self.relay(level, server.getsockname()[1])
            client = socket.create_connection(("127.0.0.1", relay.port), timeout=60.0)
            self.addCleanup(client.close)
            client.sendall(handshakeRequest() + up)
            backend, request = self._accepted(server)
        backend.sendall(handshakeAnswer(request) + down)
        self.assertIn(b" 101 ", readHead(client))
        self.assertTrue(_read(client, len(down)) == down, f"{level}, {size} bytes to the client")
        self.assertTrue(_read(backend, len(up)) == up, f"{level}, {size} bytes to the backend")
        # Once: what comes next is the next thing that is sent.
        backend.sendall(b"\x8a\x02ok")
        self.assertEqual(_read(client, 4), b"\x8a\x02ok")

    def test_behindTheHandshake(self) -> None:
        """Frames in the segments of the handshake arrive whole, at every level."""
        for level in LEVELS:
            for size in (1 << 16, 1_000_000):
                self._early(level, size)

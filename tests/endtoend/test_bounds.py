# -*- test-case-name: tests.endtoend.test_bounds -*-
"""
A reader that never reads costs the relay no memory.

One end offers 200 MB; the other reads nothing until no more is taken, then everything, which
must be what was offered. Both directions, every level, and the body of plain HTTP.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time

from tests.endtoend.raw import binaryFrame, handshakeAnswer, handshakeRequest, readHead
from tests.endtoend.support import MEBIBYTE, MEMORY_SLACK, EndToEnd, Relay

_OFFERED = 200 * 1000 * 1000
_MESSAGE = 128 * 1024
_LENGTH = b"Content-Length: %d" % (_OFFERED // _MESSAGE * _MESSAGE)

#: No byte taken for so long is a sender that is held, in seconds.
_HELD = 2.0


class _Sender(threading.Thread):
    """
    Offers L{_OFFERED} bytes, chunk by chunk.

    @ivar size: how many bytes that is exactly.
    @ivar taken: how many of them were taken so far.
    @ivar failure: why it ended early, or C{None}.
    """

    def __init__(self, peer: socket.socket, chunk: bytes) -> None:
        super().__init__(daemon=True)
        self.peer = peer
        self.chunk = chunk
        self.taken = 0
        self.failure: OSError | None = None
        self._hash = hashlib.sha256()
        self._times = _OFFERED // len(chunk)
        self.size = self._times * len(chunk)

    @property
    def digest(self) -> str:
        """SHA-256 of what was offered."""
        return self._hash.hexdigest()

    def run(self) -> None:
        """Offer it; when that fails, L{failure} says why."""
        try:
            for _ in range(self._times):
                view = memoryview(self.chunk)
                while view:
                    sent = self.peer.send(view)
                    self.taken += sent
                    view = view[sent:]
                self._hash.update(self.chunk)
        except OSError as error:
            self.failure = error


def _opening(kind: str, toBackend: bool) -> bytes:
    """What the client says first: a head in any case, so that both ends know where it ends."""
    if kind in ("FRAMES", "MESSAGES"):
        return handshakeRequest()
    if toBackend:
        return _LENGTH.join((b"POST / HTTP/1.1\r\nHost: localhost\r\n", b"\r\n\r\n"))
    return b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class UnreadTests(EndToEnd):
    """One end sends, the other does not read."""

    def _connected(self, kind: str, toBackend: bool) -> tuple[Relay, socket.socket, socket.socket]:
        """A relay, and both ends of one connection through it, ready for what is offered."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(60.0)
            level = "FRAMES" if kind == "HTTP" else kind
            relay = self.relay(level, server.getsockname()[1])
            client = socket.create_connection(("127.0.0.1", relay.port), timeout=60.0)
            self.addCleanup(client.close)
            client.sendall(_opening(kind, toBackend))
            backend = self._accepted(server)
        request = readHead(backend)
        if kind == "HTTP" and not toBackend:
            backend.sendall(_LENGTH.join((b"HTTP/1.1 200 OK\r\n", b"\r\n\r\n")))
            self.assertIn(b" 200 ", readHead(client))
        elif kind in ("FRAMES", "MESSAGES"):
            backend.sendall(handshakeAnswer(request))
            self.assertIn(b" 101 ", readHead(client))
        return relay, client, backend

    def _accepted(self, server: socket.socket) -> socket.socket:
        """
        The backend's end of the first connection that says something: who only looked
        whether the relay listens may have come through to the backend before.
        """
        while True:
            peer, _ = server.accept()
            peer.settimeout(60.0)
            if peer.recv(1, socket.MSG_PEEK):
                self.addCleanup(peer.close)
                return peer
            peer.close()

    def _held(self, sender: _Sender, relay: Relay) -> int:
        """Wait until the sender is held or done; return the most memory seen, in bytes."""
        most, taken, since = 0, -1, time.monotonic()
        while sender.is_alive() and time.monotonic() - since < _HELD:
            if sender.taken != taken:
                taken, since = sender.taken, time.monotonic()
            most = max(most, relay.memory())
            sender.join(0.02)
        return most

    def _unread(self, kind: str, toBackend: bool) -> None:
        relay, client, backend = self._connected(kind, toBackend)
        source, sink = (client, backend) if toBackend else (backend, client)
        before = relay.memory()
        payload = os.urandom(_MESSAGE)
        framed = kind in ("FRAMES", "MESSAGES")
        sender = _Sender(source, binaryFrame(payload, toBackend) if framed else payload)
        sender.start()
        most = self._held(sender, relay)
        self.assertTrue(sender.is_alive(), f"all was taken, or it failed: {sender.failure}")
        self.assertLess(sender.taken, _OFFERED)
        self._within(before, most)

        # Once it reads, every byte is there: masks and frames, too, are as they were sent.
        arrived, size = hashlib.sha256(), 0
        while size < sender.size and (data := sink.recv(MEBIBYTE)):
            arrived.update(data)
            size += len(data)
        sender.join(30.0)
        self.assertEqual((size, sender.failure), (sender.size, None))
        self.assertEqual(arrived.hexdigest(), sender.digest)
        self._within(before, relay.memory())

    def _within(self, before: int, now: int) -> None:
        grown = (now - before) / MEBIBYTE
        self.assertLessEqual(now - before, MEMORY_SLACK, f"memory grew by {grown:.1f} MiB")

    def test_l4ToBackend(self) -> None:
        """At level L4, while the backend does not read."""
        self._unread("L4", toBackend=True)

    def test_l4ToClient(self) -> None:
        """At level L4, while the client does not read."""
        self._unread("L4", toBackend=False)

    def test_framesToBackend(self) -> None:
        """At level FRAMES, while the backend does not read."""
        self._unread("FRAMES", toBackend=True)

    def test_framesToClient(self) -> None:
        """At level FRAMES, while the client does not read."""
        self._unread("FRAMES", toBackend=False)

    def test_messagesToBackend(self) -> None:
        """At level MESSAGES, while the backend does not read."""
        self._unread("MESSAGES", toBackend=True)

    def test_messagesToClient(self) -> None:
        """At level MESSAGES, while the client does not read."""
        self._unread("MESSAGES", toBackend=False)

    def test_requestBody(self) -> None:
        """The body of a plain request, while the backend does not read."""
        self._unread("HTTP", toBackend=True)

    def test_responseBody(self) -> None:
        """The body of a plain response, while the client does not read."""
        self._unread("HTTP", toBackend=False)

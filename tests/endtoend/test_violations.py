# -*- test-case-name: tests.endtoend.test_violations -*-
"""
What a client that breaks RFC 6455 gets to see: the same through the relay as directly.

The Autobahn TestSuite asks this of hundreds of cases (see
L{tests.conformance.autobahn_suite}); here is the one rule behind most of them, without it.
"""

from __future__ import annotations

import socket
import sys

from tests.endtoend.raw import handshakeRequest, readHead
from tests.endtoend.support import LEVELS, ROOT, EndToEnd, waitForPort
from tests.ports import freePort

_HELLO = b"\x81\x85\0\0\0\0hello"
_ECHO = b"\x81\x05hello"

#: What a client may never send, behind a message that is fine.
_WRONG = {
    "reserved bit": b"\xa1\x80\0\0\0\0",
    "opcode 3": b"\x83\x80\0\0\0\0",
    "opcode 11": b"\x8b\x80\0\0\0\0",
    "long ping": b"\x89\xfe\0\x7e\0\0\0\0" + bytes(126),
    "continuation of nothing": b"\x80\x80\0\0\0\0",
}


class ViolationTests(EndToEnd):
    """A good message and a bad frame, in one write."""

    def _answer(self, port: int, wrong: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=30.0) as client:
            client.sendall(handshakeRequest())
            self.assertTrue(readHead(client).startswith(b"HTTP/1.1 101"))
            client.sendall(_HELLO + wrong)
            answer = b""
            while len(answer) < len(_ECHO) + 4 and (data := client.recv(4096)):
                answer += data
            return answer

    def test_whatCameBeforeIsAnswered(self) -> None:
        """The answer to what came before the bad frame arrives, and then Close 1002."""
        backend = freePort()
        server = self.start(
            sys.executable, "-m", "tests.conformance.echo", str(backend), directory=ROOT
        )
        waitForPort(backend, alive=lambda: server.running)
        different = {}
        for level in ("direct", *LEVELS):
            port = backend if level == "direct" else self.relay(level, backend).port
            for name, wrong in _WRONG.items():
                answer = self._answer(port, wrong)
                if answer[:7] != _ECHO or answer[7:8] != b"\x88" or answer[9:11] != b"\x03\xea":
                    different[f"{name}, {level}"] = answer
        self.assertEqual(different, {})

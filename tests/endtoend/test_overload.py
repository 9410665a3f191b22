# -*- test-case-name: tests.endtoend.test_overload -*-
"""
More clients than there are descriptors, and more than a listener lets in.

A real relay process with few descriptors is flooded with connections that say nothing. What
runs goes on, who comes is refused with a reason, and when the flood is over everything is as
it was before. Both planes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SkipTest
from websockets.asyncio.client import ClientConnection, connect

from tests.endtoend.raw import handshakeRequest, readHead
from tests.endtoend.servers import tcpEcho, websocketsEcho
from tests.endtoend.support import ROOT, EndToEnd, Program, waitForPort
from tests.ports import freePort
from wsrelay.plane.choice import hasNative

_DESCRIPTORS = 320
_RESERVE = 160
_FLOOD = 400
_GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
_DEADLINE = 20.0

_CONFIGURATION = """
[relay]
plane = "{plane}"
reserve = {reserve}

[listener.main]
endpoint = "tcp:{port}:interface=127.0.0.1"
forwarder = "{forwarder}"
pool = "main"
limits = {limits}
{patience}

[pool.main]
backends = ["{backend}"]
"""


def descriptorsOf(program: Program) -> int:
    """How many descriptors a process has open."""
    try:
        return len(os.listdir(f"/proc/{program.pid}/fd"))
    except FileNotFoundError:
        raise SkipTest("no /proc to count a process's descriptors in") from None


def knock(port: int) -> socket.socket:
    """A connection that says nothing."""
    return socket.create_connection(("127.0.0.1", port), timeout=_DEADLINE)


def hear(client: socket.socket, request: bytes = b"") -> bytes:
    """The head of what a client gets, for a request or for nothing; empty if it is cut off."""
    try:
        client.sendall(request)
        return readHead(client)
    except ConnectionError:
        return b""


class OverloadTests(EndToEnd):
    """The relay is full."""

    def _start(
        self,
        plane: str,
        backend: str,
        forwarder: str = "http",
        reserve: int = _RESERVE,
        limits: str = "{}",
    ) -> tuple[Program, int]:
        """A relay with few descriptors, and where it listens."""
        port = freePort()
        file = Path(self.mktemp()).absolute()
        file.write_text(
            _CONFIGURATION.format(
                plane=plane,
                reserve=reserve,
                port=port,
                forwarder=forwarder,
                limits=limits,
                # Connections that say nothing stay for as long as a test may take.
                patience="headTimeout = 120" if forwarder == "http" else "",
                backend=backend,
            )
        )
        program = self.start(
            *("sh", "-c", f'ulimit -n {_DESCRIPTORS} && exec "$@"', "sh"),
            *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()"),
            *("-n", "--pidfile=", "wsrelay", "--config", str(file)),
            environment={"PYTHONPATH": str(ROOT)},
            directory=ROOT,
        )
        waitForPort(port, alive=lambda: program.running)
        return program, port

    def _flood(self, port: int, count: int = _FLOOD) -> list[socket.socket]:
        flood = []
        for _ in range(count):
            # At layer 4 one may be cut off before it has noticed that it was connected.
            with contextlib.suppress(ConnectionError):
                flood.append(knock(port))
                self.addCleanup(flood[-1].close)
        return flood

    def _until(self, what: str, isSo: Callable[[], object]) -> None:
        """Wait for it, not for ever."""
        end = time.monotonic() + _DEADLINE
        while not isSo():
            self.assertLess(time.monotonic(), end, what)
            time.sleep(0.05)

    def _planes(self) -> list[str]:
        return ["portable", "native"] if hasNative() else ["portable"]

    async def _echoes(self, client: ClientConnection, text: str) -> None:
        await client.send(text)
        self.assertEqual(await client.recv(), text)

    async def _http(self, plane: str) -> None:
        async with websocketsEcho() as backend:
            relay, port = await asyncio.to_thread(self._start, plane, f"ws://127.0.0.1:{backend}")
            url = f"ws://127.0.0.1:{port}"
            async with connect(url, proxy=None) as client:
                await self._echoes(client, "before")
                before = descriptorsOf(relay)
                flood = await asyncio.to_thread(self._flood, port)
                await asyncio.wait_for(self._echoes(client, "meanwhile"), _DEADLINE)
                self.assertLess(descriptorsOf(relay), _DESCRIPTORS - _RESERVE + 16)
                # A client with a request, and one that has not said anything yet.
                for request in (_GET, b""):
                    with knock(port) as late:
                        answer = await asyncio.to_thread(hear, late, request)
                    self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
                    self.assertIn(b"\r\nRetry-After: 5\r\n", answer)
                # And each of the flood: it came before anybody asked.
                heard = [await asyncio.to_thread(hear, each) for each in flood[-100:]]
                self.assertEqual(set(heard), {answer})
                for each in flood:
                    each.close()
                await asyncio.to_thread(
                    self._until, "descriptors are free", lambda: descriptorsOf(relay) <= before
                )
                await self._echoes(client, "afterwards")
                async with connect(url, proxy=None) as other:
                    await self._echoes(other, "as before")
            lines = [line for line in relay.output().splitlines() if ": refused " in line]
            self.assertIn("reserve", lines[0])
            self.assertLess(len(lines), 30)

    def test_http(self) -> None:
        """A WebSocket goes on, new clients get 503, and afterwards everything is well."""
        for plane in self._planes():
            self.go(self._http(plane))

    async def _tcp(self, plane: str) -> None:
        async with tcpEcho() as backend:
            relay, port = await asyncio.to_thread(
                self._start, plane, f"tcp:127.0.0.1:{backend}", "tcp"
            )

            def echoes(client: socket.socket) -> bytes:
                client.sendall(b"hello")
                return client.recv(5, socket.MSG_WAITALL)

            with knock(port) as client:
                self.assertEqual(await asyncio.to_thread(echoes, client), b"hello")
                before = descriptorsOf(relay)
                flood = await asyncio.to_thread(self._flood, port)
                self.assertEqual(await asyncio.to_thread(echoes, client), b"hello")
                (late,) = await asyncio.to_thread(self._flood, port, 1) or [None]
                if late is not None:
                    self.assertEqual(await asyncio.to_thread(hear, late), b"")
                for each in flood:
                    each.close()
                await asyncio.to_thread(
                    self._until, "descriptors are free", lambda: descriptorsOf(relay) <= before
                )
                with knock(port) as other:
                    self.assertEqual(await asyncio.to_thread(echoes, other), b"hello")
            # The backend hears of all ends before it stops.
            await asyncio.to_thread(
                self._until, "nobody is left", lambda: descriptorsOf(relay) < before
            )

    def test_tcp(self) -> None:
        """A tunnel goes on, new clients are closed, and afterwards everything is well."""
        for plane in self._planes():
            self.go(self._tcp(plane))

    async def _dials(self, plane: str) -> None:
        async with websocketsEcho() as backend:
            relay, port = await asyncio.to_thread(
                self._start, plane, f"ws://127.0.0.1:{backend}", reserve=0
            )
            with knock(port) as client:
                await asyncio.to_thread(self._until, "it is there", lambda: descriptorsOf(relay))
                flood = await asyncio.to_thread(self._flood, port)
                await asyncio.to_thread(
                    self._until,
                    "descriptors are used up",
                    lambda: descriptorsOf(relay) >= _DESCRIPTORS - 1,
                )
                answer = await asyncio.to_thread(hear, client, _GET)
                self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
                for each in flood:
                    each.close()
                await asyncio.to_thread(
                    self._until,
                    "descriptors are free",
                    lambda: descriptorsOf(relay) < _DESCRIPTORS // 2,
                )
                with knock(port) as other:
                    # What the backend says to a request that is no handshake.
                    answer = await asyncio.to_thread(hear, other, _GET)
                    self.assertTrue(answer.startswith(b"HTTP/1.1 426 "), answer)

    def test_dials(self) -> None:
        """With nothing in reserve, a request for which no backend can be dialled gets 503."""
        for plane in self._planes():
            self.go(self._dials(plane))

    async def _limited(self, plane: str) -> None:
        async with websocketsEcho() as backend:
            limits = "{ connectionsPerClient = 5, handshakesPerClient = 0.1, burst = 20 }"
            _, port = await asyncio.to_thread(
                self._start, plane, f"ws://127.0.0.1:{backend}", limits=limits
            )
            flood = await asyncio.to_thread(self._flood, port, 5)
            with knock(port) as late:
                answer = await asyncio.to_thread(hear, late, _GET)
            self.assertTrue(answer.startswith(b"HTTP/1.1 429 "), answer)
            flood.pop().close()

            def comesIn() -> bytes:
                with knock(port) as client:
                    return hear(client, handshakeRequest()).partition(b"\r\n")[0]

            def hasPlace() -> bool:
                answers.append(comesIn())
                return b" 101 " in answers[-1]

            answers: list[bytes] = []
            await asyncio.to_thread(self._until, "there is a place", hasPlace)
            # Two handshakes at once, the next one not before ten seconds are over.
            await asyncio.to_thread(self._until, "there is a place", hasPlace)
            with knock(port) as client:
                answer = await asyncio.to_thread(hear, client, handshakeRequest())
            self.assertTrue(answer.startswith(b"HTTP/1.1 429 "), answer)
            self.assertIn(b"\r\nRetry-After: ", answer)

    def test_limits(self) -> None:
        """A client over its own limit gets 429, and comes in again when it has left a place."""
        for plane in self._planes():
            self.go(self._limited(plane))

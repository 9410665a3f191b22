# -*- test-case-name: tests.endtoend.test_slow -*-
"""
Clients that are as slow as they can be, as U{slowhttptest
<https://github.com/shekyan/slowhttptest>} makes them, and one that is not.

Three of its attacks: heads that never end (slowloris), bodies that trickle, responses that are
hardly read. (Its fourth, overlapping ranges, is for whoever makes ranges; the relay does not.)
All slow ones are cut off, and everybody else is served meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import time
from pathlib import Path

from aiohttp import ClientSession, web

from tests.endtoend.servers import aiohttpServer
from tests.endtoend.support import ROOT, EndToEnd, Program, need, waitForPort
from tests.ports import freePort
from wsrelay.plane.choice import hasNative

_CLIENTS = 40
#: Seconds that slowhttptest would go on for if nobody cut its clients off.
_LENGTH = 40
_PAGE = b"fine\n"
_LONG = bytes(8 * 1024 * 1024)

_CONFIGURATION = """
[relay]
plane = "{plane}"

[listener.main]
endpoint = "tcp:{port}:interface=127.0.0.1"
pool = "main"
headTimeout = 3
keepAliveTimeout = 3
bodyTimeout = 3
readTimeout = 3

[pool.main]
backends = ["http://127.0.0.1:{backend}"]
"""

_COMMON = ("-c", str(_CLIENTS), "-r", str(_CLIENTS), "-l", str(_LENGTH), "-i", "1")

#: Options of slowhttptest, and what the log says of those that were cut off.
_ATTACKS = {
    "headers": (("-H", "-x", "10"), "the request head did not arrive in time"),
    "body": (("-B", "-s", "8192", "-x", "10"), "too slowly"),
    # What its kernel has taken it reads on, cut off or not, so let that not take for ever.
    "read": (("-X", "-w", "256", "-y", "512", "-z", "200", "-n", "1"), "too slowly"),
}


async def _page(request: web.Request) -> web.Response:
    # Of a slow client the backend is rid, too.
    with contextlib.suppress(ConnectionError):
        await request.read()
    return web.Response(body=_LONG if request.path == "/long" else _PAGE)


class SlowTests(EndToEnd):
    """Each attack, on each plane."""

    def _start(self, plane: str, backend: int) -> tuple[Program, int]:
        port = freePort()
        file = Path(self.mktemp()).absolute()
        file.write_text(_CONFIGURATION.format(plane=plane, port=port, backend=backend))
        program = self.start(
            *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()"),
            *("-n", "--pidfile=", "wsrelay", "--config", str(file)),
            environment={"PYTHONPATH": str(ROOT)},
            directory=ROOT,
        )
        waitForPort(port, alive=lambda: program.running)
        return program, port

    async def _normal(self, url: str, attack: Program) -> float:
        """Ask again and again while the attack goes on; the slowest answer, in seconds."""
        slowest = 0.0
        async with ClientSession() as client:
            while attack.running:
                began = time.monotonic()
                async with client.post(url, data=b"x" * 10_000) as response:
                    self.assertEqual(await response.read(), _PAGE)
                slowest = max(slowest, time.monotonic() - began)
                await asyncio.sleep(0.1)
        return slowest

    async def _attack(self, name: str, plane: str) -> None:
        program = need("slowhttptest")
        options, words = _ATTACKS[name]
        application = web.Application(client_max_size=1024 * 1024)
        application.router.add_route("*", "/{path:.*}", _page)
        async with aiohttpServer(application) as backend:
            relay, port = await asyncio.to_thread(self._start, plane, backend)
            url = f"http://127.0.0.1:{port}/"
            began = time.monotonic()
            attack = self.start(program, *_COMMON, *options, "-u", f"{url}long")
            slowest = await self._normal(url, attack)
            took = time.monotonic() - began
        said = re.sub(r"\x1b\[[0-9;]*m", "", attack.output())
        self.assertIn("No open connections left", said)
        self.assertLess(took, _LENGTH - 5)
        self.assertLess(slowest, 2.0)
        cut = [line for line in relay.output().splitlines() if words in line]
        self.assertGreaterEqual(len(cut), _CLIENTS - 2, relay.output())

    def _each(self, name: str) -> None:
        for plane in ["portable", "native"] if hasNative() else ["portable"]:
            self.go(self._attack(name, plane))

    def test_headers(self) -> None:
        """Clients that never end their request head are cut off, others are served."""
        self._each("headers")

    def test_body(self) -> None:
        """Clients whose request body trickles are cut off, others are served."""
        self._each("body")

    def test_read(self) -> None:
        """Clients that hardly read their response are cut off, others are served."""
        self._each("read")

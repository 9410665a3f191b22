# -*- test-case-name: tests.endtoend.test_endings -*-
"""
Every way in which a WebSocket ends, as the manual's page about its life tells them: what each
side is told, and whom the log names.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.endtoend.support import ROOT, EndToEnd, Program, waitForPort
from tests.ports import freePort

PAGE = ROOT / "docs" / "explanation" / "life-of-a-websocket.md"

#: A relay on which every way of ending can be brought about.
ENDINGS = """
[listener.main]
endpoint = "tcp:{listen}:interface=127.0.0.1"

[[route]]
pool = "main"
filters = ["obey"]
maxMessage = 1000
idleTimeout = 1

[pool.main]
backends = ["ws://127.0.0.1:{backend}"]

[plugin.obey]
use = "obey:Obey"
"""

OBEY = """
from zope.interface import implementer

from wsrelay import Close, Direction, IMessageFilter, Interest


@implementer(IMessageFilter)
class Obey:
    def interest(self, route, direction):
        toBackend = direction is Direction.TO_BACKEND
        return Interest.MESSAGES if toBackend else Interest.FRAMES

    def attach(self, session, direction):
        def hook(message):
            if message.data == b"raise":
                raise RuntimeError("as you say")
            if message.data == b"return":
                return Close(4001)
            if message.data == b"call":
                session.close(4002)

        return hook
"""


class EndingTests(EndToEnd):
    """The ways in which a WebSocket ends, as the page about its life tells them."""

    #: What brings each about: a message to say, or a method.
    WAYS: Mapping[str, str | bytes] = {
        "the client sends Close 4444": "_close",
        "the client sends Close without a code": b"\x88\x80mask",
        "the client vanishes": "_vanish",
        "the backend vanishes": "vanish",
        "the client breaks the protocol": b"\x81\x01a",
        "the backend breaks the protocol": "break",
        "a message is over `maxMessage`, to the backend": "x" * 2000,
        "a hook raises": "raise",
        "a hook returns `Close(4001)`": "return",
        "a plugin calls `session.close(4002)`": "call",
        "nothing moves for `idleTimeout`": "_wait",
        "the relay stops": "_stop",
    }

    def test_closeCodes(self) -> None:
        """Each side is told what the table says, and the log names who ended it."""
        text = PAGE.read_text("utf-8")
        table = text.partition("<!-- close codes -->")[2].partition("\n(1005")[0]
        rows = re.findall(r"^\| (.*?) \| *(\d*) \| *(\d*) \| (\w+) \|$", table, re.MULTILINE)
        self.assertEqual([row[0] for row in rows], list(self.WAYS))
        self.go(self._endings(rows))

    async def _endings(self, rows: list[tuple[str, str, str, str]]) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "obey.py").write_text(OBEY)
        ended: asyncio.Queue[int | None] = asyncio.Queue()

        async def backend(connection: ServerConnection) -> None:
            with contextlib.suppress(ConnectionClosed):
                async for message in connection:
                    if message == "vanish":
                        connection.transport.abort()
                    elif message == "break":
                        connection.transport.write(b"\xff\x00")
            await connection.wait_closed()
            ended.put_nowait(connection.close_code)

        async with serve(backend, "127.0.0.1", 0) as server:
            listen, port = freePort(), next(iter(server.sockets)).getsockname()[1]
            (folder / "relay.toml").write_text(ENDINGS.format(listen=listen, backend=port))
            run = "from twisted.scripts.twistd import run; run()"
            options = ("-n", "--pidfile=", "wsrelay", "--config", str(folder / "relay.toml"))
            relay = self.start(
                *(sys.executable, "-c", run, *options),
                environment={"PYTHONPATH": str(ROOT)},
                directory=folder,
            )
            await asyncio.to_thread(waitForPort, listen, alive=lambda: relay.running)
            for what, atClient, atBackend, party in rows:
                client = await connect(f"ws://127.0.0.1:{listen}/", proxy=None)
                await self._bringAbout(self.WAYS[what], client, relay)
                await client.wait_closed()
                codes = client.close_code, await ended.get()
                for wanted, code in zip((atClient, atBackend), codes, strict=True):
                    if wanted:
                        self.assertEqual(code, int(wanted), what)
                lines = await self._lines(relay, rows.index((what, atClient, atBackend, party)))
                self.assertIn(f" s; {party}/", lines[-1], what)

    async def _bringAbout(self, way: str | bytes, client: Any, relay: Program) -> None:
        if isinstance(way, bytes):
            client.transport.write(way)
        elif way == "_close":
            await client.close(4444)
        elif way == "_vanish":
            client.transport.abort()
        elif way == "_stop":
            relay.terminate()
        elif way != "_wait":
            await client.send(way)

    async def _lines(self, relay: Program, position: int) -> list[str]:
        """The lines about sessions, once there are enough."""
        while True:
            lines = [line for line in relay.output().splitlines() if "client saw" in line]
            if len(lines) > position:
                return lines
            await asyncio.sleep(0.02)

# -*- test-case-name: tests.conformance.test_probe -*-
"""
Tests of L{tests.conformance.probe}, and with it of the relay at every level.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from twisted.trial.unittest import SynchronousTestCase
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.conformance.backend import ProbeBackend
from tests.conformance.points import POINTS, Point, Probe, Result
from tests.conformance.probe import columns
from tests.endtoend.support import EndToEnd

_PATIENCE = 60.0

# The hand-written relay fails loudly, as it should; a log of it helps nobody.
_SILENT = logging.getLogger("tests.conformance.test_probe")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


@contextlib.asynccontextmanager
async def _handWritten(backend: int) -> AsyncIterator[int]:
    """
    The relay that one writes in ten minutes: accept, connect, and two loops that pass
    messages on until one of them is through.
    """

    async def oneWay(
        source: ClientConnection | ServerConnection, sink: ClientConnection | ServerConnection
    ) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in source:
                await sink.send(message)

    async def serveOne(client: ServerConnection) -> None:
        assert client.request is not None
        url = f"ws://127.0.0.1:{backend}{client.request.path}"
        async with connect(url, proxy=None, max_size=None) as server:
            ways = [oneWay(client, server), oneWay(server, client)]
            tasks = [asyncio.ensure_future(way) for way in ways]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    async with serve(serveOne, "127.0.0.1", 0, logger=_SILENT) as relay:
        yield int(next(iter(relay.sockets)).getsockname()[1])


class ResultTests(SynchronousTestCase):
    """What is kept of one point."""

    def test_longWords(self) -> None:
        """An error that carries a whole message does not fill the table with it."""
        point = Point("10", "large", Probe.seventeenMebibytes)
        self.assertEqual(Result.of(point, False, "x" * 120).seen, "x" * 120)
        self.assertEqual(Result.of(point, False, "x" * 121).seen, "x" * 119 + "\u2026")


class ColumnsTests(SynchronousTestCase):
    """The table of the command."""

    def test_columns(self) -> None:
        """A point is a row, a relay a column, and what came out wrong is bold."""
        right = Result("1", "close", True, "4404")
        wrong = Result("1", "close", False, "1000")
        self.assertEqual(
            columns({"L4": [right], "other": [wrong]})[2:],
            ["| 1 | close | 4404 | **1000** |", "|  | right | 1 of 1 | 0 of 1 |"],
        )


class ProbeTests(EndToEnd):
    """The fifteen points."""

    deadline = 600.0

    async def _probe(self, level: str | None) -> list[Result]:
        backend = await ProbeBackend.start()
        try:
            if level is None:
                url = f"ws://127.0.0.1:{backend.port}"
                return await Probe(url, backend, patience=_PATIENCE).run()
            relay = self.relay(level, backend.port)
            return await Probe(relay.url, backend, relay.memory, _PATIENCE).run()
        finally:
            await backend.stop()

    def _allRight(self, level: str | None) -> None:
        results = self.go(self._probe(level))
        self.assertEqual(len(results), len(POINTS))
        wrong = [str(result) for result in results if not result.right]
        self.assertEqual(wrong, [], "\n".join(wrong))

    def test_direct(self) -> None:
        """Without a relay every point comes out right: the probe asks nothing impossible."""
        self._allRight(None)

    def test_handWrittenRelay(self) -> None:
        """The probe names what the relay that everybody writes first gets wrong."""

        async def work() -> list[Result]:
            backend = await ProbeBackend.start()
            try:
                async with _handWritten(backend.port) as port:
                    return await Probe(f"ws://127.0.0.1:{port}", backend, patience=10.0).run()
            finally:
                await backend.stop()

        wrong = {result.point for result in self.go(work()) if not result.right}
        self.assertEqual(wrong, {"1", "2", "3", "4", "5", "6", "9", "10", "11", "12", "13", "14"})

    def test_l4(self) -> None:
        """A relay of opaque bytes passes whole."""
        self._allRight("L4")

    def test_frames(self) -> None:
        """A relay that reads frame heads passes whole."""
        self._allRight("FRAMES")

    def test_messages(self) -> None:
        """A relay whose filter sees every message passes whole."""
        self._allRight("MESSAGES")

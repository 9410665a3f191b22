# -*- test-case-name: tests.endtoend.test_many -*-
"""
Three hundred sessions, and three hundred tunnels, at the same time.

Each sends messages of random sizes in random fragments (tunnels: bytes in random pieces) to a
backend that echoes, and what comes back must have the SHA-256 of what was sent. The numbers
come from a fixed seed, so that a failure repeats.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random

from websockets.asyncio.client import connect

from tests.endtoend.servers import tcpEcho, websocketsEcho
from tests.endtoend.support import EndToEnd

_SESSIONS = 300
_SEED = 20_260_101

#: Cut from this, data is cheap to make and never the same twice in a row.
_NOISE = random.Random(_SEED).randbytes(1 << 20)


def _cut(numbers: random.Random, size: int) -> bytes:
    start = numbers.randrange(len(_NOISE) - size)
    return _NOISE[start : start + size]


def _size(numbers: random.Random) -> int:
    """Mostly small, sometimes large, always one of the lengths at which frame heads change."""
    few = numbers.choice((0, 1, 125, 126, 127, 65535, 65536))
    return numbers.choice((few, numbers.randrange(2000), numbers.randrange(150_000)))


def _pieces(numbers: random.Random, data: bytes) -> list[bytes]:
    """C{data} in one to five fragments, some of which may be empty."""
    cuts = sorted(numbers.randrange(len(data) + 1) for _ in range(numbers.randrange(5)))
    ends = [0, *cuts, len(data)]
    return [data[a:b] for a, b in itertools.pairwise(ends)]


class ManyTests(EndToEnd):
    """Everything at once."""

    deadline = 180.0

    async def _session(self, url: str, number: int) -> None:
        numbers = random.Random(_SEED + number)
        messages = [_cut(numbers, _size(numbers)) for _ in range(numbers.randrange(3, 12))]
        compression = numbers.choice(("deflate", None))
        async with connect(
            url, proxy=None, max_size=None, open_timeout=60, compression=compression
        ) as client:

            async def send() -> None:
                for message in messages:
                    pieces = _pieces(numbers, message)
                    await client.send(pieces if len(pieces) > 1 else message)

            sending = asyncio.ensure_future(send())
            for sent in messages:
                back = await client.recv()
                assert isinstance(back, bytes)
                self.assertEqual(
                    hashlib.sha256(back).hexdigest(), hashlib.sha256(sent).hexdigest()
                )
            await sending

    async def _tunnel(self, port: int, number: int) -> None:
        numbers = random.Random(_SEED + number)
        sent, back = hashlib.sha256(), hashlib.sha256()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def send() -> None:
            for _ in range(numbers.randrange(1, 20)):
                for piece in _pieces(numbers, _cut(numbers, _size(numbers))):
                    sent.update(piece)
                    writer.write(piece)
                    await writer.drain()
            # The end of the stream comes back, too: half-close is passed on both ways.
            writer.write_eof()

        sending = asyncio.ensure_future(send())
        while data := await reader.read(64 * 1024):
            back.update(data)
        await sending
        self.assertEqual(back.hexdigest(), sent.hexdigest())
        writer.close()

    async def _sessions(self, level: str) -> None:
        async with websocketsEcho(open_timeout=60) as port:
            relay = await asyncio.to_thread(self.relay, level, port)
            await asyncio.gather(*(self._session(relay.url, n) for n in range(_SESSIONS)))

    async def _tunnels(self) -> None:
        async with tcpEcho() as port:
            relay = await asyncio.to_thread(self.relay, "L4", port)
            await asyncio.gather(*(self._tunnel(relay.port, n) for n in range(_SESSIONS)))

    def test_tunnels(self) -> None:
        """Bytes of three hundred tunnels arrive, each with its own end of the stream."""
        self.go(self._tunnels())

    def test_sessionsAtL4(self) -> None:
        """Messages of three hundred sessions arrive as opaque bytes."""
        self.go(self._sessions("L4"))

    def test_sessionsAtFrames(self) -> None:
        """Messages of three hundred sessions arrive, compressed ones as they were."""
        self.go(self._sessions("FRAMES"))

    def test_sessionsAtMessages(self) -> None:
        """Messages of three hundred sessions arrive past a filter that sees each."""
        self.go(self._sessions("MESSAGES"))

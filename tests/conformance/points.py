# -*- test-case-name: tests.conformance.test_probe -*-
"""
The relay probe: fifteen points in which WebSocket relays differ from a wire.

Between a client and a backend that both speak through the C{websockets} library stands the
relay under test; a I{point} is one short conversation through it, and comes out right or
wrong, with what was seen. The last point has two variants, since some relays stumble over
data that comes right behind the handshake.

The probe does not measure speed, and it knows nothing of TLS.
L{tests.conformance.probe} is its command.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from attrs import frozen
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.conformance.backend import (
    FLOOD_LIMIT,
    FLOOD_SIZE,
    REFUSAL,
    ProbeBackend,
    connect,
    sendEmptyClose,
)
from tests.endtoend.support import MEBIBYTE, MEMORY_SLACK

__all__ = ["POINTS", "Point", "Probe", "Result", "Wrong"]

#: How long a flood must make no progress before the backend counts as held, in seconds.
_HELD = 2.0

#: How long the words of a result may be; some errors carry whole messages.
_WORDS = 120


class Wrong(Exception):
    """A point came out wrong; the text is what was seen."""


@frozen
class Result:
    """
    How one point came out.

    @ivar seen: what was seen, in a few words.
    """

    point: str
    name: str
    right: bool
    seen: str

    @classmethod
    def of(cls, point: Point, right: bool, seen: str) -> Result:
        """The result of C{point}, its words cut to what fits a table."""
        short = seen if len(seen) <= _WORDS else f"{seen[: _WORDS - 1]}\N{HORIZONTAL ELLIPSIS}"
        return cls(point.number, point.name, right, short)

    def __str__(self) -> str:
        verdict = "ok" if self.right else "WRONG"
        return f"{self.point:>3}  {verdict:<5}  {self.name}: {self.seen}"


@frozen
class Point:
    """One of the fifteen: its number, its name, and the conversation."""

    number: str
    name: str
    ask: Callable[[Probe], Awaitable[str]]


def _expect(condition: object, seen: str) -> None:
    if not condition:
        raise Wrong(seen)


async def _ending(connection: Any) -> ConnectionClosed:
    """Read until the connection is over, and return how it ended."""
    try:
        while True:
            await connection.recv()
    except ConnectionClosed as closed:
        return closed


def _received(closed: ConnectionClosed) -> str:
    """The Close frame that arrived, in words; 1006 is the loss of the connection."""
    frame = closed.rcvd
    return "1006 (no Close frame)" if frame is None else f"{frame.code} {frame.reason}".strip()


class Probe:
    """
    Asks the points of one relay.

    @ivar url: where the relay takes clients, without path.
    @ivar backend: what the relay connects to.
    @ivar memory: measures the relay's resident memory in bytes, or C{None}.
    @ivar patience: seconds for one point.
    """

    def __init__(
        self,
        url: str,
        backend: ProbeBackend,
        memory: Callable[[], int] | None = None,
        patience: float = 25.0,
    ) -> None:
        self.url = url
        self.backend = backend
        self.memory = memory
        self.patience = patience

    async def run(self, told: Callable[[Result], None] = lambda result: None) -> list[Result]:
        """Ask every point; C{told} hears of each as it comes out."""
        results = []
        for point in POINTS:
            results.append(await self._ask(point))
            told(results[-1])
        return sorted(results, key=lambda result: (len(result.point.rstrip("ab")), result.point))

    async def _ask(self, point: Point) -> Result:
        # What an earlier point left behind is not this one's.
        while not self.backend.sessions.empty():
            self.backend.sessions.get_nowait()
        self.backend.floodMayStop.clear()
        try:
            seen = await asyncio.wait_for(point.ask(self), self.patience)
        except Wrong as wrong:
            return Result.of(point, False, str(wrong))
        except TimeoutError:
            seen = f"nothing within {self.patience:.0f} s"
            return Result.of(point, False, seen)
        except Exception as error:  # whatever a broken relay brings the library to raise
            return Result.of(point, False, f"{type(error).__name__}: {error}")
        return Result.of(point, True, seen)

    # ------------------------------------------------------------------- closing

    async def closedByBackend(self) -> str:
        """The backend's close code and reason reach the client."""
        async with connect(f"{self.url}/close") as client:
            closed = await _ending(client)
            seen = _received(closed)
            _expect(seen == "4404 Document deleted", seen)
            return seen

    async def closedByClient(self) -> str:
        """The client's close code and reason reach the backend."""
        async with connect(f"{self.url}/echo") as client:
            session = await self.backend.session()
            await client.close(4001, "bye")
        await session.wait_closed()
        seen = _received(session.protocol.close_exc)
        _expect(seen == "4001 bye", seen)
        return seen

    async def closedWithoutCode(self) -> str:
        """A Close frame without code stays one: 1005 is never written on the wire."""
        async with connect(f"{self.url}/echo") as client:
            session = await self.backend.session()
            await sendEmptyClose(client)
            closed = await _ending(client)
        await session.wait_closed()
        seen = f"backend {_received(session.protocol.close_exc)}, client {_received(closed)}"
        _expect(seen == "backend 1005, client 1005", seen)
        return seen

    async def lostBackend(self) -> str:
        """A backend that drops its connection is never a normal close to the client."""
        async with connect(f"{self.url}/abort") as client:
            seen = _received(await _ending(client))
        _expect(seen.partition(" ")[0] in ("1006", "1011"), seen)
        return seen

    # ----------------------------------------------------------------- handshake

    async def subprotocol(self) -> str:
        """The backend sees every offer, and the client gets the backend's choice."""
        async with connect(f"{self.url}/seen", subprotocols=["a", "b"]) as client:
            seen = json.loads(await client.recv())
            offered = [v for n, v in seen["headers"] if n.lower() == "sec-websocket-protocol"]
            words = f"offered {','.join(offered)}, got {client.subprotocol}"
            _expect(",".join(offered).replace(" ", "") == "a,b", words)
            _expect(client.subprotocol == "b", words)
            return words

    async def requestHead(self) -> str:
        """Target and header fields arrive as they were sent; what the relay adds is shown."""
        sent = [
            ("Cookie", "a=1; b=2"),
            ("Authorization", "Bearer sesame"),
            ("X-Dup", "one"),
            ("X-Dup", "two"),
        ]
        options = {"origin": "http://example.org", "additional_headers": sent}
        async with connect(f"{self.url}/seen?q=1&r=%2F", **options) as client:
            seen = json.loads(await client.recv())
            ours = [extension.name for extension in client.protocol.extensions]
        arrived: dict[str, list[str]] = {}
        for name, value in seen["headers"]:
            arrived.setdefault(name.lower(), []).append(value)
        _expect(seen["path"] == "/seen?q=1&r=%2F", f"target {seen['path']}")
        for name, wanted in (
            ("cookie", ["a=1; b=2"]),
            ("authorization", ["Bearer sesame"]),
            ("origin", ["http://example.org"]),
        ):
            _expect(arrived.get(name) == wanted, f"{name}: {arrived.get(name)}")
        duplicates = ", ".join(arrived.get("x-dup", ()))
        _expect(duplicates == "one, two", f"x-dup: {arrived.get('x-dup')}")
        _expect(ours and seen["extensions"], f"extensions {ours} and {seen['extensions']}")
        added = [n for n in arrived if n.startswith("x-forwarded") or n in ("forwarded", "via")]
        return f"all kept; adds {', '.join(sorted(added)) or 'nothing'}; compressed on both legs"

    async def refusal(self) -> str:
        """A backend's 403 reaches the client as that response, never as an accepted WebSocket."""
        try:
            async with connect(f"{self.url}/refuse"):
                raise Wrong("accepted first")
        except InvalidStatus as refused:
            response = refused.response
        seen = f"{response.status_code}, {len(response.body or b'')} bytes"
        _expect(response.status_code == 403, seen)
        _expect(response.body == REFUSAL, f"{seen}: {response.body!r}")
        _expect(response.headers.get("X-Why") == "because", f"{seen}, no X-Why")
        return "403, body and X-Why"

    # ------------------------------------------------------------------ messages

    async def typesAndEmpties(self) -> str:
        """Text stays text, binary stays binary, and an empty message is a message."""
        async with connect(f"{self.url}/echo") as client:
            for message in ("gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n", b"\x00\xff", "", b""):
                await client.send(message)
                back = await client.recv()
                _expect(type(back) is type(message) and back == message, f"{message!r}: {back!r}")
        return "text, binary, empty text, empty binary"

    async def fragmented(self) -> str:
        """A message in three frames arrives as one message."""
        async with connect(f"{self.url}/echo", compression=None) as client:
            session = await self.backend.session()
            await client.send(["one ", "two ", "three"])
            back = await client.recv()
            _expect(back == "one two three", repr(back))
            return f"one message in {session.dataFrames} frame(s)"

    async def _arrives(self, size: int) -> str:
        payload = bytes(range(256)) * (size // 256)
        async with connect(f"{self.url}/digest", compression=None) as client:
            await client.send(payload)
            answer = await client.recv()
        _expect(answer == f"{size} {hashlib.sha256(payload).hexdigest()}", str(answer))
        return f"{size} bytes, same SHA-256"

    async def fiveMebibytes(self) -> str:
        """A message of 5 MiB arrives whole."""
        return await self._arrives(5 * MEBIBYTE)

    async def seventeenMebibytes(self) -> str:
        """A message of 17 MiB arrives whole: past the usual limits of 1, 10 and 16 MiB."""
        return await self._arrives(17 * MEBIBYTE)

    async def seventeenMebibytesEchoed(self) -> str:
        """A message of 17 MiB comes back whole."""
        payload = bytes(range(256)) * (17 * MEBIBYTE // 256)
        async with connect(f"{self.url}/echo", compression=None) as client:
            await client.send(payload)
            back = await client.recv()
            _expect(back == payload, f"{len(back)} bytes, or not the same")
        return f"{len(back)} bytes, same"

    # --------------------------------------------------------------------- pings

    async def pingFromClient(self) -> str:
        """A client's ping reaches the backend, and one pong comes back."""
        async with connect(f"{self.url}/echo") as client:
            session = await self.backend.session()
            await asyncio.wait_for(await client.ping(b"from the client"), 4.0)
            # What comes back for a message sent now cannot overtake a second pong.
            await client.send("over")
            await client.recv()
        seen = f"{len(client.pongs)} pong(s), {len(session.pings)} ping(s) at the backend"
        _expect(client.pongs == [b"from the client"], seen)
        return "end to end" if session.pings == client.pongs else self._selfAnswered(seen)

    async def pingFromBackend(self) -> str:
        """A backend's ping reaches the client, and one pong comes back."""
        async with connect(f"{self.url}/ping") as client:
            session = await self.backend.session()
            # The backend echoes only once its ping was answered.
            await client.send("over")
            await asyncio.wait_for(client.recv(), 4.0)
        seen = f"{len(session.pongs)} pong(s), {len(client.pings)} ping(s) at the client"
        _expect(session.pongs == [b"from the backend"], seen)
        return "end to end" if client.pings == session.pongs else self._selfAnswered(seen)

    def _selfAnswered(self, seen: str) -> str:
        raise Wrong(f"the relay answered by itself: {seen}")

    # --------------------------------------------------------------------- bounds

    async def unreadAtOnce(self) -> str:
        """A client that does not read holds a backend that floods right from the handshake."""
        return await self._unread("/flood")

    async def unreadLater(self) -> str:
        """The same when the flood begins after a first message."""
        return await self._unread("/flood-later")

    async def _unread(self, path: str) -> str:
        before = self.memory() if self.memory else 0
        async with connect(f"{self.url}{path}", compression=None) as client:
            session = await self.backend.session()
            if path == "/flood-later":
                await client.send("go")
            grown = await self._held(session, before)
            taken = session.flooded * FLOOD_SIZE // MEBIBYTE
            words = f"{taken} MiB taken, memory {grown / MEBIBYTE:+.1f} MiB"
            _expect(session.flooded < FLOOD_LIMIT, words)
            _expect(grown <= MEMORY_SLACK, words)
            # Reading again gets everything that was taken, and then the normal close.
            self.backend.floodMayStop.set()
            read = 0
            try:
                while True:
                    read += len(await client.recv()) == FLOOD_SIZE
            except ConnectionClosed as closed:
                _expect(read == session.flooded, f"{words}, then {read} of {session.flooded}")
                _expect(_received(closed) == "1000", f"{words}, then {_received(closed)}")
        return words

    async def _held(self, session: Any, before: int) -> int:
        """Wait until the flood makes no progress; return the most that memory grew meanwhile."""
        grown, progress, since = 0, -1, time.monotonic()
        while session.flooded < FLOOD_LIMIT and time.monotonic() - since < _HELD:
            if session.flooded != progress:
                progress, since = session.flooded, time.monotonic()
            if self.memory:
                grown = max(grown, self.memory() - before)
            await asyncio.sleep(0.05)
        return grown


#: In the order they are asked: the unread client comes before the large messages, since a
#: process that has just held 17 MiB hides that it holds them again.
POINTS: Sequence[Point] = (
    Point("1", "close, backend to client", Probe.closedByBackend),
    Point("2", "close, client to backend", Probe.closedByClient),
    Point("3", "close without code", Probe.closedWithoutCode),
    Point("4", "backend drops TCP", Probe.lostBackend),
    Point("5", "subprotocol", Probe.subprotocol),
    Point("6", "headers and extension", Probe.requestHead),
    Point("7", "types and empties", Probe.typesAndEmpties),
    Point("8", "fragmented message", Probe.fragmented),
    Point("15a", "unread client, flood at once", Probe.unreadAtOnce),
    Point("15b", "unread client, flood after a message", Probe.unreadLater),
    Point("9", "5 MiB to the backend", Probe.fiveMebibytes),
    Point("10", "17 MiB to the backend", Probe.seventeenMebibytes),
    Point("11", "17 MiB and back", Probe.seventeenMebibytesEchoed),
    Point("12", "ping by the client", Probe.pingFromClient),
    Point("13", "ping by the backend", Probe.pingFromBackend),
    Point("14", "backend answers 403", Probe.refusal),
)

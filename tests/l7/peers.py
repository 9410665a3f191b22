# -*- test-case-name: tests.l7 -*-
"""
The raw peers of the harness: they say and hear bytes, and wait for nothing for long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as _reactor, task
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.wire.frames import CLOSE, TEXT, encode, encodeClose, mask

__all__ = ["PATIENCE", "Client", "Peer", "Server", "Servers", "reactor", "settled", "turns"]

reactor: Any = _reactor

#: Seconds that any one wait may take. Nothing here takes more than a few milliseconds.
PATIENCE = 3.0


async def settled(peer: Peer) -> int:
    """
    Wait until nothing more leaves a peer.

    @return: how many bytes it could not send.
    """
    before, now = -1, 0
    while now != before:
        await turns(50)
        before, now = now, _unsent(peer)
    return now


def _unsent(peer: Peer) -> int:
    transport = peer.transport
    return len(transport.dataBuffer) - transport.offset + transport._tempDataLen


async def turns(count: int = 20) -> None:
    """Let the reactor go round, so that whatever was on its way has arrived."""
    for _ in range(count):
        await task.deferLater(reactor, 0)


@implementer(IHalfCloseableProtocol)
class Peer(Protocol):
    """
    One end of a connection, which says and hears bytes.

    @ivar heard: what has come and was not yet expected.
    @ivar isEnded: whether the other end has sent FIN, or is gone.
    @ivar isLost: whether the connection is gone.
    @ivar isBroken: whether it ended otherwise than with FIN.
    """

    transport: Any

    def __init__(self, name: str) -> None:
        self._name = name
        self._waits: list[tuple[Callable[[], bool], Deferred[None]]] = []
        self.heard = bytearray()
        self.isEnded = False
        self.isLost = False
        self.isBroken = False

    # -- what Twisted calls

    def connectionMade(self) -> None:
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        self._look()

    def readConnectionLost(self) -> None:
        self.isEnded = True
        self._look()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.isBroken = not self.isEnded and reason.check(ConnectionDone) is None
        self.isEnded = self.isLost = True
        self._look()

    def _look(self) -> None:
        for wait in list(self._waits):
            condition, deferred = wait
            if condition():
                self._waits.remove(wait)
                deferred.callback(None)

    async def when(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds about what was heard."""
        if condition():
            return
        wait: Deferred[None] = Deferred()
        self._waits.append((condition, wait))

        def late(result: Any, seconds: float) -> Any:
            raise AssertionError(f"{self._name}: waited in vain; heard {bytes(self.heard)!r:.600}")

        await wait.addTimeout(PATIENCE, reactor, late)

    # -- what tests say

    def say(self, data: bytes) -> None:
        """Send."""
        self.transport.write(data)

    def finish(self) -> None:
        """Send FIN."""
        self.transport.loseWriteConnection()

    def close(self) -> None:
        """Close."""
        self.transport.loseConnection()

    def vanish(self) -> None:
        """Break the connection (RST)."""
        self.transport.abortConnection()

    async def hear(self, wanted: bytes) -> None:
        """Exactly these bytes come next."""
        size = len(wanted)
        seen = 0

        def isDecided() -> bool:
            nonlocal seen
            # Only what is new is compared: much may come, in many pieces.
            first, seen = seen, len(self.heard)
            isOther = self.heard[first:size] != wanted[first:seen]
            return isOther or seen >= size or self.isEnded

        await self.when(isDecided)
        heard = bytes(self.heard[:size])
        if heard != wanted:
            raise AssertionError(
                f"{self._name} heard\n{bytes(self.heard)!r:.2000}\ninstead of\n{wanted!r:.2000}"
            )
        del self.heard[:size]

    async def head(self) -> bytes:
        """Everything up to the next empty line."""
        await self.when(lambda: b"\r\n\r\n" in self.heard or self.isEnded)
        end = self.heard.find(b"\r\n\r\n") + 4
        if end < 4:
            raise AssertionError(f"{self._name} heard no head: {bytes(self.heard)!r:.2000}")
        head = bytes(self.heard[:end])
        del self.heard[:end]
        return head

    async def through(self, tail: bytes) -> bytes:
        """Everything up to C{tail}, which is all that has come then."""
        await self.when(lambda: self.heard.endswith(tail) or self.isEnded)
        heard = bytes(self.heard)
        if not heard.endswith(tail):
            raise AssertionError(f"{self._name} heard {heard!r:.2000}, not ending with {tail!r}")
        self.heard.clear()
        return heard

    async def hearEnd(self, wanted: bytes = b"") -> None:
        """Exactly these bytes come, and then a clean end (FIN)."""
        await self.hear(wanted)
        await self.when(lambda: self.isEnded)
        if self.heard or self.isBroken:
            raise AssertionError(
                f"{self._name}: instead of the end {bytes(self.heard)!r:.600}, "
                f"broken: {self.isBroken}"
            )

    async def hearCut(self) -> bytes:
        """The connection breaks, whatever came before."""
        await self.when(lambda: self.isLost)
        if not self.isBroken:
            raise AssertionError(f"{self._name}: a clean end, {bytes(self.heard)!r:.600}")
        return bytes(self.heard)

    async def gone(self) -> bytes:
        """The other side is gone, one way or the other."""
        await self.when(lambda: self.isEnded)
        return bytes(self.heard)

    # -- WebSocket

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: its first byte and its payload, unmasked."""
        await self.when(lambda: self._frameEnd() > 0 or self.isEnded)
        end = self._frameEnd()
        if end <= 0:
            raise AssertionError(f"{self._name} heard no frame: {bytes(self.heard)!r:.600}")
        frame = bytes(self.heard[:end])
        del self.heard[:end]
        start = {126: 4, 127: 10}.get(frame[1] & 127, 2)
        if frame[1] & 128:
            return frame[0], mask(frame[start + 4 :], frame[start : start + 4])
        return frame[0], frame[start:]

    def _frameEnd(self) -> int:
        heard = self.heard
        if len(heard) < 10 and (len(heard) < 2 or heard[1] & 127 > 125):
            return 0
        length, start = heard[1] & 127, 2
        if length == 126:
            length, start = int.from_bytes(heard[2:4], "big"), 4
        elif length == 127:
            length, start = int.from_bytes(heard[2:10], "big"), 10
        end = start + (4 if heard[1] & 128 else 0) + length
        return end if len(heard) >= end else 0

    async def hearClose(self, code: int | None, reason: str = "") -> None:
        """A Close frame with this code comes next."""
        first, payload = await self.frame()
        words = b"" if code is None else code.to_bytes(2, "big") + reason.encode()
        if (first, payload) != (0x80 | CLOSE, words):
            raise AssertionError(
                f"{self._name} heard {first:#x} {payload!r} instead of Close {code} {reason!r}"
            )

    async def hearText(self, text: bytes) -> None:
        """A whole text message comes next."""
        first, payload = await self.frame()
        if (first, payload) != (0x80 | TEXT, text):
            raise AssertionError(f"{self._name} heard {first:#x} {payload!r}, not {text!r}")


class Client(Peer):
    """A client: what it says in WebSocket frames is masked (with zeros, to be readable)."""

    def sayFrame(self, opcode: int, payload: bytes = b"", **options: Any) -> None:
        """Send one frame."""
        self.say(encode(opcode, payload, bytes(4), **options))

    def sayClose(self, code: int | None = 1000, reason: str = "") -> None:
        """Send a Close frame."""
        self.say(encodeClose(code, reason, bytes(4)))


class Server(Peer):
    """A backend's end of one connection."""

    def __init__(self, servers: Servers) -> None:
        super().__init__(f"backend {len(servers.all) + 1}")
        self._servers = servers

    def connectionMade(self) -> None:
        super().connectionMade()
        self._servers.made(self)

    def sayFrame(self, opcode: int, payload: bytes = b"", **options: Any) -> None:
        """Send one frame."""
        self.say(encode(opcode, payload, **options))

    def sayClose(self, code: int | None = 1000, reason: str = "") -> None:
        """Send a Close frame."""
        self.say(encodeClose(code, reason))


class Servers(Factory):
    """Backends: each connection is taken by the test in the order in which it came."""

    noisy = False

    def __init__(self) -> None:
        self.came: list[Server] = []
        self.all: list[Server] = []
        self._waits: list[Deferred[None]] = []

    def buildProtocol(self, addr: Any) -> Server:
        return Server(self)

    def made(self, server: Server) -> None:
        """A connection is there."""
        self.came.append(server)
        self.all.append(server)
        waits, self._waits = self._waits, []
        for wait in waits:
            wait.callback(None)

    async def next(self) -> Server:
        """The next connection."""
        while not self.came:
            wait: Deferred[None] = Deferred()
            self._waits.append(wait)
            await wait.addTimeout(PATIENCE, reactor)
        return self.came.pop(0)

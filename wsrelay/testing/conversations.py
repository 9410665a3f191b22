# -*- test-case-name: tests.testing.test_conversations -*-
"""
Conversations with filters: what would be forwarded, replied and closed, without network.

A conversation is a session (L{Conversation}) or a tunnel (L{StreamConversation}) on the
portable plane and on transports in memory, so its filters meet what they meet in earnest.
Both ends say something, and what has reached either is read from C{atClient} and
C{atBackend}::

    talk = Conversation(Redact(["secret"]))
    talk.fromBackend("a secret", b"a secret")
    assert talk.atClient == ["a ******", b"a ******"]
    assert talk.closed is None and talk.failure is None

A filter that answers later is handed C{talk.clock}, and C{talk.advance(seconds)} lets time
pass. Neither routing nor the handshake takes place, and nothing is compressed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.errors import Violation
from wsrelay.interfaces import ISession, ITunnel
from wsrelay.model import (
    Address,
    Close,
    CloseReason,
    Counts,
    Direction,
    Forward,
    Headers,
    Inbound,
    Interest,
    Message,
    Party,
    Phase,
    Request,
)
from wsrelay.plane.engine import ILink, Lane
from wsrelay.plane.portable import PortablePlane
from wsrelay.plane.verdicts import Hook, StreamHook, compose, composeStream, replacement
from wsrelay.testing.transports import Peer, pair, settle
from wsrelay.wire.frames import BINARY, CONTINUATION, PONG, TEXT, encode
from wsrelay.wire.messages import Assembler

__all__ = ["Conversation", "StreamConversation", "makeInbound"]

_UP, _DOWN = Direction.TO_BACKEND, Direction.TO_CLIENT
_KEY = b"\x01\x02\x03\x04"


def makeInbound(
    target: str = "/", headers: Iterable[tuple[bytes, bytes]] = (), **facts: Any
) -> Inbound:
    """
    A client as a policy or filter might meet it.

    @param facts: other attributes of L{Inbound}, instead of the ones made up here.
    """
    made: dict[str, Any] = {
        "id": "test-1",
        "listener": "test",
        "client": Address("192.0.2.1", 40000),
        "local": Address("192.0.2.2", 80),
        "request": Request("GET", target, Headers(((b"Host", b"test.example"), *headers))),
    }
    return Inbound(**(made | facts))


class _Talk:
    """
    Two peers and a link between them, whose owner this is.

    @ivar clock: for filters that answer later.
    @ivar closed: what a filter asked for; C{None} if it did not.
    @ivar failure: what a filter raised; C{None} if it did not.
    @ivar reason: why it is over; C{None} while it is not.
    """

    def __init__(
        self, filters: tuple[Any, ...], inbound: Inbound | None, route: Forward | None
    ) -> None:
        self.clock = Clock()
        self.inbound = makeInbound() if inbound is None else inbound
        self.route = Forward("test") if route is None else route
        self.id = self.inbound.id
        self.backend = "ws://backend.example"
        self.closed: Close | None = None
        self.failure: BaseException | None = None
        self.reason: CloseReason | None = None
        self._link: ILink | None = None
        self._calls: list[Callable[[CloseReason], None]] = []
        client, atClient = pair(self.clock)
        backend, atBackend = pair(self.clock)
        self._speakers: dict[Direction, Peer] = {_UP: atClient, _DOWN: atBackend}
        self._hearers: dict[Direction, Peer] = {_UP: atBackend, _DOWN: atClient}
        lanes = {
            each: self._lane(each, filters if each is _UP else filters[::-1]) for each in Direction
        }
        self._link = PortablePlane(self.clock).link(client, backend, lanes, self)
        self._link.start()
        settle(self.clock)

    def _lane(self, direction: Direction, filters: tuple[Any, ...]) -> Lane:
        raise NotImplementedError

    def _say(self, direction: Direction, data: bytes) -> None:
        self._speakers[direction].say(data)
        settle(self.clock)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        settle(self.clock)

    def counts(self) -> Mapping[Direction, Counts]:
        """What went each way so far."""
        return (
            {each: Counts() for each in Direction} if self._link is None else self._link.counts()
        )

    def whenClosed(self, call: Callable[[CloseReason], None]) -> None:
        """Call C{call} at the end; at once if that was before."""
        if self.reason is None:
            self._calls.append(call)
        else:
            call(self.reason)

    def end(self, party: Party = Party.CLIENT, detail: str = "left") -> None:
        """Have it end, as if C{party} had left."""
        if self.reason is None and self._link is not None:
            self.reason = CloseReason(party, Phase.RELAY, detail)
            self._link.close()
            calls, self._calls = self._calls, []
            for call in calls:
                call(self.reason)

    # -- the owner of the link

    def closeReceived(self, direction: Direction, code: int | None, reason: str) -> None:
        """A peer never sends one."""

    def violated(self, direction: Direction, violation: Violation) -> None:
        """A peer never does."""

    def hookAsked(self, direction: Direction, close: Close) -> None:
        """A filter wants the end."""
        self._asked(close)

    def _asked(self, close: Close) -> None:
        if self.reason is None and self._link is not None:
            self.closed = close
            self.end(Party.PLUGIN, f"closed: {close.code} {close.reason}".rstrip())

    def hookFailed(self, direction: Direction, failure: Failure) -> None:
        """A filter raised."""
        if self.reason is None:
            self.failure = failure.value
            self.end(Party.PLUGIN, failure.getErrorMessage())

    def streamEnded(self, direction: Direction) -> None:
        """A peer has finished."""
        assert self._link is not None
        self._link.finish(direction)

    def legLost(self, direction: Direction, failure: Failure) -> None:
        """A connection is gone, as it was to be."""


@implementer(ISession)
class Conversation(_Talk):
    """
    A session that filters are attached to; towards the backend they stand in this order.

    One that is not interested in a direction (C{interest}) is not attached there.
    """

    def __init__(
        self,
        *filters: Any,
        inbound: Inbound | None = None,
        route: Forward | None = None,
        subprotocol: str | None = None,
    ) -> None:
        self.subprotocol = subprotocol
        self._found: dict[Direction, list[str | bytes]] = {_UP: [], _DOWN: []}
        self._pongs = 0
        self._readers = {each: Assembler(each is _UP, None, None) for each in Direction}
        super().__init__(filters, inbound, route)

    def _lane(self, direction: Direction, filters: tuple[Any, ...]) -> Lane:
        hooks: list[tuple[str, Hook]] = []
        for each in filters:
            if each.interest(self.route, direction) >= Interest.MESSAGES:
                hook = each.attach(self, direction)
                if hook is not None:
                    hooks.append((type(each).__name__, hook))
        name, composed = compose(hooks)
        return Lane(Interest.MESSAGES, composed, name)

    def fromClient(self, *messages: str | bytes, frames: int = 1) -> None:
        """The client says C{messages}, C{str} as text, each in so many frames."""
        for message in messages:
            self._say(_UP, _framed(message, frames, _KEY))

    def fromBackend(self, *messages: str | bytes, frames: int = 1) -> None:
        """The backend says C{messages}, C{str} as text, each in so many frames."""
        for message in messages:
            self._say(_DOWN, _framed(message, frames, None))

    @property
    def atClient(self) -> list[str | bytes]:
        """The messages that have reached the client, replies among them; C{str} is text."""
        return self._read(_DOWN)

    @property
    def atBackend(self) -> list[str | bytes]:
        """The messages that have reached the backend, replies among them; C{str} is text."""
        return self._read(_UP)

    def _read(self, direction: Direction) -> list[str | bytes]:
        found = self._found[direction]
        for item in self._readers[direction].feed(self._hearers[direction].take()):
            if item.opcode == TEXT:
                found.append(item.payload.decode("utf-8"))
            elif item.opcode == BINARY:
                found.append(item.payload)
            else:
                self._pongs += item.opcode == PONG
        return found

    def isWaiting(self, direction: Direction) -> bool:
        """Whether a hook of this direction has still to answer."""
        self._read(direction)
        before = self._pongs
        # A control frame stays behind the message that is waited for.
        self._say(direction, encode(PONG, b"", _KEY if direction is _UP else None))
        self._read(direction)
        return self.reason is None and self._pongs == before

    def send(self, direction: Direction, data: str | bytes) -> None:
        """See L{ISession.send}."""
        if self._link is not None:
            self._link.send(direction, replacement(data, Message(b"")))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """See L{ISession.close}."""
        self._asked(Close(code, reason))


@implementer(ITunnel)
class StreamConversation(_Talk):
    """
    A tunnel that stream filters are attached to; towards the backend they stand in this
    order.
    """

    def __init__(
        self, *filters: Any, inbound: Inbound | None = None, route: Forward | None = None
    ) -> None:
        self._found = {_UP: b"", _DOWN: b""}
        super().__init__(filters, inbound, route)

    def _lane(self, direction: Direction, filters: tuple[Any, ...]) -> Lane:
        hooks: list[tuple[str, StreamHook]] = []
        for each in filters:
            hook = each.attach(self, direction)
            if hook is not None:
                hooks.append((type(each).__name__, hook))
        name, composed = composeStream(hooks)
        return Lane(Interest.BYTES, composed, name)

    def fromClient(self, *chunks: bytes) -> None:
        """The client says C{chunks}; the end of its stream is C{b""}."""
        for chunk in chunks:
            self._stream(_UP, chunk)

    def fromBackend(self, *chunks: bytes) -> None:
        """The backend says C{chunks}; the end of its stream is C{b""}."""
        for chunk in chunks:
            self._stream(_DOWN, chunk)

    def _stream(self, direction: Direction, chunk: bytes) -> None:
        if not chunk:
            self._speakers[direction].finish()
        self._say(direction, chunk)

    @property
    def atClient(self) -> bytes:
        """All that has reached the client."""
        return self._read(_DOWN)

    @property
    def atBackend(self) -> bytes:
        """All that has reached the backend."""
        return self._read(_UP)

    def hasEnded(self, direction: Direction) -> bool:
        """Whether the receiver in this direction has heard the end of the stream."""
        return self._hearers[direction].isOver

    def _read(self, direction: Direction) -> bytes:
        self._found[direction] += self._hearers[direction].take()
        return self._found[direction]

    def close(self) -> None:
        """See L{ITunnel.close}."""
        self.end(Party.RELAY, "closed")


def _framed(message: str | bytes, frames: int, key: bytes | None) -> bytes:
    """One message in so many frames."""
    opcode, payload = (
        (TEXT, message.encode("utf-8")) if isinstance(message, str) else (BINARY, message)
    )
    size = -(-len(payload) // frames)
    pieces = [payload[at * size : (at + 1) * size] for at in range(frames)]
    return b"".join(
        encode(CONTINUATION if at else opcode, piece, key, fin=at == frames - 1)
        for at, piece in enumerate(pieces)
    )

# -*- test-case-name: tests.test_model -*-
"""
The facts that travel along the road, as values.

What a client is before a choice was made (L{Inbound}, L{Request}), what a policy
may decide about it (L{Forward}, L{Respond}, L{Serve}, L{Refuse}), what a message
hook sees and may answer (L{Message}, L{Drop}, L{Reply}, L{Close}), how everything
ends (L{CloseReason}), and what observers hear (L{Event}).

Nothing here knows a socket, a clock or Twisted. Values are frozen; the two things a
request filter edits, L{MutableHeaders} and what carries them, are marked so.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, final

from attrs import asdict, define, field, frozen

from wsrelay.facts import (
    Address,
    ClientCertificate,
    Inbound,
    OutboundRequest,
    OutboundResponse,
    Request,
    Response,
)
from wsrelay.headers import Headers, MutableHeaders, checkedField

if TYPE_CHECKING:
    from wsrelay.rules import Rules

__all__ = [
    "Address",
    "ClientCertificate",
    "Close",
    "CloseReason",
    "Closed",
    "Connected",
    "Counts",
    "Decided",
    "Decision",
    "Direction",
    "Drop",
    "Established",
    "Event",
    "Forward",
    "Headers",
    "Inbound",
    "Interest",
    "Kind",
    "Message",
    "MutableHeaders",
    "Opened",
    "OutboundRequest",
    "OutboundResponse",
    "Party",
    "Phase",
    "Refuse",
    "Reply",
    "Request",
    "Respond",
    "Response",
    "Retire",
    "RouteSettings",
    "Serve",
    "Verdict",
]


# --------------------------------------------------------------------- directions


class _Word(enum.Enum):
    """There is one of each, so it may be hashed as fast as any object."""

    __hash__ = object.__hash__


class Direction(_Word):
    """Which way bytes go. The sender of L{TO_BACKEND} is the client, and the reverse."""

    TO_BACKEND = "to-backend"
    TO_CLIENT = "to-client"

    @property
    def opposite(self) -> Direction:
        """The other way."""
        return Direction.TO_CLIENT if self is Direction.TO_BACKEND else Direction.TO_BACKEND


class Interest(enum.IntEnum):
    """
    How much of one direction somebody needs to see; the relay does no more.

    C{BYTES}: nothing. C{FRAMES}: WebSocket frame heads. C{MESSAGES}: whole messages,
    unmasked, reassembled and inflated.
    """

    BYTES = 0
    FRAMES = 1
    MESSAGES = 2


# ----------------------------------------------------------------------- decisions


@frozen
class RouteSettings:
    """
    How what a route matched is relayed. Times in seconds, sizes in bytes; C{None} is no
    limit.

    @ivar connectTimeout: for one backend to accept the connection.
    @ivar responseTimeout: for the backend's response head.
    @ivar idleTimeout: without a byte in either direction, before a tunnel or session ends.
    @ivar closeTimeout: for the closing handshake, and for the last bytes to leave.
    @ivar maxFrame: payload of one WebSocket frame.
    @ivar maxMessage: one WebSocket message, all frames, inflated if it is inflated here.
    @ivar maxFragments: frames of one WebSocket message, the empty ones too.
    @ivar maxControlRate: pings a second from one side, over ten seconds; a pong counts half.
    @ivar maxBody: one HTTP request body.
    @ivar compression: C{"end-to-end"} leaves permessage-deflate to the two ends whenever no
        message filter needs the text; C{"off"} removes it from the handshake.
    """

    connectTimeout: float = 5.0
    responseTimeout: float = 60.0
    idleTimeout: float | None = 3600.0
    closeTimeout: float = 10.0
    maxFrame: int | None = None
    maxMessage: int | None = 64 * 1024 * 1024
    maxFragments: int | None = 100_000
    maxControlRate: float | None = 100.0
    maxBody: int | None = None
    compression: str = "end-to-end"

    def __attrs_post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, (int, float)) and value <= 0:
                raise ValueError(f"{name} must be more than 0, not {value!r}")
        if self.compression not in ("end-to-end", "off"):
            raise ValueError(f'compression is "end-to-end" or "off", not {self.compression!r}')


@frozen(cache_hash=True)
class Forward:
    """
    Relay this client to a backend of a pool.

    @ivar pool: the pool's name in the configuration.
    @ivar filters: names of plugins, in order towards the backend.
    @ivar route: the name of the rule, for logs.
    @ivar rules: what is changed in requests and answers (L7); C{None} is nothing.
    @ivar cache: the name of the cache that answers are kept in (L7); empty is none.
    """

    pool: str
    filters: tuple[str, ...] = ()
    route: str = ""
    settings: RouteSettings = RouteSettings()
    rules: Rules | None = None
    cache: str = ""


@frozen
class Respond:
    """
    Answer at once (L7 only).

    @ivar status: 200-599.
    @ivar headers: C{ValueError} if one is not safe to write, as in L{MutableHeaders}.
    """

    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""

    def __attrs_post_init__(self) -> None:
        if not 200 <= self.status <= 599:
            raise ValueError(f"{self.status} is no status of a final answer")
        for name, value in self.headers:
            checkedField(name, value)


@frozen
class Serve:
    """
    Let a C{twisted.web} C{IResource} answer (L7 only).

    @ivar maxBody: bytes of a request body; C{twisted.web} keeps all of it.
    """

    resource: Any
    maxBody: int = 16 * 1024 * 1024


@frozen
class Refuse:
    """Turn the client away: 403 at L7, a closed connection at L4. C{detail} is logged."""

    detail: str = ""


Decision: TypeAlias = Forward | Respond | Serve | Refuse


# ------------------------------------------------------------------ message verdicts


@final
@define
class Message:
    """
    One whole WebSocket message: unmasked, reassembled, inflated.

    @ivar data: the payload; UTF-8 if L{isText}.
    """

    data: bytes
    isText: bool = False

    @property
    def text(self) -> str:
        """The payload as text; C{UnicodeDecodeError} if a binary message is none."""
        return self.data.decode("utf-8")


@frozen
class Drop:
    """Forward nothing in place of this message or chunk."""


@frozen
class Reply:
    """Send this back to whoever sent the message. C{str} is text, C{bytes} is binary."""

    data: str | bytes


@frozen
class Close:
    """
    End the session: both sides get this Close frame (RFC 6455 section 7.4).

    @ivar code: 1000-1003, 1007-1014 or 3000-4999: what may stand in a Close frame.
    @ivar reason: at most 123 bytes of UTF-8.
    """

    code: int = 1000
    reason: str = ""

    def __attrs_post_init__(self) -> None:
        code = self.code
        if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
            raise ValueError(f"close code {code} must not go on the wire")
        if len(self.reason.encode("utf-8")) > 123:
            raise ValueError("close reason is longer than 123 bytes")


@frozen
class Retire:
    """From a stream hook: forward C{data}, then never call me again; bytes are spliced."""

    data: bytes = b""


Verdict: TypeAlias = (
    "str | bytes | Message | Drop | Reply | Close | list[Any] | tuple[Any, ...] | None"
)


# -------------------------------------------------------------------------- endings


class Kind(_Word):
    """What was relayed: L4 bytes, one HTTP request, or one WebSocket."""

    TUNNEL = "tunnel"
    EXCHANGE = "exchange"
    SESSION = "session"


class Party(_Word):
    """Who ended it."""

    CLIENT = "client"
    BACKEND = "backend"
    RELAY = "relay"
    PLUGIN = "plugin"


class Phase(_Word):
    """
    How far it had come: reading what the client says first, choosing, connecting to a
    backend, waiting for the backend's answer, moving bytes, or the closing handshake.
    """

    ACCEPT = "accept"
    DECIDE = "decide"
    DIAL = "dial"
    ANSWER = "answer"
    RELAY = "relay"
    CLOSE = "close"


@frozen
class CloseReason:
    """Why something ended. The log line, the metric and the hook all show this one value."""

    party: Party
    phase: Phase
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.party.value}/{self.phase.value}: {self.detail}"


@define
class Counts:
    """
    What went one way.

    @ivar bytes: as read from the sender, frame heads included.
    @ivar frames: WebSocket frames, control frames included (levels FRAMES and MESSAGES).
    @ivar messages: data messages begun (levels FRAMES and MESSAGES).
    """

    bytes: int = 0
    frames: int = 0
    messages: int = 0


# --------------------------------------------------------------------------- events


@frozen
class Event:
    """
    Something an observer hears of.

    @ivar id: L{Inbound.id}: of the connection at L4, of the request at L7.
    @ivar time: seconds since the epoch.
    """

    id: str
    time: float


@frozen
class Opened(Event):
    """A client arrived (L4), or its request head was read (L7)."""

    kind: Kind
    inbound: Inbound


@frozen
class Decided(Event):
    """The policies have spoken; C{None} is no route."""

    decision: Decision | None


@frozen
class Connected(Event):
    """A backend accepted the connection."""

    pool: str
    backend: str
    peer: Address


@frozen
class Established(Event):
    """
    The relaying began.

    @ivar kind: L{Kind.SESSION} after the 101, L{Kind.TUNNEL} after the dial.
    @ivar levels: what is looked at, each direction.
    @ivar subprotocol: the one the backend chose.
    @ivar extensions: C{Sec-WebSocket-Extensions} as the client was answered.
    """

    kind: Kind
    levels: Mapping[Direction, Interest]
    subprotocol: str | None = None
    extensions: str = ""


@frozen
class Closed(Event):
    """
    It is over: exactly one for each L{Opened}.

    @ivar status: the HTTP status the client got; 0 where none was sent.
    @ivar route: the name of the route, pool and backend, empty where it did not come so far.
    @ivar duration: seconds since L{Opened}.
    @ivar counts: what went each way.
    @ivar codes: the close code that each side saw, L{Party.CLIENT} and L{Party.BACKEND}, for
        a session: 1005 is a Close frame without a code, 1006 is none at all.
    """

    kind: Kind
    inbound: Inbound
    reason: CloseReason
    route: str = ""
    pool: str = ""
    backend: str = ""
    status: int = 0
    duration: float = 0.0
    counts: Mapping[Direction, Counts] = field(factory=dict)
    codes: Mapping[Party, int] = field(factory=dict)

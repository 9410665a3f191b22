# -*- test-case-name: tests.l7.test_upgrade -*-
"""
Settles one WebSocket handshake between three parties (RFC 6455 section 4).

The client's handshake is checked before anything is forwarded; the backend gets the
client's own key and an offer of extensions that the relay can live with; its 101 is checked
before the client is answered. Who needs to read messages was asked before, so
permessage-deflate stays between the two ends whenever nobody does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from wsrelay.errors import BadResponse
from wsrelay.l4.plans import Plan
from wsrelay.l7.fields import shaken
from wsrelay.l7.pages import phrase
from wsrelay.l7.session import Session
from wsrelay.model import Direction, Headers, Interest, Request, Response
from wsrelay.plane.engine import Lane
from wsrelay.wire.deflate import Parameters, acceptOffer, offerToBackend, parseAnswer
from wsrelay.wire.handshake import Accepted, acceptKey, checkAccepted, readHandshake
from wsrelay.wire.heads import writeResponse

if TYPE_CHECKING:
    from wsrelay.l7.errand import Errand
    from wsrelay.l7.exchange import Exchange

__all__ = ["Upgrade"]

_UP, _DOWN = Direction.TO_BACKEND, Direction.TO_CLIENT
_RSV1 = 0x40
_RSV_ANY = 0x70


class Upgrade:
    """One handshake on its way."""

    def __init__(self, exchange: Exchange) -> None:
        """@raise BadHandshake: the client's handshake is none."""
        self._exchange = exchange
        self._request: Request = exchange.inbound.request  # type: ignore[assignment]  # there is one at L7
        self._handshake = readHandshake(self._request)
        self._offer = ""
        self._accepted = Accepted(None, "")
        self._extensions = ""
        self._client: Parameters | None = None
        self._backend: Parameters | None = None

    def plan(self, plan: Plan) -> None:
        """The route is known: choose which extensions to offer."""
        self._plan = plan
        self._levels = {_UP: plan.level(_UP), _DOWN: plan.level(_DOWN)}
        if plan.forward.settings.compression == "off":
            self._offer = ""
        elif self._readsMessages:
            self._offer = offerToBackend(self._handshake.extensions)
        else:
            self._offer = self._handshake.extensions

    @property
    def _readsMessages(self) -> bool:
        return Interest.MESSAGES in self._levels.values()

    def fields(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """The fields of the request to the backend: C{headers} and the handshake's own."""
        own = [
            (b"Connection", b"Upgrade"),
            (b"Upgrade", b"websocket"),
            (b"Sec-WebSocket-Version", b"13"),
            (b"Sec-WebSocket-Key", self._handshake.key),
        ]
        if self._offer:
            own.append((b"Sec-WebSocket-Extensions", self._offer.encode("latin-1")))
        return shaken(headers, own)

    def check(self, response: Response) -> None:
        """
        Check the backend's 101 against what it was asked.

        @raise BadResponse: it is not a true 101.
        """
        asked = self._handshake
        if asked.extensions != self._offer:
            asked = evolve(asked, extensions=self._offer)
        self._accepted = checkAccepted(asked, response)
        self._extensions = self._accepted.extensions
        if self._readsMessages:
            self._backend = parseAnswer(self._extensions, self._offer)
            self._client = self._backend
            if self._backend is None and self._offer and self._bothRead:
                # The backend does not compress; the client's leg may nevertheless.
                self._extensions, self._client = acceptOffer(self._handshake.extensions)

    @property
    def _bothRead(self) -> bool:
        return all(level is Interest.MESSAGES for level in self._levels.values())

    def session(self, errand: Errand) -> Session:
        """
        Accept the client, and join the two.

        @param errand: what the 101 has answered.
        @raise PluginFault: a filter could not be attached; the client was not accepted.
        """
        exchange = self._exchange
        session = Session(exchange.listener, exchange.life, self._plan, self._accepted.subprotocol)
        lanes = {_UP: self._lane(session, _UP), _DOWN: self._lane(session, _DOWN)}
        client = exchange.door.accept(self._answer())
        exchange.life.status = 101
        session.join(client, errand.give(), lanes, self._extensions)
        return session

    def _answer(self) -> bytes:
        """The head of the 101 to the client."""
        response = self._exchange.response
        if response is None:
            raise BadResponse("no 101 was read")
        own = [
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Accept", acceptKey(self._handshake.key)),
        ]
        if self._extensions:
            own.append((b"Sec-WebSocket-Extensions", self._extensions.encode("latin-1")))
        fields = shaken(response.headers, own)
        return writeResponse(101, phrase(101), fields, isChecked=not self._plan.requestFilters)

    def _lane(self, session: Session, direction: Direction) -> Lane:
        settings = self._plan.forward.settings
        lane = Lane(
            self._levels[direction],
            maxFrame=settings.maxFrame,
            maxMessage=settings.maxMessage,
            maxFragments=settings.maxFragments,
            maxControlRate=settings.maxControlRate,
            rsv=_rsvOf(self._extensions),
        )
        if lane.level is Interest.MESSAGES:
            lane.hookName, lane.hook = session.attach(
                self._plan.messageFilters[direction], direction
            )
            isUp = direction is Direction.TO_BACKEND
            lane.inflate = self._client if isUp else self._backend
            lane.deflate = self._backend if isUp else self._client
        return lane


def _rsvOf(extensions: str) -> int:
    """The reserved bits that these extensions may set (RFC 7692 section 6 for RSV1)."""
    if not extensions:
        return 0
    names = {part.partition(";")[0].strip().lower() for part in extensions.split(",")} - {""}
    return _RSV1 if names == {"permessage-deflate"} else _RSV_ANY

# -*- test-case-name: tests.l7.test_origin -*-
"""
One connection to a backend that speaks HTTP: requests go out, responses come in, one at a time.

It reads heads strictly and says what it read to its I{hearer}, which decides what the client
gets. After a response head, and after a 101, it is not read on before the hearer says so. When
all has gone well it waits in its pool for the next request; when there is the slightest doubt
about where the response ended, it is closed.

How long anything may take is the hearer's business; only how long the end may take is settled
here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol as TypingProtocol

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.backends.pool import Dialled, Pool
from wsrelay.errors import BackendFault, BadResponse, RelayError
from wsrelay.l7.linger import Linger
from wsrelay.l7.outgoing import isPersonal
from wsrelay.l7.trailers import Trailers
from wsrelay.model import Response
from wsrelay.plane.legs import Leg, unheard
from wsrelay.wire.bodies import BodyKind, BodyReader, Framing, bodyReader, responseFraming
from wsrelay.wire.heads import HeadReader, parseResponse

__all__ = ["Hearer", "Origin"]

# A response head may be larger than a request's: Set-Cookie and policies add up.
_MAX_HEAD = 65536
_MAX_FIELDS = 200
# RFC 9110 section 15.2 sets no limit on interim responses; a backend needs two or three.
_MAX_INTERIM = 16


class Hearer(TypingProtocol):
    """Who hears of a response."""

    def interim(self, response: Response) -> None:
        """A 1xx other than 101."""

    def responded(self, response: Response, framing: Framing) -> None:
        """The response's head, 101 included; nothing is read on before L{Origin.readBody}."""

    def content(self, data: bytes) -> None:
        """Some of the response's body."""

    def completed(self) -> None:
        """The whole response was heard."""

    def failed(self, error: BackendFault) -> None:
        """It will not be completed, and nothing more is heard."""


@implementer(IPushProducer)
class Origin:
    """
    One connection, see the module. It is the receiver of its leg from the first request on.

    Its state is the method that what comes is given to: C{received}.

    @ivar backend: where it leads.
    @ivar leg: the connection.
    @ivar isFull: whether the backend does not read what it is sent.
    @ivar trailers: behind the body of the last response.
    @ivar hasHeard: whether the backend has said anything since the request was sent.
    """

    __slots__ = (
        "_body",
        "_clock",
        "_failed",
        "_framing",
        "_head",
        "_hearer",
        "_interims",
        "_isFed",
        "_isHanded",
        "_isPaused",
        "_isShared",
        "_isUpgrade",
        "_linger",
        "_mayStay",
        "_method",
        "_patience",
        "_pool",
        "_rest",
        "_source",
        "_stopped",
        "backend",
        "hasHeard",
        "isFull",
        "leg",
        "received",
        "trailers",
    )

    def __init__(self, pool: Pool, dialled: Dialled, clock: Any, patience: float) -> None:
        """
        @param dialled: its leg holds still.
        @param patience: seconds that the end may take.
        """
        self.backend = dialled.backend
        self.leg: Leg = dialled.leg
        self._pool = pool
        self._clock = clock
        self._patience = patience
        self._head = HeadReader(_MAX_HEAD, _MAX_FIELDS)
        self._isHanded = False
        self._isPaused = True
        self._linger: Linger | None = None
        self._source: Any = None
        self.isFull = False
        self.trailers: Trailers = ()
        self._hearer: Any = None
        self._failed: Callable[[BackendFault], None] = _untold
        self.received: Callable[[bytes], None] = self._unasked

    # -- for the hearer

    def begin(
        self,
        head: bytes,
        method: str,
        isUpgrade: bool,
        hearer: Hearer,
        failed: Callable[[BackendFault], None] | None = None,
        isShared: bool = True,
    ) -> None:
        """
        Send a request's head and listen. The body, if there is one, follows by L{feed},
        L{send} and L{fed}.

        @param failed: hears of a failure instead of C{hearer}.
        @param isShared: whether the connection may serve others afterwards.
        """
        self._isShared = isShared and self._pool.keepsAlive
        self._hearer = hearer
        self._failed = failed or hearer.failed
        self._method = method
        self._isUpgrade = isUpgrade
        self._interims = 0
        self._framing: Framing | None = None
        self._body: BodyReader | None = None
        self._isFed = True
        self._mayStay = False
        self._rest = b""
        self._stopped: Failure | None = None
        self.hasHeard = False
        self.received = self._readHead
        self.leg.write(head)
        self._resume()
        if not self._isHanded:
            self._isHanded = True
            self.leg.hand(self)

    def feed(self, source: Any) -> None:
        """The request's body comes from C{source}, which is paused while nobody reads it."""
        self._isFed = False
        self._source = source
        self.leg.feed(_Taker(self))

    def send(self, data: bytes) -> None:
        """Some of the request's body, framed."""
        self.leg.write(data)

    def fed(self) -> None:
        """The request's body is complete."""
        if not self._isFed:
            self._isFed = True
            self._source = None
            self.leg.starve()

    def readBody(self) -> None:
        """The response's head was dealt with: read on."""
        assert self._framing is not None
        self._body = bodyReader(self._framing)
        rest, self._rest = self._rest, b""
        if self._body.complete:
            self._complete(rest)
            return
        self.received = self._readBody
        if rest:
            self._readBody(rest)
        if self._hearer is not None:
            self._goOn()

    def give(self) -> Leg:
        """The leg, holding still, after a 101; this object has nothing more to do with it."""
        rest, self._rest = self._rest, b""
        # Nobody must hold on to this by its own method, if the leg has another future.
        self.received = unheard
        self._hearer = None
        self.leg.hold(rest)
        return self.leg

    def cancel(self) -> None:
        """Nobody wants the response any more."""
        if self._hearer is not None:
            self._over()
            self.leg.abort()

    # -- the producer of the response's body

    def pauseProducing(self) -> None:
        """The client does not read."""
        self._isPaused = True
        self.leg.pauseProducing()

    def resumeProducing(self) -> None:
        """It reads."""
        if self.received == self._readBody:
            self._resume()

    def stopProducing(self) -> None:
        """The client is gone; its own receiver hears of that."""

    def _resume(self) -> None:
        if self._isPaused:
            self._isPaused = False
            self.leg.resumeProducing()

    # -- the receiver of the leg

    def _unasked(self, data: bytes) -> None:
        """Nobody has asked: whatever this is, it is not the answer to the next request."""
        self._pool.forget(self.backend, self)
        self.leg.abort()

    def _readHead(self, data: bytes) -> None:
        self.hasHeard = True
        try:
            while True:
                head, data = self._head.feed(data)
                if head is None:
                    return
                response = parseResponse(head, _MAX_FIELDS)
                if response.status >= 200 or response.status == 101:
                    break
                self._interims += 1
                if self._interims > _MAX_INTERIM:
                    raise BadResponse("interim responses without end")
                # One with content is none.
                responseFraming(response, self._method)
                self._hearer.interim(response)
                if self._hearer is None:
                    return
            if response.status == 101 and not self._isUpgrade:
                raise BadResponse("101 without having been asked to switch protocols")
            self._framing = responseFraming(response, self._method)
        except BackendFault as error:
            self._fail(error)
            return
        except RelayError as error:
            self._fail(BadResponse(error.detail))
            return
        self._mayStay = self._isShared and _mayStay(response, self._framing)
        self._rest = data
        self.received = self._readLater
        self._hearer.responded(response, self._framing)
        if self.received == self._readLater:
            self.pauseProducing()

    def _readLater(self, data: bytes) -> None:
        """The hearer still thinks about the head."""
        self._rest += data

    def _readBody(self, data: bytes) -> None:
        assert self._body is not None
        try:
            content, rest = self._body.feed(data)
        except RelayError as error:
            self._fail(BadResponse(error.detail))
            return
        if content:
            self._hearer.content(content)
        if rest is not None and self._hearer is not None:
            self._complete(rest)

    def finished(self) -> None:
        """The backend sends nothing more."""
        self._mayStay = False
        if self._hearer is None:
            self._pool.forget(self.backend, self)
            if self._linger is None:
                self.leg.close()
        elif self.received == self._readLater:
            self._stopped = _DONE
        else:
            self._stop(_DONE)

    def lost(self, reason: Failure) -> None:
        """The backend's connection is gone."""
        self._mayStay = False
        if self._linger is not None:
            self._linger.lost()
        if self._hearer is None:
            self._pool.forget(self.backend, self)
        elif self.received == self._readLater:
            self._stopped = reason
        else:
            self._stop(reason)

    def _goOn(self) -> None:
        """The connection may have ended while the hearer thought."""
        if self._stopped is not None:
            self._stop(self._stopped)
        else:
            self._resume()

    def _stop(self, reason: Failure) -> None:
        """Nothing more comes: is the response whole?"""
        if not reason.check(ConnectionDone):
            self._fail(BadResponse(f"its connection broke: {reason.getErrorMessage()}"))
            return
        if self._body is None:
            self._fail(BadResponse("closed its connection instead of answering"))
            return
        try:
            self._body.finish()
        except RelayError:
            self._fail(BadResponse("closed its connection in the middle of a response"))
            return
        self._complete(b"")

    # -- ends

    def _complete(self, rest: bytes) -> None:
        hearer, body = self._hearer, self._body
        self._failed = _untold
        self.trailers = () if body is None else body.trailers
        mayStay = self._mayStay and self._isFed and not rest and self._stopped is None
        self._over()
        if not (mayStay and self._pool.keep(self.backend, self)):
            self._leave()
        else:
            self._resume()
        hearer.completed()

    def _leave(self) -> None:
        """The backend closes: it was told to. TLS, and what it has not read, take their time."""
        if not self.leg.isLost:
            self._linger = Linger(self._clock, self.leg, self._patience)
            self.received = self._linger.received
            self._linger.wait()

    def close(self) -> None:
        """It has waited long enough."""
        # It counts again until it is gone.
        self.backend.active += 1
        self.leg.close()

    def _fail(self, error: BackendFault) -> None:
        if self._hearer is not None:
            self._over()
            self.leg.abort()
            failed, self._failed = self._failed, _untold
            failed(error)

    def _over(self) -> None:
        self._hearer = None
        self.received = self._unasked
        if not self._isFed:
            self.leg.starve()


def _untold(error: BackendFault) -> None:
    """Nobody waits for an answer."""


_DONE = Failure(ConnectionDone())


def _mayStay(response: Response, framing: Framing) -> bool:
    """Whether the connection may carry another request (RFC 9112 section 9.3)."""
    if response.version < (1, 1) or framing.kind is BodyKind.CLOSE or response.status == 101:
        return False
    headers = response.headers
    values = headers.rawAll(b"connection")
    if values and any(b"close" in value.lower() for value in values):
        return False
    return response.status != 401 or not any(
        isPersonal(value) for value in headers.rawAll(b"www-authenticate")
    )


@implementer(IPushProducer)
class _Taker:
    """Passes on to the source of a request's body that the backend does not read."""

    __slots__ = ("_origin",)

    def __init__(self, origin: Origin) -> None:
        self._origin = origin

    def pauseProducing(self) -> None:
        origin = self._origin
        origin.isFull = True
        if origin._source is not None:
            origin._source.pauseProducing()

    def resumeProducing(self) -> None:
        origin = self._origin
        origin.isFull = False
        if origin._source is not None:
            origin._source.resumeProducing()

    def stopProducing(self) -> None:
        """The backend is gone; its receiver hears of that, too."""

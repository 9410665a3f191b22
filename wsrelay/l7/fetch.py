# -*- test-case-name: tests.l7.test_fetch -*-
"""
The backend's side of one exchange: the request goes out, the response comes in.

It reads heads strictly and says what it read to the exchange, which decides what the client
gets. After a response head, and after a 101, the leg holds still until the exchange says
how to go on. How long anything may take is the exchange's business; only how long the end
may take is settled here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol as TypingProtocol

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.errors import BackendFault, BadResponse, RelayError
from wsrelay.l7.linger import Linger
from wsrelay.model import Response
from wsrelay.plane.legs import Leg
from wsrelay.wire.bodies import BodyReader, Framing, bodyReader, responseFraming
from wsrelay.wire.heads import HeadReader, parseResponse

__all__ = ["Fetch", "Hearer"]

# A response head may be larger than a request's: Set-Cookie and policies add up.
_MAX_HEAD = 65536
_MAX_FIELDS = 200
# RFC 9110 section 15.2 sets no limit on interim responses; a backend needs two or three.
_MAX_INTERIM = 16


class Hearer(TypingProtocol):
    """Who hears of a fetch: the exchange."""

    def interim(self, response: Response) -> None:
        """A 1xx other than 101."""

    def responded(self, response: Response, framing: Framing) -> None:
        """The response's head, 101 included; the leg holds still."""

    def content(self, data: bytes) -> None:
        """Some of the response's body."""

    def completed(self) -> None:
        """The whole response was heard."""

    def failed(self, error: BackendFault) -> None:
        """It will not be completed."""


def _nothing(data: bytes) -> None:
    """The leg holds still: nothing can come."""


@implementer(IPushProducer)
class Fetch:
    """
    One request to one backend.

    @ivar leg: the connection to it.
    @ivar isFull: whether it does not read what it is sent.
    """

    def __init__(
        self, leg: Leg, method: str, isUpgrade: bool, hearer: Hearer, linger: Linger
    ) -> None:
        """
        @param leg: holds still.
        @param linger: sees the leg off.
        """
        self.leg = leg
        self.isFull = False
        self._method = method
        self._isUpgrade = isUpgrade
        self._hearer = hearer
        self._linger = linger
        self._head = HeadReader(_MAX_HEAD, _MAX_FIELDS)
        self._interims = 0
        self._framing: Framing | None = None
        self._body: BodyReader | None = None
        self._source: Any = None
        self._isOver = False
        self.received: Callable[[bytes], None] = self._readHead

    def begin(self, head: bytes) -> None:
        """Send the request's head and listen."""
        self.leg.write(head)
        self.leg.resumeProducing()
        self.leg.hand(self)

    def feed(self, source: Any) -> None:
        """The request's body comes from C{source}, which is paused while nobody reads it."""
        self._source = source
        self.leg.feed(self)

    def fed(self) -> None:
        """The request's body is complete."""
        self.leg.starve()

    def readBody(self) -> None:
        """The response's head was dealt with: read on."""
        assert self._framing is not None
        self._body = bodyReader(self._framing)
        if self._body.complete:
            self._complete()
            return
        self.received = self._readBody
        self.leg.resumeProducing()
        self.leg.hand(self)

    def cancel(self) -> None:
        """Nobody wants the response any more."""
        self._over()
        self.leg.abort()

    # -- the producer of the request's body

    def pauseProducing(self) -> None:
        """The backend does not read."""
        self.isFull = True
        self._source.pauseProducing()

    def resumeProducing(self) -> None:
        """It reads."""
        self.isFull = False
        self._source.resumeProducing()

    def stopProducing(self) -> None:
        """The backend is gone; L{lost} hears of that, too."""

    # -- the receiver of the leg

    def _readHead(self, data: bytes) -> None:
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
                self._hearer.interim(response)
                if self._isOver:
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
        self.leg.hold(data)
        # Nobody must hold on to this by its own method, if the leg has another future.
        self.received = _nothing
        self._hearer.responded(response, self._framing)

    def _readBody(self, data: bytes) -> None:
        assert self._body is not None
        try:
            content, rest = self._body.feed(data)
        except RelayError as error:
            self._fail(BadResponse(error.detail))
            return
        if content:
            self._hearer.content(content)
        if rest is not None and not self._isOver:
            self._complete()

    def finished(self) -> None:
        """The backend sends nothing more."""
        if self._isOver:
            return
        if self._body is None:
            self._fail(BadResponse("closed its connection instead of answering"))
            return
        try:
            self._body.finish()
        except RelayError:
            self._fail(BadResponse("closed its connection in the middle of a response"))
            return
        self._complete()

    def lost(self, reason: Failure) -> None:
        """The backend's connection is gone."""
        self._linger.lost()
        if self._isOver:
            return
        if reason.check(ConnectionDone):
            self.finished()
        else:
            self._fail(BadResponse(f"its connection broke: {reason.getErrorMessage()}"))

    # -- ends

    def _complete(self) -> None:
        """The backend closes: it was told to. TLS, and what it has not read, take their time."""
        self._over()
        if not self.leg.isLost:
            self._linger.wait()
            self.received = self._linger.received
            self.leg.hand(self)
        self._hearer.completed()

    def _fail(self, error: BackendFault) -> None:
        if not self._isOver:
            self._over()
            self.leg.abort()
            self._hearer.failed(error)

    def _over(self) -> None:
        self._isOver = True
        self.leg.hold()

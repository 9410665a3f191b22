# -*- test-case-name: tests.l7.test_fetch -*-
"""
The backend's side of one exchange: the request goes out, the response comes in.

It reads heads strictly and says what it read to the exchange, which decides what the client
gets. After a response head, and after a 101, the leg holds still until the exchange says
how to go on.
"""

from __future__ import annotations

from typing import Any, Protocol as TypingProtocol

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from wsrelay.errors import BackendFault, BackendTimeout, BadResponse, RelayError
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


class Fetch:
    """One request to one backend."""

    def __init__(
        self, clock: Any, leg: Leg, method: str, isUpgrade: bool, hearer: Hearer
    ) -> None:
        """@param leg: holds still."""
        self._clock = clock
        self.leg = leg
        self._method = method
        self._isUpgrade = isUpgrade
        self._hearer = hearer
        self._head = HeadReader(_MAX_HEAD, _MAX_FIELDS)
        self._interims = 0
        self._framing: Framing | None = None
        self._body: BodyReader | None = None
        self._timer: Any = None
        self._isOver = False
        self.received = self._readHead

    def begin(self, head: bytes) -> None:
        """Send the request's head and listen."""
        self.leg.write(head)
        self.leg.resumeProducing()
        self.leg.hand(self)

    def expect(self, timeout: float) -> None:
        """The request is out: the response's head must come within C{timeout} seconds."""
        if not self._isOver and self._framing is None and self._timer is None:
            self._timer = self._clock.callLater(timeout, self._late)

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
                self._head = HeadReader(_MAX_HEAD, _MAX_FIELDS)
                if not data or self._isOver:
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
        self._stopTimer()
        self.leg.hold(data)
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
        if reason.check(ConnectionDone):
            self.finished()
        else:
            self._fail(BadResponse(f"its connection broke: {reason.getErrorMessage()}"))

    # -- ends

    def _late(self) -> None:
        self._timer = None
        self._fail(BackendTimeout("did not answer in time"))

    def _complete(self) -> None:
        self._over()
        self.leg.close()
        self._hearer.completed()

    def _fail(self, error: BackendFault) -> None:
        if not self._isOver:
            self._over()
            self.leg.abort()
            self._hearer.failed(error)

    def _over(self) -> None:
        self._isOver = True
        self._stopTimer()
        self.leg.hold()

    def _stopTimer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

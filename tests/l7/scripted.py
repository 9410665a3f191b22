# -*- test-case-name: tests.l7.test_cached,tests.l7.test_filling -*-
"""
A cache between clients and a backend that are both scripts: no connection, and a clock that
only a test moves.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.errors import BackendFault, BadResponse
from wsrelay.l7.cache import Cache, CacheSettings
from wsrelay.model import (
    Address,
    Headers,
    Inbound,
    MutableHeaders,
    OutboundRequest,
    Request,
    Response,
)
from wsrelay.wire.bodies import BodyKind, Framing
from wsrelay.wire.caching import Rules

__all__ = ["DATE", "FRESH", "NOW", "Asking", "CacheTestCase", "Sent", "fieldsOf"]

# RFC 9110 section 5.6.7.
NOW = 784111777.0
DATE = "Date: Sun, 06 Nov 1994 08:49:37 GMT"

FRESH = "Cache-Control: max-age=60"


def fieldsOf(*lines: str) -> list[tuple[bytes, bytes]]:
    """Header fields, one a line."""
    pairs = [line.partition(": ") for text in lines for line in text.splitlines()]
    return [(name.encode(), value.encode("latin-1")) for name, _, value in pairs]


class Sent:
    """
    An errand that a script answers.

    @ivar fields: what the backend was asked with.
    """

    def __init__(self, fields: list[tuple[bytes, bytes]], hearer: Any) -> None:
        self.fields = Headers(fields)
        self.hearer = hearer
        self.isBegun = self.isRead = self.isCancelled = self.isPaused = False

    @property
    def producer(self) -> Any:
        """Itself."""
        return self

    def begin(self) -> None:
        self.isBegun = True

    def feed(self, source: Any) -> None:
        raise AssertionError("there is no body")

    send = fed = feed

    def readBody(self) -> None:
        self.isRead = True

    def cancel(self) -> None:
        assert not self.isCancelled, "cancelled twice"
        self.isCancelled = True

    def pauseProducing(self) -> None:
        self.isPaused = True

    def resumeProducing(self) -> None:
        self.isPaused = False

    # -- what the backend does

    def head(self, *lines: str, status: int = 200, length: int | None = None) -> None:
        """Answer; without a length the body is chunked."""
        assert not self.isCancelled
        fields = fieldsOf(DATE, *lines)
        framing = Framing(BodyKind.CHUNKED)
        if status in (204, 304):
            framing = Framing(BodyKind.NONE)
        elif length is not None:
            fields.append((b"Content-Length", b"%d" % length))
            framing = Framing(BodyKind.LENGTH, length)
        self.hearer.responded(Response(status, "Said", Headers(fields)), framing)

    def body(self, *pieces: bytes) -> None:
        """Some of the body."""
        for piece in pieces:
            assert self.isRead, "nobody has asked for the body"
            assert not self.isCancelled
            self.hearer.content(piece)

    def end(self) -> None:
        """The end of the body."""
        assert self.isRead
        assert not self.isCancelled
        self.hearer.completed()

    def answer(self, *lines: str, body: bytes = b"hello", status: int = 200) -> None:
        """A whole answer with a length."""
        isBare = status in (204, 304)
        self.head(*lines, status=status, length=None if isBare else len(body))
        if body and not isBare and not self.isCancelled:
            self.body(body)
        if not self.isCancelled:
            self.end()

    def fail(self) -> None:
        """The connection broke."""
        self.hearer.failed(BadResponse("broke"))


class Asking:
    """
    A client's exchange.

    @ivar fields: of the answer.
    @ivar error: that ended it instead.
    @ivar pausesAfter: so many pieces of the body.
    @ivar isThinking: whether its filters have not yet answered.
    """

    def __init__(self) -> None:
        self.errand: Any = None
        self.status: int | None = None
        self.fields = Headers()
        self.framing: Framing | None = None
        self.body = b""
        self.pieces = 0
        self.isComplete = False
        self.error: Any = None
        self.interims: list[int] = []
        self.dials = 0
        self.pausesAfter: int | None = None
        self.isThinking = False

    #: What may come at once is tested with real exchanges.
    takesReady = False

    def dialled(self, backend: Any, leg: Any) -> None:
        self.dials += 1

    def sent(self) -> None:
        pass

    def unreachable(self, failure: Failure) -> None:
        assert not self.isOver
        self.error = failure.value

    def interim(self, response: Response) -> None:
        self.interims.append(response.status)

    def responded(self, response: Response, framing: Framing) -> None:
        assert self.status is None, "answered twice"
        assert not self.isOver
        self.status, self.fields, self.framing = response.status, response.headers, framing
        if not self.isThinking:
            self.errand.readBody()

    def content(self, data: bytes) -> None:
        assert self.status is not None
        assert not self.isOver
        self.body += data
        self.pieces += 1
        if self.pieces == self.pausesAfter:
            self.errand.producer.pauseProducing()

    def completed(self) -> None:
        assert not self.isOver
        self.isComplete = True

    def failed(self, error: BackendFault) -> None:
        assert not self.isOver
        self.error = error

    @property
    def isOver(self) -> bool:
        """Whether it has ended."""
        return self.isComplete or self.error is not None

    @property
    def said(self) -> str | None:
        """C{Cache-Status}."""
        return self.fields.get("cache-status")

    @property
    def outcome(self) -> tuple[int | None, bytes, bool]:
        """What came of it."""
        return self.status, self.body, self.isComplete


class CacheTestCase(SynchronousTestCase):
    """
    A cache.

    @ivar sent: the errands that were made, in order.
    """

    settings = CacheSettings()

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.start(self.settings)

    def start(self, settings: CacheSettings | None = None, **rules: Any) -> None:
        """Have another, empty cache."""
        if settings is None:
            settings = CacheSettings(rules=Rules(**rules))
        self.cache = Cache(settings, self.clock, self.clock.seconds)
        self.sent: list[Sent] = []
        self.asked: list[Asking] = []

    def make(self, fields: list[tuple[bytes, bytes]], hearer: Any) -> Any:
        """What the exchange gives the cache to ask with."""
        self.sent.append(Sent(fields, hearer))
        return self.sent[-1]

    @property
    def last(self) -> Sent:
        """The last errand."""
        return self.sent[-1]

    def ask(
        self,
        *lines: str,
        target: str = "/",
        method: str = "GET",
        host: str = "a",
        pool: str = "pool",
        secure: bool = False,
        outbound: list[tuple[bytes, bytes]] | None = None,
        pausesAfter: int | None = None,
    ) -> Asking:
        """A client asks."""
        fields = fieldsOf(f"Host: {host}", *lines)
        request = Request(method, target, Headers(fields))
        client = Address("127.0.0.1", 1)
        inbound = Inbound("1", "public", client, client, secure, request=request)
        asking = Asking()
        asking.pausesAfter = pausesAfter
        self.asked.append(asking)
        sent = OutboundRequest(method, target, MutableHeaders(outbound or fields))
        asking.errand = self.cache.errand(sent, inbound, asking, self.make, pool)
        asking.errand.begin()
        return asking

    def keep(self, *lines: str, body: bytes = b"hello", **kwargs: Any) -> None:
        """Have an answer in the cache."""
        count = len(self.sent)
        self.ask(**kwargs)
        assert len(self.sent) == count + 1, "it was there already"
        self.last.answer(*(lines or (FRESH,)), body=body)

    def assertHit(self, asking: Asking, body: bytes = b"hello") -> None:
        """It was answered, whole, and from the cache."""
        self.assertEqual(asking.outcome, (200, body, True))
        self.assertIn("; hit", asking.said or "")

    def assertMiss(self, asking: Asking) -> Sent:
        """It waits for the backend, whose errand this is."""
        self.assertIsNone(asking.status)
        self.assertFalse(asking.isOver)
        return self.last

    def tearDown(self) -> None:
        """Every byte is accounted for, and nothing is left when all clients have."""
        cache = self.cache
        self.assertEqual(cache.used, sum(entry.size for entry in cache._entries) + cache._onTheWay)
        self.assertLessEqual(cache.used, cache.settings.size)
        for asking in self.asked:
            if not asking.isOver:
                asking.errand.cancel()
        self.clock.advance(60)
        self.assertEqual(cache._onTheWay, 0)
        for resource in cache._resources.values():
            self.assertTrue(resource.entries, resource.url)
            self.assertEqual(resource.fillings, {})

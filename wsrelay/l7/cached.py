# -*- test-case-name: tests.l7.test_cached -*-
"""
How one request is answered from a cache.

L{Asked} is the request as the cache sees it: what it is kept by, and what it wishes.
L{Cached} stands where the exchange expects an errand, with the same methods: it serves what
is kept, or waits for a L{Filling}, or begins one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol as TypingProtocol, TypeAlias

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.errors import BackendFault, BackendTimeout
from wsrelay.headers import ByName
from wsrelay.l7.errand import Sender
from wsrelay.l7.filling import AnyErrand, Filling, Make, Marked, marked
from wsrelay.l7.pages import page, phrase
from wsrelay.model import Headers, Inbound, OutboundRequest, Response
from wsrelay.wire.bodies import BodyKind, Framing
from wsrelay.wire.caching import (
    NO_WISHES,
    Verdict,
    Wishes,
    isNotModified,
    readWishes,
    variant,
    verdict,
)

if TYPE_CHECKING:
    from wsrelay.l7.cache import Cache, Entry, Resource

__all__ = ["URL", "Asked", "Cached", "Reader"]

_NOTHING = Framing(BodyKind.NONE)

# RFC 9110 section 15.4.5: what a 304 says; more is of no use to who has the answer.
_IN_304 = frozenset(
    {
        b"age",
        b"cache-control",
        b"cache-status",
        b"content-location",
        b"date",
        b"etag",
        b"expires",
        b"last-modified",
        b"vary",
    }
)

URL: TypeAlias = tuple[bytes, bytes, str]
"""Scheme, host in lower case, and target, as the client asked for them."""


# The request fields that the cache reads.
_READ = frozenset(
    {
        b"authorization",
        b"cache-control",
        b"cookie",
        b"host",
        b"if-modified-since",
        b"if-none-match",
        b"pragma",
        b"x-forwarded-host",
        b"x-forwarded-proto",
    }
)
# With one of these a request means something else than its URL says: a part, a condition that
# is not about caching, or what some frameworks take for another method or URL.
_PASSING = frozenset(
    {
        b"if-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
        b"x-host",
        b"x-http-host-override",
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
        b"x-original-host",
        b"x-original-url",
        b"x-rewrite-url",
    }
)


def _role(name: bytes) -> bytes | None:
    """
    A field's name in lower case if the cache reads it, nothing if the cache has nothing to do
    with a request that has it, C{None} for all others.
    """
    lower = name.lower()
    # As CGI has it, "_" is "-".
    if lower.replace(b"_", b"-") in _PASSING:
        return b""
    return lower if lower in _READ else None


_ROLES = ByName(_role)


class Reader(Sender, TypingProtocol):
    """Who has sent a request to a cache, and hears of the answer."""

    @property
    def takesReady(self) -> bool:
        """Whether an answer may come at once, by L{ready}."""
        ...

    def ready(self, status: int, head: bytes, body: bytes) -> None:
        """
        The whole response.

        @param head: all of it but what is about the client's connection, and the empty line.
        """


class Asked:
    """
    A request as the cache sees it.

    @ivar headers: the fields as they go to the backend.
    @ivar place: what else must be the same for an answer to fit, apart from C{Vary}.
    @ivar isPassing: whether the cache has nothing to do with it.
    """

    __slots__ = (
        "hasCookie",
        "headers",
        "isAuthorized",
        "isHead",
        "isPassing",
        "noneMatch",
        "place",
        "since",
        "url",
        "wishes",
    )

    def __init__(
        self, request: OutboundRequest, inbound: Inbound, pool: str, isObedient: bool = True
    ) -> None:
        assert inbound.request is not None
        found: dict[bytes, bytes] = {}
        self.isPassing = False
        self.headers = request.headers
        for name, value in request.headers.raw:
            role = _ROLES[name]
            if role:
                found[role] = found[role] + b", " + value if role in found else value
            elif role is not None:
                self.isPassing = True
        hosts = inbound.request.headers.rawAll(b"host")
        host = hosts[0] if hosts else b""
        scheme = found.get(b"x-forwarded-proto") or (b"https" if inbound.secure else b"http")
        seen = found.get(b"x-forwarded-host") or host
        self.url: URL = (scheme, seen.lower(), inbound.request.target)
        # What a filter has made of the request, and the host as it was written: backends put it
        # into their answers unasked.
        self.place = (pool, found.get(b"host", b""), request.target, host, seen)
        self.isHead = request.method == "HEAD"
        self.noneMatch = found.get(b"if-none-match")
        self.since = found.get(b"if-modified-since")
        self.hasCookie = b"cookie" in found
        # A filter may have taken it out; the answer is somebody's own all the same.
        self.isAuthorized = b"authorization" in found or "authorization" in inbound.request.headers
        self.wishes: Wishes = NO_WISHES
        if isObedient and (b"cache-control" in found or b"pragma" in found):
            self.wishes = readWishes(found.get(b"cache-control"), found.get(b"pragma"))

    def key(self, names: Sequence[bytes]) -> tuple[Any, ...]:
        """Where an answer that depends on these fields is kept."""
        return (*self.place, *variant(names, self.headers)) if names else self.place

    def fields(self) -> list[tuple[bytes, bytes]]:
        """The request's fields without the client's conditions: the cache has its own."""
        if self.noneMatch is None and self.since is None:
            return list(self.headers.raw)
        conditions = (b"if-none-match", b"if-modified-since")
        return [pair for pair in self.headers.raw if pair[0].lower() not in conditions]


@implementer(IPushProducer)
class Cached:
    """
    One request to a cache, an L{AnyErrand}; itself the producer of a body that is kept.

    @ivar asked: the request.
    @ivar hearer: hears of the answer.
    @ivar isBegun: whether it has heard the head.
    """

    # As it is for most: an entry is there, and is given at once.
    isBegun = False
    _fwd = b"uri-miss"
    _filling: Filling | None = None
    _errand: AnyErrand | None = None
    _position = 0
    _isWhole = _isReading = _isPaused = _isDelivering = _isOver = False

    def __init__(self, cache: Cache, asked: Asked, hearer: Reader, make: Make) -> None:
        self.asked = asked
        self.hearer = hearer
        self._cache = cache
        self._make = make
        self._pieces: list[bytes] = []

    # -- the errand

    @property
    def producer(self) -> Any:
        """What the client pauses: this, or the errand whose answer passes."""
        return self if self._errand is None else self._errand.producer

    def begin(self) -> None:
        """Look it up, and serve it, wait for it, or fetch it."""
        cache, asked = self._cache, self.asked
        resource = cache.find(asked.url)
        entry = None
        if resource is not None:
            entry = resource.entries.get(asked.key(resource.names))
            if entry is not None and self._isServed(entry):
                return
            if entry is None and resource.entries:
                self._fwd = b"vary-miss"
        if asked.wishes.isOnlyIfCached:
            self._refuse()
            return
        cache.counts.misses += 1
        if asked.isHead or asked.wishes.isNoStore:
            hearer = Marked(self.hearer, self.mark())
            self._errand = self._make(list(asked.headers.raw), hearer)
            self._errand.begin()
            return
        self._fill(cache.need(asked.url), entry)

    def _isServed(self, entry: Entry) -> bool:
        cache = self._cache
        age = cache.age(entry)
        answer = verdict(entry.terms, self.asked.wishes, age)
        if answer is Verdict.VALIDATE:
            isStale = entry.terms.isNoCache or age >= entry.terms.lifetime
            self._fwd = b"stale" if isStale else b"request"
            return False
        cache.counts.hits += 1
        cache.counts.stale += age >= entry.terms.lifetime
        cache.touch(entry)
        isAlone = entry.key not in entry.resource.fillings
        if answer is Verdict.REFRESH and isAlone and not self.asked.isHead:
            Filling(cache, entry.resource, self.asked, entry).refresh(self._make)
        self.serve(entry, b"wsrelay; hit; ttl=%d" % (entry.terms.lifetime - age), age)
        return True

    def _fill(self, resource: Resource, entry: Entry | None) -> None:
        key = self.asked.key(resource.names)
        filling = resource.fillings.get(key)
        if filling is not None and filling.suits(self):
            self._cache.counts.collapsed += 1
            self._filling = filling
            filling.join(self)
            return
        self._filling = Filling(self._cache, resource, self.asked, entry)
        self._filling.lead(self, self._make, filling is None)

    def feed(self, source: Any) -> None:
        """There is no request body."""

    def send(self, data: bytes) -> None:
        """There is no request body."""

    def fed(self) -> None:
        """There was no request body."""

    def readBody(self) -> None:
        """The response's head was dealt with."""
        if self._errand is not None:
            self._errand.readBody()
        else:
            self._isReading = True
            self._deliver(1)
            if self._position < len(self._pieces) and not self._isOver:
                # By then somebody will have been told that this can be paused.
                self._cache.clock.callLater(0, self.deliver)

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        self._isOver = True
        filling, self._filling = self._filling, None
        if filling is not None:
            filling.leave(self)
        elif self._errand is not None:
            self._errand.cancel()
        self._errand = None

    # -- the producer of the body

    def pauseProducing(self) -> None:
        """The client does not read."""
        self._isPaused = True
        if self._filling is not None:
            self._filling.paused()

    def resumeProducing(self) -> None:
        """It reads."""
        self._isPaused = False
        self.deliver()
        if self._filling is not None and not self._isPaused:
            self._filling.resumed()

    def stopProducing(self) -> None:
        """The client is gone; L{cancel} says so, too."""

    @property
    def isPaused(self) -> bool:
        """Whether the client does not read."""
        return self._isPaused

    # -- answering

    def mark(self, more: bytes = b"") -> bytes:
        """C{Cache-Status} of an answer for which a backend was asked."""
        return b"wsrelay; fwd=" + self._fwd + more

    def serve(self, entry: Entry, mark: bytes, age: float | None = None) -> None:
        """Answer with an entry; C{age} is its own, if it is known."""
        self._filling = None
        if age is None:
            age = self._cache.age(entry)
        if self._takesReady(entry):
            self.isBegun = self._isOver = True
            ready = entry.ready + b"Age: %d\r\nCache-Status: %b\r\n" % (age, mark)
            self.hearer.ready(entry.kept.status, ready, entry.pieces[0])
            return
        self._pieces = entry.pieces
        self._isWhole = True
        head = entry.head(age, mark)
        if isNotModified(self.asked.noneMatch, self.asked.since, entry.kept):
            self._pieces = []
            self._head(_notModified(head), _NOTHING)
        elif self.asked.isHead:
            self._pieces = []
            self._head(head, _NOTHING)
        else:
            self._head(head, entry.framing)

    def _takesReady(self, entry: Entry) -> bool:
        """Whether all of an entry may be given at once."""
        asked = self.asked
        if asked.isHead or asked.noneMatch is not None or asked.since is not None:
            return False
        return len(entry.pieces) == 1 and self.hearer.takesReady

    def stream(self, response: Response, framing: Framing, pieces: list[bytes]) -> bool:
        """
        Answer with what is on its way.

        @param pieces: what has come of the body; more is added to it.
        @return: whether the client wants the body.
        """
        isWanted = not isNotModified(self.asked.noneMatch, self.asked.since, response)
        if isWanted:
            self._pieces = pieces
            self._head(response, framing)
        else:
            self._filling = None
            self._isWhole = True
            self._head(_notModified(response), _NOTHING)
        return isWanted

    def passOn(self, response: Response, framing: Framing, errand: AnyErrand) -> bool:
        """
        Answer with what is not kept: from here on the hearer hears the errand.

        @return: whether the client wants the body.
        """
        if isNotModified(self.asked.noneMatch, self.asked.since, response):
            return self.stream(response, framing, [])
        self._errand = errand
        self._head(response, framing)
        return True

    def alone(self) -> None:
        """The fetch of another came to nothing: begin one that nobody else waits for."""
        cache, asked = self._cache, self.asked
        self._filling = Filling(cache, cache.need(asked.url), asked, None)
        self._filling.lead(self, self._make, False)

    def whole(self) -> None:
        """The body is complete."""
        self._filling = None
        self._isWhole = True
        self.deliver()

    def passed(self) -> None:
        """What was passed on is complete."""
        self._filling = self._errand = None
        self._isOver = True
        self.hearer.completed()

    def fail(self, error: BackendFault) -> None:
        """There will be no answer, or not all of it."""
        self._filling = self._errand = None
        if not self._isOver:
            self._isOver = True
            self.hearer.failed(error)

    def unreachable(self, failure: Failure) -> None:
        """No backend has accepted."""
        self._filling = None
        if not self._isOver:
            self._isOver = True
            self.hearer.unreachable(failure)

    def deliver(self) -> None:
        """Give as much of the body as there is and the client takes."""
        self._deliver(sys.maxsize)

    def _deliver(self, most: int) -> None:
        if self._isDelivering or not self._isReading:
            return
        self._isDelivering = True
        while most and self._position < len(self._pieces) and not (self._isPaused or self._isOver):
            piece = self._pieces[self._position]
            self._position += 1
            most -= 1
            self.hearer.content(piece)
        self._isDelivering = False
        if self._isWhole and not self._isOver and self._position == len(self._pieces):
            self._isOver = True
            self.hearer.completed()

    def spend(self) -> None:
        """Forget what was delivered: nobody else reads it."""
        del self._pieces[: self._position]
        self._position = 0

    def _refuse(self) -> None:
        """RFC 9111 section 5.2.1.7."""
        respond = page(BackendTimeout("only-if-cached"))
        fields = (*respond.headers, (b"Content-Length", b"%d" % len(respond.body)))
        self._isWhole = True
        self._pieces = [] if self.asked.isHead else [respond.body]
        response = Response(respond.status, phrase(respond.status), Headers(fields))
        framing = Framing(BodyKind.LENGTH, len(respond.body))
        mark = b"wsrelay; detail=only-if-cached"
        self._head(marked(response, mark), _NOTHING if self.asked.isHead else framing)

    def _head(self, response: Response, framing: Framing) -> None:
        self.isBegun = True
        self.hearer.responded(response, framing)


def _notModified(response: Response) -> Response:
    fields = [pair for pair in response.headers.raw if pair[0].lower() in _IN_304]
    return Response(304, phrase(304), Headers(fields))

# -*- test-case-name: tests.l7.test_filling -*-
"""
One fetch that may become an entry of a cache, and that answers many.

Who began a L{Filling} is its I{leader} and gets the answer while it arrives; whoever asks for
the same meanwhile waits. Once the head says that the answer may be kept, those who wait get it
while it arrives, too, if its length is known, and else when it is complete. If it may not, or
if the fetch fails, each of them goes to the backend at once and on its own. The backend is read
as fast as it sends, up to the limit of one entry, so that no slow client holds up the others;
beyond that limit there is only the leader, and the answer is relayed and not kept.

A fetch ends early when nobody waits for it any more. The leader's exchange keeps its time. Those
who wait do so for a minute; and a fetch without a leader, who may have left or have been served
a stale answer meanwhile, may take no longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol as TypingProtocol, TypeAlias

from twisted.logger import Logger
from twisted.python.failure import Failure

from wsrelay.backends.backend import Backend
from wsrelay.errors import BackendFault, BackendTimeout
from wsrelay.l7.errand import Sender
from wsrelay.model import Headers, Response
from wsrelay.plane.legs import Leg
from wsrelay.wire.bodies import BodyKind, Framing
from wsrelay.wire.caching import (
    Terms,
    agrees,
    isUsableOnError,
    validators,
    variant,
    varyNames,
)

if TYPE_CHECKING:
    from wsrelay.l7.cache import Cache, Entry, Resource
    from wsrelay.l7.cached import Asked, Cached

__all__ = ["AnyErrand", "Filling", "Make", "Marked", "marked"]

_log = Logger()

# RFC 5861 section 4.
_ERRORS = frozenset({500, 502, 503, 504})
# Seconds that clients wait for the fetch of another, and for a fetch without a leader.
_PATIENCE = 60.0
# Bytes that an answer on its way counts for besides its body, and each piece of it.
_HEAD, _PIECE = 2048, 64


class AnyErrand(TypingProtocol):
    """What answers one request: an L{wsrelay.l7.errand.Errand}, or a cache in its place."""

    @property
    def producer(self) -> Any:
        """An L{IPushProducer}: pauses the response's body."""

    def begin(self) -> None:
        """Go."""

    def feed(self, source: Any) -> None:
        """The request's body comes from C{source}."""

    def send(self, data: bytes) -> None:
        """Some of the request's body."""

    def fed(self) -> None:
        """The request's body is complete."""

    def readBody(self) -> None:
        """The response's head was dealt with: go on with its body."""

    def cancel(self) -> None:
        """Nobody wants it any more; nothing is heard from now on."""


Make: TypeAlias = Callable[[list[tuple[bytes, bytes]], Sender], AnyErrand]
"""Makes an errand to a backend, from the request's fields and who hears of it."""


def marked(response: Response, mark: bytes) -> Response:
    """A response with C{Cache-Status} behind those of caches closer to the backend (RFC 9211)."""
    headers = Headers((*response.headers.raw, (b"Cache-Status", mark)))
    return Response(response.status, response.reason, headers, response.version)


class Marked:
    """
    Hears on behalf of another and adds C{Cache-Status}.

    @ivar heard: called with the response, too.
    """

    heard: Callable[[Response], None] | None = None

    def __init__(self, hearer: Sender, mark: bytes) -> None:
        self._hearer = hearer
        self._mark = mark
        self.dialled = hearer.dialled
        self.sent = hearer.sent
        self.unreachable = hearer.unreachable
        self.interim = hearer.interim
        self.content = hearer.content
        self.completed = hearer.completed
        self.failed = hearer.failed

    def responded(self, response: Response, framing: Framing) -> None:
        """The response's head."""
        if self.heard is not None:
            self.heard(response)
        self._hearer.responded(marked(response, self._mark), framing)


class Filling:
    """
    One fetch, see the module. It is the errand's hearer.

    @ivar key: where those find it who ask for the same.
    """

    def __init__(
        self, cache: Cache, resource: Resource, asked: Asked, stale: Entry | None
    ) -> None:
        """
        @param asked: the request that is sent.
        @param stale: what the backend is asked to confirm.
        """
        self.key = asked.key(resource.names)
        self._cache = cache
        self._resource = resource
        self._asked = asked
        self._stale = stale
        self._errand: AnyErrand | None = None
        self._leader: Cached | None = None
        self._readers: list[Cached] = []
        self._response: Response | None = None
        self._framing = Framing(BodyKind.NONE)
        self._names: tuple[bytes, ...] = ()
        self._isStreamed = False
        self._terms: Terms | None = None
        self._pieces: list[bytes] = []
        self._length = 0
        self._reserved = 0
        self._isPassing = False
        self._sent = self._heard = 0.0
        self._timer: Any = None
        self._isForNobody = False
        self._isOver = False

    # -- who waits

    def lead(self, leader: Cached, make: Make, isShared: bool) -> None:
        """Begin, for a leader, and let others wait for it if that may be of use to them."""
        self._leader = leader
        self._readers.append(leader)
        self._begin(make, isShared and not self._cache.passes(self._resource.url))

    def refresh(self, make: Make) -> None:
        """Begin for nobody."""
        self._isForNobody = True
        self._wait()
        try:
            self._begin(make, True)
        except Exception:
            # The client that is being served has nothing to do with it.
            _log.failure("could not fetch again what is stale")
            self._stop()

    def suits(self, reader: Cached) -> bool:
        """Whether another may wait for this answer."""
        if self._response is None:
            return True
        # What had been answered before it asked, nobody has confirmed for it.
        return not reader.asked.wishes.isNoCache and self._isLike(reader)

    def join(self, reader: Cached) -> None:
        """Another waits."""
        self._readers.append(reader)
        if self._response is not None and self._isStreamed:
            self._stream(reader)
        else:
            self._wait()

    def leave(self, reader: Cached) -> None:
        """One waits no longer."""
        if reader in self._readers:
            self._readers.remove(reader)
        if reader is self._leader:
            # It may have given up on a backend that hangs: nobody else should wait for that.
            # It is also who would have noticed.
            self._leader = None
            self._withdraw()
            if self._readers and not self._isOver:
                self._wait()
        if not self._readers and not self._isForNobody:
            self._stop()

    def paused(self) -> None:
        """A client does not read: this matters when nothing is kept any more."""
        if self._isSpending and self._errand is not None:
            self._errand.producer.pauseProducing()

    def resumed(self) -> None:
        """It has read all that there is."""
        if self._isSpending and self._errand is not None:
            assert self._leader is not None
            self._leader.spend()
            self._errand.producer.resumeProducing()

    @property
    def _isSpending(self) -> bool:
        """Whether the answer turned out too large when a part of it was there already."""
        return self._response is not None and self._terms is None and not self._isPassing

    def _isLike(self, reader: Cached) -> bool:
        """Whether the answer depends on nothing in which the other request differs."""
        names = self._names
        return variant(names, reader.asked.headers) == variant(names, self._asked.headers)

    def _each(self, readers: Iterable[Cached], step: Callable[[Cached], object]) -> None:
        """What one does with its answer must not keep it from the others."""
        for reader in list(readers):
            try:
                step(reader)
            except Exception:
                _log.failure("a client of the cache failed")
                reader.cancel()

    def _scatter(self, readers: Iterable[Cached]) -> None:
        """These go on their own."""
        readers = list(readers)
        self._readers = [reader for reader in self._readers if reader not in readers]
        self._each(readers, lambda reader: reader.alone())

    # -- begin and end

    def _begin(self, make: Make, isShared: bool) -> None:
        fields = self._asked.fields()
        if self._stale is not None:
            fields += validators(self._stale.kept.headers)
        self._sent = self._cache.steady()
        errand = self._errand = make(fields, self)
        if isShared:
            self._resource.fillings[self.key] = self
        errand.begin()

    def _wait(self) -> None:
        """Some wait who do not notice that nothing comes, or nobody does."""
        if self._timer is None:
            self._timer = self._cache.clock.callLater(_PATIENCE, self._late)

    def _late(self) -> None:
        self._timer = None
        if self._leader is not None:
            leader = self._leader
            self._withdraw()
            self._scatter(
                each for each in self._readers if not each.isBegun and each is not leader
            )
            return
        errand, self._errand = self._errand, None
        if errand is not None:
            errand.cancel()
        self.failed(BackendTimeout("did not answer the cache in time"))

    def _withdraw(self) -> None:
        """Nobody else may wait for it."""
        if self._resource.fillings.get(self.key) is self:
            del self._resource.fillings[self.key]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> AnyErrand | None:
        """All is over; what is left to do with the errand is the caller's affair."""
        self._isOver = True
        self._withdraw()
        self._cache.release(self._reserved)
        self._reserved = 0
        self._cache.tidy(self._resource)
        errand, self._errand = self._errand, None
        return errand

    def _stop(self) -> None:
        """Nobody wants the rest."""
        if not self._isOver:
            errand = self._end()
            if errand is not None:
                errand.cancel()

    # -- hears of the errand

    def dialled(self, backend: Backend, leg: Leg) -> None:
        """There is a connection: it counts as the leader's."""
        if self._leader is not None:
            self._leader.hearer.dialled(backend, leg)

    def sent(self) -> None:
        """There is no request body."""

    def unreachable(self, failure: Failure) -> None:
        """No backend has accepted."""
        self._fail(lambda reader: reader.unreachable(failure))

    def interim(self, response: Response) -> None:
        """A 1xx is for who has asked."""
        if self._leader is not None:
            self._leader.hearer.interim(response)

    def responded(self, response: Response, framing: Framing) -> None:
        """The head: what becomes of it?"""
        self._heard = self._cache.steady()
        stale = self._stale
        if stale is not None and response.status == 304:
            self._confirmed(stale, response)
        elif stale is not None and response.status in _ERRORS and self._isUsable(stale):
            self._standIn(stale, b"; fwd-status=%d" % response.status)
        else:
            self._answered(response, framing)

    def content(self, data: bytes) -> None:
        """Some of the body."""
        if self._isOver:
            return
        if self._isPassing:
            assert self._leader is not None
            self._leader.hearer.content(data)
            return
        self._pieces.append(data)
        self._length += len(data)
        if self._terms is not None and not self._isStreamed:
            isSmall = self._length <= self._cache.settings.maxEntry
            if not isSmall or not self._reserve(len(data) + _PIECE):
                self._giveUp()
                return
        self._each([each for each in self._readers if each.isBegun], lambda each: each.deliver())
        if self._isSpending:
            self._spend()

    def completed(self) -> None:
        """The whole answer."""
        if self._isOver:
            return
        begun = [reader for reader in self._readers if reader.isBegun]
        if self._terms is None:
            self._end()
            for reader in begun:
                (reader.passed if self._isPassing else reader.whole)()
            return
        assert self._response is not None
        self._cache.release(self._reserved)
        self._reserved = 0
        entry = self._cache.keep(
            self._asked, self._resource, self._response, self._terms, self._heard, self._pieces
        )
        self._end()
        waiting = [reader for reader in self._readers if not reader.isBegun]
        self._each(begun, lambda reader: reader.whole())
        self._each(waiting, lambda reader: reader.serve(entry, reader.mark(b"; collapsed")))

    def failed(self, error: BackendFault) -> None:
        """There will be no answer, or no more of it."""
        self._fail(lambda reader: reader.fail(error))

    def _fail(self, tell: Callable[[Cached], object]) -> None:
        if self._isOver:
            return
        stale = self._stale
        if self._response is None and stale is not None and self._isUsable(stale):
            self._standIn(stale, b"; detail=failed")
            return
        self._end()
        leader = self._leader
        self._scatter(each for each in self._readers if not each.isBegun and each is not leader)
        self._each(self._readers, tell)

    # -- what becomes of it

    def _confirmed(self, stale: Entry, response: Response) -> None:
        """RFC 9111 section 4.3.3."""
        cache, leader = self._cache, self._leader
        if not agrees(stale.kept.headers, response.headers):
            cache.drop(stale)
            self._stop()
            self._scatter(self._readers)
            return
        delay = self._heard - self._sent
        isForAll = cache.confirm(stale, self._asked, response, delay)
        errand = self._end()
        if errand is not None:
            errand.readBody()
        cache.counts.validated += len(self._readers)
        if not isForAll:
            self._scatter(reader for reader in self._readers if reader is not leader)

        def serve(reader: Cached) -> None:
            more = b"; fwd-status=304" if reader is leader else b"; fwd-status=304; collapsed"
            reader.serve(stale, reader.mark(more))

        self._each(self._readers, serve)

    def _isUsable(self, stale: Entry) -> bool:
        return isUsableOnError(stale.terms, self._cache.age(stale))

    def _standIn(self, stale: Entry, detail: bytes) -> None:
        """What is stale stands in for an error."""
        self._stop()
        self._cache.counts.stale += len(self._readers)
        self._each(self._readers, lambda reader: reader.serve(stale, reader.mark(detail)))

    def _answered(self, response: Response, framing: Framing) -> None:
        cache, resource = self._cache, self._resource
        terms = cache.appraise(self._asked, response, self._heard - self._sent)
        if terms is None and self._stale is not None and response.status < 500:
            cache.drop(self._stale)
        self._response = response
        self._framing = framing
        self._isStreamed = framing.kind in (BodyKind.NONE, BodyKind.LENGTH)
        if terms is None or framing.length > cache.settings.maxEntry:
            cache.passed(resource.url)
            self._pass(response, framing)
        # A resource that was purged is another one now.
        elif cache.find(resource.url) is resource and self._reserve(_HEAD + framing.length):
            self._terms = terms
            self._names = varyNames(response.headers) or ()
            self._share(response, framing)
        else:
            self._pass(response, framing)

    def _pass(self, response: Response, framing: Framing) -> None:
        """It is not kept: it is the leader's alone."""
        leader, errand = self._leader, self._errand
        self._isPassing = True
        self._withdraw()
        self._cache.tidy(self._resource)
        self._scatter(reader for reader in self._readers if reader is not leader)
        if leader is None or errand is None:
            self._stop()
        elif not leader.passOn(marked(response, leader.mark()), framing, errand):
            self._readers.clear()
            self._stop()

    def _share(self, response: Response, framing: Framing) -> None:
        """It may be kept: it is everybody's who asks for the same."""
        leader = self._leader
        self._scatter(reader for reader in self._readers if not self._isLike(reader))
        if not self._readers and not self._isForNobody:
            self._stop()
            return
        if leader is not None:
            head = marked(response, leader.mark(b"; stored"))
            self._each([leader], lambda each: self._offer(each, head))
        if self._isStreamed:
            self._each([each for each in self._readers if not each.isBegun], self._stream)
        if self._errand is not None:
            self._errand.readBody()

    def _stream(self, reader: Cached) -> None:
        assert self._response is not None
        self._offer(reader, marked(self._response, reader.mark(b"; collapsed")))

    def _offer(self, reader: Cached, head: Response) -> None:
        """Who has the answer already does not wait; what was begun goes on all the same."""
        if not reader.stream(head, self._framing, self._pieces):
            if reader in self._readers:
                self._readers.remove(reader)
            if reader is self._leader and not self._isOver:
                self._leader = None
                self._isForNobody = True
                self._wait()

    def _reserve(self, count: int) -> bool:
        if not self._cache.reserve(count):
            return False
        self._reserved += count
        return True

    def _giveUp(self) -> None:
        """It is too large: from here on it is the leader's alone, at the leader's pace."""
        self._terms = None
        self._withdraw()
        self._cache.release(self._reserved)
        self._reserved = 0
        self._cache.passed(self._resource.url)
        leader = self._leader
        self._scatter(reader for reader in self._readers if reader is not leader)
        if leader is None:
            self._stop()
        else:
            leader.deliver()
            self._spend()

    def _spend(self) -> None:
        """Keep nothing that the leader has read, and read nothing while it does not."""
        if self._leader is not None and self._errand is not None:
            self._leader.spend()
            if self._leader.isPaused:
                self._errand.producer.pauseProducing()

# -*- test-case-name: tests.l7.test_cache -*-
"""
A response cache: what backends have answered, kept for the next who asks.

A I{resource} is one URL as clients see it; it has an I{entry}, an answer that is kept, for
each way in which requests for it differ: pool, rewritten host and target, and whatever the
answers say in C{Vary}. The cache keeps as many bytes as it may and drops what was used
longest ago; L{Cache.purge} and L{Cache.clear} drop at once.

It decides nothing about freshness: that is L{wsrelay.wire.caching}. How one request is
answered stands in L{wsrelay.l7.cached}, and how one fetch serves many in
L{wsrelay.l7.filling}.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from email.utils import formatdate
from typing import Any
from urllib.parse import urljoin, urlsplit

from attrs import define, frozen

from wsrelay.l7.cached import URL, Asked, Cached, Reader
from wsrelay.l7.fields import mayHaveBody, outboundResponse
from wsrelay.l7.filling import AnyErrand, Filling, Make, Marked
from wsrelay.l7.pages import withoutBody
from wsrelay.model import Headers, Inbound, MutableHeaders, OutboundRequest, Response
from wsrelay.wire.bodies import BodyKind, Framing
from wsrelay.wire.caching import (
    Rules,
    Terms,
    appraise,
    freshened,
    varyNames,
)
from wsrelay.wire.heads import writeResponse

__all__ = ["Cache", "CacheCounts", "CacheSettings", "Entry", "Resource"]

# What an entry takes besides its bytes, and what each of its fields does: the objects of
# CPython 3.11, rounded up.
_ENTRY, _FIELD = 1536, 160
# So many URLs are remembered whose answers were not kept: nobody waits for those. 8 bytes each.
_MAX_PASSED = 8192
# One piece of a body is written at once; as much as a socket usually takes.
_PIECE = 65536

# What is written anew for each answer.
_ANEW = frozenset({b"age", b"cache-status", b"content-length"})

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


_RULES = Rules()


@frozen
class CacheSettings:
    """
    How much is kept, and what.

    @ivar size: bytes of everything that is kept or on its way in: bodies, heads and what it
        takes to find them.
    @ivar maxEntry: bytes of one body. A larger one is relayed and not kept.
    """

    size: int = 64 * 1024 * 1024
    maxEntry: int = 1024 * 1024
    rules: Rules = _RULES

    def __attrs_post_init__(self) -> None:
        if not 0 < self.maxEntry <= self.size:
            raise ValueError(
                f"maxEntry must be more than 0 and at most size ({self.size}), not {self.maxEntry}"
            )


@define
class CacheCounts:
    """
    What happened so far, in requests, and in entries for the last two.

    @ivar hits: answered from the cache, the backend not asked first.
    @ivar stale: of these, not fresh any more; and those answered so in place of an error.
    @ivar validated: answered from the cache once the backend had said that it holds.
    @ivar misses: sent to a backend because nothing could be used.
    @ivar collapsed: waited for the fetch of another.
    @ivar passed: never looked up.
    """

    hits: int = 0
    stale: int = 0
    validated: int = 0
    misses: int = 0
    collapsed: int = 0
    passed: int = 0
    kept: int = 0
    evicted: int = 0


class Resource:
    """
    One URL.

    @ivar names: request fields that its answers depend on.
    @ivar entries: its answers, by L{Asked.key}.
    @ivar fillings: those on their way, by the same.
    """

    __slots__ = ("entries", "fillings", "names", "url")

    def __init__(self, url: URL) -> None:
        self.url = url
        self.names: tuple[bytes, ...] = ()
        self.entries: dict[tuple[Any, ...], Entry] = {}
        self.fillings: dict[tuple[Any, ...], Filling] = {}


class Entry:
    """
    One answer, ready to be written.

    @ivar kept: its head, with its length and without what is written anew.
    @ivar pieces: its body.
    @ivar heard: when its head came, on the cache's steady clock.
    @ivar size: bytes it counts for.
    @ivar ready: its head as it is written, up to where C{Age} belongs.
    """

    __slots__ = ("framing", "heard", "kept", "key", "pieces", "ready", "resource", "size", "terms")

    def __init__(
        self,
        resource: Resource,
        key: tuple[Any, ...],
        kept: Response,
        pieces: list[bytes],
        terms: Terms,
        heard: float,
    ) -> None:
        self.resource = resource
        self.key = key
        self.pieces = pieces
        length = sum(map(len, pieces))
        isBare = withoutBody(kept.status)
        self.framing = Framing(BodyKind.NONE) if isBare else Framing(BodyKind.LENGTH, length)
        self.renew(kept, terms, heard)

    def renew(self, kept: Response, terms: Terms, heard: float) -> None:
        """Have another head for the same body."""
        raw = list(kept.headers.raw)
        if self.framing.kind is BodyKind.LENGTH:
            raw.append((b"Content-Length", b"%d" % self.framing.length))
        self.kept = Response(kept.status, kept.reason, Headers(raw))
        self.ready = writeResponse(kept.status, kept.reason, raw, isChecked=True)[:-2]
        self.terms = terms
        self.heard = heard
        heads = sum(len(name) + len(value) + _FIELD for name, value in raw)
        keys = sum(len(part) for part in (*self.resource.url, *self.key) if part is not None)
        self.size = _ENTRY + heads + keys + len(self.ready) + self.framing.length

    def head(self, age: float, mark: bytes) -> Response:
        """The head, with C{Age} and C{Cache-Status} (RFC 9111 section 5.1, RFC 9211)."""
        kept = self.kept
        fields = (*kept.headers.raw, (b"Age", b"%d" % age), (b"Cache-Status", mark))
        return Response(kept.status, kept.reason, Headers(fields))


class Cache:
    """
    One cache, see the module. Several routes may share it.

    @ivar counts: what happened.
    @ivar used: bytes, at most C{settings.size}.
    """

    def __init__(self, settings: CacheSettings, clock: Any, steady: Callable[[], float]) -> None:
        """
        @param clock: an C{IReactorTime} provider; its seconds are since the epoch.
        @param steady: seconds that are never set back: C{time.monotonic}.
        """
        self.settings = settings
        self.clock = clock
        self.steady = steady
        self.counts = CacheCounts()
        self.used = 0
        self._onTheWay = 0
        self._resources: dict[URL, Resource] = {}
        self._entries: OrderedDict[Entry, None] = OrderedDict()
        self._passed: dict[int, None] = {}

    def __len__(self) -> int:
        """How many answers are kept."""
        return len(self._entries)

    # -- for the exchange

    def errand(
        self,
        request: OutboundRequest,
        inbound: Inbound,
        hearer: Reader,
        make: Make,
        pool: str = "",
        isPlain: bool = False,
    ) -> AnyErrand:
        """
        Something that answers a request as an errand does, from here or from a backend.

        @param request: what would go to the backend; not edited any more.
        @param hearer: hears of the answer.
        @param make: makes an errand to a backend with these fields. It may be called later,
            or never, and what it made may outlive the exchange.
        @param pool: its name: pools share a cache and never an answer.
        @param isPlain: whether the request is known to have no body.
        """
        assert inbound.request is not None
        asked = Asked(request, inbound, pool, self.settings.rules.isObedient)
        if request.method in ("GET", "HEAD"):
            if not asked.isPassing and (isPlain or not mayHaveBody(inbound.request)):
                return Cached(self, asked, hearer, make)
            marked = Marked(hearer, b"wsrelay; fwd=bypass")
        else:
            marked = Marked(hearer, b"wsrelay; fwd=method")
            marked.heard = lambda response: self._heard(request.method, asked, response)
        self.counts.passed += 1
        return make(list(request.headers.raw), marked)

    def heard(self, request: OutboundRequest, inbound: Inbound, response: Response) -> None:
        """
        A request that did not come through L{errand} was answered: if it may have changed
        something, forget what it has changed (RFC 9111 section 4.4).
        """
        if request.method not in _SAFE:
            self._heard(request.method, Asked(request, inbound, ""), response)

    def _heard(self, method: str, asked: Asked, response: Response) -> None:
        if method in _SAFE or not 200 <= response.status < 400:
            return
        self._forget(asked.url)
        scheme, host, target = asked.url
        base = f"{scheme.decode('latin-1')}://{host.decode('latin-1')}{target}"
        for name in ("location", "content-location"):
            for value in response.headers.getAll(name):
                try:
                    urls = _urlsOf(urljoin(base, value))
                except ValueError:
                    continue
                # Another origin's affairs are none of this one's.
                if asked.url[:2] in [url[:2] for url in urls]:
                    self._forget((scheme, host, urls[0][2]))

    # -- for the operator

    def purge(self, url: str) -> int:
        """
        Drop everything that is kept for a URL, and let nothing in that is on its way.

        @param url: as clients see it: scheme, host, path and query.
        @return: how many answers were dropped.
        @raise ValueError: it is no C{http} or C{https} URL.
        """
        return sum(self._forget(each) for each in _urlsOf(url))

    def clear(self) -> int:
        """Drop everything; how many answers that were."""
        return sum(self._forget(url) for url in list(self._resources))

    def _forget(self, url: URL) -> int:
        # What is on its way keeps to the resource it has, and so comes to nothing.
        resource = self._resources.pop(url, None)
        if resource is None:
            return 0
        for entry in resource.entries.values():
            del self._entries[entry]
            self.used -= entry.size
        return len(resource.entries)

    # -- for those who answer

    def find(self, url: URL) -> Resource | None:
        """What is known about a URL."""
        return self._resources.get(url)

    def need(self, url: URL) -> Resource:
        """The same, made if nothing is."""
        resource = self._resources.get(url)
        if resource is None:
            resource = self._resources[url] = Resource(url)
        return resource

    def tidy(self, resource: Resource) -> None:
        """Let go of a resource of which nothing is left."""
        isEmpty = not resource.entries and not resource.fillings
        if isEmpty and self._resources.get(resource.url) is resource:
            del self._resources[resource.url]

    def age(self, entry: Entry) -> float:
        """Its current age (RFC 9111 section 4.2.3)."""
        return entry.terms.age + self.steady() - entry.heard

    def touch(self, entry: Entry) -> None:
        """It was used."""
        if entry in self._entries:
            self._entries.move_to_end(entry)

    def appraise(self, asked: Asked, response: Response, delay: float) -> Terms | None:
        """The terms of an answer that has just come; C{None} if it must not be kept."""
        now = self.clock.seconds()
        rules = self.settings.rules
        return appraise(response, rules, now, delay, asked.isAuthorized, asked.hasCookie)

    def passes(self, url: URL) -> bool:
        """Whether the last answer was not kept, so that nobody should wait for the next."""
        return hash(url) in self._passed

    def passed(self, url: URL) -> None:
        """It was not kept."""
        self._passed[hash(url)] = None
        if len(self._passed) > _MAX_PASSED:
            del self._passed[next(iter(self._passed))]

    def reserve(self, count: int) -> bool:
        """Make room for so many bytes that are on their way; C{False} if there is none."""
        if self._onTheWay + count > self.settings.size:
            return False
        self._onTheWay += count
        self.used += count
        self._evict()
        return True

    def release(self, count: int) -> None:
        """They are not on their way any more."""
        self._onTheWay -= count
        self.used -= count

    def keep(
        self,
        asked: Asked,
        resource: Resource,
        response: Response,
        terms: Terms,
        heard: float,
        pieces: list[bytes],
    ) -> Entry:
        """
        Keep a complete answer, unless its resource was forgotten meanwhile.

        @return: what can be served, kept or not.
        """
        kept = self._stored(response)
        names = varyNames(response.headers) or ()
        isCurrent = self._resources.get(resource.url) is resource
        if isCurrent and not set(names) <= set(resource.names):
            # The places of those that are there say nothing about the new field.
            for each in list(resource.entries.values()):
                self._remove(each)
            resource.names = tuple(sorted({*names, *resource.names}))
        entry = Entry(resource, asked.key(resource.names), kept, _regrouped(pieces), terms, heard)
        if isCurrent and entry.size <= self.settings.size:
            self._passed.pop(hash(resource.url), None)
            old = resource.entries.get(entry.key)
            if old is not None:
                self._remove(old)
            resource.entries[entry.key] = entry
            self._entries[entry] = None
            self.used += entry.size
            self.counts.kept += 1
            self._evict()
        return entry

    def confirm(self, entry: Entry, asked: Asked, response: Response, delay: float) -> bool:
        """
        The backend says that an entry holds (RFC 9111 section 4.3.4).

        @return: whether it may be used for others, too.
        """
        kept = entry.kept
        confirmed = self._dated(outboundResponse(response, False).headers)
        merged = Response(kept.status, kept.reason, Headers(freshened(kept.headers, confirmed)))
        terms = self.appraise(asked, merged, delay)
        names = varyNames(merged.headers)
        isKept = entry in self._entries
        if isKept:
            self.used -= entry.size
        entry.renew(self._stored(merged), terms or Terms(0.0, 0.0), self.steady())
        if isKept:
            self.used += entry.size
            self.touch(entry)
        if terms is None or names is None or not set(names) <= set(entry.resource.names):
            self.drop(entry)
            return False
        self._evict()
        return True

    def drop(self, entry: Entry) -> None:
        """It must not be used any more."""
        if entry in self._entries:
            self._remove(entry)
            self.tidy(entry.resource)

    def _remove(self, entry: Entry) -> None:
        del self._entries[entry]
        del entry.resource.entries[entry.key]
        self.used -= entry.size

    def _evict(self) -> None:
        while self.used > self.settings.size and self._entries:
            self.drop(next(iter(self._entries)))
            self.counts.evicted += 1

    def _stored(self, response: Response) -> Response:
        """Its head as it is kept."""
        headers = self._dated(outboundResponse(response, False).headers)
        fields = [pair for pair in headers.raw if pair[0].lower() not in _ANEW]
        return Response(response.status, response.reason, Headers(fields))

    def _dated(self, headers: MutableHeaders) -> MutableHeaders:
        """With the time of arrival where there is no C{Date} (RFC 9110 section 6.6.1)."""
        if "date" not in headers:
            headers.add("Date", formatdate(self.clock.seconds(), usegmt=True))
        return headers


def _regrouped(pieces: list[bytes]) -> list[bytes]:
    """A body in as few pieces as are written at once."""
    if len(pieces) < 2 and (not pieces or len(pieces[0]) <= _PIECE):
        return pieces
    body = b"".join(pieces)
    return [body[start : start + _PIECE] for start in range(0, len(body), _PIECE)]


def _urlsOf(url: str) -> list[URL]:
    """A URL as it is known here: a default port may have been written or not."""
    parts = urlsplit(url)
    port = {"http": ":80", "https": ":443"}.get(parts.scheme)
    if port is None or not parts.netloc or not url.isascii():
        raise ValueError(f"expected an http or https URL such as http://a.example/b, not {url!r}")
    host = parts.netloc.lower().removesuffix(port)
    # A "?" with nothing behind it counts, as it does to backends; urlsplit loses it.
    rest = url.partition("#")[0].partition("://")[2].removeprefix(parts.netloc)
    target = rest if rest.startswith("/") else f"/{rest}"
    scheme = parts.scheme.encode("ascii")
    return [(scheme, each.encode("ascii"), target) for each in (host, host + port)]

# -*- test-case-name: tests.filters.test_asking -*-
"""
Asks an HTTP service: one C{GET}, one whole answer, bounded in time and in bytes.

Connections are kept. Certificates are checked, against the system's store or a file; nothing is
redirected, since whom to believe is the configuration's to say.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from attrs import frozen
from OpenSSL import SSL, crypto
from pydantic import AfterValidator
from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool, ResponseDone
from twisted.web.http_headers import Headers as WebHeaders

from wsrelay.headers import Headers

__all__ = ["Asker", "Told", "Unanswered", "Url"]


def _checkedUrl(url: str) -> str:
    try:
        parts = urlsplit(url)
        isFine = parts.scheme in ("http", "https") and bool(parts.hostname)
        isFine = isFine and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        isFine = False
    if not isFine or "#" in url or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(
            "expected a URL such as https://auth.example.org/check, without a password"
        )
    return url


Url = Annotated[str, AfterValidator(_checkedUrl)]
"""Where a service is, as an option."""


_BEGIN = b"-----BEGIN CERTIFICATE-----"


class Unanswered(Exception):
    """There was no answer, not in time, or one that is too long."""


@frozen
class Told:
    """A whole answer."""

    status: int
    headers: Headers
    body: bytes


class Asker:
    """
    Asks one service.

    @raise ValueError: C{ca} holds no certificates; from the constructor.
    """

    def __init__(
        self,
        reactor: Any,
        url: str,
        timeout: float,
        maxBody: int,
        ca: Path | None = None,
        kept: int = 2,
    ) -> None:
        """
        @param timeout: for the whole answer, in seconds.
        @param maxBody: bytes of an answer's body.
        @param ca: a PEM file of the certificates that are trusted instead of the system's.
        @param kept: how many connections are kept for the next question.
        """
        self._reactor = reactor
        self._url = url.encode("ascii")
        self._timeout = timeout
        self._maxBody = maxBody
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = kept
        policy = BrowserLikePolicyForHTTPS(_trust(ca) if ca is not None else None)
        self._agent = Agent(reactor, policy, connectTimeout=timeout, pool=self._pool)

    def ask(self, fields: Iterable[tuple[bytes, bytes]] = ()) -> Deferred[Told]:
        """
        Ask.

        @param fields: header fields of the question.
        @return: fires with what was answered, whatever its status; fails with L{Unanswered}.
        """
        asked: Deferred[Told] = Deferred.fromCoroutine(self._ask(fields))
        asked.addTimeout(self._timeout, self._reactor, self._late)
        return asked.addErrback(self._unanswered)

    async def _ask(self, fields: Iterable[tuple[bytes, bytes]]) -> Told:
        headers = WebHeaders()
        for name, value in fields:
            headers.addRawHeader(name, value)
        response: Any = await self._agent.request(b"GET", self._url, headers)
        body = _Body(self._maxBody)
        response.deliverBody(body)
        data = await body.whole
        raw = response.headers.getAllRawHeaders()
        told = Headers([(name, value) for name, values in raw for value in values])
        return Told(response.code, told, data)

    def _late(self, result: object, seconds: float) -> Told:
        raise Unanswered(f"nothing whole in {seconds:g} s")

    def _unanswered(self, failure: Failure) -> Told:
        # What a library says may show what was asked with.
        why = failure.value if failure.check(Unanswered) else type(failure.value).__name__
        raise Unanswered(str(why)) from None

    def close(self) -> Deferred[None]:
        """Keep no connection any more."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed


class _Body(Protocol):
    """Keeps the body of one answer."""

    transport: Any

    def __init__(self, most: int) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda _: self._hangUp())
        self._most = most
        self._data = bytearray()

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > self._most:
            self._hangUp()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        if reason.check(ResponseDone) and len(self._data) <= self._most:
            self.whole.callback(bytes(self._data))
        else:
            self.whole.errback(Unanswered("an answer that is too long, or not whole"))

    def _hangUp(self) -> None:
        self.transport.loseConnection()


def _trust(ca: Path) -> Any:
    try:
        found = ca.read_bytes().split(_BEGIN)[1:]
        loaded = [ssl.Certificate.loadPEM(_BEGIN + each) for each in found]
    except OSError as error:
        raise ValueError(f"ca: {ca}: {error.strerror}") from None
    except (ValueError, SSL.Error, crypto.Error):
        loaded = []
    if not loaded:
        raise ValueError(f"ca: {ca}: it holds no certificates that can be read")
    return ssl.trustRootFromCertificates(loaded)

# -*- test-case-name: tests.filters.test_forwardauth -*-
"""
Asks an HTTP service about each request, and lets in whom it lets in.

The question is a C{GET} without a body, with the method, scheme, host, target and address of the
client in C{X-Forwarded-*}, and those header fields of the request that it needs to know, as the
filters before this one have left them. The answer:

    - 2xx: the request goes on, with fields of the answer in it;
    - 300-499: the client gets that answer, a redirection to a page to log in for one;
    - anything else, and none in time: 503. A service that fails lets nobody in.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, model_validator
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from wsrelay.filters.asking import Asker, Told, Unanswered, Url
from wsrelay.filters.files import located
from wsrelay.filters.identity import FieldName, forget
from wsrelay.filters.refusals import refusal
from wsrelay.interfaces import IExchange, IRelay, IRequestFilter, Options
from wsrelay.model import Request, Respond

__all__ = ["ForwardAuthFilter", "ForwardAuthOptions"]

_log = Logger()


class ForwardAuthOptions(Options):
    """What may stand in the plugin's table."""

    url: Url = Field(
        description="what is asked, with GET",
        examples=["https://auth.example.org/check"],
    )
    insecure: bool = Field(
        default=False,
        description="whether url may be http to another host than localhost, 127.0.0.1 or ::1: "
        "whoever is in between then reads passwords and lets in anybody",
        examples=[True],
    )
    ca: Path | None = Field(
        default=None,
        description="certificates to trust instead of the system's, in PEM",
        examples=["/etc/wsrelay/ca.pem"],
    )
    requestHeaders: list[FieldName] = Field(
        default=["Authorization", "Cookie"],
        description="the request's header fields that the service gets",
        examples=[["Authorization", "Cookie", "Accept", "User-Agent"]],
    )
    copyHeaders: list[FieldName] = Field(
        default=[],
        description="the header fields of a 2xx that the backend gets; a client's own are "
        "removed, whatever the service says",
        examples=[["X-User", "X-Groups"]],
    )
    answerHeaders: list[FieldName] = Field(
        default=["Location", "WWW-Authenticate", "Set-Cookie", "Content-Type", "Cache-Control"],
        description="the header fields of a refusal that the client gets",
        examples=[["Location", "Set-Cookie"]],
    )
    timeout: float = Field(
        default=5.0, gt=0, description="how long the service may take, in seconds", examples=[2]
    )
    maxBody: int = Field(
        default=65536, ge=0, description="bytes of an answer's body", examples=[4096]
    )
    waiting: int = Field(
        default=256,
        ge=1,
        description="how many requests are asked about at a time; the next one gets 503",
        examples=[1000],
    )
    connections: int = Field(
        default=16,
        ge=1,
        description="how many connections to the service are kept for the next request",
        examples=[4],
    )

    @model_validator(mode="after")
    def _check(self) -> ForwardAuthOptions:
        isNear = urlsplit(self.url).hostname in ("localhost", "127.0.0.1", "::1")
        if self.url.startswith("http:") and not (isNear or self.insecure):
            raise ValueError("url: expected https, or insecure = true beside it")
        return self


@implementer(IRequestFilter)
class ForwardAuthFilter:
    """Asks the service."""

    _failed = refusal(503, (b"Retry-After", b"1"))
    _malformed = refusal(400)

    def __init__(self, options: ForwardAuthOptions, relay: IRelay) -> None:
        """@raise ValueError: C{ca} holds no certificates."""
        self._options = options
        self._asking = 0
        self.asker = Asker(
            relay.reactor,
            options.url,
            options.timeout,
            options.maxBody,
            options.ca and located(options.ca, relay),
            options.connections,
        )

    def requestReceived(self, exchange: IExchange) -> Respond | Deferred[Respond | None]:
        """What the service says."""
        request, headers = exchange.inbound.request, exchange.outbound.headers
        if request is None or len(request.headers.getAll("authorization")) > 1:
            return self._malformed
        if self._asking >= self._options.waiting:
            return self._failed
        question = self._question(exchange, request)
        forget(headers, self._options.copyHeaders)
        self._asking += 1
        return Deferred.fromCoroutine(self._ask(exchange, question))

    def responseReceived(self, exchange: IExchange) -> Respond | None:
        """Answers pass."""
        return None

    def _question(self, exchange: IExchange, request: Request) -> list[tuple[bytes, bytes]]:
        headers, inbound = exchange.outbound.headers, exchange.inbound
        told = {
            "X-Forwarded-Method": request.method,
            "X-Forwarded-Proto": "https" if inbound.secure else "http",
            "X-Forwarded-Host": request.headers.get("host") or "",
            "X-Forwarded-Uri": request.target,
            "X-Forwarded-For": str(inbound.client.ip or "unknown"),
        }
        fields = [(name.encode("ascii"), value.encode("latin-1")) for name, value in told.items()]
        taken = {name.lower() for name in told}
        for name in self._options.requestHeaders:
            if name.lower() not in taken:
                raw = headers.rawAll(name.lower().encode("ascii"))
                fields += [(name.encode("ascii"), value) for value in raw]
        return fields

    async def _ask(
        self, exchange: IExchange, question: list[tuple[bytes, bytes]]
    ) -> Respond | None:
        try:
            return self._judged(exchange, await self.asker.ask(question))
        except (Unanswered, ValueError) as error:
            # A ValueError is a field that is not safe to write; it is named, its value is not.
            why = str(error) if isinstance(error, Unanswered) else "a field that is none"
            _log.error("{id}: the service did not answer: {why}", id=exchange.id, why=why)
            return self._failed
        finally:
            self._asking -= 1

    def _judged(self, exchange: IExchange, told: Told) -> Respond | None:
        if 200 <= told.status < 300:
            for name in self._options.copyHeaders:
                for value in told.headers.rawAll(name.lower().encode("ascii")):
                    exchange.outbound.headers.add(name, value)
            return None
        if not 300 <= told.status < 500:
            raise Unanswered(f"status {told.status}")
        fields = tuple(
            (name.encode("ascii"), value)
            for name in self._options.answerHeaders
            for value in told.headers.rawAll(name.lower().encode("ascii"))
        )
        return Respond(told.status, fields, told.body)

# -*- test-case-name: tests.l7.test_exchange -*-
"""
An I{exchange}: one request, one decision, one response.

It is born when a request head has been read, asks the policies, lets the request filters
work, dials, and relays both bodies as they come. If the request asks for a WebSocket and the
backend agrees with a true 101, the exchange becomes a session and its life goes on there.

The client's side is a L{Door<wsrelay.l7.door.Door>}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeAlias

from attrs import evolve
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.answers import whenAnswered
from wsrelay.backends.backend import Backend
from wsrelay.errors import (
    BackendFault,
    BackendTimeout,
    ClientFault,
    ContentTooLarge,
    Limited,
    NoRoute,
    PluginFault,
    Refused,
    RelayError,
    RequestTimeout,
)
from wsrelay.interfaces import IExchange
from wsrelay.l4.life import Life
from wsrelay.l4.listener import Listener
from wsrelay.l4.plans import Plan
from wsrelay.l4.tunnel import partyOf
from wsrelay.l7.door import Door
from wsrelay.l7.errand import Errand
from wsrelay.l7.fields import (
    frame,
    framed,
    outboundRequest,
    outboundResponse,
    requestFields,
    responseFields,
    unframed,
)
from wsrelay.l7.filtering import runFilters
from wsrelay.l7.forwarded import SAYINGS
from wsrelay.l7.outgoing import Outgoing, options, written
from wsrelay.l7.pages import page, withoutBody
from wsrelay.l7.serve import Served
from wsrelay.l7.trailers import Trailers, announced, areTaken, passing
from wsrelay.l7.upgrade import Upgrade
from wsrelay.model import (
    Closed,
    Counts,
    Decision,
    Direction,
    Forward,
    Headers,
    Inbound,
    Kind,
    MutableHeaders,
    OutboundRequest,
    OutboundResponse,
    Party,
    Phase,
    Refuse,
    Request,
    Respond,
    Response,
    Serve,
)
from wsrelay.plane.legs import Leg
from wsrelay.plane.verdicts import isLater
from wsrelay.wire.bodies import BodyKind, Framing, chunk, lastChunk, requestFraming
from wsrelay.wire.handshake import wantsUpgrade

__all__ = ["Exchange"]

_log = Logger()

#: A request without its fields: by which plan, method, target, whether it would be a WebSocket,
#: and how its body is framed.
Sent: TypeAlias = tuple[Plan, str, str, bool, Framing]
_NO_BODY = Framing(BodyKind.NONE)


@implementer(IExchange)
class Exchange:
    """One exchange, see the module and L{IExchange}."""

    route: Forward
    outbound: OutboundRequest
    response: OutboundResponse | None = None

    # Most exchanges have nothing to do with these.
    isUpgrade = False
    _upgrade: Upgrade | None = None
    _framing = _answered = _NO_BODY
    _uploaded = _toClient = 0
    _moved = _limit = 0.0
    _isUploading = _isAnswered = _isOver = False
    _plan: Any = None
    _errand: Any = None

    def __init__(
        self,
        listener: Listener,
        door: Door,
        inbound: Inbound,
        size: int,
        isPlain: bool = False,
    ) -> None:
        """
        @param size: bytes of the request's head.
        @param isPlain: see L{isPlain<wsrelay.l7.fields.isPlain>}.
        """
        self.id = inbound.id
        self.inbound = inbound
        self.listener = listener
        self.door = door
        self.life = Life(listener, Kind.EXCHANGE, inbound)
        self._isPlain = isPlain
        self._request: Request = inbound.request  # type: ignore[assignment]  # there is one at L7
        self._toBackend = size
        self._clock = listener.relay.clock

    # -- decide

    def begin(self) -> None:
        """Check the request and ask the policies."""
        try:
            if not self._isPlain:
                self._read()
            decision: Any = self.listener.decide(self.inbound)
            if not isLater(decision):
                self._decided(decision)
                return
        except RelayError as error:
            self.fail(error)
            return
        except Exception:
            self._failed(Failure())
            return
        whenAnswered(decision, self.guarded(self._decided), self._failed)

    def _read(self) -> None:
        """What the request says about its body, or that it would be a WebSocket."""
        request = self._request
        if wantsUpgrade(request):
            self.isUpgrade = True
            refusal = self.listener.admission.handshake(self.inbound.client)
            if refusal is not None:
                raise Limited(refusal.detail, refusal.status, refusal.retryAfter)
            self._upgrade = Upgrade(self)
            return
        self._framing = requestFraming(request)
        if "trailer" in request.headers:
            self._framing = evolve(self._framing, trailer=announced(request.headers))

    def guarded(self, step: Callable[..., None]) -> Callable[..., None]:
        """A step that does nothing once all is over, and whose errors are answered."""

        def guarded(*args: Any) -> None:
            if self._isOver:
                return
            try:
                step(*args)
            except RelayError as error:
                self.fail(error)
            except Exception:
                self._failed(Failure())

        return guarded

    def _decided(self, decision: Decision | None) -> None:
        self.life.decided(decision)
        if isinstance(decision, Forward):
            self._forward(self.listener.plans.plan(decision))
        elif decision is None:
            raise NoRoute("no route")
        elif isinstance(decision, Refuse):
            raise Refused(decision.detail or "refused by policy")
        elif isinstance(decision, Serve):
            self._isAnswered = True
            self._isOver = True
            Served(self, decision, self._framing).begin()
        else:
            self._finish(Party.RELAY, f"answered {decision.status}", decision)

    # -- request filters, dial

    def _forward(self, plan: Plan) -> None:
        self._plan = plan
        self.route = plan.forward
        self._checkSize(self._framing.length)
        pool, says = plan.pool, SAYINGS[self.listener.settings.forwarded]
        # A plain request has a Host.
        isNamed = self._isPlain or not pool.backends
        authority = "" if isNamed else pool.backends[0].destination.authority
        if plan.isEdited or self._upgrade is not None:
            if self._framing.trailer:
                # Somebody here vouches for header fields, and a trailer could contradict them.
                self._framing = evolve(self._framing, trailer=())
            self.outbound = outboundRequest(self.inbound, self.isUpgrade, authority, says)
            if self._upgrade is not None:
                self._upgrade.plan(plan)
            runFilters(self, plan.requestFilters, "requestReceived", self._connect)
            return
        request = self._request
        hasContent = self._framing.kind is not BodyKind.NONE
        fields = requestFields(self.inbound, False, hasContent, authority, says)
        sent = (plan, request.method, request.target, False, self._framing)
        if plan.cache is not None:
            headers = MutableHeaders(fields)
            self._ask(plan, sent, OutboundRequest(request.method, request.target, headers))
            return
        frame(fields, self._framing, self._options())
        self._send(written(*sent, fields))

    def _options(self) -> tuple[tuple[bytes, bytes], ...]:
        """What the backend is told about its connection."""
        takesTrailers = not self._isPlain and areTaken(self._request)
        return options(self._plan.pool.keepsAlive, takesTrailers)

    def _connect(self) -> None:
        """The filters have had their say: write the head, so that a bad one is never dialled
        for, and dial."""
        outbound, plan = self.outbound, self._plan
        if (outbound.method == "HEAD") is not (self._request.method == "HEAD"):
            raise PluginFault("filter", f"made {outbound.method} of {self._request.method}")
        if self.route.rules is not None:
            self.route.rules.onRequest(outbound, self.inbound)
        isUpgrade = self._upgrade is not None
        if self._upgrade is not None:
            fields = self._upgrade.fields(outbound.headers)
        else:
            fields = framed(outbound.headers, self._framing, self._options())
        sent = (plan, outbound.method, outbound.target, isUpgrade, self._framing)
        outgoing = written(*sent, fields)
        if plan.cache is None or isUpgrade:
            self._send(outgoing)
        else:
            self._ask(plan, sent, outbound)

    def _ask(self, plan: Plan, sent: Sent, outbound: OutboundRequest) -> None:
        """Let the cache answer, or send for an answer."""
        make = partial(_errandFor, sent, self.inbound, self._clock)
        self._errand = plan.cache.errand(
            outbound, self.inbound, self, make, plan.pool.name, self._isPlain
        )
        self._errand.begin()

    def _send(self, outgoing: Outgoing) -> None:
        settings = self.route.settings
        self._errand = Errand(self._plan.pool, self.inbound, settings, outgoing, self, self._clock)
        self._errand.begin()

    def dialled(self, backend: Backend, leg: Leg) -> None:
        """A backend has accepted, or one that had is used once more."""
        self.life.connected(backend.name, leg)
        self._watch(self.route.settings.responseTimeout, self._silent)

    def sent(self) -> None:
        """The head was sent: the body follows."""
        if self._isOver or self._upgrade is not None:
            return
        if self._framing.kind is not BodyKind.NONE or not self.door.isRead:
            self._isUploading = True
            self._errand.feed(self.door.source)
            self.door.upload(self._framing)

    def unreachable(self, failure: Failure) -> None:
        """No backend has accepted."""
        self._failed(failure)

    # -- time

    def _watch(self, limit: float | None, late: Callable[[float], None]) -> None:
        """From now on, call C{late} when nothing has moved for C{limit} seconds."""
        if limit is None:
            self.door.deadline.clear()
            return
        self._moved = self._clock.seconds()
        self._limit = limit
        self._late = late
        self.door.deadline.set(limit, self._look)

    def _look(self) -> None:
        left = self._moved + self._limit - self._clock.seconds()
        if left > 0.001:
            self.door.deadline.set(left, self._look)
        else:
            self._late(self._limit)

    def _silent(self, seconds: float) -> None:
        """There is no response: is it the client who has not yet said what it wants?"""
        isExpectant = not self._uploaded and "expect" in self._request.headers
        if self._isUploading and not self._errand.isFull and not isExpectant:
            self.fail(RequestTimeout(f"nothing of the request's body came for {seconds:.0f} s"))
        else:
            self.failed(BackendTimeout("did not answer in time"))

    def _stalled(self, seconds: float) -> None:
        """The response has stopped, or the client does not read it."""
        self.fail(RelayError(f"idle for {seconds:.0f} s"))

    # -- the request's body

    def _checkSize(self, size: int) -> None:
        limit = self.route.settings.maxBody
        if limit is not None and size > limit:
            raise ContentTooLarge(f"request body over {limit} bytes")

    def uploaded(self, data: bytes) -> None:
        """Some of the request's body came."""
        self._moved = self._clock.seconds()
        self._toBackend += len(data)
        self._uploaded += len(data)
        try:
            self._checkSize(self._uploaded)
        except ContentTooLarge as error:
            self.fail(error)
            return
        if self._errand is not None:
            isChunked = self._framing.kind is BodyKind.CHUNKED
            self._errand.send(chunk(data) if isChunked else data)

    def uploadEnded(self, trailers: Trailers = ()) -> None:
        """The whole request's body came, and these behind it."""
        self._isUploading = False
        if self._errand is not None:
            self._moved = self._clock.seconds()
            if self._framing.kind is BodyKind.CHUNKED:
                self._errand.send(lastChunk(passing(trailers, self._framing.trailer)))
            self._errand.fed()

    # -- the response: hears of the fetch

    def interim(self, response: Response) -> None:
        """A 1xx from the backend."""
        self._moved = self._clock.seconds()
        cleaned = outboundResponse(response, False)
        self.door.interim(response.status, response.reason, cleaned.headers)

    def responded(self, response: Response, framing: Framing) -> None:
        """The response's head from the backend; filters see it first."""
        self.door.deadline.clear()
        try:
            isSwitch = response.status == 101 and self._upgrade is not None
            if isSwitch:
                assert self._upgrade is not None
                self._upgrade.check(response)
            elif not self._plan.isEdited:
                self._relay(response, responseFields(response), framing)
                return
            step = self._switch if isSwitch else self._relayHead
            self.response = outboundResponse(response, isSwitch)
            filters = self._plan.requestFilters
            if filters:
                go = self.guarded(partial(self._edited, response, step, framing))
                runFilters(self, reversed(filters), "responseReceived", go)
            else:
                self._ruled(response, step, framing)
        except RelayError as error:
            self.fail(error)
        except Exception:
            self._failed(Failure())

    def _edited(self, response: Response, step: Callable[..., None], framing: Framing) -> None:
        """The filters have had their say; what they made of the status must fit the body."""
        assert self.response is not None
        status = self.response.status
        if status != response.status and (
            response.status == 101
            or not 200 <= status <= 599
            or withoutBody(status) is not withoutBody(response.status)
        ):
            raise PluginFault("filter", f"made {status} of a {response.status}")
        self._ruled(response, step, framing)

    def _ruled(self, response: Response, step: Callable[..., None], framing: Framing) -> None:
        """The route's rules have the last word."""
        assert self.response is not None
        if self.route.rules is not None:
            self.route.rules.onResponse(self.response, self.inbound)
        step(response, framing)

    def _relayHead(self, response: Response, framing: Framing) -> None:
        edited = self.response
        assert edited is not None
        fields = unframed(edited.headers)
        self._relay(Response(edited.status, edited.reason, response.headers), fields, framing)

    def _relay(
        self, response: Response, fields: list[tuple[bytes, bytes]], framing: Framing
    ) -> None:
        """
        Begin the client's response.

        @param response: with the status for the client, and what the backend said of the body.
        """
        if self._request.method == "HEAD" or response.status == 304:
            # There is a length but no body (RFC 9110 section 8.6).
            for length in response.headers.rawAll(b"content-length"):
                framing = Framing(BodyKind.LENGTH, int(length))
        if not self._isPlain and "trailer" in response.headers and areTaken(self._request):
            # For a client that takes none they end here.
            framing = self._answered = evolve(framing, trailer=announced(response.headers))
        isChecked = not self._plan.isEdited
        self.door.head(response.status, response.reason, fields, framing, isChecked)
        self._isAnswered = True
        self.life.phase = Phase.RELAY
        self.life.status = response.status
        self._errand.readBody()
        if not self._isOver:
            self.door.flush()
            self._watch(self.route.settings.idleTimeout, self._stalled)
            self.door.feed(self._errand.producer)

    def content(self, data: bytes) -> None:
        """Some of the response's body."""
        self._moved = self._clock.seconds()
        self._toClient += len(data)
        self.door.content(data)

    @property
    def takesReady(self) -> bool:
        """Whether an answer may be written as it is: nobody wants to see or edit it."""
        return not self._plan.isEdited

    def ready(self, status: int, head: bytes, body: bytes) -> None:
        """
        The whole response at once.

        @param head: all of it but what is about the client's connection, and the empty line.
        """
        self._toClient = len(body)
        self._isAnswered = True
        self.life.phase = Phase.RELAY
        self.life.status = status
        self.life.end(Party.RELAY, f"answered {status} from the cache")
        self._errand = None
        self._over()
        self._close()
        self.door.whole(head, body)

    def completed(self) -> None:
        """The whole response was relayed."""
        if self.life.backend:
            self.life.end(Party.BACKEND, f"answered {self.life.status}")
        else:
            self.life.end(Party.RELAY, f"answered {self.life.status} from the cache")
        names = self._answered.trailer
        trailers = passing(self._errand.trailers, names) if names else ()
        self._errand = None
        self._over()
        self._close()
        self.door.end(trailers)

    def failed(self, error: BackendFault) -> None:
        """The backend will not complete it."""
        backend = self.life.backend
        self.fail(type(error)(f"{backend} {error.detail}") if backend else error)

    def _switch(self, response: Response, framing: Framing) -> None:
        """The 101 is true: from here on it is a session."""
        assert self._upgrade is not None
        session = self._upgrade.session(self._errand)
        self._isOver = True
        # Whoever knows this exchange lets go of it, so that it need not wait for the collector.
        self._upgrade = self._errand = None
        session.begin()

    # -- ends

    def clientFailed(self, error: ClientFault) -> None:
        """What the client sends as a body is none."""
        self.fail(error)

    def clientLeft(self, detail: str) -> None:
        """The client is gone: nobody wants an answer any more."""
        if self._isOver:
            return
        self.life.end(Party.CLIENT, detail)
        self.life.status = self.life.status or 499
        self._over()
        self._close()
        self.door.cut()

    def answeredBy(self, name: str, respond: Respond) -> None:
        """A filter has answered the client."""
        self._finish(Party.PLUGIN, f"{name}: answered {respond.status}", respond)

    def _failed(self, failure: Failure) -> None:
        if self._isOver:
            return
        error = failure.value
        if not isinstance(error, RelayError):
            _log.failure("{id}: internal error", failure, id=self.id)
            error = RelayError(f"internal error: {error!r}")
        self.fail(error)

    def fail(self, error: RelayError) -> None:
        """Answer an error, or cut the response if it has begun."""
        if self._isOver:
            return
        if isinstance(error, PluginFault):
            failure = Failure(error.__cause__ or error)
            _log.failure("{id}: {detail}", failure, id=self.id, detail=error.detail)
        respond = page(error, self.listener.settings.pages, self.inbound)
        self._finish(partyOf(error), error.detail, respond)

    def _finish(self, party: Party, detail: str, respond: Respond) -> None:
        self.life.end(party, detail)
        self._over()
        if self._isAnswered:
            self._close()
            self.door.cut()
            return
        self._isAnswered = True
        if self._plan is not None and self.route.rules is not None:
            respond = self.route.rules.onAnswer(respond, self.inbound)
        self.life.status = respond.status
        isHead = self._request.method == "HEAD"
        if not isHead and not withoutBody(respond.status):
            self._toClient += len(respond.body)
        self._close()
        self.door.answer(respond, isHead)

    def _close(self) -> None:
        if not self.listener.relay.hearers[Closed]:
            self.life.close()
            return
        up, down = Counts(bytes=self._toBackend), Counts(bytes=self._toClient)
        self.life.close({Direction.TO_BACKEND: up, Direction.TO_CLIENT: down})

    def _over(self) -> None:
        """Let go of the backend."""
        self._isOver = True
        self.door.deadline.clear()
        if self._errand is not None:
            self._errand.cancel()
            self._errand = None


def _errandFor(
    sent: Sent,
    inbound: Inbound,
    clock: Any,
    fields: Iterable[tuple[bytes, bytes]],
    hearer: Any,
) -> Errand:
    """An errand with these fields, for a cache; it may be sent when the exchange is over."""
    plan, *_, framing = sent
    whole = framed(Headers(fields), framing, options(plan.pool.keepsAlive, False))
    outgoing = written(*sent, whole)
    return Errand(plan.pool, inbound, plan.forward.settings, outgoing, hearer, clock)

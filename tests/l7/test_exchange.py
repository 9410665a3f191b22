# -*- test-case-name: tests.l7.test_exchange -*-
"""
One request: decided, filtered, dialled, uploaded, answered or not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from tests.l7.harness import (
    FORWARDED,
    PAGE,
    Policy,
    RelayTestCase,
    Server,
    answer,
    bytesOf,
    settled,
    turns,
)
from wsrelay.errors import BackendTimeout, PluginFault
from wsrelay.interfaces import IRequestFilter
from wsrelay.l4.listener import ListenerSettings
from wsrelay.model import (
    Connected,
    Decided,
    Forward,
    Opened,
    Party,
    Phase,
    Refuse,
    Respond,
    RouteSettings,
)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
GOT = b"GET / HTTP/1.1\r\nHost: a\r\n" + FORWARDED + b"Connection: close\r\n\r\n"
HELLO = answer("200 OK", b"hello")
ERROR = PAGE("500 Internal Server Error")


def post(size: int, body: bytes = b"", expect: bytes = b"") -> bytes:
    """A request with a body of C{size} bytes, of which C{body} comes at once."""
    return b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%b\r\n%b" % (size, expect, body)


class Oops(Exception):
    """What a plugin of these tests raises."""


def raises(*_: Any) -> Any:
    """A plugin that has a bug."""
    raise Oops("secret detail")


@implementer(IRequestFilter)
class Filter:
    """A filter made of one or two functions."""

    def __init__(
        self,
        request: Callable[[Any], Any] = lambda exchange: None,
        response: Callable[[Any], Any] = lambda exchange: None,
    ) -> None:
        self.requestReceived = request
        self.responseReceived = response


class Dialling:
    """A pool whose backends take their time."""

    backends = ()
    keepsAlive = False

    def __init__(self) -> None:
        self.dials: list[Deferred[Any]] = []

    def connect(self, inbound: Any, timeout: float, first: Any) -> Deferred[Any]:
        """A dial that has not come to anything yet."""
        self.timeout = timeout
        self.dials.append(Deferred())
        return self.dials[-1]


async def later(value: Any) -> Any:
    """A coroutine that waits once and then answers, or raises."""
    await succeed(None)
    if isinstance(value, Exception):
        raise value
    return value


class ExchangeTestCase(RelayTestCase):
    """What these tests share."""

    async def ask(self, request: bytes = GET) -> Any:
        """A client that has asked."""
        client = await self.client()
        client.say(request)
        return client

    async def answered(self, client: Any) -> Server:
        """The request arrives as it came, and the client hears the backend's answer."""
        backend = await self.backend()
        await backend.hear(GOT)
        backend.say(HELLO)
        await client.hear(HELLO)
        return backend

    def assertLogged(self, plugin: Any) -> None:
        """A plugin's bug was logged once, with the traceback that leads to it."""
        (failure,) = self.flushLoggedErrors(Oops)
        self.assertEqual("in raises" in failure.getTraceback(), plugin is raises)


class DecisionTests(ExchangeTestCase):
    """What the policies may say."""

    async def test_forward(self) -> None:
        """Events tell the whole story, in order."""
        await self.start()
        await self.answered(await self.ask())
        (end,) = await self.ends()
        self.assertEqual(
            [type(event).__name__ for event in self.events],
            ["Opened", "Decided", "Connected", "Closed"],
        )
        opened, decided, connected, _ = self.events
        assert isinstance(opened, Opened)
        assert isinstance(decided, Decided)
        assert isinstance(connected, Connected)
        assert opened.inbound.request is not None
        self.assertEqual(opened.inbound.request.target, "/")
        self.assertEqual(decided.decision, self.forward)
        self.assertEqual((connected.pool, end.route, end.pool), ("pool", "route", "pool"))
        self.assertEqual(bytesOf(end), (len(GET), 5))
        self.assertEqual(end.backend, connected.backend)

    async def test_respond(self) -> None:
        """A policy may answer; a body never goes where none may be."""
        for respond, request, heard in [
            (Respond(200, ((b"X", b"1"),), b"ok"), GET, answer("200 OK", b"ok", b"X: 1")),
            (
                Respond(200, (), b"ok"),
                GET.replace(b"GET", b"HEAD"),
                answer("200 OK", b"ok")[:-2],
            ),
            (Respond(204, (), b"ok"), GET, b"HTTP/1.1 204 No Content\r\n\r\n"),
            (Respond(304, (), b"ok"), GET, b"HTTP/1.1 304 Not Modified\r\n\r\n"),
            (
                Respond(200, ((b"Content-Length", b"99"), (b"Transfer-Encoding", b"chunked"))),
                GET,
                answer("200 OK"),
            ),
        ]:
            await self.start(respond)
            client = await self.ask(request + b"GET / HTTP/1.0\r\n\r\n")
            await client.hear(heard)
            heard = await client.gone()
            self.assertTrue(heard.startswith(b"HTTP/1.1"), heard)
            await self.ends(2)
            status = respond.status
            await self.assertEnd(Party.RELAY, Phase.DECIDE, f"answered {status}", status)
            await self.again()

    async def test_refusals(self) -> None:
        """No route, a refusal, and decisions that cannot be kept."""
        for decision, status, party, detail in [
            (lambda inbound: None, "404 Not Found", Party.RELAY, "no route"),
            (Refuse("blocked"), "403 Forbidden", Party.RELAY, "blocked"),
            (Forward("nowhere"), "500 Internal Server Error", Party.PLUGIN, "'nowhere'"),
            (Forward("pool", ("x",)), "500 Internal Server Error", Party.PLUGIN, "'x'"),
            ("yes", "500 Internal Server Error", Party.PLUGIN, "'yes'"),
        ]:
            await self.start(decision)
            client = await self.ask()
            await client.hear(PAGE(status))
            reason = (await self.ends())[0].reason
            self.assertEqual(reason.party, party)
            self.assertIn(detail, reason.detail)
            self.flushLoggedErrors(PluginFault)
            await self.again()

    async def test_later(self) -> None:
        """A policy may take its time, as a Deferred or a coroutine; other clients do not wait."""
        wait: Deferred[Any] = Deferred()
        answers = [wait, Respond(200), later(Respond(202))]
        await self.start(lambda inbound: answers.pop(0))
        first, second, third = [await self.ask() for _ in range(3)]
        await second.hear(answer("200 OK"))
        await third.hear(answer("202 Accepted"))
        self.assertEqual(bytes(first.heard), b"")
        wait.callback(Respond(404))
        await first.hear(answer("404 Not Found"))

    async def test_policyFails(self) -> None:
        """A policy that fails is 500, and the client learns nothing about why."""
        for policy in (raises, lambda _: fail(Oops("x")), lambda _: later(Oops("x"))):
            await self.start(Respond(200), policies=[("broken", Policy(policy))])
            client = await self.ask()
            await client.hear(ERROR)
            await self.assertEnd(Party.PLUGIN, Phase.DECIDE, "broken: Oops", 500)
            self.assertLogged(policy)
            await self.again()

    async def test_leavesUndecided(self) -> None:
        """A client that leaves while a policy thinks is not dialled for."""
        wait: Deferred[Any] = Deferred()
        await self.start(lambda inbound: wait)
        client = await self.ask()
        await self.until(lambda: bool(self.events), "the request")
        client.vanish()
        await self.assertEnd(Party.CLIENT, Phase.DECIDE, "closed its connection", 499)
        wait.callback(self.forward)
        await turns()
        self.assertEqual(self.servers.all, [])


class FilterTests(ExchangeTestCase):
    """Request filters."""

    async def test_order(self) -> None:
        """Filters see the request first to last, and the response last to first."""
        seen: list[str] = []

        def note(name: str) -> Filter:
            return Filter(
                lambda exchange: seen.append(name + ">"), lambda exchange: seen.append("<" + name)
            )

        await self.start(filters={"a": note("a"), "b": note("b"), "c": note("c")})
        await self.answered(await self.ask())
        self.assertEqual(seen, ["a>", "b>", "c>", "<c", "<b", "<a"])

    async def test_edit(self) -> None:
        """A filter edits what goes out and what comes back, and never what came in."""

        def request(exchange: Any) -> None:
            exchange.outbound.method = "PUT"
            exchange.outbound.target = "/y?z"
            exchange.outbound.headers.set("X-Own", exchange.inbound.request.target)
            exchange.outbound.headers.set("Content-Length", "99")
            exchange.outbound.headers.set("Connection", "keep-alive")

        def response(exchange: Any) -> None:
            exchange.response.status = 202
            exchange.response.reason = "Fine"
            exchange.response.headers.set("X-Own", "2")
            exchange.response.headers.set("Transfer-Encoding", "chunked")

        await self.start(filters={"edit": Filter(request, response)})
        client = await self.ask()
        backend = await self.backend()
        await backend.hear(
            b"PUT /y?z HTTP/1.1\r\nHost: a\r\n"
            + FORWARDED
            + b"X-Own: /\r\nConnection: close\r\n\r\n"
        )
        backend.say(HELLO)
        await client.hear(answer("202 Fine", b"hello", b"X-Own: 2"))
        await self.assertEnd(Party.BACKEND, Phase.RELAY, "answered 202", 202)

    async def test_later(self) -> None:
        """Filters may take their time; a body that comes meanwhile waits."""
        waits: list[Deferred[Any]] = [Deferred(), Deferred()]
        slow = Filter(lambda exchange: waits[0], lambda exchange: waits[1])
        coroutine = Filter(lambda exchange: later(None), lambda exchange: later(None))
        await self.start(filters={"slow": slow, "coroutine": coroutine})
        client = await self.ask(post(5, b"hello"))
        await self.until(lambda: bool(self.events), "the request")
        await turns()
        self.assertEqual(self.servers.all, [])
        waits[0].callback(None)
        backend = await self.backend()
        await backend.head()
        await backend.hear(b"hello")
        backend.say(HELLO)
        backend.close()
        await turns()
        self.clock.advance(3000)
        self.assertEqual(bytes(client.heard), b"")
        waits[1].callback(None)
        await client.hear(HELLO)

    async def test_answers(self) -> None:
        """A filter that answers itself keeps the request from the backend, and from the rest."""
        for value in (Respond(401), succeed(Respond(401)), later(Respond(401))):
            await self.start(
                filters={"door": Filter(lambda _, v=value: v), "next": Filter(raises)}
            )
            client = await self.ask()
            await client.hear(answer("401 Unauthorized"))
            await self.assertEnd(Party.PLUGIN, Phase.DIAL, "door: answered 401", 401)
            self.assertEqual(self.servers.all, [])
            await self.again()

    async def test_answersInstead(self) -> None:
        """A filter may answer in place of the backend's response."""
        await self.start(filters={"mask": Filter(response=lambda _: Respond(404))})
        client = await self.ask()
        backend = await self.backend()
        await backend.head()
        backend.say(HELLO)
        await client.hear(answer("404 Not Found"))
        await backend.hearCut()
        await self.assertEnd(Party.PLUGIN, Phase.ANSWER, "mask: answered 404", 404)

    async def test_fails(self) -> None:
        """A filter that fails is 500: nothing is forwarded, and no detail shown."""
        for broken in (
            raises,
            lambda _: fail(Oops("x")),
            lambda _: later(Oops("secret detail")),
        ):
            await self.start(filters={"broken": Filter(broken)})
            client = await self.ask()
            await client.hear(ERROR)
            await self.assertEnd(Party.PLUGIN, Phase.DIAL, "broken: requestReceived: Oops", 500)
            self.assertEqual(self.servers.all, [])
            self.assertLogged(broken)
            await self.again()
            await self.start(filters={"broken": Filter(response=broken)})
            client = await self.ask()
            backend = await self.backend()
            await backend.hear(GOT)
            backend.say(HELLO)
            await client.hear(ERROR)
            await self.assertEnd(Party.PLUGIN, Phase.ANSWER, "broken: responseReceived", 500)
            self.assertLogged(broken)
            await self.again()

    async def test_nonsense(self) -> None:
        """What a filter must not answer or make of a message is 500, and the log says what."""

        def edits(**values: Any) -> Callable[[Any], None]:
            def edit(exchange: Any) -> None:
                for name, value in values.items():
                    setattr(exchange.response or exchange.outbound, name, value)

            return edit

        for filters, detail in [
            (Filter(lambda _: True), "returned True"),
            (Filter(edits(target="/a b")), "edited the request"),
            (Filter(edits(target="/\r\nX: 1")), "edited the request"),
            (Filter(edits(method="G T")), "edited the request"),
            (Filter(edits(method="HEAD")), "made HEAD of GET"),
            (Filter(response=lambda _: 1), "returned 1"),
            (Filter(response=edits(status=101)), "made 101 of a 200"),
            (Filter(response=edits(status=204)), "made 204 of a 200"),
            (Filter(response=edits(status=99)), "made 99 of a 200"),
            (Filter(response=edits(reason="a\r\nb")), "internal error"),
        ]:
            await self.start(filters={"odd": filters})
            client = await self.ask()
            if "edited" not in detail and "True" not in detail and "HEAD" not in detail:
                (await self.backend()).say(HELLO)
            await client.hear(ERROR)
            (end,) = await self.ends()
            self.assertIn(detail, end.reason.detail)
            self.flushLoggedErrors()
            await self.again()


class DialTests(ExchangeTestCase):
    """Reaching a backend."""

    async def test_refused(self) -> None:
        """A backend that refuses is 502."""
        await self.start()
        await self.stopBackend()
        client = await self.ask()
        await client.hear(PAGE("502 Bad Gateway"))
        await self.assertEnd(Party.BACKEND, Phase.DIAL, "cannot be reached", 502)

    async def test_leaves(self) -> None:
        """A client that leaves while the backend is dialled ends the dial."""
        pool = Dialling()
        await self.start(pool=pool)
        client = await self.ask()
        await self.until(lambda: bool(pool.dials), "the dial")
        client.vanish()
        await self.assertEnd(Party.CLIENT, Phase.DIAL, "closed its connection", 499)
        self.assertTrue(pool.dials[0].called, "cancelled")

    async def test_tooSlow(self) -> None:
        """A dial that takes too long is 504."""
        pool = Dialling()
        await self.start(pool=pool, settings=RouteSettings(connectTimeout=7))
        client = await self.ask()
        await self.until(lambda: bool(pool.dials), "the dial")
        self.assertEqual(pool.timeout, 7)
        pool.dials[0].errback(BackendTimeout("x did not accept in time"))
        await client.hear(PAGE("504 Gateway Timeout"))
        await self.assertEnd(Party.BACKEND, Phase.DIAL, "x did not accept", 504)


class UploadTests(ExchangeTestCase):
    """The request's body."""

    async def test_length(self) -> None:
        """A body of known length arrives as it came."""
        await self.start()
        client = await self.ask(post(10, b"hello"))
        backend = await self.backend()
        await backend.hear(
            b"POST / HTTP/1.1\r\nHost: a\r\n"
            + FORWARDED
            + b"Content-Length: 10\r\nConnection: close\r\n\r\nhello"
        )
        client.say(b"world")
        await backend.hear(b"world")
        backend.say(HELLO)
        await client.hear(HELLO)
        end = await self.assertEnd(Party.BACKEND, Phase.RELAY)
        self.assertEqual(bytesOf(end), (len(post(10)) + 10, 5))

    async def test_chunked(self) -> None:
        """Chunks arrive as they came, with heads of the relay's own."""
        await self.start()
        client = await self.ask(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhel"
        )
        backend = await self.backend()
        await backend.head()
        await backend.hear(b"3\r\nhel\r\n")
        client.say(b"lo\r\n0\r\nX: 1\r\n\r\n")
        await backend.hear(b"2\r\nlo\r\n0\r\n\r\n")

    async def test_expect(self) -> None:
        """The body is asked for by the backend, not by the relay."""
        await self.start()
        client = await self.ask(post(5, expect=b"Expect: 100-continue\r\n"))
        backend = await self.backend()
        self.assertIn(b"Expect: 100-continue\r\n", await backend.head())
        await turns()
        self.assertEqual(bytes(client.heard), b"")
        backend.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        await client.hear(b"HTTP/1.1 100 Continue\r\n\r\n")
        client.say(b"hello")
        await backend.hear(b"hello")
        backend.say(HELLO)
        await client.hear(HELLO)

    async def test_tooLarge(self) -> None:
        """A body over the limit is 413: before it is dialled for, or as soon as it is over."""
        chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        for said, isDialled in [
            (post(11), False),
            (chunked + b"b\r\n01234567890\r\n", True),
            (chunked + b"5\r\n01234\r\n6\r\n567890\r\n0\r\n\r\n", True),
        ]:
            await self.start(settings=RouteSettings(maxBody=10))
            client = await self.ask(said)
            heard = await client.through(b"413 Request Entity Too Large\n")
            self.assertTrue(heard.startswith(b"HTTP/1.1 413 "), heard)
            (end,) = await self.ends()
            self.assertEqual((end.reason.party, end.status), (Party.CLIENT, 413))
            self.assertEqual(bool(self.servers.all), isDialled)
            await self.again()

    async def test_tooLargeThenNext(self) -> None:
        """When the whole of a body that is too large has come, the next request is read."""
        await self.start(settings=RouteSettings(maxBody=3))
        chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        client = await self.ask(chunked + b"5\r\nhello\r\n0\r\n\r\n" + GET)
        await client.hear(PAGE("413 Request Entity Too Large"))
        await self.servers.next()
        backend = await self.backend()
        await backend.hear(GOT)
        backend.say(HELLO)
        await client.hear(HELLO)

    async def test_atTheLimit(self) -> None:
        """A body of exactly the limit passes."""
        await self.start(settings=RouteSettings(maxBody=5))
        client = await self.ask(post(5, b"hello"))
        (await self.backend()).say(HELLO)
        await client.hear(HELLO)

    async def test_backpressure(self) -> None:
        """A backend that does not read holds the client; when it reads, all of it comes."""
        size = 30_000_000
        await self.start()
        client = await self.ask(post(size))
        backend = await self.backend()
        await backend.head()
        backend.transport.pauseProducing()
        client.say(b"x" * size)
        self.assertGreater(await settled(client), size // 4)
        backend.transport.resumeProducing()
        await backend.when(lambda: len(backend.heard) == size)
        backend.say(HELLO)
        await client.hear(HELLO)

    async def test_leaves(self) -> None:
        """A client that leaves in the middle of its body takes the backend's request along."""
        for leave in ("finish", "vanish"):
            await self.start()
            client = await self.ask(post(10, b"hello"))
            backend = await self.backend()
            await backend.head()
            await backend.hear(b"hello")
            getattr(client, leave)()
            await backend.hearCut()
            await self.assertEnd(Party.CLIENT, Phase.ANSWER, "closed its connection", 499)
            await self.again()

    async def test_leavesBeforeItsBody(self) -> None:
        """The same before any of the body came, while a filter thinks."""
        wait: Deferred[Any] = Deferred()
        await self.start(filters={"slow": Filter(lambda _: wait)})
        client = await self.ask(post(10))
        await self.until(lambda: bool(self.events), "the request")
        client.finish()
        await self.assertEnd(Party.CLIENT, Phase.DIAL, "in the middle of its request", 499)
        wait.callback(None)
        await turns()
        self.assertEqual(self.servers.all, [])


class ResponseTests(ExchangeTestCase):
    """The response's body, and the ends of both sides."""

    async def test_backpressure(self) -> None:
        """A client that does not read holds the backend; when it reads, all of it comes."""
        size = 30_000_000
        await self.start()
        client = await self.ask()
        backend = await self.backend()
        await backend.head()
        client.transport.pauseProducing()
        backend.say(answer("200 OK", b"x" * size))
        self.assertGreater(await settled(backend), size // 4)
        client.transport.resumeProducing()
        await client.hear(answer("200 OK", b"x" * size))

    async def test_backendEnds(self) -> None:
        """Where a backend ends before its response does, the client notices."""
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        for said, detail in [
            (b"", "instead of answering"),
            (b"HTTP/1.1 200 OK\r\nCont", "instead of answering"),
            (b"HTTP/1.1 100 Continue\r\n\r\n", "instead of answering"),
            (head + b"hello", "in the middle of a response"),
            (chunked, "in the middle of a response"),
        ]:
            for leave in ("close", "vanish"):
                await self.start()
                client = await self.ask()
                backend = await self.backend()
                await backend.head()
                backend.say(said)
                await turns()
                getattr(backend, leave)()
                if "200" in said.decode() and b"\r\n\r\n" in said:
                    self.assertFalse((await client.hearCut()).endswith(b"0\r\n\r\n"))
                    end = await self.assertEnd(Party.BACKEND, Phase.RELAY, status=200)
                else:
                    await client.through(b"502 Bad Gateway\n")
                    end = await self.assertEnd(Party.BACKEND, Phase.ANSWER, status=502)
                    self.assertFalse(client.isEnded)
                if leave == "close":
                    self.assertIn(detail, end.reason.detail)
                self.assertIn(end.backend, end.reason.detail)
                await self.again()

    async def test_clientLeaves(self) -> None:
        """A client that leaves before or in its response: the backend is cut."""
        for said in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"):
            await self.start()
            client = await self.ask()
            backend = await self.backend()
            await backend.head()
            backend.say(said)
            if said:
                await client.hear(said)
            client.vanish()
            await backend.hearCut()
            phase = Phase.RELAY if said else Phase.ANSWER
            status = 200 if said else 499
            await self.assertEnd(Party.CLIENT, phase, "closed its connection", status)
            await self.again()

    async def test_clientLeavesAhead(self) -> None:
        """Also one that had sent its next request ahead, once it is written to."""
        await self.start()
        client = await self.ask(GET + GET)
        backend = await self.backend()
        await backend.head()
        backend.say(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await client.head()
        client.vanish()
        while not backend.isLost:
            backend.say(b"more")
            await turns(2)
        await self.assertEnd(Party.CLIENT, Phase.RELAY, "closed its connection", 200)
        self.assertEqual(len(self.servers.all), 1)


class TimeTests(ExchangeTestCase):
    """Deadlines of an exchange."""

    SETTINGS = RouteSettings(responseTimeout=60, idleTimeout=100)

    async def test_noResponse(self) -> None:
        """A backend that does not answer in time is 504."""
        await self.start(settings=self.SETTINGS)
        client = await self.ask()
        backend = await self.backend()
        await backend.head()
        backend.say(b"HTTP/1.1 200 OK\r\n")
        await turns()
        self.clock.advance(59)
        self.assertEqual(self.closed(), [])
        self.clock.advance(1)
        await client.hear(PAGE("504 Gateway Timeout"))
        await backend.hearCut()
        await self.assertEnd(Party.BACKEND, Phase.ANSWER, "did not answer in time", 504)

    async def test_fromTheEndOfTheBody(self) -> None:
        """The time is counted from the last of the request that moved."""
        await self.start(settings=self.SETTINGS, listener=ListenerSettings(bodyTimeout=100))
        client = await self.ask(post(10, b"hello"))
        backend = await self.backend()
        await backend.head()
        await backend.hear(b"hello")
        self.clock.advance(50)
        client.say(b"world")
        await backend.hear(b"world")
        self.clock.advance(50)
        self.assertEqual(self.closed(), [])
        backend.say(HELLO)
        await client.hear(HELLO)

    async def test_slowBody(self) -> None:
        """A body that stops coming is the client's fault: 408."""
        await self.start(settings=self.SETTINGS, listener=ListenerSettings(bodyTimeout=100))
        client = await self.ask(post(10, b"hello"))
        backend = await self.backend()
        await backend.head()
        await backend.hear(b"hello")
        self.clock.advance(60)
        await client.hearEnd(PAGE("408 Request Timeout", b"Connection: close"))
        await self.assertEnd(Party.CLIENT, Phase.ANSWER, "body", 408)

    async def test_noContinue(self) -> None:
        """A client that was told to wait for 100 is not at fault: 504."""
        await self.start(settings=self.SETTINGS)
        client = await self.ask(post(5, expect=b"Expect: 100-continue\r\n"))
        await (await self.backend()).head()
        self.clock.advance(60)
        await client.hearEnd(PAGE("504 Gateway Timeout", b"Connection: close"))

    async def test_backendDoesNotRead(self) -> None:
        """Nor is one whose body the backend does not read."""
        await self.start(settings=self.SETTINGS)
        client = await self.ask(post(30_000_000))
        backend = await self.backend()
        await backend.head()
        backend.transport.pauseProducing()
        client.say(b"x" * 30_000_000)
        await settled(client)
        self.clock.advance(60)
        self.clock.advance(2)
        await self.assertEnd(Party.BACKEND, Phase.ANSWER, "did not answer in time", 504)

    async def test_stalls(self) -> None:
        """A response that stops, or that nobody reads, is cut after the idle time."""
        await self.start(settings=self.SETTINGS)
        client = await self.ask()
        backend = await self.backend()
        await backend.head()
        backend.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhe")
        await client.hear(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhe")
        self.clock.advance(99)
        backend.say(b"llo")
        await client.hear(b"llo")
        self.clock.advance(99)
        self.assertEqual(self.closed(), [])
        self.clock.advance(1)
        await client.hearCut()
        await backend.hearCut()
        await self.assertEnd(Party.RELAY, Phase.RELAY, "idle for 100 s", 200)

    async def test_forEver(self) -> None:
        """Without an idle time a response may take for ever."""
        await self.start(settings=RouteSettings(idleTimeout=None))
        client = await self.ask()
        backend = await self.backend()
        await backend.head()
        backend.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        await client.head()
        self.clock.advance(1_000_000)
        backend.say(b"k")
        await client.hear(b"ok")

"""
Requests on connections that wait for them, and what happens when one of these is gone.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.l7.harness import (
    FORWARDED,
    HANDSHAKE,
    PAGE,
    SWITCH,
    UPGRADE,
    OnNativePlane,
    RelayTestCase,
    answer,
    turns,
)
from tests.l7.peers import Client, Server
from tests.l7.scripted import Asking
from wsrelay.backends.backend import Backend, Destination
from wsrelay.backends.balancers import RoundRobin
from wsrelay.backends.pool import Dialled, KeepAlive, Pool
from wsrelay.l7.errand import Errand
from wsrelay.l7.outgoing import Outgoing
from wsrelay.model import Address, Connected, Inbound, Party, Phase, RouteSettings
from wsrelay.tls.backends import BackendTLS

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#: What the backend gets of it, with no word about closing.
GOT = b"GET / HTTP/1.1\r\nHost: a\r\n" + FORWARDED + b"\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
HELLO = answer("200 OK", b"hello")
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"


class ErrandTestCase(RelayTestCase):
    """A relay whose connections to the backend wait for ten seconds."""

    async def begin(self, most: int = 2, request: bytes = GET) -> tuple[Client, Server]:
        """A client whose first request was answered on a new connection."""
        await self.start(keepAlive=KeepAlive(most, 10.0))
        client = await self.client()
        client.say(request)
        backend = await self.backend()
        await backend.through(request[-2:] if request is POST else b"\r\n\r\n")
        backend.say(HELLO)
        await client.hear(HELLO)
        return client, backend

    def waiting(self) -> int:
        """How many connections wait."""
        return sum(len(idle) for idle in self.pool._idle.values())


class ReuseTests(ErrandTestCase):
    """One connection for many requests."""

    async def test_reused(self) -> None:
        """The next request goes out on the same connection, of this client or another."""
        client, backend = await self.begin()
        self.assertEqual((self.waiting(), self._backends[0].active), (1, 0))
        for each in (client, await self.client()):
            each.say(GET)
            await backend.hear(GOT)
            self.assertEqual((self.waiting(), self._backends[0].active), (0, 1))
            backend.say(HELLO)
            await each.hear(HELLO)
        self.assertEqual(len(self.servers.all), 1)
        self.assertEqual(sum(isinstance(event, Connected) for event in self.events), 3)

    async def test_bodies(self) -> None:
        """Requests with bodies, and answers of every framing but the connection's end, too."""
        client, backend = await self.begin()
        for said in [
            HELLO,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        ]:
            client.say(POST)
            await backend.through(b"hi")
            backend.say(said)
            await client.hear(said)
        self.assertEqual((len(self.servers.all), self.waiting()), (1, 1))

    async def test_doubt(self) -> None:
        """Where it is not certain that the answer has ended there, the connection is closed."""
        for said, heard in [
            (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", HELLO),
            (b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 5\r\n\r\nhello", HELLO),
            (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", HELLO),
            (HELLO + HELLO, HELLO),
            (HELLO + b"\r\n", HELLO),
        ]:
            await self.start(keepAlive=KeepAlive(2, 10.0))
            client = await self.client()
            client.say(GET)
            backend = await self.backend()
            await backend.hear(GOT)
            backend.say(said)
            await client.hear(heard)
            await backend.hearEnd()
            self.assertEqual(self.waiting(), 0, said)
            backend.close()
            await self.again()

    async def test_unreadBody(self) -> None:
        """An answer that comes before the whole request was sent ends the connection."""
        await self.start(keepAlive=KeepAlive(2, 10.0))
        client = await self.client()
        client.say(POST[:-1])
        backend = await self.backend()
        await backend.through(b"h")
        backend.say(HELLO)
        await client.through(b"hello")
        await backend.hearEnd()
        self.assertEqual(self.waiting(), 0)

    async def test_enough(self) -> None:
        """No more of them wait than may."""
        client, first = await self.begin(most=1)
        other = await self.client()
        client.say(GET)
        await first.hear(GOT)
        other.say(GET)
        second = await self.backend()
        await second.hear(GOT)
        first.say(HELLO)
        await client.hear(HELLO)
        second.say(HELLO)
        await other.hear(HELLO)
        await second.hearEnd()
        self.assertEqual(self.waiting(), 1)

    async def test_timeout(self) -> None:
        """One that nobody needs is closed after its time."""
        _, backend = await self.begin()
        self.clock.advance(10)
        await backend.hearEnd()
        self.assertEqual(self.waiting(), 0)

    async def test_upgrade(self) -> None:
        """A WebSocket gets a connection of its own, and a refused one is of no more use."""
        client, _ = await self.begin()
        client.say(UPGRADE + b"\r\n")
        own = await self.backend()
        await own.hear(HANDSHAKE + b"\r\n")
        own.say(SWITCH + b"\r\n")
        await client.head()
        self.assertEqual(self.waiting(), 1)

    async def test_closed(self) -> None:
        """One that the backend closes while it waits is forgotten."""
        for leave in ("close", "finish", "vanish"):
            _, backend = await self.begin()
            getattr(backend, leave)()
            await self.until(lambda: not self.waiting(), "the connection to be forgotten")
            await self.until(lambda: not self._backends[0].active, "it to be closed")
            await self.again()

    async def test_unasked(self) -> None:
        """What a backend says without having been asked is nobody's answer."""
        client, backend = await self.begin()
        backend.say(answer("200 OK", b"evil"))
        await backend.gone()
        client.say(GET)
        other = await self.backend()
        await other.hear(GOT)
        other.say(HELLO)
        await client.hear(HELLO)

    async def test_personal(self) -> None:
        """A connection that somebody has logged in on serves nobody else (RFC 4559 section 6)."""
        negotiate = b"\r\nAuthorization: Negotiate YII=\r\n\r\n"
        for request, said in [
            (GET.replace(b"\r\n\r\n", negotiate), HELLO),
            (GET.replace(b"\r\n\r\n", negotiate.lower()), HELLO),
            (GET.replace(b"\r\n\r\n", negotiate.replace(b"Negotiate", b"NTLM")), HELLO),
            (GET, answer("401 Unauthorized", b"hello", b"WWW-Authenticate: Basic, Negotiate")),
        ]:
            await self.start(keepAlive=KeepAlive(2, 10.0))
            client = await self.client()
            client.say(request)
            backend = await self.backend()
            await backend.head()
            backend.say(said)
            await client.hear(said)
            await backend.hearEnd()
            self.assertEqual(self.waiting(), 0, request)
            await self.again()

    async def test_personalRequest(self) -> None:
        """Nor does a login go out on a connection that has served others."""
        client, _ = await self.begin()
        client.say(GET.replace(b"\r\n\r\n", b"\r\nAuthorization: Negotiate YII=\r\n\r\n"))
        own = await self.backend()
        await own.head()
        own.say(HELLO)
        await client.hear(HELLO)
        await own.hearEnd()
        self.assertEqual(self.waiting(), 1)

    async def test_shared(self) -> None:
        """Logins that stand in each request hinder nobody."""
        for scheme in (b"Basic eA==", b"Bearer ntlm", b"Digest username=negotiate"):
            client, backend = await self.begin()
            client.say(GET.replace(b"\r\n\r\n", b"\r\nAuthorization: " + scheme + b"\r\n\r\n"))
            await backend.head()
            backend.say(HELLO)
            await client.hear(HELLO)
            self.assertEqual(self.waiting(), 1, scheme)
            await self.again()


class NativeReuseTests(OnNativePlane, ReuseTests):
    """The same with the native engine's connections."""


class InstantTests(SynchronousTestCase):
    """A dial that comes to its end at once."""

    def test_cancel(self) -> None:
        """An errand that nobody wants any more lets go of its connection all the same."""

        class Leg:
            isLost = isAborted = False
            peer = Address("192.0.2.1", 80)

            def __getattr__(self, name: str) -> Any:
                return lambda *_: None

            def abort(self) -> None:
                self.isAborted = True

        leg: Any = Leg()
        sender = Asking()
        backend = Backend(Destination.parse("http://192.0.2.1"), Clock(), BackendTLS())
        pool: Any = Pool("pool", [backend], RoundRobin())
        pool.connect = lambda *_: succeed(Dialled(backend, leg))
        inbound = Inbound("1", "public", Address("192.0.2.2"), Address("192.0.2.3"))
        errand = Errand(pool, inbound, RouteSettings(), Outgoing("GET", b""), sender, Clock())
        errand.begin()
        self.assertEqual(sender.dials, 1)
        errand.cancel()
        self.assertTrue(leg.isAborted)


class RetryTests(ErrandTestCase):
    """A connection that the backend closes at the moment when it is used."""

    async def lose(self, request: bytes, said: bytes = b"") -> tuple[Client, Server]:
        """A second request, to which the backend says this and leaves."""
        client, backend = await self.begin()
        client.say(request)
        await backend.head()
        if said:
            backend.say(said)
            await turns()
        backend.vanish()
        return client, backend

    async def test_again(self) -> None:
        """What may be asked twice is asked once more, on a new connection."""
        for method in (b"GET", b"DELETE", b"OPTIONS"):
            request = GET.replace(b"GET", method)
            client, _ = await self.lose(request)
            other = await self.backend()
            await other.hear(GOT.replace(b"GET", method))
            other.say(HELLO)
            await client.hear(HELLO)
            await self.again()

    async def test_once(self) -> None:
        """But only once: a new connection that fails is a failure."""
        client, _ = await self.lose(GET)
        other = await self.backend()
        await other.hear(GOT)
        other.vanish()
        await client.through(PAGE("502 Bad Gateway"))
        await self.assertEnd(Party.BACKEND, Phase.ANSWER, "http://127.0.0.1", 502)

    async def test_never(self) -> None:
        """What may have been done already, or was begun to be answered, is not asked again."""
        put = POST.replace(b"POST", b"PUT")
        for request, said in [
            (GET.replace(b"GET", b"POST"), b""),
            (GET.replace(b"GET", b"PATCH"), b""),
            (put, b""),
            (GET, CUT),
            (GET, b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        ]:
            client, _ = await self.lose(request, said)
            await client.through(PAGE("502 Bad Gateway"))
            self.assertEqual(len(self.servers.all), 1, request)
            await self.again()

    async def test_sure(self) -> None:
        """What cannot be asked again only goes where somebody has just answered."""
        client, _ = await self.begin()
        self.clock.advance(1)
        client.say(GET.replace(b"GET", b"POST"))
        other = await self.backend()
        await other.head()
        other.say(HELLO)
        await client.hear(HELLO)
        self.assertEqual(self.waiting(), 2)

    async def test_backendGone(self) -> None:
        """Where nobody listens any more the client is told, and nothing waits."""
        client, backend = await self.begin()
        await self.stopBackend()
        client.say(GET)
        await backend.head()
        backend.vanish()
        await client.through(PAGE("502 Bad Gateway"))
        self.assertEqual(self.waiting(), 0)

    async def test_clientGone(self) -> None:
        """A client that leaves takes the connection along."""
        client, backend = await self.begin()
        client.say(GET)
        await backend.hear(GOT)
        client.vanish()
        await backend.gone()
        await self.until(lambda: not self._backends[0].active, "the connection to be closed")
        self.assertEqual(self.waiting(), 0)

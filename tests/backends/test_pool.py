# -*- test-case-name: tests.backends.test_pool -*-
"""
A pool: dialled until one accepts, and what is said when none does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.certificates import Authority, Issued, theAuthority
from tests.loopback import Loopback, Peer, Server
from wsrelay.backends.backend import Backend, Destination
from wsrelay.backends.balancers import RoundRobin
from wsrelay.backends.pool import Pool
from wsrelay.errors import BackendFault, BackendTimeout, NoBackend
from wsrelay.interfaces import IBalancer
from wsrelay.model import Address, Inbound
from wsrelay.tls.backends import BackendTLS

INBOUND = Inbound("1", "public", Address("10.0.0.1", 1), Address("10.0.0.2", 80))


@implementer(IBalancer)
class Choice:
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self, answer: Any) -> None:
        self.asked: list[list[Any]] = []
        self._answer = answer

    def choose(self, ready: Any, inbound: Inbound) -> Any:
        """Answer."""
        self.asked.append(list(ready))
        return self._answer(ready)


def fail(ready: Any) -> Any:
    """A balancer that is broken."""
    raise RuntimeError("no idea")


class Dialling(Loopback):
    """Pools on the loopback interface."""

    def pool(self, *urls: str, tls: BackendTLS | None = None, balancer: Any = None) -> Pool:
        """A pool of these backends."""
        tls = tls or BackendTLS()
        self.backends = [Backend(Destination.parse(url), reactor, tls) for url in urls]
        return Pool("p", self.backends, balancer or RoundRobin())

    async def fault(self, pool: Pool, timeout: float = 5) -> BackendFault:
        """What a dial of the pool fails with."""
        try:
            dialled = await pool.connect(INBOUND, timeout)
        except BackendFault as error:
            return error
        dialled.leg.abort()
        self.fail("somebody accepted")


class PoolTests(Dialling):
    """One backend after the other."""

    async def test_accepted(self) -> None:
        """The one that accepts is told with the leg to it."""
        server = Server()
        pool = self.pool(f"tcp:127.0.0.1:{await self.listen(server)}")
        dialled = await pool.connect(INBOUND, 5)
        self.assertIs(dialled.backend, self.backends[0])
        peer = await server.peers.get()
        dialled.leg.write(b"hello")
        await peer.whenGot(b"hello")
        dialled.leg.abort()
        await peer.lost

    async def test_refusedIsSkipped(self) -> None:
        """A backend that refuses is skipped, and the next one gets the first byte."""
        server = Server()
        good = f"tcp:127.0.0.1:{await self.listen(server)}"
        pool = self.pool(f"tcp:127.0.0.1:{self.refusing()}", good)
        dialled = await pool.connect(INBOUND, 5)
        self.assertEqual(dialled.backend.name, good)
        self.assertEqual([each.active for each in self.backends], [0, 1])
        dialled.leg.abort()
        await (await server.peers.get()).lost

    async def test_eachOnce(self) -> None:
        """When all refuse each was asked once, and the last one's fault is told."""
        ports = [self.refusing() for _ in range(3)]
        balancer = Choice(lambda ready: ready[-1])
        pool = self.pool(*(f"tcp:127.0.0.1:{port}" for port in ports), balancer=balancer)
        fault = await self.fault(pool)
        self.assertIs(type(fault), BackendFault)
        self.assertEqual(
            fault.detail, f"tcp:127.0.0.1:{ports[0]} cannot be reached: Connection refused"
        )
        self.assertEqual([len(ready) for ready in balancer.asked], [3, 2])
        self.assertEqual([each.active for each in self.backends], [0, 0, 0])

    async def test_none(self) -> None:
        """A pool without backends says so: 503 to the client."""
        fault = await self.fault(self.pool())
        self.assertIsInstance(fault, NoBackend)
        self.assertEqual((fault.detail, fault.status), ("pool p has no backend", 503))

    async def test_timeout(self) -> None:
        """One that accepts TCP but never shakes hands: 504 to the client."""
        url = f"wss://127.0.0.1:{await self.listen(Server())}"
        fault = await self.fault(self.pool(url), 0.2)
        self.assertIsInstance(fault, BackendTimeout)
        self.assertEqual((fault.detail, fault.status), (f"{url} did not accept in time", 504))

    async def test_unknownHost(self) -> None:
        """A name that does not exist is told as such."""
        fault = await self.fault(self.pool("ws://nobody.invalid"))
        self.assertEqual(fault.status, 502)
        self.assertIn("ws://nobody.invalid cannot be reached: DNS lookup failed", fault.detail)

    async def test_noSocket(self) -> None:
        """A UNIX socket that is not there is told as such."""
        fault = await self.fault(self.pool("unix:/nowhere/at/all"))
        self.assertEqual(
            fault.detail, "unix:/nowhere/at/all cannot be reached: No such file or directory"
        )


class TLSPoolTests(Dialling):
    """Backends with TLS: skipped unless they can be trusted, with the reason."""

    async def reason(self, issued: Issued | None, make: Any = Peer) -> str:
        """
        Why a backend is skipped that has this certificate, or none; a good one comes after
        it and gets the connection.
        """
        ca = theAuthority().write(Path(self.mktemp()))
        bad = await self.listen(Server(make), issued.options([b"http/1.1"]) if issued else None)
        good = Server()
        port = await self.listen(good, theAuthority().issue("127.0.0.1").options([b"http/1.1"]))
        urls = [f"wss://127.0.0.1:{bad}", f"wss://127.0.0.1:{port}"]
        pool = self.pool(*urls, tls=BackendTLS(ca))
        dialled = await pool.connect(INBOUND, 5)
        self.assertEqual(dialled.backend.name, urls[1])
        dialled.leg.abort()
        await (await good.peers.get()).lost
        fault = await self.fault(self.pool(urls[0], tls=BackendTLS(ca)))
        self.assertEqual(fault.status, 502)
        self.assertTrue(fault.detail.startswith(urls[0]), fault.detail)
        return fault.detail.removeprefix(urls[0] + " ")

    async def test_wrongName(self) -> None:
        """The certificate is somebody else's."""
        self.assertEqual(
            await self.reason(theAuthority().issue("other.example.org")),
            "cannot be trusted: its certificate is for other.example.org, not for 127.0.0.1",
        )

    async def test_untrusted(self) -> None:
        """Nobody who is trusted vouches for it."""
        self.assertEqual(
            await self.reason(Authority("stranger").issue("127.0.0.1")),
            "cannot be trusted: its certificate is of an authority that is not known",
        )

    async def test_expired(self) -> None:
        """Its time is over."""
        self.assertEqual(
            await self.reason(theAuthority().issue("127.0.0.1", expired=True)),
            "cannot be trusted: its certificate has expired",
        )

    async def test_noTLS(self) -> None:
        """It does not speak TLS."""

        class Plain(Peer):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(b"220 hello, this is not TLS\r\n")

        self.assertEqual(
            await self.reason(None, Plain), "failed the TLS handshake: wrong version number"
        )

    async def test_closes(self) -> None:
        """It closes instead of shaking hands."""

        class Closing(Peer):
            def dataReceived(self, data: bytes) -> None:
                self.transport.loseConnection()

        self.assertEqual(
            await self.reason(None, Closing), "failed the TLS handshake: it closed the connection"
        )

    async def test_unverified(self) -> None:
        """With verify = false the same backends are taken."""
        for issued in (Authority("x").issue("a.example"), theAuthority().issue(expired=True)):
            server = Server()
            port = await self.listen(server, issued.options([b"http/1.1"]))
            pool = self.pool(f"wss://127.0.0.1:{port}", tls=BackendTLS(verify=False))
            dialled = await pool.connect(INBOUND, 5)
            dialled.leg.abort()
            await (await server.peers.get()).lost


class BrokenBalancerTests(Dialling):
    """A balancer is a plugin, and may be wrong."""

    async def pick(self, balancer: Choice) -> None:
        """Dial, and find the first of those ready."""
        server = Server()
        port = await self.listen(server)
        pool = self.pool(f"tcp:127.0.0.1:{port}", "tcp:127.0.0.1:1", balancer=balancer)
        dialled = await pool.connect(INBOUND, 5)
        self.assertIs(dialled.backend, self.backends[0])
        dialled.leg.abort()
        await (await server.peers.get()).lost

    async def test_raises(self) -> None:
        """When it raises the first one is taken, and the log says so."""
        await self.pick(Choice(fail))
        (error,) = self.flushLoggedErrors(RuntimeError)
        self.assertEqual(str(error.value), "no idea")

    async def test_nonsense(self) -> None:
        """When it picks something else than one of those ready, likewise."""
        await self.pick(Choice(lambda ready: "the best one"))


class CancelTests(SynchronousTestCase):
    """A client that leaves while its backend is dialled."""

    def test_cancelled(self) -> None:
        """The dial ends, no other backend is tried, and nothing is left."""
        clock = MemoryReactorClock()
        backends = [
            Backend(Destination.parse(f"tcp:10.0.0.{n}:9"), clock, BackendTLS()) for n in (1, 2)
        ]
        dial: Deferred[Any] = Pool("p", backends, RoundRobin()).connect(INBOUND, 5)
        self.assertEqual(len(clock.tcpClients), 1)
        dial.cancel()
        self.failureResultOf(dial, CancelledError)
        self.assertEqual(len(clock.tcpClients), 1)
        self.assertEqual([each.active for each in backends], [0, 0])
        self.assertEqual(clock.getDelayedCalls(), [])

# -*- test-case-name: tests.test_relay -*-
"""
The service: everything listens or nothing does, and a stop has an end.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.loopback import Loopback, Peer, Server
from wsrelay.config.load import loads
from wsrelay.interfaces import IObserver, IPluginMaker
from wsrelay.observers.accesslog import AccessLog
from wsrelay.relay import RelayService, StartRefused, _where

HERE = __name__


@implementer(IObserver)
class Watcher:
    """An observer."""

    def observe(self, event: Any) -> None:
        """Nothing."""


@implementer(IPluginMaker)
class LaterMaker:
    """Makes its plugin when a test says so."""

    name = "later"
    description = "Later."
    options = None
    making: list[Deferred[Any]] = []

    def make(self, options: Any, relay: Any) -> Deferred[Any]:
        """Wait."""
        self.making.append(Deferred())
        return self.making[-1]


watcher = Watcher()
later = LaterMaker()

FINE = """
[listener.one]
endpoint = "tcp:7001:interface=127.0.0.1"
forwarder = "tcp"
pool = "p"
[listener.two]
endpoint = ["tcp:7002:interface=127.0.0.1", "unix:/run/wsrelay-test"]
forwarder = "tcp"
pool = "p"
[pool.p]
backends = "tcp:10.0.0.1:9"
"""
WATCHED = FINE + f'[plugin.w]\nuse = "{HERE}:watcher"\n'
LATER = FINE + f'[plugin.l]\nuse = "{HERE}:later"\n'


class StartingReactor(MemoryReactorClock):
    """Does not run; remembers that it was asked to stop."""

    running = False
    stops = 0
    turns = 0

    def stop(self) -> None:
        """Remember."""
        self.stops += 1

    def iterate(self, delay: float = 0) -> None:
        """One turn."""
        self.turns += 1

    def ports(self) -> list[int]:
        """Where it listens."""
        return [server[0] for server in self.tcpServers]


class StartTests(SynchronousTestCase):
    """Starting, on a reactor that never runs."""

    def setUp(self) -> None:
        """Nothing has started."""
        self.reactor = StartingReactor()
        self.complaints: list[str] = []
        self.exits: list[int] = []

    def service(self, text: str) -> RelayService:
        """The service of a file."""
        return RelayService(
            loads(text), self.reactor, (), self.complaints.append, self.exits.append
        )

    def started(self, text: str) -> tuple[RelayService, list[str]]:
        """Start it as twistd does; what was logged."""
        service = self.service(text)
        with capturedLogs() as logs:
            service.privilegedStartService()
            service.startService()
        return service, [formatEvent(entry) for entry in logs]

    def test_listens(self) -> None:
        """Everything listens, before privileges are shed, and each address is told."""
        _, logged = self.started(FINE)
        self.assertEqual(self.reactor.ports(), [7001, 7002])
        # This reactor makes up its own addresses.
        self.assertEqual(len([line for line in logged if line.startswith("listener ")]), 3)
        self.assertIn("forwarder tcp, plane ", logged[0])

    def test_withoutPrivileges(self) -> None:
        """A service that nobody asked to start early starts all the same, once."""
        service = self.service(FINE)
        service.startService()
        self.assertEqual(self.reactor.ports(), [7001, 7002])
        self.assertTrue(service.running)

    def test_observers(self) -> None:
        """The access log, what the caller gave, and the plugins that observe, each once."""
        own = Watcher()
        service = RelayService(loads(WATCHED), self.reactor, [own])
        service.startService()
        first, second, third = service.relay.observers
        self.assertIsInstance(first, AccessLog)
        self.assertEqual([second, third], [own, watcher])

    def test_noAccessLog(self) -> None:
        """Without the access log nothing observes unless it was asked to."""
        service = RelayService(loads("relay.accessLog = false\n" + FINE), self.reactor)
        self.assertEqual(service.relay.observers, ())

    def test_wrong(self) -> None:
        """What is wrong refuses the start: an exception, every problem logged and said."""
        text = FINE + '[plugin.x]\nuse = "nope"\n[plugin.y]\nuse = "noper"\n'
        service = self.service(text)
        with capturedLogs() as logs:
            refused = self.assertRaises(StartRefused, service.privilegedStartService)
        self.assertEqual(len(refused.problems), 2)
        self.assertEqual(tuple(self.complaints), refused.problems)
        critical = [formatEvent(each) for each in logs if each["log_level"].name == "critical"]
        self.assertEqual(tuple(critical), refused.problems)
        self.assertEqual((self.reactor.ports(), self.reactor.stops, self.exits), ([], 0, []))

    def test_refusal(self) -> None:
        """To twistd it is an exception with the reason, to Python an exit with status 1."""
        refused = StartRefused(["a", "b"])
        self.assertIsInstance(refused, Exception)
        self.assertIsInstance(refused, SystemExit)
        self.assertEqual((refused.code, str(refused)), (1, "a; b"))

    def test_later(self) -> None:
        """An asynchronous plugin postpones the listening until it is made."""
        self.started(LATER)
        self.assertEqual(self.reactor.ports(), [])
        later.making.pop().callback(Watcher())
        self.assertEqual(self.reactor.ports(), [7001, 7002])

    def test_laterFails(self) -> None:
        """If it fails nothing listens, the reactor is stopped and the process exits with 1."""
        self.started(LATER)
        self.reactor.running = True
        later.making.pop().errback(RuntimeError("no idea"))
        self.assertEqual(self.reactor.ports(), [])
        self.assertEqual(
            self.complaints,
            [f"plugin.l: {HERE}:later could not be made: RuntimeError: no idea"],
        )
        self.assertEqual((self.reactor.stops, self.exits), (1, []))
        (call, arguments, _) = self.reactor.triggers["after"]["shutdown"][0]
        call(*arguments)
        self.assertEqual(self.exits, [1])

    def test_stoppedBefore(self) -> None:
        """Stopping while a plugin is still being made is no failure."""
        service, _ = self.started(LATER)
        later.making.pop()
        self.successResultOf(service.stopService())
        self.assertEqual((self.complaints, self.reactor.stops, self.exits), ([], 0, []))
        self.assertEqual(self.reactor.ports(), [])

    def test_neverStarted(self) -> None:
        """What never started can be stopped."""
        self.successResultOf(self.service(FINE).stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_addresses(self) -> None:
        """Addresses are told as people write them."""
        for address, text in [
            (IPv4Address("TCP", "127.0.0.1", 80), "tcp 127.0.0.1:80"),
            (IPv6Address("TCP", "::1", 80), "tcp [::1]:80"),
            (UNIXAddress("/run/x"), "unix /run/x"),
        ]:
            self.assertEqual(_where(address), text)


class PortTests(Loopback):
    """Listening, really."""

    async def test_taken(self) -> None:
        """When one address is in use none is left open, and no socket file is left behind."""
        port = await self.listen(Server())
        free = self.refusing()
        path = f"/tmp/wsrelay-test-{os.getpid()}.sock"
        service = RelayService(
            loads(
                FINE.replace("7001", str(free))
                .replace("7002", str(port))
                .replace('["tcp', f'["unix:{path}", "tcp')
            ),
            reactor,
        )
        refused = self.assertRaises(StartRefused, service.startService)
        self.assertEqual(
            refused.problems,
            (f"listener two: cannot listen on 127.0.0.1:{port}: Address already in use",),
        )
        await self.turns()
        self.assertFalse(os.path.exists(path))
        error = await self.assertFailure(Deferred.fromCoroutine(self.dial(free)), Exception)
        self.assertIn("refused", str(error))


class StopTests(Loopback):
    """Stopping, with something open."""

    async def started(self, backend: Callable[[], Any] = Peer) -> tuple[RelayService, Peer, Peer]:
        """A relay with one tunnel through it."""
        server = Server(backend)
        service = RelayService(
            loads(
                '[listener.a]\nendpoint = "tcp:0:interface=127.0.0.1"\nforwarder = "tcp"\n'
                f'pool = "p"\n[pool.p]\nbackends = "tcp:127.0.0.1:{await self.listen(server)}"\n'
            ),
            reactor,
        )
        service.startService()
        assert service.built is not None
        self.port = service.built.listeners[0].ports[0].getHost().port  # type: ignore[attr-defined]
        client = await self.dial(self.port)
        peer: Peer = await server.peers.get()
        self.addCleanup(self.hangUp, peer)
        return service, client, peer

    async def test_ends(self) -> None:
        """It is over as soon as the last one has ended; nobody new is let in meanwhile."""
        service, client, backend = await self.started()
        stopping = service.stopService()
        await client.finished
        await backend.finished
        self.assertNoResult(stopping)
        await self.assertFailure(Deferred.fromCoroutine(self.dial(self.port)), Exception)
        client.transport.loseConnection()
        backend.transport.loseConnection()
        await stopping
        self.assertEqual(service.relay.openCount, 0)

    async def test_hurry(self) -> None:
        """What does not end is cut when somebody loses patience."""
        service, client, _backend = await self.started()
        stopping = service.stopService()
        await client.finished
        self.assertNoResult(stopping)
        service.hurry()
        await stopping
        await self.turns()
        self.assertEqual(service.relay.openCount, 0)

    async def test_hurriedBefore(self) -> None:
        """Patience may be lost before there was anything to wait for."""
        service, client, _ = await self.started()
        service.hurry()
        await service.stopService()
        await client.over

    async def test_bound(self) -> None:
        """It loses patience by itself."""
        self.patch(__import__("wsrelay.relay").relay, "_STOP_TIMEOUT", 0.1)
        service, client, backend = await self.started()
        await service.stopService()
        await client.over
        await backend.over
        await self.turns()
        self.assertEqual(service.relay.openCount, 0)

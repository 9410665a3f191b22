# -*- test-case-name: tests.l4.test_tunnel -*-
"""
A tunnel: decided, dialled, joined, and ended like the connections it is made of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectionDone
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.l4.road import Attached, Road
from tests.loopback import Peer, Server
from wsrelay.interfaces import IMessageFilter, IRequestFilter, ITunnel
from wsrelay.model import (
    Close,
    Closed,
    Connected,
    Decided,
    Direction,
    Drop,
    Established,
    Forward,
    Interest,
    Opened,
    Party,
    Phase,
    Refuse,
    Respond,
    Retire,
    RouteSettings,
)

UP, DOWN = Direction.TO_BACKEND, Direction.TO_CLIENT


def reasonOf(closed: Closed) -> tuple[Party, Phase, str]:
    """Why it ended."""
    return closed.reason.party, closed.reason.phase, closed.reason.detail


class RelayTests(Road):
    """Bytes, both ways."""

    async def test_bytes(self) -> None:
        """What one side sends the other gets, and observers hear of the whole life."""
        await self.road()
        client, backend = await self.joined()
        client.send(b"ping")
        await backend.whenGot(b"ping")
        backend.send(b"pong!")
        await client.whenGot(b"pong!")
        client.transport.loseConnection()
        await backend.finished
        backend.transport.loseConnection()
        closed = await self.recorder.ended()
        await client.lost
        self.assertEqual(
            self.recorder.kinds, ["Opened", "Decided", "Connected", "Established", "Closed"]
        )
        opened, decided, connected, established, _ = self.recorder.heard
        assert isinstance(opened, Opened)
        assert isinstance(decided, Decided)
        assert isinstance(connected, Connected)
        assert isinstance(established, Established)
        self.assertEqual(opened.inbound.local.port, self.port)
        self.assertEqual(opened.inbound.client.port, client.own)
        self.assertEqual(decided.decision, Forward("p", route="r"))
        self.assertEqual(connected.peer.port, backend.own)
        self.assertEqual(established.levels, {UP: Interest.BYTES, DOWN: Interest.BYTES})
        self.assertEqual(
            (closed.route, closed.pool, closed.backend),
            ("r", "p", f"tcp:127.0.0.1:{backend.own}"),
        )
        self.assertEqual(
            {way: each.bytes for way, each in closed.counts.items()}, {UP: 4, DOWN: 5}
        )
        self.assertEqual(reasonOf(closed), (Party.CLIENT, Phase.RELAY, "closed its connection"))

    async def test_halfClose(self) -> None:
        """A client that has said all it has to say still gets its answer."""
        await self.road()
        client, backend = await self.joined()
        client.send(b"question")
        client.transport.loseWriteConnection()
        await backend.finished
        self.assertEqual(backend.data, b"question")
        backend.send(b"answer")
        backend.transport.loseConnection()
        await client.over
        self.assertEqual(client.data, b"answer")
        client.transport.loseConnection()
        await gatherResults([client.lost, backend.lost, self.recorder.ended()])

    async def test_halfCloseFromBackend(self) -> None:
        """So does a backend that has said all it has to say."""
        await self.road()
        client, backend = await self.joined()
        backend.send(b"220 hello")
        backend.transport.loseWriteConnection()
        await client.over
        client.send(b"and more")
        client.transport.loseConnection()
        await backend.finished
        self.assertEqual((client.data, backend.data), (b"220 hello", b"and more"))
        backend.transport.loseConnection()
        closed = await self.recorder.ended()
        self.assertIs(closed.reason.party, Party.BACKEND)

    async def test_earlyBytes(self) -> None:
        """What the client sends before a backend was found comes first, in order, once."""
        answer: Deferred[Forward] = Deferred()
        await self.road(answer)
        client = await self.dial(self.port)
        client.send(b"early ")
        await self.turns()
        answer.callback(Forward("p"))
        backend = await self.server.peers.get()
        client.send(b"late")
        await backend.whenGot(b"early late")

    async def test_broken(self) -> None:
        """A connection that breaks breaks the other too: nobody takes it for an end."""
        await self.road()
        client, backend = await self.joined()
        client.send(b"half a")
        await backend.whenGot(b"half a")
        client.transport.abortConnection()
        await backend.lost
        self.assertFalse(backend.reason.check(ConnectionDone))
        closed = await self.recorder.ended()
        self.assertEqual(reasonOf(closed), (Party.CLIENT, Phase.RELAY, "its connection broke"))

    async def test_brokenBackend(self) -> None:
        """Likewise the other way round."""
        await self.road()
        client, backend = await self.joined()
        backend.transport.abortConnection()
        await client.lost
        self.assertFalse(client.reason.check(ConnectionDone))
        closed = await self.recorder.ended()
        self.assertEqual(reasonOf(closed), (Party.BACKEND, Phase.RELAY, "its connection broke"))

    async def test_idle(self) -> None:
        """A tunnel on which nothing moves for long is closed, and the log says why."""
        settings = RouteSettings(idleTimeout=0.1, closeTimeout=0.5)
        await self.road(Forward("p", settings=settings))
        client, backend = await self.joined()
        await client.over
        await backend.finished
        closed = await self.recorder.ended()
        self.assertEqual(reasonOf(closed), (Party.RELAY, Phase.RELAY, "idle for 0 s"))


class DecisionTests(Road):
    """What a policy may say about a tunnel."""

    async def ended(self, answer: Any, **road: Any) -> Closed:
        """The end of a client for whom no backend was dialled."""
        await self.road(answer, **road)
        client = await self.dial(self.port)
        closed = await self.recorder.ended()
        await client.over
        self.assertEqual(self.server.count, 0)
        self.assertEqual(self.hub.openCount, 0)
        return closed

    async def test_noRoute(self) -> None:
        """Nobody wants it: closed, and told."""
        closed = await self.ended(None)
        self.assertEqual(reasonOf(closed), (Party.RELAY, Phase.DECIDE, "no route"))

    async def test_refused(self) -> None:
        """A policy refuses it: closed, with its reason in the log."""
        closed = await self.ended(Refuse("not from there"))
        self.assertEqual(reasonOf(closed), (Party.RELAY, Phase.DECIDE, "not from there"))

    async def test_later(self) -> None:
        """A coroutine may decide."""

        async def route(inbound: Any) -> Refuse:
            return Refuse("later")

        closed = await self.ended(route)
        self.assertEqual(closed.reason.detail, "later")

    async def test_otherLayer(self) -> None:
        """An HTTP answer means nothing here."""
        closed = await self.ended(Respond(200))
        self.assertEqual(
            reasonOf(closed),
            (Party.PLUGIN, Phase.DECIDE, "route: Respond means nothing at layer 4"),
        )

    async def test_raises(self) -> None:
        """A policy that raises has the client closed, and is named."""

        def route(inbound: Any) -> Any:
            raise RuntimeError("no idea")

        closed = await self.ended(route)
        self.assertEqual(
            reasonOf(closed), (Party.PLUGIN, Phase.DECIDE, "policy1: RuntimeError: no idea")
        )

    async def test_raisesLater(self) -> None:
        """So has one that raises later."""

        async def route(inbound: Any) -> Any:
            raise RuntimeError("no idea")

        closed = await self.ended(route)
        self.assertEqual(closed.reason.detail, "policy1: RuntimeError: no idea")

    async def test_raisesForOne(self) -> None:
        """No other client is harmed by a policy that raises for one."""
        first: list[str] = []

        def route(inbound: Any) -> Any:
            if not first:
                first.append(inbound.id)
                return Forward("p")
            if len(first) == 1:
                first.append(inbound.id)
                raise RuntimeError("no idea")
            return Forward("p")

        await self.road(route)
        good, itsBackend = await self.joined()
        bad = await self.dial(self.port)
        await bad.lost
        good.send(b"still here")
        await itsBackend.whenGot(b"still here")
        third, anotherBackend = await self.joined()
        third.send(b"me too")
        await anotherBackend.whenGot(b"me too")

    async def test_noSuchPool(self) -> None:
        """A policy that names a pool that is not there has the client closed."""
        closed = await self.ended(Forward("q", route="r"))
        self.assertEqual(closed.reason.detail, "r: no pool is named 'q'")

    async def test_blindFilters(self) -> None:
        """
        A filter that can see requests or messages only would be passed by: nothing is
        relayed, since it may be there to keep somebody out.
        """

        @implementer(IRequestFilter)
        class Door:
            pass

        @implementer(IMessageFilter)
        class Reader:
            def interest(self, route: Any, direction: Any) -> Interest:
                return Interest.FRAMES

        plugins = {"door": Door(), "reader": Reader(), "fine": Attached(lambda *_: None)}
        filters = ("door", "fine", "reader")
        closed = await self.ended(Forward("p", filters), plugins=plugins)
        self.assertEqual(
            closed.reason.detail,
            "door+reader: is no stream filter, and sees nothing at layer 4",
        )


class DialTests(Road):
    """The backends."""

    async def test_skipped(self) -> None:
        """A backend that refuses is skipped before any byte is lost."""
        server = Server()
        ports = [self.refusing(), await self.listen(server)]
        await self.road(Forward("p"), {"p": ports})
        client = await self.dial(self.port)
        client.send(b"not lost")
        backend = await server.peers.get()
        await backend.whenGot(b"not lost")

    async def test_allRefuse(self) -> None:
        """When all refuse the client is closed, with the reason in the log."""
        port = self.refusing()
        await self.road(Forward("p"), {"p": [port]})
        client = await self.dial(self.port)
        closed = await self.recorder.ended()
        await client.over
        detail = f"tcp:127.0.0.1:{port} cannot be reached: Connection refused"
        self.assertEqual(reasonOf(closed), (Party.BACKEND, Phase.DIAL, detail))
        self.assertEqual(closed.backend, "")

    async def test_noBackend(self) -> None:
        """A pool without backends likewise."""
        await self.road(Forward("p"), {"p": []})
        client = await self.dial(self.port)
        closed = await self.recorder.ended()
        await client.over
        self.assertEqual(closed.reason.detail, "pool p has no backend")

    async def test_clientLeft(self) -> None:
        """A backend that accepts when the client is gone is not kept."""
        answer: Deferred[Forward] = Deferred()
        await self.road(answer, tls=None)
        client = await self.dial(self.port)
        await self.hangUp(client)
        answer.callback(Forward("p"))
        backend = await self.server.peers.get()
        await backend.over
        await self.recorder.ended()
        self.assertEqual(self.hub.openCount, 0)


class FilterTests(Road):
    """Stream filters."""

    async def filtered(self, attach: Callable[[Any, Any], Any]) -> tuple[Peer, Peer]:
        """A client and a backend with this filter between."""
        forward = Forward("p", ("f",), "r", RouteSettings(closeTimeout=0.5))
        await self.road(forward, plugins={"f": Attached(attach)})
        return await self.joined()

    async def test_interface(self) -> None:
        """A filter is given what L{ITunnel} promises, before and while bytes move."""
        tunnels: list[Any] = []

        def attach(tunnel: Any, direction: Direction) -> None:
            if direction is UP:
                self.assertTrue(verifyObject(ITunnel, tunnel))
                self.assertEqual(tunnel.counts()[UP].bytes, 0)
                tunnels.append(tunnel)

        client, backend = await self.filtered(attach)
        client.send(b"12345")
        await backend.whenGot(b"12345")
        (tunnel,) = tunnels
        self.assertEqual(tunnel.counts()[UP].bytes, 5)
        self.assertEqual(tunnel.backend, f"tcp:127.0.0.1:{backend.own}")
        self.assertEqual(tunnel.route.route, "r")
        told: Deferred[Any] = Deferred()
        tunnel.whenClosed(told.callback)
        tunnel.close()
        await client.over
        client.transport.loseConnection()
        backend.transport.loseConnection()
        self.assertEqual((await told).detail, "closed")

    async def test_verdicts(self) -> None:
        """A hook changes, drops, passes and retires; one direction does not disturb the other."""

        def hook(chunk: bytes) -> Any:
            return {b"a": None, b"b": b"B", b"c": Drop(), b"d": Retire(b"D")}.get(chunk, b"?")

        client, backend = await self.filtered(
            lambda tunnel, direction: hook if direction is UP else None
        )
        sofar = b""
        for sent, got in [(b"a", b"a"), (b"b", b"B"), (b"d", b"D"), (b"e", b"e"), (b"a", b"a")]:
            client.send(sent)
            sofar += got
            await backend.whenGot(sofar)
        backend.send(b"a")
        await client.whenGot(b"a")

    async def test_close(self) -> None:
        """A hook that says Close ends the tunnel; the log says that it was the plugin."""
        client, _ = await self.filtered(lambda *_: lambda chunk: Close(4000, "enough"))
        client.send(b"x")
        await client.over
        client.transport.loseConnection()
        closed = await self.recorder.ended()
        self.assertEqual(reasonOf(closed), (Party.PLUGIN, Phase.RELAY, "closed: 4000 enough"))

    async def test_hookFails(self) -> None:
        """A hook that raises ends its tunnel, and is named."""

        def hook(chunk: bytes) -> Any:
            raise RuntimeError("no idea")

        client, _ = await self.filtered(lambda *_: hook)
        client.send(b"x")
        closed = await self.recorder.ended()
        self.assertEqual(reasonOf(closed), (Party.PLUGIN, Phase.RELAY, "f: RuntimeError: no idea"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    async def test_attachFails(self) -> None:
        """A filter that cannot be attached: nothing is relayed, and both sides are closed."""

        def attach(tunnel: Any, direction: Direction) -> Any:
            raise RuntimeError("no idea")

        client, backend = await self.filtered(attach)
        await gatherResults([client.lost, backend.lost])
        closed = await self.recorder.ended()
        self.assertEqual(
            reasonOf(closed), (Party.PLUGIN, Phase.ANSWER, "f: attach: RuntimeError: no idea")
        )

    async def test_closeInAttach(self) -> None:
        """A filter may close the tunnel as soon as it is attached."""

        def attach(tunnel: Any, direction: Direction) -> None:
            tunnel.close()

        client, backend = await self.filtered(attach)
        client.send(b"nobody reads this")
        closed = await self.recorder.ended()
        self.assertEqual(closed.reason.detail, "closed")
        self.assertEqual(backend.data, b"")

    async def test_planeFails(self) -> None:
        """If the two cannot be joined for a reason of our own, neither is left open."""
        await self.road()

        class Broken:
            def link(self, *args: Any) -> Any:
                raise RuntimeError("no plane")

        self.listener.plane = Broken()  # type: ignore[assignment]
        client, backend = await self.joined()
        closed = await self.recorder.ended()
        self.assertIn("internal error", closed.reason.detail)
        await gatherResults([backend.over, client.over])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.hub.openCount, 0)


class StopTests(Road):
    """The relay stops."""

    async def test_open(self) -> None:
        """An open tunnel is closed after what was forwarded."""
        await self.road()
        client, backend = await self.joined()
        client.send(b"x")
        await backend.whenGot(b"x")
        self.assertEqual(self.hub.openCount, 1)
        self.hub.leaveAll()
        await gatherResults([client.finished, backend.finished])
        client.transport.loseConnection()
        backend.transport.loseConnection()
        closed = await self.recorder.ended()
        self.assertEqual(reasonOf(closed), (Party.RELAY, Phase.RELAY, "the relay stops"))
        self.assertEqual(self.hub.openCount, 0)

    async def test_cut(self) -> None:
        """One whose peers do not take the hint is cut."""
        await self.road()
        client, backend = await self.joined()
        client.transport.pauseProducing()
        backend.send(b"x" * 8_000_000)
        await self.turns()
        self.hub.cutAll()
        await backend.lost
        await self.recorder.ended()
        client.transport.resumeProducing()
        await client.lost

    async def test_undecided(self) -> None:
        """A client for whom nothing was decided yet is closed; what is decided later is moot."""
        answer: Deferred[Forward] = Deferred()
        await self.road(answer)
        client = await self.dial(self.port)
        while not self.recorder.heard:
            await self.turns()
        self.hub.leaveAll()
        closed = await self.recorder.ended()
        self.assertEqual(reasonOf(closed), (Party.RELAY, Phase.DECIDE, "the relay stops"))
        await client.lost
        answer.callback(Forward("p"))
        self.assertEqual(self.server.count, 0)
        self.assertEqual(self.recorder.kinds, ["Opened", "Closed"])

# -*- test-case-name: tests.l7.test_hostile -*-
"""
Hostile clients and backends, as raw bytes on real connections: what they write is refused, or
reaches the other side in one form, and nothing that hides behind it is ever read.

The attacks are rows of L{tests.l7.attacks}, L{tests.l7.rewrites} and L{tests.l7.misanswers}.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from zope.interface import implementer

from tests.l7.attacks import BAD_BODIES, REFUSED, SMUGGLED
from tests.l7.harness import (
    HANDSHAKE,
    PAGE,
    SWITCH,
    UPGRADE,
    RelayTestCase,
    answer,
    settled,
    turns,
)
from tests.l7.misanswers import BAD, CUT, NO_TUNNEL, NO_WEBSOCKET, POISON, REWRITTEN
from tests.l7.peers import Client, Server
from tests.l7.rewrites import CLOAKED, PASSED, PATHS, Passed, reached
from wsrelay.interfaces import IRequestFilter
from wsrelay.model import Forward, Refuse, RouteSettings
from wsrelay.routing import Rule, Table
from wsrelay.routing.matchers import PathPrefixMatcher

NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
GONE_ON = reached(b"GET /next HTTP/1.1")
OK = answer("200 OK", b"ok", b"Connection: close")
HEARD = answer("200 OK", b"ok")

# Whether a connection to a backend is kept is nobody's business here.
_CONNECTION = re.compile(rb"\r\nConnection: (?:close|keep-alive)(?=\r\n)")


def plain(heard: bytes) -> bytes:
    """What a backend heard, without what is about the connection."""
    return _CONNECTION.sub(b"", heard)


class HostileTestCase(RelayTestCase):
    """Rows of a table, each on a connection of its own, to one relay."""

    timeout = 120

    def setUp(self) -> None:
        """No row has failed yet."""
        super().setUp()
        self._failed: list[str] = []

    @asynccontextmanager
    async def row(self, name: str) -> AsyncIterator[Client]:
        """One row: whatever is wrong with it, the others are looked at, too."""
        client = await self.client()
        before = len(self.servers.all)
        try:
            yield client
        except Exception as error:
            self._failed.append(f"{name}: {type(error).__name__} {error}")
        self.servers.came.clear()
        for peer in [client, *self.servers.all[before:]]:
            if not peer.isLost:
                peer.vanish()

    def assertRows(self, rows: Any) -> None:
        """All of them were as they should be."""
        self.assertTrue(rows)
        failed = "\n\n".join(self._failed)
        self.assertFalse(failed, f"{len(self._failed)} of {len(rows)}:\n{failed}")

    async def got(self, wanted: bytes) -> Server:
        """The next request that reaches the backend is exactly this one."""
        server = await self.backend()
        await server.when(lambda: len(plain(server.heard)) >= len(wanted) or server.isEnded)
        self.assertEqual(plain(server.heard), wanted)
        return server

    async def refused(self, client: Client, status: int, isHead: bool = False) -> None:
        """The relay answers with one page of this status, and that is the end."""
        await client.gone()
        heard = bytes(client.heard)
        head, _, body = heard.partition(b"\r\n\r\n")
        line, *fields = head.split(b"\r\n")
        self.assertTrue(line.startswith(b"HTTP/1.1 %d " % status), heard)
        page = line.removeprefix(b"HTTP/1.1 ") + b"\n"
        self.assertIn(b"Content-Length: %d" % len(page), fields)
        self.assertEqual(body, b"" if isHead else page)
        options = [field for field in fields if field.startswith(b"Connection: close")]
        self.assertEqual(len(options), 1, heard)
        self.assertFalse(client.isBroken)


class ClientTests(HostileTestCase):
    """A hostile client."""

    async def test_refused(self) -> None:
        """An attack is answered, the connection ends, and nothing reaches a backend."""
        await self.start()
        for attack in REFUSED:
            async with self.row(attack.name) as client:
                client.say(attack.said + SMUGGLED)
                await self.refused(client, attack.status, attack.said.startswith(b"HEAD"))
                self.assertEqual(self.servers.came, [])
        self.assertRows(REFUSED)

    async def test_refusedInPieces(self) -> None:
        """The same, when it comes byte by byte."""
        await self.start()
        short = [attack for attack in REFUSED if len(attack.said) < 120][::4]
        for attack in short:
            async with self.row(attack.name) as client:
                for byte in attack.said + SMUGGLED:
                    client.say(bytes([byte]))
                    await turns(1)
                await self.refused(client, attack.status)
                self.assertEqual(self.servers.came, [])
        self.assertRows(short)

    async def test_badBodies(self) -> None:
        """A body that is none is answered 400; no backend takes what it got for a request."""
        await self.start()
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        beginning = reached(b"POST / HTTP/1.1", behind=b"Transfer-Encoding: chunked\r\n\r\n")
        for name, body in BAD_BODIES.items():
            async with self.row(name) as client:
                client.say(head + body + SMUGGLED)
                await self.refused(client, 400)
                for server in self.servers.came:
                    await server.gone()
                    whole = beginning + b"5\r\nhello\r\n"
                    self.assertTrue(whole.startswith(plain(server.heard)), server.heard)
        self.assertRows(BAD_BODIES)

    async def passes(self, row: Passed) -> None:
        """One row: every request of it is answered, and then the next one."""
        async with self.row(row.name) as client:
            client.say(row.said)
            for each in row.reached:
                await self.passed(client, each)
            if b"HTTP/1.0" not in row.said:
                client.say(NEXT)
                await self.passed(client, GONE_ON)

    async def passed(self, client: Client, wanted: bytes) -> None:
        """This request reaches the backend, and its answer the client."""
        server = await self.got(wanted)
        server.say(OK)
        server.close()
        if client.heard:
            self.fail(f"an answer nobody gave: {client.heard!r}")
        await client.when(lambda: client.heard.endswith(b"\r\n\r\nok") or client.isEnded)
        self.assertEqual(plain(client.heard), HEARD)
        client.heard.clear()

    async def test_passed(self) -> None:
        """What is harmless reaches the backend in one form, and both sides stay in step."""
        await self.start()
        for row in PASSED:
            await self.passes(row)
        self.assertRows(PASSED)

    async def test_addedFieldsStay(self) -> None:
        """Whatever a client names in Connection, what a filter adds reaches the backend."""

        @implementer(IRequestFilter)
        class Vouch:
            def requestReceived(self, exchange: Any) -> None:
                exchange.outbound.headers.set("X-User", "alice")

            def responseReceived(self, exchange: Any) -> None:
                pass

        await self.start(filters={"vouch": Vouch()})
        for name in (b"X-User", b"x-user, close", b"X-Forwarded-For, X-User", b"X_User"):
            async with self.row(name.decode()) as client:
                fields = b"Connection: " + name + b"\r\nX-User: mallory\r\n"
                client.say(b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n")
                await self.got(reached(behind=b"X-User: alice\r\n\r\n"))
        self.assertRows([1])

    async def test_paths(self) -> None:
        """A guarded path is guarded in every spelling, and no spelling is decoded twice."""
        guard = Rule([PathPrefixMatcher(["/admin"])], Refuse("guarded"))
        table = Table([guard, Rule([], Forward("pool", (), "route", RouteSettings()))])
        await self.start(table.route)
        for path in PATHS:
            async with self.row(path.decode("latin-1")) as client:
                client.say(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
                await client.head()
                self.assertEqual(self.servers.came, [])
        for path in CLOAKED:
            async with self.row(path.decode("latin-1")) as client:
                client.say(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
                await self.got(reached(b"GET " + path + b" HTTP/1.1"))
        self.assertRows([*PATHS, *CLOAKED])

    async def test_lyingLength(self) -> None:
        """A client that promised more than it sends gets no second request out of it."""
        await self.start()
        client = await self.client()
        said = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + SMUGGLED
        client.say(said)
        wanted = reached(b"POST / HTTP/1.1", behind=b"Content-Length: 1000\r\n\r\n" + SMUGGLED)
        server = await self.got(wanted)
        client.finish()
        await server.gone()
        self.assertEqual(plain(server.heard), wanted)
        self.assertEqual(self.servers.came, [])

    async def test_earlyAnswer(self) -> None:
        """An answer before the body was read ends the connection: the rest is no request."""
        await self.start()
        client = await self.client()
        client.say(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhello")
        server = await self.got(
            reached(b"POST / HTTP/1.1", behind=b"Content-Length: 1000\r\n\r\nhello")
        )
        server.say(OK)
        await client.when(lambda: client.isEnded)
        self.assertEqual(plain(client.heard), HEARD)
        client.say(SMUGGLED)
        await settled(client)
        self.assertEqual(self.servers.came, [])
        self.assertNotIn(b"smuggled", server.heard)


class BackendTests(HostileTestCase):
    """A hostile backend."""

    async def ask(self, client: Client, method: bytes = b"GET") -> Server:
        """A request has reached the backend."""
        client.say(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
        return await self.got(reached(method + b" / HTTP/1.1"))

    async def goesOn(self, client: Client) -> None:
        """The next request gets an answer of its own, from another connection."""
        client.say(NEXT)
        server = await self.got(GONE_ON)
        server.say(OK)
        await client.when(lambda: client.heard.endswith(b"\r\n\r\nok") or client.isEnded)
        self.assertEqual(bytes(client.heard), HEARD)

    async def refuse(self, rows: dict[str, bytes]) -> None:
        """All of these are answered 502, and nothing else of them arrives."""
        await self.start()
        for name, said in rows.items():
            async with self.row(name) as client:
                server = await self.ask(client)
                server.say(said)
                await client.when(lambda: b"502 Bad Gateway\n" in client.heard or client.isEnded)
                heard = bytes(client.heard).replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
                self.assertEqual(heard, PAGE("502 Bad Gateway"))
                client.heard.clear()
                await server.gone()
                await self.goesOn(client)
        self.assertRows(rows)

    async def test_bad(self) -> None:
        """An answer that is none is 502, and nothing else of it arrives."""
        await self.refuse(BAD)

    async def test_rewritten(self) -> None:
        """An answer is framed anew; what hides behind it answers nothing."""
        await self.start()
        for row in REWRITTEN:
            async with self.row(row.name) as client:
                server = await self.ask(client, row.method)
                server.say(row.said)
                server.close()
                await client.hear(row.heard)
                await self.goesOn(client)
        self.assertRows(REWRITTEN)

    async def test_poison(self) -> None:
        """Whatever stands behind an answer, the backend's connection is not used again."""
        await self.start()
        rows = [row for row in REWRITTEN if POISON in row.said]
        for row in rows:
            async with self.row(row.name) as client:
                server = await self.ask(client, row.method)
                server.say(row.said)
                await client.hear(row.heard)
                await self.goesOn(client)
                self.assertNotIn(b"/next", server.heard)
        self.assertRows(rows)

    async def test_cut(self) -> None:
        """An answer that breaks off breaks the client's connection: it is never completed."""
        await self.start()
        for name, said in CUT.items():
            async with self.row(name) as client:
                server = await self.ask(client)
                server.say(said)
                server.close()
                await client.when(lambda: client.isLost)
                self.assertTrue(client.isBroken)
                self.assertFalse(client.heard.endswith(b"\r\n0\r\n\r\n"))
        self.assertRows(CUT)


class UpgradeTests(HostileTestCase):
    """Handshakes that hide a request, and backends that open no WebSocket."""

    async def offer(self, client: Client) -> Server:
        """A handshake with a request behind it has reached the backend, alone."""
        client.say(UPGRADE + b"\r\n" + SMUGGLED)
        server = await self.backend()
        await server.hear(HANDSHAKE + b"\r\n")
        return server

    async def test_noWebSocket(self) -> None:
        """A 101 that is not true is 502, and the backend hears nothing more."""
        await self.start()
        for name, said in NO_WEBSOCKET.items():
            async with self.row(name) as client:
                server = await self.offer(client)
                server.say(said + b"\x81\x05hello")
                await client.gone()
                client.heard[:] = client.heard.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
                await self.refused(client, 502)
                self.assertEqual(await server.gone(), b"")
                self.assertEqual(self.servers.came, [])
        self.assertRows(NO_WEBSOCKET)

    async def test_noTunnel(self) -> None:
        """Any other status is an answer: neither side's further bytes reach the other."""
        await self.start()
        for status, fields in NO_TUNNEL.items():
            async with self.row(status.decode()) as client:
                server = await self.offer(client)
                said = b"HTTP/1.1 " + status + b"\r\n" + fields + b"Content-Length: 5\r\n\r\nhello"
                server.say(said + b"\x81\x05tunnel")
                await client.when(lambda: client.isEnded)
                client.say(SMUGGLED)
                await turns()
                head, _, body = bytes(client.heard).partition(b"\r\n\r\n")
                self.assertTrue(head.startswith(b"HTTP/1.1 " + status + b"\r\n"), head)
                self.assertEqual(body, b"hello")
                self.assertEqual(b"\r\nUpgrade:" in head, status[:3] == b"426")
                self.assertIn(b"\r\nConnection: close", head)
                self.assertEqual(bytes(server.heard), b"")
                self.assertEqual(self.servers.came, [])
        self.assertRows(NO_TUNNEL)

    async def test_secondHandshake(self) -> None:
        """What stands behind a handshake are frames of its WebSocket, once that is open."""
        await self.start()
        client = await self.client()
        client.say(UPGRADE + b"\r\n" + UPGRADE + b"\r\n")
        server = await self.backend()
        await server.hear(HANDSHAKE + b"\r\n")
        await turns()
        self.assertEqual(bytes(server.heard), b"")
        server.say(SWITCH + b"\r\n")
        await client.hear(SWITCH + b"\r\n")
        await server.hearClose(1001)
        server.sayClose(1001)
        await client.hearClose(1002)
        self.assertEqual(await server.gone(), b"")
        self.assertEqual(self.servers.came, [])

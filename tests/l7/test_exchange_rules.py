# -*- test-case-name: tests.l7.test_exchange_rules -*-
"""
Rules of a route, and trust in proxies, on real connections: bytes in, bytes out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zope.interface import implementer

from tests.l7.harness import (
    ACCEPT,
    FORWARDED,
    HANDSHAKE,
    PAGE,
    SWITCH,
    UPGRADE,
    RelayTestCase,
    answer,
)
from wsrelay.interfaces import IRequestFilter
from wsrelay.l4.listener import ListenerSettings
from wsrelay.l7.forwarded import Trust
from wsrelay.l7.pages import Pages
from wsrelay.model import Forward, Party, Phase, Respond
from wsrelay.routing.rewrite import PathRule
from wsrelay.rules import FieldRules, Rules

#: What is asked, the route's rules, and what reaches the backend up to C{Connection}.
REQUESTS: list[tuple[bytes, Rules, bytes]] = [
    (
        b"GET /x HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-Debug-B: 2\r\nConnection: X-User\r\n\r\n",
        Rules(request=FieldRules((("X-User", "{client}"),), (("X-A", "3"),), ("X-Debug-*",))),
        b"GET /x HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n"
        + FORWARDED
        + b"X-User: 127.0.0.1\r\nX-A: 3\r\n",
    ),
    (
        b"GET /api/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
        Rules(target=PathRule("/api", None, "/v2")),
        b"GET /v2/x?y HTTP/1.1\r\nHost: a\r\n" + FORWARDED,
    ),
    (
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        Rules(host="app.internal"),
        b"GET / HTTP/1.1\r\nHost: app.internal\r\n" + FORWARDED,
    ),
    (
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        Rules(host="backend"),
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" + FORWARDED,
    ),
]

#: Paths that are refused with 400, and nothing is dialled.
REFUSED = (b"/api/../../x", b"/api%2f..", b"/api/..;/x", b"/api/%00", b"/api/..%2fx")

#: What the client has said; who it is then, and what the backend hears.
CHAINS: list[tuple[bytes, str, bytes]] = [
    (b"", "127.0.0.1", FORWARDED),
    (
        b"X-Forwarded-For: 1.1.1.1, 192.0.2.7\r\nX-Forwarded-Proto: https\r\n",
        "192.0.2.7",
        b"X-Forwarded-For: 192.0.2.7, 127.0.0.1\r\nX-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Host: a\r\n",
    ),
    (b"X-Forwarded-For: unknown\r\nX-Forwarded-Proto: https\r\n", "127.0.0.1", FORWARDED),
    (b"X_Forwarded_For: 192.0.2.7\r\nForwarded: for=192.0.2.7\r\n", "127.0.0.1", FORWARDED),
]


@implementer(IRequestFilter)
class Answering:
    """A filter that answers itself, or edits what comes back."""

    def __init__(self, respond: Respond | None = None) -> None:
        self.respond = respond

    def requestReceived(self, exchange: Any) -> Any:
        """Before the rules."""
        exchange.outbound.headers.set("X-Own", "filter")
        return self.respond

    def responseReceived(self, exchange: Any) -> Any:
        """Before the rules."""
        exchange.response.headers.set("X-Own", "filter")


OWN = FieldRules(set=(("X-Own", "rule {id}"),))


class RulesTests(RelayTestCase):
    """What a route changes."""

    def forwarding(self, rules: Rules, *filters: str) -> Forward:
        """A decision with these rules."""
        return Forward("pool", filters, "route", rules=rules)

    async def test_requests(self) -> None:
        """Each rule makes of a request what it says."""
        for asked, rules, got in REQUESTS:
            await self.start(self.forwarding(rules))
            client = await self.client()
            client.say(asked)
            backend = await self.backend()
            if b"%d" in got:
                got = got % self.pool.backends[0].destination.port
            await backend.hear(got + b"Connection: close\r\n\r\n")
            backend.say(answer("200 OK", b"hello"))
            await client.hear(answer("200 OK", b"hello"))
            await self.ends()
            await self.again()

    async def test_refused(self) -> None:
        """A path that climbs is refused, and the backend hears nothing of it."""
        for path in REFUSED:
            await self.start(self.forwarding(Rules(target=PathRule("/api"))))
            client = await self.client()
            client.say(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            await client.hear(PAGE("400 Bad Request"))
            await self.assertEnd(Party.CLIENT, Phase.DIAL, status=400)
            self.assertEqual(self.servers.all, [])
            await self.again()

    async def test_lastWord(self) -> None:
        """Rules come after the filters, both ways, and they know the id of the log."""
        rules = Rules(request=OWN, response=OWN)
        await self.start(self.forwarding(rules, "own"), {"own": Answering()})
        client = await self.client()
        client.say(b"GET / HTTP/1.1\r\nHost: a\r\nX-Own: client\r\n\r\n")
        backend = await self.backend()
        head = await backend.head()
        backend.say(answer("200 OK", b"hello", b"X-Own: backend"))
        said = await client.head()
        (end,) = await self.ends()
        for each in (head, said):
            self.assertEqual(each.count(b"X-Own"), 1)
            self.assertIn(b"\r\nX-Own: rule %s\r\n" % end.id.encode(), each)

    async def test_everyAnswer(self) -> None:
        """A filter's own answer and an error page have the route's fields, too."""
        rules = Rules(response=FieldRules(set=(("X-Own", "rule"),)))
        denied = Respond(403, ((b"X-Own", b"filter"),), b"no")
        await self.start(self.forwarding(rules, "own"), {"own": Answering(denied)})
        client = await self.client()
        client.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.hear(b"HTTP/1.1 403 Forbidden\r\nX-Own: rule\r\nContent-Length: 2\r\n\r\nno")
        await self.ends()
        await self.again()
        await self.start(self.forwarding(rules))
        await self.stopBackend()
        client = await self.client()
        client.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        said = await client.head()
        self.assertTrue(said.startswith(b"HTTP/1.1 502 Bad Gateway\r\n"), said)
        self.assertIn(b"\r\nX-Own: rule\r\n", said)
        await self.ends()

    async def test_webSocket(self) -> None:
        """A handshake and its 101 are changed, but for what makes them one."""
        rules = Rules(
            request=FieldRules(set=(("X-Own", "up"),), remove=("U*",)),
            response=FieldRules(set=(("X-Own", "down"),), remove=("S*",)),
            target=PathRule(add="/v2"),
        )
        await self.start(self.forwarding(rules))
        client = await self.client()
        client.say(UPGRADE + b"User-Agent: x\r\n\r\n")
        backend = await self.backend()
        handshake = HANDSHAKE.replace(b"/chat", b"/v2/chat")
        handshake = handshake.replace(b"Connection:", b"X-Own: up\r\nConnection:")
        await backend.hear(handshake + b"\r\n")
        backend.say(SWITCH + b"Server: x\r\n\r\n")
        await client.hear(
            b"HTTP/1.1 101 Switching Protocols\r\nX-Own: down\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + ACCEPT + b"\r\n\r\n"
        )


class TrustTests(RelayTestCase):
    """Behind another proxy."""

    async def test_chains(self) -> None:
        """A trusted proxy is believed; the log and the backend hear of the client."""
        for said, host, heard in CHAINS:
            await self.start(listener=ListenerSettings(trust=Trust(["127.0.0.0/8"])))
            client = await self.client()
            client.say(b"GET / HTTP/1.1\r\nHost: a\r\n" + said + b"\r\n")
            backend = await self.backend()
            await backend.hear(
                b"GET / HTTP/1.1\r\nHost: a\r\n" + heard + b"Connection: close\r\n\r\n"
            )
            backend.say(answer("200 OK", b"hello"))
            await client.hear(answer("200 OK", b"hello"))
            (end,) = await self.ends()
            self.assertEqual(end.inbound.client.host, host)
            await self.again()

    async def test_strangers(self) -> None:
        """From others nothing is believed, and nothing of it goes on."""
        settings = ListenerSettings(trust=Trust(["192.0.2.0/24"]), forwarded="rfc7239")
        await self.start(listener=settings)
        client = await self.client()
        client.say(b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n")
        backend = await self.backend()
        await backend.hear(
            b"GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=127.0.0.1;proto=http;host=a\r\n"
            b"Connection: close\r\n\r\n"
        )


class PagesTests(RelayTestCase):
    """Pages of the listener's own."""

    async def test_pages(self) -> None:
        """An error has the listener's page, with the id of the log; before a request, too."""
        path = Path(self.mktemp() + ".txt")
        path.write_text("{status} {id}\n")
        pages = Pages({"4xx": str(path)})
        decided = Respond(404, (), b"mine")
        for asked, decision, body in [
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", None, b"404 "),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", decided, b"mine"),
            (b"\0\r\n\r\n", None, b"400 "),
        ]:
            await self.start(decision, listener=ListenerSettings(pages=pages))
            if decision is None:
                self.listener._policies = ()
            client = await self.client()
            client.say(asked)
            await client.head()
            (end,) = await self.ends()
            if body == b"404 ":
                body += end.id.encode() + b"\n"
            elif body == b"400 ":
                body += b"\n"
            await client.hear(body)
            await self.again()

# -*- test-case-name: tests.l7.test_upgrade -*-
"""
The WebSocket handshake between three parties: bytes in, bytes out.
"""

from __future__ import annotations

import zlib
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from tests.l7.harness import (
    ACCEPT,
    HANDSHAKE,
    PAGE,
    SWITCH,
    UPGRADE,
    Client,
    OnNativePlane,
    RelayTestCase,
    Server,
    answer,
    turns,
)
from tests.l7.test_exchange import Filter, Oops, later, raises
from wsrelay.interfaces import IMessageFilter
from wsrelay.model import (
    Direction,
    Established,
    Interest,
    Kind,
    Party,
    Phase,
    Refuse,
    Respond,
    RouteSettings,
)
from wsrelay.wire.frames import BINARY, PING, TEXT, encode

UP, DOWN = Direction.TO_BACKEND, Direction.TO_CLIENT
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
CLOSE = b"Connection: close"
ERROR = PAGE("500 Internal Server Error", CLOSE)
BAD_GATEWAY = PAGE("502 Bad Gateway", CLOSE)


def last(status: str, body: bytes = b"", *fields: bytes) -> bytes:
    """An answer behind which the connection is closed: frames may follow a handshake."""
    return answer(status, body, *fields).replace(b"\r\n\r\n", b"\r\n" + CLOSE + b"\r\n\r\n", 1)


@implementer(IMessageFilter)
class Reader:
    """A message filter that reads these directions and changes nothing."""

    def __init__(self, *directions: Direction, hook: Any = lambda message: None) -> None:
        self._directions = directions
        self._hook = hook

    def interest(self, route: Any, direction: Direction) -> Interest:
        """Messages, in the directions it was told."""
        return Interest.MESSAGES if direction in self._directions else Interest.FRAMES

    def attach(self, session: Any, direction: Direction) -> Any:
        """The same hook for all."""
        return self._hook


def deflated(text: bytes) -> bytes:
    """One message by itself, as permessage-deflate has it."""
    stream = zlib.compressobj(wbits=-15)
    return (stream.compress(text) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


class UpgradeTestCase(RelayTestCase):
    """What these tests share."""

    async def offer(self, fields: bytes = b"", behind: bytes = b"") -> tuple[Client, Server]:
        """A client's handshake has arrived at the backend."""
        client = await self.client()
        client.say(UPGRADE + fields + b"\r\n" + behind)
        return client, await self.backend()

    async def echo(self, client: Client, backend: Server) -> None:
        """Both directions work."""
        client.sayFrame(TEXT, b"ping")
        await backend.hearText(b"ping")
        backend.sayFrame(TEXT, b"pong")
        await client.hearText(b"pong")

    def established(self) -> Established:
        """The one event about it."""
        (event,) = [event for event in self.events if isinstance(event, Established)]
        return event


class HandshakeTests(UpgradeTestCase):
    """Who is told what, and when."""

    async def test_accepted(self) -> None:
        """The client is accepted once the backend has accepted, and not before."""
        await self.start()
        client, backend = await self.offer(
            b"Origin: https://a\r\nCookie: a=1\r\nX-Forwarded-For: 1.1.1.1\r\n"
        )
        lines = HANDSHAKE.partition(b"Host: a\r\n")
        await backend.hear(
            lines[0] + lines[1] + b"Origin: https://a\r\nCookie: a=1\r\n" + lines[2] + b"\r\n"
        )
        await turns()
        self.assertEqual(bytes(client.heard), b"")
        backend.say(
            b"HTTP/1.1 101 Fine\r\nUPGRADE: WebSocket\r\nconnection: upgrade\r\n"
            b"Set-Cookie: b=2\r\nSec-WebSocket-Accept: " + ACCEPT + b"\r\n\r\n"
        )
        await client.hear(
            b"HTTP/1.1 101 Switching Protocols\r\nSet-Cookie: b=2\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + ACCEPT + b"\r\n\r\n"
        )
        await self.echo(client, backend)
        event = self.established()
        self.assertEqual((event.kind, event.subprotocol), (Kind.SESSION, None))
        self.assertEqual(dict(event.levels), {UP: Interest.FRAMES, DOWN: Interest.FRAMES})

    async def test_refused(self) -> None:
        """A backend's refusal reaches the client as it is, and the connection closes."""
        for status in ("200 OK", "302 Found", "401 Unauthorized", "403 Forbidden", "503 No"):
            await self.start()
            client, backend = await self.offer()
            await backend.hear(HANDSHAKE + b"\r\n")
            backend.say(answer(status, b"why not", b"X-Why: 1"))
            await client.hearEnd(last(status, b"why not", b"X-Why: 1"))
            await self.assertEnd(Party.BACKEND, Phase.RELAY, status=int(status[:3]))
            await self.again()

    async def test_refusedWithFrames(self) -> None:
        """Refused, what a client had sent ahead is neither frames nor a request: nobody's."""
        await self.start()
        smuggled = b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"
        client, backend = await self.offer(behind=smuggled)
        await backend.hear(HANDSHAKE + b"\r\n")
        backend.say(answer("403 Forbidden", b"no"))
        await client.hearEnd(last("403 Forbidden", b"no"))
        await backend.hearEnd()
        self.assertEqual((len(self.servers.all), len(self.closed())), (1, 1))

    async def test_bad(self) -> None:
        """A handshake that is none is refused here: the backend hears nothing of it."""
        wrong = "400 Bad Request"
        version = "426 Upgrade Required"
        for old, new, status in [
            (b"Version: 13", b"Version: 12", version),
            (b"Sec-WebSocket-Version: 13\r\n", b"", version),
            (b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ=", wrong),
            (b"Sec-WebSocket-Key", b"X-Key", wrong),
            (b"Connection: Upgrade", b"Connection: keep-alive", wrong),
            (b"Upgrade: websocket", b"Upgrade: websocket, h2c", wrong),
            (b"GET", b"PUT", wrong),
            (b"HTTP/1.1", b"HTTP/1.0", wrong),
        ]:
            await self.start()
            client = await self.client()
            client.say(UPGRADE.replace(old, new, 1) + b"\r\n")
            heard = await client.through(status.encode() + b"\n")
            self.assertTrue(heard.startswith(b"HTTP/1.1 " + status.encode()), heard)
            for field in (b"Upgrade: websocket\r\n", b"Sec-WebSocket-Version: 13\r\n"):
                self.assertEqual(field in heard, status == version)
            await self.assertEnd(Party.CLIENT, Phase.DECIDE, status=int(status[:3]))
            self.assertEqual(self.servers.all, [])
            await self.again()

    async def test_badWithBody(self) -> None:
        """One with a body is refused, and its body never read as a request."""
        await self.start()
        client = await self.client()
        request = b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"
        client.say(UPGRADE + b"Content-Length: %d\r\n\r\n" % len(request) + request)
        await client.hearEnd(PAGE("400 Bad Request", CLOSE))
        self.assertEqual((self.servers.all, len(self.closed())), ([], 1))

    async def test_otherUpgrades(self) -> None:
        """No other protocol is ever forwarded: the request goes on without it."""
        for name in (b"h2c", b"TLS/1.0", b"websocketx"):
            await self.start()
            client = await self.client()
            client.say(
                UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: " + name)
                + b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
            )
            backend = await self.backend()
            head = await backend.head()
            self.assertNotIn(b"Upgrade", head)
            self.assertNotIn(b"HTTP2-Settings", head)
            self.assertIn(b"Connection: close\r\n", head)
            backend.say(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n")
            await client.hear(PAGE("502 Bad Gateway"))
            await self.again()

    async def test_untrue(self) -> None:
        """A 101 that is not true is 502: its bytes are no WebSocket."""
        for old, new in [
            (ACCEPT, b"AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            (b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n", b""),
            (b"Upgrade: websocket", b"Upgrade: h2c"),
            (b"Connection: Upgrade", b"Connection: close"),
            (b"Upgrade: websocket\r\n", b"Upgrade: websocket\r\nContent-Length: 5\r\n"),
            (b"Upgrade: websocket\r\n", b"Upgrade: websocket\r\nSec-WebSocket-Protocol: x\r\n"),
            (b"Upgrade: websocket\r\n", b"Upgrade: websocket\r\n" + DEFLATE),
            (b"HTTP/1.1", b"HTTP/1.0"),
        ]:
            await self.start()
            client, backend = await self.offer(b"Sec-WebSocket-Protocol: chat\r\n")
            await backend.head()
            backend.say(SWITCH.replace(old, new, 1) + b"\r\n" + encode(TEXT, b"evil"))
            await client.hear(BAD_GATEWAY)
            await backend.hearCut()
            await self.assertEnd(Party.BACKEND, Phase.ANSWER, status=502)
            await self.again()

    async def test_noAnswer(self) -> None:
        """A backend that does not answer the handshake is 502 or 504."""
        await self.start()
        client, backend = await self.offer()
        await backend.head()
        self.clock.advance(60)
        await client.hear(PAGE("504 Gateway Timeout", CLOSE))
        await self.again()
        await self.start()
        client, backend = await self.offer()
        await backend.head()
        backend.close()
        await client.hear(BAD_GATEWAY)

    async def test_leaves(self) -> None:
        """A client that leaves in the middle of the handshake takes the backend along."""
        await self.start()
        client, backend = await self.offer()
        await backend.head()
        client.vanish()
        await backend.hearCut()
        await self.assertEnd(Party.CLIENT, Phase.ANSWER, "closed its connection", 499)

    async def test_behind(self) -> None:
        """What comes right behind either handshake arrives in order, and once."""
        early = [encode(TEXT, b"one", bytes(4)), encode(BINARY, b"t" * 70000, bytes(4))]
        pushed = encode(TEXT, b"hello") + encode(PING, b"?")
        for pieces in (1, 3):
            await self.start()
            client, backend = await self.offer(behind=early[0] + early[1][:100])
            await backend.hear(HANDSHAKE + b"\r\n")
            await turns()
            self.assertEqual(bytes(backend.heard), b"", "nothing before the 101")
            said = SWITCH + b"\r\n" + pushed
            for piece in range(pieces):
                backend.say(said[piece::pieces] if pieces == 1 else b"")
            if pieces > 1:
                for byte in said:
                    backend.say(bytes([byte]))
                    await turns(1)
            client.say(early[1][100:] + encode(TEXT, b"three", bytes(4)))
            self.assertIn(b" 101 ", await client.head())
            await client.hear(pushed)
            await backend.hear(b"".join(early) + encode(TEXT, b"three", bytes(4)))
            await self.echo(client, backend)
            await self.again()

    async def test_subprotocol(self) -> None:
        """The subprotocol is the one that the backend chose."""
        await self.start()
        client, backend = await self.offer(b"Sec-WebSocket-Protocol: v1, v2\r\n")
        self.assertIn(b"Sec-WebSocket-Protocol: v1, v2\r\n", await backend.head())
        backend.say(SWITCH + b"Sec-WebSocket-Protocol: v2\r\n\r\n")
        self.assertIn(b"Sec-WebSocket-Protocol: v2\r\n", await client.head())
        await self.echo(client, backend)
        self.assertEqual(self.established().subprotocol, "v2")

    async def test_policies(self) -> None:
        """A policy may answer a handshake, or refuse it."""
        for decision, heard in [
            (Respond(401, ((b"WWW-Authenticate", b"Basic"),)), b"HTTP/1.1 401 Unauthorized\r\n"),
            (Refuse(), b"HTTP/1.1 403 Forbidden\r\n"),
            (lambda inbound: None, b"HTTP/1.1 404 Not Found\r\n"),
        ]:
            await self.start(decision)
            client = await self.client()
            client.say(UPGRADE + b"\r\n")
            head = await client.head()
            self.assertTrue(head.startswith(heard), head)
            self.assertEqual(self.servers.all, [])
            await self.again()


class ExtensionTests(UpgradeTestCase):
    """Which extensions are offered and accepted, by how much the relay reads."""

    async def negotiate(
        self, offer: bytes, offered: bytes, accept: bytes, accepted: bytes, **options: Any
    ) -> tuple[Client, Server]:
        """The values that the four handshakes have, each empty if it has none."""
        await self.start(**options)
        name = b"Sec-WebSocket-Extensions: "
        client, backend = await self.offer(name + offer + b"\r\n" if offer else b"")
        head = await backend.head()
        self.assertEqual(head.partition(name)[2].partition(b"\r\n")[0], offered)
        backend.say(SWITCH + (name + accept + b"\r\n" if accept else b"") + b"\r\n")
        head = await client.head()
        self.assertEqual(head.partition(name)[2].partition(b"\r\n")[0], accepted)
        self.assertEqual(self.established().extensions, accepted.decode())
        return client, backend

    async def test_untouched(self) -> None:
        """Where nobody reads messages, the two ends negotiate what they like."""
        for offer, accept in [
            (b"permessage-deflate; client_max_window_bits, x-own; a=1", b"x-own; a=1"),
            (b"permessage-deflate", b"permessage-deflate; server_max_window_bits=10"),
            (b"permessage-deflate", b""),
            (b"", b""),
        ]:
            client, backend = await self.negotiate(offer, offer, accept, accept)
            first = 0x80 | TEXT | (0x40 if accept else 0)
            frame = bytes([first, 0x83, 0, 0, 0, 0]) + b"\x01\x02\x03"
            client.say(frame)
            await backend.hear(frame)
            await self.again()

    async def test_off(self) -> None:
        """Where compression is off, nothing is offered, so nothing may be accepted."""
        offer = b"permessage-deflate"
        client, backend = await self.negotiate(
            offer, b"", b"", b"", settings=RouteSettings(compression="off")
        )
        await self.echo(client, backend)
        client.say(b"\xc1\x80\x00\x00\x00\x00")
        await backend.hearClose(1001)
        backend.sayClose(1001)
        await client.hearClose(1002)

    async def test_read(self) -> None:
        """Where messages are read, only what the relay can run is offered."""
        for directions in ((UP,), (DOWN,), (UP, DOWN)):
            await self.negotiate(
                b"x-own, permessage-deflate; client_max_window_bits, permessage-deflate; odd",
                b"permessage-deflate; client_max_window_bits",
                b"permessage-deflate",
                b"permessage-deflate",
                filters={"read": Reader(*directions)},
            )
            await self.again()

    async def test_readCompressed(self) -> None:
        """What is read is inflated for the hook, and passes as it came."""
        seen: list[bytes] = []
        reader = Reader(UP, DOWN, hook=lambda message: seen.append(message.data))
        offer = b"permessage-deflate"
        client, backend = await self.negotiate(
            offer, offer, offer, offer, filters={"read": reader}
        )
        frame = encode(TEXT, deflated(b"hello"), bytes(4), rsv1=True)
        client.say(frame)
        await backend.hear(frame)
        frame = encode(TEXT, deflated(b"world"), rsv1=True)
        backend.say(frame)
        await client.hear(frame)
        self.assertEqual(seen, [b"hello", b"world"])

    async def test_declined(self) -> None:
        """When the backend declines and both ways are read, the client's leg compresses."""
        reader = Reader(UP, DOWN)
        client, backend = await self.negotiate(
            b"permessage-deflate",
            b"permessage-deflate",
            b"",
            b"permessage-deflate",
            filters={"read": reader},
        )
        client.say(encode(TEXT, deflated(b"hello"), bytes(4), rsv1=True))
        await backend.hearText(b"hello")
        backend.sayFrame(TEXT, b"world")
        await client.hearText(b"world")

    async def test_declinedHalf(self) -> None:
        """When only one way is read, the backend's no is the client's."""
        await self.negotiate(
            b"permessage-deflate",
            b"permessage-deflate",
            b"",
            b"",
            filters={"read": Reader(UP)},
        )

    async def test_unoffered(self) -> None:
        """An answer to an offer that was not made is 502, where the relay has to run it."""
        for offer, accept in [
            (b"permessage-deflate", b"permessage-deflate; client_max_window_bits=10"),
            (b"permessage-deflate", b"permessage-deflate, permessage-deflate"),
            (b"permessage-deflate", b"permessage-deflate; odd"),
            (b"permessage-deflate; server_no_context_takeover", b"permessage-deflate"),
        ]:
            await self.start(filters={"read": Reader(UP)})
            client, backend = await self.offer(b"Sec-WebSocket-Extensions: " + offer + b"\r\n")
            await backend.head()
            backend.say(SWITCH + b"Sec-WebSocket-Extensions: " + accept + b"\r\n\r\n")
            await client.hear(BAD_GATEWAY)
            await self.again()


class FilterTests(UpgradeTestCase):
    """Request filters see handshakes like any other request."""

    async def test_edit(self) -> None:
        """They edit what goes on, and what is the handshake's own stays the relay's."""

        def request(exchange: Any) -> None:
            self.assertTrue(exchange.isUpgrade)
            for name in ("Connection", "Upgrade", "Sec-WebSocket-Key", "Content-Length"):
                exchange.outbound.headers.set(name, "5")
            exchange.outbound.headers.set("Sec-WebSocket-Extensions", "x")
            exchange.outbound.headers.set("X-User", "joe")
            exchange.outbound.target = "/other"

        def response(exchange: Any) -> None:
            self.assertEqual(exchange.response.status, 101)
            for name in ("Connection", "Upgrade", "Sec-WebSocket-Accept", "Content-Length"):
                exchange.response.headers.set(name, "5")
            exchange.response.headers.set("Sec-WebSocket-Extensions", "x")
            exchange.response.headers.set("Set-Cookie", "a=1")

        await self.start(filters={"edit": Filter(request, response)})
        client, backend = await self.offer()
        lines = HANDSHAKE.replace(b"/chat", b"/other").partition(b"Connection: ")
        await backend.hear(lines[0] + b"X-User: joe\r\n" + lines[1] + lines[2] + b"\r\n")
        backend.say(SWITCH + b"\r\n")
        head, _, rest = SWITCH.partition(b"Upgrade")
        await client.hear(head + b"Set-Cookie: a=1\r\nUpgrade" + rest + b"\r\n")
        await self.echo(client, backend)

    async def test_refuses(self) -> None:
        """One that answers keeps the handshake from the backend."""
        for value in (Respond(401), succeed(Respond(401)), later(Respond(401))):
            await self.start(filters={"door": Filter(lambda _, v=value: v)})
            client = await self.client()
            client.say(UPGRADE + b"\r\n")
            await client.hear(last("401 Unauthorized"))
            self.assertEqual(self.servers.all, [])
            await self.again()

    async def test_refusesLate(self) -> None:
        """One may refuse even after the backend has accepted: the client never was."""
        await self.start(filters={"door": Filter(response=lambda _: Respond(403))})
        client, backend = await self.offer()
        backend.say(SWITCH + b"\r\n" + encode(TEXT, b"secret"))
        await client.hear(last("403 Forbidden"))
        await backend.gone()
        await self.assertEnd(Party.PLUGIN, Phase.ANSWER, "door", 403)

    async def test_later(self) -> None:
        """While one thinks about the 101, the client waits, and nothing is lost."""
        wait: Deferred[Any] = Deferred()
        await self.start(filters={"slow": Filter(response=lambda _: wait)})
        client, backend = await self.offer(behind=encode(TEXT, b"up", bytes(4)))
        await backend.head()
        backend.say(SWITCH + b"\r\n" + encode(TEXT, b"down"))
        await turns()
        self.assertEqual(bytes(client.heard), b"")
        wait.callback(None)
        await client.head()
        await client.hearText(b"down")
        await backend.hearText(b"up")

    async def test_laterAndGone(self) -> None:
        """When a side leaves meanwhile, the other is told once the WebSocket is open."""
        wait: Deferred[Any] = Deferred()
        await self.start(filters={"slow": Filter(response=lambda _: wait)})
        client, backend = await self.offer()
        await backend.head()
        backend.say(SWITCH + b"\r\n" + encode(TEXT, b"down"))
        backend.close()
        await turns()
        wait.callback(None)
        await client.head()
        await client.hearText(b"down")
        await client.hearClose(1011)

    async def test_fails(self) -> None:
        """One that fails is 500: before the dial, or before the client is accepted."""
        await self.start(filters={"broken": Filter(raises)})
        client = await self.client()
        client.say(UPGRADE + b"\r\n")
        await client.hear(ERROR)
        self.assertEqual((self.servers.all, len(self.flushLoggedErrors(Oops))), ([], 1))
        await self.again()
        await self.start(filters={"broken": Filter(response=raises)})
        client, backend = await self.offer()
        backend.say(SWITCH + b"\r\n")
        await client.hear(ERROR)
        await backend.gone()
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)

    async def test_status(self) -> None:
        """A 101 stays one: a filter that wants to refuse must answer."""

        def response(exchange: Any) -> None:
            exchange.response.status = 403

        await self.start(filters={"odd": Filter(response=response)})
        client, backend = await self.offer()
        backend.say(SWITCH + b"\r\n")
        await client.hear(ERROR)
        await self.assertEnd(Party.PLUGIN, Phase.ANSWER, "made 403 of a 101", 500)
        self.flushLoggedErrors()

    async def test_attachFails(self) -> None:
        """A message filter that cannot be attached: the client is not accepted."""

        class Broken(Reader):
            def attach(self, session: Any, direction: Direction) -> Any:
                """Has a bug."""
                raise Oops("x")

        await self.start(filters={"broken": Broken(UP)})
        client, backend = await self.offer()
        backend.say(SWITCH + b"\r\n")
        await client.hear(ERROR)
        await backend.gone()
        await self.assertEnd(Party.PLUGIN, Phase.ANSWER, "broken: attach: Oops", 500)
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)


class NativeHandshakeTests(OnNativePlane, HandshakeTests):
    """The same on the native engine."""


class NativeExtensionTests(OnNativePlane, ExtensionTests):
    """The same on the native engine."""


class NativeFilterTests(OnNativePlane, FilterTests):
    """The same on the native engine."""

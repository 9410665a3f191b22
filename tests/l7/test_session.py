# -*- test-case-name: tests.l7.test_session -*-
"""
A WebSocket from its 101 to its end, on both sides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from tests.l7.harness import Client, OnNativePlane, RelayTestCase, Server, settled, turns
from tests.l7.test_exchange import Oops, later, raises
from wsrelay.interfaces import IMessageFilter
from wsrelay.model import (
    Close,
    Closed,
    CloseReason,
    Direction,
    Drop,
    Interest,
    Kind,
    Message,
    Party,
    Phase,
    Reply,
    RouteSettings,
)
from wsrelay.wire.frames import BINARY, CONTINUATION, PING, PONG, TEXT, encode, encodeClose

UP, DOWN = Direction.TO_BACKEND, Direction.TO_CLIENT


@implementer(IMessageFilter)
class Hooks:
    """A message filter with one hook for each direction that it reads."""

    def __init__(
        self, up: Any = None, down: Any = None, attached: Callable[[Any], None] | None = None
    ) -> None:
        self._hooks = {UP: up, DOWN: down}
        self._attached = attached
        self.sessions: list[Any] = []

    def interest(self, route: Any, direction: Direction) -> Interest:
        """Messages, where there is a hook."""
        return Interest.FRAMES if self._hooks[direction] is None else Interest.MESSAGES

    def attach(self, session: Any, direction: Direction) -> Any:
        """Remember the session."""
        if session not in self.sessions:
            self.sessions.append(session)
            if self._attached is not None:
                self._attached(session)
        return self._hooks[direction]


def look(message: Message) -> None:
    """A hook that changes nothing."""


class SessionTestCase(RelayTestCase):
    """What these tests share."""

    def sides(self, client: Client, backend: Server, party: Party) -> tuple[Any, Any]:
        """The side of a party, and the other one."""
        return (client, backend) if party is Party.CLIENT else (backend, client)

    async def leave(self, *peers: Any) -> None:
        """Each peer hears nothing but the end of its connection, and ends it too."""
        for peer in peers:
            await peer.hearEnd()
            peer.close()

    async def part(self, client: Client, backend: Server) -> None:
        """The backend closes its connection first (RFC 6455 section 7.1.1), then the client."""
        backend.close()
        await self.leave(client)

    async def assertEnded(
        self, party: Party, detail: str = "", client: int = 1006, backend: int = 1006
    ) -> Closed:
        """
        A session ended because of C{party}.

        @param client: the close code that the client saw.
        @param backend: the close code that the backend saw.
        """
        end = await self.assertEnd(party, Phase.RELAY, detail, 101)
        self.assertIs(end.kind, Kind.SESSION)
        self.assertEqual(dict(end.codes), {Party.CLIENT: client, Party.BACKEND: backend})
        return end


class CloseTests(SessionTestCase):
    """Closing handshakes, from end to end."""

    async def test_codes(self) -> None:
        """Code and reason reach the other side as they are, and so does its answer."""
        for code, reason in [
            (1000, ""),
            (1000, "bye"),
            (1001, "moving"),
            (1011, "oops"),
            (3000, "x" * 123),
            (4999, "\u20ac"),
            (None, ""),
        ]:
            for party in (Party.CLIENT, Party.BACKEND):
                for hooks in (Hooks(), Hooks(look, look)):
                    await self.start(filters={"look": hooks})
                    client, backend = await self.session()
                    first, second = self.sides(client, backend, party)
                    first.sayClose(code, reason)
                    await second.hearClose(code, reason)
                    second.sayClose(code, reason)
                    await first.hearClose(code, reason)
                    await self.part(client, backend)
                    seen = 1005 if code is None else code
                    said = "without a code" if code is None else f"closed: {code} {reason}"
                    await self.assertEnded(party, said.rstrip(), seen, seen)
                    await self.again()

    async def test_otherAnswer(self) -> None:
        """What each side saw is what the other had said."""
        await self.start()
        client, backend = await self.session()
        client.sayClose(4000)
        await backend.hearClose(4000)
        backend.sayClose(4001, "mine")
        await client.hearClose(4001, "mine")
        await self.part(client, backend)
        await self.assertEnded(Party.CLIENT, "closed: 4000", client=4001, backend=4000)

    async def test_both(self) -> None:
        """Both may say goodbye at once."""
        await self.start()
        client, backend = await self.session()
        client.sayClose(4000)
        backend.sayClose(4001)
        await client.hearClose(4001)
        await backend.hearClose(4000)
        await self.part(client, backend)
        (end,) = await self.ends()
        self.assertEqual(dict(end.codes), {Party.CLIENT: 4001, Party.BACKEND: 4000})

    async def test_behindAClose(self) -> None:
        """Nothing that stands behind a Close is forwarded, but what the other says still is."""
        await self.start()
        client, backend = await self.session()
        client.say(encodeClose(1000, "", bytes(4)) + encode(TEXT, b"late", bytes(4)))
        await backend.hearClose(1000)
        client.sayFrame(TEXT, b"later")
        backend.sayFrame(TEXT, b"not yet")
        await client.hearText(b"not yet")
        backend.sayClose(1000)
        await client.hearClose(1000)
        await self.part(client, backend)
        self.assertEqual(bytes(backend.heard), b"")

    async def test_backendStays(self) -> None:
        """A backend that does not close its connection is cut after the close timeout."""
        await self.start(settings=RouteSettings(closeTimeout=7))
        client, backend = await self.session()
        client.sayClose()
        await backend.hearClose(1000)
        backend.sayClose()
        await client.hearClose(1000)
        await turns()
        self.clock.advance(6.9)
        await turns()
        self.assertFalse(client.isEnded or backend.isEnded)
        self.clock.advance(0.1)
        await self.leave(client, backend)
        await self.assertEnded(Party.CLIENT, "closed: 1000", 1000, 1000)

    async def test_clientLeavesFirst(self) -> None:
        """A client need not wait for the backend's connection to end."""
        await self.start()
        client, backend = await self.session()
        client.sayClose()
        client.finish()
        await backend.hearClose(1000)
        backend.sayClose()
        await client.hearEnd(encodeClose(1000))
        await self.leave(backend)
        await self.assertEnded(Party.CLIENT, "closed: 1000", 1000, 1000)

    async def test_neverAnswers(self) -> None:
        """A peer that does not answer a Close is cut after the close timeout."""
        for party in (Party.CLIENT, Party.BACKEND):
            await self.start(settings=RouteSettings(closeTimeout=7))
            client, backend = await self.session()
            first, second = self.sides(client, backend, party)
            first.sayClose(1000)
            await second.hearClose(1000)
            self.clock.advance(7)
            await self.leave(first, second)
            seen = {"client": 1000} if party is Party.BACKEND else {"backend": 1000}
            await self.assertEnded(party, "closed: 1000", **seen)
            await self.again()


class TrafficTests(SessionTestCase):
    """What goes on while it is open."""

    async def test_messages(self) -> None:
        """Text, binary, fragments, pings and pongs pass as they came, and are counted."""
        for hooks in (Hooks(), Hooks(look, look)):
            await self.start(filters={"look": hooks})
            client, backend = await self.session()
            frames = [
                (TEXT, b"hello", True),
                (BINARY, b"", True),
                (TEXT, "\u20ac".encode()[:1], False),
                (PING, b"ping", True),
                (CONTINUATION, "\u20ac".encode()[1:], True),
                (PONG, b"", True),
                (BINARY, b"x" * 100_000, True),
            ]
            up = b"".join(encode(code, data, b"\1\2\3\4", fin=fin) for code, data, fin in frames)
            down = b"".join(encode(code, data, fin=fin) for code, data, fin in frames)
            client.say(up)
            backend.say(down)
            await self.hearAll(backend, frames)
            await self.hearAll(client, frames)
            client.vanish()
            await backend.hearClose(1001)
            backend.close()
            (end,) = await self.ends()
            for direction, size in ((UP, len(up)), (DOWN, len(down))):
                counts = end.counts[direction]
                self.assertEqual((counts.bytes, counts.messages), (size, 4))
            await self.again()

    async def hearAll(self, peer: Any, frames: list[tuple[int, bytes, bool]]) -> None:
        """All of these frames, control frames perhaps before a fragmented message."""
        heard = [await peer.frame() for _ in frames]
        said = [(code | (0x80 if fin else 0), data) for code, data, fin in frames]
        for kinds in ((PING | 0x80, PONG | 0x80), (TEXT, 0x80 | TEXT, BINARY | 0x80, 0x80)):
            self.assertEqual(
                [frame for frame in heard if frame[0] in kinds],
                [frame for frame in said if frame[0] in kinds],
            )

    async def test_backpressure(self) -> None:
        """Who does not read holds the one who writes, and gets all of it once he reads."""
        size = 30_000_000
        for party in (Party.CLIENT, Party.BACKEND):
            for hooks in (Hooks(), Hooks(look, look)):
                await self.start(filters={"look": hooks}, settings=RouteSettings(maxMessage=None))
                client, backend = await self.session()
                reader, writer = self.sides(client, backend, party)
                reader.transport.pauseProducing()
                for _ in range(30):
                    writer.sayFrame(BINARY, bytes(size // 30))
                self.assertGreater(await settled(writer), size // 4)
                reader.transport.resumeProducing()
                await reader.when(lambda reader=reader: len(reader.heard) > size)  # type: ignore[misc]  # a default
                await self.again()


#: What a client must not say, as bytes, and with which code it is told so.
CLIENT_VIOLATIONS = [
    (b"\xf1\x80\0\0\0\0", 1002),
    (b"\x83\x80\0\0\0\0", 1002),
    (b"\x81\x05hello", 1002),
    (b"\x89\xfe\x00\x7e\0\0\0\0", 1002),
    (b"\x09\x80\0\0\0\0", 1002),
    (b"\x80\x80\0\0\0\0", 1002),
    (b"\x01\x80\0\0\0\0\x81\x80\0\0\0\0", 1002),
    (b"\x82\xfe\x00\x05\0\0\0\0", 1002),
    (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", 1002),
    (b"\x88\x81\0\0\0\0\x03", 1002),
    (b"\x88\x82\0\0\0\0\x03\xed", 1002),
    (b"\x88\x82\0\0\0\0\x03\xe7", 1002),
    (b"\x88\x82\0\0\0\0\x13\x88", 1002),
    (b"\x08\x82\0\0\0\0\x03\xe8", 1002),
    (b"\x88\xfe\0\x7e\0\0\0\0", 1002),
    (b"\xc9\x80\0\0\0\0", 1002),
    (b"\x01\x80\0\0\0\0\x09\x80\0\0\0\0", 1002),
    (b"\x01\x80\0\0\0\0\x88\x81\0\0\0\0\x03", 1002),
    (b"\x88\x83\0\0\0\0\x03\xe8\xff", 1007),
    (b"\x88\x84\0\0\0\0\x03\xe8\xe2\x82", 1007),
    (b"\x82\xff\x00\x00\x00\x00\xff\xff\xff\xff\0\0\0\0", 1009),
    (b"\x82\xfe\x03\xe9\0\0\0\0", 1009),
    (b"\x02\xfe\x02\x00\0\0\0\0" + bytes(512) + b"\x80\xfe\x02\x00\0\0\0\0", 1009),
]


class ViolationTests(SessionTestCase):
    """Who breaks the rules is told which; the other, that it will hear no more."""

    SETTINGS = RouteSettings(maxMessage=1000, closeTimeout=7)

    async def test_client(self) -> None:
        """A client's fault: the backend is told 1001."""
        for said, code in CLIENT_VIOLATIONS:
            for hooks in (Hooks(), Hooks(look, look)):
                await self.start(filters={"look": hooks}, settings=self.SETTINGS)
                client, backend = await self.session()
                client.say(encode(TEXT, b"fine", bytes(4)) + said)
                client.sayFrame(TEXT, b"never")
                await backend.hearText(b"fine")
                while (frame := await backend.frame())[0] in (TEXT, BINARY):
                    """What had been said of a fragmented message."""
                self.assertEqual(frame, (0x88, b"\x03\xe9"), said)
                backend.sayFrame(TEXT, b"an answer")
                backend.sayClose(1001)
                await client.hearText(b"an answer")
                await client.hearClose(code)
                await self.leave(client, backend)
                await self.assertEnded(Party.CLIENT, f"({code})", client=code, backend=1001)
                await self.again()

    async def test_text(self) -> None:
        """Text that is not UTF-8 is 1007, where messages are read."""
        for said in (encode(TEXT, b"\xff", bytes(4)), encode(TEXT, b"\xed\xa0", bytes(4))):
            await self.start(filters={"look": Hooks(look)}, settings=self.SETTINGS)
            client, backend = await self.session()
            client.say(said)
            await backend.hearClose(1001)
            backend.sayClose(1001)
            await client.hearClose(1007)
            await self.leave(client, backend)
            await self.assertEnded(Party.CLIENT, "(1007)", client=1007, backend=1001)
            await self.again()

    async def test_backend(self) -> None:
        """A backend's fault: the client is told 1011."""
        for said, code in [
            (encode(TEXT, b"masked", bytes(4)), 1002),
            (b"\x83\x00", 1002),
            (b"\x88\x02\x03\xed", 1002),
            (encode(BINARY, bytes(1001)), 1009),
        ]:
            for hooks in (Hooks(), Hooks(look, look)):
                await self.start(filters={"look": hooks}, settings=self.SETTINGS)
                client, backend = await self.session()
                backend.say(encode(TEXT, b"fine") + said)
                await client.hearText(b"fine")
                await client.hearClose(1011)
                client.sayFrame(TEXT, b"an answer")
                client.sayClose(1011)
                await backend.hearText(b"an answer")
                await backend.hearClose(code)
                await self.leave(client, backend)
                await self.assertEnded(Party.BACKEND, f"({code})", client=1011, backend=code)
                await self.again()

    async def test_floods(self) -> None:
        """Too many frames in a message are 1009, too many pings and pongs 1008."""
        settings = RouteSettings(maxFragments=3, maxControlRate=1, closeTimeout=7)
        empty = [(TEXT, b"", False), *[(CONTINUATION, b"", False)] * 3]
        for flood, code in (
            (empty, 1009),
            ([(PING, bytes(125), True)] * 11, 1008),
            ([(PONG, b"", True)] * 21, 1008),
            ([empty[0], *[(PING, b"", True)] * 11], 1008),
        ):
            for party, told in ((Party.CLIENT, 1001), (Party.BACKEND, 1011)):
                for hooks in (Hooks(), Hooks(look, look)):
                    await self.start(filters={"look": hooks}, settings=settings)
                    client, backend = await self.session()
                    first, second = self.sides(client, backend, party)
                    for opcode, payload, fin in flood:
                        key = bytes(4) if party is Party.CLIENT else None
                        first.say(encode(opcode, payload, key, fin))
                    while (frame := await second.frame())[0] != 0x88:
                        """What may be said of the flood."""
                    self.assertEqual(frame, (0x88, told.to_bytes(2, "big")))
                    second.sayClose(told)
                    await first.hearClose(code)
                    await self.leave(client, backend)
                    seen = (code, told) if party is Party.CLIENT else (told, code)
                    await self.assertEnded(party, f"({code})", *seen)
                    await self.again()

    async def test_otherIsSilent(self) -> None:
        """Where the other side does not answer, the one at fault is told at the deadline."""
        await self.start(settings=self.SETTINGS)
        client, backend = await self.session()
        client.say(b"\x83\x80\0\0\0\0")
        await backend.hearClose(1001)
        self.clock.advance(7)
        await client.hearClose(1002)
        self.clock.advance(1)
        await self.leave(client, backend)
        await self.assertEnded(Party.CLIENT, "(1002)", client=1002, backend=1001)

    async def test_otherVanishes(self) -> None:
        """Where it leaves instead, at once."""
        for leave in ("close", "vanish"):
            await self.start(settings=self.SETTINGS)
            client, backend = await self.session()
            client.say(b"\x83\x80\0\0\0\0")
            await backend.hearClose(1001)
            getattr(backend, leave)()
            await client.hearClose(1002)
            await self.leave(client)
            await self.assertEnded(Party.CLIENT, "(1002)", client=1002, backend=1001)
            await self.again()

    async def test_bothWrong(self) -> None:
        """Both may be at fault: the first counts, and each is told its own."""
        await self.start(settings=self.SETTINGS)
        client, backend = await self.session()
        client.say(b"\x83\x80\0\0\0\0")
        await backend.hearClose(1001)
        backend.say(b"\x83\x00")
        await client.hearClose(1002)
        await self.leave(client, backend)
        await self.assertEnded(Party.CLIENT, "(1002)", client=1002, backend=1001)

    async def test_afterItsClose(self) -> None:
        """Once a side has said Close, nothing that it says is looked at."""
        await self.start()
        client, backend = await self.session()
        client.sayClose()
        client.say(b"\x83\x80\0\0\0\0" * 1000)
        await backend.hearClose(1000)
        backend.sayClose()
        await client.hearClose(1000)
        await self.part(client, backend)
        await self.assertEnded(Party.CLIENT, "closed: 1000", 1000, 1000)


class VanishTests(SessionTestCase):
    """Sides that leave without a word."""

    async def test_leaves(self) -> None:
        """The other side is told: 1001 about the client, 1011 about the backend."""
        for party, code in ((Party.CLIENT, 1001), (Party.BACKEND, 1011)):
            for leave in ("close", "finish", "vanish"):
                for hooks in (Hooks(), Hooks(look, look)):
                    await self.start(filters={"look": hooks})
                    client, backend = await self.session()
                    first, second = self.sides(client, backend, party)
                    first.sayFrame(TEXT, b"last words")
                    if leave == "vanish":
                        await second.hearText(b"last words")
                    getattr(first, leave)()
                    if leave != "vanish":
                        await second.hearText(b"last words")
                    await second.hearClose(code)
                    second.sayClose(code)
                    await self.leave(second)
                    first.close()
                    side = "client" if party is Party.BACKEND else "backend"
                    other = "backend" if party is Party.BACKEND else "client"
                    (end,) = await self.ends()
                    self.assertEqual(end.codes[Party(side)], code)
                    if leave == "vanish":
                        self.assertEqual(end.codes[Party(other)], 1006)
                    self.assertIs(end.reason.party, party)
                    await self.again()

    async def test_bothLeave(self) -> None:
        """Nobody is left to be told."""
        await self.start()
        client, backend = await self.session()
        client.vanish()
        backend.vanish()
        (end,) = await self.ends()
        self.assertIs(end.reason.phase, Phase.RELAY)

    async def test_inAFrame(self) -> None:
        """In the middle of a frame nothing can be put: the other side sees its stream end."""
        for party in (Party.CLIENT, Party.BACKEND):
            for leave in ("close", "vanish"):
                await self.start()
                client, backend = await self.session()
                first, second = self.sides(client, backend, party)
                frame = encode(BINARY, bytes(1_000_000), bytes(4) if first is client else None)
                first.say(frame[:600_000])
                await second.when(lambda second=second: len(second.heard) == 600_000)  # type: ignore[misc]  # a default
                getattr(first, leave)()
                await second.when(lambda second=second: second.isEnded)  # type: ignore[misc]  # a default
                self.assertEqual(len(second.heard), 600_000)
                second.close()
                (end,) = await self.ends()
                self.assertIs(end.reason.party, party)
                other = Party.BACKEND if party is Party.CLIENT else Party.CLIENT
                self.assertEqual(end.codes[other], 1006)
                await self.again()

    async def test_inAMessage(self) -> None:
        """Between two frames of a message a Close may stand (RFC 6455 section 5.4)."""
        await self.start()
        client, backend = await self.session()
        client.sayFrame(TEXT, b"half", fin=False)
        self.assertEqual(await backend.frame(), (TEXT, b"half"))
        client.vanish()
        await backend.hearClose(1001)
        backend.close()
        await self.assertEnded(Party.CLIENT, backend=1001)

    async def test_otherStays(self) -> None:
        """Who does not answer is cut after the close timeout."""
        await self.start(settings=RouteSettings(closeTimeout=7))
        client, backend = await self.session()
        client.vanish()
        await backend.hearClose(1001)
        await turns()
        self.clock.advance(7)
        self.clock.advance(1)
        await backend.gone()
        await self.assertEnded(Party.CLIENT, backend=1001)

    async def test_notReading(self) -> None:
        """Nor does who does not read keep anything for longer than that."""
        await self.start(settings=RouteSettings(closeTimeout=7))
        client, backend = await self.session()
        backend.transport.pauseProducing()
        for _ in range(30):
            client.sayFrame(BINARY, bytes(1_000_000))
        await settled(client)
        client.vanish()
        await turns()
        # A leg that is not read hears of nothing: the idle time is what ends it.
        self.clock.advance(3600)
        await turns()
        self.clock.advance(7)
        self.clock.advance(1)
        await self.until(lambda: not self.openLegs(), "both legs to be lost")
        self.assertEqual(len(await self.ends()), 1)


class TimeTests(SessionTestCase):
    """Deadlines of a session."""

    async def test_idle(self) -> None:
        """Without a byte for so long both sides are told 1001."""
        await self.start(settings=RouteSettings(idleTimeout=60))
        client, backend = await self.session()
        self.clock.advance(50)
        client.sayFrame(PING)
        await backend.frame()
        self.clock.advance(50)
        backend.sayFrame(PONG)
        await client.frame()
        self.clock.advance(59)
        await turns()
        self.assertEqual(bytes(client.heard), b"")
        self.clock.advance(1)
        await client.hearClose(1001, "idle")
        await backend.hearClose(1001, "idle")
        client.sayClose(1001)
        backend.sayClose(1001)
        await self.part(client, backend)
        await self.assertEnded(Party.RELAY, "idle for 60 s", 1001, 1001)

    async def test_idleAndGone(self) -> None:
        """Where nobody answers any more, the close timeout ends it."""
        await self.start(settings=RouteSettings(idleTimeout=60, closeTimeout=7))
        client, backend = await self.session()
        self.clock.advance(60)
        for peer in (client, backend):
            await peer.hearClose(1001, "idle")
        self.clock.advance(7)
        await self.leave(client, backend)
        await self.assertEnded(Party.RELAY, "idle", 1001, 1001)

    async def test_forEver(self) -> None:
        """Without an idle timeout a silent session stays."""
        await self.start(settings=RouteSettings(idleTimeout=None))
        client, backend = await self.session()
        self.clock.advance(10_000_000)
        client.sayFrame(TEXT, b"still here")
        await backend.hearText(b"still here")

    async def test_stop(self) -> None:
        """When the relay stops, every session is told 1001."""
        await self.start()
        client, backend = await self.session()
        self.assertEqual(self.relay.openCount, 1)
        self.relay.leaveAll()
        for peer in (client, backend):
            await peer.hearClose(1001)
            peer.sayClose(1001)
        await self.part(client, backend)
        await self.assertEnded(Party.RELAY, "the relay stops", 1001, 1001)
        self.assertEqual(self.relay.openCount, 0)


class PluginTests(SessionTestCase):
    """What message filters do to a session."""

    async def ended(self, client: Client, backend: Server, code: int, reason: str = "") -> None:
        """Both are told, answer, and leave."""
        for peer in (client, backend):
            await peer.hearClose(code, reason)
            peer.sayClose(code)
        await self.part(client, backend)

    async def test_raises(self) -> None:
        """A hook that fails ends that session with 1011, and no other."""
        for broken in (raises, lambda _: fail(Oops("x")), lambda _: later(Oops("x"))):
            hooks = Hooks(lambda message, b=broken: b(message) if message.text == "x" else None)
            await self.start(filters={"broken": hooks})
            client, backend = await self.session()
            other, otherBackend = await self.session()
            client.sayFrame(TEXT, b"x")
            client.sayFrame(TEXT, b"y")
            await self.ended(client, backend, 1011)
            await self.assertEnded(Party.PLUGIN, "broken: Oops", 1011, 1011)
            self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)
            other.sayFrame(TEXT, b"fine")
            await otherBackend.hearText(b"fine")
            await self.again()

    async def test_nonsense(self) -> None:
        """So does one whose answer means nothing."""
        for value in (17, {"a": 1}, [b"x", object()], Message(b"\xff", True)):
            await self.start(filters={"odd": Hooks(lambda _, v=value: v)})
            client, backend = await self.session()
            client.sayFrame(TEXT, b"x")
            await self.ended(client, backend, 1011)
            await self.assertEnded(Party.PLUGIN, "odd: ", 1011, 1011)
            self.assertEqual(len(self.flushLoggedErrors()), 1)
            await self.again()

    async def test_close(self) -> None:
        """A hook that says Close: both sides get its code and reason."""
        await self.start(filters={"door": Hooks(lambda message: Close(4003, "no"))})
        client, backend = await self.session()
        client.sayFrame(TEXT, b"x")
        await self.ended(client, backend, 4003, "no")
        await self.assertEnded(Party.PLUGIN, "door closed: 4003 no", 4003, 4003)

    async def test_verdicts(self) -> None:
        """A hook may drop, change, answer, or do several of these."""
        answers: dict[str, Any] = {
            "same": None,
            "drop": Drop(),
            "bytes": b"BYTES",
            "text": "TEXT",
            "reply": Reply("no"),
            "all": ["one", Reply("two"), "three"],
        }
        await self.start(filters={"all": Hooks(lambda message: answers[message.text])})
        client, backend = await self.session()
        for name in answers:
            client.sayFrame(TEXT, name.encode())
        for heard in (b"same", b"BYTES", b"TEXT", b"one", b"three"):
            await backend.hearText(heard)
        for heard in (b"no", b"two"):
            await client.hearText(heard)

    async def test_later(self) -> None:
        """While a hook thinks, that direction of that session waits, and order is kept."""
        waits: list[Deferred[Any]] = [Deferred(), Deferred()]
        hooks = Hooks(lambda message: waits[int(message.text)] if message.text < "2" else None)
        await self.start(filters={"slow": hooks})
        client, backend = await self.session()
        for text in (b"0", b"1", b"2"):
            client.sayFrame(TEXT, text)
        await turns()
        backend.sayFrame(TEXT, b"free")
        await client.hearText(b"free")
        self.assertEqual(bytes(backend.heard), b"")
        waits[1].callback("one")
        await turns()
        self.assertEqual(bytes(backend.heard), b"")
        waits[0].callback(None)
        for text in (b"0", b"one", b"2"):
            await backend.hearText(text)

    async def test_gone(self) -> None:
        """An answer that comes after the end changes nothing."""
        wait: Deferred[Any] = Deferred()
        await self.start(filters={"slow": Hooks(lambda message: wait)})
        client, backend = await self.session()
        client.sayFrame(TEXT, b"x")
        await turns()
        client.vanish()
        backend.vanish()
        await self.ends()
        wait.callback("late")
        self.assertEqual(len(self.closed()), 1)

    async def test_order(self) -> None:
        """Several filters: first to last towards the backend, last to first back."""

        def mark(name: str) -> Hooks:
            return Hooks(lambda message: message.text + name, lambda message: message.text + name)

        await self.start(filters={"a": mark("a"), "b": mark("b")})
        client, backend = await self.session()
        client.sayFrame(TEXT, b"-")
        await backend.hearText(b"-ab")
        backend.sayFrame(TEXT, b"-")
        await client.hearText(b"-ba")

    async def test_send(self) -> None:
        """A plugin may say something of its own, either way, between two messages."""
        for hooks in (Hooks(), Hooks(look, look)):
            await self.start(filters={"say": hooks})
            client, backend = await self.session()
            (session,) = hooks.sessions or [None]
            if session is None:
                # Nobody reads messages: the session is known to the relay only.
                (session,) = self.relay._open
            client.sayFrame(TEXT, b"ha", fin=False)
            self.assertIn(
                (TEXT, b"ha"), [await backend.frame()] if not hooks.sessions else [(TEXT, b"ha")]
            )
            session.send(UP, "up")
            session.send(DOWN, b"down")
            self.assertEqual(await client.frame(), (0x80 | BINARY, b"down"))
            if hooks.sessions:
                await backend.hearText(b"up")
                client.sayFrame(CONTINUATION, b"lf")
                self.assertEqual(await backend.frame(), (TEXT, b"ha"))
                self.assertEqual(await backend.frame(), (0x80 | CONTINUATION, b"lf"))
            else:
                client.sayFrame(CONTINUATION, b"lf")
                self.assertEqual(await backend.frame(), (0x80 | CONTINUATION, b"lf"))
                await backend.hearText(b"up")
            client.sayClose()
            await backend.hearClose(1000)
            session.send(UP, "never")
            backend.sayClose()
            await client.hearClose(1000)
            session.send(DOWN, "never")
            await self.part(client, backend)
            await self.again()

    async def test_whileAttached(self) -> None:
        """What a plugin asks for while it is being attached happens as soon as it can."""

        def greet(session: Any) -> None:
            session.send(DOWN, "welcome")
            session.send(UP, "somebody came")

        await self.start(filters={"greet": Hooks(look, attached=greet)})
        client, backend = await self.session()
        await client.hearText(b"welcome")
        await backend.hearText(b"somebody came")
        await self.again()
        await self.start(
            filters={"door": Hooks(look, attached=lambda session: session.close(4000, "full"))}
        )
        client, backend = await self.session()
        await self.ended(client, backend, 4000, "full")
        await self.assertEnded(Party.PLUGIN, "closed: 4000 full", 4000, 4000)

    async def test_sessionClose(self) -> None:
        """A plugin may end it at any time, once, with any code that may be sent."""
        hooks = Hooks(look)
        await self.start(filters={"close": hooks})
        client, backend = await self.session()
        (session,) = hooks.sessions
        heard: list[CloseReason] = []
        session.whenClosed(heard.append)
        self.assertRaises(ValueError, session.close, 1005)
        session.close(4000, "enough")
        session.close(4001, "again")
        await self.ended(client, backend, 4000, "enough")
        end = await self.assertEnded(Party.PLUGIN, "closed: 4000 enough", 4000, 4000)
        session.close(4002)
        session.send(UP, "never")
        session.whenClosed(heard.append)
        self.assertEqual(heard, [end.reason, end.reason])
        self.assertEqual(dict(end.codes), {Party.CLIENT: 4000, Party.BACKEND: 4000})

    async def test_facts(self) -> None:
        """A plugin sees who is connected to whom."""
        hooks = Hooks(look)
        await self.start(filters={"look": hooks})
        client, backend = await self.session(
            offer=b"Sec-WebSocket-Protocol: a, b\r\n", accept=b"Sec-WebSocket-Protocol: b\r\n"
        )
        (session,) = hooks.sessions
        self.assertEqual(session.subprotocol, "b")
        self.assertEqual(session.id, session.inbound.id)
        self.assertEqual(session.inbound.request.target, "/chat")
        self.assertEqual(session.route.filters, ("look",))
        self.assertTrue(session.backend.startswith("http://127.0.0.1:"))
        client.sayFrame(TEXT, b"hello")
        await backend.hearText(b"hello")
        self.assertEqual(session.counts()[UP].messages, 1)


class NativeCloseTests(OnNativePlane, CloseTests):
    """The same on the native engine."""


class NativeTrafficTests(OnNativePlane, TrafficTests):
    """The same on the native engine."""


class NativeViolationTests(OnNativePlane, ViolationTests):
    """The same on the native engine."""


class NativeVanishTests(OnNativePlane, VanishTests):
    """The same on the native engine."""


class NativePluginTests(OnNativePlane, PluginTests):
    """The same on the native engine."""

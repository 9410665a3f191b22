"""
What every engine does with TLS legs, between peers that use all of it (see L{OpenSSLPeer}).

The client's leg is a server of TLS, as behind an C{ssl:} endpoint; the backend's leg is a
client of it, as a pool's are.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory
from twisted.internet.ssl import TLSVersion
from twisted.trial.unittest import SkipTest
from zope.interface import implementer

from tests.plane.bytesuite import MUCH, pattern
from tests.plane.openssl import (
    FINISHED,
    KEY_UPDATE,
    NEW_SESSION_TICKET,
    TLS12,
    TLS13,
    OpenSSLPeer,
)
from tests.plane.worlds import DOWN, UnderTLS, UnderTLS12, World, certificate
from wsrelay.model import Direction
from wsrelay.plane.legs import Leg, LegFactory
from wsrelay.tls.backends import BackendTLS

__all__ = ["BetweenOpenSSL12", "BetweenOpenSSL13", "TLSSuite"]

_VERSIONS = {TLSVersion.TLSv1_2: TLS12, TLSVersion.TLSv1_3: TLS13}


@implementer(IHandshakeListener)
class _Dialled(Leg):
    isGreeted = False

    def handshakeCompleted(self) -> None:
        self.isGreeted = True


class _Word:
    """Waits for a word."""

    isHeard = False

    def received(self, data: bytes) -> None:
        self.isHeard = True

    def finished(self) -> None:
        """Not before the word."""

    def lost(self, reason: Any) -> None:
        """Not before the word."""


class BetweenOpenSSL13(UnderTLS):
    """TLS 1.3 on both legs, by another library at the other ends."""

    client: Any
    backend: Any

    def peers(self) -> Any:
        """A client."""
        return OpenSSLPeer(_VERSIONS[self.version])

    def _client(self, port: int) -> Any:
        return TCP4ClientEndpoint(self.clock, "127.0.0.1", port)

    async def pairs(self) -> tuple[Leg, Leg]:
        """See L{World.pairs}."""
        client, self.client = await self.pair()
        backend, self.backend = await self._dialled()
        return client, backend

    async def _dialled(self) -> tuple[Leg, OpenSSLPeer]:
        pem = self.mktemp()
        own = certificate()
        with open(pem, "wb") as file:
            file.write(own.dumpPEM() + own.privateKey.dump(1))
        arrived: Deferred[OpenSSLPeer] = Deferred()
        gone: Deferred[None] = Deferred()

        def build() -> OpenSSLPeer:
            peer = OpenSSLPeer(_VERSIONS[self.version], pem)
            arrived.callback(peer)
            return peer

        there = Factory.forProtocol(build)
        there.noisy = False
        port = await TCP4ServerEndpoint(self.clock, 0, interface="127.0.0.1").listen(there)
        creator = BackendTLS(verify=False).connectionCreator("127.0.0.1")
        endpoint = wrapClientTLS(creator, self._client(port.getHost().port))
        factory = LegFactory(lambda: _Dialled(lambda leg: None, lambda: gone.callback(None)))
        leg: Any = await endpoint.connect(factory)
        peer = await arrived
        await self.greet(leg, peer)
        leg.hold()
        await port.stopListening()
        self.addCleanup(self._leave, leg, peer, gone)
        return leg, peer


class BetweenOpenSSL12(BetweenOpenSSL13, UnderTLS12):
    """The same with TLS 1.2."""


class TLSSuite(World):
    """TLS after the handshake."""

    client: Any
    backend: Any
    version: TLSVersion

    def only(self, version: TLSVersion, what: str) -> None:
        """Leave the test out where TLS is of another version."""
        if self.version != version:
            raise SkipTest(f"only {version.name} has {what}")

    async def talk(self, size: int = 100_000) -> None:
        """Both directions work, at the same time and byte by byte."""
        data = pattern(size)
        for direction in Direction:
            self.sender(direction).say(data)
        for direction in Direction:
            await self.hears(self.receiver(direction), data)

    async def quiet(self) -> tuple[Leg, Leg]:
        """Two legs that have read all that was sent so far, tickets too."""
        legs = await self.pairs()
        for leg, peer in zip(legs, (self.client, self.backend), strict=True):
            word = _Word()
            peer.say(b"?")
            leg.hand(word)
            leg.resumeProducing()
            await self.until(lambda: word.isHeard)  # noqa: B023  # used at once
            leg.hold()
        return legs

    async def test_version(self) -> None:
        """Both legs speak the version that this world is about, whatever is relayed."""
        await self.link()
        await self.talk()
        await self.talk(1)

    async def test_keyUpdate(self) -> None:
        """A side may change its keys at any time, and nobody else notices."""
        self.only(TLSVersion.TLSv1_3, "KeyUpdate")
        await self.link()
        for _ in range(3):
            for direction in Direction:
                self.sender(direction).update(False)
                await self.talk()
        for peer in (self.client, self.backend):
            self.assertNotIn(KEY_UPDATE, peer.messages)

    async def test_keyUpdateRequested(self) -> None:
        """A side may ask for new keys of the relay's: it gets them before what comes next."""
        self.only(TLSVersion.TLSv1_3, "KeyUpdate")
        await self.link()
        for count in (1, 2, 3):
            for direction in Direction:
                self.sender(direction).update(True)
                self.sender(direction).flush()
                await self.talk()
                # What the relay wrote before it read of that could still have the old ones.
                self.receiver(direction).say(b"new")
                await self.hears(self.sender(direction), b"new")
                self.assertEqual(self.sender(direction).messages.count(KEY_UPDATE), count)

    async def test_keyUpdateOnly(self) -> None:
        """A side that asks for new keys and says nothing gets them with what is said to it."""
        self.only(TLSVersion.TLSv1_3, "KeyUpdate")
        for direction in Direction:
            await self.link()
            peer = self.sender(direction)
            peer.update(True)
            peer.flush()
            self.receiver(direction).say(b"for you")
            await self.hears(peer, b"for you")

    async def test_keyUpdateUnderWay(self) -> None:
        """Keys change in the middle of much data, while nobody reads for a while."""
        self.only(TLSVersion.TLSv1_3, "KeyUpdate")
        await self.link()
        data = pattern(MUCH // 4)
        for peer in (self.client, self.backend):
            peer.pause()
        for part in range(4):
            for direction in Direction:
                peer = self.sender(direction)
                peer.say(data[part * len(data) // 4 :][: len(data) // 4])
                peer.update(isRequested=bool(part % 2))
                peer.flush()
            await self.turn()
        for peer in (self.client, self.backend):
            peer.resume()
        for direction in Direction:
            await self.hears(self.receiver(direction), data)

    async def test_tickets(self) -> None:
        """A backend's tickets, with the handshake and at any time later, are for the relay."""
        self.only(TLSVersion.TLSv1_3, "tickets behind the handshake")
        await self.link()
        for count in range(3):
            for _ in range(count):
                self.backend.ticket()
            await self.talk()
            self.backend.say(b"before a ticket, ")
            self.backend.ticket()
            self.backend.say(b"after it")
            await self.hears(self.client, b"before a ticket, after it")
        # The relay gives its clients tickets, too, as a server of TLS.
        self.assertIn(NEW_SESSION_TICKET, self.client.messages)

    async def test_earlyTicket(self) -> None:
        """Tickets that nobody has read when a link begins do not stand in the way."""
        self.only(TLSVersion.TLSv1_3, "tickets behind the handshake")
        client, backend = await self.quiet()
        self.backend.ticket()
        self.backend.encrypt(b"early")
        backend.transport.dataReceived(self.backend.records())
        self.backend.ticket()
        self.backend.say(b" and late")
        self.join(client, backend).start()
        await self.hears(self.client, b"early and late")
        await self.talk()

    async def test_renegotiation(self) -> None:
        """A side that wants another handshake does not get it."""
        self.only(TLSVersion.TLSv1_2, "renegotiation")
        for direction in Direction:
            await self.link()
            peer = self.sender(direction)
            handshakes = peer.messages.count(FINISHED)
            peer.renegotiate()
            # It is told so, and gives up; the other side learns of that.
            await self.until(lambda: peer.error)  # noqa: B023  # used at once
            self.assertEqual(peer.messages.count(FINISHED), handshakes)
            await self.until(lambda: self.owner.named("lost"))
            self.linked.abort()

    async def test_cutAnywhere(self) -> None:
        """A link may begin when any part of a record has come: all of it arrives, once."""
        for direction in Direction:
            # The head of a record has five bytes.
            for at in (0, 1, 4, 5, 6, 20, -40, -7, -1, None):
                legs = await self.quiet()
                peer = self.sender(direction)
                peer.encrypt(b"one, ")
                if self.version == TLSVersion.TLSv1_3:
                    peer.update(True)
                peer.encrypt(b"two")
                data = peer.records()
                came, rest = data[:at], data[len(data[:at]) :]
                if came:
                    # As if it had come, no more and no less.
                    legs[direction is DOWN].transport.dataReceived(came)
                self.join(*legs).start()
                if rest:
                    peer.transport.write(rest)
                await self.hears(self.receiver(direction), b"one, two")
                await self.talk(100)
                await self.leave()

    async def leave(self) -> None:
        """End this link at once, and wait for that."""
        self.linked.abort()
        await self.until(lambda: len(self.owner.named("lost")) == 2)

    async def test_close(self) -> None:
        """Who closes says so, hears so in return, and so does the other side."""
        for direction in Direction:
            await self.link()
            sender, receiver = self.sender(direction), self.receiver(direction)
            self.owner.reactions["lost"] = lambda *event: self.linked.close()
            data = pattern(100_000)
            sender.say(data)
            sender.close()
            await self.hears(receiver, data)
            for peer in (sender, receiver):
                await self.until(lambda: peer.reason is not None)  # noqa: B023  # used at once
                self.assertTrue(peer.isClean)
                self.assertFalse(peer.error)
            await self.event("lost", direction, True)

    async def test_closeByTheRelay(self) -> None:
        """Both sides hear of an end that is the relay's, behind all that was said to them."""
        link = await self.link()
        data = pattern(100_000)
        for direction in Direction:
            self.sender(direction).say(data)
        for direction in Direction:
            await self.hears(self.receiver(direction), data)
        link.close()
        for peer in (self.client, self.backend):
            await self.until(lambda: peer.reason is not None)  # noqa: B023  # used at once
            self.assertTrue(peer.isClean)

    async def test_closeToASlowReader(self) -> None:
        """The end is said to who reads late, too, however full its connection was."""
        for size in range(600_000, 660_000, 4000):
            await self.link()
            data = pattern(size)
            self.owner.reactions["lost"] = lambda *event: self.linked.close()
            self.client.pause()
            self.backend.say(data)
            self.backend.close()
            await self.until(lambda: self.backend.reason is not None or self.isStuck())
            self.client.resume()
            await self.hears(self.client, data)
            await self.until(lambda: self.client.reason is not None)
            self.assertTrue(self.client.isClean, f"cut off after {size} bytes")

    def isStuck(self) -> bool:
        """Whether the relay has stopped reading from the backend, for want of room."""
        count = self.linked.counts()[DOWN].bytes
        was, self._was = getattr(self, "_was", -1), count
        self._same = getattr(self, "_same", 0) + 1 if was == count else 0
        return self._same > 50

    async def test_truncated(self) -> None:
        """A stream that ends without close_notify is a broken one: somebody may have cut it."""
        for direction in Direction:
            await self.link()
            self.sender(direction).say(b"half of it")
            self.sender(direction).cut()
            await self.hears(self.receiver(direction), b"half of it")
            await self.event("lost", direction, False)
            await self.leave()

    async def test_truncatedRecord(self) -> None:
        """So is one that ends inside a record, of which nothing is handed on."""
        for direction in Direction:
            await self.link()
            peer = self.sender(direction)
            peer.say(b"whole")
            peer.encrypt(b"not whole")
            peer.transport.write(peer.records()[:-1])
            peer.cut()
            await self.hears(self.receiver(direction), b"whole")
            await self.event("lost", direction, False)
            await self.leave()
            self.assertEqual(self.receiver(direction).take(), b"")

    async def test_forged(self) -> None:
        """A record that somebody has changed breaks the connection; nothing of it is handed on."""
        for direction in Direction:
            await self.link()
            peer = self.sender(direction)
            peer.say(b"true")
            peer.encrypt(b"false")
            record = bytearray(peer.records())
            record[-1] ^= 1
            peer.transport.write(bytes(record))
            await self.hears(self.receiver(direction), b"true")
            await self.event("lost", direction, False)
            await self.until(lambda: peer.error)  # noqa: B023  # it is told: bad_record_mac
            await self.leave()
            self.assertEqual(self.receiver(direction).take(), b"")

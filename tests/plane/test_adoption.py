# -*- test-case-name: tests.plane.test_adoption -*-
"""
Taking connections over: from the extension's own transports, from Twisted's, under TLS.
"""

from __future__ import annotations

import errno
import gc
import os
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.plane.worlds import UP, OnSockets, OnTransports, Recorder, UnderTLS, World
from wsrelay.plane.legs import Leg
from wsrelay.testing import Peer, pair, settle

Adopter: Any = None
try:
    from wsrelay.plane.adoption import Adopted, Adopter, TwistedGrip, adopt, take
except ImportError:
    _SKIP: str | None = "the extension is not built: no compiler, or another platform"
else:
    _SKIP = None


class _Link:
    """A link of the extension's, as far as a leg can reach it."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def close(self) -> None:
        """End it."""
        self.told.append("close")

    def abort(self) -> None:
        """End it at once."""
        self.told.append("abort")


class _Taking(World):
    """What is the same wherever a connection comes from."""

    async def gripped(self) -> tuple[Leg, Peer, Any]:
        """A leg, its peer, and what has it in its grip."""
        leg, peer = await self.pair()
        return leg, peer, Adopter().grip(leg)

    async def adopted(self) -> tuple[Leg, Any, _Link, Recorder]:
        """A leg that was taken, its stand-in, its link and the owner."""
        leg, _, grip = await self.gripped()
        self.assertTrue(Adopter().secure(grip))
        end, *_ = take(leg, grip)
        os.close(_descriptorOf(end))
        link, owner = _Link(), Recorder()
        adopt(leg, grip, link, UP, owner)
        stand: Any = leg.transport
        self.addCleanup(lambda: leg.isLost or stand.end(leg, Failure(CONNECTION_DONE)))
        return leg, stand, link, owner

    async def test_take(self) -> None:
        """The descriptor is ours, with all that was read and has not been used."""
        leg, peer, grip = await self.gripped()
        leg.hold(b"held ")
        adopter = Adopter()
        self.assertTrue(adopter.secure(grip))
        end, ssl, early, unsent = take(leg, grip)
        descriptor = _descriptorOf(end)
        self.addCleanup(os.close, descriptor)
        self.assertEqual((bool(ssl), early, unsent), (self.isTLS, b"held ", b""))
        if not self.isTLS:
            os.write(descriptor, b"from ours")
            await self.hears(peer, b"from ours")
        self.addCleanup(self._end, leg, grip)

    def _end(self, leg: Leg, grip: Any) -> None:
        adopt(leg, grip, _Link(), UP, Recorder())
        stand: Any = leg.transport
        stand.end(leg, Failure(CONNECTION_DONE))

    async def test_facts(self) -> None:
        """Where the peer is can be asked as before, by both names."""
        leg, _ = await self.pair()
        before = leg.peer, leg.transport.getPeer()
        grip = Adopter().grip(leg)
        self.assertTrue(Adopter().secure(grip))
        end, *_ = take(leg, grip)
        os.close(_descriptorOf(end))
        adopt(leg, grip, _Link(), UP, Recorder())
        stand: Any = leg.transport
        self.addCleanup(stand.end, leg, Failure(CONNECTION_DONE))
        self.assertIsInstance(stand, Adopted)
        self.assertEqual((leg.peer, stand.getPeer()), before)
        self.assertRaises(AttributeError, getattr, stand, "noSuchFact")
        self.assertEqual(hasattr(stand, "getPeerCertificate"), self.isTLS)

    async def test_ending(self) -> None:
        """Whoever ends the leg ends the link."""
        leg, stand, link, _ = await self.adopted()
        stand.pauseProducing()
        stand.resumeProducing()
        leg.abort()
        leg.finish()
        leg.close()
        self.assertEqual(link.told, ["abort", "close", "close"])
        self.assertFalse(leg.isLost)

    async def test_lost(self) -> None:
        """The end is told once, to the leg and the owner, and then the owner is let go."""
        leg, stand, _, owner = await self.adopted()
        self.assertIn(owner, gc.get_referents(stand))
        stand.end(leg, Failure(ConnectionDone()))
        self.assertTrue(leg.isLost)
        self.assertEqual(owner.events, [("lost", UP, True)])
        stand.lost(Failure(ConnectionDone()))
        self.assertEqual(len(owner.events), 1)
        self.assertNotIn(owner, gc.get_referents(stand))

    async def test_leaving(self) -> None:
        """What is lost cannot be taken, nor what is being closed."""
        leg, peer = await self.pair()
        peer.pause()
        leg.write(bytes(4_000_000))
        leg.close()
        self.assertIsNone(Adopter().grip(leg))
        leg.abort()
        await self.until(lambda: leg.isLost)
        self.assertIsNone(Adopter().grip(leg))


def _descriptorOf(end: Any) -> int:
    """What a link would have of it, and nobody else then."""
    if isinstance(end, int):
        return end
    descriptor = os.dup(end.fileno())
    end.protocol = None
    end.loseConnection()
    return descriptor


class NativeTests(OnTransports, _Taking, TestCase):
    """The extension's own transports."""

    skip = _SKIP

    async def test_asItStands(self) -> None:
        """The link gets the transport itself; nobody else needs it any more."""
        leg, _, grip = await self.gripped()
        self.assertIs(grip, leg.transport)
        end, *_ = take(leg, grip)
        self.assertIs(end, grip)
        os.close(_descriptorOf(end))
        self.addCleanup(self._end, leg, grip)
        adopt(leg, grip, _Link(), UP, Recorder())
        self.assertNotIn(grip, gc.get_referents(leg.transport))
        self.assertFalse(leg.transport.connected)


class TwistedTests(OnSockets, _Taking, TestCase):
    """Twisted's transports."""

    skip = _SKIP

    async def test_duplicate(self) -> None:
        """The number is another one than the transport's, which the reactor lets be."""
        leg, _, grip = await self.gripped()
        transport: Any = leg.transport
        self.assertTrue(Adopter().secure(grip))
        self.assertNotEqual(grip.descriptor, transport.fileno())
        transport.resumeProducing()
        self.assertIn(transport, self.clock.getReaders())
        take(leg, grip)
        self.assertNotIn(transport, self.clock.getReaders())
        os.close(grip.descriptor)
        self._end(leg, grip)

    async def test_unsent(self) -> None:
        """What was written and has not left is handed out, and not sent a second time."""
        leg, _, grip = await self.gripped()
        leg.write(b"one ")
        leg.write(b"two")
        self.assertTrue(Adopter().secure(grip))
        descriptor, _, _, unsent = take(leg, grip)
        os.close(descriptor)
        self.assertEqual(unsent, b"one two")
        transport: Any = leg.transport
        self.assertEqual((transport.dataBuffer, transport._tempDataBuffer), (b"", []))
        self._end(leg, grip)

    async def test_noDescriptors(self) -> None:
        """When there are not enough descriptors, those that were had are given back."""
        _, _, one = await self.gripped()
        _, _, other = await self.gripped()
        real, had = os.dup, []

        def dup(descriptor: int) -> int:
            if had:
                raise OSError(errno.EMFILE, "Too many open files")
            had.append(real(descriptor))
            return had[0]

        self.patch(os, "dup", dup)
        self.assertFalse(Adopter().secure(one, other))
        self.assertRaises(OSError, os.fstat, had[0])


class TLSTests(UnderTLS, _Taking, TestCase):
    """TLS on Twisted's transports."""

    skip = _SKIP

    async def test_decrypted(self) -> None:
        """What OpenSSL has read already is handed out, whether it was decrypted or not."""
        leg, peer, grip = await self.gripped()
        transport: Any = grip.transport
        peer.say(b"behind the handshake")
        received = b""
        # As the reactor would have read it, had the leg not held still.
        while not received:
            await self.turn()
            try:
                received = transport.socket.recv(65536)
            except BlockingIOError:
                continue
        grip.session.bio_write(received)
        self.assertTrue(Adopter().secure(grip))
        descriptor, _, early, _ = take(leg, grip)
        os.close(descriptor)
        self._end(leg, grip)
        self.assertEqual(early, b"behind the handshake")

    async def test_sessionIsKept(self) -> None:
        """The session lives as long as the leg's stand-in, whatever Twisted lets go."""
        _, stand, _, _ = await self.adopted()
        (grip,) = [each for each in gc.get_referents(stand) if isinstance(each, TwistedGrip)]
        self.assertIsNotNone(grip.session)

    async def test_outOfReach(self) -> None:
        """Without OpenSSL's functions TLS is not taken, and that is said once."""
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        adopter = Adopter()
        adopter._openssl = None
        leg, _ = await self.pair()
        self.assertIsNone(adopter.grip(leg))
        self.assertIsNone(adopter.grip(leg))
        said = [each for each in events if "portable plane" in (each.get("log_format") or "")]
        self.assertEqual(len(said), 1)


class NotTakenTests(SynchronousTestCase):
    """What has no socket."""

    skip = _SKIP

    def test_memory(self) -> None:
        """A transport in memory is nobody's to take."""
        clock = Clock()
        leg, _ = pair(clock)
        self.assertIsNone(Adopter().grip(leg))
        leg.abort()
        settle(clock)

    def test_functions(self) -> None:
        """OpenSSL's functions have addresses, or there are none at all."""
        functions = Adopter().tlsFunctions
        self.assertIn(len(functions), (0, 5))
        self.assertTrue(all(functions))

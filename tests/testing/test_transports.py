# -*- test-case-name: tests.testing.test_transports -*-
"""
Connections in memory behave as connections do.

That they behave as TCP does is shown by L{tests.plane.suite}, which a plane passes on both.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.plane.test_legs import Producer
from wsrelay.plane.legs import Leg
from wsrelay.testing import MemoryTransport, Peer, join, pair, settle


class Closed(Protocol):
    """A protocol that knows no half-close."""

    reason: Failure | None = None

    def connectionLost(self, reason: Any = None) -> None:
        """Remember why."""
        self.reason = reason


class TransportTests(SynchronousTestCase):
    """Two peers, joined."""

    def setUp(self) -> None:
        """Two peers that can half-close."""
        self.clock = Clock()
        self.one, self.other = Peer(), Peer()
        self.left, self.right = join(self.clock, self.one, self.other)

    def kinds(self) -> list[type[BaseException] | None]:
        """Why the connections of both are gone."""
        return [peer.reason and peer.reason.type for peer in (self.one, self.other)]

    def test_interfaces(self) -> None:
        """A transport is what a protocol expects it to be."""
        for interface in (ITransport, IConsumer, IPushProducer):
            verifyObject(interface, self.left)
        self.assertEqual(self.left.getPeer(), self.right.getHost())
        self.assertEqual(self.left.getHost(), self.right.getPeer())

    def test_nothingBeforeItsTurn(self) -> None:
        """Nothing is ever called from within a call."""
        self.one.say(b"x")
        self.one.finish()
        self.other.abort()
        self.assertEqual((self.other.take(), self.kinds()), (b"", [None, None]))

    def test_bothWays(self) -> None:
        """What one says the other hears."""
        self.one.say(b"one")
        self.one.transport.writeSequence([b", ", b"two"])
        self.other.say(b"three")
        settle(self.clock)
        self.assertEqual((self.other.take(), self.one.take()), (b"one, two", b"three"))
        self.assertEqual(self.other.take(), b"")

    def test_onlyBytes(self) -> None:
        """What is not bytes is refused where it is written."""
        self.assertRaises(TypeError, self.one.say, "x")

    def test_pause(self) -> None:
        """Who does not read hears nothing, not even the end."""
        self.other.pause()
        self.one.say(b"x")
        self.one.finish()
        settle(self.clock)
        self.assertEqual((self.other.take(), self.other.isOver), (b"", False))
        self.other.resume()
        settle(self.clock)
        self.assertEqual((self.other.take(), self.other.isEnded), (b"x", True))

    def test_producer(self) -> None:
        """A producer is paused while there is too much to write, and resumed without any."""
        producer = Producer()
        self.left.registerProducer(producer, True)
        self.assertRaises(RuntimeError, self.left.registerProducer, producer, True)
        self.other.pause()
        self.one.say(bytes(MemoryTransport.bufferSize))
        self.assertEqual((producer.told, self.left.isFull), ([], False))
        self.one.say(b"x")
        self.assertEqual((producer.told, self.left.isFull), (["pause"], True))
        settle(self.clock)
        self.assertEqual(producer.told, ["pause"])
        self.other.resume()
        settle(self.clock)
        self.assertEqual(producer.told, ["pause", "resume"])
        self.left.unregisterProducer()
        self.one.abort()
        settle(self.clock)
        self.left.registerProducer(producer, True)
        self.assertEqual(producer.told, ["pause", "resume", "stop"])

    def test_pullProducer(self) -> None:
        """A pull producer is asked for more whenever everything is written."""
        asked: list[int] = []

        class Pull(Producer):
            def resumeProducing(self) -> None:
                asked.append(1)
                if len(asked) < 4:
                    transport.write(b"x")

        transport = self.left
        transport.registerProducer(Pull(), False)
        settle(self.clock)
        self.assertEqual(self.other.take(), b"xxx")
        self.assertGreaterEqual(len(asked), 4)

    def test_halfClose(self) -> None:
        """After a half-close the other way is open, and what is written is thrown away."""
        self.one.say(b"question")
        self.one.finish()
        settle(self.clock)
        self.one.say(b"unheard")
        self.other.say(b"answer")
        settle(self.clock)
        self.assertEqual((self.other.take(), self.other.isEnded), (b"question", True))
        self.assertEqual((self.one.take(), self.one.isEnded), (b"answer", False))
        self.other.finish()
        settle(self.clock)
        self.assertEqual(self.kinds(), [None, None])
        self.one.close()
        self.assertEqual(self.kinds(), [ConnectionDone, None])
        self.other.close()
        self.assertEqual(self.kinds(), [ConnectionDone, ConnectionDone])

    def test_noHalfClose(self) -> None:
        """A protocol that knows no half-close, and TLS, are closed by the other's end."""
        closed, peer = Closed(), Peer()
        join(self.clock, peer, closed)
        peer.finish()
        settle(self.clock)
        assert closed.reason is not None
        self.assertIs(closed.reason.type, ConnectionDone)
        one, other = Peer(), Peer()
        left, _ = join(self.clock, one, other, isTLS=True)
        self.assertFalse(hasattr(left, "loseWriteConnection"))
        self.assertTrue(hasattr(left, "getPeerCertificate"))
        one.close()
        settle(self.clock)
        assert other.reason is not None
        self.assertEqual((other.reason.type, other.isEnded), (ConnectionDone, False))

    def test_close(self) -> None:
        """To close sends what was written; nothing more is read."""
        self.one.say(b"last")
        self.one.close()
        self.one.close()
        self.other.say(b"unread")
        settle(self.clock)
        self.assertEqual((self.other.take(), self.one.take()), (b"last", b""))
        # What was not read makes it a reset.
        self.assertEqual(self.kinds(), [ConnectionDone, ConnectionLost])

    def test_closeWaits(self) -> None:
        """To close towards somebody who does not read takes until he does."""
        self.other.pause()
        self.one.say(b"last")
        self.one.close()
        settle(self.clock)
        self.assertEqual(self.kinds(), [None, None])
        self.other.resume()
        settle(self.clock)
        self.assertEqual((self.other.take(), self.kinds()), (b"last", [ConnectionDone, None]))

    def test_writeToOneWhoLeft(self) -> None:
        """Who writes to somebody who has closed is reset."""
        self.one.close()
        settle(self.clock)
        self.assertTrue(self.other.isEnded)
        self.other.say(b"hello?")
        settle(self.clock)
        self.assertEqual(self.kinds(), [ConnectionDone, ConnectionLost])

    def test_abort(self) -> None:
        """To abort throws away what was written and resets the other."""
        self.one.say(b"unheard")
        self.one.abort()
        settle(self.clock)
        self.assertEqual(self.other.take(), b"")
        self.assertEqual(self.kinds(), [ConnectionAborted, ConnectionLost])
        self.one.abort()
        self.one.close()
        settle(self.clock)

    def test_unnoticedReset(self) -> None:
        """Who neither reads nor writes does not notice a reset."""
        self.other.pause()
        settle(self.clock)
        self.one.abort()
        settle(self.clock)
        self.assertEqual(self.kinds(), [ConnectionAborted, None])
        self.other.say(b"x")
        settle(self.clock)
        self.assertEqual(self.kinds(), [ConnectionAborted, ConnectionLost])

    def test_closingReadsNothing(self) -> None:
        """A transport that is closing is not made to read again."""
        self.other.pause()
        self.one.say(b"x")
        self.one.close()
        self.one.resume()
        self.other.say(b"y")
        settle(self.clock)
        self.assertEqual(self.one.take(), b"")

    def test_stopProducing(self) -> None:
        """As a producer, to be stopped is to be closed."""
        self.left.stopProducing()
        settle(self.clock)
        self.assertEqual(self.kinds(), [ConnectionDone, None])

    def test_pair(self) -> None:
        """A leg of somebody's own making can be paired, under TLS too."""
        mine = Leg()
        leg, peer = pair(self.clock, isTLS=True, leg=mine)
        self.assertIs(leg, mine)
        self.assertTrue(leg.isTLS)
        leg.write(b"x")
        settle(self.clock)
        self.assertEqual(peer.take(), b"x")
        self.assertFalse(pair(self.clock)[0].isTLS)


class SettleTests(SynchronousTestCase):
    """Turning the clock."""

    def test_now(self) -> None:
        """What is due is done, what is not is left, and no time passes."""
        clock, done = Clock(), []
        clock.callLater(0, lambda: clock.callLater(0, done.append, 1))
        clock.callLater(1, done.append, 2)
        settle(clock)
        self.assertEqual((done, clock.seconds()), ([1], 0))

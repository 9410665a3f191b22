# -*- test-case-name: tests.plane.test_legs -*-
"""
Legs: holding still, changing hands, and the end.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings, strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from wsrelay.model import Address
from wsrelay.plane.legs import Leg, LegFactory, addressOf
from wsrelay.testing import Peer, join, pair, settle


class Hearer:
    """A receiver that writes down what it hears, and then does something."""

    def __init__(self, then: Callable[[bytes], None] = lambda data: None) -> None:
        self.heard: list[Any] = []
        self._then = then

    def received(self, data: bytes) -> None:
        """Bytes came."""
        self.heard.append(data)
        self._then(data)

    def finished(self) -> None:
        """The end of the stream."""
        self.heard.append("finished")

    def lost(self, reason: Failure) -> None:
        """The end of the connection."""
        self.heard.append(reason.type)


class Producer:
    """A producer that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        """Do not read."""
        self.told.append("pause")

    def resumeProducing(self) -> None:
        """Read on."""
        self.told.append("resume")

    def stopProducing(self) -> None:
        """There is nobody to read for."""
        self.told.append("stop")


class LegTests(SynchronousTestCase):
    """One connection from accept or dial to its end."""

    def setUp(self) -> None:
        """A leg that holds still, and its peer."""
        self.clock = Clock()
        self.leg, self.peer = pair(self.clock)

    def say(self, *words: bytes) -> None:
        """Have the leg read these, one by one."""
        for word in words:
            self.peer.say(word)
            settle(self.clock)

    def hand(self, receiver: Hearer) -> None:
        """Put a receiver in charge, and read."""
        self.leg.resumeProducing()
        self.leg.hand(receiver)
        settle(self.clock)

    # -- changing hands

    def test_holdsStill(self) -> None:
        """A new leg does not read; who gets it first hears everything."""
        self.say(b"one", b"two")
        hearer = Hearer()
        self.hand(hearer)
        self.say(b"three")
        self.assertEqual(hearer.heard, [b"onetwo", b"three"])

    def test_made(self) -> None:
        """Who wants to know is told when the connection is there, and may read at once."""
        made: list[Leg] = []
        leg, peer = pair(self.clock, leg=Leg(made.append))
        self.assertEqual(made, [leg])
        peer.say(b"x")
        settle(self.clock)
        hearer = Hearer()
        leg.hand(hearer)
        self.assertEqual(hearer.heard, [b"x"])

    def test_rest(self) -> None:
        """What a receiver gives back is the first that the next one hears."""
        self.hand(Hearer(lambda data: self.leg.hold(data[5:])))
        self.say(b"head;body")
        self.say(b" and more")
        self.leg.hold(b"really ")
        hearer = Hearer()
        self.hand(hearer)
        self.assertEqual(b"".join(hearer.heard), b"really body and more")

    def test_givenBackWhileItHearsOldNews(self) -> None:
        """A receiver may give the leg back in the middle of what had been held, in order."""
        for word in (b"3", b"2", b"ab"):
            self.leg.hold(word)
        hearer = Hearer(lambda data: self.leg.hold(data[1:]))
        self.hand(hearer)
        self.assertEqual(hearer.heard, [b"ab"])
        hearer = Hearer()
        self.hand(hearer)
        self.assertEqual(hearer.heard, [b"b", b"2", b"3"])

    def test_givenOnWhileItHearsOldNews(self) -> None:
        """A receiver may pass the leg on at once: the next one hears the rest, all of it."""
        for word in (b"3", b"2", b"1"):
            self.leg.hold(word)
        second = Hearer()

        def passOn(data: bytes) -> None:
            self.leg.hold(b"rest")
            self.leg.hand(second)

        self.hand(Hearer(passOn))
        self.leg.resumeProducing()
        self.say(b"4")
        self.assertEqual(second.heard, [b"rest", b"2", b"3", b"4"])

    @given(st.lists(st.binary(min_size=1, max_size=5), max_size=6), st.integers(0, 30))
    @settings(max_examples=100, deadline=None)
    def test_nothingIsLostBetweenHands(self, words: list[bytes], cut: int) -> None:
        """However what was held is cut between two receivers, together they hear all of it."""
        leg, _ = pair(self.clock)
        for word in reversed(words):
            leg.hold(word)
        first: list[bytes] = []

        def take(data: bytes) -> None:
            room = cut - sum(map(len, first))
            first.append(data[:room])
            if len(data) >= room:
                leg.hold(data[room:])

        leg.hand(Hearer(take))
        second = Hearer()
        leg.hand(second)
        self.assertEqual(b"".join(first) + b"".join(second.heard), b"".join(words))
        self.assertLessEqual(sum(map(len, first)), cut)
        leg.abort()
        settle(self.clock)

    def test_takeEarly(self) -> None:
        """An engine that reads by itself takes what was held, once."""
        self.leg.hold(b"two")
        self.leg.hold(b"one ")
        self.assertEqual(self.leg.takeEarly(), b"one two")
        self.assertEqual(self.leg.takeEarly(), b"")

    # -- the end

    def test_endTold(self) -> None:
        """The end of the stream is told once to whoever is in charge then or comes after."""
        first, second = Hearer(), Hearer()
        self.hand(first)
        self.say(b"x")
        self.peer.finish()
        settle(self.clock)
        self.leg.hold(b"x")
        self.hand(second)
        self.assertEqual(first.heard, [b"x", "finished"])
        self.assertEqual(second.heard, [b"x", "finished"])

    def test_endToldOnceToOneWhoComesBack(self) -> None:
        """A receiver that gives the leg back and takes it again hears of the end once."""
        self.say(b"12")
        self.peer.finish()
        self.leg.resumeProducing()
        settle(self.clock)

        def again(data: bytes) -> None:
            if len(data) > 1:
                self.leg.hold(data[1:])
                self.leg.hand(hearer)

        hearer = Hearer(again)
        self.leg.hand(hearer)
        self.assertEqual(hearer.heard, [b"12", b"2", "finished"])

    def test_lostWhileHeld(self) -> None:
        """A connection lost meanwhile is told to the next receiver, behind what was held."""
        gone: list[bool] = []
        leg, peer = pair(self.clock, leg=Leg(gone=lambda: gone.append(True)))
        leg.resumeProducing()
        peer.say(b"last words")
        settle(self.clock)
        leg.hold()
        leg.resumeProducing()
        peer.abort()
        settle(self.clock)
        self.assertEqual((leg.isLost, gone), (True, [True]))
        hearer = Hearer()
        leg.hand(hearer)
        self.assertEqual(hearer.heard, [b"last words", ConnectionLost])
        again = Hearer()
        leg.hand(again)
        self.assertEqual(again.heard, [ConnectionLost])

    def test_lostOnce(self) -> None:
        """The loss is told once, and then the one who counts connections."""
        order: list[str] = []
        hearer = Hearer()
        leg, peer = pair(self.clock, leg=Leg(gone=lambda: order.append(str(hearer.heard))))
        leg.resumeProducing()
        leg.hand(hearer)
        peer.abort()
        settle(self.clock)
        leg.abort()
        leg.close()
        leg.finish()
        settle(self.clock)
        self.assertEqual(hearer.heard, [ConnectionLost])
        self.assertEqual(len(order), 1)
        self.assertIn("ConnectionLost", order[0])

    def test_closedWhileItHearsOldNews(self) -> None:
        """A receiver that closes a finished leg in the middle of old news hears of it once."""
        self.leg.finish()
        settle(self.clock)
        self.leg.hold(b"2")
        self.leg.hold(b"1")
        hearer = Hearer(lambda data: self.leg.close())
        self.leg.hand(hearer)
        self.assertEqual(hearer.heard, [b"1", ConnectionDone])

    def test_letsGo(self) -> None:
        """After the end a leg no longer knows its receiver."""
        hearer = Hearer()
        self.hand(hearer)
        self.assertIn(hearer, gc.get_referents(self.leg))
        self.leg.abort()
        settle(self.clock)
        self.assertNotIn(hearer, gc.get_referents(self.leg))

    def test_afterTheEnd(self) -> None:
        """Whatever is asked of a lost leg, nothing happens."""
        self.leg.abort()
        settle(self.clock)
        for word in (
            "pauseProducing",
            "resumeProducing",
            "finish",
            "close",
            "abort",
            "linger",
            "starve",
        ):
            getattr(self.leg, word)()
        producer = Producer()
        self.leg.feed(producer)
        self.assertEqual(producer.told, [])

    # -- writing and closing

    def test_feed(self) -> None:
        """Who feeds a leg is paused while its peer does not read; the last one counts."""
        first, second = Producer(), Producer()
        self.peer.pause()
        self.leg.feed(first)
        self.leg.feed(second)
        self.leg.write(bytes(100_000))
        self.assertEqual((first.told, second.told), ([], ["pause"]))
        self.peer.resume()
        settle(self.clock)
        self.assertEqual(second.told, ["pause", "resume"])
        self.leg.starve()
        self.peer.pause()
        self.leg.write(bytes(100_000))
        self.assertEqual(second.told, ["pause", "resume"])

    def test_finish(self) -> None:
        """A half-close goes out behind what was written, and the leg reads on."""
        hearer = Hearer()
        self.hand(hearer)
        self.leg.feed(Producer())
        self.leg.write(b"all")
        self.leg.finish()
        settle(self.clock)
        self.assertEqual((self.peer.take(), self.peer.isEnded), (b"all", True))
        self.say(b"answer")
        self.assertEqual(hearer.heard, [b"answer"])

    def test_finishUnderTLS(self) -> None:
        """TLS has no half-close: finishing is closing."""
        leg, peer = pair(self.clock, isTLS=True)
        self.assertTrue(leg.isTLS)
        self.assertFalse(self.leg.isTLS)
        leg.write(b"all")
        leg.finish()
        settle(self.clock)
        self.assertEqual((peer.take(), leg.isLost), (b"all", True))
        assert peer.reason is not None
        self.assertIs(peer.reason.type, ConnectionDone)

    def test_closeAndAbort(self) -> None:
        """To close sends what was written, to abort does not."""
        for word, heard, reason in [
            ("close", b"all", ConnectionDone),
            ("abort", b"", ConnectionAborted),
        ]:
            leg, peer = pair(self.clock)
            hearer = Hearer()
            leg.hand(hearer)
            leg.write(b"all")
            getattr(leg, word)()
            settle(self.clock)
            self.assertEqual((peer.take(), hearer.heard), (heard, [reason]))

    def test_linger(self) -> None:
        """To linger sends FIN at once, reads on, and closes when the peer has finished too."""
        hearer = Hearer()
        self.hand(hearer)
        self.leg.write(b"answer")
        self.leg.linger()
        settle(self.clock)
        self.assertEqual((self.peer.take(), self.peer.isEnded), (b"answer", True))
        self.say(b"still talking")
        self.assertFalse(self.leg.isLost)
        self.peer.finish()
        settle(self.clock)
        self.assertEqual(hearer.heard, [b"still talking", "finished", ConnectionDone])

    def test_lingerIsToTheEnd(self) -> None:
        """A leg whose peer has finished before, or TLS, is closed at once."""
        self.hand(Hearer())
        self.peer.finish()
        settle(self.clock)
        self.leg.linger()
        settle(self.clock)
        self.assertTrue(self.leg.isLost)
        leg, _ = pair(self.clock, isTLS=True)
        leg.linger()
        settle(self.clock)
        self.assertTrue(leg.isLost)

    def test_transportWithoutHalfClose(self) -> None:
        """A transport that cannot half-close is closed instead."""

        class Closing:
            closed = 0

            def loseConnection(self) -> None:
                """Count."""
                self.closed += 1

        self.leg.transport = Closing()
        self.leg.finish()
        self.assertEqual(self.leg.transport.closed, 1)

    def test_noDelay(self) -> None:
        """Small writes are not held back by the kernel."""
        asked: list[bool] = []

        class Asked(Leg):
            def setTcpNoDelay(self, isWanted: bool) -> None:
                """Remember it."""
                asked.append(isWanted)

            def pauseProducing(self) -> None:
                """It has nothing to read."""

        Leg().makeConnection(Asked())
        self.assertEqual(asked, [True])

    def test_stopProducing(self) -> None:
        """A consumer that is gone does not close the leg; its own receiver does."""
        self.leg.stopProducing()
        settle(self.clock)
        self.assertFalse(self.leg.isLost)

    # -- what it is

    def test_provides(self) -> None:
        """A leg is what Twisted knows as a protocol with a half-close, and can be paused."""
        for interface in (IProtocol, IHalfCloseableProtocol, IPushProducer):
            verifyObject(interface, self.leg)

    def test_small(self) -> None:
        """There are many legs: one has no room for more than it needs."""
        self.assertFalse(hasattr(self.leg, "__dict__"))
        self.assertRaises(AttributeError, setattr, self.leg, "anything", 1)

    def test_factory(self) -> None:
        """A factory of legs makes one for each connection."""
        factory = LegFactory(Leg)
        one, other = factory.buildProtocol(None), factory.buildProtocol(None)
        self.assertIsNot(one, other)
        self.assertIsInstance(one, Leg)

    # -- addresses

    def test_addresses(self) -> None:
        """Both ends are known by address."""
        self.assertEqual(self.leg.peer, Address("192.0.2.1", 40000))
        self.assertEqual(self.leg.local, Address("192.0.2.2", 80))

    def test_addressOf(self) -> None:
        """Every address of Twisted has one of ours."""
        for address, expected in [
            (IPv4Address("TCP", "192.0.2.7", 443), Address("192.0.2.7", 443)),
            (IPv6Address("TCP", "2001:db8::1", 443), Address("2001:db8::1", 443)),
            (UNIXAddress(b"/run/x.sock"), Address("unix:/run/x.sock")),
            (UNIXAddress("/run/\udcff"), Address("unix:/run/\udcff")),
            (UNIXAddress(None), Address("unix:")),
        ]:
            self.assertEqual(addressOf(address), expected)

    def test_join(self) -> None:
        """Two legs can face one another."""
        one, other = Leg(), Leg()
        join(self.clock, one, other)
        hearer = Hearer()
        other.resumeProducing()
        other.hand(hearer)
        one.write(b"x")
        settle(self.clock)
        self.assertEqual(hearer.heard, [b"x"])
        self.assertIsInstance(self.peer, Peer)

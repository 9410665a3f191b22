# -*- test-case-name: tests.tls.test_layer -*-
"""
TLS between a transport and its protocol: what every engine does with legs under TLS it does
under this, too.
"""

from __future__ import annotations

import contextlib
from typing import Any

from OpenSSL import SSL
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase
from zope.interface.verify import verifyClass

from tests.certificates import theAuthority
from tests.plane.bytesuite import ByteSuite
from tests.plane.tlssuite import BetweenOpenSSL12, BetweenOpenSSL13, TLSSuite
from tests.plane.worlds import UnderTLS, certificate
from tests.tls.shaking import Shake, clientContext, folder, terminator
from wsrelay.plane.portable import PortablePlane
from wsrelay.tls.layer import TLSLayer, reasonOf


class _Layered:
    """An endpoint that slips the layer in below the legs that it makes."""

    def __init__(self, endpoint: Any, options: CertificateOptions) -> None:
        self._endpoint = endpoint
        self._options = options

    def listen(self, factory: Any) -> Any:
        """Listen."""
        context = self._options.getContext()

        class Slips(Factory):
            """Makes legs above layers."""

            noisy = False

            def buildProtocol(self, addr: Any) -> Any:
                """A leg, whose transport is about to come."""
                leg = factory.buildProtocol(addr)
                make = leg.makeConnection
                return _Slip(leg, make, context)

        return self._endpoint.listen(Slips())


class _Slip:
    """In the place of the protocol until there is a transport."""

    def __init__(self, leg: Any, make: Any, context: Any) -> None:
        self._leg = leg
        self._make = make
        self._context = context

    def makeConnection(self, transport: Any) -> None:
        """There is one."""
        session = SSL.Connection(self._context, None)
        session.set_accept_state()

        def settled(error: Exception | None) -> None:
            if error is None:
                self._leg.handshakeCompleted()

        layer = TLSLayer(transport, self._leg, session, settled)
        layer.begin()
        self._make(layer)


class _UnderLayer(UnderTLS):
    """The relay's own TLS at the client's leg."""

    def _server(self) -> Any:
        own = certificate()
        options = CertificateOptions(
            privateKey=own.privateKey.original,
            certificate=own.original,
            insecurelyLowerMinimumTo=self.version,
            lowerMaximumSecurityTo=self.version,
        )
        return _Layered(TCP4ServerEndpoint(self.clock, 0, interface="127.0.0.1"), options)

    def makePlane(self) -> Any:
        """Which plane."""
        return PortablePlane(self.clock)


class _Native:
    """The same on the native plane."""

    clock: Any

    def makePlane(self) -> Any:
        """Which plane."""
        from wsrelay.plane.native import NativePlane

        return NativePlane(self.clock)


try:
    from wsrelay.plane import _native  # noqa: F401  # is it there?
except ImportError:
    _skip: str | None = "the extension was not built"
else:
    _skip = None


class TLS13Tests(_UnderLayer, BetweenOpenSSL13, TLSSuite, TestCase):
    """TLS 1.3 with OpenSSL at the other ends."""


class TLS12Tests(_UnderLayer, BetweenOpenSSL12, TLSSuite, TestCase):
    """TLS 1.2 with OpenSSL at the other ends."""


class BytesTests(_UnderLayer, ByteSuite, TestCase):
    """Bytes between legs."""

    async def test_linkedDuringTheHandshake(self) -> None:
        """Nobody gets a leg of this kind before its handshake is complete."""
        raise SkipTest("a leg comes after its handshake")


class NativeTLS13Tests(_Native, TLS13Tests):
    """The same on the native plane."""

    skip = _skip


class NativeTLS12Tests(_Native, TLS12Tests):
    """The same on the native plane."""

    skip = _skip


class NativeBytesTests(_Native, BytesTests):
    """The same on the native plane."""

    skip = _skip


class _Above:
    """A protocol that remembers."""

    def __init__(self) -> None:
        self.data = b""
        self.reasons: list[Failure] = []

    def dataReceived(self, data: bytes) -> None:
        """Bytes."""
        self.data += data

    def connectionLost(self, reason: Failure) -> None:
        """The end."""
        self.reasons.append(reason)


class _Below(StringTransport):
    """A transport that does not mind being told twice, as real ones."""

    aborting = False

    def abortConnection(self) -> None:
        """Cut."""
        self.aborting = True

    def unregisterProducer(self) -> None:
        """Nobody writes."""
        self.producer = None


class LayerTests(SynchronousTestCase):
    """One layer on a transport in memory."""

    def setUp(self) -> None:
        """It waits for a client."""
        self.asked = terminator(folder(self), theAuthority().issue("a.example"))
        self.above = _Above()
        self.below: Any = _Below()
        self.settled: list[Exception | None] = []
        self.layer = TLSLayer(self.below, self.above, self.asked.connection(), self.settled.append)
        self.layer.begin()

    def shake(self) -> Any:
        """A client shakes hands. @return: its side."""
        client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        client.set_connect_state()
        for _ in range(3):
            with contextlib.suppress(SSL.WantReadError):
                client.do_handshake()
            self.send(client)
        self.assertEqual(self.settled, [None])
        return client

    def send(self, client: Any) -> None:
        """What the client has to say goes to the layer, and what that has to say back."""
        with contextlib.suppress(SSL.WantReadError):
            self.layer.dataReceived(client.bio_read(65536))
        if self.below.value():
            client.bio_write(self.below.value())
            self.below.clear()

    def test_interfaces(self) -> None:
        """It is what a transport expects of a protocol with a half-close."""
        self.assertTrue(verifyClass(IHalfCloseableProtocol, TLSLayer))
        self.assertTrue(IProtocol.implementedBy(TLSLayer))
        self.assertIs(self.below.protocol, self.layer)

    def test_both(self) -> None:
        """What is said on one side is heard on the other."""
        client = self.shake()
        client.send(b"hello")
        self.send(client)
        self.assertEqual(self.above.data, b"hello")
        self.layer.writeSequence([b"hello ", b"yourself"])
        self.layer.write(b"")
        client.bio_write(self.below.value())
        self.assertEqual(client.recv(100), b"hello yourself")
        self.assertIsNone(self.layer.getPeerCertificate())

    def test_passedOn(self) -> None:
        """Addresses, producers and pauses are the transport's."""
        self.assertEqual(self.layer.getPeer(), self.below.getPeer())
        producer = object()
        self.layer.registerProducer(producer, True)
        self.assertIs(self.below.producer, producer)
        self.layer.unregisterProducer()
        self.assertIsNone(self.below.producer)
        self.layer.pauseProducing()
        self.assertEqual(self.below.producerState, "paused")
        self.layer.resumeProducing()
        self.assertEqual(self.below.producerState, "producing")

    def test_ends(self) -> None:
        """Every way in which it can end after the handshake, and what is said of it."""

        def clientEnds(client: Any) -> None:
            client.shutdown()
            self.send(client)

        def bothEnd(client: Any) -> None:
            self.layer.loseConnection()
            self.layer.write(b"too late")
            self.send(client)
            self.assertRaises(SSL.ZeroReturnError, client.recv, 1)
            self.assertFalse(self.below.disconnecting)
            clientEnds(client)

        def weEndAndItLeaves(client: Any) -> None:
            self.layer.loseConnection()
            self.layer.readConnectionLost()

        def cutShort(client: Any) -> None:
            self.layer.readConnectionLost()

        def forged(client: Any) -> None:
            self.layer.dataReceived(b"\x17\x03\x03\x00\x20" + bytes(32))

        for end, isClean in [
            (clientEnds, True),
            (bothEnd, True),
            (weEndAndItLeaves, True),
            (cutShort, False),
            (forged, False),
        ]:
            self.setUp()
            self.below.registerProducer(object(), True)
            client = self.shake()
            end(client)
            self.assertTrue(self.below.disconnecting, end)
            self.assertIsNone(self.below.producer)
            # Nothing of this does anything any more.
            self.layer.write(b"more")
            self.layer.dataReceived(b"more")
            self.layer.readConnectionLost()
            self.layer.connectionLost(connectionDone)
            (reason,) = self.above.reasons
            self.assertIs(reason.check(ConnectionLost) is None, isClean, end)

    def test_aborted(self) -> None:
        """Cut, it is cut below, and nothing more is heard."""
        client = self.shake()
        client.send(b"hello")
        self.layer.abortConnection()
        self.assertTrue(self.below.aborting)
        self.send(client)
        self.assertEqual(self.above.data, b"")

    def test_notBeforeTheHandshake(self) -> None:
        """Closed before its handshake was complete, it is cut."""
        self.layer.loseConnection()
        self.assertTrue(self.below.aborting)
        self.layer.connectionLost(connectionDone)
        self.assertEqual(self.settled, [])

    def test_refused(self) -> None:
        """A handshake that fails is told of once, and the client hears of it before the end."""
        self.layer.dataReceived(b"\x16\x03\x01\x00\x05" + bytes(5))
        (error,) = self.settled
        assert error is not None
        self.assertNotEqual(reasonOf(error), "")
        self.assertEqual(self.below.value()[:1], b"\x15")
        self.layer.abortConnection()
        self.assertTrue(self.below.disconnecting)
        self.assertFalse(self.below.aborting)

    def test_reasonOf(self) -> None:
        """Only OpenSSL has a word of its own for what went wrong."""
        for error, expected in [
            (SSL.Error([("SSL routines", "", "no shared cipher")]), "no shared cipher"),
            (SSL.Error([]), ""),
            (SSL.Error(), ""),
            (ConnectionLost("gone"), ""),
        ]:
            self.assertEqual(reasonOf(error), expected)

    def test_givenAway(self) -> None:
        """Whoever goes on with the session has all that was decrypted, and the layer has none."""
        self.assertFalse(self.layer.isOpen)
        client = self.shake()
        self.assertTrue(self.layer.isOpen)
        client.send(b"hello")
        session = self.layer.getHandle()
        session.bio_write(client.bio_read(65536))
        given, early = self.layer.giveAway()
        self.assertIs(given, session)
        self.assertEqual(early, b"hello")
        self.assertFalse(self.layer.isOpen)
        self.layer.dataReceived(b"not ours")
        self.assertEqual(self.above.data, b"")


class ShakeTests(SynchronousTestCase):
    """The client of these tests."""

    def test_distrust(self) -> None:
        """It does trust nobody but who it was told to."""
        asked = terminator(folder(self), theAuthority().issue("a.example"))
        context = clientContext()
        self.assertIn("certificate verify failed", Shake(asked, "b.example", context).refusal)

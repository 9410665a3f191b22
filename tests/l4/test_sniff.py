# -*- test-case-name: tests.l4.test_sniff -*-
"""
What must be known of a client before a tunnel can be decided about.
"""

from __future__ import annotations

import contextlib
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.errors import BadRequest, ClientFault, RequestTimeout
from wsrelay.l4.sniff import Arrival, Shake, Sniffer


def clientHello(name: str | None = "chat.example.org", alpn: list[bytes] | None = None) -> bytes:
    """The ClientHello of OpenSSL."""
    context = SSL.Context(SSL.TLS_METHOD)
    if alpn:
        context.set_alpn_protos(alpn)
    connection = SSL.Connection(context)
    connection.set_connect_state()
    if name is not None:
        connection.set_tlsext_host_name(name.encode())
    with contextlib.suppress(SSL.WantReadError):
        connection.do_handshake()
    return bytes(connection.bio_read(65536))


class _Receiver:
    """Takes charge of a leg."""

    def __init__(self) -> None:
        self.data = b""
        self.ended = False

    def received(self, data: bytes) -> None:
        self.data += data

    def finished(self) -> None:
        self.ended = True

    def lost(self, reason: Failure) -> None:
        self.ended = True


class Waiting(SynchronousTestCase):
    """A leg that somebody waits for, with a deadline of 10 s."""

    def setUp(self) -> None:
        """The client is there and has said nothing."""
        self.clock = Clock()
        self.transport: Any = StringTransport()
        self.leg = Arrival(lambda leg: None)
        self.leg.makeConnection(self.transport)
        self.told: list[Any] = []
        self.failed: list[ClientFault] = []

    def assertOver(self) -> None:
        """Nobody is in charge, and no timer is left."""
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.transport.producerState, "paused")

    def assertFailed(self, kind: type[ClientFault], detail: str) -> None:
        """It failed, once, like this."""
        self.assertEqual(self.told, [])
        self.assertEqual([(type(each), each.detail) for each in self.failed], [(kind, detail)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def rest(self) -> bytes:
        """What the next one in charge hears."""
        receiver = _Receiver()
        self.leg.hand(receiver)
        return receiver.data


class SnifferTests(Waiting):
    """Reads the ClientHello, and nothing else."""

    def setUp(self) -> None:
        """Sniff."""
        super().setUp()
        Sniffer(self.clock, self.leg, 10, self.told.append, self.failed.append)

    def test_whole(self) -> None:
        """The name and the protocols are told; what comes behind is held, untouched."""
        hello = clientHello(alpn=[b"h2", b"http/1.1"])
        self.leg.dataReceived(hello + b"behind")
        (told,) = self.told
        self.assertEqual(told.serverName, "chat.example.org")
        self.assertEqual(told.alpn, ("h2", "http/1.1"))
        self.assertOver()
        self.leg.dataReceived(b" it")
        self.assertEqual(self.rest(), hello + b"behind it")

    def test_byteByByte(self) -> None:
        """It may come in any pieces."""
        hello = clientHello(None)
        for position in range(len(hello)):
            self.assertEqual(self.told, [])
            self.leg.dataReceived(hello[position : position + 1])
        self.assertIsNone(self.told[0].serverName)
        self.assertEqual(self.rest(), hello)

    def test_garbage(self) -> None:
        """What is no TLS is refused with the first byte that shows it."""
        self.leg.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual([type(each) for each in self.failed], [BadRequest])
        self.assertOver()

    def test_late(self) -> None:
        """The whole of it must come in time, however busily the pieces come."""
        hello = clientHello()
        for position in range(10):
            self.leg.dataReceived(hello[position : position + 1])
            self.clock.advance(1)
        self.assertFailed(RequestTimeout, "the ClientHello was not complete in time")
        self.assertOver()

    def test_finished(self) -> None:
        """A client that ends its stream before it was complete is told of."""
        self.leg.dataReceived(clientHello()[:20])
        self.leg.readConnectionLost()
        self.assertFailed(BadRequest, "closed before its ClientHello was complete")

    def test_lost(self) -> None:
        """So is one that leaves."""
        self.leg.connectionLost(Failure(ConnectionDone()))
        self.assertFailed(BadRequest, "left before its ClientHello was complete")


class ShakeTests(Waiting):
    """Waits for the TLS handshake, where TLS ends here."""

    def setUp(self) -> None:
        """Wait."""
        super().setUp()
        Shake(self.clock, self.leg, 10, lambda: self.told.append("done"), self.failed.append)

    def test_done(self) -> None:
        """When it is complete the leg holds still, and what came with it is held."""
        self.assertEqual(self.transport.producerState, "producing")
        self.leg.handshakeCompleted()
        self.assertEqual(self.told, ["done"])
        self.assertOver()
        self.leg.dataReceived(b"first words")
        self.assertEqual(self.rest(), b"first words")

    def test_already(self) -> None:
        """Where it is complete already there is nothing to wait for."""
        self.leg.handshakeCompleted()
        self.told.clear()
        self.leg.resumeProducing()
        Shake(self.clock, self.leg, 10, lambda: self.told.append("done"), self.failed.append)
        self.assertEqual(self.told, ["done"])
        self.assertOver()

    def test_late(self) -> None:
        """It must be complete in time."""
        self.clock.advance(10)
        self.assertFailed(RequestTimeout, "the TLS handshake was not complete in time")

    def test_lost(self) -> None:
        """A client that leaves, or does not speak TLS, is told of."""
        self.leg.connectionLost(Failure(ConnectionDone()))
        self.assertFailed(BadRequest, "no TLS handshake: Connection was closed cleanly.")

    def test_nobodyWaits(self) -> None:
        """A leg whose handshake nobody waits for is none the worse."""
        leg = Arrival(lambda leg: None)
        leg.makeConnection(StringTransport())
        leg.handshakeCompleted()
        leg.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(leg.isLost)

# -*- test-case-name: tests.l4.test_securing -*-
"""
TLS that ends at a listener, on real sockets and both planes.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest

from tests.certificates import Authority, theAuthority
from tests.l4.road import FORWARD, SETTINGS, Policy
from tests.l4.test_forwarders import SecureRoad
from tests.loopback import Peer, Server
from tests.tls.shaking import clientContext, folder, terminator
from wsrelay.errors import ClientFault
from wsrelay.l4.forwarders import TCPForwarder
from wsrelay.l4.listener import Listener, ListenerSettings
from wsrelay.l4.plans import Plans
from wsrelay.l4.securing import secure
from wsrelay.l4.sniff import Arrival
from wsrelay.model import Inbound
from wsrelay.plane.portable import PortablePlane

NAME = "chat.example.org"
MUCH = bytes(range(256)) * 4096


class Client:
    """
    A TLS client on a plain connection of a test's, step by step.

    @ivar peer: the connection.
    @ivar told: what has been decrypted.
    """

    def __init__(self, peer: Peer, context: ssl.SSLContext, name: str = NAME) -> None:
        self.peer = peer
        self.told = b""
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname=name)
        self._fed = 0
        self.isDone = False

    def step(self) -> bytes:
        """Go on with the handshake; what is to be sent now."""
        self._feed()
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
            self.isDone = True
        return self._out.read()

    def _feed(self) -> None:
        self._in.write(self.peer.data[self._fed :])
        self._fed = len(self.peer.data)

    def say(self, data: bytes) -> bytes:
        """What is to be sent in order to say this."""
        self.tls.write(data)
        return self._out.read()

    async def shake(self) -> bytes:
        """The whole handshake, but for what is to be sent last, if anything."""
        data = self.step()
        while not self.isDone:
            fed = len(self.peer.data)
            self.peer.send(data)
            await self.peer.when(lambda data: len(data) > fed)  # noqa: B023  # used at once
            data = self.step()
        return data

    async def hear(self, size: int) -> bytes:
        """Wait for so many bytes."""
        while len(self.told) < size:
            await self.peer.when(lambda data: len(data) > self._fed)
            self._feed()
            with contextlib.suppress(ssl.SSLWantReadError):
                while more := self.tls.read(65536):
                    self.told += more
        return self.told


class SecuringTests(SecureRoad):
    """The portable plane."""

    timeout = 5

    def plane(self) -> Any:
        """What moves the bytes."""
        return PortablePlane(reactor)

    async def terminated(
        self, settings: ListenerSettings = SETTINGS, **terms: Any
    ) -> list[Inbound]:
        """Listen. What the policy is shown is in the list."""
        shown: list[Inbound] = []

        def route(inbound: Inbound) -> Any:
            shown.append(inbound)
            return FORWARD

        self.path = folder(self)
        self.tls = terminator(self.path, theAuthority().issue(NAME), **terms)
        self.server = Server()
        plans = Plans({"p": self._pool("p", [await self.listen(self.server)])}, {})
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        self.listener = Listener(
            "public",
            [endpoint],
            TCPForwarder(),
            [("policy", Policy(route))],
            self.hub,
            plans,
            self.plane(),
            settings,
            tls=self.tls,
        )
        await self.listener.listen()
        self.addCleanup(self._stop, self.listener)
        host: Any = self.listener.ports[0].getHost()
        self.port = host.port
        return shown

    async def client(self, context: ssl.SSLContext | None = None) -> Client:
        """One that has connected and said nothing."""
        return Client(await self.dial(self.port), context or clientContext())

    async def backend(self) -> Peer:
        """What the client was joined to."""
        peer: Peer = await self.server.peers.get()
        self.addCleanup(self.hangUp, peer)
        return peer

    async def test_ended(self) -> None:
        """The policy sees what the handshake has settled, the backend gets plain bytes."""
        shown = await self.terminated(alpn=("amqp",))
        client = await self.shake(NAME, [b"amqp"])
        client.send(b"hello")
        backend = await self.backend()
        await backend.whenGot(b"hello")
        backend.send(b"hello yourself")
        await client.whenGot(b"hello yourself")
        (inbound,) = shown
        self.assertTrue(inbound.secure)
        self.assertEqual((inbound.serverName, inbound.alpn), (NAME, ("amqp",)))
        self.assertIsNone(inbound.certificate)
        self.assertEqual(inbound.client.port, client.own)

    async def test_much(self) -> None:
        """A megabyte each way arrives as it was sent, for every version."""
        await self.terminated()
        for version in ("TLSv1.2", "TLSv1.3"):
            client = await self.client(clientContext(version))
            client.peer.send(await client.shake())
            backend = await self.backend()
            client.peer.send(client.say(MUCH))
            self.assertEqual(await backend.when(lambda data: len(data) >= len(MUCH)), MUCH)
            backend.send(MUCH)
            self.assertEqual(await client.hear(len(MUCH)), MUCH)

    async def test_certificate(self) -> None:
        """Who the client is stands in what policies see."""
        clients = Authority("clients")
        path = Path(self.mktemp()).resolve()
        shown = await self.terminated(clientCertificates="require", clientCA=clients.write(path))
        client = await self.client(
            clientContext("TLSv1.3", clients.issue("ada.example.org", subject="ada"), self.path)
        )
        client.peer.send(await client.shake())
        await self.backend()
        certificate: Any = shown[0].certificate
        self.assertEqual((certificate.subject, certificate.dns), ("CN=ada", ("ada.example.org",)))
        self.assertTrue(certificate.verified)

    async def test_byteByByte(self) -> None:
        """A client whose every byte comes alone is served as any other."""
        await self.terminated()
        client = await self.client()
        for byte in client.step():
            client.peer.send(bytes([byte]))
            await deferLater(reactor, 0)
        last = await client.shake()
        for byte in last + client.say(b"hello"):
            client.peer.send(bytes([byte]))
            await deferLater(reactor, 0)
        await (await self.backend()).whenGot(b"hello")

    async def test_behind(self) -> None:
        """What comes together with the end of the handshake is not lost."""
        await self.terminated()
        for version in ("TLSv1.2", "TLSv1.3"):
            client = await self.client(clientContext(version))
            last = await client.shake()
            client.peer.send(last + client.say(b"hello"))
            await (await self.backend()).whenGot(b"hello")

    async def refused(self, send: Callable[[Client], Any], detail: str) -> bytes:
        """Whoever begins like this is turned away. @return: what it was told."""
        self.recorder.heard.clear()
        client = await self.client()
        send(client)
        closed = await self.recorder.ended()
        await client.peer.over
        self.assertTurnedAway(closed, detail)
        self.assertEqual(closed.inbound.client.port, client.peer.own)
        self.assertEqual(closed.inbound.local.port, self.port)
        self.assertTrue(closed.inbound.secure)
        return client.peer.data

    async def test_wrong(self) -> None:
        """Who does not speak TLS, or not ours, is told why and closed; nobody is dialled."""
        await self.terminated(minimumVersion="TLSv1.3", alpn=("mqtt",))
        other, old = clientContext(), clientContext("TLSv1.2")
        other.set_alpn_protocols(["h2"])

        def hello(context: ssl.SSLContext) -> bytes:
            begun = ssl.MemoryBIO()
            with contextlib.suppress(ssl.SSLWantReadError):
                context.wrap_bio(ssl.MemoryBIO(), begun, server_hostname=NAME).do_handshake()
            return begun.read()

        for data, detail, alert in [
            (b"SSH-2.0-OpenSSH_9.6\r\n", "no TLS handshake: ", None),
            (bytes(100), "no TLS handshake: ", None),
            (b"\x16\x03\x01\xff\xff" + bytes(100), "no TLS handshake: ", None),
            (hello(old), "no TLS handshake: unsupported protocol", 70),
            (hello(other), "no TLS handshake: no application protocol", 120),
        ]:
            told = await self.refused(lambda client: client.peer.send(data), detail)  # noqa: B023  # used at once
            if alert is not None:
                # A record of type 21, fatal.
                self.assertEqual((told[0], told[-2], told[-1]), (21, 2, alert))

    async def test_plainHTTP(self) -> None:
        """Who has left out the s of https hears of it in its own language."""
        await self.terminated()
        told = await self.refused(
            lambda client: client.peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            "no TLS handshake: http request",
        )
        self.assertTrue(told.startswith(b"HTTP/1.1 400 "))
        head, _, body = told.partition(b"\r\n\r\n")
        self.assertIn(b"Content-Length: %d\r\n" % len(body), head)

    async def test_silence(self) -> None:
        """Who says nothing, or half of it, is given up in time, however the time is spent."""
        await self.terminated(ListenerSettings(headTimeout=0.1))
        late = "the TLS handshake was not complete in time"
        await self.refused(lambda client: None, late)
        await self.refused(lambda client: client.peer.send(client.step()[:50]), late)
        await self.refused(lambda client: client.peer.send(client.step()), late)

    async def test_gone(self) -> None:
        """Who leaves in the middle is told of, however it leaves, and leaves nothing behind."""
        await self.terminated()
        for leave in ("loseConnection", "abortConnection", "loseWriteConnection"):
            for part in (0, 1, 50, None):

                def send(client: Client) -> None:
                    client.peer.send(client.step()[:part])  # noqa: B023  # used at once
                    getattr(client.peer.transport, leave)()  # noqa: B023  # used at once

                await self.refused(send, "no TLS handshake: ")
        self.assertEqual(self.hub.openCount, 0)

    async def test_distrusted(self) -> None:
        """A client that does not trust our certificate says so, and the log repeats it."""
        await self.terminated()
        client = await self.client(clientContext(trust=Authority("other")))
        client.peer.send(client.step())
        await client.peer.when(lambda data: len(data) > 500)
        self.assertRaises(ssl.SSLCertVerificationError, client.step)
        client.peer.send(client._out.read())
        self.assertTurnedAway(await self.recorder.ended(), "alert unknown ca")

    async def test_untrusted(self) -> None:
        """What is wrong with a client's certificate stands in the log."""
        clients, others = Authority("clients"), Authority("others")
        path = clients.write(Path(self.mktemp()).resolve())
        await self.terminated(clientCertificates="require", clientCA=path)
        for own, detail in [
            (others.issue(), "the client's certificate: unable to get local issuer certificate"),
            (clients.issue(expired=True), "the client's certificate: certificate has expired"),
            (None, "peer did not return a certificate"),
        ]:
            self.recorder.heard.clear()
            client = await self.client(clientContext("TLSv1.3", own, self.path))
            client.peer.send(await client.shake())
            self.assertTurnedAway(await self.recorder.ended(), f"no TLS handshake: {detail}")

    async def test_renewed(self) -> None:
        """A renewed certificate is for new clients; who is there already goes on."""
        await self.terminated()
        before = await self.shake(NAME)
        before.send(b"one")
        backend = await self.backend()
        await backend.whenGot(b"one")
        theAuthority().issue(NAME, "new.example.org").write(self.path / "0.pem")
        self.tls.reload()
        after = await self.shake("new.example.org")
        after.send(b"two")
        await (await self.backend()).whenGot(b"two")
        backend.send(b"still there")
        await before.whenGot(b"still there")

    async def test_ends(self) -> None:
        """The end of a stream is the end of TLS, in both directions."""
        await self.terminated()
        client = await self.shake(NAME)
        backend = await self.backend()
        backend.send(b"bye")
        backend.transport.loseConnection()
        await client.whenGot(b"bye")
        await client.lost
        client = await self.shake(NAME)
        backend = await self.backend()
        client.send(b"bye")
        client.transport.loseConnection()
        await backend.whenGot(b"bye")
        await backend.over

    async def test_lostLeg(self) -> None:
        """A connection that is gone already is not secured."""
        await self.terminated()
        failed: list[ClientFault] = []
        leg = Arrival()
        leg.isLost = True
        secure(leg, self.tls, self.hub.clock, 1, self.fail, failed.append)
        self.assertEqual([each.detail for each in failed], ["left before its TLS handshake"])


class NativeSecuringTests(SecuringTests):
    """The native plane, which accepts these connections itself."""

    def plane(self) -> Any:
        """What moves the bytes."""
        try:
            from wsrelay.plane.native import NativePlane
        except ImportError:
            raise SkipTest("the extension was not built") from None
        return NativePlane(reactor)

    async def test_accepted(self) -> None:
        """It is the plane's port that accepts."""
        await self.terminated()
        self.assertEqual(type(self.listener.ports[0]).__name__, "NativePort")

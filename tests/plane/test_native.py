# -*- test-case-name: tests.plane.test_native -*-
"""
The native engine: the suite of all engines on real sockets, and what it does besides.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import Any

from cryptography.hazmat.bindings import _rust
from twisted.internet import reactor
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.plane.suite import engineTests
from tests.plane.support import framed
from tests.plane.tlssuite import BetweenOpenSSL12, BetweenOpenSSL13
from tests.plane.worlds import UP, InMemory, OnSockets, OnTransports, UnderTLS
from wsrelay.model import Drop, Interest, Message
from wsrelay.plane.portable import PortableLink
from wsrelay.wire.frames import TEXT

NativePlane: Any = None
NativeLink: Any = None
try:
    from wsrelay.plane.native import NativeLink, NativePlane
except ImportError:
    _SKIP: str | None = "the extension is not built: no compiler, or another platform"
else:
    _SKIP = None

globals().update(engineTests("Native", NativePlane, (OnSockets, OnTransports, UnderTLS), _SKIP))


class TakenTests(OnSockets, TestCase):
    """Which legs the engine takes away from Twisted."""

    skip = _SKIP

    def makePlane(self) -> Any:
        """The native engine."""
        return NativePlane(reactor)

    async def test_sockets(self) -> None:
        """TCP is taken, and the reactor does not watch it any more."""
        before = len(reactor.getReaders())  # type: ignore[attr-defined]  # the reactor is a module
        link = await self.link()
        self.assertIsInstance(link, NativeLink)
        transports = [leg.transport for leg in (self.linked._legs)]  # type: ignore[attr-defined]  # ours
        for transport in transports:
            self.assertNotIn(transport._transport, reactor.getReaders())  # type: ignore[attr-defined]  # as above
        self.assertGreaterEqual(len(reactor.getReaders()), before)  # type: ignore[attr-defined]  # as above

    async def test_lostBeforeStart(self) -> None:
        """A peer that broke off while nobody read is lost after the start, not within link()."""
        client, backend = await self.pairs()
        self.client.abort()
        await self.until(lambda: self.client.reason is not None)
        client.write(b"what was not sent yet, as a 101")
        link = self.join(client, backend)
        self.assertEqual(self.owner.events, [])
        link.start()
        await self.event("lost", UP, False)

    async def test_noDescriptors(self) -> None:
        """When there are no descriptors left, a link goes on with those that it has."""

        def dup(descriptor: int) -> int:
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(os, "dup", dup)
        self.assertIsInstance(await self.link(), PortableLink)
        self.client.say(b"still here")
        await self.hears(self.backend, b"still here")


class TakenUnderTLSTests(BetweenOpenSSL13, TestCase):
    """TLS legs are taken with their session, the client's and the backend's."""

    skip = _SKIP

    def makePlane(self) -> Any:
        """The native engine."""
        return NativePlane(reactor)

    async def test_tls(self) -> None:
        """TLS whose OpenSSL can be reached goes on natively."""
        self.assertIsInstance(await self.link(), NativeLink)


class TakenUnderTLS12Tests(BetweenOpenSSL12, TakenUnderTLSTests):
    """TLS 1.2 as well."""


class OutOfReachTests(UnderTLS, TestCase):
    """TLS by an OpenSSL whose functions nobody can call."""

    skip = _SKIP

    def makePlane(self) -> Any:
        """The native engine, one for all links."""
        return self._plane

    async def test_outOfReach(self) -> None:
        """Its legs stay on the portable plane, and the log says so once for all of them."""
        self.patch(_rust, "_openssl", None)
        self._plane = NativePlane(reactor)
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        for _ in range(2):
            self.assertIsInstance(await self.link(), PortableLink)
            self.client.say(b"all the same")
            await self.hears(self.backend, b"all the same")
        said = [each for each in events if "TLS legs stay" in (each.get("log_format") or "")]
        self.assertEqual(len(said), 1)


class NotTakenTests(InMemory, TestCase):
    """What is no socket stays with the portable engine."""

    skip = _SKIP

    def makePlane(self) -> Any:
        """The native engine."""
        return NativePlane(reactor)

    async def test_memory(self) -> None:
        """A transport of another kind is relayed all the same."""
        self.assertIsInstance(await self.link(), PortableLink)


class _Flooded:
    """
    A link of the extension's own between two socket pairs, at level MESSAGES; its hook drops
    what it sees.

    @ivar asked: how often the hook was asked.
    """

    def __init__(self, plane: Any) -> None:
        self.asked = 0
        ours, theirs = zip(socket.socketpair(), socket.socketpair(), strict=True)
        self.client = theirs[0]
        self._peers = theirs
        other = (int(Interest.BYTES), None, -1, -1, -1, 0.0, 0, None, True, False, False)
        lane = (int(Interest.MESSAGES), self._hook, *other[2:])
        self.link = plane.link(self, *(end.detach() for end in ours), 0, 0, lane, other)
        self.link.start(b"", b"")
        self.client.setblocking(False)

    def _hook(self, message: Message) -> Drop:
        self.asked += 1
        return Drop()

    def say(self, data: bytes) -> None:
        """Say as much of C{data} as the socket takes."""
        with contextlib.suppress(BlockingIOError):
            self.client.send(data)

    def decide(self, *what: Any) -> None:
        """Nothing is forwarded."""

    def lost(self, index: int, error: int) -> None:
        """A side is gone."""

    def close(self) -> None:
        """Let go of everything."""
        self.link.abort()
        for peer in self._peers:
            peer.close()


class TurnTests(SynchronousTestCase):
    """Nobody who always has something to say keeps others, or the reactor, waiting."""

    skip = _SKIP

    def test_turns(self) -> None:
        """Beside many who send bytes in frames of their own, one message is soon heard."""
        plane = NativePlane(reactor)._plane
        links = [_Flooded(plane) for _ in range(33)]
        for link in links:
            self.addCleanup(link.close)
        *floods, quiet = links
        flood = framed(UP, TEXT, b"x") * 40_000
        for _ in range(3):
            before = quiet.asked
            for link in floods:
                link.say(flood)
            quiet.say(framed(UP, TEXT, b"hello"))
            turns = 0
            while quiet.asked == before:
                asked = sum(link.asked for link in floods)
                for link in floods:
                    link.say(flood)
                plane.process()
                turns += 1
                self.assertLess(sum(link.asked for link in floods) - asked, 10_000)
            # Each of the others has had two turns of some hundred messages at most.
            self.assertLess(turns, 10)
        self.assertGreater(min(link.asked for link in floods), 0)

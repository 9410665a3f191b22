# -*- test-case-name: tests.l4.test_listener -*-
"""
A listener: opens its endpoints and asks its policies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint, UNIXServerEndpoint
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.certificates import theAuthority
from tests.l4.road import Policy
from tests.loopback import Loopback, Server
from tests.tls.shaking import folder, terminator
from wsrelay.errors import PluginFault, RelayError
from wsrelay.interfaces import IListener
from wsrelay.l4.forwarders import TCPForwarder
from wsrelay.l4.hub import Hub
from wsrelay.l4.listener import Listener
from wsrelay.l4.plans import Plans
from wsrelay.model import (
    Address,
    Forward,
    Headers,
    Inbound,
    Refuse,
    Request,
    Respond,
    Serve,
)
from wsrelay.plane.portable import PortablePlane

INBOUND = Inbound("1", "public", Address("10.0.0.1", 1), Address("10.0.0.2", 80))
CHAT = Forward("chat", route="rooms")


def listener(
    *answers: Callable[[Inbound], Any],
    endpoints: Sequence[Any] = (),
    otherwise: Forward | None = None,
    tls: Any = None,
) -> Listener:
    """A listener with these policies."""
    clock = Clock()
    return Listener(
        "public",
        endpoints,
        TCPForwarder(),
        [(f"policy{n}", Policy(each)) for n, each in enumerate(answers, 1)],
        Hub(clock),
        Plans({}, {}),
        PortablePlane(clock),
        otherwise=otherwise,
        tls=tls,
    )


def say(answer: Any) -> Callable[[Inbound], Any]:
    """A policy that always says the same, at once."""
    return lambda inbound: answer


def sayLater(answer: Any) -> Callable[[Inbound], Any]:
    """A policy that is a coroutine function."""

    async def route(inbound: Inbound) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return route


def explode(inbound: Inbound) -> Any:
    """A policy that raises."""
    raise RuntimeError("no idea")


class DecideTests(SynchronousTestCase):
    """The policies, asked in order until one answers."""

    def test_interface(self) -> None:
        """Forwarders are given what L{IListener} promises."""
        self.assertTrue(verifyObject(IListener, listener()))

    def test_atOnce(self) -> None:
        """When all answer at once so does the listener; no Deferred is made."""
        for answers, expected in [
            ([], None),
            ([say(None)], None),
            ([say(CHAT)], CHAT),
            ([say(None), say(CHAT), say(Refuse())], CHAT),
            ([say(Refuse("no")), explode], Refuse("no")),
            ([say(Respond(204))], Respond(204)),
            ([say(Serve("resource"))], Serve("resource")),
        ]:
            self.assertEqual(listener(*answers).decide(INBOUND), expected)

    def test_later(self) -> None:
        """A policy may answer with a Deferred or a coroutine, and the order is kept."""
        for answers, expected in [
            ([sayLater(None)], None),
            ([sayLater(CHAT), explode], CHAT),
            ([say(None), sayLater(None), say(CHAT)], CHAT),
            ([sayLater(None), lambda inbound: succeed(CHAT)], CHAT),
            ([lambda inbound: succeed(None), sayLater(Refuse())], Refuse()),
        ]:
            decision: Any = listener(*answers).decide(INBOUND)
            self.assertEqual(self.successResultOf(decision), expected)

    def test_waits(self) -> None:
        """The next policy is not asked before the one in front has answered."""
        asked: list[str] = []
        first: Deferred[None] = Deferred()

        def second(inbound: Inbound) -> Forward:
            asked.append(inbound.id)
            return CHAT

        decision: Any = listener(say(first), second).decide(INBOUND)
        self.assertNoResult(decision)
        self.assertEqual(asked, [])
        first.callback(None)
        self.assertEqual(self.successResultOf(decision), CHAT)
        self.assertEqual(asked, ["1"])

    def test_otherwise(self) -> None:
        """The listener's own pool is for those that no policy wanted."""
        own = Forward("own")
        self.assertEqual(listener(say(None), otherwise=own).decide(INBOUND), own)
        later: Any = listener(sayLater(None), otherwise=own).decide(INBOUND)
        self.assertEqual(self.successResultOf(later), own)
        self.assertEqual(listener(say(CHAT), otherwise=own).decide(INBOUND), CHAT)

    def test_sharedDeferred(self) -> None:
        """One Deferred may be the answer to many clients: each of them hears the same."""
        shared: Deferred[Any] = Deferred()
        asked = listener(say(shared))
        decisions: list[Any] = [asked.decide(INBOUND) for _ in range(3)]
        shared.callback(Refuse("no"))
        decisions.append(asked.decide(INBOUND))
        for decision in decisions:
            self.assertEqual(self.successResultOf(decision), Refuse("no"))

    def test_raises(self) -> None:
        """A policy that raises is named, nobody after it is asked, and nothing is forwarded."""
        for wrong in (
            explode,
            sayLater(RuntimeError("no idea")),
            say(fail(RuntimeError("no idea"))),
        ):
            for before in ([], [say(None)], [sayLater(None)]):
                asked = listener(*before, wrong, say(CHAT))
                try:
                    decision: Any = asked.decide(INBOUND)
                except PluginFault as error:
                    fault = error
                else:
                    fault = self.failureResultOf(decision, PluginFault).value
                self.assertEqual(fault.plugin, f"policy{len(before) + 1}")
                self.assertIn("RuntimeError: no idea", fault.detail)

    def test_nonsense(self) -> None:
        """A policy that answers something else is at fault."""
        asked = listener(say("chat"))
        fault = self.assertRaises(PluginFault, asked.decide, INBOUND)
        self.assertIn("route() returned 'chat', not Forward", fault.detail)
        later: Any = listener(sayLater(CHAT.pool)).decide(INBOUND)
        self.failureResultOf(later, PluginFault)

    def test_named(self) -> None:
        """A decision without a route's name is told by the policy's; it is the same each time."""
        asked = listener(say(Forward("chat")))
        first: Any = asked.decide(INBOUND)
        self.assertEqual(first, Forward("chat", route="policy1"))
        self.assertIs(asked.decide(INBOUND), first)

    def test_manyNames(self) -> None:
        """A policy that makes up a decision for every client does not fill the memory."""
        counter = iter(range(2500))
        asked = listener(lambda inbound: Forward(f"pool{next(counter)}"))
        for _ in range(2500):
            asked.decide(INBOUND)
        self.assertLessEqual(len(asked._named), 1000)


class MisdirectedTests(SynchronousTestCase):
    """Requests that came to the wrong connection."""

    def test_table(self) -> None:
        """Only where TLS ends with several certificates can a request be misdirected."""
        issued = [theAuthority().issue(name) for name in ("a.example", "b.example")]
        path = folder(self)
        plain, one, two = (
            None,
            terminator(path, issued[0]),
            terminator(path, *issued),
        )

        def asks(host: str) -> Request:
            return Request("GET", "/", Headers([(b"Host", host.encode())]))

        for tls, serverName, request, expected in [
            (plain, None, asks("b.example"), False),
            (one, "a.example", asks("b.example"), False),
            (two, "a.example", asks("b.example"), True),
            (two, "a.example", asks("A.Example:443"), False),
            (two, "b.example", asks("b.example."), False),
            (two, "a.example", None, False),
            (two, "a.example", Request("GET", "/", Headers([])), False),
        ]:
            made = listener(tls=tls)
            inbound = evolve(INBOUND, serverName=serverName, request=request)
            self.assertIs(made.isMisdirected(inbound), expected, (serverName, request))


class ListenTests(Loopback):
    """The endpoints."""

    async def test_several(self) -> None:
        """One listener may have several doors; stopped, it has none."""
        endpoints = [TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1") for _ in range(2)]
        opened = listener(endpoints=endpoints)
        await opened.listen()
        ports = [port.getHost().port for port in opened.ports]  # type: ignore[attr-defined]
        self.assertEqual(len(set(ports)), 2)
        await opened.stop()
        self.assertEqual(opened.ports, [])
        for port in ports:
            await self.assertFailure(_dialled(self, port), Exception)
        await opened.stop()

    async def test_taken(self) -> None:
        """An address that is in use is named, and so is the listener."""
        port = await self.listen(Server())
        endpoint = TCP4ServerEndpoint(reactor, port, interface="127.0.0.1")
        error = await self.failure(listener(endpoints=[endpoint]))
        expected = f"listener public: cannot listen on 127.0.0.1:{port}: Address already in use"
        self.assertEqual(error, expected)

    async def test_noDirectory(self) -> None:
        """A UNIX socket that cannot be made is named."""
        endpoint = UNIXServerEndpoint(reactor, "/nowhere/at/all")
        error = await self.failure(listener(endpoints=[endpoint]))
        self.assertEqual(
            error,
            "listener public: cannot listen on unix:/nowhere/at/all: No such file or directory",
        )

    async def failure(self, opened: Listener) -> str:
        """Why it cannot listen."""
        try:
            await opened.listen()
        except RelayError as error:
            return error.detail
        await opened.stop()
        self.fail("it listens")


def _dialled(test: Loopback, port: int) -> Deferred[Any]:
    return Deferred.fromCoroutine(test.dial(port))

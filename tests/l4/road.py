# -*- test-case-name: tests.l4.test_tunnel -*-
"""
A relay at layer 4 on the loopback interface, from listener to backend.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from tests.loopback import Loopback, Peer, Server
from wsrelay.backends.backend import Backend, Destination
from wsrelay.backends.balancers import RoundRobin
from wsrelay.backends.pool import Pool
from wsrelay.interfaces import IRoutingPolicy, IStreamFilter
from wsrelay.l4.forwarders import TCPForwarder
from wsrelay.l4.listener import Listener, ListenerSettings
from wsrelay.l4.plans import Plans
from wsrelay.model import Forward, Inbound
from wsrelay.plane.portable import PortablePlane
from wsrelay.tls.backends import BackendTLS

__all__ = ["FORWARD", "SETTINGS", "Attached", "Policy", "Road"]

FORWARD = Forward("p", route="r")
SETTINGS = ListenerSettings()


@implementer(IRoutingPolicy)
class Policy:
    """Answers what a function answers."""

    def __init__(self, answer: Callable[[Inbound], Any]) -> None:
        self._answer = answer

    def route(self, inbound: Inbound) -> Any:
        """Answer."""
        return self._answer(inbound)


@implementer(IStreamFilter)
class Attached:
    """A stream filter made of one function."""

    def __init__(self, attach: Callable[[Any, Any], Any]) -> None:
        self._attach = attach

    def attach(self, tunnel: Any, direction: Any) -> Any:
        """Attach it."""
        return self._attach(tunnel, direction)


class _TLSEndpoint:
    """Ends TLS in front of an endpoint's connections."""

    def __init__(self, endpoint: Any, options: Any) -> None:
        self._endpoint = endpoint
        self._options = options

    def listen(self, factory: Any) -> Any:
        """Listen."""
        return self._endpoint.listen(TLSMemoryBIOFactory(self._options, False, factory))


class Road(Loopback):
    """One listener, its policies, its pools."""

    async def road(
        self,
        answer: Any = FORWARD,
        pools: Mapping[str, Sequence[int]] | None = None,
        forwarder: Any = None,
        plugins: Mapping[str, Any] | None = None,
        settings: ListenerSettings = SETTINGS,
        tls: Any = None,
        otherwise: Forward | None = None,
    ) -> None:
        """
        Listen, on C{self.port}.

        @param answer: a decision, a function of the inbound, or a list of these.
        @param pools: the ports of their backends; not given: C{p} with C{self.server}.
        """
        self.server = Server()
        if pools is None:
            pools = {"p": [await self.listen(self.server)]}
        answers = answer if isinstance(answer, list) else [answer]
        self.listener = Listener(
            "public",
            [self._endpoint(tls)],
            forwarder or TCPForwarder(),
            [(f"policy{n}", self._policy(each)) for n, each in enumerate(answers, 1)],
            self.hub,
            Plans({name: self._pool(name, ports) for name, ports in pools.items()}, plugins or {}),
            PortablePlane(reactor),
            settings,
            otherwise,
        )
        await self.listener.listen()
        self.addCleanup(self._stop, self.listener)
        host = self.listener.ports[0].getHost()
        self.port: int = host.port  # type: ignore[attr-defined]

    def _endpoint(self, tls: Any) -> Any:
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        return endpoint if tls is None else _TLSEndpoint(endpoint, tls)

    def _policy(self, answer: Any) -> Policy:
        return Policy(answer if callable(answer) else lambda inbound: answer)

    def _pool(self, name: str, ports: Sequence[int]) -> Pool:
        backends = [
            Backend(Destination.parse(f"tcp:127.0.0.1:{port}"), reactor, BackendTLS())
            for port in ports
        ]
        return Pool(name, backends, RoundRobin())

    async def _stop(self, listener: Listener) -> None:
        await listener.stop()
        self.hub.leaveAll()
        self.hub.cutAll()
        await self.hub.whenNoneOpen()

    async def joined(self) -> tuple[Peer, Peer]:
        """A client and the backend it was joined to."""
        client = await self.dial(self.port)
        backend = await self.server.peers.get()
        self.addCleanup(self.hangUp, backend)
        return client, backend

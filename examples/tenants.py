# -*- test-case-name: tests.test_examples -*-
"""
A routing policy that asks somebody else: an HTTP server that knows which host belongs to whom.

C{route} is a coroutine. While it waits for the directory its client waits, and nobody else
does. What it has learnt it keeps for a while, and no more of it than it has room for, since
clients choose what they ask for. A host that the directory does not know (404) is left to the
policies and routes behind this one; a directory that fails is a policy that raises, so the
client gets 500 and is not sent just anywhere. It works at layer 4 as well, by the server name
of the TLS handshake. C{examples/tenants.toml}::

    [listener.public]
    endpoint = "tcp:8080"

    [pool.red]
    backends = ["ws://127.0.0.1:9001"]

    [pool.blue]
    backends = ["ws://127.0.0.1:9002"]

    [plugin.tenants]
    use = "examples.tenants:tenants"
    directory = "http://127.0.0.1:9000/tenants/"
    keepFor = 30

Run it, with a directory made of files and two backends, and come as one tenant and the other.
The relay's log says who went where::

    mkdir -p directory/tenants
    printf red > directory/tenants/localhost
    printf blue > directory/tenants/127.0.0.1
    python -m http.server --bind 127.0.0.1 --directory directory 9000
    python examples/echo.py 9001
    python examples/echo.py 9002
    twistd -n wsrelay --config examples/tenants.toml
    python examples/say.py ws://localhost:8080/ hello
    python examples/say.py ws://127.0.0.1:8080/ hello
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from attrs import frozen
from pydantic import Field
from twisted.internet.defer import Deferred
from twisted.web.client import Agent, HTTPConnectionPool, readBody
from zope.interface import implementer

from wsrelay import Forward, Inbound, IPluginMaker, IRelay, IRoutingPolicy, Options

__all__ = ["ByTenant", "Directory", "Tenants", "TenantsOptions", "tenants"]


class TenantsOptions(Options):
    """What may stand in the plugin's table."""

    directory: str = Field(description="the URL that a host is appended to; answers a pool's name")
    keepFor: float = Field(default=60.0, ge=0, description="how long an answer holds, in seconds")
    room: int = Field(default=10_000, gt=0, description="how many answers are kept")
    timeout: float = Field(
        default=3.0, gt=0, description="how long the directory may take, in seconds"
    )


class Directory:
    """Asks the directory over HTTP, on connections that are kept."""

    def __init__(self, reactor: Any, url: str, timeout: float) -> None:
        self._reactor = reactor
        self._url = url
        self._timeout = timeout
        self._agent = Agent(reactor, connectTimeout=timeout, pool=HTTPConnectionPool(reactor))

    def ask(self, host: str) -> Deferred[str | None]:
        """
        Which pool a host belongs to.

        @return: fires with its name, or C{None} if the directory knows no such host; fails if
            it did not say either in time.
        """
        asked: Deferred[str | None] = Deferred.fromCoroutine(self._ask(host))
        return asked.addTimeout(self._timeout, self._reactor)

    async def _ask(self, host: str) -> str | None:
        url = self._url + quote(host, safe="")
        response: Any = await self._agent.request(b"GET", url.encode("ascii"))
        body: bytes = await readBody(response)
        if response.code == 404:
            return None
        if response.code != 200:
            raise RuntimeError(f"{url} answered {response.code}")
        return body.decode("ascii").strip()


@frozen
class _Known:
    """An answer, and until when it holds."""

    pool: str | None
    until: float


@implementer(IRoutingPolicy)
class ByTenant:
    """Routes by what the directory says."""

    def __init__(self, options: TenantsOptions, reactor: Any) -> None:
        self._options = options
        self._seconds = reactor.seconds
        self._directory = Directory(reactor, options.directory, options.timeout)
        self._known: dict[str, _Known] = {}

    async def route(self, inbound: Inbound) -> Forward | None:
        """Where the host that this client asked for lives."""
        host = inbound.request.host if inbound.request else inbound.serverName
        if not host:
            return None
        known = self._known.get(host)
        if known is None or known.until <= self._seconds():
            pool = await self._directory.ask(host)
            known = _Known(pool, self._seconds() + self._options.keepFor)
            self._learn(host, known)
        return Forward(known.pool) if known.pool is not None else None

    def _learn(self, host: str, known: _Known) -> None:
        self._known.pop(host, None)
        self._known[host] = known
        if len(self._known) > self._options.room:
            # A dict remembers the order: the first is the one that was learnt longest ago.
            del self._known[next(iter(self._known))]


@implementer(IPluginMaker)
class Tenants:
    """Makes L{ByTenant}."""

    name = "tenants"
    description = "Sends each host to the pool that a directory server names."
    options = TenantsOptions

    def make(self, options: TenantsOptions, relay: IRelay) -> ByTenant:
        """Make the policy; nobody is asked before a client comes."""
        return ByTenant(options, relay.reactor)


tenants = Tenants()

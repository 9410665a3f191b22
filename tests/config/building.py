"""
What the tests of building share: a file with plugins of every kind, and how it is built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import Field
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.wire import Echo
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from zope.interface import implementer

from wsrelay.config.build import Built, build
from wsrelay.config.load import loads
from wsrelay.errors import ConfigurationError
from wsrelay.interfaces import (
    IBalancer,
    IForwarder,
    IMessageFilter,
    IObserver,
    IPluginMaker,
    IRequestFilter,
    IRoutingPolicy,
    IStreamFilter,
    Options,
)
from wsrelay.l4.hub import Hub
from wsrelay.model import (
    Forward,
    Inbound,
    Interest,
)

# --------------------------------------------------------------- plugins, for the files below


class WordsOptions(Options):
    """Words."""

    words: tuple[str, ...] = Field(description="which")


@implementer(IPluginMaker)
class Words:
    """Makes what a function makes."""

    name = "words"
    description = "Words."
    options: Any = WordsOptions

    def __init__(self, make: Callable[[Any, Any], Any]) -> None:
        self.make = make


@implementer(IMessageFilter)
class Reader:
    """A message filter."""

    words: tuple[str, ...] = ()

    def interest(self, route: Any, direction: Any) -> Interest:
        return Interest.FRAMES


@implementer(IRequestFilter)
class Door:
    """A request filter."""


@implementer(IStreamFilter)
class Bytes:
    """A stream filter."""


@implementer(IRoutingPolicy, IObserver)
class Tenants:
    """A policy that also observes."""

    def route(self, inbound: Inbound) -> Any:
        return Forward("chat") if inbound.client.port == 7 else None


@implementer(IBalancer)
class First:
    """A balancer."""


@implementer(IForwarder)
class EchoForwarder:
    """A forwarder."""

    def forwardingFactory(self, listener: Any) -> Any:
        if listener.name == "broken":
            raise RuntimeError("no idea")
        return Factory.forProtocol(Echo)


class Page(Resource):
    """A resource."""


def _words(options: Any, relay: Any) -> Reader:
    reader = Reader()
    reader.words = options.words
    return reader


async def _wordsLater(options: Any, relay: Any) -> Reader:
    return _words(options, relay)


def _fail(options: Any, relay: Any) -> Any:
    raise RuntimeError("no idea")


async def _failLater(options: Any, relay: Any) -> Any:
    raise RuntimeError("no idea")


words = Words(_words)
wordsLater = Words(_wordsLater)
failing = Words(_fail)
failingLater = Words(_failLater)
nothing = Words(lambda options, relay: object())
waiting: list[Deferred[Any]] = []


def _wait(options: Any, relay: Any) -> Deferred[Any]:
    waiting.append(Deferred())
    return waiting[-1]


waits = Words(_wait)

HERE = __name__
FILE = """
[listener.public]
endpoint = ["tcp:8080", "unix:/run/wsrelay-test"]

[listener.raw]
endpoint = "tcp:2200"
forwarder = "tcp"
pool = "db"
policies = []

[[route]]
host = "chat.example.org"
pool = "chat"
filters = ["words"]

[[route]]
name = "old"
path = "/old"
respond = {status = 410, body = "gone"}

[[route]]
path = "/page"
serve = "page"

[[route]]
listener = "public"
network = "192.0.2.0/24"
refuse = "not from there"

[pool.chat]
backends = ["ws://10.0.0.1:9000", {url = "ws://10.0.0.2:9000", weight = 3}]
balancer = "least-connections"

[pool.db]
backends = "tcp:10.0.0.3:5432"

[plugin.words]
use = "HERE:words"
words = ["secret"]

[plugin.page]
use = "HERE:Page"

[plugin.tenants]
use = "HERE:Tenants"
""".replace("HERE", HERE)


class Building(SynchronousTestCase):
    """Builds on a reactor that never runs."""

    def build(self, text: str) -> Deferred[Built]:
        """Build what a file describes."""
        self.reactor = MemoryReactorClock()
        configuration = loads(text.replace("HERE", HERE))
        return Deferred.fromCoroutine(build(configuration, Hub(self.reactor)))

    def built(self, text: str) -> Built:
        """Build it, now."""
        return self.successResultOf(self.build(text))

    def problems(self, text: str) -> tuple[str, ...]:
        """What is wrong with it."""
        failure = self.failureResultOf(self.build(text), ConfigurationError)
        problems: tuple[str, ...] = failure.value.problems
        return problems


#: A listener and a pool that are fine, for what is wrong elsewhere.
FINE = '[listener.a]\nendpoint = "tcp:1"\npool = "p"\n[pool.p]\nbackends = "ws://a"\n'

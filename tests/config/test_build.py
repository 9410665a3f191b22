# -*- test-case-name: tests.config.test_build -*-
"""
From a description to what it describes, ready to listen.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import Field
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.wire import Echo
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from zope.interface import implementer

from tests.certificates import theAuthority
from wsrelay.backends.balancers import LeastConnections, RoundRobin
from wsrelay.config.build import Built, build, observersOf
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
    Address,
    Forward,
    Headers,
    Inbound,
    Interest,
    Refuse,
    Request,
    Respond,
    Serve,
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


class BuildTests(Building):
    """What is built."""

    def setUp(self) -> None:
        """Build the file."""
        super().setUp()
        self.made = self.built(FILE)

    def decided(
        self, path: str | None, host: str = "a", client: str = "10.0.0.9", port: int = 1
    ) -> Any:
        """What a listener decides, the one for HTTP if there is a path."""
        public, raw = self.made.listeners
        request = None
        if path is not None:
            request = Request("GET", path, Headers([(b"Host", host.encode())]))
        listener = raw if path is None else public
        local = Address("10.0.0.2", 80)
        return listener.decide(
            Inbound("1", listener.name, Address(client, port), local, request=request)
        )

    def test_nothingIsOpened(self) -> None:
        """Building listens nowhere and connects nowhere."""
        reactor = self.reactor
        self.assertEqual(
            (reactor.tcpServers, reactor.unixServers, reactor.tcpClients), ([], [], [])
        )
        self.assertEqual(reactor.getDelayedCalls(), [])

    def test_listen(self) -> None:
        """Only when a listener listens are its endpoints opened."""
        for listener in self.made.listeners:
            self.successResultOf(Deferred.fromCoroutine(listener.listen()))
        self.assertEqual([server[0] for server in self.reactor.tcpServers], [8080, 2200])
        self.assertEqual([server[0] for server in self.reactor.unixServers], ["/run/wsrelay-test"])

    def test_pools(self) -> None:
        """Backends with weights, and the balancer that is named; each pool has its own."""
        chat, db = self.made.pools["chat"], self.made.pools["db"]
        self.assertEqual([each.weight for each in chat.backends], [1, 3])
        self.assertIsInstance(chat._balancer, LeastConnections)
        self.assertIsInstance(db._balancer, RoundRobin)

    def test_plugins(self) -> None:
        """Plugins are made with their options, once."""
        self.assertEqual(self.made.plugins["words"].words, ("secret",))
        self.assertEqual(observersOf(self.made.plugins), [self.made.plugins["tenants"]])

    def test_decisions(self) -> None:
        """Routes in their order, every kind of action."""
        chat = self.decided("/", "chat.example.org")
        self.assertEqual((chat.pool, chat.filters, chat.route), ("chat", ("words",), "route 1"))
        gone = self.decided("/old")
        self.assertIsInstance(gone, Respond)
        self.assertEqual((gone.status, gone.body), (410, b"gone"))
        self.assertEqual(self.decided("/page"), Serve(self.made.plugins["page"]))
        self.assertEqual(self.decided("/", client="192.0.2.7"), Refuse("not from there"))
        self.assertIsNone(self.decided("/"))

    def test_policies(self) -> None:
        """Policies are asked before the routes; a listener may name its own, or none."""
        self.assertEqual(self.decided("/", port=7), Forward("chat", route="tenants"))
        raw = self.decided(None, port=7)
        self.assertEqual((raw.pool, raw.route), ("db", "listener raw"))

    def test_settings(self) -> None:
        """A listener's settings are those of the file."""
        made = self.built(
            '[listener.a]\nendpoint = "tcp:1"\npool = "p"\nheadTimeout = 1\nkeepAliveTimeout = 2\n'
            'maxHead = 3\nmaxHeaders = 4\n[pool.p]\nbackends = "ws://a"\n'
        )
        settings = made.listeners[0].settings
        self.assertEqual(
            (
                settings.headTimeout,
                settings.keepAliveTimeout,
                settings.maxHead,
                settings.maxHeaders,
            ),
            (1, 2, 3, 4),
        )

    def test_forwarderPlugin(self) -> None:
        """A forwarder of somebody else's is asked for its factory."""
        made = self.built(
            '[listener.a]\nendpoint = "tcp:1"\nforwarder = "echo"\n'
            '[plugin.echo]\nuse = "HERE:EchoForwarder"\n'
        )
        self.successResultOf(Deferred.fromCoroutine(made.listeners[0].listen()))
        self.assertIs(self.reactor.tcpServers[0][1].protocol, Echo)

    def test_balancerPlugin(self) -> None:
        """So is a balancer."""
        made = self.built(
            '[listener.a]\nendpoint = "tcp:1"\npool = "p"\n[pool.p]\nbackends = "ws://a"\n'
            'balancer = "first"\n[plugin.first]\nuse = "HERE:First"\n'
        )
        self.assertIs(made.pools["p"]._balancer, made.plugins["first"])


#: A listener and a pool that are fine, for what is wrong elsewhere.
FINE = '[listener.a]\nendpoint = "tcp:1"\npool = "p"\n[pool.p]\nbackends = "ws://a"\n'


class LaterTests(Building):
    """Plugins that are made later."""

    def test_coroutine(self) -> None:
        """C{make} may be a coroutine function."""
        made = self.built(FINE + '[plugin.w]\nuse = "HERE:wordsLater"\nwords = ["a"]\n')
        self.assertEqual(made.plugins["w"].words, ("a",))

    def test_deferred(self) -> None:
        """Or return a Deferred: nothing is ready before it has fired."""
        building = self.build(FINE + '[plugin.w]\nuse = "HERE:waits"\nwords = []\n')
        self.assertNoResult(building)
        reader = Reader()
        waiting.pop().callback(reader)
        self.assertIs(self.successResultOf(building).plugins["w"], reader)


class ProblemTests(Building):
    """What is wrong, all of it at once, each in one sentence with its place."""

    def test_plugins(self) -> None:
        """Every way in which a plugin cannot be had."""
        for use, options, problem in [
            ("nope", "", 'plugin.x.use: no plugin "nope" is installed (installed: '),
            ("HERE:nope", "", "plugin.x.use: \"HERE:nope\": HERE has no 'nope'"),
            ("HERE:words", "", "plugin.x.words: this key is required"),
            (
                "HERE:words",
                "words = []\nwrods = 1",
                'plugin.x.wrods: unknown key; did you mean "words"?',
            ),
            (
                "HERE:Page",
                "colour = 1",
                "plugin.x.colour: unknown key; this plugin has no options",
            ),
            (
                "HERE:failing",
                "words = []",
                "plugin.x: HERE:failing could not be made: RuntimeError: no idea",
            ),
            (
                "HERE:failingLater",
                "words = []",
                "plugin.x: HERE:failingLater could not be made: RuntimeError: no idea",
            ),
            ("HERE:nothing", "words = []", "plugin.x: HERE:nothing made <object object at 0x"),
        ]:
            problems = self.problems(f'{FINE}[plugin.x]\nuse = "{use}"\n{options}\n')
            self.assertEqual(len(problems), 1, problems)
            self.assertTrue(problems[0].startswith(problem.replace("HERE", HERE)), problems[0])

    def test_deferredFails(self) -> None:
        """A plugin that fails later refuses the start as well."""
        building = self.build(FINE + '[plugin.w]\nuse = "HERE:waits"\nwords = []\n')
        waiting.pop().errback(RuntimeError("no idea"))
        self.failureResultOf(building, ConfigurationError)

    def test_uses(self) -> None:
        """A plugin must be able to do what it is named for."""
        plugin = '[plugin.page]\nuse = "HERE:Page"\n[plugin.tenants]\nuse = "HERE:Tenants"\n'
        for text, problem in [
            (
                '[[route]]\nname = "r"\npool = "p"\nfilters = "tenants"\n',
                'route[1 "r"].filters: the plugin "tenants" does not provide IRequestFilter '
                "or IMessageFilter or IStreamFilter",
            ),
            (
                '[[route]]\nname = "r"\nserve = "tenants"\n',
                'route[1 "r"].serve: the plugin "tenants" does not provide IResource',
            ),
            (
                '[pool.q]\nbackends = "ws://a"\nbalancer = "page"\n',
                'pool.q.balancer: the plugin "page" does not provide IBalancer',
            ),
            (
                '[listener.b]\nendpoint = "tcp:2"\npool = "p"\npolicies = "page"\n',
                'listener.b.policies: the plugin "page" does not provide IRoutingPolicy',
            ),
            (
                '[listener.b]\nendpoint = "tcp:2"\nforwarder = "page"\n',
                'listener.b.forwarder: the plugin "page" does not provide IForwarder',
            ),
        ]:
            self.assertEqual(self.problems(FINE + plugin + text), (problem,))

    def test_blindFilters(self) -> None:
        """A filter that would see nothing on a listener is refused, not passed by."""
        text = (
            '[listener.web]\nendpoint = "tcp:1"\n'
            '[listener.raw]\nendpoint = "tcp:2"\nforwarder = "tcp"\n'
            '[listener.own]\nendpoint = "tcp:3"\nforwarder = "echo"\n'
            '[pool.p]\nbackends = "ws://a"\n'
            '[plugin.door]\nuse = "HERE:Door"\n[plugin.reader]\nuse = "HERE:Reader"\n'
            '[plugin.bytes]\nuse = "HERE:Bytes"\n[plugin.echo]\nuse = "HERE:EchoForwarder"\n'
            '[[route]]\nname = "r"\npool = "p"\n'
        )
        seesNothing = (
            'route[1 "r"].filters: the plugin "{}" would see nothing on the listener "{}": '
            "at layer {} it would have to provide {}"
        )
        l4, l7 = "IStreamFilter", "IRequestFilter or IMessageFilter"
        for condition, filters, problems in [
            ("", "door", [("door", "raw", 4, l4)]),
            ("", "reader", [("reader", "raw", 4, l4)]),
            ("", "bytes", [("bytes", "web", 7, l7)]),
            ('listener = "raw"', "door", [("door", "raw", 4, l4)]),
            ('listener = "web"', "bytes", [("bytes", "web", 7, l7)]),
            ('listener = "web"', "door", []),
            ('listener = "raw"', "bytes", []),
            ('path = "/x"', "door", []),
            ('serverName = "a.example"', "door", [("door", "raw", 4, l4)]),
        ]:
            building = self.build(f'{text}{condition}\nfilters = "{filters}"\n')
            if problems:
                found = self.failureResultOf(building, ConfigurationError).value.problems
                self.assertEqual(list(found), [seesNothing.format(*each) for each in problems])
            else:
                self.successResultOf(building)

    def test_endpoint(self) -> None:
        """An endpoint that Twisted does not understand is told with the reason."""
        for endpoint, reason in [
            (
                "tpc:80",
                "there is no endpoint type 'tpc'; did you mean \"tcp\"? "
                "(types: haproxy, ssl, stdio, systemd, tcp, tcp6, tls, unix)",
            ),
            ("tcp:80:backlog=many", "'many' is not a number"),
            ("unix:/run/x:mode=9", "'9' is not a number"),
            ("tcp:80:colour=red", "there is no parameter 'colour'"),
            ("tcp:80:1:2:3:4", "there are too few or too many parameters"),
            ("ssl:443:privateKey=/nowhere", "/nowhere: No such file or directory"),
            (
                f"ssl:443:privateKey={__file__}",
                "its file holds no key and certificate that can be read",
            ),
            ("systemd:INET:name=x", "systemd has passed no such socket"),
        ]:
            (problem,) = self.problems(FINE.replace("tcp:1", endpoint))
            self.assertEqual(problem, f'listener.a.endpoint: "{endpoint}": {reason}')

    def test_ca(self) -> None:
        """An authority that cannot be read is told, one that can is taken."""
        path = Path(self.mktemp())
        text = FINE.replace("ws://a", "wss://a") + f'ca = "{path.absolute()}"\n'
        self.assertEqual(
            self.problems(text),
            (f"pool.p.ca: {path.absolute()}: No such file or directory",),
        )
        path.write_text("nothing")
        self.assertEqual(
            self.problems(text), (f"pool.p.ca: {path.absolute()} holds no PEM certificate",)
        )
        theAuthority().write(path)
        self.built(text)

    def test_forwarderFails(self) -> None:
        """A forwarder that cannot make its factory refuses the start."""
        self.assertEqual(
            self.problems(
                '[listener.broken]\nendpoint = "tcp:1"\nforwarder = "echo"\n'
                '[plugin.echo]\nuse = "HERE:EchoForwarder"\n'
            ),
            ("listener.broken.forwarder: echo failed: RuntimeError: no idea",),
        )

    def test_allAtOnce(self) -> None:
        """Problems in different places are told together."""
        problems = self.problems(
            FINE.replace("tcp:1", "carrier:pigeon")
            + '[plugin.x]\nuse = "nope"\n[plugin.y]\nuse = "HERE:nope"\n'
        )
        self.assertEqual(
            [problem.partition(":")[0] for problem in problems],
            ["plugin.x.use", "plugin.y.use", "listener.a.endpoint"],
        )

# -*- test-case-name: tests.config.test_build -*-
"""
From a description to what it describes, ready to listen.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

# --------------------------------------------------------------- plugins, for the files below
from tests.config.building import FILE, FINE, HERE, Building, Reader, waiting
from wsrelay.backends.balancers import LeastConnections, RoundRobin
from wsrelay.config.build import build, observersOf
from wsrelay.config.load import loads
from wsrelay.errors import ConfigurationError
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

    def test_caches(self) -> None:
        """The relay knows the caches of what was built, and none of what is wrong."""
        caches = "[cache.a]\n[cache.b]\nsize = 10000\nmaxEntry = 100\n"
        built = self.built(FINE + caches)
        self.assertEqual([each.settings.maxEntry for each in built.caches.values()], [2**20, 100])
        relay = built.listeners[0].relay
        self.assertEqual(relay.caches, built.caches)
        wrong = loads(FINE + '[cache.c]\n[plugin.x]\nuse = "nope"\n')
        building = Deferred.fromCoroutine(build(wrong, relay))
        self.failureResultOf(building, ConfigurationError)
        self.assertEqual(list(relay.caches), ["a", "b"])

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

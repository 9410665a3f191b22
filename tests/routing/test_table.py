"""Tests for the table of routes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.routing.test_matchers import asked, connected
from wsrelay.interfaces import IRoutingPolicy
from wsrelay.model import Forward, Refuse, Respond
from wsrelay.routing.matchers import (
    HostMatcher,
    ListenerMatcher,
    Matcher,
    MethodMatcher,
    PathMatcher,
    PathPrefixMatcher,
)
from wsrelay.routing.redirect import Redirect
from wsrelay.routing.table import Rule, Table


def rule(name: str, *matchers: Matcher) -> Rule:
    """A rule that forwards to the pool of its name."""
    return Rule(matchers, Forward(name), name)


class RuleTests(SynchronousTestCase):
    """A rule needs all of its conditions."""

    def test_all(self) -> None:
        """A rule holds when every condition does, and without conditions always."""
        host, post = HostMatcher(["example.org"]), MethodMatcher(["POST"])
        for matchers, expected in [((), True), ((host,), True), ((host, post), False)]:
            self.assertEqual(rule("x", *matchers).matches(asked()), expected)


class TableTests(SynchronousTestCase):
    """The first rule that matches decides."""

    def test_redirect(self) -> None:
        """A redirect is decided for each client; one that cannot be made is a refusal."""
        table = Table([Rule((), Redirect("https://{host}{target}"), "r")])
        location = (b"Location", b"https://a.example/x?y")
        self.assertEqual(table.route(asked("/x?y", "a.example")), Respond(308, (location,)))
        self.assertIsInstance(table.route(connected("192.0.2.1")), Refuse)

    def test_isPolicy(self) -> None:
        """The table can stand wherever a routing policy can."""
        verifyObject(IRoutingPolicy, Table([]))

    def test_firstMatch(self) -> None:
        """Rules are tried in order; the first that matches decides."""
        table = Table(
            [
                rule("chat", HostMatcher(["chat.example"]), PathMatcher(["/ws"])),
                rule("chat-rest", HostMatcher(["chat.example"])),
                rule("ws", PathMatcher(["/ws"])),
                rule("other", ListenerMatcher(["internal"])),
            ]
        )
        for inbound, pool in [
            (asked("/ws", "chat.example"), "chat"),
            (asked("/x", "chat.example"), "chat-rest"),
            (asked("/ws"), "ws"),
        ]:
            self.assertEqual(table.route(inbound), Forward(pool))

    def test_noMatch(self) -> None:
        """When nothing matches, the next policy may speak."""
        table = Table([rule("ws", PathMatcher(["/ws"]))])
        self.assertIsNone(table.route(asked("/")))
        self.assertIsNone(table.route(connected()))
        self.assertIsNone(Table([]).route(asked("/")))

    def test_decision(self) -> None:
        """What a rule decides is handed out as it is."""
        decision = Respond(204)
        self.assertIs(Table([Rule([], decision)]).route(asked()), decision)

    def test_guardCannotBePassed(self) -> None:
        """No spelling of a guarded path reaches the rule behind the guard."""
        guard = Rule([PathPrefixMatcher(["/admin"])], Refuse("guarded"), "guard")
        table = Table([guard, rule("open")])
        for path in [
            *("/admin", "/admin/", "/admin/x", "//admin", "/%61dmin", "/x/../admin", "/./admin"),
            *("/admin%2fx", "/admin;v/x", "/admin%00", "/%zz/../admin", "/x/..;/admin"),
            *("/x%2f..%2fadmin", "/\\admin", "/%5cadmin", "/x//../../admin", "/%c0%aeadmin"),
        ]:
            self.assertIsInstance(table.route(asked(path)), Refuse, path)
        self.assertEqual(table.route(asked("/administrator")), Forward("open"))

    def test_pathNobodyAsksFor(self) -> None:
        """A path that can be read in two ways is relayed where no rule asks for the path."""
        table = Table(
            [rule("raw", HostMatcher(["example.org"])), rule("ws", PathMatcher(["/ws"]))]
        )
        self.assertEqual(table.route(asked("/%zz")), Forward("raw"))
        refusal = table.route(asked("/%zz", "other.example"))
        self.assertIsInstance(refusal, Refuse)

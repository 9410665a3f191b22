"""Tests for the tables of routes."""

from __future__ import annotations

import attrs
from pydantic import ValidationError
from twisted.trial.unittest import SynchronousTestCase

from tests.routing.test_matchers import asked, connected
from wsrelay.config.routes import (
    ACTIONS,
    CHANGES,
    CONDITIONS,
    SETTINGS,
    Answer,
    Route,
)
from wsrelay.model import Respond, RouteSettings
from wsrelay.routing.rewrite import PathRule
from wsrelay.rules import FieldRules, Rules


class RouteTests(SynchronousTestCase):
    """A route becomes matchers and settings."""

    def test_keys(self) -> None:
        """Every key is a condition, an action, a change, a setting, or a name of something."""
        keys = {"name", "filters", "cache", *CONDITIONS, *ACTIONS, *CHANGES, *SETTINGS}
        self.assertEqual(keys, set(Route.model_fields))

    def test_settingsAreAll(self) -> None:
        """Everything in L{RouteSettings} can be set, and has the same default."""
        self.assertEqual(set(SETTINGS), {field.name for field in attrs.fields(RouteSettings)})
        self.assertEqual(Route().settings(), RouteSettings())

    def test_settings(self) -> None:
        """What is set is used; 0 is no limit."""
        route = Route(connectTimeout=1, idleTimeout=0, maxMessage=0, maxFrame=5, compression="off")
        expected = RouteSettings(
            connectTimeout=1.0,
            idleTimeout=None,
            maxMessage=None,
            maxFrame=5,
            compression="off",
        )
        self.assertEqual(route.settings(), expected)

    def test_matchers(self) -> None:
        """Each condition of a route becomes matchers that hold for what it says."""
        yes = asked("/ws/1?v=2", "a.example", (b"X-Kind", b"k"), (b"Cookie", b"c=d"))
        yes = attrs.evolve(yes, serverName="a.example", alpn=("h2",))
        no = connected("198.51.100.1")
        no = attrs.evolve(no, listener="other")
        conditions = {
            "listener": "public",
            "network": "192.0.2.0/24",
            "serverName": "*.example",
            "alpn": ["h2"],
            "host": "a.example",
            "method": "GET",
            "path": "/ws/*",
            "pathPrefix": "/ws",
            "pathRegex": "/ws/.",
            "header": {"x-kind": "k"},
            "query": {"v": ["1", "2"]},
            "cookie": {"c": "*"},
        }
        self.assertEqual(set(conditions), set(CONDITIONS))
        for key, value in conditions.items():
            (matcher,) = Route.model_validate({key: value}).matchers()
            self.assertTrue(matcher.matches(yes), key)
            self.assertFalse(matcher.matches(no), key)
        every = Route.model_validate(conditions).matchers()
        self.assertEqual(len(every), len(conditions))

    def test_namedConditions(self) -> None:
        """Each name of a table of conditions is a condition of its own."""
        self.assertEqual(len(Route(header={"a": ("1",), "b": ("2", "3")}).matchers()), 2)

    def test_rules(self) -> None:
        """What a route changes becomes one value; a route that changes nothing has none."""
        for key, value, rules in [
            ("requestHeaders", {"remove": "A"}, Rules("r", request=FieldRules(remove=("A",)))),
            (
                "responseHeaders",
                {"set": {"A": "{id}"}, "add": {"B": ["1", "2"]}},
                Rules("r", response=FieldRules((("A", "{id}"),), (("B", "1"), ("B", "2")))),
            ),
            ("stripPrefix", "/a", Rules("r", target=PathRule("/a"))),
            (
                "replacePath",
                {"regex": "/a", "to": "/b"},
                Rules("r", target=PathRule(replace=("/a", "/b"))),
            ),
            ("addPrefix", "/a", Rules("r", target=PathRule(add="/a"))),
            ("hostHeader", "backend", Rules("r", host="backend")),
        ]:
            self.assertEqual(Route.model_validate({key: value}).rules("r"), rules)
        for table in ({}, {"hostHeader": "keep"}, {"requestHeaders": {}, "stripPrefix": ""}):
            self.assertIsNone(Route.model_validate(table).rules("r"))


class AnswerTests(SynchronousTestCase):
    """A fixed answer becomes a decision."""

    def test_decision(self) -> None:
        """A body is plain text unless a header says otherwise; nothing else is added."""
        plain = (b"Content-Type", b"text/plain; charset=utf-8")
        html = (b"content-type", b"text/html")
        for answer, decision in [
            ({"status": 204}, Respond(204)),
            ({"status": 200, "body": "ü"}, Respond(200, (plain,), "ü".encode())),
            (
                {"status": 200, "body": "x", "headers": {"content-type": "text/html"}},
                Respond(200, (html,), b"x"),
            ),
            (
                {"status": 301, "headers": {"Set-Cookie": ["a=b", "c=d"]}},
                Respond(301, ((b"Set-Cookie", b"a=b"), (b"Set-Cookie", b"c=d"))),
            ),
        ]:
            self.assertEqual(Answer.model_validate(answer).decision(), decision)

    def test_noBody(self) -> None:
        """A status that has no body cannot be given one."""
        with self.assertRaises(ValidationError):
            Answer(status=204, body="x")

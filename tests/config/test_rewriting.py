"""Tests for the tables and values of what is changed on the way."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.config.problems import problemsOf
from wsrelay.config.rewriting import (
    ErrorPages,
    Forwarded,
    HeaderRules,
    PathChange,
    Redirection,
    Trusted,
    TrustedFields,
)
from wsrelay.config.routes import Route
from wsrelay.routing.redirect import Redirect
from wsrelay.rules import FieldRules

#: A route's key and value, and what is said about it.
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"requestHeaders": {"set": {"X": 1}}}, "requestHeaders.set.X: expected a string, found 1"),
    (
        {"requestHeaders": {"set": {"X": "{clinet}"}}},
        'requestHeaders.set: "{clinet}": no placeholder {clinet}; did you mean "{client}"?',
    ),
    (
        {"responseHeaders": {"add": {"Connection": "close"}}},
        'responseHeaders.add: "Connection" is written by the relay itself',
    ),
    ({"requestHeaders": {"set": {"Host": "a"}}}, 'requestHeaders.set: "Host" is set by hostH'),
    ({"requestHeaders": {"remove": "*"}}, 'requestHeaders.remove: "*" would remove every field'),
    ({"requestHeaders": {"remove": ["A b"]}}, "requestHeaders.remove: not a header name: 'A b'"),
    (
        {"requestHeaders": {"remove": "A", "set": {"a": "1"}}},
        'requestHeaders: "a" stands there twice; set alone replaces what there was',
    ),
    ({"requestHeaders": {"sett": {}}}, 'requestHeaders.sett: unknown key; did you mean "set"?'),
    ({"stripPrefix": "api"}, 'stripPrefix: "api" does not begin with a slash'),
    ({"addPrefix": 1}, "addPrefix: expected a path, found 1"),
    ({"replacePath": "/a"}, 'replacePath: expected a table, found "/a"'),
    ({"replacePath": {"regex": "/a"}}, "replacePath.to: this key is required"),
    ({"replacePath": {"regex": "(", "to": "/"}}, 'replacePath: "(" is not a regular expression'),
    ({"hostHeader": "a b"}, 'hostHeader: "a b" is no host and port'),
    ({"hostHeader": 1}, 'hostHeader: expected "keep", "backend", or a host, which may be a temp'),
    ({"redirect": "a"}, 'redirect: "a": expected http:// or https:// and a host, or a path'),
    ({"redirect": {"to": "/", "status": 304}}, "redirect: a redirect is 301, 302, 303, 307 or 3"),
    ({"redirect": {"status": 301}}, "redirect.to: this key is required"),
]


class TableTests(SynchronousTestCase):
    """Tables become values, or sentences about what is wrong."""

    def test_wrong(self) -> None:
        """What could not be carried out is refused when the file is read, with its place."""
        for table, words in WRONG:
            error = self.assertRaises(ValidationError, Route.model_validate, table)
            (problem,) = problemsOf(error, "route[1]", table, Route)
            self.assertTrue(problem.startswith(f"route[1].{words}"), (problem, words))

    def test_headerRules(self) -> None:
        """One value or a list of them, where several can be."""
        table = {"set": {"A": "1"}, "add": {"B": "2", "C": ["3", "4"]}, "remove": "D"}
        rules = FieldRules((("A", "1"),), (("B", "2"), ("C", "3"), ("C", "4")), ("D",))
        self.assertEqual(HeaderRules.model_validate(table).rules(), rules)

    def test_redirection(self) -> None:
        """A string is where to; otherwise a table."""
        for value, redirect in [
            ("https://{host}{target}", Redirect("https://{host}{target}", 308, "r")),
            ({"to": "/a", "status": 302}, Redirect("/a", 302, "r")),
        ]:
            self.assertEqual(Redirection.model_validate(value).decision("r"), redirect)

    def test_pathChange(self) -> None:
        """Groups of the expression can stand in the new path."""
        change = PathChange.model_validate({"regex": "/a/(.*)", "to": r"/b/\1"})
        self.assertEqual((change.regex, change.to), ("/a/(.*)", r"/b/\1"))


class ListenerTests(SynchronousTestCase):
    """The values of a listener's keys."""

    def test_values(self) -> None:
        """What is right is taken as it is; one value stands for a list of one."""
        for kind, value, expected in [
            (Trusted, "10.0.0.0/8", ("10.0.0.0/8",)),
            (Trusted, ["::1", "unix"], ("::1", "unix")),
            (TrustedFields, "rfc7239", "rfc7239"),
            (Forwarded, "both", "both"),
            (ErrorPages, {"404": "a.html"}, {"404": "a.html"}),
        ]:
            self.assertEqual(TypeAdapter(kind).validate_python(value), expected)

    def test_wrong(self) -> None:
        """What is wrong is told in words."""
        for kind, value, words in [
            (Trusted, "x", "not an IP address or network"),
            (Trusted, 1, "an IP address or network"),
            (TrustedFields, "both", '"x-forwarded" or "rfc7239"'),
            (Forwarded, "on", '"x-forwarded", "rfc7239", "both" or "off"'),
            (ErrorPages, "a.html", "a table of file names"),
        ]:
            error = self.assertRaises(ValidationError, TypeAdapter(kind).validate_python, value)
            self.assertIn(words, str(error))

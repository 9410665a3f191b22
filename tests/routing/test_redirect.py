# -*- test-case-name: tests.routing.test_redirect -*-
"""
Redirects: a rule and a request in, the Location out.
"""

from __future__ import annotations

from attrs import evolve
from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.test_rules import inbound
from wsrelay.model import Refuse, Respond
from wsrelay.routing.redirect import Redirect
from wsrelay.rules import PLACEHOLDERS

REDIRECTS: list[tuple[str, str, str, str | None]] = [
    # to, target, Host, Location
    ("https://{host}{target}", "/a?b=c", "A.example:8080", "https://a.example/a?b=c"),
    ("https://{host}:8443{target}", "/", "[::1]:80", "https://[::1]:8443/"),
    ("https://{host}{target}", "//evil/x", "a", "https://a//evil/x"),
    ("{scheme}://www.{host}{path}", "/a?b", "a", "http://www.a/a"),
    ("https://b.example", "/a", "a", "https://b.example"),
    ("https://b.example/?{query}", "/a?@evil", "a", "https://b.example/?@evil"),
    ("/new{path}", "//evil", "a", "/new//evil"),
    ("{target}", "//evil/x", "a", "/evil/x"),
    ("{target}", "/\\evil", "a", "/evil"),
    ("{path}?{query}", "/\\/\\evil?x", "a", "/evil?x"),
    ("/{query}", "/?/evil", "a", "/evil"),
    ("/{query}", "/?\\evil", "a", "/evil"),
    ("{target}", "*", "a", None),
    ("https://{host}{target}", "*", "a", None),
    ("https://{serverName}{target}", "/", "a", None),
]


class RedirectTests(SynchronousTestCase):
    """Answers that send the client elsewhere."""

    def test_locations(self) -> None:
        """The client is sent where the rule says, and nowhere else."""
        for to, target, host, location in REDIRECTS:
            method = "OPTIONS" if target == "*" else "GET"
            client = inbound(f"{method} {target} HTTP/1.1\nHost: {host}")
            decision = Redirect(to).decide(client)
            if location is None:
                self.assertIsInstance(decision, Refuse, to)
            else:
                self.assertEqual(decision, Respond(308, ((b"Location", location.encode()),)))

    def test_serverName(self) -> None:
        """A server name that is none makes no redirect."""
        redirect = Redirect("https://{serverName}/")
        for name, isFine in [("a.example", True), ("a b", False), ("a@b", False), ("\xff", False)]:
            decision = redirect.decide(inbound(serverName=name))
            self.assertEqual(isinstance(decision, Respond), isFine, name)

    def test_noRequest(self) -> None:
        """At layer 4 there is nobody to tell."""
        decision = Redirect("/").decide(evolve(inbound(), request=None))
        self.assertIsInstance(decision, Refuse)

    def test_noHost(self) -> None:
        """A client that names no host cannot be sent to it."""
        decision = Redirect("https://{host}/").decide(inbound("GET / HTTP/1.0\nA: b"))
        self.assertIsInstance(decision, Refuse)

    def test_wrong(self) -> None:
        """Where a client could choose the host it is sent to, there is no redirect."""
        for to in (
            *("https://example.org{query}", "https://{query}/", "https://{path}", "{query}"),
            *("//evil", "/\\evil", "ftp://a/", "javascript:x", "https:///a", "https://", ""),
            *("https://u@a/", "https://{certificate.subject}/", "https://a/ b", "https://a/é"),
            *("{scheme}{target}", "https://{host}{method}/", "x", "{{host}}/"),
        ):
            with self.assertRaises(ValueError, msg=to):
                Redirect(to)
        for status in (200, 300, 304, 399):
            with self.assertRaises(ValueError):
                Redirect("/", status)

    @settings(max_examples=200, deadline=None)
    @given(
        st.sampled_from(["https://{host}{target}", "https://b.example{target}", "{target}"]),
        st.text(alphabet="/\\@:.?%2fa-", max_size=12),
    )
    def test_anyTarget(self, to: str, rest: str) -> None:
        """Whatever a client asks for, it stays with the host of the rule or its own."""
        decision = Redirect(to).decide(inbound(f"GET /{rest} HTTP/1.1\nHost: a.example"))
        assert isinstance(decision, Respond)
        location = decision.headers[0][1].decode()
        allowed = ("https://a.example/", "https://b.example/")
        if not location.startswith(allowed):
            self.assertRegex(location, r"\A/(?![/\\])")

    def test_everyPlaceholder(self) -> None:
        """Every placeholder may stand in the query of a redirect."""
        for name in PLACEHOLDERS:
            Redirect(f"/x?y={{{name}}}")

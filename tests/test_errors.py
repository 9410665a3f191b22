# -*- test-case-name: tests.test_errors -*-
"""
The error tree: each error knows whose fault it was, which status and which close code.
"""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from wsrelay import errors
from wsrelay.errors import (
    BackendFault,
    BadHandshake,
    BadRequest,
    ClientFault,
    ConfigurationError,
    PluginFault,
    RelayError,
    Violation,
)

# class, parent, party, HTTP status, WebSocket close code
TREE = [
    ("ConfigurationError", "RelayError", "relay", 500, 1011),
    ("PluginFault", "RelayError", "plugin", 500, 1011),
    ("ClientFault", "RelayError", "client", 400, 1002),
    ("BadRequest", "ClientFault", "client", 400, 1002),
    ("BadHandshake", "BadRequest", "client", 400, 1002),
    ("MethodNotAllowed", "ClientFault", "client", 405, 1002),
    ("Misdirected", "ClientFault", "client", 421, 1002),
    ("RequestTimeout", "ClientFault", "client", 408, 1002),
    ("ContentTooLarge", "ClientFault", "client", 413, 1009),
    ("HeadTooLarge", "ClientFault", "client", 431, 1002),
    ("ExpectationFailed", "ClientFault", "client", 417, 1002),
    ("NotImplementedByRelay", "ClientFault", "client", 501, 1002),
    ("VersionNotSupported", "ClientFault", "client", 505, 1002),
    ("Refused", "RelayError", "relay", 403, 1008),
    ("Limited", "RelayError", "client", 429, 1008),
    ("Overloaded", "RelayError", "relay", 503, 1013),
    ("NoRoute", "RelayError", "relay", 404, 1011),
    ("BackendFault", "RelayError", "backend", 502, 1011),
    ("NoBackend", "BackendFault", "backend", 503, 1013),
    ("BackendTimeout", "BackendFault", "backend", 504, 1011),
    ("BadResponse", "BackendFault", "backend", 502, 1011),
    ("Violation", "RelayError", "relay", 500, 1002),
]


def make(kind: type[RelayError]) -> RelayError:
    """An error of that kind with nothing special about it."""
    special = {
        "ConfigurationError": (["what"],),
        "Limited": ("what", 429, 1),
        "PluginFault": ("redact", "what"),
        "Violation": (1002, "what"),
    }
    return kind(*special.get(kind.__name__, ("what",)))  # type: ignore[arg-type]  # each its own


class TreeTests(SynchronousTestCase):
    """What the tree promises to those who answer errors."""

    def test_everyError(self) -> None:
        """Every error has its place in the tree, and blames and answers as the table says."""
        for name, parent, party, status, code in TREE:
            error = make(getattr(errors, name))
            self.assertEqual([c.__name__ for c in type(error).__bases__], [parent], name)
            self.assertEqual((error.party, error.status, error.code), (party, status, code), name)

    def test_complete(self) -> None:
        """No error is missing from the table above."""
        self.assertEqual({name for name, *_ in TREE} | {"RelayError"}, set(errors.__all__))

    def test_drawing(self) -> None:
        """The tree that is drawn in the docstring is the tree there is, statuses included."""
        drawn: list[tuple[str, str]] = []
        above: list[tuple[int, str]] = []
        for line in (errors.__doc__ or "").splitlines():
            match = re.match(r"^((?:[| `]|--)*)([A-Z]\w+)(?: {2,}|$)", line.removeprefix("    "))
            if match is None or not line.startswith("    "):
                continue
            depth, name = len(match[1]), match[2]
            above = [item for item in above if item[0] < depth]
            if above:
                drawn.append((name, above[-1][1]))
                if name not in ("ConfigurationError", "Violation"):  # no HTTP answer
                    self.assertIn(f" {make(getattr(errors, name)).status}", line)
            above.append((depth, name))
        self.assertEqual(sorted(drawn), sorted((name, parent) for name, parent, *_ in TREE))

    def test_detail(self) -> None:
        """The detail is what the log shows, as the error's text and as an attribute."""
        error = BackendFault("connection refused")
        self.assertEqual((str(error), error.detail), ("connection refused",) * 2)

    def test_noHeaders(self) -> None:
        """Only an answer that must name what would be right carries a header field."""
        carrying = {name for name, *_ in TREE if make(getattr(errors, name)).headers}
        self.assertEqual(carrying, {"Limited", "MethodNotAllowed"})
        ((name, value),) = errors.MethodNotAllowed("CONNECT").headers
        self.assertEqual(name, b"Allow")
        self.assertNotIn(b"CONNECT", value)


class SpecialTests(SynchronousTestCase):
    """Errors that know more than their detail."""

    def test_allProblemsAtOnce(self) -> None:
        """A wrong configuration is reported with every problem that was found."""
        error = ConfigurationError(["route 1: no pool", "pool.chat: no backends"])
        self.assertEqual(error.problems, ("route 1: no pool", "pool.chat: no backends"))
        self.assertEqual(str(error), "route 1: no pool; pool.chat: no backends")

    def test_pluginIsNamed(self) -> None:
        """Whoever reads the log learns which plugin it was."""
        error = PluginFault("redact", "raised ValueError")
        self.assertEqual(error.plugin, "redact")
        self.assertEqual(str(error), "redact: raised ValueError")

    def test_wrongVersion(self) -> None:
        """A client with another WebSocket version is told which one is right (RFC 6455 4.4)."""
        error = BadHandshake("version 8", 426)
        self.assertEqual(error.status, 426)
        self.assertEqual(
            error.headers, ((b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", b"13"))
        )

    def test_badHandshakeIsABadRequest(self) -> None:
        """Who answers bad requests answers bad handshakes."""
        self.assertIsInstance(BadHandshake("no key"), BadRequest)
        self.assertIsInstance(BadHandshake("no key"), ClientFault)

    def test_oneErrorDoesNotChangeTheNext(self) -> None:
        """A status or code given to one error stays with that error."""
        BadHandshake("version 8", 426)
        Violation(1009, "too big")
        self.assertEqual((BadHandshake("no key").status, Violation(1007, "").code), (400, 1007))

"""Tests for the tables of pools."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsrelay.config.load import loads
from wsrelay.config.pools import Backend, Pool
from wsrelay.errors import ConfigurationError

#: What is wrong in a table, and what is said about it.
WRONG = [
    ('proxyProtocol = "v3"', 'pool.p.proxyProtocol: expected "v1" or "v2", found "v3"'),
    ("proxyProtocol = 2", 'pool.p.proxyProtocol: expected "v1" or "v2", found 2'),
    (
        'minimumVersion = "TLSv1.1"',
        'pool.p.minimumVersion: expected "TLSv1.2" or "TLSv1.3", found "TLSv1.1"',
    ),
    ("minimumVersion = 1.3", 'pool.p.minimumVersion: expected "TLSv1.2" or "TLSv1.3", found 1.3'),
    *(
        (f'serverName = "{name}"', "pool.p.serverName: expected a host name or an IP address")
        for name in ("a b", "*.a", "", "a:443", "127.1", "b\u00fccher.de", "https://a")
    ),
    ("serverName = true", "pool.p.serverName: expected a host name or an IP address"),
    ("certificate = 1", "pool.p.certificate: expected"),
    ("key = 1", "pool.p.key: expected"),
]


class PoolTests(SynchronousTestCase):
    """Groups of backends, as the file says them."""

    def test_listsOfOne(self) -> None:
        """A single value may stand where a list may."""
        pool = Pool.model_validate({"backends": "ws://a"})
        self.assertEqual(pool.backends, (Backend(url="ws://a", weight=1),))

    def test_backend(self) -> None:
        """A backend is a URL, or a table with a weight too."""
        pool = Pool.model_validate({"backends": ["tls:a:1", {"url": "unix:/x", "weight": 2}]})
        kinds = [(b.destination().isSecure, b.destination().host) for b in pool.backends]
        self.assertEqual(kinds, [(True, "a"), (False, "/x")])
        self.assertEqual([b.weight for b in pool.backends], [1, 2])

    def test_serverName(self) -> None:
        """A name is compared as names are; an address may stand in its place."""
        for text, name in [("Chat.Internal.", "chat.internal"), ("10.0.0.1",) * 2, ("::1",) * 2]:
            pool = Pool.model_validate({"backends": "wss://a", "serverName": text})
            self.assertEqual(pool.serverName, name)

    def test_wrong(self) -> None:
        """What is wrong is said with what would be right."""
        for line, expected in WRONG:
            text = f"[listener.a]\nendpoint = 'tcp:1'\npool = 'p'\n[pool.p]\n{line}\n"
            error = self.assertRaises(ConfigurationError, loads, f"{text}backends = 'wss://a'")
            (problem,) = error.problems
            self.assertTrue(problem.startswith(expected), problem)

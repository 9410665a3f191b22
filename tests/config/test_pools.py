"""Tests for the tables of pools."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsrelay.config.pools import Backend, Pool


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

"""Tests for the tables of caches."""

from __future__ import annotations

from pydantic import ValidationError
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.config.caches import Cache
from wsrelay.l7.cache import CacheSettings
from wsrelay.wire.caching import Rules


class CacheTests(SynchronousTestCase):
    """A cache, as the file says it."""

    def test_defaults(self) -> None:
        """Nothing said is what the cache does by itself."""
        self.assertEqual(Cache().settings(), CacheSettings())

    def test_settings(self) -> None:
        """Every key arrives."""
        table = Cache.model_validate(
            {
                "size": 1000,
                "maxEntry": 100,
                "statuses": [200, 503],
                "heuristics": True,
                "staleWhileRevalidate": 30,
                "staleIfError": 600,
                "obeyClients": False,
            }
        )
        rules = Rules(frozenset({200, 503}), True, 30, 600, False)
        self.assertEqual(table.settings(), CacheSettings(1000, 100, rules))

    def test_fits(self) -> None:
        """One entry may not be larger than all of them."""
        with self.assertRaises(ValidationError):
            Cache.model_validate({"size": 10, "maxEntry": 11})

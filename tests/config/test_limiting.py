"""Tests for the limits of listeners, as the file says them."""

from __future__ import annotations

from pydantic import ValidationError
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.config.limiting import Limits
from wsrelay.l4 import limits


class LimitsTests(SynchronousTestCase):
    """How many clients there may be."""

    def test_none(self) -> None:
        """Nothing said is no limit."""
        self.assertEqual(Limits().settings(), limits.NO_LIMITS)

    def test_settings(self) -> None:
        """Every key arrives."""
        said = {
            "connections": 1,
            "connectionsPerClient": 2,
            "rate": 3.0,
            "ratePerClient": 4.0,
            "handshakes": 5.0,
            "handshakesPerClient": 6.0,
            "burst": 7.0,
            "prefix4": 24,
            "prefix6": 56,
            "exempt": ("10.0.0.0/8",),
        }
        self.assertEqual(Limits.model_validate(said).settings(), limits.Limits(**said))  # type: ignore[arg-type]  # of many kinds
        self.assertEqual(set(said), set(Limits.model_fields))

    def test_refused(self) -> None:
        """What makes no sense is refused."""
        for said in ({"connections": 0}, {"rate": 0}, {"prefix4": 33}, {"exempt": ["x"]}):
            with self.assertRaises(ValidationError):
                Limits.model_validate(said)

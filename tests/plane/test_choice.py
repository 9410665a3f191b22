# -*- test-case-name: tests.plane.test_choice -*-
"""
Which engine moves the bytes.
"""

from __future__ import annotations

import sys

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.errors import ConfigurationError
from wsrelay.plane.choice import hasNative, makePlane


class MakePlaneTests(SynchronousTestCase):
    """With the extension, and where it was not built."""

    def without(self) -> None:
        """Have the extension not be there."""
        name = "wsrelay.plane.native"
        before = sys.modules.get(name)
        sys.modules[name] = None  # type: ignore[assignment]  # which is how to forbid an import
        if before is None:
            self.addCleanup(sys.modules.pop, name)
        else:
            self.addCleanup(sys.modules.__setitem__, name, before)

    def test_portable(self) -> None:
        """Who wants the portable engine gets it, whatever is there."""
        self.assertEqual(makePlane("portable", Clock()).name, "portable")

    def test_native(self) -> None:
        """The native engine is taken wherever it is there."""
        try:
            import wsrelay.plane._native  # noqa: F401  # whether it is there
        except ImportError:
            self.skipTest("the extension is not built")
        self.assertTrue(hasNative())
        for wanted in ("auto", "native"):
            self.assertEqual(makePlane(wanted, Clock()).name, "native")

    def test_notBuilt(self) -> None:
        """Without the extension, only who insists on it is told that it is not there."""
        self.without()
        self.assertFalse(hasNative())
        self.assertEqual(makePlane("auto", Clock()).name, "portable")
        error = self.assertRaises(ConfigurationError, makePlane, "native", Clock())
        (problem,) = error.problems
        self.assertIn('relay.plane: "native" needs the extension', problem)
        self.assertIn('"auto" does without', problem)

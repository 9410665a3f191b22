# -*- test-case-name: tests.conformance.test_autobahn_suite -*-
"""
Tests of L{tests.conformance.autobahn_suite}, and with it of the relay at every level.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.conformance.autobahn_suite import (
    BEHAVIOURS,
    Outcome,
    counts,
    differences,
    runSuite,
    worse,
)
from tests.endtoend.support import LEVELS

_OK = Outcome("OK", "OK")


class ComparisonTests(SynchronousTestCase):
    """Which results count as worse."""

    def test_ladder(self) -> None:
        """Each behaviour is worse than those before it, in the conversation and in its closing."""
        for place, behaviour in enumerate(BEHAVIOURS):
            for better in BEHAVIOURS[:place]:
                self.assertTrue(Outcome(behaviour, "OK").worseThan(Outcome(better, "OK")))
                self.assertTrue(Outcome("OK", behaviour).worseThan(Outcome("OK", better)))
                self.assertFalse(Outcome(better, "OK").worseThan(Outcome(behaviour, "OK")))
            self.assertFalse(Outcome(behaviour, "OK").worseThan(Outcome(behaviour, "OK")))

    def test_oneBetterOneWorse(self) -> None:
        """A better conversation does not make up for a worse closing."""
        self.assertTrue(Outcome("OK", "UNCLEAN").worseThan(Outcome("NON-STRICT", "OK")))

    def test_missing(self) -> None:
        """A case without a report is a worse one."""
        self.assertEqual(worse({"1.1.10": _OK, "1.1.2": _OK}, {}), ["1.1.2", "1.1.10"])

    def test_tables(self) -> None:
        """The tables count every outcome and name only the cases that are remarkable."""
        results = {
            "direct": {"1.1.1": _OK, "6.4.1": Outcome("NON-STRICT", "OK")},
            "L4": {"1.1.1": Outcome("FAILED", "OK"), "6.4.1": _OK},
            "FRAMES": {"1.1.1": _OK, "6.4.1": Outcome("NON-STRICT", "OK")},
        }
        self.assertEqual(
            counts(results)[2:],
            [
                "| OK / OK | 1 | 1 | 1 |",
                "| NON-STRICT / OK | 1 | 0 | 1 |",
                "| FAILED / OK | 0 | 1 | 0 |",
                "| cases | 2 | 2 | 2 |",
                "| worse than direct | 0 | 1 | 0 |",
            ],
        )
        self.assertEqual(
            differences(results)[2:],
            [
                "| 1.1.1 | OK / OK | FAILED / OK | OK / OK |",
                "| 6.4.1 | NON-STRICT / OK | OK / OK | NON-STRICT / OK |",
            ],
        )


class SuiteTests(SynchronousTestCase):
    """A short round of the suite itself; the whole of it is a command."""

    #: Framing, pings, opcodes, fragments, UTF-8, closing, and compression both ways.
    cases = ("1.1.*", "2.*", "4.1.*", "5.*", "6.2.*", "7.*", "12.1.1", "13.3.1")

    def test_noCaseIsWorse(self) -> None:
        """Through the relay, at every level, no case comes out worse than directly."""
        wstest = os.environ.get("WSTEST") or shutil.which("wstest")
        if not wstest:
            raise SkipTest("wstest is neither named by WSTEST nor on the PATH")
        folder = Path(self.mktemp()).absolute()
        direct = runSuite(wstest, "direct", self.cases, folder / "direct")
        self.assertGreater(len(direct), 100)
        for level in LEVELS:
            through = runSuite(wstest, level, self.cases, folder / level)
            lost = {case: str(through.get(case)) for case in worse(direct, through)}
            self.assertEqual(lost, {}, level)

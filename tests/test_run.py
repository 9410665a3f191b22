# -*- test-case-name: tests.test_run -*-
"""
The commands that README.md promises are the ones that exist and the ones that are run.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from tests.house import ROOT

README = (ROOT / "README.md").read_text("utf-8")
CI = (ROOT / ".ci" / "run").read_text("utf-8")

#: What trial prints last; passed, failed and skipped in it; whether that is good.
SUMMARIES: Sequence[tuple[str, str, bool]] = [
    ("PASSED (successes=10)", "10 passed, 0 failed", True),
    ("PASSED (skips=3, successes=4)", "4 passed, 0 failed, 3 skipped", True),
    ("PASSED (expectedFailures=1, successes=4)", "5 passed, 0 failed", True),
    ("FAILED (failures=1, errors=2, successes=3)", "3 passed, 3 failed", False),
    ("FAILED (unexpectedSuccesses=1, successes=3)", "3 passed, 1 failed", False),
    ("PASSED (skips=3)", "0 passed, 1 failed, 3 skipped", False),
    ("PASSED", "0 passed, 1 failed", False),
    ("Killed", "0 passed, 1 failed", False),
]


class PromiseTests(SynchronousTestCase):
    """A stranger with a checkout and Python."""

    def test_commands(self) -> None:
        """The two commands of the README are commands of run.py."""
        promised = re.findall(r"^python3 run\.py (\w+)$", README, re.MULTILINE)
        self.assertEqual(promised, ["demo", "test"])
        asked = subprocess.run(
            [sys.executable, ROOT / "run.py"], capture_output=True, text=True, timeout=60
        )
        for command in promised:
            self.assertIn(f"python3 run.py {command} ", asked.stderr)

    def test_sameTests(self) -> None:
        """What is done for every commit includes the README's test command, as it stands."""
        self.assertRegex(CI, r"python3 run\.py test 2>&1 \|")


class CountTests(SynchronousTestCase):
    """The last line of .ci/run."""

    def test_counts(self) -> None:
        """It says how many tests passed, failed and were skipped, as trial counted them."""
        head, tail = "set -eu -o pipefail; status=0\n", CI[CI.index("# Trial's last word") :]
        for summary, line, good in SUMMARIES:
            log = self.mktemp()
            with open(log, "wb") as file:
                file.write(b"PASSED (successes=99)\n\0\xff\n%b\n" % summary.encode())
            # A log that was cut short has no summary at all, not even that of an inner trial.
            if summary == "Killed":
                with open(log, "wb") as file:
                    file.write(b"\0\xff\nKilled\n")
            done = subprocess.run(
                ["bash", "-c", f"log={log}\n{head}{tail}"],
                capture_output=True,
                text=True,
                timeout=60,
            )
            self.assertEqual(done.stdout.splitlines()[-1], line, done.stderr)
            self.assertEqual(done.returncode == 0, good, summary)

# -*- test-case-name: tests.test_run -*-
"""
The commands that README.md promises are the ones that exist and the ones that are run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from tests.house import ROOT

README = (ROOT / "README.md").read_text("utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
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

    def test_otherCommands(self) -> None:
        """Who works on wsrelay reads about the commands that are run for every commit."""
        run = re.findall(r"^.*timeout \d+ python3 run\.py (\w+)", CI, re.MULTILINE)
        self.assertEqual(sorted(run), ["check", "fuzz", "sanitize", "test"])
        described = re.findall(r"^python3 run\.py (\w+) ", CONTRIBUTING, re.MULTILINE)
        self.assertEqual(sorted(described), sorted(run))

    def test_noCompiler(self) -> None:
        """Without the compiler that it needs, a command fails and names it."""
        nothing = self.mktemp()
        os.mkdir(nothing)
        for command, compiler in (("sanitize", "gcc"), ("fuzz", "clang")):
            asked = subprocess.run(
                [sys.executable, ROOT / "run.py", command],
                env={**os.environ, "PATH": nothing},
                capture_output=True,
                text=True,
                timeout=60,
            )
            self.assertNotEqual(asked.returncode, 0)
            self.assertIn(compiler, asked.stderr)


class CountTests(SynchronousTestCase):
    """The last line of .ci/run."""

    def last(self, log: bytes, before: str = "more_passed=0 more_failed=0") -> tuple[str, bool]:
        """The last line for what trial has written, and whether all is good."""
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(log)
        tail = CI[CI.index("# Trial's last word") :]
        done = subprocess.run(
            ["bash", "-c", f"log={path}\nset -eu -o pipefail; status=0\n{before}\n{tail}"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout.splitlines()[-1], done.returncode == 0

    def test_counts(self) -> None:
        """It says how many tests passed, failed and were skipped, as trial counted them."""
        for summary, line, good in SUMMARIES:
            log = b"PASSED (successes=99)\n\0\xff\n%b\n" % summary.encode()
            # A log that was cut short has no summary at all, not even that of an inner trial.
            if summary == "Killed":
                log = b"\0\xff\nKilled\n"
            self.assertEqual(self.last(log), (line, good), summary)

    def test_oneMore(self) -> None:
        """A sanitizer or a fuzzer that found something is one failure, and else one success."""
        start, end = CI.index("# Each of these"), CI.index("one_more timeout")
        counted, log = CI[start:end], b"PASSED (successes=4)\n"
        self.assertEqual(self.last(log, f"{counted}one_more true"), ("5 passed, 0 failed", True))
        bad = f"{counted}one_more false\none_more true"
        self.assertEqual(self.last(log, bad), ("5 passed, 1 failed", False))
        self.assertEqual(
            self.last(b"Killed\n", f"{counted}one_more true"), ("1 passed, 1 failed", False)
        )

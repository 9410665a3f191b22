#!/usr/bin/env python3
"""
Sets up and runs everything, with nothing but Python and this checkout::

    python3 run.py demo     the demo; Ctrl-C ends it
    python3 run.py test     all tests; what is written behind it goes to trial instead
    python3 run.py check    ruff and mypy

The first time it makes a virtual environment in .venv and installs into it; afterwards it
looks at one small file and starts at once. Deleting .venv undoes everything.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
PYTHON = str(BIN / "python")
STAMP = VENV / "wsrelay-installed"

# What an installation depends on. All else is used from the checkout as it is.
INGREDIENTS = ("setup.cfg", "pyproject.toml", "setup.py", "wsrelay/**/*.[ch]")


def fingerprint() -> str:
    """One word that changes when the checkout has to be installed again."""
    digest = hashlib.sha256(str(ROOT).encode())
    for pattern in INGREDIENTS:
        for path in sorted(ROOT.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def prepare(*extras: str) -> None:
    """Have the checkout installed in .venv, with these extras at least."""
    python, wanted = sys.version.split()[0], fingerprint()
    known = STAMP.read_text().split() if STAMP.exists() else []
    if known[:2] == [python, wanted] and set(extras) <= set(known[2:]):
        return
    print("Setting up .venv ...", file=sys.stderr, flush=True)
    if known[:1] != [python]:  # none, half made, or of another Python
        known = []
        call(sys.executable, "-m", "venv", "--clear", str(VENV))
    have = sorted({*extras, *known[2:]})
    STAMP.unlink(missing_ok=True)
    what = f".[{','.join(have)}]" if have else "."
    call(PYTHON, "-m", "pip", "install", "--quiet", "--editable", what)
    STAMP.write_text(" ".join([python, wanted, *have]))


def call(*command: str) -> None:
    """Run C{command}; end with its status if it fails."""
    status = subprocess.call(command)
    if status:
        sys.exit(status)


def demo(arguments: list[str]) -> None:
    """Become the demo, so that signals reach it and nobody stands between."""
    prepare()
    twistd = str(BIN / "twistd")
    os.execv(twistd, [twistd, "-n", "--pidfile=", "wsrelay", "--demo", *arguments])


def test(arguments: list[str]) -> None:
    """Become trial."""
    prepare("test")
    os.execv(PYTHON, [PYTHON, "-m", "twisted.trial", *(arguments or ["tests"])])


def check(arguments: list[str]) -> None:
    """Run every checker, the later ones even if an earlier one complains."""
    prepare("test", "dev")
    checkers = (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"])
    statuses = [subprocess.call([PYTHON, "-m", *checker, *arguments]) for checker in checkers]
    sys.exit(max(statuses))


def main() -> None:
    """Do what the command line says."""
    if sys.version_info < (3, 11):  # noqa: UP036  # this file runs before any installer looked
        sys.exit(f"wsrelay needs Python 3.11 or later; this is {sys.version.split()[0]}")
    commands = {"demo": demo, "test": test, "check": check}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit((__doc__ or "").strip())
    os.chdir(ROOT)
    commands[sys.argv[1]](sys.argv[2:])


if __name__ == "__main__":
    main()

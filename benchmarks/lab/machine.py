# -*- test-case-name: tests.test_benchmarks -*-
"""
Where and with what a run was made: the first record of its file, and the head of its report.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import OpenSSL.SSL
import twisted

import wsrelay
from benchmarks.lab.build import ROOT
from benchmarks.lab.contenders import CONTENDERS

__all__ = ["describeMachine"]


def describeMachine(names: Iterable[str]) -> dict[str, Any]:
    """
    The facts, now.

    @param names: the contenders whose versions are wanted.
    """
    return {
        "record": "machine",
        "when": round(time.time(), 3),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "versions": {**_ours(), **_theirs(names)},
    }


def _cpu() -> str:
    text = Path("/proc/cpuinfo").read_text()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.processor() or "unknown"


def _ours() -> dict[str, str]:
    tls = OpenSSL.SSL.OpenSSL_version(OpenSSL.SSL.OPENSSL_VERSION).decode()
    return {
        "wsrelay": " ".join(filter(None, [wsrelay.__version__, _commit()])),
        "Python": platform.python_version(),
        "Twisted": twisted.__version__,
        "its OpenSSL": tls.split()[1],
    }


def _commit() -> str:
    """The commit of the checkout, and whether it was changed since."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=7"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return ""
    return f"({done.stdout.strip()})" if done.returncode == 0 else ""


def _theirs(names: Iterable[str]) -> dict[str, str]:
    """By program: nginx is one, in however many configurations it runs."""
    versions = {}
    for name in names:
        contender = CONTENDERS[name]
        title = contender.title.split()[0]
        if contender.versionArguments and title not in versions:
            versions[title] = contender.version() or "not installed"
    return versions

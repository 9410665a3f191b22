# -*- test-case-name: tests.test_benchmarks -*-
"""
Measures: figures that can be taken from the record of a run. Less is
better in all of them that a rule can name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from attrs import frozen

from benchmarks.lab.works import WORKS

__all__ = ["ASKED", "CPU", "DIALS", "IDLE", "MEMORY", "OPENED", "Measure"]


@frozen
class Measure:
    """
    One kind of figure.

    @ivar unit: as it stands in a table; C{{unit}} is that of the work.
    @ivar take: the figure of one run, or C{None} if the run has none.
    """

    name: str
    unit: str
    take: Callable[[Mapping[str, Any]], float | None]


def _cpu(run: Mapping[str, Any]) -> float | None:
    units = WORKS[run["work"]].units(run) if "secs" in run else 0
    return float(run["proxy_ns"]) / 1000 / units if units and run["proxy_ns"] else None


def _memory(run: Mapping[str, Any]) -> float | None:
    if not run.get("opened") or "pss_after" not in run:
        return None
    return float(run["pss_after"] - run["pss_before"]) / float(run["opened"])


def _idle(run: Mapping[str, Any]) -> float | None:
    return float(run["idle_ns"]) / 1e7 / run["idle_s"] if "idle_ns" in run else None


def _opened(run: Mapping[str, Any]) -> float | None:
    return float(run["opened"]) if run.get("opened") else None


def _each(key: str, run: Mapping[str, Any]) -> float | None:
    """Something that the backend counted, for each unit."""
    units = WORKS[run["work"]].units(run) if key in run else 0
    return float(run[key]) / units if units else None


CPU = Measure("cpu", "µs of CPU per {unit}", _cpu)
MEMORY = Measure("memory", "KiB per {unit}", _memory)
IDLE = Measure("idle", "% of a core while idle", _idle)
OPENED = Measure("opened", "how many were open", _opened)
ASKED = Measure("asked", "requests to the backend per {unit}", partial(_each, "backend_asked"))
DIALS = Measure(
    "dials", "connections to the backend per {unit}", partial(_each, "backend_accepted")
)

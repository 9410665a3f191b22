# -*- test-case-name: tests.test_benchmarks -*-
"""
Claims: what is said to be fast, and how one would know.

A I{claim} names works, contenders, and rules. A I{rule} says of one contender, the I{subject},
what its figure I{must} not exceed, and what it I{aims} at. A I{limit} is a number, or a number
times the best figure of other contenders. A I{figure} is the median of a measure over the runs.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from benchmarks.lab.measures import CPU, Measure
from benchmarks.lab.works import WORKS, Work

__all__ = ["Claim", "Limit", "Rule", "best"]


@frozen
class Limit:
    """
    The most that is allowed.

    @ivar factor: how many times the best of C{of}; the bound itself, if there are none.
    """

    factor: float
    of: tuple[str, ...] = ()

    def reference(self, figures: Mapping[str, float]) -> str | None:
        """Whose figure counts: the lowest of those there are."""
        there = [name for name in self.of if name in figures]
        return min(there, key=figures.__getitem__, default=None)

    def bound(self, figures: Mapping[str, float]) -> float | None:
        """The highest figure that keeps it; C{None} if nobody is there to compare with."""
        if not self.of:
            return self.factor
        name = self.reference(figures)
        return None if name is None else self.factor * figures[name]


def best(factor: float, *of: str) -> Limit:
    """At most C{factor} times the best of these contenders."""
    return Limit(factor, of)


@frozen
class Rule:
    """
    One row of what is claimed.

    @ivar works: names of the works that it holds for.
    """

    subject: str
    works: tuple[str, ...]
    must: Limit
    aim: Limit
    measure: Measure = CPU


@frozen
class Claim:
    """
    What one file of C{benchmarks/} claims.

    @ivar works: names of works, in the order of the columns.
    @ivar contenders: names of contenders, in the order of the rows.
    @ivar note: what a reader of the table must know.
    """

    name: str
    title: str
    works: tuple[str, ...]
    contenders: tuple[str, ...]
    rules: tuple[Rule, ...]
    measures: tuple[Measure, ...] = (CPU,)
    note: str = ""
    loads: tuple[Work, ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "loads", tuple(WORKS[name] for name in self.works))

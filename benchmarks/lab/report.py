# -*- test-case-name: tests.test_benchmarks -*-
"""
The report: medians, ratios and verdicts from the records of runs.

Everything is computed from the records, so that any file of results can be reported again.
A run that failed counts for nothing. A figure from fewer than two clean runs is marked C{~};
nothing is asserted of it that would not be asserted of others.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from attrs import evolve, frozen

from benchmarks.lab.claim import Claim, Limit, Rule
from benchmarks.lab.contenders import CONTENDERS
from benchmarks.lab.measures import CPU, Measure
from benchmarks.lab.works import WORKS, Work

__all__ = ["Figure", "Results", "Verdict", "asMarkdown", "asText", "judge", "report"]

_YES, _NO, _UNKNOWN = "yes", "no", "-"
_TIMES = "\N{MULTIPLICATION SIGN}"


@frozen
class Figure:
    """
    The median of some runs.

    @ivar isNoisy: whether fewer than two of them were clean.
    """

    value: float
    isNoisy: bool = False

    def __str__(self) -> str:
        return _number(self.value) + ("~" if self.isNoisy else "")


@frozen
class Verdict:
    """
    What became of one rule for one work.

    @ivar figure: the subject's.
    @ivar mustRatio: the figure over that of the contender the must is measured by; C{None} if
        that is a plain number.
    """

    rule: Rule
    work: Work
    figure: Figure
    must: str
    mustRatio: float | None
    isMet: bool | None
    aim: str
    aimRatio: float | None
    isAimMet: bool | None


class Results:
    """
    Records, by claim, work and contender.

    @ivar machines: the records of where they were made.
    """

    def __init__(self, records: Iterable[Mapping[str, Any]]) -> None:
        self.machines: list[Mapping[str, Any]] = []
        self._runs: dict[tuple[str, str, str], list[Mapping[str, Any]]] = defaultdict(list)
        for record in records:
            if record["record"] == "machine":
                self.machines.append(record)
            else:
                key = record["claim"], record["work"], record["contender"]
                self._runs[key].append(record)

    def has(self, claim: str) -> bool:
        """Whether there are runs of a claim."""
        return any(key[0] == claim for key in self._runs)

    def runs(self, claim: str, work: str, contender: str) -> Sequence[Mapping[str, Any]]:
        """All runs of one cell, failed ones too."""
        return self._runs.get((claim, work, contender), ())

    def figure(self, claim: str, work: str, contender: str, measure: Measure) -> Figure | None:
        """The median over the clean runs if there are two, else over all that did not fail."""
        good = [run for run in self.runs(claim, work, contender) if not run["failed"]]
        clean = [run for run in good if run["clean"]]
        isNoisy = len(clean) < 2
        values = [measure.take(run) for run in (good if isNoisy else clean)]
        taken = [value for value in values if value is not None]
        return Figure(statistics.median(taken), isNoisy) if taken else None

    def figures(self, claim: Claim, work: str, measure: Measure) -> dict[str, Figure]:
        """Of all contenders that have one."""
        found = {}
        for name in claim.contenders:
            figure = self.figure(claim.name, work, name, measure)
            if figure is not None:
                found[name] = figure
        return found


def judge(results: Results, claim: Claim) -> list[Verdict]:
    """Each rule, for each of its works that there are figures for."""
    verdicts = []
    for rule in claim.rules:
        for work in rule.works:
            figures = results.figures(claim, work, rule.measure)
            if rule.subject in figures:
                verdicts.append(_judge(rule, WORKS[work], figures))
    return verdicts


def _judge(rule: Rule, work: Work, figures: Mapping[str, Figure]) -> Verdict:
    own = figures[rule.subject]
    values = {name: figure.value for name, figure in figures.items()}
    must, aim = (_compare(limit, own.value, values) for limit in (rule.must, rule.aim))
    return Verdict(rule, work, own, *must, *aim)


def _compare(
    limit: Limit, own: float, values: Mapping[str, float]
) -> tuple[str, float | None, bool | None]:
    """The limit in words, the ratio to who set it, and whether it is kept."""
    bound, name = limit.bound(values), limit.reference(values)
    if not limit.of:
        return f"≤ {limit.factor:.3g}", None, own <= limit.factor
    if bound is None or name is None:
        titles = " or ".join(CONTENDERS[each].title for each in limit.of)
        return f"≤ {limit.factor:.3g} {_TIMES} {titles}", None, None
    text = f"≤ {limit.factor:.3g} {_TIMES} {CONTENDERS[name].title}"
    return text, own / values[name], own <= bound


# --------------------------------------------------------------------------- tables


@frozen
class Table:
    """One table: a title, heads, rows of cells, and words for who reads it."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def report(results: Results, claims: Iterable[Claim]) -> list[Table]:
    """Three tables for each claim that was run: figures, verdicts, and how the runs went."""
    tables: list[Table] = []
    for claim in claims:
        if results.has(claim.name):
            tables += _figureTables(results, claim)
            verdicts = judge(results, claim)
            if verdicts:
                tables.append(_verdictTable(claim, verdicts))
            if CPU in claim.measures:
                tables.append(_runTable(results, claim))
    return [table for table in tables if table.rows]


def _figureTables(results: Results, claim: Claim) -> Iterable[Table]:
    for measure in claim.measures:
        units = sorted({work.unit for work in claim.loads})
        for unit in units:
            works = [work for work in claim.loads if work.unit == unit]
            title = f"{claim.title}: {measure.unit.format(unit=unit)}"
            grid = _grid(results, claim, title, works, partial(_cell, measure))
            yield evolve(grid, note=claim.note)


def _runTable(results: Results, claim: Claim) -> Table:
    title = f"{claim.title}: as run, units per second and the median latency in µs"
    return _grid(results, claim, title, claim.loads, _pace)


def _grid(
    results: Results,
    claim: Claim,
    title: str,
    works: Sequence[Work],
    cell: Callable[[Results, str, str, str], str],
) -> Table:
    """Contenders by works; who has no cell has no row, which nobody has done no column."""
    cells = {
        (name, work.name): cell(results, claim.name, work.name, name)
        for name in claim.contenders
        for work in works
    }
    names = [name for name in claim.contenders if any(cells[name, work.name] for work in works)]
    done = [work for work in works if any(cells[name, work.name] for name in names)]
    heads = ["", *(work.title for work in done)]
    rows = [
        [CONTENDERS[name].title, *(cells[name, work.name] or "" for work in done)]
        for name in names
    ]
    return Table(title, heads, rows)


def _cell(measure: Measure, results: Results, claim: str, work: str, name: str) -> str:
    figure = results.figure(claim, work, name, measure)
    if figure is not None:
        return str(figure)
    runs = results.runs(claim, work, name)
    return "failed" if runs and all(run["failed"] for run in runs) else ""


def _pace(results: Results, claim: str, work: str, name: str) -> str:
    good = [run for run in results.runs(claim, work, name) if not run["failed"]]
    if not good:
        return ""
    pace = statistics.median(WORKS[work].units(run) / run["secs"] for run in good)
    latency = statistics.median(run["lat_us"]["p50"] for run in good)
    return f"{pace:,.0f} ({_number(latency)})" if latency else f"{pace:,.0f}"


def _verdictTable(claim: Claim, verdicts: Sequence[Verdict]) -> Table:
    heads = ["", "work", "figure", "must", "ratio", "met", "aim", "ratio", "met"]
    rows = [
        [
            CONTENDERS[verdict.rule.subject].title,
            _what(verdict),
            str(verdict.figure),
            verdict.must,
            _ratio(verdict.mustRatio),
            _word(verdict.isMet),
            verdict.aim,
            _ratio(verdict.aimRatio),
            _word(verdict.isAimMet),
        ]
        for verdict in verdicts
    ]
    return Table(f"{claim.title}: must and aim", heads, rows)


def _what(verdict: Verdict) -> str:
    """The work, and what was measured where that is not CPU time."""
    work, measure = verdict.work, verdict.rule.measure
    if measure is CPU:
        return work.title
    return f"{work.title}: {measure.unit.format(unit=work.unit)}"


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _word(isMet: bool | None) -> str:
    return _UNKNOWN if isMet is None else _YES if isMet else _NO


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


# --------------------------------------------------------------------------- forms


def asMarkdown(results: Results, tables: Iterable[Table]) -> str:
    """For a page."""
    lines = [f"- {line}" for line in _facts(results)]
    for table in tables:
        lines += ["", f"### {table.title}", ""]
        if table.note:
            lines += [table.note, ""]
        lines.append("| " + " | ".join(table.heads) + " |")
        lines.append("| --- |" + " ---: |" * (len(table.heads) - 1))
        lines += ["| " + " | ".join(row) + " |" for row in table.rows]
    return "\n".join([*lines, "", _LEGEND, ""])


def asText(results: Results, tables: Iterable[Table]) -> str:
    """For a terminal."""
    lines = list(_facts(results))
    for table in tables:
        lines += ["", table.title]
        widths = [max(map(len, column)) for column in zip(table.heads, *table.rows, strict=True)]
        for row in (table.heads, *table.rows):
            cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            lines.append("  ".join(["  " + row[0].ljust(widths[0]), *cells]).rstrip())
        if table.note:
            lines.append(f"  {table.note}")
    return "\n".join([*lines, "", _LEGEND, ""])


_LEGEND = (
    "Figures are medians. `~`: from fewer than two undisturbed runs. A round trip is two messages "
    "for a proxy. Ratios are to the contender named."
)


def _facts(results: Results) -> Iterable[str]:
    """Where the results come from; several machines one after another."""
    for machine in results.machines[-1:]:
        versions = machine["versions"].items()
        yield f"{machine['date']}, {machine['kernel']}, {machine['cpu']}, {machine['cores']} cores"
        yield ", ".join(f"{name} {version}" for name, version in versions)

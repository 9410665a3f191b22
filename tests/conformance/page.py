# -*- test-case-name: tests.conformance.test_page -*-
"""
The tables in C{docs/reference/conformance.md} that a command writes.

A I{block} is what stands between C{<!-- NAME: begin -->} and C{<!-- NAME: end -->}.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.endtoend.support import ROOT

__all__ = ["PAGE", "replaceBlock", "table", "writeBlock"]

PAGE = ROOT / "docs" / "reference" / "conformance.md"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return [
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    ]


def replaceBlock(text: str, name: str, lines: Sequence[str]) -> str:
    """
    C{text} with the block C{name} made of C{lines}.

    @raise ValueError: there is no such block.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = text.partition(begin)
    _, alsoFound, after = rest.partition(end)
    if not found or not alsoFound:
        raise ValueError(f"no block {name!r}")
    return "\n".join([before + begin, "", *lines, "", end + after])


def writeBlock(name: str, lines: Sequence[str], page: Path = PAGE) -> None:
    """Write the block C{name} of a page."""
    page.write_text(replaceBlock(page.read_text(), name, lines))

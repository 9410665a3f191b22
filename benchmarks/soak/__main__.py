# -*- test-case-name: tests.endtoend.test_soak -*-
"""
The command: C{python -m benchmarks.soak --minutes 30}. Its exit status is 0 for PASS.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.soak.drive import CONVERSATIONS, Result, Soak, soak
from benchmarks.soak.watch import MARGIN, Checkpoint, growth

__all__ = ["main", "report"]

# So many reasons for a failure are told, and so many for an end.
_REASONS = 40


def _checkpoint(checkpoint: Checkpoint) -> None:
    print(
        f"{checkpoint.seconds:7.0f} s {checkpoint.conversations:9} conversations "
        f"{checkpoint.open:4} open {checkpoint.descriptors:4} descriptors "
        f"{checkpoint.memory / 2**20:8.2f} MiB {checkpoint.cpu:8.2f} s CPU "
        f"{checkpoint.idle * 100:3.0f} % idle",
        flush=True,
    )


def report(result: Result) -> Iterator[str]:
    """The tables, and the verdict as the last line."""
    yield "| conversation | outcome | count |"
    yield "|---|---|--:|"
    for (name, outcome), count in sorted(result.outcomes.items()):
        yield f"| {name} | {outcome} | {count} |"
    yield ""
    yield "| how the relay saw them end | count |"
    yield "|---|--:|"
    for reason, count in result.reasons.most_common(_REASONS):
        yield f"| {reason[:100]} | {count} |"
    yield ""
    grown = growth(result.checkpoints)
    if grown is not None:
        of = f"of {MARGIN / 2**20:.0f} allowed"
        yield f"memory, last quarter against second: {grown / 2**20:+.2f} MiB {of}"
    yield f"descriptors at the start: {result.start}; seed: {result.seed}"
    yield from result.wrong[:_REASONS]
    if len(result.wrong) > _REASONS:
        yield f"and {len(result.wrong) - _REASONS} more"
    yield "FAIL" if result.wrong else "PASS"


def main() -> int:
    """Run it, and print."""
    parser = argparse.ArgumentParser("python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="of traffic")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--plane", choices=("native", "portable"), default="native")
    parser.add_argument("--report-every", type=float, default=60, metavar="SECONDS")
    parser.add_argument(
        "--only", action="append", default=[], choices=list(CONVERSATIONS), metavar="NAME"
    )
    parser.add_argument("--folder", help="keep the relay's log and journal here")
    options = parser.parse_args()
    print(f"seed {options.seed}, plane {options.plane}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        how = Soak(
            seed=options.seed,
            seconds=options.minutes * 60,
            every=options.report_every,
            plane=options.plane,
            folder=folder,
            only=options.only,
            tell=_checkpoint,
        )
        result = asyncio.run(soak(how))
    print()
    for line in report(result):
        print(line)
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())

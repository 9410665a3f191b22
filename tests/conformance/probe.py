# -*- test-case-name: tests.conformance.test_probe -*-
"""
The command that asks a relay the points of L{tests.conformance.points} and prints a table.

Our relay at each level, and C{direct} for no relay at all, which shows that the probe asks
nothing impossible::

    python -m tests.conformance.probe direct L4 FRAMES MESSAGES

Any other proxy beside it: C{NAME=COMMAND}, where C{{port}} is where it shall listen and
C{{backend}} where it shall connect to, on 127.0.0.1::

    python -m tests.conformance.probe 'socat=socat tcp-l:{port},fork tcp:127.0.0.1:{backend}'

Or one that runs already; C{--pid} is whose memory is measured::

    python -m tests.conformance.probe --url ws://127.0.0.1:8000 --backend 9000 --pid 4711
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from tests.conformance.backend import ProbeBackend
from tests.conformance.page import table, writeBlock
from tests.conformance.points import Probe, Result
from tests.endtoend.support import (
    LEVELS,
    Program,
    Relay,
    residentMemory,
    waitForPort,
)
from tests.ports import freePort

__all__ = ["columns", "main"]


@contextlib.contextmanager
def _program(target: str, backend: int, log: Path) -> Iterator[tuple[str, int | None]]:
    """The URL of C{target}, and the process whose memory counts, while it runs."""
    program: Program
    if target == "direct":
        yield f"ws://127.0.0.1:{backend}", None
        return
    if target in LEVELS:
        program = relay = Relay.atLevel(target, backend, log)
        port = relay.port
    else:
        port = freePort()
        command = target.partition("=")[2].replace("{port}", str(port))
        command = command.replace("{backend}", str(backend))
        program = Program(shlex.split(command), log)
    try:
        waitForPort(port, alive=lambda: program.running)
        yield f"ws://127.0.0.1:{port}", program.pid
    finally:
        program.stop()


async def _results(
    backend: ProbeBackend, url: str, pid: int | None, patience: float
) -> list[Result]:
    memory = None if pid is None else partial(residentMemory, pid)
    return await Probe(url, backend, memory, patience).run(lambda one: print(one, flush=True))


async def _probeTarget(target: str, arguments: argparse.Namespace) -> list[Result]:
    print(f"\n{target.partition('=')[0]}")
    backend = await ProbeBackend.start(arguments.backend)
    try:
        if arguments.url:
            return await _results(backend, arguments.url, arguments.pid, arguments.patience)
        with (
            tempfile.TemporaryDirectory() as folder,
            _program(target, backend.port, Path(folder, "log")) as (url, pid),
        ):
            return await _results(backend, url, pid, arguments.patience)
    finally:
        await backend.stop()


def columns(results: dict[str, list[Result]]) -> list[str]:
    """One row for each point, one column for each target, as a Markdown table."""
    rows = [
        [column[0].point, column[0].name]
        + [one.seen if one.right else f"**{one.seen}**" for one in column]
        for column in zip(*results.values(), strict=True)
    ]
    passed = [f"{sum(one.right for one in some)} of {len(some)}" for some in results.values()]
    return table(["#", "point", *results], [*rows, ["", "right", *passed]])


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.probe")
    parser.add_argument("targets", nargs="*", help=f"direct, {', '.join(LEVELS)}, or NAME=COMMAND")
    parser.add_argument("--url", help="a proxy that runs already, e.g. ws://127.0.0.1:8000")
    parser.add_argument("--backend", type=int, default=0, help="port of the probe's backend")
    parser.add_argument("--pid", type=int, help="process of --url whose memory is measured")
    parser.add_argument("--patience", type=float, default=25.0, help="seconds for one point")
    parser.add_argument("--write", action="store_true", help="write the page's table")
    arguments = parser.parse_args(words)
    if bool(arguments.url) == bool(arguments.targets):
        parser.error("name targets or --url")
    return arguments


def main(words: Sequence[str]) -> int:
    """Ask, print the table, and return 0 if every point of every target came out right."""
    arguments = _arguments(words)
    results = {
        target.partition("=")[0]: asyncio.run(_probeTarget(target, arguments))
        for target in arguments.targets or [arguments.url]
    }
    lines = columns(results)
    print("\n" + "\n".join(lines))
    if arguments.write:
        writeBlock("probe", lines)
    return int(not all(one.right for some in results.values() for one in some))


if __name__ == "__main__":
    # What was started ends with this command, however that ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main(sys.argv[1:]))

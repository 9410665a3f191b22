# -*- test-case-name: tests.conformance.test_autobahn_suite -*-
"""
The Autobahn TestSuite, asked of an Autobahn echo server directly and through the relay.

The suite's fuzzing client runs the same cases against each I{target}: C{direct}, and the
relay at each level. Some cases come out imperfect by nature or by the echo server's choice,
so the measure is the comparison: no case may come out worse through the relay than
directly::

    python -m tests.conformance.autobahn_suite --wstest PATH [--quick] [--cases '1.*,7.*']

C{docs/reference/conformance.md} says how C{wstest} is installed, which needs Python 2.7.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from attrs import frozen

from tests.conformance.page import table, writeBlock
from tests.endtoend.support import LEVELS, ROOT, Program, Relay, waitForPort
from tests.ports import freePort

__all__ = [
    "BEHAVIOURS",
    "QUICK",
    "Outcome",
    "Outcomes",
    "counts",
    "differences",
    "main",
    "runSuite",
    "worse",
]

#: From best to worst, in the suite's own words; C{MISSING} is a case without a report.
BEHAVIOURS = (
    "OK",
    "INFORMATIONAL",
    "NON-STRICT",
    "UNIMPLEMENTED",
    "UNCLEAN",
    "WRONG CODE",
    "FAILED BY CLIENT",
    "FAILED",
    "MISSING",
)

#: What C{--quick} leaves of the suite: every rule, one case of each kind of load.
QUICK = (
    *(f"{group}.*" for group in (1, 2, 3, 4, 5, 6, 7, 10)),
    *("9.1.1", "9.2.1", "9.3.1", "9.5.1", "9.7.1"),
    *(f"12.{kind}.{case}" for kind in range(1, 6) for case in (1, 6)),
    *(f"13.{kind}.{case}" for kind in range(1, 8) for case in (1, 6)),
)


@frozen
class Outcome:
    """
    How one case came out, in the suite's words.

    @ivar behaviour: of the conversation.
    @ivar closing: of the closing handshake.
    """

    behaviour: str
    closing: str

    @property
    def rank(self) -> tuple[int, int]:
        """Smaller is better."""
        return BEHAVIOURS.index(self.behaviour), BEHAVIOURS.index(self.closing)

    def worseThan(self, other: Outcome) -> bool:
        """Whether the conversation, or its closing, came out worse."""
        return any(mine > theirs for mine, theirs in zip(self.rank, other.rank, strict=True))

    def __str__(self) -> str:
        return f"{self.behaviour} / {self.closing}"


_MISSING = Outcome("MISSING", "MISSING")

Outcomes: TypeAlias = Mapping[str, Outcome]


def _order(case: str) -> tuple[int, ...]:
    return tuple(map(int, case.split(".")))


def worse(direct: Outcomes, through: Outcomes) -> list[str]:
    """The cases that came out worse through the relay, a case without report among them."""
    return sorted((c for c in direct if through.get(c, _MISSING).worseThan(direct[c])), key=_order)


def counts(results: Mapping[str, Outcomes]) -> list[str]:
    """How many cases came out how for each target, as a Markdown table."""
    totals = {target: Counter(map(str, some.values())) for target, some in results.items()}
    seen = {outcome for total in totals.values() for outcome in total}
    rows = [[o, *(str(totals[target][o]) for target in results)] for o in sorted(seen, key=_rank)]
    sums = ["cases", *(str(len(some)) for some in results.values())]
    direct = results.get("direct", {})
    losses = ["worse than direct", *(str(len(worse(direct, o))) for o in results.values())]
    return table(["conversation / closing", *results], [*rows, sums, losses])


def _rank(words: str) -> tuple[int, int]:
    return Outcome(*words.split(" / ")).rank


def differences(results: Mapping[str, Outcomes]) -> list[str]:
    """The cases that are not all OK, or not alike, as a Markdown table."""
    cases = sorted({case for some in results.values() for case in some}, key=_order)
    rows = []
    for case in cases:
        outcomes = [str(some.get(case, _MISSING)) for some in results.values()]
        if set(outcomes) != {"OK / OK"}:
            rows.append([case, *outcomes])
    return table(["case", *results], rows)


def runSuite(wstest: str, target: str, cases: Sequence[str], folder: Path) -> Outcomes:
    """
    Run the fuzzing client against one target and read its report.

    @param wstest: the suite's command.
    @param target: C{"direct"} or one of the L{LEVELS}.
    @param folder: where logs and the suite's full report go.
    @raise FileNotFoundError: there is no such command.
    """
    command = shutil.which(wstest)
    if command is None:
        raise FileNotFoundError(f"{wstest} is not a command")
    folder.mkdir(parents=True)
    programs: list[Program] = []
    try:
        port = freePort()
        echo = [sys.executable, "-m", "tests.conformance.echo", str(port)]
        programs.append(Program(echo, folder / "echo.log", directory=ROOT))
        waitForPort(port, alive=lambda: programs[0].running)
        if target != "direct":
            relay = Relay.atLevel(target, port, folder / "relay.log")
            programs.append(relay)
            port = relay.port
        spec = {
            "outdir": str(folder / "report"),
            "servers": [{"agent": target, "url": f"ws://127.0.0.1:{port}"}],
            "cases": list(cases),
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        (folder / "spec.json").write_text(json.dumps(spec))
        client = [
            str(Path(command).absolute()),
            "-m",
            "fuzzingclient",
            "-s",
            str(folder / "spec.json"),
        ]
        # The suite is Python 2: a PYTHONPATH that is meant for this interpreter harms it.
        environment = {"PYTHONPATH": ""}
        programs.append(Program(client, folder / "wstest.log", environment, folder))
        programs[-1].wait(deadline=3600.0)
    finally:
        for program in reversed(programs):
            program.stop()
    return _report(folder / "report" / "index.json", target)


def _report(index: Path, target: str) -> Outcomes:
    if not index.exists():
        return {}
    cases = json.loads(index.read_text())[target]
    return {
        case: Outcome(one["behavior"], one["behaviorClose"])
        for case, one in sorted(cases.items(), key=lambda item: _order(item[0]))
    }


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.autobahn_suite")
    parser.add_argument("--wstest", default=os.environ.get("WSTEST", "wstest"))
    parser.add_argument("--cases", default="*", help="patterns, with commas between them")
    parser.add_argument("--quick", action="store_true", help="leave out most of the load cases")
    parser.add_argument("--targets", default=",".join(("direct", *LEVELS)))
    parser.add_argument("--reports", type=Path, help="keep logs and full reports here")
    parser.add_argument("--write", action="store_true", help="write the page's tables")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    """Run the suite, print the tables, and return 0 if no case came out worse."""
    arguments = _arguments(words)
    cases = QUICK if arguments.quick else arguments.cases.split(",")
    results: dict[str, Outcomes] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.reports or Path(temporary, "reports")).absolute()
        for target in arguments.targets.split(","):
            results[target] = runSuite(arguments.wstest, target, cases, folder / target)
            print(f"{target}: {len(results[target])} cases", flush=True)
    print("\n" + "\n".join([*counts(results), "", *differences(results)]))
    if arguments.write:
        chosen = "--quick" if arguments.quick else f"--cases '{arguments.cases}'"
        writeBlock("autobahn", [*counts(results), "", f"Written with `{chosen}`."])
        writeBlock("autobahn-cases", differences(results))
    losses = {t: worse(results.get("direct", {}), some) for t, some in results.items()}
    for target, lost in losses.items():
        for case in lost:
            print(f"{target}: case {case} is worse than directly", file=sys.stderr)
    return int(any(losses.values()) or not all(results.values()))


if __name__ == "__main__":
    # What was started ends with this command, however that ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main(sys.argv[1:]))

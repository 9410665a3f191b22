# -*- test-case-name: tests.test_benchmarks -*-
"""
The runner: rounds of runs, interleaved, so that what disturbs the machine disturbs all alike.

A I{run} is one work given to one contender once. Its record is a flat C{dict} that holds all
that the load generator measured: everything in a report can be computed again from it. The
proxy has one core, the load generator, which is the backend too, another.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from attrs import frozen

from benchmarks.lab.accounting import readPss
from benchmarks.lab.build import NotBuilt, makeProgram
from benchmarks.lab.claim import Claim
from benchmarks.lab.contenders import CONTENDERS
from benchmarks.lab.process import NotStarted, Process, descriptors, freePorts
from benchmarks.lab.works import Work

__all__ = ["SESSIONS", "Plan", "Runner"]

SESSIONS = 10_000
"""How many idle sessions are opened."""

_SPARE = 100  # descriptors for everything but sessions
_STEAL = 0.1  # cores; more and a run is not clean
_FOREIGN = 0.25


@frozen
class Plan:
    """
    What to do.

    @ivar seconds: the length of one run's window.
    @ivar warmUp: seconds of load before it.
    @ivar patience: seconds to wait for a quiet machine before a run.
    """

    rounds: int = 3
    seconds: float = 1.0
    warmUp: float = 0.3
    patience: float = 2.0
    sessions: int = SESSIONS


class Runner:
    """
    Runs claims.

    @param tell: is given lines for people.
    @param keep: is given each record.
    """

    def __init__(
        self, plan: Plan, tell: Callable[[str], None], keep: Callable[[dict[str, Any]], None]
    ) -> None:
        self._plan = plan
        self._tell = tell
        self._keep = keep
        self._load = str(makeProgram("load"))
        self._missing: dict[str, str] = {}
        cores = sorted(os.sched_getaffinity(0))
        self._cores = cores[0], cores[-1]
        if len(cores) == 1:
            tell("one core only: proxy and load generator share it")
        limit = descriptors()
        self._sessions = min(plan.sessions, (limit - _SPARE) // 2)

    def run(self, claim: Claim, names: Sequence[str], works: Sequence[Work]) -> None:
        """
        All rounds of one claim.

        @param names: the contenders; those that are not installed are said once and left out.
        """
        ports = iter(freePorts(3 * len(names)))
        running: dict[str, Process] = {}
        for name in names:
            mine = next(ports), next(ports), next(ports)
            running[name] = Process(CONTENDERS[name], mine, self._cores[1])
        if any(work.isIdle for work in works) and self._sessions < self._plan.sessions:
            self._tell(f"the limit of open files allows {self._sessions} idle sessions")
        try:
            for number, work, process in _order(self._plan.rounds, works, running.values()):
                if self._isUp(process, work):
                    self._one(claim, number, work, process)
        finally:
            for process in running.values():
                process.stop()

    def _isUp(self, process: Process, work: Work) -> bool:
        name = process.contender.name
        if name in self._missing:
            return False
        if work.isIdle:
            process.stop()  # memory is counted from a fresh start
        try:
            process.start()
        except (NotStarted, NotBuilt) as error:
            self._missing[name] = str(error)
            self._tell(f"{name} is left out: {error}")
            return False
        return True

    def _one(self, claim: Claim, number: int, work: Work, process: Process) -> None:
        _awaitQuiet(self._plan.patience)
        record: dict[str, Any] = {
            "record": "run",
            "claim": claim.name,
            "work": work.name,
            "contender": process.contender.name,
            "round": number,
            "when": round(time.time(), 3),
            "account": process.account.kind,
        }
        command = self._command(work, process)
        record.update(self._idle(command, process) if work.isIdle else self._loaded(command))
        record.update(_quality(record))
        self._keep(record)
        self._tell(_line(record, work))
        if not process.isRunning:
            self._tell(f"{process.contender.name} ended: {process.lastWords()}")
            process.stop()

    def _command(self, work: Work, process: Process) -> list[str]:
        port = process.tlsPort if work.isTls else process.port
        if not process.contender.command:
            port = process.backend
        where = ["--target", f"127.0.0.1:{port}", "--backend", f"127.0.0.1:{process.backend}"]
        warmUp = self._plan.warmUp + (process.contender.warmUp if process.isCold else 0)
        process.isCold = False
        times = ["--warmup", str(warmUp), "--duration", str(self._plan.seconds)]
        command = [self._load, *where, *times, *work.arguments]
        if work.isIdle:
            command += ["--conns", str(self._sessions), "--hold", "60", "--ramp", "32"]
            command += ["--ramp-timeout", "20"]
        return command + (process.account.arguments() if process.contender.command else [])

    def _start(self, command: list[str]) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        core = self._cores[0]
        return subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )

    def _loaded(self, command: list[str]) -> dict[str, Any]:
        return _outcome(self._start(command), self._plan.warmUp + self._plan.seconds + 60)

    def _idle(self, command: list[str], process: Process) -> dict[str, Any]:
        """Open the sessions, and see what they cost while nothing happens."""
        account = process.account
        before = readPss(account.processes())
        child = self._start(command)
        assert child.stdout is not None
        child.stdout.readline()  # HOLD: all are open that will ever be
        time.sleep(1)  # what the opening left to do
        taken, then = account.nanoseconds(), time.monotonic()
        time.sleep(max(self._plan.seconds, 1))
        taken, then = account.nanoseconds() - taken, time.monotonic() - then
        after = readPss(account.processes())
        idle = {"idle_ns": taken, "idle_s": then, "pss_before": before, "pss_after": after}
        return {**_outcome(child, 60, "\n"), **idle}


def _order(
    rounds: int, works: Sequence[Work], processes: Any
) -> Iterator[tuple[int, Work, Process]]:
    for number in range(rounds):
        for work in works:
            for process in processes:
                if work.layer in process.contender.layers:
                    yield number, work, process


def _outcome(child: subprocess.Popen[str], patience: float, words: str = "") -> dict[str, Any]:
    """What the load generator says at its end."""
    try:
        out, complaints = child.communicate(words, timeout=patience)
    except subprocess.TimeoutExpired:
        child.kill()
        out, complaints = child.communicate()
        complaints += f"\nno end after {patience} s"
    record: dict[str, Any] = {"complaints": complaints.strip()[-600:]}
    with contextlib.suppress(ValueError, IndexError):
        record.update(json.loads(out.strip().splitlines()[-1]))
    return record


def _quality(record: dict[str, Any]) -> dict[str, Any]:
    """Who had the cores, in cores: the proxy, the load, others, and the host that took them."""
    if "secs" not in record:
        return {"failed": True, "clean": False}
    seconds = record["secs"]
    proxy = record["proxy_ns"] / 1e9 / seconds
    load = record["self_us"] / 1e6 / seconds
    steal = sum(core["steal"] for core in record["cpu"])
    busy = sum(core["busy"] - core["steal"] for core in record["cpu"])
    foreign = max(0.0, busy - proxy - load)
    # Idle sessions that could not be opened are fewer sessions, no wrong figure.
    lost = not record["opened"] if "idle_ns" in record else record["errors"]
    failed = bool(record["bad"] or lost or record["boundary"])
    return {
        "failed": failed,
        "clean": not failed and steal < _STEAL and foreign < _FOREIGN,
        "proxy_cores": round(proxy, 3),
        "load_cores": round(load, 3),
        "steal_cores": round(steal, 3),
        "foreign_cores": round(foreign, 3),
    }


def _line(record: dict[str, Any], work: Work) -> str:
    head = f"{record['round'] + 1} {record['work']:19} {record['contender']:20}"
    if "secs" not in record:
        return f"{head} failed: {record['complaints']}"
    units = work.units(record)
    parts = [head]
    if "idle_ns" in record:
        kib = (record["pss_after"] - record["pss_before"]) / max(units, 1)
        share = record["idle_ns"] / 1e7 / record["idle_s"]
        parts.append(f"{units:7.0f} sessions {kib:7.2f} KiB each, {share:.2f} % of a core")
    else:
        each = record["proxy_ns"] / 1000 / units if units else 0
        parts.append(f"{each:9.2f} us per {work.unit}, {units / record['secs']:9.0f}/s")
        parts.append(f"proxy {record['proxy_cores']:.2f} load {record['load_cores']:.2f}")
    if not record["clean"]:
        noise = f"~ steal {record['steal_cores']:.2f} others {record['foreign_cores']:.2f}"
        parts.append(noise)
    if record["failed"]:
        wrong = {key: record[key] for key in ("errors", "bad", "boundary") if record[key]}
        parts.append(f"FAILED {wrong} {record['complaints']}")
    return "  ".join(parts)


def _awaitQuiet(patience: float) -> None:
    """Wait until other processes leave the cores alone, but not for ever."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        before, then = _busySeconds(), time.monotonic()
        time.sleep(0.1)
        if (_busySeconds() - before) / (time.monotonic() - then) < _FOREIGN:
            return


def _busySeconds() -> float:
    """What all cores have done since the start of the machine."""
    with open("/proc/stat", encoding="ascii") as stat:
        times = [int(word) for word in stat.readline().split()[1:9]]
    user, nice, system, _idle, _waiting, hard, soft, steal = times
    return (user + nice + system + hard + soft + steal) / os.sysconf("SC_CLK_TCK")

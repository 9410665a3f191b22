# -*- test-case-name: tests.endtoend.test_soak -*-
"""
The relay as it is seen from outside: descriptors, memory and CPU time from C{/proc}, what is
open from the journal, and what its log says that nobody expected.
"""

from __future__ import annotations

import os
import re
import statistics
from collections import Counter
from collections.abc import Sequence
from json import loads
from pathlib import Path

from attrs import field, frozen, mutable

from benchmarks.soak.plugins import SoakFault

__all__ = [
    "MARGIN",
    "Checkpoint",
    "Journalled",
    "Log",
    "Tail",
    "cpuTime",
    "descriptors",
    "growth",
    "memory",
]

#: Bytes by which memory may have grown between the second quarter of the checkpoints and the
#: last: an allocator's holes come and go. Even 100 bytes for each conversation are more.
MARGIN = 6 * 1024 * 1024


def descriptors(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory(pid: int) -> int:
    """The memory of a process in bytes, its share of what it shares (PSS)."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.split("\nPss:")[1].split()[0]) * 1024


def cpuTime(pid: int) -> float:
    """The seconds of CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@frozen
class Checkpoint:
    """
    The relay when all conversations had ended.

    @ivar seconds: since the start.
    @ivar conversations: so far.
    @ivar idle: seconds of CPU time in one second.
    @ivar cpu: seconds of CPU time so far.
    """

    seconds: float
    conversations: int
    descriptors: int
    open: int
    memory: int
    idle: float
    cpu: float


def growth(checkpoints: Sequence[Checkpoint]) -> int | None:
    """
    How much memory grew, in bytes, from the second quarter of the checkpoints to the last
    (medians); C{None} if there are fewer than eight.
    """
    quarter = len(checkpoints) // 4
    if quarter < 2:
        return None
    second = checkpoints[quarter : 2 * quarter]
    last = checkpoints[-quarter:]
    before, after = (statistics.median(each.memory for each in some) for some in (second, last))
    return int(after - before)


class Tail:
    """Reads the lines of a file that grows."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._rest = b""

    def lines(self) -> list[str]:
        """Those that have become whole since."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines]

    def close(self) -> None:
        """No more."""
        self._file.close()


@mutable
class Journalled:
    """
    What the journal says.

    @ivar open: the kind of what was opened and not closed, by id.
    @ivar reasons: how often each reason for an end.
    @ivar wrong: what cannot be.
    """

    tail: Tail
    open: dict[str, str] = field(factory=dict)
    closed: int = 0
    faults: int = 0
    reasons: Counter[str] = field(factory=Counter)
    wrong: list[str] = field(factory=list)

    def read(self) -> None:
        """Go on reading."""
        for text in self.tail.lines():
            line = loads(text)
            if id := line.get("opened"):
                if id in self.open:
                    self.wrong.append(f"opened twice: {text}")
                self.open[id] = line["kind"]
            elif self.open.pop(line["closed"], None) is None:
                self.wrong.append(f"closed twice, or never opened: {text}")
            else:
                self.closed += 1
                self.faults += SoakFault.__name__ in line["reason"]
                self.reasons[re.sub(r"\d+(\.\d+)?", "#", line["reason"])] += 1


_HEAD = re.compile(r"\d{4}-\d\d-\d\dT\S+Z (?:(\w+): )?")


class Log:
    """
    What the relay's log says.

    @ivar unexpected: entries above the level C{info} that neither L{SoakFault} nor a backend
        that is not there explains.
    @ivar faults: how many L{SoakFault} does.
    """

    def __init__(self, path: Path) -> None:
        self._tail = Tail(path)
        self._entry: list[str] = []
        self.unexpected: list[str] = []
        self.faults = 0

    def read(self) -> None:
        """Go on reading."""
        for line in self._tail.lines():
            if not line.startswith("    "):
                self._judge()
            self._entry.append(line)

    def close(self) -> None:
        """Read the rest."""
        self.read()
        self._judge()
        self._tail.close()

    def _judge(self) -> None:
        entry, self._entry = self._entry, []
        if not entry:
            return
        head = _HEAD.match(entry[0])
        if head and head[1] not in ("warn", "error", "critical") and len(entry) == 1:
            return
        if SoakFault.__name__ in entry[-1]:
            self.faults += 1
        elif len(entry) > 1 or not entry[0].endswith(" left to try"):
            self.unexpected.append("\n".join(entry))

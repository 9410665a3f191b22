# -*- test-case-name: tests.test_benchmarks -*-
"""
Accounts: how much CPU time and memory all processes of one contender have taken.

The best is a control group, version 1 (C{cpuacct}) or 2, which needs the right to make one.
Else the processes of a session (C{setsid}) are looked up, and the kernel's nanoseconds of
their threads are added; what a thread took that has ended is missing there.

The load generator reads the account itself, at the two ends of its window; see C{--account}
and C{--watch} in C{programs/load.c}.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

__all__ = ["Account", "GroupAccount", "SessionAccount", "openAccount", "readPss"]

_V1 = Path("/sys/fs/cgroup/cpuacct")


class Account:
    """The account of one contender; it is opened before its first process starts."""

    kind = ""

    def join(self) -> None:
        """Called in the new process, before it becomes the contender."""

    def processes(self) -> list[int]:
        """The process ids, now."""
        raise NotImplementedError

    def arguments(self) -> list[str]:
        """What tells the load generator to read this account."""
        raise NotImplementedError

    def nanoseconds(self) -> int:
        """The CPU time taken so far."""
        raise NotImplementedError

    def close(self) -> None:
        """Leave nothing behind; all processes have ended."""


class GroupAccount(Account):
    """
    A control group.

    @param folder: to be made; a folder of a mounted C{cpuacct} or version 2 hierarchy.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        v1 = folder / "cpuacct.usage"
        self._usage = v1 if v1.exists() else folder / "cpu.stat"
        self.kind = "cpuacct" if v1.exists() else "cgroup2"

    def join(self) -> None:
        """Processes that it starts follow."""
        (self._folder / "cgroup.procs").write_text(str(os.getpid()))

    def processes(self) -> list[int]:
        """Those that have not been reaped."""
        return [int(pid) for pid in (self._folder / "cgroup.procs").read_text().split()]

    def arguments(self) -> list[str]:
        """One file."""
        return ["--account", str(self._usage)]

    def nanoseconds(self) -> int:
        """Time in the kernel included; the processes that have ended included."""
        words = self._usage.read_text().split()
        return int(words[0]) if len(words) == 1 else int(words[1]) * 1000

    def close(self) -> None:
        """Take the folder away; it stays busy until its last process has been reaped."""
        for _ in range(20):
            try:
                self._folder.rmdir()
                return
            except OSError:
                time.sleep(0.05)


class SessionAccount(Account):
    """
    The processes of one session, by C{/proc}. It needs no rights.

    @ivar leader: the id of the session; set once the first process runs.
    """

    kind = "schedstat"
    leader = 0

    def processes(self) -> list[int]:
        """The leader and all that stayed in its session."""
        return [pid for pid in _allProcesses() if _sessionOf(pid) == self.leader]

    def arguments(self) -> list[str]:
        """Each process."""
        return [word for pid in self.processes() for word in ("--watch", str(pid))]

    def nanoseconds(self) -> int:
        """Of the threads that live."""
        total = 0
        for pid in self.processes():
            for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError):
                    total += int(task.read_text().split()[0])
        return total


def openAccount(name: str) -> Account:
    """
    The best account that can be had.

    @param name: for its folder; unique on this machine.
    """
    for parent in (_V1, _ownGroup()):
        if parent is None or not parent.is_dir():
            continue
        try:
            account = GroupAccount(parent / name)
        except OSError:
            continue
        if _letsJoin(account):
            return account
        account.close()
    return SessionAccount()


def readPss(processes: list[int]) -> int:
    """The memory of processes in KiB, each page counted once (proportional set size)."""
    total = 0
    for pid in processes:
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            found = re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)
            total += int(found[1]) if found else 0
    return total


def _ownGroup() -> Path | None:
    """Our own group in the version 2 hierarchy, the only place where we might be allowed."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            own = line[3:].lstrip("/")
            for mount in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
                if (mount / own / "cgroup.procs").exists() and (mount / own / "cpu.stat").exists():
                    return mount / own
    return None


def _letsJoin(account: Account) -> bool:
    """Whether a process of ours may go there."""
    pid = os.fork()
    if pid == 0:
        try:
            account.join()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _allProcesses() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _sessionOf(pid: int) -> int:
    with contextlib.suppress(OSError):
        return os.getsid(pid)
    return -1

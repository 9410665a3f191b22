# -*- test-case-name: tests.endtoend.test_clients -*-
"""
What every end-to-end test needs: a real relay process, ports, deadlines, memory figures.

A I{level} is how much of the traffic the relay looks at: C{L4} (opaque bytes), C{FRAMES} (a
WebSocket route without message filter) or C{MESSAGES} (a filter sees every message both
ways and changes none). A I{program} is a process that a test started; it ends with the test,
and what it printed is shown when the test fails.

Nothing here waits without a deadline, and nothing sleeps in the hope that something is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from twisted.trial.reporter import TestResultDecorator
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from tests.ports import freePort

__all__ = [
    "LEVELS",
    "MEBIBYTE",
    "MEMORY_SLACK",
    "ROOT",
    "AsynchronousEndToEnd",
    "EndToEnd",
    "Program",
    "Relay",
    "need",
    "relayCommand",
    "residentMemory",
    "waitForPort",
]

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
MEBIBYTE = 1024 * 1024

#: How far the relay's memory may move while one reader never reads, in bytes.
MEMORY_SLACK = 16 * MEBIBYTE

#: The command line behind C{--listen} for each level; C{{port}} is the backend's.
LEVELS: Mapping[str, Sequence[str]] = {
    "L4": ("--to", "tcp:127.0.0.1:{port}"),
    "FRAMES": ("--to", "ws://127.0.0.1:{port}"),
    "MESSAGES": (
        "--to",
        "ws://127.0.0.1:{port}",
        "--filter",
        "tests.conformance.filters:lookOnly",
    ),
}

# The same interpreter and the same twistd, wherever its script was installed.
_TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")


def need(program: str, *places: str) -> str:
    """
    Where C{program} is installed: on the C{PATH} or in a folder
    that matches a glob pattern of C{places}, relative to the root.

    @raise SkipTest: it is not installed.
    """
    for folder in (None, *(str(p) for place in places for p in Path("/").glob(place))):
        found = shutil.which(program, path=folder)
        if found:
            return found
    raise SkipTest(f"{program} is not installed")


def residentMemory(pid: int) -> int:
    """
    The resident memory of a process and of all its descendants, in bytes.

    @raise SkipTest: this system has no C{/proc}.
    """
    if not Path("/proc/self/statm").exists():
        raise SkipTest("no /proc to read a process's memory from")
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        children = [c for t in threads for c in (t / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(residentMemory(int(c)) for c in children)


def waitForPort(
    port: int, deadline: float = 30.0, alive: Callable[[], bool] | None = None
) -> None:
    """
    Return once something accepts connections on C{port} of 127.0.0.1.

    @param deadline: in seconds.
    @param alive: whether it is still worth waiting.
    @raise TimeoutError: nobody listened in time.
    @raise ChildProcessError: C{alive} said no.
    """
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if alive is not None and not alive():
            raise ChildProcessError(f"it ended before it listened on port {port}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"nobody listened on port {port} within {deadline:.0f} s")


class Program:
    """
    A process that a test started, with everything it prints in one file.

    @ivar pid: its process id.
    @ivar log: the file with its standard output and error.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        self.name = Path(command[0]).name
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env={**os.environ, **(environment or {})},
                # A group of its own, so that stopping it takes its children along.
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def wait(self, deadline: float = 30.0) -> int:
        """Wait for its end, at most C{deadline} seconds, and return its exit status."""
        return self._process.wait(deadline)

    def terminate(self) -> None:
        """Ask it to end (SIGTERM), and do not wait."""
        if self.running:
            self._process.terminate()

    def stop(self, deadline: float = 10.0) -> None:
        """End it and everything it started, by force once C{deadline} seconds are over."""
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(deadline)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(deadline)


def waitForWords(program: Program, words: str, deadline: float = 30.0) -> None:
    """
    Return once C{program} has printed C{words}.

    @param deadline: in seconds.
    @raise TimeoutError: it did not in time.
    """
    end = time.monotonic() + deadline
    while words not in program.output():
        if time.monotonic() > end or not program.running:
            raise TimeoutError(f"{words!r} was not printed:\n{program.output()}")
        time.sleep(0.05)


def relayCommand(listen: int, *options: str) -> list[str]:
    """
    The command that runs a relay on C{listen} of 127.0.0.1 with these further options, on the
    plane that the environment variable C{WSRELAY_PLANE} names.
    """
    endpoint = f"tcp:{listen}:interface=127.0.0.1"
    plane = f"--plane={os.environ.get('WSRELAY_PLANE', 'auto')}"
    return [*_TWISTD, "-n", "--pidfile=", "wsrelay", plane, "--listen", endpoint, *options]


class Relay(Program):
    """
    A relay process that listens.

    @ivar port: where clients connect to.
    """

    def __init__(self, log: Path, *options: str) -> None:
        self.port = freePort()
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
        environment = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
        super().__init__(relayCommand(self.port, *options), log, environment, ROOT)
        try:
            waitForPort(self.port, alive=lambda: self.running)
        except (TimeoutError, ChildProcessError) as error:
            self.stop()
            raise AssertionError(f"the relay did not start: {error}\n{self.output()}") from error

    @classmethod
    def atLevel(cls, level: str, port: int, log: Path) -> Relay:
        """A relay at one of the L{LEVELS} to the backend on C{port}."""
        return cls(log, *(option.format(port=port) for option in LEVELS[level]))

    @property
    def url(self) -> str:
        """The WebSocket URL of its root."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def http(self) -> str:
        """The HTTP URL of its root."""
        return f"http://127.0.0.1:{self.port}"

    def memory(self) -> int:
        """Its resident memory, in bytes."""
        return residentMemory(self.pid)


class _Telling(TestResultDecorator):
    """A reporter that is shown what a test's programs printed when that test fails."""

    def __init__(self, result: Any, tell: Callable[[], str]) -> None:
        super().__init__(result)
        self._tell = tell

    def addError(self, test: Any, failure: Any) -> None:
        """Show the logs, then report."""
        sys.stderr.write(self._tell())
        self._originalReporter.addError(test, failure)

    def addFailure(self, test: Any, failure: Any) -> None:
        """Show the logs, then report."""
        sys.stderr.write(self._tell())
        self._originalReporter.addFailure(test, failure)


class _Programs:
    """Starts programs that end with the test. Mixed into a trial test case."""

    _programs: list[Program]

    def _keep(self, program: Any) -> None:
        self.__dict__.setdefault("_programs", []).append(program)
        self.addCleanup(program.stop)  # type: ignore[attr-defined]  # of the test case

    def _log(self) -> Path:
        return Path(self.mktemp()).absolute()  # type: ignore[attr-defined]  # likewise

    def _tell(self) -> str:
        parts = []
        for program in self.__dict__.get("_programs", ()):
            tail = program.output()[-6000:]
            parts.append(f"\n--- {program.name} (process {program.pid}) printed ---\n{tail}\n")
        return "".join(parts)

    def start(
        self,
        *command: str,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> Program:
        """Run C{command} until the test is over."""
        program = Program(command, self._log(), environment, directory)
        self._keep(program)
        return program

    def relay(self, level: str, port: int) -> Relay:
        """Run a relay at C{level} to the backend on C{port} until the test is over."""
        relay = Relay.atLevel(level, port, self._log())
        self._keep(relay)
        return relay

    def relayWith(self, *options: str) -> Relay:
        """Run a relay with these options, behind C{--listen}, until the test is over."""
        relay = Relay(self._log(), *options)
        self._keep(relay)
        return relay

    def run(self, result: Any) -> Any:
        """Run the test; if it fails, show what its programs printed."""
        return super().run(_Telling(result, self._tell))  # type: ignore[misc]  # of the test case


class EndToEnd(_Programs, SynchronousTestCase):  # type: ignore[misc]  # run() is wrapped
    """
    A test that blocks: sub-processes, plain sockets, or asyncio clients through L{go}.

    @cvar deadline: seconds for one call of L{go}.
    """

    deadline = 120.0

    def go(self, work: Awaitable[T]) -> T:
        """Run asyncio C{work} to its end, at most L{deadline} seconds."""

        async def bounded() -> T:
            return await asyncio.wait_for(work, self.deadline)

        return asyncio.run(bounded())

    def runCommand(self, *command: str, deadline: float = 60.0) -> str:
        """
        Run C{command} to its end and return what it printed; another exit status than 0
        fails the test.
        """
        program = self.start(*command)
        try:
            status = program.wait(deadline)
        except subprocess.TimeoutExpired:
            self.fail(f"{command} was not done within {deadline:.0f} s")
        if status:
            self.fail(f"{' '.join(command)} ended with {status}:\n{program.output()}")
        return program.output()


class AsynchronousEndToEnd(_Programs, TestCase):  # type: ignore[misc]  # likewise
    """A test whose client runs in trial's own reactor."""

    timeout = 120

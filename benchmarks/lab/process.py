# -*- test-case-name: tests.test_benchmarks -*-
"""
A contender that runs: its ports, its folder, its account, its one core.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import string
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.lab.accounting import Account, SessionAccount, openAccount
from benchmarks.lab.build import HERE, ROOT, makeCertificate
from benchmarks.lab.contenders import Contender

__all__ = ["NotStarted", "Process", "descriptors", "fill", "freePorts"]

_PATIENCE = 30.0  # seconds for a start
_WANTED = 65536  # descriptors


class NotStarted(Exception):
    """A contender is not installed, ended at once, or does not listen; the text says which."""


class _Words(string.Template):
    delimiter = "@"


def fill(text: str, words: Mapping[str, object]) -> str:
    """Put words in place of C{@{...}}."""
    return _Words(text).safe_substitute(words)


def descriptors() -> int:
    """Raise the limit of open files, for us and for all we start, and say what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (max(_WANTED, hard), hard):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
    return soft


def freePorts(count: int) -> list[int]:
    """Ports on which nobody listens, below those that the kernel gives to connections."""
    found: list[int] = []
    start = 10000 + os.getpid() * 37 % 15000
    for port in range(start, 32000):
        with contextlib.suppress(OSError), socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise NotStarted("there are no free ports")


class Process:
    """
    One contender, started and stopped as often as asked.

    @ivar backend: the port that it relays to.
    @ivar port: where clients connect.
    @ivar tlsPort: where they do so with TLS.
    @ivar isCold: whether it has had no load since it was started.
    """

    isCold = True

    def __init__(self, contender: Contender, ports: tuple[int, int, int], core: int) -> None:
        self.contender = contender
        self.port, self.tlsPort, self.backend = ports
        self._core = core
        self._child: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self.account: Account = SessionAccount()

    @property
    def isRunning(self) -> bool:
        """Whether there is something to load; no proxy at all always is."""
        if not self.contender.command:
            return True
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """
        Start it and wait until it listens.

        @raise NotStarted: it does not.
        """
        if self.isRunning:
            return
        program = self.contender.program()
        if program is None:
            raise NotStarted("it is not installed")
        self.isCold = True
        self._folder = Path(tempfile.mkdtemp(prefix=f"benchmark-{self.contender.name}-"))
        self._folder.chmod(0o755)  # nginx's worker is somebody else when we are root
        words = self._words()
        if self.contender.template:
            text = (HERE / "conf" / self.contender.template).read_text()
            Path(words["conf"]).write_text(fill(text, words))
        command = [program, *(fill(word, words) for word in self.contender.command[1:])]
        self.account = openAccount(f"benchmark-{os.getpid()}-{self.contender.name}")
        with open(self._log, "wb") as log:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=self._environment(words),
                start_new_session=True,
                preexec_fn=self._prepare,
            )
        if isinstance(self.account, SessionAccount):
            self.account.leader = self._child.pid
        try:
            self._await()
        except NotStarted:
            self.stop()
            raise

    def stop(self) -> None:
        """End all its processes, and take its folder away."""
        if self._child is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                if self._end(number):
                    break
            self._child.wait(5)
            self._child = None
            self.account.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def lastWords(self) -> str:
        """The end of what it wrote."""
        with contextlib.suppress(OSError):
            return self._log.read_text("utf-8", "replace").strip()[-800:]
        return ""

    @property
    def _log(self) -> Path:
        assert self._folder is not None
        return self._folder / "log"

    def _words(self) -> dict[str, str]:
        made = makeCertificate()
        return {
            "port": str(self.port),
            "tlsPort": str(self.tlsPort),
            "backend": str(self.backend),
            "folder": str(self._folder),
            "conf": f"{self._folder}/{self.contender.template}",
            "certificate": str(made.certificate),
            "key": str(made.key),
            "pem": str(made.pem),
            **self.contender.words,
        }

    def _environment(self, words: Mapping[str, str]) -> dict[str, str]:
        own = {key: fill(value, words) for key, value in self.contender.environment.items()}
        return {**os.environ, "PYTHONPATH": str(ROOT), **own}

    def _prepare(self) -> None:
        self.account.join()
        os.sched_setaffinity(0, {self._core})

    def _await(self) -> None:
        assert self._child is not None
        isTls = all(layer.endswith("-tls") for layer in self.contender.layers)
        where = ("127.0.0.1", self.tlsPort if isTls else self.port)
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            if self._child.poll() is not None:
                raise NotStarted(f"it ended: {self.lastWords()}")
            try:
                socket.create_connection(where, 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise NotStarted(f"it does not listen: {self.lastWords()}")

    def _end(self, number: int) -> bool:
        """Send a signal to all; whether all have ended within three seconds."""
        assert self._child is not None
        for pid in self.account.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            self._child.poll()
            if not self.account.processes():
                return True
            time.sleep(0.02)
        return False

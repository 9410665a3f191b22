# -*- test-case-name: tests.endtoend.test_soak -*-
"""
Runs the soak: many conversations at a time, checkpoints between them, a stop, a verdict.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import ssl
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from attrs import field, frozen, mutable

from benchmarks.soak.backends import Heard, backends
from benchmarks.soak.exchanges import EXCHANGES
from benchmarks.soak.sessions import SESSIONS, ended
from benchmarks.soak.setting import Ports, configuration, startRelay
from benchmarks.soak.tunnels import TUNNELS
from benchmarks.soak.watch import (
    MARGIN,
    Checkpoint,
    Journalled,
    Log,
    Tail,
    cpuTime,
    descriptors,
    growth,
    memory,
)
from benchmarks.soak.world import World
from tests.certificates import theAuthority
from tests.endtoend.support import Program

__all__ = ["BOUND", "CONVERSATIONS", "SETTLE", "Result", "Soak", "soak"]

CONVERSATIONS = {**TUNNELS, **SESSIONS, **EXCHANGES}

#: Seconds that a conversation may take.
BOUND = 20.0

#: Seconds that the relay may take to be as before when all have ended: more than its limits.
SETTLE = 12.0

# How many conversations at a time; and how many are open when the relay is stopped.
_AT_A_TIME = 32
_AT_THE_END = 10

# Seconds of CPU time in one second that count as none: two ticks of the clock.
_NO_CPU = 0.02

# Two pipes and /dev/null: what the native plane keeps at most, once made, for the next bulk.
_KEPT = 5


@mutable
class Result:
    """
    What came of it.

    @ivar outcomes: how often, by conversation and outcome.
    @ivar wrong: why it failed, if it did.
    """

    seed: int
    start: int = 0
    outcomes: Counter[tuple[str, str]] = field(factory=Counter)
    checkpoints: list[Checkpoint] = field(factory=list)
    reasons: Counter[str] = field(factory=Counter)
    wrong: list[str] = field(factory=list)


@frozen
class Soak:
    """
    How it is to run.

    @ivar seconds: of traffic.
    @ivar every: seconds of traffic between two checkpoints.
    @ivar only: names of L{CONVERSATIONS}; empty is all.
    @ivar tell: called with each checkpoint.
    """

    seed: int
    seconds: float
    every: float
    plane: str
    folder: Path
    only: Collection[str] = ()
    tell: Callable[[Checkpoint], None] = lambda checkpoint: None


async def soak(how: Soak) -> Result:
    """Run it, and judge."""
    heard: Heard = {}
    trust = ssl.create_default_context()
    theAuthority().write(how.folder / "ca.pem")
    trust.load_verify_locations(how.folder / "ca.pem")
    with _silence():
        async with backends(heard, how.folder) as backendPorts:
            ports = Ports.with_(backendPorts)
            text = configuration(ports, how.plane, how.folder)
            relay = await asyncio.to_thread(startRelay, text, how.folder)
            try:
                return await _Run(how, World(how.seed, ports, heard, trust), relay).run()
            finally:
                await asyncio.to_thread(relay.stop)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """asyncio warns of each connection that has broken off; that is what it is all about."""
    logger = logging.getLogger("asyncio")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


class _Run:
    """One soak."""

    def __init__(self, how: Soak, world: World, relay: Program) -> None:
        self._how = how
        self._world = world
        self._relay = relay
        self._result = Result(how.seed)
        self._numbers = itertools.count()
        self._began = time.monotonic()
        self._journal = Journalled(Tail(how.folder / "journal"))
        self._log = Log(relay.log)
        names = [name for name in CONVERSATIONS if not how.only or name in how.only]
        self._names = names
        self._weights = [CONVERSATIONS[name][0] for name in names]

    async def run(self) -> Result:
        asyncio.get_running_loop().set_exception_handler(self._stray)
        self._result.start = descriptors(self._relay.pid)
        traffic = 0.0
        while traffic < self._how.seconds and self._relay.running:
            seconds = min(self._how.every, self._how.seconds - traffic)
            await self._converse(seconds)
            await self._check()
            traffic += seconds
        await self._stop()
        self._judge()
        return self._result

    def _stray(self, loop: Any, context: dict[str, Any]) -> None:
        """What asyncio has nobody to tell, unless it is one more break."""
        error = context.get("exception")
        if error is not None and not isinstance(error, OSError):
            self._result.wrong.append(f"the soak itself: {context['message']}: {error!r}")

    # -- traffic

    async def _converse(self, seconds: float) -> None:
        """Conversations for so long, and then until the last has ended."""
        end = time.monotonic() + seconds

        async def several() -> None:
            while time.monotonic() < end and self._relay.running:
                await self._one(next(self._numbers))

        await asyncio.gather(*(several() for _ in range(_AT_A_TIME)))

    async def _one(self, number: int) -> None:
        numbers = random.Random(f"{self._how.seed}/{number}")
        [name] = numbers.choices(self._names, self._weights)
        try:
            async with asyncio.timeout(BOUND):
                outcome = await CONVERSATIONS[name][1](self._world, numbers)
        except Exception as error:
            inner = error
            while isinstance(inner, ExceptionGroup):
                inner = inner.exceptions[0]
            outcome = "WRONG"
            why = "did not end" if isinstance(inner, TimeoutError) else f"{inner!r:.300}"
            now = time.strftime("%H:%M:%S", time.gmtime())
            self._result.wrong.append(f"{name}, number {number}, at {now}: {why}")
        self._result.outcomes[name, outcome] += 1

    # -- checkpoints

    async def _check(self) -> None:
        """Wait until nothing is open; what is open after all stands in the checkpoint."""
        pid, end = self._relay.pid, time.monotonic() + SETTLE
        while self._relay.running and time.monotonic() < end:
            self._read()
            if not self._journal.open and self._isLikeAtTheStart(descriptors(pid)):
                break
            await asyncio.sleep(0.1)
        if not self._relay.running:
            self._result.wrong.append("the relay has ended")
            return
        before = cpuTime(pid)
        await asyncio.sleep(1)
        self._add(cpuTime(pid) - before)

    def _add(self, idle: float) -> None:
        pid = self._relay.pid
        checkpoint = Checkpoint(
            seconds=time.monotonic() - self._began,
            conversations=sum(self._result.outcomes.values()),
            descriptors=descriptors(pid),
            open=len(self._journal.open),
            memory=memory(pid),
            idle=idle,
            cpu=cpuTime(pid),
        )
        self._result.checkpoints.append(checkpoint)
        self._result.wrong += self._offences(checkpoint)
        self._how.tell(checkpoint)

    def _isLikeAtTheStart(self, count: int) -> bool:
        return self._result.start <= count <= self._result.start + _KEPT

    def _offences(self, checkpoint: Checkpoint) -> Iterator[str]:
        when = f"at {checkpoint.seconds:.0f} s, all conversations being over:"
        if checkpoint.open:
            some = dict(itertools.islice(self._journal.open.items(), 10))
            yield f"{when} still open: {checkpoint.open}, among them {some}"
        if not self._isLikeAtTheStart(checkpoint.descriptors):
            yield f"{when} {checkpoint.descriptors} descriptors for {self._result.start}"
        if checkpoint.idle > _NO_CPU:
            yield f"{when} {checkpoint.idle:.2f} s of CPU time in a second"

    def _read(self) -> None:
        self._journal.read()
        self._log.read()

    # -- the end

    async def _stop(self) -> None:
        """Stop the relay while sessions are open: each is told, and closed in the journal."""
        if not self._relay.running:
            return
        numbers = random.Random(f"{self._how.seed}/stop")
        isOpen = asyncio.Semaphore(0)

        async def stay(path: str) -> int:
            async with self._world.session(numbers, path) as client:
                isOpen.release()
                return await ended(client)

        paths = itertools.islice(itertools.cycle(("frames", "look", "secure")), _AT_THE_END)
        staying = [asyncio.ensure_future(stay(path)) for path in paths]
        try:
            async with asyncio.timeout(BOUND):
                for _ in staying:
                    await isOpen.acquire()
                self._relay.terminate()
                codes = await asyncio.gather(*staying)
                await asyncio.to_thread(self._relay.wait, BOUND)
        except Exception as error:
            self._result.wrong.append(f"the relay was stopped: {error!r}")
            return
        if set(codes) != {1001}:
            self._result.wrong.append(f"the relay was stopped: its sessions saw {codes}")

    def _judge(self) -> None:
        self._journal.read()
        self._journal.tail.close()
        self._log.close()
        result, journal, log = self._result, self._journal, self._log
        result.reasons = journal.reasons
        result.wrong += journal.wrong
        if journal.open:
            result.wrong.append(f"never closed: {journal.open}")
        if log.faults < journal.faults:
            result.wrong.append(f"{journal.faults} ended by SoakFault, {log.faults} in the log")
        result.wrong += [f"in the log: {entry}" for entry in log.unexpected]
        grown = growth(result.checkpoints)
        if grown is not None and grown > MARGIN:
            result.wrong.append(f"memory grew by {grown / 2**20:.1f} MiB")

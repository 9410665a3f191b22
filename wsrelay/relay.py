# -*- test-case-name: tests.test_relay -*-
"""
The service that starts and stops a relay.

Either everything that is configured listens, or nothing does and the process ends with
status 1. Stopping has an end of its own: Twisted waits for ever for a service to stop, and
only logs a second signal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsrelay.config.build import Built, build, observersOf
from wsrelay.config.risks import risks
from wsrelay.config.schema import Configuration
from wsrelay.errors import ConfigurationError, RelayError
from wsrelay.interfaces import IObserver
from wsrelay.l4.hub import Hub
from wsrelay.observers.accesslog import AccessLog
from wsrelay.plane.legs import addressOf

__all__ = ["RelayService", "StartRefused"]

_log = Logger()

# How long what is open may take to end by itself, in seconds.
_STOP_TIMEOUT = 5.0
# And what was cut, to be gone.
_CUT_TIMEOUT = 0.5


class StartRefused(SystemExit, Exception):
    """
    The relay cannot start, and nothing of it listens.

    It is an C{Exception} to C{twistd}, which removes its PID file and tells whoever started
    the daemon, and a C{SystemExit} to Python, which ends with status 1 and no traceback.

    @ivar problems: why, one sentence each.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)
        self.code = 1


class RelayService(Service):
    """
    Starts and stops a relay.

    @ivar relay: what its parts share.
    @ivar built: what runs; C{None} before it does.
    @ivar accessLog: the access log; C{None} if it is not wanted.
    """

    def __init__(
        self,
        configuration: Configuration,
        reactor: Any,
        observers: Sequence[IObserver] = (),
        complain: Callable[[str], None] | None = None,
        exit: Callable[[int], None] | None = None,
    ) -> None:
        """
        @param observers: in addition to the access log, where it is wanted, and to the plugins
            that observe.
        @param complain: called with each reason not to start, which is logged anyway.
        @param exit: called with 1 after the reactor has stopped, if the relay could not start
            and it was already running by then.
        """
        self._configuration = configuration
        relay = configuration.relay
        self.accessLog = AccessLog(relay.maskQuery) if relay.accessLog else None
        written = [] if self.accessLog is None else [self.accessLog]
        self.relay = Hub(reactor, [*written, *observers], relay.reserve, configuration.directory)
        self.built: Built | None = None
        self._complain = complain
        self._exit = exit
        self._starting: Deferred[None] | None = None
        self._refusal: StartRefused | None = None
        self._isPrompt = True
        self._isStopping = False
        self._leaving: Deferred[None] | None = None
        self._isHurried = False

    # -- start

    def privilegedStartService(self) -> None:
        """
        Build and listen, while privileged ports may still be opened. An asynchronous plugin
        postpones the listening until it is made.

        @raise StartRefused: something is wrong. If it turns out later only, the reactor is
            stopped.
        """
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(self._failed)
        self._isPrompt = False
        if self._refusal is not None:
            self._settle()
            raise self._refusal

    def startService(self) -> None:
        """Build and listen, if that was not done already."""
        Service.startService(self)
        if self._starting is None:
            self.privilegedStartService()

    async def _start(self) -> None:
        built = await build(self._configuration, self.relay)
        known = self.relay.observers
        found = [each for each in observersOf(built.plugins) if each not in known]
        self.relay.observers = (*known, *found)
        self.built = built
        try:
            for listener in built.listeners:
                await listener.listen()
        except RelayError:
            for listener in built.listeners:
                Deferred.fromCoroutine(listener.stop())
            raise
        self._tell(built)
        for risk in risks(self._configuration):
            _log.warn("{risk}", risk=risk)

    def _tell(self, built: Built) -> None:
        for listener in built.listeners:
            for port in listener.ports:
                _log.info(
                    "listener {listener}: {address}, forwarder {forwarder}, plane {plane}",
                    listener=listener.name,
                    address=_where(port.getHost()),
                    forwarder=self._configuration.listener[listener.name].forwarder,
                    plane=built.plane.name,
                )

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, CancelledError) and self._isStopping:
            return
        if isinstance(error, ConfigurationError):
            problems: Sequence[str] = error.problems
        elif isinstance(error, RelayError):
            problems = [error.detail]
        else:
            _log.failure("the relay could not start", failure)
            problems = [f"{type(error).__name__}: {error}"]
        for problem in problems:
            _log.critical("{problem}", problem=problem)
            if self._complain is not None:
                self._complain(problem)
        if self._isPrompt:
            self._refusal = StartRefused(problems)
            return
        reactor = self.relay.reactor
        if self._exit is not None:
            reactor.addSystemEventTrigger("after", "shutdown", self._exit, 1)
        reactor.stop()

    def _settle(self) -> None:
        """Ports close, and UNIX sockets are removed, in a turn of the reactor: give it one."""
        reactor = self.relay.reactor
        if not reactor.running:
            reactor.iterate()

    # -- stop

    def stopService(self) -> Deferred[None]:
        """
        Close the listeners, tell WebSockets 1001, and give what is open a few seconds.

        @return: fires when nothing is open any more; when the time is over, or L{hurry} was
            called, what is left was cut.
        """
        Service.stopService(self)
        self._isStopping = True
        return Deferred.fromCoroutine(self._stop())

    def hurry(self) -> None:
        """Wait no longer for what is still open."""
        self._isHurried = True
        if self._leaving is not None:
            self._leaving.cancel()

    async def _stop(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
        if self.built is not None:
            for listener in self.built.listeners:
                await listener.stop()
            for pool in self.built.pools.values():
                pool.close()
        self.relay.leaveAll()
        if not await self._noneOpen(0 if self._isHurried else _STOP_TIMEOUT):
            _log.warn("{count} still open, cut off", count=self.relay.openCount)
            self.relay.cutAll()
            # For the last lines of the log: connections are lost in a turn of the reactor.
            await self._noneOpen(_CUT_TIMEOUT)

    async def _noneOpen(self, timeout: float) -> bool:
        """Wait until nothing is open, or L{hurry}, or so many seconds."""
        self._leaving = self.relay.whenNoneOpen()
        timer = self.relay.reactor.callLater(timeout, self._leaving.cancel)
        try:
            await self._leaving
        except CancelledError:
            return False
        finally:
            if timer.active():
                timer.cancel()
        return True


def _where(host: Any) -> str:
    """An address as people write it."""
    address = addressOf(host)
    if address.host.startswith("unix:"):
        return f"unix {address.host.removeprefix('unix:')}"
    return f"{host.type.lower()} {address}"

# -*- test-case-name: tests.test_relay -*-
"""
The service that starts and stops a relay.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsrelay.config.build import Built, build, observersOf
from wsrelay.config.schema import Configuration
from wsrelay.errors import ConfigurationError, RelayError
from wsrelay.l4.hub import Hub
from wsrelay.observers.accesslog import AccessLog

__all__ = ["RelayService"]

_log = Logger()

# Twisted waits for ever for a service to stop, and a second signal only logs: so every stop
# has its own end. Seconds until what is still open is cut.
_STOP_TIMEOUT = 5.0


class RelayService(Service):
    """
    Starts and stops a relay.

    @ivar relay: what its parts share.
    @ivar built: what runs; C{None} before it does.
    """

    def __init__(
        self,
        configuration: Configuration,
        reactor: Any,
        observers: list[Any] | None = None,
        exit: Callable[[int], None] = sys.exit,
    ) -> None:
        """
        @param observers: in addition to the access log and the plugins that observe.
        @param exit: called with 1 when the start fails before the reactor runs.
        """
        self._configuration = configuration
        self.relay = Hub(reactor, [AccessLog(), *(observers or ())])
        self.built: Built | None = None
        self._exit = exit
        self._starting: Deferred[None] | None = None

    def privilegedStartService(self) -> None:
        """
        Build and listen, while privileged ports may still be opened. An asynchronous plugin
        postpones the listening until it is made.
        """
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(self._failed)

    def startService(self) -> None:
        """Build and listen, if that was not done already."""
        Service.startService(self)
        if self._starting is None:
            self.privilegedStartService()

    async def _start(self) -> None:
        built = await build(self._configuration, self.relay)
        self.relay.observers += [
            each for each in observersOf(built.plugins) if each not in self.relay.observers
        ]
        self.built = built
        for listener in built.listeners:
            await listener.listen()
            for port in listener.ports:
                _log.info(
                    "listener {listener}: {address}, forwarder {forwarder}, plane {plane}",
                    listener=listener.name,
                    address=port.getHost(),
                    forwarder=self._configuration.listener[listener.name].forwarder,
                    plane=built.plane.name,
                )

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, ConfigurationError):
            problems: tuple[str, ...] = error.problems
        elif isinstance(error, RelayError):
            problems = (error.detail,)
        else:
            _log.failure("the relay could not start", failure)
            problems = (f"{failure.type.__name__}: {error}",)
        for problem in problems:
            _log.critical("{problem}", problem=problem)
            print(f"wsrelay: {problem}", file=sys.stderr)
        reactor = self.relay.reactor
        if getattr(reactor, "running", False):
            reactor.addSystemEventTrigger("after", "shutdown", self._exit, 1)
            reactor.stop()
        else:
            self._exit(1)

    async def _stop(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
        if self.built is not None:
            for listener in self.built.listeners:
                await listener.stop()
        self.relay.leaveAll()
        waited = 0.0
        while self.relay.openCount and waited < _STOP_TIMEOUT:
            pause: Deferred[None] = Deferred()
            self.relay.reactor.callLater(0.05, pause.callback, None)
            await pause
            waited += 0.05

    def stopService(self) -> Deferred[None]:
        """
        Close the listeners, tell WebSockets 1001, and give what is open a few seconds.

        @return: fires when nothing is open any more, or the time is over.
        """
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

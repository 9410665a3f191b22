# -*- test-case-name: tests.backends.test_pool -*-
"""
A named group of backends, dialled until one accepts.

Nothing has been sent to a backend while it is dialled, so one that refuses or does not
answer is skipped and the next tried, and no byte is lost. A connection that has answered a
request can wait here for the next one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Any

from attrs import define, frozen
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import (
    ConnectError,
    ConnectionClosed,
    TCPTimedOutError,
    TimeoutError,
)
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsrelay.backends.backend import Backend
from wsrelay.backends.idle import Idle, Waiting
from wsrelay.errors import BackendFault, BackendTimeout, NoBackend, Overloaded
from wsrelay.interfaces import IBalancer
from wsrelay.model import Inbound
from wsrelay.plane.legs import Leg
from wsrelay.tls.backends import UntrustedPeer

__all__ = ["Dialled", "KeepAlive", "Pool"]

_log = Logger()


@define
class Dialled:
    """What a dial came to: a backend that accepted, and the leg to it, holding still."""

    backend: Backend
    leg: Leg


@frozen
class KeepAlive:
    """
    How connections wait for their next request.

    @ivar most: how many for each backend; 0 closes each after its first.
    @ivar timeout: seconds for which one waits.
    """

    most: int = 0
    timeout: float = 60.0


class Pool:
    """
    Backends and a way to pick.

    @ivar name: as in the configuration.
    @ivar keepsAlive: whether a connection may be used for more than one request.
    """

    def __init__(
        self,
        name: str,
        backends: Sequence[Backend],
        balancer: IBalancer,
        keepAlive: KeepAlive = KeepAlive(),
        clock: Any = None,
    ) -> None:
        """@param clock: times what waits; needed only where something may."""
        self.name = name
        self.backends = tuple(backends)
        # What speaks for one client must not serve another.
        isPersonal = any(each.isPersonal for each in self.backends)
        self.keepsAlive = keepAlive.most > 0 and not isPersonal
        self._balancer = balancer
        self._idle = (
            {each: Idle(clock, keepAlive.most, keepAlive.timeout) for each in backends}
            if self.keepsAlive
            else {}
        )

    def connect(
        self, inbound: Inbound, timeout: float, first: Backend | None = None
    ) -> Deferred[Dialled]:
        """
        Dial one backend after the other, each at most once, until one accepts.

        @param timeout: seconds for each of them, the TLS handshake included.
        @param first: begin with this one, which was chosen already.
        @return: fires with a L{Dialled}. Fails with L{NoBackend} if there is none to ask,
            L{BackendTimeout} or L{BackendFault} as the last one that was asked did.
            Cancelling it stops the dial.
        """
        return _Dial(self, inbound, timeout, first).done

    # -- connections that wait

    def take(self, backend: Backend, youngerThan: float | None = None) -> Any:
        """
        What was kept for C{backend} last, or C{None}.

        @param youngerThan: it must have waited for less than so many seconds.
        """
        idle = self._idle.get(backend)
        connection = None if idle is None else idle.take(youngerThan)
        if connection is not None:
            backend.active += 1
        return connection

    def keep(self, backend: Backend, connection: Waiting) -> bool:
        """Let a connection wait; false when it must be closed instead."""
        idle = self._idle.get(backend)
        if idle is None or not idle.keep(connection):
            return False
        # It is open, but no work for the backend: balancers need not know.
        backend.active -= 1
        return True

    def forget(self, backend: Backend, connection: Waiting) -> None:
        """One that may be waiting is lost."""
        idle = self._idle.get(backend)
        if idle is not None and idle.forget(connection):
            backend.active += 1

    def refused(self, backend: Backend) -> None:
        """It does not accept any more: what waits for it is of no use."""
        idle = self._idle.get(backend)
        if idle is not None:
            idle.drop()

    def close(self) -> None:
        """Nothing waits any more."""
        for idle in self._idle.values():
            idle.close()

    # -- picking

    def choose(self, ready: Sequence[Backend], inbound: Inbound) -> Backend:
        """The balancer's choice, or the first if it has none to offer, or there is no other."""
        if len(ready) == 1:
            return ready[0]
        try:
            chosen = self._balancer.choose(ready, inbound)
            if chosen in ready:
                return chosen  # type: ignore[return-value]  # one of ready
            _log.error("balancer of pool {pool} chose none of those ready", pool=self.name)
        except Exception:
            _log.failure("balancer of pool {pool} failed", Failure(), pool=self.name)
        return ready[0]


class _Dial:
    """
    One dial of a pool.

    @ivar done: what it will come to.
    """

    def __init__(
        self, pool: Pool, inbound: Inbound, timeout: float, first: Backend | None
    ) -> None:
        self._pool = pool
        self._inbound = inbound
        self._timeout = timeout
        self._ready = list(pool.backends)
        self._first = first
        self._attempt: Deferred[Any] | None = None
        self.done: Deferred[Dialled] = Deferred(self._cancel)
        self._next(NoBackend(f"pool {pool.name} has no backend"))

    def _cancel(self, done: Deferred[Dialled]) -> None:
        if self._attempt is not None:
            self._attempt.cancel()

    def _next(self, fault: BackendFault) -> None:
        if not self._ready:
            self.done.errback(fault)
            return
        backend = self._first or self._pool.choose(self._ready, self._inbound)
        self._first = None
        self._ready.remove(backend)
        self._attempt = backend.connect(self._timeout, self._inbound)
        self._attempt.addCallbacks(
            self._accepted, self._refused, callbackArgs=(backend,), errbackArgs=(backend,)
        )

    def _accepted(self, leg: Leg, backend: Backend) -> None:
        self._attempt = None
        self.done.callback(Dialled(backend, leg))

    def _refused(self, failure: Failure, backend: Backend) -> None:
        self._attempt = None
        error: Any = failure.value
        if isinstance(error, CancelledError):
            self.done.errback(failure)
            return
        if (code := _code(error)) in _OURS:
            why = f"cannot dial {backend.name}: {os.strerror(code)}"
            self.done.errback(Overloaded(why))
            return
        self._pool.refused(backend)
        fault = _faultOf(backend, error)
        _log.warn(
            "{id}: {fault}, {left} left to try",
            id=self._inbound.id,
            fault=fault.detail,
            left=len(self._ready),
        )
        self._next(fault)


# The relay's own trouble: another backend would be as far away.
_OURS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL))


def _code(error: Any) -> int:
    """The C{errno} of a dial that failed; 0 if it has none."""
    code = getattr(error, "osError", None) or getattr(error, "errno", None)
    return code if isinstance(code, int) else 0


def _faultOf(backend: Backend, error: Exception) -> BackendFault:
    """What went wrong with a dial, in words for the log."""
    if isinstance(error, (TimeoutError, TCPTimedOutError)):
        return BackendTimeout(f"{backend.name} did not accept in time")
    if isinstance(error, UntrustedPeer):
        return BackendFault(f"{backend.name} cannot be trusted: {error}")
    if isinstance(error, SSL.Error):
        return BackendFault(f"{backend.name} failed the TLS handshake: {_sslReason(error)}")
    if isinstance(error, ConnectionClosed):
        return BackendFault(f"{backend.name} failed the TLS handshake: it closed the connection")
    detail = (isinstance(error, ConnectError) and error.args[0]) or error
    words = str(detail).rstrip(".") or type(error).__name__
    return BackendFault(f"{backend.name} cannot be reached: {words}")


def _sslReason(error: SSL.Error) -> str:
    """OpenSSL's own words; the error is a list of (library, function, reason)."""
    reasons = [str(each[-1]) for each in error.args[0]] if error.args else []
    return "; ".join(filter(None, reasons)) or "TLS failed"

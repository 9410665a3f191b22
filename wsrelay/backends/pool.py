# -*- test-case-name: tests.backends.test_pool -*-
"""
A named group of backends, dialled until one accepts.

Nothing has been sent to a backend while it is dialled, so one that refuses or does not
answer is skipped and the next tried, and no byte is lost.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define
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
from wsrelay.errors import BackendFault, BackendTimeout, NoBackend
from wsrelay.interfaces import IBalancer
from wsrelay.model import Inbound
from wsrelay.plane.legs import Leg
from wsrelay.tls import UntrustedPeer

__all__ = ["Dialled", "Pool"]

_log = Logger()


@define
class Dialled:
    """What a dial came to: a backend that accepted, and the leg to it, holding still."""

    backend: Backend
    leg: Leg


class Pool:
    """
    Backends and a way to pick.

    @ivar name: as in the configuration.
    """

    def __init__(self, name: str, backends: Sequence[Backend], balancer: IBalancer) -> None:
        self.name = name
        self.backends = tuple(backends)
        self._balancer = balancer

    def connect(self, inbound: Inbound, timeout: float) -> Deferred[Dialled]:
        """
        Dial one backend after the other, each at most once, until one accepts.

        @param timeout: seconds for each of them, the TLS handshake included.
        @return: fires with a L{Dialled}. Fails with L{NoBackend} if there is none to ask,
            L{BackendTimeout} or L{BackendFault} as the last one that was asked did.
            Cancelling it stops the dial.
        """
        return Deferred.fromCoroutine(self._connect(inbound, timeout))

    async def _connect(self, inbound: Inbound, timeout: float) -> Dialled:
        ready = list(self.backends)
        fault: BackendFault = NoBackend(f"pool {self.name} has no backend")
        while ready:
            backend = self._choose(ready, inbound)
            ready.remove(backend)
            try:
                return Dialled(backend, await backend.connect(timeout))
            except CancelledError:
                raise
            except Exception as error:
                fault = _faultOf(backend, error)
                _log.warn(
                    "{id}: {fault}, {left} left to try",
                    id=inbound.id,
                    fault=fault.detail,
                    left=len(ready),
                )
        raise fault

    def _choose(self, ready: Sequence[Backend], inbound: Inbound) -> Backend:
        try:
            chosen = self._balancer.choose(ready, inbound)
            if chosen in ready:
                return chosen  # type: ignore[return-value]  # one of ready
            _log.error("balancer of pool {pool} chose none of those ready", pool=self.name)
        except Exception:
            _log.failure("balancer of pool {pool} failed", Failure(), pool=self.name)
        return ready[0]


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

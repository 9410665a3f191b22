# -*- test-case-name: tests.l4.test_securing -*-
"""
Ends TLS on a leg: the handshake, its deadline, and what becomes of those who fail.

The leg stays the one that it is. L{secure} slips TLS in between it and its transport, whoever
reads it hears what was decrypted, and who the client is stands in the leg from then on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL._util import ffi, lib

from wsrelay.errors import BadRequest, ClientFault, RequestTimeout
from wsrelay.l4.sniff import Arrival
from wsrelay.tls.facts import tlsFacts
from wsrelay.tls.layer import TLSLayer, reasonOf
from wsrelay.tls.terminator import Terminator

__all__ = ["secure"]


def secure(
    leg: Arrival,
    terminator: Terminator,
    clock: Any,
    timeout: float,
    done: Callable[[], None],
    failed: Callable[[ClientFault], None],
) -> None:
    """
    Begin the handshake on a leg that nobody is in charge of, holding still or not; what it holds
    belongs to the handshake.

    @param clock: an L{IReactorTime} provider.
    @param timeout: seconds for the whole handshake.
    @param done: called once when it is complete; the leg holds still then, and its facts are
        known.
    @param failed: called once instead. The client is told why, as TLS does that, and its
        connection is being closed, or gone.
    """
    _Securing(leg, terminator, clock, timeout, done, failed)


class _Securing:
    """One handshake."""

    __slots__ = ("_done", "_failed", "_leg", "_session", "_timer")

    def __init__(
        self,
        leg: Arrival,
        terminator: Terminator,
        clock: Any,
        timeout: float,
        done: Callable[[], None],
        failed: Callable[[ClientFault], None],
    ) -> None:
        self._leg = leg
        self._done = done
        self._failed = failed
        if leg.isLost:
            failed(BadRequest("left before its TLS handshake"))
            return
        transport = leg.transport
        session = self._session = terminator.connection()
        layer = TLSLayer(transport, leg, session, self._settled)
        self._timer = clock.callLater(timeout, self._late)
        early = leg.takeEarly()
        leg.transport = layer
        leg.isTLS = True
        layer.begin(early)
        transport.resumeProducing()

    def _settled(self, error: Exception | None) -> None:
        if self._timer.active():
            self._timer.cancel()
        leg, session = self._leg, self._session
        done, failed = self._done, self._failed
        # Neither the layer nor the leg is to be held by what is over.
        del self._leg, self._session, self._done, self._failed
        if error is not None:
            failed(BadRequest(f"no TLS handshake: {_why(session, error)}"))
            return
        try:
            leg.facts = tlsFacts(leg.transport)
        except ClientFault as fault:
            leg.abort()
            failed(fault)
            return
        leg.hasShaken = True
        leg.hold()
        done()

    def _late(self) -> None:
        self._leg.abort()
        self._failed(RequestTimeout("the TLS handshake was not complete in time"))


def _why(session: Any, error: Exception) -> str:
    """The reason of a failure, in one line."""
    refused = session.get_app_data()
    if refused is not None:
        return str(refused)
    reason = reasonOf(error)
    if reason == "certificate verify failed":
        code = lib.SSL_get_verify_result(session._ssl)
        text = ffi.string(lib.X509_verify_cert_error_string(code)).decode("ascii", "replace")
        return f"the client's certificate: {text}"
    return reason or str(error) or type(error).__name__

# -*- test-case-name: tests.l7.test_linger -*-
"""
The end of one leg, bounded in time.

What was written last must arrive. To close while the peer still sends would have our kernel
reset the connection and the peer's throw away what it has not read (RFC 9112 section 9.6); a
TLS session ends when the peer has answered; and a peer that does not read would keep the
connection for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wsrelay.plane.legs import Leg

__all__ = ["Linger"]

# What is still being sent is read for nothing, for so many seconds and bytes; then the peer has
# to wait.
_LINGER = 2.0
_LINGER_BYTES = 256 * 1024


class Linger:
    """
    Sees one leg off. Whoever is the leg's receiver passes on L{received} and L{lost}.
    """

    def __init__(self, clock: Any, leg: Leg, patience: float) -> None:
        """
        @param clock: an L{IReactorTime} provider.
        @param patience: seconds for the peer to take what was written, and to end.
        """
        self._clock = clock
        self._leg = leg
        self._patience = patience
        self._size = 0
        self._call: Any = None

    def wait(self) -> None:
        """Close once everything is written and the peer has ended too, or after a while."""
        if not self._leg.isLost:
            self._later(_LINGER, self.close)
            self._leg.linger()

    def close(self) -> None:
        """Close once everything is written."""
        if not self._leg.isLost:
            self._later(self._patience, self._leg.abort)
            self._leg.close()
            # TLS: the peer's answer must be heard.
            self._leg.resumeProducing()

    def received(self, data: bytes) -> None:
        """The peer still sends."""
        self._size += len(data)
        if self._size > _LINGER_BYTES:
            self._leg.pauseProducing()

    def lost(self) -> None:
        """The leg is gone."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        self.lost()

        def late() -> None:
            self._call = None
            call()

        self._call = self._clock.callLater(seconds, late)

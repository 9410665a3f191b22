# -*- test-case-name: tests.l7.test_door -*-
"""
A I{door}: the client's side of an exchange.

A connection of ours is one, and so is a C{twisted.web} request. Whoever answers, a backend, a
cache or the relay itself, answers through it.
"""

from __future__ import annotations

from typing import Any, Protocol as TypingProtocol

from wsrelay.l4.timers import MovingDeadline
from wsrelay.l7.trailers import Trailers
from wsrelay.model import Headers, Respond
from wsrelay.plane.legs import Leg
from wsrelay.wire.bodies import Framing

__all__ = ["Door"]


class Door(TypingProtocol):
    """The client's side of an exchange."""

    isRead: bool
    """Whether nothing of the request is left to be read."""

    deadline: MovingDeadline
    """For the exchange to use."""

    @property
    def source(self) -> Any:
        """An L{IPushProducer}: pauses the request's body."""

    def feed(self, source: Any) -> None:
        """Let C{source} (an L{IPushProducer}) be paused while the client does not read."""

    def give(self) -> Leg:
        """Give the leg away, holding still."""

    def upload(self, framing: Framing) -> None:
        """Deliver the request's body to L{Exchange.uploaded} and L{Exchange.uploadEnded}."""

    def interim(self, status: int, reason: str, headers: Headers) -> None:
        """Send a 1xx."""

    def head(
        self,
        status: int,
        reason: str,
        fields: list[tuple[bytes, bytes]],
        framing: Framing,
        isChecked: bool = False,
    ) -> None:
        """
        Begin the response; it may wait for L{flush}, or some of its body, to be sent.

        @param fields: none of them is about framing.
        @param isChecked: whether none was written by a plugin.
        """

    def flush(self) -> None:
        """Send what has begun."""

    def content(self, data: bytes) -> None:
        """Send some of its body."""

    def end(self, trailers: Trailers = ()) -> None:
        """The response is complete, and these are behind it."""

    def cut(self) -> None:
        """The response will never be complete."""

    def whole(self, head: bytes, body: bytes) -> None:
        """
        Send a whole response of known length.

        @param head: all of it but what is about this connection, and the empty line.
        """

    def answer(self, respond: Respond, isHead: bool = False) -> None:
        """Send a whole response of the relay's own."""

    def accept(self, head: bytes) -> Leg:
        """Send a 101 and give the leg away, holding still."""

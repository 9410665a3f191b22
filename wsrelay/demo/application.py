# -*- test-case-name: tests.demo.test_application -*-
"""
The program that the demo relays to: an echo at C{/echo} and a chat at C{/chat}.

It knows nothing of the relay. To run inside it, its factory is given to listeners by way of
the L{IForwarder} interface: a connection need not be relayed, it may as well end in a
program. All its listeners share one I{room}, as servers that share a message broker do.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from autobahn.websocket.types import ConnectionDeny
from zope.interface import implementer

from wsrelay.demo.guests import Guest, GuestFactory
from wsrelay.interfaces import IForwarder, IListener

__all__ = ["Application", "Room", "Visit", "VisitFactory"]


# Characters that somebody says at once; UTF-8 makes at most four bytes of each.
_LONGEST = 1000


class Room:
    """
    Who is in the chat. What somebody says goes to everybody, the speaker included.

    A I{member} has C{sendMessage(bytes, isBinary)} and C{isBehind}; one that is behind
    misses what is said meanwhile.
    """

    def __init__(self) -> None:
        self._names: dict[Any, str] = {}
        self._numbers = itertools.count(1)

    def enter(self, member: Any) -> None:
        """Somebody comes, and gets a name."""
        name = f"Guest {next(self._numbers)}"
        others = ", ".join(self._names.values()) or "nobody else"
        self._tell(f"{name} comes in.")
        self._names[member] = name
        self._tellOne(member, f"You are {name}. Here: {others}.".encode())

    def leave(self, member: Any) -> None:
        """Somebody goes."""
        if name := self._names.pop(member, None):
            self._tell(f"{name} leaves.")

    def say(self, member: Any, data: bytes, isBinary: bool) -> None:
        """Somebody says something."""
        if isBinary:
            self._tellAll(data, True)
        else:
            # With the name in front it must not be longer than a member may send.
            self._tell(f"{self._names[member]}: {data.decode()[:_LONGEST]}")

    def _tell(self, text: str) -> None:
        self._tellAll(text.encode())

    def _tellAll(self, data: bytes, isBinary: bool = False) -> None:
        for member in self._names:
            self._tellOne(member, data, isBinary)

    def _tellOne(self, member: Any, data: bytes, isBinary: bool = False) -> None:
        if not member.isBehind:
            member.sendMessage(data, isBinary)


class Visit(Guest):
    """One WebSocket to the application."""

    factory: VisitFactory
    _heard: Callable[[bytes, bool], None]

    def onConnect(self, request: Any) -> None:
        """Only what is there can be visited."""
        if request.path == "/echo":
            self._heard = self.sendMessage
        elif request.path == "/chat":
            self._heard = self._say
        else:
            raise ConnectionDeny(404, "there are /echo and /chat")

    def _say(self, data: bytes, isBinary: bool) -> None:
        self.factory.room.say(self, data, isBinary)

    def onOpen(self) -> None:
        """The visitor is in."""
        super().onOpen()
        if self._heard == self._say:
            self.factory.room.enter(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """The visitor says something."""
        self._heard(payload, isBinary)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """The visitor is gone."""
        self.factory.room.leave(self)


class VisitFactory(GuestFactory):
    """
    Makes visits.

    @ivar room: the chat's.
    """

    protocol = Visit

    def __init__(self, reactor: Any, room: Room) -> None:
        super().__init__(reactor)
        self.room = room


@implementer(IForwarder)
class Application:
    """The application, on as many listeners as name it."""

    def __init__(self) -> None:
        self._room = Room()

    def forwardingFactory(self, listener: IListener) -> VisitFactory:
        """See L{IForwarder.forwardingFactory}."""
        return VisitFactory(listener.relay.reactor, self._room)

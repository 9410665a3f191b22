# -*- test-case-name: tests.test_examples -*-
"""
An application inside the relay: a chat room made with Autobahn, and no backend at all.

A plugin that is a C{twisted.web} resource can answer what a route sends it (C{serve}), and
Autobahn's C{WebSocketResource} is one. Both get the request head that the relay has read and
written anew, like any backend. C{examples/chatroom.toml}::

    [listener.public]
    endpoint = "tcp:8080"

    [[route]]
    path = "/chat"
    serve = "chatroom"

    [plugin.chatroom]
    use = "examples.chatroom:chatroom"
    welcome = "Hello, and be kind."

Run it, and enter::

    twistd -n wsrelay --config examples/chatroom.toml
    python examples/say.py ws://127.0.0.1:8080/chat "Hello, everybody"
"""

from __future__ import annotations

from typing import Any

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from pydantic import Field
from zope.interface import implementer

from wsrelay import IPluginMaker, IRelay, Options

__all__ = ["ChatRoom", "ChatRoomMaker", "ChatRoomOptions", "Guest", "chatroom"]


class ChatRoomOptions(Options):
    """What may stand in the plugin's table."""

    welcome: str = Field(default="Welcome.", description="what everybody who enters is told")
    maxMessage: int = Field(default=4096, gt=0, description="the longest message, in bytes")


class Guest(WebSocketServerProtocol):
    """One connection."""

    def onOpen(self) -> None:
        """Somebody enters."""
        self.factory.enter(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Somebody speaks."""
        if isBinary:
            self.sendClose(3003, "text only")
        else:
            self.factory.say(payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Somebody leaves."""
        self.factory.leave(self)


class ChatRoom(WebSocketServerFactory):
    """Who is here."""

    protocol = Guest

    def __init__(self, options: ChatRoomOptions) -> None:
        super().__init__()
        self.setProtocolOptions(maxMessagePayloadSize=options.maxMessage)
        self._welcome = options.welcome.encode("utf-8")
        self._guests: dict[Guest, None] = {}

    def enter(self, guest: Guest) -> None:
        """Welcome C{guest}."""
        self._guests[guest] = None
        guest.sendMessage(self._welcome)

    def say(self, payload: bytes) -> None:
        """Tell everybody, the speaker too."""
        message = self.prepareMessage(payload)
        for guest in self._guests:
            guest.sendPreparedMessage(message)

    def leave(self, guest: Guest) -> None:
        """C{guest} is gone, or never came in."""
        self._guests.pop(guest, None)


@implementer(IPluginMaker)
class ChatRoomMaker:
    """Makes the resource."""

    name = "chatroom"
    description = "A chat room."
    options = ChatRoomOptions

    def make(self, options: ChatRoomOptions, relay: IRelay) -> Any:
        """Make a resource that a route can C{serve}."""
        return WebSocketResource(ChatRoom(options))


chatroom = ChatRoomMaker()

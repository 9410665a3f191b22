# -*- test-case-name: tests.demo.test_application -*-
"""
The demo's backends: the echo and the chat.
"""

from __future__ import annotations

from types import SimpleNamespace

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.demo.visitor import Visitor
from wsrelay.demo.application import Application, Room, VisitFactory
from wsrelay.interfaces import IForwarder


class ApplicationTests(SynchronousTestCase):
    """The application, on two listeners."""

    def setUp(self) -> None:
        self.application = Application()
        listener = SimpleNamespace(relay=SimpleNamespace(reactor=Clock()))
        self.one, self.two = (self.application.forwardingFactory(listener) for _ in range(2))

    def test_interface(self) -> None:
        """It is a forwarder as anybody could write one."""
        verifyObject(IForwarder, self.application)

    def test_sharedRoom(self) -> None:
        """Those who come by different listeners meet in one chat."""
        ada, bob = Visitor(self.one, "/chat"), Visitor(self.two, "/chat")
        ada.heard()
        bob.say("hello")
        self.assertEqual(ada.heard(), ["Guest 2: hello"])


class VisitTests(SynchronousTestCase):
    """One WebSocket to the application."""

    def setUp(self) -> None:
        self.factory = VisitFactory(Clock(), Room())

    def test_echo(self) -> None:
        """The echo sends each message back, as what it was."""
        visitor = Visitor(self.factory, "/echo?viewer=1")
        visitor.say("grün")
        visitor.say(b"\0\xff")
        self.assertEqual(visitor.heard(), ["grün", b"\0\xff"])

    def test_chat(self) -> None:
        """In the chat, everybody hears who comes, who says what, and who leaves."""
        ada = Visitor(self.factory, "/chat")
        self.assertEqual(ada.heard(), ["You are Guest 1. Here: nobody else."])
        bob = Visitor(self.factory, "/chat")
        self.assertEqual(bob.heard(), ["You are Guest 2. Here: Guest 1."])
        ada.say("hello")
        bob.say(b"\1")
        self.assertEqual(ada.heard(), ["Guest 2 comes in.", "Guest 1: hello", b"\1"])
        self.assertEqual(bob.heard(), ["Guest 1: hello", b"\1"])
        bob.lose()
        self.assertEqual(ada.heard(), ["Guest 2 leaves."])

    def test_nothingElse(self) -> None:
        """Any other path is 404."""
        for target in ("/", "/echo/", "/chats", "/feed"):
            self.assertEqual(Visitor(self.factory, target).status, 404, target)


class RoomTests(SynchronousTestCase):
    """The chat's room."""

    def test_behind(self) -> None:
        """Who does not read misses what is said, and nobody waits for it."""
        factory = VisitFactory(Clock(), Room())
        ada, bob = Visitor(factory, "/chat"), Visitor(factory, "/chat")
        ada.heard()
        ada.stall()
        bob.say("one")
        ada.resume()
        bob.say("two")
        self.assertEqual(ada.heard(), ["Guest 2: two"])

    def test_leaveTwice(self) -> None:
        """Who never came in, or has left already, is not said to leave."""
        factory = VisitFactory(Clock(), Room())
        ada, bob = Visitor(factory, "/chat"), Visitor(factory, "/chat")
        ada.heard()
        for _ in range(2):
            bob.lose()
        factory.room.leave(object())
        self.assertEqual(ada.heard(), ["Guest 2 leaves."])

    def test_longest(self) -> None:
        """What is said at once has an end, and the name in front does not break it."""
        factory = VisitFactory(Clock(), Room())
        ada = Visitor(factory, "/chat")
        ada.heard()
        ada.say("\N{GRINNING FACE}" * 1024)
        self.assertEqual(ada.heard(), ["Guest 1: " + "\N{GRINNING FACE}" * 1000])

# -*- test-case-name: tests.testing.test_conversations -*-
"""
Conversations: what filters do, without network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from wsrelay.errors import PluginFault
from wsrelay.interfaces import IMessageFilter, ISession, IStreamFilter, ITunnel
from wsrelay.model import (
    Address,
    Close,
    CloseReason,
    Direction,
    Drop,
    Forward,
    Interest,
    Message,
    Party,
    Phase,
    Reply,
    Retire,
)
from wsrelay.testing import Conversation, StreamConversation, makeInbound

UP, DOWN = Direction.TO_BACKEND, Direction.TO_CLIENT


@implementer(IMessageFilter)
class Filter:
    """A filter with this hook, in one direction or both."""

    def __init__(
        self, hook: Callable[..., Any], only: Direction | None = None, isSession: bool = False
    ) -> None:
        self._hook = hook
        self._only = only
        self._isSession = isSession

    def interest(self, route: Forward, direction: Direction) -> Interest:
        """See L{IMessageFilter}."""
        return Interest.FRAMES if self._only is direction.opposite else Interest.MESSAGES

    def attach(self, session: Any, direction: Direction) -> Any:
        """See L{IMessageFilter}; the hook may want the session."""
        if self._isSession:
            return lambda message: self._hook(session, message)
        return self._hook


class ConversationTests(SynchronousTestCase):
    """A session with message filters."""

    def test_interface(self) -> None:
        """A filter meets what looks like a session."""
        talk = Conversation(subprotocol="chat", route=Forward("pool"))
        verifyObject(ISession, talk)
        self.assertEqual((talk.subprotocol, talk.route.pool), ("chat", "pool"))
        self.assertEqual(talk.id, talk.inbound.id)
        self.assertEqual(talk.counts()[UP].bytes, 0)

    def test_untouched(self) -> None:
        """Without a filter what one says the other hears, text as text."""
        talk = Conversation()
        talk.fromClient("text", b"binary", "", b"")
        talk.fromBackend("ä", b"\xff", frames=3)
        self.assertEqual(talk.atBackend, ["text", b"binary", "", b""])
        self.assertEqual(talk.atClient, ["ä", b"\xff"])
        self.assertEqual(talk.counts()[UP].messages, 4)
        self.assertEqual(talk.counts()[DOWN].frames, 6)

    def test_verdicts(self) -> None:
        """Every verdict shows where it arrives."""
        for verdict, forward, back in [
            (None, ["said"], []),
            (b"bytes", ["bytes"], []),
            ("str", ["str"], []),
            (Message(b"x"), [b"x"], []),
            (Drop(), [], []),
            (Reply("re"), [], ["re"]),
            ([b"1", Reply(b"2"), "3"], ["1", "3"], [b"2"]),
        ]:
            talk = Conversation(Filter(lambda message, verdict=verdict: verdict))
            talk.fromClient("said")
            self.assertEqual((talk.atBackend, talk.atClient), (forward, back))

    def test_interest(self) -> None:
        """A filter is attached where it is interested."""
        talk = Conversation(Filter(lambda message: message.text.upper(), DOWN))
        talk.fromClient("a")
        talk.fromBackend("b")
        self.assertEqual((talk.atBackend, talk.atClient), (["a"], ["B"]))

    def test_order(self) -> None:
        """Filters run first to last towards the backend, and last to first back."""
        one = Filter(lambda message: f"1({message.text})")
        two = Filter(lambda message: f"2({message.text})")
        talk = Conversation(one, two)
        talk.fromClient("x")
        talk.fromBackend("y")
        self.assertEqual((talk.atBackend, talk.atClient), (["2(1(x))"], ["1(2(y))"]))

    def test_close(self) -> None:
        """What a filter closes with is known, and nothing goes on."""
        talk = Conversation(
            Filter(lambda message: Close(1008, "no") if message.data == b"bad" else None)
        )
        talk.fromClient("good", "bad", "good")
        talk.fromBackend("good")
        self.assertEqual((talk.atBackend, talk.atClient), (["good"], []))
        self.assertEqual((talk.closed, talk.failure), (Close(1008, "no"), None))
        self.assertEqual(talk.reason, CloseReason(Party.PLUGIN, Phase.RELAY, "closed: 1008 no"))

    def test_failure(self) -> None:
        """What a filter raises is known."""
        talk = Conversation(Filter(lambda message: 1 / 0))
        talk.fromClient("x")
        self.assertIsInstance(talk.failure, ZeroDivisionError)
        self.assertEqual((talk.atBackend, talk.closed), ([], None))
        talk = Conversation(Filter(lambda message: None), Filter(lambda message: 7))
        talk.fromClient("x")
        self.assertIsInstance(talk.failure, PluginFault)
        self.assertIn("Filter: TypeError", str(talk.failure))

    def test_session(self) -> None:
        """A filter may send, and close, by itself."""

        def hook(session: Any, message: Message) -> Any:
            session.send(DOWN, "sent")
            session.send(UP, b"sent")
            if message.data == b"bye":
                session.close(1001, "bye")

        talk = Conversation(Filter(hook, UP, isSession=True))
        talk.fromClient("hi", "bye")
        self.assertEqual(talk.atBackend, [b"sent", "hi", b"sent"])
        self.assertEqual(talk.atClient, ["sent", "sent"])
        self.assertEqual(talk.closed, Close(1001, "bye"))
        talk.close(4000)
        self.assertEqual(talk.closed, Close(1001, "bye"))

    def test_later(self) -> None:
        """A filter may take its time; meanwhile its direction waits and no other."""

        def hook(session: Any, message: Message) -> Deferred[str]:
            return deferLater(session.clock, 10, lambda: message.text.upper())

        talk = Conversation(Filter(hook, UP, isSession=True))
        talk.fromClient("a", "b")
        talk.fromBackend("c")
        self.assertEqual((talk.atBackend, talk.atClient), ([], ["c"]))
        self.assertEqual((talk.isWaiting(UP), talk.isWaiting(DOWN)), (True, False))
        talk.advance(10)
        self.assertEqual(talk.atBackend, ["A"])
        talk.advance(10)
        self.assertEqual((talk.atBackend, talk.isWaiting(UP)), (["A", "B"], False))

    def test_whenClosed(self) -> None:
        """Who wants to know of the end is told once, whenever it asks."""
        heard: list[CloseReason] = []
        talk = Conversation()
        talk.whenClosed(heard.append)
        talk.end()
        talk.end(Party.BACKEND)
        talk.whenClosed(heard.append)
        self.assertEqual(heard, [CloseReason(Party.CLIENT, Phase.RELAY, "left")] * 2)
        self.assertFalse(talk.isWaiting(UP))

    def test_attachedTooEarly(self) -> None:
        """Before a session has begun nothing can be sent, as in earnest."""

        @implementer(IMessageFilter)
        class Eager(Filter):
            def attach(self, session: Any, direction: Direction) -> Any:
                session.send(UP, "early")
                session.close()
                self.counts = session.counts()

        eager = Eager(lambda message: None)
        talk = Conversation(eager)
        talk.fromClient("x")
        self.assertEqual((talk.atBackend, talk.closed), (["x"], None))
        self.assertEqual(eager.counts[UP].bytes, 0)


@implementer(IStreamFilter)
class StreamFilter:
    """A filter with this hook, in one direction."""

    def __init__(self, hook: Callable[[bytes], Any], only: Direction = UP) -> None:
        self._hook = hook
        self._only = only

    def attach(self, tunnel: Any, direction: Direction) -> Any:
        """See L{IStreamFilter}."""
        self.tunnel = tunnel
        return self._hook if direction is self._only else None


class StreamConversationTests(SynchronousTestCase):
    """A tunnel with stream filters."""

    def test_interface(self) -> None:
        """A filter meets what looks like a tunnel."""
        verifyObject(ITunnel, StreamConversation())

    def test_chunks(self) -> None:
        """Chunks are changed in the direction that the filter is attached to."""
        talk = StreamConversation(StreamFilter(bytes.upper))
        talk.fromClient(b"ab", b"cd")
        talk.fromBackend(b"ef")
        self.assertEqual((talk.atBackend, talk.atClient), (b"ABCD", b"ef"))
        self.assertEqual(talk.counts()[UP].bytes, 4)

    def test_end(self) -> None:
        """An empty chunk is the end of the stream: the filter's last word, and FIN."""
        heard: list[bytes] = []

        def hook(chunk: bytes) -> Any:
            heard.append(chunk)
            return b"!" if not chunk else None

        talk = StreamConversation(StreamFilter(hook))
        talk.fromClient(b"a", b"")
        self.assertEqual((heard, talk.atBackend), ([b"a", b""], b"a!"))
        self.assertEqual((talk.hasEnded(UP), talk.hasEnded(DOWN)), (True, False))
        talk.fromBackend(b"still open", b"")
        self.assertEqual((talk.atClient, talk.hasEnded(DOWN)), (b"still open", True))

    def test_several(self) -> None:
        """Several filters run in order, and one may retire."""
        talk = StreamConversation(
            StreamFilter(lambda chunk: Retire(chunk + b"1")),
            StreamFilter(lambda chunk: chunk + b"2" if chunk else None),
        )
        talk.fromClient(b"x", b"y")
        self.assertEqual(talk.atBackend, b"x12y2")

    def test_close(self) -> None:
        """A filter ends the tunnel by its answer, or by its own hand."""
        talk = StreamConversation(StreamFilter(lambda chunk: Close(1008, "no")))
        talk.fromClient(b"x", b"y")
        self.assertEqual((talk.atBackend, talk.closed), (b"", Close(1008, "no")))
        quiet = StreamFilter(lambda chunk: None)
        talk = StreamConversation(quiet)
        quiet.tunnel.close()
        talk.fromClient(b"x")
        self.assertEqual((talk.atBackend, talk.reason and talk.reason.detail), (b"", "closed"))

    def test_failure(self) -> None:
        """What a filter raises is known."""
        talk = StreamConversation(StreamFilter(lambda chunk: 1 / 0))
        talk.fromClient(b"x")
        self.assertIsInstance(talk.failure, ZeroDivisionError)

    def test_later(self) -> None:
        """A filter may take its time."""
        talk = StreamConversation(
            StreamFilter(lambda chunk: deferLater(talk.clock, 1, lambda: chunk + b"!"))
        )
        talk.fromClient(b"a", b"b")
        self.assertEqual(talk.atBackend, b"")
        talk.advance(1)
        talk.advance(1)
        self.assertEqual(talk.atBackend, b"a!b!")


class InboundTests(SynchronousTestCase):
    """A client for policies and filters."""

    def test_facts(self) -> None:
        """What matters to a test is given, the rest is made up."""
        inbound = makeInbound("/chat?room=1", [(b"X-Key", b"sesame")], secure=True)
        request = inbound.request
        assert request is not None
        self.assertEqual((request.path, request.headers.get("x-key")), ("/chat", "sesame"))
        self.assertEqual((request.host, inbound.secure), ("test.example", True))
        other = makeInbound(client=Address("198.51.100.1", 1), request=None)
        self.assertEqual((str(other.client), other.request), ("198.51.100.1:1", None))

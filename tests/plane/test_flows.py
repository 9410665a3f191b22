# -*- test-case-name: tests.plane.test_flows -*-
"""
One direction of a portable link, between two peers in memory.

What every engine does is in L{tests.plane.suite}; here is what only a clock that stands
still, or thousands of cases, can show.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings, strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.plane.support import KEY, Frame, closing, framed, frames
from tests.plane.worlds import DOWN, UP, Recorder
from wsrelay.model import Direction, Drop, Interest, Message, Retire
from wsrelay.plane.engine import Lane
from wsrelay.plane.flows import ByteFlow, Flow, FrameFlow
from wsrelay.plane.portable import PortableLink, PortablePlane
from wsrelay.testing import Peer, pair, settle
from wsrelay.wire.frames import BINARY, CONTINUATION, PING, PONG, TEXT


class FlowTestCase(SynchronousTestCase):
    """A link in memory."""

    link: PortableLink
    client: Peer
    backend: Peer
    owner: Recorder

    def setUp(self) -> None:
        """Begin at no particular time."""
        self.clock = Clock()

    def join(self, up: Lane | None = None, down: Lane | None = None) -> None:
        """Make a link and start it."""
        client, self.client = pair(self.clock)
        backend, self.backend = pair(self.clock)
        self.owner = Recorder()
        lanes = {UP: up or Lane(), DOWN: down or Lane()}
        self.link = PortablePlane(self.clock).link(client, backend, lanes, self.owner)
        self.link.start()
        settle(self.clock)

    def say(self, peer: Peer, *words: bytes) -> None:
        """Have these read one by one."""
        for word in words:
            peer.say(word)
            settle(self.clock)

    def flow(self, direction: Direction) -> Any:
        """One direction of the link."""
        return self.link._flows[direction]


class FlowTests(FlowTestCase):
    """What the three levels share."""

    def test_producer(self) -> None:
        """A flow is the producer of its sink."""
        self.join()
        for direction in Direction:
            verifyObject(IPushProducer, self.flow(direction))

    def test_abstract(self) -> None:
        """What a level must do is not done by what the levels share."""
        leg, _ = pair(self.clock)
        flow = Flow(self.clock, UP, leg, leg, Lane(), Recorder())
        for word, argument in [("take", b""), ("inject", b""), ("mute", b"")]:
            self.assertRaises(NotImplementedError, getattr(flow, word), argument)
        self.assertRaises(NotImplementedError, flow.send, Message(b""))

    def test_oneBuffer(self) -> None:
        """Of what is read for somebody who does not read, one buffer and one read are kept."""
        for level in (Interest.BYTES, Interest.FRAMES):
            self.join(Lane(level), Lane(level))
            self.backend.pause()
            self.say(self.client, b"\x82\xff" + (1 << 30).to_bytes(8, "big") + KEY)
            self.say(self.client, bytes(10_000_000))
            self.assertLessEqual(self.link.counts()[UP].bytes, 3 * 64 * 1024)
            self.assertGreaterEqual(self.link.counts()[UP].bytes, 64 * 1024)
            self.link.abort()
            settle(self.clock)

    def test_order(self) -> None:
        """Whatever arrives while an answer is to come, the end included, keeps its order."""
        answers: list[Deferred[Any]] = []

        def hook(chunk: bytes) -> Deferred[Any]:
            answers.append(Deferred())
            return answers[-1]

        self.join(Lane(hook=hook))
        self.say(self.client, b"1")
        flow = self.flow(UP)
        # A transport may deliver a little more after it was paused, as TLS does.
        flow.received(b"2")
        flow.received(b"3")
        self.client.finish()
        flow.source.transport.resumeProducing()
        settle(self.clock)
        for number in range(4):
            self.assertEqual((len(answers), self.owner.events), (number + 1, []))
            answers[number].callback(b"last" if number == 3 else None)
        settle(self.clock)
        self.assertEqual(self.backend.take(), b"123last")
        self.assertEqual(self.owner.events, [("ended", UP)])

    def test_resetDoesNotWait(self) -> None:
        """A reset is told at once, whatever is still to be answered, and the answer is void."""
        answer: Deferred[Any] = Deferred()
        self.join(Lane(hook=lambda chunk: answer))
        self.say(self.client, b"1")
        self.client.abort()
        self.flow(UP).source.transport.resumeProducing()
        settle(self.clock)
        self.assertEqual(self.owner.events, [("lost", UP, False)])
        answer.callback(b"too late")
        settle(self.clock)
        self.assertEqual(self.backend.take(), b"")

    def test_failureTooLate(self) -> None:
        """A hook that fails after the end is nobody's fault any more."""
        answer: Deferred[Any] = Deferred()
        self.join(Lane(hook=lambda chunk: answer))
        self.say(self.client, b"1")
        self.link.abort()
        settle(self.clock)
        answer.errback(KeyError("oh"))
        self.assertEqual([event[0] for event in self.owner.events], ["lost", "lost"])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_receiverGone(self) -> None:
        """The sender to somebody who has vanished is read on, until the owner decides."""
        self.join()
        self.backend.pause()
        self.say(self.client, bytes(1_000_000))
        self.backend.abort()
        self.flow(DOWN).source.transport.resumeProducing()
        settle(self.clock)
        self.assertEqual(self.owner.events, [("lost", DOWN, False)])
        self.assertEqual(self.link.counts()[UP].bytes, 1_000_000)

    def test_notStarted(self) -> None:
        """A link that is aborted before it starts tells the loss of both when it does."""
        client, _ = pair(self.clock)
        backend, _ = pair(self.clock)
        owner = Recorder()
        link = PortablePlane(self.clock).link(client, backend, {UP: Lane(), DOWN: Lane()}, owner)
        link.abort()
        settle(self.clock)
        self.assertEqual(owner.events, [])
        link.start()
        self.assertEqual(len(owner.named("lost")), 2)

    def test_closedFromWithinTheStart(self) -> None:
        """An owner may end the link while its start still hands out old news."""
        client, _ = pair(self.clock)
        backend, atBackend = pair(self.clock)
        client.hold(b"\xff\xff")
        backend.hold(framed(DOWN, TEXT, b"held"))
        owner = Recorder()
        lane = Lane(Interest.FRAMES)
        link = PortablePlane(self.clock).link(client, backend, {UP: lane, DOWN: lane}, owner)
        owner.reactions["violated"] = lambda direction, code: link.abort()
        link.start()
        settle(self.clock)
        self.assertEqual([event[0] for event in owner.events], ["violated", "lost", "lost"])
        self.assertIsNotNone(atBackend.reason)


class ByteFlowTests(FlowTestCase):
    """Level BYTES."""

    def test_plain(self) -> None:
        """Without a hook, and after a hook has retired, nothing stands between."""
        self.join()
        self.assertIsInstance(self.flow(UP), ByteFlow)
        self.assertEqual(self.flow(UP).take, self.flow(UP)._pass)
        self.join(Lane(hook=lambda chunk: Retire(chunk)))
        self.assertNotEqual(self.flow(UP).take, self.flow(UP)._pass)
        self.say(self.client, b"x")
        self.assertEqual(self.flow(UP).take, self.flow(UP)._pass)

    def test_noMessages(self) -> None:
        """There are no messages to put anything between."""
        self.join()
        self.assertRaises(NotImplementedError, self.link.send, UP, Message(b"x"))

    @given(st.lists(st.sampled_from("nbdla"), min_size=1, max_size=12))
    @settings(max_examples=100, deadline=None)
    def test_anyMix(self, kinds: list[str]) -> None:
        """Whatever a hook answers and when, what it lets pass comes out in order."""
        pending: list[Deferred[Any]] = []
        script = list(kinds)

        async def now(value: Any) -> Any:
            return value

        def hook(chunk: bytes) -> Any:
            if not chunk:
                return b"end"
            kind = script.pop(0)
            if kind == "l":
                pending.append(Deferred())
                return pending[-1]
            table = {"n": None, "b": b"<%b>" % chunk, "d": Drop(), "a": now(b"(%b)" % chunk)}
            for other, coroutine in table.items():
                if other != kind and other == "a":
                    coroutine.close()  # type: ignore[attr-defined]  # it was not needed
            return table[kind]

        self.join(Lane(hook=hook))
        expected = b""
        for number, kind in enumerate(kinds):
            chunk = b"%d" % number
            self.say(self.client, chunk)
            # What is behind an answer that is to come is read when that has come.
            while pending:
                pending.pop().callback(b"[%b]" % chunk)
                settle(self.clock)
            expected += {
                "n": chunk,
                "b": b"<%b>" % chunk,
                "d": b"",
                "a": b"(%b)" % chunk,
                "l": b"[%b]" % chunk,
            }[kind]
        self.client.finish()
        settle(self.clock)
        self.assertEqual(self.backend.take(), expected + b"end")
        self.link.abort()
        settle(self.clock)


def sent(direction: Direction) -> st.SearchStrategy[list[list[Frame]]]:
    """Messages of one or more frames, control frames between and inside them."""
    control = st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=5)).map(
        lambda pair: Frame(*pair)
    )
    pieces = st.lists(st.binary(max_size=200), min_size=1, max_size=3)

    def message(opcode: int, found: list[bytes], inside: list[Frame]) -> list[Frame]:
        first, *rest = [
            Frame(CONTINUATION if at else opcode, piece, at == len(found) - 1)
            for at, piece in enumerate(found)
        ]
        return [first, *inside, *rest] if rest else [first]

    data = st.builds(
        message, st.sampled_from([TEXT, BINARY]), pieces, st.lists(control, max_size=1)
    )
    return st.lists(st.one_of(data, control.map(lambda frame: [frame])), max_size=5)


class FrameFlowTests(FlowTestCase):
    """Level FRAMES."""

    @given(
        st.sampled_from(Direction).flatmap(lambda way: st.tuples(st.just(way), sent(way))),
        st.lists(st.integers(1, 150), min_size=1, max_size=12),
        st.lists(st.sampled_from("ism"), max_size=6),
        st.booleans(),
    )
    @settings(max_examples=200, deadline=None)
    def test_ownFrames(
        self,
        story: tuple[Direction, list[list[Frame]]],
        cuts: list[int],
        own: list[str],
        isClosed: bool,
    ) -> None:
        """
        Wherever the relay puts frames of its own, the receiver gets whole frames, own
        messages stand between messages, and of what was sent a beginning in order.
        """
        direction, messages = story
        lane = Lane(Interest.FRAMES)
        self.join(lane, lane)
        sender = self.client if direction is UP else self.backend
        receiver = self.backend if direction is UP else self.client
        data = b"".join(framed(direction, *frame) for each in messages for frame in each)
        if isClosed:
            data += closing(direction, 1000)
        todo, last, injected, muted = list(own), closing(direction, 1001), 0, False
        at = 0
        for cut in (*cuts, len(data)):
            self.say(sender, data[at : at + cut])
            at += cut
            step = todo.pop(0) if todo else ""
            if step == "i" and not muted:
                self.link.inject(direction, framed(direction, PING, b"own ping"))
                injected += 1
            elif step == "s" and not muted:
                self.link.send(direction, Message(b"own message"))
            elif step == "m":
                muted = self.link.mute(direction, last) or muted
        settle(self.clock)
        heard = frames(receiver.take(), direction)
        self.check(messages, heard, muted)
        if not isClosed and not muted:
            self.assertEqual(heard.count(Frame(PING, b"own ping")), injected)
        self.link.abort()
        settle(self.clock)

    def check(self, messages: list[list[Frame]], heard: list[Frame], muted: bool) -> None:
        """Compare what was said with what was heard."""
        isInside = False
        theirs = []
        for position, frame in enumerate(heard):
            if frame == Frame(BINARY, b"own message"):
                self.assertFalse(isInside, "a message of the relay's inside another")
            elif frame.opcode == 8:
                self.assertEqual(position, len(heard) - 1, "something behind a Close")
            elif frame != Frame(PING, b"own ping"):
                theirs.append(frame)
                if frame.opcode in (TEXT, BINARY, CONTINUATION):
                    isInside = not frame.fin
        said = [frame for each in messages for frame in each]
        self.assertEqual(theirs, said[: len(theirs)])
        if not muted:
            self.assertEqual(len(theirs), len(said))

    def test_nothingIsKept(self) -> None:
        """Frames that can never go out any more are not collected."""
        lane = Lane(Interest.FRAMES)
        self.join(lane, lane)
        self.link.mute(UP)
        for _ in range(3):
            self.link.inject(UP, framed(UP, PING, b""))
            self.link.send(UP, Message(b"x"))
        flow: FrameFlow = self.flow(UP)
        self.assertEqual((flow._own, flow._ownData), ([], []))

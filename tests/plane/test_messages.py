# -*- test-case-name: tests.plane.test_messages -*-
"""
Level MESSAGES of the portable engine, between two peers in memory.

What every engine does is in L{tests.plane.suite}; here is what shows in the flow itself.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings, strategies as st
from twisted.internet.defer import Deferred

from tests.plane.deflatesuite import KEEP, Deflating, Inflating
from tests.plane.support import Frame, closing, framed, frames
from tests.plane.test_flows import FlowTestCase
from tests.plane.worlds import DOWN, UP
from wsrelay.model import Direction, Drop, Interest, Message, Reply
from wsrelay.plane.engine import Lane
from wsrelay.plane.messages import MessageFlow
from wsrelay.testing import settle
from wsrelay.wire.deflate import Parameters
from wsrelay.wire.frames import BINARY, PING, TEXT


def lane(hook: Any = None, **more: Any) -> Lane:
    """A lane of level MESSAGES."""
    return Lane(Interest.MESSAGES, hook, "hook", **more)


class MessageFlowTests(FlowTestCase):
    """Level MESSAGES."""

    def heard(self, direction: Direction = UP) -> list[Frame]:
        """What has reached the receiver since the last time."""
        peer = self.backend if direction is UP else self.client
        return frames(peer.take(), direction)

    def test_level(self) -> None:
        """The level decides which flow is made."""
        self.join(lane(), Lane(Interest.FRAMES))
        self.assertIsInstance(self.flow(UP), MessageFlow)
        self.assertNotIsInstance(self.flow(DOWN), MessageFlow)

    def test_touched(self) -> None:
        """A hook that gives back the message it was shown, changed, has changed it."""

        def write(message: Message) -> Message:
            message.data = b"changed"
            return message

        def retype(message: Message) -> list[Message]:
            message.isText = False
            return [message]

        for hook, expected in [
            (write, Frame(TEXT, b"changed")),
            (retype, Frame(BINARY, b"said")),
        ]:
            self.join(lane(hook))
            self.say(self.client, framed(UP, TEXT, b"said"))
            self.assertEqual(self.heard(), [expected])

    def test_touchedAndLeftAlone(self) -> None:
        """None means untouched, whatever a hook has written into the message."""

        def write(message: Message) -> None:
            message.data = b"changed"

        self.join(lane(write))
        self.say(self.client, framed(UP, TEXT, b"said"))
        self.assertEqual(self.heard(), [Frame(TEXT, b"said")])

    def test_sameBytes(self) -> None:
        """A replacement that is equal goes out as a frame of the relay's own, equal to read."""
        self.join(lane(lambda message: bytes(bytearray(message.data))))
        self.say(self.client, framed(UP, TEXT, b"sa", False) + framed(UP, 0, b"id"))
        self.assertEqual(self.heard(), [Frame(TEXT, b"said")])

    def test_smallIsNotDeflated(self) -> None:
        """A short replacement is sent plain, a long one deflated, where that was agreed on."""
        answers = [b"x" * 63, b"x" * 64]
        self.join(lane(lambda message: answers.pop(0), inflate=KEEP, deflate=KEEP))
        self.say(self.client, framed(UP, BINARY, b"a"), framed(UP, BINARY, b"b"))
        small, large = self.heard()
        self.assertEqual((small.rsv1, large.rsv1), (False, True))
        self.assertEqual(Inflating(KEEP, UP).messages([large]), [(BINARY, b"x" * 64)])

    def test_codecs(self) -> None:
        """Each direction deflates by the parameters of its sender's role on that connection."""
        parameters = Parameters(clientNoContextTakeover=True, serverMaxWindowBits=9)
        word = b"a long sentence " * 20
        for direction in Direction:
            both = {
                direction: lane(lambda message: word, deflate=parameters),
                direction.opposite: Lane(Interest.FRAMES, rsv=0x40),
            }
            self.join(both[UP], both[DOWN])
            peer = self.client if direction is UP else self.backend
            for _ in range(2):
                self.say(peer, framed(direction, TEXT, b"x"))
            first, second = self.heard(direction)
            # With context takeover the second refers to the first.
            self.assertEqual(len(second.payload) < len(first.payload), direction is DOWN)
            receiver = Inflating(parameters, direction)
            self.assertEqual(receiver.messages([first, second]), [(TEXT, word)] * 2)

    def test_replyIsNotDeflated(self) -> None:
        """A reply is sent plain, so that its receiver's context stays what its sender thinks."""
        long = b"x" * 1000
        self.join(
            lane(lambda message: Reply(long)),
            lane(lambda message: None, inflate=KEEP, deflate=KEEP),
        )
        sender = Deflating(KEEP, DOWN)
        word = b"the same long sentence " * 5
        self.say(self.backend, sender.message(word))
        self.say(self.client, framed(UP, TEXT, b"x"))
        self.say(self.backend, sender.message(word))
        found = Inflating(KEEP, DOWN).messages(self.heard(DOWN))
        self.assertEqual(found, [(TEXT, word), (BINARY, long), (TEXT, word)])

    def test_oneAfterAnother(self) -> None:
        """The next message is shown once the answer to the one before was applied."""
        log: list[str] = []
        answers: list[Deferred[Any]] = []

        def hook(message: Message) -> Any:
            log.append(message.text)
            answers.append(Deferred())
            return answers[-1]

        self.join(lane(hook))
        self.say(self.client, b"".join(framed(UP, TEXT, b"%d" % at) for at in range(5)))
        for at in range(5):
            self.assertEqual(log, [str(each) for each in range(at + 1)])
            answers[at].callback(None)
        settle(self.clock)
        self.assertEqual([frame.payload for frame in self.heard()], [b"0", b"1", b"2", b"3", b"4"])

    def test_roomAndAnswerInTurn(self) -> None:
        """Waiting for room and waiting for answers may alternate, and nothing is lost."""
        pending: list[Deferred[Any]] = []
        asked = [0]

        def hook(message: Message) -> Any:
            asked[0] += 1
            if asked[0] % 3:
                return bytes(40_000)
            pending.append(Deferred())
            return pending[-1]

        self.join(lane(hook))
        self.backend.pause()
        self.say(self.client, framed(UP, BINARY, b"x") * 60 + closing(UP, 1000))
        self.assertLess(asked[0], 6)
        for _ in range(200):
            self.backend.resume()
            settle(self.clock)
            self.backend.pause()
            settle(self.clock)
            while pending:
                pending.pop().callback(b"later")
                settle(self.clock)
        self.backend.resume()
        settle(self.clock)
        sizes = [len(frame.payload) for frame in self.heard()]
        self.assertEqual(sizes, [40_000, 40_000, 5] * 20 + [2])
        self.assertEqual(self.owner.events, [("close", UP, 1000, "")])

    def test_repliesBothWays(self) -> None:
        """Two peers that only reply to one another, and do not read, come to rest."""
        answer = bytes(50_000)
        self.join(lane(lambda message: Reply(answer)), lane(lambda message: Reply(answer)))
        self.client.pause()
        self.backend.pause()
        self.say(self.client, framed(UP, BINARY, b"x") * 100)
        self.say(self.backend, framed(DOWN, BINARY, b"x") * 100)
        self.client.resume()
        self.backend.resume()
        settle(self.clock)
        self.assertEqual(len(self.heard(UP)), 100)
        self.assertEqual(len(self.heard(DOWN)), 100)

    @given(
        st.lists(
            st.tuples(st.sampled_from([TEXT, BINARY]), st.text(max_size=20), st.integers(1, 3)),
            max_size=8,
        ),
        st.lists(st.integers(1, 60), min_size=1, max_size=8),
        st.sets(st.integers(0, 7)),
        st.sampled_from(Direction),
    )
    @settings(max_examples=100, deadline=None)
    def test_anyCut(
        self,
        messages: list[tuple[int, str, int]],
        cuts: list[int],
        dropped: set[int],
        direction: Direction,
    ) -> None:
        """However messages are fragmented and cut, a hook sees each once, and may drop it."""
        seen: list[tuple[bytes, bool]] = []

        def hook(message: Message) -> Any:
            seen.append((message.data, message.isText))
            return Drop() if len(seen) - 1 in dropped else None

        lanes = {direction: lane(hook), direction.opposite: Lane(Interest.FRAMES)}
        self.join(lanes[UP], lanes[DOWN])
        wires = []
        for opcode, word, count in messages:
            payload = word.encode()
            size = len(payload) // count + 1
            pieces = [payload[at * size : (at + 1) * size] for at in range(count)]
            wires.append(
                b"".join(
                    framed(direction, 0 if at else opcode, piece, at == count - 1)
                    for at, piece in enumerate(pieces)
                )
            )
        data, at = b"".join(wires), 0
        peer = self.client if direction is UP else self.backend
        for cut in (*cuts, len(data)):
            self.say(peer, data[at : at + cut])
            at += cut
        receiver = self.backend if direction is UP else self.client
        self.assertEqual(seen, [(word.encode(), kind == TEXT) for kind, word, _ in messages])
        kept = [wire for number, wire in enumerate(wires) if number not in dropped]
        self.assertEqual(receiver.take(), b"".join(kept))
        self.link.abort()
        settle(self.clock)

    def test_nothingIsKept(self) -> None:
        """Nothing can be put on a lane that is mute, or behind a Close."""
        for isMuted in (True, False):
            self.join(lane())
            if isMuted:
                self.assertTrue(self.link.mute(UP, closing(UP, 1001)))
            else:
                self.say(self.client, closing(UP, 1001))
            self.link.inject(UP, framed(UP, PING, b""))
            self.link.send(UP, Message(b"x"))
            self.assertFalse(self.link.mute(UP, closing(UP, 1001)))
            settle(self.clock)
            self.assertEqual(self.backend.take(), closing(UP, 1001))

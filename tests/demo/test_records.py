# -*- test-case-name: tests.demo.test_records -*-
"""
What the page is told of an event, and who is told.
"""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from wsrelay.demo.records import EVERYBODY, Record, Recorder, viewerOf
from wsrelay.demo.watch import ChunkPassed, MessagePassed
from wsrelay.model import (
    Address,
    Closed,
    CloseReason,
    Connected,
    Counts,
    Decided,
    Decision,
    Direction,
    Established,
    Event,
    Forward,
    Headers,
    Inbound,
    Interest,
    Kind,
    Opened,
    Party,
    Phase,
    Refuse,
    Request,
    Serve,
)

UP, DOWN = Direction.TO_BACKEND, Direction.TO_CLIENT
BYTES = dict.fromkeys(Direction, Interest.BYTES)
DONE = CloseReason(Party.CLIENT, Phase.RELAY, "closed: 4001")


def l4() -> Inbound:
    """Somebody at layer 4."""
    return Inbound("1", "l4", Address("127.0.0.1", 5001), Address("127.0.0.1", 8081))


def l7(target: str = "/echo?viewer=ada") -> Inbound:
    """Somebody at layer 7."""
    request = Request("GET", target, Headers([(b"Host", b"localhost"), (b"X-Odd", b"\xe9")]))
    return Inbound(
        "2", "l7", Address("127.0.0.1", 5002), Address("127.0.0.1", 8080), request=request
    )


class ViewerOfTests(SynchronousTestCase):
    """To whom a connection belongs."""

    def test_layers(self) -> None:
        """At layer 7 the query says it; at layer 4 nobody can."""
        for inbound, viewer in (
            (l4(), EVERYBODY),
            (l7(), "ada"),
            (l7("/echo"), None),
            (l7("/echo?viewer="), None),
        ):
            self.assertEqual(viewerOf(inbound), viewer)


class RecorderTests(SynchronousTestCase):
    """From events to records."""

    def setUp(self) -> None:
        self.recorder = Recorder()

    def record(self, event: Event) -> Record | None:
        """What an event is; what cannot be sent fails here."""
        told = self.recorder.record(event)
        if told is None:
            return None
        viewer, record = told
        self.assertEqual(viewer, {"1": EVERYBODY, "2": "ada"}[event.id])
        json.dumps(record)
        return record

    def open(self, inbound: Inbound, decision: Decision | None) -> Record | None:
        """Somebody comes, and the policies speak."""
        kind = Kind.EXCHANGE if inbound.request else Kind.TUNNEL
        self.assertIsNone(self.record(Opened(inbound.id, 1.0, kind, inbound)))
        return self.record(Decided(inbound.id, 1.0, decision))

    def test_opened(self) -> None:
        """At layer 4 there are addresses, at layer 7 the request too, as it was written."""
        forward = Forward("both", route="everything")
        addresses = {"client": "127.0.0.1:5001", "local": "127.0.0.1:8081"}
        self.assertEqual(
            self.open(l4(), forward),
            {"id": "1", "what": "opened", "layer": 4, "route": "everything", "pool": "both"}
            | addresses,
        )
        record = self.open(l7(), Forward("echo", route="echo"))
        assert record is not None
        self.assertEqual(record["layer"], 7)
        self.assertEqual(record["request"], "GET /echo?viewer=ada HTTP/1.1")
        self.assertEqual(record["headers"], [["Host", "localhost"], ["X-Odd", "é"]])

    def test_longParts(self) -> None:
        """What is very long is shown in part."""
        record = self.open(l7("/echo?viewer=ada&" + "x" * 400), Forward("echo", route="echo"))
        assert record is not None
        self.assertEqual(len(record["request"]), len("GET … HTTP/1.1") + 300)

    def test_connected(self) -> None:
        """Then the backend."""
        self.open(l4(), Forward("both"))
        self.assertEqual(
            self.record(Connected("1", 1.0, "both", "tcp:b:1", Address("127.0.0.1", 9001))),
            {"id": "1", "what": "connected", "backend": "tcp:b:1", "peer": "127.0.0.1:9001"},
        )
        self.assertIsNone(self.record(Established("1", 1.0, Kind.TUNNEL, BYTES)))

    def test_chunk(self) -> None:
        """A chunk is a size and nothing else."""
        self.open(l4(), Forward("both"))
        self.assertEqual(
            self.record(ChunkPassed("1", 1.0, UP, 3, 8, 2)),
            {"id": "1", "what": "chunk"}
            | {"direction": "to-backend", "size": 3, "bytes": 8, "chunks": 2},
        )

    def test_message(self) -> None:
        """A message is shown as far as a glance goes."""
        self.open(l7(), Forward("echo"))
        for isText, data, glance in (
            (True, b"hello", "hello"),
            (True, b"", ""),
            (True, b"x" * 201, "x" * 200 + "…"),
            # 200 bytes end within the character
            (True, b"x" * 199 + "é".encode(), "x" * 199 + "…"),
            (False, b"\0\xff", "00 ff"),
            (False, bytes(17), " ".join(["00"] * 16) + " …"),
        ):
            self.assertEqual(
                self.record(MessagePassed("2", 1.0, DOWN, isText, data, 50, 4)),
                {"id": "2", "what": "message", "direction": "to-client", "isText": isText}
                | {"size": len(data), "glance": glance, "bytes": 50, "messages": 4},
            )

    def test_closed(self) -> None:
        """The end has the counts, who ended it and how, and the code that each side saw."""
        self.open(l7(), Forward("echo"))
        counts = {UP: Counts(bytes=21), DOWN: Counts(bytes=57)}
        closed = Closed(
            "2", 3.0, Kind.SESSION, l7(), DONE, status=101, duration=2.04, counts=counts
        )
        self.assertEqual(
            self.record(closed),
            {"id": "2", "what": "closed", "party": "client", "phase": "relay"}
            | {"detail": "closed: 4001", "status": 101, "seconds": 2.0}
            | {"bytes": {"to-backend": 21, "to-client": 57}}
            | {"codes": {"client": None, "backend": None}},
        )
        self.assertIsNone(self.record(closed))

    def test_noCounts(self) -> None:
        """Where nothing was counted there is nothing."""
        self.open(l4(), Forward("both"))
        record = self.record(Closed("1", 3.0, Kind.TUNNEL, l4(), DONE))
        assert record is not None
        self.assertEqual(record["bytes"], {"to-backend": 0, "to-client": 0})

    def test_notShown(self) -> None:
        """The page itself, what is refused, and strangers' requests are not shown."""
        for inbound, decision in (
            (l7(), Serve(object())),
            (l7(), Refuse()),
            (l7(), None),
            (l7("/echo"), Forward("echo")),
        ):
            self.assertIsNone(self.open(inbound, decision))
            self.assertIsNone(self.record(MessagePassed("2", 1.0, UP, True, b"x", 1, 1)))
            self.assertIsNone(self.record(Closed("2", 3.0, Kind.EXCHANGE, inbound, DONE)))

    def test_tunnels(self) -> None:
        """It knows which tunnels are open, so that a page can say how many are not its own."""
        self.open(l7(), Forward("echo"))
        self.open(l4(), Forward("both"))
        self.assertEqual(self.recorder.tunnels, ["1"])
        self.record(Closed("1", 3.0, Kind.TUNNEL, l4(), DONE))
        self.assertEqual(self.recorder.tunnels, [])

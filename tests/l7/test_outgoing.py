"""Tests for requests as they go on the wire."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from wsrelay.backends.balancers import RoundRobin
from wsrelay.backends.pool import Pool
from wsrelay.errors import PluginFault
from wsrelay.interfaces import IRequestFilter
from wsrelay.l4.plans import Plan, Plans
from wsrelay.l7.outgoing import options, written
from wsrelay.model import Forward
from wsrelay.wire.bodies import BodyKind, Framing

NONE, FIVE = Framing(BodyKind.NONE), Framing(BodyKind.LENGTH, 5)


@implementer(IRequestFilter)
class Filter:
    """One that may have edited anything."""


def plan(*filters: str) -> Plan:
    """The plan of a route with these filters."""
    plugins: dict[str, Any] = {name: Filter() for name in filters}
    return Plans({"p": Pool("p", [], RoundRobin())}, plugins).plan(Forward("p", filters))


class WrittenTests(SynchronousTestCase):
    """From fields to bytes."""

    def test_written(self) -> None:
        """The head is whole, and it is known whether a body follows."""
        fields = [(b"Host", b"a"), (b"X", b"1")]
        outgoing = written(plan(), "GET", "/x", False, NONE, fields)
        self.assertEqual(outgoing.head, b"GET /x HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n")
        self.assertEqual((outgoing.method, outgoing.isUpgrade), ("GET", False))
        self.assertFalse(outgoing.hasBody)
        self.assertTrue(written(plan(), "PUT", "/x", False, FIVE, fields).hasBody)

    def test_edited(self) -> None:
        """What a filter has spoilt is never sent."""
        for method, target, fields in [
            ("GET", "/a b", []),
            ("GET", "/", [(b"X", b"1\r\nEvil: 2")]),
            ("GET", "/", [(b"X Y", b"1")]),
            ("GE T", "/", []),
        ]:
            with self.assertRaises(PluginFault):
                written(plan("f"), method, target, False, NONE, fields)

    def test_options(self) -> None:
        """A backend is told to close unless it may stay, and that trailers are taken."""
        close, te = (b"Connection", b"close"), (b"TE", b"trailers")
        for mayStay, takesTrailers, fields in [
            (True, False, ()),
            (False, False, (close,)),
            (True, True, (te, (b"Connection", b"TE"))),
            (False, True, (te, (b"Connection", b"TE, close"))),
        ]:
            self.assertEqual(options(mayStay, takesTrailers), fields)

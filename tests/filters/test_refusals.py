# -*- test-case-name: tests.filters.test_refusals -*-
"""
What those who stay outside are told.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsrelay.filters.refusals import challenge, checkedRealm, refusal
from wsrelay.model import Respond

PLAIN = (b"Content-Type", b"text/plain; charset=utf-8")


class RefusalTests(SynchronousTestCase):
    """Refusals and challenges."""

    def test_refusal(self) -> None:
        """A refusal says its status, and nothing about why."""
        self.assertEqual(refusal(403), Respond(403, (PLAIN,), b"403 Forbidden\n"))
        self.assertEqual(refusal(503, (b"Retry-After", b"1")).headers[1], (b"Retry-After", b"1"))

    def test_challenge(self) -> None:
        """A challenge names its scheme, and quotes what it has to."""
        for parameters, wanted in [
            ({"realm": "x"}, b'Basic realm="x"'),
            (
                {"realm": 'a "b" \\', "charset": "UTF-8"},
                rb'Basic realm="a \"b\" \\", charset="UTF-8"',
            ),
        ]:
            made = challenge(401, "Basic", **parameters)
            self.assertEqual(made.headers[1], (b"WWW-Authenticate", wanted))

    def test_realm(self) -> None:
        """A realm that some clients could not show is none."""
        self.assertEqual(checkedRealm("The cellar"), "The cellar")
        for wrong in ("a\r\nb", "a\tb", "Bücher", "\x7f"):
            self.assertRaises(ValueError, checkedRealm, wrong)

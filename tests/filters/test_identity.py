# -*- test-case-name: tests.filters.test_identity -*-
"""
Nobody but the relay says who a client is.
"""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.filters.identity import FieldName, checkedText, forget
from wsrelay.headers import MutableHeaders


class ForgetTests(SynchronousTestCase):
    """What a client says about itself."""

    def test_everySpelling(self) -> None:
        """A field goes in whatever spelling some backend may take it for; others stay."""
        for name, isGone in [
            (b"X-User", True),
            (b"x-user", True),
            (b"X_USER", True),
            (b"x-USER", True),
            (b"X.User", True),
            (b"X~User", True),
            (b"X-User-Name", False),
            (b"XUser", False),
            (b"X-Users", False),
        ]:
            headers = MutableHeaders([(b"A", b"1"), (name, b"root"), (name, b"ada")])
            forget(headers, ["X-User"])
            self.assertEqual(len(headers), 1 if isGone else 3, name)

    def test_text(self) -> None:
        """Text is told in UTF-8, unless a backend would read something else than this."""
        self.assertEqual(checkedText("Zoë, of A"), "Zoë, of A".encode())
        for wrong in (
            "",
            " ada",
            "ada\t",
            "a\nb",
            "a\rb",
            "a\0b",
            "a\x85b",
            "a\x7f",
            "a\u2028b",
            "\ud800",
        ):
            self.assertRaises(ValueError, checkedText, wrong)

    def test_name(self) -> None:
        """A field that the relay writes itself cannot be chosen, nor what is no name."""
        adapter: TypeAdapter[str] = TypeAdapter(FieldName)
        self.assertEqual(adapter.validate_python("X-User"), "X-User")
        for wrong in (
            "Host",
            "connection",
            "Content-Length",
            "Sec-WebSocket-Key",
            "a b",
            "",
            "é",
            "a:",
        ):
            self.assertRaises(ValidationError, adapter.validate_python, wrong)

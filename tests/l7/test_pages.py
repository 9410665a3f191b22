# -*- test-case-name: tests.l7.test_pages -*-
"""
What a client is told about an error, and what it is not.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsrelay.errors import (
    BackendFault,
    BadHandshake,
    BadRequest,
    ContentTooLarge,
    HeadTooLarge,
    NoBackend,
    PluginFault,
    RelayError,
)
from wsrelay.l7.pages import page, phrase, withoutBody


class PageTests(SynchronousTestCase):
    """Errors as answers."""

    def test_statuses(self) -> None:
        """Each error is answered with its status, in words everybody knows."""
        for error, body in [
            (BadRequest("x"), b"400 Bad Request\n"),
            (BadHandshake("x", 426), b"426 Upgrade Required\n"),
            (ContentTooLarge("x"), b"413 Request Entity Too Large\n"),
            (HeadTooLarge("x"), b"431 Request Header Fields Too Large\n"),
            (RelayError("x"), b"500 Internal Server Error\n"),
            (PluginFault("secret", "x"), b"500 Internal Server Error\n"),
            (BackendFault("x"), b"502 Bad Gateway\n"),
            (NoBackend("x"), b"503 Service Unavailable\n"),
        ]:
            respond = page(error)
            self.assertEqual((respond.status, respond.body), (error.status, body))

    def test_noDetails(self) -> None:
        """What happened is for the log: the peer sees none of it."""
        respond = page(BackendFault("http://10.0.0.1:9000 refused, password hunter2"))
        shown = repr((respond.headers, respond.body))
        for secret in ("10.0.0.1", "hunter2"):
            self.assertNotIn(secret, shown)

    def test_fields(self) -> None:
        """A wrong WebSocket version is told the right one."""
        headers = dict(page(BadHandshake("x", 426)).headers)
        self.assertEqual(headers[b"Sec-WebSocket-Version"], b"13")
        self.assertEqual(headers[b"Content-Type"], b"text/plain; charset=utf-8")

    def test_phrases(self) -> None:
        """A status that is not registered has no phrase."""
        self.assertEqual(phrase(404), "Not Found")
        self.assertEqual(phrase(599), "")

    def test_withoutBody(self) -> None:
        """Only 1xx, 204 and 304 never have a body."""
        self.assertEqual(
            [status for status in range(100, 600) if withoutBody(status)],
            [*range(100, 200), 204, 304],
        )

# -*- test-case-name: tests.l7.test_pages -*-
"""
What a client is told about an error, and what it is not.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from wsrelay.errors import (
    BackendFault,
    BadHandshake,
    BadRequest,
    ConfigurationError,
    ContentTooLarge,
    HeadTooLarge,
    NoBackend,
    NoRoute,
    PluginFault,
    RelayError,
)
from wsrelay.l7.pages import Pages, page, phrase, withoutBody
from wsrelay.model import Address, Headers, Inbound, Request


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


class PagesTests(SynchronousTestCase):
    """The pages of a listener's own."""

    def file(self, name: str, data: str | bytes) -> str:
        """A file of this content."""
        path = Path(self.mktemp())
        path.mkdir()
        (path / name).write_bytes(data.encode() if isinstance(data, str) else data)
        return str(path / name)

    def inbound(self, id: str = "2f") -> Inbound:
        """A request in which everything is an attack."""
        request = Request("<b>", "/<b>{id}", Headers([(b"Host", b"<b>"), (b"<b>", b"<b>")]))
        return Inbound(
            id, "<b>", Address("192.0.2.7", 1), Address("192.0.2.8", 2), request=request
        )

    def test_chosen(self) -> None:
        """The page of the status is taken, then that of its class, then the relay's own."""
        pages = Pages(
            {
                "404": self.file("a.html", "not here"),
                "5xx": self.file("b.txt", "our fault"),
                "502": self.file("c.json", "{}"),
            }
        )
        for error, kind, body in [
            (NoRoute("x"), b"text/html; charset=utf-8", b"not here"),
            (RelayError("x"), b"text/plain; charset=utf-8", b"our fault"),
            (BackendFault("x"), b"application/json", b"{}"),
            (BadRequest("x"), b"text/plain; charset=utf-8", b"400 Bad Request\n"),
        ]:
            respond = page(error, pages, self.inbound())
            self.assertEqual(
                (respond.status, respond.headers, respond.body),
                (error.status, ((b"Content-Type", kind),), body),
            )

    def test_placeholders(self) -> None:
        """Status, reason and id are filled in; every other brace stays as it is."""
        text = "<style>b {color: red}</style>{status} {reason} {id} {path} {{id}}"
        pages = Pages({"4xx": self.file("a.html", text)})
        body = page(NoRoute(), pages, self.inbound()).body
        expected = b"<style>b {color: red}</style>404 Not Found 2f {path} {2f}"
        self.assertEqual(body, expected)
        self.assertIn(b"404 Not Found  {path}", page(NoRoute(), pages).body)

    def test_escaped(self) -> None:
        """What is filled in is escaped as the kind of file asks for."""
        for name, expected in [
            ("a.html", b"&lt;b&gt;&#x27;&quot;"),
            ("a.json", b"<b>'\\\""),
            ("a.txt", b"<b>'\""),
        ]:
            pages = Pages({"404": self.file(name, "{id}")})
            body = page(NoRoute(), pages, self.inbound("<b>'\"")).body
            self.assertEqual(body, expected)

    def test_nothingOfTheRequest(self) -> None:
        """Nothing that a client or a backend said is in a page, whatever stands in the file."""
        text = "{path}{host}{method}{client}{detail}{error}{status}"
        pages = Pages({"5xx": self.file("a.html", text)})
        error = BackendFault("<b>")
        shown = repr(page(error, pages, self.inbound()))
        for secret in ("<b>", "192.0.2.7"):
            self.assertNotIn(secret, shown)

    def test_fields(self) -> None:
        """What the answer to an error must carry it carries with a page of one's own, too."""
        pages = Pages({"426": self.file("a.html", "x")})
        headers = dict(page(BadHandshake("x", 426), pages).headers)
        self.assertEqual(headers[b"Sec-WebSocket-Version"], b"13")
        self.assertEqual(headers[b"Content-Type"], b"text/html; charset=utf-8")

    def test_wrong(self) -> None:
        """Every page that cannot be used is reported, with its place."""
        files = {
            "200": self.file("a.html", ""),
            "6xx": self.file("a.html", ""),
            "400": self.file("a.exe", ""),
            "401": self.file("a.html", b"\xff"),
            "402": self.file("a.html", "x" * 65537),
            "403": "/nowhere/a.html",
            "404": self.file("a.html", "x" * 65536),
        }
        error = self.assertRaises(ConfigurationError, Pages, files, "listener.a.errorPages")
        for problem, words in zip(
            error.problems,
            [
                'listener.a.errorPages.200: expected a status from 400 to 599, "4xx" or "5xx"',
                "listener.a.errorPages.6xx: expected",
                "expected a name that ends in .html, .json, .txt",
                "it is not UTF-8",
                "a page has at most 65536 bytes",
                'listener.a.errorPages.403: "/nowhere/a.html": No such file or directory',
            ],
            strict=True,
        ):
            self.assertIn(words, problem)

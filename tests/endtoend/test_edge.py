# -*- test-case-name: tests.endtoend.test_edge -*-
"""
A whole site as people use it: C{curl}, C{aiohttp} and C{websockets} in front of a relay with
every kind of listener, and what it says of that in its log.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shlex
import socket
import ssl
import subprocess
from collections.abc import Sequence
from typing import Any

import aiohttp
from attrs import frozen
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.endtoend.edge import DOWNLOAD, PASSWORD, Edge, EdgeTestCase
from tests.endtoend.support import Program, need, waitForWords

_UPLOAD = bytes(range(256)) * 4096
_DIGEST = hashlib.sha256(_UPLOAD).hexdigest()
_SHOP = "https://shop.example.org:{public}"
_API = f"{_SHOP}/api/x?y=1 -H 'Authorization: Bearer {{token}}'"


@frozen
class Row:
    """
    One command.

    @ivar words: for C{curl}; C{{name}} is a port, C{folder}, C{token} or C{password}.
    @ivar result: the HTTP status, or the exit status of C{curl} where that is no 0.
    @ivar has: texts that the answers have, heads and bodies.
    @ivar lacks: texts that they have not.
    """

    words: str
    result: int
    has: Sequence[str] = ()
    lacks: Sequence[str] = ()


#: In this order; some rows of the cache live from those above them.
_ROWS = [
    # What a backend learns of a client is what the relay says.
    Row(
        f"{_SHOP}/tell/a?b=c -H 'X-Debug-A: 1' -H 'X-Client: evil' -H 'X_Client: evil' "
        "-H 'X-Forwarded-For: 1.2.3.4' -H 'X-Subject: CN=root'",
        200,
        (
            '"method": "GET"',
            '"target": "/tell/a?b=c"',
            '"x-client": "127.0.0.1"',
            '"x-forwarded-for": "127.0.0.1"',
            '"x-forwarded-proto": "https"',
            '"x-name": "shop.example.org"',
            "Strict-Transport-Security: max-age=9999",
        ),
        ("x-debug", "evil", "1.2.3.4", "x-subject", "Server:"),
    ),
    Row(f"{_SHOP}/tell/a --head", 200, ("Content-Length: ",), ('"method"',)),
    Row(f"{_SHOP}/tell/a --request OPTIONS", 200, ('"method": "OPTIONS"',)),
    # Versions of HTTP: 1.1 is what is agreed on.
    Row(f"{_SHOP}/tell/a --http2", 200, ("HTTP/1.1 200",)),
    Row(f"{_SHOP}/tell/a --http1.0", 200, ("Connection: close",)),
    Row(f"{_SHOP}/tell/a {_SHOP}/tell/b {_SHOP}/tell/c", 200, ("/tell/a", "/tell/b", "/tell/c")),
    # Bodies.
    Row(f"{_SHOP}/tell/up -T {{folder}}/upload", 200, ("100 Continue", _DIGEST, '"PUT"')),
    Row(
        f"{_SHOP}/tell/up -T {{folder}}/upload -H 'Transfer-Encoding: chunked'",
        200,
        ('"transfer-encoding": "chunked"', _DIGEST),
        ('"content-length"',),
    ),
    Row(f"{_SHOP}/tell/up --data 0123 -H 'Expect: wonders'", 417),
    Row(f"{_SHOP}/tell/up --data ''", 200, ('"method": "POST"', '"size": 0')),
    # Ranges of what is not cached.
    Row(
        f"{_SHOP}/download -r 65-70",
        206,
        ("Content-Range: bytes 65-70/262144", "Content-Length: 6", "ABCDEF"),
        ("ABCDEFG",),
    ),
    Row(f"{_SHOP}/download -r 999999999-", 416),
    # The cache.
    Row(f"{_SHOP}/pages/one", 200, ("wsrelay; fwd=uri-miss; stored", "/kept/one fetched 1")),
    Row(f"{_SHOP}/pages/one", 200, ("Age: 0", "wsrelay; hit", "/kept/one fetched 1")),
    Row(f"{_SHOP}/pages/one --head", 200, ("wsrelay; hit", "Content-Length: 20"), ("fetched",)),
    Row(f"{_SHOP}/pages/one -H 'If-None-Match: \"1\"'", 304, ("wsrelay; hit",), ("fetched",)),
    Row(f"{_SHOP}/pages/one -H 'Cache-Control: no-cache'", 200, ("fwd=request", "fetched 2")),
    Row(f"{_SHOP}/pages/one", 200, ("wsrelay; hit", "fetched 2")),
    Row(f"{_SHOP}/pages/two", 200, ("fwd=uri-miss", "/kept/two fetched 3")),
    # Who may come in.
    Row(f"{_SHOP}/admin", 401, ("WWW-Authenticate: Basic",), ('"method"',)),
    Row(f"{_SHOP}/admin -u ada:wrong", 401, (), ('"method"',)),
    Row(
        f"{_SHOP}/admin -u 'ada:{{password}}' -H 'X-User: eve' -H 'X_User: eve'",
        200,
        ('"x-user": "ada"',),
        ("eve", "authorization"),
    ),
    Row(f"{_SHOP}/tell/../admin --path-as-is", 401),
    Row(f"{_SHOP}/tell/%2e%2e/%61dmin --path-as-is", 401),
    Row(f"{_SHOP}/tell/..%2f..%2fadmin --path-as-is", 403),
    Row(f"{_SHOP}/api/x", 401, ("WWW-Authenticate: Bearer",)),
    Row(f"{_SHOP}/api/x -H 'Authorization: Bearer a.b.c'", 401, ("invalid_token",)),
    Row(
        f"{_API} -H 'X_User: eve'",
        200,
        ('"target": "/v2/x?y=1"', '"x-user": "ada"'),
        ("eve", "authorization", "Bearer"),
    ),
    Row(f"{_SHOP}/private/plan", 403, (), ("not from outside",)),
    # Bodies that are too long, said so or not.
    Row(f"{_API} --data-binary @{{folder}}/upload", 413, ("Connection: close",)),
    Row(
        f"{_API} --data-binary @{{folder}}/upload -H 'Transfer-Encoding: chunked' -H 'Expect:'",
        413,
    ),
    # Answers of the relay's own.
    Row(f"{_SHOP}/status", 200, ("\nup\n",)),
    Row(f"{_SHOP}/nothing", 404, ("<p>Nothing here: 404</p>", "text/html")),
    Row(f"{_SHOP}/gone", 502, ('"reason": "Bad Gateway"', "application/json")),
    Row(f"{_SHOP}/tell/a -H @{{folder}}/long", 431),
    # From http to https.
    Row(
        "http://shop.example.org:{plain}/tell/a?b=c",
        308,
        ("Location: https://shop.example.org:{public}/tell/a?b=c",),
    ),
    Row(
        "http://shop.example.org:{plain}/tell/a?b=c --location --data body",
        200,
        ("308 Permanent Redirect", '"method": "POST"', '"target": "/tell/a?b=c"', '"size": 4'),
    ),
    Row("http://shop.example.org:{public}/tell/a", 400, ("This port speaks HTTPS only.",)),
    # Names: the right certificate, the first one for others, and 421 where they would differ.
    Row("https://chat.example.org:{public}/tell/a", 200, ('"x-name": "chat.example.org"',)),
    Row("https://default.example.org:{public}/status", 200),
    Row("https://other.example.org:{public}/status", -60),
    Row("https://other.example.org:{public}/status --insecure", 200),
    Row(f"{_SHOP}/tell/a -H 'Host: chat.example.org'", 421, (), ('"method"',)),
    # Versions and ciphers.
    Row(f"{_SHOP}/status --tls-max 1.2", 200),
    Row(f"{_SHOP}/status --tls-max 1.1", -35),
    Row(f"{_SHOP}/status --tls-max 1.2 --ciphers AES128-SHA", -35),
    # Client certificates.
    Row("https://inside.example.org:{inside}/tell/a", -56),
    Row("https://inside.example.org:{inside}/tell/a --cert {folder}/eve.pem", -56),
    Row(
        "https://inside.example.org:{inside}/tell/a --cert {folder}/ada.pem "
        "-H 'X-Subject: CN=root'",
        200,
        ('"x-subject": "CN=ada"',),
        ("root",),
    ),
    # A balancer in front.
    Row("http://shop.example.org:{balanced}/tell/a --haproxy-protocol", 200),
    Row("http://shop.example.org:{balanced}/tell/a", -56),
    # One listener for everything.
    Row("http://shop.example.org:{any}/tell/a", 200, ('"x-forwarded-proto": "http"',)),
    Row("https://default.example.org:{any}/status", 200, ("\nup\n",)),
    Row("https://chat.example.org:{any}/tell/a", 200, ('"x-name": "chat.example.org"',)),
]

#: What the log says, once the rows are through.
_LOG = [
    '> public > site > http://127.0.0.1:{app} "GET /tell/a?b=c" 200 ',
    "relay/relay: answered 200 from the cache",
    "plugin/dial: people: answered 401",
    "plugin/dial: tokens: answered 401",
    "relay/decide: not from outside",
    "relay/decide: no route",
    "client/dial: request body over 4096 bytes",
    "client/answer: request body over 4096 bytes",
    "backend/dial: http://127.0.0.1:{nowhere} cannot be reached: Connection refused",
    "client/accept: the head is longer than 8192 bytes",
    "client/accept: no TLS handshake: unsupported protocol",
    "client/accept: no TLS handshake: no shared cipher",
    "client/accept: no TLS handshake: http request",
    "client/accept: no TLS handshake: peer did not return a certificate",
    "the client's certificate: unable to get local issuer certificate",
    "client/decide: Host 'chat.example.org' after TLS with shop.example.org",
    "no PROXY header",
    "> any > passed on > tcp:127.0.0.1:{public} tunnel ",
]


class CurlTests(EdgeTestCase):
    """What people type."""

    def _places(self, edge: Edge) -> dict[str, Any]:
        places = {"folder": edge.folder, "token": edge.token("ada"), "password": PASSWORD}
        return {**edge.ports, **places}

    def _curl(self, edge: Edge, row: Row) -> None:
        places = self._places(edge)
        words = [word.format(**places) for word in shlex.split(row.words)]
        command = [need("curl"), "--silent", "--include", "--noproxy", "*", "--max-time", "20"]
        trust = ["--cacert", str(edge.folder / "ca.pem"), "--connect-to", "::127.0.0.1:"]
        ending = ["--write-out", "\n%{http_code}"]
        done = subprocess.run(
            [*command, *trust, *ending, *words], capture_output=True, timeout=30, check=False
        )
        answer = done.stdout.decode("latin-1").replace("\r\n", "\n")
        result = -done.returncode or int(answer.rpartition("\n")[2])
        self.assertEqual(result, row.result, (row, answer))
        for text in row.has:
            self.assertIn(text.format(**places), answer, row)
        for text in row.lacks:
            self.assertNotIn(text, answer, row)

    def test_rows(self) -> None:
        """Every command has the answer that its row says, and the log tells what happened."""

        async def talk(edge: Edge, program: Program) -> None:
            (edge.folder / "upload").write_bytes(_UPLOAD)
            (edge.folder / "long").write_text(f"X-Long: {'a' * 9000}\n")
            for row in _ROWS:
                await asyncio.to_thread(self._curl, edge, row)
            for text in _LOG:
                words = text.format(**edge.ports, app=edge.app)
                await asyncio.to_thread(waitForWords, program, words, 10)
            log = program.output()
            for secret in (edge.token("ada"), PASSWORD, "Traceback", "critical"):
                self.assertNotIn(secret, log)

        self.through(talk)


class PortableCurlTests(CurlTests):
    """The same on the portable plane."""

    plane = "portable"


#: From where a session with the room comes, and who sees it: the origin, and the status.
_ORIGINS: Sequence[tuple[str | None, int]] = [
    (None, 101),
    ("https://shop.example.org:{public}", 101),
    ("https://shop.example.org", 403),
    ("https://chat.example.org:{public}", 101),
    ("http://chat.example.org:{public}", 403),
    ("https://chat.example.org", 403),
    ("https://evil.example.org", 403),
    ("https://shop.example.org.evil.example:{public}", 403),
    ("null", 403),
]

#: Bytes in front of a request, and the client that the backend is told of; C{None} is closed.
_HEADERS: Sequence[tuple[bytes, str | None]] = [
    (b"PROXY TCP4 203.0.113.9 127.0.0.1 40000 443\r\n", "203.0.113.9"),
    (b"PROXY TCP6 2001:db8::9 ::1 40000 443\r\n", "2001:db8::9"),
    (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    (
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"
        + bytes([203, 0, 113, 7, 127, 0, 0, 1])
        + b"\x9c\x40\x01\xbb",
        "203.0.113.7",
    ),
    (b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", "127.0.0.1"),
    (b"PROXY TCP4 203.0.113.9\r\n", None),
    (b"", None),
]


class ClientTests(EdgeTestCase):
    """What programs say."""

    def _ada(self, edge: Edge) -> ssl.SSLContext:
        settings = edge.trust()
        settings.load_cert_chain(edge.folder / "ada.pem")
        return settings

    def _room(self, edge: Edge, listener: str = "public", **options: Any) -> connect:
        """A session of C{websockets} that is about to begin."""
        host = "inside" if listener == "inside" else "chat"
        url = f"wss://{host}.example.org:{edge.ports[listener]}/ws/7"
        options = {"ssl": edge.trust(), "host": "127.0.0.1", "proxy": None, **options}
        return connect(url, **options)

    def test_origins(self) -> None:
        """Pages of the site and of its friend open sessions, pages of others do not."""

        async def talk(edge: Edge, program: Program) -> None:
            for origin, expected in _ORIGINS:
                said = origin and origin.format(**edge.ports)
                try:
                    async with self._room(edge, origin=said) as session:
                        await session.send("hello")
                        self.assertEqual(await session.recv(), "hello")
                        self.assertEqual(session.response.headers["X-Room"], "/ws/7")
                    status = 101
                except InvalidStatus as error:
                    status = error.response.status_code
                self.assertEqual(status, expected, origin)
            self.assertIn("plugin/dial: pages: answered 403", program.output())

        self.through(talk)

    def test_websockets(self) -> None:
        """Compression, subprotocol, large messages, ping and close code pass, by every door."""

        async def talk(edge: Edge, program: Program) -> None:
            for listener in ("public", "any"):
                for compression in (None, "deflate"):
                    options = {"compression": compression, "subprotocols": ["x", "chat"]}
                    async with self._room(edge, listener, **options) as session:
                        self.assertEqual(session.subprotocol, "chat")
                        self.assertEqual(bool(session.protocol.extensions), bool(compression))
                        for message in ("hello", "", "\u00fc" * 100_000, DOWNLOAD):
                            await session.send(message)
                            self.assertTrue(await session.recv() == message)
                        await (await session.ping())
                        await session.send("bye")
                        await session.wait_closed()
                        self.assertEqual(session.close_code, 4321)
                        self.assertEqual(session.close_reason, "as you wish")

        self.through(talk)

    def test_aiohttp(self) -> None:
        """Requests and sessions of one client with a certificate share its connections."""

        async def talk(edge: Edge, program: Program) -> None:
            url = f"https://127.0.0.1:{edge.ports['inside']}"
            options = {"ssl": self._ada(edge), "server_hostname": "inside.example.org"}
            host = {"Host": "inside.example.org"}
            async with aiohttp.ClientSession(headers=host) as client:
                for _ in range(5):
                    async with client.post(f"{url}/tell/x", data=_UPLOAD, **options) as answer:
                        told = await answer.json()
                    self.assertEqual((told["size"], told["sha256"]), (len(_UPLOAD), _DIGEST))
                    self.assertEqual(told["headers"]["x-subject"], "CN=ada")
                ws = client.ws_connect
                async with ws(
                    f"{url}/ws/1", compress=15, protocols=["chat"], **options
                ) as session:
                    self.assertEqual((session.protocol, session.compress), ("chat", 15))
                    await session.send_bytes(DOWNLOAD)
                    self.assertTrue(await session.receive_bytes() == DOWNLOAD)
                # One handshake in a hundred seconds is what this listener takes.
                with self.assertRaises(aiohttp.WSServerHandshakeError) as caught:
                    await ws(f"{url}/ws/1", **options)
                self.assertEqual(caught.exception.status, 429)

        self.through(talk)

    def test_proxyHeaders(self) -> None:
        """The client is who the balancer says, and without a header nobody is served."""

        def ask(edge: Edge, header: bytes) -> bytes:
            place = ("127.0.0.1", edge.ports["balanced"])
            with socket.create_connection(place, timeout=10) as peer:
                request = b"GET /tell/a HTTP/1.1\r\nHost: shop.example.org\r\n"
                peer.sendall(header + request + b"Connection: close\r\n\r\n")
                with contextlib.suppress(ConnectionResetError):
                    return b"".join(iter(lambda: peer.recv(65536), b""))
            return b""

        async def talk(edge: Edge, program: Program) -> None:
            for header, client in _HEADERS:
                answer = await asyncio.to_thread(ask, edge, header)
                if client is None:
                    self.assertEqual(answer, b"", header)
                else:
                    self.assertIn(f'"x-client": "{client}"'.encode(), answer, header)

        self.through(talk)

    def test_tunnels(self) -> None:
        """TLS that ends here, and bytes that are no HTTP, reach a server that knows neither."""

        async def echo(port: int, first: bytes, **options: Any) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
            for data in (first, DOWNLOAD):
                writer.write(data)
                self.assertTrue(await reader.readexactly(len(data)) == data)
            writer.close()

        async def talk(edge: Edge, program: Program) -> None:
            secure = {"ssl": edge.trust(), "server_hostname": "default.example.org"}
            await echo(edge.ports["mail"], b"EHLO example.org\r\n", **secure)
            await echo(edge.ports["any"], b"SSH-2.0-OpenSSH_9.6\r\n", **secure)
            await echo(edge.ports["any"], b"SSH-2.0-OpenSSH_9.6\r\n")

        self.through(talk)


class PortableClientTests(ClientTests):
    """The same on the portable plane."""

    plane = "portable"

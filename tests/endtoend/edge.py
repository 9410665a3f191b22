# -*- test-case-name: tests.endtoend.test_edge -*-
"""
A whole site at the edge of a network, as an operator would write it: one configuration with
every kind of listener, the files that it names, and the servers behind it.

::

    class ThingTests(EdgeTestCase):
        def test_thing(self):
            async def talk(edge, program):
                ...  # edge.ports["public"] has HTTPS
            self.through(talk)

The I{backends} are one C{aiohttp} application, which tells what it was asked, and a TCP echo.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import bcrypt
import jwt
from aiohttp import WSMsgType, web
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.certificates import Authority, Issued
from tests.endtoend.servers import aiohttpServer, tcpEcho
from tests.endtoend.support import ROOT, EndToEnd, Program, waitForWords
from tests.ports import freePort

__all__ = ["DOWNLOAD", "PASSWORD", "Edge", "EdgeTestCase"]

#: Ada's, for C{/admin}.
PASSWORD = "correct horse"

#: What C{/download} has.
DOWNLOAD = bytes(range(256)) * 1024

_SECRET = "a secret of thirty-two bytes or more, for tests"

_CONFIGURATION = """
[relay]
plane = "{plane}"

[listener.public]
endpoint = "tcp:{public}:interface=127.0.0.1"
errorPages = {{404 = "pages/404.html", 5xx = "pages/5xx.json"}}
maxHead = 8192

[listener.public.tls]
certificates = [
    "default.pem",
    {{certificate = "shop.crt", key = "shop.key"}},
    "chat.pem",
]

[listener.public.limits]
connections = 1000
connectionsPerClient = 500

[listener.plain]
endpoint = "tcp:{plain}:interface=127.0.0.1"

[listener.inside]
endpoint = "tcp:{inside}:interface=127.0.0.1"
pool = "app"

[listener.inside.limits]
handshakesPerClient = 0.01
burst = 100

[listener.inside.tls]
certificates = "inside.pem"
clientCertificates = "require"
clientCA = "ca.pem"

[listener.balanced]
endpoint = "tcp:{balanced}:interface=127.0.0.1"
proxyProtocol = "127.0.0.1"
pool = "app"

[listener.mail]
endpoint = "tcp:{mail}:interface=127.0.0.1"
forwarder = "tls-terminate"
pool = "echo"
tls = {{certificates = "default.pem"}}

[listener.any]
endpoint = "tcp:{any}:interface=127.0.0.1"
forwarder = "detect"
passthrough = "chat.example.org"
detectTimeout = 0.3
pool = "echo"
tls = {{certificates = "default.pem"}}

[[route]]
name = "to https"
listener = "plain"
redirect = "https://{{host}}:{public}{{target}}"

[[route]]
name = "passed on"
listener = "any"
serverName = "chat.example.org"
pool = "public"

[[route]]
name = "shop's pages"
host = "shop.example.org"
pathPrefix = "/pages"
pool = "app"
cache = "pages"
replacePath = {{regex = "/pages/(.*)", to = "/kept/\\\\1"}}

[[route]]
name = "downloads"
path = "/download"
pool = "app"

[[route]]
name = "admin"
pathPrefix = "/admin"
pool = "app"
filters = "people"

[[route]]
name = "api"
host = "shop.example.org"
pathPrefix = "/api"
pool = "app"
filters = "tokens"
stripPrefix = "/api"
addPrefix = "/v2"
maxBody = 4096

[[route]]
name = "chat"
host = ["chat.example.org", "*.rooms.example.org"]
path = "/ws/*"
pool = "app"
filters = "pages"
responseHeaders = {{set = {{X-Room = "{{path}}"}}}}

[[route]]
name = "nobody home"
path = "/gone"
pool = "nowhere"

[[route]]
name = "closed"
path = "/private/*"
refuse = "not from outside"

[[route]]
name = "up"
path = "/status"
respond = {{status = 200, body = "up\\n"}}

[[route]]
name = "site"
host = ["shop.example.org", "chat.example.org", "inside.example.org"]
pathPrefix = ["/tell", "/pages"]
pool = "app"
responseHeaders = {{remove = "Server", set = {{Strict-Transport-Security = "max-age=9999"}}}}

[route.requestHeaders]
remove = "X-Debug-*"

[route.requestHeaders.set]
X-Client = "{{client}}"
X-Subject = "{{certificate.subject}}"
X-Name = "{{serverName}}"

[cache.pages]
size = 1048576

[pool.app]
backends = "http://127.0.0.1:{app}"

[pool.nowhere]
backends = "http://127.0.0.1:{nowhere}"

[pool.echo]
backends = "tcp:127.0.0.1:{echo}"

[pool.public]
backends = "tcp:127.0.0.1:{public}"

[plugin.people]
use = "basic-auth"
file = "users"
userHeader = "X-User"

[plugin.tokens]
use = "jwt"
algorithms = ["HS256"]
keyFile = "token.key"
headers = {{X-User = "sub"}}

[plugin.pages]
use = "origin"
allow = ["https://shop.example.org:{public}"]
"""


_PAGE = """<!doctype html>
<meta charset="utf-8">
<link rel="icon" href="data:,">
<title>room</title>
<h1>A room</h1>
"""


def _seen(request: web.Request) -> dict[str, Any]:
    """What an application knows of its client."""
    return {
        "method": request.method,
        "target": request.raw_path,
        "headers": {name.lower(): value for name, value in request.headers.items()},
    }


async def _tell(request: web.Request) -> web.Response:
    digest, size = hashlib.sha256(), 0
    with contextlib.suppress(ConnectionError):  # of an upload that the relay ends
        async for piece in request.content.iter_any():
            digest.update(piece)
            size += len(piece)
    seen = {**_seen(request), "size": size, "sha256": digest.hexdigest()}
    return web.json_response(seen, headers={"Server": "secret/1.0"})


async def _page(request: web.Request) -> web.Response:
    return web.Response(text=_PAGE, content_type="text/html")


class _Kept:
    """A page that may be kept for a minute, and tells how often it was fetched."""

    def __init__(self) -> None:
        self.fetched = 0

    async def __call__(self, request: web.Request) -> web.Response:
        self.fetched += 1
        return web.Response(
            text=f"{request.path} fetched {self.fetched}\n",
            headers={"Cache-Control": "max-age=60", "ETag": f'"{self.fetched}"'},
        )


async def _session(request: web.Request) -> web.WebSocketResponse:
    session = web.WebSocketResponse(protocols=["chat"], max_msg_size=0)
    await session.prepare(request)
    async for message in session:
        if message.data == "bye":
            await session.close(code=4321, message=b"as you wish")
        elif message.type is WSMsgType.TEXT:
            await session.send_str(message.data)
        else:
            await session.send_bytes(message.data)
    return session


class Edge:
    """
    The files and ports of one site.

    @ivar folder: where the files are.
    @ivar ports: by the name of the listener; at C{nowhere} nobody listens.
    @ivar app: the port of the application, once it runs.
    @ivar authority: who issued all certificates; C{ca.pem} is its own.
    """

    def __init__(self, folder: Path, plane: str = "auto") -> None:
        self.folder, self.plane = folder, plane
        self.authority = Authority()
        names = ("public", "plain", "inside", "balanced", "mail", "any", "nowhere")
        self.ports = {name: freePort() for name in names}
        folder.mkdir()
        self._certificates()
        self._secrets()
        self._pages()

    @property
    def file(self) -> Path:
        """The configuration."""
        return self.folder / "relay.toml"

    @property
    def environment(self) -> dict[str, str]:
        """For the process."""
        return {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    def command(self, *options: str) -> list[str]:
        """That runs the relay, with further options of its own."""
        run = "from twisted.scripts.twistd import run; run()"
        twistd = (sys.executable, "-c", run, "-n", "--pidfile=")
        return [*twistd, "wsrelay", "--config", str(self.file), *options]

    def token(self, subject: str) -> str:
        """A token for C{/api}."""
        claims = {"sub": subject, "exp": 4102444800}
        return str(jwt.encode(claims, _SECRET, algorithm="HS256"))

    def trust(self) -> ssl.SSLContext:
        """What a client needs who trusts this site."""
        return ssl.create_default_context(cafile=str(self.folder / "ca.pem"))

    @contextlib.asynccontextmanager
    async def backends(self) -> AsyncIterator[None]:
        """Run the servers, and write a configuration that names them."""
        async with aiohttpServer(self._application()) as self.app, tcpEcho() as echo:
            places = {"app": self.app, "echo": echo, "plane": self.plane}
            self.file.write_text(_CONFIGURATION.format(**self.ports, **places))
            yield

    def issue(self, name: str, subject: str = "test") -> Issued:
        """One more certificate of the authority."""
        return self.authority.issue(name, subject=subject)

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=0)
        router = application.router
        router.add_get("/kept/{name}", _Kept())
        router.add_get("/download", self._download)
        router.add_get("/tell/room.html", _page)
        router.add_get("/ws/{room}", _session)
        router.add_route("*", "/{path:.*}", _tell)
        return application

    async def _download(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(self.folder / "download")

    def _certificates(self) -> None:
        self.authority.write(self.folder / "ca.pem")
        for name in ("default", "chat", "inside"):
            self.issue(f"{name}.example.org").write(self.folder / f"{name}.pem")
        shop = self.issue("shop.example.org")
        (self.folder / "shop.crt").write_bytes(shop.certificate.public_bytes(Encoding.PEM))
        key = shop.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.folder / "shop.key").write_bytes(key)
        self.issue("ada@example.org", "ada").write(self.folder / "ada.pem")
        Authority("somebody").issue("eve@example.org").write(self.folder / "eve.pem")

    def _secrets(self) -> None:
        users = f"ada:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}\n"
        for name, text in (("users", users), ("token.key", _SECRET)):
            path = self.folder / name
            path.touch(0o600)
            path.write_text(text)

    def _pages(self) -> None:
        for name, content in (
            ("pages/404.html", b"<p>Nothing here: {status}</p>\n"),
            ("pages/5xx.json", b'{"status": {status}, "reason": "{reason}"}\n'),
            ("download", DOWNLOAD),
        ):
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)


class EdgeTestCase(EndToEnd):
    """
    Tests with a whole site.

    @cvar plane: the plane that its relay uses.
    """

    plane = "auto"

    def through(self, talk: Callable[[Edge, Program], Awaitable[None]]) -> None:
        """Run C{talk} while the site is up; it gets the site and the process of its relay."""

        async def work() -> None:
            edge = Edge(Path(self.mktemp()).absolute(), self.plane)
            async with edge.backends():
                program = self.start(*edge.command(), environment=edge.environment)
                await asyncio.to_thread(waitForWords, program, "listener any:")
                await talk(edge, program)

        self.go(work())

# -*- test-case-name: tests.test_examples -*-
"""
Every file in C{examples/} does what its first lines say: with a real relay, started from the
configuration that stands beside it, and real clients and backends.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from aiohttp import web
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from examples import guard, redact, tenants
from tests.endtoend.servers import aiohttpServer, tcpEcho, websocketsEcho
from tests.endtoend.support import ROOT, EndToEnd, Program, waitForPort
from tests.ports import freePort
from wsrelay.config.load import loads
from wsrelay.testing import Conversation, checkMessageFilter

EXAMPLES = ROOT / "examples"
CONFIGURED = sorted(path.stem for path in EXAMPLES.glob("*.toml"))
LESSONS = sorted(
    path.stem for path in EXAMPLES.glob("*.py") if path.stem not in ("__init__", "echo", "say")
)

_TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")


def docstringOf(example: str) -> str:
    """What an example says about itself."""
    source = (EXAMPLES / f"{example}.py").read_text("utf-8")
    text = re.search(r'^"""\n(.*?)^"""', source, re.DOTALL | re.MULTILINE)
    assert text is not None, example
    return inspect.cleandoc(text[1].encode().decode("unicode_escape"))


def blocksOf(text: str) -> list[str]:
    """The indented blocks behind a double colon."""
    found = re.findall(r"::\n\n((?: {4}.*\n|\n)+)", text + "\n")
    return [inspect.cleandoc(block) + "\n" for block in found]


class DocstringTests(SynchronousTestCase):
    """A reader of an example can trust its first lines."""

    def test_configuration(self) -> None:
        """The configuration that is shown is the file beside the example, and is a right one."""
        for example in CONFIGURED:
            text = (EXAMPLES / f"{example}.toml").read_text("utf-8")
            self.assertEqual(blocksOf(docstringOf(example))[0], text, example)
            self.assertTrue(loads(text).listener, example)

    def test_commands(self) -> None:
        """The command that is shown names files that exist."""
        for example in LESSONS:
            docstring = docstringOf(example)
            if example in CONFIGURED:
                self.assertIn(f"    twistd -n wsrelay --config examples/{example}.toml", docstring)
            else:
                self.assertIn(f"    python examples/{example}.py", docstring)
            for name in re.findall(r"examples/\w+\.\w+", docstring):
                self.assertTrue((ROOT / name).exists(), name)

    def test_map(self) -> None:
        """The map of the examples names each lesson once."""
        named = re.findall(r"- C\{(\w+)\}:", docstringOf("__init__"))
        self.assertEqual(sorted(named), LESSONS)


class ExampleTests(EndToEnd):
    """The examples, run."""

    def twistd(self, example: str, changes: Mapping[str, Any], *options: str) -> Program:
        """Run C{twistd -n wsrelay} with an example's file, in which some values are others."""
        text = (EXAMPLES / f"{example}.toml").read_text("utf-8")
        for old, new in changes.items():
            self.assertIn(old, text)
            text = text.replace(old, str(new))
        configuration = Path(self.mktemp()).absolute().with_suffix(".toml")
        configuration.write_text(text, "utf-8")
        command = (*_TWISTD, "-n", "--pidfile=", "wsrelay", "--config", str(configuration))
        return self.start(*command, *options, directory=ROOT)

    async def relayOf(self, example: str, **changes: Any) -> tuple[int, Program]:
        """
        The port of the relay of an example, once it listens, and the relay.

        @param changes: by names that stand for parts of the file.
        """
        port = freePort()
        parts = {"tcp:8080": f"tcp:{port}:interface=127.0.0.1"}
        parts |= {_PARTS[name]: value for name, value in changes.items()}
        relay = self.twistd(example, parts)
        await asyncio.to_thread(waitForPort, port, alive=lambda: relay.running)
        return port, relay

    async def script(self, example: str, *arguments: str, port: int) -> Program:
        """An example that is a program of its own, once it listens on C{port}."""
        program = self.start(
            sys.executable,
            f"examples/{example}.py",
            *arguments,
            directory=ROOT,
            environment={"PYTHONPATH": str(ROOT)},
        )
        await asyncio.to_thread(waitForPort, port, alive=lambda: program.running)
        return program

    def test_check(self) -> None:
        """Every configuration beside an example builds."""
        key = Path(self.mktemp()).absolute()
        key.write_bytes(b"key")
        for example in CONFIGURED:
            changes = {"guard.key": key} if example == "guard" else {}
            program = self.twistd(example, changes, "--check")
            self.assertEqual(program.wait(), 0, program.output())
            self.assertIn("the configuration is fine", program.output())

    def test_redact(self) -> None:
        """Words are blackened in text, and only on the way to the client."""

        async def talk() -> None:
            async with websocketsEcho() as backend:
                port, _ = await self.relayOf("redact", backend=backend)
                async with connect(f"ws://127.0.0.1:{port}/", proxy=None) as client:
                    heard = []
                    for said in ("my SECRET passwords", "nothing", b"secret"):
                        await client.send(said)
                        heard.append(await client.recv())
            self.assertEqual(heard, ["my ****** ********s", "nothing", b"secret"])

        self.go(talk())

    def test_redactOptions(self) -> None:
        """A list of no words is refused before anything starts."""
        program = self.twistd("redact", {'["secret", "password"]': "[]"}, "--check")
        self.assertEqual(program.wait(), 1)
        self.assertIn("plugin.redact.words", program.output())

    def test_guard(self) -> None:
        """
        A valid ticket, in a cookie or as a bearer, opens the door, and the backend learns the
        name and nothing else; a forged or old one, or none, gets 401.
        """
        key = Path(self.mktemp()).absolute()
        key.write_bytes(b"key")
        soon = int(time.time()) + 600
        good = guard.ticket(b"key", "ada", soon)

        async def talk() -> None:
            listen = freePort()
            await self.script("echo", str(listen), port=listen)
            port, _ = await self.relayOf("guard", backend=listen, key=key)
            url = f"ws://127.0.0.1:{port}/"
            for field in (("Cookie", f"a=b; ticket={good}"), ("Authorization", f"Bearer {good}")):
                fields = [field, ("X-User", "root")]
                async with connect(url, proxy=None, additional_headers=fields) as client:
                    await client.send("headers")
                    heard = str(await client.recv()).splitlines()
                self.assertIn("x-user: ada", heard)
                self.assertFalse([line for line in heard if good in line or "root" in line])
            for bad in (
                "",
                good[:-1] + ("0" if good[-1] != "0" else "1"),
                good.replace("ada", "eve"),
                good.replace(str(soon), str(soon + 1)),
                guard.ticket(b"key", "ada", 1),
                guard.ticket(b"other key", "ada", soon),
                f"ada.{'9' * 5000}.x",
            ):
                fields = [("Cookie", f"ticket={bad}")]
                with self.assertRaises(InvalidStatus) as caught:
                    await connect(url, proxy=None, additional_headers=fields)
                self.assertEqual(caught.exception.response.status_code, 401, bad)

        self.go(talk())

    def test_guardFailsClosed(self) -> None:
        """
        When the key cannot be read, a running relay lets nobody in, and one that starts does
        not.
        """
        key = Path(self.mktemp()).absolute()
        key.write_bytes(b"key")
        fields = [("Cookie", f"ticket={guard.ticket(b'key', 'ada', int(time.time()) + 600)}")]

        async def talk() -> None:
            async with self.counting() as (backend, arrived):
                port, relay = await self.relayOf("guard", backend=backend, key=key)
                key.unlink()
                with self.assertRaises(InvalidStatus) as caught:
                    url = f"ws://127.0.0.1:{port}/"
                    await connect(url, proxy=None, additional_headers=fields)
                self.assertEqual(caught.exception.response.status_code, 500)
                self.assertEqual(arrived, [])
            self.assertIn("guard: requestReceived: FileNotFoundError", relay.output())

        self.go(talk())
        program = self.twistd("guard", {"guard.key": key}, "--check")
        self.assertEqual(program.wait(), 1)
        self.assertIn("FileNotFoundError", program.output())

    @contextlib.asynccontextmanager
    async def counting(self) -> AsyncIterator[tuple[int, list[int]]]:
        """A backend that notes each connection and closes it."""
        arrived: list[int] = []

        def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            arrived.append(1)
            writer.close()

        server = await asyncio.start_server(met, "127.0.0.1", 0)
        try:
            yield int(server.sockets[0].getsockname()[1]), arrived
        finally:
            server.close()

    def test_tenants(self) -> None:
        """
        Each host gets to the pool that the directory names, is asked for once, and when the
        directory fails the client gets 500 and no backend.
        """
        asked: list[str] = []

        async def tenant(request: web.Request) -> web.Response:
            host = request.match_info["host"]
            asked.append(host)
            if host == "broken.test":
                return web.Response(status=503)
            known = {"one.test": "red", "two.test": "blue\n", "lost.test": "green"}
            return web.Response(text=known[host]) if host in known else web.Response(status=404)

        directory = web.Application()
        directory.router.add_get("/tenants/{host}", tenant)

        async def talk() -> None:
            async with (
                aiohttpServer(directory) as where,
                self.saying("red") as red,
                self.saying("blue") as blue,
            ):
                port, relay = await self.relayOf("tenants", directory=where, red=red, blue=blue)

                async def color(host: str) -> str | int:
                    try:
                        client = await self.clientOf(port, host)
                    except InvalidStatus as refused:
                        return refused.response.status_code
                    async with client:
                        return str(await client.recv())

                heard = [await color(h) for h in ("one.test", "two.test", "ONE.test:99")]
                self.assertEqual(heard, ["red", "blue", "red"])
                self.assertEqual(asked, ["one.test", "two.test"])
                heard = [await color(h) for h in ("x.test", "broken.test", "lost.test")]
                self.assertEqual(heard, [404, 500, 500])
                self.assertIn("no pool is named 'green'", relay.output())

        self.go(talk())

    @contextlib.asynccontextmanager
    async def saying(self, word: str) -> AsyncIterator[int]:
        """A WebSocket server that says one word to everybody."""

        async def say(request: web.Request) -> web.WebSocketResponse:
            response = web.WebSocketResponse()
            await response.prepare(request)
            await response.send_str(word)
            await response.receive()
            return response

        application = web.Application()
        application.router.add_get("/", say)
        async with aiohttpServer(application) as port:
            yield port

    async def clientOf(self, port: int, host: str) -> ClientConnection:
        """A client that asks for C{host}, wherever that is."""
        return await connect(f"ws://{host}/", host="127.0.0.1", port=port, proxy=None)

    def test_knock(self) -> None:
        """The right word opens the door, also in pieces; any other is answered by silence."""

        async def told(port: int, *pieces: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            with contextlib.suppress(OSError):
                writer.write_eof()
            try:
                return await reader.read()
            except OSError:
                return b"reset"
            finally:
                writer.close()

        async def talk() -> None:
            async with tcpEcho() as backend:
                port, relay = await self.relayOf("knock", redis=backend)
                for pieces in (
                    (b"sesame\nhello",),
                    (b"sesame\r\nhello",),
                    (b"ses", b"ame\nhel", b"lo"),
                ):
                    self.assertEqual(await told(port, *pieces), b"hello", pieces)
                for pieces in ((b"sesam\nhello",), (b"sesame!",), (b"x" * 100_000,), (b"sesame",)):
                    self.assertIn(await told(port, *pieces), (b"", b"reset"), pieces)
            self.assertEqual(relay.output().count("tunnel 5+5 bytes"), 3)

        self.go(talk())

    def test_chatroom(self) -> None:
        """Everybody who enters is welcomed, and hears what anybody says."""

        async def talk() -> None:
            port, _ = await self.relayOf("chatroom")
            url = f"ws://127.0.0.1:{port}/chat"
            async with connect(url, proxy=None) as ada, connect(url, proxy=None) as bob:
                for guest in (ada, bob):
                    self.assertEqual(await guest.recv(), "Hello, and be kind.")
                await ada.send("hi")
                for guest in (ada, bob):
                    self.assertEqual(await guest.recv(), "hi")
                await bob.send(b"\0")
                with self.assertRaises(ConnectionClosed) as caught:
                    await bob.recv()
                self.assertEqual(caught.exception.rcvd and caught.exception.rcvd.code, 3003)
                await ada.send("still here")
                self.assertEqual(await ada.recv(), "still here")
            with self.assertRaises(InvalidStatus) as refused:
                await connect(f"ws://127.0.0.1:{port}/other", proxy=None)
            self.assertEqual(refused.exception.response.status_code, 404)

        self.go(talk())

    def test_counter(self) -> None:
        """What is open and how everything ended can be fetched as text."""

        async def talk() -> None:
            internal = freePort()
            async with websocketsEcho() as backend:
                port, relay = await self.relayOf("counter", backend=backend, internal=internal)
                await asyncio.to_thread(waitForPort, internal, alive=lambda: relay.running)
                async with connect(f"ws://127.0.0.1:{port}/", proxy=None) as client:
                    await client.send("four")
                    await client.recv()
                    self.assertIn("wsrelay_open 2\n", await fetched(internal))
                for _ in range(100):
                    text = await fetched(internal)
                    if "wsrelay_open 1\n" in text:
                        break
            self.assertIn(
                'wsrelay_ended_total{kind="session",party="client",phase="relay"} 1\n', text
            )
            with self.assertRaises(HTTPError) as outside:
                await fetched(port)
            self.assertNotEqual(outside.exception.code, 200)
            outside.exception.close()

        async def fetched(port: int) -> str:
            return await asyncio.to_thread(fetch, port)

        def fetch(port: int) -> str:
            with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
                return str(response.read().decode("utf-8"))

        self.go(talk())

    def test_embed(self) -> None:
        """A site relays WebSockets below one path, through a filter, and serves its own pages."""

        async def talk() -> None:
            port = freePort()
            async with websocketsEcho() as backend:
                endpoint = f"tcp:{port}:interface=127.0.0.1"
                await self.script("embed", endpoint, f"ws://127.0.0.1:{backend}", port=port)
                async with connect(f"ws://127.0.0.1:{port}/ws/deep", proxy=None) as client:
                    await client.send("quiet")
                    self.assertEqual(await client.recv(), "QUIET")
                page = await asyncio.to_thread(read, f"http://127.0.0.1:{port}/")
                self.assertEqual(page, b"An ordinary page.\n")

        def read(url: str) -> bytes:
            with urlopen(url, timeout=10) as response:
                return bytes(response.read())

        self.go(talk())

    def test_say(self) -> None:
        """The client and the backend that the examples are tried with understand each other."""

        async def talk() -> None:
            port = freePort()
            await self.script("echo", str(port), port=port)
            url = f"ws://127.0.0.1:{port}/"
            heard = await asyncio.to_thread(self.say, url, "one", "two")
            self.assertEqual(heard, "> one\n< one\n> two\n< two\nclosed: 1000\n")
            heard = await asyncio.to_thread(self.say, "-H", "X-Test: yes", url, "headers")
            self.assertIn("x-test: yes\n", heard)

        self.go(talk())

    def say(self, *arguments: str) -> str:
        """What examples/say.py prints."""
        return self.runCommand(sys.executable, str(EXAMPLES / "say.py"), *arguments)


#: What stands in the files where a test needs something else.
_PARTS = {
    "backend": "9000",
    "directory": "9000",
    "red": "9001",
    "blue": "9002",
    "redis": "6379",
    "internal": "8081",
    "key": "guard.key",
}


class TenantsTests(SynchronousTestCase):
    """What the policy of C{tenants} remembers."""

    def test_room(self) -> None:
        """There is room for so many answers, and the oldest is forgotten first."""
        options = tenants.TenantsOptions(directory="http://127.0.0.1:1/", room=2)
        policy = tenants.ByTenant(options, Clock())
        for host in ("a", "b", "a", "c"):
            policy._learn(host, tenants._Known(host, 1.0))
        self.assertEqual(list(policy._known), ["a", "c"])


class RedactTests(SynchronousTestCase):
    """What the hook of C{redact} says."""

    def test_longestFirst(self) -> None:
        """Of several words that begin alike the longest is blackened."""
        options = redact.RedactOptions(words=["pass", "password"], mark="#")
        talk = Conversation(redact.RedactFilter(options))
        talk.fromBackend("password pass", "no word")
        self.assertEqual(talk.atClient, ["######## ####", "no word"])

    def test_everyRule(self) -> None:
        """It keeps to what every message filter must keep to."""
        checkMessageFilter(redact.RedactFilter(redact.RedactOptions(words=["secret"])))

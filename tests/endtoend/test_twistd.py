# -*- test-case-name: tests.endtoend.test_twistd -*-
"""
The relay as its operator meets it: real C{twistd} processes, signals, sockets and logs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.certificates import theAuthority
from tests.endtoend.raw import handshakeRequest
from tests.endtoend.servers import websocketsEcho
from tests.endtoend.support import ROOT, EndToEnd, Program, waitForPort
from tests.ports import freePort

_TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")

# A module of plugins, for configurations below.
PLUGINS = """
from twisted.internet.task import deferLater
from zope.interface import implementer
from wsrelay import IObserver, IPluginMaker

@implementer(IObserver)
class Quiet:
    def observe(self, event):
        pass

@implementer(IPluginMaker)
class Slow:
    name, description, options = "slow", "Made after a while.", None
    async def make(self, options, relay):
        await deferLater(relay.reactor, 0.2)
        return Quiet()

@implementer(IPluginMaker)
class Failing(Slow):
    async def make(self, options, relay):
        await deferLater(relay.reactor, 0.2)
        raise RuntimeError("no answer from the key server")

slow, failing = Slow(), Failing()
"""


class Twistd(EndToEnd):
    """Starts C{twistd wsrelay} in a folder of its own."""

    def setUp(self) -> None:
        """An empty folder."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        (self.folder / "operators_plugins.py").write_text(PLUGINS)
        # The path of a UNIX socket has a hundred bytes at most.
        self.sockets = Path("/tmp") / f"wsrelay-test-{os.getpid()}-{id(self)}"
        self.sockets.mkdir()
        self.addCleanup(self._removeSockets)

    def _removeSockets(self) -> None:
        for path in self.sockets.iterdir():
            path.unlink()
        self.sockets.rmdir()

    def file(self, text: str, name: str = "relay.toml") -> str:
        """A configuration in the folder."""
        (self.folder / name).write_text(text)
        return name

    def simple(self, port: int, backend: int, more: str = "") -> str:
        """A configuration: one L4 listener to one backend."""
        return self.file(
            f'[listener.main]\nendpoint = "tcp:{port}:interface=127.0.0.1"\n'
            f'forwarder = "tcp"\npool = "p"\n'
            f'[pool.p]\nbackends = "tcp:127.0.0.1:{backend}"\n{more}'
        )

    def command(self, *words: str, twistd: Sequence[str] = ("-n", "--pidfile=")) -> list[str]:
        """The command line."""
        return [*_TWISTD, *twistd, "wsrelay", *words]

    @property
    def environment(self) -> dict[str, str]:
        """The checkout is found, whatever the folder is."""
        return {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    def run_(self, *words: str, **options: Any) -> tuple[int, str, str]:
        """Run it to its end: exit status, standard output and error."""
        done = subprocess.run(
            self.command(*words, **options),
            capture_output=True,
            text=True,
            timeout=60,
            cwd=self.folder,
            env={**os.environ, **self.environment},
        )
        return done.returncode, done.stdout, done.stderr

    def serve(self, *words: str, port: int = 0, **options: Any) -> Program:
        """Start it, and wait until it listens on C{port}."""
        program = self.start(
            *self.command(*words, **options),
            environment=self.environment,
            directory=self.folder,
        )
        if port:
            waitForPort(port, alive=lambda: program.running)
        return program

    def waitFor(self, path: Path, program: Program) -> None:
        """Wait until a file is there."""
        end = time.monotonic() + 30
        while not path.exists():
            if time.monotonic() > end or not program.running:
                self.fail(f"{path} did not come:\n{program.output()}")
            time.sleep(0.02)

    def assertNobodyListens(self, port: int) -> None:
        """The port is closed."""
        with socket.socket() as probe:
            self.assertNotEqual(probe.connect_ex(("127.0.0.1", port)), 0)


@contextlib.asynccontextmanager
async def tcpEcho() -> AsyncIterator[int]:
    """A server that echoes, and at its end waits for its clients to be gone."""
    serving: set[Any] = set()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        yield int(server.sockets[0].getsockname()[1])
    if serving:
        await asyncio.wait(serving, timeout=20)


@contextlib.contextmanager
def taken() -> Any:
    """A port that somebody listens on."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


class StartTests(Twistd):
    """It starts whole, or not at all."""

    TWO = """
[listener.one]
endpoint = "tcp:{free}:interface=127.0.0.1"
forwarder = "tcp"
pool = "p"
[listener.two]
endpoint = ["unix:{folder}/two.sock", "tcp:{taken}:interface=127.0.0.1"]
forwarder = "tcp"
pool = "p"
[pool.p]
backends = "tcp:127.0.0.1:9"
"""

    def two(self, taken: int) -> tuple[str, int, str]:
        """Two listeners, the second of which cannot have its port; what must be said."""
        free = freePort()
        text = self.TWO.format(free=free, taken=taken, folder=self.sockets)
        said = f"listener two: cannot listen on 127.0.0.1:{taken}: Address already in use"
        return self.file(text), free, said

    def assertNothing(self, port: int) -> None:
        """Nothing of it is left."""
        self.assertNobodyListens(port)
        self.assertEqual(list(self.sockets.iterdir()), [])

    def test_taken(self) -> None:
        """One port that is taken: one line that says which, status 1, nothing listens."""
        with taken() as port:
            file, free, said = self.two(port)
            status, out, err = self.run_("--config", file)
        self.assertEqual((status, err), (1, ""))
        self.assertEqual(
            [line for line in out.splitlines() if "critical" in line], [out.splitlines()[-1]]
        )
        self.assertTrue(out.endswith(f" critical: {said}\n"), out)
        self.assertNotIn("Traceback", out)
        self.assertNothing(free)

    def test_takenWithLogFile(self) -> None:
        """Where the log goes into a file the reason is said on the terminal too."""
        with taken() as port:
            file, free, said = self.two(port)
            status, out, err = self.run_(
                "--config", file, twistd=("-n", "--pidfile=", "--logfile=relay.log")
            )
        self.assertEqual((status, out, err), (1, "", f"wsrelay: {said}\n"))
        self.assertIn(said, (self.folder / "relay.log").read_text())
        self.assertNothing(free)

    def test_takenDaemon(self) -> None:
        """A daemon that cannot start says so to whoever started it, and leaves no PID file."""
        with taken() as port:
            file, free, said = self.two(port)
            status, _, err = self.run_(
                "--config", file, twistd=("--pidfile=relay.pid", "--logfile=relay.log")
            )
        self.assertEqual(status, 1)
        self.assertIn(said[:60], err)
        self.assertIn(said, (self.folder / "relay.log").read_text())
        self.assertFalse((self.folder / "relay.pid").exists())
        self.assertNothing(free)

    def test_later(self) -> None:
        """A plugin that is made later: it listens then."""
        port = freePort()
        file = self.simple(port, 9, '[plugin.q]\nuse = "operators_plugins:slow"\n')
        program = self.serve("--config", file, port=port)
        self.assertIn("listener main: tcp 127.0.0.1", program.output())

    def test_laterFails(self) -> None:
        """A plugin that fails later: one line, status 1, and it never listened."""
        port = freePort()
        file = self.simple(port, 9, '[plugin.q]\nuse = "operators_plugins:failing"\n')
        status, out, err = self.run_("--config", file)
        said = (
            "plugin.q: operators_plugins:failing could not be made: RuntimeError: no answer "
            "from the key server"
        )
        self.assertEqual((status, err), (1, ""))
        self.assertIn(f" critical: {said}\n", out)
        self.assertNotIn("Traceback", out)
        self.assertNotIn("listener main", out)

    def test_wrong(self) -> None:
        """A wrong file: all errors on the terminal, status 1, no log at all."""
        status, out, err = self.run_("--config", self.file('[listner.a]\nendpoint = "tcp:1"\n'))
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(
            err.splitlines(),
            [
                'wsrelay: relay.toml: listner: unknown key; did you mean "listener"?',
                "wsrelay: relay.toml: listener: at least one [listener.NAME] is needed",
            ],
        )

    def test_nothing(self) -> None:
        """Nothing at all: advice."""
        status, out, err = self.run_()
        self.assertEqual((status, out), (1, ""))
        self.assertIn("wsrelay: nothing to do", err)

    def test_check(self) -> None:
        """A check loads and builds everything, opens nothing, and says so."""
        port = freePort()
        good = self.simple(port, 9, '[plugin.q]\nuse = "operators_plugins:slow"\n')
        with taken() as port:
            self.simple(port, 9, '[plugin.q]\nuse = "operators_plugins:slow"\n')
            self.assertEqual(
                self.run_("--check", "--config", good, "--plane", "portable"),
                (
                    0,
                    "wsrelay: the configuration is fine: 1 listener, no routes, 1 pool, "
                    "1 plugin; plane: portable\n",
                    "",
                ),
            )
        bad = self.simple(port, 9, '[plugin.q]\nuse = "operators_plugins:failing"\n')
        status, out, err = self.run_("--check", "--config", bad)
        self.assertEqual((status, out), (1, ""))
        self.assertIn("wsrelay: relay.toml: plugin.q: operators_plugins:failing", err)
        self.assertNotIn("Traceback", err)


class LogTests(Twistd):
    """What it writes while it runs."""

    async def once(self, port: int) -> None:
        """One connection through the relay."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello")
        writer.write_eof()
        await reader.read()
        writer.close()

    def logged(self, *words: str) -> tuple[int, list[str]]:
        """The port and the log of a relay through which one connection went."""
        port = freePort()

        async def work() -> Program:
            async with tcpEcho() as backend:
                program = self.serve("--config", self.simple(port, backend), *words, port=port)
                await self.once(port)
                program.terminate()
                await asyncio.to_thread(program.wait)
                return program

        return port, self.go(work()).output().splitlines()

    def test_json(self) -> None:
        """Every line is a JSON object, from the first to the last; fields are searchable."""
        port, lines = self.logged("--log-format", "json")
        events = [json.loads(line) for line in lines]
        self.assertGreater(len(events), 4)
        for event in events:
            self.assertLessEqual({"time", "level", "logger", "message"}, set(event))
        (started,) = [event for event in events if "address" in event]
        self.assertEqual(
            (started["listener"], started["address"], started["forwarder"]),
            ("main", f"tcp 127.0.0.1:{port}", "tcp"),
        )
        ended = [event for event in events if event["logger"] == "wsrelay.access"]
        self.assertIn((5, 5), [(each["bytesToBackend"], each["bytesToClient"]) for each in ended])
        self.assertEqual({each["kind"] for each in ended}, {"tunnel"})

    def test_text(self) -> None:
        """Every line is for people: the time, and what happened."""
        port, lines = self.logged()
        for line in lines:
            self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \S")
        started = [line for line in lines if " listener main: " in line]
        self.assertEqual(len(started), 1)
        self.assertRegex(
            started[0], rf" listener main: tcp 127\.0\.0\.1:{port}, forwarder tcp, plane \w+$"
        )
        self.assertTrue(any("tunnel 5+5 bytes" in line for line in lines), lines)
        self.assertFalse(any("LegFactory" in line for line in lines), lines)


class StopTests(Twistd):
    """SIGTERM."""

    @contextlib.asynccontextmanager
    async def relay(self) -> AsyncIterator[tuple[int, Program]]:
        """A relay for WebSockets."""
        port = freePort()
        async with websocketsEcho() as backend:
            program = self.serve(
                *("--listen", f"tcp:{port}:interface=127.0.0.1"),
                *("--to", f"ws://127.0.0.1:{backend}"),
                port=port,
            )
            yield port, program

    def test_goingAway(self) -> None:
        """Open WebSockets are told 1001 on both sides, and the process ends."""

        async def work() -> Program:
            async with (
                self.relay() as (port, program),
                connect(f"ws://127.0.0.1:{port}/") as client,
            ):
                await client.send("hello")
                self.assertEqual(await client.recv(), "hello")
                program.terminate()
                with self.assertRaises(ConnectionClosed) as closed:
                    await client.recv()
                self.assertEqual(closed.exception.rcvd.code, 1001)
                await asyncio.to_thread(program.wait, 4)
                return program

        output = self.go(work()).output()
        self.assertIn("client saw 1001, backend saw 1001", output)
        self.assertIn("relay/relay: the relay stops", output)
        self.assertNotIn("Traceback", output)

    def test_bound(self) -> None:
        """A client that never answers does not keep the process for long."""

        async def work() -> None:
            async with self.relay() as (port, program), deaf(port):
                started = time.monotonic()
                program.terminate()
                await asyncio.to_thread(program.wait, 15)
                self.assertLess(time.monotonic() - started, 10)

        self.go(work())

    def test_second(self) -> None:
        """A second SIGTERM ends the patience, and the session is told of in the log."""

        async def work() -> Program:
            async with self.relay() as (port, program), deaf(port) as client:
                started = time.monotonic()
                program.terminate()
                # Its Close frame: it has heard the first signal.
                self.assertEqual((await client.readexactly(2))[0], 0x88)
                os.kill(program.pid, signal.SIGTERM)
                await asyncio.to_thread(program.wait, 15)
                self.assertLess(time.monotonic() - started, 3)
                return program

        output = self.go(work()).output()
        self.assertIn("the relay stops", output)
        self.assertNotIn("Traceback", output)
        self.assertNotIn("ReactorNotRunning", output)


@contextlib.asynccontextmanager
async def deaf(port: int) -> AsyncIterator[asyncio.StreamReader]:
    """A WebSocket client that answers nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(handshakeRequest())
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    yield reader
    writer.close()


class EndpointTests(Twistd):
    """Every kind of door that Twisted has, with real clients."""

    def echo(self, endpoint: str, talk: Any, backend: str = "tcp:127.0.0.1:{port}") -> Program:
        """
        Relay from C{endpoint} to an echo, and talk.

        @param talk: asynchronous; called with the program.
        """

        async def work() -> Program:
            async with tcpEcho() as port:
                program = self.serve("--listen", endpoint, "--to", backend.format(port=port))
                await talk(program)
                return program

        return self.go(work())

    async def says(self, reader: Any, writer: Any, hello: bytes = b"hello") -> None:
        """What is said comes back, and the end of the stream as well."""
        writer.write(hello)
        await writer.drain()
        self.assertEqual(await asyncio.wait_for(reader.readexactly(len(hello)), 20), hello)
        if writer.can_write_eof():
            writer.write_eof()
            self.assertEqual(await asyncio.wait_for(reader.read(), 20), b"")
        writer.close()
        await writer.wait_closed()

    def test_unix(self) -> None:
        """A UNIX socket in front, another one behind."""
        front, behind = self.sockets / "front", self.sockets / "behind"

        async def echo(reader: Any, writer: Any) -> None:
            writer.write(await reader.read(100))
            writer.close()

        async def talk(program: Program) -> None:
            async with await asyncio.start_unix_server(echo, behind):
                await asyncio.to_thread(self.waitFor, front, program)
                await self.says(*await asyncio.open_unix_connection(front))

        program = self.echo(f"unix:{front}", talk, f"unix:{behind}")
        self.assertIn(f"listener main: unix {front}", program.output())
        program.stop()
        self.assertFalse(front.exists())

    def tlsContext(self) -> ssl.SSLContext:
        """A client that trusts the tests' authority."""
        ca = theAuthority().write(self.folder / "ca.pem")
        return ssl.create_default_context(cafile=str(ca))

    def talkTLS(self, port: int, name: str) -> Any:
        """A TLS client."""

        async def talk(program: Program) -> None:
            await asyncio.to_thread(waitForPort, port, 30, lambda: program.running)
            context = self.tlsContext()
            await self.says(
                *await asyncio.open_connection(
                    "127.0.0.1", port, ssl=context, server_hostname=name
                )
            )

        return talk

    def test_ssl(self) -> None:
        """C{ssl:} ends TLS with one certificate."""
        pem = theAuthority().issue("relay.example.org").write(self.folder / "relay.pem")
        port = freePort()
        endpoint = f"ssl:{port}:interface=127.0.0.1:privateKey={pem}:certKey={pem}"
        self.echo(endpoint, self.talkTLS(port, "relay.example.org"))

    def test_tls(self) -> None:
        """C{tls:} ends TLS with the certificate, of a folder, that the client asks for."""
        folder = self.folder / "certificates"
        folder.mkdir()
        for name in ("a.example.org", "b.example.org"):
            theAuthority().issue(name).write(folder / f"{name}.pem")
        port = freePort()
        endpoint = f"tls:{folder}:port={port}:interface=\\:\\:ffff\\:127.0.0.1"
        for name in ("a.example.org", "b.example.org"):
            self.echo(endpoint, self.talkTLS(port, name)).stop()

    def test_tlsBackend(self) -> None:
        """A backend with TLS, with an authority of our own in the file."""
        pem = theAuthority().issue("localhost").write(self.folder / "backend.pem")
        theAuthority().write(self.folder / "ca.pem")
        port = freePort()

        async def echo(reader: Any, writer: Any) -> None:
            writer.write(await reader.read(100))
            await writer.drain()
            writer.close()

        async def work() -> None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem)
            async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context) as server:
                backend = server.sockets[0].getsockname()[1]
                file = self.file(
                    f'[listener.main]\nendpoint = "tcp:{port}:interface=127.0.0.1"\n'
                    'forwarder = "tcp"\npool = "p"\n[pool.p]\nca = "ca.pem"\n'
                    f'backends = ["tls:127.0.0.1:{backend}", "tls:localhost:{backend}"]\n'
                )
                program = await asyncio.to_thread(self.serve, "--config", file, port=port)
                await self.says(*await asyncio.open_connection("127.0.0.1", port))
                self.assertIn(
                    f"tls:127.0.0.1:{backend} cannot be trusted: its certificate is for "
                    "localhost, not for 127.0.0.1, 1 left to try",
                    program.output(),
                )

        self.go(work())

    def test_systemd(self) -> None:
        """C{systemd:} takes a socket that systemd has opened."""
        port = freePort()
        launcher = (
            "import os, socket, sys\n"
            "listening = socket.socket()\n"
            "listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
            f"listening.bind(('127.0.0.1', {port}))\n"
            "listening.listen()\n"
            "os.dup2(listening.fileno(), 3)\n"
            "os.set_inheritable(3, True)\n"
            "os.environ.update(\n"
            "    LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='web.socket'\n"
            ")\n"
            "os.execv(sys.argv[1], sys.argv[1:])\n"
        )

        async def work() -> None:
            async with tcpEcho() as backend:
                command = self.command(
                    *("--listen", "systemd:INET:name=web.socket"),
                    *("--to", f"tcp:127.0.0.1:{backend}"),
                )
                program = self.start(
                    *(sys.executable, "-c", launcher, *command),
                    environment=self.environment,
                    directory=self.folder,
                )
                await asyncio.to_thread(waitForPort, port, 30, lambda: program.running)
                await self.says(*await asyncio.open_connection("127.0.0.1", port))

        self.go(work())

    def test_haproxy(self) -> None:
        """C{haproxy:} tells the relay whom the balancer in front of it speaks for."""
        port = freePort()

        async def talk(program: Program) -> None:
            await asyncio.to_thread(waitForPort, port, 30, lambda: program.running)
            header = b"PROXY TCP4 192.0.2.7 192.0.2.1 5555 443\r\n"
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(header)
            await self.says(reader, writer)

        program = self.echo(f"haproxy:tcp:{port}:interface=127.0.0.1", talk)
        program.stop()
        self.assertIn(" 192.0.2.7:5555 > main > ", program.output())

# -*- test-case-name: tests.endtoend.test_distribution -*-
"""
A stranger's package beside ours: built, installed, found, and in the path of the traffic.

The environment is a new one into which both packages are installed from wheels made here, so
what is tested is what setup.cfg ships and not the checkout. The libraries of the interpreter
that runs the tests are borrowed through one C{.pth} file: Python does not look for further
C{.pth} files in a folder named by one, so an editable wsrelay in there stays out of sight.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from tests.endtoend.support import ROOT, EndToEnd, Program, waitForPort
from tests.ports import freePort

#: What setup.cfg needs to make a wheel of the checkout.
CHECKOUT = (
    "wsrelay",
    "twisted",
    "setup.cfg",
    "pyproject.toml",
    "setup.py",
    "README.md",
    "LICENSE",
)

#: The stranger's whole distribution: path to content.
SHOUT = {
    "setup.cfg": """
        [metadata]
        name = wsrelay-shout
        version = 1.0

        [options]
        packages = wsrelay.plugins
        """,
    "pyproject.toml": """
        [build-system]
        requires = ["setuptools"]
        build-backend = "setuptools.build_meta"
        """,
    "wsrelay/plugins/shout.py": """
        from pydantic import Field
        from zope.interface import implementer

        from wsrelay import Direction, IMessageFilter, Interest, IPluginMaker, Options


        class ShoutOptions(Options):
            mark: str = Field("!", description="what ends every message")


        @implementer(IMessageFilter)
        class ShoutFilter:
            def __init__(self, mark):
                self.mark = mark

            def interest(self, route, direction):
                toClient = direction is Direction.TO_CLIENT
                return Interest.MESSAGES if toClient else Interest.FRAMES

            def attach(self, session, direction):
                return lambda message: message.text.upper() + self.mark


        @implementer(IPluginMaker)
        class Shout:
            name = "shout"
            description = "Sends everything in capitals."
            options = ShoutOptions

            def make(self, options, relay):
                return ShoutFilter(options.mark)


        shout = Shout()
        """,
}

CONFIGURATION = """
    [listener.public]
    endpoint = "tcp:{listen}:interface=127.0.0.1"

    [[route]]
    pool = "echo"
    filters = ["loud"]

    [pool.echo]
    backends = ["ws://127.0.0.1:{backend}"]

    [plugin.loud]
    use = "shout"
    mark = "?!"
    """


def dedent(text: str) -> str:
    """A text written indented, as it is meant."""
    lines = text.strip("\n").rstrip(" ").splitlines(keepends=True)
    margin = len(lines[0]) - len(lines[0].lstrip())
    return "".join(line[margin:] or "\n" for line in lines)


async def echo(connection: ServerConnection) -> None:
    """The backend: says what it hears."""
    async for message in connection:
        await connection.send(message)


class DistributionTests(EndToEnd):
    """What the author of a plugin does, from an empty folder to a changed message."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.python = str(self.folder / "environment" / "bin" / "python")

    def inside(self, *arguments: str) -> Program:
        """Start the new environment's Python, where no checkout is on its path."""
        return self.start(
            self.python, *arguments, environment={"PYTHONPATH": ""}, directory=self.folder
        )

    def twistd(self, *arguments: str) -> Program:
        """Start the new environment's C{twistd wsrelay}."""
        run = "from twisted.scripts.twistd import run; run()"
        return self.inside("-c", run, "-n", "--pidfile=", "wsrelay", *arguments)

    def finished(self, program: Program) -> str:
        """What a program that ends by itself, and well, has printed."""
        try:
            status = program.wait(60.0)
        except subprocess.TimeoutExpired:
            self.fail("it was not done within 60 s")
        self.assertEqual(status, 0, program.output())
        return program.output()

    def makeEnvironment(self) -> None:
        """Make a virtual environment that borrows the libraries of this one."""
        place = self.folder / "environment"
        self.runCommand(sys.executable, "-m", "venv", "--without-pip", str(place))
        (packages,) = place.glob("lib/python*/site-packages")
        (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def makeCheckout(self) -> Path:
        """Copy what makes wsrelay, so that building leaves nothing in the checkout."""
        folder = self.folder / "wsrelay-source"
        folder.mkdir()
        forget = shutil.ignore_patterns("__pycache__", "dropin.cache", "*.so")
        for name in CHECKOUT:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=forget)
            elif (ROOT / name).exists():
                shutil.copy(ROOT / name, folder)
        return folder

    def makeShout(self) -> Path:
        """Write the stranger's distribution."""
        folder = self.folder / "shout-source"
        for name, text in SHOUT.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(dedent(text))
        return folder

    def install(self, source: Path) -> None:
        """Build a wheel of C{source} and install it, downloading nothing."""
        pip = (sys.executable, "-m", "pip", "--python", self.python, "install")
        offline = ("--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed")
        self.runCommand(*pip, "--quiet", *offline, str(source), deadline=180.0)

    def test_aStrangersPlugin(self) -> None:
        """
        A package with one plugin, installed beside wsrelay, is listed with its options, and its
        filter changes messages as the configuration says.
        """
        self.makeEnvironment()
        self.install(self.makeCheckout())
        where = self.finished(self.inside("-c", "import wsrelay; print(wsrelay.__file__)"))
        self.assertIn(str(self.folder / "environment"), where)
        self.assertNotIn("shout", self.finished(self.twistd("--plugins")))

        self.install(self.makeShout())
        listed = self.finished(self.twistd("--plugins"))
        for part in ("shout", "Sends everything in capitals.", "mark", "what ends every message"):
            self.assertIn(part, listed)

        self.assertEqual(self.go(self.heard("psst", b"bytes")), ["PSST?!", "BYTES?!"])

    async def heard(self, *messages: str | bytes) -> list[str | bytes]:
        """What a client hears through the relay from a backend that echoes these messages."""
        async with serve(echo, "127.0.0.1", 0) as server:
            backend = next(iter(server.sockets)).getsockname()[1]
            listen = freePort()
            configuration = self.folder / "relay.toml"
            configuration.write_text(dedent(CONFIGURATION).format(listen=listen, backend=backend))
            relay = self.twistd("--config", str(configuration))
            await asyncio.to_thread(waitForPort, listen, alive=lambda: relay.running)
            async with connect(f"ws://127.0.0.1:{listen}/", proxy=None) as client:
                for message in messages:
                    await client.send(message)
                return [await client.recv() for _ in messages]

# -*- test-case-name: tests.test_docs -*-
"""
What the manual says is so: its commands are run, its configurations are loaded, its generated
pages are those that the source makes, and its links lead somewhere. How a page tells what is to be
done with its blocks stands in L{tests.manual}.
"""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.endtoend.servers import websocketsEcho
from tests.endtoend.support import ROOT, EndToEnd, waitForPort
from tests.manual import DOCS, PAGES, VERBS, Terminal, anchorsOf, blocksOf
from tests.ports import freePort
from wsrelay.config.build import build
from wsrelay.config.load import loads
from wsrelay.l4.hub import Hub
from wsrelay.model import (
    Address,
    Closed,
    CloseReason,
    Forward,
    Headers,
    Inbound,
    Kind,
    Party,
    Phase,
    Refuse,
    Request,
    Respond,
)

#: What a published checkout consists of, as far as the tutorial needs it.
CHECKOUT = (
    "wsrelay",
    "twisted",
    "examples",
    "setup.cfg",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)

#: Configurations that are shown for what is wrong with them.
WRONG = (
    ("docs/howto/run.md", "relay.toml"),
    ("docs/explanation/layer-4-or-layer-7.md", "wrong.toml"),
)

BLOCKS = [block for page in PAGES for block in blocksOf(page)]


def generator() -> Any:
    """docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("docsgenerate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class GeneratedTests(SynchronousTestCase):
    """The reference says what the source says."""

    def test_current(self) -> None:
        """The generated pages are those that the source makes."""
        pages = generator()
        for name, make in pages.PAGES.items():
            written = (DOCS / "reference" / name).read_text("utf-8")
            self.assertEqual(written, pages._STAMP + make(), "run: python docs/generate.py")

    def test_everyInterface(self) -> None:
        """Every name that a plugin can import from wsrelay is explained, or is a plain type."""
        import wsrelay

        text = (DOCS / "reference" / "plugins.md").read_text("utf-8")
        plain = {"Decision", "Verdict", "RelayError", "ConfigurationError", "Refused"}
        for name in set(wsrelay.__all__) - plain:
            self.assertIn(f"### `{name}`\n", text)

    def test_epytext(self) -> None:
        """Docstrings become Markdown: code, names, lists and examples."""
        docstring = """
        A C{b"x"} and a L{Leg<wsrelay.plane.legs.Leg>} of C{{}}, I{new}.

        Shown so::

            one

            two

        @param a: what
            it is.
        @raise ValueError: it is not.
        """
        self.assertEqual(
            generator().markdown(docstring),
            'A `b"x"` and a `Leg` of `{}`, *new*.\n\n'
            "Shown so:\n\n```python\none\n\ntwo\n```\n\n"
            "- `a`: what it is.\n- raises `ValueError`: it is not.",
        )

    def test_phases(self) -> None:
        """Every phase that a log line can name is explained."""
        text = (DOCS / "reference" / "errors-and-close-codes.md").read_text("utf-8")
        for phase in Phase:
            self.assertIn(f"\n| `{phase.value}` | ", text)


class PageTests(SynchronousTestCase):
    """What can be checked without running anything."""

    def test_links(self) -> None:
        """Every link inside the checkout leads to a file that exists, and to a place in it."""
        for page in PAGES:
            text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.S | re.M)
            for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", text):
                name, _, fragment = target.partition("#")
                found = (page.parent / name).resolve() if name else page
                self.assertTrue(found.exists(), f"{page.name}: {target}")
                if fragment:
                    self.assertIn(fragment, anchorsOf(found), f"{page.name}: {target}")

    def test_index(self) -> None:
        """Every page of the manual can be reached from its first."""
        text = (DOCS / "index.md").read_text("utf-8")
        for page in DOCS.rglob("*.md"):
            if page.name != "index.md":
                self.assertIn(f"({page.relative_to(DOCS).as_posix()})", text)

    def test_house(self) -> None:
        """The design shows every room of the house, and none that is not there."""
        text = (DOCS / "explanation" / "design.md").read_text("utf-8")
        shown = text.partition("wsrelay/\n")[2].partition("twisted/plugins/")[0]
        rooms = {
            path.name + ("/" if path.is_dir() else "")
            for path in (ROOT / "wsrelay").iterdir()
            if path.suffix == ".py" or (path / "__init__.py").exists()
        }
        self.assertEqual(set(re.findall(r"^  (\S+) ", shown, re.MULTILINE)), rooms)

    def test_configurations(self) -> None:
        """Every configuration that is shown whole is a right one."""
        shown = [block for block in BLOCKS if block.language == "toml"]
        self.assertGreater(len(shown), 20)
        for block in shown:
            if "[listener." not in block.text:
                # Only the cards of the reference show less than a file.
                self.assertEqual(block.page, "docs/reference/configuration.md", str(block))
            elif (block.page, block.argument) not in WRONG:
                self.assertTrue(loads(block.text).listener, str(block))

    def test_python(self) -> None:
        """Every piece of Python that is shown is Python."""
        for block in BLOCKS:
            if block.language == "python":
                ast.parse(block.text, str(block))

    def test_verbs(self) -> None:
        """A block that says what it is says something known, so that none escapes its test."""
        for block in BLOCKS:
            if block.verb:
                self.assertIn(block.verb, VERBS, str(block))

    def test_jsonFields(self) -> None:
        """The fields of a JSON log line are those that the access log writes."""
        from wsrelay.observers.accesslog import _fields  # the one place that names them

        text = (DOCS / "howto" / "run.md").read_text("utf-8")
        table = text.partition("<!-- fields -->")[2].partition("\n## ")[0]
        told = re.findall(r"`(\w+)`", "".join(re.findall(r"^\|(.*?)\|", table, re.MULTILINE)))
        written = {key for kind in Kind for key in _fields(closed(kind))}
        self.assertEqual(sorted(told), sorted(written))


def closed(kind: Kind) -> Closed:
    """An end of something that had everything an end can have."""
    address = Address("192.0.2.1", 1)
    inbound = Inbound("1", "public", address, address, serverName="example.org")
    return Closed("1", 0.0, kind, inbound, CloseReason(Party.CLIENT, Phase.RELAY, "gone"))


class BuildTests(SynchronousTestCase):
    """Configurations with plugins beside them on the same page."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.patch(sys, "path", [str(self.folder), *sys.path])

    def write(self, page: Path) -> None:
        """Write the files that a page shows."""
        for block in blocksOf(page):
            if block.verb == "file" and block.language == "python" and "/" not in block.argument:
                (self.folder / block.argument).write_text(block.text, "utf-8")
                self.addCleanup(sys.modules.pop, block.argument.removesuffix(".py"), None)

    def built(self, text: str) -> Any:
        """What a configuration builds."""
        from twisted.internet.defer import Deferred

        building = Deferred.fromCoroutine(build(loads(text), Hub(Clock())))
        return self.successResultOf(building)

    def test_fromNginx(self) -> None:
        """What nginx users are told to write builds, plugins included."""
        page = DOCS / "howto" / "from-nginx.md"
        self.write(page)
        blocks = [block for block in blocksOf(page) if block.verb == "builds"]
        self.assertEqual(len(blocks), 3)
        for block in blocks:
            self.assertTrue(self.built(block.text).listeners, str(block))

    def test_locations(self) -> None:
        """The requests in the table about locations go where it says."""
        text = (DOCS / "howto" / "from-nginx.md").read_text("utf-8")
        before, _, after = text.partition("<!-- decides: the file above -->")
        configuration = before.rpartition("```toml\n")[2].partition("```")[0]
        (listener,) = self.built(configuration).listeners
        rows = re.findall(r"^\| `(/.*?)` \| (\w+) \|$", after.partition("\n## ")[0], re.MULTILINE)
        self.assertEqual(len(rows), 11)
        for target, where in rows:
            request = Request("GET", target, Headers([(b"Host", b"example.org")]))
            address = Address("192.0.2.1", 1)
            decision = listener.decide(Inbound("1", "public", address, address, request=request))
            self.assertEqual(self.shortly(decision), where, target)

    def shortly(self, decision: Any) -> str:
        """A decision as a table of the manual writes it."""
        if isinstance(decision, Forward):
            return decision.pool
        if isinstance(decision, Refuse):
            return "403"
        assert isinstance(decision, Respond)
        return str(decision.status)

    def test_hashing(self) -> None:
        """The balancer that stands for ip_hash keeps clients, and moves few when one goes."""
        self.write(DOCS / "howto" / "from-nginx.md")
        from hashing import ByAddress  # type: ignore[import-not-found]  # from the page

        class Backend:
            def __init__(self, name: str) -> None:
                self.name = name

        ready = [Backend(name) for name in "abcd"]
        address = Address("192.0.2.1")
        clients = [evolve(address, host=f"192.0.2.{number}") for number in range(200)]
        inbounds = [Inbound("1", "l", client, address) for client in clients]
        balancer = ByAddress()
        first = [balancer.choose(ready, inbound) for inbound in inbounds]
        self.assertEqual(first, [balancer.choose(ready[::-1], inbound) for inbound in inbounds])
        self.assertEqual({each.name for each in first}, set("abcd"))
        without = [balancer.choose(ready[1:], inbound) for inbound in inbounds]
        moved = [a for a, b in zip(first, without, strict=True) if a is not b]
        self.assertEqual({each.name for each in moved}, {"a"})


def borrowed() -> str:
    """Where the libraries are that this interpreter uses."""
    return sysconfig.get_path("purelib")


class CommandTests(EndToEnd):
    """The commands of the manual, run as they stand there."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.commands = self.folder / ".bin"
        self.commands.mkdir()
        self.command("python", '"$@"')
        self.command("twistd", '-c "from twisted.scripts.twistd import run; run()" "$@"')
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
        self.environment = {
            "PATH": f"{self.commands}:{os.environ['PATH']}",
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
        }

    def command(self, name: str, arguments: str) -> None:
        """Make a command of this interpreter, found first."""
        path = self.commands / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}\n')
        path.chmod(0o755)

    def test_tutorial(self) -> None:
        """From a fresh checkout to an own plugin, each command as it stands there."""
        page = DOCS / "tutorial" / "first-plugin.md"
        blocks = blocksOf(page)
        self.assertEqual([str(block) for block in blocks if not block.verb], [])
        self.checkout()
        (self.commands / "twistd").unlink()
        # Nothing is downloaded: what is needed is borrowed, see L{lend}.
        del self.environment["PYTHONPATH"]
        self.environment |= {
            "PIP_NO_INDEX": "1",
            "PIP_NO_DEPS": "1",
            "PIP_NO_BUILD_ISOLATION": "0",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        for block in Terminal(self, self.folder, self.environment, page).each():
            if block.verb == "run" and "venv" in block.text:
                (self.commands / "python").unlink()
                self.lend(self.folder / "env")

    def checkout(self) -> None:
        """Copy what makes wsrelay, so that installing it leaves nothing in the checkout."""
        place = self.folder / "wsrelay"
        place.mkdir()
        forget = shutil.ignore_patterns("__pycache__", "dropin.cache", "*.so")
        for name in CHECKOUT:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, place / name, ignore=forget)
            elif (ROOT / name).exists():
                shutil.copy(ROOT / name, place)

    def lend(self, environment: Path) -> None:
        """Let a new environment use the libraries of this interpreter, and twistd."""
        (packages,) = environment.glob("lib/python*/site-packages")
        # Some versions of Python bring an old setuptools along, which would be found first.
        for own in packages.glob("*setuptools*"):
            shutil.rmtree(own)
        for own in packages.glob("distutils-precedence.pth"):
            own.unlink()
        (packages / "borrowed.pth").write_text(f"{borrowed()}\n")
        twistd = environment / "bin" / "twistd"
        python = environment / "bin" / "python"
        twistd.write_text(f"#!{python}\nfrom twisted.scripts.twistd import run\nrun()\n")
        twistd.chmod(0o755)

    def test_shipAPlugin(self) -> None:
        """A plugin laid out as the page says is found, and can be configured."""
        page = DOCS / "howto" / "ship-a-plugin.md"
        terminal = Terminal(self, self.folder, self.environment, page)
        for block in terminal.each():
            if block.verb == "builds":
                (self.folder / "relay.toml").write_text(block.text)
        terminal.run(f"PYTHONPATH=.:{ROOT} twistd wsrelay --config relay.toml --check")

    def test_run(self) -> None:
        """The wrong file of the page has the problems that the page shows."""
        page = DOCS / "howto" / "run.md"
        self.assertTrue(list(Terminal(self, self.folder, self.environment, page).each()))

    def test_layers(self) -> None:
        """A client at layer 4 and one at layer 7 see what the page says."""
        page = DOCS / "explanation" / "layer-4-or-layer-7.md"
        (self.folder / "wsrelay").symlink_to(ROOT)
        self.assertTrue(list(Terminal(self, self.folder, self.environment, page).each()))

    def test_activation(self) -> None:
        """With the endpoint of the page, a socket that somebody else opened is listened on."""
        (block,) = [each for each in BLOCKS if each.verb == "activation"]
        try:
            listening = socket.create_server(("::1", 0), family=socket.AF_INET6)
        except OSError as error:
            raise SkipTest(f"no IPv6 here: {error}") from error
        self.addCleanup(listening.close)
        port = listening.getsockname()[1]
        (self.folder / "relay.toml").write_text(block.text.replace('pool = "chat"', ""))
        with (self.folder / "relay.toml").open("a") as file:
            file.write("\n[[route]]\nrespond = {status = 200}\n")
        # As systemd does it: descriptor 3, and the process that it is meant for.
        script = (
            f"exec 3<&{listening.fileno()}; export LISTEN_PID=$$ LISTEN_FDS=1 "
            "LISTEN_FDNAMES=public; exec "
            f"'{sys.executable}' -c 'from twisted.scripts.twistd import run; run()' "
            "-n --pidfile= wsrelay --config relay.toml"
        )
        log = (self.folder / "log").open("wb")
        self.addCleanup(log.close)
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            pass_fds=[listening.fileno()],
            stdout=log,
            stderr=log,
        )
        self.addCleanup(process.wait, 10)
        self.addCleanup(process.terminate)
        # The socket is there already, so the request waits until the relay is.
        with urlopen(f"http://[::1]:{port}/", timeout=30) as response:
            self.assertEqual(response.status, 200)

    def test_jsonLog(self) -> None:
        """With a JSON log each line is one object, and has the fields of the page."""

        async def talk() -> list[Any]:
            async with websocketsEcho() as backend:
                relay = self.relayWith("--to", f"ws://127.0.0.1:{backend}", "--log-format", "json")
                async with connect(f"{relay.url}/path?token=1", proxy=None) as client:
                    await client.send("one")
                    await client.recv()
                while '"kind"' not in relay.output():
                    await asyncio.sleep(0.05)
                relay.stop()
                return [json.loads(line) for line in relay.output().splitlines()]

        (line,) = [line for line in self.go(talk()) if "kind" in line]
        self.assertEqual(
            [line[key] for key in ("kind", "target", "clientSaw", "party", "messagesToBackend")],
            ["session", "/path?token=***", 1000, "client", 1],
        )

    def test_stop(self) -> None:
        """On SIGTERM every WebSocket is told 1001 on both sides, and the relay ends
        as if by the signal itself."""

        async def talk() -> None:
            async with websocketsEcho() as backend:
                relay = self.relayWith("--to", f"ws://127.0.0.1:{backend}")
                async with connect(relay.url, proxy=None) as client:
                    await client.send("one")
                    await client.recv()
                    relay.terminate()
                    with self.assertRaises(ConnectionClosed) as caught:
                        await client.recv()
                    self.assertEqual(caught.exception.rcvd and caught.exception.rcvd.code, 1001)
                self.assertEqual(await asyncio.to_thread(relay.wait), -signal.SIGTERM)
                self.assertIn("client saw 1001, backend saw 1001", relay.output())

        self.go(talk())

    def test_embed(self) -> None:
        """The site of the page serves its own page, and relays below one path."""

        async def talk() -> None:
            page = DOCS / "howto" / "embed-in-a-twisted-site.md"
            files = {block.argument: block.text for block in blocksOf(page) if block.verb}
            port = freePort()
            async with websocketsEcho() as backend:
                text = files["site.py"].replace("8080", str(port)).replace("9000", str(backend))
                (self.folder / "embedding.py").write_text(text)
                site = self.start(
                    sys.executable,
                    "embedding.py",
                    directory=self.folder,
                    environment=self.environment,
                )
                await asyncio.to_thread(waitForPort, port, alive=lambda: site.running)
                async with connect(f"ws://127.0.0.1:{port}/ws/x", proxy=None) as client:
                    await client.send("one")
                    self.assertEqual(await client.recv(), "one")
                with urlopen(f"http://127.0.0.1:{port}/", timeout=10) as response:
                    self.assertEqual(response.read(), b"The old site.\n")
            (self.folder / "filtered.py").write_text(files["filtered.py"])
            made = self.start(
                sys.executable,
                "-c",
                "import filtered; filtered.relay.render",
                directory=self.folder,
                environment=self.environment,
            )
            self.assertEqual(made.wait(), 0, made.output())

        self.go(talk())

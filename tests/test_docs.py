# -*- test-case-name: tests.test_docs -*-
"""
What the manual says is so: its commands are run, its configurations are loaded, its generated
pages are those that the source makes, and its links lead somewhere.

A fenced block of Markdown is told what it is by a comment in front of it, which no reader of
the page sees: C{<!-- run -->} (commands, run to their end; with a number, that exit status),
C{<!-- start: NAME PORT -->} and C{<!-- stop: NAME -->} (a program in a terminal of its own),
C{<!-- prints -->} (what the last run printed), C{<!-- logs: NAME -->} (what a program printed so
far), C{<!-- file: NAME -->} (a file of this content) and C{<!-- builds -->} (a configuration
whose plugins can be made). In expected output an ellipsis stands for anything.
"""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from attrs import evolve, frozen
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.endtoend.servers import websocketsEcho
from tests.endtoend.support import ROOT, EndToEnd, Program, freePort, waitForPort
from wsrelay.config.build import build
from wsrelay.config.load import loads
from wsrelay.l4.hub import Hub
from wsrelay.model import Address, Forward, Headers, Inbound, Phase, Refuse, Request, Respond

DOCS = ROOT / "docs"
PAGES = [
    *sorted(DOCS.rglob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
]

#: What a published checkout consists of, without which no command of the tutorial runs.
CHECKOUT = ("wsrelay", "twisted", "examples", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


@frozen
class Block:
    """
    A fenced block of a page, or a comment that needs none.

    @ivar directive: what the comment in front of it says; empty if there is none.
    @ivar language: behind the opening fence.
    """

    page: str
    line: int
    directive: str
    language: str
    text: str

    @property
    def verb(self) -> str:
        """The first word of the directive."""
        return self.directive.partition(":")[0]

    @property
    def argument(self) -> str:
        """The rest of it."""
        return self.directive.partition(":")[2].strip()

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


_BLOCK = re.compile(
    r"(?:^<!-- (?P<directive>[a-z].*?) -->\n+)?^```(?P<language>\w*)\n(?P<text>.*?)^```$"
    r"|^<!-- (?P<alone>stop: \w+) -->$",
    re.DOTALL | re.MULTILINE,
)


def blocksOf(page: Path) -> list[Block]:
    """The blocks of one page, in order."""
    text = page.read_text("utf-8")
    name = page.relative_to(ROOT).as_posix()
    return [
        Block(
            name,
            text.count("\n", 0, match.start()) + 1,
            match["alone"] or match["directive"] or "",
            match["language"] or "",
            match["text"] or "",
        )
        for match in _BLOCK.finditer(text)
    ]


BLOCKS = [block for page in PAGES for block in blocksOf(page)]


def generator() -> Any:
    """docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("docsgenerate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchorsOf(page: Path) -> set[str]:
    """The fragments that lead somewhere on a page, as GitHub makes them of headings."""
    text = page.read_text("utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.*?) *$", prose, re.MULTILINE)
    words = (re.sub(r"<[^>]*>|[^\w\- ]", "", heading) for heading in headings)
    return {each.strip().lower().replace(" ", "-") for each in words} | set(
        re.findall(r'<a id="([^"]+)">', text)
    )


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

    def test_configurations(self) -> None:
        """Every configuration that is shown whole is a right one."""
        shown = [block for block in BLOCKS if block.language == "toml"]
        self.assertGreater(len(shown), 20)
        for block in shown:
            isWhole = "[listener." in block.text
            if isWhole and block.directive != "file: relay.toml":
                self.assertTrue(loads(block.text).listener, str(block))
            elif not isWhole:
                self.assertEqual(block.page, "docs/reference/configuration.md", str(block))

    def test_python(self) -> None:
        """Every piece of Python that is shown is Python."""
        for block in BLOCKS:
            if block.language == "python":
                ast.parse(block.text, str(block))

    def test_nothingOfThisMachine(self) -> None:
        """Blocks have a language or say what they are, so that none escapes these tests."""
        known = {"run", "start", "stop", "prints", "logs", "file", "builds", "example"}
        for block in BLOCKS:
            if block.directive:
                self.assertIn(block.verb, known | {"activation"}, str(block))

    def test_jsonFields(self) -> None:
        """The fields of a JSON log line are those that the access log writes."""
        from wsrelay.observers.accesslog import _fields  # the one place that names them

        text = (DOCS / "howto" / "run.md").read_text("utf-8")
        table = text.partition("<!-- fields -->")[2].partition("\n## ")[0]
        told = re.findall(r"`(\w+)`", "".join(re.findall(r"^\|(.*?)\|", table, re.MULTILINE)))
        self.assertEqual(sorted(told), sorted(_fields(_closed())))


def _closed() -> Any:
    from wsrelay.model import Closed, CloseReason, Kind, Party

    inbound = Inbound("1", "public", Address("192.0.2.1", 1), Address("192.0.2.2", 2))
    reason = CloseReason(Party.CLIENT, Phase.RELAY, "gone")
    return Closed("1", 0.0, Kind.SESSION, inbound, reason)


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


class Terminal:
    """
    A folder in which the blocks of one page are done, one after the other.

    @ivar ports: what stands for a port of the page.
    """

    def __init__(self, test: EndToEnd, folder: Path, environment: dict[str, str]) -> None:
        self._test = test
        self._start = folder
        self._environment = environment
        self._programs: dict[str, Program] = {}
        self._state = folder / ".state"
        self._state.write_text(f"cd '{folder}'\n")
        self._printed = ""
        self.ports: dict[str, int] = {}

    def do(self, block: Block) -> None:
        """Do what one block asks for."""
        getattr(self, f"_{block.verb or 'nothing'}")(block, self._translated(block.text))

    def _translated(self, text: str) -> str:
        for port, free in self.ports.items():
            text = text.replace(port, str(free))
        return text

    def _script(self, commands: str) -> list[str]:
        return ["bash", "-c", f"set -e\n. '{self._state}'\n{commands}"]

    def _run(self, block: Block, text: str) -> None:
        keep = f"{{ echo \"cd '$PWD'\"; export -p; }} > '{self._state}'"
        program = self._test.start(
            *self._script(f"{text}\n{keep}"), environment=self._environment
        )
        status = program.wait(120.0)
        self._printed = program.output()
        self._test.assertEqual(status, int(block.argument or 0), f"{block}\n{self._printed}")

    def _start_(self, block: Block, text: str) -> None:
        name, port = block.argument.split()
        free = self.ports.setdefault(port, freePort())
        script = self._script(f"exec {self._translated(text)}")
        program = self._test.start(*script, environment=self._environment)
        self._programs[name] = program
        waitForPort(free, alive=lambda: program.running)

    def _stop(self, block: Block, text: str) -> None:
        self._programs[block.argument].stop()

    def _file(self, block: Block, text: str) -> None:
        place = self._state.read_text()
        folder = Path(re.findall(r"^cd '(.*)'$", place, re.MULTILINE)[0])
        (folder / block.argument).parent.mkdir(parents=True, exist_ok=True)
        (folder / block.argument).write_text(text, "utf-8")

    def _prints(self, block: Block, text: str) -> None:
        self._test.assertRegex(self._printed, rf"\A{_pattern(text)}\Z", str(block))

    def _logs(self, block: Block, text: str) -> None:
        program, wanted = self._programs[block.argument], re.compile(_pattern(text.strip()))
        end = time.monotonic() + 20.0
        while not wanted.search(program.output()) and time.monotonic() < end:
            time.sleep(0.05)
        self._test.assertRegex(program.output(), wanted, str(block))

    def _nothing(self, block: Block, text: str) -> None:
        """A block that is only looked at."""

    _example = _builds = _activation = _nothing


setattr(Terminal, "_start", Terminal._start_)


def _pattern(text: str) -> str:
    return re.escape(text).replace("…", "[^ ]*?" if " …" in text else ".*?")


class CommandTests(EndToEnd):
    """The commands of the manual, run as they stand there."""

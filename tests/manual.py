# -*- test-case-name: tests.test_docs -*-
"""
The manual as a script: its blocks, and a terminal that does what they say.

A fenced block of Markdown is told what it is by a comment in front of it, which no reader of
the page sees:

    - C{<!-- run -->}: commands, run to their end; with a number, that exit status.
    - C{<!-- start: NAME PORT... -->}, C{<!-- stop: NAME -->}: a program in a terminal of its
      own, which listens on these ports.
    - C{<!-- prints -->}: what the last run printed.
    - C{<!-- logs: NAME -->}: what a program has printed among other things.
    - C{<!-- file: NAME -->}: a file of this content.
    - C{<!-- builds -->}: a configuration whose plugins are files of the same page.
    - C{<!-- example -->}: not to be run.

In expected output an ellipsis stands for anything in its line, and alone in a line for any
lines. A port of the page is another one here, wherever it is written.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from attrs import frozen

from tests.endtoend.support import ROOT, EndToEnd, Program, waitForPort
from tests.ports import freePort

__all__ = ["DOCS", "PAGES", "VERBS", "Block", "Terminal", "anchorsOf", "blocksOf"]

DOCS = ROOT / "docs"

#: Every page that is held to what it says.
PAGES = (
    *sorted(DOCS.rglob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
)

#: What a block may be told to be.
VERBS = {"run", "start", "stop", "prints", "logs", "file", "builds", "example", "activation"}

_BLOCK = re.compile(
    r"(?:^<!-- (?P<directive>\w[^\n]*?) -->\n+)?^```(?P<language>\w*)\n(?P<text>.*?)^```$"
    r"|^<!-- (?P<alone>stop: \w+) -->$",
    re.DOTALL | re.MULTILINE,
)


@frozen
class Block:
    """
    A fenced block of a page, or a comment that needs none.

    @ivar page: its path in the checkout.
    @ivar verb: what the comment in front of it says, up to the colon; empty without one.
    @ivar argument: the rest of the comment.
    @ivar language: what stands behind the opening fence.
    """

    page: str
    line: int
    verb: str
    argument: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocksOf(page: Path) -> list[Block]:
    """The blocks of one page, in order."""
    text = page.read_text("utf-8")
    return [_block(page, text, match) for match in _BLOCK.finditer(text)]


def _block(page: Path, text: str, match: re.Match[str]) -> Block:
    verb, _, argument = (match["alone"] or match["directive"] or "").partition(":")
    return Block(
        page.relative_to(ROOT).as_posix(),
        text.count("\n", 0, match.start()) + 1,
        verb,
        argument.strip(),
        match["language"] or "",
        match["text"] or "",
    )


def anchorsOf(page: Path) -> set[str]:
    """The fragments that lead somewhere on a page, as GitHub makes them of headings."""
    text = page.read_text("utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.*?) *$", prose, re.MULTILINE)
    words = (re.sub(r"<[^>]*>|[^\w\- ]", "", heading) for heading in headings)
    named = re.findall(r'<a id="([^"]+)">', text)
    return {each.strip().lower().replace(" ", "-") for each in words} | set(named)


def _pattern(text: str) -> str:
    """Expected output as a regular expression."""
    lines = []
    for line in text.splitlines(keepends=True):
        if line.strip() == "…":
            lines.append(r"(?:.*\n)*?")
        else:
            lines.append(re.escape(line).replace("…", ".*?"))
    return "".join(lines)


class Terminal:
    """
    A folder in which the blocks of one page are done, one after the other.

    What a run changes in its environment and where it goes to holds for the next one, as in
    a terminal; a program that is started begins there, too.

    @ivar folder: where the next block is done.
    """

    def __init__(
        self, test: EndToEnd, folder: Path, environment: Mapping[str, str], page: Path
    ) -> None:
        self._test = test
        self._blocks = blocksOf(page)
        self._environment = environment
        self._programs: dict[str, Program] = {}
        started = [each.argument.split()[1:] for each in self._blocks if each.verb == "start"]
        self._ports = {port: freePort() for ports in started for port in ports}
        self._printed = ""
        self._exports = folder / ".exports"
        self._exports.write_text("")
        self._place = folder / ".place"
        self._place.write_text(f"{folder}\n")
        self._verbs: Mapping[str, Callable[[Block, str], None]] = {
            "run": self._run,
            "start": self._start,
            "stop": self._stop,
            "prints": self._prints,
            "logs": self._logs,
            "file": self._file,
        }

    @property
    def folder(self) -> Path:
        """Where the next block is done."""
        return Path(self._place.read_text().rstrip("\n"))

    def each(self) -> Iterator[Block]:
        """Do what one block after the other asks for; some are only to be looked at."""
        for block in self._blocks:
            verb = self._verbs.get(block.verb)
            if verb is not None:
                verb(block, self._translated(block.text))
            yield block

    def run(self, commands: str) -> None:
        """Run commands that are not on the page; they must end well."""
        self._run(Block("", 0, "run", "", "", ""), commands)

    def _translated(self, text: str) -> str:
        for port, free in self._ports.items():
            text = text.replace(port, str(free))
        return text

    def _begin(self, commands: str) -> Program:
        script = f"set -e\n. '{self._exports}'\n{commands}"
        return self._test.start(
            "bash", "-c", script, environment=self._environment, directory=self.folder
        )

    def _run(self, block: Block, text: str) -> None:
        wanted = int(block.argument or 0)
        remember = f"pwd > '{self._place}'; export -p > '{self._exports}'"
        program = self._begin(text if wanted else f"{text}\n{remember}")
        status = program.wait(180.0)
        self._printed = program.output()
        self._test.assertEqual(status, wanted, f"{block}\n{self._printed}")

    def _start(self, block: Block, text: str) -> None:
        name, *ports = block.argument.split()
        program = self._begin(f"exec {text}")
        self._programs[name] = program
        for port in ports:
            waitForPort(self._ports[port], alive=lambda: program.running)

    def _stop(self, block: Block, text: str) -> None:
        self._programs[block.argument].stop()

    def _file(self, block: Block, text: str) -> None:
        path = self.folder / block.argument
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def _prints(self, block: Block, text: str) -> None:
        self._test.assertRegex(self._printed, rf"\A{_pattern(text)}\Z", str(block))

    def _logs(self, block: Block, text: str) -> None:
        program, wanted = self._programs[block.argument], re.compile(_pattern(text.strip()))
        end = time.monotonic() + 20.0
        while not wanted.search(program.output()) and time.monotonic() < end:
            time.sleep(0.05)
        self._test.assertRegex(program.output(), wanted, str(block))

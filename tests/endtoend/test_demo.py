# -*- test-case-name: tests.endtoend.test_demo -*-
"""
C{twistd wsrelay --demo}, seen by somebody with a browser.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from tests.endtoend.browser import Browser
from tests.endtoend.support import (
    ROOT,
    EndToEnd,
    Program,
    waitForPort,
    waitForWords,
)
from tests.ports import freePort

_TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")
_ADDRESS = re.compile(r"127\.0\.0\.1:\d+")
_MARKUP = "<img src=x onerror=alert(1)> \N{GRINNING FACE}"

_OPEN = "[4, 7].every(n => document.getElementById(`browser-${n}`).innerText.startsWith('open'))"
_SETTLED = "!document.querySelector('.wire i')"


class Page:
    """The demo's page, as its reader sees and touches it."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    async def field(self, layer: int, name: str) -> str:
        """What stands in one field of one layer."""
        path = json.dumps(f'[data-layer="{layer}"] [data-field="{name}"]')
        return str(await self.browser.evaluate(f"document.querySelector({path}).innerText"))

    async def items(self, layer: int, name: str = "list") -> list[str]:
        """The items of one list of one layer."""
        path = json.dumps(f'[data-layer="{layer}"] [data-field="{name}"] li')
        found = f"[...document.querySelectorAll({path})].map(item => item.innerText)"
        return [" ".join(str(item).split()) for item in await self.browser.evaluate(found)]

    async def card(self, layer: int) -> str:
        """All that is to be read about one layer."""
        path = json.dumps(f'[data-layer="{layer}"]')
        return str(await self.browser.evaluate(f"document.querySelector({path}).innerText"))

    async def click(self, path: str) -> None:
        """Click on what a selector finds."""
        await self.browser.evaluate(f"document.querySelector({json.dumps(path)}).click()")

    async def say(self, text: str) -> None:
        """Write a message and send it; wait until it has come back through both."""
        await self.browser.evaluate(f"document.getElementById('text').value = {json.dumps(text)}")
        await self.click("#say button")
        for layer in (4, 7):
            said = f"document.getElementById('browser-{layer}').innerText"
            await self.browser.waitFor(f"{said}.includes({json.dumps(text)})")
        # One there, one back; it may be that the feed is not so far.
        path = json.dumps('[data-layer="7"] [data-field="list"]')
        count = f"document.querySelector({path}).innerText.split({json.dumps(text)}).length"
        await self.browser.waitFor(f"{count} > 2")

    async def close(self, code: str) -> None:
        """Close both with this code; wait until both have ended."""
        await self.browser.evaluate(f"document.getElementById('code').value = '{code}'")
        await self.click("#toggle")
        for layer in (4, 7):
            path = json.dumps(f'[data-layer="{layer}"] [data-field="end"]')
            await self.browser.waitFor(
                f"document.querySelector({path}).innerText !== 'still open'"
            )

    async def resize(self, width: int, height: int, scheme: str) -> None:
        """Another window, by day or by night."""
        await self.browser.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        wanted = {"name": "prefers-color-scheme", "value": scheme}
        await self.browser.call("Emulation.setEmulatedMedia", features=[wanted])


class DemoTests(EndToEnd):
    """The demo as a process."""

    def demo(self, port: int) -> Program:
        """Start it with its page on C{port}."""
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
        return self.start(
            *(*_TWISTD, "-n", "--pidfile=", "wsrelay", "--demo", "--demo-port", str(port)),
            environment={"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
            directory=ROOT,
        )

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[Page, int, Program, Path]]:
        """A demo whose page somebody has opened; everything on it must go without complaint."""
        port = freePort(2)
        demo = self.demo(port)
        await asyncio.to_thread(waitForPort, port + 1, 30.0, lambda: demo.running)
        said = f"open http://127.0.0.1:{port}/ in a browser"
        await asyncio.to_thread(waitForWords, demo, said)
        folder = Path(self.mktemp()).absolute()
        async with Browser.open(folder) as browser:
            await browser.load(f"http://127.0.0.1:{port}/")
            await browser.waitFor(_OPEN)
            yield Page(browser), port, demo, folder
            self.assertEqual(browser.console, [])

    async def _sideBySide(self) -> None:
        async with self.opened() as (page, port, _, _):
            await page.say("Hello, both of you")
            await page.click("#binary")
            await page.browser.waitFor(
                "[4, 7].every(n => document.getElementById(`browser-${n}`)"
                ".innerText.includes('16 bytes'))"
            )
            await page.close("4001")
            await self._checkLayer4(page, port)
            await self._checkLayer7(page, port)

    async def _checkLayer4(self, page: Page, port: int) -> None:
        for name in ("client", "local", "peer"):
            self.assertRegex(await page.field(4, name), _ADDRESS)
        self.assertEqual(await page.field(4, "local"), f"127.0.0.1:{port + 1}")
        self.assertEqual(await page.field(4, "route"), "everything")
        self.assertRegex(await page.field(4, "backend"), r"^tcp:127\.0\.0\.1:\d+$")
        chunks = [each.split() for each in await page.items(4)]
        for arrow, name in (("→", "to-backend"), ("←", "to-client")):
            sizes = [int(size) for way, size, _ in chunks if way == arrow]
            self.assertGreaterEqual(len(sizes), 4)
            self.assertEqual(await page.field(4, name), str(sum(sizes)))
        # The request; a text of 18 bytes masked; 16 bytes masked; a Close with a code, masked.
        self.assertEqual([int(size) for way, size, _ in chunks if way == "→"][1:], [24, 22, 8])
        self.assertRegex(
            await page.field(4, "end"), r"^The (client|backend) closed its connection"
        )
        card = await page.card(4)
        for unseen in ("Hello, both", "GET /", "4001", "Upgrade", "Mozilla", "/echo"):
            self.assertNotIn(unseen, card)
        self.assertEqual(card.count("Not visible"), 2)

    async def _checkLayer7(self, page: Page, port: int) -> None:
        for name in ("client", "local", "peer"):
            self.assertRegex(await page.field(7, name), _ADDRESS)
        self.assertEqual(await page.field(7, "local"), f"127.0.0.1:{port}")
        self.assertRegex(await page.field(7, "request"), r"^GET /echo\?viewer=\w{16} HTTP/1\.1$")
        headers = await page.items(7, "headers")
        self.assertIn(f"Host: 127.0.0.1:{port}", headers)
        self.assertIn("Upgrade: websocket", headers)
        self.assertIn(f"Origin: http://127.0.0.1:{port}", headers)
        self.assertEqual(await page.field(7, "route"), "echo")
        self.assertRegex(await page.field(7, "backend"), r"^ws://127\.0\.0\.1:\d+$")
        there, back, binary, again = await page.items(7)
        self.assertEqual(there, "→ Hello, both of you text, 18 bytes")
        self.assertEqual(back, "← Hello, both of you text, 18 bytes")
        self.assertRegex(binary, r"^→ (\w\w ){16}binary, 16 bytes$")
        self.assertEqual(again, "←" + binary[1:])
        self.assertEqual(await page.field(7, "end"), "Close code 4001, at both ends.")
        self.assertEqual(await page.field(7, "codes"), "The client began.")
        self.assertEqual(await page.field(7, "count"), "4")

    def test_sideBySide(self) -> None:
        """
        At layer 4 one sees addresses and sizes, and nothing that was said; at layer 7 the
        request, its headers, the route, each message and the close code.
        """
        self.go(self._sideBySide())

    async def _paths(self) -> None:
        async with self.opened() as (page, _, _, _):
            backends: dict[str, set[str]] = {"echo": set(), "chat": set(), "layer 4": set()}
            for path in ("echo", "chat") * 2:
                await page.click(f"[name=path][value={path}]")
                await page.browser.waitFor(f"({_OPEN}) && {_at(path)}")
                await page.say(f"to the {path}")
                backends[path].add(await page.field(7, "peer"))
                backends["layer 4"].add(await page.field(4, "peer"))
                self.assertEqual(await page.field(7, "route"), path)
                self.assertEqual(await page.field(4, "route"), "everything")
            # A path has its backend at layer 7; layer 4 leads to the same two in turn.
            self.assertEqual([len(backends["echo"]), len(backends["chat"])], [1, 1])
            self.assertEqual(backends["layer 4"], backends["echo"] | backends["chat"])

    def test_paths(self) -> None:
        """Layer 7 takes the backend that the path asks for, layer 4 the next one."""
        self.go(self._paths())

    async def _strangers(self) -> None:
        async with self.opened() as (page, port, _, _):
            await page.click("[name=path][value=chat]")
            await page.browser.waitFor(f"({_OPEN}) && {_at('chat')}")
            url = f"ws://127.0.0.1:{port + 1}/chat?viewer=stranger"
            async with connect(url, proxy=None, compression=None) as stranger:
                await stranger.send(_MARKUP)
                shown = json.dumps(_MARKUP)
                path = json.dumps('[data-layer="7"] .messages')
                await page.browser.waitFor(
                    f"document.querySelector({path}).innerText.includes({shown})"
                )
                self.assertEqual(
                    await page.browser.evaluate("document.querySelectorAll('img').length"), 0
                )
                self.assertIn("1 more connection", await page.field(4, "who"))
                self.assertNotIn("viewer", await page.field(4, "who"))
            await page.browser.waitFor(
                "!document.querySelector('[data-field=who]').innerText.includes('more')"
            )

    def test_strangers(self) -> None:
        """
        What others say in the chat is shown as they wrote it, and is never markup; that they
        are there is all that layer 4 can tell of them.
        """
        self.go(self._strangers())

    async def _foreignPage(self) -> None:
        async with self.opened() as (_, port, _, _):
            for url in (f"ws://127.0.0.1:{port}/feed?viewer=x", f"ws://127.0.0.1:{port + 1}/chat"):
                with self.assertRaises(InvalidStatus) as raised:
                    await connect(url, origin=Origin("https://example.org"), proxy=None)
                self.assertEqual(raised.exception.response.status_code, 400)

    def test_foreignPage(self) -> None:
        """A page from elsewhere, open in the same browser, can neither look nor chat."""
        self.go(self._foreignPage())

    async def _looks(self) -> None:
        async with self.opened() as (page, _, _, folder):
            await page.say("How does it look?")
            for width, height, scheme in ((1280, 900, "light"), (390, 844, "dark")):
                await page.resize(width, height, scheme)
                await page.browser.waitFor(_SETTLED)
                self.assertEqual(
                    await page.browser.evaluate("document.documentElement.scrollWidth"), width
                )
                tops = "[4, 7].map(n => document.querySelector(`[data-layer='${n}'] .messages, "
                tops += "[data-layer='${n}'] .chunks`).getBoundingClientRect().top)"
                four, seven = await page.browser.evaluate(tops)
                self.assertEqual(four, seven)
                await page.browser.screenshot(folder / f"{scheme}.png")
                self.assertGreater((folder / f"{scheme}.png").stat().st_size, 10000)

    def test_looks(self) -> None:
        """On a desk and on a phone, the rows of both layers stand next to each other."""
        self.go(self._looks())

    async def _gone(self) -> None:
        async with self.opened() as (page, _, demo, _):
            await page.say("still there?")
            os.kill(demo.pid, signal.SIGTERM)
            # twistd ends with the signal that it was sent.
            self.assertEqual(await asyncio.to_thread(demo.wait, 15.0), -signal.SIGTERM)
            await page.browser.waitFor("!document.getElementById('alarm').hidden")
            self.assertNotIn("Traceback", demo.output())

    def test_gone(self) -> None:
        """It stops when it is told to, and the page says so."""
        self.go(self._gone())

    def test_portInUse(self) -> None:
        """A second demo on the same ports says what is in its way, and ends."""
        port = freePort(2)
        first = self.demo(port)
        waitForPort(port + 1, alive=lambda: first.running)
        second = self.demo(port)
        self.assertEqual(second.wait(30.0), 1)
        self.assertIn(f"--demo: port {port} of 127.0.0.1", second.output())
        self.assertNotIn("Traceback", second.output())


def _at(path: str) -> str:
    """JavaScript for: layer 7 has told of this path."""
    selector = json.dumps('[data-layer="7"] [data-field="request"]')
    return f"document.querySelector({selector}).innerText.startsWith('GET /{path}?')"

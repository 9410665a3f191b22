# -*- test-case-name: tests.endtoend.test_browser -*-
"""
A headless Chromium for tests, driven by its DevTools protocol.

::

    async with Browser.open(folder) as browser:
        await browser.load("http://127.0.0.1:8000/")
        await browser.waitFor("document.title === 'done'")
        rows = await browser.evaluate("document.querySelectorAll('tr').length")
        await browser.screenshot(folder / "page.png")

Nothing is looked up outside this machine: background traffic is switched off, and every
wait has a deadline. What the page logged and threw is in L{Browser.console}.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import urllib.request
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.endtoend.support import Program, need

__all__ = ["Browser", "BrowserError"]

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


class BrowserError(AssertionError):
    """The page threw, did not load, or did not come to what was waited for."""


class Browser:
    """
    One page of a headless Chromium.

    @ivar console: what the page logged, and the errors nobody caught, in order.
    """

    def __init__(self, devtools: ClientConnection) -> None:
        self.console: list[str] = []
        self._devtools = devtools
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        folder: Path,
        size: tuple[int, int] = (1280, 800),
        deadline: float = 60.0,
        flags: Sequence[str] = (),
    ) -> AsyncIterator[Browser]:
        """
        Start a Chromium with a fresh profile in C{folder}, and end it.

        @param size: of the window, in pixels.
        @param deadline: for it to start, in seconds.
        @param flags: more of its command line.
        @raise SkipTest: there is none on this machine.
        """
        program = cls._start(folder, size, flags)
        try:
            port = await _debuggingPort(program, folder, deadline)
            url = await asyncio.to_thread(_pageUrl, port, deadline)
            async with connect(url, proxy=None, max_size=None, ping_interval=None) as devtools:
                browser = cls(devtools)
                listening = asyncio.ensure_future(browser._listen())
                try:
                    for domain in ("Page", "Runtime", "Log"):
                        await browser.call(f"{domain}.enable")
                    yield browser
                finally:
                    listening.cancel()
        finally:
            await asyncio.to_thread(program.stop)

    @staticmethod
    def _start(folder: Path, size: tuple[int, int], flags: Sequence[str]) -> Program:
        chromium = need("chromium")
        folder.mkdir(parents=True, exist_ok=True)
        profile = f"--user-data-dir={folder / 'profile'}"
        window = f"--window-size={size[0]},{size[1]}"
        command = [chromium, *_FLAGS, *flags, profile, window, "about:blank"]
        return Program(command, folder / "chromium.log")

    async def call(self, method: str, deadline: float = 30.0, **parameters: Any) -> dict[str, Any]:
        """
        Call one method of the DevTools protocol and return its result.

        @raise BrowserError: it answered with an error, or not within C{deadline} seconds.
        """
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        command = {"id": number, "method": method, "params": parameters}
        await self._devtools.send(json.dumps(command))
        try:
            message = await asyncio.wait_for(answer, deadline)
        except TimeoutError:
            raise BrowserError(f"{method}: no answer within {deadline:.0f} s") from None
        finally:
            self._answers.pop(number, None)
        if "error" in message:
            raise BrowserError(f"{method}: {message['error']}")
        result: dict[str, Any] = message.get("result", {})
        return result

    async def load(self, url: str, deadline: float = 30.0) -> None:
        """
        Open C{url} and wait until it is loaded.

        @raise BrowserError: it could not be loaded within C{deadline} seconds.
        """
        self._loaded.clear()
        result = await self.call("Page.navigate", deadline, url=url)
        if result.get("errorText"):
            raise BrowserError(f"{url}: {result['errorText']}")
        try:
            await asyncio.wait_for(self._loaded.wait(), deadline)
        except TimeoutError:
            raise BrowserError(f"{url}: not loaded within {deadline:.0f} s") from None

    async def evaluate(self, expression: str, deadline: float = 30.0) -> Any:
        """
        The value of a JavaScript expression in the page; a promise is waited for.

        @raise BrowserError: it threw.
        """
        options = {"returnByValue": True, "awaitPromise": True, "userGesture": True}
        answer = await self.call("Runtime.evaluate", deadline, expression=expression, **options)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{expression}: {_thrown(answer['exceptionDetails'])}")
        return answer["result"].get("value")

    async def waitFor(self, expression: str, deadline: float = 30.0) -> Any:
        """
        Wait until a JavaScript expression is true, and return its value.

        @raise BrowserError: it was not within C{deadline} seconds; shows the page and its console.
        """
        end = asyncio.get_running_loop().time() + deadline
        while True:
            value = await self.evaluate(expression, deadline)
            if value:
                return value
            if asyncio.get_running_loop().time() > end:
                text = await self.evaluate("document.body ? document.body.innerText : ''")
                console = "\n".join(self.console)
                raise BrowserError(
                    f"not within {deadline:.0f} s: {expression}\n{text[:2000]}\n{console}"
                )
            await asyncio.sleep(0.05)

    async def screenshot(self, path: Path) -> None:
        """Write what is seen as a PNG."""
        answer = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(answer["data"]))

    async def _listen(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in self._devtools:
                self._heard(json.loads(message))
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result({"error": "the browser ended"})

    def _heard(self, message: dict[str, Any]) -> None:
        if "id" in message:
            answer = self._answers.get(message["id"])
            if answer is not None and not answer.done():
                answer.set_result(message)
            return
        method, parameters = message["method"], message["params"]
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Runtime.exceptionThrown":
            self.console.append(_thrown(parameters["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled":
            words = [str(a.get("value", a.get("description"))) for a in parameters["args"]]
            self.console.append(f"{parameters['type']}: {' '.join(words)}")
        elif method == "Log.entryAdded":
            entry = parameters["entry"]
            self.console.append(f"{entry['level']}: {entry['text']} {entry.get('url', '')}")


def _thrown(details: dict[str, Any]) -> str:
    description = details.get("exception", {}).get("description")
    return str(description or details.get("text"))


async def _debuggingPort(program: Program, folder: Path, deadline: float) -> int:
    """The port that Chromium chose, once it has written it to its profile."""
    path = folder / "profile" / "DevToolsActivePort"
    end = asyncio.get_running_loop().time() + deadline
    while asyncio.get_running_loop().time() < end and program.running:
        with contextlib.suppress(FileNotFoundError):
            lines = path.read_text().splitlines()
            if len(lines) > 1:
                return int(lines[0])
        await asyncio.sleep(0.05)
    raise BrowserError(f"Chromium did not start:\n{program.output()[-3000:]}")


def _pageUrl(port: int, deadline: float) -> str:
    """The DevTools WebSocket of the first page."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/json/list", timeout=deadline) as answer:
        targets = json.load(answer)
    return next(str(t["webSocketDebuggerUrl"]) for t in targets if t["type"] == "page")

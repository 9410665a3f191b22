# -*- test-case-name: tests.endtoend.test_browser -*-
"""
A page in Chromium whose document and WebSocket both come through the L7 relay.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import WSMsgType, web

from tests.endtoend.browser import Browser, BrowserError
from tests.endtoend.servers import aiohttpServer
from tests.endtoend.support import EndToEnd

_PAGE = """<!doctype html>
<meta charset="utf-8">
<link rel="icon" href="data:,">
<title>echo</title>
<ul id="log"></ul>
<script>
  const say = text => {
    const item = document.createElement("li");
    item.textContent = text;
    document.getElementById("log").append(item);
  };
  const session = new WebSocket(`ws://${location.host}/ws`, ["chat"]);
  session.binaryType = "arraybuffer";
  const large = "x".repeat(300000);
  const messages = ["hello", "", "gr\\u00fcn", large, new Uint8Array([0, 255, 7])];
  const show = data => typeof data === "string"
    ? (data.length > 20 ? `text of ${data.length}, ${data === large}` : `text ${data}`)
    : `binary ${new Uint8Array(data)}`;
  session.onopen = () => {
    say(`open ${session.protocol} ${session.extensions.split(";")[0]}`);
    for (const message of messages) session.send(message);
    session.send("close");
  };
  session.onmessage = event => say(show(event.data));
  session.onclose = event => say(`closed ${event.code} ${event.reason} ${event.wasClean}`);
</script>
"""

_EXPECTED = [
    "open chat permessage-deflate",
    "text hello",
    "text ",
    "text gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n",
    "text of 300000, true",
    "binary 0,255,7",
    "closed 4242 enough true",
]


async def _page(request: web.Request) -> web.Response:
    return web.Response(text=_PAGE, content_type="text/html")


async def _echo(request: web.Request) -> web.WebSocketResponse:
    session = web.WebSocketResponse(protocols=["chat"])
    await session.prepare(request)
    async for message in session:
        if message.data == "close":
            await session.close(code=4242, message=b"enough")
        elif message.type is WSMsgType.TEXT:
            await session.send_str(message.data)
        else:
            await session.send_bytes(message.data)
    return session


class BrowserTests(EndToEnd):
    """Chromium in front of the relay."""

    def _folder(self) -> Path:
        return Path(self.mktemp()).absolute()

    async def _through(self, level: str) -> None:
        application = web.Application()
        application.router.add_get("/", _page)
        application.router.add_get("/ws", _echo)
        folder = self._folder()
        async with aiohttpServer(application) as port:
            relay = await asyncio.to_thread(self.relay, level, port)
            async with Browser.open(folder) as browser:
                await browser.load(f"{relay.http}/")
                await browser.waitFor(
                    "document.getElementById('log').innerText.includes('closed')"
                )
                lines = await browser.evaluate(
                    "[...document.querySelectorAll('#log li')].map(item => item.textContent)"
                )
                self.assertEqual(lines, _EXPECTED)
                self.assertEqual(browser.console, [])
                await browser.screenshot(folder / "page.png")
        self.assertEqual((folder / "page.png").read_bytes()[1:4], b"PNG")

    def test_frames(self) -> None:
        """Page and WebSocket work as without a relay."""
        self.go(self._through("FRAMES"))

    def test_messages(self) -> None:
        """And with a filter that sees every message."""
        self.go(self._through("MESSAGES"))

    def test_failures(self) -> None:
        """What a page throws or never does fails the test that waits for it."""

        async def work() -> None:
            async with Browser.open(self._folder()) as browser:
                self.assertEqual(await browser.evaluate("Promise.resolve(6 * 7)"), 42)
                for attempt in (
                    browser.evaluate("nothing.here"),
                    browser.waitFor("false", deadline=0.2),
                    browser.load("http://127.0.0.1:1/"),
                ):
                    with self.assertRaises(BrowserError):
                        await attempt
                await browser.evaluate("console.log('a', 1)")
                self.assertEqual(browser.console, ["log: a 1"])

        self.go(work())

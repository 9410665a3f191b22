# -*- test-case-name: tests.endtoend.test_https_browser -*-
"""
Chromium over HTTPS: a page, what it fetches, what is cached, and a WebSocket that pages of
others do not get.

It takes the keys of the site for good, and no others.
"""

from __future__ import annotations

import base64
import hashlib

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.endtoend.browser import Browser, BrowserError
from tests.endtoend.edge import Edge, EdgeTestCase
from tests.endtoend.support import Program

_FETCH = """
fetch(%s).then(async answer => [
  answer.status, answer.headers.get("Cache-Status"), await answer.text()])
"""
_POST = "'/tell/posted', {method: 'POST', body: 'x'.repeat(200000)}"

#: What becomes of a session with a room.
_TALK = """
new Promise(done => {
  const lines = [];
  const session = new WebSocket("%s", ["chat"]);
  session.onopen = () => {
    lines.push(`open ${session.protocol} ${session.extensions.split(";")[0]}`);
    session.send("hello");
    session.send("bye");
  };
  session.onmessage = event => lines.push(event.data);
  session.onclose = event => {
    lines.push(`closed ${event.code} ${event.reason}`);
    done(lines);
  };
})
"""
_HEARD = ["open chat permessage-deflate", "hello", "closed 4321 as you wish"]
_REFUSED = ["closed 1006 "]


def _key(edge: Edge, name: str) -> str:
    """The key of a certificate, as Chromium wants it named."""
    certificate = x509.load_pem_x509_certificate((edge.folder / name).read_bytes())
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = hashlib.sha256(certificate.public_key().public_bytes(*form)).digest()
    return base64.b64encode(digest).decode()


def _flags(edge: Edge) -> list[str]:
    keys = ",".join(_key(edge, name) for name in ("default.pem", "shop.crt", "chat.pem"))
    return [
        f"--ignore-certificate-errors-spki-list={keys}",
        "--host-resolver-rules=MAP *.example.org 127.0.0.1",
    ]


class HttpsBrowserTests(EdgeTestCase):
    """Pages of several origins in one browser."""

    async def _warm(self, edge: Edge) -> None:
        """Somebody has asked for a page before."""
        url = f"https://127.0.0.1:{edge.ports['public']}/pages/news"
        name = "shop.example.org"
        options = {"ssl": edge.trust(), "server_hostname": name}
        host = {"Host": f"{name}:{edge.ports['public']}"}
        async with aiohttp.request("GET", url, headers=host, **options) as answer:
            self.assertEqual(answer.status, 200)

    def test_pages(self) -> None:
        """
        Pages of the shop and of the room post, get what is cached, and talk in the room. A page
        of somebody else is not let in there, and a certificate of somebody else is not taken.
        """

        async def talk(edge: Edge, program: Program) -> None:
            names = ("shop", "chat", "default")
            shop, chat, other = (
                f"https://{name}.example.org:{edge.ports['public']}" for name in names
            )
            room = _TALK % f"wss://chat.example.org:{edge.ports['public']}/ws/9"
            await self._warm(edge)
            async with Browser.open(edge.folder / "browser", flags=_flags(edge)) as browser:
                # From http the relay sends it on to https.
                await browser.load(f"http://shop.example.org:{edge.ports['plain']}/tell/room.html")
                self.assertEqual(
                    await browser.evaluate("location.href + isSecureContext"),
                    f"{shop}/tell/room.htmltrue",
                )
                status, _, told = await browser.evaluate(_FETCH % _POST)
                self.assertEqual(status, 200)
                self.assertIn('"size": 200000', told)
                status, cached, told = await browser.evaluate(_FETCH % "'/pages/news'")
                self.assertEqual((status, told), (200, "/kept/news fetched 1\n"))
                self.assertTrue(cached.startswith("wsrelay; hit; ttl="), cached)
                self.assertEqual(await browser.evaluate(room), _HEARD)
                await browser.load(f"{chat}/tell/room.html")
                self.assertEqual(await browser.evaluate(room), _HEARD)
                self.assertEqual(browser.console, [])
                await browser.load(f"{other}/status")
                self.assertEqual(await browser.evaluate(room), _REFUSED)
                self.assertIn("Unexpected response code: 403", "\n".join(browser.console))
                with self.assertRaisesRegex(BrowserError, "ERR_CERT"):
                    inside = edge.ports["inside"]
                    await browser.load(f"https://inside.example.org:{inside}/tell/room.html")

        self.through(talk)

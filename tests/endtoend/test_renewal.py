# -*- test-case-name: tests.endtoend.test_renewal -*-
"""
Certificates that are renewed, or spoiled, while a relay serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
import time
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from websockets.asyncio.client import connect

from tests.certificates import Issued
from tests.endtoend.edge import Edge, EdgeTestCase
from tests.endtoend.support import Program, waitForWords

#: Files are looked at every three seconds; with this many more nobody can complain.
_PATIENCE = 12.0


def _print(issued: Issued) -> str:
    """By which a certificate is known."""
    return hashlib.sha256(issued.certificate.public_bytes(Encoding.DER)).hexdigest()


def _replace(path: Path, content: bytes) -> None:
    """As the manual says: written beside it, and renamed."""
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.rename(path)


async def _shown(edge: Edge, name: str) -> str:
    """The fingerprint of the certificate that a new client gets, which it has verified."""
    _, writer = await asyncio.open_connection(
        "127.0.0.1", edge.ports["public"], ssl=edge.trust(), server_hostname=name
    )
    session: ssl.SSLObject = writer.get_extra_info("ssl_object")
    shown = hashlib.sha256(session.getpeercert(binary_form=True) or b"").hexdigest()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return shown


class RenewalTests(EdgeTestCase):
    """One relay, in whose folder files change."""

    async def _waitFor(self, edge: Edge, issued: Issued, name: str) -> None:
        """Until new clients get that certificate; never do they get none."""
        end = time.monotonic() + _PATIENCE
        while await _shown(edge, name) != _print(issued):
            self.assertLess(time.monotonic(), end, f"{name} still has the old one")
            await asyncio.sleep(0.1)

    def test_renewed(self) -> None:
        """
        New clients get the new certificate within seconds, those of other names what they had;
        a broken file changes nothing and is told of; a session from before goes on through it all.
        """

        async def talk(edge: Edge, program: Program) -> None:
            names = [f"{name}.example.org" for name in ("chat", "shop", "default")]
            before = {name: await _shown(edge, name) for name in names}
            url = f"wss://chat.example.org:{edge.ports['public']}/ws/1"
            options = {"ssl": edge.trust(), "host": "127.0.0.1", "proxy": None}
            async with connect(url, **options) as session:
                renewed = edge.issue("chat.example.org")
                _replace(edge.folder / "chat.pem", renewed.pem)
                await self._waitFor(edge, renewed, "chat.example.org")
                self.assertEqual(await _shown(edge, "shop.example.org"), before[names[1]])
                self.assertEqual(await _shown(edge, "default.example.org"), before[names[2]])
                await session.send("after the renewal")
                self.assertEqual(await session.recv(), "after the renewal")

                _replace(edge.folder / "chat.pem", renewed.pem[: len(renewed.pem) // 2])
                await asyncio.to_thread(
                    waitForWords, program, f"{edge.folder}/chat.pem", _PATIENCE
                )
                self.assertEqual(await _shown(edge, "chat.example.org"), _print(renewed))

                # Key and certificate in two files, the key first.
                shop = edge.issue("shop.example.org")
                form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
                _replace(edge.folder / "shop.key", shop.key.private_bytes(*form))
                _replace(edge.folder / "shop.crt", shop.certificate.public_bytes(Encoding.PEM))
                mended = edge.issue("chat.example.org")
                _replace(edge.folder / "chat.pem", mended.pem)
                await self._waitFor(edge, mended, "chat.example.org")
                await self._waitFor(edge, shop, "shop.example.org")
                await session.send("after all")
                self.assertEqual(await session.recv(), "after all")
            self.assertNotIn("Traceback", program.output())

        self.through(talk)

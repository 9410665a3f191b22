# -*- test-case-name: tests.endtoend.test_reencryption -*-
"""
Plain TCP in, TLS out: a relay at layer 4 in front of a server of the standard library.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.certificates import theAuthority
from tests.endtoend.support import ROOT, EndToEnd, waitForPort
from tests.ports import freePort

_MUCH = bytes(range(256)) * 8192

_RELAY = """
[listener.main]
endpoint = "tcp:{port}:interface=127.0.0.1"
forwarder = "tcp"
pool = "vault"

[pool.vault]
backends = "tls:localhost:{backend}"
ca = "ca.pem"
serverName = "vault.example.org"
certificate = "relay.pem"
minimumVersion = "TLSv1.3"
"""


class _Vault:
    """
    Echoes to whoever shows a certificate.

    @ivar names: what it was called in each handshake.
    @ivar peers: what was settled with each of its clients: version and protocol.
    """

    def __init__(self, folder: Path) -> None:
        self.names: list[str | None] = []
        self.peers: list[Any] = []
        self._settings = ssl.create_default_context(
            ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca.pem")
        )
        self._settings.load_cert_chain(folder / "vault.pem")
        self._settings.verify_mode = ssl.CERT_REQUIRED
        self._settings.sni_callback = lambda _, name, __: self.names.append(name)
        # It speaks something, but nobody offers that where bytes are opaque.
        self._settings.set_alpn_protocols(["vault"])

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        """Yields the port."""
        server = await asyncio.start_server(self._echo, "127.0.0.1", 0, ssl=self._settings)
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = writer.get_extra_info("ssl_object")
        self.peers.append((session.version(), session.selected_alpn_protocol()))
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while data := await reader.read(256 * 1024):
                writer.write(data)
                await writer.drain()
        writer.close()


class ReencryptionTests(EndToEnd):
    """On the plane that is the default."""

    plane = "auto"

    def setUp(self) -> None:
        """The files."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        theAuthority().write(self.folder / "ca.pem")
        theAuthority().issue("vault.example.org").write(self.folder / "vault.pem")
        theAuthority().issue("relay.example.org").write(self.folder / "relay.pem")

    def relayTo(self, backend: int) -> int:
        """A relay, and the port where it listens."""
        port = freePort()
        file = self.folder / "relay.toml"
        file.write_text(_RELAY.format(port=port, backend=backend))
        program = self.start(
            *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()"),
            *("-n", "--pidfile=", "wsrelay", f"--plane={self.plane}", "--config", str(file)),
            environment={"PYTHONPATH": str(ROOT)},
        )
        waitForPort(port, alive=lambda: program.running)
        return port

    def test_plainIn(self) -> None:
        """A client without TLS reaches a server that demands it, and a certificate with it."""
        vault = _Vault(self.folder)

        async def talk(port: int) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(_MUCH)
            heard = await reader.readexactly(len(_MUCH))
            writer.close()
            return heard

        async def work() -> None:
            async with vault.running() as backend:
                port = await asyncio.to_thread(self.relayTo, backend)
                for _ in range(3):
                    self.assertTrue(await talk(port) == _MUCH, "something else came back")

        self.go(work())
        self.assertEqual(set(vault.names), {"vault.example.org"})
        self.assertEqual(set(vault.peers), {("TLSv1.3", None)})


class PortableReencryptionTests(ReencryptionTests):
    """The same on the portable plane."""

    plane = "portable"

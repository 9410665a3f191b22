# -*- test-case-name: tests.endtoend.test_balancers -*-
"""
HAProxy in front of the relay and behind it, each telling the next who the client is.

The client connects to the one in front, which speaks for it with a PROXY header; the relay
does the same towards the one behind, which answers every request with what it has heard.
"""

from __future__ import annotations

import http.client
import ssl
import sys
from pathlib import Path

from tests.certificates import Authority, theAuthority
from tests.endtoend.support import ROOT, EndToEnd, need, waitForPort
from tests.ports import freePort

# What the one behind says of a client.
_SAYS = "%[src]:%[src_port] %[dst_port] %[fc_pp_authority] %[ssl_c_s_dn(cn)]"

_HAPROXY = """
defaults
    timeout connect 10s
    timeout client 30s
    timeout server 30s

listen front
    mode tcp
    bind 127.0.0.1:{front} {secure}
    server relay 127.0.0.1:{relay} {sends}

frontend behind
    mode http
    bind 127.0.0.1:{behind} accept-proxy {behindSecure}
    http-request return status 200 content-type text/plain lf-string "{says}"
"""

_RELAY = """
[listener.main]
endpoint = "tcp:{relay}:interface=127.0.0.1"
proxyProtocol = "127.0.0.0/8"
forwarder = "{forwarder}"
pool = "behind"

[pool.behind]
backends = "{url}"
proxyProtocol = "{version}"
{more}
"""


class BalancerTests(EndToEnd):
    """Three in a row, on the plane that is the default."""

    plane = "auto"

    def setUp(self) -> None:
        """The files that all of them need."""
        self.haproxy = need("haproxy", "usr/sbin")
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        theAuthority().write(self.folder / "ca.pem")
        theAuthority().issue("127.0.0.1", "chat.example.org").write(self.folder / "own.pem")

    def row(
        self,
        forwarder: str,
        url: str,
        version: str,
        sends: str = "send-proxy-v2",
        secure: str = "",
        behindSecure: str = "",
        more: str = "",
    ) -> int:
        """Start all three, and return the port in front."""
        front, relay, behind = freePort(), freePort(), freePort()
        places = {"front": front, "relay": relay, "behind": behind, "says": _SAYS}
        texts = {"sends": sends, "secure": secure, "behindSecure": behindSecure}
        config = self.folder / "haproxy.cfg"
        config.write_text(_HAPROXY.format(**places, **texts).replace("HERE", str(self.folder)))
        url = url.replace("PORT", str(behind))
        texts = {"forwarder": forwarder, "url": url, "version": version, "more": more}
        file = self.folder / "relay.toml"
        file.write_text(_RELAY.format(relay=relay, **texts))
        balancer = self.start(self.haproxy, "-db", "-f", str(config))
        program = self.start(
            *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()"),
            *("-n", "--pidfile=", "wsrelay", f"--plane={self.plane}", "--config", str(file)),
            environment={"PYTHONPATH": str(ROOT)},
        )
        for port, each in ((front, balancer), (behind, balancer), (relay, program)):
            waitForPort(port, alive=lambda each=each: each.running)  # type: ignore[misc]  # bound
        return front

    def heard(self, port: int, secure: bool = False) -> tuple[list[str], int, int]:
        """What the one behind says of us; our own port, and the one that we connected to."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        if secure:
            context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
            context.check_hostname = False
            connection.connect()
            connection.sock = context.wrap_socket(
                connection.sock, server_hostname="chat.example.org"
            )
        connection.request("GET", "/", headers={"Host": "chat.example.org"})
        own = connection.sock.getsockname()[1]
        answer = connection.getresponse()
        self.assertEqual(answer.status, 200)
        said = answer.read().decode().split(" ")
        connection.close()
        return said, own, port

    def assertKnown(
        self, row: int, authority: str = "", name: str = "", secure: bool = False
    ) -> None:
        """The one behind knows who we are and where we connected to, as often as we come."""
        for _ in range(3):
            said, own, port = self.heard(row, secure)
            self.assertEqual(said, [f"127.0.0.1:{own}", str(port), authority, name])

    def test_bytes(self) -> None:
        """Addresses go through a tunnel, in both versions on both sides."""
        for sends, version in (("send-proxy-v2", "v1"), ("send-proxy", "v2")):
            self.assertKnown(self.row("tcp", "tcp:127.0.0.1:PORT", version, sends))

    def test_requests(self) -> None:
        """And through layer 7; version 2 tells the host, too."""
        self.assertKnown(self.row("http", "http://127.0.0.1:PORT", "v1"))
        self.assertKnown(self.row("http", "http://localhost:PORT", "v2"), "chat.example.org")

    def test_secure(self) -> None:
        """The header stands before TLS, and a certificate of the relay's own within."""
        theAuthority().issue("127.0.0.1").write(self.folder / "relay.pem")
        more = 'ca = "ca.pem"\ncertificate = "relay.pem"'
        behindSecure = "ssl crt HERE/own.pem ca-file HERE/ca.pem verify required"
        for forwarder, url, host in (
            ("tcp", "tls:127.0.0.1:PORT", ""),
            ("http", "https://127.0.0.1:PORT", "chat.example.org"),
        ):
            row = self.row(forwarder, url, "v2", behindSecure=behindSecure, more=more)
            self.assertKnown(row, host, "test")

    def test_endedInFront(self) -> None:
        """All that HAProxy says of a client's TLS is read, and the host it wanted is passed on."""
        row = self.row(
            "tcp",
            "tcp:127.0.0.1:PORT",
            "v2",
            "send-proxy-v2-ssl-cn proxy-v2-options authority,crc32c,ssl,cert-cn,unique-id",
            "ssl crt HERE/own.pem alpn http/1.1",
        )
        self.assertKnown(row, "chat.example.org", secure=True)

    def test_distrusted(self) -> None:
        """A backend that cannot be trusted gets the header and nothing else."""
        Authority("stranger").write(self.folder / "ca.pem")
        row = self.row(
            "http",
            "https://127.0.0.1:PORT",
            "v2",
            behindSecure="ssl crt HERE/own.pem",
            more='ca = "ca.pem"',
        )
        connection = http.client.HTTPConnection("127.0.0.1", row, timeout=20)
        connection.request("GET", "/", headers={"Host": "chat.example.org"})
        self.assertEqual(connection.getresponse().status, 502)
        connection.close()


class PortableBalancerTests(BalancerTests):
    """The same on the portable plane."""

    plane = "portable"

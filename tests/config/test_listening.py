"""Tests for wsrelay.config.listening."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.protocols.wire import Echo

# --------------------------------------------------------------- plugins, for the files below
from tests.certificates import theAuthority
from tests.config.building import FINE, Building


class ListeningTests(Building):
    """Listeners as the file describes them."""

    def test_settings(self) -> None:
        """A listener's settings are those of the file."""
        made = self.built(
            '[listener.a]\nendpoint = "tcp:1"\npool = "p"\nheadTimeout = 1\nkeepAliveTimeout = 2\n'
            'maxHead = 3\nmaxHeaders = 4\n[pool.p]\nbackends = "ws://a"\n'
        )
        settings = made.listeners[0].settings
        self.assertEqual(
            (
                settings.headTimeout,
                settings.keepAliveTimeout,
                settings.maxHead,
                settings.maxHeaders,
            ),
            (1, 2, 3, 4),
        )

    def test_forwarderPlugin(self) -> None:
        """A forwarder of somebody else's is asked for its factory."""
        made = self.built(
            '[listener.a]\nendpoint = "tcp:1"\nforwarder = "echo"\n'
            '[plugin.echo]\nuse = "HERE:EchoForwarder"\n'
        )
        self.successResultOf(Deferred.fromCoroutine(made.listeners[0].listen()))
        self.assertIs(self.reactor.tcpServers[0][1].protocol, Echo)

    def test_endpoint(self) -> None:
        """An endpoint that Twisted does not understand is told with the reason."""
        for endpoint, reason in [
            (
                "tpc:80",
                "there is no endpoint type 'tpc'; did you mean \"tcp\"? "
                "(types: haproxy, ssl, stdio, systemd, tcp, tcp6, tls, unix)",
            ),
            ("tcp:80:backlog=many", "'many' is not a number"),
            ("unix:/run/x:mode=9", "'9' is not a number"),
            ("tcp:80:colour=red", "there is no parameter 'colour'"),
            ("tcp:80:1:2:3:4", "there are too few or too many parameters"),
            ("ssl:443:privateKey=/nowhere", "/nowhere: No such file or directory"),
            (
                f"ssl:443:privateKey={__file__}",
                "its file holds no key and certificate that can be read",
            ),
            ("systemd:INET:name=x", "systemd has passed no such socket"),
        ]:
            (problem,) = self.problems(FINE.replace("tcp:1", endpoint))
            self.assertEqual(problem, f'listener.a.endpoint: "{endpoint}": {reason}')

    def test_tls(self) -> None:
        """TLS of a table ends at the listener, for whatever forwarder; its files are watched."""
        pem = theAuthority().issue("a.example").write(Path(self.mktemp()))
        for forwarder, protocols in [("http", (b"http/1.1", b"http/1.0")), ("tls-terminate", ())]:
            made = self.built(
                f'[listener.a]\nendpoint = "tcp:1"\nforwarder = "{forwarder}"\npool = "p"\n'
                f'tls = {{certificates = "{pem}"}}\n[pool.p]\nbackends = "ws://a"\n'
            )
            listener = made.listeners[0]
            assert listener.tls is not None
            self.assertEqual(listener.tls.protocols, protocols)
            self.successResultOf(Deferred.fromCoroutine(listener.listen()))
            self.assertEqual(len(self.reactor.getDelayedCalls()), 2)
            self.successResultOf(Deferred.fromCoroutine(listener.stop()))
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_tlsFails(self) -> None:
        """A certificate that cannot be read refuses the start."""
        self.assertEqual(
            self.problems(FINE.replace("[pool", 'tls = {certificates = "/nowhere"}\n[pool')),
            ("listener.a.tls.certificates: /nowhere: No such file or directory",),
        )

    def test_forwarderFails(self) -> None:
        """A forwarder that cannot make its factory refuses the start."""
        self.assertEqual(
            self.problems(
                '[listener.broken]\nendpoint = "tcp:1"\nforwarder = "echo"\n'
                '[plugin.echo]\nuse = "HERE:EchoForwarder"\n'
            ),
            ("listener.broken.forwarder: echo failed: RuntimeError: no idea",),
        )

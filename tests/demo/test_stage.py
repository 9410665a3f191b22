# -*- test-case-name: tests.demo.test_stage -*-
"""
The demo's configuration.
"""

from __future__ import annotations

import socket

from twisted.trial.unittest import SynchronousTestCase

from tests.ports import freePort
from wsrelay.demo import configuration
from wsrelay.errors import ConfigurationError


class ConfigurationTests(SynchronousTestCase):
    """The configuration as a value."""

    def setUp(self) -> None:
        self.l7, self.l4 = freePort(), freePort()
        self.configuration = configuration(self.l7, self.l4)

    def test_loopback(self) -> None:
        """All it opens can be reached from this machine only."""
        endpoints = [e for each in self.configuration.listener.values() for e in each.endpoint]
        self.assertEqual(len(set(endpoints)), 4)
        for endpoint in endpoints:
            self.assertTrue(endpoint.endswith(":interface=127.0.0.1"), endpoint)
        listener = self.configuration.listener
        self.assertEqual(listener["l7"].endpoint, (f"tcp:{self.l7}:interface=127.0.0.1",))
        self.assertEqual(listener["l4"].endpoint, (f"tcp:{self.l4}:interface=127.0.0.1",))

    def test_sameBackends(self) -> None:
        """Both layers lead to the same backends, and these are the application's listeners."""

        def ports(*pools: str) -> set[int]:
            return {
                backend.destination().port
                for name in pools
                for backend in self.configuration.pool[name].backends
            }

        listening = {
            int(endpoint.split(":")[1])
            for each in self.configuration.listener.values()
            if each.forwarder == "application"
            for endpoint in each.endpoint
        }
        self.assertEqual(len(listening), 2)
        self.assertEqual(ports("both"), listening)
        self.assertEqual(ports("echo", "chat"), listening)

    def test_portInUse(self) -> None:
        """A second demo says what is in its way, and which option helps."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            for ports in ((port, self.l4), (self.l7, port)):
                error = self.assertRaises(ConfigurationError, configuration, *ports)
                self.assertIn(f"port {port} of 127.0.0.1", error.problems[0])
                self.assertIn("--demo-port", error.problems[0])

    def test_noPort(self) -> None:
        """A number that is no port is said to be none, the one after the last among them."""
        for port in (65535, 70000, -1):
            error = self.assertRaises(ConfigurationError, configuration, port)
            self.assertIn("--demo-port", error.problems[0])

    def test_nextPort(self) -> None:
        """Layer 4 is on the next port unless it is said otherwise."""
        error = None
        for port in range(20000, 20100, 2):
            try:
                made = configuration(port)
            except ConfigurationError as raised:
                error = raised
                continue
            (endpoint,) = made.listener["l4"].endpoint
            self.assertEqual(endpoint, f"tcp:{port + 1}:interface=127.0.0.1")
            return
        raise AssertionError(error)

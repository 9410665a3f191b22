# -*- test-case-name: tests.config.test_risks -*-
"""
What is said at every start.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsrelay.config.load import loads
from wsrelay.config.risks import risks

FILE = """
[listener.public]
endpoint = ["tcp:1", {endpoint}]
pool = "p"

[pool.p]
backends = "wss://a"
verify = {verify}

[pool."q"]
backends = "wss://a"
"""


class RiskTests(SynchronousTestCase):
    """What is allowed, and dangerous."""

    def said(self, endpoint: str = '"tcp:2"', verify: str = "true") -> list[str]:
        """What is said about a file."""
        return risks(loads(FILE.format(endpoint=endpoint, verify=verify)))

    def test_none(self) -> None:
        """Where nothing is dangerous, nothing is said."""
        self.assertEqual(self.said(), [])

    def test_unverified(self) -> None:
        """That certificates are not checked is told once for each pool."""
        self.assertEqual(
            self.said(verify="false"),
            [
                "pool.p.verify: the certificates of backends are not checked, so anybody "
                "between here and there can read and change everything"
            ],
        )

    def test_prefix(self) -> None:
        """A door that believes everybody is told, with what would be right."""
        self.assertEqual(
            self.said('"haproxy:tcp:2"'),
            [
                'listener.public.endpoint: "haproxy:tcp:2" believes whoever connects what the '
                "PROXY header says; name the networks of the balancer in proxyProtocol instead"
            ],
        )

    def test_socket(self) -> None:
        """A UNIX socket has permissions: it is not for everybody."""
        self.assertEqual(self.said('"haproxy:unix:/run/a"'), [])

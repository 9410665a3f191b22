"""Tests for the tables of listeners."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsrelay.config.listeners import Listener


class ListenerTests(SynchronousTestCase):
    """Where clients arrive, as the file says it."""

    def test_listsOfOne(self) -> None:
        """A single value may stand where a list may."""
        listener = Listener.model_validate({"endpoint": "tcp:80", "policies": []})
        self.assertEqual((listener.endpoint, listener.policies), (("tcp:80",), ()))

    def test_tls(self) -> None:
        """TLS has a table of its own, where it ends here."""
        plain = Listener.model_validate({"endpoint": "tcp:80"})
        self.assertIsNone(plain.tls)
        table = {"endpoint": "tcp:443", "tls": {"certificates": "a.pem"}}
        tls = Listener.model_validate(table).tls
        assert tls is not None
        self.assertEqual([each.certificate for each in tls.certificates], ["a.pem"])

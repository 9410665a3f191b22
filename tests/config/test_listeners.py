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

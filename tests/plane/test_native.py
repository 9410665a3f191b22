# -*- test-case-name: tests.plane.test_native -*-
"""
The native engine keeps the rules of the portable one: the same suites, on real sockets.
"""

from __future__ import annotations

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.plane import bytesuite, framesuite
from tests.plane.worlds import OnSockets, UnderTLS
from wsrelay.plane.engine import IPlane

try:
    from wsrelay.plane.native import NativePlane
except ImportError:
    skip = "the extension is not built"


class _Native(bytesuite.ByteSuite, bytesuite.StreamHookSuite, framesuite.FrameSuite):
    def makePlane(self) -> IPlane:
        """One plane for all links of a test."""
        if not hasattr(self, "plane"):
            self.plane = NativePlane(reactor)
            self.addCleanup(reactor.removeReader, self.plane)
        return self.plane


class SocketTests(OnSockets, _Native, TestCase):
    """On loopback sockets."""


class TLSTests(UnderTLS, _Native, TestCase):
    """TLS on both legs."""

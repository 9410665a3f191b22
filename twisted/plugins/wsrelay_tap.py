# -*- test-case-name: tests.test_tap -*-
"""
What makes C{twistd wsrelay} exist, and nothing else.

C{twistd} imports this file to list its commands, whatever the command; so it must not
import the relay.
"""

from __future__ import annotations

from twisted.application.service import ServiceMaker

__all__ = ["wsrelay"]

wsrelay = ServiceMaker(
    "wsrelay",
    "wsrelay.tap",
    "A WebSocket and TCP relay that you program in Python.",
    "wsrelay",
)

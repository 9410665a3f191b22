# -*- test-case-name: tests.test_benchmarks -*-
"""
WebSocket echo with a Python hook on every message, against tunnels that look at nothing.

A round trip calls the hook twice: on the way there and on the way back.
"""

from __future__ import annotations

from benchmarks.lab.claim import Claim, Rule, best

__all__ = ["CLAIM"]

_SMALL, _LARGER = ("ws-64",), ("ws-1k", "ws-16k", "ws-64k")
_ALL = _SMALL + _LARGER
_NONE, _REPLACE = "wsrelay-none", "wsrelay-replace"

CLAIM = Claim(
    "hooks",
    "WebSocket echo with a Python hook on every message",
    _ALL,
    ("relay", "nginx", "nginx-64k", "haproxy", "wsrelay", _NONE, _REPLACE),
    (
        Rule(_NONE, _SMALL, must=best(1.25, "nginx"), aim=best(1.0, "nginx")),
        Rule(_NONE, _LARGER, must=best(1.0, "nginx"), aim=best(1.0, "nginx")),
        Rule(_REPLACE, _ALL, must=best(1.5, "nginx"), aim=best(1.1, "nginx")),
    ),
)

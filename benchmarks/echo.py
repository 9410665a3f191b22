# -*- test-case-name: tests.test_benchmarks -*-
"""
WebSocket echo through layer 7, no filter: the relay only counts frames.
"""

from __future__ import annotations

from benchmarks.lab.claim import Claim, Rule, best

__all__ = ["CLAIM"]

_WORKS = ("ws-64", "ws-1k", "ws-16k", "ws-64k")

CLAIM = Claim(
    "echo",
    "WebSocket echo through layer 7, no filter",
    _WORKS,
    ("direct", "relay", "nginx", "nginx-64k", "haproxy", "envoy", "caddy", "wsrelay"),
    (Rule("wsrelay", _WORKS, must=best(1.0, "nginx", "haproxy"), aim=best(1.1, "relay")),),
)

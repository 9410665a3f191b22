# -*- test-case-name: tests.test_benchmarks -*-
"""
TLS towards the client, plain towards the backend: echo and bulk.
"""

from __future__ import annotations

from benchmarks.lab.claim import Claim, Rule, best

__all__ = ["CLAIM"]

_SIZES = ("64", "1k", "16k", "64k", "down", "up")
_L7 = tuple(f"wss-{size}" for size in _SIZES)
_L4 = tuple(f"tls-{size}" for size in _SIZES)

CLAIM = Claim(
    "tls",
    "TLS terminated: wss to ws, and TLS to TCP",
    _L7 + _L4,
    (
        "relay-tls",
        "nginx",
        "nginx-64k",
        "nginx-stream",
        "haproxy",
        "haproxy-tcp",
        "envoy",
        "envoy-tcp",
        "caddy",
        "wsrelay-tls",
        "wsrelay-l4-tls",
    ),
    (
        Rule(
            "wsrelay-tls",
            _L7,
            must=best(1.25, "nginx", "haproxy"),
            aim=best(1.0, "nginx", "haproxy"),
        ),
        Rule(
            "wsrelay-l4-tls",
            _L4,
            must=best(1.25, "nginx-stream", "haproxy-tcp"),
            aim=best(1.0, "nginx-stream", "haproxy-tcp"),
        ),
    ),
)

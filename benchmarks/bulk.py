# -*- test-case-name: tests.test_benchmarks -*-
"""
Bulk: eight connections that never pause, in one direction at a time.
"""

from __future__ import annotations

from benchmarks.lab.claim import Claim, Rule, best

__all__ = ["CLAIM"]

_L7, _L4 = ("ws-down", "ws-up"), ("tcp-down", "tcp-up")

CLAIM = Claim(
    "bulk",
    "Bulk through layer 7 and layer 4",
    _L7 + _L4,
    (
        "relay",
        "relay-splice",
        "nginx",
        "nginx-64k",
        "nginx-stream",
        "haproxy",
        "haproxy-splice",
        "haproxy-tcp",
        "haproxy-tcp-splice",
        "envoy",
        "envoy-tcp",
        "wsrelay",
        "wsrelay-l4",
    ),
    (
        Rule("wsrelay", _L7, must=best(1.0, "haproxy-splice"), aim=best(1.2, "relay-splice")),
        Rule(
            "wsrelay-l4",
            _L4,
            must=best(1.0, "haproxy-tcp-splice"),
            aim=best(1.2, "relay-splice"),
        ),
    ),
)

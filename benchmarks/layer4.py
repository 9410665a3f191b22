# -*- test-case-name: tests.test_benchmarks -*-
"""
TCP echo through layer 4: bytes that nobody looks at.
"""

from __future__ import annotations

from benchmarks.lab.claim import Claim, Rule, best

__all__ = ["CLAIM"]

_WORKS = ("tcp-64", "tcp-1k", "tcp-16k", "tcp-64k")

CLAIM = Claim(
    "layer4",
    "TCP echo through layer 4",
    _WORKS,
    (
        "direct",
        "relay",
        "relay-splice",
        "nginx-stream",
        "haproxy-tcp",
        "haproxy-tcp-splice",
        "envoy-tcp",
        "wsrelay-l4",
    ),
    (
        Rule(
            "wsrelay-l4",
            _WORKS,
            must=best(1.0, "nginx-stream", "haproxy-tcp"),
            aim=best(1.1, "relay"),
        ),
    ),
)

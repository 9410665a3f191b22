# -*- test-case-name: tests.test_benchmarks -*-
"""
Many small messages in flight on each connection, with a Python hook on every one.
"""

from __future__ import annotations

from benchmarks.lab.claim import Claim, Limit, Rule

__all__ = ["CLAIM"]

CLAIM = Claim(
    "pipelined",
    "16 messages of 64 B in flight on each connection",
    ("ws-pipelined",),
    ("relay", "nginx", "haproxy", "envoy", "wsrelay", "wsrelay-none", "wsrelay-replace"),
    (
        Rule(
            "wsrelay-none",
            ("ws-pipelined",),
            must=Limit(1e6 / 300_000),
            aim=Limit(1e6 / 500_000),
        ),
    ),
    note="300,000 messages a second of CPU time are 3.33 µs each, 500,000 are 2 µs. Counted "
    "are round trips, though each is two messages for the relay and its hook.",
)

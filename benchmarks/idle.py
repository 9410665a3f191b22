# -*- test-case-name: tests.test_benchmarks -*-
"""
Idle WebSocket sessions: what they keep in memory, and what they cost while nothing happens.

Memory is that of the proxy's processes (proportional set size), less what they had when they
were fresh; what the kernel holds for the sockets is not in it. Each session takes two
descriptors of the load generator, and at least two of the proxy: where the limit of open files
is too low for 10,000, there are fewer, and the report says how many.
"""

from __future__ import annotations

from benchmarks.lab.claim import Claim, Limit, Rule
from benchmarks.lab.measures import IDLE, MEMORY, OPENED

__all__ = ["CLAIM"]

_WORKS = ("ws-idle",)

CLAIM = Claim(
    "idle",
    "Idle WebSocket sessions",
    _WORKS,
    ("relay", "nginx", "haproxy", "envoy", "caddy", "wsrelay", "wsrelay-none"),
    (
        Rule("wsrelay", _WORKS, must=Limit(12), aim=Limit(6), measure=MEMORY),
        Rule("wsrelay", _WORKS, must=Limit(0.5), aim=Limit(0), measure=IDLE),
    ),
    measures=(MEMORY, IDLE, OPENED),
)

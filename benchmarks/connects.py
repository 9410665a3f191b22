# -*- test-case-name: tests.test_benchmarks -*-
"""
Short connections: open, upgrade in layer 7, echo one message, close.

The others have their access logs off. wsrelay writes its line about each connection to a file,
as it does when nobody says otherwise; with "log off" the line is made but not written.
"""

from __future__ import annotations

from benchmarks.lab.claim import Claim, Rule, best

__all__ = ["CLAIM"]

_L7, _L4 = ("ws-connect",), ("tcp-connect",)

CLAIM = Claim(
    "connects",
    "Open, echo 64 B, close",
    _L7 + _L4,
    (
        "relay",
        "nginx",
        "nginx-stream",
        "haproxy",
        "haproxy-tcp",
        "envoy",
        "envoy-tcp",
        "caddy",
        "wsrelay",
        "wsrelay-quiet",
        "wsrelay-l4",
        "wsrelay-l4-quiet",
    ),
    (
        *(
            Rule(name, _L7, must=best(1.0, "envoy", "caddy"), aim=best(2.0, "nginx"))
            for name in ("wsrelay", "wsrelay-quiet")
        ),
        *(
            Rule(name, _L4, must=best(1.5, "envoy-tcp"), aim=best(2.0, "nginx-stream"))
            for name in ("wsrelay-l4", "wsrelay-l4-quiet")
        ),
    ),
    note="The others have their access logs off; wsrelay has not, except where that is said.",
)

# -*- test-case-name: tests.test_benchmarks -*-
"""
Plain HTTP: GETs over connections that are kept alive, on both sides.

The path of each request is new, so that nobody answers from memory. wsrelay writes its line
about each request to a file, as it does when nobody says otherwise; with "log off" it writes
none, and neither do the others. As many connections to the backend as there are clients may wait,
for all who can be told.
"""

from __future__ import annotations

from benchmarks.lab.claim import Claim, Rule, best
from benchmarks.lab.measures import CPU, DIALS

__all__ = ["CLAIM"]

_WORKS = ("http-get-128", "http-get-16k")
_OURS = ("wsrelay", "wsrelay-kept", "wsrelay-kept-quiet")

CLAIM = Claim(
    "http",
    "HTTP GET over keep-alive",
    _WORKS,
    (
        "relay",
        "nginx",
        "haproxy",
        "envoy",
        "caddy",
        "chp",
        "aiohttp",
        *_OURS,
    ),
    (
        *(
            Rule(name, _WORKS, must=best(1 / 3, "chp"), aim=best(1.0, "envoy", "caddy"))
            for name in _OURS
        ),
        *(
            Rule(name, _WORKS, must=best(1.0, "aiohttp"), aim=best(0.5, "aiohttp"))
            for name in _OURS
        ),
    ),
    (CPU, DIALS),
    note="The others have their access logs off; wsrelay has not, except where that is said.",
)

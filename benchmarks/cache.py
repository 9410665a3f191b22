# -*- test-case-name: tests.test_benchmarks -*-
"""
The response cache: GETs of one URL, whose answer may be kept for an hour.

Who has a cache answers all but the first from it, which the second table shows; who has none
asks the backend each time.
"""

from __future__ import annotations

from benchmarks.lab.claim import Claim, Limit, Rule, best
from benchmarks.lab.measures import ASKED, CPU

__all__ = ["CLAIM"]

_WORKS = ("http-cached-128", "http-cached-16k")

CLAIM = Claim(
    "cache",
    "A cached answer and one that is not",
    _WORKS,
    (
        "nginx",
        "nginx-cache",
        "wsrelay-kept",
        "wsrelay-cache",
        "wsrelay-kept-quiet",
        "wsrelay-cache-quiet",
    ),
    (
        *(
            Rule(cached, _WORKS, must=best(0.5, asked), aim=best(2.0, "nginx-cache"))
            for cached, asked in [
                ("wsrelay-cache", "wsrelay-kept"),
                ("wsrelay-cache-quiet", "wsrelay-kept-quiet"),
            ]
        ),
        Rule("wsrelay-cache", _WORKS, must=Limit(0.01), aim=Limit(0.001), measure=ASKED),
    ),
    (CPU, ASKED),
)

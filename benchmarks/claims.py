# -*- test-case-name: tests.test_benchmarks -*-
"""
All claims, in the order in which they are run and reported.
"""

from __future__ import annotations

from benchmarks import (
    bulk,
    cache,
    connects,
    echo,
    handshakes,
    hooks,
    http,
    idle,
    layer4,
    pipelined,
    tls,
)

__all__ = ["CLAIMS"]

_FILES = (
    echo,
    hooks,
    pipelined,
    layer4,
    bulk,
    tls,
    connects,
    http,
    cache,
    handshakes,
    idle,
)

CLAIMS = {file.CLAIM.name: file.CLAIM for file in _FILES}

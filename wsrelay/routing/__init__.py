# -*- test-case-name: tests.routing -*-
"""
Where a client goes: conditions on what is known about it, and rules in order.

L{matchers} has one small class for each condition a C{[[route]]} may name, L{paths} the
normal form of a path that they compare, L{table} the rules. Nothing here dials, reads or
knows the configuration file.
"""

from __future__ import annotations

from wsrelay.routing.matchers import Matcher
from wsrelay.routing.paths import normalPath
from wsrelay.routing.table import Rule, Table

__all__ = ["Matcher", "Rule", "Table", "normalPath"]

# -*- test-case-name: tests.routing.test_table -*-
"""
The rules of the configuration's C{[[route]]} tables, as one routing policy.

The first rule that matches decides; their order is the file's. What a rule may decide is
in L{wsrelay.model}.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen
from zope.interface import implementer

from wsrelay.errors import BadRequest
from wsrelay.interfaces import IRoutingPolicy
from wsrelay.model import Decision, Inbound, Refuse
from wsrelay.routing.matchers import Matcher
from wsrelay.routing.redirect import Redirect

__all__ = ["Rule", "Table"]


def _matchers(matchers: Iterable[Matcher]) -> tuple[Matcher, ...]:
    return tuple(matchers)


@frozen
class Rule:
    """
    Conditions, all of which must hold, and what is decided then. A redirect becomes a decision
    for each client.

    @ivar matchers: asked in this order, so the cheap ones belong first; none always match.
    @ivar name: of the route, for logs.
    """

    matchers: tuple[Matcher, ...] = field(converter=_matchers)
    decision: Decision | Redirect
    name: str = ""

    def matches(self, inbound: Inbound) -> bool:
        """Whether every condition holds for this client."""
        for matcher in self.matchers:  # noqa: SIM110  # all() takes three times as long
            if not matcher.matches(inbound):
                return False
        return True


@implementer(IRoutingPolicy)
class Table:
    """
    Rules in order; a policy.

    A path without normal form (see L{wsrelay.routing.paths}) is refused as soon as a rule
    asks for the path. If it only failed to match, C{/%00admin} would pass by the rule that
    guards C{/admin} and reach a later one that asks for no path.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)

    def route(self, inbound: Inbound) -> Decision | None:
        """What the first matching rule decides, or C{None}."""
        try:
            for rule in self.rules:
                if rule.matches(inbound):
                    decision = rule.decision
                    if isinstance(decision, Redirect):
                        return decision.decide(inbound)
                    return decision
        except BadRequest as error:
            return Refuse(error.detail)
        return None

# -*- test-case-name: tests.config.test_limiting -*-
"""
What may stand in C{limits} of a C{[listener.NAME]} table.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from wsrelay.config.values import Count, Expected, Networks, Rate, Seconds, Table
from wsrelay.l4 import limits

__all__ = ["Limits"]

_Prefix4 = Annotated[int, Field(ge=0, le=32), Expected("a number of bits from 0 to 32")]
_Prefix6 = Annotated[int, Field(ge=0, le=128), Expected("a number of bits from 0 to 128")]


class Limits(Table):
    """How many clients a listener takes, and how fast they may come. Not given: no limit."""

    connections: Count | None = Field(
        default=None,
        description="Connections at the same time. More get 503 (HTTP) or are closed.",
        examples=[10000],
    )
    connectionsPerClient: Count | None = Field(
        default=None,
        description="Connections of one client at the same time. More get 429 (HTTP) or are "
        "closed. A client is a network, see prefix6.",
        examples=[100],
    )
    rate: Rate | None = Field(
        default=None, description="New connections a second, see burst.", examples=[1000]
    )
    ratePerClient: Rate | None = Field(
        default=None, description="New connections of one client a second.", examples=[20]
    )
    handshakes: Rate | None = Field(
        default=None,
        description="WebSocket handshakes a second (L7). More get 503.",
        examples=[500],
    )
    handshakesPerClient: Rate | None = Field(
        default=None,
        description="WebSocket handshakes of one client a second (L7). More get 429.",
        examples=[2],
    )
    burst: Seconds = Field(
        default=5.0,
        description="As many seconds' worth of each rate may come at once, at least one.",
        examples=[10],
    )
    prefix4: _Prefix4 = Field(
        default=32, description="How many bits of an IPv4 address make a client.", examples=[24]
    )
    prefix6: _Prefix6 = Field(
        default=64,
        description="How many bits of an IPv6 address make a client: who has one address has "
        "64 bits of them.",
        examples=[56],
    )
    exempt: Networks = Field(
        default=(),
        description="Networks that the limits per client are not for, such as those of a "
        "balancer in front.",
        examples=[["10.0.0.0/8"]],
    )

    def settings(self) -> limits.Limits:
        """The same for the listener."""
        return limits.Limits(**self.model_dump())

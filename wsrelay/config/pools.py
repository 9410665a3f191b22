# -*- test-case-name: tests.config.test_pools -*-
"""
What may stand in a C{[pool.NAME]} table.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator

from wsrelay.backends.backend import Destination
from wsrelay.config.values import (
    BackendUrl,
    Count,
    Listed,
    Name,
    Table,
    Text,
    YesOrNo,
)

__all__ = ["BALANCERS", "Backend", "Pool"]

#: What is built in; in the file, a plugin's name may stand in the same place.
BALANCERS = ("round-robin", "least-connections")


class Backend(Table):
    """One destination. A string stands for a table with nothing but C{url}."""

    model_config = ConfigDict(title="a URL, or a table of url and weight")

    url: BackendUrl = Field(
        description="ws://, wss://, http:// or https:// with host and port; tcp:HOST:PORT or "
        "tls:HOST:PORT; unix:/PATH. No path: the client's request has it.",
        examples=["ws://10.0.0.1:9000", "tls:10.0.0.1:5671", "unix:/run/chat.sock"],
    )
    weight: Count = Field(
        default=1,
        description="How much it takes compared with the other backends of its pool.",
        examples=[2],
    )

    @model_validator(mode="before")
    @classmethod
    def _fromString(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    def destination(self) -> Destination:
        """What its URL says."""
        return Destination.parse(self.url)


class Pool(Table):
    """Destinations that do the same."""

    backends: Annotated[tuple[Backend, ...], Listed()] = Field(
        description="Where its connections go: URLs, or tables like "
        '{url = "...", weight = 2}. The kinds may be mixed.',
        examples=[["ws://10.0.0.1:9000", "wss://10.0.0.2:9443"]],
    )
    balancer: Name = Field(
        default="round-robin",
        description='Who picks the backend: "round-robin", "least-connections", or the name '
        "of a plugin.",
        examples=["least-connections"],
    )
    ca: Text | None = Field(
        default=None,
        description="A PEM file with the certificates that backends with TLS are trusted "
        "by, relative to the configuration file. Not given: those of the system.",
        examples=["backends-ca.pem"],
    )
    verify: YesOrNo = Field(
        default=True,
        description="Whether the certificates of backends with TLS are checked. Without it, "
        "anybody between here and there can read and change everything.",
        examples=[False],
    )

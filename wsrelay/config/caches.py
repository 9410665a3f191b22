# -*- test-case-name: tests.config.test_caches -*-
"""
What may stand in a C{[cache.NAME]} table.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from wsrelay.config.values import Duration, Listed, Size, Status, Table, YesOrNo
from wsrelay.l7.cache import CacheSettings
from wsrelay.wire.caching import STATUSES, Rules

__all__ = ["Cache"]

_DEFAULTS = CacheSettings()


class Cache(Table):
    """
    A response cache, for the routes that name it (L7). What may be kept is for backends to say
    (RFC 9111); where they say nothing, nothing is used again without asking.
    """

    size: Size = Field(
        default=_DEFAULTS.size,
        description="How much it keeps: bodies, heads and what it takes to find them, in bytes. "
        "What was used longest ago is dropped first.",
        examples=[268435456],
    )
    maxEntry: Size = Field(
        default=_DEFAULTS.maxEntry,
        description="The longest body that is kept, in bytes. A longer one is relayed only.",
        examples=[4194304],
    )
    statuses: Annotated[tuple[Status, ...], Listed()] = Field(
        default=tuple(sorted(STATUSES)),
        description="Answers with one of these statuses may be kept, if they allow it.",
        examples=[[200, 301, 404]],
    )
    heuristics: YesOrNo = Field(
        default=False,
        description="Whether an answer that says nothing about its freshness is used for a tenth "
        "of its age since Last-Modified, and a day at most (RFC 9111 section 4.2.2).",
        examples=[True],
    )
    staleWhileRevalidate: Duration = Field(
        default=0,
        description="For how long an answer that is not fresh any more is used while it is "
        "fetched again, where the answer itself says nothing (RFC 5861). 0 is not at all.",
        examples=[30],
    )
    staleIfError: Duration = Field(
        default=0,
        description="For how long it is used in place of an error of the backend, where the "
        "answer itself says nothing (RFC 5861). 0 is not at all.",
        examples=[600],
    )
    obeyClients: YesOrNo = Field(
        default=True,
        description="Whether a client's Cache-Control is heard, such as the no-cache of a "
        "reload. Without it, clients cannot have backends asked.",
        examples=[False],
    )

    @model_validator(mode="after")
    def _mayFit(self) -> Cache:
        if self.maxEntry > self.size:
            raise ValueError(f"maxEntry ({self.maxEntry}) is more than size ({self.size})")
        return self

    def settings(self) -> CacheSettings:
        """The same for the cache itself."""
        rules = Rules(
            frozenset[int](self.statuses),
            self.heuristics,
            self.staleWhileRevalidate,
            self.staleIfError,
            self.obeyClients,
        )
        return CacheSettings(self.size, self.maxEntry, rules)

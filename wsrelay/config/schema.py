# -*- test-case-name: tests.config.test_schema -*-
"""
What may stand in the configuration: one class for each kind of table.

The manual's page and the JSON Schema are made from these classes, so each key has its
description and an example there. What only a look at several tables can tell, a pool that
does not exist for one, is found by L{wsrelay.config.check}.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, PrivateAttr

from wsrelay.config.caches import Cache
from wsrelay.config.listeners import Listener
from wsrelay.config.pools import Pool
from wsrelay.config.routes import Route
from wsrelay.config.values import (
    LogFormat,
    Plane,
    Table,
    TextsOrNone,
    Use,
    WholeNumber,
    YesOrNo,
)
from wsrelay.observers.masks import SECRETS

__all__ = ["Configuration", "Plugin", "Relay", "jsonSchema"]


class Relay(Table):
    """What holds for everything."""

    plane: Plane = Field(
        default="auto",
        description="What moves the bytes: the native plane (Linux, when its extension is "
        'built) or the portable one. "auto" takes the native plane where it can; "native" '
        "refuses to start where it cannot.",
        examples=["portable"],
    )
    logFormat: LogFormat = Field(
        default="text",
        description="How log lines are written: for people, or one JSON object a line.",
        examples=["json"],
    )
    accessLog: YesOrNo = Field(
        default=True,
        description="Whether each tunnel, exchange and session leaves a line in the log when it "
        "has ended. Errors and warnings are logged anyway.",
        examples=[False],
    )

    maskQuery: TextsOrNone = Field(
        default=SECRETS,
        description="Query parameters whose values the log does not tell; * stands for "
        "anything. Authorization and cookies it never does.",
        examples=[["*token*", "pin"]],
    )
    reserve: WholeNumber | None = Field(
        default=None,
        description="How many of the file descriptors that the process may have are held back "
        "for backends, the log and refusals: a client whose connection would need one of them "
        "gets 503 (HTTP) or is closed. At most half of them. Not given: one in eight, at "
        "most 128.",
        examples=[100],
    )


class Plugin(Table):
    """A plugin, made once. All keys but C{use} are its own options."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    use: Use = Field(
        description="Which plugin: a name that --plugins lists, or module:object for one in "
        "a file of your own.",
        examples=["redact", "myplugins.tenants:byTenant"],
    )

    @property
    def options(self) -> dict[str, Any]:
        """Its own options, as they stand in the file; it checks them itself."""
        return dict(self.model_extra or {})


class Configuration(Table):
    """The whole file."""

    relay: Relay = Field(default=Relay(), description="What holds for everything.")
    listener: dict[str, Listener] = Field(default={}, description="Where clients arrive.")
    route: tuple[Route, ...] = Field(
        default=(), description="Where they go; the first match decides."
    )
    pool: dict[str, Pool] = Field(default={}, description="Groups of backends.")
    cache: dict[str, Cache] = Field(default={}, description="Response caches.")
    plugin: dict[str, Plugin] = Field(default={}, description="Configured plugins.")

    _directory: Path | None = PrivateAttr(None)

    @property
    def directory(self) -> Path | None:
        """Where relative file names in it begin; C{None} is where one stands."""
        return self._directory

    def at(self, directory: Path | None) -> Configuration:
        """The same, read from a file in C{directory}."""
        self._directory = None if directory is None else directory.absolute()
        return self


def jsonSchema() -> dict[str, Any]:
    """The JSON Schema of the file, for editors and C{--schema}."""
    schema = Configuration.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "wsrelay"
    return schema

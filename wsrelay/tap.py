# -*- test-case-name: tests.test_tap -*-
"""
C{twistd wsrelay}: the command line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.logger import jsonFileLogObserver
from twisted.python import usage

from wsrelay.config.build import build
from wsrelay.config.load import fromCommandLine, load
from wsrelay.config.makers import installedMakers
from wsrelay.config.schema import Configuration, jsonSchema
from wsrelay.errors import ConfigurationError
from wsrelay.l4.hub import Hub
from wsrelay.relay import RelayService

__all__ = ["Options", "makeService"]


class Options(usage.Options):
    """The options of C{twistd wsrelay}."""

    synopsis = "[options]"
    longdesc = (
        "Relays TCP connections (layer 4) and HTTP with WebSockets (layer 7), decided by "
        "plugins in Python. Give --listen and --to for the simple case, --config for "
        "everything, or --demo to see it."
    )
    optParameters = [
        ["config", "c", None, "The configuration, a TOML file."],
        ["plane", None, None, "What moves the bytes: auto, native or portable."],
        ["log-format", None, None, "text or json."],
        [
            "demo-port",
            None,
            8080,
            "Where --demo has its page; its layer 4 is on the port after it.",
            usage.portCoerce,
        ],
    ]
    optFlags = [
        ["check", None, "Load and build everything, report every error, exit with 0 or 1."],
        ["demo", None, "Show layer 4 and layer 7 side by side, with backends of its own."],
        ["schema", None, "Print the JSON Schema of the configuration and exit."],
        ["plugins", None, "List the installed plugins with their options and exit."],
    ]
    compData = usage.Completions(optActions={"config": usage.CompleteFiles("*.toml")})

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []
        self["to"] = []
        self["filter"] = []

    def opt_listen(self, endpoint: str) -> None:
        """Where to listen: any server endpoint string, tcp:8080 for one. May be repeated."""
        self["listen"].append(endpoint)

    def opt_to(self, url: str) -> None:
        """
        A backend: ws://, wss://, http://, https:// for layer 7, tcp:HOST:PORT, tls:HOST:PORT
        or unix:/PATH for layer 4. May be repeated.
        """
        self["to"].append(url)

    def opt_filter(self, use: str) -> None:
        """A plugin for everything that is relayed: its name or module:object. May be repeated."""
        self["filter"].append(use)

    def postOptions(self) -> None:
        """Do what needs no relay, and read the configuration."""
        if self["schema"]:
            _leave(json.dumps(jsonSchema(), indent=2))
        if self["plugins"]:
            _leave(describePlugins())
        try:
            self.configuration = self._configuration()
        except ConfigurationError as error:
            _fail(error)
        if self["check"]:
            self._check()
        if self.configuration.relay.logFormat == "json":
            self.parent["logger"] = self._jsonLog

    def _configuration(self) -> Configuration:
        simple = [name for name in ("listen", "to", "filter") if self[name]]
        if self["demo"] or self["config"] is not None:
            chosen = "--demo" if self["demo"] else "--config"
            if simple or (self["demo"] and self["config"] is not None):
                other = f"--{simple[0]}" if simple else "--config"
                raise ConfigurationError([f"{other}: cannot be used together with {chosen}"])
        if self["demo"]:
            from wsrelay.demo import configuration

            return self._overridden(configuration(self["demo-port"]))
        if self["config"] is not None:
            return self._overridden(load(self["config"]))
        return fromCommandLine(
            self["listen"],
            self["to"],
            self["filter"],
            self["plane"] or "auto",
            self["log-format"] or "text",
        )

    def _overridden(self, configuration: Configuration) -> Configuration:
        """What stands on the command line counts more than what stands in the file."""
        given = {"plane": self["plane"], "logFormat": self["log-format"]}
        changed = {key: value for key, value in given.items() if value is not None}
        if not changed:
            return configuration
        try:
            relay = type(configuration.relay)(**(configuration.relay.model_dump() | changed))
        except ValueError as error:
            raise ConfigurationError([f"command line: {error}"]) from None
        return configuration.model_copy(update={"relay": relay})

    def _check(self) -> None:
        from twisted.internet import reactor, task

        async def check() -> None:
            try:
                built = await build(self.configuration, Hub(reactor))
            except ConfigurationError as error:
                _fail(error)
            print(
                f"wsrelay: the configuration is fine: {len(built.listeners)} listeners, "
                f"{len(self.configuration.route)} routes, {len(built.pools)} pools, "
                f"{len(built.plugins)} plugins; plane: {built.plane.name}"
            )

        task.react(lambda _: Deferred.fromCoroutine(check()))

    def _jsonLog(self) -> Any:
        name = self.parent.get("logfile")
        stream = open(name, "a", encoding="utf-8") if name and name != "-" else sys.stdout
        return jsonFileLogObserver(stream, recordSeparator="")


def describePlugins(makers: Callable[[], dict[str, Any]] = installedMakers) -> str:
    """What C{--plugins} prints: each installed plugin, its description and options."""
    lines = []
    for name, maker in sorted(makers().items()):
        lines.append(f"{name}: {maker.description}")
        schema = maker.options.model_json_schema() if maker.options is not None else {}
        required = schema.get("required", ())
        for key, value in schema.get("properties", {}).items():
            kind = value.get("type", "value")
            default = "required" if key in required else f"default {value.get('default')!r}"
            about = value.get("description", "")
            lines.append(f"    {key} ({kind}, {default})" + (f": {about}" if about else ""))
    if not lines:
        return "No plugins are installed. A plugin in a file needs no installation: module:object."
    return "\n".join(lines)


def _leave(text: str) -> None:
    print(text)
    sys.exit(0)


def _fail(error: ConfigurationError) -> None:
    for problem in error.problems:
        print(f"wsrelay: {problem}", file=sys.stderr)
    sys.exit(1)


def makeService(options: Options) -> IService:
    """The service that C{twistd} runs."""
    from twisted.internet import reactor

    return RelayService(options.configuration, reactor)

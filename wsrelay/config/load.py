# -*- test-case-name: tests.config.test_load -*-
"""
From a file, its text, or the command line to a L{Configuration}.

It is read strictly, and everything that is wrong is reported at once, as one
L{ConfigurationError<wsrelay.errors.ConfigurationError>} with a sentence for each problem
(see L{wsrelay.config.problems}). Files named in it are neither opened nor looked for.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from wsrelay.config.caches import Cache
from wsrelay.config.check import Draft, Part, check
from wsrelay.config.listeners import Listener
from wsrelay.config.pools import Pool
from wsrelay.config.problems import found, keyOf, problemsOf, unknownKey
from wsrelay.config.routes import Route
from wsrelay.config.schema import Configuration, Plugin, Relay
from wsrelay.errors import ConfigurationError

__all__ = ["fromCommandLine", "load", "loads", "optionsProblems"]

_Table = TypeVar("_Table", bound=BaseModel)


def load(path: str | Path) -> Configuration:
    """
    Read a file. Relative file names in it are taken from its own directory.

    @raise ConfigurationError: it cannot be read, or something in it is wrong.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError([f"{path}: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigurationError([f"{path}: it is not UTF-8"]) from None
    return loads(text, path.parent)


def loads(text: str, directory: Path | None = None) -> Configuration:
    """
    Read the text of a file.

    @param directory: where relative file names in it begin; C{None} leaves them as they are.
    @raise ConfigurationError: something in it is wrong.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([_syntaxProblem(error)]) from None
    return _Reader(directory).read(raw)


_PLACE = re.compile(r"(.*) \(at (line \d+, column \d+|end of document)\)", re.DOTALL)


def _syntaxProblem(error: tomllib.TOMLDecodeError) -> str:
    match = _PLACE.fullmatch(str(error))
    return f"{match[2]}: {match[1]}; this is not TOML" if match else f"not TOML: {error}"


class _Reader:
    """Reads one configuration, gathering problems on the way."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._problems: list[str] = []

    def read(self, raw: dict[str, Any]) -> Configuration:
        known = Configuration.model_fields
        self._problems += [unknownKey(keyOf(key), key, known) for key in raw if key not in known]
        relay = self._part("relay", raw.get("relay", {}), Relay)
        draft = Draft(
            listeners=self._parts("listener", raw, Listener),
            routes=self._routes(raw.get("route", [])),
            pools=self._parts("pool", raw, Pool),
            caches=self._parts("cache", raw, Cache),
            plugins=self._parts("plugin", raw, Plugin),
        )
        self._problems += check(draft)
        if self._problems:
            raise ConfigurationError(self._problems)
        configuration = Configuration.model_validate(
            {
                "relay": relay.table,
                "listener": {
                    name: self._withFiles(part) for name, part in draft.listeners.items()
                },
                "route": tuple(part.table for part in draft.routes),
                "pool": {name: self._located(part) for name, part in draft.pools.items()},
                "cache": _tables(draft.caches),
                "plugin": _tables(draft.plugins),
            }
        )
        return configuration.at(self._directory)

    def _part(self, path: str, raw: Any, schema: type[_Table]) -> Part[_Table]:
        table = None
        try:
            table = schema.model_validate(raw)
        except ValidationError as error:
            self._problems += problemsOf(error, path, raw, schema)
        return Part(path, raw if isinstance(raw, dict) else {}, table)

    def _parts(
        self, kind: str, raw: dict[str, Any], schema: type[_Table]
    ) -> dict[str, Part[_Table]]:
        tables = raw.get(kind, {})
        if not isinstance(tables, dict):
            self._problems.append(f"{kind}: expected [{kind}.NAME], found {found(tables)}")
            return {}
        return {
            name: self._part(f"{kind}.{keyOf(name)}", each, schema)
            for name, each in tables.items()
        }

    def _routes(self, raw: Any) -> list[Part[Route]]:
        if not isinstance(raw, list):
            self._problems.append(f"route: expected [[route]], found {found(raw)}")
            return []
        return [self._route(number, each) for number, each in enumerate(raw, 1)]

    def _route(self, number: int, raw: Any) -> Part[Route]:
        path = f"route[{number}]"
        if isinstance(raw, dict):
            if isinstance(raw.get("name"), str):
                path = f"route[{number} {found(raw['name'])}]"
            raw = {"name": f"route {number}", **raw}
        return self._part(path, raw, Route)

    def _withFiles(self, part: Part[Listener]) -> Listener | None:
        """The listener, its pages and the files of its TLS found from the directory."""
        listener = part.table
        if listener is None or self._directory is None:
            return listener
        directory = self._directory.absolute()
        pages = {status: str(directory / file) for status, file in listener.errorPages.items()}
        tls = listener.tls and listener.tls.located(directory)
        return listener.model_copy(update={"errorPages": pages, "tls": tls})

    def _located(self, part: Part[Pool]) -> Pool | None:
        """The pool, its files found from the directory."""
        pool = part.table
        if pool is None or self._directory is None:
            return pool
        directory = self._directory.absolute()
        files = {"ca": pool.ca, "certificate": pool.certificate, "key": pool.key}
        named = {key: str(directory / file) for key, file in files.items() if file is not None}
        return pool.model_copy(update=named) if named else pool


def _tables(parts: dict[str, Part[_Table]]) -> dict[str, _Table | None]:
    return {name: part.table for name, part in parts.items()}


# ----------------------------------------------------------------------- command line

# What the options become, and so what their problems must be called.
_OPTIONS = (
    (re.compile(r"listener\.main[^:]*"), "--listen"),
    (re.compile(r"pool\.main[^:]*"), "--to"),
    (re.compile(r"plugin\.[^:]*|route\[1 \"main\"\]\.filters"), "--filter"),
    (re.compile(r"relay\.(\w+)"), r"--\1"),
)
_L4 = ("tcp", "tls", "unix")


def fromCommandLine(
    listen: Sequence[str],
    to: Sequence[str],
    filters: Sequence[str] = (),
    plane: str = "auto",
    logFormat: str = "text",
    accessLog: bool = True,
) -> Configuration:
    """
    The simple case without a file: one listener, one pool, one route, all named C{main}.

    @param listen: endpoint strings.
    @param to: backends. ws, wss, http and https make an L7 relay; tcp, tls and unix an L4 one.
    @param filters: plugins by name, or C{module:object}.
    @raise ConfigurationError: something in it is wrong.
    """
    needed = {"--listen": listen, "--to": to}
    if not all(needed.values()):
        problems = [f"{name}: needed at least once" for name in needed if not needed[name]]
        raise ConfigurationError(problems)
    plugins = _pluginTables(filters)
    raw = {
        "relay": {"plane": plane, "logFormat": logFormat, "accessLog": accessLog},
        "listener": {"main": {"endpoint": list(listen), "forwarder": _forwarder(to)}},
        "route": [{"name": "main", "pool": "main", "filters": list(plugins)}],
        "pool": {"main": {"backends": list(to)}},
        "plugin": plugins,
    }
    try:
        return _Reader().read(raw)
    except ConfigurationError as error:
        raise ConfigurationError([_asOption(problem) for problem in error.problems]) from None


def _forwarder(to: Sequence[str]) -> str:
    """What the backends ask for; which scheme is none at all is found later."""
    opaque = [url for url in to if url.partition(":")[0].lower() in _L4]
    if opaque and len(opaque) < len(to):
        other = next(url for url in to if url not in opaque)
        mixed = f"{found(opaque[0])} is L4 and {found(other)} is L7"
        raise ConfigurationError([f"--to: {mixed}; choose one, or write a file"])
    return "tcp" if opaque else "http"


def _pluginTables(filters: Sequence[str]) -> dict[str, dict[str, str]]:
    """A table for each, named by its last word; the second of a name gets a number."""
    tables: dict[str, dict[str, str]] = {}
    for use in filters:
        word = re.findall(r"\w+", use)[-1:] or ["filter"]
        name = word[0] if ":" in use else re.sub(r"[^\w.-]", "-", use) or "filter"
        tables[name if name not in tables else f"{name}-{len(tables) + 1}"] = {"use": use}
    return tables


def _asOption(problem: str) -> str:
    for path, option in _OPTIONS:
        if match := path.match(problem):
            return match.expand(option) + problem[match.end() :]
    return problem


# --------------------------------------------------------------------- plugin options


def optionsProblems(
    name: str, optionsClass: type[BaseModel] | None, raw: dict[str, Any]
) -> tuple[BaseModel | None, list[str]]:
    """
    Check a plugin's own options.

    @param name: the plugin's, as in C{[plugin.NAME]}.
    @param optionsClass: its maker's C{options}; C{None} takes none.
    @param raw: L{Plugin.options<wsrelay.config.schema.Plugin.options>}.
    @return: what to give to C{make}, and the problems; without problems it may be used.
    """
    path = f"plugin.{keyOf(name)}"
    if optionsClass is None:
        return None, [
            f"{path}.{keyOf(key)}: unknown key; this plugin has no options" for key in raw
        ]
    try:
        return optionsClass.model_validate(raw), []
    except ValidationError as error:
        return None, problemsOf(error, path, raw, optionsClass)

# -*- test-case-name: tests.config.test_check -*-
"""
What is wrong between the parts of a configuration, each of which may be right alone.

Names that refer to nothing, routes with no action or two, keys that would have no effect,
rules that could never apply. Looks at each part as it was written, and so also at those
that are wrong in themselves: one run tells everything.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

from attrs import Factory, define, frozen

from wsrelay.config.caches import Cache
from wsrelay.config.listeners import FORWARDERS, Listener
from wsrelay.config.pools import BALANCERS, TLS_KEYS, Pool
from wsrelay.config.problems import found, unknownName
from wsrelay.config.routes import ACTIONS, CHANGES, SETTINGS, Route
from wsrelay.config.schema import Plugin

__all__ = ["Draft", "Part", "check"]

_Table = TypeVar("_Table")


@frozen
class Part(Generic[_Table]):
    """
    One table of the file.

    @ivar path: what messages call it.
    @ivar raw: as it was written; empty if it is no table at all.
    @ivar table: as it was read; C{None} if it is wrong in itself.
    """

    path: str
    raw: dict[str, Any]
    table: _Table | None

    def given(self, keys: Iterable[str]) -> list[str]:
        """Those of C{keys} that were written, in the file's order."""
        wanted = set(keys)
        return [key for key in self.raw if key in wanted]

    def strings(self, key: str) -> list[str]:
        """What was written there, a string or a list of them, as a list."""
        value = self.raw.get(key, [])
        return [each for each in _asList(value) if isinstance(each, str)]


def _asList(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@define
class Draft:
    """The parts of a file, by name; routes in order."""

    listeners: dict[str, Part[Listener]] = Factory(dict)
    routes: list[Part[Route]] = Factory(list)
    pools: dict[str, Part[Pool]] = Factory(dict)
    caches: dict[str, Part[Cache]] = Factory(dict)
    plugins: dict[str, Part[Plugin]] = Factory(dict)


def check(draft: Draft) -> list[str]:
    """Every problem, one sentence each, in the order of the file's sections."""
    return [
        *_checkNames(draft),
        *_checkListeners(draft),
        *_checkRoutes(draft),
        *_checkPools(draft),
    ]


# ------------------------------------------------------------------------- all tables

_NAME = re.compile(r"\w[\w.-]*")


def _checkNames(draft: Draft) -> Iterator[str]:
    for parts in (draft.listeners, draft.pools, draft.caches, draft.plugins):
        for name, part in parts.items():
            if not _NAME.fullmatch(name):
                yield f'{part.path}: a name has letters, digits, "_", "-" and "." only'
    for name, plugin in draft.plugins.items():
        if name in (*FORWARDERS, *BALANCERS):
            yield f"{plugin.path}: this name is built in; choose another"
    if not draft.listeners:
        yield "listener: at least one [listener.NAME] is needed"


def _refer(part: Part[Any], key: str, kind: str, known: Iterable[str]) -> Iterator[str]:
    """The problems of a key that names others."""
    path, names, known = f"{part.path}.{key}", part.strings(key), list(known)
    for name in dict.fromkeys(names):
        if name not in known:
            yield unknownName(path, kind, name, known)
    yield from _twice(path, names)


def _twice(path: str, values: Iterable[str]) -> Iterator[str]:
    for value, count in Counter(values).items():
        if count > 1:
            yield f"{path}: {found(value)} stands there {count} times"


# -------------------------------------------------------------------------- listeners

_PLAIN = ("tcp:", "tcp6:", "unix:")
_TLS = ("tls:", "ssl:")

# Forwarders of layer 4.
_L4 = {"tcp", "tls-terminate", "tls-passthrough"}

# The keys of a listener that its forwarder does not look at.
_HTTP_KEYS = (
    *("keepAliveTimeout", "maxHead", "maxHeaders"),
    *("trusted", "trustedFields", "forwarded", "errorPages"),
)
_IDLE_KEYS = {
    "tcp": _HTTP_KEYS,
    "tls-terminate": _HTTP_KEYS,
    "tls-passthrough": _HTTP_KEYS,
}


def _checkListeners(draft: Draft) -> Iterator[str]:
    owners: dict[str, Part[Listener]] = {}
    for part in draft.listeners.values():
        yield from _refer(part, "forwarder", "forwarder", [*FORWARDERS, *draft.plugins])
        yield from _refer(part, "policies", "plugin", draft.plugins)
        yield from _refer(part, "pool", "pool", draft.pools)
        yield from _checkForwarder(part, draft)
        yield from _checkTermination(part)
        yield from _twice(f"{part.path}.endpoint", part.strings("endpoint"))
        for endpoint in part.strings("endpoint"):
            owner = owners.setdefault(endpoint, part)
            if owner is not part:
                yield f"{part.path}.endpoint: {owner.path} has {found(endpoint)} already"


def _checkForwarder(part: Part[Listener], draft: Draft) -> Iterator[str]:
    forwarder = _forwarder(part)
    # There is nothing to wait for but TLS.
    isBare = forwarder == "tcp" and not _mayEndTLS(part)
    for key in part.given((*_IDLE_KEYS.get(forwarder, ()), *(["headTimeout"] * isBare))):
        yield f"{part.path}.{key}: has no effect with forwarder {found(forwarder)}"
    if forwarder in FORWARDERS and forwarder != "detect":
        for key in part.given(("passthrough", "detectTimeout")):
            yield f'{part.path}.{key}: needs forwarder "detect"'
    elif "passthrough" in part.raw and "tls" not in part.raw:
        yield f"{part.path}.passthrough: has no effect without a tls table: all TLS passes through"
    if "proxyProtocol" in part.raw:
        for endpoint in part.strings("endpoint"):
            if endpoint.startswith("haproxy:"):
                yield f"{part.path}.proxyProtocol: {found(endpoint)} expects a header already"
    if "trustedFields" in part.raw and "trusted" not in part.raw:
        yield f"{part.path}.trustedFields: has no effect without trusted"
    if forwarder in FORWARDERS and not (draft.routes or draft.plugins or "pool" in part.raw):
        yield f"{part.path}: there is no route, and this listener has no pool"
    if forwarder == "tls-passthrough":
        for endpoint in part.strings("endpoint"):
            if endpoint.startswith(_TLS):
                yield f"{part.path}.endpoint: {found(endpoint)} ends TLS, so none passes through"


def _mayEndTLS(part: Part[Listener]) -> bool:
    """Whether TLS may end at this listener; C{systemd:} sockets may be anything."""
    isPlain = all(each.startswith(_PLAIN) for each in part.strings("endpoint"))
    # A balancer in front may tell of TLS, too; and a header must come in time.
    return "tls" in part.raw or "proxyProtocol" in part.raw or not isPlain


def _checkTermination(part: Part[Listener]) -> Iterator[str]:
    forwarder = _forwarder(part)
    if "tls" not in part.raw:
        if forwarder == "tls-terminate":
            yield f"{part.path}: forwarder {found(forwarder)} needs a [{part.path}.tls] table"
        return
    path = f"{part.path}.tls"
    if forwarder == "tls-passthrough":
        yield f'{path}: ends TLS, so none passes through; forwarder "tls-terminate" is for that'
    for endpoint in part.strings("endpoint"):
        if endpoint.startswith(_TLS):
            right = f"tcp:{endpoint.split(':')[1]}"
            yield f"{path}: {found(endpoint)} ends TLS already; it would be {found(right)}"
    table = part.raw["tls"]
    if isinstance(table, dict):
        yield from _checkClients(path, table)
        if table.get("ciphers") == "modern" and table.get("minimumVersion") == "TLSv1.2":
            yield f'{path}.minimumVersion: ciphers "modern" are TLS 1.3 only'


def _checkClients(path: str, table: dict[str, Any]) -> Iterator[str]:
    asking = table.get("clientCertificates", "none")
    if asking == "none":
        for key in ("clientCA", "clientDepth"):
            if key in table:
                yield f'{path}.{key}: has no effect without clientCertificates = "require"'
    elif "clientCA" not in table:
        if asking == "require":
            yield f'{path}.clientCertificates: "require" needs clientCA, by which to trust them'
        if "clientDepth" in table:
            yield f"{path}.clientDepth: has no effect without clientCA"


def _forwarder(part: Part[Listener]) -> str:
    return str(part.raw.get("forwarder", "http"))


# ----------------------------------------------------------------------------- routes

# What only requests have, and what only exchanges and WebSockets have.
_L7_KEYS = (
    *("host", "method", "path", "pathPrefix", "pathRegex", "header", "query", "cookie"),
    *("respond", "redirect", "serve", *CHANGES),
    *("responseTimeout", "maxFrame", "maxMessage", "maxFragments", "maxControlRate"),
    *("maxBody", "cache", "compression"),
)
_TLS_KEYS = ("serverName", "alpn")


def _checkRoutes(draft: Draft) -> Iterator[str]:
    owners: dict[str, Part[Route]] = {}
    for part in draft.routes:
        yield from _refer(part, "listener", "listener", draft.listeners)
        yield from _refer(part, "pool", "pool", draft.pools)
        yield from _refer(part, "cache", "cache", draft.caches)
        yield from _refer(part, "serve", "plugin", draft.plugins)
        yield from _refer(part, "filters", "plugin", draft.plugins)
        yield from _checkAction(part)
        yield from _checkLayer(part, draft)
        for name in part.strings("name"):
            owner = owners.setdefault(name, part)
            if owner is not part:
                yield f"{part.path}.name: {owner.path} has this name already"


def _checkAction(part: Part[Route]) -> Iterator[str]:
    actions = part.given(ACTIONS)
    if len(actions) != 1:
        count = " and ".join(actions) or "none"
        yield f"{part.path}: expected one action ({', '.join(ACTIONS)}), found {count}"
    elif actions != ["pool"]:
        for key in part.given(("filters", "cache", *CHANGES, *SETTINGS)):
            yield f"{part.path}.{key}: has no effect with the action {actions[0]}"


def _checkLayer(part: Part[Route], draft: Draft) -> Iterator[str]:
    """Keys that cannot mean anything on any listener that the route may see."""
    names = part.strings("listener") or list(draft.listeners)
    listeners = [draft.listeners[name] for name in names if name in draft.listeners]
    forwarders = {_forwarder(listener) for listener in listeners}
    if not forwarders or not forwarders <= _L4:
        return
    for key in part.given(_L7_KEYS):
        yield f'{part.path}.{key}: needs a listener with forwarder "http" (L7)'
    if forwarders == {"tcp"} and not any(map(_mayEndTLS, listeners)):
        for key in part.given(_TLS_KEYS):
            yield f'{part.path}.{key}: needs a listener with forwarder "tls-passthrough"'


# ------------------------------------------------------------------------------ pools


def _checkPools(draft: Draft) -> Iterator[str]:
    for part in draft.pools.values():
        yield from _refer(part, "balancer", "balancer", [*BALANCERS, *draft.plugins])
        if part.table is not None:
            yield from _checkPool(part, part.table)


def _checkPool(part: Part[Pool], pool: Pool) -> Iterator[str]:
    yield from _twice(f"{part.path}.backends", (backend.url for backend in pool.backends))
    if not any(backend.destination().isSecure for backend in pool.backends):
        for key in part.given(TLS_KEYS):
            yield f"{part.path}.{key}: has no effect, since no backend has TLS (wss, https, tls)"
        return
    if pool.ca is not None and not pool.verify:
        yield f"{part.path}.ca: has no effect with verify = false"
    if pool.key is not None and pool.certificate is None:
        yield f"{part.path}.key: has no effect without certificate"

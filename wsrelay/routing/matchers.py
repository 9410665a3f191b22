# -*- test-case-name: tests.routing.test_matchers -*-
"""
Conditions: one small class each, all with C{matches(inbound)}.

Everything is compiled when the object is made, and a pattern that could never match is a
C{ValueError} there, with a sentence for the operator. Several patterns mean any of them.
A condition on the request never holds at L4, where there is none.

Words: a I{pattern} is an exact string unless it holds C{*}, which stands for any run of
characters, empty ones and C{/} included; a I{name pattern} is a host name, or C{*.} and a
name for everything below that name.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from attrs import field, frozen

from wsrelay.model import Inbound
from wsrelay.routing.paths import normalPath, normalPattern

__all__ = [
    "AlpnMatcher",
    "CookieMatcher",
    "Glob",
    "HeaderMatcher",
    "HostMatcher",
    "ListenerMatcher",
    "Matcher",
    "MethodMatcher",
    "NetworkMatcher",
    "PathMatcher",
    "PathPrefixMatcher",
    "PathRegexMatcher",
    "QueryMatcher",
    "ServerNameMatcher",
]


class Matcher(Protocol):
    """One condition of a rule."""

    def matches(self, inbound: Inbound) -> bool:
        """Whether it holds for this client."""


# ------------------------------------------------------------------------- patterns


class Glob:
    """
    A pattern with C{*}, matched in time linear in the text.

    Not C{fnmatch}: that backtracks, and the text is the client's.
    """

    __slots__ = ("_first", "_last", "_least", "_middle")

    def __init__(self, pattern: str) -> None:
        self._first, *middle, self._last = pattern.split("*")
        self._middle = [piece for piece in middle if piece]
        self._least = len(self._first) + len(self._last)

    def matches(self, text: str) -> bool:
        """Whether all of C{text} matches."""
        if len(text) < self._least:
            return False
        if not (text.startswith(self._first) and text.endswith(self._last)):
            return False
        at, end = len(self._first), len(text) - len(self._last)
        for piece in self._middle:  # the leftmost place is never the wrong one
            at = text.find(piece, at, end)
            if at < 0:
                return False
            at += len(piece)
        return True


class _Patterns:
    """Exact strings and globs; any of them."""

    __slots__ = ("_exact", "_globs")

    def __init__(self, patterns: Iterable[str]) -> None:
        every = list(patterns)
        self._exact = frozenset(pattern for pattern in every if "*" not in pattern)
        self._globs = [Glob(pattern) for pattern in every if "*" in pattern]

    def match(self, text: str) -> bool:
        return text in self._exact or any(glob.matches(text) for glob in self._globs)

    def matchAny(self, texts: Iterable[str]) -> bool:
        return any(self.match(text) for text in texts)


_NAME = re.compile(r"(?!-)[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")


class _Names:
    """Host names and wildcards; any of them."""

    __slots__ = ("_exact", "_suffixes")

    def __init__(self, patterns: Iterable[str]) -> None:
        names = [_namePattern(pattern) for pattern in patterns]
        self._exact = frozenset(name for name in names if not name.startswith("*"))
        self._suffixes = tuple(name[1:] for name in names if name.startswith("*"))

    def match(self, name: str) -> bool:
        name = name.removesuffix(".")
        return name in self._exact or (name.endswith(self._suffixes) and not name.startswith("."))


def _namePattern(pattern: str) -> str:
    """A name pattern in lower case and without the final dot, or C{ValueError}."""
    name = pattern.lower().removesuffix(".").removeprefix("[").removesuffix("]")
    if _NAME.fullmatch(name.removeprefix("*.")) or _isAddress(name):
        return name
    if not name.isascii():
        raise ValueError(f'"{pattern}": write the name as it is sent, in ASCII ("xn--...")')
    if ":" in name:
        raise ValueError(f'"{pattern}": names are compared without the port; leave it out')
    if "*" in name:
        raise ValueError(f'"{pattern}": a wildcard is "*." and a name, as in "*.example.org"')
    raise ValueError(f'"{pattern}" is not a host name')


def _isAddress(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


# ----------------------------------------------------------------- about the connection


def _strings(strings: Iterable[str]) -> frozenset[str]:
    return frozenset(strings)


@frozen
class ListenerMatcher:
    """It came to one of these listeners."""

    names: frozenset[str] = field(converter=_strings)

    def matches(self, inbound: Inbound) -> bool:
        """Whether it holds for this client."""
        return inbound.listener in self.names


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(pattern: str) -> _Network:
    try:
        network = ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        raise ValueError(f'"{pattern}" is not an IP address or network') from None
    if "/" in pattern and str(network.network_address) != str(
        ipaddress.ip_address(pattern.partition("/")[0])
    ):
        raise ValueError(f'"{pattern}" is an address inside a network; write "{network}"')
    if network.version == 6 and network.network_address.ipv4_mapped:
        raise ValueError(f'"{pattern}": clients by IPv4 are compared as IPv4; write it so')
    return network


def _networks(patterns: Iterable[str]) -> tuple[_Network, ...]:
    return tuple(_network(pattern) for pattern in patterns)


@frozen
class NetworkMatcher:
    """The client's address is in one of these networks; a UNIX socket is in none."""

    networks: tuple[_Network, ...] = field(converter=_networks)

    def matches(self, inbound: Inbound) -> bool:
        """Whether it holds for this client."""
        address = inbound.client.ip
        return address is not None and any(address in network for network in self.networks)


@frozen
class ServerNameMatcher:
    """The client asked for one of these names in its TLS handshake (RFC 6066 section 3)."""

    names: _Names = field(converter=_Names)

    def matches(self, inbound: Inbound) -> bool:
        """Whether it holds for this client."""
        return self.names.match(inbound.serverName or "")


@frozen
class AlpnMatcher:
    """The client's TLS handshake has one of these protocols (RFC 7301)."""

    protocols: frozenset[str] = field(converter=_strings)

    def matches(self, inbound: Inbound) -> bool:
        """Whether it holds for this client."""
        return not self.protocols.isdisjoint(inbound.alpn)


# -------------------------------------------------------------------- about the request


@frozen
class HostMatcher:
    """C{Host} is one of these names, whatever its case, port or final dot."""

    names: _Names = field(converter=_Names)

    def matches(self, inbound: Inbound) -> bool:
        """Whether it holds for this client."""
        request = inbound.request
        return request is not None and self.names.match(request.host)


_METHODS = frozenset(
    ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
)


def _methods(methods: Iterable[str]) -> frozenset[str]:
    named = frozenset(methods)
    for method in sorted(named):
        if method.upper() in _METHODS and method not in _METHODS:
            raise ValueError(f'"{method}": methods are case-sensitive; write "{method.upper()}"')
    return named


@frozen
class MethodMatcher:
    """The method is one of these; case matters (RFC 9110 section 9.1)."""

    methods: frozenset[str] = field(converter=_methods)

    def matches(self, inbound: Inbound) -> bool:
        """Whether it holds for this client."""
        return inbound.request is not None and inbound.request.method in self.methods


def _pathPatterns(patterns: Iterable[str]) -> _Patterns:
    return _Patterns(normalPattern(pattern) for pattern in patterns)


@frozen
class PathMatcher:
    """
    The whole path, in normal form, matches one of these patterns.

    Like the other conditions on the path it raises
    L{BadRequest<wsrelay.errors.BadRequest>} for a path without normal form: neither yes nor
    no would be safe.
    """

    patterns: _Patterns = field(converter=_pathPatterns)

    def matches(self, inbound: Inbound) -> bool:
        """Whether it holds for this client."""
        request = inbound.request
        return request is not None and self.patterns.match(normalPath(request.path))


class _Prefixes:
    __slots__ = ("_below", "_exact")

    def __init__(self, prefixes: Iterable[str]) -> None:
        normal = [normalPattern(prefix) for prefix in prefixes]
        self._exact = frozenset(normal)
        self._below = tuple(prefix.removesuffix("/") + "/" for prefix in normal)

    def match(self, path: str) -> bool:
        return path in self._exact or path.startswith(self._below)


@frozen
class PathPrefixMatcher:
    """
    The path, in normal form, is one of these or below it, by whole segments: C{/api} holds
    for C{/api} and C{/api/x}, not for C{/apix}; C{/api/} not for C{/api}.
    """

    prefixes: _Prefixes = field(converter=_Prefixes)

    def matches(self, inbound: Inbound) -> bool:
        """Whether it holds for this client."""
        request = inbound.request
        return request is not None and self.prefixes.match(normalPath(request.path))


def _regexes(patterns: Iterable[str]) -> tuple[re.Pattern[str], ...]:
    return tuple(_regex(pattern) for pattern in patterns)


def _regex(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f'"{pattern}" is not a regular expression: {error}') from None


@frozen
class PathRegexMatcher:
    """The whole path, in normal form, matches one of these regular expressions."""

    regexes: tuple[re.Pattern[str], ...] = field(converter=_regexes)

    def matches(self, inbound: Inbound) -> bool:
        """Whether it holds for this client."""
        request = inbound.request
        if request is None:
            return False
        path = normalPath(request.path)
        return any(regex.fullmatch(path) for regex in self.regexes)


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2


def _token(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f'"{name}" is not a name that HTTP allows there')
    return name


def _wirePatterns(patterns: Iterable[str]) -> _Patterns:
    """Header values are read as one character for each byte, so patterns are too."""
    return _Patterns(pattern.encode("utf-8").decode("latin-1") for pattern in patterns)


@frozen
class HeaderMatcher:
    """The request has a field of this name, in any case, with one of these values."""

    name: str = field(converter=_token)
    patterns: _Patterns = field(converter=_wirePatterns)

    def matches(self, inbound: Inbound) -> bool:
        """Whether it holds for this client."""
        request = inbound.request
        return request is not None and self.patterns.matchAny(request.headers.getAll(self.name))


@frozen
class CookieMatcher:
    """The request has a cookie of this name with one of these values."""

    name: str = field(converter=_token)
    patterns: _Patterns = field(converter=_wirePatterns)

    def matches(self, inbound: Inbound) -> bool:
        """Whether it holds for this client."""
        request = inbound.request
        if request is None:
            return False
        value = request.cookies.get(self.name)
        return value is not None and self.patterns.match(value)


@frozen
class QueryMatcher:
    """The query has a parameter of this name with one of these values."""

    name: str
    patterns: _Patterns = field(converter=_Patterns)

    def matches(self, inbound: Inbound) -> bool:
        """Whether it holds for this client."""
        request = inbound.request
        if request is None:
            return False
        values: Sequence[str] = request.query.get(self.name, ())
        return self.patterns.matchAny(values)

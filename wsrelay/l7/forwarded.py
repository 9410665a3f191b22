# -*- test-case-name: tests.l7.test_forwarded -*-
"""
What proxies say about a client: what is believed of it, and what the relay says itself.

Each proxy appends what it saw, so a chain is read from its right end, one I{hop} at a time,
for as long as the hop is a proxy that is trusted. The first that is not is the client, and
nothing to the left of it is looked at: a client may have written it.

Only one family of fields is read, C{X-Forwarded-*} or C{Forwarded} (RFC 7239). A proxy that
writes one of them passes the other on as its client wrote it, so reading both would be
believing the client.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import IPv6Address, ip_address
from types import MappingProxyType
from typing import TypeAlias

from attrs import evolve, frozen

from wsrelay.model import Address, Headers, Inbound, Request
from wsrelay.routing.matchers import NetworkMatcher
from wsrelay.rules import isHost

__all__ = ["FAMILIES", "SAYINGS", "Saying", "Trust", "sayXForwarded"]

Saying: TypeAlias = Callable[[Inbound, bytes], list[tuple[bytes, bytes]]]

#: The fields that may be believed.
FAMILIES = ("x-forwarded", "rfc7239")

# More proxies than anybody has in a row.
_MAX_HOPS = 32

_MAX_KNOWN = 1024


# ------------------------------------------------------------------------- believing


@frozen
class _Hop:
    """What one proxy said about whom it talked to; empty where it did not say."""

    address: Address
    proto: str = ""
    host: str = ""


class _Malformed(Exception):
    """A trusted proxy said something that means nothing."""


class Trust:
    """
    Which proxies are believed, and what they say it in.
    """

    def __init__(self, networks: Iterable[str], family: str = "x-forwarded") -> None:
        """
        @param networks: addresses and networks, and C{"unix"} for all UNIX sockets.
        @param family: one of L{FAMILIES}.
        @raise ValueError: a network is none, or there is no such family.
        """
        named = list(networks)
        self._networks = NetworkMatcher([each for each in named if each != "unix"]).networks
        self._trustsUnix = "unix" in named
        if family not in FAMILIES:
            raise ValueError(f'trusted fields are "x-forwarded" or "rfc7239", not "{family}"')
        self._hops = _xForwarded if family == "x-forwarded" else _forwarded
        self._known: dict[str, bool] = {}

    def covers(self, address: Address) -> bool:
        """Whether this is a proxy that is believed."""
        known = self._known.get(address.host)
        if known is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            known = self._known[address.host] = self._covers(address)
        return known

    def _covers(self, address: Address) -> bool:
        number = address.ip
        if number is None:
            return self._trustsUnix and address.host.startswith("unix:")
        return any(number in network for network in self._networks)

    def believed(self, inbound: Inbound) -> Inbound:
        """
        The facts as the proxies in front of this relay know them, if the peer is one of them.

        Client, C{secure}, port of C{local} and C{Host} are replaced where they are said. What
        is malformed before the client is reached is ignored as a whole: then the peer is the
        client.
        """
        request = inbound.request
        if request is None or not self.covers(inbound.client):
            return inbound
        try:
            return self._walked(inbound, request)
        except _Malformed:
            return inbound

    def _walked(self, inbound: Inbound, request: Request) -> Inbound:
        via: list[Address] = []
        client, last = inbound.client, None
        for hop in self._hops(request.headers):
            via.append(client)
            client, last = hop.address, hop
            if not self.covers(client):
                break
            if len(via) == _MAX_HOPS:
                raise _Malformed
        proto, host, port = _said(request.headers, last, len(via) - 1, self._hops)
        return evolve(
            inbound,
            client=client,
            via=tuple(reversed(via)),
            secure=proto in ("https", "wss") if proto else inbound.secure,
            local=evolve(inbound.local, port=port) if port else inbound.local,
            request=_withHost(request, host) if host else request,
        )


def _elements(headers: Headers, name: bytes) -> list[str]:
    """The elements of a list field, the last one first, as they were written."""
    lines = headers.rawAll(name)
    return b",".join(lines).decode("latin-1").split(",")[::-1] if lines else []


# --------------------------------------------------------------------- X-Forwarded-*

_PORT = re.compile(r"[1-9][0-9]{0,4}")
_NODE = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::([0-9]{1,5}))?|([0-9.]{7,15})(?::([0-9]{1,5}))?")


def _address(node: str) -> Address:
    """RFC 7239 section 6, without what names no address."""
    match = _NODE.fullmatch(node)
    if match is None:
        raise _Malformed
    v6, v6Port, v4, v4Port = match.groups()
    port = int(v6Port or v4Port or 0)
    return Address(_number(v6 or v4, v6 is not None), port if port < 65536 else 0)


def _number(text: str, isV6: bool) -> str:
    try:
        number = ip_address(text)
    except ValueError:
        raise _Malformed from None
    if isinstance(number, IPv6Address) is not isV6:
        raise _Malformed
    return str(getattr(number, "ipv4_mapped", None) or number)


def _xForwarded(headers: Headers) -> Iterator[_Hop]:
    for element in _elements(headers, b"x-forwarded-for"):
        node = element.strip(" \t")
        isBareV6 = node.count(":") > 1 and not node.startswith("[")
        yield _Hop(_address(f"[{node}]" if isBareV6 else node))


def _said(
    headers: Headers, last: _Hop | None, index: int, hops: Callable[[Headers], Iterator[_Hop]]
) -> tuple[str, str, int]:
    """
    Protocol, host and port as the client used them.

    @param last: the hop that is the client.
    @param index: its place from the right.
    """
    if hops is _forwarded:
        return (last.proto, last.host, 0) if last is not None else ("", "", 0)
    proto = _single(headers, b"x-forwarded-proto", index).lower()
    host = _single(headers, b"x-forwarded-host", index)
    port = _single(headers, b"x-forwarded-port", index)
    if (port and (not _PORT.fullmatch(port) or int(port) > 65535)) or not _areFine(proto, host):
        raise _Malformed
    return proto, host, int(port or 0)


def _single(headers: Headers, name: bytes, index: int) -> str:
    """The one value, or that of the hop where each proxy appended one."""
    values = _elements(headers, name)
    if not values:
        return ""
    if len(values) == 1:
        return values[0].strip(" \t")
    if not 0 <= index < len(values):
        raise _Malformed
    return values[index].strip(" \t")


def _areFine(proto: str, host: str) -> bool:
    return proto in ("", "http", "https", "ws", "wss") and (not host or isHost(host))


def _withHost(request: Request, host: str) -> Request:
    """The same request with this C{Host}."""
    raw = host.encode("ascii")
    fields = [pair for pair in request.headers.raw if pair[0].lower() != b"host"]
    return evolve(request, headers=Headers([(b"Host", raw), *fields]))


# ------------------------------------------------------------------ Forwarded, RFC 7239

# A comma in a quoted string is not read as what it is: no node, protocol or host has one, and
# whoever may write the left part of a chain must not change how the right part is read.
_PAIR = re.compile(
    r"[ \t]*+([!#$%&'*+.^_`|~0-9A-Za-z-]++)=(?:([!#$%&'*+.^_`|~0-9A-Za-z-]++)|\"([^\"\\]*+)\")"
    r"[ \t]*+(?:;|\Z)"
)


def _forwarded(headers: Headers) -> Iterator[_Hop]:
    for element in _elements(headers, b"forwarded"):
        pairs = _pairs(element)
        proto, host = pairs.get("proto", "").lower(), pairs.get("host", "")
        if "for" not in pairs or not _areFine(proto, host):
            raise _Malformed
        yield _Hop(_address(pairs["for"]), proto, host)


def _pairs(element: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    at = 0
    while at < len(element):
        match = _PAIR.match(element, at)
        if match is None or match[1].lower() in pairs:
            raise _Malformed
        pairs[match[1].lower()] = match[2] or match[3] or ""
        at = match.end()
    return pairs


# ------------------------------------------------------------------------------ saying


_HTTP = (b"X-Forwarded-Proto", b"http")
_HTTPS = (b"X-Forwarded-Proto", b"https")


def sayXForwarded(inbound: Inbound, host: bytes) -> list[tuple[bytes, bytes]]:
    """
    Who asked, how, and for which host, in C{X-Forwarded-*}.

    @param host: C{Host} as the client sent it.
    """
    chain = inbound.client.name
    if inbound.via:
        chain = ", ".join([chain, *[hop.name for hop in inbound.via]])
    proto = _HTTPS if inbound.secure else _HTTP
    return [(b"X-Forwarded-For", chain.encode("ascii")), proto, (b"X-Forwarded-Host", host)]


def _sayForwarded(inbound: Inbound, host: bytes) -> list[tuple[bytes, bytes]]:
    """The same in C{Forwarded}; protocol and host are the first hop's."""
    first, *others = [_node(each) for each in (inbound.client, *inbound.via)]
    quoted = _quoted(host.decode("ascii"))
    said = [f"{first};proto={'https' if inbound.secure else 'http'};host={quoted}", *others]
    return [(b"Forwarded", ", ".join(said).encode("ascii"))]


def _node(address: Address) -> str:
    name = address.name
    return "for=" + (f'"[{name}]"' if ":" in name else name)


def _quoted(host: str) -> str:
    return f'"{host}"' if ":" in host else host


def _sayBoth(inbound: Inbound, host: bytes) -> list[tuple[bytes, bytes]]:
    return sayXForwarded(inbound, host) + _sayForwarded(inbound, host)


def _sayNothing(inbound: Inbound, host: bytes) -> list[tuple[bytes, bytes]]:
    return []


#: What the relay may tell backends, by the words of the configuration.
SAYINGS: Mapping[str, Saying] = MappingProxyType(
    {
        "x-forwarded": sayXForwarded,
        "rfc7239": _sayForwarded,
        "both": _sayBoth,
        "off": _sayNothing,
    }
)

# -*- test-case-name: tests.filters.test_networks -*-
"""
Lets clients in by the network they come from.

C{deny} wins; where there is C{allow}, everybody else is refused. The client is
L{Inbound.client<wsrelay.model.Inbound.client>}: who connected, or whom a trusted proxy names.
A client on a UNIX socket is in no network.

It is a request filter for the routes that name it (403), or a policy for whole listeners, at
layer 4 as well (the connection is closed); never both, since a policy is asked about
everything by every listener that does not name its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from zope.interface import implementer

from wsrelay.filters.refusals import refusal
from wsrelay.interfaces import IExchange, IRequestFilter, IRoutingPolicy, Options
from wsrelay.model import Inbound, Refuse, Respond

__all__ = ["NetworkFilter", "NetworkPolicy", "NetworkSet", "NetworksOptions"]

_Network = IPv4Network | IPv6Network
_MAPPED = IPv6Network("::ffff:0:0/96")


def _network(text: str) -> _Network:
    """A network; one of IPv4 addresses in IPv6 as what it means, as clients' addresses are."""
    try:
        network = ip_network(text)
    except ValueError as error:
        raise ValueError(f"expected an IP address or network (CIDR): {error}") from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        number = int(network.network_address) & 0xFFFF_FFFF
        return IPv4Network((number, network.prefixlen - 96))
    return network


def _checked(text: str) -> str:
    _network(text)
    return text


_Text = Annotated[str, AfterValidator(_checked)]


class NetworksOptions(Options):
    """What may stand in the plugin's table."""

    allow: list[_Text] = Field(
        default=[],
        description="the networks whose clients may come in; if there are any, nobody else may",
        examples=[["10.0.0.0/8", "2001:db8::/32"]],
    )
    deny: list[_Text] = Field(
        default=[],
        description="the networks whose clients may not come in, even if allow has them",
        examples=[["10.66.0.0/16", "192.0.2.7"]],
    )
    apply: Literal["routes", "listeners"] = Field(
        default="routes",
        description='"routes": a filter of the routes that name it, at layer 7; "listeners": a '
        "policy of the listeners that name it, or that name none, at both layers",
        examples=["listeners"],
    )

    @model_validator(mode="after")
    def _checkAny(self) -> NetworksOptions:
        if not (self.allow or self.deny):
            raise ValueError("expected allow or deny, or both")
        return self


class NetworkSet:
    """
    Networks, to be asked about addresses: one look-up for each length of prefix, however many
    networks there are.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        self._prefixes: dict[tuple[int, int], set[int]] = {}
        for network in map(_network, networks):
            shift = network.max_prefixlen - network.prefixlen
            prefixes = self._prefixes.setdefault((network.version, shift), set())
            prefixes.add(int(network.network_address) >> shift)

    def __bool__(self) -> bool:
        return bool(self._prefixes)

    def __contains__(self, address: IPv4Address | IPv6Address | None) -> bool:
        if address is None:
            return False
        number, version = int(address), address.version
        return any(
            version == each and number >> shift in prefixes
            for (each, shift), prefixes in self._prefixes.items()
        )


class _Door:
    """Says who may not come in."""

    def __init__(self, options: NetworksOptions) -> None:
        self._allow = NetworkSet(options.allow)
        self._deny = NetworkSet(options.deny)

    def refuses(self, inbound: Inbound) -> bool:
        """Whether this client stays outside."""
        address = inbound.client.ip
        return address in self._deny or (bool(self._allow) and address not in self._allow)


@implementer(IRequestFilter)
class NetworkFilter(_Door):
    """For routes."""

    _forbidden = refusal(403)

    def requestReceived(self, exchange: IExchange) -> Respond | None:
        """403, or nothing."""
        return self._forbidden if self.refuses(exchange.inbound) else None

    def responseReceived(self, exchange: IExchange) -> Respond | None:
        """Answers pass."""
        return None


@implementer(IRoutingPolicy)
class NetworkPolicy(_Door):
    """For listeners."""

    def route(self, inbound: Inbound) -> Refuse | None:
        """Refuse, or leave it to the next policy."""
        return Refuse(f"{inbound.client.host} may not come in") if self.refuses(inbound) else None

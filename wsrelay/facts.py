# -*- test-case-name: tests.test_facts -*-
"""
What is known of a client, its request and its answer.

An L{Inbound} is everything about a client before anybody decided anything; its L{Request} is
the only reading of the request that there is. What the other side gets is a copy that request
filters edit: L{OutboundRequest} and L{OutboundResponse}. All else is frozen.

These names are also found in L{wsrelay.model}, which is where to import them from.
"""

from __future__ import annotations

import ipaddress
from base64 import b64encode
from collections.abc import Mapping
from functools import cached_property
from urllib.parse import parse_qs

from attrs import define, field, frozen

from wsrelay.headers import Headers, MutableHeaders

__all__ = [
    "Address",
    "ClientCertificate",
    "Inbound",
    "OutboundRequest",
    "OutboundResponse",
    "Request",
    "Response",
]


@frozen
class Address:
    """
    One end of a connection.

    @ivar host: an IP address in text; C{"unix:"} and the path (which may be empty) for a
        UNIX socket.
    @ivar port: the TCP port; 0 for a UNIX socket, and where it is not known.
    """

    host: str
    port: int = 0

    def __str__(self) -> str:
        if not self.port:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def name(self) -> str:
        """The host alone, never IPv4 in IPv6; a UNIX socket is C{"unknown"} (RFC 7239 6.2)."""
        if ":" not in self.host:
            return self.host
        return str(self.ip or "unknown")

    @property
    def ip(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The address as a number, IPv4 in IPv6 unwrapped; C{None} for a UNIX socket."""
        try:
            number = ipaddress.ip_address(self.host.partition("%")[0])
        except ValueError:
            return None
        return getattr(number, "ipv4_mapped", None) or number


@frozen
class Request:
    """
    One HTTP request head as the relay read it. There is no other reading of it.

    @ivar method: in the case it was written.
    @ivar target: the request target as it was written: path and query in origin-form (an
        absolute-form target was taken apart when the head was read).
    @ivar headers: all fields, in order.
    @ivar version: (1, 0) or (1, 1).
    """

    method: str
    target: str
    headers: Headers
    version: tuple[int, int] = (1, 1)

    @cached_property
    def path(self) -> str:
        """The path as it was written, without the query."""
        return self.target.partition("?")[0]

    @cached_property
    def host(self) -> str:
        """The C{Host}, lower-case, without port; empty when there is none."""
        host = (self.headers.get("host") or "").lower()
        if host.startswith("["):
            return host.partition("]")[0][1:]
        return host.partition(":")[0]

    @cached_property
    def query(self) -> Mapping[str, list[str]]:
        """The query's parameters, percent-decoded; an empty value counts."""
        return parse_qs(self.target.partition("?")[2], keep_blank_values=True)

    @cached_property
    def cookies(self) -> Mapping[str, str]:
        """Cookies by name, as they were sent; of two of one name the first (RFC 6265 5.4)."""
        jar: dict[str, str] = {}
        for line in self.headers.getAll("cookie"):
            for pair in line.split(";"):
                name, equals, value = (part.strip(" \t") for part in pair.partition("="))
                if name and equals:
                    # The cookie of the more specific path comes first.
                    jar.setdefault(name, value)
        return jar


@frozen
class Response:
    """
    One HTTP response head as a backend sent it.

    @ivar reason: the reason phrase; it means nothing and may be empty.
    """

    status: int
    reason: str
    headers: Headers
    version: tuple[int, int] = (1, 1)


@frozen
class ClientCertificate:
    """
    The certificate by which a client identified itself where TLS ended at a listener.

    @ivar subject: the distinguished name, as RFC 4514 writes it; so is C{issuer}.
    @ivar serial: its number in hexadecimal, lower-case.
    @ivar fingerprint: the SHA-256 of the certificate in hexadecimal, lower-case.
    @ivar verified: whether it is of an authority that the listener trusts. Where that is not
        so, the client has proved that the key is its own and nothing else.
    @ivar dns: the host names it is for (subject alternative names), as it has them.
    @ivar email: the mail addresses.
    @ivar uri: the URIs, a SPIFFE ID among them.
    @ivar ip: the addresses, in text.
    @ivar der: the certificate itself.
    """

    subject: str
    issuer: str
    serial: str
    fingerprint: str
    verified: bool = False
    dns: tuple[str, ...] = ()
    email: tuple[str, ...] = ()
    uri: tuple[str, ...] = ()
    ip: tuple[str, ...] = ()
    der: bytes = field(default=b"", repr=False)

    @property
    def pem(self) -> str:
        """The certificate itself, as text."""
        text = b64encode(self.der).decode("ascii")
        lines = [text[at : at + 64] for at in range(0, len(text), 64)]
        return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])


@frozen
class Inbound:
    """
    What is known about a client before anybody decided anything.

    @ivar id: unique in this process; it stands in every log line and event about it.
    @ivar listener: the name of the listener it came to.
    @ivar client: where it comes from.
    @ivar local: where it arrived.
    @ivar secure: whether TLS ended at this listener.
    @ivar serverName: the name asked for in the TLS handshake (SNI), lower-case, or C{None}.
    @ivar alpn: the protocols offered (passthrough) or chosen (TLS ended here).
    @ivar request: the request head at L7; C{None} at L4.
    @ivar via: the believed proxies between the client and this relay, the client's first.
    @ivar certificate: the client's own, where TLS ended at this listener and it had one.
    """

    id: str
    listener: str
    client: Address
    local: Address
    secure: bool = False
    serverName: str | None = None
    alpn: tuple[str, ...] = ()
    request: Request | None = None
    via: tuple[Address, ...] = ()
    certificate: ClientCertificate | None = None


@define
class OutboundRequest:
    """
    The request as the backend will get it: C{inbound.request} cleaned of hop-by-hop
    fields, forwarding fields added. A request filter edits it.
    """

    method: str
    target: str
    headers: MutableHeaders


@define
class OutboundResponse:
    """
    The response as the client will get it, cleaned of hop-by-hop fields. A request filter
    edits its headers, and its status unless that is 101.
    """

    status: int
    reason: str
    headers: MutableHeaders

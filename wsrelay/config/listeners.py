# -*- test-case-name: tests.config.test_listeners -*-
"""
What may stand in a C{[listener.NAME]} table.
"""

from __future__ import annotations

from pydantic import Field

from wsrelay.config.limiting import Limits
from wsrelay.config.rewriting import ErrorPages, Forwarded, Trusted, TrustedFields
from wsrelay.config.terminating import Termination
from wsrelay.config.values import (
    Count,
    Endpoints,
    Name,
    NamesOrNone,
    Networks,
    Seconds,
    ServerNames,
    Size,
    Table,
    WholeNumber,
)

__all__ = ["FORWARDERS", "Listener"]

#: What is built in; in the file, a plugin's name may stand in the same place.
FORWARDERS = ("detect", "http", "tcp", "tls-passthrough", "tls-terminate")


class Listener(Table):
    """Where clients arrive, and what is done with their connections."""

    endpoint: Endpoints = Field(
        description="Where to listen: any Twisted server endpoint string. Several make one "
        "listener with several doors.",
        examples=["tcp:8080", ["tcp:8080", "tcp6:8080:interface=\\:\\:1", "unix:/run/wsrelay"]],
    )
    forwarder: Name = Field(
        default="http",
        description='What is done with a connection. "http" reads requests and relays '
        'exchanges and WebSockets (L7); "tcp" relays bytes (L4); "tls-passthrough" relays '
        "the bytes of TLS after reading the server name and protocols from its first "
        'message (L4); "tls-terminate" is "tcp" that insists on a `tls` table. "detect" tells '
        "TLS, HTTP and other bytes apart by what comes first. Else the name of a plugin.",
        examples=["tls-passthrough"],
    )
    tls: Termination | None = Field(
        default=None,
        description="Ends TLS here: see `[listener.NAME.tls]`.",
        examples=[{"certificates": "chat.pem"}],
    )
    proxyProtocol: Networks | None = Field(
        default=None,
        description="Networks of balancers that say for whom they speak: what comes from there "
        "must begin with a PROXY header, version 1 or 2, and is taken for the client it names. "
        "From anywhere else such a header is bytes like others.",
        examples=["10.0.0.0/8", ["10.0.0.7", "2001:db8::/32"]],
    )
    passthrough: ServerNames | None = Field(
        default=None,
        description='With forwarder "detect": the server names whose TLS is relayed as it is; '
        "other TLS ends here. Without a `tls` table all of it passes through.",
        examples=["db.example.org", ["db.example.org", "*.internal.example.org"]],
    )
    detectTimeout: Seconds = Field(
        default=2.0,
        description='With forwarder "detect": how long a client may be silent before it is '
        "taken to wait for the server to speak first.",
        examples=[0.5],
    )
    pool: Name | None = Field(
        default=None,
        description="Where clients go that no policy and no route sent anywhere. Without "
        "it they get 404 (L7) or are closed (L4).",
        examples=["chat"],
    )
    policies: NamesOrNone | None = Field(
        default=None,
        description="The routing policies that are asked, in this order, before the "
        "routes; [] is none. Not given: every configured plugin that is one, in the "
        "file's order.",
        examples=[["by-tenant"], "by-tenant"],
    )
    headTimeout: Seconds = Field(
        default=10.0,
        description="How long a request head, or the first message of TLS, may take to "
        "arrive whole.",
        examples=[5],
    )
    keepAliveTimeout: Seconds = Field(
        default=75.0,
        description="How long a connection may be idle between two requests.",
        examples=[20],
    )
    maxHead: Size = Field(
        default=16384,
        description="The longest request head, in bytes. One that is longer gets 431.",
        examples=[32768],
    )
    maxHeaders: Count = Field(
        default=100,
        description="The most header fields in a request head. One with more gets 431.",
        examples=[64],
    )
    bodyTimeout: Seconds = Field(
        default=20.0,
        description="How long a client may send nothing of a request's body, or less than "
        "minRate, while the backend reads. Then it gets 408.",
        examples=[60],
    )
    readTimeout: Seconds = Field(
        default=60.0,
        description="How long a client may take nothing of its response, or less than minRate, "
        "while there is more for it. Then it is cut off.",
        examples=[30],
    )
    minRate: WholeNumber = Field(
        default=500,
        description="How slow a client may be with a body or a response, in bytes a second; "
        "with 0 any byte will do.",
        examples=[0],
    )
    limits: Limits | None = Field(
        default=None,
        description="How many clients there may be, and how fast they may come: see "
        "`[listener.NAME.limits]`.",
        examples=[{"connectionsPerClient": 100}],
    )
    trusted: Trusted = Field(
        default=(),
        description="The proxies in front of this listener that are believed what they say about "
        'clients (L7): addresses, networks, and "unix" for every UNIX socket. Name only those '
        "that set or remove each of these fields themselves.",
        examples=["10.0.0.0/8", ["192.0.2.1", "unix"]],
    )
    trustedFields: TrustedFields = Field(
        default="x-forwarded",
        description="What they say it in: X-Forwarded-For, -Proto, -Host and -Port, or Forwarded "
        "(RFC 7239). The others are never believed.",
        examples=["rfc7239"],
    )
    forwarded: Forwarded = Field(
        default="x-forwarded",
        description="What backends are told about clients (L7): X-Forwarded-For, -Proto, -Host, "
        'Forwarded, both, or nothing. What a client says there itself is removed with "off", too.',
        examples=["rfc7239", "off"],
    )
    errorPages: ErrorPages = Field(
        default={},
        description="Files that are sent for errors of the relay's own (L7), by status or class "
        "of status: .html, .json or .txt, at most 65536 bytes each. {status}, {reason} and {id} "
        "are filled in.",
        examples=[{"404": "pages/404.html", "5xx": "pages/5xx.html"}],
    )

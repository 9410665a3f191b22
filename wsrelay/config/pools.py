# -*- test-case-name: tests.config.test_pools -*-
"""
What may stand in a C{[pool.NAME]} table.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from twisted.internet.abstract import isIPAddress, isIPv6Address

from wsrelay.backends.backend import Destination
from wsrelay.config.values import (
    BackendUrl,
    Count,
    Expected,
    Listed,
    Name,
    Seconds,
    Table,
    Text,
    WholeNumber,
    YesOrNo,
)
from wsrelay.errors import BadRequest
from wsrelay.wire.clienthello import hostName

__all__ = ["BALANCERS", "TLS_KEYS", "Backend", "Pool"]

#: What is built in; in the file, a plugin's name may stand in the same place.
BALANCERS = ("round-robin", "least-connections")

#: What means nothing where no backend has TLS.
TLS_KEYS = ("ca", "verify", "serverName", "certificate", "key", "minimumVersion")


ProxyVersion = Annotated[Literal["v1", "v2"], Expected('"v1" or "v2"')]
TLSVersion = Annotated[Literal["TLSv1.2", "TLSv1.3"], Expected('"TLSv1.2" or "TLSv1.3"')]


def _checkServerName(name: str) -> str:
    if isIPAddress(name) or isIPv6Address(name):
        return name
    try:
        found = hostName(name.encode("ascii"))
    except (BadRequest, UnicodeEncodeError):
        found = None
    if found is None:
        raise ValueError("expected a host name or an IP address")
    return found


ServerName = Annotated[
    str, Expected("a host name or an IP address"), AfterValidator(_checkServerName)
]


class Backend(Table):
    """One destination. A string stands for a table with nothing but C{url}."""

    model_config = ConfigDict(title="a URL, or a table of url and weight")

    url: BackendUrl = Field(
        description="ws://, wss://, http:// or https:// with host and port; tcp:HOST:PORT or "
        "tls:HOST:PORT; unix:/PATH. No path: the client's request has it.",
        examples=["ws://10.0.0.1:9000", "tls:10.0.0.1:5671", "unix:/run/chat.sock"],
    )
    weight: Count = Field(
        default=1,
        description="How much it takes compared with the other backends of its pool.",
        examples=[2],
    )

    @model_validator(mode="before")
    @classmethod
    def _fromString(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    def destination(self) -> Destination:
        """What its URL says."""
        return Destination.parse(self.url)


class Pool(Table):
    """Destinations that do the same."""

    backends: Annotated[tuple[Backend, ...], Listed()] = Field(
        description="Where its connections go: URLs, or tables like "
        '{url = "...", weight = 2}. The kinds may be mixed.',
        examples=[["ws://10.0.0.1:9000", "wss://10.0.0.2:9443"]],
    )
    balancer: Name = Field(
        default="round-robin",
        description='Who picks the backend: "round-robin", "least-connections", or the name '
        "of a plugin.",
        examples=["least-connections"],
    )
    proxyProtocol: ProxyVersion | None = Field(
        default=None,
        description="Each connection to a backend begins with a PROXY header of this version, "
        "which has the client's address; v2 also has the host that the client asked for, what "
        "was agreed on by ALPN, and its TLS. The backend must expect it. Not given: none.",
        examples=["v2"],
    )
    keepAlive: WholeNumber = Field(
        default=128,
        description="How many connections to each backend may wait for their next request (L7). "
        "With 0 each is closed after its first. WebSockets have connections of their own.",
        examples=[0, 32],
    )
    keepAliveTimeout: Seconds = Field(
        default=60.0,
        description="How long a connection waits for its next request. A backend that closes "
        "sooner is noticed; what may safely be asked twice is asked again if that happens at the "
        "wrong moment.",
        examples=[4],
    )
    ca: Text | None = Field(
        default=None,
        description="A PEM file with the certificates that backends with TLS are trusted "
        "by, relative to the configuration file. Not given: those of the system. It may be "
        "renewed while the relay runs.",
        examples=["backends-ca.pem"],
    )
    verify: YesOrNo = Field(
        default=True,
        description="Whether the certificates of backends with TLS are checked. Without it, "
        "anybody between here and there can read and change everything.",
        examples=[False],
    )
    serverName: ServerName | None = Field(
        default=None,
        description="The name that backends with TLS are asked for (SNI), and that their "
        "certificates must be for. Not given: the host of the backend's URL.",
        examples=["chat.internal"],
    )
    certificate: Text | None = Field(
        default=None,
        description="A PEM file with the certificate that the relay shows backends that ask "
        "for one, and those between it and the authority; relative to the configuration file. "
        "It may be renewed while the relay runs.",
        examples=["relay.pem"],
    )
    key: Text | None = Field(
        default=None,
        description="A PEM file with the key of the certificate, without a passphrase. Not "
        "given: it stands in the same file.",
        examples=["relay.key"],
    )
    minimumVersion: TLSVersion = Field(
        default="TLSv1.2",
        description="The oldest version of TLS that is spoken with backends.",
        examples=["TLSv1.3"],
    )

# -*- test-case-name: tests.config.test_rewriting -*-
"""
What may be changed on the way: the tables and values of header rules, path rules, redirects,
error pages and trusted proxies.

Each value is checked by making what will use it, so an error is found when the file is read.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from wsrelay.config.values import Expected, Listed, Status, Table, Text
from wsrelay.l7.forwarded import Trust
from wsrelay.routing.redirect import Redirect
from wsrelay.routing.rewrite import PathRule
from wsrelay.rules import FieldRules, Rules

__all__ = [
    "ErrorPages",
    "Forwarded",
    "HeaderRules",
    "HostHeader",
    "PathChange",
    "PathPrefix",
    "Redirection",
    "StrippedPrefix",
    "Trusted",
    "TrustedFields",
]

# ----------------------------------------------------------------------- header fields

_Template = Annotated[str, Expected("a string")]
_Templates = Annotated[tuple[_Template, ...], Listed()]


def _checkRemoved(names: tuple[str, ...]) -> tuple[str, ...]:
    FieldRules(remove=names)
    return names


def _checkSet(fields: dict[str, str]) -> dict[str, str]:
    FieldRules(set=tuple(fields.items()))
    return fields


def _checkAddedFields(fields: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    FieldRules(add=_lines(fields))
    return fields


def _lines(fields: dict[str, tuple[str, ...]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, values in fields.items() for value in values)


class HeaderRules(Table):
    """
    Changes of header fields, in the order remove, set, add. What the relay writes itself
    cannot be touched: framing (Content-Length, Transfer-Encoding, Connection and what else
    belongs to one connection) and the fields of a WebSocket handshake; Host has a key of its
    own. C{_} in a name counts as C{-}, since many servers take one for the other.
    """

    remove: Annotated[tuple[Text, ...], Listed(), AfterValidator(_checkRemoved)] = Field(
        default=(),
        description="Names of fields to remove; * at the end stands for any characters. It "
        "passes by what is the relay's own.",
        examples=["Server", ["X-Powered-By", "X-Debug-*"]],
    )
    set: Annotated[dict[str, _Template], AfterValidator(_checkSet)] = Field(
        default={},
        description="Fields that get this one value, whatever was there. The values are "
        "templates, see above.",
        examples=[{"X-Client": "{client}", "X-Certificate": "{certificate.subject}"}],
    )
    add: Annotated[dict[str, _Templates], AfterValidator(_checkAddedFields)] = Field(
        default={},
        description="Lines that are added to what is there. The values are templates, see above.",
        examples=[{"Via": "1.1 wsrelay"}],
    )

    @model_validator(mode="after")
    def _canBeMade(self) -> HeaderRules:
        self.rules()
        return self

    def rules(self) -> FieldRules:
        """The same as a value."""
        return FieldRules(tuple(self.set.items()), _lines(self.add), self.remove)


# ----------------------------------------------------------------------- path and Host


def _checkStripped(path: str) -> str:
    PathRule(strip=path)
    return path


def _checkAdded(path: str) -> str:
    PathRule(add=path)
    return path


StrippedPrefix = Annotated[str, Expected("a path"), AfterValidator(_checkStripped)]
PathPrefix = Annotated[str, Expected("a path"), AfterValidator(_checkAdded)]


class PathChange(Table):
    """A path that becomes another by a regular expression."""

    regex: Text = Field(
        description="A regular expression, of Python's kind, for the whole path in its normal "
        "form, as in pathRegex.",
        examples=["/rooms/([0-9]+)"],
    )
    to: Text = Field(
        description="The new path, in normal form; \\1 is what the first group matched.",
        examples=["/v2/room/\\1"],
    )

    @model_validator(mode="after")
    def _canBeMade(self) -> PathChange:
        PathRule(replace=(self.regex, self.to))
        return self


def _checkHost(host: str) -> str:
    if host in ("", "keep"):
        return "keep"
    Rules(host=host)
    return host


HostHeader = Annotated[
    str,
    Expected('"keep", "backend", or a host, which may be a template'),
    AfterValidator(_checkHost),
]

# --------------------------------------------------------------------------- redirects


class Redirection(Table):
    """An answer that sends the client elsewhere. A string stands for a table with only C{to}."""

    model_config = ConfigDict(title="a URL or path, or a table of to and status")

    to: Text = Field(
        description="Where to: an absolute URL, or a path on the same host. A template, see "
        "above; only {host} and {serverName} may stand in the place of the host.",
        examples=["https://{host}{target}", "/login?from={path}"],
    )
    status: Status = Field(
        default=308,
        description="301, 302, 303, 307 or 308. After 307 and 308 clients repeat method and body.",
        examples=[301],
    )

    @model_validator(mode="before")
    @classmethod
    def _fromString(cls, value: Any) -> Any:
        return {"to": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _canBeMade(self) -> Redirection:
        self.decision("")
        return self

    def decision(self, route: str) -> Redirect:
        """The same as a decision of the route of this name."""
        return Redirect(self.to, self.status, route)


# --------------------------------------------------------------- keys of listeners


ErrorPages = Annotated[
    dict[str, Text], Expected("a table of file names by status (404) or class of status (5xx)")
]


def _checkTrusted(network: str) -> str:
    Trust([network])
    return network


_Proxy = Annotated[
    str, Expected('an IP address or network (CIDR), or "unix"'), AfterValidator(_checkTrusted)
]
Trusted = Annotated[tuple[_Proxy, ...], Listed()]
TrustedFields = Annotated[
    Literal["x-forwarded", "rfc7239"], Expected('"x-forwarded" or "rfc7239"')
]
Forwarded = Annotated[
    Literal["x-forwarded", "rfc7239", "both", "off"],
    Expected('"x-forwarded", "rfc7239", "both" or "off"'),
]

# -*- test-case-name: tests.config.test_values -*-
"""
The kinds of values that stand in the configuration.

Each is an annotated type for pydantic: L{Expected} says in words what it must be, for the
error and for the reference alike; L{Listed} lets one value stand for a list of one.
A pattern is checked by making the matcher that will use it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from attrs import frozen
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    WithJsonSchema,
)
from pydantic.annotated_handlers import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from wsrelay.backends.backend import Destination
from wsrelay.model import MutableHeaders
from wsrelay.routing.matchers import (
    CookieMatcher,
    HeaderMatcher,
    HostMatcher,
    MethodMatcher,
    NetworkMatcher,
    PathMatcher,
    PathPrefixMatcher,
    PathRegexMatcher,
    QueryMatcher,
    ServerNameMatcher,
)

__all__ = [
    "BackendUrl",
    "Compression",
    "Cookies",
    "Count",
    "CountLimit",
    "Duration",
    "Endpoints",
    "Expected",
    "Fields",
    "Headers",
    "Hosts",
    "Listed",
    "LogFormat",
    "Methods",
    "Name",
    "Names",
    "NamesOrNone",
    "Networks",
    "Parameters",
    "PathGlobs",
    "PathPrefixes",
    "PathRegexes",
    "Patience",
    "Plane",
    "Protocols",
    "Rate",
    "RateLimit",
    "Reason",
    "Seconds",
    "ServerNames",
    "Size",
    "SizeLimit",
    "Status",
    "Table",
    "Text",
    "TextsOrNone",
    "Use",
    "WholeNumber",
    "YesOrNo",
]


@frozen
class Expected:
    """
    Says what a value must be, in words that follow "expected".

    What pydantic found wrong with the value is replaced by these words. It stands next to
    the type, before any validator whose own words shall be heard.
    """

    text: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        def validate(value: Any, inner: core_schema.ValidatorFunctionWrapHandler) -> Any:
            try:
                return inner(value)
            except ValidationError:
                raise PydanticCustomError("expected", "{text}", {"text": self.text}) from None

        return core_schema.no_info_wrap_validator_function(validate, handler(source))


@frozen
class Listed:
    """
    Makes C{"x"} in the file mean C{["x"]}; the attribute is always a tuple.

    @ivar least: how many there must be.
    """

    least: int = 1

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(self._listed, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        array = handler(schema)
        return {"anyOf": [array["items"], {**array, "minItems": self.least}]}

    def _listed(self, value: Any) -> tuple[Any, ...]:
        listed = tuple(value) if isinstance(value, list | tuple) else (value,)
        if len(listed) < self.least:
            raise PydanticCustomError("expected", "{text}", {"text": "at least one"})
        return listed


class Table(BaseModel):
    """A table of the file: no other keys, no conversions, no changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


# -------------------------------------------------------------------- plain values

Text = Annotated[str, Expected("a string")]
YesOrNo = Annotated[bool, Expected("true or false")]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False), Expected("a number of seconds > 0")]
Patience = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False),
    Expected("a number of seconds >= 0, where 0 is no limit"),
]
Duration = Annotated[float, Field(ge=0, allow_inf_nan=False), Expected("a number of seconds >= 0")]
Size = Annotated[int, Field(ge=1), Expected("a whole number of bytes > 0")]
SizeLimit = Annotated[
    int, Field(ge=0), Expected("a whole number of bytes >= 0, where 0 is no limit")
]
Count = Annotated[int, Field(ge=1), Expected("a whole number > 0")]
CountLimit = Annotated[int, Field(ge=0), Expected("a whole number >= 0, where 0 is no limit")]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False), Expected("a number a second > 0")]
RateLimit = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False),
    Expected("a number a second >= 0, where 0 is no limit"),
]
WholeNumber = Annotated[int, Field(ge=0), Expected("a whole number >= 0")]
Status = Annotated[int, Field(ge=200, le=599), Expected("an HTTP status from 200 to 599")]
Plane = Annotated[
    Literal["auto", "native", "portable"], Expected('"auto", "native" or "portable"')
]
LogFormat = Annotated[Literal["text", "json"], Expected('"text" or "json"')]
Compression = Annotated[Literal["end-to-end", "off"], Expected('"end-to-end" or "off"')]

TextsOrNone = Annotated[tuple[Text, ...], Listed(least=0)]

Name = Annotated[str, Expected("a name")]
Names = Annotated[tuple[Name, ...], Listed()]
NamesOrNone = Annotated[tuple[Name, ...], Listed(least=0)]


# ------------------------------------------------------------------------ patterns


def _checked(matcher: Callable[[list[str]], object]) -> AfterValidator:
    """Make the matcher of one pattern, for the C{ValueError} of one that cannot match."""

    def check(pattern: str) -> str:
        matcher([pattern])
        return pattern

    return AfterValidator(check)


def _checkedNamed(matcher: Callable[[str, tuple[str, ...]], object]) -> AfterValidator:
    """The same for a table of names and patterns."""

    def check(table: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name, patterns in table.items():
            matcher(name, patterns)
        return table

    return AfterValidator(check)


_Pattern = Annotated[str, Expected("a string, in which * stands for anything")]
_Host = Annotated[str, Expected("a host name, or *. and a name"), _checked(HostMatcher)]
_ServerName = Annotated[
    str, Expected("a host name, or *. and a name"), _checked(ServerNameMatcher)
]
_Path = Annotated[str, Expected("a path, in which * stands for anything"), _checked(PathMatcher)]
_Prefix = Annotated[str, Expected("a path"), _checked(PathPrefixMatcher)]
_Regex = Annotated[str, Expected("a regular expression"), _checked(PathRegexMatcher)]
_Method = Annotated[str, Expected("an HTTP method"), _checked(MethodMatcher)]
_Network = Annotated[str, Expected("an IP address or network (CIDR)"), _checked(NetworkMatcher)]

Hosts = Annotated[tuple[_Host, ...], Listed()]
ServerNames = Annotated[tuple[_ServerName, ...], Listed()]
PathGlobs = Annotated[tuple[_Path, ...], Listed()]
PathPrefixes = Annotated[tuple[_Prefix, ...], Listed()]
PathRegexes = Annotated[tuple[_Regex, ...], Listed()]
Methods = Annotated[tuple[_Method, ...], Listed()]
Networks = Annotated[tuple[_Network, ...], Listed()]
Protocols = Annotated[tuple[Annotated[str, Expected("an ALPN protocol name")], ...], Listed()]

_Patterns = Annotated[tuple[_Pattern, ...], Listed()]
Headers = Annotated[dict[str, _Patterns], _checkedNamed(HeaderMatcher)]
Cookies = Annotated[dict[str, _Patterns], _checkedNamed(CookieMatcher)]
Parameters = Annotated[dict[str, _Patterns], _checkedNamed(QueryMatcher)]


# --------------------------------------------------------------- addresses and others

_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?!//).")
_PORTLESS = re.compile(r"tcp6?:(?!\d+(?::|\Z)|port=)(?:interface=)?([^:]*)(?::(\d+))?")


_PORT = re.compile(r"(?:haproxy:)?(?:tcp6?|ssl|tls):(?:port=)?(\d+)")


def _checkEndpoint(text: str) -> str:
    """Only what Twisted's own parser would not say well; the rest is for it to say."""
    if not _PREFIX.match(text):
        raise ValueError('expected a Twisted server endpoint string, such as "tcp:8080"')
    if match := _PORTLESS.match(text):
        right = f"tcp:{match[2] or '8080'}:interface={match[1]}"
        raise ValueError(f'expected a port after "tcp:", as in "{right}"')
    if (port := _PORT.match(text)) and int(port[1]) > 65535:
        raise ValueError(f"{port[1]} is no port: they end at 65535")
    return text


_Endpoint = Annotated[
    str, Expected("a Twisted server endpoint string"), AfterValidator(_checkEndpoint)
]
Endpoints = Annotated[tuple[_Endpoint, ...], Listed()]


def _checkUrl(url: str) -> str:
    Destination.parse(url)
    return url


BackendUrl = Annotated[str, Expected("the URL of a backend"), AfterValidator(_checkUrl)]

_USE = re.compile(r"[^:\s]+|[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")


def _checkUse(use: str) -> str:
    if not _USE.fullmatch(use):
        raise ValueError('expected the name of a plugin, or "module:object"')
    return use


Use = Annotated[
    str, Expected('the name of a plugin, or "module:object"'), AfterValidator(_checkUse)
]


def _reason(value: Any) -> Any:
    return "refused by the route" if value is True else value


Reason = Annotated[
    str,
    Field(min_length=1),
    Expected("true or a reason"),
    BeforeValidator(_reason),
    WithJsonSchema({"anyOf": [{"const": True}, {"type": "string", "minLength": 1}]}),
]

# Written by the relay itself, from the body it has (RFC 9110 section 8.6, RFC 9112 section 6).
_FRAMING = frozenset(("connection", "content-length", "transfer-encoding", "upgrade"))


def _checkFields(fields: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    headers = MutableHeaders()
    for name, values in fields.items():
        if name.lower() in _FRAMING:
            raise ValueError(f'the relay writes "{name}" itself')
        for value in values:
            headers.add(name, value)
    return fields


_FieldValues = Annotated[tuple[Text, ...], Listed()]
Fields = Annotated[dict[str, _FieldValues], AfterValidator(_checkFields)]

# -*- test-case-name: tests.config.test_routes -*-
"""
What may stand in a C{[[route]]} table: conditions, one action, and how it is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from wsrelay import model
from wsrelay.config.rewriting import (
    HeaderRules,
    HostHeader,
    PathChange,
    PathPrefix,
    Redirection,
    StrippedPrefix,
)
from wsrelay.config.values import (
    Compression,
    Cookies,
    CountLimit,
    Fields,
    Headers,
    Hosts,
    Methods,
    Name,
    Names,
    NamesOrNone,
    Networks,
    Parameters,
    PathGlobs,
    PathPrefixes,
    PathRegexes,
    Patience,
    Protocols,
    RateLimit,
    Reason,
    Seconds,
    ServerNames,
    SizeLimit,
    Status,
    Table,
    Text,
)
from wsrelay.routing import matchers
from wsrelay.routing.rewrite import PathRule
from wsrelay.rules import FieldRules, Rules

__all__ = ["ACTIONS", "CHANGES", "CONDITIONS", "SETTINGS", "Answer", "Route"]

_DEFAULTS = model.RouteSettings()


class Answer(Table):
    """A fixed answer to a request (L7)."""

    status: Status = Field(description="The HTTP status.", examples=[404])
    body: Text = Field(
        default="", description="The body, sent as UTF-8.", examples=["Nothing here.\n"]
    )
    headers: Fields = Field(
        default={},
        description="Header fields. A body is text/plain unless Content-Type is among them.",
        examples=[{"Location": "https://example.org/"}],
    )

    @model_validator(mode="after")
    def _mayHaveBody(self) -> Answer:
        if self.body and self.status in (204, 304):
            raise ValueError(f"status {self.status} has no body (RFC 9110 section 6.4.1)")
        return self

    def decision(self) -> model.Respond:
        """The same as a decision."""
        headers = model.MutableHeaders()
        if self.body:
            headers.set("Content-Type", "text/plain; charset=utf-8")
        for name, values in self.headers.items():
            headers.remove(name)
            for value in values:
                headers.add(name, value)
        return model.Respond(self.status, tuple(headers.raw), self.body.encode("utf-8"))


class Route(Table):
    """
    A rule: conditions, all of which must hold, and one action. The first route that
    matches decides. A condition with several values holds if one of them does; a route
    without conditions always matches.
    """

    name: Text = Field(
        default="",
        description='How logs and events name the route. Not given: "route" and its place '
        "in the file, counted from 1.",
        examples=["chat rooms"],
    )
    listener: Names = Field(
        default=(),
        description="Condition: the listener that the client came to.",
        examples=["public", ["public", "internal"]],
    )
    network: Networks = Field(
        default=(),
        description="Condition: the client's IP address, or a network it is in. A client "
        "on a UNIX socket is in none; an IPv4 client on an IPv6 socket is compared as IPv4.",
        examples=["10.0.0.0/8", ["192.0.2.1", "2001:db8::/32"]],
    )
    serverName: ServerNames = Field(
        default=(),
        description="Condition: the name asked for in the TLS handshake (SNI). "
        '"*.example.org" is everything below example.org, but not that name itself.',
        examples=["chat.example.org"],
    )
    alpn: Protocols = Field(
        default=(),
        description="Condition: a protocol of the TLS handshake (ALPN): offered by the "
        "client where TLS passes through, agreed on where it ends here.",
        examples=["http/1.1"],
    )
    host: Hosts = Field(
        default=(),
        description="Condition (L7): the request's Host, compared without case, port and "
        'final dot. "*.example.org" is everything below example.org, but not that name '
        "itself.",
        examples=["chat.example.org", ["example.org", "*.example.org"]],
    )
    method: Methods = Field(
        default=(),
        description="Condition (L7): the request's method, in upper case. A WebSocket "
        "handshake is a GET.",
        examples=["GET", ["GET", "HEAD"]],
    )
    path: PathGlobs = Field(
        default=(),
        description='Condition (L7): the whole path. "*" stands for any characters, "/" '
        "included. The path is compared in its normal form, see above.",
        examples=["/ws/*", ["/chat", "/rooms/*/feed"]],
    )
    pathPrefix: PathPrefixes = Field(
        default=(),
        description='Condition (L7): the beginning of the path, by whole segments: "/api" '
        'holds for /api and /api/x, not for /apix; "/api/" holds for /api/ and below, not '
        "for /api.",
        examples=["/api", ["/api/", "/v2/"]],
    )
    pathRegex: PathRegexes = Field(
        default=(),
        description="Condition (L7): a regular expression, of Python's kind, for the whole "
        "path. A careless one can be made slow by a client; prefer the other two.",
        examples=["/rooms/[0-9]+"],
    )
    header: Headers = Field(
        default={},
        description='Condition (L7): header fields by name. "*" alone in a value means '
        "present. Every name must hold, with one of its values.",
        examples=[{"x-canary": "*"}, {"origin": ["https://example.org"]}],
    )
    query: Parameters = Field(
        default={},
        description="Condition (L7): parameters of the query, like header.",
        examples=[{"version": ["2", "3.*"]}],
    )
    cookie: Cookies = Field(
        default={},
        description="Condition (L7): cookies by name, like header.",
        examples=[{"beta": "yes"}],
    )
    pool: Name | None = Field(
        default=None,
        description="Action: relay to a backend of this pool.",
        examples=["chat"],
    )
    respond: Answer | None = Field(
        default=None,
        description="Action (L7): this answer.",
        examples=[{"status": 404, "body": "Nothing here.\n"}],
    )
    redirect: Redirection | None = Field(
        default=None,
        description="Action (L7): send the client elsewhere, with 308 unless a table says "
        "otherwise.",
        examples=["https://{host}{target}", {"to": "/new{path}", "status": 302}],
    )
    serve: Name | None = Field(
        default=None,
        description="Action (L7): the answer of a plugin that is a twisted.web resource.",
        examples=["dashboard"],
    )
    refuse: Reason | None = Field(
        default=None,
        description="Action: 403 (L7), or a closed connection (L4). A reason is logged, not sent.",
        examples=[True, "not from outside"],
    )
    filters: NamesOrNone = Field(
        default=(),
        description="The filters of what is relayed: names of plugins, in the order in "
        "which they see what goes to the backend.",
        examples=[["redact", "audit"], "redact"],
    )
    requestHeaders: HeaderRules | None = Field(
        default=None,
        description="Changes of the request's header fields, after the filters have had their "
        "say (L7). A value that would hold a control character refuses the request (400).",
        examples=[{"set": {"X-Client": "{client}"}, "remove": "X-Debug-*"}],
    )
    responseHeaders: HeaderRules | None = Field(
        default=None,
        description="The same for every answer to the client: the backend's, the 101, a "
        "filter's own, an error page (L7). A field that would hold a control character is left "
        "out.",
        examples=[{"set": {"Strict-Transport-Security": "max-age=31536000"}, "remove": "Server"}],
    )
    stripPrefix: StrippedPrefix = Field(
        default="",
        description="The beginning of the path that the backend does not see, by whole "
        "segments as in pathPrefix (L7). Another path stays as it is.",
        examples=["/api"],
    )
    replacePath: PathChange | None = Field(
        default=None,
        description="Another path for the backend, by a regular expression (L7); after "
        "stripPrefix. Where it does not match the whole path, that stays as it is.",
        examples=[{"regex": "/rooms/([0-9]+)", "to": "/v2/room/\\1"}],
    )
    addPrefix: PathPrefix = Field(
        default="",
        description="What the backend sees in front of the path (L7); after stripPrefix and "
        "replacePath.",
        examples=["/v2"],
    )
    hostHeader: HostHeader = Field(
        default="keep",
        description='The Host that the backend sees (L7): "keep" is the client\'s, "backend" '
        "that of the backend's URL, anything else is a template.",
        examples=["backend", "app.internal", "{serverName}"],
    )
    connectTimeout: Seconds = Field(
        default=_DEFAULTS.connectTimeout,
        description="How long one backend may take to accept a connection.",
        examples=[2.5],
    )
    responseTimeout: Seconds = Field(
        default=_DEFAULTS.responseTimeout,
        description="How long a backend may take to answer: until its response head is "
        "whole (L7).",
        examples=[300],
    )
    idleTimeout: Patience = Field(
        default=_DEFAULTS.idleTimeout or 0,
        description="How long a tunnel or WebSocket may pass no byte in either direction.",
        examples=[600, 0],
    )
    closeTimeout: Seconds = Field(
        default=_DEFAULTS.closeTimeout,
        description="How long the closing handshake, and the last bytes, may take.",
        examples=[2],
    )
    maxFrame: SizeLimit = Field(
        default=_DEFAULTS.maxFrame or 0,
        description="The longest payload of one WebSocket frame (L7). Its sender gets 1009.",
        examples=[1048576],
    )
    maxMessage: SizeLimit = Field(
        default=_DEFAULTS.maxMessage or 0,
        description="The longest WebSocket message over all its frames (L7), inflated if "
        "it is inflated here. Its sender gets 1009. Without a limit a compressed message can "
        "become a thousand times what was sent.",
        examples=[1048576, 0],
    )
    maxFragments: CountLimit = Field(
        default=_DEFAULTS.maxFragments or 0,
        description="The most frames in one WebSocket message (L7), the empty ones too. Its "
        "sender gets 1009.",
        examples=[1000],
    )
    maxControlRate: RateLimit = Field(
        default=_DEFAULTS.maxControlRate or 0,
        description="How many pings a second one side of a WebSocket may send (L7), averaged over "
        "ten seconds; a pong counts half. Who sends more gets 1008.",
        examples=[2, 0.5],
    )
    maxBody: SizeLimit = Field(
        default=_DEFAULTS.maxBody or 0,
        description="The longest body of a request (L7). A longer one gets 413.",
        examples=[10485760],
    )
    cache: Name | None = Field(
        default=None,
        description="The cache that answers are kept in (L7). Not given: nothing is kept.",
        examples=["pages"],
    )
    compression: Compression = Field(
        default="end-to-end",
        description='"end-to-end" leaves permessage-deflate to the two ends wherever no '
        'filter needs the text; "off" takes it out of the handshake (L7).',
        examples=["off"],
    )

    def matchers(self) -> tuple[matchers.Matcher, ...]:
        """The conditions, cheap ones first."""
        found: list[matchers.Matcher] = []
        for key, make in _MATCHERS.items():
            if patterns := getattr(self, key):
                found.append(make(patterns))
        for key, makeNamed in _NAMED_MATCHERS.items():
            found += [makeNamed(name, each) for name, each in getattr(self, key).items()]
        return tuple(found)

    def settings(self) -> model.RouteSettings:
        """How what it matched is relayed; 0 in the file is C{None} there."""
        values: dict[str, Any] = {key: getattr(self, key) or None for key in SETTINGS}
        return model.RouteSettings(**values)

    def rules(self, name: str) -> Rules | None:
        """
        What is changed on the way; C{None} is nothing.

        @param name: the route's.
        """
        change = self.replacePath
        replace = (change.regex, change.to) if change else None
        path = PathRule(self.stripPrefix, replace, self.addPrefix)
        rules = Rules(
            name,
            self.requestHeaders.rules() if self.requestHeaders else FieldRules(),
            self.responseHeaders.rules() if self.responseHeaders else FieldRules(),
            None if path == PathRule() else path,
            "" if self.hostHeader == "keep" else self.hostHeader,
        )
        return None if rules == Rules(name) else rules


_MATCHERS: Mapping[str, Any] = {
    "listener": matchers.ListenerMatcher,
    "serverName": matchers.ServerNameMatcher,
    "alpn": matchers.AlpnMatcher,
    "host": matchers.HostMatcher,
    "method": matchers.MethodMatcher,
    "path": matchers.PathMatcher,
    "pathPrefix": matchers.PathPrefixMatcher,
    "pathRegex": matchers.PathRegexMatcher,
    "network": matchers.NetworkMatcher,
}
_NAMED_MATCHERS: Mapping[str, Any] = {
    "header": matchers.HeaderMatcher,
    "query": matchers.QueryMatcher,
    "cookie": matchers.CookieMatcher,
}

#: The keys of a route by what they are for.
CONDITIONS = (*_MATCHERS, *_NAMED_MATCHERS)
ACTIONS = ("pool", "respond", "redirect", "serve", "refuse")
CHANGES = (
    *("requestHeaders", "responseHeaders"),
    *("stripPrefix", "replacePath", "addPrefix", "hostHeader"),
)
SETTINGS = tuple(key for key in Route.model_fields if hasattr(_DEFAULTS, key))

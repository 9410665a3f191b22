# -*- test-case-name: tests.test_rules -*-
"""
What a route changes in a request and its answer, as values.

A I{template} is text with placeholders, C{"{client}"} for one, which stand for facts about the
client; a brace is written twice. L{FieldRules} removes, sets and adds header fields, L{Rules} is
everything that a route changes.

All is checked when it is made; what is left to fail with one client is a value that must not
stand where it would. How a path is rewritten is L{wsrelay.routing.rewrite}'s affair.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from ipaddress import AddressValueError, IPv6Address
from typing import Any, Protocol, TypeAlias

from attrs import field, frozen

from wsrelay.errors import BadRequest
from wsrelay.headers import MutableHeaders, checkedField
from wsrelay.model import Inbound, OutboundRequest, OutboundResponse, Respond

__all__ = [
    "FRAMING",
    "HANDSHAKE",
    "HOP_BY_HOP",
    "PLACEHOLDERS",
    "FieldRules",
    "Rules",
    "TargetRule",
    "Template",
    "isHost",
]

#: RFC 9110 section 7.6.1, and what the HTTP/1 of the field's past left behind.
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

#: Written by the relay at the end, so that no filter, rule or peer can contradict its framing.
FRAMING = frozenset({b"content-length"}) | HOP_BY_HOP

#: The relay's in a WebSocket handshake; the subprotocol is agreed by the two ends.
HANDSHAKE = frozenset(
    {b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-key"}
    | {b"sec-websocket-version"}
)

_UNTOUCHED = FRAMING | HANDSHAKE | {b"sec-websocket-protocol", b"host"}


# -------------------------------------------------------------------------- templates

_Getter: TypeAlias = Callable[[Inbound, str], str]


def _ofRequest(name: str) -> _Getter:
    return lambda inbound, route: getattr(inbound.request, name, "")


def _host(inbound: Inbound, route: str) -> str:
    host: str = getattr(inbound.request, "host", "")
    return f"[{host}]" if ":" in host else host


def _ofCertificate(name: str) -> _Getter:
    def get(inbound: Inbound, route: str) -> str:
        certificate = inbound.certificate
        # Anybody can put a name into a certificate of his own; a fingerprint nobody can choose.
        if certificate is None or not (certificate.verified or name == "fingerprint"):
            return ""
        value: str | tuple[str, ...] = getattr(certificate, name)
        return value if isinstance(value, str) else ",".join(value)

    return get


#: What a template may speak of.
PLACEHOLDERS: dict[str, _Getter] = {
    "client": lambda inbound, route: inbound.client.name,
    "clientPort": lambda inbound, route: str(inbound.client.port or ""),
    "localPort": lambda inbound, route: str(inbound.local.port or ""),
    "host": _host,
    "path": _ofRequest("path"),
    "query": lambda inbound, route: getattr(inbound.request, "target", "").partition("?")[2],
    "target": _ofRequest("target"),
    "method": _ofRequest("method"),
    "scheme": lambda inbound, route: "https" if inbound.secure else "http",
    "serverName": lambda inbound, route: inbound.serverName or "",
    "id": lambda inbound, route: inbound.id,
    "listener": lambda inbound, route: inbound.listener,
    "route": lambda inbound, route: route,
    **{
        f"certificate.{name}": _ofCertificate(name)
        for name in ("subject", "issuer", "serial", "fingerprint", "dns", "email", "uri", "ip")
    },
}

_PIECE = re.compile(r"(\{\{|\}\}|\{[^{}]*\}|[{}])")
_BRACES = {"{{": "{", "}}": "}"}


def _parsed(text: str) -> Iterator[str | _Getter]:
    for piece in _PIECE.split(text):
        if piece in ("{", "}"):
            raise ValueError(f'"{text}": a brace that is no placeholder\'s is written twice')
        if piece in _BRACES or not piece.startswith("{"):
            yield _BRACES.get(piece, piece)
        elif piece[1:-1] in PLACEHOLDERS:
            yield PLACEHOLDERS[piece[1:-1]]
        else:
            near = get_close_matches(piece[1:-1], PLACEHOLDERS, n=1)
            hint = f'; did you mean "{{{near[0]}}}"?' if near else ""
            known = ", ".join(PLACEHOLDERS)
            raise ValueError(f'"{text}": no placeholder {piece}{hint} (placeholders: {known})')


@frozen
class Template:
    """
    Text with placeholders.

    @raise ValueError: a placeholder is none, or a brace stands alone.
    """

    text: str
    _pieces: tuple[str | _Getter, ...] = field(init=False, eq=False, repr=False)

    @_pieces.default
    def _parse(self) -> tuple[str | _Getter, ...]:
        return tuple(_parsed(self.text))

    @property
    def isLiteral(self) -> bool:
        """Whether it is the same text for every client."""
        return all(isinstance(piece, str) for piece in self._pieces)

    def render(self, inbound: Inbound, route: str = "") -> str:
        """
        The text for one client.

        @param route: the name of the route.
        """
        return "".join(
            [piece if isinstance(piece, str) else piece(inbound, route) for piece in self._pieces]
        )


_NOBODY: Any = None


# ---------------------------------------------------------------------- header fields


def _canonical(name: bytes) -> bytes:
    """Many servers take C{_} for C{-}, as CGI does; who removes one spelling means both."""
    return name.lower().replace(b"_", b"-")


def _own(name: str) -> bytes:
    """A name that rules may touch."""
    raw = _canonical(checkedField(name, b"")[0])
    if raw == b"host":
        raise ValueError(f'"{name}" is set by hostHeader')
    if raw in _UNTOUCHED:
        raise ValueError(f'"{name}" is written by the relay itself')
    return raw


def _value(text: str) -> bytes:
    """As it is written, UTF-8 on one line, or C{ValueError}."""
    return checkedField(b"x", text.encode("utf-8"))[1]


@frozen
class FieldRules:
    """
    Removes, sets and adds header fields, in this order.

    A field whose template comes to nothing (there is no certificate) is not written; what
    C{set} has removed stays removed.

    @ivar set: name and template; the only value of that name afterwards.
    @ivar add: name and template; one more line.
    @ivar remove: names; with C{*} at the end, all that begin so, but none that is the relay's.
    @raise ValueError: a name is none or the relay's own, or a template is wrong.
    """

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()
    _gone: frozenset[bytes] = field(init=False, eq=False, repr=False)
    _below: tuple[bytes, ...] = field(init=False, eq=False, repr=False)
    _written: tuple[tuple[bytes, bytes | Template], ...] = field(init=False, eq=False, repr=False)
    _known: dict[bytes, bool] = field(init=False, eq=False, repr=False, factory=dict)

    @_gone.default
    def _makeGone(self) -> frozenset[bytes]:
        exact = [name for name in self.remove if not name.endswith("*")]
        names = [_own(name) for name in exact]
        for name, _ in self.set:
            if _own(name) in names:
                raise ValueError(f'"{name}" stands there twice; set alone replaces what there was')
            names.append(_own(name))
        return frozenset(names)

    @_below.default
    def _makeBelow(self) -> tuple[bytes, ...]:
        starts = [name[:-1] for name in self.remove if name.endswith("*")]
        if "" in starts:
            raise ValueError('"*" would remove every field; say how they begin, as in "X-*"')
        return tuple(_canonical(checkedField(start, b"")[0]) for start in starts)

    @_written.default
    def _makeWritten(self) -> tuple[tuple[bytes, bytes | Template], ...]:
        written: list[tuple[bytes, bytes | Template]] = []
        for name, text in (*self.set, *self.add):
            _own(name)
            template = Template(text)
            # What the braces stand for is checked for each client, what is around them here.
            _value(re.sub(r"\{[\w.]*\}", "", text))
            value = _value(template.render(_NOBODY)) if template.isLiteral else template
            written.append((name.encode("ascii"), value))
        return tuple(written)

    def edited(
        self,
        fields: Iterable[tuple[bytes, bytes]],
        inbound: Inbound,
        route: str = "",
        isStrict: bool = True,
    ) -> list[tuple[bytes, bytes]]:
        """
        The fields with these changes.

        @param isStrict: C{False} leaves a field out rather than to raise.
        @raise BadRequest: a value would hold a control character. It is never written.
        """
        kept = [pair for pair in fields if not self._takes(pair[0])]
        for name, value in self._written:
            if isinstance(value, Template):
                try:
                    value = _value(value.render(inbound, route))
                except ValueError:
                    if isStrict:
                        raise BadRequest(f"{name!r} would hold a control character") from None
                    continue
                if not value:
                    continue
            kept.append((name, value))
        return kept

    def _takes(self, name: bytes) -> bool:
        taken = self._known.get(name)
        if taken is None:
            if len(self._known) >= 256:  # clients choose the names
                self._known.clear()
            low = _canonical(name)
            taken = low in self._gone or (low.startswith(self._below) and low not in _UNTOUCHED)
            self._known[name] = taken
        return taken

    def __bool__(self) -> bool:
        return bool(self.set or self.add or self.remove)


# ------------------------------------------------------------------------------- all

# uri-host [":" port], as in the heads of requests.
_AUTHORITY = re.compile(
    r"(?:[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]{2,45}\])(?::[1-9][0-9]{0,4})?"
)
_MAX_HOST = 260  # 253 characters of name, a final dot, a colon, a port


def isHost(text: str) -> bool:
    """Whether this may stand in C{Host}: a name or address, and maybe a port."""
    if len(text) > _MAX_HOST or not _AUTHORITY.fullmatch(text):
        return False
    name, bracket, port = text.rpartition("]")
    if bracket:
        try:
            IPv6Address(name[1:])
        except AddressValueError:
            return False
    return int(port.partition(":")[2] or 0) < 65536


class TargetRule(Protocol):
    """Rewrites the path of a request."""

    def rewritten(self, target: str) -> str:
        """
        The path and query for the backend.

        @raise BadRequest: it could not be done safely.
        """


@frozen
class Rules:
    """
    Everything that a route changes. Towards the backend it has the last word after the
    request filters, towards the client after the response filters.

    @ivar route: the route's name, for C{{route}}.
    @ivar request: for the fields of the request.
    @ivar response: for the fields of every final answer: the backend's, the 101, a filter's
        own, an error page.
    @ivar target: for the path.
    @ivar host: for C{Host}: empty keeps the client's, C{"backend"} is the authority of the
        backend that was dialled, anything else is a template.
    """

    route: str = ""
    request: FieldRules = FieldRules()
    response: FieldRules = FieldRules()
    target: TargetRule | None = None
    host: str = ""
    _host: Template | None = field(init=False, eq=False, repr=False)

    @_host.default
    def _makeHost(self) -> Template | None:
        if self.host in ("", "backend"):
            return None
        template = Template(self.host)
        if template.isLiteral and not isHost(template.render(_NOBODY)):
            raise ValueError(f'"{self.host}" is no host and port')
        return template

    def onRequest(self, outbound: OutboundRequest, inbound: Inbound) -> None:
        """
        Change a request before it is written.

        @raise BadRequest: a path, C{Host} or value would come out that must not be written.
        """
        if self.target is not None:
            outbound.target = self.target.rewritten(outbound.target)
        if self.host == "backend":
            outbound.headers.remove("host")
        elif self._host is not None:
            host = self._host.render(inbound, self.route)
            if not isHost(host):
                raise BadRequest(f"no Host can be made of {host[:80]!r}")
            outbound.headers = _withHost(outbound.headers, host)
        if self.request:
            fields = self.request.edited(outbound.headers.raw, inbound, self.route)
            outbound.headers = MutableHeaders(fields)

    def headFor(self, head: bytes, authority: str) -> bytes:
        """
        The head of a request for the backend that was dialled, at each attempt anew.

        @param head: as it was written after L{onRequest}, which has left out the C{Host} that is
            the backend's.
        @param authority: its host, and its port where that is not the scheme's own.
        """
        if self.host != "backend":
            return head
        line, rest = head.split(b"\r\n", 1)
        return b"%b\r\nHost: %b\r\n%b" % (line, authority.encode("ascii"), rest)

    def onResponse(self, response: OutboundResponse, inbound: Inbound) -> None:
        """Change an answer before it is written. A value that must not be written is left out."""
        if self.response:
            raw = response.headers.raw
            fields = self.response.edited(raw, inbound, self.route, isStrict=False)
            response.headers = MutableHeaders(fields)

    def onAnswer(self, respond: Respond, inbound: Inbound) -> Respond:
        """The same for an answer of a filter's or the relay's own."""
        if not self.response:
            return respond
        fields = self.response.edited(respond.headers, inbound, self.route, isStrict=False)
        return Respond(respond.status, tuple(fields), respond.body)


def _withHost(headers: MutableHeaders, host: str) -> MutableHeaders:
    """The same fields with this C{Host}, in its place."""
    raw = host.encode("ascii")
    fields = [(name, raw if name.lower() == b"host" else value) for name, value in headers.raw]
    if "host" not in headers:
        fields.insert(0, (b"Host", raw))
    return MutableHeaders(fields)

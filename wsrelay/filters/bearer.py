# -*- test-case-name: tests.filters.test_bearer -*-
"""
Lets in who has a signed token: a JWT (RFC 7519), checked as RFC 8725 advises.

Which algorithms are taken is the configuration's to say, and a key is used with its own only
(L{wsrelay.filters.keys}). Where the token may be shown stands in L{wsrelay.filters.tokens}. It
must not be over; its issuer and audience must be those that are named, and a token for a named
audience is refused where none is configured (RFC 7519 section 4.1.3).

A token is checked when a request or a WebSocket begins. A WebSocket that is open stays open when
its token is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import jwt
from pydantic import AfterValidator, Field, model_validator
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from wsrelay.filters.asking import Asker, Unanswered, Url
from wsrelay.filters.files import located
from wsrelay.filters.identity import FieldName, checkedText, forget
from wsrelay.filters.keys import SECRET, FileKeys, Key, PublishedKeys
from wsrelay.filters.refusals import challenge, checkedRealm, refusal
from wsrelay.filters.tokens import Ambiguous, Places
from wsrelay.interfaces import IExchange, IRelay, IRequestFilter, Options
from wsrelay.model import MutableHeaders, Respond

__all__ = ["BearerFilter", "BearerOptions"]

_log = Logger()

# Characters. What is longer would not fit into most servers' heads either.
_LONGEST = 8192
# Bytes of a JWK set.
_MOST_SET = 512 * 1024

_Algorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512", "EdDSA",
]  # fmt: skip


class BearerOptions(Options):
    """What may stand in the plugin's table."""

    algorithms: list[_Algorithm] = Field(
        min_length=1,
        description="what tokens may be signed with: HS256 and its like with a shared secret, or "
        "others with public keys, not both",
        examples=[["RS256", "ES256"]],
    )
    keyFile: Path | None = Field(
        default=None,
        description="the secret, or public keys or certificates in PEM, or a JWK set; read again "
        "when it changes",
        examples=["/etc/wsrelay/issuer.pem"],
    )
    jwks: Url | None = Field(
        default=None,
        description="the URL of the issuer's JWK set, instead of a file",
        examples=["https://id.example.org/.well-known/jwks.json"],
    )
    insecure: bool = Field(
        default=False,
        description="whether jwks may be http: whoever is in between can then let in anybody",
        examples=[True],
    )
    ca: Path | None = Field(
        default=None,
        description="certificates to trust for jwks instead of the system's, in PEM",
        examples=["/etc/wsrelay/ca.pem"],
    )
    refresh: float = Field(
        default=3600.0,
        gt=0,
        description="how old a JWK set may get before it is fetched again, in seconds",
        examples=[600],
    )
    pause: float = Field(
        default=30.0,
        gt=0,
        description="how long no JWK set is fetched after a fetch, even if a key is missing, in "
        "seconds",
        examples=[10],
    )
    keep: float = Field(
        default=86400.0,
        gt=0,
        description="how long a JWK set holds that cannot be fetched again, in seconds",
        examples=[7200],
    )
    timeout: float = Field(
        default=5.0, gt=0, description="how long a fetch may take, in seconds", examples=[2]
    )
    issuer: list[str] = Field(
        default=[],
        description="who may have issued the token (iss); anybody with a key if empty",
        examples=[["https://id.example.org/"]],
    )
    audience: list[str] = Field(
        default=[],
        description="whom the token must be for (aud), one of them; if empty, a token that is for "
        "somebody is refused",
        examples=[["chat"]],
    )
    leeway: float = Field(
        default=30.0,
        ge=0,
        le=600,
        description="how far clocks may be apart (exp, nbf, iat), in seconds",
        examples=[5],
    )
    required: list[str] = Field(
        default=["exp"],
        description="the claims that a token must have",
        examples=[["exp", "sub"]],
    )
    headers: dict[FieldName, str] = Field(
        default={},
        description="header fields and the claims that they tell the backend; a client's own are "
        "removed, and a list is told with commas",
        examples=[{"X-User": "sub", "X-Roles": "roles"}],
    )
    header: bool = Field(
        default=True,
        description="whether the token may stand in Authorization: Bearer",
        examples=[False],
    )
    cookie: str | None = Field(
        default=None,
        min_length=1,
        description="the cookie it may stand in; add an origin filter, since browsers send "
        "cookies for every page",
        examples=["session"],
    )
    query: str | None = Field(
        default=None,
        min_length=1,
        description="the query's parameter it may stand in, where it gets into logs and histories",
        examples=["access_token"],
    )
    subprotocol: str | None = Field(
        default=None,
        min_length=1,
        description="the prefix of a WebSocket subprotocol that is a token; a browser must offer "
        "a second one, for the backend to choose",
        examples=["bearer."],
    )
    keepToken: bool = Field(
        default=False, description="whether the backend gets the token, too", examples=[True]
    )
    realm: Annotated[str, AfterValidator(checkedRealm)] = Field(
        default="Restricted",
        description="what clients are told they need a token for",
        examples=["chat"],
    )

    @model_validator(mode="after")
    def _check(self) -> BearerOptions:
        secret = [name in SECRET for name in self.algorithms]
        if any(secret) and not all(secret):
            raise ValueError("algorithms: a shared secret and public keys cannot be mixed")
        if (self.keyFile is None) is (self.jwks is None):
            raise ValueError("expected either keyFile or jwks")
        if self.jwks is not None and any(secret):
            raise ValueError("jwks: a secret that everybody can fetch is none")
        if (self.jwks or "").startswith("http:") and not self.insecure:
            raise ValueError("jwks: expected https, or insecure = true beside it")
        if not (self.header or self.cookie or self.query or self.subprotocol):
            raise ValueError("there is no place left for a token to stand in")
        return self


class _Refused(Exception):
    """The token is none; why, without what stands in it."""


@implementer(IRequestFilter)
class BearerFilter:
    """Looks at tokens."""

    def __init__(self, options: BearerOptions, relay: IRelay) -> None:
        """@raise ValueError: a file cannot be read, or holds no such key."""
        self._options = options
        self._places = Places(options.header, options.cookie, options.query, options.subprotocol)
        realm = options.realm
        # RFC 6750 section 3.1: no error code for who shows nothing.
        self._nothing = challenge(401, "Bearer", realm=realm)
        self._invalid = challenge(401, "Bearer", realm=realm, error="invalid_token")
        self._several = challenge(400, "Bearer", realm=realm, error="invalid_request")
        self._keyless = refusal(503, (b"Retry-After", b"5"))
        self._keys = self._source(options, relay)

    def _source(self, options: BearerOptions, relay: IRelay) -> FileKeys | PublishedKeys:
        seconds = relay.clock.seconds
        if options.keyFile is not None:
            path = located(options.keyFile, relay)
            return FileKeys(path, options.algorithms, seconds)
        ca = options.ca and located(options.ca, relay)
        self.asker = Asker(relay.reactor, options.jwks or "", options.timeout, _MOST_SET, ca)
        return PublishedKeys(self.asker, seconds, options.refresh, options.pause, options.keep)

    def requestReceived(self, exchange: IExchange) -> Respond | Deferred[Respond | None]:
        """401, unless there is a token that is right."""
        outbound = exchange.outbound
        forget(outbound.headers, self._options.headers)
        if not self._options.keepToken:
            self._places.take(outbound)
        request = exchange.inbound.request
        try:
            token = self._places.shown(request) if request is not None else None
        except Ambiguous:
            return self._several
        if token is None:
            return self._nothing
        return Deferred.fromCoroutine(self._judge(exchange, token))

    def responseReceived(self, exchange: IExchange) -> Respond | None:
        """Answers pass."""
        return None

    async def _judge(self, exchange: IExchange, token: str) -> Respond | None:
        try:
            keyId, algorithm = self._head(token)
            claims = self._claims(token, algorithm, await self._keys.find(keyId, algorithm))
            fields = self._fields(claims)
        except Unanswered:
            return self._keyless
        except Exception as error:
            # A library's words may show what stands in the token; a kind of error cannot.
            why = str(error) if isinstance(error, _Refused) else type(error).__name__
            _log.info("{id}: the token is refused: {why}", id=exchange.id, why=why)
            return self._invalid
        self._tell(exchange.outbound.headers, fields)
        return None

    def _head(self, token: str) -> tuple[str | None, str]:
        """The key that it asks for, and the algorithm."""
        if len(token) > _LONGEST:
            raise _Refused(f"over {_LONGEST} characters")
        head = jwt.get_unverified_header(token)
        keyId, algorithm = head.get("kid"), head.get("alg")
        if algorithm not in self._options.algorithms:
            raise _Refused("signed with an algorithm that is not named")
        return keyId if isinstance(keyId, str) else None, str(algorithm)

    def _claims(self, token: str, algorithm: str, keys: Sequence[Key]) -> dict[str, Any]:
        """What it says, if one of these keys has signed it."""
        options = self._options
        for key in keys:
            try:
                claims: dict[str, Any] = jwt.decode(
                    token,
                    key.value,
                    algorithms=[algorithm],
                    options={"require": options.required},
                    audience=options.audience or None,
                    issuer=options.issuer or None,
                    leeway=options.leeway,
                )
            except jwt.InvalidSignatureError:
                continue
            return claims
        raise _Refused("signed with no known key")

    def _fields(self, claims: dict[str, Any]) -> list[tuple[str, bytes]]:
        """What the backend is told; C{ValueError} for a claim that cannot be."""
        told = self._options.headers.items()
        return [(name, _value(claims[claim])) for name, claim in told if claim in claims]

    def _tell(self, headers: MutableHeaders, fields: Sequence[tuple[str, bytes]]) -> None:
        for name, value in fields:
            headers.set(name, value)


def _value(claim: Any) -> bytes:
    """A claim as the value of a field."""
    if isinstance(claim, list):
        words = [_value(each) for each in claim if not isinstance(each, list)]
        if len(words) != len(claim) or any(b"," in word for word in words):
            raise ValueError("a list that would be read as another")
        return b",".join(words)
    if isinstance(claim, bool):
        return b"true" if claim else b"false"
    if isinstance(claim, int):
        return b"%d" % claim
    if isinstance(claim, str):
        return checkedText(claim)
    raise ValueError("a claim that is no text, number or list")

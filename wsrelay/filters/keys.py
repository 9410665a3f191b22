# -*- test-case-name: tests.filters.test_keys -*-
"""
The keys that tokens are signed with: from a file, or from where their issuer publishes them.

A key is bound to the algorithms it may be used with as soon as it is read, by what it is: a
secret to C{HS...}, an RSA key to C{RS...} and C{PS...}, each curve to its own. So a token cannot
choose that a public key be taken for a secret, whatever stands in its head (RFC 8725 section
3.1).

A published set (RFC 7517) is fetched when the first token comes, and again when it is old or
does not have a token's key, but not more often than every few seconds, and once for everybody
who waits. What was fetched last holds for a while when the issuer cannot be reached.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsrelay.filters.asking import Asker, Told, Unanswered
from wsrelay.filters.files import WatchedFile
from wsrelay.filters.joined import Joined

__all__ = ["ALGORITHMS", "SECRET", "FileKeys", "Key", "PublishedKeys", "parseKeys", "parseSet"]

_log = Logger()

#: The algorithms that take a shared secret, and how many bytes it must have (RFC 7518 3.2).
SECRET = {"HS256": 32, "HS384": 48, "HS512": 64}
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}

#: Everything that may be named; "none" is not among it.
ALGORITHMS = frozenset({*SECRET, *_RSA, *_CURVES.values(), "EdDSA"})

# Bits (RFC 7518 section 3.3).
_LEAST_RSA = 2048
# A token without a key id is tried with each that fits; nobody publishes as many.
_MOST_KEYS = 64
# Seconds between two fetches while there is no set at all.
_SOON = 5.0
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s.*?-----END \1-----", re.DOTALL)


@frozen
class Key:
    """
    One key.

    @ivar id: what tokens call it; C{None} fits every token.
    @ivar algorithms: what it may be used with.
    @ivar value: as the library takes it.
    """

    id: str | None
    algorithms: frozenset[str]
    value: Any = field(repr=False)

    def fits(self, keyId: str | None, algorithm: str) -> bool:
        """Whether a token that says this may be signed with it."""
        return algorithm in self.algorithms and (
            keyId is None or self.id is None or keyId == self.id
        )


def _algorithmsOf(value: Any) -> frozenset[str]:
    """What a key may be used with, by what it is; C{ValueError} for one that is too weak."""
    if isinstance(value, bytes):
        found = frozenset(name for name, least in SECRET.items() if len(value) >= least)
        if not found:
            raise ValueError(f"a secret of {len(value)} bytes; at least 32 are needed")
        return found
    if isinstance(value, rsa.RSAPublicKey):
        if value.key_size < _LEAST_RSA:
            raise ValueError(f"an RSA key of {value.key_size} bits; at least 2048 are needed")
        return _RSA
    if isinstance(value, ec.EllipticCurvePublicKey) and value.curve.name in _CURVES:
        return frozenset({_CURVES[value.curve.name]})
    if isinstance(value, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return frozenset({"EdDSA"})
    raise ValueError("a key of a kind that is not known, or a private key")


# ------------------------------------------------------------------------------- files


def parseKeys(data: bytes, algorithms: Collection[str]) -> tuple[Key, ...]:
    """
    The keys of a file: a JWK or a set of them in JSON, public keys or certificates in PEM, or
    for C{HS...} the secret itself. A final line end is no part of a secret in text.

    @raise ValueError: there is none for these algorithms; no secret is shown.
    """
    if data.lstrip()[:1] == b"{":
        keys = parseSet(data)
    elif b"-----BEGIN " in data:
        keys = tuple(_bound(None, _fromPem(match)) for match in _PEM.finditer(data))
    elif set(algorithms) <= set(SECRET):
        isText = all(32 <= byte < 127 or byte in b"\r\n\t" for byte in data)
        keys = (_bound(None, data.rstrip(b"\r\n") if isText else data),)
    else:
        raise ValueError("expected public keys in PEM, or a JWK set")
    fitting = tuple(key for key in keys if not key.algorithms.isdisjoint(algorithms))
    if not fitting:
        raise ValueError(f"there is no key for {', '.join(sorted(algorithms))}")
    return fitting


def _fromPem(match: re.Match[bytes]) -> Any:
    label = match[1].decode("ascii")
    if "PRIVATE" in label:
        raise ValueError("a private key; the relay needs, and should have, the public one only")
    try:
        if label == "CERTIFICATE":
            return x509.load_pem_x509_certificate(match[0]).public_key()
        return load_pem_public_key(match[0])
    except Exception:
        raise ValueError(f"{label} cannot be read") from None


def _bound(keyId: str | None, value: Any) -> Key:
    return Key(keyId, _algorithmsOf(value), value)


# -------------------------------------------------------------------------------- sets

_FROM_JWK: dict[str, Callable[[Any], Any]] = {
    "oct": HMACAlgorithm.from_jwk,
    "RSA": RSAAlgorithm.from_jwk,
    "EC": ECAlgorithm.from_jwk,
    "OKP": OKPAlgorithm.from_jwk,
}


def parseSet(data: bytes) -> tuple[Key, ...]:
    """
    The keys of a JWK or a JWK set (RFC 7517) that can be used to check signatures; others are
    left out, as its section 5 says.

    @raise ValueError: it is neither.
    """
    try:
        found = json.loads(data)
        listed = found.get("keys", [found])
        if not isinstance(listed, list) or len(listed) > _MOST_KEYS:
            raise TypeError
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"expected a JWK set of at most {_MOST_KEYS} keys") from None
    return tuple(key for each in listed if (key := _fromJwk(each)) is not None)


def _fromJwk(jwk: Any) -> Key | None:
    try:
        isForChecking = jwk.get("use", "sig") == "sig" and "verify" in jwk.get(
            "key_ops", ["verify"]
        )
        if not isForChecking or (jwk["kty"] != "oct" and "d" in jwk):
            return None
        key = _bound(jwk.get("kid"), _FROM_JWK[jwk["kty"]](jwk))
        only = jwk.get("alg")
        allowed = key.algorithms if only is None else key.algorithms & {only}
        isNamed = key.id is None or isinstance(key.id, str)
        return Key(key.id, allowed, key.value) if allowed and isNamed else None
    except Exception as error:
        # The library's own words show the key.
        _log.warn("a JWK is left out: {kind}", kind=type(error).__name__)
        return None


# ----------------------------------------------------------------------------- sources


class FileKeys:
    """The keys of a file, which is read again when it changes."""

    def __init__(
        self, path: Path, algorithms: Collection[str], seconds: Callable[[], float]
    ) -> None:
        """@raise ValueError: the file cannot be read or has no such keys."""
        self._file = WatchedFile(path, lambda data: parseKeys(data, algorithms), seconds)

    def find(self, keyId: str | None, algorithm: str) -> Deferred[list[Key]]:
        """The keys that a token may be signed with."""
        return succeed(_fitting(self._file.value, keyId, algorithm))


class PublishedKeys:
    """The keys that an issuer publishes."""

    def __init__(
        self,
        asker: Asker,
        seconds: Callable[[], float],
        refresh: float = 3600.0,
        pause: float = 30.0,
        keep: float = 86400.0,
    ) -> None:
        """
        @param seconds: what time it is.
        @param refresh: how old the set may get before it is fetched again, in seconds.
        @param pause: how long nothing is fetched after a fetch, in seconds.
        @param keep: how long a set holds that cannot be fetched again, in seconds.
        """
        self._asker = asker
        self._seconds = seconds
        self._refresh = refresh
        self._pause = pause
        self._keep = max(keep, refresh)
        self._joined: Joined[None] = Joined()
        self._keys: tuple[Key, ...] = ()
        self._fetched: float | None = None
        self._tried: float | None = None

    def find(self, keyId: str | None, algorithm: str) -> Deferred[list[Key]]:
        """
        The keys that a token may be signed with; waits for a fetch if that may bring it.

        @return: fails with L{Unanswered} when there is no set, or none that still holds.
        """
        found = self._current(keyId, algorithm)
        if self._isOlder(self._fetched, self._keep) or not found:
            return self._again().addCallback(lambda _: self._held(keyId, algorithm))
        if self._isOlder(self._fetched, self._refresh):
            self._again()
        return succeed(found)

    def _current(self, keyId: str | None, algorithm: str) -> list[Key]:
        return _fitting(self._keys, keyId, algorithm)

    def _held(self, keyId: str | None, algorithm: str) -> list[Key]:
        if self._isOlder(self._fetched, self._keep):
            raise Unanswered("there are no keys")
        return self._current(keyId, algorithm)

    def _isOlder(self, than: float | None, age: float) -> bool:
        return than is None or self._seconds() - than >= age

    def _again(self) -> Deferred[None]:
        """Fetch, join who is fetching, or do nothing if that was done just now."""
        return self._joined.ask(None, self._fetch)

    def _fetch(self) -> Deferred[None]:
        # While nobody can come in, it is tried a little more often.
        isUseless = self._isOlder(self._fetched, self._keep)
        if not self._isOlder(self._tried, min(self._pause, _SOON) if isUseless else self._pause):
            return succeed(None)
        self._tried = self._seconds()
        asked = self._asker.ask([(b"Accept", b"application/jwk-set+json, application/json")])
        return asked.addCallback(self._told).addErrback(self._failed)

    def _told(self, told: Told) -> None:
        if told.status != 200:
            raise Unanswered(f"status {told.status}")
        # A secret that everybody can fetch is none.
        keys = tuple(key for key in parseSet(told.body) if not isinstance(key.value, bytes))
        if not keys:
            raise ValueError("there is no key in it")
        self._keys = keys
        self._fetched = self._seconds()

    def _failed(self, failure: Failure) -> None:
        failure.trap(Unanswered, ValueError)
        _log.error("a JWK set could not be fetched: {why}", why=str(failure.value))


def _fitting(keys: Collection[Key], keyId: str | None, algorithm: str) -> list[Key]:
    return [key for key in keys if key.fits(keyId, algorithm)]

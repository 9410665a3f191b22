# -*- test-case-name: tests.filters.test_keys -*-
"""
Where keys come from, and what each may be used with.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import capturedLogs, formatEvent

from tests.certificates import theAuthority
from tests.filters.support import FilterTestCase
from wsrelay.filters.asking import Asker, Unanswered
from wsrelay.filters.keys import ALGORITHMS, FileKeys, Key, PublishedKeys, parseKeys, parseSet


@cache
def private(kind: str) -> Any:
    """A private key."""
    if kind.startswith("RSA"):
        return rsa.generate_private_key(65537, int(kind[3:] or 2048))
    curves = {"EC": ec.SECP256R1, "EC384": ec.SECP384R1, "EC521": ec.SECP521R1}
    if kind in curves:
        return ec.generate_private_key(curves[kind]())
    if kind == "EC256K":
        return ec.generate_private_key(ec.SECP256K1())
    return ed25519.Ed25519PrivateKey.generate()


def pem(kind: str) -> bytes:
    """A public key in PEM."""
    public = private(kind).public_key()
    return bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def jwk(kind: str, **more: Any) -> dict[str, Any]:
    """A public key as a JWK."""
    makers: dict[str, Any] = {"R": RSAAlgorithm, "EC": ECAlgorithm, "Ed": OKPAlgorithm}
    make = makers["R" if kind.startswith("RSA") else kind[:2]]
    return {**make.to_jwk(private(kind).public_key(), as_dict=True), **more}


def published(*keys: dict[str, Any]) -> bytes:
    """A JWK set."""
    return json.dumps({"keys": list(keys)}).encode()


RS = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
OCT = {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}


class ParseTests(FilterTestCase):
    """Reading keys."""

    def test_bound(self) -> None:
        """What a key may be used with is what it is, and no more."""
        for data, wanted in [
            (pem("RSA"), RS),
            (pem("EC"), {"ES256"}),
            (pem("EC384"), {"ES384"}),
            (pem("EC521"), {"ES512"}),
            (pem("Ed"), {"EdDSA"}),
            (theAuthority().issue("a").pem.partition(b"-----BEGIN CERT")[2], {"ES256"}),
            (published(jwk("RSA")), RS),
            (published(jwk("RSA", alg="RS512")), {"RS512"}),
            (published(jwk("EC")), {"ES256"}),
            (published(jwk("Ed")), {"EdDSA"}),
            (published(OCT), {"HS256"}),
            (json.dumps(jwk("EC521")).encode(), {"ES512"}),
        ]:
            data = b"-----BEGIN CERT" + data if data.startswith(b"IFICATE") else data
            (key,) = parseKeys(data, ALGORITHMS)
            self.assertEqual(key.algorithms, wanted, data)

    def test_secret(self) -> None:
        """A secret is a file without its line end, long enough for its algorithm."""
        for data, value, wanted in [
            (b"x" * 32, b"x" * 32, {"HS256"}),
            (b"x" * 64 + b"\n", b"x" * 64, {"HS256", "HS384", "HS512"}),
            (b"x" * 48 + b"\r\n", b"x" * 48, {"HS256", "HS384"}),
            (b"\x00" * 32 + b"\n", b"\x00" * 32 + b"\n", {"HS256"}),
        ]:
            (key,) = parseKeys(data, ["HS256"])
            self.assertEqual((key.value, key.algorithms), (value, wanted))
            self.assertNotIn("x" * 32, repr(key))

    def test_refused(self) -> None:
        """What is no key for the algorithms is refused, and nothing of it shown."""
        secret = pem("RSA") + private("RSA").private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        for data, algorithms, wanted in [
            (b"sekrit\n", ["HS256"], "a secret of 6 bytes"),
            (b"", ["HS256"], "a secret of 0 bytes"),
            (b"sekrit" * 8, ["HS512"], "no key for HS512"),
            (b"sekrit" * 8, ["RS256"], "expected public keys in PEM"),
            (pem("RSA"), ["HS256"], "no key for HS256"),
            (pem("EC"), ["ES384", "RS256"], "no key for ES384, RS256"),
            (pem("RSA1024"), ["RS256"], "an RSA key of 1024 bits"),
            (pem("EC256K"), ["ES256"], "not known"),
            (secret, ["RS256"], "a private key"),
            (pem("RSA").replace(b"MII", b"!!!", 1), ["RS256"], "cannot be read"),
            (published(jwk("RSA")), ["HS256"], "no key for HS256"),
            (published({**jwk("RSA"), "d": "sekrit"}), ["RS256"], "no key for RS256"),
            (b'{"keys": 1}', ["RS256"], "expected a JWK set"),
            (b'{"keys": "sekrit', ["RS256"], "expected a JWK set"),
            (b"{" * 100_000, ["RS256"], "expected a JWK set"),
            (b'{"keys":' + b"[" * 200_000, ["RS256"], "expected a JWK set"),
            (published(*[{}] * 65), ["RS256"], "expected a JWK set"),
        ]:
            with self.assertRaises(ValueError, msg=wanted) as caught:
                parseKeys(data, algorithms)
            self.assertIn(wanted, str(caught.exception))
            self.assertNotIn("sekrit", str(caught.exception))

    def test_leftOut(self) -> None:
        """In a set, what cannot check signatures is left out, and the rest counts."""
        good = jwk("EC", kid="good")
        with capturedLogs() as logs:
            for other in (
                jwk("RSA", use="enc"),
                jwk("RSA", key_ops=["encrypt"]),
                jwk("RSA", alg="HS256"),
                jwk("RSA", alg="none"),
                jwk("RSA", kid=5),
                jwk("RSA1024"),
                {"kty": "sekrit"},
                {"kty": ["RSA"]},
                {"kty": "oct", "k": "sekrit"},
                {},
                "sekrit",
                None,
            ):
                with self.subTest(other=other):
                    (key,) = parseSet(json.dumps({"keys": [other, good]}).encode())
                    self.assertEqual(key.id, "good")
        self.assertNotIn("sekrit", "".join(formatEvent(each) or "" for each in logs))

    def test_fits(self) -> None:
        """A key fits a token of its own name, or where one of the two has none."""
        for mine, asked, fits in [
            ("a", "a", True),
            ("a", "b", False),
            ("a", None, True),
            (None, "b", True),
        ]:
            key = Key(mine, frozenset({"RS256"}), None)
            self.assertIs(key.fits(asked, "RS256"), fits)
            self.assertFalse(key.fits(asked, "RS384"))


class FileKeysTests(FilterTestCase):
    """Keys of a file."""

    def test_changed(self) -> None:
        """New keys of the file count; a broken file leaves the old ones."""
        path = Path(self.mktemp())
        path.write_bytes(pem("EC"))
        keys = FileKeys(path, ["ES256", "RS256"], self.given.clock.seconds)
        for data, algorithm in [
            (None, "ES256"),
            (b"nonsense", "ES256"),
            (pem("RSA"), "RS256"),
            (b"", "RS256"),
        ]:
            if data is not None:
                path.write_bytes(data)
            self.given.clock.advance(2)
            other = {"ES256": "RS256", "RS256": "ES256"}[algorithm]
            self.assertEqual(len(self.successResultOf(keys.find("x", algorithm))), 1)
            self.assertEqual(self.successResultOf(keys.find("x", other)), [])


class PublishedKeysTests(FilterTestCase):
    """Keys that are fetched."""

    async def published(self) -> PublishedKeys:
        """Keys of a service: fetched again after 100 s, not for 10 s, kept for 1000 s."""
        port = await self.serve()
        asker = Asker(self.given.reactor, f"http://127.0.0.1:{port}/", 5.0, 10000)
        self.addCleanup(asker.close)
        self.service.body = published(jwk("EC", kid="a"))
        return PublishedKeys(asker, self.given.clock.seconds, 100, 10, 1000)

    async def found(self, keys: PublishedKeys, keyId: str | None, seconds: float = 0) -> int:
        """How many keys are, so many seconds later."""
        self.given.clock.advance(seconds)
        return len(await keys.find(keyId, "ES256"))

    async def test_rotation(self) -> None:
        """An unknown key is looked for, but not again within ten seconds."""
        keys = await self.published()
        for seconds, keyId, count, asked in [
            (0, "a", 1, 1),
            (0, None, 1, 1),
            (0, "b", 0, 1),
            (9, "b", 0, 1),
            (1, "b", 0, 2),
            (1, "a", 1, 2),
        ]:
            self.assertEqual(await self.found(keys, keyId, seconds), count)
            self.assertEqual(len(self.service.asked), asked)
        self.service.body = published(jwk("EC", kid="b"))
        self.assertEqual(await self.found(keys, "b", 9), 1)
        self.assertEqual(await self.found(keys, "a"), 0)

    async def test_one(self) -> None:
        """Many who wait are served by one fetch."""
        keys = await self.published()
        self.service.isHolding = True
        waiting = [Deferred.fromCoroutine(self.found(keys, "a")) for _ in range(20)]
        while not self.service.held:
            await self.turns()
        self.service.release()
        self.assertEqual(await gatherResults(waiting), [1] * 20)
        self.assertEqual(len(self.service.asked), 1)

    async def test_old(self) -> None:
        """An old set goes on while it is fetched again, and one that is too old does not."""
        keys = await self.published()
        await self.found(keys, "a")
        self.service.status = 500
        with capturedLogs() as logs:
            self.assertEqual(await self.found(keys, "a", 100), 1)
            while not [each for each in logs if "could not be fetched" in str(formatEvent(each))]:
                await self.turns()
            self.assertEqual(await self.found(keys, "a", 899), 1)
            with self.assertRaises(Unanswered):
                await self.found(keys, "a", 11)
            with self.assertRaises(Unanswered):
                await self.found(keys, "b")
            self.service.status = 200
            self.assertEqual(await self.found(keys, "a", 10), 1)

    async def test_useless(self) -> None:
        """A set that is none leaves what there was; with none at all there is no answer."""
        keys = await self.published()
        good = self.service.body
        self.service.status = 500
        for seconds, asked in [(0, 1), (4, 1), (1, 2)]:
            with self.assertRaises(Unanswered):
                await self.found(keys, "a", seconds)
            self.assertEqual(len(self.service.asked), asked)
        self.service.status = 200
        for body in (b"", b"{}", b"nonsense", published(), published(OCT), good + b" " * 10000):
            self.service.body = body
            with self.assertRaises(Unanswered):
                await self.found(keys, "a", 10)
        self.service.status, self.service.fields = 302, [(b"Location", b"http://127.0.0.1:1/")]
        with self.assertRaises(Unanswered):
            await self.found(keys, "a", 10)
        self.service.status, self.service.body = 200, good
        self.assertEqual(await self.found(keys, "a", 10), 1)

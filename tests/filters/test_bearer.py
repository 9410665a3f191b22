# -*- test-case-name: tests.filters.test_bearer -*-
"""
Signed tokens.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
from pydantic import ValidationError
from twisted.logger import capturedLogs, formatEvent

from tests.certificates import theAuthority
from tests.filters.support import HANDSHAKE, FilterTestCase, exchangeOf
from tests.filters.test_keys import OCT, jwk, pem, private, published
from wsrelay.filters.bearer import BearerFilter, BearerOptions

SECRET = b"a secret of more than sixty-four bytes, so that it serves for every one of them"


def now() -> int:
    """What the library takes for the time: it asks the system."""
    return int(time.time())


def token(
    kind: str = "EC", algorithm: str = "ES256", head: dict[str, Any] | None = None, **claims: Any
) -> str:
    """A token, valid for ten minutes; a claim of C{None} is none."""
    claims = {"exp": now() + 600, **claims}
    kept = {name: claim for name, claim in claims.items() if claim is not None}
    key = SECRET if kind == "secret" else private(kind)
    # Not by jwt.encode, which refuses to make what it would refuse to read.
    return jwt.PyJWS().encode(json.dumps(kept).encode(), key, algorithm, headers=head)


def forged(head: dict[str, Any], key: bytes = b"", claims: Any = None) -> str:
    """A token that no library would write."""
    parts = (head, {"exp": now() + 600} if claims is None else claims)
    text = b".".join(map(_based, [json.dumps(part).encode() for part in parts]))
    mark = hmac.digest(key, text, hashlib.sha256) if key else b""
    return (text + b"." + _based(mark)).decode()


def _based(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def bearer(text: str | bytes) -> bytes:
    """The field that shows a token."""
    return b"Authorization: Bearer " + (text.encode("latin-1") if isinstance(text, str) else text)


class BearerTestCase(FilterTestCase):
    """What the tests below share."""

    def keyFile(self, data: bytes) -> Path:
        """A file of keys."""
        path = Path(self.mktemp()).absolute()
        path.write_bytes(data)
        return path

    def made(self, data: bytes | None = None, **options: Any) -> BearerFilter:
        """A filter with a file of keys."""
        if "jwks" not in options:
            options["keyFile"] = self.keyFile(pem("EC") if data is None else data)
        made = BearerFilter(
            BearerOptions(**{"algorithms": ["ES256"], **options}),
            self.given,
        )
        asker = getattr(made, "asker", None)
        if asker is not None:
            self.addCleanup(asker.close)
        return made

    async def remote(self, **options: Any) -> BearerFilter:
        """A filter that fetches its keys."""
        port = await self.serve()
        url = f"http://127.0.0.1:{port}/jwks"
        return self.made(jwks=url, insecure=True, **options)


class BearerTests(BearerTestCase):
    """The filter."""

    async def test_algorithms(self) -> None:
        """Every algorithm works with its key."""
        kinds = {"H": "secret", "R": "RSA", "P": "RSA", "Ed": "Ed"}
        curves = {"ES256": "EC", "ES384": "EC384", "ES512": "EC521"}
        for algorithm in BearerOptions.model_fields["algorithms"].annotation.__args__[0].__args__:  # type: ignore[union-attr]
            kind = curves.get(algorithm) or kinds.get(algorithm[:2]) or kinds[algorithm[0]]
            data = SECRET if kind == "secret" else pem(kind)
            made = self.made(data, algorithms=[algorithm])
            good = token(kind, algorithm)
            self.assertEqual(await self.statusOf(made, bearer(good)), 0, algorithm)

    async def test_claims(self) -> None:
        """A token that is over, not yet valid, from or for others, or incomplete is refused."""
        made = self.made(
            issuer=["i", "j"], audience=["a", "b"], leeway=30, required=["exp", "sub"]
        )
        good: dict[str, Any] = {"iss": "i", "aud": "a", "sub": "ada"}
        for claims, status in [
            ({}, 0),
            ({"iss": "j", "aud": ["x", "b"]}, 0),
            ({"exp": now() - 10}, 0),
            ({"nbf": now() + 20}, 0),
            ({"exp": now() - 60}, 401),
            ({"exp": None}, 401),
            ({"exp": "soon"}, 401),
            ({"exp": 1e400}, 401),
            ({"nbf": now() + 90}, 401),
            ({"iat": now() + 90}, 401),
            ({"iss": "k"}, 401),
            ({"iss": None}, 401),
            ({"iss": ["i"]}, 401),
            ({"aud": "c"}, 401),
            ({"aud": None}, 401),
            ({"aud": []}, 401),
            ({"aud": {"a": 1}}, 401),
            ({"sub": None}, 401),
        ]:
            shown = bearer(token(**{**good, **claims}))
            self.assertEqual(await self.statusOf(made, shown), status, claims)

    async def test_audience(self) -> None:
        """A token for somebody is refused where nobody is named."""
        self.assertEqual(await self.statusOf(self.made(), bearer(token(aud="x"))), 401)

    async def test_confusion(self) -> None:
        """A token never chooses how it is checked."""
        ec, secret = pem("EC"), self.made(SECRET, algorithms=["HS256"])
        made = self.made(ec + pem("RSA"), algorithms=["ES256", "RS256"])
        public = json.dumps(jwk("EC")).encode()
        for filter_, text in [
            (made, forged({"alg": "none"})),
            (made, forged({"alg": "None"})),
            (made, forged({"alg": ""})),
            (made, forged({})),
            (made, forged({"alg": ["ES256"]})),
            (made, forged({"alg": {"ES256": 1}})),
            (made, forged({"alg": "HS256"}, ec)),
            (made, forged({"alg": "HS256"}, ec.strip())),
            (made, forged({"alg": "HS256"}, public)),
            (made, forged({"alg": "ES256"}, ec)),
            (made, forged({"alg": "ES256"})),
            (made, forged({"alg": "RS256"}, ec)),
            (made, token("RSA", "PS256")),
            (made, token("RSA", "RS512")),
            (made, token("EC384", "ES384")),
            (made, token("Ed", "EdDSA")),
            (made, token(head={"crit": ["exp"], "exp": 1})),
            (made, token(head={"crit": []})),
            (made, forged({"alg": "ES256", "jwk": jwk("RSA")})),
            (made, forged({"alg": "ES256", "b64": False, "crit": ["b64"]})),
            (secret, forged({"alg": "none"})),
            (secret, forged({"alg": "HS256"}, b"another")),
            (secret, forged({"alg": "HS512"}, SECRET)),
            (secret, token()),
            (secret, forged({"alg": "HS256"}, SECRET, ["exp"])),
            (secret, forged({"alg": "HS256"}, SECRET, {})),
        ]:
            self.assertEqual(await self.statusOf(filter_, bearer(text)), 401, text)
        self.assertEqual(await self.statusOf(secret, bearer(forged({"alg": "HS256"}, SECRET))), 0)

    async def test_malformed(self) -> None:
        """What is no token is refused, whatever is in it."""
        made, good = self.made(), token()
        head, claims, mark = good.split(".")
        deep = _based(b'{"alg":"ES256","x":' + b"[" * 5000).decode()
        for text in [
            "",
            ".",
            "..",
            "...",
            head,
            f"{head}.{claims}",
            f"{head}.{claims}.",
            f"{head}..{mark}",
            f"{good}.x",
            f"{good} ",
            f"{good}, {good}",
            f"{good} {good}",
            f"x{good}",
            f"{head}.{claims}.{mark[:-2]}",
            f"{head}.{claims}x.{mark}",
            f"{deep}.{claims}.{mark}",
            "\xff\xfe",
            "e30.e30.e30",
            "bnVsbA.bnVsbA.",
            token(x="y" * 8000),
        ]:
            # White space at the end of a field is no part of it (RFC 9110 section 5.5).
            status = 0 if text == f"{good} " else 401
            self.assertEqual(await self.statusOf(made, bearer(text)), status, text)

    async def test_challenges(self) -> None:
        """Who shows nothing is asked, who shows nonsense is told so (RFC 6750 section 3)."""
        made = self.made(realm="chat")
        for fields, status, wanted in [
            ([], 401, b'Bearer realm="chat"'),
            ([b"Authorization: Basic x"], 401, b'Bearer realm="chat"'),
            ([bearer("x")], 401, b'Bearer realm="chat", error="invalid_token"'),
            ([bearer("x")] * 2, 400, b'Bearer realm="chat", error="invalid_request"'),
            ([bearer(token())] * 2, 400, b'Bearer realm="chat", error="invalid_request"'),
        ]:
            respond = await self.answerTo(made, exchangeOf(*fields))
            assert respond is not None
            self.assertEqual(respond.status, status)
            self.assertIn((b"WWW-Authenticate", wanted), respond.headers)

    async def test_told(self) -> None:
        """The backend is told claims, by nobody but the relay, and gets no token."""
        headers = {"X-User": "sub", "X-Roles": "roles", "X-Admin": "admin", "X-Level": "level"}
        made = self.made(headers=headers)
        shown = bearer(token(sub="Zo\xeb", roles=["a", "b c"], admin=True, level=7))
        forgeries = (b"X_USER: root", b"x-roles: root", b"X-Admin: true")
        exchange = exchangeOf(shown, *forgeries)
        self.assertIsNone(await self.answerTo(made, exchange))
        told = [exchange.told(name) for name in headers]
        self.assertEqual(told, [["Zo\xc3\xab"], ["a,b c"], ["true"], ["7"]])
        self.assertNotIn("Authorization", exchange.outbound.headers)
        self.assertNotIn("X_User", exchange.outbound.headers)
        exchange = exchangeOf(bearer(token()), *forgeries)
        self.assertIsNone(await self.answerTo(made, exchange))
        self.assertEqual([exchange.told(name) for name in headers], [[]] * 4)
        exchange = exchangeOf(bearer(token()))
        self.assertIsNone(await self.answerTo(self.made(keepToken=True), exchange))
        self.assertEqual(len(exchange.told("Authorization")), 1)

    async def test_unsafeClaims(self) -> None:
        """A claim that a backend would read as something else refuses the token."""
        made = self.made(headers={"X-User": "sub", "X-Any": "any"})
        for claims in [
            {"sub": "a\r\nX-Admin: 1"},
            {"sub": "a\0"},
            {"sub": " ada"},
            {"sub": ""},
            {"any": ["a,b"]},
            {"any": ["a\n"]},
            {"any": [["a"]]},
            {"any": {"a": 1}},
            {"any": 1.5},
            {"any": "\x85"},
        ]:
            self.assertEqual(await self.statusOf(made, bearer(token(**claims))), 401, claims)

    async def test_places(self) -> None:
        """A browser may show it elsewhere, if that is configured; the backend does not see it."""
        good = token()
        where: list[tuple[dict[str, Any], dict[str, Any], list[bytes]]] = [
            ({"cookie": "s"}, {}, [f"Cookie: s={good}".encode()]),
            ({"query": "t"}, {"target": f"/?t={good}".encode()}, []),
            (
                {"subprotocol": "bearer."},
                {"upgrade": True},
                [f"Sec-WebSocket-Protocol: chat, bearer.{good}".encode()],
            ),
        ]
        for options, how, fields in where:
            exchange = exchangeOf(*fields, **how)
            self.assertIsNone(await self.answerTo(self.made(**options), exchange))
            self.assertNotIn(good, repr(exchange.outbound))
            self.assertEqual(await self.statusOf(self.made(), *fields, **how), 401)
            only = self.made(header=False, **options)
            self.assertEqual(await self.statusOf(only, bearer(good)), 401)

    async def test_published(self) -> None:
        """Keys are fetched when a token comes; a new key is found; without any it is 503."""
        made = await self.remote()
        self.service.status = 500
        with capturedLogs():
            self.assertEqual(await self.statusOf(made, bearer(token())), 503)
        self.service.status = 200
        self.service.body = published(jwk("EC384", kid="old"), OCT)
        self.given.clock.advance(30)
        new = bearer(token(head={"kid": "new"}))
        self.assertEqual(await self.statusOf(made, new), 401)
        self.service.body = published(jwk("EC", kid="new"))
        self.assertEqual(await self.statusOf(made, new), 401, "it was fetched just now")
        self.given.clock.advance(30)
        self.assertEqual(await self.statusOf(made, new), 0)
        self.assertEqual(len(self.service.asked), 3)
        wrong = bearer(token("EC384", "ES384", {"kid": "new"}))
        self.assertEqual(await self.statusOf(made, wrong), 401)

    async def test_secure(self) -> None:
        """Keys come over https from who is trusted."""
        port = await self.serve(theAuthority().issue("127.0.0.1").options())
        self.service.body = published(jwk("EC"))
        url = f"https://127.0.0.1:{port}/"
        ca = theAuthority().write(Path(self.mktemp()))
        self.assertEqual(await self.statusOf(self.made(jwks=url, ca=ca), bearer(token())), 0)
        with capturedLogs():
            self.assertEqual(await self.statusOf(self.made(jwks=url), bearer(token())), 503)

    async def test_logs(self) -> None:
        """Why a token was refused stands in the log, and nothing of the token."""
        made = self.made(headers={"X-User": "sub"})
        for text, why in [
            (token(exp=now() - 600), "ExpiredSignatureError"),
            (token("Ed", "EdDSA"), "an algorithm that is not named"),
            (token(sub="sekrit\n"), "ValueError"),
            ("sekrit", "DecodeError"),
        ]:
            with capturedLogs() as logs:
                await self.statusOf(made, bearer(text))
            told = "".join(formatEvent(each) or "" for each in logs)
            self.assertIn(why, told)
            self.assertNotIn("sekrit", told)
            self.assertNotIn(text[:20], told)

    def test_options(self) -> None:
        """What would let in others than is meant is refused."""
        file, url = {"keyFile": "x"}, "http://a/"
        wrong: list[tuple[dict[str, Any], str]] = [
            ({**file}, "algorithms"),
            ({**file, "algorithms": []}, "algorithms"),
            ({**file, "algorithms": ["none"]}, "algorithms"),
            ({**file, "algorithms": ["HS256", "RS256"]}, "cannot be mixed"),
            ({"algorithms": ["RS256"]}, "either keyFile or jwks"),
            ({**file, "jwks": "https://a/", "algorithms": ["RS256"]}, "either keyFile or jwks"),
            ({"jwks": url, "algorithms": ["RS256"]}, "expected https"),
            ({"jwks": "https://a/", "algorithms": ["HS256"]}, "a secret that everybody"),
            ({**file, "algorithms": ["RS256"], "header": False}, "no place left"),
            (
                {**file, "algorithms": ["RS256"], "headers": {"Host": "sub"}},
                "written by the relay",
            ),
        ]
        for options, wanted in wrong:
            error = self.assertRaises(ValidationError, BearerOptions, **options)
            self.assertIn(wanted, str(error))
        self.assertRaises(ValueError, self.made, b"too short", algorithms=["HS256"])


class RelayTests(BearerTestCase):
    """Inside a relay."""

    async def test_refused(self) -> None:
        """A WebSocket without a right token gets 401 before any 101, and the backend nothing."""
        key = self.keyFile(pem("EC"))
        options = f'use = "jwt"\nalgorithms = ["ES256"]\nkeyFile = "{key}"'
        port, backend = await self.relay(options)
        for fields, wanted in [
            (b"", b'Bearer realm="Restricted"\r\n'),
            (bearer(forged({"alg": "none"})) + b"\r\n", b'error="invalid_token"\r\n'),
        ]:
            heard = await self.refusedRaw(port, HANDSHAKE + fields + b"\r\n")
            self.assertTrue(heard.startswith(b"HTTP/1.1 401 Unauthorized\r\n"), heard)
            self.assertIn(wanted, heard)
        self.assertEqual(backend.count, 0)

    async def test_passes(self) -> None:
        """With one, offered as a subprotocol, the backend hears of the name and the others."""
        key = self.keyFile(SECRET)
        port, backend = await self.relay(
            f'use = "jwt"\nalgorithms = ["HS256"]\nkeyFile = "{key}"\nsubprotocol = "bearer."\n'
            'headers = {X-User = "sub"}'
        )
        good = token("secret", "HS256", sub="ada").encode()
        client = await self.dial(port)
        offer = b"Sec-WebSocket-Protocol: chat, bearer." + good
        client.send(HANDSHAKE + offer + b"\r\nX-User: root\r\n\r\n")
        peer = await backend.peers.get()
        head = await peer.when(lambda got: b"\r\n\r\n" in got)
        self.assertIn(b"\r\nSec-WebSocket-Protocol: chat\r\n", head)
        self.assertIn(b"\r\nX-User: ada\r\n", head)
        self.assertNotIn(b"root", head)
        self.assertNotIn(good, head)
        await self.hangUp(client)
        await peer.lost

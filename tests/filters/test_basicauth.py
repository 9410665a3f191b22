# -*- test-case-name: tests.filters.test_basicauth -*-
"""
Names and passwords.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import bcrypt
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import capturedLogs, formatEvent

from tests.filters.support import HANDSHAKE, FilterTestCase, exchangeOf
from wsrelay.config.load import optionsProblems
from wsrelay.errors import ConfigurationError
from wsrelay.filters.basicauth import BasicAuthFilter, BasicAuthOptions, Credentials
from wsrelay.filters.passwords import Hashed
from wsrelay.model import Respond


def hashOf(password: str) -> str:
    """A quick hash."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode("ascii")


ADA, ZOE = hashOf("sesame"), hashOf("p\xe4ss:word")
USERS = {"ada": ADA, "Zo\xeb": ZOE}


def basic(text: str | bytes, scheme: str = "Basic") -> bytes:
    """The field that shows a name and a password."""
    data = text.encode() if isinstance(text, str) else text
    return f"Authorization: {scheme} ".encode() + base64.b64encode(data)


class BasicAuthTests(FilterTestCase):
    """The filter."""

    def made(self, **options: Any) -> BasicAuthFilter:
        """A filter; its hashes are counted."""
        if "file" not in options:
            options.setdefault("users", USERS)
        made = BasicAuthFilter(BasicAuthOptions(**options), self.given)
        verifier = made._verifier
        users, self.hashed = verifier._users, []

        def counted() -> dict[str, Hashed]:
            return {name: Hashed(each.text, self.counting(each)) for name, each in users().items()}

        verifier._users = counted
        return made

    def counting(self, hashed: Hashed) -> Any:
        """Whether a password is right; its hash is remembered."""

        def isRight(password: bytes) -> bool:
            self.hashed.append(hashed.text)
            return hashed.isRight(password)

        return isRight

    async def test_table(self) -> None:
        """The right pair passes, in every form the RFC allows; everything else gets 401."""
        made = self.made()
        good = basic("ada:sesame")
        for fields, status in [
            ([good], 0),
            ([basic("ada:sesame", "bASIC")], 0),
            ([basic("ada:sesame", "Basic  ")], 0),
            ([basic("Zo\xeb:p\xe4ss:word")], 0),
            ([basic("Zoe\u0308:pa\u0308ss:word")], 0),
            ([], 401),
            ([basic("ada:sesam")], 401),
            ([basic("ada:")], 401),
            ([basic("ada")], 401),
            ([basic(":sesame")], 401),
            ([basic("Ada:sesame")], 401),
            ([basic("eve:sesame")], 401),
            ([basic("ada:sesame\n")], 401),
            ([basic("ada\0:sesame")], 401),
            ([basic("Zo\xeb:p\xe4ss:word".encode("latin-1"))], 401),
            ([good, good], 401),
            ([good, b"Authorization: Bearer x"], 401),
            ([good + b", Basic x"], 401),
            ([good + b"!"], 401),
            ([b"Authorization: Basic"], 401),
            ([b"Authorization: Basic a"], 401),
            ([b"Authorization: Bearer " + good.rpartition(b" ")[2]], 401),
            ([b"Authorization: " + good.rpartition(b" ")[2]], 401),
            ([b"Proxy-" + good], 401),
            ([basic("ada:sesame" + "x" * 1000)], 401),
        ]:
            self.assertEqual(await self.statusOf(made, *fields), status, fields)

    async def test_challenge(self) -> None:
        """A browser is told to ask, for what, and in which encoding."""
        respond = await self.answerTo(self.made(realm="The cellar"), exchangeOf())
        assert respond is not None
        wanted = (b"WWW-Authenticate", b'Basic realm="The cellar", charset="UTF-8"')
        self.assertIn(wanted, respond.headers)

    async def test_told(self) -> None:
        """The backend is told the name, by nobody but the relay, and gets no password."""
        forged = (b"X-User: root", b"x_user: root", b"X.USER: root")
        exchange = exchangeOf(basic("Zo\xeb:p\xe4ss:word"), *forged)
        self.assertIsNone(await self.answerTo(self.made(userHeader="X-User"), exchange))
        self.assertEqual(exchange.told("X-User"), ["Zo\xeb".encode().decode("latin-1")])
        names = [name.lower() for name, _ in exchange.outbound.headers]
        self.assertNotIn("authorization", names)
        self.assertEqual([name for name in names if "user" in name], ["x-user"])
        exchange = exchangeOf(basic("ada:sesame"), *forged)
        self.assertIsNone(await self.answerTo(self.made(keepAuthorization=True), exchange))
        self.assertEqual(len(exchange.told("Authorization")), 1)

    async def test_remembered(self) -> None:
        """A right password is hashed once in a while, a wrong one each time."""
        made = self.made(remember=10)
        for seconds, word, count in [
            (0, "sesame", 1),
            (9, "sesame", 1),
            (1, "sesame", 2),
            (0, "sesam", 3),
            (0, "sesam", 4),
            (0, "sesame", 4),
        ]:
            self.given.clock.advance(seconds)
            await self.answerTo(made, exchangeOf(basic("ada:" + word)))
            self.assertEqual(len(self.hashed), count)
        kept = repr(made._verifier._right)
        self.assertFalse([word for word in ("ada", "sesame", ADA) if word in kept])

    async def test_room(self) -> None:
        """What is remembered is bounded, and the oldest is forgotten first."""
        self.patch(__import__("wsrelay.filters.basicauth").filters.basicauth, "_ROOM", 1)
        made = self.made()
        for text in ("ada:sesame", "Zo\xeb:p\xe4ss:word", "ada:sesame"):
            self.assertEqual(await self.statusOf(made, basic(text)), 0)
        self.assertEqual((len(self.hashed), len(made._verifier._right)), (3, 1))

    async def test_unknown(self) -> None:
        """A name that does not exist costs a hash, always the same; the right word is no help."""
        made = self.made(users={"ada": ADA, "bob": hashOf("other")})
        for _ in range(3):
            for word in ("sesame", "other"):
                self.assertEqual(await self.statusOf(made, basic("eve:" + word)), 401)
        self.assertEqual((len(self.hashed), len(set(self.hashed))), (6, 1))

    async def test_bounded(self) -> None:
        """So many are hashed at a time, so many wait, who asks the same waits with them; the
        next one gets 503 at once."""
        pool = Pool()
        self.given.reactor = pool
        made = self.made(threads=2, waiting=1)
        words = ["sesame", "b", "c", "sesame", "d"]
        answers = [self.answerOf(made, word) for word in words]
        self.assertEqual(len(pool.work), 2)
        respond = await answers.pop()
        assert respond is not None
        self.assertEqual(respond.status, 503)
        while pool.work:
            pool.run()
        told = await gatherResults(answers)
        self.assertEqual([each.status if each else 0 for each in told], [0, 401, 401, 0])
        self.assertEqual(len(self.hashed), 3)

    def answerOf(self, made: BasicAuthFilter, word: str) -> Deferred[Respond | None]:
        """What comes of one word."""
        return Deferred.fromCoroutine(self.answerTo(made, exchangeOf(basic("ada:" + word))))

    async def test_raises(self) -> None:
        """A hash that cannot be made lets nobody in."""
        made = self.made()

        def broken(password: bytes) -> bool:
            raise RuntimeError("no memory")

        made._verifier._users = lambda: {"ada": Hashed(ADA, broken)}
        with self.assertRaises(RuntimeError):
            await self.answerTo(made, exchangeOf(basic("ada:sesame")))

    async def test_file(self) -> None:
        """A changed file counts, also for whom it knew; a broken one does not, and is logged."""
        path = Path(self.mktemp())
        path.write_text(f"ada:{ADA}\n")
        made = self.made(file=path)
        for text, old, new in [
            (None, 0, 401),
            ("bob:sekrit\n", 0, 401),
            (f"ada:{hashOf('new')}\n", 401, 0),
            (f"bob:{ADA}\n", 401, 401),
        ]:
            if text is not None:
                other = Path(self.mktemp())
                other.write_text(text)
                os.replace(other, path)
            self.given.clock.advance(2)
            with capturedLogs() as logs:
                self.assertEqual(await self.statusOf(made, basic("ada:sesame")), old, text)
                self.assertEqual(await self.statusOf(made, basic("ada:new")), new, text)
            told = "".join(formatEvent(each) or "" for each in logs)
            self.assertIs("still holds" in told, text == "bob:sekrit\n")
            self.assertNotIn("sekrit", told)

    def test_options(self) -> None:
        """Without users there is no filter, and no error shows a password."""
        missing = Path("nobody-has-this")
        wrong: list[tuple[dict[str, Any], str]] = [
            ({}, 'either "file" or "users"'),
            ({"file": missing, "users": USERS}, 'either "file" or "users"'),
            ({"file": missing}, "nobody-has-this: No such file"),
            ({"users": {}}, "there are no users"),
            ({"users": "ada:12345"}, "expected a table"),
            ({"users": {"ada": "12345"}}, 'the user "ada": expected a hash'),
            ({"users": {"ada": 12345}}, 'the user "ada": expected a hash'),
        ]
        for raw, wanted in wrong:
            options, problems = optionsProblems("door", BasicAuthOptions, raw)
            self.assertEqual(problems, [])
            error = self.assertRaises(ValueError, BasicAuthFilter, options, self.given)
            self.assertIn(wanted, str(error))
            self.assertNotIn("12345", str(error))

    def test_secret(self) -> None:
        """What was shown does not get into a log by accident."""
        credentials = Credentials.of(exchangeOf(basic("ada:sesame")).inbound.request)
        self.assertNotIn("sesame", repr(credentials))

    async def test_refused(self) -> None:
        """In a relay: a WebSocket without the password gets 401, and the backend nothing."""
        port, backend = await self.relay(f'use = "basic-auth"\nusers = {{ada = "{ADA}"}}')
        request = HANDSHAKE + basic("ada:wrong") + b"\r\n\r\n"
        for each in (HANDSHAKE + b"\r\n", request):
            heard = await self.refusedRaw(port, each)
            self.assertTrue(heard.startswith(b"HTTP/1.1 401 Unauthorized\r\n"), heard)
            self.assertIn(b'\r\nWWW-Authenticate: Basic realm="Restricted", charset=', heard)
        self.assertEqual(backend.count, 0)

    async def test_passes(self) -> None:
        """In a relay: with it the backend hears of the name only."""
        options = f'use = "basic-auth"\nuserHeader = "X-User"\nusers = {{ada = "{ADA}"}}'
        port, backend = await self.relay(options)
        client = await self.dial(port)
        client.send(HANDSHAKE + basic("ada:sesame") + b"\r\nx_user: root\r\n\r\n")
        peer = await backend.peers.get()
        head = await peer.when(lambda got: b"\r\n\r\n" in got)
        self.assertIn(b"\r\nX-User: ada\r\n", head)
        self.assertNotIn(b"root", head)
        self.assertNotIn(b"Authorization", head)
        await self.hangUp(client)
        await peer.lost

    async def test_start(self) -> None:
        """In a relay: a plain password refuses the start, without being shown."""
        with self.assertRaises(BaseException) as caught, capturedLogs() as logs:
            await self.relay('use = "basic-auth"\nusers = {ada = "sekrit"}')
        said = f"{caught.exception} {[formatEvent(each) for each in logs]}"
        self.assertNotIsInstance(caught.exception, ConfigurationError)
        self.assertIn('the user \\"ada\\": expected a hash'.replace("\\", ""), said)
        self.assertNotIn("sekrit", said)


class Pool:
    """Stands in for a reactor's threads: work is done when a test says so."""

    def __init__(self) -> None:
        self.work: list[Any] = []

    def getThreadPool(self) -> Pool:
        """Itself."""
        return self

    def callInThreadWithCallback(self, told: Any, call: Any, *args: Any, **kwargs: Any) -> None:
        """Keep it."""
        self.work.append(lambda: told(True, call(*args, **kwargs)))

    def callFromThread(self, call: Any, *args: Any) -> None:
        """There are no threads."""
        call(*args)

    def run(self) -> None:
        """Do the first."""
        self.work.pop(0)()

# -*- test-case-name: tests.filters.test_basicauth -*-
"""
Lets people in by name and password (RFC 7617).

A hash that is slow enough takes longer than everything else that happens to a request. So it
runs in a thread, few at a time, with a short queue in front of them: when that is full, the
answer is 503 and nobody waits. A pair that was right is remembered for a short while, as a
digest under a key that lives and ends with the process; so a page of fifty pictures costs one
hash.

The time tells nobody which names exist: for one that does not, the hash of another user is
tried, always the same, and what comes of it does not count.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from attrs import frozen
from pydantic import AfterValidator, Field, WithJsonSchema
from twisted.internet.defer import Deferred, DeferredSemaphore, fail
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from wsrelay.answers import Answer
from wsrelay.filters.files import WatchedFile, located
from wsrelay.filters.identity import FieldName, checkedText, forget
from wsrelay.filters.joined import Joined
from wsrelay.filters.passwords import Hashed, parseUsers, usersOf
from wsrelay.filters.refusals import challenge, checkedRealm, refusal
from wsrelay.interfaces import IExchange, IRelay, IRequestFilter, Options
from wsrelay.model import Request, Respond

__all__ = ["BasicAuthFilter", "BasicAuthOptions", "Busy", "Credentials", "Verifier"]

_BASIC = re.compile(r"basic +([A-Za-z0-9+/]+={0,2})", re.IGNORECASE)
# Characters of base64: more than any name and password that a person types.
_LONGEST = 1024
# How many right pairs are remembered.
_ROOM = 1024


class BasicAuthOptions(Options):
    """What may stand in the plugin's table."""

    file: Path | None = Field(
        default=None,
        description="a file of name:hash lines, as htpasswd -B writes it; read again when it "
        "changes",
        examples=["/etc/wsrelay/users"],
    )
    # Whatever stands here is checked when the plugin is made: pydantic would show what is wrong,
    # and that may be a password.
    users: Annotated[
        Any, WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}})
    ] = Field(
        default=None,
        description="a table of names and hashes, instead of a file",
        examples=[{"ada": "$2b$12$...", "bob": "$scrypt$ln=16,r=8,p=1$...$..."}],
    )
    realm: Annotated[str, AfterValidator(checkedRealm)] = Field(
        default="Restricted",
        description="what people are told they need a password for",
        examples=["The cellar"],
    )
    userHeader: FieldName | None = Field(
        default=None,
        description="the header field that tells the backend the name; a client's own is removed",
        examples=["X-User"],
    )
    keepAuthorization: bool = Field(
        default=False,
        description="whether the backend gets the password, too",
        examples=[True],
    )
    remember: float = Field(
        default=60.0,
        ge=0,
        le=3600,
        description="how long a right password is not hashed again, in seconds",
        examples=[10],
    )
    threads: int = Field(
        default=2, ge=1, le=8, description="how many passwords are hashed at a time", examples=[4]
    )
    waiting: int = Field(
        default=64,
        ge=0,
        description="how many more may wait for that; the next one gets 503",
        examples=[256],
    )


class Busy(Exception):
    """There are too many passwords to be hashed."""


@frozen(repr=False)
class Credentials:
    """What a client says who it is, and to prove it."""

    name: str
    password: bytes

    @classmethod
    def of(cls, request: Request | None) -> Credentials | None:
        """Of this request; C{None} if there are none, or not exactly one that can be read."""
        shown = request.headers.getAll("authorization") if request else []
        match = _BASIC.fullmatch(shown[0]) if len(shown) == 1 else None
        if match is None or len(match[1]) > _LONGEST:
            return None
        try:
            text = base64.b64decode(match[1], validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError):
            return None
        # RFC 7617 section 2.1: what is typed in one way or the other is the same.
        name, colon, password = unicodedata.normalize("NFC", text).partition(":")
        if not colon or any(unicodedata.category(each) == "Cc" for each in text):
            return None
        return cls(name, password.encode("utf-8"))


class Verifier:
    """Looks whether passwords are right, and remembers those that were."""

    def __init__(
        self,
        users: Callable[[], Mapping[str, Hashed]],
        reactor: Any,
        seconds: Callable[[], float],
        options: BasicAuthOptions,
    ) -> None:
        """
        @param users: who there is, as of now.
        @param reactor: whose threads do the work.
        @param seconds: what time it is.
        """
        self._users = users
        self._reactor = reactor
        self._seconds = seconds
        self._remember = options.remember
        self._waiting = options.waiting
        self._tokens = DeferredSemaphore(options.threads)
        self._joined: Joined[bool] = Joined()
        self._key = os.urandom(32)
        self._right: dict[bytes, float] = {}

    def isRight(self, credentials: Credentials) -> Answer[bool]:
        """
        Whether this is a user and its password.

        @return: at once if that is remembered, otherwise a Deferred; fails with L{Busy}.
        """
        users = self._users()
        known = users.get(credentials.name)
        hashed = known or self._standIn(users, credentials.name)
        # The hash is part of it, so a changed password is not remembered.
        mark = self._digest(credentials.name, credentials.password, hashed.text)
        if known is not None and self._right.get(mark, 0.0) > self._seconds():
            return True
        asked = self._joined.ask(mark, lambda: self._hash(hashed, credentials.password))
        return asked.addCallback(self._judged, known is not None, mark)

    def _standIn(self, users: Mapping[str, Hashed], name: str) -> Hashed:
        number = int.from_bytes(self._digest(name)[:8], "big")
        return list(users.values())[number % len(users)]

    def _digest(self, *parts: str | bytes) -> bytes:
        digest = hmac.new(self._key, digestmod=hashlib.sha256)
        for part in parts:
            data = part.encode("utf-8") if isinstance(part, str) else part
            digest.update(b"%d:%b" % (len(data), data))
        return digest.digest()

    def _hash(self, hashed: Hashed, password: bytes) -> Deferred[bool]:
        if not self._tokens.tokens and len(self._tokens.waiting) >= self._waiting:
            return fail(Busy())
        pool = self._reactor.getThreadPool()
        work: Deferred[bool] = self._tokens.run(
            deferToThreadPool, self._reactor, pool, hashed.isRight, password
        )
        return work

    def _judged(self, isRight: bool, isKnown: bool, mark: bytes) -> bool:
        if not (isRight and isKnown):
            return False
        if self._remember:
            self._right.pop(mark, None)
            self._right[mark] = self._seconds() + self._remember
            if len(self._right) > _ROOM:
                # A dict remembers the order: the first is the one that was learnt longest ago.
                del self._right[next(iter(self._right))]
        return True


@implementer(IRequestFilter)
class BasicAuthFilter:
    """Asks for a name and a password."""

    def __init__(self, options: BasicAuthOptions, relay: IRelay) -> None:
        """@raise ValueError: there is a user that is none, or none at all."""
        self._options = options
        self._busy = refusal(503, (b"Retry-After", b"1"))
        self._unknown = challenge(401, "Basic", realm=options.realm, charset="UTF-8")
        users = _source(options, relay)
        self._verifier = Verifier(users, relay.reactor, relay.clock.seconds, options)

    def requestReceived(self, exchange: IExchange) -> Answer[Respond | None]:
        """401, unless the password is right."""
        headers = exchange.outbound.headers
        if not self._options.keepAuthorization:
            headers.remove("Authorization")
        if self._options.userHeader is not None:
            forget(headers, [self._options.userHeader])
        credentials = Credentials.of(exchange.inbound.request)
        if credentials is None:
            return self._unknown
        isRight = self._verifier.isRight(credentials)
        if isinstance(isRight, Deferred):
            judged = isRight.addCallback(self._judged, exchange, credentials.name)
            return judged.addErrback(self._failed)
        return self._judged(isRight is True, exchange, credentials.name)

    def responseReceived(self, exchange: IExchange) -> Respond | None:
        """Answers pass."""
        return None

    def _judged(self, isRight: bool, exchange: IExchange, name: str) -> Respond | None:
        if not isRight:
            return self._unknown
        if self._options.userHeader is not None:
            exchange.outbound.headers.set(self._options.userHeader, checkedText(name))
        return None

    def _failed(self, failure: Any) -> Respond:
        failure.trap(Busy)
        return self._busy


def _source(options: BasicAuthOptions, relay: IRelay) -> Callable[[], Mapping[str, Hashed]]:
    """Where the users are."""
    if (options.file is None) is (options.users is None):
        raise ValueError('expected either "file" or "users"')
    if options.file is not None:
        path = located(options.file, relay)
        watched = WatchedFile(path, parseUsers, relay.clock.seconds)
        return lambda: watched.value
    if not isinstance(options.users, dict):
        raise ValueError("users: expected a table of names and hashes")
    try:
        users = usersOf(options.users)
    except ValueError as error:
        raise ValueError(f"users: {error}") from None
    return lambda: users

# -*- test-case-name: tests.filters.test_passwords -*-
"""
Users and their hashed passwords, as they stand in a file or in the configuration.

A file has a line C{name:hash} for each user, as C{htpasswd} writes it; empty lines and lines
that begin with C{#} do not count. These hashes are known, each slow on purpose:

    - C{$2b$12$...}: bcrypt, as C{htpasswd -B -C 12} writes it;
    - C{$argon2id$v=19$m=65536,t=3,p=4$SALT$HASH}: argon2id, as C{argon2 -id -e} writes it;
    - C{$scrypt$ln=16,r=8,p=1$SALT$HASH}: scrypt;
    - C{$pbkdf2-sha256$i=600000$SALT$HASH}, or C{sha512}: PBKDF2.

Salts and hashes are in base64 without padding. Plain words and the fast hashes of old, MD5,
SHA-1 and crypt, are refused. This writes a line with scrypt, and asks for the password::

    python -m wsrelay.filters.passwords ada >> users

No error shows a hash.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Mapping
from functools import partial
from getpass import getpass
from typing import Any

from attrs import field, frozen

from wsrelay.filters.identity import checkedText

__all__ = ["Hashed", "hashedPassword", "parseUsers", "usersOf"]

# bcrypt reads no more of a password (Provos and Mazieres 1999).
_BCRYPT_BYTES = 72
# Bytes. A typing error in a file must not take the machine's memory with each request.
_MOST_MEMORY = 1 << 29


@frozen
class Hashed:
    """
    A hashed password.

    @ivar text: as it was written; it tells a changed password from the old one.
    @ivar isRight: whether this is the password. Takes long; may be called in a thread.
    """

    text: str = field(repr=False)
    isRight: Callable[[bytes], bool] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Hashed:
        """@raise ValueError: it is no hash that is slow enough; says what is wrong."""
        for pattern, make in _KINDS:
            if match := re.fullmatch(pattern, text):
                return cls(text, partial(_isRight, make(match)))
        raise ValueError(_complaint(text))


def _isRight(isRight: Callable[[bytes], bool], password: bytes) -> bool:
    # HMAC, and with it scrypt and PBKDF2, cannot tell "a" from "a\0" (RFC 2104 section 2).
    return isRight(password) and b"\0" not in password


def _complaint(text: str) -> str:
    for kind, pattern in _REFUSED.items():
        if re.match(pattern, text):
            return f"{kind} is no protection for a password; make a hash with htpasswd -B"
    if re.match(r"\$(2[aby]|argon2id|scrypt|pbkdf2-sha(256|512))\$", text):
        return "the hash is cut off or misspelt"
    return "expected a hash of bcrypt, argon2id, scrypt or PBKDF2; make one with htpasswd -B"


_REFUSED = {
    "MD5": r"\$apr1\$|\$1\$|\{S?MD5\}",
    "SHA-1": r"\{S?SHA\}|\$sha1\$",
    "crypt": r"\$[56]\$|[./0-9A-Za-z]{13}\Z",
    "a plain password": r"\{PLAIN\}|\{CLEARTEXT\}",
}


# ---------------------------------------------------------------------------- the kinds


def _bcrypt(match: re.Match[str]) -> Callable[[bytes], bool]:
    import bcrypt

    # Apache writes 2y for what everybody else calls 2b.
    hashed = match[0].encode("ascii").replace(b"$2y$", b"$2b$", 1)

    def isRight(password: bytes) -> bool:
        # A longer one is refused rather than cut, and takes its time nevertheless.
        known = password[:_BCRYPT_BYTES].replace(b"\0", b"?")
        return bcrypt.checkpw(known, hashed) and len(password) <= _BCRYPT_BYTES

    return isRight


def _argon2id(match: re.Match[str]) -> Callable[[bytes], bool]:
    from cryptography.exceptions import InvalidKey, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    memory, rounds, lanes = (int(number) for number in match.groups()[:3])
    if not (8 * lanes <= memory <= _MOST_MEMORY // 1024 and 0 < rounds <= 100 and lanes > 0):
        raise ValueError("the hash asks for no memory or time, or for too much")
    _unbased(match[4]), _unbased(match[5])
    try:
        Argon2id(salt=b"x" * 16, length=4, iterations=1, lanes=1, memory_cost=8)
    except UnsupportedAlgorithm:
        raise ValueError("the OpenSSL of this Python knows no argon2id; use bcrypt") from None

    def isRight(password: bytes) -> bool:
        try:
            Argon2id.verify_phc_encoded(password, match[0])
        except InvalidKey:
            return False
        return True

    return isRight


def _scrypt(match: re.Match[str]) -> Callable[[bytes], bool]:
    ln, r, p = (int(number) for number in match.groups()[:3])
    if not (1 <= ln <= 24 and r > 0 and 0 < p <= 100 and 128 * r << ln <= _MOST_MEMORY // 2):
        raise ValueError("the hash asks for no memory, or for too much")
    salt, wanted = _unbased(match[4]), _unbased(match[5])
    derive = partial(
        hashlib.scrypt, salt=salt, n=1 << ln, r=r, p=p, maxmem=_MOST_MEMORY, dklen=len(wanted)
    )
    return lambda password: hmac.compare_digest(derive(password), wanted)


def _pbkdf2(match: re.Match[str]) -> Callable[[bytes], bool]:
    rounds = int(match[2])
    if not 10_000 <= rounds <= 10_000_000:
        raise ValueError("PBKDF2 with fewer than 10000 rounds, or more than 10000000")
    salt, wanted = _unbased(match[3]), _unbased(match[4])
    derive = partial(hashlib.pbkdf2_hmac, match[1], salt=salt, iterations=rounds)
    return lambda password: hmac.compare_digest(derive(password, dklen=len(wanted)), wanted)


_BASE64 = r"([A-Za-z0-9+/.]{11,172})"
_KINDS: tuple[tuple[str, Any], ...] = (
    (r"\$2[aby]\$(?:0[4-9]|1[0-8])\$[./A-Za-z0-9]{53}", _bcrypt),
    (
        rf"\$argon2id\$v=19\$m=(\d{{1,7}}),t=(\d{{1,4}}),p=(\d{{1,2}})\${_BASE64}\${_BASE64}",
        _argon2id,
    ),
    (rf"\$scrypt\$ln=(\d{{1,2}}),r=(\d{{1,3}}),p=(\d{{1,3}})\${_BASE64}\${_BASE64}", _scrypt),
    (rf"\$pbkdf2-(sha256|sha512)\$(?:i=)?(\d{{1,8}})\${_BASE64}\${_BASE64}", _pbkdf2),
)


def _unbased(text: str) -> bytes:
    """Base64 without padding; some write C{.} for C{+}."""
    try:
        return base64.b64decode(text.replace(".", "+") + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise ValueError("the hash is cut off or misspelt") from None


def _based(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii").rstrip("=")


# ---------------------------------------------------------------------------- the users


def parseUsers(data: bytes) -> dict[str, Hashed]:
    """
    The users of a file.

    @raise ValueError: a line is wrong; says which and why.
    """
    users: dict[str, Hashed] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            text = line.decode("utf-8").strip()
            if text and not text.startswith("#"):
                name, colon, hashed = text.partition(":")
                if not colon:
                    raise ValueError("expected name:hash")
                # Further fields are somebody else's, as in /etc/shadow.
                _enter(users, name, hashed.partition(":")[0])
        except ValueError as error:
            why = "not UTF-8" if isinstance(error, UnicodeError) else error
            raise ValueError(f"line {number}: {why}") from None
    return _some(users)


def usersOf(table: Mapping[str, object]) -> dict[str, Hashed]:
    """
    The users of a table of names and hashes.

    @raise ValueError: one is wrong; says which and why.
    """
    users: dict[str, Hashed] = {}
    for name, hashed in table.items():
        _enter(users, name, hashed if isinstance(hashed, str) else "")
    return _some(users)


def _enter(users: dict[str, Hashed], name: str, hashed: str) -> None:
    try:
        checkedText(name)
    except ValueError as error:
        raise ValueError(f"a name is {error}") from None
    name = unicodedata.normalize("NFC", name)
    if ":" in name:
        raise ValueError("a name has a colon, which ends it (RFC 7617 section 2)")
    if name in users:
        raise ValueError(f'the user "{name}" is there twice')
    try:
        users[name] = Hashed.parse(hashed)
    except ValueError as error:
        raise ValueError(f'the user "{name}": {error}') from None


def _some(users: dict[str, Hashed]) -> dict[str, Hashed]:
    if not users:
        raise ValueError("there are no users")
    return users


def hashedPassword(password: str, ln: int = 16) -> str:
    """
    A hash for a file of users, by scrypt.

    @param ln: how slow, as a power of two; each more takes twice the time and memory.
    """
    salt = os.urandom(16)
    data = unicodedata.normalize("NFC", password).encode("utf-8")
    made = hashlib.scrypt(data, salt=salt, n=1 << ln, r=8, p=1, maxmem=_MOST_MEMORY, dklen=32)
    return f"$scrypt$ln={ln},r=8,p=1${_based(salt)}${_based(made)}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m wsrelay.filters.passwords NAME")
    print(f"{sys.argv[1]}:{hashedPassword(getpass('password: '))}")

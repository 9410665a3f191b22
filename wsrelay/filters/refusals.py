# -*- test-case-name: tests.filters.test_refusals -*-
"""
What a client is told that may not come in: a status, its phrase, and a challenge if another
try could help. Why stands in the log.
"""

from __future__ import annotations

from http import HTTPStatus

from wsrelay.model import Respond

__all__ = ["challenge", "checkedRealm", "refusal"]


def refusal(status: int, *fields: tuple[bytes, bytes]) -> Respond:
    """An answer that says its status and nothing else."""
    page = f"{status} {HTTPStatus(status).phrase}\n".encode("ascii")
    return Respond(status, ((b"Content-Type", b"text/plain; charset=utf-8"), *fields), page)


def challenge(status: int, scheme: str, **parameters: str) -> Respond:
    """
    A refusal that says how to show who one is (RFC 9110 section 11.6.1).

    @param parameters: their values; quoted here.
    """
    told = ", ".join(f"{name}={_quoted(value)}" for name, value in parameters.items())
    return refusal(status, (b"WWW-Authenticate", f"{scheme} {told}".encode("ascii")))


def checkedRealm(realm: str) -> str:
    """
    A realm as every client can show it.

    @raise ValueError: there is something in it other than printable ASCII.
    """
    if not (realm.isascii() and realm.isprintable()):
        raise ValueError("a realm is made of printable ASCII characters")
    return realm


def _quoted(text: str) -> str:
    """A quoted-string (RFC 9110 section 5.6.4)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

# -*- test-case-name: tests.test_examples -*-
"""
A request filter that lets nobody in without a valid ticket.

A ticket is C{name.expires.signature}, in a cookie, since that is what a browser sends along
when it opens a WebSocket, or as a bearer token. The backend is told the name in C{X-User} and
gets no ticket to see.

It fails closed, and does nothing for it: the key is read anew for each request, and when it
cannot be read, C{requestReceived} raises. The client then gets 500, nothing is forwarded, and
the log says why. C{examples/guard.toml}::

    [listener.public]
    endpoint = "tcp:8080"

    [[route]]
    pool = "echo"
    filters = ["guard"]

    [pool.echo]
    backends = ["ws://127.0.0.1:9000"]

    [plugin.guard]
    use = "examples.guard:guard"
    keyFile = "guard.key"

Make a key, run it with a backend, and show a ticket::

    head -c 32 /dev/urandom > guard.key
    python examples/echo.py 9000
    twistd -n wsrelay --config examples/guard.toml
    ticket=$(python examples/guard.py guard.key ada 3600)
    python examples/say.py -H "Cookie: ticket=$ticket" ws://127.0.0.1:8080/ headers
"""

from __future__ import annotations

import hmac
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import Field
from zope.interface import implementer

from wsrelay import IExchange, IPluginMaker, IRelay, IRequestFilter, Options, Request, Respond

__all__ = ["Guard", "GuardFilter", "GuardOptions", "guard", "ticket"]

_NO_ENTRY = Respond(401, ((b"WWW-Authenticate", b"Bearer"),), b"A ticket, please.\n")


def ticket(key: bytes, name: str, expires: int) -> str:
    """
    A ticket.

    @param name: letters and digits.
    @param expires: seconds since the epoch.
    """
    claim = f"{name}.{expires}"
    return f"{claim}.{hmac.digest(key, claim.encode('utf-8'), 'sha256').hex()}"


class GuardOptions(Options):
    """What may stand in the plugin's table."""

    keyFile: Path = Field(description="the file with the key that signs tickets")
    cookie: str = Field(default="ticket", description="the cookie that holds the ticket")


@implementer(IRequestFilter)
class GuardFilter:
    """Looks at tickets."""

    def __init__(self, options: GuardOptions, seconds: Callable[[], float] = time.time) -> None:
        """@param seconds: what time it is, in seconds since the epoch."""
        self._keyFile = options.keyFile
        self._cookie = options.cookie
        self._seconds = seconds

    def requestReceived(self, exchange: IExchange) -> Respond | None:
        """Whoever comes without a valid ticket gets 401, and the backend never hears of it."""
        request = exchange.inbound.request
        name = self._nameOn(self._shown(request)) if request is not None else None
        if name is None:
            return _NO_ENTRY
        headers = exchange.outbound.headers
        headers.remove("Authorization")
        headers.remove("Cookie")
        # set, not add: whatever the client said its name was is gone.
        headers.set("X-User", name)
        return None

    def responseReceived(self, exchange: IExchange) -> Respond | None:
        """Answers pass."""
        return None

    def _shown(self, request: Request) -> str:
        scheme, _, token = (request.headers.get("authorization") or "").partition(" ")
        return token if scheme.lower() == "bearer" else request.cookies.get(self._cookie, "")

    def _nameOn(self, shown: str) -> str | None:
        name, _, rest = shown.partition(".")
        expires = rest.partition(".")[0]
        if not (name.isalnum() and expires.isdecimal() and shown.isascii()):
            return None
        real = ticket(self._keyFile.read_bytes(), name, int(expires[:12]))
        if not hmac.compare_digest(real, shown) or int(expires) < self._seconds():
            return None
        return name


@implementer(IPluginMaker)
class Guard:
    """Makes L{GuardFilter}."""

    name = "guard"
    description = "Lets in who has a signed ticket."
    options = GuardOptions

    def make(self, options: GuardOptions, relay: IRelay) -> GuardFilter:
        """Make the filter; without a readable key the relay does not even start."""
        options.keyFile.read_bytes()
        return GuardFilter(options)


guard = Guard()

if __name__ == "__main__":
    _, _file, _name, _validFor = sys.argv
    print(ticket(Path(_file).read_bytes(), _name, int(time.time()) + int(_validFor)))

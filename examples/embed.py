# -*- test-case-name: tests.test_examples -*-
"""
The relay inside a C{twisted.web} site that exists already: no listener, no configuration.

C{RelayResource} is a resource like any other. Below C{/ws} this site relays WebSockets to a
backend, with a message filter; everything else stays as it was. The backend sees the path
that the client asked for, C{/ws} included.

Run it, with a backend, and talk to it, each in a terminal of its own::

    python examples/echo.py 9000
    python examples/embed.py tcp:8080:interface=127.0.0.1 ws://127.0.0.1:9000
    python examples/say.py ws://127.0.0.1:8080/ws "what is written here"
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from twisted.internet import endpoints, task
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data
from zope.interface import implementer

from wsrelay import (
    Direction,
    Forward,
    IMessageFilter,
    Interest,
    ISession,
    Message,
    RouteSettings,
    Verdict,
)
from wsrelay.l7.resource import RelayResource

__all__ = ["Louder", "main", "root"]


@implementer(IMessageFilter)
class Louder:
    """Sends everything to the client in capitals."""

    def interest(self, route: Forward, direction: Direction) -> Interest:
        """Messages to the client."""
        return Interest.MESSAGES if direction is Direction.TO_CLIENT else Interest.FRAMES

    def attach(self, session: ISession, direction: Direction) -> Callable[[Message], Verdict]:
        """Text in capitals; anything else as it is."""
        return lambda message: message.text.upper() if message.isText else None


def root(reactor: Any, backend: str) -> Resource:
    """The site, with one child that relays."""
    site = Resource()
    site.putChild(b"", Data(b"An ordinary page.\n", "text/plain"))
    relay = RelayResource(
        [backend], {"louder": Louder()}, RouteSettings(idleTimeout=600), reactor=reactor
    )
    site.putChild(b"ws", relay)
    return site


async def main(reactor: Any, listen: str, backend: str) -> None:
    """Serve until a signal comes."""
    site = Site(root(reactor, backend))
    await endpoints.serverFromString(reactor, listen).listen(site)
    print(f"listening on {listen}", flush=True)
    await Deferred()


if __name__ == "__main__":
    task.react(lambda reactor, *argv: Deferred.fromCoroutine(main(reactor, *argv)), sys.argv[1:])

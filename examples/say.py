# -*- test-case-name: tests.test_examples -*-
"""
A client to try things with: opens a WebSocket, says each of its words, and prints what comes
back and how it ended::

    python examples/say.py ws://127.0.0.1:8080/ hello "how are you"

It waits for one answer to each. Further header fields go behind C{-H}::

    python examples/say.py -H "Authorization: Bearer x" ws://127.0.0.1:8080/ hello

Nothing of wsrelay is in it.
"""

from __future__ import annotations

import argparse
from typing import Any

from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    connectWS,
)

__all__ = ["Factory", "Say", "main"]


class Factory(WebSocketClientFactory):
    """Makes the one connection."""

    def __init__(self, url: str, headers: dict[str, str], words: list[str]) -> None:
        super().__init__(url, headers=headers)
        self.protocol = Say
        self.words = words
        self.isOpen = False

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
        """Nobody is there."""
        from twisted.internet import reactor

        print(f"no connection: {reason.getErrorMessage()}", flush=True)
        reactor.stop()


class Say(WebSocketClientProtocol):
    """Says the words of its factory, one after the other."""

    def onOpen(self) -> None:
        """The other side has accepted."""
        self.factory.isOpen = True
        self.sayNext()

    def sayNext(self) -> None:
        """Say the next word, or goodbye."""
        if self.factory.words:
            word = self.factory.words.pop(0)
            print(f"> {word}", flush=True)
            self.sendMessage(word.encode("utf-8"))
        else:
            self.sendClose(1000)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """An answer."""
        print(f"< {payload!r}" if isBinary else f"< {payload.decode('utf-8')}", flush=True)
        self.sayNext()

    def onClose(self, wasClean: bool, code: int | None, reason: str) -> None:
        """It is over; Autobahn's reason also tells of a refused handshake."""
        from twisted.internet import reactor

        closed = f"closed: {code} {reason or ''}" if self.factory.isOpen else f"refused: {reason}"
        print(closed.rstrip(), flush=True)
        reactor.stop()


def main() -> None:
    """Do what the command line says."""
    from twisted.internet import reactor

    parser = argparse.ArgumentParser(description="Says words to a WebSocket.")
    parser.add_argument("-H", "--header", action="append", default=[], metavar="'Name: value'")
    parser.add_argument("url")
    parser.add_argument("word", nargs="*")
    given = parser.parse_args()
    headers = dict(each.split(": ", 1) for each in given.header)
    connectWS(Factory(given.url, headers, given.word))
    reactor.run()


if __name__ == "__main__":
    main()

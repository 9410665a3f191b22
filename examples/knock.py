# -*- test-case-name: tests.test_examples -*-
"""
A TCP forwarding factory: a forwarder of your own, for any protocol.

Whoever connects must first say a word, on a line of its own. Then it is a tunnel like any
other: routes, pools, balancing, stream filters, limits and the log are the relay's. Whoever
says something else, or nothing for a while, is hung up on without an answer.

A forwarder is an object with C{forwardingFactory(listener)}; what it returns is a Twisted
protocol factory, and any that exists already will do (C{SOCKSv4Factory("")} is a SOCKS proxy).
The protocol here reads one line and then gives its connection to the listener, which makes a
tunnel of it, from the first byte behind the line. C{examples/knock.toml}::

    [listener.hidden]
    endpoint = "tcp:8080"
    forwarder = "knock"
    pool = "redis"

    [pool.redis]
    backends = ["tcp:127.0.0.1:6379"]

    [plugin.knock]
    use = "examples.knock:knock"
    word = "sesame"

Run it, and knock::

    twistd -n wsrelay --config examples/knock.toml
    printf 'sesame\\nPING\\r\\n' | nc 127.0.0.1 8080
"""

from __future__ import annotations

import hmac

from pydantic import Field
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay import IForwarder, IListener, IPluginMaker, IRelay, Options

__all__ = ["Door", "Knock", "KnockForwarder", "KnockOptions", "knock"]


class KnockOptions(Options):
    """What may stand in the plugin's table."""

    word: str = Field(min_length=1, max_length=200, description="what a client says first")
    timeout: float = Field(default=5.0, gt=0, description="how long it may take to, in seconds")


class Door(Protocol):
    """Keeps a connection until the word was said."""

    def __init__(self, listener: IListener, options: KnockOptions) -> None:
        self._listener = listener
        self._options = options
        self._heard = b""

    def connectionMade(self) -> None:
        """Somebody is there: wait for the word, but not for ever."""
        later = self._listener.relay.reactor.callLater
        self._timer = later(self._options.timeout, self.transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        """Some bytes; they may be less than the line, or more."""
        word = self._options.word.encode("utf-8")
        self._heard += data
        line, newline, rest = self._heard.partition(b"\n")
        if newline and hmac.compare_digest(line.rstrip(b"\r"), word):
            self._timer.cancel()
            self._listener.tunnel(self.transport, rest)
        elif newline or len(line) > len(word) + 1:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone, before the word or after its tunnel."""
        if self._timer.active():
            self._timer.cancel()


@implementer(IForwarder)
class KnockForwarder:
    """What the listener does with its connections."""

    def __init__(self, options: KnockOptions) -> None:
        self._options = options

    def forwardingFactory(self, listener: IListener) -> IProtocolFactory:
        """A factory whose protocols are doors."""
        return Factory.forProtocol(lambda: Door(listener, self._options))  # type: ignore[arg-type]  # any callable


@implementer(IPluginMaker)
class Knock:
    """Makes L{KnockForwarder}."""

    name = "knock"
    description = "Forwards TCP connections that begin with the right word."
    options = KnockOptions

    def make(self, options: KnockOptions, relay: IRelay) -> KnockForwarder:
        """Make the forwarder."""
        return KnockForwarder(options)


knock = Knock()

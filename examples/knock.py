# -*- test-case-name: tests.test_examples -*-
"""
A TCP forwarding factory: a forwarder of your own, for any protocol.

Whoever connects must first say a word, on a line of its own. Then it is a tunnel like any
other: routes, pools, balancing, stream filters, limits and the log are the relay's. Whoever
says something else, or nothing for a while, is hung up on without an answer.

A forwarder is an object with C{forwardingFactory(listener)}; what it returns is a Twisted
protocol factory, and any that exists already will do (C{SOCKSv4Factory("")} is a SOCKS proxy).
This one uses what the relay's own forwarders are made of: a I{leg} is one connection, whoever
is in charge of it has the three methods of L{Door}, and C{leg.hold(rest)} lets go of it so
that nothing is lost on the way to the next in charge. C{examples/knock.toml}::

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
from typing import Any

from pydantic import Field
from twisted.internet.interfaces import IProtocolFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay import IForwarder, IListener, IPluginMaker, IRelay, Options
from wsrelay.l4.forwarders import LegFactory, inboundOf
from wsrelay.l4.tunnel import Tunnel
from wsrelay.plane.legs import Leg

__all__ = ["Door", "Knock", "KnockForwarder", "KnockOptions", "knock"]


class KnockOptions(Options):
    """What may stand in the plugin's table."""

    word: str = Field(min_length=1, max_length=200, description="what a client says first")
    timeout: float = Field(default=5.0, gt=0, description="how long it may take to, in seconds")


class Door:
    """In charge of a leg until the word was said."""

    def __init__(self, listener: Any, leg: Leg, options: KnockOptions) -> None:
        self._listener = listener
        self._leg = leg
        self._word = options.word.encode("utf-8")
        self._heard = b""
        self._timer = listener.relay.reactor.callLater(options.timeout, leg.abort)
        leg.hand(self)

    def received(self, data: bytes) -> None:
        """Some bytes; they may be less than the line, or more."""
        self._heard += data
        line, newline, rest = self._heard.partition(b"\n")
        if newline and hmac.compare_digest(line.rstrip(b"\r"), self._word):
            self._timer.cancel()
            self._leg.hold(rest)
            Tunnel(self._listener, self._leg, inboundOf(self._listener, self._leg)).begin()
        elif newline or len(line) > len(self._word) + 1:
            self._leg.abort()

    def finished(self) -> None:
        """The client will say nothing more, and has not said enough."""
        self._leg.abort()

    def lost(self, reason: Failure) -> None:
        """The connection is gone, whoever ended it."""
        if self._timer.active():
            self._timer.cancel()


@implementer(IForwarder)
class KnockForwarder:
    """What the listener does with its connections."""

    def __init__(self, options: KnockOptions) -> None:
        self._options = options

    def forwardingFactory(self, listener: IListener) -> IProtocolFactory:
        """A factory whose protocols are legs, each with a door in front of it."""
        return LegFactory(lambda leg: Door(listener, leg, self._options))


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

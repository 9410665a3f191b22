# -*- test-case-name: tests.test_interfaces -*-
"""
Every interface a plugin may implement, and what the relay hands to plugins.

A plugin is made once by its L{IPluginMaker}; what C{make} returns provides one or more of
the other interfaces. That object is shared by all connections: what belongs to one
connection lives in what it attaches to it (closures are the natural place).

Each docstring answers six questions in this order: what it is; when it is called and how
often; what it may change; what it may return; what happens when it raises; an example.

"May be asynchronous" means: a value, a C{Deferred}, or a coroutine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict
from twisted.plugin import IPlugin
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from pathlib import Path

    from twisted.internet.interfaces import IProtocolFactory

    from wsrelay.answers import Answer
    from wsrelay.model import (
        Decision,
        Direction,
        Event,
        Forward,
        Inbound,
        Interest,
        Message,
        Respond,
        Verdict,
    )

__all__ = [
    "IBackend",
    "IBalancer",
    "IExchange",
    "IForwarder",
    "IListener",
    "IMessageFilter",
    "IObserver",
    "IPluginMaker",
    "IRelay",
    "IRequestFilter",
    "IRoutingPolicy",
    "ISession",
    "IStreamFilter",
    "ITunnel",
    "Options",
]


class Options(BaseModel):
    """
    The base of a plugin's options: what may stand in its C{[plugin.NAME]} table.

    Unknown keys are errors, values are checked, and the object cannot change. The fields'
    descriptions appear in C{--plugins}::

        class RedactOptions(Options):
            words: list[str] = Field(description="what nobody shall read")
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


# ---------------------------------------------------------------- what plugins provide


class IPluginMaker(IPlugin):
    """
    Makes one configured plugin from its options.

    Found in a module of the package C{wsrelay.plugins} (a module-level instance, see
    L{wsrelay.plugins}) or named in the configuration as C{"module:object"}. C{make} is
    called once for each C{[plugin.NAME]} table that uses it, before any listener opens.

    It may not change the relay; it may keep the L{IRelay} it is given.

    C{make} returns an object providing at least one of the interfaces below, and may be
    asynchronous.

    When it raises or fails, the start is refused and the error printed; at a reload what
    runs goes on::

        @implementer(IPluginMaker)
        class Redact:
            name = "redact"
            description = "Replaces words in text messages."
            options = RedactOptions

            def make(self, options, relay):
                return RedactFilter(options.words)
    """

    name: str = Attribute("what C{use = ...} in the configuration says; unique")
    description: str = Attribute("one sentence, for C{--plugins}")
    options: type[Options] | None = Attribute("a subclass of L{Options}, or C{None}")

    def make(options: Any, relay: IRelay) -> Any:
        """Make the plugin. C{options} is an instance of L{options}, or C{None}."""


class IForwarder(Interface):
    """
    What a listener does with an accepted connection: the door for TCP forwarding factories.

    Called once for each listener that names it, when the listener is built.

    It may not open ports or connections before its factory is asked for a protocol.

    Returns an L{IProtocolFactory<twisted.internet.interfaces.IProtocolFactory>}; not
    asynchronous. C{tcp}, C{tls-passthrough} and C{http} are built in the same way.

    When it raises, the start is refused. What its protocols raise later ends that
    connection only, as anywhere in Twisted::

        @implementer(IForwarder)
        class Greeter:
            def forwardingFactory(self, listener):
                return Factory.forProtocol(Greeting)
    """

    def forwardingFactory(listener: IListener) -> IProtocolFactory:
        """The factory whose protocols get this listener's connections."""


class IRoutingPolicy(Interface):
    """
    Says where a client goes.

    Asked once for each connection (L4) or request (L7), in the order of the configuration,
    until one answers; the table of C{[[route]]} is itself a policy and comes last.

    It may change nothing: C{inbound} is frozen. C{inbound.request} is C{None} at L4.

    Returns a L{Forward<wsrelay.model.Forward>}, L{Respond<wsrelay.model.Respond>},
    L{Serve<wsrelay.model.Serve>} or L{Refuse<wsrelay.model.Refuse>}, or C{None} to let the
    next policy speak. May be asynchronous; the client waits, nobody else does.

    When it raises, the client gets 500 (L7) or is closed (L4), and the log names it::

        @implementer(IRoutingPolicy)
        class ByTenant:
            async def route(self, inbound):
                tenant = await lookUp(inbound.request.host)
                return Forward(pool=tenant) if tenant else None
    """

    def route(inbound: Inbound) -> Answer[Decision | None]:
        """Decide, or return C{None}."""


class IBalancer(Interface):
    """
    Picks one backend among those that can take a connection now.

    Called at each dial, again without those that have just refused; not where there is only one.

    It may keep state of its own; it may not change a backend.

    Returns one element of C{ready}, which is never empty; not asynchronous.

    When it raises, the first of C{ready} is taken and the log says so::

        @implementer(IBalancer)
        class First:
            def choose(self, ready, inbound):
                return ready[0]
    """

    def choose(ready: Sequence[IBackend], inbound: Inbound) -> IBackend:
        """Pick one."""


class IRequestFilter(Interface):
    """
    Sees each HTTP request on its way out and each response on its way back.

    C{requestReceived} runs once a request, filters first to last, after hop-by-hop fields
    were removed and forwarding fields added; C{responseReceived} once a response, last to
    first, before the client gets anything: for a WebSocket that is the 101, before the
    client is accepted.

    It may edit C{exchange.outbound} and C{exchange.response}; C{exchange.inbound} never
    changes. The fields of the WebSocket handshake itself are written by the relay.

    Returns C{None} to go on, or a L{Respond<wsrelay.model.Respond>} to answer the client
    itself. May be asynchronous.

    When it raises, the client gets 500 and nothing is forwarded: it fails closed, so
    authentication belongs here::

        @implementer(IRequestFilter)
        class NeedsKey:
            def requestReceived(self, exchange):
                if exchange.inbound.request.headers.get("x-key") != "sesame":
                    return Respond(401)

            def responseReceived(self, exchange):
                exchange.response.headers.remove("Server")
    """

    def requestReceived(exchange: IExchange) -> Answer[Respond | None]:
        """The request is about to be forwarded."""

    def responseReceived(exchange: IExchange) -> Answer[Respond | None]:
        """The response head is about to be forwarded."""


class IMessageFilter(Interface):
    """
    Sees, and may change, whole WebSocket messages.

    C{interest} is asked once for each route and direction, when the route is first used,
    and decides how the handshake is made; it must be pure. C{attach} is called once for
    each session and direction after the 101; the hook it returns, once for each message.

    The hook may keep state in its closure; it may not keep C{message} after it returned.

    C{interest} returns an L{Interest<wsrelay.model.Interest>}: C{MESSAGES} to be attached
    in that direction, C{FRAMES} to be left out. C{attach} returns a callable or C{None}.
    The hook returns C{None} (forward it untouched), C{bytes} (new payload, same type),
    C{str} (text), a L{Message<wsrelay.model.Message>},
    L{Drop<wsrelay.model.Drop>}, L{Reply<wsrelay.model.Reply>},
    L{Close<wsrelay.model.Close>}, or a list of these. Only the hook may be asynchronous:
    then this direction of this session waits, order kept.

    When any of them raises, that session ends with 1011, the log names the plugin, and no
    other session notices::

        @implementer(IMessageFilter)
        class Redact:
            def interest(self, route, direction):
                return Interest.MESSAGES if direction is TO_CLIENT else Interest.FRAMES

            def attach(self, session, direction):
                return lambda message: message.data.replace(b"secret", b"******")
    """

    def interest(route: Forward, direction: Direction) -> Interest:
        """What the sessions of this route need in this direction."""

    def attach(session: ISession, direction: Direction) -> Callable[[Message], Verdict] | None:
        """The hook for one direction of one session."""


class IStreamFilter(Interface):
    """
    Sees, and may change, the bytes of an L4 tunnel.

    C{attach} is called once for each tunnel and direction after the dial; the hook, once
    for each chunk as it was read (chunk borders mean nothing), and with C{b""} once at the
    end of the stream.

    The hook may keep state in its closure.

    C{attach} returns a callable or C{None} (not asynchronous). The hook returns C{None}
    (forward the chunk), C{bytes} (instead of it), L{Drop<wsrelay.model.Drop>},
    L{Retire<wsrelay.model.Retire>} (forward its data and never call me again), or
    L{Close<wsrelay.model.Close>} (end the tunnel; the code is only logged). May be
    asynchronous: that direction waits.

    When it raises, that tunnel is closed and the log names the plugin::

        @implementer(IStreamFilter)
        class Upper:
            def attach(self, tunnel, direction):
                return lambda chunk: chunk.upper()
    """

    def attach(tunnel: ITunnel, direction: Direction) -> Callable[[bytes], Any] | None:
        """The hook for one direction of one tunnel."""


class IObserver(Interface):
    """
    Hears what happens; the access log is one.

    Called for each L{Event<wsrelay.model.Event>}, in order, after the fact. One that has an
    attribute C{hears}, a tuple of classes, hears of those only, which costs less.

    It may change nothing.

    What it returns is ignored.

    When it raises, the log says so, and neither traffic nor other observers notice::

        @implementer(IObserver)
        class Count:
            hears = (Closed,)

            def observe(self, event):
                self.closed += 1
    """

    def observe(event: Event) -> None:
        """Something happened."""


# ---------------------------------------------------------------- what plugins are given


class IRelay(Interface):
    """The running relay, as plugins see it."""

    reactor: Any = Attribute("the reactor")
    clock: Any = Attribute("C{seconds} and C{callLater} as the reactor's, for less")
    directory: Path | None = Attribute(
        "where relative file names of the configuration begin; C{None} is where one stands"
    )

    def observe(event: Event) -> None:
        """Tell all observers."""

    def purge(url: str) -> int:
        """
        Forget what all caches keep for a URL, and let nothing in that is on its way.

        @param url: as clients see it: scheme, host, port unless it is the scheme's own, path
            and query.
        @return: how many answers were dropped.
        @raise ValueError: a cache takes it for no C{http} or C{https} URL.
        """


class IListener(Interface):
    """One listener, as its forwarder sees it."""

    name: str = Attribute("as in the configuration")
    relay: IRelay = Attribute("the relay it belongs to")

    def decide(inbound: Inbound) -> Any:
        """
        Ask the policies in order.

        @return: a decision, or a C{Deferred} of one; C{None} is no route. A policy that
            raises is a L{PluginFault<wsrelay.errors.PluginFault>}.
        """

    def tunnel(transport: Any, early: bytes = b"") -> None:
        """
        Make a tunnel of a connection that this listener accepted: ask the policies, dial,
        and relay. The protocol that had it hears nothing more but C{connectionLost} at the
        end.

        @param transport: the protocol's C{transport}.
        @param early: bytes the protocol has read and not used; the backend gets them first.
        """


class IBackend(Interface):
    """One destination of a pool, as a balancer sees it."""

    name: str = Attribute("its URL as in the configuration")
    weight: int = Attribute("how much it takes compared with others; at least 1")
    active: int = Attribute("how many connections to it are open or being opened")


class IExchange(Interface):
    """One HTTP request and its response, as a request filter sees it."""

    id: str = Attribute("as in log lines and events")
    inbound: Inbound = Attribute("the client's side, frozen")
    route: Forward = Attribute("the decision that was taken")
    outbound: Any = Attribute("the L{OutboundRequest<wsrelay.model.OutboundRequest>} to edit")
    response: Any = Attribute(
        "the L{OutboundResponse<wsrelay.model.OutboundResponse>} to edit; C{None} before it came"
    )
    isUpgrade: bool = Attribute("whether the client asked for a WebSocket")


class ISession(Interface):
    """One WebSocket from its 101 to its end, as a message filter sees it."""

    id: str = Attribute("as in log lines and events")
    inbound: Inbound = Attribute("the client's side, frozen")
    route: Forward = Attribute("the decision that was taken")
    backend: str = Attribute("the backend's name")
    subprotocol: str | None = Attribute("the one the backend chose, or C{None}")

    def send(direction: Direction, data: str | bytes) -> None:
        """
        Send a message nobody sent: C{str} is text, C{bytes} is binary. It goes out after
        what was forwarded so far, and no filter sees it. Ignored once a Close was sent.
        """

    def close(code: int = 1000, reason: str = "") -> None:
        """Send both sides this Close frame and end the session. A second call is ignored."""

    def counts() -> Mapping[Direction, Any]:
        """L{Counts<wsrelay.model.Counts>} of both directions, as of now."""

    def whenClosed(call: Callable[[Any], None]) -> None:
        """Call C{call} once with the L{CloseReason<wsrelay.model.CloseReason>} at the end."""


class ITunnel(Interface):
    """One pair of TCP connections, as a stream filter sees it."""

    id: str = Attribute("as in log lines and events")
    inbound: Inbound = Attribute("the client's side, frozen")
    route: Forward = Attribute("the decision that was taken")
    backend: str = Attribute("the backend's name")

    def close() -> None:
        """End the tunnel; what was forwarded so far is still delivered."""

    def counts() -> Mapping[Direction, Any]:
        """L{Counts<wsrelay.model.Counts>} of both directions, as of now."""

    def whenClosed(call: Callable[[Any], None]) -> None:
        """Call C{call} once with the L{CloseReason<wsrelay.model.CloseReason>} at the end."""

# -*- test-case-name: tests.test_interfaces -*-
"""
wsrelay: a WebSocket and TCP relay that you program in Python.

Python decides, the data plane moves bytes. Traffic walks one road, left to right; each room
knows only the next::

            accept          decide              dial            move                tell
    client > listener > route / policy > pool > backend > tunnel    L4: bytes  > observers
                     `> request filters                `> exchange  L7: one request
                                                       `> session   L7: one WebSocket

The house, from the cellar up; what stands higher imports what stands lower, never the
reverse:

    - floor 0: L{wsrelay.wire} (bytes to values and back), L{wsrelay.model} (facts and
      decisions as values), L{wsrelay.errors} (one tree). No Twisted here.
    - floor 1: L{wsrelay.interfaces} (everything a plugin may be), L{wsrelay.answers}
      (a value now, or a Deferred, or a coroutine), L{wsrelay.timers} (many, for little).
    - floor 2: L{wsrelay.tls}, L{wsrelay.routing}, L{wsrelay.backends}, L{wsrelay.plane}.
    - floor 3: L{wsrelay.l4} (opaque TCP), L{wsrelay.l7} (HTTP and WebSocket).
    - floor 4: L{wsrelay.config}, L{wsrelay.relay}, L{wsrelay.admin}, L{wsrelay.tap},
      L{wsrelay.demo}.
    - guests: L{wsrelay.filters} and L{wsrelay.observers} see floors 0 and 1 only, as a
      stranger's plugin does; L{wsrelay.testing} is for the authors of plugins;
      L{wsrelay.plugins} is their door.

What a plugin needs can be imported from here, whatever module it lives in::

    from wsrelay import Forward, IRoutingPolicy
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsrelay.errors import ConfigurationError, Refused, RelayError
from wsrelay.model import (
    Address,
    ClientCertificate,
    Close,
    Closed,
    CloseReason,
    Connected,
    Counts,
    Decided,
    Decision,
    Direction,
    Drop,
    Established,
    Event,
    Forward,
    Headers,
    Inbound,
    Interest,
    Kind,
    Message,
    MutableHeaders,
    Opened,
    OutboundRequest,
    OutboundResponse,
    Party,
    Phase,
    Refuse,
    Reply,
    Request,
    Respond,
    Response,
    Retire,
    RouteSettings,
    Serve,
    Verdict,
)
from wsrelay.rules import FieldRules, Rules

if TYPE_CHECKING:
    from wsrelay.interfaces import (
        IBackend,
        IBalancer,
        IExchange,
        IForwarder,
        IListener,
        IMessageFilter,
        IObserver,
        IPluginMaker,
        IRelay,
        IRequestFilter,
        IRoutingPolicy,
        ISession,
        IStreamFilter,
        ITunnel,
        Options,
    )

__version__ = "0.1.0.dev0"

__all__ = [
    "Address",
    "ClientCertificate",
    "Close",
    "CloseReason",
    "Closed",
    "ConfigurationError",
    "Connected",
    "Counts",
    "Decided",
    "Decision",
    "Direction",
    "Drop",
    "Established",
    "Event",
    "FieldRules",
    "Forward",
    "Headers",
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
    "Inbound",
    "Interest",
    "Kind",
    "Message",
    "MutableHeaders",
    "Opened",
    "Options",
    "OutboundRequest",
    "OutboundResponse",
    "Party",
    "Phase",
    "Refuse",
    "Refused",
    "RelayError",
    "Reply",
    "Request",
    "Respond",
    "Response",
    "Retire",
    "RouteSettings",
    "Rules",
    "Serve",
    "Verdict",
]


def __getattr__(name: str) -> Any:
    # The interfaces bring Twisted and pydantic with them. Whoever wants C{wsrelay.wire} alone
    # imports this package first, and must not pay for them.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from wsrelay import interfaces

    return getattr(interfaces, name)

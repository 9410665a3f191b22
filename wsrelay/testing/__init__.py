# -*- test-case-name: tests.testing -*-
"""
Public: what tests of plugins for wsrelay, and of wsrelay itself, are made of.

For the author of a filter, without network and without waiting::

    talk = Conversation(Redact(["secret"]))
    talk.fromBackend("a secret", b"a secret")
    assert talk.atClient == ["a ******", b"a ******"]

    checkMessageFilter(Redact(["secret"]))      # what every message filter must keep to

L{Conversation} is a WebSocket session, L{StreamConversation} a tunnel
(L{wsrelay.testing.conversations}); L{checkMessageFilter} is what strangers run on their own
filters (L{wsrelay.testing.checks}); L{join}, L{pair}, L{Peer} and L{settle} are connections
in memory, for tests closer to the wire (L{wsrelay.testing.transports}).
"""

from __future__ import annotations

from wsrelay.testing.checks import SAMPLES, checkMessageFilter
from wsrelay.testing.conversations import Conversation, StreamConversation, makeInbound
from wsrelay.testing.transports import MemoryTransport, Peer, join, pair, settle

__all__ = [
    "SAMPLES",
    "Conversation",
    "MemoryTransport",
    "Peer",
    "StreamConversation",
    "checkMessageFilter",
    "join",
    "makeInbound",
    "pair",
    "settle",
]

# -*- test-case-name: tests.demo.test_stage -*-
"""
C{twistd wsrelay --demo}: layer 4 and layer 7 side by side, for somebody who has met neither.

One L4 and one L7 listener stand in front of the same two backends, and a page on the L7
listener opens the same WebSocket through both and shows what the relay sees of each.

All of it is made of plugins and a configuration, as a stranger would make it; nothing here
touches the relay itself. C{stage} is the configuration; C{application} is the backends'
program, an echo and a small chat, and an L{IForwarder<wsrelay.interfaces.IForwarder>};
C{watch} has the two filters that see what passes and change nothing; C{records} makes of
events what the page shows; C{feed} sends it there; C{page} is the page, and the
L{IObserver<wsrelay.interfaces.IObserver>} that hears the events; C{guests} is what the
application's and the feed's WebSockets have in common.
"""

from __future__ import annotations

from wsrelay.demo.stage import configuration

__all__ = ["configuration"]

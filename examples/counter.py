# -*- test-case-name: tests.test_examples -*-
"""
An observer: counts what is open and how everything ended, and shows its numbers.

An observer hears of every event after the fact and can change nothing; when it raises, nobody
but the log notices. This one is a C{twisted.web} resource at the same time, since a plugin may
be several things: a route of an internal listener serves its numbers in the format that
Prometheus reads. It needs no options and so no maker: C{use} may name the class itself.
C{examples/counter.toml}::

    [listener.public]
    endpoint = "tcp:8080"

    [listener.internal]
    endpoint = "tcp:8081:interface=127.0.0.1"

    [[route]]
    listener = "internal"
    path = "/metrics"
    serve = "counter"

    [[route]]
    listener = "public"
    pool = "echo"

    [pool.echo]
    backends = ["ws://127.0.0.1:9000"]

    [plugin.counter]
    use = "examples.counter:Counter"

Run it, with a backend, use it, and look at the numbers::

    python examples/echo.py 9000
    twistd -n wsrelay --config examples/counter.toml
    python examples/say.py ws://127.0.0.1:8080/ hello
    curl http://127.0.0.1:8081/metrics
"""

from __future__ import annotations

from collections import Counter as Tally
from typing import Any

from twisted.web.resource import Resource
from zope.interface import implementer

from wsrelay import Closed, Event, IObserver, Opened

__all__ = ["Counter"]


@implementer(IObserver)
class Counter(Resource):
    """Counts, and tells."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self._open = 0
        self._ended: Tally[tuple[str, str, str]] = Tally()
        self._bytes: Tally[str] = Tally()

    def observe(self, event: Event) -> None:
        """Exactly one L{Closed} comes for each L{Opened}."""
        if isinstance(event, Opened):
            self._open += 1
        elif isinstance(event, Closed):
            self._open -= 1
            reason = event.reason
            self._ended[event.kind.value, reason.party.value, reason.phase.value] += 1
            for direction, counts in event.counts.items():
                self._bytes[direction.value] += counts.bytes

    def render_GET(self, request: Any) -> bytes:
        """The numbers, one a line. The request that asks for them is among the open ones."""
        lines = [f"wsrelay_open {self._open}"]
        for (kind, party, phase), count in sorted(self._ended.items()):
            labels = f'kind="{kind}",party="{party}",phase="{phase}"'
            lines.append(f"wsrelay_ended_total{{{labels}}} {count}")
        for direction, count in sorted(self._bytes.items()):
            lines.append(f'wsrelay_bytes_total{{direction="{direction}"}} {count}')
        request.setHeader("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        return "".join(f"{line}\n" for line in lines).encode("utf-8")

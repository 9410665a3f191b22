# -*- test-case-name: tests.test_benchmarks -*-
"""
Works: patterns of load that every contender is given.

The I{unit} of a work is what its CPU time is divided by. A round trip is one message there
and one back: two messages pass the proxy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen

__all__ = ["WORKS", "Work"]


@frozen
class Work:
    """
    One pattern of load.

    @ivar title: the head of its column.
    @ivar layer: what a contender must be to do it: C{l4}, C{l7}, C{l4-tls} or C{l7-tls}.
    @ivar arguments: for the load generator.
    @ivar unit: C{round trip}, C{request}, C{MB}, C{connection}, C{handshake} or C{session}.
    """

    name: str
    title: str
    layer: str
    arguments: tuple[str, ...]
    unit: str

    @property
    def isTls(self) -> bool:
        """Whether clients speak TLS to the contender."""
        return self.layer.endswith("-tls")

    @property
    def isIdle(self) -> bool:
        """Whether it opens sessions and leaves them alone."""
        return "idle" in self.arguments

    def units(self, run: Mapping[str, Any]) -> float:
        """How many units a run did."""
        if self.unit in ("connection", "handshake"):
            return float(run["conns_done"])
        if self.unit == "session":
            return float(run["opened"])
        return float(run["bytes"]) / 1e6 if self.unit == "MB" else float(run["msgs"])


_SIZES = {
    "64": ("64 B", 64),
    "1k": ("1 KiB", 1024),
    "16k": ("16 KiB", 16384),
    "64k": ("64 KiB", 65536),
}
_BULK = {"down": "to clients", "up": "to the backend"}


def _works(prefix: str, layer: str, head: str) -> list[Work]:
    """All works of one layer."""
    protocol = ("--proto", "ws" if "l7" in layer else "tcp")
    tls = ("--tls",) if layer.endswith("-tls") else ()

    def work(name: str, title: str, unit: str, words: str) -> Work:
        arguments = (*protocol, *tls, *words.split())
        return Work(f"{prefix}-{name}", f"{head}{title}", layer, arguments, unit)

    return [
        *(
            work(name, title, "round trip", f"--pattern pingpong --conns 64 --size {size}")
            for name, (title, size) in _SIZES.items()
        ),
        work(
            "pipelined",
            "16 in flight, 64 B",
            "round trip",
            "--pattern pingpong --conns 64 --size 64 --pipeline 16",
        ),
        *(
            work(name, title, "MB", f"--pattern {name} --conns 8 --size 65536")
            for name, title in _BULK.items()
        ),
        work(
            "connect",
            "open, echo 64 B, close",
            "connection",
            "--pattern connect --conns 32 --size 64 --src-count 8",
        ),
        work("idle", "idle sessions", "session", "--pattern idle --size 64 --src-count 4"),
    ]


def _gets() -> Iterator[Work]:
    """GETs over connections that are kept alive."""
    for kind, title, more in [("get", "GET", ()), ("cached", "cached GET", ("--cached",))]:
        for name, size in [("128", 128), ("16k", 16384)]:
            words = f"--proto http --pattern pingpong --conns 64 --size {size}".split()
            head = f"{title} {'128 B' if size == 128 else '16 KiB'}"
            yield Work(f"http-{kind}-{name}", head, "l7", (*words, *more), "request")


def _handshakes() -> Iterator[Work]:
    """Connections with TLS that do hardly anything else."""
    often = ("--tls", "--conns", "32", "--src-count", "8")
    for name, version in [("https-handshake", "1.3"), ("https-handshake-1.2", "1.2")]:
        words = ("--pattern", "handshake", "--tls-version", version, *often)
        yield Work(name, f"TLS {version}", "l7-tls", words, "handshake")
    once = ("--proto", "http", "--pattern", "connect", "--size", "128", *often)
    yield Work("https-connect", "open, GET 128 B, close", "l7-tls", once, "connection")


_LAYERS = [
    ("ws", "l7", ""),
    ("tcp", "l4", "L4 "),
    ("wss", "l7-tls", "wss "),
    ("tls", "l4-tls", "TLS "),
]

WORKS = {
    work.name: work
    for work in [
        *(work for layer in _LAYERS for work in _works(*layer)),
        *_gets(),
        *_handshakes(),
    ]
}

# -*- test-case-name: tests.endtoend.test_soak -*-
"""
The relay's configuration, and the process that runs it.

A route at L7 is named by the first segment of its path, one at L4 by its listener; L{ROUTES}
says which filters each has.
Limits that something must run into are short, so that whatever a client or backend does ends
within seconds; the others are not, so that a machine with other work to do breaks no rule.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from tests.certificates import theAuthority
from tests.endtoend.support import ROOT, Program, freePort, waitForWords

__all__ = ["LISTENERS", "ROUTES", "Ports", "configuration", "startRelay"]

_PLUGINS = "benchmarks.soak.plugins"
_FILTERS = ("look", "mirror", "fail", "later", "obey", "stream")
_TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")

#: Each listener: forwarder, and where its clients go when no route says so.
LISTENERS = {
    "http": ("http", ""),
    "https": ("http", ""),
    "tunnel": ("tcp", "echo"),
    "filtered": ("tcp", ""),
    "broken": ("tcp", ""),
}

_L4 = ("L4 filtered", "L4 broken")

#: Each route: filters, pool, further settings.
ROUTES = {
    "L4 filtered": (["stream"], "echo", ""),
    "L4 broken": ([], "broken", "connectTimeout = 1\n"),
    "frames": ([], "websocket", ""),
    "look": (["look"], "websocket", ""),
    "mirror": (["mirror"], "websocket", ""),
    "fail": (["fail"], "websocket", ""),
    "later": (["later"], "websocket", ""),
    "obey": (["obey"], "websocket", ""),
    "two": (["look", "later"], "websocket", ""),
    "plain": (["look"], "websocket", 'compression = "off"\n'),
    "small": ([], "websocket", "maxMessage = 1000\n"),
    "idle": ([], "websocket", "idleTimeout = 1\n"),
    "secure": ([], "secure", ""),
    "secure-look": (["look"], "secure", ""),
    "hostile": ([], "hostile", "responseTimeout = 3\n"),
    "hostile-look": (["look"], "hostile", "responseTimeout = 3\n"),
    "broken": ([], "broken-http", "responseTimeout = 3\nconnectTimeout = 1\n"),
}


@frozen
class Ports:
    """
    Where everybody is, on 127.0.0.1.

    @ivar listeners: the relay's ports by the names of L{LISTENERS}.
    @ivar backends: the backends' ports by name, see L{configuration}.
    """

    listeners: dict[str, int]
    backends: dict[str, int]

    @classmethod
    def with_(cls, backends: dict[str, int]) -> Ports:
        """Free ports for the listeners."""
        found: set[int] = set()
        while len(found) < len(LISTENERS):
            found.add(freePort())
        return cls(dict(zip(LISTENERS, found, strict=True)), backends)


def configuration(ports: Ports, plane: str, folder: Path) -> str:
    """The relay's file. Writes the certificates it names into C{folder}."""
    theAuthority().write(folder / "ca.pem")
    pem = theAuthority().issue("localhost", "127.0.0.1").write(folder / "relay.pem")
    parts = [
        f'[relay]\nplane = "{plane}"\n',
        *_listeners(ports.listeners, pem),
        *_routes(),
        *_pools(ports.backends),
        f'[plugin.journal]\nuse = "{_PLUGINS}:journal"\nfile = "{folder}/journal"\n',
        *(f'[plugin.{name}]\nuse = "{_PLUGINS}:{name}"\n' for name in _FILTERS),
    ]
    return "".join(parts)


def _listeners(ports: dict[str, int], pem: Path) -> Iterator[str]:
    for name, (forwarder, pool) in LISTENERS.items():
        kind = f"ssl:privateKey={pem}:certKey={pem}:" if name == "https" else "tcp:"
        endpoint = f"{kind}port={ports[name]}:interface=127.0.0.1:backlog=1024"
        yield f'[listener.{name}]\nendpoint = "{endpoint}"\nforwarder = "{forwarder}"\n'
        if forwarder == "http":
            yield "headTimeout = 4\n"
        if pool:
            yield f'pool = "{pool}"\n'


def _routes() -> Iterator[str]:
    for name, (filters, pool, more) in ROUTES.items():
        condition = f'listener = "{name[3:]}"' if name in _L4 else f'pathPrefix = "/{name}"'
        yield f'[[route]]\nname = "{name}"\n{condition}\npool = "{pool}"\n'
        yield f"filters = {filters}\ncloseTimeout = 4\n{more}"


def _pools(ports: dict[str, int]) -> Iterator[str]:
    at = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    broken = [at["resets"], at["nobody"], at["never"]]
    yield f'[pool.echo]\nbackends = "tcp:{at["echo"]}"\n'
    yield f'[pool.websocket]\nbackends = "ws://{at["websocket"]}"\n'
    yield f'[pool.secure]\nbackends = "wss://{at["secure"]}"\nca = "ca.pem"\n'
    yield f'[pool.hostile]\nbackends = "ws://{at["hostile"]}"\n'
    yield f"[pool.broken]\nbackends = {[f'tcp:{each}' for each in broken]}\n"
    yield f"[pool.broken-http]\nbackends = {[f'ws://{each}' for each in broken]}\n"


def startRelay(text: str, folder: Path) -> Program:
    """
    A relay that listens, its log in C{folder}.

    @raise TimeoutError: it did not start.
    """
    (folder / "relay.toml").write_text(text)
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    command = [*_TWISTD, "-n", "--pidfile=", "wsrelay", "--config", str(folder / "relay.toml")]
    environment = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
    relay = Program(command, folder / "log", environment, folder)
    try:
        for name in LISTENERS:
            waitForWords(relay, f"listener {name}: ")
    except TimeoutError:
        relay.stop()
        raise
    return relay

# -*- test-case-name: tests.config.test_pooling -*-
"""
Makes the L{Pool} that a C{[pool.NAME]} table describes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsrelay.backends.backend import Backend
from wsrelay.backends.balancers import BALANCERS
from wsrelay.backends.pool import KeepAlive, Pool
from wsrelay.config import pools
from wsrelay.errors import ConfigurationError
from wsrelay.plane.engine import IPlane
from wsrelay.tls.backends import BackendTLS
from wsrelay.wire.proxyproto import writeProxy1, writeProxy2

__all__ = ["makePool"]

_ANNOUNCED = {"v1": writeProxy1, "v2": writeProxy2}


def makePool(
    name: str, table: pools.Pool, plugins: dict[str, Any], relay: Any, plane: IPlane
) -> Pool | None:
    """
    The pool of a table; C{None} if its balancer is a plugin that could not be made.

    @param plugins: by name, for a balancer of its own.
    @param relay: whose reactor and clock it uses.
    @raise ConfigurationError: a file cannot be read, or is not what it should be.
    """
    tls = _tls(name, table)
    make = BALANCERS.get(table.balancer)
    balancer = make() if make else plugins.get(table.balancer)
    if balancer is None:
        return None
    announce = None if table.proxyProtocol is None else _ANNOUNCED[table.proxyProtocol]
    backends = [
        Backend(
            each.destination(),
            relay.reactor,
            tls,
            each.weight,
            clock=relay.clock,
            plane=plane,
            announce=announce,
        )
        for each in table.backends
    ]
    keepAlive = KeepAlive(table.keepAlive, table.keepAliveTimeout)
    return Pool(name, backends, balancer, keepAlive, relay.clock)


def _tls(name: str, table: pools.Pool) -> BackendTLS:
    named = {"ca": table.ca, "certificate": table.certificate, "key": table.key}
    files = {key: Path(path) for key, path in named.items() if path is not None}
    try:
        return BackendTLS(
            files.get("ca"),
            table.verify,
            serverName=table.serverName,
            certificate=files.get("certificate"),
            key=files.get("key"),
            minimumVersion=table.minimumVersion,
        )
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}"
    except ValueError as error:
        problem = str(error)
    # It begins with the file that is at fault.
    key = next(key for key, path in files.items() if problem.startswith((f"{path} ", f"{path}:")))
    raise ConfigurationError([f"pool.{name}.{key}: {problem}"])

# -*- test-case-name: tests.config.test_pooling -*-
"""
Makes the L{Pool} that a C{[pool.NAME]} table describes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsrelay.backends.backend import Backend
from wsrelay.backends.balancers import BALANCERS
from wsrelay.backends.pool import Pool
from wsrelay.config import pools
from wsrelay.errors import ConfigurationError
from wsrelay.plane.engine import IPlane
from wsrelay.tls.backends import BackendTLS

__all__ = ["makePool"]


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
    backends = [
        Backend(
            each.destination(), relay.reactor, tls, each.weight, clock=relay.clock, plane=plane
        )
        for each in table.backends
    ]
    return Pool(name, backends, balancer)


def _tls(name: str, table: pools.Pool) -> BackendTLS:
    try:
        return BackendTLS(Path(table.ca) if table.ca else None, table.verify)
    except OSError as error:
        raise ConfigurationError([f"pool.{name}.ca: {error.filename}: {error.strerror}"]) from None
    except ValueError as error:
        raise ConfigurationError([f"pool.{name}.ca: {error}"]) from None

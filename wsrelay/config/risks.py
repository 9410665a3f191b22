# -*- test-case-name: tests.config.test_risks -*-
"""
What is allowed, and dangerous: said at every start, so that nobody forgets it.
"""

from __future__ import annotations

from collections.abc import Iterator

from wsrelay.config.listeners import Listener
from wsrelay.config.pools import Pool
from wsrelay.config.problems import found, keyOf
from wsrelay.config.schema import Configuration

__all__ = ["risks"]


def risks(configuration: Configuration) -> list[str]:
    """Every risk that a configuration takes, one sentence each."""
    return [
        *(
            risk
            for name, listener in configuration.listener.items()
            for risk in _listenerRisks(f"listener.{keyOf(name)}", listener)
        ),
        *(
            risk
            for name, pool in configuration.pool.items()
            for risk in _poolRisks(f"pool.{keyOf(name)}", pool)
        ),
    ]


def _listenerRisks(path: str, listener: Listener) -> Iterator[str]:
    for endpoint in listener.endpoint:
        # Who may connect to a UNIX socket is settled by the permissions of its file.
        if endpoint.startswith("haproxy:") and not endpoint.startswith("haproxy:unix:"):
            yield (
                f"{path}.endpoint: {found(endpoint)} believes whoever connects what the PROXY "
                "header says; name the networks of the balancer in proxyProtocol instead"
            )


def _poolRisks(path: str, pool: Pool) -> Iterator[str]:
    if not pool.verify:
        yield (
            f"{path}.verify: the certificates of backends are not checked, so anybody between "
            "here and there can read and change everything"
        )

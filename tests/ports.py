# -*- test-case-name: tests.endtoend.test_demo -*-
"""
TCP ports for servers that a test is about to start.

Between choosing a port and listening on it somebody else may come. Two things keep them away: the
ports lie below those that the kernel gives to connections as their own (32768 and above on
Linux), and each is locked for this process, so that no other process of the same run chooses it.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator

__all__ = ["freePort"]

_FIRST, _LAST = 10000, 30000


def _candidates() -> Iterator[int]:
    """All ports in turn, from a place of this process's own; without end."""
    port = _FIRST + os.getpid() * 97 % (_LAST - _FIRST)
    while True:
        port = port + 1 if port < _LAST else _FIRST
        yield port


_ports = _candidates()
_locks = os.open(
    f"{tempfile.gettempdir()}/wsrelay-test-ports-{os.getuid()}", os.O_RDWR | os.O_CREAT
)


def _isFree(port: int) -> bool:
    """Whether nobody listens on it, and no other process has chosen it."""
    try:
        # A lock on the byte of that number, which ends with this process.
        fcntl.lockf(_locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def freePort(count: int = 1) -> int:
    """
    A TCP port of 127.0.0.1 on which nobody listens, and that nobody else who asks here gets;
    with C{count}, the first of so many in a row.
    """
    row = 0
    for port in _ports:
        if port == _FIRST or not _isFree(port):
            row = 0
            continue
        row += 1
        if row == count:
            return port - count + 1
    raise AssertionError("unreachable: the candidates have no end")

# -*- test-case-name: tests.endtoend.test_databases -*-
"""
Protocols that know nothing of relays, through L4: Redis and PostgreSQL, each with the
benchmark client of its own house.
"""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.endtoend.support import EndToEnd, need, waitForPort
from tests.ports import freePort

_POSTGRES = "usr/lib/postgresql/*/bin"


class RedisTests(EndToEnd):
    """C{redis-server} behind the relay, C{redis-benchmark} in front."""

    def test_benchmark(self) -> None:
        """Fifty pipelining clients set, get and push what they asked for, without an error."""
        server, benchmark = need("redis-server"), need("redis-benchmark")
        port, folder = freePort(), self.mktemp()
        os.mkdir(folder)
        options = ("--save", "", "--appendonly", "no", "--dir", folder)
        redis = self.start(server, "--bind", "127.0.0.1", "--port", str(port), *options)
        waitForPort(port, alive=lambda: redis.running)
        relay = self.relay("L4", port)
        where = ("-h", "127.0.0.1", "-p", str(relay.port))
        for extra in (("-P", "16"), ("-d", "20000", "-n", "2000"), ("-d", "3")):
            output = self.runCommand(
                benchmark, *where, "-q", "-n", "5000", "-t", "set,get,lpush,lrange_100", *extra
            )
            for command in ("SET", "GET", "LPUSH"):
                self.assertRegex(output, rf"{command}: [0-9.]+ requests per second")
            self.assertNotIn("rror", output)


class PostgresTests(EndToEnd):
    """C{postgres} behind the relay, C{pgbench} in front."""

    def setUp(self) -> None:
        """A fresh cluster that listens on a port of its own."""
        initdb, server = need("initdb", _POSTGRES), need("postgres", _POSTGRES)
        # The server refuses to be root, and must own its files; others' folders are closed
        # to it, so these are not below the one that trial works in.
        folder = Path(tempfile.mkdtemp(prefix="wsrelay-postgres-"))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        asUser: tuple[str, ...] = ()
        if os.geteuid() == 0:
            asUser = (need("runuser", "usr/sbin", "sbin"), "-u", "postgres", "--")
            try:
                owner = pwd.getpwnam("postgres")
            except KeyError:
                raise SkipTest("there is no user postgres for the server to run as") from None
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        data = str(folder / "data")
        self.runCommand(*asUser, initdb, "-D", data, "-U", "postgres", "--auth=trust", "--no-sync")
        self.port = freePort()
        options = ("-h", "127.0.0.1", "-p", str(self.port), "-k", str(folder), "-F")
        self.server = self.start(*asUser, server, "-D", data, *options)
        waitForPort(self.port, alive=lambda: self.server.running)

    def test_pgbench(self) -> None:
        """Tables are filled and transactions done without one failing."""
        pgbench = need("pgbench", _POSTGRES)
        relay = self.relay("L4", self.port)
        where = ("-h", "127.0.0.1", "-p", str(relay.port), "-U", "postgres")
        self._untilReady(relay.port)
        self.runCommand(pgbench, *where, "-i", "-q", "postgres")
        for protocol in ("simple", "prepared"):
            output = self.runCommand(
                pgbench, *where, "-T", "2", "-c", "4", "-M", protocol, "postgres"
            )
            self.assertRegex(output, r"tps = [0-9.]+")
            self.assertRegex(output, r"number of transactions actually processed: [1-9]")
            self.assertIn("failed transactions: 0 ", output)

    def _untilReady(self, port: int) -> None:
        """The server listens before it serves; C{pg_isready} asks it, through the relay."""
        ready = need("pg_isready", _POSTGRES)
        self.runCommand(ready, "-h", "127.0.0.1", "-p", str(port), "-t", "30")

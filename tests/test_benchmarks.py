# -*- test-case-name: tests.test_benchmarks -*-
"""
The claims of C{benchmarks/} are well formed, and its arithmetic is right.

How fast anything is is not tested here: that is what the benchmarks are for.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import skipUnless

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.claims import CLAIMS
from benchmarks.commandline import main
from benchmarks.lab.accounting import Account, SessionAccount, openAccount, readPss
from benchmarks.lab.build import HERE, NotBuilt, makeCertificate, makeNodeProgram, makeProgram
from benchmarks.lab.claim import Claim, Limit, Rule, best
from benchmarks.lab.contenders import CONTENDERS
from benchmarks.lab.measures import ASKED, CPU, DIALS
from benchmarks.lab.process import Process, fill, freePorts
from benchmarks.lab.report import Results, asMarkdown, asText, judge, report
from benchmarks.lab.works import WORKS


def tools() -> str:
    """Why the programs cannot be made here; nothing if they can."""
    if not sys.platform.startswith("linux"):
        return "the load generator needs Linux"
    try:
        makeProgram("load"), makeProgram("relay"), makeCertificate()
    except NotBuilt as error:
        return f"the C programs cannot be made: {error}"
    return ""


class ClaimTests(SynchronousTestCase):
    """Each claim can be run and judged."""

    def test_names(self) -> None:
        """A claim has the name it is filed under, and its file is named so."""
        for name, claim in CLAIMS.items():
            self.assertEqual(claim.name, name)
            self.assertTrue((HERE.parent / f"{name}.py").exists(), name)

    def test_contenders(self) -> None:
        """Every contender of a claim exists and can do some of its works."""
        for claim in CLAIMS.values():
            layers = {work.layer for work in claim.loads}
            for name in claim.contenders:
                self.assertTrue(layers & set(CONTENDERS[name].layers), (claim.name, name))

    def test_rules(self) -> None:
        """A rule speaks of works of its claim, and of contenders that can do them."""
        for claim in CLAIMS.values():
            self.assertTrue(claim.rules, claim.name)
            for rule in claim.rules:
                self.assertLessEqual(set(rule.works), set(claim.works))
                self.assertIn(rule.measure, claim.measures)
                for name in (rule.subject, *rule.must.of, *rule.aim.of):
                    self.assertIn(name, claim.contenders)
                    for work in rule.works:
                        self.assertIn(WORKS[work].layer, CONTENDERS[name].layers, (name, work))

    def test_everyWorkIsDone(self) -> None:
        """No work of a claim is without a contender, and every rule's subject is wsrelay."""
        for claim in CLAIMS.values():
            for work in claim.loads:
                done = [n for n in claim.contenders if work.layer in CONTENDERS[n].layers]
                self.assertGreater(len(done), 1, work.name)
            for rule in claim.rules:
                self.assertTrue(rule.subject.startswith("wsrelay"))

    def test_templates(self) -> None:
        """A contender's command and configuration leave no word unfilled."""
        known = ("port", "tlsPort", "backend", "folder", "conf", "certificate", "key", "pem")
        for contender in CONTENDERS.values():
            words = {**dict.fromkeys(known, "1"), **contender.words}
            texts = [*contender.command, *contender.environment.values()]
            if contender.template:
                texts.append((HERE / "conf" / contender.template).read_text())
            for text in texts:
                self.assertNotIn("@{", fill(text, words), contender.name)

    def test_loads(self) -> None:
        """The load generator accepts the arguments of every work, and no others."""
        if why := tools():
            self.skipTest(why)
        load = str(makeProgram("load"))
        for work in WORKS.values():
            done = subprocess.run([load, "--check", *work.arguments], timeout=20, check=False)
            self.assertEqual(done.returncode, 0, work.name)
        for wrong in (
            "--pattern ping",
            "--conns 0",
            "--conns x",
            "--size",
            "--tls --tls-version 1.1",
            "--proto http --pattern up",
            "--proto http --pipeline 2",
            "--proto ws --cached",
            "--pattern handshake",
            "--tls-version 1.3",
        ):
            done = subprocess.run(
                [load, "--check", *wrong.split()], capture_output=True, timeout=20, check=False
            )
            self.assertEqual(done.returncode, 2, wrong)


GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 32\r\n\r\n@" + b"." * 16


class Liar:
    """
    A server that gives one answer to every request.

    @ivar port: where it listens.
    """

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # the thread waits there
        self._socket.close()
        self._thread.join(20)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._socket.accept()[0]
                with contextlib.suppress(OSError), client:
                    client.settimeout(5)
                    while head := client.recv(4096):
                        client.sendall(self._answer(head))


class LoadTests(SynchronousTestCase):
    """The load generator believes nobody."""

    def setUp(self) -> None:
        if why := tools():
            self.skipTest(why)
        self.backend = freePorts(1)[0]

    def loaded(self, port: int, words: str) -> dict[str, Any]:
        """What it counts in a moment."""
        where = ["--target", f"127.0.0.1:{port}", "--backend", f"127.0.0.1:{self.backend}"]
        times = ["--warmup", "0", "--duration", "0.2", "--ramp-timeout", "5"]
        command = [str(makeProgram("load")), *where, *times, *words.split()]
        done = subprocess.run(command, capture_output=True, timeout=30, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return dict(json.loads(done.stdout))

    def test_backend(self) -> None:
        """Its own backend gives the right answers, on connections that stay open."""
        for words in ("--size 128", "--size 100000", "--size 128 --cached"):
            counts = self.loaded(self.backend, f"--proto http --conns 3 {words}")
            self.assertEqual([counts["errors"], counts["bad"]], [0, 0], words)
            self.assertGreater(counts["msgs"], 3)
            # Those in flight at the two ends of the window count here or there.
            self.assertApproximates(counts["backend_asked"], counts["msgs"], 3)
            self.assertEqual(counts["backend_accepted"], 0)

    def test_lies(self) -> None:
        """An answer with another status, length or body than was asked for is noticed."""
        for name, old, new, noticed in [
            ("the truth", b"@", b"@", ""),
            ("another status", b"200", b"404", "errors"),
            ("another length", b": 32", b": 33", "errors"),
            ("no length", b"Content-Length", b"Length", "errors"),
            ("chunks", b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n", "errors"),
            ("a long head", b"\r\n\r\n", b"\r\nA: " + b"a" * 9000, "errors"),
            ("somebody else's mark", b"@", b"E0000001", "bad"),
            ("another body", b"." * 16, b"!" * 16, "bad"),
            ("more than the body", b"." * 16, b"." * 17, "errors"),
        ]:
            counts = self.answeredBy(GOOD.replace(old, new, 1))
            for each in ("errors", "bad"):
                self.assertEqual(counts[each] > 0, each == noticed, (name, counts))

    def answeredBy(self, template: bytes) -> dict[str, Any]:
        """The counts of one connection; C{@} becomes the mark, and 16 dots what is behind it."""

        def answer(head: bytes) -> bytes:
            mark = head.split()[1].split(b"/")[-1]
            return template.replace(b"@", mark, 1).replace(b"." * 16, self.pattern()[16:32], 1)

        liar = Liar(answer)
        self.addCleanup(liar.close)
        return self.loaded(liar.port, "--proto http --conns 1 --size 32")

    def pattern(self) -> bytes:
        """How a body begins."""
        x, made = 12345, bytearray()
        for _ in range(32):
            x = (x * 1664525 + 1013904223) % 2**32
            made.append(65 + (x >> 24) % 58)
        return bytes(made)

    @skipUnless(importlib.util.find_spec("aiohttp"), "aiohttp is not installed")
    def test_handwritten(self) -> None:
        """The proxy by hand passes small and large bodies, and keeps its connections."""
        port, spare, self.backend = freePorts(3)
        process = Process(CONTENDERS["aiohttp"], (port, spare, self.backend), 0)
        self.addCleanup(process.stop)
        process.start()
        for size in (128, 100000):
            counts = self.loaded(port, f"--proto http --conns 3 --size {size}")
            self.assertEqual([counts["errors"], counts["bad"]], [0, 0], process.lastWords())
            self.assertGreater(counts["msgs"], counts["backend_accepted"])


class NodeTests(SynchronousTestCase):
    """What comes from npm."""

    def test_missing(self) -> None:
        """Without Node.js it cannot be had, which is said."""
        self.patch(os, "environ", {"PATH": self.mktemp()})
        self.assertIn("node", str(self.assertRaises(NotBuilt, makeNodeProgram, "left", "1")))
        self.assertEqual(CONTENDERS["chp"].version(), "")

    def test_named(self) -> None:
        """The environment names a program that is there already."""
        self.patch(os, "environ", {**os.environ, "CONFIGURABLE_HTTP_PROXY": "/there/chp"})
        self.assertEqual(CONTENDERS["chp"].program(), "/there/chp")


MICROSECOND = 1000


def run(contender: str, micros: float, **changes: Any) -> dict[str, Any]:
    """The record of a run of 100 round trips."""
    record = {
        "record": "run",
        "claim": "trial",
        "work": "ws-64",
        "contender": contender,
        "failed": False,
        "clean": True,
        "secs": 2.0,
        "msgs": 100,
        "bytes": 6400,
        "proxy_ns": int(micros * 100 * MICROSECOND),
        "lat_us": {"p50": 50.0},
    }
    return {**record, **changes}


TRIAL = Claim(
    "trial",
    "A trial",
    ("ws-64",),
    ("nginx", "haproxy", "wsrelay"),
    (Rule("wsrelay", ("ws-64",), must=best(1.0, "nginx", "haproxy"), aim=best(0.5, "nginx")),),
)

MACHINE = {
    "record": "machine",
    "date": "today",
    "kernel": "K",
    "cpu": "C",
    "cores": 2,
    "versions": {"nginx": "1"},
}


class ReportTests(SynchronousTestCase):
    """What the report says follows from the records."""

    def figure(self, *records: dict[str, Any]) -> str:
        """The only figure of nginx, as it is printed."""
        return str(Results(records).figure("trial", "ws-64", "nginx", CPU))

    def test_median(self) -> None:
        """A figure is the median of CPU time over units."""
        self.assertEqual(self.figure(*(run("nginx", n) for n in (9, 3, 4))), "4.00")
        self.assertEqual(self.figure(run("nginx", 3), run("nginx", 4)), "3.50")
        self.assertEqual(self.figure(run("nginx", 30, msgs=200)), "15.0~")

    def test_disturbed(self) -> None:
        """Clean runs count if there are two; without, all count and the figure is marked."""
        clean, noisy = run("nginx", 5), run("nginx", 50, clean=False)
        self.assertEqual(self.figure(clean, clean, noisy, noisy, noisy), "5.00")
        self.assertEqual(self.figure(clean, noisy, noisy), "50.0~")

    def test_failed(self) -> None:
        """A run that failed counts for nothing; without others there is no figure."""
        failed = run("nginx", 1, failed=True, clean=False)
        self.assertEqual(self.figure(failed, run("nginx", 8), run("nginx", 8)), "8.00")
        self.assertEqual(self.figure(failed), "None")
        tables = report(Results([failed, run("wsrelay", 5)]), [TRIAL])
        self.assertIn(["nginx http", "failed"], [list(row) for row in tables[0].rows])

    def test_units(self) -> None:
        """CPU time is divided by what the work counts."""
        record = run("x", 1, conns_done=7, opened=9, bytes=3_000_000)
        for name, units in [
            ("ws-64", 100),
            ("http-get-128", 100),
            ("ws-down", 3),
            ("tcp-connect", 7),
            ("https-handshake", 7),
            ("ws-idle", 9),
        ]:
            self.assertEqual(WORKS[name].units(record), units)

    def test_backend(self) -> None:
        """What the backend saw is divided by it, too; older records do not have it."""
        self.assertEqual(ASKED.take(run("x", 1, backend_asked=50)), 0.5)
        self.assertEqual(DIALS.take(run("x", 1, backend_accepted=0)), 0)
        self.assertIsNone(DIALS.take(run("x", 1, backend_accepted=0, msgs=0)))
        self.assertIsNone(ASKED.take(run("x", 1)))

    def test_limits(self) -> None:
        """A limit is a multiple of the best of those that are there, or a plain number."""
        figures = {"a": 10.0, "b": 8.0}
        self.assertEqual(best(1.25, "a", "b").bound(figures), 10.0)
        self.assertEqual(best(1.25, "a", "b").reference(figures), "b")
        self.assertEqual(best(1.25, "a", "z").bound(figures), 12.5)
        self.assertIsNone(best(1.25, "z").bound(figures))
        self.assertEqual(Limit(12).bound({}), 12)

    def test_verdicts(self) -> None:
        """A rule is met at its bound, and not above; nobody to compare with is no verdict."""
        for own, must, aim in [(8, True, False), (8.01, False, False), (5, True, True)]:
            runs = [run("nginx", 10), run("haproxy", 8), run("wsrelay", own)]
            (verdict,) = judge(Results(runs * 2), TRIAL)
            self.assertEqual((verdict.isMet, verdict.isAimMet), (must, aim), own)
            assert verdict.mustRatio is not None
            self.assertAlmostEqual(verdict.mustRatio, own / 8)
        (alone,) = judge(Results([run("wsrelay", 5)]), TRIAL)
        self.assertEqual((alone.isMet, alone.mustRatio), (None, None))
        self.assertEqual(judge(Results([run("nginx", 5)]), TRIAL), [])

    def test_forms(self) -> None:
        """Both forms of the report have the machine, the figures and the verdicts."""
        results = Results([MACHINE, *(run(n, 7) for n in ("nginx", "haproxy", "wsrelay"))])
        tables = report(results, [evolve(TRIAL, note="Note well.")])
        for text in (asText(results, tables), asMarkdown(results, tables)):
            for word in ("today", "nginx 1", "Note well.", "7.00~", "1.00", "yes", "50 (50.0)"):
                self.assertIn(word, text)
        self.assertIn("| wsrelay, no filter | 7.00~ |", asMarkdown(results, tables))


_WORKER = """
import time
while time.process_time() < 0.2: pass
print(time.process_time(), flush=True)
input()
"""


@skipUnless(sys.platform.startswith("linux"), "accounts need Linux")
class AccountTests(SynchronousTestCase):
    """Accounts count what a process took."""

    def charged(self, account: Account) -> tuple[float, float]:
        """Seconds on the account of a process, and by its own clock."""
        pipe = subprocess.PIPE
        with subprocess.Popen(
            [sys.executable, "-c", _WORKER],
            stdin=pipe,
            stdout=pipe,
            start_new_session=True,
            preexec_fn=account.join,
        ) as worker:
            assert worker.stdin is not None and worker.stdout is not None
            if isinstance(account, SessionAccount):
                account.leader = worker.pid
            own = float(worker.stdout.readline())
            self.assertEqual(account.processes(), [worker.pid])
            self.assertGreater(readPss(account.processes()), 1000)
            charged = account.nanoseconds() / 1e9
            worker.stdin.write(b"\n")
        self.assertEqual(account.processes(), [])
        account.close()
        return charged, own

    def test_session(self) -> None:
        """Without any rights, the time of a session's processes is known."""
        charged, own = self.charged(SessionAccount())
        self.assertApproximates(charged, own, 0.1)

    def test_best(self) -> None:
        """The best account that can be had here says the same."""
        charged, own = self.charged(openAccount(f"benchmark-test-{os.getpid()}"))
        self.assertApproximates(charged, own, 0.1)


class CommandLineTests(SynchronousTestCase):
    """C{python -m benchmarks}."""

    def said(self, *arguments: str) -> str:
        """What it prints."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            self.status = main(arguments)
        return out.getvalue()

    def test_help(self) -> None:
        """Without arguments it says which claims there are."""
        said = self.said()
        for claim in CLAIMS.values():
            self.assertIn(claim.title, said)
        self.assertIn("wsrelay-none", self.said("list"))

    def test_wrong(self) -> None:
        """A contender that does not exist, and nothing to report, are said; nothing is run."""
        self.assertIn("ngnix", self.said("echo", "--peers", "ngnix"))
        self.assertEqual(self.status, 1)
        self.assertIn("files of results", self.said("report"))
        self.assertEqual(self.status, 1)

    @skipUnless(shutil.which("gcc"), "gcc is not installed")
    def test_run(self) -> None:
        """A short run measures wsrelay and the C relay, and its file can be reported again."""
        if why := tools():
            self.skipTest(why)
        for claim, work, peers in [
            ("echo", "ws-64", ["relay", "wsrelay"]),
            ("http", "http-get-16k", ["relay", "wsrelay"]),
            ("http", "http-get-128", ["relay", "wsrelay-kept-quiet"]),
            ("cache", "http-cached-16k", ["wsrelay-kept", "wsrelay-cache"]),
            ("handshakes", "https-handshake", ["relay-tls", "wsrelay-certificates"]),
            ("handshakes", "https-handshake-1.2", ["relay-tls", "wsrelay-certificates"]),
            ("handshakes", "https-connect", ["relay-tls", "wsrelay-certificates"]),
        ]:
            self.ran(claim, work, peers)

    def ran(self, claim: str, work: str, peers: list[str]) -> None:
        """Run one work of a claim for a moment."""
        out, page = self.mktemp(), self.mktemp()
        options = ["--rounds", "1", "--secs", "0.3", "--patience", "0", "--works", f"^{work}$"]
        files = ["--out", out, "--markdown", page]
        said = self.said(claim, *options, "--peers", ",".join(peers), *files)
        self.assertEqual(self.status, 0, said)
        _, *runs = [json.loads(line) for line in Path(out).read_text().splitlines()]
        self.assertEqual([each["contender"] for each in runs], peers, said)
        for each in runs:
            self.assertFalse(each["failed"], each)
            self.assertGreater(each["proxy_ns"], 0)
            self.assertGreater(WORKS[work].units(each), 0)
        title = CONTENDERS[peers[-1]].title
        self.assertIn(f"| {title} |", Path(page).read_text())
        self.assertIn(title, self.said("report", out))

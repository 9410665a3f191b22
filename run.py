#!/usr/bin/env python3
"""
Sets up and runs everything, with nothing but Python and this checkout::

    python3 run.py demo     the demo; Ctrl-C ends it
    python3 run.py test     all tests; what is written behind it goes to trial instead
    python3 run.py check    ruff and mypy
    python3 run.py sanitize the tests of what is written in C, watched by
                            AddressSanitizer and UndefinedBehaviorSanitizer (gcc)
    python3 run.py fuzz 60  invented input for it, so many seconds (clang)

The first time it makes a virtual environment in .venv and installs into it; afterwards it
looks at one small file and starts at once. Deleting .venv undoes everything.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
PYTHON = str(BIN / "python")
STAMP = VENV / "wsrelay-installed"

# Of run.py's own, made anew each time.
BUILD = ROOT / "build"

# What an installation depends on. All else is used from the checkout as it is.
INGREDIENTS = ("setup.cfg", "pyproject.toml", "setup.py", "wsrelay/**/*.[ch]")


def fingerprint() -> str:
    """One word that changes when the checkout has to be installed again."""
    digest = hashlib.sha256(str(ROOT).encode())
    for pattern in INGREDIENTS:
        for path in sorted(ROOT.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def prepare(*extras: str) -> None:
    """Have the checkout installed in .venv, with these extras at least."""
    python, wanted = sys.version.split()[0], fingerprint()
    known = STAMP.read_text().split() if STAMP.exists() else []
    if known[:2] == [python, wanted] and set(extras) <= set(known[2:]):
        return
    print("Setting up .venv ...", file=sys.stderr, flush=True)
    if known[:1] != [python]:  # none, half made, or of another Python
        known = []
        call(sys.executable, "-m", "venv", "--clear", str(VENV))
    have = sorted({*extras, *known[2:]})
    STAMP.unlink(missing_ok=True)
    what = f".[{','.join(have)}]" if have else "."
    call(PYTHON, "-m", "pip", "install", "--quiet", "--editable", what)
    STAMP.write_text(" ".join([python, wanted, *have]))


def call(*command: str) -> None:
    """Run C{command}; end with its status if it fails."""
    status = subprocess.call(command)
    if status:
        sys.exit(status)


def demo(arguments: list[str]) -> None:
    """Become the demo, so that signals reach it and nobody stands between."""
    prepare()
    twistd = str(BIN / "twistd")
    os.execv(twistd, [twistd, "-n", "--pidfile=", "wsrelay", "--demo", *arguments])


def test(arguments: list[str]) -> None:
    """Become trial."""
    prepare("test")
    os.execv(PYTHON, [PYTHON, "-m", "twisted.trial", *(arguments or ["tests"])])


def check(arguments: list[str]) -> None:
    """Run every checker, the later ones even if an earlier one complains."""
    prepare("test", "dev")
    checkers = (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"])
    statuses = [subprocess.call([PYTHON, "-m", *checker, *arguments]) for checker in checkers]
    sys.exit(max(statuses))


# ------------------------------------------------------------------ the extensions

# -O2 follows from setup.py: what is watched is what is installed.
SANITIZERS = "-g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"
STRICT = "-Wall -Wextra -Werror"

BUILT = ("plane/_native", "wire/_heads")

# The tests in which the extensions read heads and move bytes: over sockets, under TLS, in twistd.
WATCHED = [
    "tests.wire.test_heads",
    *sorted(f"tests.plane.{path.stem}" for path in ROOT.glob("tests/plane/test_native*.py")),
    *(f"tests.plane.test_{name}" for name in ("transports", "adoption")),
    *(f"tests.l7.test_{name}" for name in ("session", "upgrade", "forwarder")),
    *(f"tests.endtoend.test_{name}" for name in ("endings", "violations", "many", "early")),
    "tests.endtoend.test_twistd.EndpointTests",
]

# So much of a checkout is not its content.
ASIDE = (".git", ".venv", ".*_cache", ".hypothesis", "build", "_trial_temp*", "*.so", "*.egg-info")


def sanitize(arguments: list[str]) -> None:
    """
    Run tests in a copy of the checkout whose extensions have sanitizers in them.

    They stop the process, wherever it is, and report to a file; a report that no test noticed
    is a failure all the same. Leaks are left to L{fuzz}: at its end Python leaves so much
    behind that ours would not be seen.
    """
    compiler = need("gcc")
    prepare("test")
    copy, reports = BUILD / "sanitize", BUILD / "sanitize-reports"
    for folder in (copy, reports):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*ASIDE))
    reports.mkdir()
    os.chdir(copy)
    flags = {"CC": compiler, "CFLAGS": f"{STRICT} {SANITIZERS}"}
    build = [PYTHON, "setup.py", "-q", "build_ext", "--inplace"]
    status = subprocess.call(build, env={**os.environ, **flags})
    # To setuptools they are optional: a compiler's complaint is no failure.
    for extension in BUILT:
        if status or not list(copy.glob(f"wsrelay/{extension}.*.so")):
            sys.exit(f"wsrelay/{extension} was not built")
    libraries = [
        subprocess.check_output([compiler, f"-print-file-name=lib{name}.so"], text=True).strip()
        for name in ("asan", "ubsan")
    ]
    watched = {
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": f"detect_leaks=0:log_path={reports}/address",
        "UBSAN_OPTIONS": f"print_stacktrace=1:log_path={reports}/undefined",
        "PYTHONMALLOC": "malloc",  # each object is a block of the sanitizer's
        "WSRELAY_PLANE": "native",
    }
    trial = [PYTHON, "-m", "twisted.trial", *(arguments or WATCHED)]
    status = subprocess.call(trial, env={**os.environ, **watched})
    for report in sorted(reports.iterdir()):
        status = status or 1
        print(report.read_text(errors="replace"))
    sys.exit(status)


def fuzz(arguments: list[str]) -> None:
    """Run each target of tests/fuzz for its share of the seconds; see its README."""
    compiler = need("clang")
    prepare("test")
    seconds = int(arguments[0]) if arguments else 60
    folder = BUILD / "fuzz"
    shutil.rmtree(folder, ignore_errors=True)
    call(PYTHON, "-m", "tests.fuzz.seeds", str(folder / "seeds"))
    targets = {"frames": [], "heads": embedding("wire"), "link": embedding("plane")}
    statuses = []
    for name, options in targets.items():
        target = folder / name
        # An empty buffer is at NULL + 0, which clang minds and C2y does not (N3322).
        command = [compiler, *STRICT.split(), *SANITIZERS.split(), "-O1", "-fsanitize=fuzzer"]
        command += ["-fno-sanitize=pointer-overflow", "-Iwsrelay/plane", f"tests/fuzz/{name}.c"]
        call(*command, *options, "-o", str(target))
        statuses.append(campaign(target, max(1, seconds // len(targets))))
    sys.exit(max(statuses))


def embedding(room: str) -> list[str]:
    """What the C compiler wants for a program with an extension and .venv's Python in it."""
    where = sysconfig.get_config_vars()
    sources = sorted(str(path) for path in ROOT.glob(f"wsrelay/{room}/*.c"))
    flags = [f"-I{where['INCLUDEPY']}", f'-DPYTHON="{PYTHON}"', f'-DROOT="{ROOT}"', *sources]
    if where.get("Py_ENABLE_SHARED"):
        flags += [f"-L{where['LIBDIR']}", f"-Wl,-rpath,{where['LIBDIR']}"]
    else:
        flags += [f"-L{where['LIBPL']}", "-rdynamic"]
    return [*flags, f"-lpython{where['LDVERSION']}", *where["LIBS"].split(), "-lm"]


def campaign(target: Path, seconds: int) -> int:
    """Fuzz; show what has happened, and the input that did it. @return: the exit status."""
    print(f"{target.name}: {seconds} s", flush=True)
    corpus, log = target.with_name(f"{target.name}-corpus"), target.with_name(f"{target.name}.log")
    corpus.mkdir()
    command = [str(target), f"-max_total_time={seconds}", "-max_len=2048", "-timeout=30"]
    command += ["-detect_leaks=0", "-print_final_stats=1", f"-artifact_prefix={target}-fault-"]
    with log.open("wb") as output:
        status = subprocess.call(
            [*command, str(corpus), str(target.parent / "seeds" / target.name)],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    lines = log.read_text(errors="replace").splitlines()
    print("\n".join(lines[-100:] if status else [line for line in lines if "stat::" in line]))
    for fault in sorted(target.parent.glob(f"{target.name}-fault-*")):
        status = status or 1
        print(f"{fault}:\n{fault.read_bytes().hex()}")
    return status


def need(program: str) -> str:
    """Where a program is; the end without it."""
    found = shutil.which(program)
    if found is None:
        sys.exit(f"this needs {program}, which is not installed")
    return found


def main() -> None:
    """Do what the command line says."""
    if sys.version_info < (3, 11):  # noqa: UP036  # this file runs before any installer looked
        sys.exit(f"wsrelay needs Python 3.11 or later; this is {sys.version.split()[0]}")
    commands = {
        "demo": demo,
        "test": test,
        "check": check,
        "sanitize": sanitize,
        "fuzz": fuzz,
    }
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit((__doc__ or "").strip())
    os.chdir(ROOT)
    commands[sys.argv[1]](sys.argv[2:])


if __name__ == "__main__":
    main()

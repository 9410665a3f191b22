# -*- test-case-name: tests.test_benchmarks -*-
"""
What has to be made once: the two C programs, a certificate, and what npm installs.

All of it goes to C{build/benchmarks/} in the checkout, which git ignores. A program is compiled
again when its source is newer.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from attrs import frozen

__all__ = [
    "BUILD",
    "HERE",
    "ROOT",
    "Certificate",
    "NotBuilt",
    "makeCertificate",
    "makeNodeProgram",
    "makeProgram",
]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "benchmarks"

_FLAGS = ("-O2", "-g", "-Wall", "-Wextra", "-std=gnu11")
_LIBRARIES = ("-lssl", "-lcrypto")


class NotBuilt(Exception):
    """Something could not be made; the text says what, and what is missing."""


@frozen
class Certificate:
    """Three files: the certificate, its key, and both in one."""

    certificate: Path
    key: Path
    pem: Path


def makeProgram(name: str) -> Path:
    """
    Compile C{programs/NAME.c}, if that was not done yet.

    @raise NotBuilt: there is no compiler, or it complains.
    """
    source = HERE / "programs" / f"{name}.c"
    program = BUILD / name
    parts = [*source.parent.glob("*.h"), source]
    newest = max(part.stat().st_mtime for part in parts)
    if program.exists() and program.stat().st_mtime > newest:
        return program
    if shutil.which("gcc") is None:
        raise NotBuilt("gcc is not installed")
    BUILD.mkdir(parents=True, exist_ok=True)
    fresh = program.with_suffix(".new")
    _run(["gcc", *_FLAGS, "-o", str(fresh), str(source), *_LIBRARIES])
    fresh.replace(program)
    return program


def makeCertificate() -> Certificate:
    """
    A certificate for localhost (P-256, as the web has them), if there is none yet.

    @raise NotBuilt: there is no openssl, or it complains.
    """
    made = Certificate(BUILD / "certificate.pem", BUILD / "key.pem", BUILD / "both.pem")
    if made.pem.exists():
        return made
    if shutil.which("openssl") is None:
        raise NotBuilt("openssl is not installed")
    BUILD.mkdir(parents=True, exist_ok=True)
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(made.key), "-out", str(made.certificate)]
    _run(["openssl", "req", "-x509", *curve, *names, *files])
    made.pem.write_text(made.certificate.read_text() + made.key.read_text())
    return made


def makeNodeProgram(name: str, version: str) -> Path:
    """
    Have npm install a package with a program of its own name, if that was not done yet.

    @raise NotBuilt: there is no Node.js or npm, or npm complains.
    """
    folder = BUILD / f"{name}-{version}"
    program = folder / "node_modules" / ".bin" / name
    for needed in ("node", "npm"):
        if shutil.which(needed) is None:
            raise NotBuilt(f"{needed} is not installed")
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=0"]
        _run(["npm", "install", "--prefix", str(folder), *options, f"{name}@{version}"])
    return program


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired as error:
        raise NotBuilt(f"{command[0]} took more than 120 s") from error
    if done.returncode:
        raise NotBuilt(f"{command[0]} failed:\n{done.stderr.strip()[-2000:]}")

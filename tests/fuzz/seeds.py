"""
Inputs for the fuzzer to begin with: C{python -m tests.fuzz.seeds FOLDER}.

They are made, not kept: valid sessions and every violation of L{tests.wire.frametables}, in
the form that C{frames.c} and C{link.c} read (see there), at every level; good and bad heads
for C{heads.c}. L{FOUND} are the inputs that once found a fault.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from tests.wire import headtables
from tests.wire.frametables import KEY, RFC_EXAMPLES, SIZES, VIOLATIONS, cut
from wsrelay.wire.deflate import Deflater
from wsrelay.wire.frames import BINARY, CONTINUATION, PING, PONG, TEXT, encode, encodeClose

__all__ = ["FOUND", "frames", "heads", "links", "write"]

#: By target, in hexadecimal.
FOUND: dict[str, list[str]] = {
    "frames": [],
    "heads": [],
    "link": [
        # closeWith() twice: both Close frames went out
        "050000000000 0685 0685 80028800",
        # a hook ended the link, then raised: the owner heard of that after the end
        "000000040002 0d02 000161",
        # a stream hook closed the link at the end of the stream: the same
        "b86e345f6661 3274",
        # a hook raised while the sink was gone: the loss of the sink was never said
        "2606e5e5e5e5 5de5e5e5e5 e5e5e5e5e54b7ec18282",
    ],
}

# The parts of frames.c; and some of its ways: no limits, from a client or not.
_HEADS, _MASKS, _TEXTS = b"\0", b"\1", b"\2"
_WAYS = (b"\0", b"\1", b"\2", b"\3")

_CLIENT, _BACKEND = 0, 0x80
_SAY, _REPEAT, _FINISH, _LEAVE, _ACT = 0, 3, 4, 5, 6
_LEVELS = range(3)
_TEXT = "Gr\u00fc\u00dfe \u20ac \U0001f600".encode()
_HARD = ["c080", "eda080", "f48fbfbf", "f4908080", "e0a080", "e09f80", "f0908080", "c2", "efbfbd"]


def _deflated(data: bytes) -> bytes:
    return Deflater(False, 15).deflate(data)


def _session(key: bytes | None) -> list[bytes]:
    """What one side may say, frame by frame."""
    return [
        encode(TEXT, _TEXT, key),
        encode(PING, b"ping", key),
        encode(BINARY, bytes(range(200)), key),
        encode(TEXT, _TEXT[:4], key, fin=False),
        encode(PONG, b"", key),
        encode(CONTINUATION, _TEXT[4:9], key, fin=False),
        encode(CONTINUATION, _TEXT[9:], key),
        encode(BINARY, b"", key),
        encodeClose(1000, "bye", key),
    ]


def _streams() -> Iterator[bytes]:
    """What a backend may say, well or badly."""
    yield b"".join(_session(None))
    for row in [*RFC_EXAMPLES[:-1], *VIOLATIONS]:
        yield bytes.fromhex(row[1])
    for *_, wire, _ in SIZES:
        yield bytes.fromhex(wire)


def frames() -> Iterator[bytes]:
    """For C{frames.c}."""
    for stream in _streams():
        for way in _WAYS:
            yield _HEADS + way + stream
    yield _HEADS + b"\1" + b"".join(_session(KEY))
    for data in (_TEXT, bytes(range(256)), *map(bytes.fromhex, _HARD)):
        yield _TEXTS + b"\1" + data
        yield _TEXTS + b"\7" + b"plain text " + data + b" and more of it"
        yield _MASKS + b"\5" + KEY + data


def heads() -> Iterator[bytes]:
    """For C{heads.c}: 15 fields and nearly twice the bytes are allowed; and too few of each."""
    tables = headtables
    for head in [
        *(row[0] for row in (*tables.GOOD_REQUESTS, *tables.BAD_REQUESTS)),
        *(tables.response(row[0]) for row in tables.GOOD_STATUS_LINES),
        *(tables.response(line) for line in tables.BAD_STATUS_LINES),
        *(tables.request(host=b"Host: " + host) for host in tables.GOOD_HOSTS + tables.BAD_HOSTS),
    ]:
        yield b"\xff" + head
    for line in (*(row[0] for row in tables.GOOD_FIELDS), *tables.BAD_FIELDS):
        for how in (b"\xff", b"\xf1", b"\x4f"):
            yield how + tables.request(b"GET / HTTP/1.1", line, b"ETag: 1")
            yield how + tables.response(b"HTTP/1.1 200 OK", line, b"Content-Length: 5") + b"hello"


def _say(peer: int, data: bytes, size: int = 250, how: int = 0) -> bytes:
    """Steps in which a peer says this, in pieces."""
    return b"".join(bytes([peer | _SAY | how, len(part)]) + part for part in cut(data, [size]))


def _input(
    steps: bytes,
    level: int,
    hooks: int = 0,
    script: bytes = b"",
    end: int = 0,
    limits: int = 0,
    bits: int = 0,
    how: int = 0,
) -> bytes:
    """The header, with the same for both directions, and what follows it."""
    header = [level * 5 | how, limits * 17, bits, hooks * 17, end, len(script)]
    return bytes(header) + script + steps


def links() -> Iterator[bytes]:
    """For C{link.c}."""
    up, down = b"".join(_session(KEY)), b"".join(_session(None))
    both = b"".join(
        _say(_CLIENT, mine) + _say(_BACKEND, theirs)
        for mine, theirs in zip(_session(KEY), _session(None), strict=True)
    )
    for level in _LEVELS:
        yield _input(both, level)
        yield _input(_say(_CLIENT, up, 3) + _say(_BACKEND, down, 7, 0x40), level, end=4)
        yield _input(_say(_CLIENT, up), level, how=0x30, end=0xA2)
        for hooks in range(1, 16):
            yield _input(both, level, hooks, bytes([hooks, 0, 0]), end=hooks)
        for what in range(1, 15):
            script = bytes([0, what, 0x80 | what])
            yield _input(both + bytes([_CLIENT | _FINISH, _BACKEND | _LEAVE]), level, 4, script)
            acts = bytes([_ACT, what, _ACT, 0x80 | what])
            yield _input(both[:90] + acts + both[90:], level, 4, b"\17")
        for stream in _streams():
            yield _input(_say(_BACKEND, stream, 11), level)
            yield _input(_say(_BACKEND, stream), level, 1, limits=2)
        # Big frames: a step cannot hold one, but it can be repeated.
        half = bytes([_BACKEND | _REPEAT, 128, 255]) + b"." * 128
        for wire in ("827e8000", "827f0000000000010000"):
            yield _input(_say(_BACKEND, bytes.fromhex(wire)) + half + half, level)
    for bits in (0x10, 0x30, 0x50):
        said = encode(TEXT, _deflated(_TEXT * 9), None, rsv1=True)
        said += encode(BINARY, b"plain", None) + encode(TEXT, b"\xff\xff", None, rsv1=True)
        for hooks in (0, 1, 2, 5, 9):
            yield _input(_say(_BACKEND, said, 9), 2, hooks, bits=bits, script=bytes([hooks]))


def write(folder: Path) -> None:
    """Write the inputs for each target into a folder of its name."""
    for name, made in (("frames", frames()), ("heads", heads()), ("link", links())):
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        found = map(bytes.fromhex, FOUND[name])
        for number, data in enumerate([*found, *made]):
            (place / f"{number:04}").write_bytes(data)


if __name__ == "__main__":
    write(Path(sys.argv[1]))

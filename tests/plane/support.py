"""
Reading what came out of a plane, without any of the relay's own readers.
"""

from __future__ import annotations

from typing import NamedTuple

from wsrelay.model import Direction
from wsrelay.wire.frames import encode, encodeClose

__all__ = ["KEY", "Frame", "closing", "framed", "frames", "unmasked"]

KEY = b"\x01\x02\x03\x04"


class Frame(NamedTuple):
    """One frame; payload unmasked."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv1: bool = False


def unmasked(payload: bytes, key: bytes) -> bytes:
    """RFC 6455 section 5.3, to the letter."""
    return bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


def frames(stream: bytes, direction: Direction) -> list[Frame]:
    """
    The frames that a stream consists of.

    @raise AssertionError: it ends inside a frame, or one is masked that must not be, or not
        masked that must be.
    """
    found = []
    at = 0
    while at < len(stream):
        first, second = stream[at], stream[at + 1]
        length, at = second & 0x7F, at + 2
        if length > 125:
            size = 2 if length == 126 else 8
            length, at = int.from_bytes(stream[at : at + size], "big"), at + size
        assert bool(second & 0x80) is (direction is Direction.TO_BACKEND), "wrong mask bit"
        key = b""
        if second & 0x80:
            key, at = stream[at : at + 4], at + 4
        payload = stream[at : at + length]
        assert len(payload) == length, "the stream ends inside a frame"
        at += length
        assert not first & 0x30, "a reserved bit"
        found.append(
            Frame(
                first & 0x0F,
                unmasked(payload, key) if key else payload,
                bool(first & 0x80),
                bool(first & 0x40),
            )
        )
    return found


def framed(
    direction: Direction, opcode: int, payload: bytes, fin: bool = True, rsv1: bool = False
) -> bytes:
    """One frame as a peer sends it this way."""
    return encode(opcode, payload, KEY if direction is Direction.TO_BACKEND else None, fin, rsv1)


def closing(direction: Direction, code: int | None, reason: str = "") -> bytes:
    """A Close frame as a peer sends it this way."""
    return encodeClose(code, reason, KEY if direction is Direction.TO_BACKEND else None)

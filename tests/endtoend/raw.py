# -*- test-case-name: tests.endtoend.test_bounds -*-
"""
WebSockets on plain blocking sockets, for what no library does: never reading.

The handshake is the shortest that RFC 6455 section 4 allows; frames are made by hand.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import struct

__all__ = ["binaryFrame", "handshakeAnswer", "handshakeRequest", "readHead"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def readHead(peer: socket.socket) -> bytes:
    """
    Read a head up to its empty line and not one byte further.

    @raise ConnectionError: the peer ended before its head did.
    """
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        byte = peer.recv(1)
        if not byte:
            raise ConnectionError(f"the head ended early: {bytes(head)!r}")
        head += byte
    return bytes(head)


def handshakeRequest() -> bytes:
    """A client's request for a WebSocket."""
    key = base64.b64encode(os.urandom(16))
    return (
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n"
    )


def handshakeAnswer(request: bytes) -> bytes:
    """
    The 101 that accepts a client's request.

    @raise ValueError: it has no key.
    """
    for line in request.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"sec-websocket-key":
            accept = base64.b64encode(hashlib.sha1(value.strip() + _GUID).digest())
            return (
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                b"Upgrade: websocket\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
    raise ValueError("a request without Sec-WebSocket-Key")


def binaryFrame(payload: bytes, masked: bool) -> bytes:
    """
    One unfragmented binary frame (RFC 6455 section 5.2) of at least 64 KiB.

    A client's is masked with zeros, so that its payload is the same bytes.
    """
    head = struct.pack("!BBQ", 0x82, 127 | (0x80 if masked else 0), len(payload))
    return head + (bytes(4) if masked else b"") + payload

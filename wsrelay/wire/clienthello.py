# -*- test-case-name: tests.wire.test_clienthello -*-
"""
What a TLS client says in the open: the name it wants and the protocols it speaks.

A B{ClientHello} is the first handshake message of a connection (RFC 8446 section 4.1.2). It
comes in one or several B{records} (section 5.1), and says in extensions which server is
meant (SNI, RFC 6066 section 3) and which protocols would do (ALPN, RFC 7301 section 3.1).

The hello is read so that a connection can be routed; it is passed on as it came. Nothing is
decrypted, no cipher or version is judged, and what an encrypted hello (ECH) hides stays
hidden: its outer name is the one that is read. Bytes behind the hello are not looked at.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from attrs import frozen

from wsrelay.errors import BadRequest

__all__ = ["ClientHello", "HelloReader", "hostName"]

_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_HOST_NAME: Final = 0
_ALPN: Final = 16

# The plaintext of one record (RFC 8446 section 5.1).
_MAX_RECORD: Final = 1 << 14

# Letters, digits and hyphens (RFC 1123 section 2.1). The underscore is in no host name
# either, but in the names that container networks give.
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


@frozen
class ClientHello:
    """
    What can be routed by.

    @ivar serverName: the host name asked for, lower-case, without a final dot; C{None} when
        there is none, or an IP address stands in its place, which RFC 6066 forbids and
        which names no server.
    @ivar alpn: the protocols offered, the best liked first; each byte one character
        (ISO 8859-1), for they are bytes and need not be text (RFC 8701).
    """

    serverName: str | None = None
    alpn: tuple[str, ...] = ()


class _Vector:
    """The inside of a TLS vector (RFC 8446 section 3.4), read from the front."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        """The next C{size} bytes."""
        after = self._at + size
        if after > len(self._data):
            raise BadRequest("a ClientHello with a length that is too big")
        taken = self._data[self._at : after]
        self._at = after
        return taken

    def number(self, size: int) -> int:
        """The next C{size} bytes as a number."""
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        """A vector whose length stands in C{size} bytes before it."""
        return self.take(self.number(size))

    def only(self, size: int) -> _Vector:
        """A vector behind which nothing may follow."""
        inside = _Vector(self.vector(size))
        if self:
            raise BadRequest("a ClientHello with a length that is too small")
        return inside


def hostName(raw: bytes) -> str | None:
    """
    The name as it is compared.

    @return: C{None} for an IP address.
    @raise BadRequest: it is not a host name.
    """
    try:
        name = raw.decode("ascii").lower().removesuffix(".")
    except UnicodeDecodeError as error:
        raise BadRequest("a server name that is not ASCII") from error
    try:
        ipaddress.ip_address(name)
    except ValueError:
        pass
    else:
        return None
    labels = name.split(".")
    # No top-level domain is a number (RFC 3696 section 2): 127.1 is an address to some.
    if len(name) > 253 or labels[-1].isdigit() or not all(map(_LABEL.fullmatch, labels)):
        raise BadRequest("a server name that is not a host name")
    return name


def _serverName(body: bytes) -> str | None:
    """The extension C{server_name}: one name of each type (RFC 6066 section 3)."""
    names = _Vector(body).only(2)
    seen: dict[int, bytes] = {}
    while names:
        kind = names.number(1)
        if kind in seen:
            raise BadRequest("a ClientHello with two server names")
        seen[kind] = names.vector(2)
    if not seen:
        raise BadRequest("a ClientHello with an empty list of server names")
    return hostName(seen[_HOST_NAME]) if _HOST_NAME in seen else None


def _protocols(body: bytes) -> tuple[str, ...]:
    """The extension C{application_layer_protocol_negotiation} (RFC 7301 section 3.1)."""
    names = _Vector(body).only(2)
    found = []
    while names:
        found.append(names.vector(1).decode("latin-1"))
    if not found or "" in found:
        raise BadRequest("a ClientHello with an empty protocol name or list")
    return tuple(found)


def _extensions(rest: _Vector) -> dict[int, bytes]:
    """The extensions by number; a hello older than TLS 1.3 may end before them."""
    found: dict[int, bytes] = {}
    if not rest:
        return found
    extensions = rest.only(2)
    while extensions:
        kind = extensions.number(2)
        if kind in found:
            raise BadRequest("a ClientHello with an extension twice")
        found[kind] = extensions.vector(2)
    return found


def _parse(body: bytes) -> ClientHello:
    """The message without its head (RFC 8446 section 4.1.2)."""
    hello = _Vector(body)
    if hello.number(2) >> 8 != 3:
        raise BadRequest("a ClientHello of an unknown version")
    hello.take(32)
    if len(hello.vector(1)) > 32:
        raise BadRequest("a ClientHello with a session of more than 32 bytes")
    suites = len(hello.vector(2))
    if not suites or suites % 2:
        raise BadRequest("a ClientHello with an odd list of cipher suites")
    if not hello.vector(1):
        raise BadRequest("a ClientHello without compression methods")
    extensions = _extensions(hello)
    name, protocols = extensions.get(_SERVER_NAME), extensions.get(_ALPN)
    return ClientHello(
        None if name is None else _serverName(name),
        () if protocols is None else _protocols(protocols),
    )


class HelloReader:
    """
    Reads the beginning of a connection until the ClientHello is there.

    The first byte decides at once whether this is TLS at all; records are read as they
    become complete. Linear, however the bytes come; it never keeps more than the limit and
    what was fed last.
    """

    __slots__ = ("_at", "_data", "_hello", "_limit", "_message")

    def __init__(self, limit: int = 64 * 1024) -> None:
        """
        @param limit: how many bytes the records of the hello may take. Hellos with
            post-quantum keys take about 2 KiB, and OpenSSL refuses more than 128 KiB.
        """
        self._limit = limit
        self._data = bytearray()
        self._at = 0
        self._message = bytearray()
        self._hello: ClientHello | None = None

    @property
    def data(self) -> bytes:
        """All bytes that were fed, to be passed on."""
        return bytes(self._data)

    def feed(self, data: bytes) -> ClientHello | None:
        """
        Read what arrived. After an error this object cannot be used again.

        @return: the hello as soon as its last record is complete, and from then on; C{None}
            before.
        @raise BadRequest: this is not TLS, or the hello is malformed, or would not fit into
            the limit.
        """
        self._data += data
        while self._hello is None and self._record():
            self._hello = self._complete()
        return self._hello

    def _record(self) -> bool:
        """
        Move one record's content to the message, if it is all there.

        Nothing but handshake may come before the hello is complete, and none of it empty
        (RFC 8446 section 5.1).
        """
        data, at = self._data, self._at
        if len(data) > at and data[at] != _HANDSHAKE:
            raise BadRequest("not a TLS handshake")
        if len(data) < at + 5:
            return False
        size = int.from_bytes(data[at + 3 : at + 5], "big")
        if data[at + 1] != 3:
            raise BadRequest("a TLS record of an unknown version")
        if not 0 < size <= _MAX_RECORD:
            raise BadRequest(f"a TLS record of {size} bytes")
        after = at + 5 + size
        if after > self._limit:
            raise BadRequest(f"a ClientHello of more than {self._limit} bytes")
        if len(data) < after:
            return False
        self._message += data[at + 5 : after]
        self._at = after
        return True

    def _complete(self) -> ClientHello | None:
        """Read the message, if it is all there (its head is four bytes)."""
        message = self._message
        if message[0] != _CLIENT_HELLO:
            raise BadRequest("a TLS handshake that does not begin with a ClientHello")
        if len(message) < 4:
            return None
        size = 4 + int.from_bytes(message[1:4], "big")
        if size + 5 > self._limit:
            raise BadRequest(f"a ClientHello of more than {self._limit} bytes")
        return _parse(bytes(message[4:size])) if len(message) >= size else None

# -*- test-case-name: tests.wire.test_proxyproto -*-
"""
Reads the header of the PROXY protocol, versions 1 and 2: whom a balancer in front speaks for.

The rules are HAProxy's C{doc/proxy-protocol.txt}. It stands before everything else on the
connection. Whether it may be believed is not for this module to say: it must be read only
where nobody but the balancer can connect.

The additional fields of version 2 (TLVs) are skipped.
"""

from __future__ import annotations

import ipaddress
import struct

from attrs import frozen

from wsrelay.errors import BadRequest
from wsrelay.model import Address

__all__ = ["Proxied", "ProxyReader"]

_PREFIX_1 = b"PROXY "
_PREFIX_2 = b"\r\n\r\n\x00\r\nQUIT\n"
# Section 2.1: the longest line, its CRLF included.
_MOST_1 = 107
# Version 2 could be 64 KiB long; real ones have an address and a few short fields.
_MOST_2 = 4096


@frozen
class Proxied:
    """
    What the header says.

    @ivar source: the client; C{None} if the balancer speaks for itself (a health check), or
        does not know.
    @ivar destination: where the client arrived; C{None} likewise.
    """

    source: Address | None = None
    destination: Address | None = None


class ProxyReader:
    """
    Takes bytes as they come.

    @ivar rest: what came behind the header.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self.rest = b""

    def feed(self, data: bytes) -> Proxied | None:
        """
        More bytes.

        @return: what the header says, once it is complete.
        @raise BadRequest: it is none.
        """
        self._data += data
        start = bytes(self._data[:12])
        if start.startswith(_PREFIX_1):
            return self._read1()
        if start == _PREFIX_2:
            return self._read2()
        if not (_PREFIX_1.startswith(start) or _PREFIX_2.startswith(start)):
            raise BadRequest("no PROXY header")
        return None

    def _read1(self) -> Proxied | None:
        end = self._data.find(b"\r\n", 0, _MOST_1)
        if end < 0:
            if len(self._data) >= _MOST_1:
                raise BadRequest("PROXY header without end")
            return None
        line, self.rest = bytes(self._data[:end]), bytes(self._data[end + 2 :])
        return _line(line)

    def _read2(self) -> Proxied | None:
        if len(self._data) < 16:
            return None
        command, family, length = struct.unpack_from("!BBH", self._data, 12)
        if length > _MOST_2:
            raise BadRequest("PROXY header over the limit")
        if len(self._data) < 16 + length:
            return None
        block, self.rest = bytes(self._data[16 : 16 + length]), bytes(self._data[16 + length :])
        if command == 0x20:
            return Proxied()
        if command != 0x21:
            raise BadRequest(f"PROXY header with version and command {command:#04x}")
        return _block(family, block)


def _line(line: bytes) -> Proxied:
    """Version 1: C{PROXY TCP4 192.0.2.7 192.0.2.1 5555 443}."""
    _, family, *fields = line.split(b" ")
    if family == b"UNKNOWN":
        return Proxied()
    if family not in (b"TCP4", b"TCP6") or len(fields) != 4:
        raise BadRequest("PROXY header that is malformed")
    version = 4 if family == b"TCP4" else 6
    source, destination, sourcePort, destinationPort = fields
    return Proxied(
        Address(_host(source, version), _port(sourcePort)),
        Address(_host(destination, version), _port(destinationPort)),
    )


def _host(text: bytes, version: int) -> str:
    try:
        address = ipaddress.ip_address(text.decode("ascii"))
    except ValueError:
        raise BadRequest("PROXY header with an address that is none") from None
    if address.version != version or b"%" in text:
        raise BadRequest("PROXY header with an address of another family")
    return str(address)


def _port(text: bytes) -> int:
    # isdigit() of bytes is ASCII only; no sign, no leading zero, as section 2.1 asks.
    if not text.isdigit() or len(text) > 5 or (text[0] == 0x30 and text != b"0"):
        raise BadRequest("PROXY header with a port that is none")
    port = int(text)
    if port > 65535:
        raise BadRequest("PROXY header with a port that is none")
    return port


def _block(family: int, block: bytes) -> Proxied:
    """Version 2. What is not TCP or a UNIX socket is accepted, and says nothing."""
    if family == 0x11:
        return _numbers(block, 4)
    if family == 0x21:
        return _numbers(block, 16)
    if family == 0x31:
        if len(block) < 216:
            raise BadRequest("PROXY header that is cut short")
        return Proxied(_path(block[:108]), _path(block[108:216]))
    return Proxied()


def _numbers(block: bytes, size: int) -> Proxied:
    if len(block) < 2 * size + 4:
        raise BadRequest("PROXY header that is cut short")
    source, destination = block[:size], block[size : 2 * size]
    sourcePort, destinationPort = struct.unpack_from("!HH", block, 2 * size)
    return Proxied(
        Address(str(ipaddress.ip_address(source)), sourcePort),
        Address(str(ipaddress.ip_address(destination)), destinationPort),
    )


def _path(field: bytes) -> Address:
    name = field.partition(b"\0")[0].decode("utf-8", "surrogateescape")
    return Address(f"unix:{name}")

# -*- test-case-name: tests.wire.test_proxyproto -*-
"""
Reads and writes the header of the PROXY protocol, versions 1 and 2: for whom a relay speaks.

The rules are HAProxy's C{doc/proxy-protocol.txt}. The header stands before everything else on
a connection, TLS included. Whether it may be believed is not for this module to say: it must
be read only where nobody but a balancer can connect.

Of the additional fields of version 2 (TLVs) those are read that say something about the
client; the others are skipped.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import re
import struct
from collections.abc import Iterator
from typing import Final, TypeAlias

from attrs import frozen

from wsrelay.errors import BadRequest
from wsrelay.model import Address, Inbound
from wsrelay.wire.clienthello import hostName

__all__ = ["Proxied", "ProxiedTLS", "ProxyReader", "proxiedOf", "writeProxy1", "writeProxy2"]

_PREFIX_1: Final = b"PROXY "
_PREFIX_2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
# Section 2.1: the longest line, its CRLF included.
_MOST_1: Final = 107
# Version 2 could be 64 KiB long; real ones have an address and a few short fields.
_MOST_2: Final = 4096

# Section 2.2: what the balancer speaks for, and over what.
_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31

# Section 2.2.1 and below: the fields.
_ALPN, _AUTHORITY, _CRC32C, _UNIQUE_ID, _SSL = 0x01, 0x02, 0x03, 0x05, 0x20
_SSL_VERSION, _SSL_CN, _SSL_CIPHER = 0x21, 0x22, 0x23
_BY_TLS, _CERTIFICATE_NOW, _CERTIFICATE_BEFORE = 1, 2, 4

# Section 2.2.5.
_MOST_UNIQUE_ID: Final = 128

_IP: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


@frozen
class ProxiedTLS:
    """
    The client's TLS, where it ended at the balancer.

    @ivar version: as OpenSSL names it, C{TLSv1.3}; empty if it is not known.
    @ivar cipher: likewise, C{TLS_AES_128_GCM_SHA256}.
    @ivar hasCertificate: whether the client has shown a certificate.
    @ivar isVerified: whether it was found good.
    @ivar commonName: the certificate's; empty if there is none.
    """

    version: str = ""
    cipher: str = ""
    hasCertificate: bool = False
    isVerified: bool = False
    commonName: str = ""


@frozen
class Proxied:
    """
    What the header says.

    @ivar source: the client; C{None} if the balancer speaks for itself (a health check), or
        does not know.
    @ivar destination: where the client arrived; C{None} likewise.
    @ivar authority: the host that the client asked for (SNI), lower-case.
    @ivar protocol: what was agreed on by ALPN; each byte one character.
    @ivar tls: the client's TLS; C{None} if it came without, or nobody said.
    @ivar uniqueId: what the balancer calls the connection.
    """

    source: Address | None = None
    destination: Address | None = None
    authority: str | None = None
    protocol: str | None = None
    tls: ProxiedTLS | None = None
    uniqueId: bytes = b""


# ---------------------------------------------------------------------------- reading


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
        end = 16 + length
        if len(self._data) < end:
            return None
        header, self.rest = bytes(self._data[:end]), bytes(self._data[end:])
        if command == _LOCAL:
            return Proxied()
        if command != _PROXY:
            raise BadRequest(f"PROXY header with version and command {command:#04x}")
        return _block(family, header)


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


# The bytes that the addresses of each family take. What is not TCP or a UNIX socket is
# accepted, and says nothing.
_SIZES = {_TCP4: 12, _TCP6: 36, _UNIX: 216}


def _block(family: int, header: bytes) -> Proxied:
    """Version 2."""
    size = _SIZES.get(family)
    if size is None:
        return Proxied()
    if len(header) < 16 + size:
        raise BadRequest("PROXY header that is cut short")
    source, destination = _addresses(family, header[16 : 16 + size])
    return _withFields(source, destination, header, 16 + size)


def _addresses(family: int, block: bytes) -> tuple[Address, Address]:
    if family == _UNIX:
        return _path(block[:108]), _path(block[108:])
    size = len(block) // 2 - 2
    source, destination = block[:size], block[size : 2 * size]
    sourcePort, destinationPort = struct.unpack_from("!HH", block, 2 * size)
    return (
        Address(str(ipaddress.ip_address(source)), sourcePort),
        Address(str(ipaddress.ip_address(destination)), destinationPort),
    )


def _path(field: bytes) -> Address:
    name = field.partition(b"\0")[0].decode("utf-8", "surrogateescape")
    return Address(f"unix:{name}")


# The fields that may stand there once; of others nothing is read.
_ONCE = frozenset((_ALPN, _AUTHORITY, _CRC32C, _UNIQUE_ID, _SSL))
_ONCE |= {_SSL_VERSION, _SSL_CN, _SSL_CIPHER}


def _withFields(source: Address, destination: Address, header: bytes, at: int) -> Proxied:
    places = _fields(header, at)
    if _CRC32C in places:
        _checkSum(header, *places[_CRC32C])
    content = {kind: header[start:end] for kind, (start, end) in places.items()}
    authority, uniqueId = content.get(_AUTHORITY), content.get(_UNIQUE_ID, b"")
    if len(uniqueId) > _MOST_UNIQUE_ID:
        raise BadRequest(f"PROXY header with an id of more than {_MOST_UNIQUE_ID} bytes")
    return Proxied(
        source,
        destination,
        None if authority is None else hostName(authority),
        # Names of protocols are bytes and need not be text (RFC 8701).
        content.get(_ALPN, b"").decode("latin-1") or None,
        _tls(content[_SSL]) if _SSL in content else None,
        uniqueId,
    )


def _fields(data: bytes, at: int) -> dict[int, tuple[int, int]]:
    """Where the content of each field begins and ends, by its type."""
    places: dict[int, tuple[int, int]] = {}
    while at < len(data):
        if at + 3 > len(data):
            raise BadRequest("PROXY header with a field that is cut short")
        kind, size = struct.unpack_from("!BH", data, at)
        at += 3
        if at + size > len(data):
            raise BadRequest("PROXY header with a field that is cut short")
        if kind in _ONCE and kind in places:
            raise BadRequest(f"PROXY header with the field {kind:#04x} twice")
        places[kind] = at, at + size
        at += size
    return places


def _checkSum(header: bytes, start: int, end: int) -> None:
    """Section 2.2.3: of the whole header, with zeroes where the sum stands."""
    blank = header[:start] + bytes(end - start) + header[end:]
    if header[start:end] != struct.pack("!I", _crc32c(blank)):
        raise BadRequest("PROXY header with a wrong checksum")


def _tls(field: bytes) -> ProxiedTLS | None:
    """Section 2.2.6."""
    if len(field) < 5:
        raise BadRequest("PROXY header with a field that is cut short")
    flags, verify = struct.unpack_from("!BI", field)
    content = {kind: field[start:end] for kind, (start, end) in _fields(field, 5).items()}
    if not flags & _BY_TLS:
        return None
    hasCertificate = bool(flags & (_CERTIFICATE_NOW | _CERTIFICATE_BEFORE))
    return ProxiedTLS(
        _text(content.get(_SSL_VERSION, b"")),
        _text(content.get(_SSL_CIPHER, b"")),
        hasCertificate,
        hasCertificate and verify == 0,
        _text(content.get(_SSL_CN, b"")),
    )


def _text(content: bytes) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest("PROXY header with a text that is not UTF-8") from None
    if not text.isprintable():
        raise BadRequest("PROXY header with control characters")
    return text


@functools.cache
def _crcTable() -> tuple[int, ...]:
    table = []
    for entry in range(256):
        for _ in range(8):
            entry = entry >> 1 ^ (0x82F63B78 if entry & 1 else 0)
        table.append(entry)
    return tuple(table)


def _crc32c(data: bytes) -> int:
    """Castagnoli's polynomial, which zlib does not have (RFC 3309)."""
    table, sum = _crcTable(), 0xFFFFFFFF
    for byte in data:
        sum = sum >> 8 ^ table[(sum ^ byte) & 0xFF]
    return sum ^ 0xFFFFFFFF


# ---------------------------------------------------------------------------- writing


def proxiedOf(inbound: Inbound | None) -> Proxied:
    """What is to be said about a client; C{None} is a connection of the relay's own."""
    if inbound is None:
        return Proxied()
    name = inbound.serverName
    if name is None and inbound.request is not None:
        name = _nameOrNone(inbound.request.host)
    # What a client only offers, where TLS passes through, is not yet agreed on.
    agreed = inbound.alpn[0] if len(inbound.alpn) == 1 else None
    return Proxied(inbound.client, inbound.local, name, agreed, _tlsOf(inbound))


def _tlsOf(inbound: Inbound) -> ProxiedTLS | None:
    if not inbound.secure:
        return None
    certificate = inbound.certificate
    if certificate is None:
        return ProxiedTLS()
    name = _commonName(certificate.subject)
    return ProxiedTLS(hasCertificate=True, isVerified=certificate.verified, commonName=name)


# An attribute of a distinguished name up to the comma or plus behind it; and what a backslash
# may stand before (RFC 4514 section 3).
_ATTRIBUTE = re.compile(r"((?:[^\\,+]|\\.)*)[,+]?", re.DOTALL)
_ESCAPED = re.compile(r"\\([0-9A-Fa-f]{2}|.)", re.DOTALL)


def _commonName(subject: str) -> str:
    """The common name in a distinguished name; empty if there is none, or no honest one."""
    for attribute in _ATTRIBUTE.findall(subject):
        if attribute.startswith("CN="):
            name = _ESCAPED.sub(_unescaped, attribute.removeprefix("CN="))
            return name if name.isprintable() else ""
    return ""


def _unescaped(match: re.Match[str]) -> str:
    found = match[1]
    return found if len(found) == 1 else chr(int(found, 16))


def _nameOrNone(host: str) -> str | None:
    try:
        return hostName(host.encode("ascii"))
    except (BadRequest, UnicodeEncodeError):
        return None


def writeProxy1(proxied: Proxied) -> bytes:
    """Version 1; where there is no address to be told, C{UNKNOWN}."""
    pair = _numbers(proxied)
    if pair is None:
        return b"PROXY UNKNOWN\r\n"
    source, destination = pair
    assert proxied.source is not None
    assert proxied.destination is not None
    ports = f"{proxied.source.port} {proxied.destination.port}"
    return f"PROXY TCP{source.version} {source} {destination} {ports}\r\n".encode("ascii")


def writeProxy2(proxied: Proxied) -> bytes:
    """Version 2, with what is known of the client in fields behind the addresses."""
    if proxied.source is None or proxied.destination is None:
        return _header(_LOCAL, _UNSPECIFIED, b"")
    ports = struct.pack("!HH", proxied.source.port, proxied.destination.port)
    pair = _numbers(proxied)
    if pair is not None:
        family = _TCP4 if pair[0].version == 4 else _TCP6
        addresses = pair[0].packed + pair[1].packed + ports
    elif proxied.source.ip is None and proxied.destination.ip is None:
        family = _UNIX
        addresses = _pathField(proxied.source) + _pathField(proxied.destination)
    else:
        # One of each kind: no family can say that.
        return _header(_PROXY, _UNSPECIFIED, b"")
    return _header(_PROXY, family, addresses + b"".join(_written(proxied)))


def _header(command: int, family: int, block: bytes) -> bytes:
    return _PREFIX_2 + struct.pack("!BBH", command, family, len(block)) + block


def _numbers(proxied: Proxied) -> tuple[_IP, _IP] | None:
    """Both addresses, of one family."""
    source = None if proxied.source is None else proxied.source.ip
    destination = None if proxied.destination is None else proxied.destination.ip
    if source is None or destination is None:
        return None
    if source.version != destination.version:
        return _mapped(source), _mapped(destination)
    return source, destination


def _mapped(address: _IP) -> _IP:
    """IPv4 as IPv6 writes it."""
    if address.version == 6:
        return address
    return ipaddress.IPv6Address(bytes(10) + b"\xff\xff" + address.packed)


def _pathField(address: Address) -> bytes:
    return os.fsencode(address.host.removeprefix("unix:"))[:108].ljust(108, b"\0")


def _written(proxied: Proxied) -> Iterator[bytes]:
    if proxied.protocol is not None:
        yield _field(_ALPN, proxied.protocol.encode("latin-1"))
    if proxied.authority is not None:
        yield _field(_AUTHORITY, proxied.authority.encode("ascii"))
    if proxied.uniqueId:
        yield _field(_UNIQUE_ID, proxied.uniqueId)
    if proxied.tls is not None:
        yield _field(_SSL, _tlsField(proxied.tls))


def _field(kind: int, content: bytes) -> bytes:
    return struct.pack("!BH", kind, len(content)) + content


def _tlsField(tls: ProxiedTLS) -> bytes:
    flags = _BY_TLS
    if tls.hasCertificate:
        flags |= _CERTIFICATE_NOW | _CERTIFICATE_BEFORE
    texts = {_SSL_VERSION: tls.version, _SSL_CN: tls.commonName, _SSL_CIPHER: tls.cipher}
    return struct.pack("!BI", flags, not tls.isVerified) + b"".join(
        _field(kind, text.encode("utf-8")) for kind, text in texts.items() if text
    )

# -*- test-case-name: tests.plane -*-
"""
A TLS peer that does what Python's own cannot be asked to: it updates its keys, wants to
negotiate once more, sends tickets late, and leaves without saying so.

It is the system's OpenSSL, called by C{ctypes}: another library than the one that pyOpenSSL
brings along, and mostly of another version.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from functools import cache
from typing import Any

from twisted.trial.unittest import SkipTest

from wsrelay.testing import Peer

__all__ = [
    "FINISHED",
    "KEY_UPDATE",
    "NEW_SESSION_TICKET",
    "TLS12",
    "TLS13",
    "OpenSSLPeer",
]

TLS12, TLS13 = 0x0303, 0x0304

#: Types of handshake messages (RFC 8446 section 4).
NEW_SESSION_TICKET, FINISHED, KEY_UPDATE = 4, 20, 24

# Of OpenSSL's headers.
_MIN_VERSION, _MAX_VERSION = 123, 124
_WANT_READ, _ZERO_RETURN = 2, 6
_HANDSHAKE = 22
_PEM = 1
_ROOM = 65536

_P, _I, _L, _Z = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_size_t
_HEARD = ctypes.CFUNCTYPE(None, _I, _I, _I, _P, _Z, _P, _P)
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "BIO_new": (_P, _P),
    "BIO_read": (_I, _P, _P, _I),
    "BIO_s_mem": (_P,),
    "BIO_write": (_I, _P, _P, _I),
    "ERR_clear_error": (None,),
    "SSL_CTX_ctrl": (_L, _P, _I, _L, _P),
    "SSL_CTX_free": (None, _P),
    "SSL_CTX_new": (_P, _P),
    "SSL_CTX_set_msg_callback": (None, _P, _HEARD),
    "SSL_CTX_use_PrivateKey_file": (_I, _P, ctypes.c_char_p, _I),
    "SSL_CTX_use_certificate_chain_file": (_I, _P, ctypes.c_char_p),
    "SSL_do_handshake": (_I, _P),
    "SSL_free": (None, _P),
    "SSL_get_error": (_I, _P, _I),
    "SSL_key_update": (_I, _P, _I),
    "SSL_new": (_P, _P),
    "SSL_new_session_ticket": (_I, _P),
    "SSL_read": (_I, _P, _P, _I),
    "SSL_renegotiate": (_I, _P),
    "SSL_set_accept_state": (None, _P),
    "SSL_set_bio": (None, _P, _P, _P),
    "SSL_set_connect_state": (None, _P),
    "SSL_shutdown": (_I, _P),
    "SSL_write": (_I, _P, _P, _I),
    "TLS_method": (_P,),
}


@cache
def _library() -> Any:
    name = ctypes.util.find_library("ssl")
    try:
        library = ctypes.CDLL(name or "")
        for each, (result, *arguments) in _FUNCTIONS.items():
            function = getattr(library, each)
            function.restype, function.argtypes = result, arguments
    except (AttributeError, OSError):
        return None
    return library if name else None


class OpenSSLPeer(Peer):
    """
    A peer on plain TCP that makes its own TLS.

    @ivar isGreeted: whether the handshake is over.
    @ivar isClean: whether the other end has said that it sends no more (close_notify).
    @ivar error: whether TLS has failed.
    @ivar messages: the types of the handshake messages that came.
    """

    isGreeted = isClean = error = False

    def __init__(self, version: int, pem: str | None = None) -> None:
        """
        @param version: of TLS, and no other.
        @param pem: a file with a key and its certificate, to be a server.
        """
        super().__init__()
        library = _library()
        if library is None:
            raise SkipTest("the system has no OpenSSL 3 that ctypes finds")
        self._lib = library
        self.messages: list[int] = []
        self._hear = _HEARD(self._note)
        context = library.SSL_CTX_new(library.TLS_method())
        library.SSL_CTX_ctrl(context, _MIN_VERSION, version, None)
        library.SSL_CTX_ctrl(context, _MAX_VERSION, version, None)
        library.SSL_CTX_set_msg_callback(context, self._hear)
        if pem is not None:
            library.SSL_CTX_use_certificate_chain_file(context, pem.encode())
            library.SSL_CTX_use_PrivateKey_file(context, pem.encode(), _PEM)
        self._ssl = library.SSL_new(context)
        library.SSL_CTX_free(context)
        self._in, self._out = (library.BIO_new(library.BIO_s_mem()) for _ in range(2))
        library.SSL_set_bio(self._ssl, self._in, self._out)
        (library.SSL_set_connect_state if pem is None else library.SSL_set_accept_state)(self._ssl)

    def __del__(self) -> None:
        if hasattr(self, "_ssl"):
            self._lib.SSL_free(self._ssl)

    def _note(
        self, isOurs: int, version: int, kind: int, data: int, size: int, *rest: Any
    ) -> None:
        if kind == _HANDSHAKE and not isOurs and size:
            self.messages.append(ctypes.string_at(data, 1)[0])

    # -- what a test asks for; what it makes leaves at once, unless it is taken

    def say(self, data: bytes) -> None:
        """Send."""
        self.encrypt(data)
        self.flush()

    def encrypt(self, data: bytes) -> None:
        """Make records of this, which wait for L{flush} or L{records}."""
        while data:
            self._must(self._lib.SSL_write(self._ssl, data, min(len(data), 16384)))
            data = data[16384:]

    def records(self) -> bytes:
        """What would be sent next; it is not, then."""
        found, room = [], ctypes.create_string_buffer(_ROOM)
        while (size := self._lib.BIO_read(self._out, room, _ROOM)) > 0:
            found.append(room.raw[:size])
        return b"".join(found)

    def flush(self) -> None:
        """Send what waits."""
        if (data := self.records()) and self.reason is None:
            self.transport.write(data)

    def update(self, isRequested: bool) -> None:
        """New keys for what is sent from now on (RFC 8446 section 4.6.3), and for the other."""
        self._must(self._lib.SSL_key_update(self._ssl, int(isRequested)))
        self._must(self._lib.SSL_do_handshake(self._ssl))

    def ticket(self) -> None:
        """One more ticket."""
        self._must(self._lib.SSL_new_session_ticket(self._ssl))
        self._must(self._lib.SSL_do_handshake(self._ssl))

    def renegotiate(self) -> None:
        """Want another handshake (RFC 5246)."""
        self._must(self._lib.SSL_renegotiate(self._ssl))
        self._lib.SSL_do_handshake(self._ssl)
        self.flush()

    def close(self) -> None:
        """Say that nothing more comes; the connection ends when the other has said so too."""
        self._lib.ERR_clear_error()
        self._lib.SSL_shutdown(self._ssl)
        self.flush()

    def cut(self) -> None:
        """End the connection without a word."""
        self.transport.loseConnection()

    def _must(self, result: int) -> None:
        assert result > 0, "OpenSSL has refused"

    # -- what Twisted calls

    def connectionMade(self) -> None:
        """Shake hands."""
        self._turn()

    def dataReceived(self, data: bytes) -> None:
        """Decrypt it."""
        self._lib.BIO_write(self._in, data, len(data))
        self._turn()

    def _turn(self) -> None:
        self._lib.ERR_clear_error()
        if not self.isGreeted:
            result = self._lib.SSL_do_handshake(self._ssl)
            self.isGreeted = result == 1
            self._judge(result)
        if self.isGreeted and not self.isClean and not self.error:
            self._read()
        self.flush()

    def _read(self) -> None:
        room = ctypes.create_string_buffer(_ROOM)
        while (size := self._lib.SSL_read(self._ssl, room, _ROOM)) > 0:
            self.heard += room.raw[:size]
        self._judge(size)

    def _judge(self, result: int) -> None:
        if result > 0:
            return
        code = self._lib.SSL_get_error(self._ssl, result)
        if code == _ZERO_RETURN:
            self.isClean = True
            self._lib.SSL_shutdown(self._ssl)
            self.flush()
            self.transport.loseConnection()
        elif code != _WANT_READ:
            self.error = True
            self.flush()
            self.transport.loseConnection()

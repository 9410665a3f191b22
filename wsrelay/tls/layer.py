# -*- test-case-name: tests.tls.test_layer -*-
"""
TLS between a transport and its protocol: the server's side, from the ClientHello to the end.

What Twisted has for this (C{TLSMemoryBIOProtocol}) serves any protocol on any transport. A
L{TLSLayer} serves one protocol on one transport, both of which are there already; it makes
nothing for a connection that it can do without, and asks OpenSSL without having it raise. Seen
from above it behaves as Twisted's does, but for this: nothing is written to it before the
handshake is complete, and what is written goes out at once.

It has no timer, and judges nobody: see L{wsrelay.l4.securing}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from OpenSSL._util import ffi, lib
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["TLSLayer", "reasonOf"]

_SIZE = 65536
# Everything passes through it and is copied out at once; there is one thread.
_buffer = ffi.new("char[]", _SIZE)

# To whoever has left out the "s" of https.
_PLAIN_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\n"
    b"Content-Type: text/plain\r\n"
    b"Content-Length: 29\r\n"
    b"Connection: close\r\n\r\n"
    b"This port speaks HTTPS only.\n"
)

_WANT_READ = lib.SSL_ERROR_WANT_READ
_ZERO_RETURN = lib.SSL_ERROR_ZERO_RETURN


@implementer(IProtocol, IHalfCloseableProtocol)
class TLSLayer:
    """
    To the transport it is the protocol, to the protocol the transport.

    @ivar transport: below; it carries what is encrypted.
    @ivar protocol: above.
    """

    __slots__ = (
        *("_isClosing", "_isRefused", "_reason", "_session", "_settled"),
        *("protocol", "transport"),
    )

    def __init__(
        self,
        transport: Any,
        protocol: Any,
        session: SSL.Connection,
        settled: Callable[[Exception | None], None],
    ) -> None:
        """
        @param session: between two memory BIOs, in accept state.
        @param settled: called once, with C{None} when the handshake is complete, or why it
            never will be. Then the connection is being closed; C{protocol} hears of its end.
        """
        self.transport = transport
        self.protocol = protocol
        self._session: Any = session
        self._settled: Callable[[Exception | None], None] | None = settled
        self._reason: Failure | None = None
        self._isClosing = self._isRefused = False

    def begin(self, early: bytes = b"") -> None:
        """Take the protocol's place; C{early} is what it has read and not used."""
        self.transport.protocol = self
        if early:
            self.dataReceived(early)

    def __getattr__(self, name: str) -> Any:
        # Addresses, options: what has nothing to do with TLS.
        return getattr(self.transport, name)

    # -- what the transport calls

    def makeConnection(self, transport: Any) -> None:
        """It is there already."""

    def dataReceived(self, data: bytes) -> None:
        """Bytes came, encrypted."""
        session = self._session
        if session is None:
            return
        lib.BIO_write(session._into_ssl, data, len(data))
        if self._settled is None or self._shake(session, self._settled):
            self._read()

    def _shake(self, session: Any, settled: Callable[[Exception | None], None]) -> bool:
        """Go on with the handshake. @return: whether it is complete."""
        lib.ERR_clear_error()
        result = lib.SSL_do_handshake(session._ssl)
        if result == 1:
            # What OpenSSL has still to say (tickets) goes with the first answer, or else with
            # the end of what is read now.
            self._settled = None
            settled(None)
            return True
        if lib.SSL_get_error(session._ssl, result) == _WANT_READ:
            self._flush(session)
            return False
        error = _errorOf(session, result)
        self._settled = None
        if reasonOf(error) == "http request":
            self.transport.write(_PLAIN_HTTP)
        else:
            # The alert, which tells the client why.
            self._flush(session)
        self._leave(Failure(error))
        self._isRefused = True
        settled(error)
        return False

    def _read(self) -> None:
        """Hand on what can be decrypted."""
        while (session := self._session) is not None:
            lib.ERR_clear_error()
            size = lib.SSL_read(session._ssl, _buffer, _SIZE)
            if size <= 0:
                self._readNothing(session, lib.SSL_get_error(session._ssl, size), size)
                return
            self.protocol.dataReceived(ffi.buffer(_buffer, size)[:])

    def _readNothing(self, session: Any, kind: int, result: int) -> None:
        if kind == _WANT_READ:
            # It may have answered something by itself (KeyUpdate).
            self._flush(session)
        elif kind == _ZERO_RETURN:
            # There is no half-close: answer, and that is the end.
            lib.SSL_shutdown(session._ssl)
            self._flush(session)
            self._leave(None)
        else:
            self._fail(session, result)

    def _fail(self, session: Any, result: int) -> None:
        why = _errorOf(session, result)
        self._flush(session)
        self._leave(Failure(ConnectionLost(f"TLS failed: {why}")))

    def _flush(self, session: Any) -> None:
        """Send what OpenSSL has to say."""
        while (size := lib.BIO_read(session._from_ssl, _buffer, _SIZE)) > 0:
            self.transport.write(ffi.buffer(_buffer, size)[:])
            if size < _SIZE:
                return

    def _leave(self, reason: Failure | None) -> None:
        """TLS is over; the transport closes after what was written."""
        self._session = None
        self._reason = reason
        # Nobody writes any more; a transport waits for those who may.
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def readConnectionLost(self) -> None:
        """
        The peer's FIN. Without an end of TLS before it, what was said last may be missing:
        anybody could have sent it.
        """
        if self._session is None:
            return
        if self._isClosing:
            self._leave(None)
        else:
            self._leave(Failure(ConnectionLost("closed without the end of TLS")))

    def writeConnectionLost(self) -> None:
        """Never asked for."""

    def connectionLost(self, reason: Failure) -> None:
        """The transport is gone."""
        self._session = None
        protocol, self.protocol = self.protocol, None
        settled, self._settled = self._settled, None
        reason = self._reason or reason
        if settled is not None:
            error: Any = reason.value
            settled(error)
        if protocol is not None:
            protocol.connectionLost(reason)

    # -- what the protocol calls

    def getHandle(self) -> Any:
        """The session; C{None} when it is over, or was given away."""
        return self._session

    def getPeerCertificate(self) -> Any:
        """Of the client; where there is this method, there is TLS."""
        session = self._session
        return None if session is None else session.get_peer_certificate()

    def write(self, data: bytes) -> None:
        """Send."""
        session = self._session
        if session is None or self._isClosing:
            return
        ssl, size, done = session._ssl, len(data), 0
        source = ffi.from_buffer(data)
        while done < size:
            lib.ERR_clear_error()
            # A record at most is taken at a time; the BIO takes any number of them.
            sent = lib.SSL_write(ssl, source + done, size - done)
            if sent <= 0:
                self._fail(session, sent)
                return
            done += sent
        self._flush(session)

    def writeSequence(self, data: Any) -> None:
        """Send all of it."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """
        Close after all that was written: the peer hears of it at once, and the connection is
        over when it has answered, which needs reading and may take for ever.
        """
        session = self._session
        if session is None:
            self.transport.loseConnection()
        elif self._settled is not None:
            self.abortConnection()
        elif not self._isClosing:
            self._isClosing = True
            lib.ERR_clear_error()
            lib.SSL_shutdown(session._ssl)
            self._flush(session)

    loseWriteConnection = stopProducing = loseConnection

    def abortConnection(self) -> None:
        """Close now; what was not sent is lost (RST)."""
        self._session = self._settled = None
        # After a handshake that failed it is closing, and the client shall hear why.
        if not self._isRefused:
            self.transport.abortConnection()

    def pauseProducing(self) -> None:
        """Read nothing for the time being."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again."""
        self.transport.resumeProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Nothing waits here, and so whoever writes is the transport's business."""
        self.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """It writes no more."""
        self.transport.unregisterProducer()

    # -- what an engine calls that goes on with the session by itself

    @property
    def isOpen(self) -> bool:
        """Whether it could be given away: the handshake is complete, and no end is in sight."""
        return self._session is not None and self._settled is None and not self._isClosing

    def giveAway(self) -> tuple[SSL.Connection, bytes]:
        """
        Have nothing more to do with the session.

        @return: it, and what it had decrypted or could decrypt: both BIOs are empty, and bytes of
            a record that is not whole stand in a buffer of OpenSSL's.
        """
        session, found = self._session, []
        while True:
            lib.ERR_clear_error()
            size = lib.SSL_read(session._ssl, _buffer, _SIZE)
            if size <= 0:
                break
            found.append(ffi.buffer(_buffer, size)[:])
        # What is wrong, if anything, the next one will meet again.
        self._flush(session)
        self._session = None
        return session, b"".join(found)


def reasonOf(error: Exception) -> str:
    """OpenSSL's own word for what went wrong last; empty if it was not OpenSSL."""
    queue = error.args[0] if error.args else None
    if isinstance(error, SSL.Error) and isinstance(queue, list) and queue:
        return str(queue[-1][-1])
    return ""


def _errorOf(session: Any, result: int) -> Exception:
    """What pyOpenSSL has to say about a call that has failed."""
    try:
        session._raise_ssl_error(session._ssl, result)
    except Exception as error:
        return error
    return SSL.Error([])

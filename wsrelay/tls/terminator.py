# -*- test-case-name: tests.tls.test_terminator -*-
"""
Where TLS ends: the certificates of one listener as they are now, and its connections.

Files that have changed are read again while everything goes on: the next handshake has the new
certificate, no connection notices. What cannot be read is told once, and what there was stays.

B{Sessions.} A ticket opens under the context that has issued it and no other, and so the context
that all handshakes begin in is made anew twice a day. Where clients show certificates, what one
has shown to a certificate of ours is not good for the next (CVE-2025-23419); but OpenSSL resumes
before it asks which name is wanted. So with several of them nothing is resumed there.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from attrs import evolve
from OpenSSL import SSL
from OpenSSL._util import ffi, lib
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from zope.interface import implementer

from wsrelay.tls.certificates import Certificate, Choice, Unusable
from wsrelay.tls.contexts import Terms, makeContext
from wsrelay.tls.watch import FileWatch

__all__ = ["Terminator"]

_log = Logger()

# How often files are looked at, in seconds.
_LOOK = 3.0
# How long a ticket may be good, in seconds: whoever steals its key reads no more than that.
_ROTATE = 12 * 3600.0
# Pairs of names that are remembered; clients make them up.
_MOST_PAIRS = 1000

_UNRECOGNIZED_NAME = 112  # RFC 6066 section 3


class _Generation:
    """What was made of the files at one time; connections may live longer than that."""

    def __init__(self, terms: Terms, name: str, select: Any) -> None:
        self._select = select
        self.certificates = [source.load() for source in terms.certificates]
        if terms.identifies and len(self.certificates) > 1:
            terms = evolve(terms, sessions=False)
        self._terms = terms
        # Of the listener, and its rules for clients.
        rules = terms.clientCertificates, terms.clientCA, terms.clientDepth
        self._sessionId = sha256("\0".join(map(str, (name, *rules))).encode()).digest()
        self.choice = Choice(self.certificates, terms.strictNames)
        # Nobody need be asked where there is nothing to choose.
        self.mayDiffer = len(self.certificates) > 1 or terms.strictNames
        self._call: Any = None
        if self.mayDiffer:
            # pyOpenSSL's own way cannot say which alert, and prints what goes wrong.
            self._call = ffi.callback("int (*)(SSL *, int *, void *)", self._named)
        self.contexts = [self._context(index) for index in range(len(self.certificates))]

    def rotate(self) -> None:
        """Make the first context anew: it is the one that has the keys of tickets."""
        self.contexts[0] = self._context(0)

    def _context(self, index: int) -> SSL.Context:
        certificate = self.certificates[index]
        context = makeContext(self._terms, certificate, self._sessionId, self._select)
        # All handshakes begin in the first. The others hold on to the call: whoever has come to
        # them may come back with a second ClientHello, after the files have changed.
        context._tlsext_servername_callback = self._call
        if self._call is not None and not index:
            lib.SSL_CTX_set_tlsext_servername_callback(context._context, self._call)
        return context

    def _named(self, ssl: Any, alert: Any, _: Any) -> int:
        connection = SSL.Connection._reverse_mapping[ssl]
        raw = connection.get_servername()
        name = raw.decode("ascii", "replace").lower().removesuffix(".") if raw else None
        index = self.choice.find(name)
        if index is None:
            connection.set_app_data(f"there is no certificate for {name or 'no name'}")
            alert[0] = _UNRECOGNIZED_NAME
            return int(lib.SSL_TLSEXT_ERR_ALERT_FATAL)
        if index:
            connection.set_context(self.contexts[index])
        return int(lib.SSL_TLSEXT_ERR_OK)


@implementer(IOpenSSLServerConnectionCreator)
class Terminator:
    """
    Ends the TLS of one listener.

    @ivar terms: on which.
    @ivar protocols: what is agreed on by ALPN, the best liked first. A client that offers
        none of them is refused (alert 120, RFC 7301 section 3.2); where there are none, what
        it offers is passed over.
    """

    def __init__(self, name: str, terms: Terms) -> None:
        """
        @param name: the listener's.
        @raise Unusable: a file cannot be read, or OpenSSL does not take something.
        """
        self.terms = terms
        self.protocols = tuple(each.encode("latin-1") for each in terms.alpn or ())
        self._name = name
        self._watch = FileWatch(terms.paths, self._changed)
        self._now = _Generation(terms, name, self._select)
        self._pairs: dict[tuple[str | None, str], bool] = {}
        self._rotation: Any = None

    def speak(self, protocols: Sequence[bytes]) -> None:
        """Agree on these by ALPN, unless the terms say something else."""
        if self.terms.alpn is None:
            self.protocols = tuple(protocols)

    # -- connections

    def connection(self) -> SSL.Connection:
        """The server's side of a new connection, between two memory BIOs."""
        connection = SSL.Connection(self._now.contexts[0], None)
        connection.set_accept_state()
        return connection

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """See L{IOpenSSLServerConnectionCreator}: for factories that are no legs'."""
        return self.connection()

    def _select(self, connection: SSL.Connection, offered: Sequence[bytes]) -> Any:
        for protocol in self.protocols:
            if protocol in offered:
                return protocol
        if self.protocols:
            # Whatever is raised becomes the alert, and is raised again by the handshake.
            raise SSL.Error([("SSL routines", "", "no application protocol")])
        return SSL.NO_OVERLAPPING_PROTOCOLS

    # -- names

    def certificateFor(self, serverName: str | None) -> Certificate | None:
        """
        The certificate that a client gets which asks for this name.

        @param serverName: lower-case; C{None} if it asks for none.
        @return: C{None} if it is refused.
        """
        index = self._now.choice.find(serverName)
        return None if index is None else self._now.certificates[index]

    def isMisdirected(self, serverName: str | None, host: str) -> bool:
        """
        Whether a request is for somebody else than its connection (RFC 9110 section 15.5.20):
        another certificate would have been chosen for it.

        @param serverName: what the client asked for in the handshake, lower-case.
        @param host: its C{Host}, lower-case, without port.
        """
        now = self._now
        if host == serverName or not host or not now.mayDiffer:
            return False
        pair = serverName, host
        known = self._pairs.get(pair)
        if known is None:
            if len(self._pairs) >= _MOST_PAIRS:
                self._pairs.clear()
            find = now.choice.find
            known = self._pairs[pair] = find(serverName) != find(host.removesuffix("."))
        return known

    # -- files

    def reload(self) -> None:
        """
        Read all files again.

        @raise Unusable: something is wrong with them; then nothing has changed.
        """
        self._now = _Generation(self.terms, self._name, self._select)
        self._pairs.clear()

    def start(self, clock: Any) -> None:
        """Watch the files from now on. C{clock}: an L{IReactorTime} provider."""
        self._watch.start(clock, _LOOK)
        self._rotation = clock.callLater(_ROTATE, self._rotate, clock)

    def stop(self) -> None:
        """Watch no longer."""
        self._watch.stop()
        rotation, self._rotation = self._rotation, None
        if rotation is not None:
            rotation.cancel()

    def _changed(self) -> None:
        try:
            self.reload()
        except Unusable as error:
            _log.error(
                "listener {listener}: the certificates stay as they were: {detail}",
                listener=self._name,
                detail=str(error),
            )
        else:
            _log.info("listener {listener}: new certificates", listener=self._name)

    def _rotate(self, clock: Any) -> None:
        self._rotation = clock.callLater(_ROTATE, self._rotate, clock)
        self._now.rotate()

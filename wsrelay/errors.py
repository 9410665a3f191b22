# -*- test-case-name: tests.test_errors -*-
"""
Everything that can go wrong, as one tree.

Each error knows whose fault it was, which HTTP status answers it, and which
WebSocket close code ends a live session because of it::

    RelayError
    |-- ConfigurationError          the operator's; nothing has started
    |-- PluginFault                 a plugin raised or answered nonsense   500 / 1011
    |-- ClientFault                 the client's                           400 / 1002
    |   |-- BadRequest              malformed head or body                 400
    |   |   `-- BadHandshake        a WebSocket upgrade that is none       400 or 426
    |   |-- MethodNotAllowed        a method that no resource here has      405
    |   |-- RequestTimeout          the head or body came too slowly       408
    |   |-- ContentTooLarge         the body is over the limit             413
    |   |-- HeadTooLarge            the head is over the limit             431
    |   |-- ExpectationFailed       an C{Expect} we do not know            417
    |   |-- Misdirected             a Host that TLS was not meant for      421
    |   |-- NotImplementedByRelay   a method or coding we do not relay     501
    |   `-- VersionNotSupported     neither HTTP/1.0 nor HTTP/1.1          505
    |-- Refused                     a policy said no                       403
    |-- Limited                     a limit of the listener's              429 or 503
    |-- Overloaded                  no descriptors are left                503 / 1013
    |-- NoRoute                     no policy wanted this client           404
    |-- BackendFault                a backend's: it refused, it vanished   502 / 1011
    |   |-- NoBackend               the pool has none that is up           503
    |   |-- BackendTimeout          it did not connect or answer in time   504
    |   `-- BadResponse             it answered, but not in HTTP           502
    `-- Violation                   a live WebSocket broke RFC 6455        - / 1002, 1007-1009

C{detail} is for the log. The peer is told the status or close code and its
standard phrase, nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "BackendFault",
    "BackendTimeout",
    "BadHandshake",
    "BadRequest",
    "BadResponse",
    "ClientFault",
    "ConfigurationError",
    "ContentTooLarge",
    "ExpectationFailed",
    "HeadTooLarge",
    "Limited",
    "MethodNotAllowed",
    "Misdirected",
    "NoBackend",
    "NoRoute",
    "NotImplementedByRelay",
    "Overloaded",
    "PluginFault",
    "Refused",
    "RelayError",
    "RequestTimeout",
    "VersionNotSupported",
    "Violation",
]


class RelayError(Exception):
    """
    The root of the tree.

    @ivar detail: what happened, for the log.
    @ivar status: the HTTP status that answers it, before anything was answered.
    @ivar code: the WebSocket close code that ends a session because of it.
    """

    status: int = 500
    code: int = 1011
    party: str = "relay"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Header fields that the answer to this error must carry."""
        return ()


class ConfigurationError(RelayError):
    """
    The configuration is wrong; every problem that was found is in it.

    @ivar problems: one sentence each: where, what was found, what is expected.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class PluginFault(RelayError):
    """
    A plugin raised, or answered with something that means nothing.

    @ivar plugin: the plugin's name as the configuration writes it.
    """

    party = "plugin"

    def __init__(self, plugin: str, detail: str) -> None:
        super().__init__(f"{plugin}: {detail}")
        self.plugin = plugin


class ClientFault(RelayError):
    """The client did something it must not."""

    status = 400
    code = 1002
    party = "client"


class BadRequest(ClientFault):
    """The request head or body is malformed, or means two things (RFC 9112)."""


class BadHandshake(BadRequest):
    """
    A WebSocket upgrade that RFC 6455 section 4.2.1 does not allow.

    Status 426 when only the version is wrong (section 4.4), else 400.
    """

    def __init__(self, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.status = status

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """With 426: which protocol and version would be right (RFC 9110 15.5.22)."""
        if self.status == 426:
            return ((b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", b"13"))
        return ()


class MethodNotAllowed(ClientFault):
    """C{CONNECT}: the relay is no forward proxy (RFC 9110 sections 9.3.6 and 15.5.6)."""

    status = 405

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """What may be asked for instead."""
        return ((b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),)


class RequestTimeout(ClientFault):
    """The client's head or body did not arrive in time."""

    status = 408


class Misdirected(ClientFault):
    """
    The client asked for another host than the one that it has connected to, and trusts the
    certificate of (RFC 9110 section 15.5.20).
    """

    status = 421


class ContentTooLarge(ClientFault):
    """The request body is over the limit."""

    status = 413
    code = 1009


class ExpectationFailed(ClientFault):
    """An C{Expect} other than C{100-continue} (RFC 9110 section 10.1.1)."""

    status = 417


class HeadTooLarge(ClientFault):
    """The request head is over the limit in bytes or in fields."""

    status = 431


class NotImplementedByRelay(ClientFault):
    """A method or transfer coding that the relay does not forward."""

    status = 501


class VersionNotSupported(ClientFault):
    """The request is neither HTTP/1.0 nor HTTP/1.1."""

    status = 505


class Refused(RelayError):
    """A routing policy refused this client."""

    status = 403
    code = 1008


class Limited(RelayError):
    """
    Too many come, or too fast: status 429 when it is this client, 503 when it is everybody.

    @ivar retryAfter: when it may be worth another try, in seconds.
    """

    code = 1008

    def __init__(self, detail: str, status: int, retryAfter: int) -> None:
        super().__init__(detail)
        self.status = status
        self.retryAfter = retryAfter
        self.party = "client" if status == 429 else "relay"

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """When to come again (RFC 6585 section 4, RFC 9110 section 15.6.4)."""
        return ((b"Retry-After", b"%d" % self.retryAfter),)


class Overloaded(RelayError):
    """The process has no descriptor left for a backend's connection."""

    status = 503
    code = 1013


class NoRoute(RelayError):
    """No routing policy wanted this client."""

    status = 404


class BackendFault(RelayError):
    """A backend did not do its part."""

    status = 502
    party = "backend"


class NoBackend(BackendFault):
    """The pool has no backend that is up. When all refused, it is as the last one did."""

    status = 503
    code = 1013


class BackendTimeout(BackendFault):
    """A backend did not connect, or did not answer, in time."""

    status = 504


class BadResponse(BackendFault):
    """A backend answered with something that is not HTTP, or not what was asked."""


class Violation(RelayError):
    """
    A peer broke RFC 6455 on a live session.

    @ivar code: 1002 protocol error, 1007 not UTF-8 or not inflatable, 1008 too many pings,
        1009 too big.
    """

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code

# -*- test-case-name: tests.filters -*-
"""
What the tests of filters share: exchanges as a filter gets them, from raw heads; services that
it asks; and a whole relay, built from a configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer

from tests.loopback import Loopback, Server
from wsrelay.answers import whenAnswered
from wsrelay.config.load import loads
from wsrelay.interfaces import IRelay
from wsrelay.l7.fields import outboundRequest
from wsrelay.model import Address, Forward, Inbound, OutboundRequest, OutboundResponse, Respond
from wsrelay.relay import RelayService
from wsrelay.wire.handshake import wantsUpgrade
from wsrelay.wire.heads import parseRequest

__all__ = ["HANDSHAKE", "Exchange", "FilterTestCase", "GivenRelay", "Service", "exchangeOf"]

#: A WebSocket handshake without the empty line; fields may follow.
HANDSHAKE = (
    b"GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@define
class Exchange:
    """An exchange, as filters see it."""

    id: str
    inbound: Inbound
    route: Forward
    outbound: OutboundRequest
    isUpgrade: bool
    response: OutboundResponse | None = None

    def told(self, name: str) -> list[str]:
        """What the backend would get in these fields."""
        return self.outbound.headers.getAll(name)


def exchangeOf(
    *fields: bytes,
    target: bytes = b"/",
    method: bytes = b"GET",
    host: bytes = b"a.example",
    client: str = "192.0.2.1",
    secure: bool = False,
    upgrade: bool = False,
) -> Exchange:
    """
    The exchange of a request.

    @param fields: lines of its head.
    """
    lines = [method + b" " + target + b" HTTP/1.1", b"Host: " + host]
    if upgrade:
        lines += HANDSHAKE.rstrip().split(b"\r\n")[2:]
    request = parseRequest(b"\r\n".join([*lines, *fields, b"", b""]))
    address = Address(client, 0 if client.startswith("unix:") else 4711)
    local = Address("192.0.2.9", 80)
    inbound = Inbound("1", "public", address, local, secure=secure, request=request)
    isUpgrade = wantsUpgrade(request)
    outbound = outboundRequest(inbound, isUpgrade, "backend")
    return Exchange("1", inbound, Forward("pool"), outbound, isUpgrade)


@implementer(IRelay)
class GivenRelay:
    """
    What plugins are given: the test's reactor, and a clock that only the test advances.

    @ivar purged: the URLs that were.
    """

    def __init__(self) -> None:
        self.reactor: Any = reactor
        self.clock = Clock()
        self.clock.advance(1000)
        self.directory: Path | None = None
        self.purged: list[str] = []

    def observe(self, event: Any) -> None:
        """Nobody listens."""

    def purge(self, url: str) -> int:
        """Nothing is kept."""
        self.purged.append(url)
        return 0


class Service(Resource):
    """
    An HTTP service that answers everything.

    @ivar asked: the requests that came: method, target and header fields.
    @ivar held: those that are not answered, if C{isHolding}.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.status = 200
        self.fields: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.isHolding = False
        self.asked: list[Any] = []
        self.held: list[Any] = []

    def render(self, request: Any) -> Any:
        """Answer as it was told to."""
        self.asked.append(request)
        if self.isHolding:
            self.held.append(request)
            request.notifyFinish().addErrback(lambda _: None)
            return NOT_DONE_YET
        return self._answer(request)

    def _answer(self, request: Any) -> bytes:
        request.setResponseCode(self.status)
        for name, value in self.fields:
            request.responseHeaders.addRawHeader(name, value)
        return self.body

    def release(self) -> None:
        """Answer who waits."""
        self.isHolding = False
        for request in self.held:
            request.write(self._answer(request))
            request.finish()
        self.held = []

    def field(self, name: str, number: int = -1) -> list[str]:
        """What one request said."""
        return list(self.asked[number].requestHeaders.getRawHeaders(name) or [])


class FilterTestCase(Loopback):
    """Filters with real services, and inside a real relay."""

    def setUp(self) -> None:
        """Begin with nothing open."""
        super().setUp()
        self.given = GivenRelay()
        self.service = Service()

    async def serve(self, tls: Any = None) -> int:
        """Run the service; gives its port."""
        site = Site(self.service)
        channels: list[Any] = []
        build = site.buildProtocol

        def remember(address: Any) -> Any:
            channels.append(build(address))
            return channels[-1]

        site.buildProtocol = remember  # type: ignore[method-assign]
        self.addCleanup(self._hangUpAll, channels)
        self.channels = channels
        return await self.listen(site, tls)

    async def _hangUpAll(self, channels: list[Any]) -> None:
        for channel in channels:
            # What stands in for it until ALPN has chosen its protocol, see twisted.web.http.
            transport = channel._channel.transport
            getattr(transport, "transport", transport).abortConnection()
        await self.turns()

    async def answerTo(self, made: Any, exchange: Exchange) -> Respond | None:
        """What a filter answers to a request."""
        answered: Deferred[Respond | None] = Deferred()
        whenAnswered(made.requestReceived(exchange), answered.callback, answered.errback)
        return await answered

    async def statusOf(self, made: Any, *fields: bytes, **how: Any) -> int:
        """The status of that, 0 for none."""
        respond = await self.answerTo(made, exchangeOf(*fields, **how))
        return respond.status if respond is not None else 0

    # -- a whole relay

    async def relay(self, plugin: str, forwarder: str = "http") -> tuple[int, Server]:
        """
        Run a relay whose route, or listener, uses C{[plugin.door]}.

        @param plugin: what stands in that table.
        @return: its port, and its backend.
        """
        backend = Server()
        port = await self.listen(backend)
        scheme = "ws" if forwarder == "http" else "tcp"
        filters = 'filters = ["door"]' if 'apply = "listeners"' not in plugin else ""
        text = f"""
[listener.public]
endpoint = "tcp:0:interface=127.0.0.1"
forwarder = "{forwarder}"
[[route]]
pool = "p"
{filters}
[pool.p]
backends = "{scheme}://127.0.0.1:{port}"
[plugin.door]
{plugin}
""".replace("tcp://", "tcp:")
        service = self.started(text)
        assert service.built is not None
        asker = getattr(service.built.plugins["door"], "asker", None)
        if asker is not None:
            self.addCleanup(asker.close)
        return self.portOf(service), backend

    def started(self, text: str) -> RelayService:
        """Run a relay of this configuration."""
        service = RelayService(loads(text), reactor)
        service.privilegedStartService()
        service.startService()
        self.addCleanup(self._stopRelay, service)
        return service

    def portOf(self, service: RelayService) -> int:
        """The port of its first listener."""
        assert service.built is not None
        listening: Any = service.built.listeners[0].ports[0]
        return int(listening.getHost().port)

    async def _stopRelay(self, service: RelayService) -> None:
        service.hurry()
        await service.stopService()
        await self.turns()

    async def refusedRaw(
        self, port: int, request: bytes, until: Callable[[bytes], bool] | None = None
    ) -> bytes:
        """Everything that the client hears."""
        client = await self.dial(port)
        client.send(request)
        return await client.when(until or (lambda got: b"\r\n\r\n" in got))

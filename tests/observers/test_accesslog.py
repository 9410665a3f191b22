# -*- test-case-name: tests.observers.test_accesslog -*-
"""
One line about everything that ended.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings, strategies as st
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from wsrelay.interfaces import IObserver
from wsrelay.model import (
    Address,
    Closed,
    CloseReason,
    Counts,
    Direction,
    Headers,
    Inbound,
    Kind,
    Opened,
    Party,
    Phase,
    Request,
)
from wsrelay.observers.accesslog import AccessLog

CLIENT, LOCAL = Address("10.0.0.1", 5000), Address("10.0.0.2", 80)
REASON = CloseReason(Party.CLIENT, Phase.RELAY, "closed its connection")
COUNTS = {Direction.TO_BACKEND: Counts(10, 3, 2), Direction.TO_CLIENT: Counts(20, 5, 4)}


def inbound(target: str | None = None, serverName: str | None = None) -> Inbound:
    """A client, at layer 7 if it asked for something."""
    request = None
    if target is not None:
        request = Request("GET", target, Headers([(b"Host", b"Chat.example.org:80")]))
    return Inbound("1f", "public", CLIENT, LOCAL, serverName=serverName, request=request)


def closed(kind: Kind, client: Inbound, reason: CloseReason = REASON, **more: Any) -> Closed:
    """The end of something."""
    return Closed("1f", 1000.0, kind, client, reason, duration=1.23456, counts=COUNTS, **more)


def logged(event: Any) -> list[Any]:
    """What the access log makes of an event."""
    with capturedLogs() as captured:
        AccessLog().observe(event)
    return list(captured)


class AccessLogTests(SynchronousTestCase):
    """The lines."""

    def assertLine(self, event: Any, line: str) -> dict[str, Any]:
        """This is the line; its fields are returned."""
        (entry,) = logged(event)
        self.assertEqual(formatEvent(entry), line)
        self.assertEqual(entry["log_namespace"], "wsrelay.access")
        # Trial's own observer, of the old kind, has left its keys in the event.
        legacy = ("format", "isError", "message", "system", "time")
        return {
            key: value
            for key, value in entry.items()
            if not key.startswith("log_") and key not in legacy
        }

    def test_interface(self) -> None:
        """It is an observer like a plugin's."""
        self.assertTrue(verifyObject(IObserver, AccessLog()))

    def test_directly(self) -> None:
        """An observer of its own hears the same line, and nobody else does."""
        event = closed(Kind.EXCHANGE, inbound("/x"))
        (entry,) = logged(event)
        heard: list[Any] = []
        log = AccessLog()
        log.observer = heard.append  # type: ignore[assignment]  # it is callable
        with capturedLogs() as captured:
            log.observe(event)
        self.assertEqual(list(captured), [])
        self.assertEqual(formatEvent(heard[0]), formatEvent(entry))
        self.assertEqual(heard[0]["log_namespace"], "wsrelay.access")
        self.assertIs(heard[0]["log_level"], LogLevel.info)

    def test_onlyEnds(self) -> None:
        """Nothing is said about what has only begun."""
        self.assertEqual(logged(Opened("1", 0.0, Kind.TUNNEL, inbound())), [])

    def test_tunnel(self) -> None:
        """A tunnel: from where to where, how much, who ended it."""
        event = closed(
            Kind.TUNNEL, inbound(), route="db", pool="databases", backend="tcp:10.0.0.3:5432"
        )
        fields = self.assertLine(
            event,
            "1f 10.0.0.1:5000 > public > db > tcp:10.0.0.3:5432 tunnel 10+20 bytes 1.235 s; "
            "client/relay: closed its connection",
        )
        self.assertEqual(
            fields,
            {
                "id": "1f",
                "kind": "tunnel",
                "client": "10.0.0.1:5000",
                "listener": "public",
                "route": "db",
                "pool": "databases",
                "backend": "tcp:10.0.0.3:5432",
                "duration": 1.235,
                "party": "client",
                "phase": "relay",
                "detail": "closed its connection",
                "bytesToBackend": 10,
                "bytesToClient": 20,
            },
        )

    def test_serverName(self) -> None:
        """The name that a client asked for in TLS is told where there was one."""
        (entry,) = logged(closed(Kind.TUNNEL, inbound(serverName="chat.example.org")))
        self.assertEqual(entry["serverName"], "chat.example.org")

    def test_exchange(self) -> None:
        """An exchange: what was asked, without the tokens in it, and the status."""
        event = closed(Kind.EXCHANGE, inbound("/rooms?token=hidden&page=2"), status=404)
        fields = self.assertLine(
            event,
            '1f 10.0.0.1:5000 > public > - > - "GET /rooms?token=***&page=2" 404 10+20 bytes '
            "1.235 s; client/relay: closed its connection",
        )
        self.assertEqual((fields["host"], fields["status"]), ("chat.example.org", 404))
        self.assertNotIn("hidden", str(fields))

    def test_secrets(self) -> None:
        """Which parameters are secret can be said; a reason may name a URL, too."""
        reason = CloseReason(
            Party.CLIENT, Phase.ACCEPT, "not a target: '/x?pin=12 <- http://u:p@h'"
        )
        event = closed(Kind.EXCHANGE, inbound("/x?pin=1234&token=t"), reason)
        with capturedLogs() as captured:
            AccessLog(["pin"]).observe(event)
        (entry,) = captured
        self.assertEqual(entry["target"], "/x?pin=***&token=t")
        self.assertEqual(entry["detail"], "not a target: '/x?pin=*** <- http://***@h'")

    def test_quoted(self) -> None:
        """A target cannot end its own quotation marks."""
        (entry,) = logged(closed(Kind.EXCHANGE, inbound('/"200"'), status=404))
        self.assertIn('"GET /%22200%22" 404 ', formatEvent(entry))

    def test_bounded(self) -> None:
        """However long it is what a peer says, the line is not."""
        said = "x" * 100_000
        reason = CloseReason(Party.CLIENT, Phase.RELAY, said)
        (entry,) = logged(closed(Kind.SESSION, inbound(f"/{said}", said), reason, route=said))
        self.assertLess(len(formatEvent(entry)), 5000)
        self.assertTrue(entry["target"].endswith("x..."))

    def test_noRequest(self) -> None:
        """A client that never sent a whole request is told of all the same."""
        self.assertLine(
            closed(Kind.EXCHANGE, inbound(), status=408),
            '1f 10.0.0.1:5000 > public > - > - "- -" 408 10+20 bytes 1.235 s; '
            "client/relay: closed its connection",
        )

    def test_session(self) -> None:
        """A WebSocket: messages, and the close code that each side saw."""
        codes = {Party.CLIENT: 1000, Party.BACKEND: 1006}
        event = closed(Kind.SESSION, inbound("/chat"), route="r", status=101, codes=codes)
        fields = self.assertLine(
            event,
            '1f 10.0.0.1:5000 > public > r > - "/chat" 101 2+4 messages, client saw 1000, '
            "backend saw 1006, 10+20 bytes 1.235 s; client/relay: closed its connection",
        )
        self.assertEqual(
            [fields[key] for key in ("clientSaw", "backendSaw", "messagesToBackend")],
            [1000, 1006, 2],
        )

    @settings(max_examples=100, deadline=None)
    @given(st.text(), st.text())
    def test_forged(self, said: str, path: str) -> None:
        """Whatever a peer says, it can neither end the line nor move the cursor."""
        reason = CloseReason(Party.CLIENT, Phase.RELAY, said)
        for kind, client in [
            (Kind.TUNNEL, inbound(serverName=path)),
            (Kind.EXCHANGE, inbound("/" + path)),
            (Kind.SESSION, inbound("/" + path)),
        ]:
            (entry,) = logged(closed(kind, client, reason, route=path))
            self.assertTrue(formatEvent(entry).isprintable())
            for value in entry.values():
                self.assertTrue(not isinstance(value, str) or value.isprintable())

# -*- test-case-name: tests.endtoend.test_logs -*-
"""
What stands in the log of a relay that is spoken to by somebody who wants to write in it.

Each row is sent to a real relay as it stands. Whatever it is, each line of the log is one that
the relay wrote: it begins with a time, or is indented, nothing in it moves the cursor or turns
the text around, and no secret is in it. As text and as JSON.
"""

from __future__ import annotations

import json
import re
import socket

from tests.endtoend.support import EndToEnd, Relay, waitForWords

# A secret; and a line that nobody but the relay should be able to write.
_SECRET = b"S3CR3T"
_FORGED = b"2026-01-01T00:00:00.000Z 1 1.2.3.4:5 > public > - > - tunnel"
_CONTROLS = {
    "line feed": b"\n",
    "carriage return": b"\r",
    "CR LF": b"\r\n",
    "NUL": b"\x00",
    "bell and backspace": b"\x07\x08",
    "vertical tab and form feed": b"\x0b\x0c",
    "ANSI": b"\x1b[2J\x1b[1;31m\x1b]0;title\x07",
    "DEL": b"\x7f",
    "C1, as bytes": b"\x85\x9b2J",
    "C1, as UTF-8": "\x85\x9b".encode(),
    "line and paragraph separator": "\u2028\u2029".encode(),
    "right to left": "\u202e\u2066\u200f".encode(),
    "byte order mark": "\ufeff".encode(),
    "not UTF-8": b"\xff\xfe\xc0\x80",
    "surrogate": b"\xed\xa0\x80",
}
#: Where C{%s} is what a row is about.
_PLACES = (
    b"GET /a%sb HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /?a=%s HTTP/1.1\r\nHost: a\r\n\r\n",
    b"G%sET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1%s\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a%sb\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX%s: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: %s\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: %s\r\nSec-WebSocket-Key: %s\r\n\r\n",
)
_SECRETS = (
    b"GET /?token=%s HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /?a=1&%%70assword=%s HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /?token=%s# HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /?token=%s HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET http://user:%s@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: user:%s@a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic %s\r\n\r\n",
    b"GET / HTTP/7\r\nAuthorization: Basic %s\r\n\r\n",
    b"GET\r\nCookie: a=%s\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nCookie: session=%s\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nCookie: session=%s\r\nCookie\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nProxy-Authorization: %s\x00\r\n\r\n",
)
_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \S|    ")


class LogTests(EndToEnd):
    """Nobody writes the log but the relay."""

    def _say(self, relay: Relay) -> str:
        """Send every row; the log, once it has all of them."""
        rows = [
            place.replace(b"%s", control + _FORGED.replace(b" ", gap) + control)
            for place in _PLACES
            for control in _CONTROLS.values()
            for gap in (b" ", b"_")
        ]
        rows += [place % _SECRET for place in _SECRETS]
        rows.append(b"GET /" + b"x" * 15000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        for row in rows:
            with socket.create_connection(("127.0.0.1", relay.port), timeout=30.0) as client:
                client.sendall(row)
                client.shutdown(socket.SHUT_WR)
                while client.recv(65536):
                    pass
        last = b"GET /the-last-one HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", relay.port), timeout=30.0) as client:
            client.sendall(last)
            waitForWords(relay, "the-last-one")
        return relay.log.read_text("utf-8", "strict")

    def _relay(self, format: str) -> Relay:
        # A port where nobody listens: the client gets 502, and the log says so.
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            url = f"ws://127.0.0.1:{nobody.getsockname()[1]}"
            return self.relayWith("--to", url, "--log-format", format)

    def test_text(self) -> None:
        """Lines for people are lines of the relay, short and without secrets."""
        log = self._say(self._relay("text"))
        self.assertNotIn(_SECRET.decode(), log)
        lines = log.removesuffix("\n").split("\n")
        self.assertGreater(len(lines), len(_PLACES) * len(_CONTROLS))
        for line in lines:
            self.assertTrue(line.isprintable(), line)
            self.assertRegex(line, _LINE)
            self.assertFalse(line.startswith(_FORGED.decode()), line)
            self.assertLess(len(line), 3000)

    def test_json(self) -> None:
        """Lines for programs are JSON, each one object of the relay's, without secrets."""
        log = self._say(self._relay("json"))
        self.assertNotIn(_SECRET.decode(), log)
        for line in log.removesuffix("\n").split("\n"):
            self.assertTrue(line.isprintable(), line)
            self.assertIn("logger", json.loads(line), line)
            self.assertLess(len(line), 6000)

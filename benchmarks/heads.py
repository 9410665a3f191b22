# -*- test-case-name: tests.wire.test_heads -*-
"""
Which parser should read HTTP/1.1 request heads? C{python -m benchmarks.heads}

Compares L{wsrelay.wire.heads} with llhttp (as httptools offers it), h11 and Twisted's own,
in speed and in strictness, and with itself without its extension; prints the tables of
C{docs/explanation/http-heads.md}.
Needs httptools and h11 installed.

Speed: CPU time, interleaved rounds, the median of each parser's rounds. Every head is read
by a new parser, as on a connection that becomes a WebSocket. Strictness: each head of
L{HOSTILE} is one that two recipients have been known to read in two ways.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator

import h11
import httptools
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web import http

from wsrelay.errors import RelayError
from wsrelay.model import Headers, Request
from wsrelay.wire import heads
from wsrelay.wire.bodies import requestFraming

__all__ = ["HARMLESS", "HOSTILE", "SPEED", "STEPS", "VERDICTS", "cost", "main", "measure"]

UPGRADE = b"""\
GET /chat/room?id=42&token=abcdef HTTP/1.1
Host: chat.example.org
Connection: Upgrade
Pragma: no-cache
Cache-Control: no-cache
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
Chrome/131.0.0.0 Safari/537.36
Upgrade: websocket
Origin: https://chat.example.org
Sec-WebSocket-Version: 13
Accept-Encoding: gzip, deflate, br, zstd
Accept-Language: en-GB,en;q=0.9,de;q=0.8
Cookie: session=0123456789abcdef0123456789abcdef; theme=dark
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits
Sec-WebSocket-Protocol: chat, superchat

""".replace(b"\n", b"\r\n")

GET = b"""\
GET /static/app.js HTTP/1.1
Host: www.example.org
User-Agent: curl/8.5.0
Accept: */*

""".replace(b"\n", b"\r\n")


def _get(fields: bytes, line: bytes = b"GET / HTTP/1.1") -> bytes:
    return line + b"\r\nHost: a.example\r\n" + fields + b"\r\n\r\n"


def _post(fields: bytes, version: bytes = b"1.1") -> bytes:
    return _get(fields, b"POST / HTTP/" + version)


def _line(line: bytes) -> bytes:
    return _get(b"A: b", line)


def _host(fields: bytes, line: bytes = b"GET / HTTP/1.1") -> bytes:
    return line + b"\r\n" + fields + b"A: b\r\n\r\n"


HOSTILE: dict[str, bytes] = {
    "Content-Length and Transfer-Encoding": _post(
        b"Content-Length: 5\r\nTransfer-Encoding: chunked"
    ),
    "two Content-Length, equal": _post(b"Content-Length: 5\r\nContent-Length: 5"),
    "two Content-Length, different": _post(b"Content-Length: 5\r\nContent-Length: 6"),
    "Content-Length: 5, 5": _post(b"Content-Length: 5, 5"),
    "Content-Length: +5": _post(b"Content-Length: +5"),
    "Content-Length: 0x5": _post(b"Content-Length: 0x5"),
    "Content-Length: 5_0": _post(b"Content-Length: 5_0"),
    "Content-Length, empty": _post(b"Content-Length: "),
    "Content-Length of 25 digits": _post(b"Content-Length: " + b"9" * 25),
    "Transfer-Encoding: xchunked": _post(b"Transfer-Encoding: xchunked"),
    "Transfer-Encoding: chunkedx": _post(b"Transfer-Encoding: chunkedx"),
    r"Transfer-Encoding: \x0bchunked": _post(b"Transfer-Encoding: \x0bchunked"),
    "Transfer-Encoding: chunked, chunked": _post(b"Transfer-Encoding: chunked, chunked"),
    "Transfer-Encoding: chunked, identity": _post(b"Transfer-Encoding: chunked, identity"),
    "Transfer-Encoding: identity": _post(b"Transfer-Encoding: identity"),
    "two Transfer-Encoding": _post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    "chunked in HTTP/1.0": _post(b"Transfer-Encoding: chunked", b"1.0"),
    "space before the colon": _get(b"A : b"),
    "tab before the colon": _get(b"A\t: b"),
    "space before the first name": b"GET / HTTP/1.1\r\n A: b\r\nHost: a.example\r\n\r\n",
    "empty name": _get(b": b"),
    "no colon": _get(b"A"),
    r"\xff in a name": _get(b"A\xff: b"),
    "folded line": _get(b"A: b\r\n c: d"),
    "folded line, with a tab": _get(b"A: b\r\n\tc: d"),
    r"\x00 in a value": _get(b"A: b\x00c"),
    r"\x0b in a value": _get(b"A: b\x0bc"),
    r"\x1c in a value": _get(b"A: b\x1cc"),
    r"\x7f in a value": _get(b"A: b\x7fc"),
    "bare CR in a value": _get(b"A: b\rC: d"),
    "bare LF in a value": _get(b"A: b\nC: d"),
    "bare LF behind every line": b"GET / HTTP/1.1\nHost: a.example\n\n",
    "CR CR LF": _get(b"A: b\r"),
    "no Host in HTTP/1.1": _host(b""),
    "two Host": _host(b"Host: a.example\r\nHost: b.example\r\n"),
    "two Host, equal": _host(b"Host: a.example\r\nHost: a.example\r\n"),
    "empty Host": _host(b"Host: \r\n"),
    "Host with user-info": _host(b"Host: a@b.example\r\n"),
    "Host with a path": _host(b"Host: a.example/b\r\n"),
    "Host with a comma": _host(b"Host: a.example,b.example\r\n"),
    "Host with port 99999": _host(b"Host: a.example:99999\r\n"),
    "Host with port 80x": _host(b"Host: a.example:80x\r\n"),
    "# in the target": _line(b"GET /a#b HTTP/1.1"),
    r"\xff in the target": _line(b"GET /\xff HTTP/1.1"),
    r"\x01 in the target": _line(b"GET /\x01 HTTP/1.1"),
    "space in the target": _line(b"GET /a b HTTP/1.1"),
    "target without a slash": _line(b"GET a HTTP/1.1"),
    "absolute-form with user-info": _line(b"GET http://x@a.example/ HTTP/1.1"),
    "two spaces": _line(b"GET  / HTTP/1.1"),
    "tab for a space": _line(b"GET\t/ HTTP/1.1"),
    "space behind the version": _line(b"GET / HTTP/1.1 "),
    "two empty lines before": b"\r\n\r\n" + GET,
    "lower-case method": _line(b"get / HTTP/1.1"),
    "method with a bracket": _line(b"GE(T / HTTP/1.1"),
    "GET *": _line(b"GET * HTTP/1.1"),
    "CONNECT": _line(b"CONNECT a.example:443 HTTP/1.1"),
    "HTTP/0.9": _line(b"GET /"),
    "HTTP/1.2": _line(b"GET / HTTP/1.2"),
    "HTTP/2.0": _line(b"GET / HTTP/2.0"),
    "HTTP/1.10": _line(b"GET / HTTP/1.10"),
    "http/1.1": _line(b"GET / http/1.1"),
    "RTSP/1.0": _line(b"GET / RTSP/1.0"),
    "Expect: 100-continue, x": _get(b"Expect: 100-continue, x"),
}

HARMLESS: dict[str, bytes] = {
    "a browser's upgrade": UPGRADE,
    "a plain GET": GET,
    "one empty line before": b"\r\n" + GET,
    "white space around a value": _get(b"A: \t b \t"),
    r"\x85 and UTF-8 in a value": _get(b"A: b\x85c \xc3\xa9"),
    "an empty value": _get(b"A:"),
    "HTTP/1.0 without Host": b"GET / HTTP/1.0\r\n\r\n",
    "absolute-form": _line(b"GET http://b.example/x HTTP/1.1"),
    "OPTIONS *": _line(b"OPTIONS * HTTP/1.1"),
    "a method nobody registered": _line(b"FROB / HTTP/1.1"),
    "Host with IPv6 and port": _host(b"Host: [2001:db8::1]:8080\r\n"),
}


# ------------------------------------------------------------------------------- speed


class _Collector:
    """What httptools calls back."""

    __slots__ = ("complete", "fields", "target")

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.target = b""
        self.complete = False

    def on_url(self, target: bytes) -> None:
        self.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))


class _NoticingCollector(_Collector):
    __slots__ = ()

    def on_headers_complete(self) -> None:
        self.complete = True


def llhttp(head: bytes, collector: type[_Collector] = _Collector) -> _Collector:
    """llhttp, and nothing but the fields in a list."""
    collected = collector()
    parser = httptools.HttpRequestParser(collected)
    try:  # noqa: SIM105  # suppress() would be measured too
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    parser.get_method()
    parser.get_http_version()
    return collected


def llhttpWithOurRules(head: bytes) -> Request:
    """What parseRequest would be with llhttp below it: the rules llhttp lacks, our value."""
    line = heads._REQUEST_LINE.match(head)
    assert line is not None
    method, target, version = line.groups()
    collected = llhttp(head)
    headers = Headers([(name, value.rstrip(b" \t")) for name, value in collected.fields])
    heads._checkHost(headers, heads._VERSIONS[version])
    assert not headers.rawAll(b"expect") and target.startswith(b"/")
    return Request(method.decode(), target.decode(), headers, heads._VERSIONS[version])


def h11Event(head: bytes) -> object:
    """h11's server side."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head)
    return connection.next_event()


class _Silent(http.Request):
    """A request nobody answers."""

    def process(self) -> None:
        self.channel.read = True


class _Factory(http.HTTPFactory):
    """Without an access log, and without the reactor."""

    def __init__(self) -> None:
        super().__init__(reactor=Clock())
        self._updateLogDateTime = lambda: None

    def log(self, request: object) -> None:
        """Nothing."""


_FACTORY = _Factory()


class _Channel(http.HTTPChannel):
    heads = 0

    def allHeadersReceived(self) -> None:
        self.heads += 1
        super().allHeadersReceived()


def twistedChannel(head: bytes) -> tuple[_Channel, StringTransport]:
    """Twisted's server side, up to the call of the request's C{process}."""
    channel = _Channel()
    channel.factory = _FACTORY
    channel.site = _FACTORY
    channel.requestFactory = _Silent
    channel.callLater = _FACTORY.reactor.callLater
    channel.timeOut = None
    transport = StringTransport()
    channel.makeConnection(transport)
    channel.dataReceived(head)
    return channel, transport


SPEED: dict[str, Callable[[bytes], object]] = {
    "llhttp (httptools), fields in a list": llhttp,
    "llhttp, our rules, our `Request`": llhttpWithOurRules,
    "`wsrelay.wire.heads.parseRequest`": heads.parseRequest,
    "the same, without its extension": lambda head: heads._readRequest(head, 100),
    "h11": h11Event,
    "Twisted's `HTTPChannel`": twistedChannel,
}


def measure(head: bytes, rounds: int = 15, repeat: int = 1000) -> dict[str, float]:
    """Median CPU time of one reading, in microseconds."""
    times: dict[str, list[float]] = {name: [] for name in SPEED}
    for _ in range(rounds):
        for name, parse in SPEED.items():
            gc.collect()
            gc.disable()
            start = time.process_time()
            for _ in range(repeat):
                parse(head)
            times[name].append((time.process_time() - start) / repeat * 1e6)
            gc.enable()
    return {name: statistics.median(measured) for name, measured in times.items()}


# --------------------------------------------------------------------- the extension

SHORT = b"GET /s HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
ANSWER = b"""\
HTTP/1.1 200 OK
Server: nginx/1.22.1
Date: Mon, 23 Nov 2026 00:00:00 GMT
Content-Type: application/octet-stream
Content-Length: 128
Last-Modified: Mon, 23 Nov 2026 00:00:00 GMT
Connection: keep-alive
ETag: "6a0"
Accept-Ranges: bytes

""".replace(b"\n", b"\r\n")

_READER = heads.HeadReader(65536, 100)
_ASKED = [*heads.parseRequest(GET).headers.raw, (b"X-Forwarded-For", b"127.0.0.1")]
_ANSWERED = [*heads.parseResponse(ANSWER).headers.raw]

#: What a plain GET over connections that stay needs of heads.
STEPS: dict[str, Callable[[], object]] = {
    "find the end of a request head": lambda: _READER.feed(SHORT),
    "read it, 1 field": lambda: heads.parseRequest(SHORT),
    "find the end of a response head": lambda: _READER.feed(ANSWER + b"x" * 128),
    "read it, 8 fields, and look one up": lambda: heads.parseResponse(ANSWER).headers.rawAll(
        b"connection"
    ),
    "write a request head, 4 fields": lambda: heads.writeRequest("GET", "/", _ASKED, True),
    "write a response head, 8 fields": lambda: heads.writeResponse(200, "OK", _ANSWERED, True),
}


def cost(step: Callable[[], object], rounds: int = 15, repeat: int = 1000) -> float:
    """Median CPU time of one call, in microseconds."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(repeat):
            step()
        times.append((time.process_time() - start) / repeat * 1e6)
    return statistics.median(times)


def _stepsTable() -> Iterator[str]:
    yield "| | Python | with the extension |"
    yield "|---|--:|--:|"
    extension = heads._heads
    for name, step in STEPS.items():
        fast = cost(step)
        heads._heads = None
        slow = cost(step)
        heads._heads = extension
        yield f"| {name} | {slow:.1f} | {fast:.1f} |"


# -------------------------------------------------------------------------- strictness


def _judgeLlhttp(head: bytes) -> str:
    try:
        return "accepts" if llhttp(head, _NoticingCollector).complete else "waits"
    except httptools.HttpParserError:
        return "rejects"


def _judgeH11(head: bytes) -> str:
    try:
        return "accepts" if isinstance(h11Event(head), h11.Request) else "waits"
    except h11.RemoteProtocolError:
        return "rejects"


def _judgeTwisted(head: bytes) -> str:
    channel, transport = twistedChannel(head)
    if transport.disconnecting or transport.disconnected or b" 4" in transport.value()[:12]:
        return "rejects"
    return "accepts" if channel.heads else "waits"


def _judgeOurs(head: bytes) -> str:
    found, _ = heads.HeadReader(65536, 100).feed(head)
    if found is None:
        return "waits"
    try:
        requestFraming(heads.parseRequest(found))
    except RelayError as error:
        return f"rejects, {error.status}"
    return "accepts"


VERDICTS: dict[str, Callable[[bytes], str]] = {
    "wsrelay": _judgeOurs,
    "llhttp": _judgeLlhttp,
    "h11": _judgeH11,
    "Twisted": _judgeTwisted,
}


# ------------------------------------------------------------------------------ tables


def _speedTable() -> Iterator[str]:
    upgrade, get = measure(UPGRADE), measure(GET)
    base = next(iter(SPEED))
    yield "| parser | upgrade, µs | ratio | GET, µs | ratio |"
    yield "|---|--:|--:|--:|--:|"
    for name in SPEED:
        yield (
            f"| {name} | {upgrade[name]:.1f} | {upgrade[name] / upgrade[base]:.1f} "
            f"| {get[name]:.1f} | {get[name] / get[base]:.1f} |"
        )


def _strictnessTable(cases: dict[str, bytes]) -> Iterator[str]:
    yield "| head | " + " | ".join(VERDICTS) + " |"
    yield "|---|" + "---|" * len(VERDICTS)
    accepted = dict.fromkeys(VERDICTS, 0)
    for case, head in cases.items():
        verdicts = {name: judge(head) for name, judge in VERDICTS.items()}
        for name, verdict in verdicts.items():
            accepted[name] += verdict == "accepts"
        cells = [f"**{v}**" if v == "accepts" else v for v in verdicts.values()]
        yield f"| {case} | " + " | ".join(cells) + " |"
    yield f"| accepted of {len(cases)} | " + " | ".join(map(str, accepted.values())) + " |"


def main() -> None:
    """Print all tables."""
    for table in (_speedTable(), _stepsTable(), *map(_strictnessTable, (HOSTILE, HARMLESS))):
        for row in table:
            print(row)
        print()


if __name__ == "__main__":
    main()

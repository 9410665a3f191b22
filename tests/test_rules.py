# -*- test-case-name: tests.test_rules -*-
"""
Rules and raw heads in, the heads that go on out.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.errors import BadRequest
from wsrelay.l7.fields import framed, outboundRequest, outboundResponse, shaken
from wsrelay.model import Address, ClientCertificate, Inbound, Respond
from wsrelay.routing.rewrite import PathRule
from wsrelay.rules import FieldRules, Rules, Template, isHost
from wsrelay.wire.bodies import BodyKind, Framing
from wsrelay.wire.heads import parseRequest, parseResponse, writeRequest, writeResponse


def head(text: str) -> bytes:
    """Lines as a head."""
    lines = [line.strip() for line in text.strip().splitlines()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def inbound(text: str = "GET / HTTP/1.1\nHost: a.example", **facts: Any) -> Inbound:
    """A request that was read from these lines."""
    made = Inbound("2f", "public", Address("192.0.2.7", 4711), Address("10.0.0.1", 8080))
    return evolve(made, request=parseRequest(head(text)), **facts)


CERTIFICATE = ClientCertificate(
    "CN=ann",
    "CN=ca",
    "4d",
    "ab12",
    True,
    ("a.example", "b.example"),
    ("ann@a.example",),
    ("spiffe://a",),
    ("192.0.2.1",),
)


def certified(**facts: Any) -> Inbound:
    """A client with a certificate."""
    return inbound(certificate=evolve(CERTIFICATE, **facts))


class TemplateTests(SynchronousTestCase):
    """Text with placeholders."""

    def test_placeholders(self) -> None:
        """Each placeholder stands for what it says."""
        asked = "POST /a%20b?c=d&e HTTP/1.1\nHost: A.example:8080"
        for name, value in {
            "client": "192.0.2.7",
            "clientPort": "4711",
            "localPort": "8080",
            "host": "a.example",
            "path": "/a%20b",
            "query": "c=d&e",
            "target": "/a%20b?c=d&e",
            "method": "POST",
            "scheme": "https",
            "serverName": "sni.example",
            "id": "2f",
            "listener": "public",
            "route": "chat rooms",
        }.items():
            template = Template(f"<{{{name}}}>")
            client = inbound(asked, secure=True, serverName="sni.example")
            self.assertEqual(template.render(client, "chat rooms"), f"<{value}>")

    def test_certificate(self) -> None:
        """Of a certificate that nobody has verified there is the fingerprint and nothing else."""
        for name, value in {
            "subject": "CN=ann",
            "issuer": "CN=ca",
            "serial": "4d",
            "fingerprint": "ab12",
            "dns": "a.example,b.example",
            "email": "ann@a.example",
            "uri": "spiffe://a",
            "ip": "192.0.2.1",
        }.items():
            template = Template(f"{{certificate.{name}}}")
            self.assertEqual(template.render(certified()), value)
            own = value if name == "fingerprint" else ""
            self.assertEqual(template.render(certified(verified=False)), own)
            self.assertEqual(template.render(inbound()), "")

    def test_unknownFacts(self) -> None:
        """What is not known is empty; a client on a UNIX socket is unknown, as RFC 7239 says."""
        bare = inbound("GET / HTTP/1.0\nAccept: x", client=Address("unix:"))
        for text, value in [
            ("{client}", "unknown"),
            ("{clientPort}", ""),
            ("{host}", ""),
            ("{query}", ""),
            ("{serverName}", ""),
        ]:
            self.assertEqual(Template(text).render(bare), value, text)
        sixth = inbound("GET / HTTP/1.1\nHost: [2001:DB8::1]:80", client=Address("::ffff:1.2.3.4"))
        self.assertEqual(Template("{host} {client}").render(sixth), "[2001:db8::1] 1.2.3.4")

    def test_braces(self) -> None:
        """A doubled brace is a brace."""
        self.assertEqual(Template("{{{client}}} {{x}}").render(inbound()), "{192.0.2.7} {x}")
        self.assertTrue(Template("{{client}}").isLiteral)
        self.assertFalse(Template("{client}").isLiteral)

    def test_wrong(self) -> None:
        """A placeholder that is none is refused, with the nearest that is one."""
        for text, words in [
            ("{clinet}", 'no placeholder {clinet}; did you mean "{client}"? (placeholders: clie'),
            ("{certificate.dn}", 'did you mean "{certificate.dns}"?'),
            ("{}", "no placeholder {} (placeholders: client, "),
            ("{client", '"{client": a brace that is no placeholder\'s is written twice'),
            ("a}b", "written twice"),
        ]:
            error = self.assertRaises(ValueError, Template, text)
            self.assertIn(words, str(error))


# What a rule makes of a request: the lines of the head that the backend gets, without those
# that tell it about the client.
ASKED = """
    GET /a?b=c HTTP/1.1
    Host: a.example
    X-Debug-One: 1
    X_Debug_Two: 2
    Server: s
    Accept: */*
    """
PLAIN = ["Host: a.example", "X-Debug-One: 1", "X_Debug_Two: 2", "Server: s", "Accept: */*"]
NO_DEBUG = ["Host: a.example", "Server: s", "Accept: */*"]
REQUESTS: list[tuple[FieldRules, list[str]]] = [
    (FieldRules(), PLAIN),
    (FieldRules(remove=("x-debug-*",)), NO_DEBUG),
    (FieldRules(remove=("X-Debug-Two", "X-None")), [*PLAIN[:2], *PLAIN[3:]]),
    (FieldRules(remove=("x*", "S*", "a*", "H*")), ["Host: a.example"]),
    (FieldRules(set=(("server", "x"),)), [*PLAIN[:3], "Accept: */*", "server: x"]),
    (FieldRules(set=(("X-Debug-Two", "x"),)), [*PLAIN[:2], *PLAIN[3:], "X-Debug-Two: x"]),
    (FieldRules(add=(("Server", "x"), ("Server", "y"))), [*PLAIN, "Server: x", "Server: y"]),
    (
        FieldRules((("X-A", "1"),), (("X-A", "2"), ("X-Debug-Own", "3")), ("X-Debug-*",)),
        [*NO_DEBUG, "X-A: 1", "X-A: 2", "X-Debug-Own: 3"],
    ),
    (FieldRules(set=(("X-A", "{client}:{clientPort}"),)), [*PLAIN, "X-A: 192.0.2.7:4711"]),
    (FieldRules(set=(("X-A", ""),)), [*PLAIN, "X-A: "]),
    # Nobody is nobody: what the client says about itself is gone, and nothing takes its place.
    (FieldRules(set=(("Server", "{certificate.subject}"),)), [*PLAIN[:3], "Accept: */*"]),
    (FieldRules(set=(("X-A", "  é  "),)), [*PLAIN, "X-A: \xc3\xa9"]),
]


class RequestTests(SynchronousTestCase):
    """From the head of the client's request to the head that the backend gets."""

    def relayed(self, rules: Rules, text: str, **facts: Any) -> list[str]:
        """The lines of what the backend gets, but those that tell it about the client."""
        client = inbound(text, **facts)
        isUpgrade = "websocket" in text
        outbound = outboundRequest(client, isUpgrade, "backend:1")
        rules.onRequest(outbound, client)
        if isUpgrade:
            fields = shaken(outbound.headers, [(b"Upgrade", b"websocket")])
        else:
            fields = framed(outbound.headers, Framing(BodyKind.NONE))
        written = writeRequest(outbound.method, outbound.target, fields)
        written = rules.headFor(written, "backend:1")
        lines = written.decode("latin-1").split("\r\n")[:-2]
        return [line for line in lines if not line.startswith("X-Forwarded")]

    def test_fields(self) -> None:
        """Fields are removed, set and added, in this order."""
        for request, lines in REQUESTS:
            found = self.relayed(Rules(request=request), ASKED)
            self.assertEqual(found, ["GET /a?b=c HTTP/1.1", *lines], request)

    def test_manyNames(self) -> None:
        """Names that were never seen before are told apart as well as those that are known."""
        rules = FieldRules(remove=("X-Debug-*", "Server"))
        for number in range(600):
            pairs = [(b"X-%d" % number, b"1"), (b"x_debug_%d" % number, b"2"), (b"SERVER", b"3")]
            self.assertEqual(rules.edited(pairs, inbound()), pairs[:1])

    def test_lastWord(self) -> None:
        """What a client names in Connection strips nothing that a rule has set."""
        rules = Rules(request=FieldRules(set=(("X-User", "ann"),)))
        asked = "GET / HTTP/1.1\nHost: a\nConnection: X-User\nX-User: eve\nX_USER: eve"
        self.assertEqual(self.relayed(rules, asked), ["GET / HTTP/1.1", "Host: a", "X-User: ann"])

    def test_forwarding(self) -> None:
        """What the backend is told about the client may be changed by a rule."""
        rules = FieldRules(set=(("X-Forwarded-For", "hidden"),), remove=("X-Forwarded-Host",))
        outbound = outboundRequest(inbound(), False, "b")
        Rules(request=rules).onRequest(outbound, inbound())
        said = [(name, value) for name, value in outbound.headers if name.startswith("X-")]
        self.assertEqual(said, [("X-Forwarded-Proto", "http"), ("X-Forwarded-For", "hidden")])

    def test_handshake(self) -> None:
        """A WebSocket's handshake keeps its own fields whatever the rules are."""
        rules = Rules(request=FieldRules(set=(("X-A", "1"),), remove=("S*", "O*", "H*")))
        asked = """
            GET /ws HTTP/1.1
            Host: a
            Upgrade: websocket
            Connection: Upgrade
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
            Sec-WebSocket-Version: 13
            Sec-WebSocket-Protocol: chat
            Origin: https://a
            """
        self.assertEqual(
            self.relayed(rules, asked),
            [
                "GET /ws HTTP/1.1",
                "Host: a",
                "Sec-WebSocket-Protocol: chat",
                "X-A: 1",
                "Upgrade: websocket",
            ],
        )

    def test_host(self) -> None:
        """The backend sees the client's Host, its own, or one that is made for it, once."""
        for host, seen in [
            ("", "a.example:81"),
            ("backend", "backend:1"),
            ("app.internal", "app.internal"),
            ("[::1]:8080", "[::1]:8080"),
            ("{listener}-{host}", "public-a.example"),
        ]:
            lines = self.relayed(Rules(host=host), "GET / HTTP/1.1\nHost: a.example:81\nA: b")
            self.assertEqual(lines, ["GET / HTTP/1.1", f"Host: {seen}", "A: b"])
        outbound = outboundRequest(inbound(), False, "b")
        Rules(host="x").onRequest(outbound, inbound())
        self.assertEqual(outbound.headers.getAll("X-Forwarded-Host"), ["a.example"])

    def test_noHost(self) -> None:
        """A Host that cannot be one refuses the request."""
        for host, asked in [
            ("{host}", "GET / HTTP/1.0\nA: b"),
            ("{path}", "GET /x HTTP/1.1\nHost: a"),
            ("a{query}", "GET /?@evil HTTP/1.1\nHost: a"),
        ]:
            with self.assertRaises(BadRequest):
                self.relayed(Rules(host=host), asked)

    def test_path(self) -> None:
        """The path is rewritten and the query is not; fields are told of the path as it was."""
        rules = Rules(
            request=FieldRules(set=(("X-Path", "{path}"),)), target=PathRule("/api", None, "/v2")
        )
        lines = self.relayed(rules, "GET /api/x?y=/api/z HTTP/1.1\nHost: a")
        self.assertEqual(lines, ["GET /v2/x?y=/api/z HTTP/1.1", "Host: a", "X-Path: /api/x"])

    def test_noInjection(self) -> None:
        """A value that would end the line is never written: the request is refused."""
        rules = FieldRules(set=(("X-Subject", "{certificate.subject}"),))
        for subject in ("a\r\nX-Admin: 1", "a\nb", "a\0b", "a\rb", "\x1b[31m"):
            with self.assertRaises(BadRequest):
                rules.edited([], certified(subject=subject))
            self.assertEqual(rules.edited([], certified(subject=subject), isStrict=False), [])

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=20))
    def test_anyValue(self, subject: str) -> None:
        """Whatever a certificate says, what is written is read again as one field of one line."""
        rules = FieldRules(set=(("X-Subject", "<{certificate.subject}>"),))
        fields = rules.edited([], certified(subject=subject), isStrict=False)
        again = parseRequest(writeRequest("GET", "/", [(b"Host", b"a"), *fields]))
        self.assertLessEqual(len(again.headers), 2)
        for value in again.headers.rawAll(b"x-subject"):
            self.assertEqual(value.decode("utf-8"), f"<{subject}>")

    def test_idempotent(self) -> None:
        """Nothing is copied or looked at where there is no rule."""
        outbound = outboundRequest(inbound(), False, "b")
        headers, target = outbound.headers, outbound.target
        Rules("r").onRequest(outbound, inbound())
        self.assertIs(outbound.headers, headers)
        self.assertIs(outbound.target, target)


ANSWER = """
    HTTP/1.1 200 OK
    Server: s
    Content-Type: text/plain
    Set-Cookie: a=1
    """
RESPONSES: list[tuple[FieldRules, list[str]]] = [
    (FieldRules(), ["Server: s", "Content-Type: text/plain", "Set-Cookie: a=1"]),
    (FieldRules(remove=("Server", "Set-*")), ["Content-Type: text/plain"]),
    (
        FieldRules(set=(("Server", "wsrelay"), ("X-Id", "{id}"))),
        ["Content-Type: text/plain", "Set-Cookie: a=1", "Server: wsrelay", "X-Id: 2f"],
    ),
    (
        FieldRules(add=(("Set-Cookie", "b={certificate.subject}"),), remove=("Content-Type",)),
        ["Server: s", "Set-Cookie: a=1", "Set-Cookie: b="],
    ),
]


class ResponseTests(SynchronousTestCase):
    """From the head of the backend's response to the head that the client gets."""

    def test_fields(self) -> None:
        """A backend's answer is changed like a request."""
        for response, lines in RESPONSES:
            outbound = outboundResponse(parseResponse(head(ANSWER)), False)
            Rules(response=response).onResponse(outbound, inbound())
            fields = framed(outbound.headers, Framing(BodyKind.NONE))
            written = writeResponse(outbound.status, outbound.reason, fields)
            self.assertEqual(
                written.decode("latin-1").split("\r\n")[:-2], ["HTTP/1.1 200 OK", *lines]
            )

    def test_accepted(self) -> None:
        """A 101 is changed too, but for the handshake and the subprotocol."""
        accepted = """
            HTTP/1.1 101 Switching Protocols
            Upgrade: websocket
            Connection: Upgrade
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
            Sec-WebSocket-Protocol: chat
            Server: s
            """
        outbound = outboundResponse(parseResponse(head(accepted)), True)
        rules = Rules(response=FieldRules(set=(("X-Id", "{id}"),), remove=("S*",)))
        rules.onResponse(outbound, inbound())
        self.assertEqual(
            shaken(outbound.headers, [(b"Upgrade", b"websocket")]),
            [(b"Sec-WebSocket-Protocol", b"chat"), (b"X-Id", b"2f"), (b"Upgrade", b"websocket")],
        )

    def test_answers(self) -> None:
        """An answer of the relay's own or of a filter's is changed in the same way."""
        answer = Respond(403, ((b"Content-Type", b"text/plain"), (b"X-Debug", b"1")), b"no")
        rules = FieldRules(set=(("X-Id", "{id}"),), remove=("X-Debug",))
        self.assertEqual(
            Rules(response=rules).onAnswer(answer, inbound()),
            Respond(403, ((b"Content-Type", b"text/plain"), (b"X-Id", b"2f")), b"no"),
        )
        self.assertIs(Rules().onAnswer(answer, inbound()), answer)

    def test_noInjection(self) -> None:
        """An answer goes out without a field that would end the line."""
        rules = Rules(response=FieldRules(set=(("A", "{certificate.subject}"), ("B", "b"))))
        answer = rules.onAnswer(Respond(200), certified(subject="a\r\nc"))
        self.assertEqual(answer.headers, ((b"B", b"b"),))


class OwnTests(SynchronousTestCase):
    """What no rule may touch, and what is wrong in a rule."""

    def test_own(self) -> None:
        """Framing, what belongs to one connection, and the handshake are the relay's."""
        for name in (
            *("Content-Length", "transfer-encoding", "Connection", "Upgrade", "TE", "Trailer"),
            *("Keep-Alive", "Proxy-Connection", "Content_Length", "Sec-WebSocket-Key"),
            *("Sec-WebSocket-Protocol", "Sec-WebSocket-Accept", "HOST"),
        ):
            for rules in ({"set": ((name, "x"),)}, {"add": ((name, "x"),)}, {"remove": (name,)}):
                error = self.assertRaises(ValueError, FieldRules, **rules)
                self.assertIn(name, str(error))

    def test_wrong(self) -> None:
        """A rule that could not be carried out is refused when it is made."""
        for rules, words in [
            ({"set": (("a b", "x"),)}, "not a header name"),
            ({"set": (("", "x"),)}, "not a header name"),
            ({"remove": ("X-*-Y*", "*")}, 'as in "X-*"'),
            ({"set": (("X-A", "x\r\ny"),)}, "control characters"),
            ({"set": (("X-A", "{client}\n"),)}, "control characters"),
            ({"set": (("X-A", "{nobody}"),)}, "no placeholder {nobody}"),
            ({"set": (("X-A", "1"), ("x_a", "2"))}, '"x_a" stands there twice'),
            ({"set": (("X-A", "1"),), "remove": ("x-a",)}, '"X-A" stands there twice'),
        ]:
            error = self.assertRaises(ValueError, FieldRules, **rules)  # type: ignore[arg-type]
            self.assertIn(words, str(error))

    def test_hosts(self) -> None:
        """What may stand in Host, and what may not."""
        for text, expected in [
            ("a", True),
            ("a.example.:8080", True),
            ("[::1]", True),
            ("[::1]:65535", True),
            ("", False),
            ("a:0", False),
            ("a:65536", False),
            ("[::g]", False),
            ("[1]:5", False),
            ("u@a", False),
            ("a/b", False),
            ("a b", False),
            ("a" * 261, False),
        ]:
            self.assertEqual(isHost(text), expected, text)

    def test_host(self) -> None:
        """A Host that could never be one is refused when the rule is made."""
        for host in ("a b", "http://a", "a/b", "{nobody}"):
            with self.assertRaises(ValueError):
                Rules(host=host)

    def test_hash(self) -> None:
        """Rules are values: a decision that carries them can be looked up."""
        made = [Rules("r", FieldRules(remove=("A",)), target=PathRule("/a")) for _ in "12"]
        self.assertEqual(len({*made}), 1)

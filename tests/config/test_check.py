"""Tests for what is wrong between the parts of a configuration."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsrelay.config.load import loads
from wsrelay.errors import ConfigurationError

GOOD = """
[listener.web]
endpoint = "tcp:8080"
[listener.raw]
endpoint = "tcp:9000"
forwarder = "tcp"
[listener.secret]
endpoint = "tcp:9443"
forwarder = "tls-passthrough"
[listener.ended]
endpoint = "tls:9444:privateKey=a.pem"
forwarder = "tcp"
[listener.own]
endpoint = "tcp:9001"
forwarder = "mine"
[pool.chat]
backends = "ws://10.0.0.1"
[pool.safe]
backends = ["tls:10.0.0.1:1", "ws://10.0.0.2"]
ca = "ca.pem"
[plugin.mine]
use = "mine"
"""

# What is added to the file above, and what is said about it.
TABLE: list[tuple[str, list[str]]] = [
    # names
    ("[pool.'a b']\nbackends = 'ws://a'", ['pool."a b": a name has letters, digits, "_", "-"']),
    ("[plugin.tcp]\nuse = 'x'", ["plugin.tcp: this name is built in; choose another"]),
    ("[[route]]\npool = 'chta'", ['route[1].pool: no pool named "chta"; did you mean "chat"?']),
    ("[[route]]\nserve = 'mien'", ['route[1].serve: no plugin named "mien"; did you mean "mine"']),
    ("[[route]]\nrefuse = true\nlistener = ['web', 'wep']", ["route[1].listener: no listener "]),
    (
        "[[route]]\npool = 'chat'\nfilters = ['mine', 'a', 'mine', 'a']",
        [
            'route[1].filters: no plugin named "a" (plugins: mine)',
            'route[1].filters: "mine" stands there 2 times',
            'route[1].filters: "a" stands there 2 times',
        ],
    ),
    (
        "[listener.x]\nendpoint = 'tcp:1'\nforwarder = 'htp'\npolicies = 'p'\npool = 'q'",
        [
            'listener.x.forwarder: no forwarder named "htp"; did you mean "http"? (forwarders: '
            "detect, http, tcp, tls-passthrough, tls-terminate, mine)",
            'listener.x.policies: no plugin named "p" (plugins: mine)',
            'listener.x.pool: no pool named "q" (pools: chat, safe)',
        ],
    ),
    (
        "[pool.x]\nbackends = 'ws://a'\nbalancer = 'roundrobin'",
        ['pool.x.balancer: no balancer named "roundrobin"; did you mean "round-robin"?'],
    ),
    # doubles
    (
        "[listener.x]\nendpoint = ['tcp:8080', 'tcp:7', 'tcp:7']",
        [
            'listener.x.endpoint: "tcp:7" stands there 2 times',
            'listener.x.endpoint: listener.web has "tcp:8080" already',
        ],
    ),
    (
        "[[route]]\nname = 'a'\npool = 'chat'\n[[route]]\nname = 'a'\npool = 'chat'",
        ['route[2 "a"].name: route[1 "a"] has this name already'],
    ),
    ("[pool.x]\nbackends = ['ws://a', 'ws://a']", ['pool.x.backends: "ws://a" stands there 2']),
    # actions
    (
        "[[route]]\nhost = 'a'",
        ["route[1]: expected one action (pool, respond, redirect, serve, refuse), f"],
    ),
    (
        "[[route]]\nname = 'n'\npool = 'chat'\nrefuse = true",
        ['route[1 "n"]: expected one action (pool, respond, redirect, serve, refuse), found p'],
    ),
    (
        "[[route]]\nrefuse = true\nfilters = 'mine'\nmaxBody = 1",
        [
            "route[1].filters: has no effect with the action refuse",
            "route[1].maxBody: has no effect with the action refuse",
        ],
    ),
    (
        "[[route]]\nredirect = '/'\nstripPrefix = '/a'\nresponseHeaders = {remove = 'A'}",
        [
            "route[1].stripPrefix: has no effect with the action redirect",
            "route[1].responseHeaders: has no effect with the action redirect",
        ],
    ),
    # layers
    (
        "[[route]]\nlistener = 'raw'\npool = 'chat'\nhostHeader = 'backend'\naddPrefix = '/a'",
        [
            'route[1].hostHeader: needs a listener with forwarder "http" (L7)',
            'route[1].addPrefix: needs a listener with forwarder "http" (L7)',
        ],
    ),
    (
        "[[route]]\nlistener = ['raw', 'secret']\nhost = 'a'\npathPrefix = '/'\n"
        "respond = {status = 200}",
        [
            'route[1].host: needs a listener with forwarder "http" (L7)',
            'route[1].pathPrefix: needs a listener with forwarder "http" (L7)',
            'route[1].respond: needs a listener with forwarder "http" (L7)',
        ],
    ),
    (
        "[[route]]\nlistener = 'raw'\nserverName = 'a'\npool = 'chat'\nmaxMessage = 1",
        [
            'route[1].maxMessage: needs a listener with forwarder "http" (L7)',
            'route[1].serverName: needs a listener with forwarder "tls-passthrough"',
        ],
    ),
    ("[[route]]\nlistener = ['raw', 'web']\nhost = 'a'\npool = 'chat'", []),
    ("[[route]]\nlistener = ['raw', 'own']\nhost = 'a'\npool = 'chat'", []),
    ("[[route]]\nlistener = 'secret'\nserverName = 'a'\nalpn = 'b'\npool = 'chat'", []),
    ("[[route]]\nlistener = 'ended'\nserverName = 'a'\npool = 'chat'", []),
    ("[[route]]\nlistener = 'raw'\nnetwork = '10.0.0.0/8'\nidleTimeout = 0\npool = 'chat'", []),
    (
        "[listener.x]\nendpoint = 'tcp:1'\nforwarder = 'tcp'\nheadTimeout = 1\nmaxHead = 1",
        [
            'listener.x.headTimeout: has no effect with forwarder "tcp"',
            'listener.x.maxHead: has no effect with forwarder "tcp"',
        ],
    ),
    (
        "[listener.x]\nendpoint = ['tcp:1', 'tls:2']\nforwarder = 'tls-passthrough'\n"
        "headTimeout = 1",
        ['listener.x.endpoint: "tls:2" ends TLS, so none passes through'],
    ),
    (
        "[listener.x]\nendpoint = 'haproxy:tcp:1'\nproxyProtocol = '10.0.0.0/8'\n"
        "passthrough = 'a'\ndetectTimeout = 1",
        [
            'listener.x.passthrough: needs forwarder "detect"',
            'listener.x.detectTimeout: needs forwarder "detect"',
            'listener.x.proxyProtocol: "haproxy:tcp:1" expects a header already',
        ],
    ),
    (
        "[listener.x]\nendpoint = 'tcp:1'\nforwarder = 'detect'\npassthrough = 'a'",
        ["listener.x.passthrough: has no effect without a tls table: all TLS passes through"],
    ),
    (
        "[listener.x]\nendpoint = 'tcp:1'\nforwarder = 'detect'\npassthrough = 'a'\n"
        "detectTimeout = 1\nproxyProtocol = '10.0.0.0/8'\ntls = {certificates = 'a'}",
        [],
    ),
    # TLS that ends
    (
        "[listener.x]\nendpoint = 'tcp:1'\nforwarder = 'tls-terminate'\nmaxHead = 1",
        [
            'listener.x.maxHead: has no effect with forwarder "tls-terminate"',
            'listener.x: forwarder "tls-terminate" needs a [listener.x.tls] table',
        ],
    ),
    (
        "[listener.x]\nendpoint = 'tcp:1'\nforwarder = 'tls-passthrough'\n"
        "tls = {certificates = 'a'}",
        [
            'listener.x.tls: ends TLS, so none passes through; forwarder "tls-terminate" is for',
        ],
    ),
    (
        "[listener.x]\nendpoint = ['tcp:1', 'ssl:443:privateKey=a.pem']\n"
        "tls = {certificates = 'a'}",
        ['listener.x.tls: "ssl:443:privateKey=a.pem" ends TLS already; it would be "tcp:443"'],
    ),
    (
        "[listener.x]\nendpoint = 'tcp:1'\n[listener.x.tls]\ncertificates = 'a'\n"
        "clientCA = 'b'\nclientDepth = 1\nciphers = 'modern'\nminimumVersion = 'TLSv1.2'",
        [
            'listener.x.tls.clientCA: has no effect without clientCertificates = "require"',
            'listener.x.tls.clientDepth: has no effect without clientCertificates = "require"',
            'listener.x.tls.minimumVersion: ciphers "modern" are TLS 1.3 only',
        ],
    ),
    (
        "[listener.x]\nendpoint = 'tcp:1'\n[listener.x.tls]\ncertificates = 'a'\n"
        "clientCertificates = 'require'\nclientDepth = 1",
        [
            'listener.x.tls.clientCertificates: "require" needs clientCA, by which to trust them',
            "listener.x.tls.clientDepth: has no effect without clientCA",
        ],
    ),
    (
        "[listener.x]\nendpoint = 'tcp:1'\nforwarder = 'tcp'\nheadTimeout = 1\n"
        "[listener.x.tls]\ncertificates = 'a'\nclientCertificates = 'request'\n"
        "[[route]]\nlistener = 'x'\nserverName = 'a'\npool = 'chat'",
        [],
    ),
    (
        "[listener.x]\nendpoint = 'haproxy:tcp:1'\nforwarder = 'tls-terminate'\n"
        "[listener.x.tls]\ncertificates = ['a', {certificate = 'b', key = 'c'}]\n"
        "clientCertificates = 'require'\nclientCA = 'd'\nclientDepth = 2\n"
        "[[route]]\nlistener = 'x'\nalpn = 'a'\npool = 'chat'",
        [],
    ),
    # pools
    (
        "[pool.x]\nbackends = 'ws://a'\nca = 'a'\nverify = true",
        [
            "pool.x.ca: has no effect, since no backend has TLS (wss, https, tls)",
            "pool.x.verify: has no effect, since no backend has TLS (wss, https, tls)",
        ],
    ),
    (
        "[pool.x]\nbackends = 'wss://a'\nca = 'a'\nverify = false",
        ["pool.x.ca: has no effect with verify = false"],
    ),
    (
        "[pool.x]\nbackends = 'tcp:a:1'\nserverName = 'a'\ncertificate = 'a'\nkey = 'a'\n"
        "minimumVersion = 'TLSv1.3'",
        [
            "pool.x.serverName: has no effect, since no backend has TLS",
            "pool.x.certificate: has no effect, since no backend has TLS",
            "pool.x.key: has no effect, since no backend has TLS",
            "pool.x.minimumVersion: has no effect, since no backend has TLS",
        ],
    ),
    (
        "[pool.x]\nbackends = 'wss://a'\nkey = 'a'",
        ["pool.x.key: has no effect without certificate"],
    ),
    (
        "[pool.x]\nbackends = ['tcp:a:1', 'tls:a:1']\nserverName = 'a'\ncertificate = 'a'\n"
        "key = 'a'\nca = 'a'\nminimumVersion = 'TLSv1.3'\nproxyProtocol = 'v1'",
        [],
    ),
]


def problemsIn(text: str) -> list[str]:
    """What is said about a configuration."""
    try:
        loads(text)
    except ConfigurationError as error:
        return list(error.problems)
    return []


class CheckTests(SynchronousTestCase):
    """Parts that are right alone may be wrong together."""

    def test_good(self) -> None:
        """A file without mistakes has no problems."""
        self.assertEqual(problemsIn(GOOD), [])

    def test_table(self) -> None:
        """Each mistake makes its own sentences and no others."""
        for text, expected in TABLE:
            problems = problemsIn(GOOD + text)
            self.assertEqual(len(problems), len(expected), (text, problems))
            for problem, start in zip(problems, expected, strict=True):
                self.assertTrue(problem.startswith(start), f"{problem}\nis not\n{start}")

    def test_nothing(self) -> None:
        """A relay that listens nowhere, or could relay nothing, is a mistake."""
        self.assertEqual(problemsIn(""), ["listener: at least one [listener.NAME] is needed"])
        self.assertEqual(
            problemsIn("[listener.a]\nendpoint = 'tcp:1'"),
            ["listener.a: there is no route, and this listener has no pool"],
        )
        for text in ["[pool.p]\nbackends = 'ws://a'", "[plugin.p]\nuse = 'p'"]:
            pool = "pool = 'p'" if "pool" in text else ""
            self.assertEqual(problemsIn(f"[listener.a]\nendpoint = 'tcp:1'\n{pool}\n{text}"), [])

    def test_brokenPartsCount(self) -> None:
        """A part that is wrong in itself is checked too, and may be named by others."""
        text = (
            "[listener.a]\nendpoint = 3\npool = 'p'\nforwarder = 'htp'\n"
            "[[route]]\nhost = 'a b'\npool = 'q'\n[pool.p]\nbackends = 4"
        )
        self.assertEqual(
            [problem.partition(":")[0] for problem in problemsIn(text)],
            [
                "listener.a.endpoint",
                "route[1].host",
                "pool.p.backends",
                "listener.a.forwarder",
                "route[1].pool",
            ],
        )

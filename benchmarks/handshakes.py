# -*- test-case-name: tests.test_benchmarks -*-
"""
Handshakes of TLS: open, shake hands, close; and the same with one GET in between.

Every handshake is a full one, with a certificate and key of ECDSA P-256 and with X25519. The
client resumes no session; servers that send tickets nevertheless send them. How fast the
arithmetic is depends on the library, so the versions of OpenSSL are part of the result: nginx
and HAProxy have Debian's, wsrelay has the one that C{cryptography} brings, Envoy has BoringSSL
and Caddy has Go's own.

What is claimed is claimed of C{[listener.NAME.tls]}; an C{ssl:} endpoint is Twisted's own TLS.
"""

from __future__ import annotations

from benchmarks.lab.claim import Claim, Rule, best

__all__ = ["CLAIM"]

_WORKS = ("https-handshake", "https-handshake-1.2")

CLAIM = Claim(
    "handshakes",
    "TLS handshakes, ECDSA P-256, none resumed",
    (*_WORKS, "https-connect"),
    (
        "relay-tls",
        "nginx",
        "haproxy",
        "envoy",
        "caddy",
        "wsrelay-tls",
        "wsrelay-certificates",
    ),
    (Rule("wsrelay-certificates", _WORKS, must=best(1.5, "nginx"), aim=best(1.0, "nginx")),),
    note="1,000,000 divided by the figure is what a second of CPU time does.",
)

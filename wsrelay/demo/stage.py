# -*- test-case-name: tests.demo.test_stage -*-
"""
The demo's configuration: what one would write into a file to get the same.

The I{application} runs twice, as two backends with an echo and a chat each. Layer 4 can only
take the next of them; layer 7 has read the path, and keeps one for each purpose.

Nothing is opened here. Everything listens on the loopback interface only: the chat is open
to whoever can reach it.
"""

from __future__ import annotations

import contextlib
import socket
from string import Template

from wsrelay.config.load import loads
from wsrelay.config.schema import Configuration
from wsrelay.errors import ConfigurationError

__all__ = ["TEXT", "configuration"]

#: The configuration; ports are filled in.
TEXT = Template("""\
[listener.l4]
endpoint = "tcp:$l4:interface=127.0.0.1"
forwarder = "tcp"

[listener.l7]
endpoint = "tcp:$l7:interface=127.0.0.1"
forwarder = "http"

[[route]]
name = "everything"
listener = "l4"
pool = "both"
filters = "chunks"

[[route]]
name = "echo"
path = "/echo"
listener = "l7"
pool = "echo"
filters = "messages"

[[route]]
name = "chat"
path = "/chat"
listener = "l7"
pool = "chat"
filters = "messages"

[[route]]
name = "page"
listener = "l7"
serve = "page"

[pool.both]
backends = ["tcp:127.0.0.1:$one", "tcp:127.0.0.1:$two"]

[pool.echo]
backends = "ws://127.0.0.1:$one"

[pool.chat]
backends = "ws://127.0.0.1:$two"

[plugin.chunks]
use = "wsrelay.demo.watch:chunks"

[plugin.messages]
use = "wsrelay.demo.watch:messages"

[plugin.page]
use = "wsrelay.demo.page:page"
l4Port = $l4
l7Port = $l7

# The backends: listeners whose connections end in a program instead of being relayed.

[listener.one]
endpoint = "tcp:$one:interface=127.0.0.1"
forwarder = "application"

[listener.two]
endpoint = "tcp:$two:interface=127.0.0.1"
forwarder = "application"

[plugin.application]
use = "wsrelay.demo.application:Application"
""")


def configuration(l7Port: int = 8080, l4Port: int | None = None) -> Configuration:
    """
    The demo on these ports of 127.0.0.1; its backends get ports that are free.

    @param l7Port: where the page is.
    @param l4Port: C{None} is the port after C{l7Port}.
    @raise ConfigurationError: a port is in use, by another demo perhaps, or is none.
    """
    wanted = (l7Port, l7Port + 1 if l4Port is None else l4Port, 0, 0)
    l7, l4, one, two = _free(wanted)
    return loads(TEXT.substitute(l4=l4, l7=l7, one=one, two=two))


def _free(wanted: tuple[int, ...]) -> list[int]:
    """
    The same ports, 0 replaced by one that is free now. Held open together, so that they
    differ; whoever listens later still hears it if somebody was quicker.
    """
    with contextlib.ExitStack() as probes:
        found = []
        for port in wanted:
            probe = probes.enter_context(socket.socket())
            # What an earlier demo has closed a moment ago is free, as it is for Twisted.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                probe.listen()
            except (OSError, OverflowError) as error:
                reason = getattr(error, "strerror", None) or error
                raise ConfigurationError(
                    [f"--demo: port {port} of 127.0.0.1: {reason}; see --demo-port"]
                ) from None
            found.append(int(probe.getsockname()[1]))
    return found

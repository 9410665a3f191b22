# -*- test-case-name: tests.routing.test_redirect -*-
"""
Answers that send a client elsewhere, to where a template says.

A client chooses what many placeholders stand for, but never the host it is sent to, unless it
has asked for that very host.
"""

from __future__ import annotations

import re

from attrs import field, frozen

from wsrelay.model import Inbound, Refuse, Respond
from wsrelay.rules import Template, isHost

__all__ = ["Redirect"]

# Only what stands for a name may stand in the authority, and behind it only what begins with
# a slash or is behind a question mark: "https://example.org{query}" could end in any name.
_TO = re.compile(
    r"(?:(?:https?|\{scheme\})://"
    r"(?:[A-Za-z0-9._-]|\{host\}|\{serverName\}|\[[0-9A-Fa-f:.]+\])+(?::[1-9][0-9]{0,4})?"
    r"(?=[/?]|\{target\}|\{path\}|\Z)"
    r"|/(?![/\\])|\{target\}|\{path\})[!-~]*"
)
_LOCATION = re.compile(r"https?://([^/?]*)(?:[/?][!-~]*)?")
_LOCAL = re.compile(r"/[!-~]*")
_REDIRECTS = (301, 302, 303, 307, 308)


def _destination(text: str) -> Template:
    template = Template(text)
    if not _TO.fullmatch(text):
        raise ValueError(
            f'"{text}": expected http:// or https:// and a host, or a path, of visible ASCII; '
            "only {host} and {serverName} may stand in the host's place, and only {target} and "
            "{path} follow it without a slash"
        )
    return template


@frozen
class Redirect:
    """
    A decision of the configuration's: an answer that sends the client elsewhere.

    @ivar to: a template for C{Location}: an absolute URL, or a path of the same host.
    @ivar status: 301, 302, 303, 307 or 308; the last two keep method and body.
    """

    to: str
    status: int = 308
    route: str = ""
    _to: Template = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.status not in _REDIRECTS:
            raise ValueError(f"a redirect is 301, 302, 303, 307 or 308, not {self.status}")

    @_to.default
    def _makeTo(self) -> Template:
        return _destination(self.to)

    def decide(self, inbound: Inbound) -> Respond | Refuse:
        """What is decided about one client."""
        location = self._to.render(inbound, self.route)
        if location.startswith("/"):
            # A browser takes two slashes of any kind for the beginning of a host's name.
            location = "/" + location.lstrip("/\\")
            isFine = _LOCAL.fullmatch(location) is not None
        else:
            match = _LOCATION.fullmatch(location)
            isFine = match is not None and isHost(match[1])
        if inbound.request is None or not isFine:
            return Refuse(f"no redirect can be made of {location[:200]!r}")
        return Respond(self.status, ((b"Location", location.encode("ascii")),))

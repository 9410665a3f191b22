# -*- test-case-name: tests.config.test_reference -*-
"""
The manual's page about the configuration, made from the schema::

    python -m wsrelay.config.reference > docs/reference/configuration.md

One card for each key: value, default, meaning, example. What this module writes itself is
only what belongs to no single key.
"""

from __future__ import annotations

import json
import typing
from typing import Annotated, Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from wsrelay.config.caches import Cache
from wsrelay.config.limiting import Limits
from wsrelay.config.listeners import Listener
from wsrelay.config.pools import Backend, Pool
from wsrelay.config.problems import keyOf, quoted
from wsrelay.config.rewriting import HeaderRules, PathChange, Redirection
from wsrelay.config.routes import Answer, Route
from wsrelay.config.schema import Plugin, Relay
from wsrelay.config.terminating import CertificateFiles, Termination
from wsrelay.config.values import Expected, Listed

__all__ = ["EXAMPLE", "SECTIONS", "page", "tomlOf"]

#: A whole file, for the top of the page.
EXAMPLE = """\
[listener.public]
endpoint = "tcp:8080"

[[route]]
host = "chat.example.org"
path = "/ws/*"
pool = "chat"
filters = ["redact"]

[[route]]
network = "10.0.0.0/8"
pathPrefix = "/status"
respond = {status = 200, body = "up\\n"}

[pool.chat]
backends = ["ws://10.0.0.1:9000", {url = "wss://10.0.0.2:9443", weight = 2}]
balancer = "least-connections"

[plugin.redact]
use = "redact"
words = ["secret"]
"""

#: What introduces each table: how the file writes it, the prefix of its keys, its class.
SECTIONS: tuple[tuple[str, str, type[BaseModel]], ...] = (
    ("[relay]", "relay", Relay),
    ("[listener.NAME]", "listener", Listener),
    ("[listener.NAME.limits]", "listener.limits", Limits),
    ("[listener.NAME.tls]", "listener.tls", Termination),
    (
        "certificates = [{...}] in [listener.NAME.tls]",
        "listener.tls.certificates",
        CertificateFiles,
    ),
    ("[[route]]", "route", Route),
    ("respond = {...} in [[route]]", "route.respond", Answer),
    ("redirect = {...} in [[route]]", "route.redirect", Redirection),
    ("requestHeaders = {...} in [[route]]", "route.requestHeaders", HeaderRules),
    ("replacePath = {...} in [[route]]", "route.replacePath", PathChange),
    ("[pool.NAME]", "pool", Pool),
    ("backends = [{...}] in [pool.NAME]", "pool.backends", Backend),
    ("[cache.NAME]", "cache", Cache),
    ("[plugin.NAME]", "plugin", Plugin),
)

_HEAD = f"""\
<!-- Written by `python -m wsrelay.config.reference`. Change the schema, not this page. -->

# Configuration

One file, in [TOML](https://toml.io/). It is read strictly: an unknown key, a value of the
wrong kind, a name that refers to nothing and a key that would have no effect are errors.
All errors are reported at once, each with the path of its key. Routes are counted from 1.

```toml
{EXAMPLE}```

## Values

Times are in seconds, sizes in bytes; both are plain numbers. Where a value or a list is
allowed, a list of conditions means any of them.

**Names** of listeners, pools and plugins have letters, digits, `_`, `-` and `.`.

**Patterns.** In values of `path`, `header`, `query` and `cookie`, `*` stands for any
characters, none and `/` included; without `*` a pattern is compared exactly. In names of
hosts, `*.` at the beginning stands for one or more labels.

**Templates.** In values of `requestHeaders`, `responseHeaders`, `redirect` and `hostHeader`,
`{{client}}` and other [placeholders](../howto/rewrite-requests.md#templates) stand for facts
about the client; `{{{{` and `}}}}` are braces.

**The normal form of a path.** `path`, `pathPrefix` and `pathRegex` are compared with this
form of the request's path, so that a rule holds for every spelling of what it names:

1. Escapes of characters that need none are decoded (`%41` is `A`, `%2E` is `.`); the
   others are in upper case (`%e2` is `%E2`).
2. `\\`, `%2F` and `%5C` count as `/`; several slashes in a row are one.
3. Parameters are left out: `/a;v=1/b` is `/a/b`.
4. Dot segments are resolved: `/a/./b/../c` is `/a/c`. A final slash stays.

Paths that backends read in different ways have no normal form: broken escapes, `%00`,
overlong UTF-8, a climb above the root, and dot segments together with parameters, empty
segments or a slash of another kind. Such a request is refused (403) as soon as a route asks
for its path. The backend gets the path as the client wrote it, unless
the route [rewrites it](../howto/rewrite-requests.md#path).
"""


def page() -> str:
    """The whole page, in Markdown."""
    return "\n".join([_HEAD, *(_section(*section) for section in SECTIONS)])


def _section(title: str, prefix: str, schema: type[BaseModel]) -> str:
    meaning = " ".join((schema.__doc__ or "").replace("C{", "`").replace("}", "`").split())
    hints = typing.get_type_hints(schema, include_extras=True)
    cards = [
        _card(title, f"{prefix}.{key}", field, hints[key])
        for key, field in schema.model_fields.items()
    ]
    return "\n".join([f"## `{title}`\n\n{meaning}\n", *cards])


def _card(table: str, path: str, field: FieldInfo, hint: Any) -> str:
    key = path.rpartition(".")[2]
    examples = "\n# or\n".join(f"{key} = {tomlOf(each)}" for each in field.examples or ())
    return f"""\
### <a id="{path}"></a>`{key}`

* Value: {_prose(_words(hint))}
* Default: {_default(field)}
* Where: `{table}`

{_prose(str(field.description))}

```toml
{examples}
```
"""


def _prose(text: str) -> str:
    """Text in which nothing is markup."""
    return text.replace("*", "\\*")


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "none; this key is required"
    return "none" if field.default in (None, (), {}, "") else f"`{tomlOf(field.default)}`"


def _words(hint: Any) -> str:
    """What a value must be, as the error for a wrong one says it."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return hint.model_config.get("title") or f"a table of {', '.join(hint.model_fields)}"
    kind, (first, *others) = typing.get_origin(hint), typing.get_args(hint)
    if kind is Annotated:
        told = [each.text for each in others if isinstance(each, Expected)]
        several = ", or a list" if any(isinstance(each, Listed) for each in others) else ""
        return (told or [_words(first)])[0] + several
    if kind is dict:
        return f"a table of names, each with {_words(others[0])}"
    return _words(first)  # X | None, or tuple[X, ...]


def tomlOf(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, dict):
        pairs = ", ".join(f"{keyOf(key)} = {tomlOf(each)}" for key, each in value.items())
        return f"{{{pairs}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(tomlOf(each) for each in value)}]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return quoted(value) if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    print(page(), end="")

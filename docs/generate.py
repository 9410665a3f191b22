# -*- test-case-name: tests.test_docs -*-
"""
Writes the pages of the reference that say what the source says::

    python docs/generate.py            write them
    python docs/generate.py --check    say which are not as they would be written

C{plugins.md} comes from the docstrings of L{wsrelay.interfaces}, L{wsrelay.model} and
L{wsrelay.headers}, C{command-line.md} from the options of C{twistd wsrelay}, and
C{errors-and-close-codes.md} from L{wsrelay.errors} and L{wsrelay.l7.session}. What this module
says itself is only what introduces them. C{configuration.md} has a generator of its own,
L{wsrelay.config.reference}.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from wsrelay import errors, facts, headers, interfaces, model, rules
from wsrelay.l7 import session
from wsrelay.tap import Options

__all__ = ["PAGES", "main", "markdown"]

REFERENCE = Path(__file__).resolve().parent / "reference"

_STAMP = "<!-- Written by `python docs/generate.py`. Change the source, not this page. -->\n\n"


# ----------------------------------------------------------------- epytext to Markdown


def markdown(docstring: str) -> str:
    """A docstring in epytext, of which we use little, as Markdown."""
    blocks = re.split(r"\n\s*\n", inspect.cleandoc(docstring))
    return "\n\n".join(_grouped(blocks))


def _grouped(blocks: Iterable[str]) -> Iterator[str]:
    """Paragraphs, lists of fields, and fenced code."""
    code: list[str] = []
    for block in blocks:
        if block.startswith("    "):
            code.append(block)
            continue
        if code:
            yield _fenced(code)
            code = []
        if block.startswith("@"):
            yield "\n".join(_fields(block))
        else:
            yield _inline(" ".join(block.split())).replace("::", ":")
    if code:
        yield _fenced(code)


def _fenced(code: list[str]) -> str:
    return "```python\n" + textwrap.dedent("\n\n".join(code)) + "\n```"


def _fields(block: str) -> Iterator[str]:
    for field in re.split(r"\n(?=@)", block):
        kind, text = field[1:].split(":", 1)
        word, _, name = kind.partition(" ")
        told = _inline(" ".join(text.split()))
        if word == "param":
            yield f"- `{name}`: {told}"
        elif word == "raise":
            yield f"- raises `{name}`: {told}"
        else:
            yield f"- {word}s: {told}"


def _inline(text: str) -> str:
    text = re.sub(r"L\{([^<}]+?)\s*<[^}]*>\}", r"L{\1}", text)
    text = re.sub(r"[CL]\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}", r"`\1`", text)
    return re.sub(r"I\{([^{}]*)\}", r"*\1*", text)


# --------------------------------------------------------------------- plugins.md

_PLUGINS_HEAD = """\
# Plugins

A plugin is an object that provides one or more of the interfaces below. What it needs is imported
from `wsrelay`, whatever module it lives in. How to write the first one is told in the
[tutorial](../tutorial/first-plugin.md), how to give it to others in
[Ship a plugin](../howto/ship-a-plugin.md); [examples](../../examples/) has one for almost every
interface.

Each interface answers six questions in this order: what it is; when it is called and how often;
what it may change; what it may return; what happens when it raises; an example. “May be
asynchronous” means: a value, a `Deferred`, or a coroutine.

| interface | example | where its name stands |
| --- | --- | --- |
| [`IPluginMaker`](#ipluginmaker) | all of them | `use` in `[plugin.NAME]` |
| [`IForwarder`](#iforwarder) | [knock](../../examples/knock.py) | `forwarder` of a listener |
| [`IRoutingPolicy`](#iroutingpolicy) | [tenants](../../examples/tenants.py) | `policies` of \
a listener; not given, every one is asked |
| [`IBalancer`](#ibalancer) | | `balancer` of a pool |
| [`IRequestFilter`](#irequestfilter) | [guard](../../examples/guard.py) | `filters` of a route |
| [`IMessageFilter`](#imessagefilter) | [redact](../../examples/redact.py) | `filters` of a route |
| [`IStreamFilter`](#istreamfilter) | | `filters` of a route |
| [`IObserver`](#iobserver) | [counter](../../examples/counter.py) | nowhere: every one hears |
| a `twisted.web` `IResource` | [chatroom](../../examples/chatroom.py) | `serve` of a route |

`use` in `[plugin.NAME]` is the name of an installed plugin (`twistd wsrelay --plugins` lists them)
or `module:object`. That object may be a maker, the class of a maker, or, when there are no
options, a plugin itself or its class. Modules are also looked for where `twistd` was started.
"""

_PLUGINS_PARTS = (
    (interfaces, "What plugins provide", ("Options", "IPluginMaker", "IForwarder")),
    (interfaces, "", ("IRoutingPolicy", "IBalancer", "IRequestFilter", "IMessageFilter")),
    (interfaces, "", ("IStreamFilter", "IObserver")),
    (interfaces, "What plugins are given", ("IRelay", "IListener", "IBackend")),
    (interfaces, "", ("IExchange", "ISession", "ITunnel")),
    (facts, "Facts", ("Inbound", "Address", "ClientCertificate", "Request", "Response")),
    (headers, "", ("Headers", "MutableHeaders")),
    (facts, "", ("OutboundRequest", "OutboundResponse")),
    (model, "", ("Direction", "Interest", "Counts")),
    (model, "Decisions", ("Forward", "RouteSettings", "Respond", "Serve", "Refuse")),
    (rules, "", ("Rules", "FieldRules")),
    (model, "Verdicts", ("Message", "Drop", "Reply", "Close", "Retire")),
    (model, "Endings", ("CloseReason", "Party", "Phase", "Kind")),
    (model, "Events", ("Event", "Opened", "Decided", "Connected", "Established", "Closed")),
)


def plugins() -> str:
    """The page about the interfaces and what goes through them."""
    parts = [_PLUGINS_HEAD]
    for module, title, names in _PLUGINS_PARTS:
        if title:
            parts.append(f"## {title}\n")
        classes = _classes(module)
        parts += [_class(classes[name]) for name in names]
    return "\n".join(parts)


def _classes(module: ModuleType) -> dict[str, ast.ClassDef]:
    tree = ast.parse(inspect.getsource(module))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _class(node: ast.ClassDef) -> str:
    docstring = inspect.cleandoc(ast.get_docstring(node, clean=False) or "")
    about, _, fields = docstring.partition("@ivar ")
    told = dict(_told(fields))
    members = list(_members(node, told))
    # What is named but not defined right here is an attribute all the same.
    members += [_member(name, text) for name, text in told.items()]
    about = markdown(about)
    return "\n".join([f"### `{node.name}`\n", about, "", *members, *([""] if members else [])])


def _told(fields: str) -> Iterator[tuple[str, str]]:
    """What a class says about its attributes, by name."""
    for field in filter(None, fields.split("@ivar ")):
        name, _, text = field.partition(":")
        yield name, _inline(" ".join(text.split()))


def _member(what: str, text: str = "") -> str:
    indented = text.replace("\n", "\n  ").replace("\n  \n", "\n\n")
    return f"* `{what}`" + (f"\\\n  {indented}" if text else "")


def _members(node: ast.ClassDef, told: dict[str, str]) -> Iterator[str]:
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and not each.name.startswith("_"):
            text = markdown(ast.get_docstring(each, clean=False) or "")
            yield _member(_signature(each), text)
        elif isinstance(each, ast.AnnAssign) and not ast.unparse(each.target).startswith("_"):
            name, value = ast.unparse(each.target), each.value
            what, text = f"{name}: {ast.unparse(each.annotation)}", told.pop(name, "")
            if isinstance(value, ast.Call) and ast.unparse(value.func) == "Attribute":
                text = _inline(str(ast.literal_eval(value.args[0])))
            elif value is not None:
                what += f" = {ast.unparse(value)}"
            yield _member(what, text)
        elif isinstance(each, ast.Assign) and ast.unparse(each.targets[0]).isupper():
            yield _member(ast.unparse(each))


def _signature(node: ast.FunctionDef) -> str:
    decorators = {ast.unparse(each) for each in node.decorator_list}
    returns = ast.unparse(node.returns) if node.returns else "Any"
    if decorators & {"property", "cached_property"}:
        return f"{node.name}: {returns}"
    if node.args.args and node.args.args[0].arg == "self":  # an interface's methods have none
        node.args.args.pop(0)
    return f"{node.name}({ast.unparse(node.args)}) -> {returns}"


# --------------------------------------------------------------- command-line.md

_COMMAND_LINE = """\
# The command line

    twistd [options of twistd] wsrelay [options of wsrelay]

Without a file, for the simple case (`--listen` and `--to` may be repeated):

    twistd -n wsrelay --listen tcp:8080 --to ws://127.0.0.1:9000      # L7: HTTP and WebSocket
    twistd -n wsrelay --listen tcp:8080 --to tcp:127.0.0.1:9000       # L4: any TCP

With a [configuration](configuration.md):

    twistd -n wsrelay --config relay.toml
    twistd -n wsrelay --config relay.toml --check

## Options of wsrelay

{options}
`--config`, `--demo` and `--listen` with `--to` exclude one another. `--plane` and `--log-format`
count more than what the file says.

## Options of twistd

They stand before `wsrelay`; `twistd --help` lists all. The ones that matter here:

| option | meaning |
| --- | --- |
| `-n`, `--nodaemon` | Stay in the foreground and log to standard output. |
| `--pidfile=` | With an empty value, write none: right under systemd, and to run several. |
| `-l`, `--logfile=` | Where the log goes; `-` is standard output. |
| `-u`, `--uid=`, `-g`, `--gid=` | Whom to become once privileged ports are open. |
| `--umask=` | For the UNIX sockets it makes. |
| `-r`, `--reactor=` | Another reactor than the platform's best. |

## Exit status

| status | when |
| --- | --- |
| 0 | It was stopped by a signal, or had only to tell something (`--check`, `--help`) and did. |
| 1 | A wrong option, or the configuration is wrong, a plugin could not be made, or a port could \
not be opened. Every problem is on standard error, one a line, with `wsrelay:` in front. |
"""


def commandLine() -> str:
    """The page about the command line."""
    rows = ["| option | meaning |", "| --- | --- |", *_options(), ""]
    return _COMMAND_LINE.format(options="\n".join(rows))


def _options() -> Iterator[str]:
    options = Options()
    short = {long: letter for letter, long in options.synonyms.items() if len(letter) == 1}
    for long in sorted(options.docs):
        if long in ("help", "version"):
            continue
        takesValue = f"{long}=" in options.longOpt
        names = f"`-{short[long]}`, " if long in short else ""
        meaning = " ".join((options.docs[long] or "").split())
        default = options.defaults.get(long) if takesValue else None
        told = f" Default: `{default}`." if default is not None else ""
        yield f"| {names}`--{long}{'=' if takesValue else ''}` | {meaning}{told} |"


# ------------------------------------------------------- errors-and-close-codes.md

_ERRORS_HEAD = """\
# Errors and close codes

Whatever goes wrong is one of the errors below. Each knows whose fault it was and which HTTP status
answers it. The peer is told the status or the close code and its standard phrase; what happened,
and which plugin or backend it was, stands in the log as `party/phase: detail`.

## Before the 101: HTTP

| error | fault of | status | when |
| --- | --- | --- | --- |
"""

_ERRORS_TAIL = """
At layer 4 there is no status: the client's connection is closed, and broken off (RST) when a
plugin raised. When a response has already begun, its connection is broken off, so that the client
cannot take half of it for the whole. In the log, status 499 stands for a client that left before
it was answered, and 0 for none.

## After the 101: close codes

A Close frame that came from one side goes to the other as it is, code and reason. What is told
otherwise is in this table.

{table}

The codes of a broken rule: 1002 is a frame that RFC 6455 does not allow, 1007 is text that is not
UTF-8 or data that cannot be inflated, 1008 is more pings than `maxControlRate` allows, 1009 is a
frame or message over `maxFrame`, `maxMessage` or `maxFragments`.

## In the log

`client saw` and `backend saw` are the close codes that went to each side, with two that never go
on the wire: 1005 is a Close frame without a code, 1006 is none at all.

| party | who ended it |
| --- | --- |
| `client`, `backend` | that side: it closed, left, was too slow or broke a rule |
| `relay` | the relay: an answer of its own, an idle timeout, a stop, no route |
| `plugin` | a plugin raised, answered itself, or asked for the end |

| phase | how far it had come |
| --- | --- |
| `accept` | reading what the client says first: the request's head, or the TLS ClientHello |
| `decide` | asking the policies |
| `dial` | request filters, and connecting to a backend |
| `answer` | waiting for the backend's answer |
| `relay` | moving bytes |
| `close` | the closing handshake |
"""


def errorsAndCloseCodes() -> str:
    """The page about what goes wrong."""
    rows = [
        f"| `{error.__name__}` | {error.party} | {_status(error)} | {_when(error)} |"
        for error in _leaves()
    ]
    return _ERRORS_HEAD + "\n".join(rows) + "\n" + _ERRORS_TAIL.format(table=_closeTable())


def _leaves() -> Iterator[type[errors.RelayError]]:
    """The errors that a peer can meet, by status."""
    named = [getattr(errors, name) for name in errors.__all__]
    hidden = (errors.RelayError, errors.ConfigurationError, errors.ClientFault, errors.Violation)
    return iter(sorted((each for each in named if each not in hidden), key=_order))


def _order(error: type[errors.RelayError]) -> tuple[int, str]:
    return error.status, error.__name__


def _status(error: type[errors.RelayError]) -> str:
    several = {errors.BadHandshake: "400 or 426", errors.Limited: "429 or 503"}
    return several.get(error) or str(error.status)


def _when(error: type[errors.RelayError]) -> str:
    first = markdown(error.__doc__ or "").split("\n\n")[0]
    return first.rstrip(".") + "."


def _closeTable() -> str:
    """The table of the session's docstring, whose columns are as wide as its rules."""
    lines = (session.__doc__ or "").splitlines()
    first, second, third = (n for n, line in enumerate(lines) if line.startswith("==="))
    starts = [match.start() for match in re.finditer("=+", lines[first])]
    bounds = list(zip(starts, [*starts[1:], None], strict=True))

    def row(line: str) -> str:
        return "| " + " | ".join(line[a:b].strip() or "nothing" for a, b in bounds) + " |"

    head = row(lines[first + 1])
    return "\n".join([head, "| --- | --- | --- |", *map(row, lines[second + 1 : third])])


# ------------------------------------------------------------------------- all

PAGES = {
    "plugins.md": plugins,
    "command-line.md": commandLine,
    "errors-and-close-codes.md": errorsAndCloseCodes,
}


def main(arguments: list[str]) -> int:
    """Write the pages, or say which are old."""
    status = 0
    for name, make in PAGES.items():
        path, text = REFERENCE / name, _STAMP + make()
        if path.exists() and path.read_text("utf-8") == text:
            continue
        if arguments == ["--check"]:
            print(f"docs/reference/{name} is not what the source says: python docs/generate.py")
            status = 1
        else:
            path.write_text(text, "utf-8")
            print(f"wrote docs/reference/{name}")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

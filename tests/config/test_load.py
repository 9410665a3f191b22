"""Tests for reading the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given, settings, strategies as st
from pydantic import Field
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.config.listeners import Listener
from wsrelay.config.load import fromCommandLine, load, loads, optionsProblems
from wsrelay.config.pools import Backend, Pool
from wsrelay.config.reference import tomlOf
from wsrelay.config.routes import Route
from wsrelay.config.schema import Configuration, Plugin, Relay
from wsrelay.errors import ConfigurationError
from wsrelay.interfaces import Options

FILE = """
[relay]
logFormat = "json"

[listener.public]
endpoint = "tcp:8080"

[[route]]
host = "chat.example.org"
path = "/ws/*"
pool = "chat"
filters = ["redact"]

[[route]]
name = "closed"
refuse = true

[pool.chat]
backends = ["ws://10.0.0.1:9000", {url = "wss://10.0.0.2:9443", weight = 2}]
balancer = "least-connections"
ca = "ca.pem"

[plugin.redact]
use = "redact"
words = ["secret"]
"""

# Where anything may stand.
PLACES = [
    *("relay", "relay.plane", "listener", "listener.a", "listener.a.endpoint", "route"),
    *("pool", "pool.p", "pool.p.backends", "pool.p.balancer"),
    *("plugin", "plugin.x", "plugin.x.use"),
]


def problemsOf(call: Any, *arguments: Any) -> tuple[str, ...]:
    """The problems that C{call} raises."""
    try:
        call(*arguments)
    except ConfigurationError as error:
        return error.problems
    return ()


class LoadTests(SynchronousTestCase):
    """A file is read whole, or every problem in it is told."""

    def test_file(self) -> None:
        """What stands in the file stands in the configuration, in the same order."""
        read = loads(FILE)
        chat = Pool(
            backends=(
                Backend(url="ws://10.0.0.1:9000"),
                Backend(url="wss://10.0.0.2:9443", weight=2),
            ),
            balancer="least-connections",
            ca="ca.pem",
        )
        expected = Configuration(
            relay=Relay(logFormat="json"),
            listener={"public": Listener(endpoint=("tcp:8080",))},
            route=(
                Route(
                    name="route 1",
                    host=("chat.example.org",),
                    path=("/ws/*",),
                    pool="chat",
                    filters=("redact",),
                ),
                Route(name="closed", refuse="refused by the route"),
            ),
            pool={"chat": chat},
            plugin={"redact": Plugin.model_validate({"use": "redact", "words": ["secret"]})},
        )
        self.assertEqual(read, expected)

    def test_path(self) -> None:
        """A file is read from disk, and the files it names are looked for beside it."""
        path = Path(self.mktemp())
        path.mkdir()
        file = path / "relay.toml"
        file.write_text(FILE, encoding="utf-8")
        for each in (file, str(file)):
            ca = load(each).pool["chat"].ca
            self.assertEqual(ca, str((path / "ca.pem").absolute()))
        file.write_text(FILE.replace("ca.pem", "/etc/ca.pem"), encoding="utf-8")
        self.assertEqual(load(file).pool["chat"].ca, "/etc/ca.pem")
        own = 'certificate = "relay.pem"\nkey = "relay.key"'
        file.write_text(FILE.replace('ca = "ca.pem"', own), encoding="utf-8")
        chat = load(file).pool["chat"]
        here = path.absolute()
        self.assertIsNone(chat.ca)
        self.assertEqual((chat.certificate, chat.key), (f"{here}/relay.pem", f"{here}/relay.key"))

    def test_directory(self) -> None:
        """The configuration knows where its file is: plugins' files may be beside it."""
        path = Path(self.mktemp())
        path.write_text(FILE)
        self.assertEqual(load(path).directory, path.parent.absolute())
        self.assertIsNone(loads(FILE).directory)

    def test_noFile(self) -> None:
        """A file that cannot be read is a problem like others."""
        path = Path(self.mktemp())
        self.assertEqual(problemsOf(load, path), (f"{path}: No such file or directory",))
        path.write_bytes(b"\xff")
        self.assertEqual(problemsOf(load, path), (f"{path}: it is not UTF-8",))

    def test_syntax(self) -> None:
        """What is no TOML is reported with line and column."""
        for text, start in [
            ("a =\n", "line 1, column 4: "),
            ("[relay]\nplane = auto", "line 2, column 9: "),
            ("[relay", "end of document: "),
            ("[relay]\n[relay]", "line 2, column 7: "),
        ]:
            (problem,) = problemsOf(loads, text)
            self.assertTrue(problem.startswith(start), problem)
            self.assertTrue(problem.endswith("; this is not TOML"), problem)

    def test_everyProblem(self) -> None:
        """All problems are reported at once, each with its path and what would be right."""
        text = """
            listeners = 1
            [relay]
            plane = "fast"
            [listener.public]
            endpoint = ["tcp:8080", 80]
            headTimeout = "ten"
            [[route]]
            hosts = "a"
            pool = "chta"
            [[route]]
            name = "old"
            path = ["/ok", "no"]
            respond = {status = 99, bod = ""}
            [pool.chat]
            backends = ["ws://a/b", {url = "ws://c", weigth = 2}, {}]
            [plugin.redact]
            words = []
            """
        self.assertEqual(
            problemsOf(loads, text),
            (
                'listeners: unknown key; did you mean "listener"?',
                'relay.plane: expected "auto", "native" or "portable", found "fast"',
                "listener.public.endpoint[2]: expected a Twisted server endpoint string, found 80",
                'listener.public.headTimeout: expected a number of seconds > 0, found "ten"',
                'route[1].hosts: unknown key; did you mean "host"?',
                'route[2 "old"].path[2]: "no" can match nothing: the path does not begin with a '
                "slash",
                'route[2 "old"].respond.status: expected an HTTP status from 200 to 599, found 99',
                'route[2 "old"].respond.bod: unknown key; did you mean "body"?',
                "pool.chat.backends[1]: a backend is a host and a port; the path comes from the "
                'client\'s request, found "ws://a/b"',
                'pool.chat.backends[2].weigth: unknown key; did you mean "weight"?',
                "pool.chat.backends[3].url: this key is required",
                "plugin.redact.use: this key is required",
                'route[1].pool: no pool named "chta"; did you mean "chat"? (pools: chat)',
            ),
        )

    def test_wrongShapes(self) -> None:
        """A section that is something else is named as it should be written."""
        text = "listener = 3\nroute = {}\npool = []\nplugin = {a = 1}\nrelay = 'x'"
        self.assertEqual(
            problemsOf(loads, text),
            (
                'relay: expected a table, found "x"',
                "listener: expected [listener.NAME], found 3",
                "route: expected [[route]], found a table",
                "pool: expected [pool.NAME], found an empty list",
                "plugin.a: expected a table, found 1",
                "listener: at least one [listener.NAME] is needed",
            ),
        )

    @given(
        st.recursive(
            st.booleans() | st.integers() | st.floats(-9, 9) | st.text(max_size=8),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner),
            max_leaves=8,
        ),
        st.sampled_from(PLACES),
    )
    @settings(max_examples=200, deadline=None)
    def test_anything(self, value: Any, path: str) -> None:
        """Whatever stands somewhere, what is wrong about it is told in sentences."""
        problems = problemsOf(loads, f"{path} = {tomlOf(value)}")
        self.assertNotEqual(problems, ())
        for problem in problems:
            self.assertRegex(problem, r"^\S.*: .")


class CommandLineTests(SynchronousTestCase):
    """The simple case needs no file."""

    def test_layers(self) -> None:
        """What the backends are says whether requests are read or bytes are relayed."""
        for to, forwarder in [
            (["ws://a:1"], "http"),
            (["https://a", "ws://b"], "http"),
            (["tcp:a:1"], "tcp"),
            (["tls://a:1", "unix:/x"], "tcp"),
        ]:
            read = fromCommandLine(["tcp:80", "tcp:81"], to)
            self.assertEqual(read.listener["main"].forwarder, forwarder)
            self.assertEqual(read.listener["main"].endpoint, ("tcp:80", "tcp:81"))
            self.assertEqual([backend.url for backend in read.pool["main"].backends], to)
            self.assertEqual(read.route, (Route(name="main", pool="main"),))

    def test_filters(self) -> None:
        """Filters become plugins of the one route, in order."""
        read = fromCommandLine(["tcp:80"], ["ws://a"], ["redact", "my.mod:Cls.flt", "other:flt"])
        self.assertEqual(read.route[0].filters, ("redact", "flt", "flt-3"))
        uses = {name: plugin.use for name, plugin in read.plugin.items()}
        self.assertEqual(uses, {"redact": "redact", "flt": "my.mod:Cls.flt", "flt-3": "other:flt"})

    def test_relay(self) -> None:
        """The plane and the log's format can be chosen."""
        read = fromCommandLine(["tcp:80"], ["ws://a"], [], "portable", "json")
        self.assertEqual(read.relay, Relay(plane="portable", logFormat="json"))

    def test_problems(self) -> None:
        """Problems are named by the option that has them."""
        for arguments, problems in [
            (([], []), ["--listen: needed at least once", "--to: needed at least once"]),
            (
                (["80"], ["ws://a/b"], ["a b"], "fast", "xml"),
                [
                    '--plane: expected "auto", "native" or "portable", found "fast"',
                    '--logFormat: expected "text" or "json", found "xml"',
                    '--listen: expected a Twisted server endpoint string, such as "tcp:8080", '
                    'found "80"',
                    "--to: a backend is a host and a port; the path comes from the client's "
                    'request, found "ws://a/b"',
                    '--filter: expected the name of a plugin, or "module:object", found "a b"',
                ],
            ),
            (
                (["tcp:1"], ["ws://a", "tcp:b:1"]),
                ['--to: "tcp:b:1" is L4 and "ws://a" is L7; choose one, or write a file'],
            ),
            ((["tcp:1"], ["ws://a", "ws://a"]), ['--to: "ws://a" stands there 2 times']),
            (
                (["tcp:1"], ["ws://a"], ["tcp"]),
                ["--filter: this name is built in; choose another"],
            ),
        ]:
            self.assertEqual(problemsOf(fromCommandLine, *arguments), tuple(problems))


class RedactOptions(Options):
    """The options of some plugin."""

    words: list[str]
    limit: int = Field(default=3, ge=1)


class OptionsProblemsTests(SynchronousTestCase):
    """A plugin's own options are read as strictly, and reported alike."""

    def test_good(self) -> None:
        """Options that are right become an instance of the plugin's class."""
        raw = {"words": ["a"]}
        self.assertEqual(
            optionsProblems("redact", RedactOptions, raw), (RedactOptions(words=["a"]), [])
        )

    def test_problems(self) -> None:
        """What is wrong has the path it has in the file."""
        raw = {"word": "a", "limit": 0}
        options, problems = optionsProblems("my.redact", RedactOptions, raw)
        self.assertIsNone(options)
        self.assertEqual(
            problems,
            [
                'plugin."my.redact".words: this key is required',
                'plugin."my.redact".limit: expected greater than or equal to 1, found 0',
                'plugin."my.redact".word: unknown key; did you mean "words"?',
            ],
        )

    def test_none(self) -> None:
        """A plugin without options takes none."""
        self.assertEqual(optionsProblems("x", None, {}), (None, []))
        self.assertEqual(
            optionsProblems("x", None, {"a": 1}),
            (None, ["plugin.x.a: unknown key; this plugin has no options"]),
        )

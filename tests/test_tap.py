# -*- test-case-name: tests.test_tap -*-
"""
The command line, as far as it goes without a process of its own; the rest is in
C{tests.endtoend.test_twistd}.
"""

from __future__ import annotations

import io
import json
import signal
import sys
from pathlib import Path
from typing import Any

from pydantic import Field
from twisted.application.service import Application, IService
from twisted.logger import ILogObserver
from twisted.plugin import IPlugin
from twisted.plugins import wsrelay_tap
from twisted.python.usage import Options as UsageOptions
from twisted.scripts.twistd import ServerOptions
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.interfaces import Options as PluginOptions
from wsrelay.relay import RelayService
from wsrelay.tap import Options, describePlugins

FILE = """
[listener.public]
endpoint = "tcp:8080"
pool = "chat"

[pool.chat]
backends = "ws://10.0.0.1:9000"
"""


class CommandLine(SynchronousTestCase):
    """Options, parsed in this process."""

    def setUp(self) -> None:
        """What is printed is caught."""
        self.out, self.err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)
        self.patch(sys, "__stderr__", self.err)
        self.patch(sys, "path", list(sys.path))
        self.handlers: dict[int, Any] = {}
        self.patch(signal, "signal", self.handlers.__setitem__)

    def file(self, text: str = FILE) -> str:
        """A configuration in a file."""
        path = Path(self.mktemp() + ".toml").absolute()
        path.write_text(text)
        return str(path)

    def parsed(self, *words: str) -> Options:
        """The options that these words are."""
        options = Options()
        options.parseOptions(list(words))
        return options

    def exits(self, *words: str) -> int:
        """With which status the process ends."""
        ended = self.assertRaises(SystemExit, self.parsed, *words)
        return int(ended.code)

    def assertRefused(self, words: tuple[str, ...], *lines: str) -> None:
        """It ends with status 1 and these lines on the standard error; nothing elsewhere."""
        self.err.truncate(0)
        self.err.seek(0)
        self.assertEqual(self.exits(*words), 1, words)
        self.assertEqual(self.err.getvalue().splitlines(), [f"wsrelay: {line}" for line in lines])
        self.assertEqual(self.out.getvalue(), "")


class OptionsTests(CommandLine):
    """What may be written."""

    def test_simple(self) -> None:
        """The simple case needs no file."""
        options = self.parsed(
            *("--listen", "tcp:1", "--listen", "tcp:2", "--to", "tcp:a:1", "--plane", "portable")
        )
        configuration = options.configuration
        self.assertEqual(configuration.listener["main"].endpoint, ("tcp:1", "tcp:2"))
        self.assertEqual(configuration.listener["main"].forwarder, "tcp")
        self.assertEqual(configuration.relay.plane, "portable")

    def test_file(self) -> None:
        """A file has everything; what stands on the command line counts more."""
        options = self.parsed("--config", self.file(), "--log-format", "json")
        self.assertEqual(options.configuration.relay.logFormat, "json")
        self.assertEqual(options.configuration.relay.plane, "auto")
        self.assertTrue(options.configuration.relay.accessLog)

    def test_noAccessLog(self) -> None:
        """The access log can be left out, with a file and without."""
        for rest in (("--config", self.file()), ("--listen", "tcp:1", "--to", "tcp:a:1")):
            options = self.parsed(*rest, "--no-access-log")
            self.assertFalse(options.configuration.relay.accessLog)

    def test_demo(self) -> None:
        """The demo is a configuration like any other."""
        from tests.ports import freePort

        options = self.parsed("--demo", "--demo-port", str(freePort()))
        self.assertIn("l7", options.configuration.listener)

    def test_pluginsBeside(self) -> None:
        """Plugins are found beside the configuration, and where the operator stands."""
        path = self.file()
        self.parsed("--config", path)
        self.assertIn(str(Path(path).parent), sys.path)
        self.assertIn(str(Path.cwd()), sys.path)
        # Behind everything that is installed: a plugin's name must not hide a module.
        self.assertNotEqual(sys.path[0], str(Path(path).parent))

    def test_nothing(self) -> None:
        """Nothing at all gets advice, in a few lines that can be copied."""
        self.assertEqual(self.exits(), 1)
        advice = self.err.getvalue()
        self.assertLess(len(advice.splitlines()), 10)
        for line in advice.splitlines():
            if line.startswith("    "):
                program, _, command, *words = line.split()
                self.assertEqual((program, command), ("twistd", "wsrelay"))
                known = set(Options().synonyms)
                for word in words:
                    if word.startswith("--"):
                        self.assertIn(word.removeprefix("--"), known)

    def test_refused(self) -> None:
        """What is wrong is said in one line each, with what would be right."""
        help = "see twistd wsrelay --help"
        listen, to = ("--listen", "tcp:1"), ("--to", "tcp:a:1")
        for words, lines in [
            (("--bogus",), ["option --bogus not recognized", help]),
            (
                ("--listn", "tcp:1"),
                ["option --listn not recognized; did you mean --listen?", help],
            ),
            (("--listen",), ["option --listen requires argument", help]),
            (("start",), ['"start" is not an option', help]),
            (listen, ["--to: needed at least once"]),
            (to, ["--listen: needed at least once"]),
            (("--filter", "x"), ["--listen: needed at least once", "--to: needed at least once"]),
            (
                (*listen, *to, "--plane", "nativ"),
                [
                    "--plane: expected auto or native or portable, "
                    'found "nativ"; did you mean "native"?'
                ],
            ),
            (
                (*listen, *to, "--log-format", "xml"),
                ['--log-format: expected text or json, found "xml"'],
            ),
            (("--demo", *listen), ["--listen: cannot be used together with --demo"]),
            (("--demo", "--config", "x"), ["--config: cannot be used together with --demo"]),
            (("--config", "x", *to), ["--to: cannot be used together with --config"]),
            (("--config", "/nowhere"), ["/nowhere: No such file or directory"]),
        ]:
            self.assertRefused(words, *lines)

    def test_wrongFile(self) -> None:
        """Every error in a file is said, with the file, the path of the key and the value."""
        path = self.file(FILE.replace("tcp:8080", "8080").replace('pool = "chat"', 'pol = "chat"'))
        self.assertRefused(
            ("--config", path),
            f"{path}: listener.public.endpoint: expected a Twisted server endpoint string, such "
            'as "tcp:8080", found "8080"',
            f'{path}: listener.public.pol: unknown key; did you mean "pool"?',
            f"{path}: listener.public: there is no route, and this listener has no pool",
        )

    def test_twistdsOwn(self) -> None:
        """An option of twistd itself that stands in the wrong place is told where it belongs."""
        parent = ServerOptions()
        options = Options()
        options.parent = parent
        self.assertRaises(SystemExit, options.parseOptions, ["-n"])
        self.assertEqual(
            self.err.getvalue().splitlines()[0],
            "wsrelay: option -n not recognized; an option of twistd itself stands before the "
            "word wsrelay",
        )


class PrintTests(CommandLine):
    """What is printed and nothing else done."""

    def test_schema(self) -> None:
        """The JSON Schema is JSON."""
        self.assertEqual(self.exits("--schema"), 0)
        self.assertEqual(json.loads(self.out.getvalue())["title"], "wsrelay")

    def test_version(self) -> None:
        """Both versions."""
        self.assertEqual(self.exits("--version"), 0)
        self.assertRegex(self.out.getvalue(), r"^wsrelay \S+, Twisted \S+\n$")

    def test_help(self) -> None:
        """Every option is explained, in lines that fit a terminal."""
        self.assertEqual(self.exits("--help"), 0)
        text = self.out.getvalue()
        for name in ("config", "listen", "to", "filter", "plane", "check", "demo", "schema"):
            self.assertRegex(text, rf"--{name}=?\s+\w")
        self.assertLessEqual(max(map(len, text.splitlines())), 80)

    def test_plugins(self) -> None:
        """What is installed, the relay's own among it."""
        self.assertEqual(self.exits("--plugins"), 0)
        self.assertIn("\nnetworks: ", self.out.getvalue())
        self.assertRegex(self.out.getvalue(), r"\nPlanes: (native, )?portable")

    def test_describePlugins(self) -> None:
        """Each plugin with its description and its options."""

        class Words(PluginOptions):
            words: list[str] = Field(description="what to look for")
            limit: int = 5

        class Maker:
            def __init__(self, description: str, options: Any) -> None:
                self.description = description
                self.options = options

        makers = {"b": Maker("Does b.", None), "a": Maker("Does a.", Words)}
        self.assertEqual(
            describePlugins(lambda: makers).splitlines(),
            [
                "a: Does a.",
                "    words (array, required): what to look for",
                "    limit (integer, default 5)",
                "b: Does b.",
            ],
        )


class ServiceTests(CommandLine):
    """What twistd is given."""

    def test_plugin(self) -> None:
        """twistd finds the command, without importing the relay for it."""
        maker: Any = wsrelay_tap.wsrelay
        self.assertTrue(IPlugin.providedBy(maker))
        self.assertEqual(maker.tapname, "wsrelay")
        self.assertTrue(issubclass(maker.options, UsageOptions))

    def service(self, *words: str, **parent: Any) -> tuple[Any, Any]:
        """The application and the service that these options make."""
        options = Options()
        options.parent = parent  # type: ignore[assignment]  # as much as is looked at
        options.parseOptions(["--config", self.file(), *words])
        service = wsrelay_tap.wsrelay.makeService(options)
        self.assertIsInstance(service, RelayService)
        application = Application("wsrelay")
        service.setServiceParent(application)
        self.assertEqual(list(IService(application)), [service])  # type: ignore[call-overload]
        return application, options

    def observer(self, *words: str, **parent: Any) -> Any:
        """The log observer that the application is given."""
        application, _ = self.service(*words, **parent)
        return application.getComponent(ILogObserver, None)

    def test_log(self) -> None:
        """The log goes where twistd would send it, in the format of the configuration."""
        event = {"log_time": 0.0, "log_format": "hello"}
        self.observer(nodaemon=1)(event)
        self.observer("--log-format", "json", nodaemon=1, logfile="-")(event)
        text, line = self.out.getvalue().splitlines()
        self.assertEqual(text, "1970-01-01T00:00:00.000Z hello")
        self.assertEqual(json.loads(line)["message"], "hello")

    def test_logFile(self) -> None:
        """A file is appended to; SIGUSR1 begins a new one, as with twistd's own log."""
        path = Path(self.mktemp())
        path.write_text("before\n")
        observer = self.observer("--log-format", "json", logfile=str(path))
        observer({"log_format": "hello"})
        before, line = path.read_text().splitlines()
        self.assertEqual((before, json.loads(line)["message"]), ("before", "hello"))
        self.assertEqual(list(self.handlers), [signal.SIGUSR1])

    def test_otherLogs(self) -> None:
        """syslog, and an observer that the user chose, stay what they are."""
        self.assertIsNone(self.observer(nodaemon=1, syslog=1))
        self.assertIsNone(self.observer(nodaemon=1, logger="a.b"))

    def test_hidesLog(self) -> None:
        """Why it does not start is said on the terminal if the log does not go there."""
        for parent, hides in [
            ({"nodaemon": 1}, False),
            ({"nodaemon": 1, "logfile": "-"}, False),
            ({"nodaemon": 1, "logfile": self.mktemp()}, True),
            ({"nodaemon": 1, "syslog": 1}, True),
        ]:
            _, options = self.service(**parent)
            self.assertEqual(options.hidesLog, hides, parent)

# -*- test-case-name: tests.test_tap -*-
"""
C{twistd wsrelay}: the command line.

It reads the configuration before C{twistd} forks, logs or opens anything, so that what is
wrong with it is said where it was typed.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from twisted.application.service import IService, Service
from twisted.copyright import version as twistedVersion
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver
from twisted.python import usage
from twisted.python.logfile import LogFile

from wsrelay import __version__
from wsrelay.config.build import build
from wsrelay.config.load import fromCommandLine, load
from wsrelay.config.makers import installedMakers
from wsrelay.config.risks import risks
from wsrelay.config.schema import Configuration, jsonSchema
from wsrelay.errors import ConfigurationError
from wsrelay.l4.hub import Hub
from wsrelay.observers.lines import logObserver
from wsrelay.plane.choice import hasNative
from wsrelay.relay import RelayService

__all__ = ["Options", "describePlugins", "makeService"]

_ADVICE = """\
wsrelay: nothing to do. Try one of these:
    twistd -n wsrelay --demo
    twistd -n wsrelay --listen tcp:8080 --to ws://127.0.0.1:9000
    twistd -n wsrelay --listen tcp:8080 --to tcp:127.0.0.1:5432
    twistd -n wsrelay --config wsrelay.toml
All options: twistd wsrelay --help"""

_CHOICES = {"plane": ("auto", "native", "portable"), "log-format": ("text", "json")}


class Options(usage.Options):
    """
    The options of C{twistd wsrelay}.

    @ivar configuration: what they say, once they were parsed.
    """

    configuration: Configuration

    synopsis = "[options]"
    longdesc = (
        "Relays TCP connections (layer 4) and HTTP with WebSockets (layer 7), decided by "
        "plugins in Python. Give --listen and --to for the simple case, --config for "
        "everything, or --demo to see it."
    )
    optParameters = [
        ["config", "c", None, "The configuration, a TOML file."],
        ["plane", None, None, "What moves the bytes: auto, native or portable."],
        ["log-format", None, None, "text or json."],
        [
            "demo-port",
            None,
            8080,
            "Where --demo has its page; its layer 4 is on the port after it.",
            usage.portCoerce,
        ],
    ]
    optFlags = [
        ["check", None, "Load and build everything, report every error, exit with 0 or 1."],
        ["demo", None, "Show layer 4 and layer 7 side by side, with backends of its own."],
        ["schema", None, "Print the JSON Schema of the configuration and exit."],
        ["no-access-log", None, "Leave no line for each tunnel, exchange and session."],
        ["plugins", None, "List the installed plugins with their options, and the planes."],
    ]
    compData = usage.Completions(optActions={"config": usage.CompleteFiles("*.toml")})

    def __init__(self) -> None:
        usage.Options.__init__(self)
        self["listen"] = []
        self["to"] = []
        self["filter"] = []

    # The first words of these docstrings are what --help shows.

    def opt_listen(self, endpoint: str) -> None:
        """Where to listen: a server endpoint string such as tcp:8080. May be repeated."""
        self["listen"].append(endpoint)

    def opt_to(self, url: str) -> None:
        """A backend: ws://, wss://, http://, https://; tcp:HOST:PORT, tls:HOST:PORT,
        unix:/PATH. May be repeated."""
        self["to"].append(url)

    opt_to.__doc__ = " ".join((opt_to.__doc__ or "").split())

    def opt_filter(self, use: str) -> None:
        """A plugin for everything that is relayed, by name or module:object. May be repeated."""
        self["filter"].append(use)

    def opt_version(self) -> None:
        """Display the versions of wsrelay and Twisted and exit."""
        _leave(f"wsrelay {__version__}, Twisted {twistedVersion}")

    # -- reading

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Read them; what cannot be understood ends the process with status 1."""
        try:
            usage.Options.parseOptions(self, options)
        except usage.UsageError as error:
            _fail([f"{error}{self._hint(str(error))}", "see twistd wsrelay --help"])

    def parseArgs(self, *words: str) -> None:
        """There are only options."""
        if words:
            raise usage.UsageError(f'"{words[0]}" is not an option')

    def _hint(self, complaint: str) -> str:
        words = [word.lstrip("-") for word in complaint.split() if word.startswith("-")]
        if not words or not complaint.endswith("not recognized"):
            return ""
        if self.parent is not None and words[0] in self.parent.synonyms:
            return "; an option of twistd itself stands before the word wsrelay"
        names = [str(name).rstrip("=") for name in self.longOpt]
        near = get_close_matches(words[0], names, 1)
        return f"; did you mean --{near[0]}?" if near else ""

    def postOptions(self) -> None:
        """Do what needs no relay, and read the configuration."""
        if self["schema"]:
            _leave(json.dumps(jsonSchema(), indent=2))
        self._letImport()
        if self["plugins"]:
            planes = "native, portable" if hasNative() else "portable (native was not built)"
            _leave(f"{describePlugins()}\nPlanes: {planes}.")
        try:
            self.configuration = self._configuration()
        except ConfigurationError as error:
            self._refuse(error)
        if self["check"]:
            self._check()

    def _letImport(self) -> None:
        """A plugin may be a file: beside the configuration, or where the operator stands."""
        beside = [str(Path(self["config"]).absolute().parent)] if self["config"] else []
        sys.path += [each for each in (*beside, os.getcwd()) if each not in sys.path]

    def _configuration(self) -> Configuration:
        simple = [name for name in ("listen", "to", "filter") if self[name]]
        whole = [name for name in ("demo", "config") if self[name]]
        if not simple and not whole:
            print(_ADVICE, file=sys.stderr)
            sys.exit(1)
        problems = [_notOneOf(name, self[name]) for name in _CHOICES]
        if whole and len(simple + whole) > 1:
            other = (simple + whole[1:])[0]
            problems.append(f"--{other}: cannot be used together with --{whole[0]}")
        if any(problems):
            raise ConfigurationError([problem for problem in problems if problem])
        if self["demo"]:
            from wsrelay.demo import configuration

            return self._overridden(configuration(self["demo-port"]))
        if self["config"]:
            return self._overridden(load(self["config"]))
        return fromCommandLine(
            self["listen"],
            self["to"],
            self["filter"],
            self["plane"] or "auto",
            self["log-format"] or "text",
            not self["no-access-log"],
        )

    def _overridden(self, configuration: Configuration) -> Configuration:
        """What stands on the command line counts more than what stands in the file."""
        given = {
            "plane": self["plane"],
            "logFormat": self["log-format"],
            "accessLog": False if self["no-access-log"] else None,
        }
        changed = {key: value for key, value in given.items() if value is not None}
        relay = configuration.relay.model_copy(update=changed)
        return configuration.model_copy(update={"relay": relay})

    def _refuse(self, error: ConfigurationError) -> NoReturn:
        """Say what is wrong, and in which file."""
        file = self["config"]
        isTold = file is None or error.problems[0].startswith((f"{file}:", "--"))
        _fail(error.problems if isTold else [f"{file}: {each}" for each in error.problems])

    def _check(self) -> None:
        from twisted.internet import reactor, task

        async def check() -> None:
            try:
                built = await build(
                    self.configuration, Hub(reactor, directory=self.configuration.directory)
                )
            except ConfigurationError as error:
                self._refuse(error)
            parts = ", ".join(
                (
                    _counted(len(built.listeners), "listener"),
                    _counted(len(self.configuration.route), "route"),
                    _counted(len(built.pools), "pool"),
                    *([_counted(len(built.caches), "cache")] if built.caches else []),
                    _counted(len(built.plugins), "plugin"),
                )
            )
            for risk in risks(self.configuration):
                print(f"wsrelay: warning: {risk}")
            print(f"wsrelay: the configuration is fine: {parts}; plane: {built.plane.name}")

        task.react(lambda _: Deferred.fromCoroutine(check()))

    # -- the log

    def logObserver(self) -> Any:
        """
        Where C{twistd} would log, in the format that is configured; C{None} leaves it to
        C{twistd}, for its C{--syslog} and C{--logger} have formats of their own.
        """
        parent: Mapping[str, Any] = self.parent or {}
        if parent.get("syslog") or parent.get("logger"):
            return None
        format = self.configuration.relay.logFormat
        isDaemon = not (parent.get("nodaemon") or parent.get("debug"))
        name = parent.get("logfile") or ("twistd.log" if isDaemon else "-")
        if name == "-":
            return logObserver(sys.stdout, format)
        file = LogFile.fromFullPath(name)
        if hasattr(signal, "SIGUSR1") and not signal.getsignal(signal.SIGUSR1):
            signal.signal(signal.SIGUSR1, lambda *_: _inReactor(file.rotate))
        return logObserver(file, format)

    @property
    def hidesLog(self) -> bool:
        """Whether who started it does not see the log."""
        parent: Mapping[str, Any] = self.parent or {}
        elsewhere = parent.get("logfile") not in (None, "", "-")
        return bool(elsewhere or parent.get("syslog") or parent.get("logger"))


def _inReactor(call: Callable[[], Any]) -> None:
    from twisted.internet import reactor

    reactor.callFromThread(call)  # type: ignore[attr-defined]  # the module is typed as a module


def _notOneOf(name: str, value: str | None) -> str:
    if value is None or value in _CHOICES[name]:
        return ""
    near = get_close_matches(value, _CHOICES[name], 1)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    return f'--{name}: expected {" or ".join(_CHOICES[name])}, found "{value}"{hint}'


def _counted(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"


def describePlugins(makers: Callable[[], dict[str, Any]] = installedMakers) -> str:
    """What C{--plugins} prints: each installed plugin, its description and options."""
    lines = []
    for name, maker in sorted(makers().items()):
        lines.append(f"{name}: {maker.description}")
        schema = maker.options.model_json_schema() if maker.options is not None else {}
        required = schema.get("required", ())
        for key, value in schema.get("properties", {}).items():
            kind = value.get("type", "value")
            default = "required" if key in required else f"default {value.get('default')!r}"
            about = value.get("description", "")
            lines.append(f"    {key} ({kind}, {default})" + (f": {about}" if about else ""))
    if not lines:
        return "No plugins are installed. A plugin in a file needs no installation: module:object."
    return "\n".join(lines)


def _leave(text: str) -> NoReturn:
    print(text)
    sys.exit(0)


def _fail(problems: Sequence[str]) -> NoReturn:
    for problem in problems:
        _complain(problem)
    sys.exit(1)


def _complain(problem: str) -> None:
    # Not sys.stderr: twistd puts the log in its place.
    print(f"wsrelay: {problem}", file=sys.__stderr__)


# --------------------------------------------------------------------------- service


class _Service(RelayService):
    """The service under C{twistd}, which takes its log from the application."""

    def __init__(self, options: Options, reactor: Any) -> None:
        super().__init__(
            options.configuration,
            reactor,
            complain=_complain if options.hidesLog else None,
            exit=_exitAtLast,
        )
        self._options = options

    def privilegedStartService(self) -> None:
        """Start, and from now on know what a second signal means."""
        reactor = self.relay.reactor
        reactor.addSystemEventTrigger("before", "shutdown", _heedSecondSignal, reactor, self)
        super().privilegedStartService()

    def setServiceParent(self, parent: Any) -> None:
        """Give the application its log."""
        Service.setServiceParent(self, parent)
        observer = self._options.logObserver()
        if observer is not None:
            parent.setComponent(ILogObserver, observer)
            if self.accessLog is not None:
                self.accessLog.observer = observer


def makeService(options: Options) -> IService:
    """The service that C{twistd} runs."""
    from twisted.internet import reactor

    return _Service(options, reactor)


def _heedSecondSignal(reactor: Any, service: RelayService) -> None:
    """
    The reactor has been asked to stop, and from now on would only log further signals: let a
    second one end the waiting, and a third one the process.
    """

    def again(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        reactor.callFromThread(service.hurry)

    for number in (signal.SIGINT, signal.SIGTERM):
        # Only where the reactor was to hear of signals at all.
        if signal.getsignal(number) not in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, again)


def _exitAtLast(status: int) -> None:
    """
    End with C{status} after C{twistd} has tidied up: it has no way to be told, and a
    C{SystemExit} inside the reactor is only logged.
    """
    atexit.register(os._exit, status)

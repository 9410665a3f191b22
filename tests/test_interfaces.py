# -*- test-case-name: tests.test_interfaces -*-
"""
The interfaces as documents: complete, and true where they can be tried.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
import textwrap
from typing import Any

from pydantic import Field, ValidationError
from twisted.internet.protocol import Factory, Protocol
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface, implementer
from zope.interface.interface import InterfaceClass, Method
from zope.interface.verify import verifyClass

import wsrelay
from wsrelay import errors, interfaces, model, rules
from wsrelay.interfaces import (
    IBalancer,
    IForwarder,
    IMessageFilter,
    IObserver,
    IPluginMaker,
    IRequestFilter,
    IRoutingPolicy,
    IStreamFilter,
    Options,
)

#: What strangers implement; the other interfaces describe what they are handed.
PROVIDED: list[InterfaceClass] = [
    IPluginMaker,
    IForwarder,
    IRoutingPolicy,
    IBalancer,
    IRequestFilter,
    IMessageFilter,
    IStreamFilter,
    IObserver,
]

EVERY: list[InterfaceClass] = [
    value for value in vars(interfaces).values() if isinstance(value, InterfaceClass)
]

#: What the examples use and a reader would have imported or written.
NAMES: dict[str, Any] = {
    **vars(model),
    **vars(interfaces),
    "Factory": Factory,
    "Greeting": Protocol,
    "RedactOptions": Options,
    "TO_CLIENT": model.Direction.TO_CLIENT,
    "implementer": implementer,
}


def paragraphs(interface: InterfaceClass) -> tuple[list[str], str]:
    """The paragraphs of an interface's docstring, and the code of its example."""
    text, _, example = inspect.cleandoc(interface.__doc__).partition("::\n\n")
    return text.split("\n\n"), textwrap.dedent(example)


class DocumentTests(SynchronousTestCase):
    """What a plugin author reads."""

    def test_sixQuestions(self) -> None:
        """
        Each docstring tells in this order: what it is; when it is called; what it may change;
        what it may return; what happens when it raises; an example.
        """
        for interface in PROVIDED:
            answers, example = paragraphs(interface)
            self.assertEqual(len(answers), 5, f"{interface.__name__}: {answers}")
            self.assertRegex(answers[1], r"\b([Cc]alled|[Aa]sked|runs)\b", interface.__name__)
            self.assertRegex(answers[2], r"\b(may|[Kk]eep)\b", interface.__name__)
            self.assertRegex(answers[3], r"\b[Rr]eturns\b", interface.__name__)
            self.assertRegex(answers[4], r"^When .*raises?\b", interface.__name__)
            self.assertLessEqual(len(example.splitlines()), 11, interface.__name__)

    def test_examples(self) -> None:
        """Each example defines a class that implements the interface it stands in."""
        for interface in PROVIDED:
            scope: dict[str, Any] = dict(NAMES)
            exec(compile(paragraphs(interface)[1], interface.__name__, "exec"), scope)
            made = [v for k, v in scope.items() if isinstance(v, type) and NAMES.get(k) is not v]
            self.assertEqual(len(made), 1, interface.__name__)
            verifyClass(interface, made[0])

    def test_everyMemberIsDocumented(self) -> None:
        """Every method and attribute of every interface says what it is for."""
        for interface in EVERY:
            for name in interface.names():
                self.assertTrue(interface[name].__doc__, f"{interface.__name__}.{name}")

    def test_methodsTakeNoSelf(self) -> None:
        """An interface's methods are written as they are called."""
        for interface in EVERY:
            for name in interface.names():
                member = interface[name]
                if isinstance(member, Method):
                    self.assertNotIn("self", member.positional, f"{interface.__name__}.{name}")

    def test_complete(self) -> None:
        """Every interface is public, and every one that is provided is looked at here."""
        public = {getattr(interfaces, name) for name in interfaces.__all__}
        self.assertEqual({i for i in EVERY if i not in (IPlugin, Interface)} - public, set())
        self.assertTrue(set(PROVIDED) <= public)

    def test_makersAreTwistedPlugins(self) -> None:
        """Twisted's plugin system finds makers."""
        self.assertTrue(IPluginMaker.extends(IPlugin))


class OptionsTests(SynchronousTestCase):
    """What stands in a C{[plugin.NAME]} table is checked."""

    class Redact(Options):
        words: list[str] = Field(description="what nobody shall read")
        limit: int = 3

    def test_values(self) -> None:
        """Options are attributes, with their defaults."""
        options = self.Redact.model_validate({"words": ["secret"]})
        self.assertEqual((options.words, options.limit), (["secret"], 3))

    def test_unknownKey(self) -> None:
        """A key that nobody reads is an error."""
        error = self.assertRaises(
            ValidationError, self.Redact.model_validate, {"words": [], "word": "secret"}
        )
        self.assertEqual(error.errors()[0]["loc"], ("word",))

    def test_wrongValue(self) -> None:
        """A value of the wrong type is an error, with its place."""
        error = self.assertRaises(ValidationError, self.Redact.model_validate, {"words": [1]})
        self.assertEqual(error.errors()[0]["loc"], ("words", 0))

    def test_frozen(self) -> None:
        """Options do not change once they were read."""
        options = self.Redact(words=[])
        self.assertRaises(ValidationError, setattr, options, "limit", 4)


class FrontDoorTests(SynchronousTestCase):
    """What C{from wsrelay import ...} gives."""

    def test_sameObjects(self) -> None:
        """Every public name of the package is the one of the module it lives in."""
        for name in wsrelay.__all__:
            homes = [m for m in (errors, model, rules, interfaces) if name in m.__all__]
            self.assertEqual(len(homes), 1, name)
            self.assertIs(getattr(wsrelay, name), getattr(homes[0], name))

    def test_nothingIsMissing(self) -> None:
        """Everything of the model and of the interfaces is there."""
        self.assertEqual({*model.__all__, *interfaces.__all__} - set(wsrelay.__all__), set())

    def test_unknownName(self) -> None:
        """A name that does not exist is an AttributeError, as with any module."""
        self.assertRaises(AttributeError, getattr, wsrelay, "Upstream")

    def test_noTwistedForBytes(self) -> None:
        """Who only wants facts and wire formats does not load Twisted or pydantic."""
        code = (
            "import pkgutil, sys, wsrelay.model, wsrelay.errors, wsrelay.wire as wire\n"
            "for module in pkgutil.iter_modules(wire.__path__, 'wsrelay.wire.'):\n"
            "    __import__(module.name)\n"
            "print(sorted({'twisted', 'pydantic'} & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual((done.stdout, done.stderr), ("[]\n", ""))

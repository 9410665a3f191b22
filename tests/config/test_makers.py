# -*- test-case-name: tests.config.test_makers -*-
"""
Plugins are found by what C{use} says.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource
from zope.interface.verify import verifyObject

from wsrelay.config.makers import findMaker, installedMakers
from wsrelay.interfaces import IPluginMaker, IStreamFilter

_numbers = count(1)

#: A module with one of everything.
GOOD = '''
from zope.interface import implementer
from twisted.web.resource import Resource
from wsrelay import IPluginMaker, IStreamFilter

@implementer(IStreamFilter)
class Upper:
    """
    Makes everything upper-case.

    And nothing else.
    """
    def attach(self, tunnel, direction):
        return None

upper = Upper()

@implementer(IPluginMaker)
class Maker:
    name = "upper"
    description = "Makes Upper."
    options = None
    def make(self, options, relay):
        return Upper()

maker = Maker()

class Page(Resource):
    isLeaf = True

page = Page()

class Box:
    inner = upper

class Picky(Upper):
    def __init__(self, word):
        pass

nothing = object()
number = 3
'''


class MakersTests(SynchronousTestCase):
    """C{use = ...}, and what it means."""

    def setUp(self) -> None:
        """A folder for modules."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        self.folder = folder
        sys.path.insert(0, str(folder))
        self.addCleanup(sys.path.remove, str(folder))

    def module(self, text: str = GOOD) -> str:
        """The name of a module with this text."""
        name = f"wsrelay_test_module_{next(_numbers)}"
        (self.folder / f"{name}.py").write_text(text)
        self.addCleanup(sys.modules.pop, name, None)
        return name

    def made(self, use: str) -> Any:
        """What the maker of C{use} makes."""
        maker = findMaker(use, {})
        self.assertTrue(verifyObject(IPluginMaker, maker))
        return maker.make(None, None)

    def refusal(self, use: str, installed: Any = ()) -> str:
        """Why there is no maker."""
        error = self.assertRaises(LookupError, findMaker, use, dict.fromkeys(installed, object()))
        return str(error)

    def test_forms(self) -> None:
        """A maker, its class, a plugin, its class, however deep they stand in the module."""
        module = self.module()
        for name in ("maker", "Maker", "upper", "Upper", "Box.inner"):
            self.assertTrue(IStreamFilter.providedBy(self.made(f"{module}:{name}")), name)
        for name in ("page", "Page"):
            self.assertTrue(IResource.providedBy(self.made(f"{module}:{name}")), name)

    def test_described(self) -> None:
        """A plugin without a maker is described by the first line of its docstring."""
        maker = findMaker(f"{self.module()}:upper", {})
        self.assertEqual(maker.description, "Makes everything upper-case.")
        self.assertIsNone(maker.options)

    def test_installed(self) -> None:
        """A name is that of an installed plugin."""
        maker = object()
        self.assertIs(findMaker("redact", {"redact": maker}), maker)
        self.assertIsInstance(installedMakers(), dict)

    def test_notInstalled(self) -> None:
        """A name that nobody has: the nearest one, and all there are."""
        for installed, message in [
            ((), 'no plugin "redcat" is installed (installed: none)'),
            (
                ("redact", "audit"),
                'no plugin "redcat" is installed; did you mean "redact"? '
                "(installed: audit, redact)",
            ),
        ]:
            self.assertEqual(self.refusal("redcat", installed), message)

    def test_wrong(self) -> None:
        """What is wrong with a module or an object is said in one sentence."""
        module = self.module()
        wanted: Sequence[tuple[str, str]] = [
            ("no_such_module:x", "\"no_such_module:x\": there is no module 'no_such_module'"),
            ("no_such.deep:x", "\"no_such.deep:x\": there is no module 'no_such'"),
            (
                f"{module}.deep:x",
                f"\"{module}.deep:x\": there is no module '{module}.deep'",
            ),
            (
                f"{module}:Uper",
                f"\"{module}:Uper\": {module} has no 'Uper'; did you mean 'Upper'?",
            ),
            (f"{module}:Box.zzz", f"\"{module}:Box.zzz\": {module} has no 'zzz'"),
        ]
        for use, message in wanted:
            self.assertEqual(self.refusal(use), message)
        self.assertIn("making a Picky failed: TypeError: ", self.refusal(f"{module}:Picky"))
        for name in ("nothing", "number", "Box"):
            self.assertIn(f'"{module}:{name}" provides none of', self.refusal(f"{module}:{name}"))

    def test_importFails(self) -> None:
        """A module that fails when it is imported: what happened, whatever it was."""
        for text, message in [
            ("import no_such_thing", "failed: No module named 'no_such_thing'"),
            ("def f(:\n", "failed: SyntaxError: "),
            ("1 / 0", "failed: ZeroDivisionError: division by zero"),
            ("import sys\nsys.exit(3)", "failed: SystemExit: 3"),
        ]:
            self.assertIn(message, self.refusal(f"{self.module(text)}:x"))

    def test_similarName(self) -> None:
        """A module that lacks one whose name begins its own is not told as missing itself."""
        module = self.module(f"import {self.module('')[:-1]}zz")
        self.assertIn(f"importing {module} failed: No module named", self.refusal(f"{module}:x"))

# -*- test-case-name: tests.test_house -*-
"""
The order of the house, held by reading its source.

Each rule of L{tests.house} is applied to the whole tree, and to small wrong examples, since a
rule that finds nothing might also look at nothing.
"""

from __future__ import annotations

import ast
import configparser
from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from tests.house import (
    ROOT,
    Source,
    docstringOffences,
    floorOffences,
    headOffences,
    isInherited,
    lengthOffences,
    mayImport,
    mirrorOffences,
    packageOffences,
    reactorOffences,
    sources,
    testDocstringOffences,
)

HOUSE = sources("wsrelay", "twisted")
TESTS = sources("tests")
WSRELAY = [source for source in HOUSE if source.path.startswith("wsrelay/")]


class HouseTests(SynchronousTestCase):
    """The tree keeps every rule."""

    def assertKept(self, offences: Iterable[str]) -> None:
        """Fail with all offences, one a line."""
        found = list(offences)
        if found:
            self.fail("\n  ".join(["", *found]))

    def test_floors(self) -> None:
        """Imports go down only, so that every part can be read without the ones above."""
        self.assertKept(offence for source in WSRELAY for offence in floorOffences(source))

    def test_noReactorAtModuleLevel(self) -> None:
        """Whoever imports wsrelay still chooses the reactor."""
        self.assertKept(offence for source in HOUSE for offence in reactorOffences(source))

    def test_everyModuleHasItsTests(self) -> None:
        """The tests of a module stand where its path says, and nothing else stands there."""
        self.assertKept(mirrorOffences(WSRELAY, TESTS))

    def test_heads(self) -> None:
        """Every module names its tests in its first line."""
        names = {test.module for test in TESTS}
        self.assertKept(offence for source in HOUSE for offence in headOffences(source, names))

    def test_lengths(self) -> None:
        """No module is longer than 600 lines."""
        self.assertKept(offence for source in HOUSE for offence in lengthOffences(source))

    def test_docstrings(self) -> None:
        """Every public name has a docstring."""
        self.assertKept(offence for source in WSRELAY for offence in docstringOffences(source))

    def test_testDocstrings(self) -> None:
        """Every test says what it is good for."""
        self.assertKept(offence for source in TESTS for offence in testDocstringOffences(source))

    def test_packages(self) -> None:
        """Every package is installed, the twistd plugin included."""
        setup = configparser.ConfigParser()
        setup.read(ROOT / "setup.cfg", "utf-8")
        self.assertKept(packageOffences(setup["options"]["packages"].split(), WSRELAY))


def found(rule: Iterable[str]) -> list[str]:
    """The places of offences, without what is said about them."""
    return [":".join(offence.split(":")[:2]) for offence in rule]


class RuleTests(SynchronousTestCase):
    """Every rule finds what it is there to find."""

    def test_floorTable(self) -> None:
        """The table of floors says who may import whom."""
        for importer, imported, allowed in [
            ("l7", "l4", True),
            ("l4", "l7", False),
            ("l7", "plane", True),
            ("plane", "l4", False),
            ("routing", "plane", False),
            ("backends", "tls", True),
            ("tls", "backends", False),
            ("wire", "model", True),
            ("model", "wire", False),
            ("model", "interfaces", False),
            ("filters", "interfaces", True),
            ("filters", "routing", False),
            ("observers", "filters", False),
            ("config", "filters", True),
            ("l7", "filters", False),
            ("testing", "l7", True),
            ("testing", "relay", False),
            ("relay", "testing", False),
            ("plugins", "model", False),
            ("config", "relay", True),
            ("relay", "tap", False),
            ("", "model", True),
            ("", "l7", False),
        ]:
            self.assertEqual(mayImport(importer, imported), allowed, f"{importer} -> {imported}")

    def test_importsUp(self) -> None:
        """An import that goes up is found in every form it can be written in."""
        for line in [
            "import wsrelay.l7.site",
            "from wsrelay.l7.site import Site",
            "from wsrelay.l7 import site",
            "from wsrelay import l7",
            "from ..l7 import site",
            "from .. import l7",
            "def later():  from wsrelay.l7 import site",
            "from wsrelay import Forward",
        ]:
            source = Source("wsrelay/l4/tunnel.py", line + "\n")
            self.assertEqual(found(floorOffences(source)), ["wsrelay/l4/tunnel.py:1"], line)

    def test_importsDown(self) -> None:
        """Imports that go down, stay in the package or leave the house are fine."""
        for line in [
            "from wsrelay.plane import engine",
            "from wsrelay.l4.sniff import Sniffer",
            "from .sniff import Sniffer",
            "from wsrelay import model, __version__",
            "import twisted.internet.defer",
        ]:
            self.assertEqual(found(floorOffences(Source("wsrelay/l4/tunnel.py", line))), [], line)

    def test_twistedInTheCellar(self) -> None:
        """Twisted is not imported where bytes are understood."""
        source = Source("wsrelay/wire/frames.py", "\nfrom twisted.logger import Logger\n")
        self.assertEqual(found(floorOffences(source)), ["wsrelay/wire/frames.py:2"])

    def test_unknownRoom(self) -> None:
        """A new part of the house must be given its floor."""
        self.assertEqual(
            found(floorOffences(Source("wsrelay/utils.py", ""))), ["wsrelay/utils.py:1"]
        )

    def test_reactor(self) -> None:
        """The reactor may be imported inside a function, and nowhere else."""
        bad = (
            "if True:\n"
            "    from twisted.internet import reactor\n"
            "class A:\n"
            "    import twisted.internet.reactor\n"
        )
        self.assertEqual(found(reactorOffences(Source("a.py", bad))), ["a.py:2", "a.py:4"])
        good = "def f():\n    from twisted.internet import reactor\n"
        self.assertEqual(found(reactorOffences(Source("a.py", good))), [])

    def test_mirror(self) -> None:
        """A module without tests, tests without a module, and tests trial overlooks are found."""
        modules = [Source("wsrelay/a/b.py", ""), Source("wsrelay/a/_c.py", "")]
        tests = [
            Source("tests/a/test_c.py", ""),
            Source("tests/a/test_d.py", ""),
            Source("tests/a/__init__.py", ""),
            Source("tests/endtoend/test_all.py", ""),
            Source("tests/a/support.py", ""),
        ]
        self.assertEqual(
            found(mirrorOffences(modules, tests)),
            ["wsrelay/a/b.py:1", "tests/a/test_d.py:1", "tests/endtoend/test_all.py:1"],
        )

    def test_head(self) -> None:
        """A first line that names no tests, other tests or missing tests is found."""
        future = "from __future__ import annotations\n"
        for head, count in [
            ("# -*- test-case-name: tests.a.test_b -*-\n", 0),
            ("# -*- test-case-name: tests.a.test_b,tests.a.test_c -*-\n", 0),
            ("# -*- test-case-name: tests.a.test_c -*-\n", 1),
            ("# -*- test-case-name: tests.a.test_b,tests.a.test_x -*-\n", 1),
            ("", 1),
        ]:
            source = Source("wsrelay/a/b.py", head + future)
            offences = found(headOffences(source, {"tests.a.test_b", "tests.a.test_c"}))
            self.assertEqual(offences, ["wsrelay/a/b.py:1"] * count, head)
        source = Source("wsrelay/a/b.py", "# -*- test-case-name: tests.a.test_b -*-\n")
        self.assertEqual(found(headOffences(source, {"tests.a.test_b"})), ["wsrelay/a/b.py:1"])
        bare = Source("wsrelay/a/__init__.py", '"""The docstring."""\n')
        self.assertEqual(found(headOffences(bare, set())), [])

    def test_length(self) -> None:
        """600 lines are allowed, 601 are not."""
        self.assertEqual(found(lengthOffences(Source("a.py", "\n" * 600))), [])
        self.assertEqual(found(lengthOffences(Source("a.py", "\n" * 601))), ["a.py:601"])

    def test_docstring(self) -> None:
        """A public class, method or function without docstring is found, a private one is not."""
        source = Source(
            "wsrelay/a.py",
            "__all__ = ['A', 'f']\n"
            "class A:\n"
            "    def m(self): pass\n"
            "    def _n(self): pass\n"
            "    @m.setter\n"
            "    def m(self, value): pass\n"
            "def f(): pass\n"
            "def g(): pass\n",
        )
        self.assertEqual(
            found(docstringOffences(source)), [f"wsrelay/a.py:{line}" for line in (1, 2, 3, 7)]
        )
        listless = Source("wsrelay/a.py", '"""D."""\ndef f(): pass\n')
        self.assertEqual(found(docstringOffences(listless)), ["wsrelay/a.py:2"])

    def test_inheritedDocstring(self) -> None:
        """What a base class has documented need not be documented again."""
        owner = next(
            n for n in ast.walk(self._self().tree) if getattr(n, "name", "") == "RuleTests"
        )
        assert isinstance(owner, ast.ClassDef)
        self.assertTrue(isInherited(self._self(), owner, "setUp"))
        self.assertFalse(isInherited(self._self(), owner, "test_inheritedDocstring"))

    def _self(self) -> Source:
        return next(source for source in TESTS if source.module == __name__)

    def test_testDocstring(self) -> None:
        """A test without docstring is found."""
        source = Source("tests/test_a.py", "class A:\n    def test_b(self): pass\n")
        self.assertEqual(found(testDocstringOffences(source)), ["tests/test_a.py:2"])

    def test_package(self) -> None:
        """A package that is not listed, and a listed one that is none, are found."""
        modules = [Source("wsrelay/a/__init__.py", ""), Source("wsrelay/a/b.py", "")]
        self.assertEqual(len(list(packageOffences(["wsrelay.b"], modules))), 3)
        self.assertEqual(list(packageOffences(["wsrelay.a", "twisted.plugins"], modules)), [])

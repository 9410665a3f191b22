# -*- test-case-name: tests.test_house -*-
"""
The rules of the house, as functions that read source.

Each takes sources and gives I{offences}, which are sentences of the form C{file:line: what is
wrong; what to do}. L{tests.test_house} applies them.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from pathlib import Path

from attrs import frozen
from zope.interface import implementedBy

__all__ = [
    "MAX_LINES",
    "ROOT",
    "Source",
    "docstringOffences",
    "floorOffences",
    "headOffences",
    "isInherited",
    "lengthOffences",
    "mayImport",
    "mirrorOffences",
    "packageOffences",
    "reactorOffences",
    "sources",
    "testDocstringOffences",
]

ROOT = Path(__file__).resolve().parent.parent

MAX_LINES = 600

#: The floor of each part of the house. Imports go down.
FLOORS = {
    "errors": 0,
    "facts": 0,
    "headers": 0,
    "model": 0,
    "rules": 0,
    "wire": 0,
    "interfaces": 1,
    "answers": 1,
    "timers": 1,
    "tls": 2,
    "routing": 2,
    "backends": 2,
    "plane": 2,
    "l4": 3,
    "l7": 3,
    "admin": 4,
    "config": 4,
    "demo": 4,
    "relay": 4,
    "tap": 4,
}

#: Who may import from the own floor. On the top floor everybody may; C{tap} is for twistd.
SIDEWAYS = {
    ("facts", "headers"),
    ("model", "errors"),
    ("model", "facts"),
    ("model", "headers"),
    ("model", "rules"),  # the name of a type only
    ("rules", "errors"),
    ("rules", "headers"),
    ("rules", "model"),
    ("wire", "errors"),
    ("wire", "headers"),
    ("wire", "model"),
    ("interfaces", "answers"),
    ("backends", "plane"),  # a dial gives a leg
    ("backends", "tls"),
    ("plane", "tls"),  # an engine goes on with a session of TLS
    ("l7", "l4"),
    # The door is open from inside, too: our own makers name what they make.
    ("plugins", "filters"),
    ("plugins", "interfaces"),
    *(
        (part, other)
        for part in FLOORS
        for other in FLOORS
        if FLOORS[part] == 4 and other != "tap"
    ),
}

#: Parts that stand on no floor: the highest floor they may import from.
GUESTS = {
    "": 1,  # wsrelay/__init__.py
    "filters": 1,
    "observers": 1,
    "testing": 3,
    "plugins": -1,
}

#: Guests that the top floor may import. Nobody else may import a guest.
INVITED = {"filters", "observers", "plugins"}

#: Tests without a module of the same place, and why.
NO_MODULE = {
    "tests/endtoend/": "real processes, the whole road at once",
    "tests/conformance/": "rules that every plane or every implementation keeps",
    "tests/l7/test_exchange_cache.py": "the cache on connections",
    "tests/l7/test_exchange_rules.py": "wsrelay/rules.py and l7/forwarded.py on connections",
    "tests/test_house.py": "this",
    "tests/l7/test_hostile.py": "attacks on the whole of layer 7",
    "tests/test_examples.py": "runs examples/",
    "tests/test_docs.py": "runs what docs/ and README.md promise",
    "tests/plane/test_native_frames.py": "wsrelay/plane/_frames.h, which is C",
    "tests/plane/test_native_splice.py": "wsrelay/plane/_splice.c, which is C",
    "tests/fuzz/": "C, fuzzed",
    "tests/test_benchmarks.py": "benchmarks/, which are not in the package",
    "tests/test_run.py": "run.py and .ci/run, which are not in the package",
}


@frozen(slots=False)
class Source:
    """
    One Python file.

    @ivar path: relative to the checkout, with slashes.
    """

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The file, parsed."""
        return ast.parse(self.text, self.path)

    @property
    def module(self) -> str:
        """Its dotted name; a package's for its C{__init__}."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def part(self) -> str:
        """The room of wsrelay it is in; empty for C{wsrelay/__init__.py}."""
        return partOf(self.module)

    @property
    def isPackage(self) -> bool:
        """Whether it is an C{__init__}."""
        return self.path.endswith("/__init__.py")

    @property
    def isBare(self) -> bool:
        """Whether there is nothing in it but a docstring."""
        return len(self.tree.body) <= (ast.get_docstring(self.tree) is not None)

    def at(self, node: ast.AST | int, what: str) -> str:
        """One offence."""
        line = node if isinstance(node, int) else getattr(node, "lineno", 1)
        return f"{self.path}:{line}: {what}"


def partOf(module: str) -> str:
    """The room of wsrelay that a dotted name is in."""
    return module.split(".")[1] if "." in module else ""


def sources(*folders: str) -> list[Source]:
    """Every Python file below these folders."""
    return [
        Source(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]


# --------------------------------------------------------------------------- floors


def imports(source: Source) -> Iterator[tuple[ast.stmt, str]]:
    """Every dotted name that a file imports, anywhere in it, with where it does."""
    package = source.module if source.isPackage else source.module.rpartition(".")[0]
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *filter(None, [base])])
            for alias in node.names:
                yield node, f"{base}.{alias.name}"


def mayImport(importer: str, imported: str) -> bool:
    """Whether one part of the house may import another."""
    if importer == imported or (importer, imported) in SIDEWAYS:
        return True
    if imported in GUESTS:
        return FLOORS.get(importer) == 4 and imported in INVITED
    if importer in GUESTS:
        return FLOORS[imported] <= GUESTS[importer]
    return FLOORS[imported] < FLOORS[importer]


def floorOffences(source: Source) -> Iterator[str]:
    """Imports go down only, and the lowest floor knows no Twisted."""
    if source.part not in FLOORS and source.part not in GUESTS:
        yield source.at(1, f"{source.part!r} stands on no floor; give it one in {__name__}.FLOORS")
        return
    for node, name in imports(source):
        if name.split(".")[0] == "twisted" and FLOORS.get(source.part) == 0:
            yield source.at(
                node, f"imports {name}; floor 0 knows no Twisted, move this to a higher floor"
            )
        if name.split(".")[0] != "wsrelay" or name == "wsrelay.__version__":
            continue
        other = partOf(name)
        if other not in FLOORS and other not in GUESTS:
            yield source.at(node, f"imports {name}; import it from the module it is defined in")
        elif not mayImport(source.part, other):
            yield source.at(
                node,
                f"{source.part or 'wsrelay'} imports {name}; imports go down only (see "
                f"{__name__}.FLOORS): hand it in as an argument, or move it to a lower floor",
            )


def reactorOffences(source: Source) -> Iterator[str]:
    """Nothing imports the reactor while it is itself being imported."""
    inFunctions = {
        id(inner)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    for node, name in imports(source):
        if name.startswith("twisted.internet.reactor") and id(node) not in inFunctions:
            yield source.at(
                node, "imports the reactor at module level; take it as an argument instead"
            )


# ---------------------------------------------------------------------------- mirror


def testFor(path: str) -> str:
    """Where the tests of a module stand."""
    folder, _, name = path.removeprefix("wsrelay/").rpartition("/")
    return "/".join(filter(None, ["tests", folder, f"test_{name.lstrip('_')}"]))


def mirrorOffences(modules: Iterable[Source], tests: Iterable[Source]) -> Iterator[str]:
    """wsrelay/a/b.py is tested by tests/a/test_b.py, and nothing else stands in tests/a."""
    expected = {testFor(source.path): source for source in modules if not source.isPackage}
    paths = {test.path: test for test in tests}
    for path in sorted(expected.keys() - paths.keys()):
        yield expected[path].at(1, f"has no tests; write {path}")
    for path in sorted(paths):
        folder, _, name = path.rpartition("/")
        if not name.startswith("test_"):
            continue
        if f"{folder}/__init__.py" not in paths:
            yield paths[path].at(1, f"is not found by trial; make {folder}/__init__.py")
        if path not in expected and not any(path.startswith(place) for place in NO_MODULE):
            yield paths[path].at(
                1, "tests no module of this name; move it beside its module's other tests"
            )


# ----------------------------------------------------------------------------- heads


def headOffences(source: Source, tests: Collection[str]) -> Iterator[str]:
    """The first line names the tests, and annotations are not evaluated."""
    if source.isPackage and source.isBare:
        return
    wanted = testFor(source.path).removesuffix(".py").replace("/", ".")
    head = re.match(r"# -\*- test-case-name: (\S+) -\*-\n", source.text)
    if head is None:
        yield source.at(1, f"begin with: # -*- test-case-name: {wanted} -*-")
    else:
        named = head[1].split(",")
        for name in named:
            if name not in tests:
                yield source.at(1, f"there is no {name}; name a test module that exists")
        if source.path.startswith("wsrelay/") and not source.isPackage and wanted not in named:
            yield source.at(1, f"names {head[1]} as its tests; name {wanted} first")
    if not any(
        isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for node in source.tree.body
    ):
        yield source.at(1, "add: from __future__ import annotations")


def lengthOffences(source: Source) -> Iterator[str]:
    """No file is too long to be read at one sitting."""
    count = source.text.count("\n")
    if count > MAX_LINES:
        yield source.at(
            count,
            f"is {count} lines long, at most {MAX_LINES} are allowed; give a part of it a name",
        )


# ------------------------------------------------------------------------ docstrings

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def publicNames(source: Source) -> list[str] | None:
    """What C{__all__} lists, or C{None} if there is no such list."""
    for node in source.tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return list(ast.literal_eval(node.value))  # type: ignore[attr-defined]  # an assignment
    return None


def definitions(body: Iterable[ast.stmt]) -> Iterator[Definition]:
    """The classes and functions defined right here, also under an C{if} or C{try}."""
    for node in body:
        if isinstance(node, Definition):
            yield node
        elif isinstance(node, ast.If | ast.Try):
            yield from definitions(node.body)
            yield from definitions(node.orelse)


def isSecondary(method: Definition) -> bool:
    """Whether another definition of the same name carries the docstring."""
    names = {ast.unparse(decorator).rpartition(".")[2] for decorator in method.decorator_list}
    return bool(names & {"setter", "deleter", "overload"})


def isInherited(source: Source, owner: ast.ClassDef, name: str) -> bool:
    """
    Whether a base class or an implemented interface already says what a method does.

    Only the class itself knows, so it is imported; where that is impossible (an extension
    that was not built) its word is taken.
    """
    if not owner.bases and not owner.decorator_list:
        return False
    try:
        made = getattr(importlib.import_module(source.module), owner.name, object)
    except ImportError:
        return True
    return any(hasattr(base, name) for base in made.__mro__[1:]) or name in implementedBy(made)


def docstringOffences(source: Source) -> Iterator[str]:
    """
    Every public name says what it is.

    Public is a module; what its C{__all__} lists; and in a class that is public, each class and
    method whose name begins with no underscore, unless it only does what a base class or an
    interface has documented.
    """
    if ast.get_docstring(source.tree) is None:
        yield source.at(1, "the module has no docstring; say what it is and what it is not")
    public = publicNames(source)
    found = list(definitions(source.tree.body))
    if public is None:
        if found:
            yield source.at(found[0], "there is no __all__; list the module's public names")
        return
    for node in found:
        if node.name in public:
            yield from undocumented(source, node)


def undocumented(
    source: Source, node: Definition, owner: ast.ClassDef | None = None
) -> Iterator[str]:
    """The docstrings missing in one public definition."""
    if ast.get_docstring(node) is None and not isSecondary(node):
        if owner is None:
            yield source.at(node, f"{node.name} is public and has no docstring; write one")
        elif not isInherited(source, owner, node.name):
            yield source.at(
                node, f"{owner.name}.{node.name} is public and has no docstring; write one"
            )
    if isinstance(node, ast.ClassDef):
        for inner in definitions(node.body):
            if not inner.name.startswith("_"):
                yield from undocumented(source, inner, node)


def testDocstringOffences(source: Source) -> Iterator[str]:
    """Every test says in a sentence what a user may rely on."""
    for node in ast.walk(source.tree):
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name.startswith("test_")
            and ast.get_docstring(node) is None
        ):
            yield source.at(node, f"{node.name} has no docstring; say what a user may rely on")


# ------------------------------------------------------------------------- packaging


def packageOffences(listed: Collection[str], modules: Iterable[Source]) -> Iterator[str]:
    """What setup.cfg installs is what there is."""
    there = {source.module for source in modules if source.isPackage} | {"twisted.plugins"}
    for name in sorted(there - set(listed)):
        yield f"setup.cfg: {name} would not be installed; add it to [options] packages"
    for name in sorted(set(listed) - there):
        yield f"setup.cfg: {name} does not exist; take it out of [options] packages"

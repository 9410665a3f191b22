# -*- test-case-name: tests.plugins.test_access -*-
"""
The built-in filters, by the names that the configuration writes.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
import typing
from pathlib import Path

from pydantic import TypeAdapter
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.manual import DOCS, blocksOf
from wsrelay.config.build import build
from wsrelay.config.load import loads
from wsrelay.config.makers import installedMakers
from wsrelay.config.reference import tomlOf
from wsrelay.filters.passwords import hashedPassword
from wsrelay.interfaces import IPluginMaker, Options
from wsrelay.l4.hub import Hub

NAMES = ["basic-auth", "forward-auth", "jwt", "networks", "origin"]


class AccessTests(SynchronousTestCase):
    """The makers."""

    def test_found(self) -> None:
        """Each filter is found by its name, and says what it does."""
        installed = installedMakers()
        for name in NAMES:
            maker = installed[name]
            self.assertTrue(IPluginMaker.providedBy(maker))
            self.assertTrue(maker.description.endswith("."))

    def test_options(self) -> None:
        """Each option says what it is for, and shows a value of it that is right."""
        for name in NAMES:
            options = installedMakers()[name].options
            self.assertTrue(issubclass(options, Options))
            hints = typing.get_type_hints(options, include_extras=True)
            for key, field in options.model_fields.items():
                self.assertTrue(field.description, (name, key))
                self.assertTrue(field.examples, (name, key))
                adapter: TypeAdapter[object] = TypeAdapter(hints[key])
                for example in field.examples:
                    read = tomllib.loads(f"{key} = {tomlOf(example)}")
                    adapter.validate_python(read[key])

    def test_light(self) -> None:
        """Looking what there is imports nothing of what a filter needs."""
        code = (
            "import sys; import wsrelay.plugins.access; "
            "sys.exit(bool({'jwt', 'bcrypt', 'twisted.web.client', 'wsrelay.filters'}"
            " & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
        self.assertEqual(done.returncode, 0)


class PageTests(SynchronousTestCase):
    """The page of the manual about them."""

    def test_builds(self) -> None:
        """What it shows can be built, once there is the file of users that it names."""
        users = Path(self.mktemp()).absolute()
        users.write_text(f"ada:{hashedPassword('sesame', 4)}\n", "utf-8")
        page = DOCS / "howto" / "control-access.md"
        blocks = [block for block in blocksOf(page) if block.verb == "builds"]
        self.assertEqual(len(blocks), 5)
        used = set()
        for block in blocks:
            text = block.text.replace("/etc/wsrelay/users", str(users))
            building = Deferred.fromCoroutine(build(loads(text), Hub(reactor)))
            self.assertTrue(self.successResultOf(building).listeners, str(block))
            used |= {table.use for table in loads(text).plugin.values()}
        self.assertEqual(sorted(used), NAMES)

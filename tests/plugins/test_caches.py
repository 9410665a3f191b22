# -*- test-case-name: tests.plugins.test_caches -*-
"""
The built-in filter about caches, by the name that the configuration writes.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.manual import DOCS, blocksOf
from wsrelay.config.build import build
from wsrelay.config.load import loads
from wsrelay.config.makers import installedMakers
from wsrelay.config.reference import tomlOf
from wsrelay.filters.purge import PurgeFilter, PurgeOptions
from wsrelay.interfaces import IPluginMaker
from wsrelay.l4.hub import Hub


class CachesTests(SynchronousTestCase):
    """The maker."""

    def test_found(self) -> None:
        """The filter is found by its name, and says what it does."""
        maker = installedMakers()["purge"]
        self.assertTrue(IPluginMaker.providedBy(maker))
        self.assertTrue(maker.description.endswith("."))
        self.assertIs(maker.options, PurgeOptions)

    def test_options(self) -> None:
        """Each option says what it is for, and shows a value of it that is right."""
        for key, field in PurgeOptions.model_fields.items():
            self.assertTrue(field.description, key)
            self.assertTrue(field.examples, key)
            for example in field.examples or ():
                PurgeOptions(**tomllib.loads(f"{key} = {tomlOf(example)}"))

    def test_light(self) -> None:
        """Looking what there is imports nothing of what the filter needs."""
        code = (
            "import sys; import wsrelay.plugins.caches; sys.exit('wsrelay.filters' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
        self.assertEqual(done.returncode, 0)

    def test_page(self) -> None:
        """What the manual shows about it can be built."""
        page = DOCS / "howto" / "cache-responses.md"
        blocks = [block for block in blocksOf(page) if block.verb == "builds"]
        self.assertEqual(len(blocks), 1)
        (text,) = [block.text for block in blocks]
        built = self.successResultOf(Deferred.fromCoroutine(build(loads(text), Hub(Clock()))))
        made = [each for each in built.plugins.values() if isinstance(each, PurgeFilter)]
        self.assertEqual((len(made), list(built.caches)), (1, ["pages"]))

"""Tests for the manual's page about the configuration."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.config.load import loads
from wsrelay.config.reference import EXAMPLE, SECTIONS, page, tomlOf

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "configuration.md"


class PageTests(SynchronousTestCase):
    """The page says what the schema says."""

    def test_isUpToDate(self) -> None:
        """The page in the manual is the one the schema makes."""
        self.assertEqual(
            PAGE.read_text(encoding="utf-8"),
            page(),
            "run: python -m wsrelay.config.reference > docs/reference/configuration.md",
        )

    def test_everyKey(self) -> None:
        """Every key has one card, found by its path."""
        text = page()
        for _, prefix, schema in SECTIONS:
            for key in schema.model_fields:
                self.assertEqual(text.count(f'<a id="{prefix}.{key}"></a>`{key}`'), 1, key)

    def test_cards(self) -> None:
        """A card has value, default, place, meaning and examples."""
        card = """\
### <a id="listener.headTimeout"></a>`headTimeout`

* Value: a number of seconds > 0
* Default: `10`
* Where: `[listener.NAME]`

How long a request head, or the first message of TLS, may take to arrive whole.

```toml
headTimeout = 5
```
"""
        self.assertIn(card, page())
        for words in [
            "* Value: a host name, or \\*. and a name, or a list\n* Default: none\n",
            "* Value: a Twisted server endpoint string, or a list\n"
            "* Default: none; this key is required\n",
            "* Value: a table of status, body, headers\n",
            "* Value: a URL, or a table of url and weight, or a list\n",
        ]:
            self.assertIn(words, page())

    def test_example(self) -> None:
        """The file at the top of the page is a right one."""
        self.assertEqual(len(loads(EXAMPLE).route), 2)


class TomlTests(SynchronousTestCase):
    """Values are written as TOML."""

    @given(
        st.recursive(
            st.one_of(
                st.booleans(),
                st.integers(-(2**60), 2**60),
                st.floats(allow_nan=False, allow_infinity=False),
                st.text(),
            ),
            lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
            max_leaves=10,
        )
    )
    @settings(max_examples=100, deadline=None)
    def test_readBack(self, value: Any) -> None:
        """What is written is read back the same."""
        self.assertEqual(tomllib.loads(f"a = {tomlOf(value)}")["a"], value)

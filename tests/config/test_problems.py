"""Tests for the words of problems."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.config.problems import found, keyOf, nearest, problemsOf, unknownKey, unknownName


class Inner(BaseModel):
    """A table in a table."""

    model_config = ConfigDict(extra="forbid")
    depth: int = 0


class Outer(BaseModel):
    """What a stranger's options may look like."""

    model_config = ConfigDict(extra="forbid")
    words: list[str] = Field(default=[], max_length=2)
    inner: Inner = Inner()
    many: dict[str, list[Inner]] = {}
    needed: bool

    @field_validator("words")
    @classmethod
    def _clean(cls, words: list[str]) -> list[str]:
        if "bad" in words:
            raise ValueError("not that word")
        return words


# What stands in the file, and what is said about it.
SAID: list[tuple[Any, list[str]]] = [
    ({}, ["plugin.x.needed: this key is required"]),
    (3, ["plugin.x: expected a table, found 3"]),
    (
        {"needed": 7, "word": 1, "zzz": 1},
        [
            "plugin.x.needed: expected a valid boolean, unable to interpret input, found 7",
            'plugin.x.word: unknown key; did you mean "words"?',
            "plugin.x.zzz: unknown key",
        ],
    ),
    (
        {"needed": True, "words": ["a", 2], "inner": {"deph": 1}},
        [
            "plugin.x.words[2]: expected a valid string, found 2",
            'plugin.x.inner.deph: unknown key; did you mean "depth"?',
        ],
    ),
    (
        {"needed": True, "words": "a", "many": {"a b": [{}, {"depth": "deep"}]}},
        [
            'plugin.x.words: expected a list, found "a"',
            'plugin.x.many."a b"[2].depth: expected a valid integer, unable to parse string as '
            'an integer, found "deep"',
        ],
    ),
    (
        {"needed": True, "many": {"a": [{"dept": 1}]}},
        ['plugin.x.many.a[1].dept: unknown key; did you mean "depth"?'],
    ),
    (
        {"needed": True, "words": ["bad"]},
        ["plugin.x.words: not that word, found a list"],
    ),
]


class ProblemsOfTests(SynchronousTestCase):
    """What pydantic finds is said in our words."""

    def test_table(self) -> None:
        """Each problem has its path, what was expected and what was found."""
        for raw, problems in SAID:
            error = self.assertRaises(ValidationError, Outer.model_validate, raw)
            self.assertEqual(problemsOf(error, "plugin.x", raw, Outer), problems)


class WordsTests(SynchronousTestCase):
    """The small parts of sentences."""

    def test_found(self) -> None:
        """Values are shown as the file writes them, and not at length."""
        for value, text in [
            ("a", '"a"'),
            ('a"\n', '"a\\"\\n"'),
            (True, "true"),
            (1.5, "1.5"),
            ([], "an empty list"),
            ([1], "a list"),
            ({}, "a table"),
        ]:
            self.assertEqual(found(value), text)
        self.assertLess(len(found("x" * 1000)), 80)

    def test_nearest(self) -> None:
        """The nearest name is offered, whatever its case, if one is near at all."""
        for name, expected in [
            ("hosts", '; did you mean "host"?'),
            ("pathprefix", '; did you mean "pathPrefix"?'),
            ("zzz", ""),
        ]:
            self.assertEqual(nearest(name, ["host", "pathPrefix", "path"]), expected)

    def test_keyOf(self) -> None:
        """A key is quoted where TOML needs it."""
        for key, text in [("a-b_1", "a-b_1"), ("a.b", '"a.b"'), ("", '""')]:
            self.assertEqual(keyOf(key), text)

    def test_unknown(self) -> None:
        """An unknown key or name comes with what would be right."""
        self.assertEqual(unknownKey("a.b", "b", []), "a.b: unknown key")
        self.assertEqual(
            unknownName("route[1].pool", "pool", "chta", ["chat", "feed"]),
            'route[1].pool: no pool named "chta"; did you mean "chat"? (pools: chat, feed)',
        )
        self.assertEqual(
            unknownName("route[1].pool", "pool", "x", []),
            'route[1].pool: no pool named "x" (there are no pools)',
        )

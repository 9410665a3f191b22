# -*- test-case-name: tests.config.test_problems -*-
"""
The words for what is wrong: one sentence for each problem.

A sentence is the path of the key as the operator would look for it, what was expected,
what was found, and the nearest name that would be right::

    route[2 "chat"].hosts: unknown key; did you mean "host"?
    listener.public.headTimeout: expected a number of seconds > 0, found "ten"
    route[1].pool: no pool named "chta"; did you mean "chat"? (pools: chat, feed)

The tables of C{[[route]]} are counted from 1, as the elements of a list are; a route that
has a name shows it.
"""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

__all__ = ["found", "keyOf", "nearest", "problemsOf", "quoted", "unknownKey", "unknownName"]

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST = 60


def problemsOf(error: ValidationError, where: str, raw: Any, schema: type[BaseModel]) -> list[str]:
    """
    What pydantic found, in our words.

    @param where: the path of the table that was validated.
    @param raw: that table, as it was read.
    @param schema: what it was validated by.
    """
    problems = []
    for each in error.errors(include_url=False):
        path = where + _pathIn(raw, each["loc"])
        if each["type"] == "extra_forbidden":
            problems.append(unknownKey(path, str(each["loc"][-1]), _keysAt(schema, each["loc"])))
        elif each["type"] == "missing":
            problems.append(f"{path}: this key is required")
        else:
            problems.append(f"{path}: {_complaint(each)}")
    return problems


def unknownKey(path: str, key: str, keys: Iterable[str]) -> str:
    """The sentence for a key that means nothing at C{path}, where C{keys} would."""
    return f"{path}: unknown key{nearest(key, keys)}"


def unknownName(path: str, kind: str, name: str, names: Sequence[str]) -> str:
    """The sentence for a name that refers to nothing; C{names} are those that would."""
    known = f"{kind}s: {', '.join(names)}" if names else f"there are no {kind}s"
    return f"{path}: no {kind} named {found(name)}{nearest(name, names)} ({known})"


def nearest(name: str, names: Iterable[str]) -> str:
    """C{'; did you mean "..."?'}, or nothing when no name is near."""
    byLower = {each.lower(): each for each in names}
    close = get_close_matches(name.lower(), byLower, n=1)
    return f'; did you mean "{byLower[close[0]]}"?' if close else ""


def keyOf(key: str) -> str:
    """A key as the file would write it in a path: quoted if it has to be."""
    return key if _PLAIN_KEY.fullmatch(key) else quoted(key)


def quoted(text: str) -> str:
    """A string as TOML writes it: as JSON does, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def found(value: Any) -> str:
    """A value as the file would write it, shortened."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = quoted(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


_SHAPES = {
    "model_type": "expected a table",
    "dict_type": "expected a table",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
}


def _complaint(error: Any) -> str:
    """What was expected and what was found."""
    kind, value, message = error["type"], error["input"], str(error["msg"])
    shown = f", found {found(value)}"
    if kind == "value_error":  # a sentence of its own, which often shows the value
        sentence = str(error["ctx"]["error"])
        isShown = found(value) in sentence or isinstance(value, dict)
        return sentence if isShown else sentence + shown
    if kind == "expected":
        return f"expected {message}{shown}"
    return _SHAPES.get(kind, message.replace("Input should be", "expected", 1)) + shown


def _pathIn(raw: Any, location: Sequence[int | str]) -> str:
    """
    Where in C{raw} that is, as far as it is in the file: pydantic also names the places that
    our validators made up, such as the only element of a list that stands there as a string.
    """
    path = ""
    for index, step in enumerate(location):
        if isinstance(step, int) and isinstance(raw, list | tuple) and step < len(raw):
            path, raw = f"{path}[{step + 1}]", raw[step]
        elif isinstance(raw, dict) and (step in raw or index == len(location) - 1):
            path, raw = f"{path}.{keyOf(str(step))}", raw.get(step)
        else:
            break
    return path


def _keysAt(schema: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """The keys of the table that holds the last step."""
    for step in location[:-1]:
        field = schema.model_fields.get(str(step))
        schema = next(_tablesIn(field.annotation), schema) if field else schema
    return list(schema.model_fields)


def _tablesIn(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _tablesIn(argument)

# -*- test-case-name: tests.test_headers -*-
"""
Header fields: as they came (L{Headers}), and as a filter edits them (L{MutableHeaders}).

Nothing here knows which fields mean what, and nothing here reads or writes a head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import TypeVar

__all__ = ["ByName", "Headers", "MutableHeaders", "checkedField"]

T = TypeVar("T")


class ByName(dict[bytes, T]):
    """
    What was made of a field's name, by the name as it was written. The same few dozen names stand
    in almost every head, and a look-up is cheaper than making it again. Peers choose the keys, so
    there are few, and short ones only.
    """

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[bytes], T]) -> None:
        self._make = make

    def __missing__(self, name: bytes) -> T:
        made = self._make(name)
        if len(name) <= 40:
            if len(self) >= 1024:
                self.clear()
            self[name] = made
        return made


_LOWER = ByName(bytes.lower)


@lru_cache(1024)
def _name(name: str | bytes) -> bytes:
    """
    As the index has it. A name that is not ASCII names no field; it must not raise, only find
    nothing. Programs ask for the same few names again and again.
    """
    return (name.encode("utf-8") if isinstance(name, str) else name).lower()


def _value(value: str | bytes) -> bytes:
    return value.encode("latin-1") if isinstance(value, str) else value


_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

# All but the tab (RFC 9110 section 5.5): some readers end a line at other controls than CR LF.
_CONTROLS = bytes({*range(0x20), 0x7F} - {0x09})
_INLINE = bytes({*range(256)} - {*_CONTROLS})


def checkedField(name: str | bytes, value: str | bytes) -> tuple[bytes, bytes]:
    """A field that is safe to write on the wire (RFC 9110 section 5.5), or C{ValueError}."""
    rawName = name.encode("ascii") if isinstance(name, str) else name
    if not rawName or rawName.translate(None, _TOKEN):
        raise ValueError(f"not a header name: {name!r}")
    rawValue = _value(value)
    if rawValue.translate(None, _INLINE):
        raise ValueError(f"header {name!r}: a value must not contain control characters")
    return rawName, rawValue.strip(b" \t")


class Headers:
    """
    Header fields in the order they came, looked up without regard to case.

    Values are read as C{str} (each byte one character, ISO 8859-1); L{raw} has the bytes.
    """

    __slots__ = ("_index", "_raw")

    def __init__(
        self, raw: Iterable[tuple[bytes, bytes]] = (), index: dict[bytes, bytes] | None = None
    ) -> None:
        """
        @param index: of these fields, from who has made it already: by each name in lower
            case its last value. It is the headers' own from then on.
        """
        self._raw: tuple[tuple[bytes, bytes], ...] | list[tuple[bytes, bytes]] = tuple(raw)
        self._index = index

    @property
    def raw(self) -> Iterable[tuple[bytes, bytes]]:
        """The fields as pairs of bytes, in order, names as they were written."""
        return self._raw

    def _lookup(self) -> dict[bytes, bytes]:
        """
        One value for each name in lower case. It has as many as there are fields, unless a
        name stands there twice: then L{rawAll} looks through the fields.
        """
        index = self._index
        if index is None:
            lower = _LOWER
            index = self._index = {lower[name]: value for name, value in self._raw}
        return index

    def forget(self) -> None:
        """Need less memory until somebody looks something up again."""
        self._index = None

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of C{name}, or C{default}."""
        values = self.rawAll(_name(name))
        return values[0].decode("latin-1") if values else default

    def getAll(self, name: str) -> list[str]:
        """Every value of C{name}, in order; empty when there is none."""
        return [value.decode("latin-1") for value in self.rawAll(_name(name))]

    def rawAll(self, name: bytes) -> list[bytes]:
        """Every value of the lower-case C{name} as bytes."""
        index = self._index
        if index is None:
            index = self._lookup()
        value = index.get(name)
        if value is None:
            return []
        if len(index) == len(self._raw):
            return [value]
        return [value for each, value in self._raw if _LOWER[each] == name]

    def hasAny(self, names: frozenset[bytes]) -> bool:
        """Whether there is a field with one of these lower-case names."""
        return not names.isdisjoint(self._lookup())

    def tokens(self, name: str) -> list[str]:
        """The elements of a comma-separated list field, over all its lines, trimmed."""
        found: list[str] = []
        for value in self.getAll(name):
            if "," in value:
                found += filter(None, [piece.strip(" \t") for piece in value.split(",")])
            elif only := value.strip(" \t"):
                found.append(only)
        return found

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _name(name) in self._lookup()

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for name, value in self._raw:
            yield name.decode("latin-1"), value.decode("latin-1")

    def __len__(self) -> int:
        return len(self._raw)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        return list(self._raw) == list(other._raw)

    def __hash__(self) -> int:
        return hash(tuple(self._raw))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self._raw)!r})"


class MutableHeaders(Headers):
    """
    Header fields that a filter may edit.

    A name that is no token, or a value with a control character, is a C{ValueError} here,
    so that no plugin can split a request or response.
    """

    __slots__ = ()
    _raw: list[tuple[bytes, bytes]]

    def __init__(self, raw: Iterable[tuple[bytes, bytes]] | Headers = ()) -> None:
        self._raw = list(raw.raw if isinstance(raw, Headers) else raw)
        self._index = None

    def set(self, name: str | bytes, value: str | bytes) -> None:
        """Make C{value} the only value of C{name}."""
        checked = checkedField(name, value)
        self.remove(name)
        self._append(checked)

    def add(self, name: str | bytes, value: str | bytes) -> None:
        """Add one more field line."""
        self._append(checkedField(name, value))

    def remove(self, name: str | bytes) -> None:
        """Remove every field line of that name, if there is any."""
        lower = _name(name)
        if self._lookup().pop(lower, None) is not None:
            self._raw = [pair for pair in self._raw if _LOWER[pair[0]] != lower]

    def _append(self, field: tuple[bytes, bytes]) -> None:
        # A new list each time: somebody may be going through the one there was.
        self._raw = [*self._raw, field]
        if self._index is not None:
            self._index[_LOWER[field[0]]] = field[1]

    __hash__ = None  # type: ignore[assignment]  # it can change

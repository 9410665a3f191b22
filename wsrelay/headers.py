# -*- test-case-name: tests.test_headers -*-
"""
Header fields: as they came (L{Headers}), and as a filter edits them (L{MutableHeaders}).

Nothing here knows which fields mean what, and nothing here reads or writes a head.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

__all__ = ["Headers", "MutableHeaders", "checkedField"]


@lru_cache(1024)
def _name(name: str | bytes) -> bytes:
    """
    As the index has it. A name that is not ASCII names no field; it must not raise, only find
    nothing. Programs ask for the same few names again and again.
    """
    return (name.encode("utf-8") if isinstance(name, str) else name).lower()


def _value(value: str | bytes) -> bytes:
    return value.encode("latin-1") if isinstance(value, str) else value


_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")

# All but the tab (RFC 9110 section 5.5): some readers end a line at other controls than CR LF.
_CONTROLS = frozenset({*range(0x20), 0x7F} - {0x09})


def checkedField(name: str | bytes, value: str | bytes) -> tuple[bytes, bytes]:
    """A field that is safe to write on the wire (RFC 9110 section 5.5), or C{ValueError}."""
    rawName = name.encode("ascii") if isinstance(name, str) else name
    if not rawName or not _TOKEN.issuperset(rawName.lower()):
        raise ValueError(f"not a header name: {name!r}")
    rawValue = _value(value)
    if not _CONTROLS.isdisjoint(rawValue):
        raise ValueError(f"header {name!r}: a value must not contain control characters")
    return rawName, rawValue.strip(b" \t")


class Headers:
    """
    Header fields in the order they came, looked up without regard to case.

    Values are read as C{str} (each byte one character, ISO 8859-1); L{raw} has the bytes.
    """

    __slots__ = ("_index", "_raw")

    def __init__(self, raw: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._raw: tuple[tuple[bytes, bytes], ...] | list[tuple[bytes, bytes]] = tuple(raw)
        self._index: dict[bytes, list[bytes]] | None = None

    @property
    def raw(self) -> Iterable[tuple[bytes, bytes]]:
        """The fields as pairs of bytes, in order, names as they were written."""
        return self._raw

    def _lookup(self) -> dict[bytes, list[bytes]]:
        index = self._index
        if index is None:
            index = self._index = {}
            for name, value in self._raw:
                lower = name.lower()
                if lower in index:
                    index[lower].append(value)
                else:
                    index[lower] = [value]
        return index

    def forget(self) -> None:
        """Need less memory until somebody looks something up again."""
        self._index = None

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of C{name}, or C{default}."""
        values = self._lookup().get(_name(name))
        return values[0].decode("latin-1") if values else default

    def getAll(self, name: str) -> list[str]:
        """Every value of C{name}, in order; empty when there is none."""
        values = self._lookup().get(_name(name))
        return [value.decode("latin-1") for value in values] if values else []

    def rawAll(self, name: bytes) -> list[bytes]:
        """Every value of the lower-case C{name} as bytes."""
        values = self._lookup().get(name)
        return values[:] if values else []

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
        super().__init__()
        self._raw = list(raw.raw if isinstance(raw, Headers) else raw)

    def set(self, name: str | bytes, value: str | bytes) -> None:
        """Make C{value} the only value of C{name}."""
        checked = checkedField(name, value)
        self.remove(name)
        self._raw.append(checked)
        self._index = None

    def add(self, name: str | bytes, value: str | bytes) -> None:
        """Add one more field line."""
        self._raw.append(checkedField(name, value))
        self._index = None

    def remove(self, name: str | bytes) -> None:
        """Remove every field line of that name, if there is any."""
        lower = _name(name)
        self._raw = [pair for pair in self._raw if pair[0].lower() != lower]
        self._index = None

    __hash__ = None  # type: ignore[assignment]  # it can change

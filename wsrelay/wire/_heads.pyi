"""The extension, see wsrelay/wire/_heads.c."""

from collections.abc import Iterable

_Fields = tuple[tuple[bytes, bytes], ...]
_Index = dict[bytes, bytes]
_Version = tuple[int, int]

def request(
    head: bytes, maxHeaders: int, /
) -> tuple[str, str, _Version, _Fields, _Index] | None: ...
def response(
    head: bytes, maxHeaders: int, /
) -> tuple[int, str, _Version, _Fields, _Index] | None: ...
def cut(data: bytes, limit: int, maxHeaders: int, /) -> tuple[bytes, bytes] | None: ...
def join(line: bytes, fields: Iterable[tuple[bytes, bytes]], /) -> bytes | None: ...

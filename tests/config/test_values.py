"""Tests for the kinds of values."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.config import values

# Kind of value: what it takes (and what becomes of it), and what it does not take.
KINDS: dict[str, tuple[dict[Any, Any], list[Any]]] = {
    "Seconds": ({1: 1.0, 0.5: 0.5}, [0, -1, "1", True, float("inf"), float("nan"), None]),
    "Patience": ({0: 0.0, 3: 3.0}, [-1, "0", float("inf")]),
    "Size": ({1: 1}, [0, -1, 1.5, "1", True]),
    "SizeLimit": ({0: 0, 10: 10}, [-1, 1.0, "0"]),
    "Count": ({1: 1}, [0, 2.0]),
    "Status": ({200: 200, 599: 599}, [101, 199, 600, "200"]),
    "Plane": ({"auto": "auto", "native": "native", "portable": "portable"}, ["Auto", "", 1]),
    "LogFormat": ({"text": "text", "json": "json"}, ["xml"]),
    "Compression": ({"end-to-end": "end-to-end", "off": "off"}, ["on", False]),
    "YesOrNo": ({True: True}, [0, 1, "true"]),
    "Names": ({"a": ("a",)}, [3, [], ["a", 3]]),
    "Hosts": ({"*.a": ("*.a",)}, ["a:80", "*", ["a", "b c"]]),
    "ServerNames": ({"a.b": ("a.b",)}, ["a:80"]),
    "PathGlobs": ({"/a/*": ("/a/*",)}, ["a", "/a?b"]),
    "PathPrefixes": ({"/a": ("/a",)}, ["a"]),
    "PathRegexes": ({"/[a-z]+": ("/[a-z]+",)}, ["["]),
    "Methods": ({"GET": ("GET",)}, ["get"]),
    "Networks": ({"10.0.0.0/8": ("10.0.0.0/8",)}, ["10.0.0.1/8", "x"]),
    "Endpoints": (
        {
            endpoint: (endpoint,)
            for endpoint in [
                *("tcp:8080", "tcp:port=80", "tcp:80:interface=::1", "tcp6:0", "unix:/run/x"),
                *("systemd:domain=INET:index=0", "haproxy:tcp:80", "anything:else", "tls:443:a=b"),
            ]
        },
        ["8080", "tcp", "tcp:", ":80", "http://a:80", "tcp:0.0.0.0:80", "tcp:interface=::1", 80],
    ),
    "BackendUrl": (
        {
            url: url
            for url in [
                *("ws://a", "wss://a:1", "http://a/", "https://[::1]:2", "tcp:a:1", "tls:a:1"),
                *("tcp://a:1", "unix:/run/x"),
            ]
        },
        ["a:80", "ws://a/b", "ws://u@a", "ftp://a", "tcp:a", "unix:x", "ws://a?b", 80],
    ),
    "Use": (
        {"redact": "redact", "a.b:c.d": "a.b:c.d", "by-tenant": "by-tenant"},
        ["", "a:", ":b", "a b", "a:b:c", "a.:b", "a:1"],
    ),
    "Reason": ({True: "refused by the route", "no": "no"}, [False, "", 1]),
}
TABLES: dict[str, tuple[list[Any], list[Any]]] = {
    "Headers": ([{"x-a": "*"}, {"a": ["1", "2"]}], [{"a": 1}, {"a b": "1"}, {"a": []}, "a"]),
    "Cookies": ([{"a": "1"}], [{"a=b": "1"}]),
    "Parameters": ([{"a b": "1"}], [{"a": True}]),
    "Fields": (
        [{"Location": "/"}, {"X": ["1", "2"]}],
        [{"a b": "1"}, {"a": "1\r\n2"}, {"Content-Length": "1"}, {"connection": "close"}],
    ),
}


class KindTests(SynchronousTestCase):
    """Each kind takes what it should, converts nothing, and refuses all else."""

    def test_kinds(self) -> None:
        """Good values are taken as they are; the others are errors."""
        for kind, (good, bad) in KINDS.items():
            adapter: TypeAdapter[Any] = TypeAdapter(getattr(values, kind))
            for value, expected in good.items():
                self.assertEqual(adapter.validate_python(value, strict=True), expected, kind)
            self.assertRefused(kind, adapter, bad)

    def test_tables(self) -> None:
        """Tables of patterns and fields have names and values that HTTP allows."""
        for kind, (good, bad) in TABLES.items():
            adapter: TypeAdapter[Any] = TypeAdapter(getattr(values, kind))
            for value in good:
                adapter.validate_python(value, strict=True)
            self.assertRefused(kind, adapter, bad)

    def assertRefused(self, kind: str, adapter: TypeAdapter[Any], bad: list[Any]) -> None:
        """None of these values is taken."""
        for value in bad:
            with self.assertRaises(ValidationError, msg=f"{kind}: {value!r}"):
                adapter.validate_python(value, strict=True)

    def test_expected(self) -> None:
        """What is wrong with a value is said in the words of the reference."""
        adapter: TypeAdapter[Any] = TypeAdapter(values.Seconds)
        error = self.assertRaises(ValidationError, adapter.validate_python, "ten")
        self.assertEqual(error.errors()[0]["msg"], "a number of seconds > 0")

    def test_schema(self) -> None:
        """An editor is told that one value may stand for a list, and that a list needs one."""
        schema = TypeAdapter(values.Names).json_schema()
        one, many = schema["anyOf"]
        self.assertEqual(one, {"type": "string"})
        self.assertEqual((many["type"], many["items"], many["minItems"]), ("array", one, 1))
        self.assertEqual(TypeAdapter(values.NamesOrNone).json_schema()["anyOf"][1]["minItems"], 0)

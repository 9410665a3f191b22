# -*- test-case-name: tests.observers.test_lines -*-
"""
The log as lines, for people and for programs.
"""

from __future__ import annotations

import io
import json
from typing import Any

from hypothesis import given, settings, strategies as st
from twisted.logger import Logger, LogLevel, LogPublisher
from twisted.python import log as legacy
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.config.values import LogFormat
from wsrelay.observers.lines import LINES, jsonLine, logObserver, textLine

WHEN = {"log_time": 1700000000.25, "log_namespace": "wsrelay.relay", "log_level": LogLevel.info}


def event(format: str, **fields: Any) -> dict[str, Any]:
    """An event of 2023."""
    return {**WHEN, "log_format": format, **fields}


def failure() -> Failure:
    """A failure with a traceback."""
    try:
        raise RuntimeError("no\nidea")
    except RuntimeError:
        return Failure()


class LinesTests(SynchronousTestCase):
    """What the two formats have in common."""

    def test_formats(self) -> None:
        """Both formats that the configuration knows are there."""
        self.assertEqual(tuple(LINES), LogFormat.__args__[0].__args__)

    def test_observer(self) -> None:
        """An observer writes a line for each event, old-fashioned ones included."""
        for format in LINES:
            out = io.StringIO()
            publisher = LogPublisher(logObserver(out, format))
            Logger("wsrelay.test", observer=publisher).info("one {number}", number=1)
            old = legacy.LogPublisher(publisher, publisher)
            old.msg("two")
            lines = out.getvalue().splitlines()
            self.assertEqual(len(lines), 2, format)
            self.assertIn("one 1", lines[0])
            self.assertIn("two", lines[1])

    def test_noise(self) -> None:
        """What Twisted says of every port by the name of a class is left out."""
        for noise in (
            "LegFactory starting on 8080",
            "LegFactory starting on '/run/x.sock'",
            "(TCP Port 8080 Closed)",
            "(UNIX Port /run/x.sock Closed)",
        ):
            self.assertEqual((textLine(event(noise)), jsonLine(event(noise))), ("", ""))
        self.assertNotEqual(textLine(event("the demo is starting on 8080 now")), "")


class TextTests(SynchronousTestCase):
    """For people."""

    def test_line(self) -> None:
        """Time and message; the level if it is another than the usual one."""
        self.assertEqual(
            textLine(event("hello {who}", who="you")), "2023-11-14T22:13:20.250Z hello you\n"
        )
        self.assertEqual(
            textLine(event("oh", log_level=LogLevel.critical)),
            "2023-11-14T22:13:20.250Z critical: oh\n",
        )

    def test_traceback(self) -> None:
        """A traceback goes on in indented lines."""
        lines = textLine(event("it failed", log_failure=failure())).splitlines()
        self.assertEqual(lines[0], "2023-11-14T22:13:20.250Z it failed")
        self.assertIn("    Traceback (most recent call last):", lines)
        self.assertTrue(all(line.startswith("    ") for line in lines[1:]))

    @settings(max_examples=100, deadline=None)
    @given(st.text())
    def test_forged(self, said: str) -> None:
        """Nothing that anybody says looks like a line of its own, or moves the cursor."""
        first, *others = textLine(event("{said}", said=said)).removesuffix("\n").split("\n")
        self.assertTrue(first.startswith("2023-11-14T22:13:20.250Z "))
        self.assertTrue(all(line.startswith("    ") for line in others))
        self.assertTrue(all(line.isprintable() for line in (first, *others)))

    def test_bounded(self) -> None:
        """Of what is very long both ends are shown."""
        line = textLine(event("{said}", said="a" * 10**6 + "z"))
        self.assertLess(len(line), 66000)
        first, between, last = line.splitlines()
        self.assertTrue(first.endswith("Z " + "a" * 32768))
        self.assertEqual(between, "    ... 934465 characters ...")
        self.assertTrue(last.endswith("z"))


class JSONTests(SynchronousTestCase):
    """For programs."""

    def test_line(self) -> None:
        """One flat object with the message and the fields that it was made of."""
        line = jsonLine(event("{id} {bytesToClient}", id="1f", bytesToClient=5, ratio=0.5))
        self.assertEqual(
            json.loads(line),
            {
                "time": "2023-11-14T22:13:20.250Z",
                "level": "info",
                "logger": "wsrelay.relay",
                "message": "1f 5",
                "id": "1f",
                "bytesToClient": 5,
                "ratio": 0.5,
            },
        )
        self.assertEqual(line.count("\n"), 1)

    def test_values(self) -> None:
        """Whatever stands in an event becomes something that JSON has."""

        class Broken:
            def __str__(self) -> str:
                raise RuntimeError("no")

        for value, expected in [
            (None, None),
            (True, True),
            (b"caf\xc3\xa9\xff", "café\\xff"),
            ((1, [2, b"3"]), [1, [2, "3"]]),
            ({1: {"a": b"b"}}, {"1": {"a": "b"}}),
            (float("nan"), "nan"),
            (float("-inf"), "-inf"),
            (LogLevel.warn, str(LogLevel.warn)),
            (Broken(), "<Broken>"),
        ]:
            self.assertEqual(json.loads(jsonLine(event("x", value=value)))["value"], expected)

    def test_escaped(self) -> None:
        """Nothing that a terminal would heed is in the line as it is."""
        said = "".join(map(chr, [*range(32), *range(127, 160), 0x200E, 0x202E, 0x2028, 0x2029]))
        line = jsonLine(event("{said}", said=said))
        self.assertTrue(line.removesuffix("\n").isprintable())
        self.assertEqual(json.loads(line)["said"], said)

    def test_bounded(self) -> None:
        """No field is longer than a bound."""
        for value in ("a" * 10**6, b"a" * 10**6, ["a" * 10**6]):
            self.assertLess(len(jsonLine(event("x", value=value))), 66000)

    def test_failure(self) -> None:
        """A failure has its traceback in one field."""
        line = json.loads(jsonLine(event("it failed", log_failure=failure())))
        self.assertEqual(line["message"], "it failed")
        self.assertIn("RuntimeError: no\nidea", line["traceback"])

    @settings(max_examples=100, deadline=None)
    @given(
        st.text(),
        st.dictionaries(
            st.text(min_size=1).filter(lambda key: not key.startswith("log_")),
            st.recursive(
                st.none() | st.floats() | st.text() | st.binary() | st.integers(),
                lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
                max_leaves=5,
            ),
            max_size=4,
        ),
    )
    def test_anything(self, said: str, fields: dict[str, Any]) -> None:
        """Whatever is logged, it is one line, and strict JSON."""
        line = jsonLine({**fields, **WHEN, "log_format": "{log_said}", "log_said": said})
        self.assertEqual(line.count("\n"), 1)
        read = json.loads(line, parse_constant=self.fail)
        self.assertEqual(read["message"], said)

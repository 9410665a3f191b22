# -*- test-case-name: tests.config -*-
"""
The configuration: one TOML file, read strictly into a frozen description.

L{schema}, L{listeners}, L{routes}, L{pools} and L{caches} say what may stand in it, L{values}
what each kind of value must be, L{load}
reads it, L{check} finds what is wrong between its parts, L{problems} words every fault,
and L{reference} writes the manual's page from the schema. A key of the file, an attribute
here and an entry of the reference are spelled alike.

Reading has no side effect and makes nothing run; that is the business of
C{wsrelay.config.build}.
"""

from __future__ import annotations

from wsrelay.config.load import fromCommandLine, load, loads, optionsProblems
from wsrelay.config.schema import Configuration, jsonSchema

__all__ = ["Configuration", "fromCommandLine", "jsonSchema", "load", "loads", "optionsProblems"]

# -*- test-case-name: tests.plane.test_choice -*-
"""
Which engine moves the bytes: the native one where it can be had, else the portable one.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from wsrelay.errors import ConfigurationError
from wsrelay.plane.engine import IPlane
from wsrelay.plane.portable import PortablePlane

__all__ = ["hasNative", "makePlane"]

_log = Logger()


def hasNative() -> bool:
    """Whether the native engine can be had here."""
    try:
        import wsrelay.plane.native  # noqa: F401  # whether it is there is the question
    except ImportError:
        return False
    return True


def makePlane(wanted: str, reactor: Any) -> IPlane:
    """
    Make the engine.

    @param wanted: C{native}, C{portable}, or C{auto} for the better of those that are there.
    @raise ConfigurationError: C{native} is wanted and its extension was not built.
    """
    if wanted == "portable":
        return PortablePlane(reactor)
    try:
        from wsrelay.plane.native import NativePlane
    except ImportError as error:
        if wanted == "native":
            raise ConfigurationError(
                [
                    f'relay.plane: "native" needs the extension, which is not here ({error}): '
                    'it is built at installation, on Linux with a C compiler; "auto" does without'
                ]
            ) from error
        _log.info("plane portable: the native plane's extension was not built")
        return PortablePlane(reactor)
    return NativePlane(reactor)

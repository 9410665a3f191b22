# -*- test-case-name: tests.config.test_makers -*-
"""
Finds plugin makers: by the name that an installed plugin has, or as C{module:object}.

Whatever stands in a file is taken as it is meant: a maker, the class of one, or for the
shortest plugins an object or class that provides one of the interfaces itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from twisted.plugin import getPlugins
from twisted.web.resource import IResource
from zope.interface import implementer, providedBy

from wsrelay import plugins
from wsrelay.interfaces import (
    IBalancer,
    IForwarder,
    IMessageFilter,
    IObserver,
    IPluginMaker,
    IRequestFilter,
    IRoutingPolicy,
    IStreamFilter,
)

__all__ = ["PROVIDABLE", "findMaker", "installedMakers"]

PROVIDABLE = (
    IRoutingPolicy,
    IRequestFilter,
    IMessageFilter,
    IStreamFilter,
    IBalancer,
    IForwarder,
    IObserver,
    IResource,
)
"""What a plugin may be."""


def installedMakers() -> dict[str, Any]:
    """
    The makers that installed packages have put into C{wsrelay.plugins}, by name. One that
    cannot be imported is left out, and Twisted logs why.
    """
    return {maker.name: maker for maker in getPlugins(IPluginMaker, plugins)}


def findMaker(use: str, installed: Mapping[str, Any]) -> Any:
    """
    The maker that C{use} means.

    @raise LookupError: there is none; the message says what would be right.
    """
    if ":" not in use:
        if use in installed:
            return installed[use]
        near = get_close_matches(use, installed, 1)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        known = ", ".join(sorted(installed)) or "none"
        raise LookupError(f'no plugin "{use}" is installed{hint} (installed: {known})')
    return _asMaker(use, _imported(use))


def _imported(use: str) -> Any:
    moduleName, _, path = use.partition(":")
    try:
        found: Any = importlib.import_module(moduleName)
    except ModuleNotFoundError as error:
        if f"{moduleName}.".startswith(f"{error.name}."):
            raise LookupError(f'"{use}": there is no module {error.name!r}') from error
        raise LookupError(f'"{use}": importing {moduleName} failed: {error}') from error
    except (Exception, SystemExit) as error:
        # A script that was meant to be run may call sys.exit() when it is imported.
        raise LookupError(f'"{use}": importing {moduleName} failed: {_said(error)}') from error
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            near = get_close_matches(part, dir(found), 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise LookupError(f'"{use}": {moduleName} has no {part!r}{hint}') from None
    return found


def _asMaker(use: str, found: Any) -> Any:
    wanted = (IPluginMaker, *PROVIDABLE)
    if isinstance(found, type) and any(each.implementedBy(found) for each in wanted):
        try:
            found = found()
        except Exception as error:
            what = f"making a {use.partition(':')[2]} failed: {_said(error)}"
            raise LookupError(f'"{use}": {what}') from error
    if IPluginMaker.providedBy(found):
        return found
    if any(each.providedBy(found) for each in PROVIDABLE):
        return _Made(use, found)
    names = ", ".join(each.__name__ for each in wanted)
    has = ", ".join(each.__name__ for each in providedBy(found)) or "none"
    raise LookupError(f'"{use}" provides none of {names} (it provides: {has})')


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


@implementer(IPluginMaker)
class _Made:
    """A plugin that needs no making."""

    options = None

    def __init__(self, name: str, plugin: Any) -> None:
        self.name = name
        self.description = (type(plugin).__doc__ or "").strip().partition("\n")[0]
        self._plugin = plugin

    def make(self, options: Any, relay: Any) -> Any:
        return self._plugin

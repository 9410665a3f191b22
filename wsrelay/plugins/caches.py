# -*- test-case-name: tests.plugins.test_caches -*-
"""
The maker of the built-in filter that is about caches, see L{wsrelay.filters}.

This is imported to list what there is; what a filter needs is imported when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from wsrelay.interfaces import IPluginMaker, IRelay, Options

if TYPE_CHECKING:
    from wsrelay.filters.purge import PurgeOptions

__all__ = ["Purge"]


@implementer(IPluginMaker)
class Purge:
    """Makes what drops answers from caches."""

    name = "purge"
    description = "Drops what caches keep for a URL when a client asks for it by PURGE."

    @property
    def options(self) -> type[Options]:
        """See L{PurgeOptions<wsrelay.filters.purge.PurgeOptions>}."""
        from wsrelay.filters.purge import PurgeOptions

        return PurgeOptions

    def make(self, options: PurgeOptions, relay: IRelay) -> Any:
        """The filter."""
        from wsrelay.filters.purge import PurgeFilter

        return PurgeFilter(options, relay)


purge = Purge()

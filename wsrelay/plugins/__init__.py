# -*- test-case-name: tests.endtoend.test_distribution -*-
"""
The door for third parties: every module in here is looked at for plugins.

A distribution of your own puts a module into this package by shipping the file
C{wsrelay/plugins/shout.py} without C{wsrelay/__init__.py} and without
C{wsrelay/plugins/__init__.py}, which are ours; in its C{setup.cfg}::

    [options]
    packages = wsrelay.plugins
    install_requires = wsrelay

The module makes an instance of each of its plugin makers at module level, and imports what
is expensive inside C{make}, since it is imported to list what there is::

    @implementer(IPluginMaker)
    class Shout:
        name = "shout"
        description = "Sends everything in capitals."
        options = None

        def make(self, options, relay):
            return ShoutFilter()

    shout = Shout()

It need not be installed where wsrelay is: each directory of C{sys.path} that holds
C{wsrelay/plugins} and no C{__init__.py} in it counts. C{twistd wsrelay --plugins} shows what
was found. A plugin in a file of its own needs none of this: C{use = "module:object"}.

Nothing of the relay is imported here.
"""

from __future__ import annotations

from twisted.plugin import pluginPackagePaths

__all__: list[str] = []

__path__.extend(pluginPackagePaths(__name__))

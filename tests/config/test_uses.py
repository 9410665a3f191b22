"""Tests for wsrelay.config.uses."""

from __future__ import annotations

# --------------------------------------------------------------- plugins, for the files below
from tests.config.building import FINE, Building
from wsrelay.errors import ConfigurationError


class UsesTests(Building):
    """Whether plugins can do what they are named for."""

    def test_uses(self) -> None:
        """A plugin must be able to do what it is named for."""
        plugin = '[plugin.page]\nuse = "HERE:Page"\n[plugin.tenants]\nuse = "HERE:Tenants"\n'
        for text, problem in [
            (
                '[[route]]\nname = "r"\npool = "p"\nfilters = "tenants"\n',
                'route[1 "r"].filters: the plugin "tenants" does not provide IRequestFilter '
                "or IMessageFilter or IStreamFilter",
            ),
            (
                '[[route]]\nname = "r"\nserve = "tenants"\n',
                'route[1 "r"].serve: the plugin "tenants" does not provide IResource',
            ),
            (
                '[pool.q]\nbackends = "ws://a"\nbalancer = "page"\n',
                'pool.q.balancer: the plugin "page" does not provide IBalancer',
            ),
            (
                '[listener.b]\nendpoint = "tcp:2"\npool = "p"\npolicies = "page"\n',
                'listener.b.policies: the plugin "page" does not provide IRoutingPolicy',
            ),
            (
                '[listener.b]\nendpoint = "tcp:2"\nforwarder = "page"\n',
                'listener.b.forwarder: the plugin "page" does not provide IForwarder',
            ),
        ]:
            self.assertEqual(self.problems(FINE + plugin + text), (problem,))

    def test_blindFilters(self) -> None:
        """A filter that would see nothing on a listener is refused, not passed by."""
        text = (
            '[listener.web]\nendpoint = "tcp:1"\n'
            '[listener.raw]\nendpoint = "tcp:2"\nforwarder = "tcp"\n'
            '[listener.own]\nendpoint = "tcp:3"\nforwarder = "echo"\n'
            '[pool.p]\nbackends = "ws://a"\n'
            '[plugin.door]\nuse = "HERE:Door"\n[plugin.reader]\nuse = "HERE:Reader"\n'
            '[plugin.bytes]\nuse = "HERE:Bytes"\n[plugin.echo]\nuse = "HERE:EchoForwarder"\n'
            '[[route]]\nname = "r"\npool = "p"\n'
        )
        seesNothing = (
            'route[1 "r"].filters: the plugin "{}" would see nothing on the listener "{}": '
            "at layer {} it would have to provide {}"
        )
        l4, l7 = "IStreamFilter", "IRequestFilter or IMessageFilter"
        for condition, filters, problems in [
            ("", "door", [("door", "raw", 4, l4)]),
            ("", "reader", [("reader", "raw", 4, l4)]),
            ("", "bytes", [("bytes", "web", 7, l7)]),
            ('listener = "raw"', "door", [("door", "raw", 4, l4)]),
            ('listener = "web"', "bytes", [("bytes", "web", 7, l7)]),
            ('listener = "web"', "door", []),
            ('listener = "raw"', "bytes", []),
            ('path = "/x"', "door", []),
            ('serverName = "a.example"', "door", [("door", "raw", 4, l4)]),
        ]:
            building = self.build(f'{text}{condition}\nfilters = "{filters}"\n')
            if problems:
                found = self.failureResultOf(building, ConfigurationError).value.problems
                self.assertEqual(list(found), [seesNothing.format(*each) for each in problems])
            else:
                self.successResultOf(building)

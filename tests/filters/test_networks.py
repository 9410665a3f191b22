# -*- test-case-name: tests.filters.test_networks -*-
"""
Who may come in, by address.
"""

from __future__ import annotations

from ipaddress import ip_address

from pydantic import ValidationError
from twisted.trial.unittest import SynchronousTestCase

from tests.filters.support import HANDSHAKE, FilterTestCase, exchangeOf
from wsrelay.filters.networks import NetworkFilter, NetworkPolicy, NetworkSet, NetworksOptions
from wsrelay.model import Refuse

#: allow, deny, who comes, whether it may.
RULES = [
    ([], ["192.0.2.0/24"], "192.0.2.1", False),
    ([], ["192.0.2.0/24"], "192.0.3.1", True),
    ([], ["192.0.2.0/24"], "unix:", True),
    (["10.0.0.0/8"], [], "10.1.2.3", True),
    (["10.0.0.0/8"], [], "11.1.2.3", False),
    (["10.0.0.0/8"], [], "unix:/run/x", False),
    (["10.0.0.0/8"], ["10.66.0.0/16"], "10.66.0.1", False),
    (["10.0.0.0/8"], ["10.66.0.0/16"], "10.67.0.1", True),
    (["10.0.0.0/8"], ["0.0.0.0/0"], "10.67.0.1", False),
    (["10.0.0.7"], [], "10.0.0.7", True),
    (["10.0.0.7"], [], "10.0.0.8", False),
    (["10.0.0.0/8"], [], "::ffff:10.0.0.1", True),
    (["::ffff:10.0.0.0/104"], [], "10.0.0.1", True),
    ([], ["::ffff:10.0.0.0/104"], "::ffff:10.0.0.1", False),
    (["2001:db8::/32"], [], "2001:db8::1", True),
    (["2001:db8::/32"], [], "2001:db9::1", False),
    (["fe80::/10"], [], "fe80::1%eth0", True),
    (["::/0"], [], "10.0.0.1", False),
    (["0.0.0.0/0"], [], "2001:db8::1", False),
    (["0.0.0.0/0", "::/0"], [], "2001:db8::1", True),
]


class NetworksTests(SynchronousTestCase):
    """The rules."""

    def test_rules(self) -> None:
        """Deny wins, allow shuts out everybody else, at both layers alike."""
        for allow, deny, client, may in RULES:
            options = NetworksOptions(allow=allow, deny=deny)
            exchange = exchangeOf(client=client)
            respond = NetworkFilter(options).requestReceived(exchange)
            self.assertEqual(respond.status if respond else 0, 0 if may else 403, (allow, client))
            decision = NetworkPolicy(options).route(exchange.inbound)
            self.assertEqual(isinstance(decision, Refuse), not may, (deny, client))

    def test_many(self) -> None:
        """Thousands of networks are looked through in a few steps, and none is forgotten."""
        networks = NetworkSet(f"10.{a}.{b}.0/24" for a in range(40) for b in range(0, 256, 2))
        self.assertEqual(len(networks._prefixes), 1)
        for text, isIn in [("10.39.254.9", True), ("10.39.255.9", False), ("11.0.0.1", False)]:
            self.assertIs(ip_address(text) in networks, isIn, text)

    def test_wrong(self) -> None:
        """What is no network, and a filter without any, are refused with the reason."""
        for options, wanted in [
            ({"allow": ["10.0.0.1/8"]}, "host bits set"),
            ({"deny": ["example.org"]}, "expected an IP address or network"),
            ({}, "expected allow or deny"),
            ({"deny": ["::1"], "apply": "both"}, "apply"),
        ]:
            error = self.assertRaises(ValidationError, NetworksOptions, **options)
            self.assertIn(wanted, str(error))


class RelayTests(FilterTestCase):
    """Inside a relay."""

    async def test_filter(self) -> None:
        """A WebSocket from the wrong place gets 403 before any 101, and the backend nothing."""
        port, backend = await self.relay('use = "networks"\nallow = ["192.0.2.0/24"]')
        heard = await self.refusedRaw(port, HANDSHAKE + b"\r\n")
        self.assertTrue(heard.startswith(b"HTTP/1.1 403 Forbidden\r\n"), heard)
        self.assertTrue(heard.endswith(b"\r\n\r\n403 Forbidden\n"), heard)
        self.assertEqual(backend.count, 0)

    async def test_policy(self) -> None:
        """At layer 4 the connection is closed without a byte, and the backend is not dialled."""
        rules = 'use = "networks"\napply = "listeners"\n'
        port, backend = await self.relay(rules + 'deny = ["127.0.0.0/8"]', "tcp")
        client = await self.dial(port)
        await client.over
        self.assertEqual((client.data, backend.count), (b"", 0))

    async def test_policyPasses(self) -> None:
        """At layer 4 everybody else goes on."""
        rules = 'use = "networks"\napply = "listeners"\n'
        port, backend = await self.relay(rules + 'allow = ["127.0.0.0/8"]', "tcp")
        client = await self.dial(port)
        client.send(b"hello")
        peer = await backend.peers.get()
        await peer.whenGot(b"hello")
        await self.hangUp(client)
        await peer.lost

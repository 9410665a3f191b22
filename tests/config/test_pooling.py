"""Tests for wsrelay.config.pooling."""

from __future__ import annotations

from pathlib import Path

from tests.certificates import theAuthority

# --------------------------------------------------------------- plugins, for the files below
from tests.config.building import FINE, Building


class PoolingTests(Building):
    """Pools as the file describes them."""

    def test_balancerPlugin(self) -> None:
        """So is a balancer."""
        made = self.built(
            '[listener.a]\nendpoint = "tcp:1"\npool = "p"\n[pool.p]\nbackends = "ws://a"\n'
            'balancer = "first"\n[plugin.first]\nuse = "HERE:First"\n'
        )
        self.assertIs(made.pools["p"]._balancer, made.plugins["first"])

    def test_ca(self) -> None:
        """An authority that cannot be read is told, one that can is taken."""
        path = Path(self.mktemp())
        text = FINE.replace("ws://a", "wss://a") + f'ca = "{path.absolute()}"\n'
        self.assertEqual(
            self.problems(text),
            (f"pool.p.ca: {path.absolute()}: No such file or directory",),
        )
        path.write_text("nothing")
        self.assertEqual(
            self.problems(text), (f"pool.p.ca: {path.absolute()} holds no PEM certificate",)
        )
        theAuthority().write(path)
        self.built(text)

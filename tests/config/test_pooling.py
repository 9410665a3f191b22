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

    def test_certificate(self) -> None:
        """So is a certificate of the relay's own; the key that names the file is told."""
        directory = Path(self.mktemp())
        directory.mkdir()
        own, other = (theAuthority().issue(name) for name in ("relay.example", "b.example"))
        own.write(directory / "own.pem")
        other.write(directory / "other.pem")
        (directory / "nothing.pem").write_text("nothing")
        where = directory.absolute()
        for certificate, key, problem in [
            ("own.pem", "own.pem", ()),
            ("own.pem", "", ()),
            ("no.pem", "", (f"certificate: {where}/no.pem: No such file or directory",)),
            ("own.pem", "no.pem", (f"key: {where}/no.pem: No such file or directory",)),
            (
                "nothing.pem",
                "own.pem",
                (f"certificate: {where}/nothing.pem holds no certificate that can be read",),
            ),
            (
                "own.pem",
                "other.pem",
                (f"key: {where}/other.pem holds the key of another certificate",),
            ),
        ]:
            text = FINE.replace("ws://a", "wss://a") + f'certificate = "{where}/{certificate}"\n'
            text += f'key = "{where}/{key}"\n' if key else ""
            if problem:
                self.assertEqual(self.problems(text), tuple(f"pool.p.{each}" for each in problem))
            else:
                self.built(text)

    def test_proxyProtocol(self) -> None:
        """Where a header is wanted, no connection is shared among clients."""
        for line, isPersonal in (("", False), ('proxyProtocol = "v1"', True)):
            (backend,) = self.built(FINE + line).pools["p"].backends
            self.assertEqual(backend.isPersonal, isPersonal)

    def test_keepAlive(self) -> None:
        """Connections wait for their next request unless the file says otherwise."""
        for lines, keepsAlive in (
            ("", True),
            ("keepAlive = 0", False),
            ('proxyProtocol = "v1"', False),
        ):
            self.assertEqual(self.built(FINE + lines).pools["p"].keepsAlive, keepsAlive)

# -*- test-case-name: tests.endtoend.test_scanners -*-
"""
What U{sslyze <https://github.com/nabla-c0d3/sslyze>} finds at a listener with TLS as it comes.

It wants an older C{cryptography} than the relay, so it lives in an environment of its own
(C{pipx install sslyze}), and is skipped where its command is not on the C{PATH}.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from tests.endtoend.edge import Edge, EdgeTestCase
from tests.endtoend.support import Program, need

#: The scans whose whole result is this.
_RESULTS: dict[str, dict[str, Any]] = {
    "tls_compression": {"supports_compression": False},
    "heartbleed": {"is_vulnerable_to_heartbleed": False},
    "openssl_ccs_injection": {"is_vulnerable_to_ccs_injection": False},
    "robot": {"robot_result": "NOT_VULNERABLE_RSA_NOT_SUPPORTED"},
    "tls_fallback_scsv": {"supports_fallback_scsv": True},
    "tls_extended_master_secret": {"supports_ems_extension": True},
    "tls_1_3_early_data": {"supports_early_data": False},
    "session_renegotiation": {
        "supports_secure_renegotiation": True,
        "is_vulnerable_to_client_renegotiation_dos": False,
        "client_renegotiations_success_count": 0,
    },
}

#: What is spoken, with the ciphers for a key on an elliptic curve (Server Side TLS 6.0).
_CIPHERS = {
    "ssl_2_0": set(),
    "ssl_3_0": set(),
    "tls_1_0": set(),
    "tls_1_1": set(),
    "tls_1_2": {
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    },
    "tls_1_3": {
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    },
}

_SCANS = (
    *("--certinfo", "--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3"),
    *("--compression", "--heartbleed", "--openssl_ccs", "--robot", "--fallback", "--ems"),
    *("--early_data", "--reneg", "--resum", "--elliptic_curves"),
)


class SslyzeTests(EdgeTestCase):
    """One scan, and what it found."""

    def _scan(self, edge: Edge) -> tuple[dict[str, Any], set[str]]:
        """Its results by scan, and the keys of what offends Mozilla's "intermediate"."""
        found = edge.folder / "found.json"
        # With the path offence it ends with 1, so its status says nothing.
        scanner = self.start(
            *(need("sslyze"), *_SCANS, "--mozilla_config=intermediate"),
            *("--certinfo_ca_file", str(edge.folder / "ca.pem"), f"--json_out={found}"),
            f"shop.example.org:{edge.ports['public']}{{127.0.0.1}}",
        )
        scanner.wait()
        (result,) = json.loads(found.read_text())["server_scan_results"]
        compliance = scanner.output().partition("COMPLIANCE AGAINST")[2]
        self.assertIn('Mozilla\'s "intermediate"', compliance)
        offences = set(re.findall(r"^ +\* (\w+): ", compliance, re.MULTILINE))
        return result["scan_result"], offences

    def _check(self, results: dict[str, Any], offences: set[str]) -> None:
        for name, expected in _RESULTS.items():
            self.assertEqual(results[name]["result"], expected, name)
        for version, expected in _CIPHERS.items():
            result = results[f"{version}_cipher_suites"]["result"]
            accepted = {
                each["cipher_suite"]["openssl_name"] for each in result["accepted_cipher_suites"]
            }
            self.assertEqual(accepted, expected, version)
        curves = {
            each["name"] for each in results["elliptic_curves"]["result"]["supported_curves"]
        }
        self.assertEqual(curves, {"X25519", "secp256r1", "secp384r1"})
        resumption = results["session_resumption"]["result"]
        self.assertEqual(resumption["tls_ticket_resumption_result"], "FULLY_SUPPORTED")
        self.assertEqual(offences, set())

    def test_listener(self) -> None:
        """
        TLS 1.2 and 1.3 with strong ciphers only, no compression, no renegotiation by clients,
        sessions resumed, and nothing that Mozilla's "intermediate" would have otherwise.
        """

        async def talk(edge: Edge, program: Program) -> None:
            self._check(*await asyncio.to_thread(self._scan, edge))
            self.assertNotIn("Traceback", program.output())

        self.through(talk)

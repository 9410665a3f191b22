# -*- test-case-name: tests.filters.test_tokens -*-
"""
Where tokens stand.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.filters.support import exchangeOf
from wsrelay.filters.tokens import Ambiguous, Places

ALL = Places(True, "s", "t", "bearer.")
AUTHORIZATION = b"Authorization: Bearer abc"
COOKIE = b"Cookie: s=abc"
OFFER = b"Sec-WebSocket-Protocol: chat, bearer.abc"

#: Where is looked, the target, the fields, what is found.
SHOWN: list[tuple[Places, bytes, list[bytes], str | None]] = [
    (Places(), b"/", [AUTHORIZATION], "abc"),
    (Places(), b"/", [b"authorization: bEARER  abc"], "abc"),
    (Places(), b"/", [b"Authorization: Bearer"], ""),
    (Places(), b"/", [b"Authorization: Bearer abc, Bearer def"], "abc, Bearer def"),
    (Places(), b"/", [b"Authorization: Basic abc"], None),
    (Places(), b"/", [b"Authorization: Bearerabc"], None),
    (Places(), b"/?t=abc", [COOKIE, OFFER], None),
    (Places(False, "s"), b"/", [AUTHORIZATION, COOKIE], "abc"),
    (ALL, b"/", [COOKIE], "abc"),
    (ALL, b"/", [b"Cookie: a=b; s=abc=="], "abc=="),
    (ALL, b"/", [b"Cookie: S=abc; xs=abc; s"], None),
    (ALL, b"/?a=b&t=abc", [], "abc"),
    (ALL, b"/?%74=a%62c", [], "abc"),
    (ALL, b"/", [OFFER], "abc"),
    (ALL, b"/", [b"Authorization: Basic abc", COOKIE], "abc"),
    (ALL, b"/", [], None),
]

TWICE: list[tuple[bytes, list[bytes]]] = [
    (b"/", [AUTHORIZATION, AUTHORIZATION]),
    (b"/", [b"Authorization: Basic abc", AUTHORIZATION]),
    (b"/", [AUTHORIZATION, COOKIE]),
    (b"/", [COOKIE, COOKIE]),
    (b"/", [b"Cookie: s=abc; s=def"]),
    (b"/?t=abc&t=abc", []),
    (b"/?t=abc&%74=def", []),
    (b"/?t=abc", [OFFER]),
    (b"/", [OFFER, b"Sec-WebSocket-Protocol: bearer.def"]),
]

#: The target and the fields of a request, and what is left of them.
TAKEN: list[tuple[bytes, list[bytes], str, list[tuple[str, str]]]] = [
    (b"/x", [AUTHORIZATION], "/x", []),
    (b"/x", [b"Authorization: Basic x"], "/x", [("Authorization", "Basic x")]),
    (b"/x", [b"Cookie: a=b; s=abc; c=d"], "/x", [("Cookie", "a=b; c=d")]),
    (b"/x", [b"Cookie: s=abc", b"Cookie: a=b;c=d"], "/x", [("Cookie", "a=b;c=d")]),
    (b"/x", [b"Cookie: a=b;c=d"], "/x", [("Cookie", "a=b;c=d")]),
    (b"/x?t=abc", [], "/x", []),
    (b"/x?a=%62&t=abc&&c", [], "/x?a=%62&&c", []),
    (b"/x?%74=abc&t", [], "/x", []),
    (b"/x?", [], "/x?", []),
    (b"/x", [OFFER], "/x", [("Sec-WebSocket-Protocol", "chat")]),
    (b"/x", [b"Sec-WebSocket-Protocol: bearer.a"], "/x", []),
]


class PlacesTests(SynchronousTestCase):
    """Looking for tokens, and taking them away."""

    def test_shown(self) -> None:
        """A token is found where it may stand, and nowhere else."""
        for places, target, fields, wanted in SHOWN:
            request = exchangeOf(*fields, target=target).inbound.request
            assert request is not None
            self.assertEqual(places.shown(request), wanted, (target, fields))

    def test_twice(self) -> None:
        """Of two tokens none is taken."""
        for target, fields in TWICE:
            request = exchangeOf(*fields, target=target).inbound.request
            assert request is not None
            with self.assertRaises(Ambiguous, msg=str(fields)):
                ALL.shown(request)

    def test_taken(self) -> None:
        """The backend gets all but the token, and what has none as it came."""
        for target, fields, path, left in TAKEN:
            exchange = exchangeOf(*fields, target=target)
            ALL.take(exchange.outbound)
            self.assertEqual(exchange.outbound.target, path)
            kept = [
                pair
                for pair in exchange.outbound.headers
                if pair[0] != "Host" and not pair[0].startswith("X-")
            ]
            self.assertEqual(kept, left, fields)

# -*- test-case-name: tests.observers.test_masks -*-
"""
What the log does not tell.
"""

from __future__ import annotations

from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.observers.masks import SECRETS, Mask

#: What a peer sent, and what of it may be told.
ROWS = (
    # nothing to hide
    ("/", "/"),
    ("/rooms/5?page=2&sort=name#end", "/rooms/5?page=2&sort=name#end"),
    ("/?author=ann&keyword=x&tokyo=1", "/?author=ann&keyword=x&tokyo=1"),
    ("/?email=a@b.example", "/?email=a@b.example"),
    ("/?a=%20%3d", "/?a=%20%3d"),
    ("/?token", "/?token"),
    # names
    ("/?token=s3", "/?token=***"),
    ("/?access_token=s3&b=1", "/?access_token=***&b=1"),
    ("/?a=1&X-Amz-Signature=s3", "/?a=1&X-Amz-Signature=***"),
    ("/?api_key=s3&API-KEY=s3&apikey=s3", "/?api_key=***&API-KEY=***&apikey=***"),
    ("/?user[password]=s3", "/?user[password]=***"),
    ("/?code=s3&sig=s3&jwt=s3&key=s3", "/?code=***&sig=***&jwt=***&key=***"),
    ("/?token=", "/?token=***"),
    # other ways to write them
    ("/?%74oke%6E=s3", "/?%74oke%6E=***"),
    ("/?a;token=s3;b=1", "/?a;token=***;b=1"),
    ("/a;jsessionid=s3/b", "/a;jsessionid=***"),
    ("/?token=s3=s3?s3", "/?token=***"),
    ("/?a=?token=s3", "/?a=?token=***"),
    ("/#token=s3", "/#token=***"),
    # inside of another value
    ("/?next=/x?token=s3&b=1", "/?next=/x?token=***&b=1"),
    ("/?next=%2Fx%3Ftoken%3Ds3%26b%3D1&c=2", "/?next=/x?token=***&b=1&c=2"),
    ("/%3Ftoken%3Ds3", "/?token=***"),
    # user and password
    ("http://user:s3@host/x", "http://***@host/x"),
    ("http://user:s3@s3@host/x", "http://***@host/x"),
    ("/?to=https://user:s3@host/x", "/?to=https://***@host/x"),
    ("/?to=https%3A%2F%2Fuser:s3%40host%2Fx", "/?to=https://***@host/x"),
    ("not a Host: b'user:s3@host'", "not a Host: b'***@host'"),
    ("to:s3:s3@s3@[::1]:80", "***@[::1]:80"),
    ("/?a:b@c", "/?***@c"),
    # quoted fields
    ("b'GET x\\r\\nAuthorization: Basic s3'", "b'GET x\\r\\nAuthorization: ***'"),
    ("b'x' b'proxy-authorization:s3 s3' 'y'", "b'x' b'proxy-authorization: ***' 'y'"),
    ("Set-Cookie : a=s3; b=s3", "Set-Cookie: ***"),
    # in the middle of words
    (
        "not a target: '/x?token=s3' from http://u:s3@h.",
        "not a target: '/x?token=***' from http://***@h.",
    ),
)


class MaskTests(SynchronousTestCase):
    """Secrets in URLs."""

    def test_rows(self) -> None:
        """What looks like a secret is hidden, the rest stays as it was sent."""
        mask = Mask()
        for sent, told in ROWS:
            self.assertEqual(mask(sent), told)
            self.assertNotIn("s3", mask(sent))

    def test_names(self) -> None:
        """The names can be chosen, with * for anything; none is none."""
        self.assertEqual(Mask(["p*n"])("/?pin=1&token=2&PAN=3"), "/?pin=***&token=2&PAN=***")
        self.assertEqual(Mask([])("/?pin=1&token=2"), "/?pin=1&token=2")
        self.assertEqual(Mask(["a.b"])("/?axb=1&a.b=2"), "/?axb=1&a.b=***")

    @settings(max_examples=200, deadline=None)
    @given(st.text(), st.sampled_from(SECRETS), st.text(alphabet="abcXYZ059-_.~+/?=%"))
    def test_anywhere(self, before: str, name: str, after: str) -> None:
        """Whatever stands before it, a secret is hidden."""
        secret = "S3CR3T" + after.partition("%")[0]
        self.assertNotIn("S3CR3T", Mask()(f"{before}&{name.replace('*', '')}={secret}&x=1"))

    @settings(max_examples=200, deadline=None)
    @given(st.text(alphabet="?&;#=%3aA@:/token ", max_size=300))
    def test_anything(self, text: str) -> None:
        """Nothing that is sent breaks it, and to hide twice changes nothing."""
        mask = Mask()
        once = mask(text)
        self.assertEqual(mask(once).count("***"), once.count("***"))

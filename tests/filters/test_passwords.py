# -*- test-case-name: tests.filters.test_passwords -*-
"""
Hashes of passwords.
"""

from __future__ import annotations

import bcrypt
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from wsrelay.filters.passwords import Hashed, hashedPassword, parseUsers, usersOf

BCRYPT = bcrypt.hashpw(b"sesame", bcrypt.gensalt(4)).decode("ascii")
LONG = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode("ascii")
SCRYPT = hashedPassword("sesame", 4)
PBKDF2 = (
    "$pbkdf2-sha256$i=10000$c2FsdHNhbHRzYWx0c2FsdA$HFh2RmNSCI7hkDiKvuCFnWyHWLbqHAv3UrXOo7QYfA4"
)


def pbkdf2(name: str, mark: str) -> str:
    """A hash as others write it."""
    import base64
    import hashlib

    made = hashlib.pbkdf2_hmac(name, b"sesame", b"saltsaltsaltsalt", 10000)
    text = base64.b64encode(made).decode("ascii").rstrip("=").replace("+", ".")
    return f"$pbkdf2-{name}${mark}10000$c2FsdHNhbHRzYWx0c2FsdA${text}"


class HashedTests(SynchronousTestCase):
    """One hash."""

    def test_kinds(self) -> None:
        """Each kind tells the right password from others."""
        for text in (
            BCRYPT,
            BCRYPT.replace("$2b$", "$2y$"),
            SCRYPT,
            pbkdf2("sha256", "i="),
            pbkdf2("sha256", ""),
            pbkdf2("sha512", "i="),
        ):
            hashed = Hashed.parse(text)
            self.assertTrue(hashed.isRight(b"sesame"), text)
            for wrong in (b"", b"sesam", b"Sesame", b"sesame\0", b"sesame" * 20):
                self.assertFalse(hashed.isRight(wrong), (text, wrong))

    def test_written(self) -> None:
        """A hash of our own is right for the password, however it was typed."""
        hashed = Hashed.parse(hashedPassword("pa\u0308ss", 4))
        self.assertTrue(hashed.isRight("p\xe4ss".encode()))

    def test_argon2id(self) -> None:
        """argon2id, in the words that its own command prints."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

        try:
            kdf = Argon2id(salt=b"s" * 16, length=32, iterations=1, lanes=1, memory_cost=8)
            text = kdf.derive_phc_encoded(b"sesame")
        except UnsupportedAlgorithm as error:
            raise SkipTest("this OpenSSL has no argon2id") from error
        hashed = Hashed.parse(text)
        self.assertTrue(hashed.isRight(b"sesame"))
        self.assertFalse(hashed.isRight(b"sesam"))

    def test_long(self) -> None:
        """bcrypt reads 72 bytes, so a longer password is never right."""
        hashed = Hashed.parse(LONG)
        self.assertTrue(hashed.isRight(b"x" * 72))
        self.assertFalse(hashed.isRight(b"x" * 73))

    def test_refused(self) -> None:
        """What is no protection, or would take all memory, is refused, and never shown."""
        for text, wanted in [
            ("sekrit", "expected a hash"),
            ("", "expected a hash"),
            ("{PLAIN}sekrit", "a plain password is no protection"),
            ("$apr1$sekrit$x", "MD5 is no protection"),
            ("{SHA}sekrit=", "SHA-1 is no protection"),
            ("{SSHA}sekrit=", "SHA-1 is no protection"),
            ("$6$sekrit$x", "crypt is no protection"),
            ("sekritsekrit1", "crypt is no protection"),
            ("$2y$05$sekrit", "cut off or misspelt"),
            ("$2y$31$" + BCRYPT[7:], "cut off or misspelt"),
            (SCRYPT.replace("ln=4", "ln=24"), "too much"),
            (SCRYPT.replace("ln=4", "ln=0"), "no memory"),
            (SCRYPT[:-1] + "=", "cut off or misspelt"),
            (PBKDF2.replace("10000", "999"), "fewer than 10000 rounds"),
            ("$argon2id$v=19$m=9999999,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHQ", "too much"),
            ("$argon2id$v=19$m=8,t=0,p=1$c2FsdHNhbHQ$c2FsdHNhbHQ", "no memory or time"),
            ("$argon2id$v=19$m=8,t=1,p=0$c2FsdHNhbHQ$c2FsdHNhbHQ", "no memory or time"),
            ("$argon2id$v=19$m=8,t=1,p=2$c2FsdHNhbHQ$c2FsdHNhbHQ", "no memory or time"),
        ]:
            error = self.assertRaises(ValueError, Hashed.parse, text)
            self.assertIn(wanted, str(error), text)
            self.assertNotIn("sekrit", str(error))
        self.assertNotIn(SCRYPT, repr(Hashed.parse(SCRYPT)))


class UsersTests(SynchronousTestCase):
    """Many of them."""

    def test_file(self) -> None:
        """Lines of names and hashes; comments, empty lines and further fields do not count."""
        text = f"# users\n\nada:{BCRYPT}\r\nZoe\u0308:{SCRYPT}:more:fields\n"
        self.assertEqual(list(parseUsers(text.encode())), ["ada", "Zo\xeb"])

    def test_wrong(self) -> None:
        """An error says which line, which user and what is wrong, and not the hash."""
        fine = f"ada:{BCRYPT}\n".encode()
        for data, wanted in [
            (fine + b"bob:sekrit", 'line 2: the user "bob": expected a hash'),
            (fine + b"sekrit", "line 2: expected name:hash"),
            (fine + fine, 'line 2: the user "ada" is there twice'),
            (b":" + fine, "line 1: a name is empty"),
            (b"a\x07:" + fine, "line 1: a name is empty, or with control"),
            (b"\xff" + fine, "line 1: not UTF-8"),
            (b"# nobody\n", "there are no users"),
        ]:
            error = self.assertRaises(ValueError, parseUsers, data)
            self.assertIn(wanted, str(error))
            self.assertNotIn("sekrit", str(error))

    def test_table(self) -> None:
        """A table of the configuration is read as strictly."""
        self.assertEqual(list(usersOf({"ada": BCRYPT})), ["ada"])
        tables: list[dict[str, object]] = [{}, {"a:b": BCRYPT}, {"ada": 12345}, {"ada": "12345"}]
        for table in tables:
            error = self.assertRaises(ValueError, usersOf, table)
            self.assertNotIn("12345", str(error))

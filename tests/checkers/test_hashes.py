"""Hashes as other programs write them."""

import sys

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.checkers.kit import MADE, NEEDS, PASSWORD, SCRAM_1, SCRAM_256, SHA1, need
from twistsmtp.checkers.errors import MissingExtra
from twistsmtp.checkers.hashes import hash_argon2, hash_bcrypt, parse_hash, split_hash, written
from twistsmtp.checkers.scram import ScramVerifier


class MadeByOthersTests(SynchronousTestCase):
    """Passwords are checked as the programs that made the hashes would."""

    def check(self, scheme: str) -> None:
        need(*(NEEDS[scheme],) if scheme in NEEDS else ())
        made = {command: text for command, (kind, text) in MADE.items() if kind == scheme}
        self.assertTrue(made)
        for command, text in made.items():
            verifier = parse_hash(text)
            self.assertEqual(scheme, verifier.scheme, command)
            self.assertTrue(verifier.verify(PASSWORD), command)
            for wrong in ("", PASSWORD[:-1], PASSWORD + "!", PASSWORD.lower(), "é" * 100):
                self.assertFalse(verifier.verify(wrong), (command, wrong))
            for part in text.replace(",", "$").split("$"):
                if len(part) > 15:
                    self.assertNotIn(part, repr(verifier))

    def test_argon2(self) -> None:
        self.check("argon2")

    def test_bcrypt(self) -> None:
        self.check("bcrypt")

    def test_sha512_crypt(self) -> None:
        self.check("sha512-crypt")

    def test_sha256_crypt(self) -> None:
        self.check("sha256-crypt")

    def test_apr1(self) -> None:
        self.check("apr1")

    def test_sha1(self) -> None:
        self.check("sha1")

    def test_scram_sha_256(self) -> None:
        self.check("scram-sha-256")

    def test_scram_sha_1(self) -> None:
        self.check("scram-sha-1")

    def test_not_ascii(self) -> None:
        """htpasswd -nbB -C 4 ada pässwörd"""
        need("bcrypt")
        verifier = parse_hash("$2y$04$KvlhbKxZfRqnOevBIpQdOusq8IuAuzfoMxWRnGoi4UtoIm.907xWW")
        self.assertTrue(verifier.verify("pässwörd"))
        self.assertFalse(verifier.verify("password"))


class ParseTests(SynchronousTestCase):
    def problem(self, text: str) -> str:
        return str(self.assertRaises(ValueError, parse_hash, text))

    def test_refused(self) -> None:
        """What is refused is named if it has a name, and never shown."""
        for text in (
            "{PLAIN}hunter2",
            "{SSHA}jgVT2ztuX/MAcQlOR+NjvLsQ7H6Rb02a",
            "$y$j9T$YbQDuiQNMjC3YGGRyt8mR1$EyUREFdmzFWHVkUiX0xhr10rqUESp4hAXkgdXuoLoO8",
            "$2y$03$3DUD1efYHLKFSn215B0bHelAlIfmrJTdM4xtOjuNfeQDdJdcn81hu",
            "$2y$32$3DUD1efYHLKFSn215B0bHelAlIfmrJTdM4xtOjuNfeQDdJdcn81hu",
            "$2y$0\u0665$3DUD1efYHLKFSn215B0bHelAlIfmrJTdM4xtOjuNfeQDdJdcn81hu",
            "$5$rounds=0$EhjX.xACpwxY6Q5J$Nb5HF2ko/NDRXJgzz6s0PXp3wi7T4dAJLE9.U3I2JVB",
            "$2x$05$3DUD1efYHLKFSn215B0bHelAlIfmrJTdM4xtOjuNfeQDdJdcn81hu",
            "$argon2id$v=19$m=65536,t=3,p=1$QuB81UTB4evg5KRZbFLz+Q$",
            "{ARGON2ID}hunter2",
        ):
            problem = self.problem(text)
            name = text[: text.index("}") + 1] if "}" in text else text[: text.index("$", 1)]
            self.assertTrue(problem.startswith(f"{name} is no hash"), problem)
            self.assertNotIn("hunter2", problem)
        for text in ("", "hunter2", "KYA0k6FngYW1w", "$hunter2", "*", "{hunter 2}", "{SHA}hunter2"[5:]):
            self.assertEqual("no hash of a known kind", self.problem(text))

    def test_cut_off(self) -> None:
        """A hash that is not whole is none."""
        need("argon2", "bcrypt", "passlib")
        for scheme, text in MADE.values():
            if scheme != "argon2":  # whose end can be anywhere
                self.problem(text[:-2])
            self.problem(text + "$")

    def test_scram(self) -> None:
        """SCRAM keys of a wrong size, or with no salt, are none."""
        for text in (
            SCRAM_256.replace("SHA-256", "SHA-1"),
            SCRAM_1.replace("SHA-1", "SHA-256"),
            SCRAM_256.replace("4096", "0"),
            SCRAM_256.replace("4096", "4294967296"),
        ):
            self.assertIn("wrong size", self.problem(text))
        self.assertIn("not base64", self.problem(SCRAM_256.replace("LddOVG", "LddOV")))

    def test_missing(self) -> None:
        """Where a library is missing the error names the extra."""
        for scheme, text in MADE.values():
            module = NEEDS.get(scheme)
            if module is None:
                continue
            gone = {name: each for name, each in sys.modules.items() if name.partition(".")[0] != module}
            with self.subTest(scheme=scheme):
                patch = self.patch(sys, "modules", {**gone, module: None})
                error = self.assertRaises(MissingExtra, parse_hash, text)
                extra = "crypt" if module == "passlib" else module
                self.assertIn(f"pip install 'twistsmtp[{extra}]'", str(error))
                patch.restore()

    def test_no_library(self) -> None:
        """{SHA} and SCRAM take none."""
        gone = dict.fromkeys(set(NEEDS.values()))
        self.patch(sys, "modules", {**sys.modules, **gone})
        for text in (SHA1, SCRAM_1, SCRAM_256):
            self.assertTrue(parse_hash(text).verify(PASSWORD))


class SplitTests(SynchronousTestCase):
    @given(st.sampled_from([text for _, text in MADE.values()]), st.lists(st.text("ab1/{}$= ", max_size=9)))
    def test_fields(self, text: str, fields: list[str]) -> None:
        """What stands behind a hash is told from it, though some have colons of their own."""
        rest = "".join(f":{each}" for each in fields)
        self.assertEqual((text, rest), split_hash(text + rest))


class WriteTests(SynchronousTestCase):
    def test_scram(self) -> None:
        """SCRAM keys are written as Dovecot writes them."""
        for text in (SCRAM_1, SCRAM_256):
            verifier = parse_hash(text)
            self.assertIsInstance(verifier, ScramVerifier)
            if isinstance(verifier, ScramVerifier):
                self.assertEqual(text, written(verifier))

    def test_argon2(self) -> None:
        need("argon2")
        text = hash_argon2(PASSWORD)
        self.assertTrue(text.startswith("$argon2id$"))
        self.assertNotEqual(text, hash_argon2(PASSWORD))
        self.assertTrue(parse_hash(text).verify(PASSWORD))

    def test_bcrypt(self) -> None:
        """What bcrypt would not look at is refused when a hash is made, and left away when one is checked."""
        need("bcrypt")
        long = "é" * 36
        verifier = parse_hash(hash_bcrypt(long))
        self.assertTrue(verifier.verify(long))
        self.assertTrue(verifier.verify(long + "x"))
        self.assertFalse(verifier.verify(long[:-1]))
        error = self.assertRaises(ValueError, hash_bcrypt, long + "x")
        self.assertNotIn("é", str(error))

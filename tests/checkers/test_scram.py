"""SCRAM keys."""

import hashlib
import hmac
from base64 import b64decode

from twisted.trial.unittest import SynchronousTestCase

from tests.checkers.kit import PASSWORD
from twistsmtp.checkers.scram import ScramVerifier, derive_keys


class DeriveTests(SynchronousTestCase):
    def proof(self, digest: str, salt: str, message: bytes, proof: str) -> None:
        """The example of an RFC: its client's proof is one of the keys of its password."""
        name = digest.replace("-", "")
        keys = derive_keys("pencil", b64decode(salt), 4096, digest)
        signature = hmac.digest(keys.stored_key, message, name)
        client_key = bytes(a ^ b for a, b in zip(signature, b64decode(proof), strict=True))
        self.assertEqual(keys.stored_key, hashlib.new(name, client_key).digest())

    def test_sha_1(self) -> None:
        """RFC 5802 section 5."""
        self.proof(
            "sha-1",
            "QSXCR+Q6sek8bf92",
            b"n=user,r=fyko+d2lbbFgONRv9qkxdawL,"
            b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096,"
            b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j",
            "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        )

    def test_sha_256(self) -> None:
        """RFC 7677 section 3."""
        self.proof(
            "sha-256",
            "W22ZaJ0SNY7soEsUEjb6gQ==",
            b"n=user,r=rOprNGfwEbeRWgbNEkqO,"
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        )

    def test_server_key(self) -> None:
        """RFC 7677's server signature is of the server key."""
        keys = derive_keys("pencil", b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096, "sha-256")
        message = (
            b"n=user,r=rOprNGfwEbeRWgbNEkqO,"
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
        )
        signature = hmac.digest(keys.server_key, message, "sha256")
        self.assertEqual(b64decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), signature)

    def test_prepared(self) -> None:
        """Two spellings of a password have the same keys (RFC 4013)."""
        keys = derive_keys("I\u00adX \u2168", b"salt", 1, "sha-256")
        self.assertEqual(keys, derive_keys("IX IX", b"salt", 1, "sha-256"))
        self.assertRaises(ValueError, derive_keys, "\x07", b"salt", 1, "sha-256")


class VerifierTests(SynchronousTestCase):
    def test_verify(self) -> None:
        for digest in ("sha-1", "sha-256"):
            verifier = ScramVerifier(digest, derive_keys(PASSWORD, b"salt", 2, digest))
            self.assertEqual(f"scram-{digest}", verifier.scheme)
            self.assertTrue(verifier.verify(PASSWORD))
            self.assertFalse(verifier.verify(PASSWORD + "!"))

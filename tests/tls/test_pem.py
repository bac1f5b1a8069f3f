"""Keys, certificates and chains in PEM files."""

import itertools
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from twisted.trial.unittest import TestCase

from tests.tls.support import Built, build, issue, pem
from twistsmtp.tls.pem import GREATEST, Identity, identity_of, read, read_certificates

HERE = Path("mx.pem")
ROOT = build("Root", ca=True)
BETWEEN = build("Between", ROOT, ca=True)
LOWER = build("Lower", BETWEEN, ca=True)
LEAF = build("mx.test", LOWER)
BLOCKS = (LEAF.key_pem, *map(pem, (LEAF.certificate, LOWER.certificate, BETWEEN.certificate, ROOT.certificate)))


def identity(octets: bytes) -> Identity:
    return identity_of((HERE, octets), (HERE, octets))


class IdentityTests(TestCase):
    """What a file makes."""

    def assert_refused(self, octets: bytes, problem: str) -> None:
        error = self.assertRaises(ValueError, identity, octets)
        self.assertEqual(str(error), f"mx.pem: {problem}")
        self.assertTrue(error.__cause__ is None and (error.__context__ is None or error.__suppress_context__))

    def test_blocks_in_any_order(self) -> None:
        for blocks in itertools.permutations(BLOCKS):
            found = identity(b"".join(blocks))
            self.assertEqual(found.certificate, LEAF.certificate)
            self.assertEqual(found.chain, (LOWER.certificate, BETWEEN.certificate))
            self.assertEqual(found.key.public_key(), LEAF.key.public_key())

    def test_text_around_the_blocks(self) -> None:
        octets = b"\xef\xbb\xbfsubject=CN = mx.test\r\n" + b"\r\nissuer: Lower\r\n".join(BLOCKS).replace(b"\n", b"\r\n")
        self.assertEqual(identity(octets).chain, (LOWER.certificate, BETWEEN.certificate))

    def test_certificates_that_have_nothing_to_do_with_it(self) -> None:
        other = build("other.test", build("Other", ca=True))
        self.assertEqual(
            identity(pem(other.certificate) + LEAF.all_pem).chain, (LOWER.certificate, BETWEEN.certificate)
        )

    def test_authorities_that_vouch_for_each_other(self) -> None:
        """Which has no end."""
        across = build("Lower", BETWEEN, ca=True), build("Between", LOWER, ca=True)
        octets = LEAF.key_pem + b"".join(pem(each.certificate) for each in (LEAF, *across, LOWER, BETWEEN))
        self.assertEqual(len(identity(octets).chain), 4)

    def test_two_files(self) -> None:
        found = identity_of((Path("a"), b"".join(BLOCKS[1:3])), (Path("b"), BLOCKS[0]))
        self.assertEqual((found.certificate, found.chain), (LEAF.certificate, (LOWER.certificate,)))

    def test_keys_of_all_kinds(self) -> None:
        octets = LEAF.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        self.assertIn(b"BEGIN EC PRIVATE KEY", octets)
        parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
        self.assertEqual(identity(parameters + octets + BLOCKS[1]).certificate, LEAF.certificate)

    def test_the_key_is_not_shown(self) -> None:
        self.assertNotIn("key", repr(identity(LEAF.all_pem)))

    def test_what_is_missing(self) -> None:
        self.assert_refused(b"", "it is not a PEM file")
        self.assert_refused(LEAF.certificate.public_bytes(Encoding.DER), "it is not a PEM file")
        self.assert_refused(LEAF.key_pem[:-40], "it is not a PEM file")
        self.assert_refused(BLOCKS[1], "there is no private key in it")
        self.assert_refused(LEAF.key_pem, "there is no certificate in it")
        self.assert_refused(LEAF.key_pem + LEAF.all_pem, "there are 2 private keys in it, where one should be")

    def test_what_does_not_belong_together(self) -> None:
        key = build("x").key_pem
        self.assert_refused(key + BLOCKS[1], "the private key is not that of a certificate in mx.pem")
        error = self.assertRaises(ValueError, identity_of, (Path("a"), BLOCKS[1]), (Path("b"), key))
        self.assertEqual(str(error), "b: the private key is not that of a certificate in a")

    def test_a_passphrase(self) -> None:
        problem = "the private key is protected by a passphrase; a server needs it without"
        for form in PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL:
            octets = LEAF.key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"x"))
            self.assert_refused(octets + BLOCKS[1], problem)

    def test_what_cannot_be_read(self) -> None:
        broken = b"-----BEGIN %s-----\nAAAA\n-----END %s-----\n"
        self.assert_refused(broken % ((b"PRIVATE KEY",) * 2) + BLOCKS[1], "the private key in it cannot be read")
        self.assert_refused(LEAF.key_pem + broken % ((b"CERTIFICATE",) * 2), "a certificate in it cannot be read")

    def test_the_numbers_of_an_rsa_key_are_not_looked_at(self) -> None:
        """Which would stop the reactor for half a second. If they are not what they should be, nobody gets a signature
        that they could find the key by: OpenSSL looks at it before."""
        good = rsa.generate_private_key(65537, 2048)
        numbers = good.private_numbers()
        bad = rsa.RSAPrivateNumbers(
            numbers.p, numbers.q, numbers.d, numbers.dmp1 ^ 8, numbers.dmq1, numbers.iqmp, numbers.public_numbers
        ).private_key(unsafe_skip_rsa_key_validation=True)
        built = build("mx.test", key=good)
        octets = Built(built.certificate, bad, ()).all_pem
        self.assertRaises(ValueError, load_pem_private_key, octets, None)
        data = b"what a handshake signs"
        signature = identity(octets).key.sign(data, padding.PKCS1v15(), SHA256())  # type: ignore[call-arg,arg-type]
        good.public_key().verify(signature, data, padding.PKCS1v15(), SHA256())

    def test_a_key_that_cannot_sign(self) -> None:
        key = x25519.X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.assert_refused(key + BLOCKS[1], "the private key in it is of a kind that TLS does not have")

    def test_names(self) -> None:
        leaf = issue("Mx.test", "*.Wild.test", "192.0.2.1", "ada@mail.test")
        names = identity(leaf.private_key_and_cert_chain_pem.bytes()).names
        self.assertEqual(names, ("mx.test", "*.wild.test"))

    def test_names_in_the_way_of_earlier_days(self) -> None:
        self.assertEqual(
            identity(build("Mx.test", key=ec.generate_private_key(ec.SECP384R1())).all_pem).names, ("mx.test",)
        )


class ReadTests(TestCase):
    """Reading a file."""

    def test_what_is_there(self) -> None:
        path = Path(self.mktemp())
        path.write_bytes(b"x")
        self.assertEqual(read(path), b"x")

    def test_what_never_ends(self) -> None:
        error = self.assertRaises(ValueError, read, Path("/dev/zero"))
        self.assertEqual(str(error), "/dev/zero: it is larger than a PEM file ever is")

    def test_the_largest(self) -> None:
        path = Path(self.mktemp())
        path.write_bytes(b"x" * GREATEST)
        self.assertEqual(len(read(path)), GREATEST)

    def test_certificates_alone(self) -> None:
        self.assertEqual(read_certificates(b"".join(BLOCKS[3:]), HERE), (BETWEEN.certificate, ROOT.certificate))

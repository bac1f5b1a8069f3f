"""Logins by certificate."""

from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.strcred import InvalidAuthArgumentString, makeChecker
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.checkers.kit import Threads
from tests.tls.support import certificate, issue
from twistsmtp.checkers.certificate import CertificateChecker
from twistsmtp.sasl.credentials import ClientCertificate, IClientCertificate


def fingerprint(of: x509.Certificate) -> str:
    """As openssl prints it."""
    return of.fingerprint(SHA256()).hex(":").upper()


class CertificateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.ada, self.bob = certificate(issue("ada@example.org")), certificate(issue("bob@example.org"))
        self.path = Path(self.mktemp())
        self.clock = Clock()
        self.threads = Threads()

    def checker(self, text: str) -> CertificateChecker:
        self.path.write_text(text)
        return CertificateChecker(str(self.path), seconds=self.clock.seconds, in_thread=self.threads)

    def ask(self, checker: Any, held: x509.Certificate, name: str) -> bool:
        asked = checker.requestAvatarId(ClientCertificate(held, name))
        self.threads.run()
        results: list[Any] = []
        asked.addErrback(lambda failure: failure.trap(UnauthorizedLogin) and None).addCallback(results.append)
        self.assertIn(results, ([None], [name.encode()]))
        return results != [None]

    def test_all_that_are_vouched_for(self) -> None:
        checker = makeChecker("certificate")
        verifyObject(ICredentialsChecker, checker)
        self.assertEqual(checker.credentialInterfaces, (IClientCertificate,))
        self.assertTrue(self.ask(checker, self.ada, "ada@example.org"))
        self.assertTrue(self.ask(checker, self.bob, "bob@example.org"))

    def test_those_of_a_file(self) -> None:
        checker = self.checker("# who may\nada@example.org\n")
        self.assertTrue(self.ask(checker, self.ada, "ada@example.org"))
        self.assertFalse(self.ask(checker, self.bob, "bob@example.org"))

    def test_one_certificate_of_a_name(self) -> None:
        checker = self.checker(f"ada@example.org {fingerprint(self.ada)}\n")
        self.assertTrue(self.ask(checker, self.ada, "ada@example.org"))
        self.assertFalse(self.ask(checker, certificate(issue("ada@example.org")), "ada@example.org"))

    def test_several_certificates_of_a_name(self) -> None:
        prints = (fingerprint(each) for each in (self.ada, self.bob))
        checker = self.checker("".join(f"ada@example.org {each}\n" for each in prints))
        self.assertTrue(self.ask(checker, self.ada, "ada@example.org"))
        self.assertTrue(self.ask(checker, self.bob, "ada@example.org"))

    def test_case(self) -> None:
        """Of a host and of a domain it does not matter: EXTERNAL gives a host in lower case, and an address as the
        certificate has it."""
        checker = self.checker(f"MX.Example.org {fingerprint(self.ada)}\nada@Example.ORG\nBob@example.org\nCarol\n")
        for name in ("mx.example.org", "ada@example.org", "ada@EXAMPLE.org", "Bob@example.org", "Carol", "carol"):
            self.assertTrue(self.ask(checker, self.ada, name), name)
        for name in ("bob@example.org", "Ada@example.org"):
            self.assertFalse(self.ask(checker, self.ada, name), name)
        self.assertFalse(self.ask(checker, self.bob, "mx.example.org"))

    def test_a_file_that_changes(self) -> None:
        checker = self.checker("ada@example.org\n")
        self.path.write_text("ada@example.org\nbob@example.org\n")
        self.clock.advance(2)
        self.assertTrue(self.ask(checker, self.bob, "bob@example.org"))

    def test_bad_lines(self) -> None:
        for line in ("ada@example.org 12:34", "ada@example.org " + "zz" * 32, f"ada b {fingerprint(self.ada)}"):
            error = self.assertRaises(ValueError, self.checker, line + "\n")
            self.assertIn("line 1: behind the name stands no SHA-256 fingerprint", str(error))

    def test_no_such_file(self) -> None:
        self.assertRaises(InvalidAuthArgumentString, makeChecker, f"certificate:{self.path}")

"""Certificates by host name."""

import gc
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, TestCase
from zope.interface.verify import verifyObject

from tests.tls.support import (
    build,
    carry,
    certificate,
    client,
    client_context,
    go_on,
    issue,
    log_of,
    pem,
    shake,
    write,
)
from twistsmtp.tls.certificates import Certificates
from twistsmtp.tls.context import ClientAuth
from twistsmtp.tls.names import alternative_names

#: The random of such a message (RFC 8446 section 4.1.3).
HELLO_RETRY_REQUEST = sha256(b"HelloRetryRequest").digest()


class CertificatesTestCase(TestCase):
    """Has a folder and a clock."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.clock = Clock()

    def write(self, file: str, *names: str) -> Path:
        return write(self.folder / file, issue(*names))

    def certificates(self, *sources: Any, **more: Any) -> Certificates:
        return Certificates(*sources, seconds=self.clock.seconds, **more)

    def shown(self, certificates: Certificates, name: str | None = None, context: SSL.Context | None = None) -> str:
        """The first name of the certificate that a client is shown."""
        other = client(name, context)
        shake(certificates.serverConnectionForTLS(None), other)
        return first_name(other)

    def problem(self, *sources: Any, **more: Any) -> str:
        """Why these are refused, without the folder."""
        error = self.assertRaises(ValueError, self.certificates, *sources, **more)
        return str(error).replace(f"{self.folder}/", "")


def first_name(other: SSL.Connection) -> str:
    seen = other.get_peer_certificate()
    assert seen is not None
    names = alternative_names(seen.to_cryptography())
    assert names is not None
    return str(next(iter(names)).value)


class NamesTests(CertificatesTestCase):
    """Which certificate a client is shown."""

    def assert_shown(self, certificates: Certificates, expected: dict[str | None, str]) -> None:
        for version in SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION:
            context = client_context(version=version)
            self.assertEqual({name: self.shown(certificates, name, context) for name in expected}, expected)

    def test_it_is_what_twisted_wants(self) -> None:
        verifyObject(IOpenSSLServerConnectionCreator, self.certificates(self.write("a.pem", "a.test")))

    def test_one(self) -> None:
        certificates = self.certificates(self.write("a.pem", "a.test"))
        self.assert_shown(certificates, {"a.test": "a.test", "b.test": "a.test", None: "a.test"})

    def test_several(self) -> None:
        paths = [self.write("a.pem", "a.test", "aa.test"), self.write("b.pem", "b.test", "*.b.test")]
        certificates = self.certificates(*paths, self.write("c.pem", "c.b.test", "a.test"))
        of_a = dict.fromkeys(
            (None, "x.test", "aa.test", "A.test", "y.x.b.test", "b", "*", "\xff\n", "x" * 255), "a.test"
        )
        of_b = dict.fromkeys(("b.test", "B.TEST.", "x.b.test", ".b.test", "*.b.test"), "b.test")
        self.assert_shown(certificates, of_a | of_b | {"c.b.test": "c.b.test"})
        self.assertEqual(certificates.names, ("a.test", "aa.test", "b.test", "*.b.test", "c.b.test"))
        self.assertEqual(len(certificates.certificates), 3)

    def test_certificate_and_key_apart(self) -> None:
        leaf = issue("a.test")
        (self.folder / "a.crt").write_bytes(b"".join(each.bytes() for each in leaf.cert_chain_pems))
        (self.folder / "a.key").write_bytes(leaf.private_key_pem.bytes())
        certificates = self.certificates((self.folder / "a.crt", str(self.folder / "a.key")))
        self.assertEqual(certificates.certificates, (certificate(leaf),))

    def test_a_folder(self) -> None:
        self.write("b.pem", "b.test")
        self.write("a.pem", "a.test")
        self.assert_shown(self.certificates(self.folder), {None: "a.test", "b.test": "b.test"})

    def test_the_chain_is_shown(self) -> None:
        root = build("Root", ca=True)
        leaf = build("mx.test", build("Lower", build("Between", root, ca=True), ca=True))
        (self.folder / "a.pem").write_bytes(leaf.all_pem)
        other = client("mx.test", client_context(trusts=[root.certificate]))
        shake(self.certificates(self.folder / "a.pem").serverConnectionForTLS(None), other)
        self.assertEqual(len(other.get_peer_cert_chain() or ()), 3)

    def test_a_second_hello(self) -> None:
        """A client that has to begin anew, as it guessed the group wrong, while the certificates are read again."""
        self.write("b.pem", "b.test")
        certificates = self.certificates(self.write("a.pem", "a.test"), self.folder / "b.pem")
        other = client("b.test")
        lib.SSL_set1_curves_list(other._ssl, b"P-521:X25519MLKEM768:X25519")
        server = certificates.serverConnectionForTLS(None)
        server.set_accept_state()
        self.assertRaises(SSL.WantReadError, other.do_handshake)
        carry(other, server)
        self.assertRaises(SSL.WantReadError, server.do_handshake)
        answer = server.bio_read(1 << 16)
        if HELLO_RETRY_REQUEST not in answer:
            raise SkipTest("this OpenSSL takes the first group that it is offered")
        self.write("a.pem", "a.test", "new.test")
        certificates.reload()
        gc.collect()
        other.bio_write(answer)
        go_on(server, other)
        self.assertEqual(first_name(other), "b.test")


class RefusalTests(CertificatesTestCase):
    """What stops the start."""

    def test_no_certificate(self) -> None:
        self.assertEqual(self.problem(), "a server has at least one certificate")

    def test_no_file(self) -> None:
        error = self.assertRaises(OSError, self.certificates, "there/is/none.pem")
        self.assertIn(f"'{Path.cwd()}/there/is/none.pem'", str(error))

    def test_no_key(self) -> None:
        (self.folder / "a.pem").write_bytes(pem(build("a.test").certificate))
        self.assertEqual(self.problem(self.folder / "a.pem"), "a.pem: there is no private key in it")
        self.assertEqual(self.problem(self.folder), "a.pem: there is no private key in it")

    def test_what_openssl_does_not_take(self) -> None:
        weak = build("a.test", key=rsa.generate_private_key(65537, 1024))
        (self.folder / "a.pem").write_bytes(weak.all_pem)
        self.assertEqual(self.problem(self.folder / "a.pem"), "a.pem: OpenSSL does not take it: ee key too small")

    def test_clients_without_authorities(self) -> None:
        path = self.write("a.pem", "a.test")
        problem = "certificates of clients are asked for, and there are no authorities to vouch for them"
        self.assertEqual(self.problem(path, client_auth=ClientAuth.OPTIONAL), problem)

    def test_authorities_that_are_none(self) -> None:
        path = self.write("a.pem", "a.test")
        (self.folder / "ca.pem").write_bytes(b"x")
        problem = self.problem(path, client_auth=ClientAuth.REQUIRED, client_ca=self.folder / "ca.pem")
        self.assertEqual(problem, "ca.pem: it is not a PEM file")

    def test_dates_are_only_warned_of(self) -> None:
        long_ago, not_yet = datetime(2021, 1, 2, tzinfo=UTC), datetime(2098, 1, 2, tzinfo=UTC)
        (self.folder / "a.pem").write_bytes(build("a.test", end=long_ago).all_pem)
        (self.folder / "b.pem").write_bytes(build("b.test", start=not_yet).all_pem)
        with log_of() as log:
            self.certificates(self.folder)
        a, b = self.folder / "a.pem", self.folder / "b.pem"
        self.assertEqual(
            log,
            [
                f"warn: {a}: the certificate has expired on 2021-01-02",
                f"warn: {b}: the certificate is valid only from 2098-01-02 on",
            ],
        )

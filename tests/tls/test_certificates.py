"""Certificates by host name, and what is read again."""

import gc
import os
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import mock

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
from twistsmtp.tls.facts import TLS
from twistsmtp.tls.names import alternative_names

#: The random of such a message (RFC 8446 section 4.1.3).
HELLO_RETRY_REQUEST = sha256(b"HelloRetryRequest").digest()


class CertificatesTestCase(TestCase):
    """Has a folder and a clock."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
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
        self.assertIn("'there/is/none.pem'", str(error))

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


class ReloadTests(CertificatesTestCase):
    """What is read again."""

    def setUp(self) -> None:
        super().setUp()
        self.a, self.b = self.write("a.pem", "a.test"), self.write("b.pem", "b.test")

    def assert_log(self, log: list[str], *expected: str) -> None:
        self.assertEqual([each.replace(f"{self.folder}/", "") for each in log], list(expected))
        log.clear()

    def test_nothing_new(self) -> None:
        certificates = self.certificates(self.a, self.b)
        before = certificates.certificates
        with log_of() as log:
            certificates.reload()
        self.assert_log(log)
        self.assertEqual(list(map(id, certificates.certificates)), list(map(id, before)))

    def test_a_new_certificate(self) -> None:
        certificates = self.certificates(self.a, self.b)
        self.write("b.pem", "new.test", "b.test")
        with log_of() as log:
            certificates.reload()
        self.assert_log(log, "info: the certificates were read again: a.test, new.test, b.test")
        self.assertEqual(self.shown(certificates, "b.test"), "new.test")
        self.assertEqual(self.shown(certificates), "a.test")

    def test_a_connection_that_has_begun_keeps_its_own(self) -> None:
        certificates = self.certificates(self.a)
        server, other = certificates.serverConnectionForTLS(None), client()
        self.write("a.pem", "new.test")
        certificates.reload()
        shake(server, other)
        self.assertEqual(first_name(other), "a.test")
        other.send(b"x")
        carry(other, server)
        self.assertEqual(server.recv(1), b"x")

    def test_a_broken_file(self) -> None:
        certificates = self.certificates(self.a, self.b)
        self.b.write_bytes(b"x")
        self.write("a.pem", "new.test")
        with log_of() as log:
            certificates.reload()
            self.assert_log(
                log,
                "error: b.pem: it is not a PEM file; what was read before stays in use",
                "info: the certificates were read again: new.test, b.test",
            )
            self.b.unlink()
            certificates.reload()
            self.assertRegex(log[0], r"^error: \[Errno 2\] .*b\.pem'; what was read before stays in use$")
        self.assertEqual((self.shown(certificates), self.shown(certificates, "b.test")), ("new.test", "b.test"))

    def test_a_key_that_does_not_belong_to_it(self) -> None:
        """As between the two steps of a renewal."""
        for name, leaf in ("a", issue("a.test")), ("new", issue("new.test")):
            (self.folder / f"{name}.crt").write_bytes(leaf.cert_chain_pems[0].bytes())
            (self.folder / f"{name}.key").write_bytes(leaf.private_key_pem.bytes())
        certificates = self.certificates((self.folder / "a.crt", self.folder / "a.key"))
        (self.folder / "new.crt").rename(self.folder / "a.crt")
        with log_of() as log:
            certificates.reload()
            problem = f"the private key is not that of a certificate in {self.folder}/a.crt"
            self.assertEqual(log, [f"error: {self.folder}/a.key: {problem}; what was read before stays in use"])
        self.assertEqual(self.shown(certificates), "a.test")
        (self.folder / "new.key").rename(self.folder / "a.key")
        certificates.reload()
        self.assertEqual(self.shown(certificates), "new.test")

    def test_a_folder(self) -> None:
        certificates = self.certificates(self.folder)
        self.write("c.pem", "c.test")
        (self.folder / "d.pem").write_bytes(b"x")
        self.a.unlink()
        with log_of() as log:
            certificates.reload()
        self.assert_log(
            log,
            "error: d.pem: it is not a PEM file; what was read before stays in use",
            "info: the certificates were read again: b.test, c.test",
        )
        self.assertEqual((self.shown(certificates), self.shown(certificates, "c.test")), ("b.test", "c.test"))

    def test_a_folder_that_is_emptied(self) -> None:
        certificates = self.certificates(self.folder)
        self.a.unlink()
        self.b.unlink()
        with log_of() as log:
            certificates.reload()
            self.assertRegex(
                log[0], r"^error: .*: there is no certificate in it: .*; what was read before stays in use$"
            )
            self.folder.rmdir()
            certificates.reload()
        self.assertEqual(certificates.names, ("a.test", "b.test"))
        self.assertEqual(self.shown(certificates, "b.test"), "b.test")

    def test_from_one_to_two_and_back(self) -> None:
        self.b.unlink()
        certificates = self.certificates(self.folder)
        self.write("b.pem", "b.test")
        certificates.reload()
        self.assertEqual(self.shown(certificates, "b.test"), "b.test")
        self.b.unlink()
        certificates.reload()
        self.assertEqual(self.shown(certificates, "b.test"), "a.test")

    def test_authorities(self) -> None:
        old, new = build("Old", ca=True), build("New", ca=True)
        ca = self.folder / "ca"
        ca.write_bytes(pem(old.certificate))
        certificates = self.certificates(self.a, client_auth=ClientAuth.OPTIONAL, client_ca=ca)

        def believed() -> list[bool]:
            contexts = [client_context(build("ada", each)) for each in (old, new)]
            servers = [shake(certificates.serverConnectionForTLS(None), client(context=each)) for each in contexts]
            return [TLS.of(each).peer is not None for each in servers]

        self.assertEqual(believed(), [True, False])
        ca.write_bytes(pem(new.certificate))
        certificates.reload()
        self.assertEqual(believed(), [False, True])
        ca.write_bytes(b"x")
        with log_of() as log:
            certificates.reload()
        self.assert_log(log, "error: ca: it is not a PEM file; what was read before stays in use")
        self.assertEqual(believed(), [False, True])

    def test_the_files_are_looked_at_when_a_connection_begins(self) -> None:
        certificates = self.certificates(self.folder, every=60)
        self.write("a.pem", "new.test", "a.test")
        self.clock.advance(59)
        self.assertEqual(self.shown(certificates), "a.test")
        self.clock.advance(1)
        self.assertEqual(self.shown(certificates), "new.test")
        self.write("0.pem", "0.test")
        self.clock.advance(59)
        self.assertEqual(self.shown(certificates), "new.test")
        self.clock.advance(1)
        self.assertEqual(self.shown(certificates), "0.test")

    def test_what_has_not_changed_is_not_read(self) -> None:
        certificates = self.certificates(self.a)
        stat = self.a.stat()
        self.a.write_bytes(b"x" * stat.st_size)
        os.utime(self.a, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        with log_of() as log:
            certificates.refresh()
        self.assert_log(log)

    def test_what_is_broken_is_said_once(self) -> None:
        certificates = self.certificates(self.a, self.folder, every=60)
        self.a.write_bytes(b"x")
        with log_of() as log:
            for _ in range(3):
                self.clock.advance(60)
                self.shown(certificates)
        self.assert_log(log, *["error: a.pem: it is not a PEM file; what was read before stays in use"] * 2)

    def test_a_folder_that_is_gone_when_it_is_looked_at(self) -> None:
        certificates = self.certificates(self.folder)
        self.folder.rename(f"{self.folder}.gone")
        with log_of() as log:
            certificates.refresh()
            certificates.refresh()
        self.assertEqual(len(log), 1)
        self.assertIn("No such file", log[0])
        self.assertEqual(self.shown(certificates, "b.test"), "b.test")
        Path(f"{self.folder}.gone").rename(self.folder)
        self.write("b.pem", "new.test", "b.test")
        certificates.refresh()
        self.assertEqual(self.shown(certificates, "b.test"), "new.test")

    def test_what_openssl_does_not_take_together(self) -> None:
        ca = self.folder / "ca"
        ca.write_bytes(pem(build("Old", ca=True).certificate))
        certificates = self.certificates(self.a, client_auth=ClientAuth.OPTIONAL, client_ca=ca)
        ca.write_bytes(pem(build("New", ca=True).certificate))
        with log_of() as log, mock.patch("twistsmtp.tls.certificates.make_context", side_effect=ValueError("no")):
            certificates.reload()
        self.assert_log(log, "error: no; what was read before stays in use")
        self.assertEqual(self.shown(certificates), "a.test")
        self.assertEqual(certificates.client_auth, ClientAuth.OPTIONAL)

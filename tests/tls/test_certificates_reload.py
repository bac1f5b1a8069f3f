"""Certificates that are read again."""

import os
from pathlib import Path
from unittest import mock

from tests.tls.support import build, carry, client, client_context, issue, log_of, pem, shake
from tests.tls.test_certificates import CertificatesTestCase, first_name
from twistsmtp.tls.context import ClientAuth, make_context
from twistsmtp.tls.facts import TLS
from twistsmtp.tls.pem import read


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
        ca = self.folder / "ca"
        ca.write_bytes(pem(build("Old", ca=True).certificate))
        certificates = self.certificates(self.folder, client_auth=ClientAuth.OPTIONAL, client_ca=ca)
        with mock.patch("twistsmtp.tls.certificates.read", wraps=read) as reading:
            certificates.refresh()
            reading.assert_not_called()
            self.write("b.pem", "new.test")
            certificates.refresh()
            reading.assert_called_once_with(self.b)
            reading.reset_mock()
            certificates.reload()  # who asks for it gets it
            self.assertEqual(reading.call_count, 3)

    def test_what_has_not_changed_is_not_made_anew(self) -> None:
        """Which for a large folder would take a tenth of a second."""
        for number in range(8):
            self.write(f"{number}.pem", f"{number}.test")
        certificates = self.certificates(self.folder)
        self.write("b.pem", "new.test", "b.test")
        with mock.patch("twistsmtp.tls.certificates.make_context", wraps=make_context) as making:
            certificates.refresh()
        # To see what OpenSSL says of it, for those who want it, and to begin with.
        self.assertEqual(making.call_count, 3)
        self.assertEqual(self.shown(certificates, "b.test"), "new.test")
        self.assertEqual(self.shown(certificates, "7.test"), "7.test")

    def test_what_could_not_be_read_is_tried_again(self) -> None:
        """A renewal writes a file that is its owner's alone, and gives it to the server's group behind that."""
        certificates = self.certificates(self.a, self.b, every=60)
        self.write("b.pem", "new.test", "b.test")

        def refused(path: Path) -> bytes:
            if path == self.b:
                raise PermissionError(13, "Permission denied", str(path))
            return read(path)

        with log_of() as log, mock.patch("twistsmtp.tls.certificates.read", refused):
            for _ in range(3):
                self.clock.advance(60)
                self.assertEqual(self.shown(certificates, "b.test"), "b.test")
            stays = "error: [Errno 13] Permission denied: 'b.pem'; what was read before stays in use"
            self.assert_log(log, stays)
            certificates.reload()
            self.assert_log(log, stays)
        self.clock.advance(60)
        self.assertEqual(self.shown(certificates, "b.test"), "new.test")

    def test_authorities_that_could_not_be_read_are_tried_again(self) -> None:
        ca = self.folder / "ca"
        ca.write_bytes(pem(build("Old", ca=True).certificate))
        certificates = self.certificates(self.a, client_auth=ClientAuth.OPTIONAL, client_ca=ca)
        ca.write_bytes(pem(build("New", ca=True).certificate))
        with log_of() as log:
            with mock.patch("twistsmtp.tls.certificates.read", side_effect=PermissionError(13, "Permission denied")):
                certificates.refresh()
            certificates.refresh()
        self.assert_log(
            log,
            "error: [Errno 13] Permission denied; what was read before stays in use",
            "info: the certificates were read again: a.test",
        )

    def test_in_another_folder(self) -> None:
        """A server that becomes a daemon goes to another."""
        (self.folder / "ca").write_bytes(pem(build("Old", ca=True).certificate))
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(self.folder)
        certificates = self.certificates("a.pem", client_auth=ClientAuth.OPTIONAL, client_ca="ca")
        os.chdir("/")
        self.write("a.pem", "new.test")
        (self.folder / "ca").write_bytes(pem(build("New", ca=True).certificate))
        with log_of() as log:
            certificates.refresh()
        self.assert_log(log, "info: the certificates were read again: new.test")

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

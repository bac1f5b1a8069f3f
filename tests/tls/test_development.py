"""The development certificate."""

import io
import os
import ssl
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from unittest import mock

from cryptography import x509
from OpenSSL import SSL
from twisted.trial.unittest import TestCase

from tests.tls.support import build, certificate, client, client_context, issue, shake
from twistsmtp.tls import development
from twistsmtp.tls.certificates import Certificates
from twistsmtp.tls.development import is_development, main, make_development_certificate
from twistsmtp.tls.names import alternative_names


class DevelopmentTests(TestCase):
    """Making one."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())

    def load(self, path: Path) -> x509.Certificate:
        return Certificates(path).certificates[0]

    def test_what_it_is(self) -> None:
        path = make_development_certificate(self.folder, ["Mail.test", "*.wild.test", "192.0.2.1", "localhost"])
        self.assertEqual(path, self.folder / "development.pem")
        made = self.load(path)
        names = alternative_names(made)
        assert names is not None
        self.assertEqual(names.get_values_for_type(x509.DNSName), ["localhost", "mail.test", "*.wild.test"])
        self.assertEqual(
            names.get_values_for_type(x509.IPAddress), list(map(ip_address, ("127.0.0.1", "::1", "192.0.2.1")))
        )
        left = made.not_valid_after_utc - datetime.now(UTC)
        self.assertTrue(timedelta(days=29) < left <= timedelta(days=30))

    def test_nobody_else_can_read_it(self) -> None:
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        path = make_development_certificate(self.folder)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.assertEqual(os.listdir(self.folder), ["development.pem"])

    def test_a_client_that_is_told_to_trust_it(self) -> None:
        path = make_development_certificate(self.folder)
        context = ssl.create_default_context(cafile=str(path))
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        theirs = context.wrap_bio(into, out, server_hostname="localhost")
        server = Certificates(path).serverConnectionForTLS(None)
        server.set_accept_state()
        self.assertRaises(ssl.SSLWantReadError, theirs.do_handshake)
        server.bio_write(out.read())
        self.assertRaises(SSL.WantReadError, server.do_handshake)
        into.write(server.bio_read(1 << 16))
        theirs.do_handshake()
        self.assertEqual(theirs.version(), "TLSv1.3")

    def test_it_is_known_by_its_looks(self) -> None:
        self.assertTrue(is_development(self.load(make_development_certificate(self.folder))))
        self.assertFalse(is_development(certificate(issue("localhost"))))
        self.assertFalse(is_development(build("localhost").certificate))

    def test_one_that_is_there_will_do(self) -> None:
        path = make_development_certificate(self.folder, ["mail.test"])
        before = path.read_bytes()
        for names in [], ["mail.test"], ["MAIL.test", "::1"]:
            make_development_certificate(path, names)
            self.assertEqual(path.read_bytes(), before)

    def test_one_that_is_there_will_not_do(self) -> None:
        path = make_development_certificate(self.folder)
        before = path.read_bytes()
        make_development_certificate(self.folder, ["mail.test"])
        self.assertNotEqual(path.read_bytes(), before)

    def test_one_that_ends_within_a_day(self) -> None:
        with mock.patch.object(development, "VALID", timedelta(hours=23)):
            path = make_development_certificate(self.folder)
        old = self.load(path)
        make_development_certificate(self.folder)
        self.assertNotEqual(self.load(path), old)

    def test_what_is_something_else_is_left_alone(self) -> None:
        self.folder.mkdir()
        path = self.folder / "development.pem"
        for octets in build("mx.test").all_pem, b"precious":
            path.write_bytes(octets)
            error = self.assertRaises(ValueError, make_development_certificate, path)
            self.assertIn(f"{path}: ", str(error))
            self.assertEqual(path.read_bytes(), octets)

    def test_names_that_are_none(self) -> None:
        for name in "", "a b", "a..b", "-a", "a.*.b", "é.test", "x" * 64, "a\n":
            error = self.assertRaises(ValueError, make_development_certificate, self.folder, [name])
            self.assertEqual(str(error), f"{name!r} is neither a domain nor an IP address")
        self.assertFalse(self.folder.exists())

    def test_a_write_that_fails_leaves_nothing(self) -> None:
        with mock.patch("os.replace", side_effect=OSError("no")):
            self.assertRaises(OSError, make_development_certificate, self.folder)
        self.assertEqual(os.listdir(self.folder), [])


class CommandTests(TestCase):
    """The command line."""

    def run_main(self, *arguments: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with mock.patch("sys.stdout", out), mock.patch("sys.stderr", err):
            status = main(arguments)
        return status, out.getvalue(), err.getvalue()

    def test_a_folder_or_a_file(self) -> None:
        where = self.mktemp()
        self.assertEqual(self.run_main(where, "mail.test"), (0, f"{where}/development.pem\n", ""))
        self.assertEqual(self.run_main(f"{where}/x.pem"), (0, f"{where}/x.pem\n", ""))
        self.assertEqual(Certificates(f"{where}/development.pem").names, ("localhost", "mail.test"))

    def test_a_mistake(self) -> None:
        status, out, err = self.run_main(self.mktemp(), "a b")
        self.assertEqual((status, out, err), (1, "", "'a b' is neither a domain nor an IP address\n"))

    def test_help(self) -> None:
        status, out, _ = self.run_main("--help")
        self.assertEqual(status, 0)
        self.assertIn("python -m twistsmtp.tls.development", out)

    def test_as_a_program(self) -> None:
        where = os.path.abspath(self.mktemp())
        os.mkdir(where)
        root = Path(development.__file__).parents[2]
        program = [sys.executable, "-m", "twistsmtp.tls.development"]
        done = subprocess.run(program, cwd=where, env={"PYTHONPATH": str(root)}, capture_output=True, check=True)
        self.assertEqual((done.stdout, done.stderr), (b"development.pem\n", b""))
        certificates = Certificates(f"{where}/development.pem")
        trusts = client_context(trusts=certificates.certificates)
        shake(certificates.serverConnectionForTLS(None), client("localhost", trusts))

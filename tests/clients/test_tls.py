"""What the running server does of TLS, seen by ``openssl s_client`` and ``sslscan``, after STARTTLS and without."""

import re
from typing import Any
from xml.etree import ElementTree

from tests.clients.kit import Process
from tests.clients.submission import Holders, SubmissionTestCase, Way
from tests.tls.support import build, pem


class OpenSSLTestCase(SubmissionTestCase):
    """``openssl s_client``."""

    async def s_client(self, way: Way, *arguments: str, name: str | None = "mx.test", says: str = "QUIT") -> Process:
        """Begin TLS, say some lines, and read until the server closes."""
        return await self.run_program(
            *("openssl", "s_client", "-connect", f"127.0.0.1:{self.ports[way]}", "-crlf", "-ign_eof"),
            *(("-servername", name) if name else ("-noservername",)),
            *("-CAfile", self.authorities),
            *(("-starttls", "smtp", "-name", "client.test") if way is Way.STARTTLS else ()),
            *arguments,
            stdin=f"{says}\n".encode(),
        )


class ServerTests(OpenSSLTestCase):
    """The server's side."""

    async def test_versions(self) -> None:
        await self.start_service()
        for way in Way:
            for option, version in ("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3"):
                process = await self.s_client(way, option)
                self.assertIn(f"New, {version}, Cipher is ", process.output, str(process))
                self.assertIn("Verification: OK", process.output)
                self.assertIn("221 2.0.0 Bye", process.output)

    async def test_versions_that_are_too_old(self) -> None:
        await self.start_service()
        for way in Way:
            for option in "-tls1", "-tls1_1":
                process = await self.s_client(way, option, "-cipher", "ALL:@SECLEVEL=0")
                # The alert is the server's: this client would have gone on.
                self.assertIn("alert protocol version", process.errors, str(process))
                self.assertNotIn("221 2.0.0", process.output)

    async def test_ciphers(self) -> None:
        await self.start_service()
        for way in Way:
            strong = "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256"
            process = await self.s_client(way, "-tls1_2", "-cipher", strong)
            # The server's choice, not that of the client.
            self.assertIn("Cipher is ECDHE-ECDSA-AES128-GCM-SHA256", process.output, str(process))
            for weak in "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "AES128-SHA", "NULL", "aNULL":
                process = await self.s_client(way, "-tls1_2", "-cipher", f"{weak}:@SECLEVEL=0")
                self.assertIn("alert handshake failure", process.errors, f"{weak}: {process}")

    async def test_no_renegotiation_and_no_compression(self) -> None:
        await self.start_service()
        for way in Way:
            process = await self.s_client(way, "-tls1_2", "-comp")
            self.assertIn("Compression: NONE", process.output, str(process))
            self.assertIn("Secure Renegotiation IS supported", process.output)

    async def test_names(self) -> None:
        """Each host has its certificate; who wants another, or does not say, gets the first."""
        second = self.issue("second.pem", "second.test", "*.wild.test")
        await self.start_service(tls_cert=[self.certificate, second])
        cases = (
            ("mx.test", "mx.test"),
            ("second.test", "second.test"),
            ("SECOND.test", "second.test"),
            ("any.wild.test", "any.wild.test"),
            ("other.test", "mx.test"),
        )
        for way in Way:
            for name, shown in cases:
                process = await self.s_client(way, "-verify_hostname", shown, name=name)
                self.assertIn("Verification: OK", process.output, str(process))
                self.assertRegex(process.output, rf"Verified peername: (\*\.wild\.test|{re.escape(shown)})\n")
            process = await self.s_client(way, "-verify_hostname", "mx.test", name=None)
            self.assertIn("Verified peername: mx.test", process.output, str(process))
            process = await self.s_client(way, "-verify_hostname", "second.test")
            self.assertIn("Verification error: hostname mismatch", process.output, str(process))


class ClientCertificateTests(OpenSSLTestCase):
    """Certificates of clients. Who has one that is right is offered EXTERNAL."""

    OFFERED = re.compile(r"^250.AUTH EXTERNAL ", re.MULTILINE)

    def setUp(self) -> None:
        super().setUp()
        root = build("Root", ca=True)
        self.trusted = self.file("clients.pem", pem(root.certificate))
        self.ada = self.file("ada.pem", build("ada", build("Between", root, ca=True)).all_pem)
        self.eve = self.file("eve.pem", build("eve").all_pem)

    async def show(self, way: Way, certificate: str | None, version: str) -> Process:
        """Show *certificate*, if there is one, and ask what is offered then."""
        # The chain is in the same file.
        shown = ("-cert", certificate, "-cert_chain", certificate) if certificate else ()
        return await self.s_client(way, version, *shown, says="EHLO client.test\nQUIT")

    async def test_optional(self) -> None:
        await self.start_service(Holders(), tls_client_ca=self.trusted)
        for way in Way:
            for version in "-tls1_2", "-tls1_3":
                for certificate, offered in (self.ada, True), (self.eve, False), (None, False):
                    process = await self.show(way, certificate, version)
                    self.assertIn("221 2.0.0 Bye", process.output, str(process))
                    self.assertEqual(bool(self.OFFERED.search(process.output)), offered, str(process))

    async def test_required(self) -> None:
        await self.start_service(Holders(), tls_client_ca=self.trusted, tls_client_cert="required")
        for way in Way:
            for version in "-tls1_2", "-tls1_3":
                process = await self.show(way, self.ada, version)
                self.assertRegex(process.output, self.OFFERED)
                for certificate in self.eve, None:
                    process = await self.show(way, certificate, version)
                    self.assertIn("SSL alert number", process.errors, str(process))
                    self.assertNotIn("221 2.0.0", process.output)

    async def test_not_asked_for(self) -> None:
        await self.start_service(Holders())
        for way in Way:
            process = await self.show(way, self.ada, "-tls1_3")
            self.assertIn("No client certificate CA names sent", process.output, str(process))
            self.assertIn("221 2.0.0 Bye", process.output)
            self.assertNotRegex(process.output, self.OFFERED)


class ScanTests(SubmissionTestCase):
    """``sslscan``."""

    async def scan(self, way: Way) -> Any:
        """What it finds."""
        more = ("--starttls-smtp",) if way is Way.STARTTLS else ()
        where = f"127.0.0.1:{self.ports[way]}"
        process = await self.run_program("sslscan", "--xml=-", "--no-colour", "--sni-name=mx.test", *more, where)
        self.assertEqual(process.status, 0, str(process))
        found = ElementTree.fromstring(process.output).find("ssltest")
        self.assertIsNotNone(found, str(process))
        return found

    async def test_nothing_that_is_weak(self) -> None:
        await self.start_service()
        for way in Way:
            found = await self.scan(way)
            protocols = {
                f"{each.get('type')} {each.get('version')}": each.get("enabled") for each in found.iter("protocol")
            }
            old = dict.fromkeys(("ssl 2", "ssl 3", "tls 1.0", "tls 1.1"), "0")
            self.assertEqual(protocols, {**old, "tls 1.2": "1", "tls 1.3": "1"})
            ciphers = [each.attrib for each in found.iter("cipher")]
            self.assertEqual({each["sslversion"] for each in ciphers}, {"TLSv1.2", "TLSv1.3"})
            for each in ciphers:
                self.assertIn(each["strength"], ("strong", "acceptable"), each)
                self.assertRegex(each["cipher"], r"^(TLS_|ECDHE-).*(GCM|CHACHA20|POLY1305)")
            # sslscan says nothing of compression where its own OpenSSL has none.
            self.assertLessEqual({each.get("supported") for each in found.iter("compression")}, {"0"})
            self.assertEqual({each.get("vulnerable") for each in found.iter("heartbleed")}, {"0"})
            # There is none; and that a client is told so in the secure way (RFC 5746), openssl has seen.
            self.assertEqual({each.get("supported") for each in found.iter("renegotiation")}, {"0"})

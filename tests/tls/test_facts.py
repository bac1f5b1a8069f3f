"""What is known of a connection, and whose certificate is believed."""

import gc
import hashlib
import weakref
from functools import partial
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL, crypto
from twisted.internet import ssl
from twisted.trial.unittest import TestCase

from tests.tls.support import (
    Built,
    build,
    certificate,
    client,
    client_context,
    issue,
    pem,
    shake,
    was_resumed,
    write,
)
from twistsmtp.tls.certificates import Certificates
from twistsmtp.tls.context import ClientAuth
from twistsmtp.tls.facts import TLS, Known, Peer

TLS1_2, TLS1_3 = SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH

#: Signed with SHA-1, which nothing makes any more.
SHA1 = b"""-----BEGIN CERTIFICATE-----
MIIBeTCCASCgAwIBAgIUCBT/7Z4ToUWElDmzLUCvPsleq5swCQYHKoZIzj0EATAS
MRAwDgYDVQQDDAdteC50ZXN0MCAXDTI2MTEyMjAzMjYzM1oYDzIxMjYxMDI5MDMy
NjMzWjASMRAwDgYDVQQDDAdteC50ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcD
QgAEZeLwOEAeTynYk1z2Yjv56/frEv+44C/TtwjUUj197ad/LU9MbLSHJ0oqsvii
zZsf19PrlkP/PE2p5dD07nu+x6NTMFEwHQYDVR0OBBYEFPk0/jIr/ss1Zq6j9pgd
K3ZNEE7CMB8GA1UdIwQYMBaAFPk0/jIr/ss1Zq6j9pgdK3ZNEE7CMA8GA1UdEwEB
/wQFMAMBAf8wCQYHKoZIzj0EAQNIADBFAiEAzY1SDRLOvUyTd7W+eb0FSTNORYNd
rR8SVMP6WAafaE8CIHCFVheAgbOMM8IeurZ9Oh75wvF+x/5R1JILJmlPX9MW
-----END CERTIFICATE-----
"""


class HandshakeTestCase(TestCase):
    """Has handshakes in memory."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.leaf = issue("mx.test")
        self.certificates = Certificates(write(self.folder / "mx.pem", self.leaf))

    def shake(self, other: SSL.Connection) -> TLS:
        self.server = shake(self.certificates.serverConnectionForTLS(None), other)
        return TLS.of(self.server)


class FactsTests(HandshakeTestCase):
    """Of a handshake."""

    def test_of_tls_1_3(self) -> None:
        tls = self.shake(client())
        self.assertEqual((tls.version, tls.server_name, tls.alpn, tls.peer), ("TLSv1.3", "mx.test", "", None))
        self.assertRegex(tls.cipher, r"^TLS_(AES|CHACHA)")

    def test_of_tls_1_2(self) -> None:
        tls = self.shake(client(context=client_context(version=TLS1_2)))
        self.assertEqual(
            (tls.version, tls.server_name, tls.cipher), ("TLSv1.2", "mx.test", "ECDHE-ECDSA-AES128-GCM-SHA256")
        )

    def test_a_client_that_does_not_say_whom_it_wants(self) -> None:
        self.assertIsNone(self.shake(client(None)).server_name)

    def test_a_server_name_cannot_break_a_line(self) -> None:
        tls = self.shake(client("MX.test\r\n\x1b[31m\xe9"))
        self.assertEqual(tls.server_name, "mx.test\\x0d\\x0a\\x1b[31m\\xc3\\xa9")

    def test_alpn(self) -> None:
        leaf = ssl.PrivateCertificate.loadPEM(self.leaf.private_key_and_cert_chain_pem.bytes())
        theirs = ssl.CertificateOptions(leaf.privateKey.original, leaf.original).getContext()
        theirs.set_alpn_select_callback(lambda _, offered: offered[-1])
        other = client(context=client_context(alpn=[b"x", b"sm\ntp"]))
        self.assertEqual(TLS.of(shake(SSL.Connection(theirs, None), other)).alpn, "sm\\x0atp")

    def test_facts_are_compared_and_shown_without_their_connection(self) -> None:
        one, other = self.shake(client()), self.shake(client())
        self.assertEqual(one, other)
        self.assertEqual(repr(one), f"TLS(version='TLSv1.3', cipher={one.cipher!r}, server_name='mx.test', alpn='')")

    def test_facts_that_are_made_up(self) -> None:
        bare = TLS("TLSv1.3", "X")
        self.assertEqual((bare.server_name, bare.alpn, bare.peer, bare.binding("tls-exporter")), (None, "", None, None))
        peer = Peer(certificate(self.leaf))
        tls = TLS("TLSv1.3", "X", channel=Known(peer, {"tls-exporter": b"x"}))
        self.assertIs(tls.peer, peer)
        self.assertEqual((tls.binding("tls-exporter"), tls.binding("tls-unique")), (b"x", None))

    def test_the_connection_goes_with_its_facts(self) -> None:
        tls = self.shake(client())
        self.assertIsNone(tls.peer)  # which is kept
        gone = weakref.ref(self.server)
        gc.disable()
        self.addCleanup(gc.enable)
        del tls, self.server
        self.assertIsNone(gone())


class BindingTests(HandshakeTestCase):
    """Channel bindings are what the client makes of its side."""

    def test_exporter(self) -> None:
        other = client()
        theirs = self.shake(other).binding("tls-exporter")
        self.assertEqual(theirs, other.export_keying_material(b"EXPORTER-Channel-Binding", 32, b""))
        self.assertEqual(len(theirs or b""), 32)

    def test_exporter_is_another_for_each_connection(self) -> None:
        self.assertNotEqual(self.shake(client()).binding("tls-exporter"), self.shake(client()).binding("tls-exporter"))

    def test_no_exporter_with_tls_1_2(self) -> None:
        self.assertIsNone(self.shake(client(context=client_context(version=TLS1_2))).binding("tls-exporter"))

    def test_unknown(self) -> None:
        self.assertIsNone(self.shake(client()).binding("tls-unique"))

    def end_points(self, name: str | None, *trusts: x509.Certificate) -> tuple[bytes | None, x509.Certificate]:
        """What the server says, and the certificate that the client saw."""
        other = client(name, client_context(trusts=trusts))
        theirs = self.shake(other).binding("tls-server-end-point")
        seen = other.get_peer_certificate()
        assert seen is not None
        return theirs, seen.to_cryptography()

    def test_end_point(self) -> None:
        theirs, seen = self.end_points("mx.test")
        self.assertEqual(seen, certificate(self.leaf))
        self.assertEqual(theirs, seen.fingerprint(hashes.SHA256()))

    def test_end_point_is_of_the_certificate_that_was_shown(self) -> None:
        other = write(self.folder / "other.pem", issue("other.test"))
        self.certificates = Certificates(self.folder / "mx.pem", other)
        for name in "other.test", "mx.test", None:
            theirs, seen = self.end_points(name)
            self.assertEqual(theirs, seen.fingerprint(hashes.SHA256()))
            self.assertIn(name or "mx.test", dns_names(seen))

    def test_end_point_has_the_hash_of_the_signature(self) -> None:
        built = build("mx.test", sign=hashes.SHA384())
        (self.folder / "mx.pem").write_bytes(built.all_pem)
        self.certificates = Certificates(self.folder / "mx.pem")
        theirs, seen = self.end_points("mx.test", built.certificate)
        self.assertEqual(theirs, seen.fingerprint(hashes.SHA384()))

    def test_no_end_point_where_the_signature_has_no_hash(self) -> None:
        built = build("mx.test", key=ed25519.Ed25519PrivateKey.generate())
        (self.folder / "mx.pem").write_bytes(built.all_pem)
        self.certificates = Certificates(self.folder / "mx.pem")
        self.assertIsNone(self.end_points("mx.test", built.certificate)[0])

    def test_end_point_where_the_signature_has_a_hash_that_is_broken(self) -> None:
        class Shows:
            """A connection, as far as it is asked."""

            get_servername = get_alpn_proto_negotiated = partial(bytes)
            get_cipher_name = partial(str)
            get_protocol_version = partial(int, TLS1_3)
            certificate: crypto.X509 | None = crypto.X509.from_cryptography(x509.load_pem_x509_certificate(SHA1))

            def get_certificate(self) -> crypto.X509 | None:
                return self.certificate

        connection: Any = Shows()
        expected = x509.load_pem_x509_certificate(SHA1).fingerprint(hashes.SHA256())
        self.assertEqual(TLS.of(connection).binding("tls-server-end-point"), expected)
        connection.certificate = None
        self.assertIsNone(TLS.of(connection).binding("tls-server-end-point"))


def dns_names(seen: x509.Certificate) -> list[str]:
    names = seen.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.DNSName)


class PeerTests(TestCase):
    """What a certificate says."""

    def test_what_it_says(self) -> None:
        leaf = issue("ada@example.net", "lovelace@example.org", "host.test", "*.wild.test", "192.0.2.7", "2001:db8::7")
        peer = Peer(certificate(leaf))
        self.assertEqual(peer.emails, ("ada@example.net", "lovelace@example.org"))
        self.assertEqual(peer.fingerprint, hashlib.sha256(peer.certificate.public_bytes(Encoding.DER)).hexdigest())
        for name in "host.test", "HOST.test", "a.wild.test", "192.0.2.7", "2001:db8:0::7":
            self.assertTrue(peer.is_host(name), name)
        for name in (
            "test",
            "other.test",
            "a.b.wild.test",
            "wild.test",
            "192.0.2.8",
            "::7",
            "",
            "ada@example.net",
            "\x00",
            "é.test",
        ):
            self.assertFalse(peer.is_host(name), name)

    def test_the_subject_cannot_break_a_line(self) -> None:
        peer = Peer(build("a,b\r\nX: é\x1b").certificate)
        self.assertEqual(peer.subject, r"CN=a\,b\x0d\x0aX: \xe9\x1b")
        self.assertEqual(repr(peer), rf"<Peer CN=a\,b\x0d\x0aX: \xe9\x1b sha256:{peer.fingerprint}>")

    def test_no_alternative_names(self) -> None:
        peer = Peer(build("host.test").certificate)
        self.assertEqual(peer.emails, ())
        self.assertFalse(peer.is_host("host.test"))


class VerificationTests(TestCase):
    """Which certificates of clients are believed."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.root = build("Root", ca=True)
        self.between = build("Between", self.root, ca=True)
        write(self.folder / "mx.pem", issue("mx.test"))
        self.trust(self.root)

    def trust(self, *built: Built) -> None:
        (self.folder / "ca.pem").write_bytes(b"".join(pem(each.certificate) for each in built))

    def server(self, auth: ClientAuth) -> Certificates:
        return Certificates(self.folder / "mx.pem", client_auth=auth, client_ca=self.folder / "ca.pem")

    def peer(self, shown: Built | None, auth: ClientAuth, version: int | None = None) -> Peer | None:
        context = client_context(shown, version=version)
        return TLS.of(shake(self.server(auth).serverConnectionForTLS(None), client(context=context))).peer

    def assert_believed(self, built: Built) -> None:
        for auth in ClientAuth.OPTIONAL, ClientAuth.REQUIRED:
            for version in TLS1_2, TLS1_3:
                peer = self.peer(built, auth, version)
                assert peer is not None, (auth, version)
                self.assertEqual(peer.certificate, built.certificate)

    def assert_not_believed(self, built: Built | None) -> None:
        for version in TLS1_2, TLS1_3:
            self.assertIsNone(self.peer(built, ClientAuth.OPTIONAL, version))
            self.assertRaises(SSL.Error, self.peer, built, ClientAuth.REQUIRED, version)

    def test_none(self) -> None:
        self.assert_not_believed(None)

    def test_one_of_the_authority(self) -> None:
        self.assert_believed(build("ada", self.root))
        self.assert_believed(build("ada", self.root, usages=[CLIENT, SERVER]))

    def test_one_by_way_of_another_authority(self) -> None:
        self.assert_believed(build("ada", self.between))

    def test_one_whose_way_to_the_authority_is_not_shown(self) -> None:
        built = build("ada", self.between)
        self.assert_not_believed(Built(built.certificate, built.key, ()))

    def test_an_authority_that_is_not_a_root(self) -> None:
        self.trust(self.between)
        self.assert_believed(build("ada", self.between))
        self.assert_not_believed(build("ada", self.root))

    def test_one_that_is_trusted_itself(self) -> None:
        built = build("mx.client.test")
        self.trust(self.root, built)
        self.assert_believed(built)

    def test_one_that_signed_itself(self) -> None:
        self.assert_not_believed(build("ada"))

    def test_one_of_another_authority_of_the_same_name(self) -> None:
        self.assert_not_believed(build("ada", build("Root", ca=True)))

    def test_one_that_has_expired(self) -> None:
        old = certificate(issue("x.test")).not_valid_before_utc
        self.assert_not_believed(build("ada", self.root, end=old.replace(year=2021)))

    def test_one_that_is_for_servers_only(self) -> None:
        self.assert_not_believed(build("ada", self.root, usages=[SERVER]))

    def test_one_of_an_authority_that_is_for_servers_only(self) -> None:
        between = build("Between", self.root, ca=True, usages=[SERVER])
        self.assert_not_believed(build("ada", between, usages=[CLIENT]))

    def test_one_of_somebody_who_is_no_authority(self) -> None:
        self.assert_not_believed(build("ada", build("eve", self.root)))

    def test_it_is_verified_once(self) -> None:
        context = client_context(build("ada", self.root))
        tls = TLS.of(shake(self.server(ClientAuth.OPTIONAL).serverConnectionForTLS(None), client(context=context)))
        self.assertIs(tls.peer, tls.peer)

    def test_no_certificate_is_asked_for_by_default(self) -> None:
        context = client_context(build("ada", self.root))
        server = Certificates(self.folder / "mx.pem", client_ca=self.folder / "ca.pem")
        tls = TLS.of(shake(server.serverConnectionForTLS(None), client(context=context)))
        self.assertIsNone(tls.peer)

    def resumed(self, server: Any, context: SSL.Context) -> tuple[bool, Peer | None]:
        """Whether a second connection resumes the first one's session, and whose it is then."""
        first = client(context=context)
        shake(server(), first)
        second = client(context=context)
        session = first.get_session()
        assert session is not None
        second.set_session(session)
        tls = TLS.of(shake(server(), second))
        return was_resumed(second), tls.peer

    def test_a_session_resumed_makes_nobody_of_a_certificate_that_was_let_pass(self) -> None:
        for version in TLS1_2, TLS1_3:
            certificates = self.server(ClientAuth.OPTIONAL)
            context = client_context(build("eve"), version=version)
            server = partial(certificates.serverConnectionForTLS, None)
            self.assertEqual(self.resumed(server, context), (False, None))

    def test_the_same_of_a_context_that_lets_all_pass_and_has_tickets(self) -> None:
        """It is another's, and OpenSSL says "verified" of a certificate that signed itself."""
        leaf = issue("mx.test")
        theirs = SSL.Context(SSL.TLS_SERVER_METHOD)
        store = theirs.get_cert_store()
        assert store is not None
        store.add_cert(crypto.X509.from_cryptography(self.root.certificate))
        pair = ssl.PrivateCertificate.loadPEM(leaf.private_key_and_cert_chain_pem.bytes())
        theirs.use_certificate(pair.original.to_cryptography())
        theirs.use_privatekey(pair.privateKey.original.to_cryptography_key())
        theirs.set_session_id(b"x")
        theirs.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        for version in TLS1_2, TLS1_3:
            for built, believed in (build("eve"), False), (build("ada", self.root), True):
                context = client_context(built, version=version)
                resumed, peer = self.resumed(partial(SSL.Connection, theirs, None), context)
                self.assertTrue(resumed)
                self.assertEqual(peer is not None, believed)

    def test_a_context_of_twisted(self) -> None:
        pair = ssl.PrivateCertificate.loadPEM(issue("mx.test").private_key_and_cert_chain_pem.bytes())
        root = ssl.Certificate.loadPEM(pem(self.root.certificate))
        options = ssl.CertificateOptions(
            pair.privateKey.original, pair.original, trustRoot=ssl.trustRootFromCertificates([root])
        )
        context = client_context(build("ada", self.root))
        tls = TLS.of(shake(SSL.Connection(options.getContext(), None), client(context=context)))
        self.assertEqual(tls.peer and tls.peer.subject, "CN=ada")

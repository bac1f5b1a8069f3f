"""What contexts are made to do, seen by a client in memory."""

from pathlib import Path

from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.trial.unittest import TestCase

from tests.tls.support import build, carry, client, client_context, issue, pem, shake, was_resumed
from twistsmtp.tls.context import TOLD, ClientAuth, Clients, make_context
from twistsmtp.tls.pem import Identity, identity_of

TLS1_2, TLS1_3 = SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION


def identity() -> Identity:
    leaf = issue("mx.test").private_key_and_cert_chain_pem.bytes()
    return identity_of((Path("mx.pem"), leaf), (Path("mx.pem"), leaf))


class ContextTests(TestCase):
    """Versions, suites, tickets and renegotiation."""

    def setUp(self) -> None:
        self.context = make_context(identity(), Clients())

    def server(self) -> SSL.Connection:
        return SSL.Connection(self.context, None)

    def assert_refused(self, other: SSL.Connection, reason: str) -> None:
        """The server gives *reason*."""
        error = self.assertRaises(SSL.Error, shake, self.server(), other)
        self.assertIn(reason, str(error))

    def test_versions(self) -> None:
        for version, name in (TLS1_2, "TLSv1.2"), (TLS1_3, "TLSv1.3"):
            server = shake(self.server(), client(context=client_context(version=version)))
            self.assertEqual(server.get_protocol_version_name(), name)

    def test_versions_that_are_too_old(self) -> None:
        for version in SSL.TLS1_VERSION, SSL.TLS1_1_VERSION:
            context = client_context(version=version)
            context.set_min_proto_version(version)
            context.set_cipher_list(b"ALL:@SECLEVEL=0")
            self.assert_refused(client(context=context), "unsupported protocol")

    def test_the_server_chooses_the_suite(self) -> None:
        context = client_context(version=TLS1_2)
        context.set_cipher_list(
            b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256"
        )
        server = shake(self.server(), client(context=context))
        self.assertEqual(server.get_cipher_name(), "ECDHE-ECDSA-AES128-GCM-SHA256")

    def test_suites_that_are_no_good(self) -> None:
        for suites in (
            b"ECDHE-ECDSA-AES128-SHA",
            b"ECDHE-ECDSA-AES256-SHA384",
            b"AES128-GCM-SHA256",
            b"DHE-RSA-AES128-SHA",
        ):
            context = client_context(version=TLS1_2)
            context.set_cipher_list(suites + b":@SECLEVEL=0")
            self.assert_refused(client(context=context), "no shared cipher")

    def test_groups(self) -> None:
        for group in b"X25519", b"P-256", b"P-384":
            # With TLS 1.2 the certificate's curve has to be one of them.
            for version, groups in (TLS1_2, group + b":P-256"), (TLS1_3, group):
                other = client(context=client_context(version=version))
                lib.SSL_set1_curves_list(other._ssl, groups)
                shake(self.server(), other)

    def test_what_openssl_likes_best_is_agreed_on(self) -> None:
        """X25519 with ML-KEM-768, in those that have it."""
        other, plain = client(), SSL.Connection(make_plain(), None)
        server = shake(self.server(), other)
        self.assertEqual(server.get_group_name(), shake(plain, client()).get_group_name())

    def test_tickets(self) -> None:
        for version in TLS1_2, TLS1_3:
            context = client_context(version=version)
            first, second = client(context=context), client(context=context)
            shake(self.server(), first)
            session = first.get_session()
            assert session is not None
            second.set_session(session)
            self.assertTrue(was_resumed(shake(self.server(), second)))
            # One of another context, as there is after a reload, is no hindrance.
            self.context = make_context(identity(), Clients())
            third = client(context=context)
            third.set_session(session)
            self.assertFalse(was_resumed(shake(self.server(), third)))

    def test_no_tickets_where_certificates_are_asked_for(self) -> None:
        root = build("Root", ca=True)
        for auth in ClientAuth.OPTIONAL, ClientAuth.REQUIRED:
            self.context = make_context(identity(), Clients(auth, (root.certificate,)))
            for version in TLS1_2, TLS1_3:
                context = client_context(build("ada", root), version=version)
                first, second = client(context=context), client(context=context)
                shake(self.server(), first)
                session = first.get_session()
                assert session is not None
                second.set_session(session)
                self.assertFalse(was_resumed(shake(self.server(), second)))

    def test_no_renegotiation(self) -> None:
        other = client(context=client_context(version=TLS1_2))
        server = shake(self.server(), other)
        other.renegotiate()
        self.assertRaises(SSL.WantReadError, other.do_handshake)
        carry(other, server)
        self.assertRaises(SSL.WantReadError, server.recv, 1)
        carry(server, other)
        error = self.assertRaises(SSL.Error, other.do_handshake)
        self.assertIn("no renegotiation", str(error))

    def test_no_compression(self) -> None:
        self.assertTrue(self.context.set_options(0) & SSL.OP_NO_COMPRESSION)

    def test_no_callback_where_none_is_needed(self) -> None:
        for name in "_verify_callback", "_tlsext_servername_callback", "_info_callback", "_alpn_select_callback":
            self.assertIsNone(getattr(self.context, name), name)

    def test_a_key_of_another(self) -> None:
        one, other = identity(), identity()
        error = self.assertRaises(ValueError, make_context, Identity(one.certificate, other.key), Clients())
        self.assertRegex(str(error), r"^OpenSSL does not take it: .*mismatch")


def make_plain() -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    mine = identity()
    context.use_certificate(mine.certificate)
    context.use_privatekey(mine.key)
    return context


class AuthoritiesTests(TestCase):
    """Whose certificates a client is asked for."""

    def asked_for(self, count: int, auth: ClientAuth) -> list[str]:
        roots = tuple(build(f"Root {number}", ca=True).certificate for number in range(count))
        context = make_context(identity(), Clients(auth, roots))
        other = client()
        if auth is ClientAuth.REQUIRED:
            self.assertRaises(SSL.Error, shake, SSL.Connection(context, None), other)
        else:
            shake(SSL.Connection(context, None), other)
        return [str(dict(each.get_components())[b"CN"], "ascii") for each in other.get_client_ca_list()]

    def test_their_names_are_told(self) -> None:
        for auth in ClientAuth.OPTIONAL, ClientAuth.REQUIRED:
            self.assertEqual(self.asked_for(2, auth), ["Root 0", "Root 1"])

    def test_their_names_are_too_many(self) -> None:
        self.assertEqual(len(self.asked_for(TOLD, ClientAuth.OPTIONAL)), TOLD)
        self.assertEqual(self.asked_for(TOLD + 1, ClientAuth.OPTIONAL), [])

    def test_the_clients_own(self) -> None:
        """Which is how a list of certificates that are trusted one by one is made."""
        built = build("mx.client.test")
        context = make_context(identity(), Clients(ClientAuth.REQUIRED, (built.certificate,)))
        server = shake(SSL.Connection(context, None), client(context=client_context(built)))
        seen = server.get_peer_certificate()
        assert seen is not None
        self.assertEqual(pem(seen.to_cryptography()), built.certificate_pem)

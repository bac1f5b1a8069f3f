"""AUTH: where it is offered, and with which mechanisms: RFC 4954 section 3."""

from tests.authentication import (
    Anybody,
    Bearers,
    Digests,
    Passwords,
    Realm,
    Scrams,
    TLSClient,
    authenticate,
    certificates,
    encoded,
    plain,
    secured,
)
from tests.extensions.test_auth import RIGHT, AuthTestCase, offer
from tests.support import Server
from twistsmtp.extensions.auth import extension
from twistsmtp.sasl import load_mechanisms
from twistsmtp.session import Stage


class OfferTests(AuthTestCase):
    """Section 3: what EHLO says."""

    def test_rfc4954_3_a_server_without_a_portal(self) -> None:
        client = Server().connect().hello()
        self.assertEqual(offer(client), [])
        self.assertEqual(client.codes(f"AUTH PLAIN {plain()}"), ["502 5.5.1"])

    def test_rfc4954_3_only_under_tls(self) -> None:
        server = secured(plaintext_auth=False, tls=certificates())
        client = TLSClient(server)
        self.assertEqual(offer(client), [])
        self.assertEqual(client.codes("HELP AUTH"), ["504 5.5.4"])
        client.start_tls()
        self.assertEqual(offer(client), ["PLAIN", "LOGIN"])
        implicit = TLSClient(server, implicit=True).shake_hands()
        implicit.read()
        self.assertEqual(offer(implicit), ["PLAIN", "LOGIN"])
        for each in (client, implicit):
            self.assertEqual(each.codes(f"AUTH PLAIN {plain()}"), [RIGHT])

    def test_rfc4954_3_without_tls_where_the_setting_says_so(self) -> None:
        self.assertEqual(offer(self.client()), ["PLAIN", "LOGIN"])

    def test_rfc4954_3_what_the_checkers_can_check_in_order_of_strength(self) -> None:
        everyone = (Passwords, Digests, Bearers, Scrams)
        for kinds, names in (
            ((), ["PLAIN", "LOGIN"]),
            ((Digests,), ["CRAM-MD5"]),
            ((Bearers,), ["OAUTHBEARER", "XOAUTH2"]),
            ((Scrams,), ["SCRAM-SHA-256", "SCRAM-SHA-1"]),
            ((Passwords, Digests), ["CRAM-MD5", "PLAIN", "LOGIN"]),
            ((Anybody,), []),  # off by default
            (
                everyone,
                ["SCRAM-SHA-256", "SCRAM-SHA-1", "OAUTHBEARER", "XOAUTH2", "CRAM-MD5", "PLAIN", "LOGIN"],
            ),
        ):
            self.assertEqual(offer(self.client(*[kind() for kind in kinds])), names)

    def test_rfc4954_3_chosen_by_name(self) -> None:
        chosen = load_mechanisms(["login", "ANONYMOUS", "CRAM-MD5", "PLAIN"])
        client = self.client(Passwords(), Anybody(), mechanisms=chosen, realm=Realm(visitors=Realm().delivery))
        self.assertEqual(offer(client), ["LOGIN", "ANONYMOUS", "PLAIN"])

    def test_rfc4954_3_one_that_is_left_out_is_unknown(self) -> None:
        client = self.client(mechanisms=load_mechanisms(["LOGIN"]))
        self.assertEqual(client.codes(f"AUTH PLAIN {plain()}"), ["504 5.5.4"])

    def test_rfc4954_3_those_that_bind_to_the_channel_only_where_there_is_one(self) -> None:
        client = self.client(Scrams())
        self.assertEqual(offer(client), ["SCRAM-SHA-256", "SCRAM-SHA-1"])
        over = TLSClient(secured(Scrams(), tls=certificates())).hello()
        assert isinstance(over, TLSClient)
        self.assertEqual(
            offer(over.start_tls()), ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1"]
        )
        self.assertEqual(authenticate(over, "SCRAM-SHA-256")[-1][:9], RIGHT)

    def test_rfc5802_6_a_client_that_could_bind_where_no_plus_is_offered(self) -> None:
        # RFC 5802 section 6: with "y" it says so, and that the server cannot; which is true here.
        server = secured(Scrams(), tls=certificates(), mechanisms=load_mechanisms(["SCRAM-SHA-1"]))
        client = TLSClient(server).hello()
        assert isinstance(client, TLSClient)
        client.start_tls().hello()
        self.assertEqual(client.codes(f"AUTH SCRAM-SHA-1 {encoded('y,,n=tim,r=nonce')}"), ["334"])

    def test_rfc4954_3_not_again_to_who_has_authenticated(self) -> None:
        client = self.client()
        client.say(f"AUTH PLAIN {plain()}")
        self.assertEqual(offer(client), [])

    def test_rfc4954_3_the_row_of_the_table(self) -> None:
        made = extension()
        [verb] = made.verbs
        self.assertEqual((made.rfc, verb.name, verb.stages), ("RFC 4954", "AUTH", Stage.READY | Stage.BARRED))
        self.assertEqual(self.client().say("HELP AUTH")[0][:43], "214-2.0.0 AUTH mechanism [initial-response]")

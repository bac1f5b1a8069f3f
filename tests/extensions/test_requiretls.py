"""REQUIRETLS: RFC 8689."""

from tests.extensions.parameters import ParameterTestCase
from tests.support import Client, Server
from twistsmtp.delivery.discard import Discard
from twistsmtp.extensions.requiretls import REQUIRETLS
from twistsmtp.tls.facts import TLS

ENCRYPTED = TLS("TLSv1.3", "TLS_AES_256_GCM_SHA384")


class RequireTLSTests(ParameterTestCase):
    def encrypted(self) -> Client:
        client = self.client()
        client.session.encrypted(ENCRYPTED)
        return client

    def test_rfc8689_2_it_is_offered_under_tls(self) -> None:
        # Section 2: "The session itself MUST employ TLS transmission".
        self.assertNotIn("REQUIRETLS", self.offers(self.client()))
        self.assertIn("REQUIRETLS", self.offers(self.encrypted()))

    def test_rfc8689_it_is_offered_where_the_delivery_keeps_the_promise(self) -> None:
        client = Server(Discard()).connect().hello()
        client.session.encrypted(ENCRYPTED)
        self.assertNotIn("REQUIRETLS", self.offers(client))
        self.mail_refused("555 5.5.4", "REQUIRETLS", client=client)

    def test_rfc8689_4_1_a_message_is_tagged(self) -> None:
        # Section 4.1.
        self.assertIs(self.mail("REQUIRETLS", self.encrypted()).get(REQUIRETLS), True)
        self.assertIs(self.mail("RequireTLS SIZE=1", self.encrypted()).get(REQUIRETLS), True)
        self.assertIs(self.mail("", self.encrypted()).get(REQUIRETLS), False)

    def test_rfc8689_it_takes_no_value(self) -> None:
        self.mail_refused("501 5.5.4", "REQUIRETLS=YES", "REQUIRETLS=", client=self.encrypted())

    def test_rfc8689_without_tls_it_is_a_word_as_any_other(self) -> None:
        self.mail_refused("555 5.5.4", "REQUIRETLS", "REQUIRETLS=YES")

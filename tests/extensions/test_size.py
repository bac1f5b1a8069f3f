"""SIZE: RFC 1870."""

from twisted.trial.unittest import SynchronousTestCase

from tests.support import Client, Server
from twistsmtp.extensions.size import SIZE, extension
from twistsmtp.limits import Limits


class SizeTests(SynchronousTestCase):
    def client(self, limit: int = 1000) -> Client:
        return Server(limits=Limits(message_size=limit)).connect().hello()

    def test_rfc1870_it_is_offered_with_the_limit(self) -> None:
        self.assertEqual(extension().offer(self.client(12345).session), "SIZE 12345")

    def test_rfc1870_up_to_the_limit(self) -> None:
        for text, size in (("0", 0), ("1", 1), ("1000", 1000), ("00001000", 1000), ("0" * 20, 0)):
            client = self.client()
            self.assertEqual(client.codes(f"MAIL FROM:<> SIZE={text}"), ["250 2.1.0"])
            self.assertEqual(client.server.delivery.transactions[0].reverse_path.get(SIZE), size)

    def test_rfc1870_6_1_over_the_limit(self) -> None:
        # Section 6.1: before a single octet of it has come.
        for text in ("1001", "9" * 20):
            client = self.client()
            self.assertEqual(
                client.say(f"MAIL FROM:<> SIZE={text}"), ["552 5.3.4 Message exceeds the limit of 1000 octets"]
            )
            self.assertEqual(client.server.delivery.transactions, [])

    def test_rfc1870_3_what_is_no_size(self) -> None:
        # Section 3: size-value ::= 1*20DIGIT
        for text in ("", "=", "=x", "=-1", "=+1", "=1.0", "=1K", "=" + "0" * 21, "=٣", "=²"):
            self.assertEqual(self.client().codes(f"MAIL FROM:<> SIZE{text}"), ["501 5.5.4"], text)

    def test_rfc1870_without_a_declaration(self) -> None:
        client = self.client()
        client.say("MAIL FROM:<>")
        self.assertIsNone(client.server.delivery.transactions[0].reverse_path.get(SIZE))

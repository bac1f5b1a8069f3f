"""8BITMIME: RFC 6152."""

from twisted.trial.unittest import SynchronousTestCase

from tests.support import Server
from twistsmtp.extensions.eightbitmime import BODY, Body, extension


class EightBitMIMETests(SynchronousTestCase):
    def test_rfc6152_it_is_offered(self) -> None:
        self.assertEqual(extension().keyword, "8BITMIME")

    def test_rfc6152_the_values_in_any_case(self) -> None:
        for parameter, body in (
            ("BODY=7BIT", Body.SEVENBIT),
            ("BODY=8BITMIME", Body.EIGHTBITMIME),
            ("body=8bitMime", Body.EIGHTBITMIME),
            ("", Body.SEVENBIT),
        ):
            client = Server().connect().hello()
            self.assertEqual(client.codes(f"MAIL FROM:<> {parameter}"), ["250 2.1.0"])
            self.assertIs(client.server.delivery.transactions[0].reverse_path.get(BODY), body)

    def test_rfc6152_what_is_no_value(self) -> None:
        for parameter in ("BODY", "BODY=8BIT", "BODY=BINARYMIME", "BODY=7BIT8BITMIME", "BODY=\u017f"):
            client = Server().connect().hello()
            self.assertEqual(client.codes(f"MAIL FROM:<> {parameter}"), ["501 5.5.4"], parameter)

"""LIMITS: RFC 9422."""

from tests.authentication import TLSClient, certificates
from tests.extensions.parameters import ParameterTestCase, memory
from tests.support import Server
from twistsmtp.delivery.discard import Discard
from twistsmtp.extensions import load_extensions
from twistsmtp.extensions.xclient import xclient
from twistsmtp.limits import Limits
from twistsmtp.security import Security


class LimitsTests(ParameterTestCase):
    def offered(self, limits: Limits) -> list[str]:
        client = Server(Discard(), limits=limits).connect().hello()
        return [line for line in self.offers(client) if line.startswith("LIMITS")]

    def test_rfc9422_4_the_limits_in_force(self) -> None:
        # Section 4.
        self.assertEqual(self.offered(Limits()), ["LIMITS RCPTMAX=1000 MAILMAX=100000"])
        self.assertEqual(self.offered(Limits(recipients=3, messages=2)), ["LIMITS RCPTMAX=3 MAILMAX=2"])

    def test_rfc9422_a_limit_of_more_than_six_digits_is_not_told(self) -> None:
        self.assertEqual(self.offered(Limits(recipients=999_999, messages=1_000_000)), ["LIMITS RCPTMAX=999999"])
        self.assertEqual(self.offered(Limits(recipients=1_000_000, messages=1)), ["LIMITS MAILMAX=1"])
        self.assertEqual(self.offered(Limits(recipients=1_000_000, messages=1_000_000)), [])

    def test_rfc9422_a_session_that_begins_anew_has_what_is_left(self) -> None:
        """What another client, or one in plain text, has used up of the connection's messages."""
        limits, message = Limits(messages=3), ["MAIL FROM:<>", "RCPT TO:<b@mx.test>", "DATA", ".", "EHLO client.test"]
        extensions = [*load_extensions(["limits", "starttls"]), xclient(["192.0.2.0/24"])]
        security = Security(tls=certificates())
        client = TLSClient(Server(Discard(), limits=limits, extensions=extensions, security=security))
        client.hello()
        self.assertIn("RCPTMAX=1000 MAILMAX=3\r\n", client.say(*message)[-1])
        client.start_tls()
        self.assertIn("RCPTMAX=1000 MAILMAX=2\r\n", client.say("EHLO client.test", *message)[-1])
        client.say("XCLIENT ADDR=203.0.113.2")
        self.assertIn("RCPTMAX=1000 MAILMAX=1\r\n", client.say("EHLO client.test", *message)[-1])
        client.say("XCLIENT ADDR=203.0.113.3")
        self.assertIn("LIMITS RCPTMAX=1000\r\n", client.say("EHLO client.test")[-1])  # there is no notation for 0
        self.assertEqual(client.codes("MAIL FROM:<>"), ["421"])

    def test_rfc9422_a_client_that_keeps_to_them_is_refused_nothing(self) -> None:
        client = self.client(limits=Limits(recipients=3, messages=2))
        for _ in range(2):
            self.assertEqual(client.codes("MAIL FROM:<>", *["RCPT TO:<b@mx.test>"] * 3)[1:], ["250 2.1.5"] * 3)
            self.assertEqual(client.codes("RCPT TO:<b@mx.test>"), ["452 4.5.3"])
            client.say("DATA", "x", ".")
        self.assertEqual(len(memory(client).messages), 2)
        self.assertEqual(client.codes("MAIL FROM:<>"), ["421 4.7.0"])

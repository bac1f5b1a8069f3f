"""LIMITS: RFC 9422."""

from tests.extensions.parameters import ParameterTestCase, memory
from tests.support import Server
from twistsmtp.delivery.discard import Discard
from twistsmtp.limits import Limits


class LimitsTests(ParameterTestCase):
    def offered(self, limits: Limits) -> list[str]:
        client = Server(Discard(), limits=limits).connect().hello()
        return [line for line in self.offers(client) if line.startswith("LIMITS")]

    def test_the_limits_in_force(self) -> None:
        # Section 4.
        self.assertEqual(self.offered(Limits()), ["LIMITS RCPTMAX=1000 MAILMAX=100000"])
        self.assertEqual(self.offered(Limits(recipients=3, messages=2)), ["LIMITS RCPTMAX=3 MAILMAX=2"])

    def test_a_limit_of_more_than_six_digits_is_not_told(self) -> None:
        self.assertEqual(self.offered(Limits(recipients=999_999, messages=1_000_000)), ["LIMITS RCPTMAX=999999"])
        self.assertEqual(self.offered(Limits(recipients=1_000_000, messages=1)), ["LIMITS MAILMAX=1"])
        self.assertEqual(self.offered(Limits(recipients=1_000_000, messages=1_000_000)), [])

    def test_a_client_that_keeps_to_them_is_refused_nothing(self) -> None:
        client = self.client(limits=Limits(recipients=3, messages=2))
        for _ in range(2):
            self.assertEqual(client.codes("MAIL FROM:<>", *["RCPT TO:<b@mx.test>"] * 3)[1:], ["250 2.1.5"] * 3)
            self.assertEqual(client.codes("RCPT TO:<b@mx.test>"), ["452 4.5.3"])
            client.say("DATA", "x", ".")
        self.assertEqual(len(memory(client).messages), 2)
        self.assertEqual(client.codes("MAIL FROM:<>"), ["421 4.7.0"])

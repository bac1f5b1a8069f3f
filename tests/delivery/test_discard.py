"""Mail that goes nowhere."""

from twisted.trial.unittest import TestCase

from tests.delivery.kit import ANN, deliver, envelope, new_session, to
from twistsmtp.delivery.discard import Discard


class DiscardTests(TestCase):
    async def test_takes_everything(self) -> None:
        await deliver(Discard(), ["joe@two.example", "sue@three.example"], [b"a\r\n", b"b\r\n"])

    def test_answers_at_once_and_costs_no_object(self) -> None:
        """Nothing here may make a Deferred, or anything else for each message."""
        delivery = Discard()
        session = new_session(delivery)
        transaction = delivery.begin(session, ANN)
        self.assertIs(transaction, delivery.begin(session, ANN))
        answers = [
            transaction.rcpt(to("joe@two.example")),
            transaction.open(envelope("joe@two.example")),
            transaction.write(b"a"),
            transaction.commit(),
        ]
        transaction.abort()
        self.assertEqual(answers, [None] * 4)
        self.assertFalse(getattr(transaction, "__dict__", {}))

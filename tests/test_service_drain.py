"""How a server that is stopped parts with its clients. `tests.test_factory` has the plain cases."""

from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import Passwords, portal
from tests.scripted import Answer, How, Script
from tests.support import Server, split_replies
from twistsmtp.security import Security


class DrainTests(SynchronousTestCase):
    def test_a_client_that_never_pauses(self) -> None:
        """It says MAIL for its next message behind the end of the one before, in one go."""
        server = Server()
        client = server.connect().hello().data()
        done = server.factory.shutdown()
        next_one = b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\n"
        replies = client.send(b"text\r\n.\r\n" + next_one)
        self.assertEqual([each[:9] for each in split_replies(replies)], ["250 2.0.0", "421 4.3.2"])
        self.assertTrue(client.closed)
        self.successResultOf(done)
        self.assertEqual(client.session.counts.transactions, 1)

    def test_in_the_middle_of_a_batch(self) -> None:
        script = Script(commit=Answer(How.DEFERRED))
        server = Server.scripted(script)
        client = server.connect().hello().data()
        client.send(b"text\r\n.\r\nMAIL FROM:<>\r\n")
        done = server.factory.shutdown()
        script.release()
        self.assertEqual(client.codes(), ["250 2.0.0", "421 4.3.2"])
        self.assertTrue(client.closed)
        self.successResultOf(done)

    def test_in_the_middle_of_auth(self) -> None:
        """Nothing is under way but the question."""
        server = Server(security=Security(portal=portal(Passwords()), plaintext_auth=True))
        client = server.connect().hello()
        self.assertEqual(client.codes("AUTH LOGIN"), ["334"])
        done = server.factory.shutdown()
        self.assertEqual(client.codes("dGlt"), ["421 4.3.2"])
        self.assertTrue(client.closed)
        self.successResultOf(done)

    def test_hurry(self) -> None:
        server = Server.scripted(Script(begin=Answer(How.DEFERRED)))
        client = server.connect().hello()
        client.say("MAIL FROM:<>")
        first = server.factory.shutdown(3600)
        server.clock.advance(10)
        second = server.factory.shutdown(7200)
        server.clock.advance(10)
        self.assertNoResult(first)
        third = server.factory.shutdown(0)
        server.clock.advance(0)
        self.assertEqual(client.codes(), ["421 4.3.2"])
        server.clock.advance(0)
        for each in first, second, third:
            self.successResultOf(each)
        self.assertEqual(server.clock.getDelayedCalls(), [])

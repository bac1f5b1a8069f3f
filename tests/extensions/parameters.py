"""What the tests of parameters have in common: a server whose delivery does all that can be asked for."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support import Client, Server
from twistsmtp.delivery.discard import Discard
from twistsmtp.delivery.memory import Memory
from twistsmtp.envelope import Recipient, ReversePath

__all__ = ["ParameterTestCase", "memory"]


def memory(client: Client) -> Memory:
    """Where the mail of *client* goes."""
    delivery = client.session.delivery
    assert isinstance(delivery, Memory)
    return delivery


class ParameterTestCase(SynchronousTestCase):
    """Says MAIL and RCPT with parameters."""

    def client(self, **settings: Any) -> Client:
        """A client that has said EHLO."""
        return Server(Memory(), **settings).connect().hello()

    def offers(self, client: Client) -> list[str]:
        """The lines of a new EHLO that extensions have."""
        [reply] = client.say("EHLO client.test")
        return [line[4:] for line in reply.split("\r\n")[1:] if line != "250 HELP"]

    def mail(self, parameters: str, client: Client | None = None) -> ReversePath:
        """The reverse-path of a MAIL that is taken."""
        client = client or self.client()
        self.assertEqual(client.codes(f"MAIL FROM:<a@client.test> {parameters}"), ["250 2.1.0"], parameters)
        return client.session.current.reverse_path

    def rcpt(self, parameters: str, client: Client | None = None, mail: str = "") -> Recipient:
        """The recipient of a RCPT that is taken."""
        client = client or self.client()
        client.say(f"MAIL FROM:<a@client.test> {mail}")
        self.assertEqual(client.codes(f"RCPT TO:<b@mx.test> {parameters}"), ["250 2.1.5"], parameters)
        return client.session.current.recipients[-1]

    def mail_refused(self, code: str, *parameters: str, client: Client | None = None) -> None:
        """MAIL with each of *parameters* is refused by *code*, and no transaction is open."""
        client = client or self.client()
        for each in parameters:
            self.assertEqual(client.codes(f"MAIL FROM:<a@client.test> {each}"), [code], each)
            self.assertIsNone(client.session.transaction, each)

    def rcpt_refused(self, code: str, *parameters: str, mail: str = "") -> None:
        """RCPT with each of *parameters* is refused by *code*, and adds nobody."""
        client = self.client()
        client.say(f"MAIL FROM:<a@client.test> {mail}")
        for each in parameters:
            self.assertEqual(client.codes(f"RCPT TO:<b@mx.test> {each}"), [code], each)
        self.assertEqual(client.session.current.recipients, [])

    def assert_offered_where_honoured(self, keyword: str, mail: str = "", rcpt: str = "") -> None:
        """A delivery that does nothing about it gets no such request: it is not offered, and a word as any other."""
        self.assertIn(keyword, [line.partition(" ")[0] for line in self.offers(self.client())])
        client = Server(Discard()).connect().hello()
        self.assertNotIn(keyword, " ".join(self.offers(client)))
        self.assertNotIn("250 2.1.0", client.codes(f"MAIL FROM:<> {mail}") if mail else [])
        client.say("MAIL FROM:<>")
        self.assertNotIn("250 2.1.5", client.codes(f"RCPT TO:<b@mx.test> {rcpt}") if rcpt else [])

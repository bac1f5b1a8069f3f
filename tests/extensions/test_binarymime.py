"""BINARYMIME: RFC 3030 section 3."""

from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import Realm, authenticate, portal
from tests.chunks import bdat, chunking, codes
from tests.lmtp import LMTPServer
from tests.scripted import ScriptedDelivery
from tests.support import Client, Server, split_replies
from twistsmtp.delivery.memory import Memory
from twistsmtp.extensions import load_extensions
from twistsmtp.extensions.eightbitmime import BODY, Body
from twistsmtp.security import Security
from twistsmtp.session import Stage
from twistsmtp.verb import Registry
from twistsmtp.verbs import CORE

OCTETS = b"Content-Transfer-Encoding: binary\r\n\r\n" + bytes(range(256)) + b"\n.\n\r\n.\r\n\r"


class Preserving(ScriptedDelivery):
    """Preserves all bits in each octet."""

    honours = frozenset({"binarymime"})


def keywords(client: Client, hello: str = "EHLO") -> list[str]:
    """What is offered."""
    client.read()
    return [line[4:] for line in client.say(f"{hello} client.test")[0].split("\r\n")[1:]]


class OfferTests(SynchronousTestCase):
    def test_rfc3030_3_where_the_delivery_honours_it(self) -> None:
        for server in (Server(Preserving(), extensions=chunking()), Server(Memory(), extensions=chunking())):
            self.assertIn("BINARYMIME", keywords(server.connect()))
        self.assertIn("BINARYMIME", keywords(LMTPServer(Memory(), extensions=chunking()).connect(), "LHLO"))

    def test_rfc3030_3_where_it_does_not(self) -> None:
        client = Server(ScriptedDelivery(), extensions=chunking()).connect()
        self.assertNotIn("BINARYMIME", keywords(client))
        self.assertEqual(client.codes("MAIL FROM:<> BODY=BINARYMIME"), ["501 5.5.4"])
        self.assertEqual(client.codes("MAIL FROM:<> BODY=8BITMIME"), ["250 2.1.0"])
        self.assertEqual(client.server.delivery.script.calls, ["begin"])

    def test_rfc3030_3_where_it_is_not_loaded(self) -> None:
        client = Server(Preserving(), extensions=load_extensions(["eightbitmime", "chunking"])).connect()
        self.assertEqual(keywords(client), ["8BITMIME", "CHUNKING", "HELP"])
        self.assertEqual(client.codes("MAIL FROM:<> BODY=BINARYMIME"), ["501"])

    def test_rfc3030_3_where_the_users_delivery_honours_it(self) -> None:
        # Whoever has not authenticated writes to another.
        realm = Realm()
        realm.delivery = Preserving()
        security = Security(portal=portal(realm=realm), plaintext_auth=True)
        client = Server(ScriptedDelivery(), extensions=chunking(), security=security).connect()
        self.assertNotIn("BINARYMIME", keywords(client))
        self.assertEqual(client.codes("MAIL FROM:<> BODY=BINARYMIME"), ["501 5.5.4"])
        self.assertEqual(authenticate(client, "PLAIN")[-1][:3], "235")
        self.assertIn("BINARYMIME", keywords(client))
        self.assertEqual(client.codes("MAIL FROM:<> BODY=BINARYMIME"), ["250 2.1.0"])

    def test_rfc3030_3_what_it_needs(self) -> None:
        # "The BINARYMIME service extension can only be used with the CHUNKING service extension."
        for names in (["binarymime"], ["binarymime", "chunking"], ["binarymime", "eightbitmime"]):
            error = self.assertRaises(ValueError, Registry, CORE, load_extensions(names))
            self.assertIn("binarymime needs chunking and eightbitmime", str(error))


class MessageTests(SynchronousTestCase):
    def client(self) -> Client:
        client = Server(Preserving(), extensions=chunking()).connect().hello()
        client.say("MAIL FROM:<a@client.test> BODY=BINARYMIME", "RCPT TO:<b@mx.test>")
        return client

    def test_rfc3030_3_all_bits_in_each_octet(self) -> None:
        client = self.client()
        self.assertEqual(codes(client.send(bdat(OCTETS[:40]) + bdat(OCTETS[40:], True))), ["250 2.0.0"] * 2)
        [transaction] = client.server.delivery.transactions
        self.assertIs(transaction.envelope.reverse_path.get(BODY), Body.BINARYMIME)
        self.assertEqual(transaction.body, OCTETS)

    def test_rfc3030_3_data(self) -> None:
        # "BINARYMIME cannot be used with the DATA command": 503.
        client = self.client()
        self.assertEqual(client.say("DATA"), ["503 5.5.1 A message with BODY=BINARYMIME is sent by BDAT"])
        self.assertIs(client.session.stage, Stage.RCPT)
        self.assertEqual(client.codes("DATA now"), ["501 5.5.4"])
        self.assertEqual(codes(client.send(bdat(OCTETS, True))), ["250 2.0.0"])
        self.assertEqual(client.server.delivery.bodies, [OCTETS])

    def test_rfc3030_3_data_where_it_is_not_asked_for(self) -> None:
        for parameter in ("", " BODY=8BITMIME", " BODY=7BIT"):
            client = Server(Preserving(), extensions=chunking()).connect().hello()
            client.say("MAIL FROM:<>" + parameter, "RCPT TO:<b@mx.test>")
            self.assertEqual(client.codes("DATA", "."), ["354", "250 2.0.0"], parameter)

    def test_rfc3030_3_data_behind_rset(self) -> None:
        client = self.client()
        client.say("RSET")
        self.assertEqual(client.message()[0][:3], "250")

    def test_rfc3030_3_spelling(self) -> None:
        client = Server(Preserving(), extensions=chunking()).connect().hello()
        for value, code in (("binarymime", "250 2.1.0"), ("BinaryMIME", "250 2.1.0"), ("BINARY", "501 5.5.4")):
            self.assertEqual(client.codes(f"MAIL FROM:<> BODY={value}", "RSET")[0], code)

    def test_rfc3030_3_the_line_may_be_longer(self) -> None:
        # "The maximum length of a MAIL FROM command line is increased by 16 characters".
        extensions = load_extensions(["eightbitmime", "chunking", "binarymime"])
        client = Server(Preserving(), extensions=extensions).connect().hello()
        rest = " BODY=BINARYMIME\r\n"
        line = "MAIL FROM:<a@client.test>".ljust(512 + 16 - len(rest)) + rest
        self.assertEqual(split_replies(client.send(line.encode())), ["250 Sender OK"])

    def test_rfc3030_3_the_other_verbs_are_what_they_were(self) -> None:
        client = self.client()
        self.assertEqual(client.say("HELP DATA")[0][:9], "214-2.0.0")
        self.assertEqual(client.codes("RCPT TO:<c@mx.test>", "NOOP"), ["250 2.1.5", "250 2.0.0"])

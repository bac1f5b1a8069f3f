"""LHLO, and which verbs LMTP has: RFC 2033 section 4.1."""

from twisted.trial.unittest import SynchronousTestCase

from tests.chunks import chunking
from tests.lmtp import LMTPServer
from tests.scripted import Answer, Script
from twistsmtp.delivery.memory import Memory
from twistsmtp.limits import Limits
from twistsmtp.session import Stage
from twistsmtp.verbs import CORE
from twistsmtp.verbs.lmtp import LMTP
from twistsmtp.wire.reply import Refusal, Reply


class HelloTests(SynchronousTestCase):
    def test_rfc2033_4_the_verbs(self) -> None:
        # "The LMTP protocol is identical to the SMTP protocol SMTP with its service extensions, except as modified".
        self.assertEqual({verb.name for verb in LMTP} - {"LHLO"}, {verb.name for verb in CORE} - {"HELO", "EHLO"})

    def test_rfc2033_5_lhlo(self) -> None:
        client = LMTPServer(Memory(), extensions=chunking()).connect()
        self.assertEqual(client.read(), b"220 mx.test LMTP twistsmtp\r\n")
        [reply] = client.say("LHLO client.test")
        first, *offers = [line[4:] for line in reply.split("\r\n")]
        self.assertEqual(first, "mx.test")
        # Section 5: PIPELINING and ENHANCEDSTATUSCODES are required, 8BITMIME should be there.
        self.assertLessEqual({"PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "CHUNKING", "BINARYMIME"}, set(offers))
        session = client.session
        self.assertEqual((session.helo, session.esmtp, session.stage), ("client.test", True, Stage.READY))

    def test_rfc2033_4_the_same_is_offered_by_default(self) -> None:
        client = LMTPServer().connect()
        client.read()
        offers = client.say("LHLO client.test")[0].split("\r\n")
        self.assertLessEqual({"250-PIPELINING", "250-ENHANCEDSTATUSCODES", "250-8BITMIME"}, set(offers))

    def test_rfc2033_4_helo_and_ehlo_are_not_there(self) -> None:
        # "The HELO and EHLO commands ... are replaced with the LHLO command": 500.
        client = LMTPServer().connect()
        client.read()
        for line in ("HELO client.test", "EHLO client.test", "ehlo client.test"):
            self.assertEqual(client.codes(line), ["500 5.5.1"])
        self.assertEqual(client.session.counts.unknown_commands, 3)
        self.assertIs(client.session.stage, Stage.CONNECTED)
        self.assertEqual(client.codes("LHLO client.test", "EHLO client.test"), ["250", "500 5.5.1"])
        self.assertIs(client.session.stage, Stage.READY)

    def test_rfc2033_4_a_client_of_smtp_is_gone_soon(self) -> None:
        client = LMTPServer(limits=Limits(unknown_commands=3)).connect()
        client.read()
        self.assertEqual(client.codes(*["EHLO client.test"] * 5), ["500 5.5.1"] * 3 + ["421 4.7.0"])
        self.assertTrue(client.closed)

    def test_rfc2033_4_before_it(self) -> None:
        client = LMTPServer().connect()
        client.read()
        self.assertEqual(client.say("MAIL FROM:<>"), ["503 5.5.1 Say LHLO first"])
        self.assertEqual(
            client.codes("NOOP", "RSET", "HELP", "VRFY b"), ["250 2.0.0", "250 2.0.0", "214 2.0.0", "252 2.0.0"]
        )

    def test_rfc2033_4_syntax(self) -> None:
        client = LMTPServer().connect()
        client.read()
        syntax = "501 Syntax: LHLO domain, or address literal in brackets"
        for line in ("LHLO", "LHLO a b", "LHLO <x>"):
            self.assertEqual(client.say(line), [syntax], line)
        self.assertEqual(client.codes("LHLO [192.0.2.1]", "lhlo client.test", "LHLO [IPv6:::1]"), ["250"] * 3)

    def test_rfc2033_4_again(self) -> None:
        # As EHLO: what was begun is given up.
        for stage in (1, 2):
            client = LMTPServer().connect().hello()
            client.say(*["MAIL FROM:<>", "RCPT TO:<b@mx.test>"][:stage])
            self.assertEqual(client.codes("LHLO other.test"), ["250"])
            [transaction] = client.server.delivery.transactions
            self.assertEqual((transaction.aborts, client.session.stage), (1, Stage.READY))

    def test_rfc2033_4_policies_are_asked(self) -> None:
        script = Script(policy_hello=Answer(result=Refusal(Reply(550, "5.7.1", "No"))))
        client = LMTPServer.scripted(script).connect()
        client.read()
        self.assertEqual(client.codes("LHLO client.test"), ["550 5.7.1"])

    def test_rfc2033_4_help(self) -> None:
        client = LMTPServer().connect()
        client.read()
        text = client.say("HELP")[0]
        self.assertIn("LHLO", text)
        self.assertNotIn("EHLO", text)
        self.assertIn("LHLO domain", client.say("HELP LHLO")[0])
        self.assertEqual(client.say("HELP EHLO")[0][:3], "504")

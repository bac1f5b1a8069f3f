"""SMTPUTF8: RFC 6531."""

from twisted.trial.unittest import SynchronousTestCase

from tests.support import Client, Server
from twistsmtp.extensions import load_extensions
from twistsmtp.extensions.smtputf8 import SMTPUTF8, extension


class SMTPUTF8Tests(SynchronousTestCase):
    def setUp(self) -> None:
        self.client: Client = Server().connect().hello()

    def test_rfc6531_it_is_offered(self) -> None:
        self.assertEqual(extension().keyword, "SMTPUTF8")

    def test_rfc6531_3_1_it_is_offered_only_beside_8bitmime(self) -> None:
        # Section 3.1 (8): "Servers offering this extension MUST provide support for, and announce, the 8BITMIME
        # extension".
        with self.assertRaisesRegex(ValueError, r"\Aextension smtputf8 needs eightbitmime\Z"):
            Server(extensions=load_extensions(["smtputf8"]))
        self.assertIn("250-SMTPUTF8", self.client.say("EHLO client.test")[0])

    def test_rfc6531_mailboxes_in_utf8(self) -> None:
        commands = [
            "MAIL FROM:<jörg@bücher.example> SMTPUTF8",
            "RCPT TO:<用户@例え.example>",
            'RCPT TO:<"ø ø"@mx.test>',
            "RCPT TO:<b@mx.test>",
        ]
        self.assertEqual(self.client.codes(*commands), ["250 2.1.0"] + ["250 2.1.5"] * 3)
        [transaction] = self.client.server.delivery.transactions
        self.assertTrue(transaction.reverse_path.get(SMTPUTF8))
        self.assertTrue(transaction.reverse_path.internationalized)
        self.assertEqual(str(transaction.reverse_path), "jörg@bücher.example")
        self.assertEqual([str(each) for each in transaction.recipients][:2], ["用户@例え.example", '"ø ø"@mx.test'])

    def test_rfc6531_3_5_without_the_parameter_they_are_refused(self) -> None:
        # Section 3.5: 553, with 5.6.7 of RFC 5248.
        for sender in ("jörg@client.test", "a@bücher.example", '"ø"@client.test'):
            self.assertEqual(
                self.client.say(f"MAIL FROM:<{sender}>"),
                ["553 5.6.7 A mailbox that is not ASCII needs SMTPUTF8 in MAIL"],
            )
            self.assertEqual(self.client.codes(f"MAIL FROM:<{sender}> BODY=8BITMIME"), ["553 5.6.7"])
        self.assertEqual(self.client.codes("MAIL FROM:<>"), ["250 2.1.0"])
        for recipient in ("jörg@mx.test", "a@bücher.example"):
            self.assertEqual(self.client.codes(f"RCPT TO:<{recipient}>"), ["553 5.6.7"])
        self.assertEqual(self.client.codes("RCPT TO:<b@mx.test>"), ["250 2.1.5"])

    def test_rfc6531_without_the_extension_they_are_refused_too(self) -> None:
        client = Server(extensions=load_extensions(["enhancedstatuscodes"])).connect().hello()
        self.assertEqual(client.codes("MAIL FROM:<jörg@client.test>"), ["553 5.6.7"])
        self.assertEqual(client.codes("MAIL FROM:<jörg@client.test> SMTPUTF8"), ["555 5.5.4"])

    def test_rfc6531_the_parameter_is_not_kept_for_the_next_transaction(self) -> None:
        self.client.say("MAIL FROM:<> SMTPUTF8", "RSET", "MAIL FROM:<>")
        self.assertEqual(self.client.codes("RCPT TO:<jörg@mx.test>"), ["553 5.6.7"])

    def test_rfc6531_3_4_it_takes_no_value(self) -> None:
        # Section 3.4: 501.
        self.assertEqual(self.client.codes("MAIL FROM:<> SMTPUTF8=yes"), ["501 5.5.4"])
        self.assertEqual(self.client.codes("MAIL FROM:<> SMTPUTF8="), ["501 5.5.4"])

    def test_rfc6531_ascii_mailboxes_may_have_it(self) -> None:
        self.assertEqual(self.client.codes("MAIL FROM:<a@client.test> SMTPUTF8"), ["250 2.1.0"])

    def test_rfc6531_what_is_not_utf8_is_no_command(self) -> None:
        for octets in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"j\xf6rg"):
            self.assertEqual(self.client.codes(b"MAIL FROM:<" + octets + b"@client.test> SMTPUTF8"), ["500 5.5.2"])

    def test_rfc6531_the_reply_is_ascii(self) -> None:
        # `say` itself sees to it that what it reads is.
        self.assertEqual(
            self.client.codes("RCPT TO:<ä@ö>", "ÄÖ", "HELP Ä", "MAIL FROM:<> Ä=Ö")[1:],
            ["500 5.5.1", "504 5.5.4", "501 5.5.4"],
        )

    def test_rfc6531_4_3_the_trace_says_so(self) -> None:
        # Section 4.3.
        self.client.say("MAIL FROM:<jörg@bücher.example> SMTPUTF8", "RCPT TO:<ø@mx.test>", "DATA", "text", ".")
        octets = self.client.server.delivery.transactions[0].octets
        self.assertIn(b" with UTF8SMTP id ", octets)
        self.assertIn("\tfor <ø@mx.test>; ".encode(), octets)

"""Whom a message is from and for, as its fields have it."""

from email.message import EmailMessage, Message
from email.parser import BytesParser
from email.policy import SMTP, compat32

from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.client import envelope_of
from twistsmtp.client.commands import mailbox_of


def email(**fields: str) -> EmailMessage:
    message = EmailMessage()
    for name, value in fields.items():
        message[name.replace("_", "-")] = value
    return message


class EnvelopeTests(SynchronousTestCase):
    def test_fields(self) -> None:
        message = email(
            From="Ada <ada@x.test>, bob@x.test",
            Sender="bob@x.test",
            To="Eve <eve@x.test>, joe@x.test",
            Cc="A group: sue@x.test, eve@x.test;",
            Bcc="hidden@x.test",
        )
        recipients = ["eve@x.test", "joe@x.test", "sue@x.test", "hidden@x.test"]
        self.assertEqual(envelope_of(message), ("bob@x.test", recipients))
        self.assertEqual(envelope_of(email(From="ada@x.test", Bcc="b@x.test")), ("ada@x.test", ["b@x.test"]))

    def test_sent_again(self) -> None:
        fields = {"From": "a@x.test", "To": "b@x.test", "Cc": "c@x.test"}
        again = email(
            **fields, Resent_Date="Sun, 22 Nov 2026 09:00:00 +0000", Resent_From="d@x.test", Resent_To="e@x.test"
        )
        self.assertEqual(envelope_of(again), ("d@x.test", ["e@x.test"]))
        again["Resent-Date"] = "Sun, 22 Nov 2026 10:00:00 +0000"
        self.assertRaises(ValueError, envelope_of, again)

    def test_what_is_read(self) -> None:
        """A name with a comma in an encoded word is one name; by either of the library's ways to read a message."""
        octets = (
            b"From: =?utf-8?q?M=C3=BCller=2C_a=40b=2Etest?= <ada@x.test>\r\n"
            b'To: =?utf-8?b?R3LDvMOfZQ==?=\r\n <eve@x.test>,\r\n "Joe, jr." <joe@x.test>\r\n\r\n'
        )
        for how in (SMTP, compat32):
            message: Message = BytesParser(policy=how).parsebytes(octets)
            self.assertEqual(envelope_of(message), ("ada@x.test", ["eve@x.test", "joe@x.test"]))

    def test_not_ascii(self) -> None:
        sender, [recipient] = envelope_of(email(From="grün@bücher.test", To="Jürgen <jürgen@bücher.test>"))
        self.assertEqual(str(mailbox_of(sender)), "grün@bücher.test")
        self.assertEqual(str(mailbox_of(recipient)), "jürgen@bücher.test")

    def test_what_is_missing(self) -> None:
        for fields, problem in (
            ({"To": "b@x.test"}, "0 senders"),
            ({"From": "a@x.test, c@x.test", "To": "b@x.test"}, "2 senders"),
            ({"From": "a@x.test"}, "for nobody"),
            ({"From": "a@x.test", "To": "undisclosed-recipients:;"}, "for nobody"),
        ):
            error = self.assertRaises(ValueError, envelope_of, email(**fields))
            self.assertIn(problem, str(error))

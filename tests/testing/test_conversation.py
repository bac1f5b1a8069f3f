"""Conversations that a test writes down."""

from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import certificates
from twistsmtp.security import Security
from twistsmtp.testing.conversation import assert_conversation, assert_replies
from twistsmtp.testing.memory import MemoryServer

HELLO = """
    S: 220 mx.test ESMTP twistsmtp
    C: HELO client.test
    S: 250 mx.test
"""


class ConversationTests(SynchronousTestCase):
    def hold(self, text: str) -> None:
        assert_conversation(MemoryServer(security=Security(tls=certificates())).connect(), text)

    def fails(self, text: str) -> list[str]:
        """The lines that differ."""
        error = str(self.assertRaises(AssertionError, self.hold, text))
        self.assertTrue(error.startswith("the conversation went another way (- written, + held):\n  S: 220 "))
        return [line for line in error.splitlines()[1:] if line[0] in "-+"]

    def test_whole(self) -> None:
        self.hold(r"""
            S: 220 ...
            C: EHLO client.test
            S: 250-mx.test
            S: ...
            S: 250-STARTTLS
            S: 250 HELP
            C: STARTTLS
            S: 220 2.0.0 ...
            C: (begins TLS)
            C: EHLO client.test
            S: ...
            C: MAIL FROM:<a@client.test>
            C: RCPT TO:<b@mx.test>
            C: DATA
            S: 250 2.1.0 Sender OK
            S: 250 2.1.5 Recipient OK
            S: 354 Start mail input; end with <CRLF>.<CRLF>
            C: Subject: caf\xc3\xa9
            C:
            C: .
            S: 250 2.0.0 OK: message ... accepted
            C: NOOP\
            T: 310
            S: 421 4.4.2 Idle for too long
            S: (closes)
            """)

    def test_client_ends(self) -> None:
        self.hold(HELLO + "    C: (closes)")
        self.hold(HELLO + "    C: (closes its side)\n    S: (closes)")

    def test_another_line(self) -> None:
        self.assertEqual(
            self.fails(HELLO + "    C: NOOP\n    S: 250 2.0.0 No"), ["- S: 250 2.0.0 No", "+ S: 250 2.0.0 OK"]
        )

    def test_too_many(self) -> None:
        self.assertEqual(self.fails(HELLO + "    C: NOOP"), ["+ S: 250 2.0.0 OK"])
        self.assertEqual(self.fails(HELLO + "    C: QUIT\n    S: 221 ..."), ["+ S: (closes)"])

    def test_too_few(self) -> None:
        self.assertEqual(self.fails(HELLO + "    T: 1\n    S: 421 ..."), ["- S: 421 ..."])

    def test_what_fits_is_not_shown_as_different(self) -> None:
        """A line with a gap is none where it fits, nor are any number of lines."""
        lines = self.fails(HELLO.replace("250 mx.test", "2...test") + "    C: NOOP\n    S: ...\n    S: 599 no")
        self.assertEqual(lines, ["- S: 599 no", "+ S: 250 2.0.0 OK"])
        greeting = "    S: 220 ...\n    C: EHLO x\n    S: 250-mx.test\n    S: ...\n"
        self.assertEqual(
            self.fails(f"{greeting}    S: 250-AUTH PLAIN\n    S: ...\n    S: 250 HELP"), ["- S: 250-AUTH PLAIN"]
        )
        self.assertEqual(self.fails(f"{greeting}    S: 250 SIZE"), ["- S: 250 SIZE", "+ S: 250 HELP"])
        self.hold(f"{greeting}    S: 250-PIPELINING\n    S: ...\n    S: 250-DSN\n    S: ...")

    def test_the_fewest_differ(self) -> None:
        """Where a line is missing, or is one too many, the others are what they are."""
        batch = "    C: NOOP\n    C: FOO\n    C: RSET\n"
        ok, no = "    S: 250 2.0.0 OK\n", "    S: 500 5.5.1 Command not recognized\n"
        self.hold(HELLO + batch + ok + no + ok)
        self.assertEqual(self.fails(HELLO + batch + ok + ok), [f"+{no[3:-1]}"])
        self.assertEqual(self.fails(HELLO + batch + ok + no + "    S: 251\n" + ok), ["- S: 251"])

    def test_malformed(self) -> None:
        self.assertRaises(ValueError, self.hold, "hello")


class ReplyTests(SynchronousTestCase):
    def test_alike(self) -> None:
        assert_replies(["250 2.1.0 OK", "250-mx\r\n250 SIZE", "354 go"], "250 2.1.0", "250", "354 g...")
        assert_replies(["250-mx.test\r\n250 SIZE"], "250-mx.test")

    def test_others(self) -> None:
        error = self.assertRaises(AssertionError, assert_replies, ["250 2.1.0 OK", "550 5.1.1 No"], "250", "250 2.1.5")
        self.assertEqual(str(error), "the replies are others (- expected, + got):\n  250\n- 250 2.1.5\n+ 550 5.1.1 No")

    def test_of_several_lines(self) -> None:
        """They are shown as lines, and no CR is."""
        error = self.assertRaises(AssertionError, assert_replies, ["250-mx.test\r\n250 SIZE"], "503")
        self.assertEqual(str(error).splitlines()[1:], ["- 503", "+ 250-mx.test", "    250 SIZE"])

    def test_count(self) -> None:
        self.assertRaises(AssertionError, assert_replies, ["250 OK"], "250", "250")
        self.assertRaises(AssertionError, assert_replies, ["250 OK", "250 OK"], "250")
        self.assertRaises(AssertionError, assert_replies, ["250 OK"], "25")

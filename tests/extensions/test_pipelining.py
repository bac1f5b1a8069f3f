"""PIPELINING: RFC 2920."""

from twisted.trial.unittest import SynchronousTestCase

from tests.support import Server
from twistsmtp.extensions.pipelining import extension


class PipeliningTests(SynchronousTestCase):
    def test_rfc2920_it_is_offered(self) -> None:
        self.assertEqual((extension().keyword, extension().rfc), ("PIPELINING", "RFC 2920"))

    def test_rfc2920_3_2_the_replies_of_a_batch_leave_in_one_write(self) -> None:
        # Section 3.2 (2): grouped responses "in an internal buffer so they can sent as a unit".
        client = Server().connect().hello()
        writes = len(client.wire.writes)
        replies = client.codes("MAIL FROM:<>", "RCPT TO:<b@mx.test>", "RCPT TO:<c@mx.test>", "DATA")
        self.assertEqual(replies, ["250 2.1.0", "250 2.1.5", "250 2.1.5", "354"])
        self.assertEqual(len(client.wire.writes), writes + 1)

    def test_rfc2920_3_1_the_example_of_the_rfc(self) -> None:
        # Section 3.1: the end of one message, and the whole of the next, in one group; then QUIT.
        client = Server().connect().hello().begin()
        client.say("DATA")
        writes = len(client.wire.writes)
        replies = client.codes("text", ".", "MAIL FROM:<>", "RCPT TO:<b@mx.test>", "DATA")
        self.assertEqual(replies, ["250 2.0.0", "250 2.1.0", "250 2.1.5", "354"])
        self.assertEqual(len(client.wire.writes), writes + 1)
        self.assertEqual(client.codes("more", ".", "QUIT"), ["250 2.0.0", "221 2.0.0"])

    def test_rfc2920_3_2_an_error_loses_nothing_of_the_rest(self) -> None:
        # Section 3.2 (9): "MUST NOT flush or otherwise lose the contents of the TCP input buffer".
        client = Server().connect().hello()
        replies = client.codes("MAIL FROM:<>", "RCPT TO:<>", "NONSENSE", "RCPT TO:<b@mx.test>", "DATA", ".")
        self.assertEqual(replies, ["250 2.1.0", "501 5.1.3", "500 5.5.1", "250 2.1.5", "354", "250 2.0.0"])

    def test_rfc2920_3_2_a_batch_whose_recipients_are_all_refused(self) -> None:
        # Section 3.2 (3): "a positive response to the DATA command if and only if one or more valid RCPT TO addresses
        # have been previously received".
        client = Server().connect().hello()
        self.assertEqual(client.codes("MAIL FROM:<>", "RCPT TO:<>", "DATA")[2], "554 5.5.1")

"""ENHANCEDSTATUSCODES: RFC 2034."""

from twisted.trial.unittest import SynchronousTestCase

from tests.support import Client, Server
from twistsmtp.extensions import DEFAULT, load_extensions

#: Each is refused, or answered in many lines, or neither.
COMMANDS = ["MAIL", "HELP", "NOOP", "VRFY x", "EXPN x", "XYZ", "RCPT TO:<>", "MAIL FROM:<>", "QUIT"]


class EnhancedStatusCodesTests(SynchronousTestCase):
    def replies(self, client: Client) -> list[str]:
        client.read()
        return client.say("EHLO client.test", *COMMANDS)

    def test_rfc2034_every_line_has_one_but_those_of_ehlo(self) -> None:
        hello, *others = self.replies(Server().connect())
        self.assertIn("\r\n250-ENHANCEDSTATUSCODES\r\n", hello)
        for reply in others:
            for line in reply.split("\r\n"):
                self.assertRegex(line, rf"^{line[:3]}[ -]{line[0]}\.\d\.\d ")

    def test_rfc2034_no_line_has_one_where_it_is_not_offered(self) -> None:
        names = [name for name in DEFAULT if name != "enhancedstatuscodes"]
        hello, *others = self.replies(Server(extensions=load_extensions(names)).connect())
        self.assertNotIn("ENHANCEDSTATUSCODES", hello)
        for reply in others:
            for line in reply.split("\r\n"):
                self.assertNotRegex(line, r"^\d{3}[ -]\d\.\d\.\d")

    def test_rfc2034_the_greeting_has_none(self) -> None:
        self.assertEqual(Server().connect().read(), b"220 mx.test ESMTP twistsmtp\r\n")

    def test_rfc2034_what_ends_a_connection_has_one(self) -> None:
        self.assertRegex(Server().connect().say("EHLO x", "GET /")[-1], r"^421 4\.7\.0 ")

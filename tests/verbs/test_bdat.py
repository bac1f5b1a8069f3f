"""BDAT to a server that does not offer CHUNKING (RFC 3030): its chunk is not taken for commands."""

from twisted.trial.unittest import SynchronousTestCase

from tests.chunks import COMMANDS, bdat
from tests.lmtp import LMTPServer
from tests.support import Client, Server, cuts, split_replies
from tests.verbs.test_order import WAYS
from twistsmtp.extensions import DEFAULT, load_extensions
from twistsmtp.limits import Limits

OTHERS = load_extensions(name for name in DEFAULT if name not in ("chunking", "binarymime"))


class NotOfferedTests(SynchronousTestCase):
    def at(self, *commands: str, kind: type[Server] = Server, **settings: Limits) -> Client:
        client = kind(extensions=OTHERS, **settings).connect()
        client.read()
        client.say(*commands)
        return client

    def assert_nothing_is_run(self, client: Client, *pieces: bytes) -> None:
        said = b"".join(map(client.send, pieces))
        self.assertEqual(split_replies(said), ["502 5.5.1 BDAT is not implemented"])
        self.assertTrue(client.closed)
        self.assertIsNone(client.session.transaction)

    def test_rfc3030_2_at_every_stage(self) -> None:
        for commands in WAYS.values():
            for octets in (bdat(COMMANDS, True), bdat(COMMANDS), b"BDAT\r\n" + COMMANDS, b"bdat x y\r\n" + COMMANDS):
                self.assert_nothing_is_run(self.at(*commands), octets)

    def test_rfc3030_2_however_it_comes(self) -> None:
        octets = bdat(b"NOOP\r\n", True)
        for positions in ([], *([each] for each in range(1, len(octets))), range(len(octets))):
            self.assert_nothing_is_run(self.at("EHLO client.test"), *cuts(octets, positions))

    def test_rfc3030_2_in_a_line_that_is_too_long(self) -> None:
        line, behind = b"BDAT 1" + b" " * 600, b"\r\nNOOP\r\n"
        for pieces in ([line + behind], [line, behind], [line, line, behind]):
            client = self.at("EHLO client.test")
            self.assertNotIn(b"250", b"".join(map(client.send, pieces)))
            self.assertTrue(client.closed)

    def test_rfc3030_2_over_lmtp(self) -> None:
        commands = ["LHLO client.test", "MAIL FROM:<>", "RCPT TO:<b@mx.test>", "RCPT TO:<c@mx.test>"]
        self.assert_nothing_is_run(self.at(*commands, kind=LMTPServer), bdat(COMMANDS, True))

    def test_rfc3030_2_nobody_is_told_of_it(self) -> None:
        client = self.at()
        [offers] = client.say("EHLO client.test")
        self.assertNotIn("CHUNKING", offers)
        self.assertNotIn("BDAT", client.say("HELP")[0])
        self.assertEqual(client.codes("HELP BDAT"), ["504 5.5.4"])
        offered = Server().connect().hello()
        self.assertIn("BDAT", offered.say("HELP")[0])
        self.assertEqual(offered.codes("HELP BDAT"), ["214 2.0.0"])

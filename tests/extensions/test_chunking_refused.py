"""CHUNKING: chunks that are refused. Whatever becomes of one, its octets are no commands."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import certificates
from tests.chunks import COMMANDS, TRANSACTION, bdat, chunking, codes, in_rcpt, only
from tests.lmtp import LMTPServer
from tests.scripted import AT_ONCE, LATER, Answer, Script
from tests.support import Client, Server, cuts, kept_octets, logged
from twistsmtp.limits import Limits
from twistsmtp.security import Security
from twistsmtp.verbs import message
from twistsmtp.wire.reply import Refusal, Reply

EVERY_WAY = (*AT_ONCE, *LATER)
NO = Refusal(Reply(452, "4.3.1", "Full"))


class Oops(Exception):
    """What nobody meant to raise."""


class RefusedTests(SynchronousTestCase):
    """Whatever becomes of a chunk, its octets are no commands."""

    def test_rfc3030_2_out_of_sequence(self) -> None:
        for commands, code in (
            ([], "503 5.5.1"),
            (["EHLO client.test"], "503 5.5.1"),
            (["EHLO client.test", "MAIL FROM:<>"], "503 5.5.1"),
            (["EHLO client.test", "MAIL FROM:<>", "RCPT TO:<>"], "554 5.5.1"),
        ):
            client = Server(extensions=chunking()).connect()
            client.read()
            client.say(*commands)
            for last in (False, True):
                self.assertEqual(codes(client.send(bdat(COMMANDS, last) + b"NOOP\r\n")), [code, "250 2.0.0"], commands)

    def test_rfc3030_2_where_something_is_required_first(self) -> None:
        for security in (Security(tls=certificates(), require_tls=True),):
            client = Server(extensions=chunking(), security=security).connect()
            client.read()
            self.assertEqual(codes(client.send(bdat(COMMANDS, True) + b"NOOP\r\n")), ["530 5.7.0", "250 2.0.0"])

    def test_rfc3030_2_in_every_step_in_every_way(self) -> None:
        stream = b"EHLO client.test\r\n" + TRANSACTION + bdat(COMMANDS) + bdat(COMMANDS) + bdat(COMMANDS, True)
        for step, taken in (("policy_data", 0), ("open", 0), ("write", 0), ("policy_message", 2), ("commit", 2)):
            for how in EVERY_WAY:
                for error, code in ((NO, "452 4.3.1"), (Oops("a secret"), "451 4.3.0")):
                    script = Script(**{step: [Answer(how, error)]})
                    client = Server.scripted(script, extensions=chunking()).connect()
                    client.read()
                    with logged("twistsmtp.message") as events:
                        said = client.send(stream + TRANSACTION + bdat(b"next", True))
                        script.release_all()
                        said += client.read()
                    behind = ["503 5.5.1"] * (2 - taken)
                    expected = [*["250 2.0.0"] * taken, code, *behind, "250 2.1.0", "250 2.1.5", "250 2.0.0"]
                    self.assertEqual(codes(said)[3:], expected, (step, how))
                    self.assertNotIn(b"secret", said)
                    delivery = client.server.delivery
                    ends = [(each.commits, each.aborts) for each in delivery.transactions]
                    self.assertEqual(ends, [(0, 1), (1, 0)], (step, how))
                    self.assertEqual(delivery.bodies, [b"next"])
                    self.assertEqual([event["result"][:9] for event in events], [code, "accepted"], (step, how))
                    counts = client.session.counts
                    self.assertEqual((counts.accepted, counts.refused), (1, 1), (step, how))
                    self.assertEqual(len(self.flushLoggedErrors(Oops)), error is not NO)
                    self.assertEqual(script.overlaps, [])

    def test_rfc3030_2_a_policy_that_changes_its_mind(self) -> None:
        # Half a message must not be taken for a whole one.
        script = Script(policy_data=[Answer(result=NO), Answer()])
        client = Server.scripted(script, extensions=chunking()).connect().hello().begin()
        self.assertEqual(codes(client.send(bdat(b"half") + bdat(b"other", True))), ["452 4.3.1", "503 5.5.1"])
        self.assertEqual(client.server.delivery.bodies, [])

    def test_rfc3030_2_a_refusal_comes_behind_the_chunk(self) -> None:
        # "MUST accept and discard the associated message data before sending the appropriate 5XX or 4XX code".
        for step in ("policy_data", "open", "write"):
            client = Server.scripted(Script(**{step: Answer(result=NO)}), extensions=chunking()).connect().hello()
            client.begin()
            octets = bdat(b"x" * 1000, True)
            self.assertEqual(client.send(octets[:-1]), b"")
            self.assertEqual(codes(client.send(octets[-1:])), ["452 4.3.1"])

    def test_rfc3030_2_too_big_in_the_middle_of_a_chunk(self) -> None:
        client = in_rcpt(limits=Limits(message_size=100))
        self.assertEqual(codes(client.send(bdat(b"x" * 100 + COMMANDS, True))), ["552 5.3.4"])
        self.assertEqual((only(client).commits, only(client).aborts), (0, 1))
        self.assertEqual(client.codes("NOOP"), ["250 2.0.0"])

    def test_rfc3030_2_too_big_over_several_chunks(self) -> None:
        client = in_rcpt(limits=Limits(message_size=100))
        self.assertEqual(codes(client.send(bdat(b"x" * 60) + bdat(b"x" * 40))), ["250 2.0.0"] * 2)
        self.assertEqual(codes(client.send(bdat(b"\n") + bdat(COMMANDS, True))), ["552 5.3.4", "503 5.5.1"])
        self.assertEqual(only(client).aborts, 1)
        self.assertEqual(client.session.counts.refused, 1)

    def test_rfc3030_2_as_big_as_may_be(self) -> None:
        client = in_rcpt(limits=Limits(message_size=100))
        self.assertEqual(codes(client.send(bdat(b"x" * 60) + bdat(b"x" * 40, True))), ["250 2.0.0"] * 2)

    def test_rfc3030_2_mail_size(self) -> None:
        # RFC 1870: what was declared is refused before a chunk comes, and what comes is what counts.
        client = Server(extensions=chunking(), limits=Limits(message_size=100)).connect().hello()
        stream = b"MAIL FROM:<> SIZE=101\r\nRCPT TO:<b@mx.test>\r\n" + bdat(COMMANDS, True)
        self.assertEqual(codes(client.send(stream)), ["552 5.3.4", "503 5.5.1", "503 5.5.1"])
        stream = b"MAIL FROM:<> SIZE=10\r\nRCPT TO:<b@mx.test>\r\n" + bdat(b"x" * 101, True)
        self.assertEqual(codes(client.send(stream)), ["250 2.1.0", "250 2.1.5", "552 5.3.4"])

    def test_rfc3030_2_a_loop(self) -> None:
        client = in_rcpt(limits=Limits(hops=2))
        stream = bdat(b"Received: x\r\nRece") + bdat(b"ived: y\r\n\r\n", True)
        self.assertEqual(codes(client.send(stream)), ["250 2.0.0", "554 5.4.6"])

    def test_rfc3030_2_errors_are_counted(self) -> None:
        client = Server(extensions=chunking(), limits=Limits(errors=3)).connect().hello()
        self.assertEqual(codes(client.send(bdat(b"x") * 5)), ["503 5.5.1"] * 3 + ["421 4.7.0"])
        self.assertTrue(client.closed)

    def test_rfc3030_2_nothing_is_kept_of_a_refused_chunk(self) -> None:
        client = Server(extensions=chunking()).connect().hello()
        client.send(b"BDAT 1000000\r\n")
        for _ in range(20):
            client.send(b"x" * 50_000 if _ < 19 else b"x" * 10_000)
        self.assertLess(kept_octets(client.protocol), 20_000)


class LMTPTests(SynchronousTestCase):
    """RFC 2033 section 4.3: a reply for each recipient behind the last chunk, also where another has been refused."""

    def client(self, **answers: Any) -> Client:
        """One whose first chunk has been refused, for three recipients."""
        script = Script(policy_data=Answer(result=NO), **answers)
        client = LMTPServer.scripted(script, extensions=chunking()).connect().hello()
        client.say("MAIL FROM:<>", *["RCPT TO:<b@mx.test>"] * 3)
        self.assertEqual(codes(client.send(bdat(b"abc"))), ["452 4.3.1"])
        return client

    def test_rfc2033_4_3_the_last_chunk(self) -> None:
        for between in b"", bdat(b"x"), bdat(b"x") + b"BDAT 0\r\n", b"NOOP\r\n":
            client = self.client()
            client.send(between)
            for last in b"BDAT 0 LAST\r\n", bdat(b"x", True):
                expected = ["503 5.5.1"] * (3 if last == b"BDAT 0 LAST\r\n" else 1)
                self.assertEqual(codes(client.send(last)), expected, between)

    def test_rfc2033_4_3_it_is_not_owed_to_another_transaction(self) -> None:
        """Nor where that has not begun: MAIL is refused as well as all that follows."""
        refused = {"policy_mail": [Answer(), Answer(result=NO)]}
        for answers, line, code, owed in (
            (refused, b"MAIL FROM:<>\r\n", "452 4.3.1", 1),
            ({}, b"MAIL FROM:<\r\n", "501 5.5.2", 1),
            ({}, b"MAIL FROM:<>\r\n", "250 2.1.0", 0),
            ({}, b"RSET\r\n", "250 2.0.0", 1),
        ):
            client = self.client(**answers)
            self.assertEqual(codes(client.send(line))[0][:3], code[:3], line)
            self.assertEqual(codes(client.send(bdat(b"x", True))), ["503 5.5.1"] * owed, line)


class SyntaxTests(SynchronousTestCase):
    """Where it is not known where a chunk ends, nothing behind the command is taken for one."""

    def refused(self, client: Client, line: bytes, code: str) -> None:
        said = client.send(line + b"\r\nRSET\r\nMAIL FROM:<evil@client.test>\r\n")
        self.assertEqual(codes(said), [code], line[:60])
        self.assertTrue(client.closed, line[:60])

    def test_rfc3030_2_what_is_no_size(self) -> None:
        for argument in (
            b"",
            b" LAST",
            b" x",
            b" -1",
            b" +1",
            b" 1.0",
            b" 0x10",
            b" 1 FIRST",
            b" 1 LAST LAST",
            b" 1LAST",
            b" 1\tLAST",
            b" 1  LAST",
            b" " + b"1" * 21,
            " ٣".encode(),
            " ¹".encode(),
        ):
            self.refused(in_rcpt(), b"BDAT" + argument, "501 5.5.4")
            self.refused(Server(extensions=chunking()).connect().hello(), b"BDAT" + argument, "503 5.5.1")

    def test_rfc3030_2_what_is_no_command(self) -> None:
        # The line may be what a chunk follows, whatever is wrong with it.
        for line in (b"BDAT 5\0 LAST", b"BDAT 5\n", b"BDAT \xff"):
            self.refused(in_rcpt(), line, "500 5.5.2")

    def test_rfc3030_2_a_line_that_is_too_long(self) -> None:
        for positions in ([], [600], [100, 200], [590]):
            client = in_rcpt()
            line = b"BDAT 6 LAST".ljust(700) + b"\r\n"
            said = b"".join(map(client.send, cuts(line + b"RSET\r\nQUIT\r\n", positions)))
            self.assertEqual(codes(said), ["500 5.5.2"], positions)
            self.assertTrue(client.closed)
            self.assertEqual((only(client).commits, only(client).aborts), (0, 1))

    def test_rfc3030_2_huge_sizes(self) -> None:
        for size in (b"9" * 20, b"%d" % 2**63, b"%d" % 2**31):
            client = Server(extensions=chunking()).connect().hello()
            self.refused(client, b"BDAT " + size, "503 5.5.1")
            for first in b"", bdat(b"x"):
                client = in_rcpt(limits=Limits(message_size=100))
                client.send(first)
                self.refused(client, b"BDAT " + size, "552 5.3.4")
                self.assertEqual((only(client).commits, only(client).aborts), (0, 1))

    def test_rfc3030_2_the_greatest_that_is_waited_for(self) -> None:
        size = 2 * 100 + message.PATIENCE
        client = in_rcpt(limits=Limits(message_size=100))
        self.assertEqual(client.send(b"BDAT %d\r\n" % size + b"x" * 1000), b"")
        self.assertEqual((only(client).aborts, client.closed), (1, False))
        self.refused(in_rcpt(limits=Limits(message_size=100)), b"BDAT %d" % (size + 1), "552 5.3.4")

    def test_rfc3030_2_a_huge_chunk_that_is_refused_does_not_go_on_for_ever(self) -> None:
        self.patch(message, "PATIENCE", 1000)
        client = in_rcpt(limits=Limits(message_size=100))
        client.send(b"BDAT 99999999\r\n")
        said = b""
        for _ in range(30):
            said += client.send(COMMANDS)
        self.assertEqual(codes(said), ["552 5.3.4"])
        self.assertTrue(client.closed)

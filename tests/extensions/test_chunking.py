"""CHUNKING: RFC 3030 section 2."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.chunks import COMMANDS, TRANSACTION, bdat, chunking, codes, in_rcpt, only
from tests.scripted import AT_ONCE, LATER, Answer, Script
from tests.support import Client, Server, cuts, logged, split_replies
from twistsmtp.limits import Limits
from twistsmtp.session import Stage
from twistsmtp.wire.reply import Refusal, Reply

EVERY_WAY = (*AT_ONCE, *LATER)
NO = Refusal(Reply(452, "4.3.1", "Full"))


class Oops(Exception):
    """What nobody meant to raise."""


def released(client: Client, octets: bytes) -> list[str]:
    """The codes of the replies to *octets*, when all has answered that is waited for."""
    said = client.send(octets)
    client.server.delivery.script.release_all()
    return codes(said + client.read())


class MessageTests(SynchronousTestCase):
    """Messages that are taken."""

    def test_rfc3030_2_it_is_offered(self) -> None:
        client = Server(extensions=chunking()).connect()
        client.read()
        lines = client.say("EHLO client.test")[0].split("\r\n")
        self.assertIn("CHUNKING", [line[4:] for line in lines])

    def test_rfc3030_2_one_chunk(self) -> None:
        client = in_rcpt()
        [reply] = split_replies(client.send(bdat(b"Subject: x\r\n\r\ntext\r\n", True)))
        transaction = only(client)
        self.assertEqual(reply, f"250 2.0.0 OK: message {transaction.envelope.id} accepted")
        self.assertEqual(transaction.body, b"Subject: x\r\n\r\ntext\r\n")
        self.assertEqual((transaction.commits, transaction.aborts), (1, 0))
        self.assertEqual((client.session.stage, client.session.transaction), (Stage.READY, None))
        self.assertEqual(client.session.counts.accepted, 1)

    def test_rfc3030_2_several_chunks(self) -> None:
        client = in_rcpt()
        for octets in (b"Subject:", b" x\r", b"\n\r\ntext"):
            self.assertEqual(split_replies(client.send(bdat(octets))), [f"250 2.0.0 {len(octets)} octets received"])
            self.assertIs(client.session.stage, Stage.CHUNKS)
        self.assertEqual(codes(client.send(bdat(b"\r\n", True))), ["250 2.0.0"])
        self.assertEqual(only(client).body, b"Subject: x\r\n\r\ntext\r\n")

    def test_rfc3030_2_a_last_chunk_of_no_octets(self) -> None:
        # "The BDAT command ... may include a zero-length chunk with LAST".
        client = in_rcpt()
        self.assertEqual(codes(client.send(bdat(b"text\r\n") + b"BDAT 0 LAST\r\n")), ["250 2.0.0"] * 2)
        self.assertEqual(only(client).body, b"text\r\n")

    def test_rfc3030_2_no_octets_in_the_middle(self) -> None:
        client = in_rcpt()
        stream = b"BDAT 0\r\n" + bdat(b"a") + b"BDAT 0\r\nBDAT 000\r\n" + bdat(b"b", True)
        self.assertEqual(codes(client.send(stream)), ["250 2.0.0"] * 5)
        self.assertEqual(only(client).body, b"ab")

    def test_rfc3030_2_an_empty_message(self) -> None:
        for how in EVERY_WAY:
            client = in_rcpt(Script(how))
            client.server.delivery.script.release_all()
            self.assertEqual(released(client, b"BDAT 0 LAST\r\n")[-1], "250 2.0.0", how)
            transaction = only(client)
            self.assertEqual((transaction.body, transaction.commits), (b"", 1))
            self.assertTrue(transaction.octets.startswith(b"Received:"))

    def test_rfc3030_2_spelling(self) -> None:
        for line in (b"bdat 1 last", b"Bdat 1 Last", b"BDAT 01 LAST", b"BDAT 1 LAST ", b"BDAT  1 LAST"):
            client = in_rcpt()
            self.assertEqual(codes(client.send(line + b"\r\nx")), ["250 2.0.0"], line)
            self.assertEqual(only(client).body, b"x")

    def test_rfc3030_2_octets_are_as_they_were(self) -> None:
        for octets in (
            b"a\nb\rc\r\r\n",
            b"\0\r\n\0",
            b".\r\n",
            b"text\r\n.\r\n",
            b"\r\n.\r\nQUIT\r\n",
            b"..\r\n.dot\r\n",
            b"no end of line",
            b"\r",
            b"\xff\xfe" + bytes(range(256)),
            b"x" * 3000,
            COMMANDS,
        ):
            for pieces in ([octets], [octets[:1], octets[1:]], [octets, b""]):
                client = in_rcpt(limits=Limits(message_line=100))
                stream = b"".join(bdat(each, n == len(pieces) - 1) for n, each in enumerate(pieces))
                self.assertEqual(codes(client.send(stream + b"NOOP\r\n")), ["250 2.0.0"] * (len(pieces) + 1), octets)
                self.assertEqual(only(client).body, octets)

    @given(st.lists(st.binary(max_size=60), min_size=1, max_size=5), st.lists(st.integers(0, 400), max_size=6))
    def test_rfc3030_2_any_octets_in_any_chunks_however_they_come(
        self, chunks: list[bytes], positions: list[int]
    ) -> None:
        client = in_rcpt()
        stream = b"".join(bdat(each, number == len(chunks)) for number, each in enumerate(chunks, 1)) + b"NOOP\r\n"
        said = b"".join(map(client.send, cuts(stream, positions)))
        self.assertEqual(codes(said), ["250 2.0.0"] * (len(chunks) + 1))
        self.assertEqual(only(client).body, b"".join(chunks))

    def test_rfc3030_2_received_stands_in_front_once(self) -> None:
        client = in_rcpt()
        client.send(bdat(b"Sub") + bdat(b"ject: x\r\n\r\n") + bdat(b"text\r\n", True))
        octets = only(client).octets
        self.assertRegex(octets, rb"(?s)\AReceived: from client\.test .* with ESMTP id .* \+0000\r\nSubject: x\r\n")
        self.assertEqual(octets.count(b"Received:"), 1)

    def test_rfc3030_2_the_steps_in_their_order(self) -> None:
        script = Script()
        client = Server.scripted(script, extensions=chunking()).connect().hello().begin()
        client.send(bdat(b"a") + bdat(b"b") + b"BDAT 0 LAST\r\n")
        before = ["policy_connect", "policy_hello", "policy_mail", "begin", "policy_rcpt", "rcpt"]
        behind = ["policy_data", "open", "write", "write", "policy_message", "commit"]
        self.assertEqual(script.calls, before + behind)

    def test_rfc3030_2_it_comes_to_the_delivery_as_it_comes(self) -> None:
        client = in_rcpt()
        client.send(b"BDAT 30\r\n")
        for count in range(1, 3):
            client.send(b"x" * 10)
            self.assertEqual(len(only(client).body), 10 * count)

    def test_rfc3030_2_many_messages_and_data_between_them(self) -> None:
        client = Server(extensions=chunking()).connect().hello()
        stream = b"".join(
            TRANSACTION + bdat(b"%d\r\n" % n, True) + TRANSACTION + bdat(b"x") + b"RSET\r\n" for n in range(20)
        )
        self.assertEqual(set(codes(client.send(stream))), {"250 2.1.0", "250 2.1.5", "250 2.0.0"})
        self.assertEqual(client.message(b"data\r\n")[0][:9], "250 2.0.0")
        self.assertEqual(client.server.delivery.bodies, [*(b"%d\r\n" % n for n in range(20)), b"data\r\n"])

    def test_rfc3030_2_the_log(self) -> None:
        with logged("twistsmtp.message") as events:
            client = in_rcpt()
            client.send(bdat(b"abc") + bdat(b"de", True))
        self.assertEqual([(event["result"], event["size"]) for event in events], [("accepted", 5)])


class BetweenTests(SynchronousTestCase):
    """Commands between chunks."""

    def between(self) -> Client:
        client = in_rcpt()
        client.send(bdat(b"text\r\n"))
        return client

    def test_rfc3030_2_what_is_out_of_sequence(self) -> None:
        # "DATA and BDAT commands cannot be used in the same transaction": 503.
        for command in ("DATA", "MAIL FROM:<>", "RCPT TO:<c@mx.test>", "STARTTLS", "AUTH PLAIN"):
            client = self.between()
            self.assertEqual(client.codes(command), ["503 5.5.1"], command)
            self.assertEqual(codes(client.send(b"BDAT 0 LAST\r\n")), ["250 2.0.0"])
            self.assertEqual(only(client).body, b"text\r\n")

    def test_rfc3030_2_what_leaves_the_message_whole(self) -> None:
        for command, code in (("NOOP", "250"), ("HELP", "214"), ("VRFY b", "252"), ("RSET now", "501"), ("X", "500")):
            client = self.between()
            self.assertEqual(client.say(command)[0][:3], code)
            self.assertEqual(codes(client.send(bdat(b"more", True))), ["250 2.0.0"])
            self.assertEqual(only(client).body, b"text\r\nmore")

    def test_rfc3030_2_what_gives_it_up(self) -> None:
        # "The RSET command, when issued after the first BDAT and before the BDAT LAST, clears all segments".
        for command in ("RSET", "EHLO client.test", "HELO client.test"):
            client = self.between()
            self.assertEqual(client.say(command)[0][:3], "250")
            transaction = only(client)
            self.assertEqual((transaction.commits, transaction.aborts), (0, 1))
            self.assertEqual(client.session.stage, Stage.READY)
            self.assertEqual(codes(client.send(bdat(COMMANDS, True))), ["503 5.5.1"])
            self.assertEqual(codes(client.begin().send(bdat(b"new", True))), ["250 2.0.0"])
            self.assertEqual(client.server.delivery.bodies, [b"new"])

    def test_rfc3030_2_what_gives_it_up_is_logged(self) -> None:
        for command in ("RSET", "EHLO client.test", "HELO client.test", "QUIT"):
            client = self.between()
            with logged("twistsmtp.message") as events:
                client.say(command)
            self.assertEqual([event["result"] for event in events], ["aborted: given up by the client"], command)
            [event] = events
            self.assertEqual((event["size"], event["recipients"]), (6, ["b@mx.test"]))
            self.assertEqual(event["id"], only(client).envelope.id)

    def test_rfc3030_2_a_message_is_logged_once(self) -> None:
        full = Script(write=Answer(result=NO))
        for script, stream, result in (
            (Script(), bdat(b"text\r\n", True), "accepted"),
            (full, bdat(b"text\r\n", True), "452 4.3.1 Full"),
            (full, bdat(b"text\r\n"), "452 4.3.1 Full"),
        ):
            client = in_rcpt(script)
            with logged("twistsmtp.message") as events:
                client.send(stream + b"RSET\r\nQUIT\r\n")
            self.assertEqual([event["result"] for event in events], [result], stream)

    def test_rfc3030_2_quit(self) -> None:
        client = self.between()
        self.assertEqual(client.codes("QUIT"), ["221 2.0.0"])
        self.assertTrue(client.closed)
        self.assertEqual((only(client).commits, only(client).aborts), (0, 1))

    def test_rfc3030_2_bdat_behind_a_message_by_data(self) -> None:
        client = in_rcpt()
        stream = b"DATA\r\ntext\r\n.\r\n" + bdat(COMMANDS, True)
        self.assertEqual(codes(client.send(stream)), ["354 Start", "250 2.0.0", "503 5.5.1"])

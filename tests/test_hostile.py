"""Hostile input in memory: smuggling, noise, floods, and what a client's text may never do."""

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.scripted import LATER, How, Script, ScriptedDelivery
from tests.support import Client, Server, cuts, kept_octets, logged, split_replies
from twistsmtp.delivery.api import Delivery, DeliveryTransaction
from twistsmtp.envelope import ReversePath
from twistsmtp.limits import Limits
from twistsmtp.session import Session
from twistsmtp.wire.dotstream import BareNewline

EVERY_MODE = list(BareNewline)
MEGABYTE = 1024 * 1024


class Sink(Delivery, DeliveryTransaction):
    """Counts what it is given, and keeps nothing."""

    largest = total = commits = 0

    def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
        return self

    def write(self, octets: bytes) -> None:
        self.largest = max(self.largest, len(octets))
        self.total += len(octets)

    def commit(self) -> None:
        self.commits += 1


class SmugglingTests(SynchronousTestCase):
    """What some server takes for the end of a message, and is none, must not make a second transaction here."""

    ENDS = (
        b"\n.\n",
        b"\r.\r",
        b"\n.\r\n",
        b"\r.\r\n",
        b"\r\n.\n",
        b"\r\n.\r",
        b"\n\n.\r\n",
        b"\r\r.\r\r",
        b"\n\r.\n\r",
        b"\r\n\0.\r\n",
        b"\r\n.\0\r\n",
        b"\r\0\n.\r\0\n",
        b"\0\r\n.\0\n",
        b"\r\n.\r\r\n",
        b"\r\n..\r\n",
        b"\r\n. \r\n",
        b"\r\n.\x1a\r\n",
        b"\x85.\x85",
        b"\x0c.\x0c",
        "\u2028.\u2028".encode(),
        b"\r\n\xff.\r\n",
    )
    #: What would be a transaction of its own, if it were commands.
    SMUGGLED = b"MAIL FROM:<smuggled@client.test>\r\nRCPT TO:<c@mx.test>\r\nDATA\r\nsmuggled"

    def test_in_one_read(self) -> None:
        for end in self.ENDS:
            for mode in EVERY_MODE:
                self.assert_one_message(end, mode, [])

    def test_cut_anywhere(self) -> None:
        for end in self.ENDS:
            for mode in EVERY_MODE:
                for position in range(4, len(end) + 7):
                    self.assert_one_message(end, mode, [position])

    def test_one_octet_at_a_time(self) -> None:
        for end in self.ENDS:
            self.assert_one_message(end, BareNewline.ACCEPT, range(200))

    def test_with_a_delivery_that_takes_its_time(self) -> None:
        for end in self.ENDS:
            for how in LATER:
                self.assert_one_message(end, BareNewline.NORMALIZE, [6], how)

    def assert_one_message(
        self, end: bytes, mode: BareNewline, positions: "list[int] | range", how: How = How.PLAIN
    ) -> None:
        message = b"text" + end + self.SMUGGLED + b"\r\n.\r\n"
        script = Script(how)
        client = Server(ScriptedDelivery(script), limits=Limits(bare_newline=mode)).connect()
        client.send(b"EHLO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\n")
        script.release_all()
        client.read()
        said = b"".join(map(client.send, cuts(message + b"NOOP\r\n", list(positions))))
        script.release_all()
        replies = split_replies(said + client.read())
        self.assertEqual(len(replies), 2, (end, mode, replies))
        self.assertIn(replies[0][:9], ("250 2.0.0", "550 5.6.0"))
        [transaction] = client.server.delivery.transactions
        self.assertEqual([str(each) for each in transaction.envelope.recipients], ["b@mx.test"])
        if replies[0].startswith("250"):
            self.assertIn(b"RCPT TO:<c@mx.test>", transaction.body)
        else:
            self.assertIs(mode, BareNewline.REFUSE)

    def test_a_real_end_is_one(self) -> None:
        client = Server().connect().data()
        client.send(b"text\r\n.\r\n" + self.SMUGGLED + b"\r\n.\r\n")
        self.assertEqual(len(client.server.delivery.bodies), 2)

    def test_in_commands(self) -> None:
        # What ends no line cannot hide a command either.
        for newline in (b"\n", b"\r", b"\r\r", b"\n\r", b"\0", b"\x85", "\u2028".encode()):
            client = Server().connect()
            client.send(b"EHLO client.test\r\nNOOP x" + newline + b"MAIL FROM:<a@client.test>" + newline + b"\r\n")
            self.assertEqual(client.server.delivery.transactions, [])
            self.assertIsNone(client.session.transaction)


class FloodTests(SynchronousTestCase):
    """100 MB without a newline, and what is kept of it."""

    CHUNK = b"x" * 65536
    COUNT = 100 * MEGABYTE // 65536

    def flood(self, client: Client) -> int:
        """Send it all; the most that was ever kept of it."""
        before = kept_octets(client.protocol, Sink)
        most = 0
        for number in range(self.COUNT):
            client.send(self.CHUNK)
            if number % 97 == 0 or number < 20:
                most = max(most, kept_octets(client.protocol, Sink) - before)
        return most

    def test_as_a_command(self) -> None:
        client = Server().connect()
        client.read()
        self.patch(client.wire, "loseConnection", lambda: None)  # a client that does not listen, and sends on
        self.assertLess(self.flood(client), 1000)
        self.assertEqual(b"".join(client.wire.writes[1:]), b"421 4.7.0 Line without end\r\n")

    def test_as_a_message_that_is_refused(self) -> None:
        sink = Sink()
        client = Server(sink).connect().data()
        self.assertLess(self.flood(client), 1000)
        self.assertLess(sink.total, 2 * MEGABYTE)
        self.assertEqual(client.codes("", "."), ["554 5.6.0"])
        self.assertEqual(sink.commits, 0)

    def test_as_a_message_that_is_taken(self) -> None:
        sink = Sink()
        limits = Limits(message_size=1 << 40, message_line=1 << 40)
        client = Server(sink, limits=limits).connect().data()
        self.assertLess(self.flood(client), 1000)
        self.assertEqual(client.codes("", "."), ["250 2.0.0"])
        self.assertGreater(sink.total, 100 * MEGABYTE)
        self.assertLess(sink.largest, 67_000)

    def test_a_message_that_never_ends_is_counted_and_thrown_away(self) -> None:
        sink = Sink()
        client = Server(sink, limits=Limits(message_size=MEGABYTE)).connect().data()
        line = (b"x" * 998 + b"\r\n") * 64
        before = kept_octets(client.protocol, Sink)
        for _ in range(100):
            client.send(line)
        self.assertLess(kept_octets(client.protocol, Sink) - before, 1000)
        self.assertLessEqual(sink.total, MEGABYTE + 1000)
        self.assertEqual(client.codes("."), ["552 5.3.4"])

    def test_many_commands_and_no_reading(self) -> None:
        client = Server().connect()
        client.wire.producer.pauseProducing()
        for _ in range(100):
            client.protocol.dataReceived(b"NOOP\r\n" * 1000)
            if client.wire.producerState == "paused":
                break
        self.assertLess(kept_octets(client.protocol, ScriptedDelivery), 80_000)
        self.assertEqual(len(client.wire.writes), 1)

    def test_recipients_without_end(self) -> None:
        client = Server().connect().hello()
        client.say("MAIL FROM:<>")
        before = kept_octets(client.protocol, ScriptedDelivery)
        for number in range(300):
            if client.closed:
                break
            client.say(*[f"RCPT TO:<{'x' * 60}{number % 10}@{'y' * 60}.{'z' * 60}.test>"] * 50)
        self.assertTrue(client.closed)
        self.assertLess(kept_octets(client.protocol, ScriptedDelivery) - before, 300 * 1000)


noise = st.binary(max_size=400) | st.lists(
    st.sampled_from(
        [b"\r\n", b"\n", b"\r", b".", b"\0", b"\xff", b"EHLO x", b"MAIL FROM:<", b"RCPT TO:", b">", b"DATA", b" "]
    ),
    max_size=40,
).map(b"".join)


class NoiseTests(SynchronousTestCase):
    """Garbage gets replies, and nothing else."""

    @given(st.lists(noise, max_size=6), st.sampled_from(["connected", "ready", "rcpt", "data"]), st.sampled_from(How))
    def test_garbage(self, pieces: list[bytes], stage: str, how: How) -> None:
        script = Script(how)
        client = Server(ScriptedDelivery(script)).connect()
        client.read()
        lines = {"connected": 0, "ready": 1, "rcpt": 3, "data": 4}[stage]
        for line in ("EHLO client.test", "MAIL FROM:<>", "RCPT TO:<b@mx.test>", "DATA")[:lines]:
            client.say(line)
            script.release_all()
        client.read()
        for piece in pieces:
            said = client.send(piece)
            script.release_all()
            for reply in split_replies(said + client.read()):
                self.assertLess(len(reply), 2000)
        client.vanish()
        for each in client.server.delivery.transactions:
            self.assertEqual(each.commits + each.aborts, 1)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_tls_where_none_is_spoken(self) -> None:
        client = Server().connect()
        client.read()
        hello = bytes.fromhex("1603010200010001fc0303") + bytes(range(256)) * 2
        client.send(hello)
        self.assertEqual([code[:3] for code in client.codes("", "")][-1], "500")

    def test_every_octet_alone(self) -> None:
        for octet in range(256):
            client = Server().connect()
            client.read()
            client.send(bytes([octet]) * 3)
            self.assertIn(client.codes("")[0][:3], ("500",), octet)

    def test_one_octet_at_a_time(self) -> None:
        conversation = (
            b"EHLO client.test\r\nMAIL FROM:<a@client.test> SIZE=20\r\nRCPT TO:<b@mx.test>\r\nDATA\r\n"
            b"Subject: x\r\n\r\n..\r\n.x\r\n.\r\nXYZ\r\n\r\nMAIL FROM:<>\r\nRSET\r\nQUIT\r\n"
        )
        client = Server().connect()
        said = client.read() + b"".join(client.send(bytes([octet])) for octet in conversation)
        codes = [reply[:3] for reply in split_replies(said)]
        self.assertEqual(codes, ["220", "250", "250", "250", "354", "250", "500", "500", "250", "250", "221"])
        self.assertEqual(client.server.delivery.bodies, [b"Subject: x\r\n\r\n.\r\nx\r\n"])
        self.assertTrue(client.closed)


#: What breaks lines, terminals, or the sense of a line, somewhere.
controls = st.sampled_from(
    [*map(chr, range(32)), "\x7f", "\x80", "\x85", "\x9b", "\u2028", "\u2029", "\u202e", "\u2066"]
)
words = st.text(st.characters(codec="utf-8"), max_size=12)
evil = st.tuples(words, controls, words).map("".join)


class ControlCharacterTests(SynchronousTestCase):
    """No control character of a client's gets into a reply, an event, or a field that we write."""

    @given(evil, evil, evil)
    def test_wherever_text_is_taken(self, one: str, two: str, three: str) -> None:
        server = Server(limits=Limits(errors=1000, unknown_commands=1000))
        with logged("twistsmtp.connection") as connections, logged("twistsmtp.message") as messages:
            client = server.connect()
            client.read()
            client.say("EHLO client.test")
            for line in (
                f"EHLO {one}",
                f"HELO [{two}]",
                f"MAIL FROM:<{one}@client.test> SMTPUTF8",
                f'MAIL FROM:<"{two}"@client.test> SMTPUTF8 {three}={one}',
                f"MAIL FROM:<a@{three}> SMTPUTF8",
                "MAIL FROM:<a@client.test> SMTPUTF8",
                f"RCPT TO:<{one}@mx.test>",
                f'RCPT TO:<"{two}"@mx.test>',
                f"RCPT TO:<b@{three}> {one}",
                f"VRFY {one}",
                f"EXPN {two}",
                f"HELP {three}",
                f"NOOP {one}",
                one,
                "RCPT TO:<b@mx.test>",
                "DATA",
                "text",
                ".",
            ):
                client.say(line)  # which sees to it that replies are printable ASCII, each on its line
            client.vanish()
        for event in (*connections, *messages):
            for name, value in event.items():
                if isinstance(value, str) and not name.startswith("log_"):
                    self.assertTrue(value.isascii() and value.isprintable(), (name, value))
        for transaction in server.delivery.transactions:
            for line in transaction.octets.decode().split("\r\n"):
                self.assertIsNone(re.search("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", line), line)

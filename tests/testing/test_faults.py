"""What a server does wrong when it is told to: in memory, by the clock."""

from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.testing.conversation import assert_replies
from twistsmtp.testing.faults import Faults, FaultyProtocol
from twistsmtp.testing.memory import MemoryClient, MemoryServer

OPEN = ("MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>")


class FaultTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.faults = Faults()
        self.notes: list[str] = []
        self.server = MemoryServer(policies=[self.faults])
        self.server.factory.protocol = FaultyProtocol.having(self.faults, self.notes.append)

    def connect(self) -> MemoryClient:
        client = self.server.connect()
        client.hello()
        return client

    def test_refuse(self) -> None:
        self.faults.refuse("B@mx.test", 553, "Gone")
        client = self.connect()
        assert_replies(client.say(*OPEN, "RCPT TO:<c@mx.test>"), "250", "553 5.0.0 Gone", "250")
        self.assertEqual(self.notes, ["553 5.0.0 Gone"])

    def test_patterns(self) -> None:
        self.faults.refuse("*@x.test")
        self.faults.refuse("d@[192.0.2.9]")
        self.faults.refuse_sender("")
        client = self.connect()
        assert_replies(client.say("MAIL FROM:<>", *OPEN, "RCPT TO:<c@x.test>"), "550", "250", "250", "550")
        assert_replies(client.say("RCPT TO:<d@[192.0.2.9]>"), "550")

    def test_defer_once(self) -> None:
        self.faults.defer_once("b@*")
        client = self.connect()
        assert_replies(client.say(*OPEN, OPEN[1]), "250", "451 4.0.0", "250")
        self.assertRaises(ValueError, self.faults.defer_once, code=550)

    def test_message(self) -> None:
        self.faults.refuse_message(times=1)
        client = self.connect()
        assert_replies(client.send_mail(), "250", "250", "354", "554 5.0.0")
        assert_replies(client.send_mail(), "250", "250", "354", "250")

    def test_phases(self) -> None:
        for phase, said in (("connect", 0), ("hello", 1), ("mail", 2), ("rcpt", 3), ("data", 4)):
            self.faults.clear()
            self.faults.fail(phase, 421, "Enough")
            client = self.server.connect()
            replies = client.say("EHLO x", *OPEN, "DATA")
            self.assertEqual(len(replies), said + 1)
            self.assertEqual(replies[-1], "421 4.0.0 Enough")
            self.assertTrue(client.closed)
        self.assertRaises(ValueError, self.faults.fail, "lunch", 421, "x")
        self.assertRaises(ValueError, self.faults.fail, "mail", 250, "x")

    def test_delay(self) -> None:
        self.faults.delay("mail", 3)
        self.faults.refuse_sender(times=1)
        client = self.connect()
        self.assertEqual(client.say(OPEN[0]), [])
        self.assertEqual(client.advance(2.9), b"")
        self.assertEqual(client.advance(0.2), b"550 5.0.0 Not from you\r\n")
        self.assertRaises(ValueError, self.faults.delay, "mail", -1)

    def test_drop(self) -> None:
        """At that octet: what comes before it is answered."""
        self.faults.drop_after(20, times=2)
        for _ in range(2):
            client = self.server.connect()
            replies = client.say("HELO client.test", "NOOP", "NOOP")
            assert_replies(replies, "220", "250")
            self.assertTrue(client.closed)
        self.assertFalse(self.connect().closed)
        self.assertEqual(self.notes, ["the connection was cut off on purpose"] * 2)
        self.assertRaises(ValueError, self.faults.drop_after, -1)

    def test_drop_at_once(self) -> None:
        """Before the greeting."""
        self.faults.drop_after(0)
        client = self.server.connect()
        self.assertEqual(client.read(), b"")
        self.assertTrue(client.closed)
        self.assertEqual(self.notes, ["the connection was cut off on purpose"])

    def test_drop_while_a_message_comes(self) -> None:
        self.faults.drop_after(100)
        client = self.connect()
        client.send_mail(octets=b"x" * 200)
        self.assertTrue(client.closed)
        self.assertEqual(self.server.messages, [])

    def test_slow_reader(self) -> None:
        self.faults.read_slowly(100)
        client = self.server.connect()
        client.send(b"HELO client.test\r\n" + b"NOOP\r\n" * 30)  # 198 octets
        self.assertLess(client.advance(1).count(b"\r\n"), 20)
        client.advance(1)
        client.advance(0.2)
        self.assertEqual(client.say("QUIT"), [])
        assert_replies([client.advance(1).decode().rstrip()], "221")
        self.assertRaises(ValueError, self.faults.read_slowly, 0)

    def test_slow_reader_gone(self) -> None:
        """A connection that ends meanwhile leaves nothing behind."""
        self.faults.read_slowly(1)
        client = self.server.connect()
        client.send(b"HELO client.test\r\n")
        client.vanish()
        self.assertEqual(self.server.clock.getDelayedCalls(), [])

    def test_slow_no_more(self) -> None:
        self.faults.read_slowly(1)
        client = self.server.connect()
        client.send(b"HELO client.test\r\n")
        self.faults.clear()
        assert_replies([client.advance(0.1).decode().rstrip()], "250")
        self.assertEqual(client.say("NOOP"), ["250 2.0.0 OK"])

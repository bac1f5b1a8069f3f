"""The server in memory, and its clients."""

from base64 import b64encode
from pathlib import Path
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import certificates
from twistsmtp.delivery.memory import Memory
from twistsmtp.factory import LMTPFactory, SMTPFactory
from twistsmtp.security import Security
from twistsmtp.testing.conversation import assert_replies
from twistsmtp.testing.memory import MemoryClient, MemoryServer, split_replies


class ServerTests(SynchronousTestCase):
    def test_message(self) -> None:
        server = MemoryServer()
        client = server.connect()
        self.assertEqual(client.hello()[0], "220 mx.test ESMTP twistsmtp")
        replies = client.send_mail(["b@mx.test", "c@mx.test"], b"Subject: x\r\n\r\n.dot\r\nno end")
        self.assertEqual([reply[:3] for reply in replies], ["250", "250", "250", "354", "250"])
        [message] = server.messages
        self.assertEqual((message.sender, message.recipients), ("a@client.test", ("b@mx.test", "c@mx.test")))
        self.assertEqual(message.octets, b"Subject: x\r\n\r\n.dot\r\nno end\r\n")
        self.assertEqual(message.email["Subject"], "x")
        self.assertEqual((message.client, message.helo, message.encrypted), ("192.0.2.1", "client.test", False))

    def test_the_same_every_time(self) -> None:
        """Two runs are the same, octet for octet."""

        def run() -> bytes:
            client = MemoryServer().connect()
            client.send(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n")
            return client.send(b"a\r\n.\r\nVRFY x\r\nQUIT\r\n")

        self.assertEqual(run(), run())
        self.assertIn(b"250 2.0.0 OK: message memory-1-1 accepted\r\n", run())

    def test_own_delivery(self) -> None:
        memory = Memory()
        client = MemoryServer(memory, hostname="here.test").connect()
        self.assertIn("here.test", client.hello()[0])
        client.send_mail()
        self.assertEqual(len(memory.messages), 1)

    def test_own_factory(self) -> None:
        """It goes by the factory's clock, if a test can move it."""
        clock = Clock()
        server = MemoryServer(factory=SMTPFactory(Memory(), reactor=clock))
        self.assertIs(server.clock, clock)
        self.assertIs(MemoryServer(factory=(factory := SMTPFactory(Memory()))).clock, factory.reactor)

        class Other(Clock):
            pass

        from twisted.internet import reactor

        self.assertRaises(ValueError, MemoryServer, factory=SMTPFactory(Memory(), reactor=reactor))
        self.assertRaises(TypeError, MemoryServer, Memory(), factory=SMTPFactory(Memory()))

    def test_lmtp(self) -> None:
        client = MemoryServer(factory=LMTPFactory(Memory(), hostname="mx.test")).connect()
        self.assertTrue(client.hello()[1].startswith("250-mx.test"))
        self.assertEqual(len(client.send_mail(["a@b.test", "c@d.test"])), 6)

    def test_peers(self) -> None:
        server = MemoryServer()
        for peer, client in (("203.0.113.7", "203.0.113.7"), ("2001:db8::7", "2001:db8::7")):
            self.assertEqual(server.connect(peer).session.client, client)
        self.assertEqual(server.connect(UNIXAddress(b"/run/x")).session.client, "local")

    def test_time(self) -> None:
        """Time stands still unless it is moved, and what is due happens at its time."""
        server = MemoryServer()
        moments: list[float] = []

        def again() -> None:
            moments.append(server.clock.seconds())
            server.clock.callLater(10, again)

        server.clock.callLater(10, again)
        server.advance(35)
        self.assertEqual(moments, [10, 20, 30])
        self.assertEqual(server.clock.seconds(), 35)
        for seconds in (-1, float("nan")):
            self.assertRaises(ValueError, server.advance, seconds)


class ClientTests(SynchronousTestCase):
    def connect(self, **settings: Any) -> MemoryClient:
        self.server = MemoryServer(**settings)
        return self.server.connect()

    def test_idle(self) -> None:
        client = self.connect()
        client.hello()
        self.assertEqual(client.advance(290), b"")
        self.assertEqual(client.advance(20), b"421 4.4.2 Idle for too long\r\n")
        self.assertTrue(client.closed)

    def test_quit(self) -> None:
        client = self.connect()
        self.assertFalse(client.closed)
        self.assertEqual(client.say("EHLO x", "QUIT")[-1], "221 2.0.0 Bye")
        self.assertTrue(client.closed)

    def test_vanish(self) -> None:
        """The server notices, and gives the message up."""
        client = self.connect()
        client.say("EHLO x", "MAIL FROM:<>", "RCPT TO:<a@b.test>", "DATA", "Subject: x")
        client.vanish()
        self.assertTrue(client.closed)
        self.assertEqual(self.server.messages, [])
        self.assertEqual(list(self.server.inbox.journal), ["a message to a@b.test was not completed"])

    def test_ends(self) -> None:
        client = self.connect()
        client.half_close()
        self.assertTrue(client.closed)
        client.half_close()
        client.close()

    def test_refused(self) -> None:
        """What does not come to a message is seen in the replies."""
        client = self.connect()
        client.hello()
        self.assertEqual(client.send_mail("nonsense")[-1][:3], "554")

    def test_starttls(self) -> None:
        client = self.connect(security=Security(tls=certificates()))
        client.hello()
        client.start_tls()
        self.assertIsNotNone(client.session.tls)
        self.assertEqual(len(client.hello()), 1)
        client.send_mail(octets=b"x" * 100 + b"\r\n")
        self.assertTrue(self.server.messages[0].encrypted)
        client.say("QUIT")
        self.assertTrue(client.closed)

    def test_no_starttls(self) -> None:
        client = self.connect()
        client.hello()
        with self.assertRaisesRegex(AssertionError, "STARTTLS was answered by 454"):
            client.start_tls()

    def test_implicit_tls(self) -> None:
        server = MemoryServer(security=Security(tls=certificates()))
        client = server.connect(tls=True)
        self.assertEqual(client.hello()[0][:3], "220")
        body = b"".join(b"%06d\r\n" % number for number in range(20_000))
        client.send_mail(octets=body)
        self.assertEqual(server.messages[0].octets, body)
        client.close()
        self.assertEqual(len(server.factory.connections), 0)

    def test_certificate_and_accounts(self) -> None:
        """The short way to have them."""
        server = MemoryServer(tls=True, accounts={"ada": "sesame"})
        client = server.connect()
        client.hello()
        assert_replies(client.say("MAIL FROM:<>"), "530")
        client.start_tls()
        client.hello()
        word = b64encode(b"\0ada\0sesame").decode()
        assert_replies(client.say(f"AUTH PLAIN {word}"), "235")
        client.send_mail()
        self.assertEqual((server.messages[0].identity, server.messages[0].encrypted), ("ada", True))
        self.assertRaises(TypeError, MemoryServer, factory=SMTPFactory(Memory()), tls=True)
        self.assertRaisesRegex(ValueError, "no certificate", MemoryServer().connect, tls=True)

    def test_split_replies(self) -> None:
        self.assertEqual(split_replies(b"250-a\r\n250 b\r\n354 c\r\n"), ["250-a\r\n250 b", "354 c"])
        for octets in (b"250 a\n", b"250-a\r\n", b"250-a\r\n251 b\r\n", b"250 \xff\r\n", b"150 a\r\n"):
            self.assertRaises(AssertionError, split_replies, octets)


class DocumentedTests(SynchronousTestCase):
    def test_no_sockets(self) -> None:
        """No descriptor is opened."""
        descriptors = Path("/proc/self/fd")
        before = len(list(descriptors.iterdir()))
        client = MemoryServer().connect()
        client.hello()
        client.send_mail()
        self.assertEqual(len(list(descriptors.iterdir())), before)

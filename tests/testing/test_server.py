"""The mail server to test against, by real clients."""

import os
import smtplib
import ssl
import time
from pathlib import Path

from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.factory import LMTPFactory
from twistsmtp.limits import Limits
from twistsmtp.security import Security
from twistsmtp.testing.server import MailServer

MESSAGE = "Subject: x\r\n\r\nx\r\n"


def connect(server: MailServer) -> smtplib.SMTP:
    return smtplib.SMTP(server.host, server.port, timeout=20)


def send(client: smtplib.SMTP, recipient: str = "b@mx.test", message: str = MESSAGE) -> None:
    client.sendmail("a@client.test", [recipient], message)


class MailServerTests(SynchronousTestCase):
    def test_message(self) -> None:
        with MailServer() as server, connect(server) as client:
            send(client)
            [message] = server.wait_for()
            self.assertEqual((message.sender, message.recipients), ("a@client.test", ("b@mx.test",)))
            self.assertEqual(message.octets, MESSAGE.encode())
            self.assertEqual((message.encrypted, message.identity), (False, None))
            server.clear()
            self.assertEqual(server.messages, [])
            self.assertEqual(server.address, (server.host, server.port))

    def test_in_vain(self) -> None:
        """It says what happened in place of the message."""
        with MailServer() as server, connect(server) as client:
            with self.assertRaisesRegex(AssertionError, "^1 wanted, 0 came in 0.01 seconds\nNobody has said anything"):
                server.wait_for(timeout=0.01)
            server.refuse("c@mx.test")
            send(client)
            self.assertRaises(smtplib.SMTPRecipientsRefused, send, client, "c@mx.test")
            error = self.assertRaises(AssertionError, server.wait_for, 2, timeout=0.01)
            self.assertEqual(
                str(error),
                "2 wanted, 1 came in 0.01 seconds\n  message from <a@client.test> to b@mx.test\n"
                "What happened besides:\n  550 5.0.0 No such user",
            )

    def test_messages_stay(self) -> None:
        """They can be looked at when the server has stopped, and it can be started again."""
        server = MailServer()
        for count in (1, 2):
            with server, connect(server) as client:
                send(client)
            self.assertEqual(len(server.messages), count)

    def test_tls(self) -> None:
        with MailServer(tls=True) as server:
            with connect(server) as client:
                client.starttls(context=server.ssl_context)
                send(client)
            with smtplib.SMTP_SSL("localhost", server.tls_port, context=server.ssl_context, timeout=20) as client:
                send(client)
            self.assertEqual([message.encrypted for message in server.wait_for(2)], [True, True])
            self.assertNotIn("PRIVATE KEY", Path(server.cafile).read_text())
            folder = Path(server.cafile).parent
            with (
                self.assertRaises(ssl.SSLCertVerificationError),
                smtplib.SMTP_SSL("localhost", server.tls_port, context=ssl.create_default_context()),
            ):
                pass
        self.assertFalse(folder.exists())
        self.assertRaises(RuntimeError, lambda: server.cafile)
        with MailServer() as server:
            self.assertRaises(RuntimeError, lambda: server.tls_port)

    def test_tls_again(self) -> None:
        """A server may be started again, and its client knows it."""
        server = MailServer(tls=True)
        for _ in range(2):
            with server, connect(server) as client:
                client.starttls(context=server.ssl_context)
                send(client)
        self.assertEqual(len(server.messages), 2)

    def test_accounts(self) -> None:
        with MailServer(accounts={"ada": "sesame"}) as server:
            with connect(server) as client:
                self.assertRaises(smtplib.SMTPSenderRefused, send, client)
            for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5"):
                with connect(server) as client:
                    client.ehlo()
                    client.esmtp_features["auth"] = mechanism
                    client.login("ada", "sesame")
                    send(client)
            self.assertEqual([message.identity for message in server.wait_for(3)], ["ada"] * 3)
            with connect(server) as client:
                self.assertRaises(smtplib.SMTPAuthenticationError, client.login, "ada", "mustard")
            self.assertEqual(server.factory.limits.auth_delay, 0)  # nobody waited

    def test_settings(self) -> None:
        """They are the factory's, and one's own limits count."""
        with MailServer(limits=Limits(message_size=1000), hostname="here.test") as server, connect(server) as client:
            self.assertEqual((client.ehlo()[1].split()[0], client.esmtp_features["size"]), (b"here.test", "1000"))
        self.assertRaises(TypeError, MailServer, tls=True, security=Security())

    def test_lmtp(self) -> None:
        with MailServer(factory=LMTPFactory) as server, smtplib.LMTP(server.host, server.port) as client:
            send(client)
            self.assertEqual(len(server.wait_for()), 1)

    def test_faults(self) -> None:
        with MailServer() as server:
            server.defer_once()
            server.delay("mail", 0.05)
            with connect(server) as client:
                self.assertRaises(smtplib.SMTPRecipientsRefused, send, client)
                begin = time.monotonic()
                send(client)
                self.assertGreaterEqual(time.monotonic() - begin, 0.04)
            server.drop_after(300)
            client = connect(server)
            self.addCleanup(client.close)
            self.assertRaises(smtplib.SMTPServerDisconnected, send, client, message=MESSAGE + "x" * 300)

    def test_slow_reader(self) -> None:
        """A client that has more to say than it takes is held back by it, though the system has buffers."""
        with MailServer() as server:
            server.read_slowly(3_000_000)
            with connect(server) as client:
                begin = time.monotonic()
                send(client, message=f"Subject: x\r\n\r\n{'x' * 70 + chr(13) + chr(10)}" * 20_000)
                self.assertGreater(time.monotonic() - begin, 0.3)
            self.assertGreater(len(server.wait_for()[0].octets), 1_000_000)

    def test_nothing_is_left(self) -> None:
        """Nor of one that could not start, files among it."""
        with MailServer() as taken:
            descriptors = os.listdir("/proc/self/fd")
            for _ in range(3):
                self.assertRaises(CannotListenError, MailServer(tls=True, port=taken.port).start)
            self.assertEqual(os.listdir("/proc/self/fd"), descriptors)

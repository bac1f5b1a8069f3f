"""TLS with real sockets: an ``ssl.SSLContext`` as it is, for STARTTLS and from the first octet on."""

import smtplib
import socket
import ssl
import threading
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.compat.aiosmtpd.kit import Keeper, Talk, contexts, serving
from twistsmtp.compat.aiosmtpd.smtp import SMTP, AuthResult, TLSSetupException

SERVER, CLIENT = contexts()


class TLS(SynchronousTestCase):
    def make(self, handler: Any = None, **parameters: Any) -> SMTP:
        return SMTP(handler or Keeper(), hostname="mx.test", tls_context=SERVER, **parameters)

    def test_big_messages_both_ways(self) -> None:
        handler = Keeper()
        message = b"Subject: x\r\n\r\n" + (b"x" * 76 + b"\r\n") * 20_000
        with serving(lambda: self.make(handler)) as port, smtplib.SMTP("127.0.0.1", port) as client:
            client.starttls(context=CLIENT)
            for _ in range(3):
                self.assertEqual(client.sendmail("a@a.test", ["b@b.test"], message), {})
            for _ in range(10):
                self.assertEqual(client.noop(), (250, b"OK"))
        self.assertEqual([each.content == message for each in handler.box], [True] * 3)

    def test_plain_text_behind_starttls_is_not_heard(self) -> None:
        """In the same segment, and in others that come before the handshake."""
        for pieces in ([b"STARTTLS\r\nMAIL FROM:<evil@a.test>\r\nNOOP\r\n"], [b"STARTTLS\r\n", b"NOOP\r\n"]):
            with serving(self.make) as port:
                talk = Talk(port)
                talk.hear()
                talk.say("EHLO x")
                talk.send(pieces[0])
                self.assertEqual(talk.hear(), "220 Ready to start TLS")
                if len(pieces) > 1:  # what is no TLS ends it
                    talk.send(pieces[1])
                    self.assertEqual(talk.hear(), "")
                else:
                    wrapped = CLIENT.wrap_socket(talk.socket, server_hostname="127.0.0.1")
                    talk.socket, talk.file = wrapped, wrapped.makefile("rb")
                    self.assertEqual(talk.say("RCPT TO:<b@b.test>"), "503 Error: send HELO first")
                    self.assertEqual(talk.say("QUIT"), "221 Bye")
                talk.close()

    def test_a_handshake_that_fails_is_an_exception(self) -> None:
        seen: list[Exception] = []
        told = threading.Event()

        class Handler:
            async def handle_exception(self, error: Exception) -> str:
                seen.append(error)
                told.set()
                return "500 no"

        with serving(lambda: self.make(Handler())) as port:
            talk = Talk(port)
            talk.hear()
            talk.say("STARTTLS")
            talk.send(b"this is no handshake\r\n")
            self.assertEqual(talk.hear(), "")
            talk.close()
            self.assertTrue(told.wait(10))
        self.assertEqual([type(each) for each in seen], [TLSSetupException])
        self.assertIsInstance(seen[0].__cause__, ssl.SSLError)

    def test_twice_is_once_too_often(self) -> None:
        with serving(self.make) as port, smtplib.SMTP("127.0.0.1", port) as client:
            client.starttls(context=CLIENT)
            client.ehlo("x")
            self.assertNotIn("starttls", client.esmtp_features)
            self.assertEqual(client.docmd("STARTTLS"), (503, b"5.5.1 TLS has begun already"))

    def test_authentication_under_tls_of_either_kind(self) -> None:
        """The original refuses it where TLS is there from the first octet on."""

        def make(context: ssl.SSLContext | None) -> SMTP:
            return SMTP(
                Keeper(),
                tls_context=context,
                require_starttls=True,
                auth_required=True,
                authenticator=lambda *given: AuthResult(success=given[-1].password == b"enigma", handled=False),
            )

        with serving(lambda: make(SERVER)) as port, smtplib.SMTP("127.0.0.1", port) as client:
            client.starttls(context=CLIENT)
            client.login("ada", "enigma")
            self.assertEqual(client.mail("a@a.test"), (250, b"OK"))
        for context in (None, SERVER):
            with (
                serving(lambda: make(context), SERVER) as port,  # noqa: B023  # it is called before that changes
                smtplib.SMTP_SSL("127.0.0.1", port, context=CLIENT) as client,
            ):
                with self.assertRaises(smtplib.SMTPAuthenticationError):
                    client.login("ada", "wrong")
                client.login("ada", "enigma")
                self.assertNotIn("starttls", client.esmtp_features)
                self.assertEqual(client.mail("a@a.test"), (250, b"OK"))

    def test_what_is_known_of_it(self) -> None:
        sessions: list[Any] = []

        class Handler:
            async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: str | None) -> str:
                sessions.append((session, server._engine.session.tls))
                return "250 OK"

        with serving(lambda: self.make(Handler())) as port, smtplib.SMTP("127.0.0.1", port) as client:
            client.noop()
            client.starttls(context=CLIENT)
            client.noop()
        (plain, nothing), (encrypted, facts) = sessions
        self.assertEqual((plain.ssl, nothing), (None, None))
        self.assertIsNot(plain, encrypted)
        self.assertEqual(sorted(encrypted.ssl), ["cipher", "compression", "peercert", "ssl_object", "sslcontext"])
        self.assertEqual((facts.version, facts.cipher), (encrypted.ssl["cipher"][1], encrypted.ssl["cipher"][0]))

    def test_a_client_that_goes_in_the_middle(self) -> None:
        with serving(self.make) as port:
            for _ in range(3):
                talk = Talk(port)
                talk.hear()
                talk.say("STARTTLS")
                talk.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                talk.close()
            with smtplib.SMTP("127.0.0.1", port) as client:
                client.starttls(context=CLIENT)
                self.assertEqual(client.noop(), (250, b"OK"))

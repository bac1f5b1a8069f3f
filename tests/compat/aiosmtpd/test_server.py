"""What programs override and call: `push`, subclasses, and what a server is made with."""

import asyncio
import ssl
import warnings
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.compat.aiosmtpd.kit import LOCAL_ERROR, MemoryTestCase, warned
from twistsmtp.compat.aiosmtpd.smtp import SMTP, Envelope, Session, sanitize, syntax


class Replies(MemoryTestCase):
    def push(self, status: str | bytes, **parameters: Any) -> bytes:
        class Handler:
            async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: str | None) -> Any:
                return status

        memory = self.connect(Handler(), **parameters)
        memory.replies()
        memory.send(b"NOOP\r\n")
        return bytes(memory.wire.written)

    def test_a_reply_of_several_lines_is_let_through(self) -> None:
        for status in ("250-a\r\n250-b\r\n250 c", b"250-a\r\n250 c", "250 \t", "250", "250-a\r\n250"):
            octets = status if isinstance(status, bytes) else status.encode()
            expected = octets if b"\t" not in octets else b"250 \\x09"
            self.assertEqual(self.push(status), expected + b"\r\n")

    def test_a_line_is_not_slipped_in(self) -> None:
        for status in ("250 a\r\n250 b", "250-a\r\n550 b", "250 Subject: a\r\nMAIL FROM:<>", "250 a\nb", "250 a\rb"):
            octets = self.push(status)
            self.assertEqual(octets.count(b"\n"), 1, octets)
            self.assertEqual(octets.count(b"\r"), 1, octets)
            self.assertIn(b"\\x0", octets)

    def test_what_is_not_ascii(self) -> None:
        self.assertEqual(self.push("250 \xe9", enable_SMTPUTF8=True), "250 \xe9\r\n".encode())
        self.assertEqual(self.push("250 \xe9"), LOCAL_ERROR.encode() + b"\r\n")

    def test_a_client_that_does_not_read_is_waited_for(self) -> None:
        said: list[str] = []

        class Handler:
            async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: str | None) -> str:
                for each in "abc":
                    said.append(each)
                    await server.push(f"250-{each}")
                return "250 d"

        memory = self.connect(Handler())
        memory.server.pause_writing()
        memory.send(b"NOOP\r\n")
        self.assertEqual(said, [])  # what is kept is not carried out
        memory.server.resume_writing()
        memory.settle()
        memory.server.pause_writing()
        memory.server.resume_writing()
        memory.settle()
        self.assertEqual(said, ["a", "b", "c"])

    def test_in_the_middle_of_a_reply(self) -> None:
        said: list[str] = []

        class Handler:
            async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: str | None) -> str:
                for each in "abc":
                    said.append(each)
                    server.pause_writing()
                    await server.push(f"250-{each}")
                return "250 d"

        memory = self.connect(Handler())
        memory.send(b"NOOP\r\n")
        for count in (1, 2, 3):
            self.assertEqual(len(said), count)
            memory.server.resume_writing()
            memory.settle()
        self.assertEqual(memory.replies()[-1], "250-a|250-b|250-c|250 d")
        memory.server.pause_writing()
        memory.send(b"NOOP\r\n")
        memory.wire.close()
        memory.settle()


class Subclasses(MemoryTestCase):
    def test_sessions_envelopes_and_commands_of_its_own(self) -> None:
        class MySession(Session):
            tag = "mine"

        class MyEnvelope(Envelope):
            tag = "mine"

        class Server(SMTP):
            def _create_session(self) -> Session:
                return MySession(self.loop)

            def _create_envelope(self) -> Envelope:
                return MyEnvelope()

            @syntax("XTAG", when="tls_context")
            async def smtp_XTAG(self, arg: str | None) -> None:
                await self.push(f"250 {self.session.tag} {self.envelope.tag}")  # type: ignore[attr-defined]

            async def check_helo_needed(self, helo: str = "HELO") -> bool:
                return False

            async def check_auth_needed(self, caller_method: str) -> bool:
                if caller_method == "RCPT":
                    await self.push("530 not you")
                    return True
                return False

            async def handle_exception(self, error: Exception) -> str:
                return "450 mine"

            async def smtp_VRFY(self, arg: str | None) -> None:
                raise ValueError

        memory = self.connect(None, Server)
        said = memory.say("XTAG", "HELP XTAG", "MAIL FROM:<a@a.test>", "RCPT TO:<a@a.test>", "VRFY x")
        self.assertEqual((said[0], said[2:]), ("250 mine mine", ["250 OK", "530 not you", "450 mine"]))
        self.assertNotIn("XTAG", said[1])  # when there is no tls_context

    def test_older_hooks(self) -> None:
        class Server(SMTP):
            async def ehlo_hook(self) -> None:
                await self.push("250-EARLY")

            async def rset_hook(self) -> None:
                await self.push("250-RESET")

        memory = self.connect(None, Server)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            said = memory.say("EHLO x", "RSET")
        self.assertEqual(said[0].split("|")[:2], ["250-EARLY", "250-mx.test"])
        self.assertEqual(said[1], "250-RESET|250 OK")
        self.assertEqual([each.category for each in caught], [DeprecationWarning] * 2)

    def test_a_command_of_many_words_with_questions(self) -> None:
        class Server(SMTP):
            async def smtp_XASK(self, arg: str | None) -> None:
                answers = [await self.challenge_auth(each, encode_to_b64=False) for each in ("one", "two")]
                await self.push(f"250 {answers}")

        memory = self.connect(None, Server)
        memory.replies()
        memory.send(b"XASK\r\nMQ==\r\nMg==\r\nNOOP\r\n")
        self.assertEqual(memory.replies(), ["334 one", "334 two", "250 [b'1', b'2']", "250 OK"])

    def test_a_question_that_nobody_answers(self) -> None:
        ended: list[str] = []

        class Server(SMTP):
            async def smtp_XASK(self, arg: str | None) -> None:
                try:
                    await self.challenge_auth("one")
                finally:
                    ended.append("yes")

        memory = self.connect(None, Server)
        memory.say("XASK")
        self.assertEqual(ended, [])
        memory.wire.close()
        memory.settle()
        self.assertEqual(ended, ["yes"])


class Values(SynchronousTestCase):
    def test_a_loop_of_this_thread(self) -> None:
        asyncio.set_event_loop(None)
        server = SMTP(None, hostname="x")
        self.addCleanup(server.loop.close)
        self.addCleanup(asyncio.set_event_loop, None)
        self.assertIs(SMTP(None, hostname="x").loop, server.loop)

    def test_settings_that_clients_cannot_live_with(self) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        for mode, check in ((ssl.CERT_REQUIRED, False), (ssl.CERT_OPTIONAL, True)):
            context.verify_mode = mode
            context.check_hostname = check
            with self.assertLogs("mail.log", "WARNING") as logged:
                SMTP(None, tls_context=context, loop=loop)
            self.assertIn("might cause client connection problems", logged.output[0])
        with self.assertLogs("mail.log", "WARNING"), warned(UserWarning):
            SMTP(None, auth_required=True, auth_require_tls=False, loop=loop)
        with self.assertLogs("mail.log", "WARNING"):
            SMTP(None, proxy_protocol_timeout=1, loop=loop)

    def test_secrets(self) -> None:
        self.assertEqual(sanitize(b"AUTH PLAIN AGFkYQ==\r\n"), b"AUTH PLAIN ********\r\n")
        self.assertEqual(sanitize(b"auth plain a b c"), b"auth plain ********")
        self.assertEqual(sanitize(b"AUTH PLAIN"), b"AUTH PLAIN")
        self.assertEqual(sanitize(b"MAIL FROM:<auth@plain>"), b"MAIL FROM:<auth@plain>")

    def test_arguments(self) -> None:
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        for parameters in ({"tls_context": "mx.pem"}, {"data_size_limit": "1"}, {"command_call_limit": 1.5}):
            with self.assertRaises(TypeError):
                SMTP(None, loop=loop, **parameters)
        with self.assertRaises(ValueError):
            SMTP(None, loop=loop, proxy_protocol_timeout=0)

"""The server in memory: what is its own, beside what it says as the original does (`test_original`)."""

import asyncio
import ssl
import warnings
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from tests.chunks import COMMANDS, bdat
from tests.compat.aiosmtpd.kit import LOCAL_ERROR, Keeper, MemoryTestCase
from twistsmtp.compat.aiosmtpd import engine, smtp
from twistsmtp.compat.aiosmtpd.smtp import SMTP


class Conversations(MemoryTestCase):
    def test_a_batch_is_answered_in_order(self) -> None:
        class Slow(Keeper):
            async def handle_MAIL(
                self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
            ) -> str:
                for _ in range(3):
                    await asyncio.sleep(0)
                envelope.mail_from = address
                return "250 slow"

        handler = Slow()
        memory = self.connect(handler)
        memory.replies()
        memory.send(
            b"EHLO x\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nRCPT TO:<c@b.test>\r\nDATA\r\nhello\r\n.\r\n"
            b"NOOP\r\nQUIT\r\nNOOP\r\n"
        )
        replies = memory.replies()
        self.assertEqual(
            replies[1:],
            ["250 slow", "250 OK", "250 OK", "354 End data with <CR><LF>.<CR><LF>", "250 OK", "250 OK", "221 Bye"],
        )
        self.assertEqual([each.rcpt_tos for each in handler.box], [["b@b.test", "c@b.test"]])
        self.assertTrue(memory.wire.closing)

    def test_octet_by_octet(self) -> None:
        handler = Keeper()
        memory = self.connect(handler)
        script = b"HELO x\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n..a\r\n\r\n.\r\nQUIT\r\n"
        for position in range(len(script)):
            memory.send(script[position : position + 1])
        self.assertEqual([each[:3] for each in memory.replies()], ["220", "250", "250", "250", "354", "250", "221"])
        self.assertEqual([each.content for each in handler.box], [b".a\r\n\r\n"])

    def test_only_crlf_ends_a_line(self) -> None:
        memory = self.connect()
        memory.replies()
        memory.send(b"NOOP\nNOOP\rNOOP")
        self.assertEqual(memory.replies(), [])
        memory.send(b"\r\n")
        self.assertEqual(memory.replies(), ["500 Error: bad syntax"])

    def test_what_looks_like_an_end_is_none(self) -> None:
        handler = Keeper()
        memory = self.connect(handler)
        memory.say("HELO x")
        message = b"a\n.\nb\r.\rc\n.\r\nd\r\n.\ne\r\n"
        self.assertEqual(memory.mail(message), "250 OK")
        self.assertEqual(handler.box[0].content, message.replace(b"\r\n.", b"\r\n"))

    def test_a_browser_is_sent_away(self) -> None:
        memory = self.connect()
        self.assertEqual(memory.say("GET / HTTP/1.1", "Host: x"), ["421 4.7.0 This is an SMTP server"])
        self.assertTrue(memory.wire.closing)

    def test_a_chunk_is_no_commands(self) -> None:
        memory = self.connect()
        memory.send(bdat(COMMANDS, True))
        self.assertEqual(memory.replies()[1:], ["502 5.5.1 BDAT is not implemented"])
        self.assertTrue(memory.wire.closing)

    def test_commands_that_move_no_mail_have_an_end(self) -> None:
        memory = self.connect()
        said = memory.say(*["NOOP"] * 101)
        self.assertEqual((said[:100], said[100]), (["250 OK"] * 100, "421 4.7.0 Too many commands without mail"))
        self.assertTrue(memory.wire.closing)

    def test_errors_have_an_end(self) -> None:
        memory = self.connect()
        said = memory.say(*["MAIL"] * 200)
        self.assertEqual(said[-1], "421 4.7.0 Too many errors")
        self.assertTrue(memory.wire.closing)

    def test_an_idle_client_is_left_without_a_word(self) -> None:
        memory = self.connect(timeout=30)
        memory.say("HELO x")
        memory.advance(29, 1)
        self.assertEqual(memory.say("NOOP"), ["250 OK"])
        memory.advance(29, 1)
        self.assertFalse(memory.wire.closing)
        memory.advance(10, 1)
        self.assertTrue(memory.wire.closing)
        self.assertEqual(memory.replies(), [])

    def test_sizes_are_of_the_instance(self) -> None:
        first, second = self.connect(), self.connect()
        for _ in range(3):  # and EHLO raises them once
            first.say("EHLO x")
        self.assertEqual(first.server.command_size_limits, {"MAIL": 538})
        self.assertEqual(second.server.command_size_limits, {})
        self.assertEqual((first.server.max_command_size_limit, second.server.max_command_size_limit), (538, 512))

    def test_a_recipient_too_many(self) -> None:
        memory = self.connect()
        memory.say("HELO x", "MAIL FROM:<a@a.test>")
        said = memory.say(*["RCPT TO:<b@b.test>"] * 1001)
        self.assertEqual((said[999], said[1000]), ("250 OK", "452 4.5.3 Too many recipients in one transaction"))

    def test_a_message_without_end_ends_the_connection(self) -> None:
        self.patch(engine, "PATIENCE", 10_000)
        memory = self.connect(data_size_limit=1000)
        memory.say("HELO x", "MAIL FROM:<a@a.test>", "RCPT TO:<b@b.test>", "DATA")
        memory.send(*[b"x" * 900 + b"\r\n"] * 20)
        self.assertEqual(memory.replies(), ["552 Error: Too much mail data"])
        self.assertTrue(memory.wire.closing)

    def test_whichever_is_wrong_first(self) -> None:
        for lines, answer in (
            ([20] * 60 + [1100], "552 Error: Too much mail data"),
            ([1100] + [20] * 60, "500 Line too long (see RFC5321 4.5.3.1.6)"),
            ([1100], "500 Line too long (see RFC5321 4.5.3.1.6)"),
        ):
            memory = self.connect(data_size_limit=1150)
            memory.say("HELO x")
            self.assertEqual(memory.mail(b"".join(b"x" * each + b"\r\n" for each in lines)), answer)

    def test_a_local_part_that_is_too_long(self) -> None:
        memory = self.connect()
        memory.server.local_part_limit = 3
        said = memory.say("HELO x", "MAIL FROM:<abcd@a.test>", "MAIL FROM:<abc@a.test>")
        self.assertEqual(said[1:], ["553 5.1.3 Error: malformed address", "250 OK"])

    def test_no_limit_is_a_great_one(self) -> None:
        memory = self.connect(data_size_limit=None)
        self.assertEqual(memory.say("EHLO x"), ["250-mx.test|250-8BITMIME|250 HELP"])
        self.assertEqual(memory.server._engine.session.limits.message_size, 1 << 30)


class Hooks(MemoryTestCase):
    def test_they_may_await_deferreds(self) -> None:
        waited: Deferred[str] = Deferred()

        class Handler:
            async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: str | None) -> Any:
                return await succeed(f"250 {arg}")

            async def handle_VRFY(self, server: Any, session: Any, envelope: Any, address: str) -> Any:
                await asyncio.sleep(0)
                return await waited

            def handle_RSET(self, server: Any, session: Any, envelope: Any) -> Any:
                return succeed("250 a Deferred")

            async def handle_HELO(self, server: Any, session: Any, envelope: Any, hostname: str) -> Any:
                try:
                    await fail(ValueError(hostname))
                except ValueError as error:
                    return f"250 {error}"

        memory = self.connect(Handler())
        self.assertEqual(memory.say("NOOP x", "HELO y", "RSET"), ["250 x", "250 y", "250 a Deferred"])
        self.assertEqual(memory.say("VRFY z", "NOOP y"), [])
        waited.callback("252 waited")
        memory.settle()
        self.assertEqual(memory.replies(), ["252 waited", "250 y"])

    def test_they_run_in_a_task(self) -> None:
        """What asyncio has for tasks alone works: ``asyncio.timeout``, ``TaskGroup``, and libraries that need them."""

        class Handler:
            async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: str | None) -> str:
                async with asyncio.timeout(10), asyncio.TaskGroup() as group:
                    task = group.create_task(asyncio.sleep(0, "done"))
                return f"250 {task.result()} {asyncio.current_task() is not None}"

        self.assertEqual(self.connect(Handler()).say("NOOP"), ["250 done True"])

    def test_a_client_that_goes_cancels_them(self) -> None:
        ended: list[str] = []
        waited: Deferred[None] = Deferred(lambda _: ended.append("Deferred"))

        class Handler:
            async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
                try:
                    await waited
                except asyncio.CancelledError:
                    ended.append("hook")
                    raise
                return "250 OK"

        memory = self.connect(Handler())
        memory.say("HELO x")
        self.assertEqual(memory.mail(), "")
        memory.wire.close()
        memory.settle()
        self.assertEqual(ended, ["Deferred", "hook"])

    def test_the_text_of_an_exception_is_for_the_log(self) -> None:
        class Handler:
            async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: str | None) -> str:
                raise ValueError("password=hunter2")

        class Worse(Handler):
            async def handle_exception(self, error: Exception) -> str:
                raise error

        class Better(Handler):
            async def handle_exception(self, error: Exception) -> str:
                return f"450 {type(error).__name__}"

        with self.assertLogs("mail.log", "ERROR") as logged:
            for handler, reply in ((Handler(), LOCAL_ERROR), (Worse(), LOCAL_ERROR), (Better(), "450 ValueError")):
                self.assertEqual(self.connect(handler).say("NOOP", "RSET"), [reply, "250 OK"])
        self.assertEqual(len(logged.output), 2)
        self.assertIn("hunter2", logged.output[0])

    def test_a_reset_connection_in_a_hook_ends_it(self) -> None:
        class Handler:
            async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: str | None) -> str:
                raise ConnectionResetError

        memory = self.connect(Handler())
        self.assertEqual(memory.say("NOOP"), [])
        self.assertTrue(memory.wire.closing)

    def test_they_may_close_the_transport(self) -> None:
        class Handler:
            async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: str | None) -> str:
                server.transport.close()
                return "250 OK"

        memory = self.connect(Handler())
        memory.say("NOOP", "NOOP")
        self.assertIsNone(memory.server.transport)

    def test_one_that_is_older_is_told_so(self) -> None:
        class Old:
            async def handle_EHLO(self, server: Any, session: Any, envelope: Any, hostname: str) -> str:
                return "250 last"

        class Neither:
            async def handle_EHLO(self, server: Any, session: Any) -> str:
                return ""

        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            SMTP(Old(), hostname="x", loop=loop)
        self.assertEqual([each.category for each in caught], [DeprecationWarning])
        with self.assertRaises(RuntimeError):
            SMTP(Neither(), hostname="x", loop=loop)

    def test_what_the_one_for_a_message_answers(self) -> None:
        """Octets are a reply, and what is neither octets nor text is an error of the hook's."""

        class Handler:
            answer: Any

            async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> Any:
                return self.answer

        handler = Handler()
        memory = self.connect(handler)
        memory.say("HELO x")
        for handler.answer, reply in ((b"250 octets", "250 octets"), ("", ""), (b"550 no", "550 no")):
            self.assertEqual(memory.mail(), reply)
        for handler.answer in (None, 250, ["250 OK"]):
            with self.assertLogs("mail.log", "ERROR"):
                self.assertEqual(memory.mail(), LOCAL_ERROR)
        self.assertIsNone(memory.server.envelope.mail_from)


class Inner(MemoryTestCase):
    """What programs use of the original although it has an underscore, as their copies of its methods do."""

    def test_how_addresses_are_read(self) -> None:
        class Lenient(SMTP):
            def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
                address, rest = super()._getaddr(arg)
                return ("unknown@a.test" if address is None else address), rest

            async def smtp_SEND(self, arg: str) -> None:
                address, rest = self._getaddr(self._strip_command_keyword("FROM:", arg) or "")
                await self.push(f"250 {address} {self._getparams((rest or '').split())}")

        memory = self.connect(kind=Lenient)
        said = memory.say("HELO x", "MAIL FROM:<@@>", "RSET", "SEND from: <a@a.test> X=1 Y", "SEND to:<a@a.test>")
        self.assertEqual(said[1:], ["250 OK", "250 OK", "250 a@a.test {'X': '1', 'Y': True}", "250  {}"])
        self.assertEqual(self.connect().say("HELO x", "MAIL FROM:<@@>")[1], "553 5.1.3 Error: malformed address")

    def test_time_for_a_client(self) -> None:
        """A method that takes its time takes none of the client's, whether it says so or not."""

        class Slow(SMTP):
            async def smtp_WAIT(self, arg: str | None) -> None:
                await asyncio.sleep(20)
                if arg:
                    self._reset_timeout()
                await self.push("250 at last")

        memory = self.connect(kind=Slow, timeout=10)
        for line in ("WAIT", "WAIT x"):
            memory.say(line)
            memory.advance(29, 0.5)
            self.assertEqual((memory.replies(), memory.wire.closing), (["250 at last"], False))
        memory.advance(3, 0.5)
        self.assertTrue(memory.wire.closing)

    def test_commands_before_tls(self) -> None:
        """A program may allow more of them."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        memory = self.connect(tls_context=context, require_starttls=True)
        first = "530 Must issue a STARTTLS command first"
        self.assertEqual(memory.say("VRFY a@a.test", "HELP"), [first, first])
        smtp.ALLOWED_BEFORE_STARTTLS.add("HELP")
        self.addCleanup(smtp.ALLOWED_BEFORE_STARTTLS.discard, "HELP")
        self.assertTrue(memory.say("HELP")[0].startswith("250 "))
        self.assertIs(memory.server.require_starttls, True)
        self.assertIsNone(self.connect(require_starttls=True).server.require_starttls)

    def test_names(self) -> None:
        for name in ("ALLOWED_BEFORE_STARTTLS", "ProxyData", "_Missing", "_TriStateType", "login_always_fail"):
            self.assertTrue(hasattr(smtp, name), name)

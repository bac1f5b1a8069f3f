"""The handlers that come with it."""

import asyncio
import io
import mailbox
import smtplib
import socket
from argparse import ArgumentParser
from email.message import Message as Parsed
from tempfile import TemporaryDirectory
from typing import Any

from tests.compat.aiosmtpd.kit import Keeper, Memory, MemoryTestCase, Talk, serving
from twistsmtp.compat.aiosmtpd.controller import Controller
from twistsmtp.compat.aiosmtpd.handlers import AsyncMessage, Debugging, Mailbox, Message, Proxy, Sink
from twistsmtp.compat.aiosmtpd.smtp import SMTP

MESSAGE = b"Subject: x\r\nTo: b\r\n\r\nhello\r\n"


class TestCase(MemoryTestCase):
    def connect(self, *arguments: Any, **parameters: Any) -> Memory:
        memory = super().connect(*arguments, **parameters)
        memory.say("EHLO x")
        return memory

    def serve(self, handler: Any, **parameters: Any) -> int:
        serving_it = serving(lambda: SMTP(handler, hostname="mx.test", **parameters))
        port = serving_it.__enter__()
        self.addCleanup(serving_it.__exit__, None, None, None)
        return port


def send(port: int, message: bytes = MESSAGE, *recipients: str) -> str:
    """Send *message*. Answers what became of it."""
    talk = Talk(port)
    try:
        talk.hear()
        for line in ("EHLO x", "MAIL FROM:<a@a.test>", *(f"RCPT TO:<{each}>" for each in recipients or ["b@b.test"])):
            talk.say(line)
        talk.say("DATA")
        return talk.say(message + b".")
    finally:
        talk.close()


class Printing(TestCase):
    def test_a_message(self) -> None:
        for decode_data in (False, True):
            stream = io.StringIO()
            memory = self.connect(Debugging(stream), decode_data=decode_data)
            memory.say("MAIL FROM:<a@a.test> SIZE=20", "RCPT TO:<b@b.test>", "DATA")
            memory.send(MESSAGE + b".\r\n")
            self.assertEqual(
                stream.getvalue().splitlines(),
                [
                    "---------- MESSAGE FOLLOWS ----------",
                    "mail options: ['SIZE=20']",
                    "",
                    "Subject: x",
                    "To: b",
                    "X-Peer: ('192.0.2.1', 4711)",
                    "",
                    "hello",
                    "------------ END MESSAGE ------------",
                ],
            )

    def test_from_the_command_line(self) -> None:
        parser = ArgumentParser()
        for name in ("stdout", "stderr"):
            self.assertIsInstance(Debugging.from_cli(parser, name), Debugging)
        self.assertIsInstance(Debugging.from_cli(parser), Debugging)
        self.patch(parser, "error", self.refuse)
        for kind, arguments in ((Debugging, ("x",)), (Sink, ("x",)), (Mailbox, ()), (Mailbox, ("x", "y"))):
            with self.assertRaises(SystemExit):
                kind.from_cli(parser, *arguments)
        self.assertIsInstance(Sink.from_cli(parser), Sink)

    def refuse(self, message: str) -> None:
        raise SystemExit(message)


class Forwarding(TestCase):
    def test_a_message(self) -> None:
        for decode_data in (False, True):
            back = Keeper()
            port = self.serve(Proxy("127.0.0.1", self.serve(back)), decode_data=decode_data)
            self.assertEqual(send(port), "250 OK")
            (envelope,) = back.box
            self.assertEqual((envelope.mail_from, envelope.rcpt_tos), ("a@a.test", ["b@b.test"]))
            self.assertEqual(envelope.content, b"Subject: x\r\nTo: b\r\nX-Peer: 127.0.0.1\r\n\r\nhello\r\n")

    def test_in_the_loop_of_the_next_server(self) -> None:
        """It waits for that one, and the loop goes on meanwhile: the original stands still there."""
        back = Keeper()

        async def main() -> None:
            loop = asyncio.get_running_loop()
            servers = [await loop.create_server(lambda: SMTP(back), "127.0.0.1", 0)]
            proxy = Proxy("127.0.0.1", servers[0].sockets[0].getsockname()[1])
            servers.append(await loop.create_server(lambda: SMTP(proxy), "127.0.0.1", 0))
            port = servers[1].sockets[0].getsockname()[1]
            answers = await asyncio.gather(*(loop.run_in_executor(None, send, port) for _ in range(3)))
            self.assertEqual(answers, ["250 OK"] * 3)
            for server in servers:
                server.close()

        asyncio.run(main())
        self.assertEqual(len(back.box), 3)

    def test_what_is_refused_is_not_taken(self) -> None:
        class Picky(Keeper):
            async def handle_RCPT(
                self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
            ) -> str:
                if address.startswith("b@"):
                    envelope.rcpt_tos.append(address)
                    return "250 OK"
                return "450 4.2.1 Later, please" if address.startswith("later") else "550 5.1.1 Nobody"

        port = self.serve(Proxy("127.0.0.1", self.serve(Picky())))
        for recipients, answer in (
            (["b@b.test"], "250 OK"),
            (["x@b.test"], "550 5.1.1 Nobody"),
            (["b@b.test", "x@b.test"], "550 5.1.1 Nobody"),
            (["x@b.test", "later@b.test", "b@b.test"], "450 4.2.1 Later, please"),
        ):
            self.assertEqual(send(port, MESSAGE, *recipients), answer)

    def test_a_server_that_cannot_be_reached(self) -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            port = self.serve(Proxy("127.0.0.1", nobody.getsockname()[1]))
            self.assertEqual(send(port)[:9], "451 4.4.1")

    def test_an_end_that_is_none_does_not_become_one(self) -> None:
        """What the next server takes for a line end, it gets as one, with the dots that belong there."""
        back = Keeper()
        port = self.serve(Proxy("127.0.0.1", self.serve(back)))
        for end in (b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r.\r\n"):
            self.assertEqual(send(port, b"Subject: x\r\n\r\na" + end + b"MAIL FROM:<evil@a.test>\r\n"), "250 OK")
        for envelope in back.box:
            self.assertEqual(envelope.content.partition(b"\r\n\r\n")[2], b"a\r\n.\r\nMAIL FROM:<evil@a.test>\r\n")

    def test_a_message_without_a_body(self) -> None:
        back = Keeper()
        port = self.serve(Proxy("127.0.0.1", self.serve(back)))
        for message in (b"", b"Subject: x\r\n", b"\r\nbody\r\n"):
            self.assertEqual(send(port, message), "250 OK")
        self.assertEqual(
            [each.content for each in back.box],
            [b"X-Peer: 127.0.0.1\r\n", b"Subject: x\r\nX-Peer: 127.0.0.1\r\n", b"X-Peer: 127.0.0.1\r\n\r\nbody\r\n"],
        )

    def test_nobody_is_the_sender(self) -> None:
        back = Keeper()
        talk = Talk(self.serve(Proxy("127.0.0.1", self.serve(back))))
        self.addCleanup(talk.close)
        talk.hear()
        for line in ("HELO x", "MAIL FROM:<>", "RCPT TO:<b@b.test>", "DATA", "x\r\n."):
            talk.say(line)
        self.assertEqual(back.box[0].mail_from, "<>")


class Parsing(TestCase):
    def test_messages(self) -> None:
        seen: list[Parsed] = []

        class Now(Message):
            def handle_message(self, message: Parsed) -> None:
                seen.append(message)

        class Later(AsyncMessage):
            async def handle_message(self, message: Parsed) -> None:
                await asyncio.sleep(0)
                seen.append(message)

        class Mine(Parsed):
            pass

        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        for handler in (Now(), Later(loop=loop), Now(Mine), Later(Mine, loop=loop)):
            for decode_data in (False, True):
                memory = self.connect(handler, decode_data=decode_data)
                self.assertEqual(memory.mail(MESSAGE, ["b@b.test", "c@b.test"]), "250 OK")
                message = seen.pop()
                self.assertIs(type(message), handler.message_class or Parsed)
                self.assertEqual(
                    (message["X-Peer"], message["X-MailFrom"], message["X-RcptTo"], message["Subject"]),
                    ("('192.0.2.1', 4711)", "a@a.test", "b@b.test, c@b.test", "x"),
                )


class Keeping(TestCase):
    def test_a_maildir(self) -> None:
        with TemporaryDirectory() as folder:
            handler = Mailbox(f"{folder}/box")
            controller = Controller(handler, port=0)
            controller.start()
            self.addCleanup(controller.stop)
            with smtplib.SMTP(controller.hostname, controller.port) as client:
                for _ in range(3):
                    client.sendmail("a@a.test", ["b@b.test"], MESSAGE)
            kept = mailbox.Maildir(f"{folder}/box", create=False)
            self.assertEqual([(each["Subject"], each["X-RcptTo"]) for each in kept], [("x", "b@b.test")] * 3)
            handler.reset()
            self.assertEqual(len(mailbox.Maildir(f"{folder}/box", create=False)), 0)

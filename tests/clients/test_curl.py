"""curl, which sends one command at a time."""

from tests.clients.kit import ClientTestCase, Process
from twistsmtp.extensions.size import SIZE
from twistsmtp.limits import Limits

MESSAGE = b"From: <a@client.test>\r\nSubject: hello\r\n\r\nline\r\n.\r\n..\r\n.dot\r\n\r\n\xff\x00\r\n.end\r\n"


class CurlTests(ClientTestCase):
    async def curl(self, port: int, *arguments: str) -> Process:
        """Run curl on the server, as ``client.test``."""
        common = ("--disable", "--silent", "--show-error", "--verbose", "--max-time", "100")
        return await self.run_program("curl", *common, "--url", f"smtp://127.0.0.1:{port}/client.test", *arguments)

    async def send(
        self, port: int, *recipients: str, message: bytes = MESSAGE, options: tuple[str, ...] = ()
    ) -> Process:
        upload = ("--mail-from", "a@client.test", "--upload-file", self.file("message", message))
        named = [argument for recipient in recipients for argument in ("--mail-rcpt", recipient)]
        return await self.curl(port, *upload, *named, *options)

    async def test_a_message(self) -> None:
        process = await self.send(await self.serve(), "b@mx.test")
        self.assertEqual(process.status, 0, str(process))
        [stored] = self.stored
        self.assertEqual(stored.octets, MESSAGE)
        self.assertEqual((stored.helo, stored.protocol, stored.recipient), ("client.test", "ESMTP", "b@mx.test"))
        [message] = self.memory.messages
        self.assertEqual(str(message.envelope.reverse_path), "a@client.test")
        self.assertEqual(message.envelope.reverse_path.get(SIZE), len(MESSAGE))

    async def test_a_message_without_an_end_of_its_last_line(self) -> None:
        process = await self.send(await self.serve(), "b@mx.test", message=b"Subject: x\r\n\r\nend")
        self.assertEqual(process.status, 0, str(process))
        self.assertEqual([each.octets for each in self.stored], [b"Subject: x\r\n\r\nend\r\n"])

    async def test_a_great_message(self) -> None:
        lines = b"".join(b"%s%d\r\n" % (b"." * (number % 3), number) for number in range(400_000))
        process = await self.send(await self.serve(), "b@mx.test", message=b"Subject: much\r\n\r\n" + lines)
        self.assertEqual(process.status, 0, str(process))
        self.assertEqual([each.octets for each in self.stored], [b"Subject: much\r\n\r\n" + lines])

    async def test_bare_newlines(self) -> None:
        port = await self.serve()
        message = b"Subject: x\n\n.\ny\n"
        process = await self.send(port, "b@mx.test", message=message)
        self.assertNotEqual(process.status, 0)
        self.assertIn("< 550 5.6.0 Message holds a bare LF", process.errors)
        self.assertEqual(self.stored, [])
        process = await self.send(port, "b@mx.test", message=message, options=("--crlf",))
        self.assertEqual(process.status, 0, str(process))
        self.assertEqual([each.octets for each in self.stored], [message.replace(b"\n", b"\r\n")])

    async def test_several_recipients(self) -> None:
        everybody = [f"r{number}@mx.test" for number in range(20)]
        process = await self.send(await self.serve(), *everybody)
        self.assertEqual(process.status, 0, str(process))
        self.assertEqual(self.recipients(), [everybody])
        self.assertEqual([each.octets for each in self.stored], [MESSAGE])

    async def test_a_recipient_refused(self) -> None:
        port = await self.serve()
        recipients = ("b@mx.test", "c@elsewhere.test", "d@mx.test")
        process = await self.send(port, *recipients)
        self.assertNotEqual(process.status, 0)
        self.assertIn("RCPT failed: 550", process.errors)
        self.assertEqual(self.stored, [])
        process = await self.send(port, *recipients, options=("--mail-rcpt-allowfails",))
        self.assertEqual(process.status, 0, str(process))
        self.assertEqual(self.recipients(), [["b@mx.test", "d@mx.test"]])
        self.assertEqual([each.octets for each in self.stored], [MESSAGE])

    async def test_too_big(self) -> None:
        process = await self.send(await self.serve(limits=Limits(message_size=50)), "b@mx.test")
        self.assertNotEqual(process.status, 0)
        self.assertIn("< 552 5.3.4 Message exceeds the limit of 50 octets", process.errors)
        self.assertEqual(self.stored, [])

    async def test_two_messages_in_one_connection(self) -> None:
        port = await self.serve()
        other = self.file("other", MESSAGE + b"other\r\n")
        again = ("--mail-from", "c@client.test", "--mail-rcpt", "d@mx.test", "--upload-file", other)
        url = f"smtp://127.0.0.1:{port}/client.test"
        process = await self.send(port, "b@mx.test", options=("--next", "--url", url, *again))
        self.assertEqual(process.status, 0, str(process))
        first, second = self.stored
        self.assertEqual((first.octets, second.octets), (MESSAGE, MESSAGE + b"other\r\n"))
        self.assertEqual(self.connections, 1)

    async def test_a_mailbox_that_is_not_ascii(self) -> None:
        process = await self.send(await self.serve(), "зоя@mx.test")
        self.assertEqual(process.status, 0, str(process))
        self.assertEqual(self.recipients(), [["зоя@mx.test"]])
        self.assertEqual([(each.protocol, each.octets) for each in self.stored], [("UTF8SMTP", MESSAGE)])

    async def test_commands(self) -> None:
        port = await self.serve()
        verified = await self.curl(port, "--mail-rcpt", "b@mx.test")
        self.assertIn("> VRFY b@mx.test", verified.errors)
        self.assertTrue(verified.output.startswith("252 2.0.0 "), str(verified))
        helped = await self.curl(port, "--request", "HELP MAIL")
        self.assertTrue(helped.output.startswith("214-2.0.0 MAIL FROM:<reverse-path> [parameters]"), str(helped))
        self.assertEqual((verified.status, helped.status), (0, 0))
        expanded = await self.curl(port, "--request", "EXPN", "--mail-rcpt", "list")
        self.assertNotEqual(expanded.status, 0)
        self.assertIn("< 502 5.5.1 EXPN is not implemented", expanded.errors)

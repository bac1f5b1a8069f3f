"""msmtp, which takes the place of sendmail for many programs, and pipelines."""

import re

from tests.clients.kit import ClientTestCase, Process, Stored
from twistsmtp.delivery.maildir import Maildir
from twistsmtp.limits import Limits

#: With all the fields that msmtp would add.
MESSAGE = (
    b"From: Ann <a@client.test>\nTo: b@mx.test, Cid <c@mx.test>\nDate: Sun, 22 Nov 2026 00:00:00 +0000\n"
    b"Message-ID: <1@client.test>\nSubject: hello\n\nline\n.\n..\n.dot\n\n\xff\n.end\n"
)
SENT = MESSAGE.replace(b"\n", b"\r\n")


class MsmtpTests(ClientTestCase):
    async def msmtp(self, port: int, *arguments: str, message: bytes = MESSAGE) -> Process:
        """Run msmtp on the server, as ``client.test``."""
        settings = {
            "account": "default",
            "host": "127.0.0.1",
            "port": port,
            "domain": "client.test",
            "from": "a@client.test",
            "auth": "off",
            "tls": "off",
            "timeout": 100,
        }
        file = self.file("msmtprc", "".join(f"{name} {value}\n" for name, value in settings.items()).encode())
        return await self.run_program("msmtp", f"--file={file}", "--debug", *arguments, stdin=message)

    def dialogue(self, process: Process) -> list[str]:
        """Who said what: the verbs, and the last lines of the replies by their codes."""
        spoken = re.findall(r"^--> ([A-Z]{4})\b|^<-- (\d{3}) ", process.output, re.MULTILINE)
        return [verb or code for verb, code in spoken]

    async def test_recipients_of_the_message(self) -> None:
        process = await self.msmtp(await self.serve(), "--read-recipients")
        self.assertEqual(process.status, 0, str(process))
        group = ["MAIL", "RCPT", "RCPT", "DATA", "250", "250", "250", "354"]
        self.assertEqual(self.dialogue(process), ["220", "EHLO", "250", *group, "250", "QUIT", "221"])
        self.assertEqual(self.recipients(), [["b@mx.test", "c@mx.test"]])
        [stored] = self.stored
        self.assertEqual(stored.octets, SENT)
        self.assertEqual((stored.helo, stored.protocol), ("client.test", "ESMTP"))

    async def test_recipients_of_the_command_line(self) -> None:
        process = await self.msmtp(await self.serve(), "--from=bounces@client.test", "--", "d@mx.test")
        self.assertEqual(process.status, 0, str(process))
        self.assertEqual(self.recipients(), [["d@mx.test"]])
        self.assertEqual([each.octets for each in self.stored], [SENT])
        self.assertEqual(str(self.memory.messages[0].envelope.reverse_path), "bounces@client.test")

    async def test_a_message_of_crlf_lines(self) -> None:
        process = await self.msmtp(await self.serve(), "d@mx.test", message=SENT)
        self.assertEqual(process.status, 0, str(process))
        self.assertEqual([each.octets for each in self.stored], [SENT])

    async def test_a_message_without_an_end_of_its_last_line(self) -> None:
        process = await self.msmtp(await self.serve(), "d@mx.test", message=MESSAGE[:-1])
        self.assertEqual(process.status, 0, str(process))
        self.assertEqual([each.octets for each in self.stored], [SENT])

    async def test_into_a_maildir(self) -> None:
        maildir = self.folder / "Maildir"
        message = MESSAGE + b"".join(b".%d\n" % number for number in range(200_000))
        process = await self.msmtp(await self.serve(Maildir(maildir, create=True)), "d@mx.test", message=message)
        self.assertEqual(process.status, 0, str(process))
        [stored] = Stored.all_in(maildir)
        self.assertEqual((stored.reverse_path, stored.recipient), ("a@client.test", "d@mx.test"))
        self.assertEqual(stored.octets, message.replace(b"\n", b"\r\n"))

    async def test_a_recipient_refused(self) -> None:
        process = await self.msmtp(await self.serve(), "b@mx.test", "c@elsewhere.test")
        self.assertEqual(process.status, 65, str(process))  # EX_DATAERR
        self.assertIn("recipient address c@elsewhere.test not accepted by the server", process.errors)
        self.assertIn("550 5.7.1 Relaying denied", process.errors)
        self.assertEqual(self.stored, [])

    async def test_too_big(self) -> None:
        process = await self.msmtp(await self.serve(limits=Limits(message_size=50)), "b@mx.test")
        self.assertNotEqual(process.status, 0)
        self.assertIn("552 5.3.4 Message exceeds the limit of 50 octets", f"{process}")
        self.assertEqual(self.stored, [])

    async def test_server_information(self) -> None:
        process = await self.msmtp(await self.serve(), "--serverinfo")
        self.assertEqual(process.status, 0, str(process))
        self.assertIn("mx.test ESMTP twistsmtp", process.output)
        self.assertRegex(process.output, r"SIZE 33554432:")
        self.assertIn("PIPELINING:", process.output)

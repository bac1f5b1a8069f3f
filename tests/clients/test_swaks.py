"""swaks, with and without pipelining."""

import re
from typing import Any

from twisted.internet.endpoints import serverFromString

from tests.clients.kit import ClientTestCase, Process
from twistsmtp.factory import LMTPFactory
from twistsmtp.limits import Limits
from twistsmtp.policy.relay import RelayRule

#: As swaks takes it: lines end with LF, and it ends the last.
MESSAGE = "From: <a@client.test>\nSubject: hello\n\nline\n.\n..\n.dot\n\né\n.end".encode()
SENT = MESSAGE.replace(b"\n", b"\r\n") + b"\r\n"


class SwaksTests(ClientTestCase):
    async def swaks(self, port: int, to: str, *arguments: str) -> Process:
        """Run swaks on the server, as ``client.test``."""
        common = ("--server", "127.0.0.1", "--port", str(port), "--helo", "client.test", "--timeout", "100")
        return await self.run_program("swaks", *common, "--from", "a@client.test", "--to", to, *arguments)

    async def serve_lmtp(self, endpoint: str) -> Any:
        """Listen there for LMTP, and give the port."""
        from twisted.internet import reactor

        factory = LMTPFactory(self.memory, hostname="mx.test", policies=(RelayRule(["mx.test"]),))
        port: Any = await serverFromString(reactor, endpoint).listen(factory)
        self.addCleanup(factory.shutdown, 0.1)
        self.addCleanup(port.stopListening)
        return port

    def dialogue(self, process: Process) -> list[str]:
        """Who said what: the verbs, and the last lines of the replies by their codes."""
        spoken = re.findall(r"^ *(?:->|~>) ([A-Z]{4})\b|^<(?:-|\*\*|~) +(\d{3}) ", process.output, re.MULTILINE)
        return [verb or code for verb, code in spoken]

    async def test_a_message(self) -> None:
        message = self.file("message", MESSAGE)
        process = await self.swaks(await self.serve(), "b@mx.test", "--data", f"@{message}")
        self.assertEqual(process.status, 0, str(process))
        said = ["220", "EHLO", "250", "MAIL", "250", "RCPT", "250", "DATA", "354", "250", "QUIT", "221"]
        self.assertEqual(self.dialogue(process), said)
        [stored] = self.stored
        self.assertEqual(stored.octets, SENT)
        self.assertEqual((stored.helo, stored.protocol, stored.recipient), ("client.test", "ESMTP", "b@mx.test"))

    async def test_pipelining(self) -> None:
        message = self.file("message", MESSAGE)
        everybody = "b@mx.test,c@elsewhere.test,d@mx.test"
        process = await self.swaks(await self.serve(), everybody, "--pipeline", "--data", f"@{message}")
        self.assertEqual(process.status, 0, str(process))
        group = ["MAIL", "RCPT", "RCPT", "RCPT", "DATA", "250", "250", "550", "250", "354"]
        self.assertEqual(self.dialogue(process), ["220", "EHLO", "250", *group, "250", "QUIT", "221"])
        self.assertEqual(self.recipients(), [["b@mx.test", "d@mx.test"]])
        self.assertEqual([each.octets for each in self.stored], [SENT])

    async def test_pipelining_with_nobody_to_send_to(self) -> None:
        process = await self.swaks(await self.serve(), "c@elsewhere.test,d@elsewhere.test", "--pipeline")
        self.assertNotEqual(process.status, 0)
        group = ["MAIL", "RCPT", "RCPT", "DATA", "250", "550", "550", "554"]
        self.assertEqual(self.dialogue(process), ["220", "EHLO", "250", *group, "QUIT", "221"])
        self.assertEqual(self.stored, [])

    async def test_header_fields_and_a_body(self) -> None:
        process = await self.swaks(
            *(await self.serve(), "b@mx.test", "--pipeline"),
            *("--h-From", "Ann <a@client.test>", "--h-Subject", "two words", "--add-header", "X-Test: yes"),
            *("--body", r".\n..\n.dot\nend"),
        )
        self.assertEqual(process.status, 0, str(process))
        [message] = self.memory.messages
        email = message.email
        fields = {name: email[name] for name in ("From", "To", "Subject", "X-Test")}
        expected = {"From": "Ann <a@client.test>", "To": "b@mx.test", "Subject": "two words", "X-Test": "yes"}
        self.assertEqual(fields, expected)
        self.assertEqual(self.stored[0].octets.partition(b"\r\n\r\n")[2].rstrip(), b".\r\n..\r\n.dot\r\nend")

    async def test_an_attachment(self) -> None:
        octets = bytes(range(256)) * 100
        attached = self.file("attached", octets)
        process = await self.swaks(await self.serve(), "b@mx.test", "--attach", f"@{attached}")
        self.assertEqual(process.status, 0, str(process))
        parts = [part.get_content() for part in self.memory.messages[0].email.iter_attachments()]
        self.assertEqual(parts, [octets])

    async def test_a_client_that_says_helo(self) -> None:
        message = self.file("message", MESSAGE)
        process = await self.swaks(
            await self.serve(), "b@mx.test", "--protocol", "SMTP", "--from", "<>", "--data", f"@{message}"
        )
        self.assertEqual(process.status, 0, str(process))
        self.assertEqual([(each.protocol, each.octets) for each in self.stored], [("SMTP", SENT)])
        self.assertIsNone(self.memory.messages[0].envelope.reverse_path.mailbox)

    async def test_lmtp(self) -> None:
        """Over TCP and a unix socket: it knows that there is a reply for each recipient behind the message."""
        message = self.file("message", MESSAGE)
        port = await self.serve_lmtp("tcp:0:interface=127.0.0.1")
        await self.serve_lmtp(f"unix:{self.folder / 's'}")  # swaks runs there; the whole path may be too long
        everybody = "b@mx.test,c@elsewhere.test,d@mx.test"
        common = ("--helo", "client.test", "--timeout", "100", "--from", "a@client.test", "--data", f"@{message}")
        for to in ("--server", "127.0.0.1", "--port", str(port.getHost().port)), ("--socket", "s"):
            process = await self.run_program("swaks", "--protocol", "LMTP", *to, *common, "--to", everybody)
            said = ["220", "LHLO", "250", "MAIL", "250", "RCPT", "250", "RCPT", "550", "RCPT", "250"]
            said += ["DATA", "354", "250", "250", "QUIT", "221"]
            self.assertEqual(self.dialogue(process), said, str(process))
            [stored] = self.memory.messages
            self.assertEqual([str(each) for each in stored.envelope.recipients], ["b@mx.test", "d@mx.test"])
            self.assertIn(b" with LMTP id ", stored.octets)
            self.assertTrue(stored.octets.endswith(b"+0000\r\n" + SENT), stored.octets)
            self.memory.messages.clear()

    async def test_quitting_early(self) -> None:
        port = await self.serve()
        said = ["220", "EHLO", "250", "MAIL", "250", "RCPT", "250", "QUIT", "221"]
        for after, length in (("HELO", 3), ("MAIL", 5), ("RCPT", 7)):
            process = await self.swaks(port, "b@mx.test", "--quit-after", after)
            self.assertEqual(process.status, 0, str(process))
            self.assertEqual(self.dialogue(process), said[:length] + said[-2:])
        self.assertEqual(self.stored, [])

    async def test_going_without_a_word(self) -> None:
        port = await self.serve()
        for after in ("CONNECT", "HELO", "MAIL", "RCPT"):
            process = await self.swaks(port, "b@mx.test", "--drop-after", after)
            self.assertEqual(process.status, 0, str(process))
        self.assertEqual(self.stored, [])

    async def test_too_big(self) -> None:
        message = self.file("message", MESSAGE)
        port = await self.serve(limits=Limits(message_size=50))
        process = await self.swaks(port, "b@mx.test", "--pipeline", "--data", f"@{message}")
        self.assertNotEqual(process.status, 0)
        self.assertIn("552 5.3.4 Message exceeds the limit of 50 octets", process.output)
        self.assertEqual(self.stored, [])

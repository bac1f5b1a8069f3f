"""Postfix's smtp-source, which sends as much as a server takes, over many connections at once."""

import re
from collections import Counter
from pathlib import Path

from tests.clients.kit import ClientTestCase, Stored
from twistsmtp.delivery.maildir import Maildir

_HEAD = re.compile(
    rb"From: <a@client\.test>\r\nTo: <b@mx\.test>\r\nDate: [^\r\n]+\r\n"
    rb"Message-Id: <(?P<process>[0-9a-f]+)\.(?P<connection>[0-9a-f]+)\.(?P<number>[0-9a-f]+)@client\.test>\r\n\r\n"
)


def body_of(length: int) -> bytes:
    """What smtp-source makes of *length*: lines of 80 octets, X but for a digit in front, and the last of what is
    left."""
    octets = bytearray(b"X" * length)
    for end in range(80, length, 80):
        octets[end - 80] = ord("0") + end // 80 % 10
        octets[end - 2 : end] = b"\r\n"
    return bytes(octets) + b"\r\n"


class SMTPSourceTests(ClientTestCase):
    timeout = 600  # a slow disk has to sync each message

    def setUp(self) -> None:
        super().setUp()
        self.maildir = Path(self.folder / "Maildir")

    async def smtp_source(self, messages: int, *arguments: str, sessions: int = 20) -> int:
        """Have so many messages sent into the Maildir.

        :returns: the id of the process that sent them.
        """
        port = await self.serve(Maildir(self.maildir, create=True))
        named = ("-M", "client.test", "-f", "a@client.test", "-t", "b@mx.test")
        counted = ("-m", str(messages), "-s", str(sessions))
        process = await self.run_program("smtp-source", *named, *counted, *arguments, f"127.0.0.1:{port}")
        self.assertEqual((process.status, process.errors), (0, ""))
        self.assertEqual(list((self.maildir / "tmp").iterdir()), [])
        return process.id

    async def assert_all_there(self, messages: int, length: int, *arguments: str, sessions: int = 20) -> None:
        """Each message is there once, octet for octet."""
        process = await self.smtp_source(messages, "-l", str(length), *arguments, sessions=sessions)
        stored = Stored.all_in(self.maildir)
        self.assertEqual(len(stored), messages)
        expected, names = body_of(length), set()
        for each in stored:
            head = _HEAD.match(each.octets)
            if head is None or each.octets[head.end() :] != expected:
                self.fail(f"not what was sent: {each.octets[:1000]!r}")
            self.assertEqual(int(head["process"], 16), process)
            # The number is of the messages that are left to be begun: not less is begun by the same connection.
            names.add((int(head["connection"], 16), int(head["number"], 16)))
        self.assertEqual(len(names), messages)
        fields = Counter((each.reverse_path, each.helo, each.recipient) for each in stored)
        self.assertEqual(fields, {("a@client.test", "client.test", "b@mx.test"): messages})
        self.assertEqual(len({each.id for each in stored}), messages)
        self.assertEqual(self.connections, sessions if "-d" in arguments else messages)

    async def test_ten_thousand_messages(self) -> None:
        await self.assert_all_there(10_000, 1400, "-d")

    async def test_a_connection_for_each_message(self) -> None:
        await self.assert_all_there(1000, 2000)

    async def test_great_messages(self) -> None:
        await self.assert_all_there(200, 100_000, "-d")

    async def test_great_messages_in_a_connection_each(self) -> None:
        await self.assert_all_there(200, 100_000)

    async def test_messages_that_come_to_the_disk_in_pieces(self) -> None:
        await self.assert_all_there(20, 3_000_000, "-d", sessions=5)

    async def test_octets_of_all_kinds(self) -> None:
        # Its own messages are X and nothing else; it can also send a file, and puts an empty line behind it.
        lines = [b"Subject: x", b"", b".", b"..", b".a", b"", bytes(set(range(256)) - set(b"\n\r\0")), b".", b"end"]
        await self.smtp_source(100, "-d", "-F", self.file("message", b"\n".join(lines) + b"\n"))
        octets = b"\r\n".join(lines) + b"\r\n\r\n"
        self.assertEqual(Counter(each.octets for each in Stored.all_in(self.maildir)), {octets: 100})

    async def test_several_recipients(self) -> None:
        # They are of one Maildir, which gets the message once.
        await self.smtp_source(100, "-r", "5", "-l", "100")
        stored = Stored.all_in(self.maildir)
        self.assertEqual(Counter(each.recipient for each in stored), {None: 100})
        self.assertTrue(all(each.octets.endswith(b"\r\n\r\n" + body_of(100)) for each in stored))

"""A server that is a whole program: it begins, says where it is, and ends in order."""

import smtplib
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.clients.kit import ROOT, Process, start

PROGRAM = """
import sys
from twistsmtp import Memory, Policy, SMTPFactory, serve

class Told(Memory, Policy):
    def start(self):
        if "broken" in sys.argv:
            raise ValueError("it is broken")
        print("started", flush=True)

    async def stop(self):
        print("stopped", flush=True)

told = Told()
serve(SMTPFactory(told, policies=[told]), (sys.argv + ["tcp:0:interface=127.0.0.1"])[1], drain_time=3600)
"""


class ServeTests(TestCase):
    timeout = 60

    def run_program(self, *arguments: str) -> Process:
        return start(self, [sys.executable, "-c", PROGRAM, *arguments], folder=ROOT, PYTHONPATH=str(ROOT))

    async def begin(self) -> tuple[Process, smtplib.SMTP, smtplib.SMTP]:
        """The program, an idle client, and one in the middle of a message."""
        program = self.run_program()
        port = int((await program.says(r"\Astarted\nlistening on (\d+)\n"))[1])
        idle, amid = [await deferToThread(smtplib.SMTP, "127.0.0.1", port, timeout=30) for _ in range(2)]
        await deferToThread(begin_message, amid)
        return program, idle, amid

    async def end(self, program: Process, *clients: smtplib.SMTP) -> None:
        for each in clients:
            each.close()
        await program.ended()
        self.assertEqual((0, ""), (program.status, program.errors))
        self.assertRegex(program.output, r"\Astarted\nlistening on \d+\nstopped\n\Z")

    async def test_a_message_may_end(self) -> None:
        program, idle, amid = await self.begin()
        program.signal("TERM")
        self.assertEqual(421, await code_of(idle.getreply))
        amid.send(b"\r\nhello\r\n.\r\n")
        self.assertEqual([250, 421], [await code_of(amid.getreply) for _ in range(2)])
        await self.end(program, idle, amid)

    async def test_at_once_on_a_second_signal(self) -> None:
        program, idle, amid = await self.begin()
        program.signal("INT")
        self.assertEqual(421, await code_of(idle.getreply))
        program.signal("TERM")
        self.assertEqual(421, await code_of(amid.getreply))
        await self.end(program, idle, amid)

    async def test_nowhere_to_listen(self) -> None:
        """What was started is stopped."""
        program = self.run_program("nowhere:")
        await program.ended()
        self.assertEqual((1, "started\nstopped\n"), (program.status, program.output))
        self.assertIn("nowhere", program.errors)

    async def test_what_does_not_start(self) -> None:
        program = self.run_program("broken")
        await program.ended()
        self.assertEqual((1, ""), (program.status, program.output))
        self.assertIn("Told: it is broken", program.errors)


def begin_message(client: smtplib.SMTP) -> None:
    client.ehlo()
    for command in "MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>", "DATA":
        client.docmd(command)
    client.send(b"Subject: hello\r\n")


async def code_of(reply: Callable[[], Any]) -> int:
    code, _ = await deferToThread(reply)
    return int(code)

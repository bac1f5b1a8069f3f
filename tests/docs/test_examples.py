"""examples/: each program is run, and a real client talks to it."""

from __future__ import annotations

import os
import smtplib
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.docs.pages import ROOT
from tests.docs.running import in_client, send

EXAMPLES = ROOT / "examples"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


class Program(ProcessProtocol):
    """A program in a process of its own, and the lines that it writes."""

    def __init__(self) -> None:
        self.text = ""
        self.ended: Deferred[None] = Deferred()
        self._waiting: list[tuple[int, Deferred[str]]] = []

    def line(self, number: int) -> Deferred[str]:
        """A line of its output, as soon as it is there."""
        answer: Deferred[str] = Deferred()
        self._waiting.append((number, answer))
        self._wake()
        return answer

    def outReceived(self, data: bytes) -> None:  # noqa: N802
        self.text += data.decode()
        self._wake()

    def errReceived(self, data: bytes) -> None:  # noqa: N802
        self.outReceived(data)

    def processEnded(self, reason: Failure) -> None:  # noqa: N802
        waiting, self._waiting = self._waiting, []
        for _, answer in waiting:
            answer.errback(AssertionError(f"it ended: {self.text}"))
        self.ended.callback(None)

    def _wake(self) -> None:
        lines = self.text.split("\n")[:-1]
        ready = [each for each in self._waiting if each[0] < len(lines)]
        self._waiting = [each for each in self._waiting if each not in ready]
        for number, answer in ready:
            answer.callback(lines[number])


class ExampleTests(TestCase):
    """Each example, as a user runs it."""

    async def start(self, name: str) -> tuple[Program, int]:
        """Start an example; its process, and the port that it listens on."""
        program = Program()
        arguments = [sys.executable, str(EXAMPLES / name), "tcp:0:interface=127.0.0.1"]
        process = reactor.spawnProcess(program, sys.executable, arguments, ENVIRONMENT)

        def stop() -> Deferred[None]:
            process.signalProcess("TERM")
            return program.ended

        self.addCleanup(stop)
        said = await program.line(0)
        self.assertRegex(said, r"\Alistening on \d+\Z")
        return program, int(said.split()[-1])

    async def test_each_message(self) -> None:
        """The function is called for the message; other domains are refused."""
        program, port = await self.start("each_message.py")
        refused = await send(port, to=("me@localhost", "me@example.com"))
        self.assertEqual(["me@example.com"], list(refused))
        self.assertEqual("'Hello' for me@localhost", await program.line(1))

    async def test_local_users(self) -> None:
        """Root is a user of this machine; somebody with no such name is refused."""
        _, port = await self.start("local_users.py")
        refused = await send(port, to=("root@localhost", "no-such-user@localhost"))
        self.assertEqual({"no-such-user@localhost": 550}, {name: code for name, (code, _) in refused.items()})

    async def test_time_of_day(self) -> None:
        """The verb answers, and EHLO offers it."""
        _, port = await self.start("time_of_day.py")

        def talk(client: smtplib.SMTP) -> tuple[bool, tuple[int, bytes]]:
            client.ehlo()
            return client.has_extn("xtime"), client.docmd("XTIME")

        offered, (code, text) = await in_client(port, talk)
        self.assertEqual((True, 250), (offered, code))
        self.assertRegex(text, rb"\A2\.0\.0 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00\Z")

    async def test_welcome(self) -> None:
        """The test case passes under trial."""
        folder = self.mktemp()
        Path(folder).mkdir()
        output, errors, status = await getProcessOutputAndValue(
            sys.executable,
            ["-m", "twisted.trial", str(EXAMPLES / "test_welcome.py")],
            env=ENVIRONMENT,
            path=folder,
        )
        self.assertEqual(0, status, output + errors)
        self.assertIn(b"PASSED (successes=1)", output)

    def test_all(self) -> None:
        """Each example has a test here, and is small."""
        names = {path.stem for path in EXAMPLES.glob("*.py")}
        self.assertEqual({"each_message", "local_users", "time_of_day", "test_welcome"}, names)
        for path in EXAMPLES.glob("*.py"):
            self.assertLess(len([line for line in path.read_text().splitlines() if line]), 40, path.name)

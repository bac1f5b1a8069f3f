"""The load generator sends what it says, and believes nothing unseen."""

import os
import shlex
import sys
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor, task
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.load import Load, LoadError, Sent, compile_load
from tests.benchmarks.kit import LoadTestCase
from twistsmtp.delivery.memory import Memory
from twistsmtp.envelope import ReversePath
from twistsmtp.factory import SMTPFactory
from twistsmtp.policy.api import Policy
from twistsmtp.policy.relay import RelayRule
from twistsmtp.session import Session


class Slow(Policy):
    """Takes half a second for the first message, and no time for the others."""

    SECONDS = 0.5

    def __init__(self) -> None:
        self._waits = [self.SECONDS]

    async def mail(self, session: Session, reverse_path: ReversePath) -> None:
        while self._waits:
            await task.deferLater(cast(Any, reactor), self._waits.pop())


class LoadTests(LoadTestCase):
    """Mail that is sent to a server that is well."""

    async def sent(self, load: Load) -> tuple[Sent, Memory]:
        memory = Memory()
        port = await self.listen(SMTPFactory(memory, hostname="mx.test"))
        return await self.send(port, load), memory

    async def test_modes(self) -> None:
        """Each mode brings every message, and makes the connections that it is known for."""
        for mode, connections in (("kept", 5), ("new", 50), ("pipelined", 5)):
            sent, memory = await self.sent(Load(cast(Any, mode), 5, 50, 1_000))
            self.assertEqual((50, connections), (sent.messages, sent.connections), mode)
            self.assertEqual(50, len(memory.messages), mode)

    async def test_sizes(self) -> None:
        """A message has the octets that were asked for, in lines that end in CRLF and have no more than 78."""
        for octets in (138, 139, 140, 214, 215, 216, 217, 218, 100_000, 1_000_001):
            _, memory = await self.sent(Load("kept", 1, 1, octets))
            [message] = memory.messages
            content = message.octets[message.octets.index(b"From: ") :]
            self.assertEqual(octets, len(content))
            lines = content.split(b"\r\n")
            self.assertEqual(b"", lines.pop())
            self.assertLessEqual(max(map(len, lines)), 78)
            self.assertFalse([line for line in lines if b"\r" in line or b"\n" in line])

    async def test_rate(self) -> None:
        """With a rate all messages come as well, and there are latencies, the longest last."""
        for mode in ("kept", "pipelined"):
            sent, memory = await self.sent(Load(cast(Any, mode), 5, 50, 1_000, 1_000))
            self.assertEqual((50, 5, 50), (sent.messages, sent.connections, len(memory.messages)), mode)
            self.assertEqual((4, sorted(sent.latency)), (len(sent.latency), [*sent.latency]), mode)
            self.assertGreater(sent.latency[0], 0, mode)

    async def test_what_waits_counts(self) -> None:
        """One message that is held up has those behind it wait, which are due meanwhile: theirs is the time as well."""
        factory = SMTPFactory(Memory(), hostname="mx.test", policies=[Slow()])
        sent = await self.send(await self.listen(factory), Load("kept", 1, 20, 1_000, 1_000))
        median, _, _, longest = sent.latency
        self.assertGreater(longest, Slow.SECONDS)
        self.assertGreater(median, Slow.SECONDS / 2)

    async def test_more_connections_than_messages(self) -> None:
        """No connection is made for nothing."""
        for mode in ("kept", "new"):
            sent, memory = await self.sent(Load(cast(Any, mode), 20, 3, 1_000))
            self.assertEqual((3, 3), (sent.connections, len(memory.messages)), mode)


class Scripted(Protocol):
    """Says one of its answers to each read, the first to the connection itself, and closes behind the last.

    An empty answer is none: it reads no more.
    """

    transport: Any
    factory: Any

    def connectionMade(self) -> None:
        self.factory.connections.append(self)
        self.answers = list(self.factory.answers)
        self.dataReceived(b"")

    def dataReceived(self, data: bytes) -> None:
        if self.answers:
            answer = self.answers.pop(0)
            self.transport.write(answer)
            if not answer:
                self.transport.pauseProducing()
                return
        if not self.answers:
            self.transport.loseConnection()


class DistrustTests(LoadTestCase):
    """Servers that are not well: the load generator ends, and says why."""

    CASES = (
        ((b"554 no\r\n",), "load: the greeting was answered by 554 no (0 of 1 messages were done)"),
        ((b"hello\r\n",), "load: the greeting was answered by what is no reply: hello"),
        ((b"220-a\r\n250 b\r\n",), "load: the greeting was answered by what is no reply: 250 b"),
        ((b"2200 a\r\n",), "load: the greeting was answered by what is no reply: 2200 a"),
        ((b"220 a\x1b[1m\r\n", b"500 \x1b\x9b\r\n"), "load: EHLO was answered by 500 ??"),
        ((b"220 a" * 2_000,), "load: the greeting was answered by a line without an end"),
        ((), "load: the server closed the connection instead of replying to the greeting"),
        ((b"220 a\r\n", b"250-a\r\n250 b\r\n"), "closed the connection instead of replying to MAIL"),
        ((b"220 a\r\n250 b\r\n",), "load: the greeting was answered once more: 250 b"),
        ((b"220 a\r\n", b"250 b\r\n", b"250 c\r\n", b"550 5.7.1 d\r\n"), "load: RCPT was answered by 550 5.7.1 d"),
        ((b"220 a\r\n", *[b"250 b\r\n"] * 4), "load: DATA was answered by 250 b"),
        ((b"220 a\r\n", *[b"250 b\r\n"] * 3, b"354 c\r\n", b"451 d\r\n"), "load: the message was answered by 451 d"),
        (
            (b"220 a\r\n", *[b"250 b\r\n"] * 3, b"354 c\r\n", b"250 d\r\n", b"221 e\r\n221 f\r\n"),
            "load: QUIT was answered once more: 221 f (1 of 1 messages were done)",
        ),
    )

    async def refused(self, *answers: bytes, load: Load | None = None, timeout: int = 60) -> str:
        factory: Any = Factory.forProtocol(Scripted)
        factory.answers, factory.connections = answers, []
        port = await self.listen(factory)
        try:
            await self.send(port, load or Load("kept", 1, 1, 1_000), timeout=timeout)
        except LoadError as error:
            return str(error)
        finally:
            for connection in factory.connections:
                connection.transport.abortConnection()
        return ""

    async def test_replies(self) -> None:
        """A reply of another code, or none, or too many."""
        for answers, expected in self.CASES:
            self.assertIn(expected, await self.refused(*answers))

    async def test_early_reply(self) -> None:
        """A reply to a message that is still being sent."""
        answers = (b"220 a\r\n", *[b"250 b\r\n"] * 3, b"354 c\r\n", b"250 d\r\n", b"")
        said = await self.refused(*answers, load=Load("kept", 1, 1, 50_000_000))
        self.assertIn("load: the message was answered before it was sent: 250 d", said)

    async def test_all_is_well(self) -> None:
        """The script of the cases, where nothing is wrong with it."""
        script = (
            b"220 a\r\n",
            b"250-b\r\n250-c\r\n250\r\n",
            *[b"250 b\r\n"] * 2,
            b"354 c\r\n",
            b"250 d\r\n",
            b"221 e\r\n",
        )
        self.assertEqual("", await self.refused(*script))

    async def test_pipelined(self) -> None:
        """The replies to one write are told apart."""
        load = Load("pipelined", 1, 1, 1_000)
        script = (b"220 a\r\n", b"250 b\r\n", b"250 c\r\n250 d\r\n354 e\r\n", b"250 f\r\n", b"221 g\r\n")
        self.assertEqual("", await self.refused(*script, load=load))
        wrong = (*script[:2], b"250 c\r\n550 d\r\n503 e\r\n")
        self.assertIn("load: MAIL, RCPT and DATA was answered by 550 d", await self.refused(*wrong, load=load))

    async def test_time(self) -> None:
        """A server that says nothing more does not hold it up for ever."""
        said = await self.refused(b"220 a\r\n", b"", timeout=1)
        self.assertEqual("load: the time is up (0 of 1 messages were done)", said)

    async def test_relay_rule(self) -> None:
        """A refusal of our own server."""
        port = await self.listen(SMTPFactory(Memory(), policies=[RelayRule(["mx.test"])]))
        error = await self.assertFailure(self.send(port, Load(messages=1)), LoadError)
        self.assertIn("RCPT was answered by 550 5.7.1 ", str(error))

    async def test_nobody_listens(self) -> None:
        """There is no server."""
        listening: Any = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(Factory())
        port = listening.getHost().port
        await listening.stopListening()
        error = await self.assertFailure(self.send(port, Load()), LoadError)
        self.assertIn("Connection refused", str(error))

    async def test_command_line(self) -> None:
        """What cannot be sent is an error, and not something else."""
        for load, expected in (
            (Load(octets=100), "load: 100 is not a number from 138 on"),
            (Load(messages=0), "load: 0 is not a number from 1 on"),
            (Load(cast(Any, "both")), "load: there is no such mode"),
            (Load("new", rate=10), "load: a rate is for connections that stay"),
        ):
            error = await self.assertFailure(self.send(1, load), LoadError)
            self.assertIn(expected, str(error))


class CompilerTests(SynchronousTestCase):
    """Compiling."""

    def test_no_compiler(self) -> None:
        """The error says what is missing, and what to do."""
        self.patch(os, "environ", {**os.environ, "CC": "/nowhere/cc -g"})
        error = self.assertRaises(LoadError, compile_load, Path(self.mktemp()))
        self.assertIn("no C compiler: /nowhere/cc: No such file or directory. Install one (", str(error))

    def test_it_fails(self) -> None:
        """The error has its command, and nothing is left that would be taken for a program."""
        compiler = [sys.executable, "-c", "raise SystemExit(1)"]
        self.patch(os, "environ", {**os.environ, "CC": shlex.join(compiler)})
        folder = Path(self.mktemp())
        error = self.assertRaises(LoadError, compile_load, folder)
        self.assertTrue(str(error).startswith(f"{shlex.join(compiler)} -O2 "), error)
        self.assertEqual([], list(folder.iterdir()))

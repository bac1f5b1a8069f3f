"""benchmarks/: the load generator sends what it says and believes nothing unseen; the scripts run.

Nothing here says how fast anything was, and nothing needs the peers or a network.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, cast

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from benchmarks.load import Load, LoadError, Sent, compile_load
from benchmarks.report import Footprint, Run, Workload, footprint_table, tables
from benchmarks.steps import Conversation, measure
from twistsmtp.delivery.memory import Memory
from twistsmtp.factory import SMTPFactory
from twistsmtp.policy.relay import RelayRule

ROOT = Path(__file__).resolve().parent.parent
LINUX = sys.platform == "linux"
NOT_LINUX = "the load generator and the figures of processes are Linux's"


class LoadTestCase(TestCase):
    """The load generator is there."""

    folder: ClassVar[Path | None] = None
    if not LINUX:
        skip = NOT_LINUX

    def setUp(self) -> None:
        folder = Path(self.mktemp()) if LoadTestCase.folder is None else LoadTestCase.folder
        try:
            self.program = compile_load(folder.absolute())
        except LoadError as error:
            if "no C compiler" in str(error):
                raise SkipTest(str(error)) from None
            raise
        LoadTestCase.folder = folder

    async def listen(self, factory: Any) -> int:
        """The port where *factory* is served until the test ends."""
        port: IListeningPort = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        return cast(IPv4Address, port.getHost()).port

    def send(self, port: int, load: Load, *, timeout: int = 60) -> Deferred[Sent]:
        return deferToThread(load.send, self.program, port, timeout=timeout)


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


def run_script(name: str, *words: str) -> Deferred[subprocess.CompletedProcess[str]]:
    """Run a script of `benchmarks/` as a user does, in whatever folder."""
    command = [sys.executable, str(ROOT / "benchmarks" / name), *words]
    return deferToThread(subprocess.run, command, capture_output=True, text=True, timeout=300)


class BenchTests(LoadTestCase):
    """`bench.py`, as it is run."""

    async def test_this_server(self) -> None:
        """It measures this server alone, without the peers."""
        file = Path(self.mktemp()).absolute()
        options = ["--only", "twistsmtp", "--work", "new,kept", "--reps", "2", "--messages", "50", "--json", str(file)]
        done = await run_script("bench.py", *options)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertRegex(done.stdout, r"kept: 1 KB on .*; 2 repetitions\n.*\n  twistsmtp .* 1\.00 ")
        runs = json.loads(file.read_text())["runs"]
        order = [(run["repetition"], run["workload"]) for run in runs]
        self.assertEqual([(0, "kept"), (0, "new"), (1, "kept"), (1, "new")], order)
        for run in runs:
            self.assertEqual((50, 1_000), (run["messages"], run["octets"]))
            self.assertGreater(run["seconds"], 0)
            self.assertGreater(run["peak_memory"], 1)

    async def test_names(self) -> None:
        """A name that is none is said."""
        for option, known in (("--only", "aiosmtpd"), ("--work", "kept")):
            done = await run_script("bench.py", option, f"{known},sendmail")
            self.assertEqual(2, done.returncode)
            self.assertIn(f"argument {option}: sendmail: not one of ", done.stderr)


class StepsScriptTests(TestCase):
    """`steps.py`, as it is run."""

    async def test_lines(self) -> None:
        """There is a line for each step."""
        done = await run_script("steps.py", "--handfuls", "200")
        self.assertEqual(0, done.returncode, done.stderr)
        names = [line.split()[0] for line in done.stdout.splitlines()]
        self.assertEqual(["MAIL", "RCPT", "DATA", "body", "all", "messages"], names[1:])


class StepsTests(SynchronousTestCase):
    """The arithmetic of `steps.py`, with a clock of our own."""

    def conversation(self, octets: int = 1_000) -> Conversation:
        conversation = Conversation(octets)
        self.addCleanup(conversation.leave)
        return conversation

    def test_sizes(self) -> None:
        """A message has the octets that were asked for, and comes in reads."""
        for octets in (50, 1_000, 200_000):
            body = self.conversation(octets).steps["body"]
            self.assertEqual(octets + len(b".\r\n"), len(b"".join(body)))
            self.assertLessEqual(max(map(len, body)), 65536)

    def test_figures(self) -> None:
        """A clock that ticks once each time it is asked: each step takes as long as the loop, and so all take 4."""
        ticks = count()
        figures, counted = measure(self.conversation(), 3, lambda: float(next(ticks)))
        self.assertEqual(3, counted)
        self.assertEqual(["MAIL", "RCPT", "DATA", "body", "all"], [each.name for each in figures])
        self.assertEqual([1e6] * 4 + [4e6], [each.microseconds for each in figures])
        self.assertEqual([1000.0] * 4 + [4000.0], [each.loops for each in figures])

    def test_what_does_not_count(self) -> None:
        """A handful in which the machine changed its speed: here it is always slower behind."""
        ticks = count()
        self.assertEqual(([], 0), measure(self.conversation(), 3, lambda: float(next(ticks) ** 3)))


class ReportTests(SynchronousTestCase):
    """The tables."""

    RUN = Run("kept", "ours", 0, 2_000, 1_000, 4.0, 1.0, 0.5, 0.4, 30.0, 31.0)
    WORKLOADS = (Workload("kept", "1 KB", Load()), Workload("new", "one each", Load()))

    def test_ratios(self) -> None:
        """A ratio is that of two runs of the same repetition; the median of them is shown, and both ends."""
        costs = {"ours": (1.0, 2.0, 4.0), "theirs": (3.0, 8.0, 8.0)}
        runs = [
            replace(self.RUN, server=server, repetition=repetition, server_cpu=cpu)
            for server, each in costs.items()
            for repetition, cpu in enumerate(each)
        ]
        title, _, ours, theirs, others, _ = tables(self.WORKLOADS, runs)
        self.assertEqual("kept: 1 KB; 3 repetitions", title)
        self.assertEqual("ours 1.0000 1.00 1.00-1.00 500 0.5 30.0 31.0", " ".join(ours.split()))
        self.assertEqual("theirs 4.0000 3.00 2.00-4.00 500 0.5 30.0 31.0", " ".join(theirs.split()))
        self.assertEqual("meanwhile other processes took 10% of a processor", others.strip())

    def test_no_time_at_all(self) -> None:
        """A run that took less than can be measured has no ratio."""
        lines = tables(self.WORKLOADS, [replace(self.RUN, server_cpu=0.0)])
        self.assertIn(" - ", list(lines)[2])

    def test_growth(self) -> None:
        """Growth is over the first size of the same delivery."""
        footprints = [
            Footprint("a:", 1_000, 10, 20.0, 21.0),
            Footprint("a:", 100_000, 10, 20.0, 23.5),
            Footprint("b:", 1_000, 10, 20.0, 30.0),
        ]
        growth = [line.split()[-1] for line in footprint_table(footprints)]
        self.assertEqual(["growth", "+0.0", "+2.5", "+0.0"], growth)

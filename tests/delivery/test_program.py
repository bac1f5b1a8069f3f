"""Programs that take mail: real ones."""

import json
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, gatherResults
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.delivery.kit import ANN, envelope, new_session, settled, to
from tests.support import Server
from twistsmtp.delivery import process
from twistsmtp.delivery import program as module
from twistsmtp.delivery.api import Envelope, Refusal, Reply, ReversePath, Session
from twistsmtp.delivery.find import make_delivery
from twistsmtp.delivery.program import Program
from twistsmtp.delivery.spool import CHUNK
from twistsmtp.wire.grammar import Mailbox, parse_mailbox

SENDER, JOE, SUE = "ann@one.example", "joe@two.example", "Sue+x@Two.example"
MAIL = b"Subject: x\r\n\r\nhello\r\n"

#: Writes what it is given to a file that its first argument names.
TELL = """\
import json, os, sys
told = {"arguments": sys.argv[2:], "environment": dict(os.environ), "octets": sys.stdin.buffer.read().decode("latin-1")}
with open(sys.argv[1], "a") as file:
    file.write(json.dumps(told) + "\\n")
"""


class ProgramCase(TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.told = self.folder / "told"
        self.patch(process, "GRACE", 0.2)

    def new(self, code: str, arguments: str = "", **settings: Any) -> Program:
        """A delivery to a program in Python."""
        script = self.folder / "program.py"
        script.write_text(code)
        program = Program(f"{sys.executable} {script} {self.told} {arguments}", **settings)
        program.start()
        self.addCleanup(program.stop)
        return program

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.told.read_text().splitlines()]

    async def deliver(
        self,
        program: Program,
        *addresses: str,
        pieces: Iterable[bytes] = (MAIL,),
        sender: ReversePath = ANN,
        session: Session | None = None,
    ) -> Any:
        """What commit answers."""
        transaction: Any = program.begin(session or new_session(program), sender)
        try:
            for address in addresses:
                await settled(transaction.rcpt(to(address)))
            recipients = tuple(map(to, addresses))
            transaction.open(Envelope("s.1", sender, recipients))
            for each in pieces:
                await settled(transaction.write(each))
            return await transaction.commit()
        except BaseException:
            transaction.abort()
            raise

    async def refusal(self, *args: Any, **kwargs: Any) -> Reply:
        with self.assertRaises(Refusal) as caught:
            await self.deliver(*args, **kwargs)
        reply: Reply = caught.exception.reply
        return reply


class GivenTests(ProgramCase):
    """What a program is given."""

    async def test_all(self) -> None:
        self.patch(os, "environ", {**os.environ, "SECRET": "hunter2", "TZ": "UTC"})
        program = self.new(TELL, "-f {sender} --from={sender} {{}} {id} {client} -- {recipient} '{local} at {domain}'")
        session = new_session(program)
        session.helo, session.identity = "mail.example", "ann"
        answer = await self.deliver(program, JOE, SUE, session=session)
        self.assertIsNone(answer)
        [told] = self.lines()
        at = ("joe at two.example", "Sue+x at two.example")
        self.assertEqual(
            ["-f", SENDER, f"--from={SENDER}", "{}", "s.1", session.client, "--", JOE, SUE, *at],
            told["arguments"],
        )
        self.assertEqual(MAIL.replace(b"\r\n", b"\n").decode(), told["octets"])
        given = told["environment"]
        self.assertEqual(
            {
                "SENDER": "ann@one.example",
                "RECIPIENTS": "joe@two.example\nSue+x@Two.example",
                "CLIENT_ADDRESS": session.client,
                "CLIENT_HELO": "mail.example",
                "SASL_USERNAME": "ann",
                "SERVER_NAME": "mx.example",
                "MAIL_ID": "s.1",
                "TZ": "UTC",
            },
            {
                name: value
                for name, value in given.items()
                if name not in {*module.PASSED_ON, "LC_CTYPE"} or name == "TZ"
            },
        )
        self.assertEqual(os.environ["PATH"], given["PATH"])

    async def test_one_recipient(self) -> None:
        await self.deliver(self.new(TELL), JOE)
        self.assertEqual(JOE, self.lines()[0]["environment"]["RECIPIENT"])

    async def test_nobody_sends(self) -> None:
        """The null reverse-path is an empty argument; and <> where that would make an option take the next one."""
        command = "-f {sender} -f{sender} --from={sender} x{sender} -r{sender}@"
        await self.deliver(self.new(TELL, command), JOE, sender=ReversePath(mailbox=None))
        [told] = self.lines()
        self.assertEqual(["-f", "", "-f<>", "--from=", "x", "-r@"], told["arguments"])
        self.assertEqual("", told["environment"]["SENDER"])

    async def test_no_shell(self) -> None:
        """What a shell would make something of stays what it is; so does what is not ASCII."""
        local = "$(touch pwned);`id`|é \"'*"
        mailbox = str(Mailbox(local, "two.example"))
        sender = ReversePath(mailbox=parse_mailbox(mailbox))
        await self.deliver(self.new(TELL, "{sender} {local}"), mailbox, sender=sender)
        [told] = self.lines()
        self.assertEqual([mailbox, local], told["arguments"])
        self.assertEqual((mailbox, mailbox), (told["environment"]["SENDER"], told["environment"]["RECIPIENTS"]))

    async def test_octets(self) -> None:
        """As they came, with crlf; many; none."""
        many = b"x" * CHUNK + b"\r\n"
        for crlf, pieces, octets in (
            (True, (MAIL, b"\r", b"\n\xff"), MAIL + b"\r\n\xff"),
            (False, (MAIL, b"\r", b"\n\xff\r"), MAIL.replace(b"\r\n", b"\n") + b"\n\xff\r"),
            (False, (many, many, many), many.replace(b"\r\n", b"\n") * 3),
            (False, (), b""),
        ):
            self.told.unlink(missing_ok=True)
            await self.deliver(self.new(TELL, crlf=crlf), JOE, pieces=pieces)
            self.assertEqual(octets, self.lines()[0]["octets"].encode("latin-1"))

    async def test_leads_a_group(self) -> None:
        """With setsid(1), or where there is none; and no signal is ignored."""
        script = self.folder / "script"
        script.write_text("""\
exec >>"$1"
echo $$ $(sed 's/.*) //' /proc/$$/stat | cut -d' ' -f3,4) $(grep SigIgn /proc/$$/status)
""")
        program = Program(f"sh {script} {self.told}")
        await self.deliver(program, JOE)
        self.patch(process, "which", lambda name: None)
        await self.deliver(program, JOE)
        bits = sum(1 << number - 1 for number in (signal.SIGPIPE, signal.SIGXFSZ))  # those that Python ignores
        for line in self.told.read_text().splitlines():
            pid, group, session, _, ignored = line.split()
            self.assertEqual((pid, pid, 0), (group, session, int(ignored, 16) & bits))

    async def test_one_by_one(self) -> None:
        """each: a run for each recipient, each from the beginning of the message."""
        await self.deliver(self.new(TELL, "{recipient}", each=True), JOE, "sue@two.example")
        told = [(each["arguments"], each["environment"]["RECIPIENT"], each["octets"]) for each in self.lines()]
        octets = MAIL.replace(b"\r\n", b"\n").decode()
        self.assertEqual([([name], name, octets) for name in (JOE, "sue@two.example")], told)


class AddressTests(ProgramCase):
    """Addresses that would be options."""

    async def test_options(self) -> None:
        sly = Mailbox("-oQ/tmp", "two.example")
        for arguments, sender, recipient in (
            ("{sender}", True, False),
            ("{sender}{recipient}", True, False),
            ("-f {sender} {recipient}", True, True),
            ("{local}@x", False, True),
            ("--to={recipient} x{local} :{sender}", False, False),
            ("", False, False),
        ):
            program = self.new(TELL, arguments)
            codes = []
            for mailbox in (sly, parse_mailbox("ann@one.example")):
                try:
                    program.begin(new_session(program), ReversePath(mailbox=mailbox))
                except Refusal as refusal:
                    codes.append((refusal.reply.code, refusal.reply.enhanced))
            self.assertEqual([(553, "5.1.7")] * sender, codes, arguments)
            transaction = program.begin(new_session(program), ANN)
            transaction.rcpt(to(JOE))
            if recipient:
                with self.assertRaises(Refusal) as caught:
                    transaction.rcpt(to(str(sly)))
                self.assertEqual((553, "5.1.3"), (caught.exception.reply.code, caught.exception.reply.enhanced))
            else:
                transaction.rcpt(to(str(sly)))

    def test_many_recipients(self) -> None:
        """There is room for so many in the environment, and the client sends the message to the others by itself."""
        program = self.new("")
        transaction = program.begin(new_session(program), ANN)
        with self.assertRaises(Refusal) as caught:
            for number in range(10_000):
                transaction.rcpt(to(f"joe{number}@two.example"))
        self.assertEqual(452, caught.exception.reply.code)
        self.assertGreater(number, 1000)
        one_by_one = self.new("", each=True).begin(new_session(program), ANN)
        for number in range(10_000):
            one_by_one.rcpt(to(f"joe{number}@two.example"))


class VerdictTests(ProgramCase):
    async def test_exit_statuses(self) -> None:
        """sysexits.h: what is wrong with the mail is said for good, what is wrong here may be mended."""
        program = self.new("import sys; sys.exit(int(sys.argv[-1]))", "{local}")
        for status, verdict in {
            0: None,
            1: "451 4.3.0",
            os.EX_USAGE: "451 4.3.0",
            os.EX_DATAERR: "554 5.6.0",
            os.EX_NOINPUT: "451 4.3.0",
            os.EX_NOUSER: "550 5.1.1",
            os.EX_NOHOST: "550 5.1.2",
            os.EX_UNAVAILABLE: "554 5.3.0",
            os.EX_SOFTWARE: "451 4.3.0",
            os.EX_CANTCREAT: "451 4.3.0",
            os.EX_IOERR: "451 4.3.0",
            os.EX_TEMPFAIL: "451 4.3.0",
            os.EX_PROTOCOL: "554 5.5.0",
            os.EX_NOPERM: "550 5.7.1",
            os.EX_CONFIG: "451 4.3.0",
            127: "451 4.3.0",
            255: "451 4.3.0",
        }.items():
            try:
                answer = await self.deliver(program, f"{status}@two.example")
            except Refusal as refusal:
                answer = f"{refusal.reply.code} {refusal.reply.enhanced}"
            self.assertEqual(verdict, answer, status)

    async def test_signal(self) -> None:
        program = self.new("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
        self.assertEqual(451, (await self.refusal(program, JOE)).code)

    async def test_reads_nothing(self) -> None:
        """A program need not read what it does not want."""
        self.assertIsNone(await self.deliver(self.new(""), JOE, pieces=[b"x" * CHUNK] * 8))

    async def test_what_it_says(self) -> None:
        """It goes to the log: as much as there is room for, printable, and nothing to the client."""
        code = "import sys; print('\\x1b[2Jhunter2\\n' + 'y' * 100000); print('bad', file=sys.stderr); sys.exit(75)"
        with capturedLogs() as events:
            reply = await self.refusal(self.new(code), JOE)
        self.assertNotIn("hunter2", str(reply))
        [text] = [text for each in events if (text := formatEvent(each)) and "hunter2" in text]
        self.assertIn(r"exit status 75", text)
        self.assertIn(r"\x1b[2Jhunter2 ", text)
        self.assertLess(len(text), process.OUTPUT_LIMIT + 200)

    async def test_gone(self) -> None:
        """A program that is not there any more: 451, for the operator to mend."""
        program = self.new("")
        program._name = str(self.folder / "nothing")
        self.assertEqual(451, (await self.refusal(program, JOE)).code)

    async def test_one_by_one(self) -> None:
        """Over LMTP each recipient has a verdict. Over SMTP the first refusal is that of all, and no more are run."""
        code = f"import sys; open({str(self.told)!r}, 'a').write(sys.argv[2]); sys.exit(int(sys.argv[2]))"
        program = self.new(code, "{local}", each=True)
        session = new_session(program)
        session.lmtp = True
        addresses = ("0@two.example", "67@two.example", "75@two.example", "0@three.example")
        answer = await self.deliver(program, *addresses, session=session)
        self.assertEqual([250, 550, 451, 250], [each.code for each in answer])
        self.assertEqual("067750", self.told.read_text())
        self.told.unlink()
        self.assertEqual(550, (await self.refusal(program, *addresses)).code)
        self.assertEqual("067", self.told.read_text())

    async def test_apart(self) -> None:
        """Over SMTP recipients share a message, unless each is to have it by itself."""
        cases: tuple[tuple[dict[str, Any], str], ...] = (
            ({}, "250 2.1.5"),
            ({"each": True}, "250 2.1.5"),
            ({"each": True, "apart": True}, "452 4.5.3"),
        )
        for settings, code in cases:
            client = Server(self.new(TELL, **settings)).connect().hello().begin(JOE)
            self.assertEqual([code], client.codes(f"RCPT TO:<{JOE}>"))

    async def test_lmtp_together(self) -> None:
        session = new_session(program := self.new("import sys; sys.exit(67)"))
        session.lmtp = True
        self.assertEqual(550, (await self.refusal(program, JOE, session=session)).code)


class TimeTests(ProgramCase):
    """Programs that take their time."""

    #: Starts another one, and waits with it; both do not mind being told to end, if `stubborn`.
    SLEEP = """\
import os, signal, sys, time
if {stubborn}:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
with open(sys.argv[1], "a") as file:
    file.write(f"{{os.getpid()}}\\n")
time.sleep(1000)
"""

    def pids(self) -> list[int]:
        return [int(line) for line in self.told.read_text().splitlines()] if self.told.exists() else []

    async def gone(self, pids: list[int]) -> None:
        """Wait until these have ended: they have been killed, and die when they have their turn."""
        from twisted.internet import reactor
        from twisted.internet.task import deferLater

        while any(map(self.runs, pids)):
            await deferLater(reactor, 0.01)

    @staticmethod
    def runs(pid: int) -> bool:
        try:
            with open(f"/proc/{pid}/stat") as file:
                # Z: it has ended, and whoever is to look after it has not looked yet.
                return file.read().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    async def running(self, count: int) -> None:
        from twisted.internet import reactor
        from twisted.internet.task import deferLater

        while len(self.pids()) < count:
            await deferLater(reactor, 0.01)

    async def test_too_long(self) -> None:
        """When its time is up it ends, and all that it has started."""
        for stubborn in (False, True):
            self.told.unlink(missing_ok=True)
            program = self.new(self.SLEEP.format(stubborn=stubborn), timeout=1.5)
            with capturedLogs() as events:
                self.assertEqual(451, (await self.refusal(program, JOE)).code)
            self.assertTrue(any("it took more than 1.5 s" in (formatEvent(each) or "") for each in events))
            self.assertEqual(2, len(self.pids()))
            await self.gone(self.pids())

    async def test_client_goes(self) -> None:
        """The program ends, and until it has, no other one takes its turn."""
        program = self.new(self.SLEEP.format(stubborn=True), at_once=1)
        first = ensureDeferred(self.deliver(program, JOE))
        await self.running(2)
        second = ensureDeferred(self.deliver(program, "sue@two.example"))
        first.cancel()
        with self.assertRaises(CancelledError):
            await first
        self.assertEqual(2, len(self.pids()))
        await self.running(4)
        await self.gone(self.pids()[:2])
        second.cancel()
        self.failureResultOf(second, CancelledError)
        await program.stop()
        await self.gone(self.pids())

    async def test_waiting_client_goes(self) -> None:
        """Its program is never run."""
        program = self.new(self.SLEEP.format(stubborn=False), at_once=1)
        first = ensureDeferred(self.deliver(program, JOE))
        await self.running(2)
        waiting = ensureDeferred(self.deliver(program, "sue@two.example"))
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        await program.stop()
        self.assertEqual(2, len(self.pids()))

    async def test_only_so_many(self) -> None:
        code = """\
import os, sys, time
name = f"{sys.argv[1]}.{os.getpid()}"
open(name, "w").close()
with open(sys.argv[1], "a") as file:
    file.write(f"{len([each for each in os.listdir(os.path.dirname(name)) if each.startswith('told.')])}\\n")
time.sleep(0.05)
os.unlink(name)
"""
        program = self.new(code, at_once=2)
        await gatherResults([ensureDeferred(self.deliver(program, JOE)) for _ in range(6)])
        self.assertEqual(6, len(self.pids()))
        self.assertLessEqual(max(self.pids()), 2)

    async def test_leaves_something_behind(self) -> None:
        """Nobody waits for what a program has left behind, and it is not ended."""
        code = """\
import os, sys, time
if os.fork() == 0:
    open(sys.argv[1], "w").write(f"{os.getpid()}\\n")
    time.sleep(1000)
"""
        self.assertIsNone(await self.deliver(self.new(code), JOE))
        await self.running(1)
        [pid] = self.pids()
        os.kill(pid, signal.SIGKILL)

    def test_aborted(self) -> None:
        """Of a message that does not end no program ever knows."""
        program = self.new(TELL)
        transaction: Any = program.begin(new_session(program), ANN)
        transaction.rcpt(to(JOE))
        transaction.open(envelope(JOE))
        transaction.write(MAIL)
        transaction.abort()
        self.assertFalse(self.told.exists())
        stopped: Deferred[None] = program.stop()
        self.successResultOf(stopped)


class OptionsTests(SynchronousTestCase):
    def test_right(self) -> None:
        made = make_delivery("program:cat -u {sender}:each=yes:newline=crlf:timeout=5:at_once=3")
        assert isinstance(made, Program)
        self.assertEqual((True, True, 5.0, 3), (made._each, made._crlf, made._timeout, made._turns.limit))
        self.assertFalse(made._apart)
        made = make_delivery("program:cat:each=yes:apart=yes")
        assert isinstance(made, Program)
        self.assertTrue(made._apart)

    def test_wrong(self) -> None:
        known = "{client}, {domain}, {id}, {local}, {recipient}, {sender}"
        for text, problem in {
            "program:": "missing a required argument",
            "program: ": "there is no command",
            "program:cat 'x": "No closing quotation",
            "program:cat {password}": f"{{password}}: the placeholders are {known}, not {{password}}",
            "program:cat {sender!r}": "the placeholders are",
            "program:cat {": "{: ",
            "program:cat:newline=cr": "newline is lf or crlf, not 'cr'",
            "program:cat:at_once=-1": "at_once is a number, not '-1'",
            "program:cat:at_once=0": "more than 0",
            "program:cat:each=1": "each is yes or no, not '1'",
            "program:cat:apart=yes": "apart is of no use without each",
            "program:cat:timeout=0": "timeout is a number of seconds",
        }.items():
            error = self.assertRaises(ValueError, make_delivery, text)
            self.assertIn(problem, str(error))

    def test_not_there(self) -> None:
        error = self.assertRaises(ValueError, Program("no-such-program-here x").start)
        self.assertEqual("no-such-program-here: there is no such program", str(error))

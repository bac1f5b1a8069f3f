"""Programs for the standard library's smtpd: with their imports changed, and nothing else, they print the same."""

import contextlib
import os
import pwd
import signal
import smtplib
import socket
import subprocess
import sys
from io import StringIO
from types import ModuleType
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from tests.clients.kit import ROOT
from tests.compat.old import LACKING_SMTPD, changes, expected, run, run_module, run_python, text_of
from twistsmtp.compat import smtpd
from twistsmtp.compat.smtpd import command

NAMES = ("conversation", "debugging", "archive", "channel", "chain")

#: Each place where ours says something else than the original, in the order of the program ``smtpd_differences``, and
#: what is wrong with the original. The page *Migrating* has the same list.
DIFFERENCES = [
    ("it closes without a word", "S: 451 Requested action aborted: local error in processing\nC: b'NOOP'\nS: 250 OK"),
    ("it waits for more", "S: 250 OK\nC: b'NOOP'\nS: 250 OK"),
    ("it takes commands for a message", "S: 250 OK\nC: b'QUIT'\nS: 221 Bye"),
    ("it closes without a word", "S: 500 Error: bad syntax\nC: b'NOOP'\nS: 250 OK"),
    (
        "it closes without a word",
        (
            "S: 501 Syntax: MAIL FROM: <address> [SP <mail-parameters>]\n"
            "C: b'MAIL FROM:<a@b'\nS: 250 OK\nC: b'NOOP'\nS: 250 OK"
        ),
    ),
    ("a control character goes on", "S: 500 Error: bad syntax"),
    ("a bare CR goes on", "S: 500 Error: bad syntax"),
    (
        "it closes without a word; and mail is lost that all recipients were refused",
        "S: 554 Error: The message is not UTF-8\nC: b'NOOP'\nS: 250 OK\nthe proxy said: (550, b'There is nobody')",
    ),
    ("mail is lost that one recipient was refused", "the proxy said: (550, b'There is nobody')"),
    ("mail is lost that there was no room for", "the proxy said: (452, b'No room')"),
]

#: Runs CPython's own tests, with ours in the place of theirs, and prints what did not pass.
SHIM = """
import sys, unittest
from twistsmtp.compat import smtpd
sys.modules["smtpd"] = smtpd
import test.test_smtpd
result = unittest.TextTestRunner(stream=open("/dev/null", "w")).run(
    unittest.defaultTestLoader.loadTestsFromModule(test.test_smtpd)
)
print(result.testsRun, *sorted(test.id().rpartition(".")[2] for test, _ in result.failures + result.errors))
"""


class Programs(SynchronousTestCase):
    """With ours, and with the original."""

    def test_ours(self) -> None:
        """Each prints what it should."""
        for name in NAMES:
            self.assertEqual(expected(f"smtpd_{name}.expected"), run(f"smtpd_{name}", ours=True), name)

    def test_original(self) -> None:
        """What it should is what it prints with the original."""
        for name in NAMES:
            self.assertEqual(expected(f"smtpd_{name}.expected"), run(f"smtpd_{name}", ours=False), name)

    def test_differences(self) -> None:
        """Where ours is better, it says this."""
        self.assertEqual(expected("smtpd_differences.expected"), run("smtpd_differences", ours=True))
        self.assertEqual([ours for _, ours in DIFFERENCES], [ours for _, ours in changes("smtpd_differences")])

    def test_original_differences(self) -> None:
        """And the original that."""
        self.assertEqual(expected("smtpd_differences.original"), run("smtpd_differences", ours=False))

    if LACKING_SMTPD:
        test_original.skip = test_original_differences.skip = LACKING_SMTPD  # type: ignore[attr-defined]  # trial's

    def test_suite_of_cpython(self) -> None:
        """All of CPython's own tests pass but one, which looks at what else the module has."""
        if LACKING_SMTPD:
            raise SkipTest(LACKING_SMTPD)
        done = run_python(SHIM)
        if "ModuleNotFoundError: No module named 'test" in done.stderr:
            raise SkipTest("this Python has not its own tests")
        self.assertEqual("153 test__all__", done.stdout.strip(), done.stderr)


class Here(TestCase):
    """Programs in a thread of this process, where trial runs the reactor."""

    timeout = 60

    async def test_programs(self) -> None:
        """They do not mind whose reactor it is. (A database of sqlite3 would, which is for one thread.)"""
        for name in ("conversation", "debugging", "channel", "chain", "differences"):
            with contextlib.redirect_stdout(StringIO()) as printed:
                text = text_of(f"smtpd_{name}", ours=True)
                await deferToThread(exec, compile(text, name, "exec"), {"__name__": "__main__"})
            self.assertEqual(expected(f"smtpd_{name}.expected"), printed.getvalue(), name)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

    def setUp(self) -> "Deferred[None]":  # type: ignore[override]  # trial waits for it
        from twisted.internet import reactor

        clock: Any = reactor
        return deferLater(clock, 0, lambda: None)  # when it runs


class CommandLines(SynchronousTestCase):
    """What the words of the command line mean."""

    def read(self, *arguments: str) -> smtpd.Options:
        self.patch(sys, "argv", ["smtpd", *arguments])
        return smtpd.parseargs()

    def test_defaults(self) -> None:
        """Nothing has to be said."""
        options = self.read()
        self.assertEqual((True, "PureProxy", None, False), tuple(map(options.__getattribute__, SETTINGS)))
        self.assertEqual(("localhost", 8025, "localhost", 25), tuple(map(options.__getattribute__, ADDRESSES)))

    def test_all(self) -> None:
        """All can be, in either form."""
        self.patch(smtpd, "DEBUGSTREAM", smtpd.DEBUGSTREAM)
        for words in ("-n -u -d -c a.B -s 10", "--nosetuid --smtputf8 --debug --class=a.B --size 10"):
            options = self.read(*words.split(), "[::1]:1", "mx.test:2")
            self.assertEqual((False, "a.B", 10, True), tuple(map(options.__getattribute__, SETTINGS)))
            self.assertEqual(("::1", 1, "mx.test", 2), tuple(map(options.__getattribute__, ADDRESSES)))
            self.assertIs(sys.stderr, smtpd.DEBUGSTREAM)

    def test_wrong(self) -> None:
        """What makes no sense ends the program; so does a question."""
        for status, words in ((0, "-h"), (0, "-V"), (1, "-x"), (1, "a"), (1, "a:x"), (1, "-s x"), (1, "a:1 b:2 c:3")):
            with (
                contextlib.redirect_stderr(StringIO()),
                contextlib.redirect_stdout(StringIO()),
                self.assertRaises(SystemExit) as ended,
            ):
                self.read(*words.split())
            self.assertEqual(status, ended.exception.code, words)

    def test_serves(self) -> None:
        """The class is made and served, by whoever is nobody."""
        made: list[Any] = []
        module = ModuleType("tests_of_smtpd")
        vars(module)["Server"] = lambda *arguments, **settings: made.append((arguments, settings))
        self.patch(sys, "modules", {**sys.modules, "tests_of_smtpd": module})
        self.patch(sys, "argv", ["smtpd", "-c", "tests_of_smtpd.Server", "a:1", "b:2"])
        self.patch(command, "loop", lambda: made.append("served"))
        self.patch(os, "setuid", made.append)
        smtpd.main()
        nobody = pwd.getpwnam("nobody").pw_uid
        self.assertEqual([((("a", 1), ("b", 2), None), {"enable_SMTPUTF8": False}), nobody, "served"], made)

        def refuse(number: int) -> None:
            raise PermissionError

        self.patch(os, "setuid", refuse)
        with contextlib.redirect_stderr(StringIO()) as said, self.assertRaises(SystemExit):
            smtpd.main()
        self.assertEqual('Cannot setuid "nobody"; try running with -n option.\n', said.getvalue())


SETTINGS = ("setuid", "classname", "size_limit", "enable_SMTPUTF8")
ADDRESSES = ("localhost", "localport", "remotehost", "remoteport")


class Commands(SynchronousTestCase):
    """``python -m twistsmtp.compat.smtpd``."""

    def run_command(self, *arguments: str) -> tuple[int, str, str]:
        done = run_module("twistsmtp.compat.smtpd", *arguments)
        return done.returncode, done.stdout, done.stderr

    def test_says(self) -> None:
        """It says what it is, and what is wrong with its arguments."""
        self.assertEqual((0, "Python SMTP proxy version 0.3\n", ""), self.run_command("-V"))
        status, _, said = self.run_command("--help")
        self.assertEqual((0, True), (status, "--nosetuid" in said and "Version: Python SMTP proxy" in said))
        for arguments, end in (
            (("-x",), "option -x not recognized"),
            (("a:1", "b:2", "c:3"), "Invalid arguments: a:1, b:2, c:3"),
            (("localhost",), "Bad local spec: localhost"),
            (("localhost:x",), "Bad local port: localhost:x"),
            (("a:1", "b"), "Bad remote spec: b"),
            (("a:1", "b:x"), "Bad remote port: b:x"),
            (("-s", "x"), "Invalid size: x"),
        ):
            status, _, said = self.run_command(*arguments)
            self.assertEqual((1, end), (status, said.splitlines()[-1]))

    def test_serves(self) -> None:
        """It prints mail until control-C is pressed, and then ends well."""
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        command = ["-n", "-d", "-s", "1000", "-c", "DebuggingServer", f"127.0.0.1:{port}"]
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "twistsmtp.compat.smtpd", *command],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.kill)
        assert process.stderr is not None
        self.assertIn("DebuggingServer started at", process.stderr.readline())
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            client.sendmail("a@b", ["c@d"], b"Subject: x\r\n\r\ntext\r\n")
            self.assertEqual("1000", client.esmtp_features["size"])
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=20)
        self.assertEqual(0, process.returncode, said)
        self.assertIn("Incoming connection from", said)
        self.assertEqual(
            ["---------- MESSAGE FOLLOWS ----------", "mail options: ['SIZE=20']", "b'Subject: x'",
             "b'X-Peer: 127.0.0.1'", "b''", "b'text'", "------------ END MESSAGE ------------"],
            printed.splitlines(),
        )  # fmt: skip

"""The commands themselves: `twistd smtp` and `twist smtp` as processes of their own."""

import json
import os
import shutil
import signal
import smtplib
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Timer
from typing import Any

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.command import makeService
from twistsmtp.options import Options

ROOT = Path(__file__).resolve().parent.parent
TWISTD = "from twisted.scripts.twistd import run; run()"
TWIST = "from twisted.application.twist._twist import Twist; Twist.main()"

MESSAGE = b"Subject: hello\r\n\r\nhello\r\n"


class PluginTests(SynchronousTestCase):
    """The plugin, as twistd finds it."""

    def test_found(self) -> None:
        (maker,) = [maker for maker in getPlugins(IServiceMaker) if maker.tapname == "smtp"]
        self.assertIs(maker.options, Options)
        self.assertIs(maker.makeService, makeService)

    def test_is_alone_in_its_folder(self) -> None:
        """An `__init__.py` would hide Twisted's own plugins."""
        self.assertFalse((ROOT / "twisted" / "__init__.py").exists())
        self.assertFalse((ROOT / "twisted" / "plugins" / "__init__.py").exists())


class CommandTests(SynchronousTestCase):
    """Processes: each of these tests starts one or two."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def start(self, script: str, *arguments: str) -> "subprocess.Popen[str]":
        """A process in a folder of its own, that ends with the test."""
        process = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        watch = Timer(60, process.kill)
        watch.start()
        self.addCleanup(self.end, process, watch)
        return process

    def end(self, process: "subprocess.Popen[str]", watch: Timer) -> None:
        watch.cancel()
        process.kill()
        with process:  # closes its output, and waits for it
            pass

    def read_until(self, process: "subprocess.Popen[str]", text: str) -> str:
        """The first line that has *text*."""
        lines = []
        for line in process.stdout or ():
            lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"{text!r} is not in:\n{''.join(lines)}")

    def send(self, port: int) -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
            client.sendmail("a@a.example", ["b@mx.example"], MESSAGE)

    def assert_one_line(self, process: "subprocess.Popen[str]", culprit: str) -> None:
        """The process says one line about *culprit*, no traceback, and fails."""
        output, _ = process.communicate()
        self.assertEqual(process.returncode, 1, output)
        self.assertNotIn("Traceback", output)
        self.assertEqual(len([line for line in output.splitlines() if culprit in line]), 1, output)

    def test_twistd(self) -> None:
        """It says what it does, takes mail, logs it, and ends as it was asked to."""
        process = self.start(
            *(TWISTD, "--nodaemon", "smtp", "--listen", "tcp:0:interface=127.0.0.1", "--listen", "unix:socket"),
            *("--hostname", "mx.example", "--delivery", "maildir:mail:create=yes"),
        )
        line = self.read_until(process, "[twistsmtp.service] listens on 127.0.0.1:")
        self.read_until(process, "[twistsmtp.service] listens on socket")
        self.read_until(process, "[twistsmtp.service] takes mail for localhost, mx.example, mx\n")
        self.read_until(process, "[twistsmtp.service] gives it to maildir:mail:create=yes\n")
        self.send(int(line.split(":")[3].split()[0]))
        message = self.read_until(process, "[twistsmtp.message]")
        self.assertIn("from=<a@a.example> to=b@mx.example ", message)
        self.read_until(process, "[twistsmtp.connection]")
        (path,) = (self.folder / "mail" / "new").iterdir()
        self.assertTrue(path.read_bytes().endswith(b"\r\n" + MESSAGE))
        process.terminate()
        self.assertNotIn("Traceback", process.communicate()[0])
        # Having stopped in order, twistd ends by the signal that it was sent.
        self.assertEqual(process.returncode, -signal.SIGTERM)
        self.assertFalse((self.folder / "socket").exists())
        self.assertFalse((self.folder / "twistd.pid").exists())

    def test_twistd_with_json(self) -> None:
        process = self.start(
            *(TWISTD, "--nodaemon", "smtp", "--listen", "tcp:0:interface=127.0.0.1"),
            *("--hostname", "mx.example", "--delivery", "discard:", "--log-format", "json"),
        )
        entry: dict[str, Any] = json.loads(self.read_until(process, "listens on"))
        self.send(int(entry["address"].split(":")[1]))
        entry = json.loads(self.read_until(process, '"twistsmtp.message"'))
        self.assertEqual((entry["sender"], entry["size"]), ("a@a.example", len(MESSAGE)))

    def test_twist(self) -> None:
        process = self.start(
            *(TWIST, "--log-format=text", "smtp", "--listen", "tcp:0:interface=127.0.0.1"),
            *("--hostname", "mx.example", "--delivery", "discard:"),
        )
        line = self.read_until(process, "[twistsmtp.service#info] listens on 127.0.0.1:")
        self.read_until(process, "Starting reactor...")
        self.send(int(line.split(":")[3].split()[0]))
        self.read_until(process, "[twistsmtp.message#info]")

    def test_wrong(self) -> None:
        """One line and no more; `tests.test_options` and `tests.test_service` have all that can be wrong."""
        cases = (
            (TWISTD, "--nope"),
            (TWISTD, "--listen=tcp:nope"),
            (TWIST, "--delivery=nope:"),
        )
        processes = [(self.start(script, "smtp", argument), argument) for script, argument in cases]
        for process, argument in processes:
            output, _ = process.communicate()
            self.assertEqual(process.returncode, 1)
            self.assertRegex(output, r"\A[^\n]+ smtp: [^\n]*nope[^\n]*\n\Z", argument)

    def test_cannot_listen(self) -> None:
        """Wherever the log goes, the line is seen; and no file says that it runs."""
        culprit = "cannot listen on unix:nowhere/x: No such file or directory"
        arguments = ("smtp", "--listen", "unix:nowhere/x", "--delivery", "discard:")
        cases = (
            (TWISTD, "--nodaemon", "--pidfile=1.pid"),
            (TWISTD, "--nodaemon", "--pidfile=2.pid", "--logfile=2.log"),
            (TWISTD, "--pidfile=3.pid", "--logfile=3.log"),
            (TWIST,),
        )
        for process in [self.start(*case, *arguments) for case in cases]:
            self.assert_one_line(process, culprit)
        for name in ("2.log", "3.log"):
            text = (self.folder / name).read_text()
            self.assertEqual(text.count(culprit), 1)
            self.assertNotIn("Traceback", text)
        self.assertEqual([path.name for path in self.folder.glob("*.pid")], [])

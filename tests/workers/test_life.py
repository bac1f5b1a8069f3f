"""A server with workers from its start to its end, as operators run it: a daemon that gives up root, sockets of
systemd, and a start that fails.
"""

import json
import os
import re
import signal
import smtplib
import socket
import subprocess
import sys
import sysconfig
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest

from tests.clients.kit import ROOT, TWISTD, program, start
from tests.loopback import CODES, CONVERSATION, codes, connect, read_all
from tests.test_endpoints import NOBODY, EndpointTestCase, root
from tests.tls.support import issue, write

#: What everybody may import, wherever it is installed.
PATH = f"{ROOT}:{sysconfig.get_path('purelib')}"


def interpreter_for_all() -> str:
    """A Python that a user without rights can run this package with."""
    for each in sys.executable, "/usr/bin/python3":
        command = [each, "-c", "import twistsmtp.workers.parent, prometheus_client"]
        options: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": [], "cwd": "/"}
        try:
            done = subprocess.run(command, env={"PYTHONPATH": PATH}, capture_output=True, check=False, **options)
        except OSError:
            continue
        if done.returncode == 0:
            return each
    raise SkipTest("no other user can run the Python that is here")


class DaemonTests(EndpointTestCase):
    timeout = 120

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    async def test_a_daemon_that_gives_up_root(self) -> None:
        """It listens and reads its key as root, and has all of its processes be another user; mail, metrics, log and
        end are as those of one process."""
        root()
        python = interpreter_for_all()
        self.folder.chmod(0o777)
        identity = str(write(self.folder / "mx.pem", issue("mx.test")))
        os.chmod(identity, 0o600)
        listen = [
            "--listen",
            "tcp:0:interface=127.0.0.1",
            "--listen",
            "tls:0:interface=127.0.0.1",
            "--tls-cert",
            identity,
        ]
        listen += ["--listen-lmtp", "unix:lmtp:mode=600:user=nobody", "--metrics", "tcp:0:interface=127.0.0.1"]
        places = ["--uid", str(NOBODY), "--gid", str(NOBODY), "--pidfile", "pid", "--logfile", "log"]
        mail = ["--hostname", "mx.test", "--delivery", "maildir:mail:create=yes", "--log-format", "json"]
        command = [python, "-c", TWISTD, *places, "smtp", "--workers", "2", *listen, *mail]
        daemon = await start(self, command, folder=self.folder, PYTHONPATH=PATH).ended()
        self.assertEqual(daemon.status, 0, str(daemon))
        parent = int((self.folder / "pid").read_text())
        self.addCleanup(self._end, parent)
        await self.until(lambda: self.log().count(" takes mail") == 2)
        logged = [json.loads(line) for line in self.log().splitlines()]
        where = [each["address"] for each in logged if "address" in each and "worker" not in each]
        (tcp, tls), lmtp = (int(each.split(":")[1]) for each in where[:2]), str(self.folder / "lmtp")
        workers = [each["process"] for each in logged if each["message"].endswith(" takes mail")]
        for each in parent, *workers:
            status = Path(f"/proc/{each}/status").read_text()
            self.assertIn(f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}\n", status)

        def talk() -> None:
            with smtplib.SMTP("127.0.0.1", tcp, timeout=60) as client:
                client.sendmail("a@client.test", ["b@mx.test"], b"Subject: one\r\n\r\n")
            with smtplib.SMTP_SSL("127.0.0.1", tls, timeout=60) as encrypted:
                encrypted.sendmail("a@client.test", ["b@mx.test"], b"Subject: two\r\n\r\n")
            with smtplib.LMTP(lmtp, timeout=60) as client:
                client.sendmail("a@client.test", ["b@mx.test"], b"Subject: three\r\n\r\n")

        await deferToThread(talk)
        self.assertEqual(len([*(self.folder / "mail" / "new").iterdir()]), 3)
        [monitor] = re.findall(r"_Site[^\n]* starting on (\d+)", self.log())

        def ask(path: str) -> str:
            with urlopen(f"http://127.0.0.1:{monitor}/{path}", timeout=60) as answer:
                return str(answer.read().decode())

        self.assertEqual([await deferToThread(ask, path) for path in ("ready", "health")], ["yes\n", "yes\n"])
        figures = await deferToThread(ask, "metrics")
        for protocol, count in ("smtp", 2.0), ("lmtp", 1.0):
            self.assertIn(f'twistsmtp_messages_total{{protocol="{protocol}",result="accepted"}} {count}\n', figures)
        os.kill(parent, signal.SIGTERM)
        await self.until(lambda: not (self.folder / "pid").exists())
        logged = [json.loads(line) for line in self.log().splitlines()]
        messages = [each["worker"] for each in logged if each["namespace"] == "twistsmtp.message"]
        self.assertEqual((len(messages), {*messages} <= {1, 2}), (3, True))
        self.assertFalse((self.folder / "lmtp").exists())
        self.assertNotIn("traceback", self.log())

    def _end(self, process: int) -> None:
        if (self.folder / "pid").exists():
            os.kill(process, signal.SIGKILL)


class SystemdTests(EndpointTestCase):
    timeout = 120

    async def test_sockets_that_are_passed_on(self) -> None:
        """And they are still there when the server has gone."""
        place = str(self.folder / "systemd")
        before = [program("systemd-socket-activate"), "-l", place, "--fdname=smtp", "-E", "PYTHONPATH", "-E", "PATH"]
        process = self.twistd("--listen", "systemd:domain=UNIX:name=smtp", "--workers", "2", before=before)
        await self.until(lambda: os.path.exists(place))

        def run() -> bytes:
            with closing(connect(place, socket.AF_UNIX)) as client:
                client.sendall(CONVERSATION)
                return read_all(client)

        for _ in range(4):
            self.assertEqual(codes(await self.in_thread(run)), CODES)
        await process.says(r"(?s)takes mail\n.*worker \d \(process \d+\) takes mail\n")
        await self.end(process)
        self.assertTrue(os.path.exists(place))


class FailureTests(EndpointTestCase):
    """A start that fails is one line, and an exit status."""

    async def test_before_there_is_a_worker(self) -> None:
        for arguments, said in (
            (["--listen", "unix:/nowhere/x"], "cannot listen on unix:/nowhere/x: No such file or directory"),
            (["--delivery", "maildir:/proc/nowhere"], "delivery 'maildir:/proc/nowhere': "),
        ):
            process = await self.twistd("--listen", "tcp:0:interface=127.0.0.1", "--workers", "2", *arguments).ended()
            self.assertEqual(process.status, 1, str(process))
            self.assertEqual(str(process).count(said), 1, str(process))
            self.assertNotIn("Traceback", str(process))

    async def test_of_a_worker(self) -> None:
        """Here, as the interpreter cannot be run."""
        folder = self.folder / "bin"
        folder.mkdir()
        python = folder / "python3"
        program_ = f"import sys; sys.executable = {str(python)!r}; {TWISTD}"
        command = [sys.executable, "-c", program_, "--nodaemon", "--pidfile=", "smtp", "--workers", "2"]
        command += ["--listen", "tcp:0:interface=127.0.0.1", "--delivery", "discard:"]
        for octets, said in (
            (None, rf"worker 1 cannot be started: No such file or directory: {python}"),
            ("#!/bin/sh\necho something is wrong >&2; exit 3\n", r"ended with status 3 before it took mail"),
        ):
            if octets is not None:
                python.write_text(octets)
                python.chmod(0o755)
            process = await start(self, command, folder=self.folder, PYTHONPATH=str(ROOT)).ended()
            self.assertEqual(process.status, -signal.SIGTERM, str(process))
            self.assertEqual(
                len(re.findall(rf"\[twistsmtp.service#critical\] [^\n]*{said}\n", str(process))), 1, str(process)
            )
            self.assertNotIn("Traceback", str(process))
        self.assertIn("#warn] worker 1 (process ", str(process))
        self.assertIn("): something is wrong\n", str(process))

"""``python -m twistsmtp.testing``."""

import json
import os
import re
import smtplib
import socket
import ssl
import subprocess
import sys
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import IO

from twisted.trial.unittest import SynchronousTestCase

import twistsmtp
from twistsmtp.testing.catcher import Catcher, as_json, as_text, main, one_line
from twistsmtp.testing.inbox import ReceivedMessage
from twistsmtp.testing.memory import MemoryServer

ROOT = str(Path(twistsmtp.__file__).parent.parent)


class ShowTests(SynchronousTestCase):
    """How a message looks."""

    def message(self, octets: bytes) -> ReceivedMessage:
        server = MemoryServer()
        client = server.connect()
        client.hello()
        client.send_mail(["b@mx.test", "c@mx.test"], octets)
        return server.messages[0]

    def test_one_line(self) -> None:
        self.assertEqual(
            one_line(self.message(b"x\r\n")),
            "from <a@client.test>; to <b@mx.test>, <c@mx.test>; 3 octets; client 192.0.2.1 (client.test)",
        )

    def test_text(self) -> None:
        text = as_text(self.message(b"Subject: x\r\n\r\ncaf\xc3\xa9\tx\r\n"))
        self.assertEqual(text.splitlines()[1:], ["Subject: x", "", "café\tx", "---"])

    def test_control_characters(self) -> None:
        """Nothing of a message speaks to the terminal, whatever it is made of."""
        text = as_text(self.message("\x1b[2J\x07\x00\x9b1m\u202e\u2028\x7f".encode() + b"\xff\x9b\r\n"))
        self.assertEqual(text.splitlines()[1], r"\x1b[2J\x07\x00\x9b1m\u202e\u2028\x7f\xff\x9b")
        self.assertTrue(all(each.isprintable() or each == "\n" for each in text))

    def test_json(self) -> None:
        line = as_json(self.message("café \x1b\r\n".encode()))
        self.assertTrue(line.isascii() and line.count("\n") == 1 and "\x1b" not in line)
        facts = json.loads(line)
        self.assertEqual(facts["recipients"], ["b@mx.test", "c@mx.test"])
        self.assertEqual(facts["message"], "café \x1b\r\n")
        self.assertEqual(json.loads(as_json(self.message(b"\xff\r\n")))["message_base64"], "/w0K")

    def test_nobody_reads(self) -> None:
        """When the output's reader has gone, it ends, and says no 250."""

        class Gone(StringIO):
            def write(self, text: str) -> int:
                raise BrokenPipeError

        gone: list[str] = []
        client = MemoryServer(Catcher(as_text, Gone(), gone=lambda: gone.append("gone"))).connect()
        client.hello()
        self.assertEqual(client.send_mail()[-1][:3], "451")
        self.assertEqual(gone, ["gone"])
        self.assertEqual(len(self.flushLoggedErrors(BrokenPipeError)), 1)

    def test_wrong_address(self) -> None:
        """It says what is wrong, and does not begin."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            for address, said in (
                ("localhost:http", "'localhost:http' is not HOST:PORT\n"),
                ("localhost:99999", "'localhost:99999' is not HOST:PORT\n"),
                (f"127.0.0.1:{taken.getsockname()[1]}", "Couldn't listen on"),
            ):
                with redirect_stderr(StringIO()) as errors:
                    self.assertEqual(main([address]), 1)
                self.assertIn(said, errors.getvalue())


class ProgramTests(SynchronousTestCase):
    """The program, and a real client."""

    def start(self, *options: str, **environment: str) -> tuple["subprocess.Popen[str]", int, list[str]]:
        """Start it; the port, and what it has said before it listened."""
        command = [sys.executable, "-m", "twistsmtp.testing", "127.0.0.1:0", *options]
        process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": ROOT, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self.end, process)
        said: list[str] = []
        errors: IO[str] = process.stderr or StringIO()
        for line in errors:
            if found := re.fullmatch(r"listening on 127\.0\.0\.1:(\d+)\n", line):
                return process, int(found[1]), said
            said.append(line)
        raise AssertionError(said)

    def end(self, process: "subprocess.Popen[str]") -> str:
        """What it has written in all, when it was told to end."""
        if process.returncode is not None:
            return ""
        process.terminate()
        text, _ = process.communicate(timeout=20)
        return text

    def test_text(self) -> None:
        """What the terminal cannot write is escaped, and the client hears nothing of that."""
        process, port, _ = self.start("-n", PYTHONIOENCODING="ascii")
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            client.login("anybody", "anything")
            client.sendmail("a@client.test", ["b@mx.test"], "Subject: x\r\n\r\nA caf\xe9.\r\n".encode())
        text = self.end(process)
        self.assertEqual(process.returncode, 0)
        self.assertRegex(text, r"\A--- from <a@client\.test>; .*; user anybody\nSubject: x\n\nA caf\\xe9\.\n---\n\Z")

    def test_all(self) -> None:
        folder = Path(self.mktemp())
        process, port, said = self.start("--json", "--tls", "--maildir", str(folder))
        certificate = said[0].removeprefix("certificate ").strip()
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            client.starttls(context=ssl.create_default_context(cafile=certificate))
            client.sendmail("a@client.test", ["b@mx.test"], "Subject: x\n\nHello.\n")
        facts = json.loads(self.end(process))
        self.assertEqual((facts["sender"], facts["tls"]), ("a@client.test", True))
        self.assertEqual(facts["message"], "Subject: x\r\n\r\nHello.\r\n")
        [file] = (folder / "new").iterdir()
        self.assertIn(b"\nHello.", file.read_bytes())
        self.assertFalse(Path(certificate).exists())

    def test_quiet(self) -> None:
        process, port, _ = self.start("--quiet")
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            for _ in range(2):
                client.sendmail("a@client.test", ["b@mx.test"], "Subject: x\n\nHello.\n")
        self.assertEqual(len(self.end(process).splitlines()), 2)

"""The command line, as a program."""

import asyncio
import logging
import os
import pwd
import signal
import smtplib
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from tempfile import TemporaryDirectory
from typing import Any

import trustme
from twisted.trial.unittest import SynchronousTestCase

from tests.clients.kit import ROOT
from tests.compat.aiosmtpd.kit import Talk
from tests.compat.aiosmtpd.test_programs import free_port
from twistsmtp.compat.aiosmtpd import main
from twistsmtp.compat.aiosmtpd.handlers import Debugging, Mailbox, Sink
from twistsmtp.compat.aiosmtpd.main import parseargs

HANDLERS = "twistsmtp.compat.aiosmtpd.handlers"


@contextmanager
def program(*arguments: str, module: str = "twistsmtp") -> Iterator[tuple[int, list[str]]]:
    """Run it, and give its port and what it has printed, which is there in the end."""
    port, printed = free_port(), list[str]()
    command = [sys.executable, "-u", "-m", module, "-n", "-l", f"127.0.0.1:{port}", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for _ in range(600):
            try:
                Talk(port).close()
                break
            except OSError:
                if process.poll() is not None:
                    break
                time.sleep(0.05)  # until it listens
        yield port, printed
    finally:
        process.send_signal(signal.SIGINT)
        printed += process.communicate(timeout=30)[0].splitlines()
        printed.append(f"exit {process.returncode}")


class Programs(SynchronousTestCase):
    def test_it_prints_what_it_gets(self) -> None:
        for module in ("twistsmtp", "twistsmtp.compat.aiosmtpd"):
            with program(module=module) as (port, printed), smtplib.SMTP("127.0.0.1", port) as client:
                client.sendmail("a@a.test", ["b@b.test"], "Subject: x\r\n\r\nhello\r\n")
                self.assertNotIn("size", client.esmtp_features)
                self.assertNotIn("smtputf8", client.esmtp_features)
            self.assertEqual(printed[0], "---------- MESSAGE FOLLOWS ----------")
            self.assertEqual(printed[-3:], ["hello", "------------ END MESSAGE ------------", "exit 0"])

    def test_options(self) -> None:
        with TemporaryDirectory() as folder:
            options = ["-s", "1000", "-u", "-d", "-d", "-c", f"{HANDLERS}.Mailbox", f"{folder}/box"]
            with program(*options) as (port, printed), smtplib.SMTP("127.0.0.1", port) as client:
                client.sendmail("a@a.test", ["b@b.test"], "Subject: x\r\n\r\nhello\r\n")
                self.assertEqual(client.esmtp_features["size"], "1000")
                self.assertIn("smtputf8", client.esmtp_features)
            self.assertEqual(len(os.listdir(f"{folder}/box/new")), 1)
            self.assertTrue(any("MAIL FROM" in line or "mail FROM" in line for line in printed), printed)

    def test_tls(self) -> None:
        with TemporaryDirectory() as folder:
            authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
            issued = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
            issued.private_key_pem.write_to_path(f"{folder}/key")
            issued.cert_chain_pems[0].write_to_path(f"{folder}/cert")
            for options, answer in (([], 530), (["--no-requiretls"], 250)):
                files = ["--tlscert", f"{folder}/cert", "--tlskey", f"{folder}/key"]
                with program(*files, *options) as (port, _), smtplib.SMTP("127.0.0.1", port) as client:
                    client.ehlo("x")
                    self.assertEqual(client.mail("a@a.test")[0], answer)
                    client.starttls()
                    client.ehlo("x")
                    self.assertEqual(client.mail("a@a.test")[0], 250)
            files = ["--smtpscert", f"{folder}/cert", "--smtpskey", f"{folder}/key"]
            with program(*files) as (port, _), smtplib.SMTP_SSL("127.0.0.1", port) as client:
                self.assertEqual(client.noop(), (250, b"OK"))


class Arguments(SynchronousTestCase):
    def refused(self, *arguments: str) -> str:
        with redirect_stderr(StringIO()) as said, self.assertRaises(SystemExit) as caught:
            parseargs(arguments)
        self.assertEqual(caught.exception.code, 2)
        return said.getvalue().splitlines()[-1]

    def test_defaults(self) -> None:
        _, options = parseargs([])
        self.assertIsInstance(options.handler, Debugging)
        self.assertEqual(
            (options.host, options.port, options.setuid, options.size, options.smtputf8, options.debug),
            ("localhost", 8025, True, None, False, 0),
        )

    def test_where_to_listen(self) -> None:
        places: dict[str, Any] = {
            "mx.test:25": ("mx.test", 25),
            "mx.test": ("mx.test", 8025),
            ":25": ("localhost", 25),
            "mx.test:": ("mx.test", 8025),
            "::1:25": ("::1", 25),
        }
        for text, place in places.items():
            _, options = parseargs(["-l", text])
            self.assertEqual((options.host, options.port), place)

    def test_what_is_wrong(self) -> None:
        self.assertIn("Invalid port number: x", self.refused("-l", ":x"))
        for option in ("smtps", "tls"):
            together = f"--{option}cert and --{option}key must be specified together"
            self.assertIn(together, self.refused(f"--{option}cert", "x"))
            self.assertIn("Cert file x not found", self.refused(f"--{option}cert", "x", f"--{option}key", "y"))
            self.assertIn("Key file y not found", self.refused(f"--{option}cert", __file__, f"--{option}key", "y"))
        self.assertIn("takes no arguments", self.refused("-c", "builtins.object", "x"))

    def test_who_runs_it(self) -> None:
        def refuse(uid: int) -> None:
            raise PermissionError(uid)

        self.patch(os, "setuid", refuse)
        for module, said in ((pwd, 'Cannot setuid "nobody"'), (None, 'Cannot import module "pwd"')):
            self.patch(main, "pwd", module)
            with redirect_stderr(StringIO()) as text, self.assertRaises(SystemExit) as caught:
                main.main([])
            self.assertEqual((caught.exception.code, text.getvalue()), (1, f"{said}; try running with -n option.\n"))

    def test_it_listens_until_the_loop_is_stopped(self) -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        self.addCleanup(asyncio.set_event_loop, None)
        loop.call_later(0.1, loop.stop)
        self.patch(logging, "basicConfig", lambda level: None)
        self.addCleanup(logging.getLogger("mail.log").setLevel, logging.NOTSET)
        main.main(["-n", "-ddd", "-l", f"127.0.0.1:{free_port()}", "-c", f"{HANDLERS}.Sink"])
        self.assertTrue(loop.is_closed() and loop.get_debug())

    def test_handlers(self) -> None:
        with TemporaryDirectory() as folder:
            for text, arguments, kind in (("Sink", [], Sink), ("Mailbox", [f"{folder}/box"], Mailbox)):
                _, options = parseargs(["-c", f"{HANDLERS}.{text}", *arguments])
                self.assertIsInstance(options.handler, kind)

    def test_the_version(self) -> None:
        with redirect_stdout(StringIO()) as said, self.assertRaises(SystemExit):
            parseargs(["-v"])
        self.assertEqual(said.getvalue().split()[-1], "1.4.6")  # argparse breaks lines

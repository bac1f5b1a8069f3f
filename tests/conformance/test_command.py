"""The command line, run in this process against a server in threads."""

import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.clients.kit import ROOT
from tests.conformance.kit import context
from tests.conformance.server import PASSWORD, USER, Defects, Server
from tests.docs.pages import all_blocks
from twistsmtp.conformance.check import CHECKS
from twistsmtp.conformance.command import main, parser, target


class CommandTests(SynchronousTestCase):
    """`main`."""

    def run_main(self, *arguments: str) -> tuple[int, str, str]:
        """The status, what was said, and what was complained of."""
        out, err = StringIO(), StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        try:
            status = main(arguments)
        except SystemExit as end:
            status = int(str(end.code))
        return status, out.getvalue(), err.getvalue()

    def judge(
        self, *arguments: str, defects: Defects | None = None, lmtp: bool = False, implicit: bool = False
    ) -> tuple[int, str, str]:
        with Server(context(), defects or Defects(), lmtp=lmtp, implicit=implicit) as running:
            address = f"127.0.0.1:{running.port}"
            return self.run_main(address, "--to", "bob@mx.test", "--timeout", "2", *arguments)

    def test_all_is_well(self) -> None:
        """A server that is right passes, over STARTTLS and with an account."""
        topics = ("greeting", "hello", "replies", "data", "starttls", "tls", "auth", "login", "8bitmime", "lmtp")
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "password").write_text(f"{PASSWORD}\nand more\n")
        account = ("--user", USER, "--password-file", str(folder / "password"))
        status, out, err = self.judge(
            "--starttls", *account, "--json", str(folder / "json"), "--only", ",".join(topics)
        )
        self.assertEqual((status, err), (0, ""), out)
        report = json.loads((folder / "json").read_text())
        self.assertEqual((report["counts"]["fail"], report["counts"]["warn"]), (0, 0))
        chosen = [id for id in CHECKS if id.partition(".")[0] in topics]
        self.assertEqual([check["id"] for check in report["checks"]], chosen)
        skipped = {check["id"].partition(".")[0] for check in report["checks"] if check["verdict"] == "skip"}
        self.assertEqual(skipped, {"lmtp", "tls", "8bitmime"})
        self.assertIn("RFC 5321 SMTP: ", out)
        self.assertNotIn("FAIL", out)
        for kept in (out, json.dumps(report)):
            self.assertNotIn(PASSWORD, kept)

    def test_lmtp_and_tls(self) -> None:
        """So does one for LMTP, and one with TLS from the start."""
        for option, topics in (("--lmtp", "lmtp,hello,data,chunking"), ("--tls", "tls,hello,data")):
            lmtp = option == "--lmtp"
            status, out, _ = self.judge(option, "--only", topics, lmtp=lmtp, implicit=not lmtp)
            self.assertEqual(status, 0, out)

    def test_failure(self) -> None:
        """What fails is reported, with what was said, and the status is 1."""
        broken = Defects(ends=(b"\n.\n",))
        status, out, _ = self.judge("--only", "smuggling.lf-dot-lf,session.noop", defects=broken)
        self.assertEqual(status, 1)
        self.assertIn(
            "FAIL smuggling.lf-dot-lf: \\n.\\n does not end a message (RFC 5321 section 4.1.1.4, security)", out
        )
        self.assertIn("S: 354", out)
        self.assertIn("1 passed, 2 failed, in ", out)

    def test_warning(self) -> None:
        """What only should be so leaves the status 0."""
        status, out, _ = self.judge("--only", "session.help", defects=Defects(says=(("HELP", "502 5.5.1 No"),)))
        self.assertEqual(status, 0)
        self.assertIn("WARN session.help", out)

    def test_choice(self) -> None:
        """--only and --skip take ids, topics and patterns."""
        status, out, _ = self.run_main(
            "--list", "--only", "greeting,session.q*", "--only", "data.nul", "--skip", "*.quit"
        )
        self.assertEqual(status, 0)
        listed = [line.split()[0] for line in out.splitlines()]
        expected = [id for id in CHECKS if id.startswith(("greeting.", "session.q")) or id == "data.nul"]
        self.assertEqual(listed, [id for id in expected if id != "session.quit"])

    def test_nothing_chosen(self) -> None:
        """To judge nothing is no success."""
        self.assertEqual(self.judge("--only", "nothing")[0], 2)

    def test_verbose(self) -> None:
        """--verbose shows what passed."""
        self.assertIn("PASS session.noop: ", self.judge("--only", "session.noop", "--verbose")[1])

    def test_bad_options(self) -> None:
        """What is wrong is said."""
        for arguments, said in (
            ((), "HOST:PORT is missing"),
            (("localhost",), "'localhost' is not HOST:PORT"),
            (("localhost:0",), "is not HOST:PORT"),
            (("localhost:25", "--user", "ann"), "--user and --password-file belong together"),
            (("localhost:25", "--user", "ann", "--password-file", "nowhere"), "nowhere"),
            (("localhost:25", "--to", "<bob@mx.test>"), "no mailbox"),
            (("localhost:25", "--from", "bob\r\nRSET"), "no mailbox"),
        ):
            status, _, err = self.run_main(*arguments)
            self.assertEqual(status, 2)
            self.assertIn(said, err)

    def test_refused_recipient(self) -> None:
        """A server that takes no mail for the recipient cannot be judged."""
        status, _, err = self.judge(defects=Defects(says=(("RCPT", "550 5.7.1 Relaying denied"),)))
        self.assertEqual(status, 2)
        self.assertIn("550 5.7.1 Relaying denied (--to?)", err)

    def test_wrong_password(self) -> None:
        """Nor can one that wants a user where the password is wrong."""
        path = self.mktemp()
        Path(path).write_text("wrong\n")
        defects = Defects(says=(("MAIL", "530 5.7.0 Authenticate"),))
        status, _, err = self.judge("--starttls", "--user", USER, "--password-file", path, defects=defects)
        self.assertEqual(status, 2)
        self.assertIn("AUTH was answered by 535", err)

    def test_nobody_listens(self) -> None:
        """Where nobody listens, that is said at once."""
        with socket.socket() as port:
            port.bind(("127.0.0.1", 0))
            status, _, err = self.run_main(f"127.0.0.1:{port.getsockname()[1]}")
        self.assertEqual(status, 2)
        self.assertIn("no connection to 127.0.0.1:", err)

    def test_silent_server(self) -> None:
        """A server that says nothing is given up on at the greeting."""
        with socket.create_server(("127.0.0.1", 0)) as port:
            status, _, err = self.run_main(f"127.0.0.1:{port.getsockname()[1]}", "--timeout", "0.1")
        self.assertEqual(status, 2)
        self.assertIn("no greeting", err)

    def test_endless_reply(self) -> None:
        """So is one that does not stop talking."""
        with socket.create_server(("127.0.0.1", 0)) as port:

            def talk() -> None:
                with port.accept()[0] as connection:
                    try:
                        while True:
                            connection.sendall(b"220-and so on\r\n" * 1000)
                    except OSError:
                        pass

            thread = threading.Thread(target=talk)
            thread.start()
            status, _, err = self.run_main(f"127.0.0.1:{port.getsockname()[1]}", "--timeout", "1")
            port.close()
            thread.join(10)
        self.assertEqual(status, 2)
        self.assertIn("cannot be judged", err)


class PageTests(SynchronousTestCase):
    """docs/conformance.rst."""

    def test_commands(self) -> None:
        """Its command lines are taken."""
        words = [
            shlex.split(line.removeprefix("$ "))
            for each in all_blocks("console")
            for line in each.text.splitlines()
            if "-m twistsmtp.conformance" in line
        ]
        self.assertGreater(len(words), 5)
        for line in words:
            options = parser().parse_args(line[line.index("twistsmtp.conformance") + 1 :])
            if not options.list:
                options.password_file = None if options.user is None else __file__
                target(options)


class CopyTests(SynchronousTestCase):
    """A copy of the folder."""

    def test_alone(self) -> None:
        """It runs under another name, with the standard library alone."""
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        os.symlink(ROOT / "twistsmtp" / "conformance", folder / "judge")
        program = (
            "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module('judge', run_name='__main__')"
        )
        with Server(context(), Defects()) as running:
            ended = subprocess.run(
                [sys.executable, "-I", "-S", "-c", program, str(folder), f"127.0.0.1:{running.port}", "--only", "data"],
                capture_output=True,
                timeout=60,
                check=False,
            )
        self.assertEqual((ended.returncode, ended.stderr), (0, b""), ended.stdout)
        self.assertIn(b" passed, in ", ended.stdout)

"""docs/testing.rst: its tests are run, each by what it is for, and its programs."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.docs.pages import ROOT, all_blocks, block
from twistsmtp.testing import faults, server

PAGE = "testing.rst"


class TestingPageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def python(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": f"{self.folder}:{ROOT}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def put(self, *names: str) -> None:
        for name in names:
            (self.folder / name).write_text(block(PAGE, name).text)

    def test_pytest(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        [(name, module)] = project["entry-points"]["pytest11"].items()
        installed = self.folder / "kit-1.dist-info"
        installed.mkdir()
        (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: kit\nVersion: 1\n")
        (installed / "entry_points.txt").write_text(f"[pytest11]\n{name} = {module}\n")
        self.put("test_welcome.py", "test_login.py", "test_small.py")
        self.assertIn("4 passed", self.python("-m", "pytest", "-p", "no:cacheprovider"))

    def test_unittest(self) -> None:
        self.put("test_report.py")
        self.assertRegex(self.python("-m", "unittest", "test_report"), r"Ran 1 test .*\n\nOK")

    def test_trial(self) -> None:
        self.put("test_conversation.py")
        self.assertIn("PASSED (successes=2)", self.python("-m", "twisted.trial", "test_conversation"))

    def test_thread(self) -> None:
        self.assertEqual(self.python("-c", block(PAGE, "thread").text), "Hello\n")

    def test_sessions(self) -> None:
        """What one block records another replays; and the file looks as it is shown."""
        self.python("-c", block(PAGE, "record").text)
        [path] = (self.folder / "sessions").iterdir()
        [shown] = [each.text for each in all_blocks("text") if each.page == PAGE and "# A session" in each.text]

        def alike(text: str) -> list[str]:
            return re.sub(r"^[\d.]+(?= [CS]:)|(?<=^# id: ).*", "0", text, flags=re.MULTILINE).splitlines()

        self.assertEqual(alike(path.read_text())[: len(shown.splitlines())], alike(shown))
        self.put("test_sessions.py")
        self.assertIn("PASSED (successes=1)", self.python("-m", "twisted.trial", "test_sessions"))

    def test_service(self) -> None:
        """The server that an operator has configured is recorded, too."""
        (self.folder / "twistsmtp.toml").write_text('hostname = "mx.test"\ndelivery = "memory:"\n')
        client = """
import smtplib
from twistsmtp.testing import ServerThread
with ServerThread(factory=service.factory) as server, smtplib.SMTP(server.host, server.port):
    pass
"""
        self.python("-c", f"{block(PAGE, 'record.tac').text}{client}")
        [path] = (self.folder / "sessions").iterdir()
        self.assertIn("S: 220 mx.test ESMTP", path.read_text())

    def test_faults(self) -> None:
        """Each that the page lists is there, and takes what is given."""
        page = (ROOT / "docs" / PAGE).read_text()
        calls = re.findall(r"``smtpd(\.faults)?\.(\w+)\((.*?)\)``", page)
        self.assertGreater(len(calls), 5)
        for by_faults, name, arguments in calls:
            if name != "wait_for":
                target = faults.Faults() if by_faults else server.MailServer()
                eval(f"target.{name}({arguments})", {"target": target})

"""What there is before any process: the setting, the service that twistd gets, and what ``--check`` says."""

import os
import sys
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.check import check
from twistsmtp.command import makeService
from twistsmtp.config import Config, ConfigError, load
from twistsmtp.options import Options
from twistsmtp.service import Command, SMTPService
from twistsmtp.workers.parent import Parent


class SettingTests(SynchronousTestCase):
    def test_numbers(self) -> None:
        self.assertEqual(Config().workers, 1)
        for given in "4", 4:
            self.assertEqual(load({"workers": given}).workers, 4)
        path = Path(self.mktemp())
        path.write_text("workers = 3")
        self.assertEqual(load({}, str(path)).workers, 3)

    def test_auto(self) -> None:
        """One for each processor that this process may have."""
        self.patch(os, "sched_getaffinity", lambda process: {0, 1, 5})
        self.assertEqual(load({"workers": "auto"}).workers, 3)

    def test_wrong(self) -> None:
        for given in "0", "-1", "129", "many", 1.5, True:
            error = self.assertRaises(ConfigError, load, {"workers": given})
            self.assertEqual(str(error), f"--workers: {given!r} is neither a number from 1 to 128 nor auto")


class ServiceTests(SynchronousTestCase):
    def make(self, parent: dict[str, object] | None, *arguments: str) -> SMTPService:
        options = Options()
        options.parseOptions(["--hostname", "mx.test", "--delivery", "discard:", "--listen", "tcp:0", *arguments])
        if parent is not None:
            options.parent = usage.Options()
            options.parent.update(parent)
        return makeService(options)

    def test_one(self) -> None:
        """There is no parent."""
        for arguments in (), ("--workers", "1"):
            self.assertIs(type(self.make({"nodaemon": 1}, *arguments)), Command)

    def test_several(self) -> None:
        service = self.make({"nodaemon": 1}, "--workers", "2")
        self.assertIs(type(service), Parent)

    def test_wrong(self) -> None:
        """It is found before anything is started."""
        self.patch(sys, "argv", ["twistd"])
        error = self.assertRaises(SystemExit, self.make, {"nodaemon": 1}, "--workers", "2", "--policy", "nope")
        self.assertRegex(str(error.code), r"\Atwistd smtp: policy 'nope'[^\n]*\Z")

    def test_in_an_application(self) -> None:
        error = self.assertRaises(ConfigError, self.make, None, "--workers", "2")
        self.assertEqual(str(error), "workers is of no use in an application: they are for twistd and twist")


class CheckTests(SynchronousTestCase):
    def test_it_is_said(self) -> None:
        for workers, said in ("1", False), ("3", True):
            output = StringIO()
            options: dict[str, Any] = {"delivery": "discard:", "hostname": "mx.test", "workers": workers}
            self.assertEqual(check(options, None, output=output, reactor=reactor), 0)
            line = "  - 3 workers, which take the mail, and their parent, which listens\n"
            self.assertEqual(line in output.getvalue(), said)

"""docs/operating.rst: what it says of the log and of the server's words is what there is."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import cast

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.docs.pages import ROOT, Client
from twistsmtp.delivery.discard import Discard
from twistsmtp.factory import SMTPFactory
from twistsmtp.options import Options
from twistsmtp.settings import SETTINGS
from twistsmtp.wire.reply import Catalogue

#: What Twisted's older log adds to events, in a process where somebody listens to it.
LEGACY = {"format", "isError", "message", "system", "time"}

PAGE = (ROOT / "docs" / "operating.rst").read_text()


class LogTests(SynchronousTestCase):
    """The fields of the two kinds of event."""

    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        client = Client(SMTPFactory(Discard(), reactor=Clock()))
        for line in ("HELO client", "MAIL FROM:<>", "RCPT TO:<ada@example.org>", "DATA", "x", ".", "QUIT"):
            client.say(line)
        client.leave()

    def event(self, namespace: str) -> LogEvent:
        [event] = [event for event in self.events if event["log_namespace"] == namespace]
        return event

    def documented(self, namespace: str) -> set[str]:
        table = PAGE.split(f"namespace ``{namespace}``:")[1].split("\n\n")[2]
        rows = re.findall(r"^   \* - (``.*)$", table, re.MULTILINE)
        return {name for row in rows for name in re.findall(r"``(\w+)``", row)}

    def test_fields(self) -> None:
        """The page lists each field that there is, and no other."""
        for namespace in ("twistsmtp.message", "twistsmtp.connection"):
            there = {key for key in self.event(namespace) if not key.startswith("log_")} - LEGACY
            self.assertEqual(there, self.documented(namespace), namespace)

    def test_lines(self) -> None:
        """The lines that the page shows have the form that the events have."""
        for namespace in ("twistsmtp.message", "twistsmtp.connection"):
            form = self.event(namespace)["log_format"]
            pattern = ".*".join(re.escape(part) for part in re.split(r"\{.*?\}", form))
            self.assertRegex(PAGE, rf"(?m)^   \S+ \[{re.escape(namespace)}\] {pattern}$")


class CompletenessTests(SynchronousTestCase):
    """Nothing that an operator can set or see is left out."""

    def test_options(self) -> None:
        """Each option of the command line is there: from the table of settings, or by name."""
        taken = set(re.findall(r"^\.\. option:: --([\w-]+)", PAGE, re.MULTILINE)) | {each.name for each in SETTINGS}
        options = {name.rstrip("=") for name in Options().longOpt}
        self.assertEqual(options, taken)
        self.assertIn("\n.. settings::\n", PAGE)

    def test_refusals(self) -> None:
        """Each refusal of the catalogue is explained."""
        explained = re.findall(r"^   :(\w+): \S", PAGE.split(".. replies::")[1], re.MULTILINE)
        refusals = [each.name for each in fields(Catalogue) if not getattr(Catalogue(), each.name).positive]
        self.assertEqual(sorted(refusals), sorted(explained))

    def test_start_error(self) -> None:
        """The one line that the page shows for a wrong value is what is said."""
        with self.assertRaises(Exception) as caught:
            Options().parseOptions(["--max-size", "12X"])
        self.assertIn(f"   twistd smtp: {caught.exception}\n", PAGE)

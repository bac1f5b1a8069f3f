"""`counts.py` holds the hot path against its bounds, and notices when it becomes longer."""

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from benchmarks.counts import Counts, count_calls, count_instructions, differences
from tests.benchmarks.kit import ROOT

#: Each plants what makes the server slower, and then counts.
LOOKS_AT_EACH_OCTET = """
from twistsmtp.protocol import SMTPProtocol

take = SMTPProtocol.lineReceived

def look(self, line):
    for octet in line + line:
        pass
    return take(self, line)

SMTPProtocol.lineReceived = look
"""
COPIES_THE_BODY = """
from twistsmtp.wire.dotstream import DotStream

feed = DotStream.feed
DotStream.feed = lambda self, data, start=0: feed(self, bytes(bytearray(data)), start)
"""


class GuardTests(TestCase):
    """The bounds that are checked in."""

    def counted(self, planted: str = "") -> "Deferred[subprocess.CompletedProcess[str]]":
        """Count in a process of its own, which nobody measures the coverage of."""
        code = f"{planted}\nfrom benchmarks.counts import main\nraise SystemExit(main([]))"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
        run: Any = subprocess.run
        return deferToThread(
            run, [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
        )

    async def test_hot_path(self) -> None:
        """It is as long as it was. If it is meant to have changed: ``make counts ARGS=--write``."""
        done = await self.counted()
        if "there are no bounds" in done.stdout:
            raise SkipTest(done.stdout.splitlines()[-1])
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)

    async def test_regressions(self) -> None:
        """Two that are planted are found, each where it is."""
        done = await self.counted(LOOKS_AT_EACH_OCTET + COPIES_THE_BODY)
        if "there are no bounds" in done.stdout:
            raise SkipTest(done.stdout.splitlines()[-1])
        self.assertEqual(1, done.returncode, done.stdout + done.stderr)
        for found in (r"kept: [\d,]+ instructions", r"pipelined: [\d,]+ instructions", r"100k: [\d,]+ octets"):
            self.assertRegex(done.stdout, found + r" and not [\d,]+: \+")


class CountTests(SynchronousTestCase):
    """What is counted."""

    def test_instructions(self) -> None:
        """Those of a function and of what it calls, the same each time."""

        def inner() -> int:
            return sum([1, 2, 3])

        def outer() -> None:
            inner()
            inner()

        found = count_instructions(outer)
        self.assertEqual(found, count_instructions(outer))
        self.assertEqual(found[inner.__code__], 2 * count_instructions(inner)[inner.__code__])
        self.assertGreater(found[outer.__code__], 0)

    def test_calls(self) -> None:
        """Those of functions that are not Python."""
        self.assertEqual(count_calls(lambda: len("a") + len("b")), count_calls(lambda: len("a")) + 1)

    def test_differences(self) -> None:
        """More than three hundredths, upwards and downwards."""
        bound = Counts(1_000, 100, 10_000)
        self.assertEqual([], list(differences(replace(bound, instructions=1_029, octets=9_701), bound)))
        found = list(differences(replace(bound, instructions=1_031, calls=96), bound))
        self.assertEqual(
            ["1,031 instructions and not 1,000: +3.1%", "96 calls and not 100: -4.0%"], [words for _, words in found]
        )
        self.assertEqual([True, False], [share > 0 for share, _ in found])

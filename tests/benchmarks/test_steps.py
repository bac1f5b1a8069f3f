"""`steps.py` measures what each step of a message costs."""

from itertools import count

from twisted.trial.unittest import SynchronousTestCase, TestCase

from benchmarks.steps import Conversation, measure
from tests.benchmarks.kit import run_script


class StepsScriptTests(TestCase):
    """`steps.py`, as it is run."""

    async def test_lines(self) -> None:
        """There is a line for each step."""
        done = await run_script("steps.py", "--handfuls", "200")
        self.assertEqual(0, done.returncode, done.stderr)
        names = [line.split()[0] for line in done.stdout.splitlines()]
        self.assertEqual(["MAIL", "RCPT", "DATA", "body", "all", "messages"], names[1:])


class StepsTests(SynchronousTestCase):
    """The arithmetic of `steps.py`, with a clock of our own."""

    def conversation(self, octets: int = 1_000) -> Conversation:
        conversation = Conversation(octets)
        self.addCleanup(conversation.leave)
        return conversation

    def test_sizes(self) -> None:
        """A message has the octets that were asked for, and comes in reads."""
        for octets in (50, 1_000, 200_000):
            body = self.conversation(octets).steps["body"]
            self.assertEqual(octets + len(b".\r\n"), len(b"".join(body)))
            self.assertLessEqual(max(map(len, body)), 65536)

    def test_figures(self) -> None:
        """A clock that ticks once each time it is asked: each step takes as long as the loop, and so all take 4."""
        ticks = count()
        figures, counted = measure(self.conversation(), 3, lambda: float(next(ticks)))
        self.assertEqual(3, counted)
        self.assertEqual(["MAIL", "RCPT", "DATA", "body", "all"], [each.name for each in figures])
        self.assertEqual([1e6] * 4 + [4e6], [each.microseconds for each in figures])
        self.assertEqual([1000.0] * 4 + [4000.0], [each.loops for each in figures])

    def test_what_does_not_count(self) -> None:
        """A handful in which the machine changed its speed: here it is always slower behind."""
        ticks = count()
        self.assertEqual(([], 0), measure(self.conversation(), 3, lambda: float(next(ticks) ** 3)))

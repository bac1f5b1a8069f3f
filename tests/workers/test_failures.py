"""Who has failed to authenticate, as several workers remember it: what one process does (`Failures`), within what
floating point can say."""

import os

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.security import Failures
from twistsmtp.workers.failures import SharedFailures
from twistsmtp.workers.memory import Memory

STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "take_back", "wait"]), st.integers(0, 1), st.sampled_from(["a", "b"])),
    max_size=60,
)


class FailureTests(SynchronousTestCase):
    def make(self, clock: Clock) -> list[SharedFailures]:
        """As two workers have them."""
        memory = Memory(2)
        self.addCleanup(os.close, memory.descriptor)
        return [SharedFailures(Memory(2, memory.descriptor).scores(0), clock.seconds) for _ in range(2)]

    @given(STEPS)
    def test_they_are_as_those_of_one_process(self, steps: list[tuple[str, int, str]]) -> None:
        clock = Clock()
        clock.advance(1_800_000_000)
        workers, one = self.make(clock), Failures()
        for what, worker, address in steps:
            if what == "wait":
                clock.advance(600)
                continue
            arguments = (address, clock.seconds()) if what == "add" else (address,)
            # What is taken back was added in the same moment, or a little before.
            getattr(workers[worker], what)(*arguments)
            if what == "take_back" and address in one._table:
                one._table[address] = (one.count(address, clock.seconds()), clock.seconds())
            getattr(one, what)(*arguments)
        for address in "ab":
            expected = one.count(address, clock.seconds())
            for each in workers:
                self.assertAlmostEqual(each.count(address, clock.seconds()), expected, places=3)

    def test_the_clock_is_put_back(self) -> None:
        clock = Clock()
        clock.advance(1_800_000_000)
        first, second = self.make(clock)
        first.add("a", clock.seconds())
        self.assertLess(second.count("a", 1.0), 2_000_000)
        second.add("a", 1.0)
        self.assertGreater(first.count("a", 1.0), 1)

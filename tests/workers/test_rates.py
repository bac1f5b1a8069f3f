"""Rates of several workers: what one process does (`Buckets`), whichever worker is asked."""

import os

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.policy.rate import Buckets, Rate
from twistsmtp.workers.memory import Memory
from twistsmtp.workers.rates import SharedBuckets

RATE = Rate(4, 60)


class RateTests(SynchronousTestCase):
    def make(self) -> list[SharedBuckets]:
        """As two workers have them."""
        memory = Memory(2)
        self.addCleanup(os.close, memory.descriptor)
        return [SharedBuckets(RATE, Memory(2, memory.descriptor).scores(1), "0:client") for _ in range(2)]

    @given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from("ab"), st.sampled_from([0, 1, 7, 40, -100]))))
    def test_they_are_as_those_of_one_process(self, steps: list[tuple[int, str, int]]) -> None:
        workers, one, now = self.make(), Buckets(RATE), 1_800_000_000.0
        for worker, key, seconds in steps:
            now += seconds
            self.assertEqual(workers[worker].has((key,), now), one.has((key,), now))
            workers[worker].take((key,), now)
            one.take((key,), now)

    def test_others_have_their_own(self) -> None:
        memory = Memory(1)
        self.addCleanup(os.close, memory.descriptor)
        client, user = (SharedBuckets(Rate(1, 60), memory.scores(1), f"0:{each}") for each in ("client", "user"))
        client.take(("a",), 1000.0)
        self.assertEqual((client.has(("a",), 1000.0), user.has(("a",), 1000.0)), (False, True))

"""Circuit breakers."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.policy.circuits import FAILURES, REST, Circuits


class CircuitsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.circuits = Circuits()

    def fail_until_open(self, now: float = 0) -> None:
        opened = [self.circuits.failed("a", now) for _ in range(FAILURES)]
        self.assertEqual([False] * (FAILURES - 1) + [True], opened)

    def test_open_for_a_while(self) -> None:
        """Then one is let through, to see; and if that fails, another one after as long."""
        self.fail_until_open()
        times = [0, REST - 1, REST, REST + 0.1, REST + 1]
        self.assertEqual([False, False, True, False, False], [self.circuits.lets_through("a", now) for now in times])
        self.assertFalse(self.circuits.failed("a", REST + 2))
        times = [2 * REST + 1, 2 * REST + 2, 2 * REST + 3]
        self.assertEqual([False, True, False], [self.circuits.lets_through("a", now) for now in times])

    def test_an_answer_closes_it(self) -> None:
        self.fail_until_open()
        self.circuits.answered("a")
        self.assertTrue(self.circuits.lets_through("a", 0))
        self.fail_until_open()

    def test_each_by_itself(self) -> None:
        self.fail_until_open()
        self.assertTrue(self.circuits.lets_through("b", 0))
        self.circuits.answered("b")
        self.assertFalse(self.circuits.lets_through("a", 0))

    def test_clear(self) -> None:
        self.fail_until_open()
        self.circuits.clear()
        self.assertTrue(self.circuits.lets_through("a", 0))

    def test_the_clock_is_put_back(self) -> None:
        self.fail_until_open(1_000_000)
        self.assertTrue(self.circuits.lets_through("a", 10))

    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 20))))
    def test_it_is_looked_at_again(self, tries: list[tuple[bool, int]]) -> None:
        """Whatever went before, nobody is taken for down for longer than `REST`."""
        circuits, now = Circuits(), 0
        for answers, pause in tries:
            now += pause
            if circuits.lets_through("a", now):
                if answers:
                    circuits.answered("a")
                else:
                    circuits.failed("a", now)
        self.assertTrue(circuits.lets_through("a", now + REST))

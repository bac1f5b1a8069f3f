"""What is required of clients, and what is remembered of those that failed."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import portal
from twistsmtp.sasl import DEFAULT
from twistsmtp.security import Failures, Security


class SecurityTests(SynchronousTestCase):
    def test_nothing_is_required_and_nothing_there(self) -> None:
        security = Security()
        self.assertEqual((security.tls, security.portal), (None, None))
        self.assertEqual((security.require_tls, security.require_auth, security.plaintext_auth), (False,) * 3)
        self.assertEqual(tuple(each.name for each in security.mechanisms), DEFAULT)

    def test_nobody_may_act_as_another(self) -> None:
        self.assertFalse(Security().may_act_as("admin", "tim"))

    def test_authentication_without_a_portal(self) -> None:
        error = self.assertRaises(ValueError, Security, require_auth=True)
        self.assertEqual(str(error), "authentication is required, but there is no portal")
        self.assertTrue(Security(require_auth=True, portal=portal()).require_auth)

    def test_failures_are_each_servers_own(self) -> None:
        one, other = Security(), Security()
        one.failures.add("192.0.2.1", 0)
        self.assertEqual(other.failures.count("192.0.2.1", 0), 0)

    def test_what_is_remembered_is_not_shown(self) -> None:
        security = Security()
        security.failures.add("192.0.2.1", 0)
        self.assertNotIn("192.0.2.1", repr(security))


class FailuresTests(SynchronousTestCase):
    def test_nobody_has_failed(self) -> None:
        self.assertEqual(Failures().count("192.0.2.1", 1000), 0)

    def test_they_add_up(self) -> None:
        failures = Failures()
        for expected in (1, 2, 3):
            failures.add("192.0.2.1", 50)
            self.assertEqual(failures.count("192.0.2.1", 50), expected)
        self.assertEqual(failures.count("192.0.2.2", 50), 0)

    def test_half_of_them_are_left_after_the_half_life(self) -> None:
        failures = Failures(half_life=100)
        for _ in range(8):
            failures.add("192.0.2.1", 50)
        self.assertEqual([failures.count("192.0.2.1", now) for now in (50, 150, 250, 1050)], [8, 4, 2, 8 / 1024])
        failures.add("192.0.2.1", 150)
        self.assertEqual([failures.count("192.0.2.1", now) for now in (150, 250)], [5, 2.5])

    def test_by_default_that_is_half_an_hour(self) -> None:
        failures = Failures()
        failures.add("192.0.2.1", 0)
        self.assertEqual(failures.count("192.0.2.1", 1800), 0.5)

    def test_who_has_not_failed_for_the_longest_time_is_forgotten(self) -> None:
        failures = Failures(room=3)
        for now, address in enumerate(["a", "b", "c", "a", "d"]):
            failures.add(address, now)
        counts = [round(failures.count(address, 5)) for address in "abcd"]
        self.assertEqual(counts, [2, 0, 1, 1])

    @given(
        st.integers(1, 8),
        st.lists(st.tuples(st.sampled_from("abcdefghijkl"), st.floats(0, 1e6)), max_size=60),
    )
    def test_it_is_a_bounded_table_of_decaying_counts(self, room: int, steps: list[tuple[str, float]]) -> None:
        failures = Failures(half_life=100, room=room)
        now, expected = 0.0, dict[str, list[float]]()
        for address, passed in steps:
            now += passed
            failures.add(address, now)
            expected[address] = [*expected.pop(address, []), now]
            if len(expected) > room:
                del expected[next(iter(expected))]
        self.assertLessEqual(len(failures._table), room)
        for address in "abcdefghijkl":
            count = sum(0.5 ** ((now - time) / 100) for time in expected.get(address, []))
            self.assertAlmostEqual(failures.count(address, now), count)


class TurnTests(SynchronousTestCase):
    """Attempts of one address wait for each other, so that those of others need not."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.failures = Failures(at_once=2)
        self.begun: list[str] = []

    def attempt(self, name: str, address: str = "192.0.2.1") -> "Deferred[None]":
        async def wait() -> None:
            await self.failures.turn(address)
            self.begun.append(name)

        return Deferred.fromCoroutine(wait())

    def end(self, address: str = "192.0.2.1") -> None:
        self.failures.end_turn(address, self.clock)
        self.clock.advance(0)

    def test_so_many_at_once(self) -> None:
        for name in "abcd":
            self.attempt(name)
        self.assertEqual(self.begun, ["a", "b"])
        self.attempt("other", "192.0.2.2")
        self.assertEqual(self.begun, ["a", "b", "other"])
        self.end()
        self.assertEqual(self.begun[3:], ["c"])
        for _ in range(3):
            self.end()
        self.assertEqual(self.begun[3:], ["c", "d"])
        for name in "ef":
            self.attempt(name)
        self.assertEqual(self.begun[5:], ["e", "f"])

    def test_who_has_gone_takes_no_turn(self) -> None:
        attempts = [self.attempt(name) for name in "abcd"]
        attempts[2].cancel()
        self.failureResultOf(attempts[2], CancelledError)
        self.end()
        self.clock.advance(0)
        self.assertEqual(self.begun, ["a", "b", "d"])

    def test_a_thousand(self) -> None:
        for number in range(1000):
            self.attempt(str(number))
        for _ in range(1000):
            self.end()
        self.assertEqual(len(self.begun), 1000)

    def test_what_was_no_failure_is_taken_back(self) -> None:
        for _ in range(2):
            self.failures.add("192.0.2.1", 0)
        for expected in (1, 0, 0):
            self.failures.take_back("192.0.2.1")
            self.assertEqual(self.failures.count("192.0.2.1", 0), expected)

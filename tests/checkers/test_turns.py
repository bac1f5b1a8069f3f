"""Work that only so many do at once."""

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.checkers.kit import Threads
from twistsmtp.checkers.errors import Unavailable
from twistsmtp.checkers.turns import Turns


class TurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.threads = Threads()
        self.turns = Turns(2, waiting=3, begin=self.threads)

    def test_result(self) -> None:
        answer = self.turns.run(divmod, 7, 2)
        self.assertNoResult(answer)
        self.threads.run()
        self.assertEqual((3, 1), self.successResultOf(answer))

    def test_failure(self) -> None:
        """A failure is the answer, and the turn has ended."""
        answers = [self.turns.run(divmod, 1, 0) for _ in range(3)]
        self.threads.run()
        self.threads.run()
        for answer in answers:
            self.failureResultOf(answer, ZeroDivisionError)

    def test_limit(self) -> None:
        """As many work at once as may, in the order in which they came."""
        done: list[int] = []
        for number in range(5):
            self.turns.run(done.append, number)
        self.assertEqual(2, len(self.threads.begun))
        self.threads.run()
        self.assertEqual(([0, 1], 2), (done, len(self.threads.begun)))
        self.threads.run()
        self.threads.run()
        self.assertEqual([0, 1, 2, 3, 4], done)

    def test_too_many(self) -> None:
        """Who would be one too many to wait is turned away, and room comes back."""
        for _ in range(5):
            self.turns.run(int)
        self.assertRaises(Unavailable, self.turns.run, int)
        self.threads.run()
        answer = self.turns.run(int)
        self.threads.run()
        self.threads.run()
        self.assertEqual(0, self.successResultOf(answer))

    def test_cancel_while_waiting(self) -> None:
        """Who goes away before the turn has come does not work."""
        done: list[int] = []
        answers = [self.turns.run(done.append, number) for number in range(4)]
        answers[2].cancel()
        self.failureResultOf(answers[2], CancelledError)
        self.threads.run()
        self.threads.run()
        self.assertEqual([0, 1, 3], done)

    def test_cancel_while_working(self) -> None:
        """What a thread has begun is not over before the thread is done: no more are begun meanwhile."""
        answers: list[Deferred[int]] = [self.turns.run(int) for _ in range(3)]
        for answer in answers[:2]:
            answer.cancel()
            self.failureResultOf(answer, CancelledError)
        self.assertEqual(2, len(self.threads.begun))
        self.threads.run()
        self.assertEqual(1, len(self.threads.begun))
        self.threads.run()
        self.assertEqual(0, self.successResultOf(answers[2]))

    def test_stops(self) -> None:
        """Work that can be cancelled is, and the next begins."""
        turns = Turns(1, begin=self.threads, stops=True)
        first, second = turns.run(int), turns.run(int)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(2, self.threads.calls)
        del self.threads.begun[0]
        self.threads.run()
        self.assertEqual(0, self.successResultOf(second))

    def test_at_once(self) -> None:
        """Work that ends when it begins: all who wait have their turns, more than Python's stack has room for."""
        for stops in (False, True):
            first: Deferred[int] = Deferred()
            begun = iter([first])
            turns = Turns(
                1, waiting=2000, begin=lambda work, begun=begun: next(begun, None) or succeed(work()), stops=stops
            )
            answers = [turns.run(int) for _ in range(2001)]
            first.callback(0)
            self.assertEqual([0] * 2001, [self.successResultOf(each) for each in answers])

    def test_does_not_begin(self) -> None:
        """Work that cannot begin, as there are no threads any more, has had its turn as well."""

        def begin(work: object) -> Deferred[int]:
            raise RuntimeError("can't start new thread")

        turns = Turns(1, begin=begin)
        for _ in range(3):
            self.failureResultOf(turns.run(int), RuntimeError)


class ThreadTests(TestCase):
    async def test_in_threads(self) -> None:
        """By default the work is done in a thread."""
        from threading import get_ident

        self.assertNotEqual(get_ident(), await Turns(1).run(get_ident))

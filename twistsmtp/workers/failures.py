"""What is remembered of clients that failed to authenticate, by all workers together."""

from collections.abc import Callable
from math import exp2, log2

from twistsmtp.security import Failures
from twistsmtp.workers.memory import Scores

__all__ = ["SharedFailures"]

#: Half-lives that a score is above that of a count of one at the beginning of time, so that none is 0.
_BASE = 64.0
#: The greatest count is two to this. Clocks that differ, or are put back, make none greater.
_MOST = 20.0


class SharedFailures(Failures):
    """Counts that halve with every half-life, as scores: one more for each doubling, and one more for each half-life
    that has passed since the beginning of time. So a score need not change while the count halves.

    How many attempts of one address are under way at a time is each worker's own affair.

    :param seconds: the clock.
    """

    def __init__(self, scores: Scores, seconds: Callable[[], float], half_life: float = 1800.0) -> None:
        super().__init__(half_life)
        self._scores, self._seconds = scores, seconds

    def add(self, address: str, now: float) -> None:
        """A client at *address* has failed."""
        self._scores.change(address, lambda score: self._score(self._count(score, now) + 1, now))

    def take_back(self, address: str) -> None:
        """What was added for a client at *address* was no failure."""
        now = self._seconds()
        self._scores.change(address, lambda score: self._score(self._count(score, now) - 1, now))

    def count(self, address: str, now: float) -> float:
        """How often clients at *address* have failed, those of long ago counting less."""
        return self._count(self._scores[address], now)

    def _count(self, score: float, now: float) -> float:
        return exp2(min(score - _BASE - now / self.half_life, _MOST)) if score else 0.0

    def _score(self, count: float, now: float) -> float:
        return log2(count) + _BASE + now / self.half_life if count > exp2(-_BASE / 2) else 0.0

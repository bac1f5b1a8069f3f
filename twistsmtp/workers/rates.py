"""How much mail clients have brought, to all workers together."""

from collections.abc import Hashable

from twistsmtp.policy.rate import Buckets, Rate
from twistsmtp.workers.memory import ROOM, Scores

__all__ = ["SharedBuckets"]


class SharedBuckets(Buckets):
    """Buckets as scores: that of a bucket is the time at which it is full again, so that the fullest goes first where
    there is no room for more.

    Whether there is one left is asked before it is taken. So of several workers that are asked at the same time each
    may let one in where there is only one left: there are never more above the rate than there are workers.

    :param name: which buckets these are; others are in the same scores.
    """

    def __init__(self, rate: Rate, scores: Scores, name: str) -> None:
        super().__init__(rate, ROOM)
        self._scores, self._name = scores, name

    def take(self, key: Hashable, now: float) -> None:
        """Take one for *key*, whether there is one left or not; no bucket is more than empty."""
        most = now + self.rate.seconds
        self._scores.change(self._of(key), lambda full_at: min(max(full_at, now) + self._interval, most))

    def _since(self, key: Hashable, now: float) -> float:
        return max(min(self._scores[self._of(key)], now + self.rate.seconds), now)

    def _of(self, key: Hashable) -> str:
        return f"{self._name}:{key!r}"

"""Who has failed again and again, and is not asked for a while: circuit breakers.

Nobody is to wait for a server that is down because everybody else has asked it in vain a moment ago.
"""

__all__ = ["FAILURES", "REST", "Circuits"]

#: Failures in a row after which somebody is taken for down, and the seconds until that is looked at again.
FAILURES, REST = 3, 30.0


class Circuits:
    """Whether those who are asked seem to be down, by name. While one does, a question in `REST` seconds is let
    through, to see; the first answer lets all through again.

    Times are the seconds of one clock.
    """

    def __init__(self) -> None:
        #: Failures in a row, and when it was last tried, of those that have failed.
        self._failed: dict[str, tuple[int, float]] = {}

    def lets_through(self, name: str, now: float) -> bool:
        """Whether a question to *name* that comes *now* is to be asked."""
        failures, tried = self._failed.get(name, (0, now))
        if failures >= FAILURES:
            if 0 <= now - tried < REST:  # it is less than 0 when the clock was put back
                return False
            self._failed[name] = failures, now
        return True

    def failed(self, name: str, now: float) -> bool:
        """A question to *name* has failed.

        :returns: whether this was the one too many.
        """
        failures, _ = self._failed.get(name, (0, now))
        self._failed[name] = failures + 1, now
        return failures + 1 == FAILURES

    def answered(self, name: str) -> None:
        """*name* has answered."""
        self._failed.pop(name, None)

    def clear(self) -> None:
        """Forget who has failed."""
        self._failed.clear()

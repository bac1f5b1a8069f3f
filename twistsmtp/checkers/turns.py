"""Work that only so many may do at once, for all connections together."""

from collections import deque
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThread

from twistsmtp.checkers.errors import Unavailable

__all__ = ["Turns"]

P = ParamSpec("P")
T = TypeVar("T")


class Turns:
    """Lets a few do their work, and has the others wait.

    :param limit: how many work at once.
    :param waiting: how many may wait; who would be more is turned away.
    :param begin: begins the work, given a function and its arguments; by default in a thread.
    :param stops: whether the work ends when its Deferred is cancelled. A thread's does not.
    """

    def __init__(
        self,
        limit: int,
        *,
        waiting: int = 256,
        begin: Callable[..., Deferred[Any]] = deferToThread,
        stops: bool = False,
    ) -> None:
        self._free = limit
        self._most = waiting
        self._begin = begin
        self._stops = stops
        self._waiting: deque[Deferred[None]] = deque()
        self._giving = False

    def run(self, work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> Deferred[Any]:
        """What *work* gives, when it has had its turn.

        If the Deferred is cancelled, work that does not stop goes on, and its turn ends only when it does: who
        connects and goes away again and again does not get more done than others.

        :raises Unavailable: too many wait.
        """
        if len(self._waiting) >= self._most:
            raise Unavailable("too many logins at once")
        turn: Deferred[None] = Deferred(self._waiting.remove)
        answer = turn.addCallback(self._do, work, args, kwargs)
        self._waiting.append(turn)
        self._give()
        return answer

    def _give(self) -> None:
        """Give those who wait their turns, while there are any.

        Work may end at once, and then comes back to here: this loop goes on, as Python's stack would end before
        hundreds who wait have had their turns, one inside the other.
        """
        if self._giving:
            return
        self._giving = True
        while self._free and self._waiting:
            self._free -= 1
            self._waiting.popleft().callback(None)
        self._giving = False

    def _do(self, _: object, work: Callable[..., object], args: Any, kwargs: Any) -> Deferred[Any]:
        begun: Deferred[Any] = maybeDeferred(self._begin, work, *args, **kwargs).addBoth(self._ended)
        if self._stops:
            return begun
        answer: Deferred[Any] = Deferred()
        begun.addBoth(answer.callback)  # a Failure goes to the errbacks
        return answer

    def _ended(self, result: T) -> T:
        self._free += 1
        self._give()
        return result

"""Work that only so many may do at once, for all connections together."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, DeferredSemaphore
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
        self._turns = DeferredSemaphore(limit)
        self._most = waiting
        self._begin = begin
        self._stops = stops

    def run(self, work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> Deferred[Any]:
        """What *work* gives, when it has had its turn.

        If the Deferred is cancelled, work that does not stop goes on, and its turn ends only when it does: who
        connects and goes away again and again does not get more done than others.

        :raises Unavailable: too many wait.
        """
        if len(self._turns.waiting) >= self._most:
            raise Unavailable("too many logins at once")
        return self._turns.acquire().addCallback(self._do, work, args, kwargs)

    def _do(self, _: object, work: Callable[..., object], args: Any, kwargs: Any) -> Deferred[Any]:
        begun = self._begin(work, *args, **kwargs)
        if self._stops:
            return begun.addBoth(self._ended)
        answer: Deferred[Any] = Deferred()
        begun.addBoth(self._ended).addBoth(answer.callback)  # a Failure goes to the errbacks
        return answer

    def _ended(self, result: T) -> T:
        self._turns.release()
        return result

"""Who of the workers accepts the next client.

All workers wait at the same sockets, and the system wakes all of them when a client comes. The one that is awake
already is there first, and would have them all: of 500 clients that connected and stayed, another one got none. So a
worker that has its share leaves the next client to those that have less. Where none of them takes it for a moment, it
takes it all the same; and when that has been so for some times, as the one that has the fewest is busy, stopped or
gone, it leaves none to it until it moves again. So no client waits for longer than that moment.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Turns"]

#: Seconds that others have, and how many times in a row.
MOMENT, PATIENCE = 0.02, 5
#: Clients that are accepted in one turn of the reactor, at the most.
MOST = 64


class Turns:
    """The turns of one worker.

    :param loads: how many connections each worker has.
    :param own: which of these is this one.
    """

    def __init__(self, loads: Callable[[], Sequence[int]], own: int, clock: IReactorTime) -> None:
        self._loads, self._own, self._clock = loads, own, clock
        #: How many connections the one with the fewest has had last, and how many times clients were left to it since.
        self._fewest, self._times = 0, 0
        #: Ports that are left to others, until then; and those that were, to no avail.
        self._waiting: dict[Any, IDelayedCall] = {}
        self._waited: set[Any] = set()

    def take(self, port: Any) -> None:
        """Have *port*, one of Twisted's, accept when it is this worker's turn."""
        port.doRead = partial(self._read, port, port.doRead)

    def look(self) -> None:
        """A connection is gone: it may be this one's turn again."""
        if self._waiting and self._share() > 0:
            for port, call in [*self._waiting.items()]:
                call.cancel()
                self._again(port)

    def _share(self) -> int:
        """How many more this worker may have."""
        loads = self._loads()
        fewest = min(loads)
        if fewest != self._fewest:
            self._fewest, self._times = fewest, 0
        return sum(loads) // len(loads) + 1 - loads[self._own]

    def _read(self, port: Any, accept: Callable[[], object]) -> object:
        share = self._share()
        if share <= 0:
            if self._times < PATIENCE and port not in self._waited:
                self._times += 1
                port.stopReading()
                self._waiting[port] = self._clock.callLater(MOMENT, self._again, port)
                return None
            share = 1 << self._times
        self._waited.discard(port)
        port.numberAccepts = min(share, MOST)
        return accept()

    def _again(self, port: Any) -> None:
        self._waiting.pop(port, None)
        self._waited.add(port)
        if port.connected and not port.disconnecting:
            port.startReading()

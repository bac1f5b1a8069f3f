"""What takes the place of ``asyncore.loop``: the reactor, run in the thread that calls until nothing is left.

What is to be looked after is in a map: servers and channels by their descriptors. A loop takes up what is in its map as
it begins, and what comes later. There is one reactor in a process, see `twistsmtp.reactorthread`. Where it runs
already, in whatever thread, a loop has that look after its map, and waits; and a loop that has to wait runs the reactor
itself when whoever did so has ended.
"""

import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet.error import ReactorNotRunning

from twistsmtp.reactorthread import LentReactor, in_reactor, lend_reactor

__all__ = ["Attended", "add", "close_all", "in_loop", "loop", "remove", "socket_map"]

#: Seconds after which a loop that waits for another looks whether it has ended.
GLANCE = 0.02


class Attended(Protocol):
    """What is in a map."""

    def _attend(self, reactor: Any) -> None:
        """Be looked after by *reactor*, in its thread. Doing it twice does nothing."""
        ...

    def close(self) -> None:
        """Close."""
        ...


#: The map of all that have not been given another.
socket_map: dict[int, Any] = {}

_lock = threading.Lock()
_loops: "list[_Loop]" = []


class _Loop:
    def __init__(self, map: dict[int, Any]) -> None:
        self.map = map
        #: The reactor, as soon as it is known which; and whether it is this loop that runs it.
        self.reactor: Any = None
        self._runs = False
        self._empty = threading.Event()
        #: What the program has been asked to end by.
        self.ended_by: BaseException | None = None

    # In the reactor's thread.

    def attend(self) -> None:
        """Look after all that is in the map; end where there is nothing."""
        for each in list(self.map.values()):
            each._attend(self.reactor)
        self.look()

    def look(self) -> None:
        """End where there is nothing any more."""
        if self.map:
            return
        self._empty.set()
        if self._runs:
            self._stop()

    def _stop(self) -> None:
        # Not `stop`, which is for good.
        with suppress(ReactorNotRunning):
            self.reactor.crash()

    # In any thread.

    def notify(self, function: Callable[[], object]) -> None:
        """Have *function*, one of those above, called soon. A loop that has not begun will look for itself."""
        if self.reactor is not None:
            self.reactor.callFromThread(function)

    # In the thread that calls.

    def run(self, seconds: float | None) -> None:
        """Look after the map until nothing is left, or for so many *seconds*."""
        end = None if seconds is None else time.monotonic() + seconds
        while self.map and self.ended_by is None and (end is None or time.monotonic() < end):
            lent = lend_reactor()
            if lent is not None:
                self._run_here(lent, None if end is None else end - time.monotonic())
            else:
                self._wait()

    def _wait(self) -> None:
        """Have the reactor, which another thread runs, look after the map, and see how it is later."""
        from twisted.internet import reactor

        if self.reactor is not reactor:
            self.reactor = reactor
            self.reactor.callFromThread(self.attend)
        if self._empty.wait(GLANCE):
            self._empty.clear()

    def _run_here(self, lent: LentReactor, seconds: float | None) -> None:
        self.reactor, self._runs = lent.reactor, True
        call = None if seconds is None else self.reactor.callLater(max(seconds, 0), self._stop)
        self.reactor.callWhenRunning(self.attend)
        restore = self._watch_signals()
        try:
            self.reactor.run(installSignalHandlers=False)
        finally:
            restore()
            if call is not None and call.active():
                call.cancel()
            self._runs = False
            lent.give_back()
        if self.ended_by is not None:
            raise self.ended_by

    def _watch_signals(self) -> Callable[[], None]:
        """Have what is raised by control-C, and by a handler that wants to exit, end this loop between two events: the
        reactor would log it, and go on."""
        if threading.current_thread() is not threading.main_thread():
            return lambda: None
        usual: dict[int, Any] = {
            number: handler for number in signal.valid_signals() if callable(handler := signal.getsignal(number))
        }

        def call(number: int, frame: Any) -> None:
            try:
                usual[number](number, frame)
            except (KeyboardInterrupt, SystemExit) as error:
                self.ended_by = error
                self.reactor.callFromThread(self._stop)

        def restore() -> None:
            for number, handler in usual.items():
                if signal.getsignal(number) is call:
                    signal.signal(number, handler)

        for number in usual:
            signal.signal(number, call)
        return restore


def loop(
    timeout: float = 30.0, use_poll: bool = False, map: dict[int, Any] | None = None, count: int | None = None
) -> None:
    """Serve, until all servers and connections of *map* are closed: what ``asyncore.loop`` was.

    :param timeout: seconds of a turn, where there is a *count*; else of no interest.
    :param use_poll: of no interest.
    :param map: of servers; by default that of all that were made without one.
    :param count: turns after which to return in any case.
    :raises RuntimeError: this is the thread of a reactor that runs.
    :raises KeyboardInterrupt: control-C was pressed, and this is the main thread.
    :raises SystemExit: so does a handler of another signal.
    """
    if in_reactor():
        raise RuntimeError("the reactor runs in this thread, and looks after servers already: listen with a factory")
    it = _Loop(socket_map if map is None else map)
    with _lock:
        _loops.append(it)
    try:
        it.run(None if count is None else timeout * count)
    finally:
        with _lock:
            _loops.remove(it)


def close_all(map: dict[int, Any] | None = None, ignore_all: bool = False) -> None:
    """Close all that is in *map*: what ``asyncore.close_all`` was."""
    map = socket_map if map is None else map
    for each in list(map.values()):
        each.close()
    map.clear()


# --- for those that are in a map -----------------------------------------------------------------------------


def _of(map: dict[int, Any]) -> list[_Loop]:
    with _lock:
        return [each for each in _loops if each.map is map]


def add(map: dict[int, Any], descriptor: int, it: Attended) -> None:
    """Put *it* into *map*, to be looked after."""
    map[descriptor] = it
    for each in _of(map):
        each.notify(each.attend)


def remove(map: dict[int, Any], descriptor: int, it: Attended) -> None:
    """Take *it* off *map*."""
    if map.get(descriptor) is it:
        del map[descriptor]
    for each in _of(map):
        each.notify(each.look)


def in_loop(reactor: Any, function: Callable[[], object]) -> None:
    """Call *function* in the thread of *reactor*, or here where it does not run."""
    from twisted.python import threadable

    if reactor is not None and reactor.running and not threadable.isInIOThread():
        reactor.callFromThread(function)
    else:
        function()

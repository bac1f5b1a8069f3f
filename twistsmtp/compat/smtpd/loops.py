"""What takes the place of ``asyncore.loop``: the reactor, run in the thread that calls until nothing is left.

What is to be looked after is in a map: servers and channels by their descriptors. A loop takes up what is in its map as
it begins, and what comes later. There is one reactor in a process: where one runs already, in whatever
thread, a loop has that look after its map, and waits; and a loop that has to wait runs the reactor itself when the one
that did so has ended.
"""

import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet.error import ReactorNotRunning

__all__ = ["Attended", "add", "close_all", "in_loop", "loop", "remove", "socket_map"]

#: Seconds after which a loop that waits for another looks whether it has ended.
GLANCE = 0.1


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
        from twisted.internet import reactor

        self.map = map
        self.reactor: Any = reactor
        self.interrupted = False
        #: Whether it is this loop that runs the reactor.
        self._runs = False

    # In the reactor's thread.

    def attend(self) -> None:
        """Look after all that is in the map; end where there is nothing."""
        for each in list(self.map.values()):
            each._attend(self.reactor)
        self.look()

    def look(self) -> None:
        """End where there is nothing any more."""
        if self._runs and not self.map:
            self._stop()

    def _stop(self) -> None:
        # Not `stop`, which is for good.
        with suppress(ReactorNotRunning):
            self.reactor.crash()

    # In the thread that calls.

    def run(self, seconds: float | None) -> None:
        """Look after the map until nothing is left, or for so many *seconds*."""
        end = None if seconds is None else time.monotonic() + seconds
        while self.map and not self.interrupted and (end is None or time.monotonic() < end):
            with _lock:
                self._runs = not self.reactor.running and not any(each._runs for each in _loops)
            if self._runs:
                self._run_here(None if end is None else end - time.monotonic())
            else:
                self.reactor.callFromThread(self.attend)
                time.sleep(GLANCE)

    def _run_here(self, seconds: float | None) -> None:
        call = None if seconds is None else self.reactor.callLater(max(seconds, 0), self._stop)
        self.reactor.callWhenRunning(self.attend)
        restore = self._watch_interrupt()
        try:
            self.reactor.run(installSignalHandlers=False)
        finally:
            restore()
            if call is not None and call.active():
                call.cancel()
            if self.reactor.threadpool is not None:  # else its threads would keep the process
                self.reactor._stopThreadPool()
            self._runs = False
        if self.interrupted:
            raise KeyboardInterrupt

    def _watch_interrupt(self) -> Callable[[], object]:
        """Have control-C end this loop by a `KeyboardInterrupt`, as programs expect, between two events."""
        usual = signal.default_int_handler
        if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is not usual:
            return lambda: None

        def interrupt(*_: object) -> None:
            self.interrupted = True
            self.reactor.callFromThread(self._stop)

        signal.signal(signal.SIGINT, interrupt)
        return lambda: signal.signal(signal.SIGINT, usual)


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
    """
    from twisted.python import threadable

    it = _Loop(socket_map if map is None else map)
    if it.reactor.running and threadable.isInIOThread():
        raise RuntimeError("the reactor runs in this thread, and looks after servers already: listen with a factory")
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
        each.reactor.callFromThread(each.attend)


def remove(map: dict[int, Any], descriptor: int, it: Attended) -> None:
    """Take *it* off *map*."""
    if map.get(descriptor) is it:
        del map[descriptor]
    for each in _of(map):
        each.reactor.callFromThread(each.look)


def in_loop(reactor: Any, function: Callable[[], object]) -> None:
    """Call *function* in the thread of *reactor*, or here where it does not run."""
    from twisted.python import threadable

    if reactor is not None and reactor.running and not threadable.isInIOThread():
        reactor.callFromThread(function)
    else:
        function()

"""The reactor beside a program that has no place for it: in a thread of its own.

A test with `smtplib`, or a program written for a threaded server, has its main thread for itself. There is one reactor
in a process, so whoever needs it here *holds* it, and it runs as long as anybody does::

    with hold_reactor() as held:
        port = held.call(reactor_endpoint.listen, factory)

* No reactor is there yet: one is installed that runs on asyncio's loop, so that ``async def`` code may await both
  kinds of things.
* There is one, and it runs in another thread, as in a Twisted application or in a test of trial: that one is used.
* There is one, and nobody runs it: it is run in a thread. When the last holder lets it go it is as it was found, and
  can be run again, here or elsewhere; trial does so.
* It was stopped for good, or came from a parent process by `os.fork`: nothing can be had of it any more, and another
  takes its place.

No signal handler is installed. When the interpreter ends while the reactor is held, it is stopped.
"""

import asyncio
import atexit
import os
import selectors
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import sleep
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ReactorNotRestartable
from twisted.python import threadable
from twisted.python.failure import Failure

__all__ = ["HeldReactor", "hold_reactor"]

T = TypeVar("T")

#: Seconds that something in the reactor's thread may take before it is given up.
PATIENCE = 60.0
#: Seconds that the interpreter waits for the reactor at its end.
LAST_PATIENCE = 5.0

#: Seconds that a reactor which has begun may take until its loop runs.
BEGINNING = 0.1

_NAME = "twisted.internet.reactor"


class _Runner(threading.Thread):
    """The thread that runs *reactor*, until nobody holds it any more."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(name="twistsmtp reactor", daemon=True)
        self.reactor = reactor
        self.holders = 1
        self.error: BaseException | None = None
        #: What others wait for.
        self.pending: set[Future[Any]] = set()
        self._running = threading.Event()

    def begin(self) -> None:
        """Start, and wait until the reactor runs.

        :raises ReactorNotRestartable: it was stopped for good.
        """
        # callWhenRunning calls before the loop runs, callLater in it.
        self.reactor.callWhenRunning(self.reactor.callLater, 0, self._running.set)
        self.start()
        self._running.wait()
        if self.error is not None:
            raise self.error

    def run(self) -> None:
        """What the thread does."""
        try:
            self.reactor.run(installSignalHandlers=False)
        except BaseException as error:
            self.error = error
        finally:
            if self.reactor.threadpool is not None:  # else its threads would stay
                self.reactor._stopThreadPool()
            self._running.set()
            for future in tuple(self.pending):
                if not future.done():
                    future.set_exception(RuntimeError("the reactor has stopped"))

    def end(self) -> None:
        """Have the reactor stand still, and wait for that, unless it is its own thread that wants it."""
        if self.is_alive():
            self.reactor.callFromThread(self.reactor.crash)
            if threading.current_thread() is not self:
                self.join(PATIENCE)


class HeldReactor:
    """The reactor, which runs, until it is let go."""

    def __init__(self, reactor: Any, runner: _Runner | None) -> None:
        #: Twisted's reactor. From other threads only its ``callFromThread`` may be called.
        self.reactor = reactor
        self._runner = runner
        self._held = True

    def __enter__(self) -> "HeldReactor":
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The asyncio loop that the reactor runs on; ``None`` if it is a reactor that has none."""
        return _loop_of(self.reactor)

    @property
    def here(self) -> bool:
        """Whether this is the reactor's thread."""
        return bool(threadable.isInIOThread())

    def call(self, function: Callable[..., "T | Deferred[T]"], *arguments: object, timeout: float = PATIENCE) -> T:
        """Call *function* in the reactor's thread, and wait for what it has to say.

        :param timeout: seconds.
        :returns: what it returned, or what the Deferred that it returned fired with.
        :raises RuntimeError: this is the reactor's thread, which cannot wait for itself; or the reactor has stopped.
        :raises TimeoutError: it took too long.
        """
        if self.here:
            raise RuntimeError("this is the reactor's thread, and cannot wait for itself: use deferToThread")
        future: Future[T] = Future()
        pending = self._runner.pending if self._runner else set()
        pending.add(future)
        try:
            if self._runner is not None and not self._runner.is_alive():
                raise RuntimeError("the reactor has stopped")
            self.reactor.callFromThread(_settle, future, function, arguments)
            return future.result(timeout)
        except TimeoutError:
            if future.done():  # its own
                raise
            raise TimeoutError(f"no answer from the reactor's thread in {timeout:g} seconds") from None
        finally:
            pending.discard(future)

    def release(self) -> None:
        """Let it go. The last who does so waits until the thread has ended. Doing it twice does nothing."""
        with _state.lock:
            held, self._held = self._held, False
            runner = self._runner
            if not held or runner is None:
                return
            runner.holders -= 1
            last = runner.holders == 0
            if last and _state.runner is runner:
                _state.runner, _state.ending = None, runner
        if last:
            runner.end()


def _settle(future: "Future[T]", function: Callable[..., "T | Deferred[T]"], arguments: tuple[object, ...]) -> None:
    def answer(result: T) -> None:
        if not future.done():
            future.set_result(result)

    def fail(failure: Failure) -> None:
        if not future.done():
            future.set_exception(failure.value)

    deferred: Deferred[Any] = maybeDeferred(function, *arguments)
    deferred.addCallbacks(answer, fail)


@dataclass(slots=True)
class _State:
    """What there is of this in the process."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    runner: _Runner | None = None
    #: One that may not have ended quite yet.
    ending: _Runner | None = None
    watching_exit: bool = False
    #: The reactor that was installed when this process was forked, and whether a thread ran it that is not here. They
    #: are kept, as a reactor's last moments would meddle with the sockets of its parent.
    inherited: tuple[Any, ...] = ()
    left_behind: tuple[Any, ...] = ()


_state = _State()


def hold_reactor() -> HeldReactor:
    """The reactor, running. It is to be let go by `HeldReactor.release`, or by a ``with`` statement."""
    with _state.lock:
        ending, _state.ending = _state.ending, None
        if ending is not None and ending is not threading.current_thread():
            ending.join(PATIENCE)
        runner = _state.runner
        if runner is not None and runner.reactor is sys.modules.get(_NAME) and runner.is_alive():
            runner.holders += 1
            return HeldReactor(runner.reactor, runner)
        reactor = _installed()
        if reactor.running:
            return HeldReactor(reactor, None)
        _state.runner = _started(reactor)
        return HeldReactor(_state.runner.reactor, _state.runner)


def _started(reactor: Any) -> _Runner:
    _watch_exit()
    runner = _Runner(reactor)
    try:
        runner.begin()
    except ReactorNotRestartable:
        runner = _Runner(_another())
        runner.begin()
    return runner


def _installed() -> Any:
    """The process's reactor, or a new one if it has none that can be had."""
    reactor: Any = sys.modules.get(_NAME)
    if reactor is None:
        _install()
    elif _is_nobodys(reactor):
        _another()
    return sys.modules[_NAME]


def _is_nobodys(reactor: Any) -> bool:
    """Whether *reactor* cannot be had any more: it takes itself to be running, and there is no thread that runs it; or
    it is the parent's, and not in use here."""
    if not reactor.running:
        return any(reactor is each for each in _state.inherited)
    if any(reactor is each for each in _state.left_behind):
        return True
    loop = _loop_of(reactor)
    if loop is None:
        return threadable.ioThread not in sys._current_frames()
    if not loop.is_running():  # its thread's number may be another's by now; but it may not have got that far yet
        sleep(BEGINNING)
    return not loop.is_running()


def _loop_of(reactor: Any) -> asyncio.AbstractEventLoop | None:
    return getattr(reactor, "_asyncioEventloop", None)


def _another() -> Any:
    """Put another reactor in the place of the process's own."""
    sys.modules.pop(_NAME, None)
    return _install()


def _install() -> Any:
    from twisted.internet import asyncioreactor

    # With epoll a child process would share the selector with its parent, and unregister the parent's sockets.
    selector = getattr(selectors, "PollSelector", selectors.SelectSelector)()
    asyncioreactor.install(asyncio.SelectorEventLoop(selector))
    return sys.modules[_NAME]


# --- the process's own end, and its children ---------------------------------------------------------------------


def _watch_exit() -> None:
    if not _state.watching_exit:
        _state.watching_exit = True
        atexit.register(_stop_at_exit)


def _stop_at_exit() -> None:
    runner = _state.runner
    if runner is not None and runner.is_alive():
        runner.reactor.callFromThread(runner.reactor.stop)
        runner.join(LAST_PATIENCE)


def _begin_in_child() -> None:
    """This is a new process: the threads of its parent are not here."""
    _state.lock = threading.Lock()
    _state.runner = _state.ending = None
    reactor: Any = sys.modules.get(_NAME)
    if reactor is not None:
        _state.inherited += (reactor,)
        if reactor.running and not threadable.isInIOThread():
            _state.left_behind += (reactor,)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)

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

Whoever has a thread that may run it, and the reactor runs nowhere else, *borrows* it (`lend_reactor`). If it is held
when the borrower is done, it goes on in a thread of its own, with all its connections. So these may be started and
stopped in any order.

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
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from time import sleep
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ReactorNotRestartable
from twisted.python import threadable
from twisted.python.failure import Failure

__all__ = ["HeldReactor", "LentReactor", "hold_reactor", "in_reactor", "lend_reactor"]

T = TypeVar("T")

#: Seconds that something in the reactor's thread may take before it is given up.
PATIENCE = 60.0
#: Seconds that the interpreter waits for the reactor at its end.
LAST_PATIENCE = 5.0

#: Seconds that a reactor which has begun may take until its loop runs.
BEGINNING = 0.1

_NAME = "twisted.internet.reactor"


class _Care:
    """A reactor that runs because somebody here needs it: in a borrower's thread, or in one of its own."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.holders = 0
        self.lent = False
        self.thread: _Thread | None = None
        #: What others wait for.
        self.pending: set[Future[Any]] = set()

    @property
    def runs(self) -> bool:
        """Whether it does, or will in a moment."""
        return self.lent or (self.thread is not None and self.thread.is_alive())

    def go_on(self) -> None:
        """Run it in a thread of its own.

        :raises ReactorNotRestartable: it was stopped for good.
        """
        self.thread = _Thread(self)
        self.thread.begin()

    def rest(self) -> None:
        """It does not run any more: leave nothing of it behind."""
        if self.reactor.threadpool is not None:  # else its threads would stay
            self.reactor._stopThreadPool()


class _Thread(threading.Thread):
    """The thread that runs a reactor until nobody holds it any more."""

    def __init__(self, care: _Care) -> None:
        super().__init__(name="twistsmtp reactor", daemon=True)
        self.care = care
        self.error: BaseException | None = None
        self._running = threading.Event()

    def begin(self) -> None:
        """Start, and wait until the reactor runs.

        :raises ReactorNotRestartable: it was stopped for good.
        """
        reactor = self.care.reactor
        # callWhenRunning calls before the loop runs, callLater in it.
        reactor.callWhenRunning(reactor.callLater, 0, self._running.set)
        self.start()
        self._running.wait()
        if self.error is not None:
            raise self.error

    def run(self) -> None:
        """What the thread does."""
        try:
            self.care.reactor.run(installSignalHandlers=False)
        except BaseException as error:
            self.error = error
        finally:
            self.care.rest()
            self._running.set()
            for future in tuple(self.care.pending):
                if not future.done():
                    future.set_exception(RuntimeError("the reactor has stopped"))

    def end(self) -> None:
        """Have the reactor stand still, and wait for that, unless it is its own thread that wants it."""
        if self.is_alive():
            self.care.reactor.callFromThread(self.care.reactor.crash)
            if threading.current_thread() is not self:
                self.join(PATIENCE)


class _Given:
    """The reactor, as somebody has it."""

    def __init__(self, reactor: Any) -> None:
        #: Twisted's reactor. From other threads only its ``callFromThread`` may be called.
        self.reactor = reactor

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The asyncio loop that the reactor runs on; ``None`` if it is a reactor that has none."""
        return _loop_of(self.reactor)


class HeldReactor(_Given):
    """The reactor, which runs, until it is let go."""

    def __init__(self, reactor: Any, care: _Care | None) -> None:
        super().__init__(reactor)
        self._care = care
        self._held = True

    def __enter__(self) -> "HeldReactor":
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

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
        pending = self._care.pending if self._care else set()
        pending.add(future)
        try:
            if self._care is not None and not self._care.runs:
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
            care = self._care
            if not held or care is None:
                return
            care.holders -= 1
            if care.holders or care.lent or care.thread is None:
                return
            if _state.care is care:
                _state.care, _state.ending = None, care.thread
        care.thread.end()


def _settle(future: "Future[T]", function: Callable[..., "T | Deferred[T]"], arguments: tuple[object, ...]) -> None:
    def answer(result: T) -> None:
        if not future.done():
            future.set_result(result)

    def fail(failure: Failure) -> None:
        if not future.done():
            future.set_exception(failure.value)

    deferred: Deferred[Any] = maybeDeferred(function, *arguments)
    deferred.addCallbacks(answer, fail)


class LentReactor(_Given):
    """The reactor, for a thread to run it: by its ``run``, or by `begin` and then its loop."""

    def __init__(self, care: _Care) -> None:
        super().__init__(care.reactor)
        self._care = care

    @property
    def held(self) -> bool:
        """Whether anybody else needs it by now."""
        return self._care.holders > 0

    def begin(self) -> None:
        """Have the reactor begin in this thread, which is to run the loop."""
        self.reactor.startRunning(installSignalHandlers=False)

    def give_back(self) -> None:
        """Nobody runs it here any more. If it is held it goes on in a thread of its own."""
        care, loop = self._care, self.loop
        if self.reactor.running and loop is not None:  # ``crash`` would stop the next run, too, were it called here
            loop.call_soon(self.reactor.crash)
            loop.run_forever()
        elif self.reactor.running:
            self.reactor.crash()
        care.rest()  # also where it goes on: it is this thread that has begun those of its pool
        with _state.lock:
            if care.holders:
                with suppress(ReactorNotRestartable):
                    care.go_on()
            else:
                _state.care = None
            care.lent = False


@dataclass(slots=True)
class _State:
    """What there is of this in the process."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    care: _Care | None = None
    #: One that may not have ended quite yet.
    ending: _Thread | None = None
    #: The reactor that was made here.
    made: Any = None
    watching_exit: bool = False
    #: The reactor that was installed when this process was forked, and whether a thread ran it that is not here. They
    #: are kept, as a reactor's last moments would meddle with the sockets of its parent.
    inherited: tuple[Any, ...] = ()
    left_behind: tuple[Any, ...] = ()


_state = _State()


def hold_reactor() -> HeldReactor:
    """The reactor, running. It is to be let go by `HeldReactor.release`, or by a ``with`` statement."""
    with _state.lock:
        care = _in_care()
        if care is None:
            reactor = _installed()
            if _runs(reactor):
                return HeldReactor(reactor, None)
            _watch_exit()
            care = _Care(reactor)
            care.go_on()
            _state.care = care
        care.holders += 1
        return HeldReactor(care.reactor, care)


def lend_reactor(*, made_here: bool = False) -> LentReactor | None:
    """The reactor, for the caller's thread to run until `LentReactor.give_back`; ``None`` if it runs already.

    :param made_here: whether it has to be one that was, or will be, installed by this module: on asyncio's loop, and
        not one that a program has, which will want to run it itself.
    """
    with _state.lock:
        if _in_care() is not None or (made_here and sys.modules.get(_NAME) not in (None, _state.made)):
            return None
        if _runs(reactor := _installed()):
            return None
        _watch_exit()
        _state.care = _Care(reactor)
        _state.care.lent = True
        return LentReactor(_state.care)


def in_reactor() -> bool:
    """Whether this is the thread of a reactor that runs."""
    reactor: Any = sys.modules.get(_NAME)
    return reactor is not None and bool(reactor.running and threadable.isInIOThread())


def _in_care() -> _Care | None:
    """What runs by our doing."""
    ending, _state.ending = _state.ending, None
    if ending is not None and ending is not threading.current_thread():
        ending.join(PATIENCE)
    care = _state.care
    return care if care is not None and care.reactor is sys.modules.get(_NAME) and care.runs else None


def _runs(reactor: Any) -> bool:
    """Whether *reactor* runs by somebody's doing. Where it is its loop only that does, the reactor begins by this."""
    loop = _loop_of(reactor)
    if not reactor.running and loop is not None and loop.is_running():
        begin = partial(reactor.startRunning, installSignalHandlers=False)
        if asyncio._get_running_loop() is loop:
            begin()
        else:
            loop.call_soon_threadsafe(begin)
        return True
    return bool(reactor.running)


def _installed() -> Any:
    """The process's reactor, or a new one if it has none that can be had."""
    reactor: Any = sys.modules.get(_NAME)
    if reactor is None or _is_nobodys(reactor):
        sys.modules.pop(_NAME, None)
        _install()
    return sys.modules[_NAME]


def _is_nobodys(reactor: Any) -> bool:
    """Whether *reactor* cannot be had any more: it was stopped for good; it takes itself to be running, and there is no
    thread that runs it; or it is the parent's, and not in use here."""
    if not reactor.running:
        return reactor._startedBefore or any(reactor is each for each in _state.inherited)
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


def _install() -> None:
    from twisted.internet import asyncioreactor

    # With epoll a child process would share the selector with its parent, and unregister the parent's sockets.
    selector = getattr(selectors, "PollSelector", selectors.SelectSelector)()
    asyncioreactor.install(asyncio.SelectorEventLoop(selector))
    _state.made = sys.modules[_NAME]


# --- the process's own end, and its children ---------------------------------------------------------------------


def _watch_exit() -> None:
    if not _state.watching_exit:
        _state.watching_exit = True
        atexit.register(_stop_at_exit)


def _stop_at_exit() -> None:
    thread = None if _state.care is None else _state.care.thread
    if thread is not None and thread.is_alive():
        thread.care.reactor.callFromThread(thread.care.reactor.stop)
        thread.join(LAST_PATIENCE)
    loop = _loop_of(_state.made)
    if loop is not None and not loop.is_running():
        loop.close()


def _begin_in_child() -> None:
    """This is a new process: the threads of its parent are not here."""
    _state.lock = threading.Lock()
    _state.care = _state.ending = None
    reactor: Any = sys.modules.get(_NAME)
    if reactor is not None:
        _state.inherited += (reactor,)
        if reactor.running and not threadable.isInIOThread():
            _state.left_behind += (reactor,)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)

"""The loops that controllers run in threads of their own.

One of them, at a time, is the loop of a reactor: so what handlers use of Twisted's works as well, ``deferToThread`` and
``reactor.callLater`` among it. That is the global reactor if nobody has installed one. If somebody has, or trial is
there, which will, it is theirs to run, and here there are plain loops. The reactor's loop outlives the threads that run
it, as a reactor begins but once.
"""

import asyncio
import atexit
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

__all__ = ["a_moment", "listen", "running", "take"]

#: How often another port is looked for, where any will do.
ATTEMPTS = 10

#: What has a reactor of its own, or is one.
THEIRS = frozenset({"twisted.internet.reactor", "twisted.trial", "pytest_twisted", "twistsmtp.reactorthread"})

_lock = threading.Lock()


class _Kept:
    """The loop of the reactor, when there is one, and whether a thread has it."""

    loop: asyncio.AbstractEventLoop | None = None
    reactor: Any = None
    taken = False


def take() -> asyncio.AbstractEventLoop:
    """A loop for a thread, which gives it back when `running` it ends."""
    with _lock:
        if _Kept.loop is None and not THEIRS & sys.modules.keys():
            _install()
        is_the_one = sys.modules.get("twisted.internet.reactor") is _Kept.reactor
        if _Kept.loop is not None and is_the_one and not _Kept.taken:
            _Kept.taken = True
            return _Kept.loop
    return asyncio.new_event_loop()


def _install() -> None:
    """Have a reactor, and make it the global one. It has begun, and runs whenever its loop does."""
    from twisted.internet.asyncioreactor import AsyncioSelectorReactor
    from twisted.internet.main import installReactor

    class Reactor(AsyncioSelectorReactor):
        """One whose threads end with the program."""

        def _initThreadPool(self) -> None:
            super()._initThreadPool()
            cast(Any, self.threadpool).threadFactory = partial(threading.Thread, daemon=True)

    _Kept.loop = asyncio.SelectorEventLoop()
    _Kept.reactor = Reactor(_Kept.loop)
    installReactor(_Kept.reactor)
    atexit.register(_close)
    _Kept.reactor.startRunning(installSignalHandlers=False)


@contextmanager
def running(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """What the thread that has taken *loop* does around running it."""
    executor = ThreadPoolExecutor(thread_name_prefix="aiosmtpd")
    loop.set_default_executor(executor)
    asyncio.set_event_loop(loop)
    if loop is _Kept.loop:
        from twisted.python.threadable import registerAsIOThread

        registerAsIOThread()
    try:
        yield
    finally:
        asyncio.set_event_loop(None)
        executor.shutdown(wait=False, cancel_futures=True)
        if loop is _Kept.loop:
            _give_back()
        else:
            loop.close()


def _give_back() -> None:
    """Nobody runs the reactor any more, until somebody takes its loop again."""
    if _Kept.reactor.threadpool is not None:
        _Kept.reactor._stopThreadPool()
    with _lock:
        _Kept.taken = False


def _close() -> None:
    """The program ends."""
    if _Kept.loop is not None and not _Kept.taken:
        _Kept.loop.close()


async def a_moment() -> None:
    """Let connections that were ended hear of it."""
    for _ in range(5):
        await asyncio.sleep(0)


async def listen(on: Callable[[int], Awaitable[asyncio.Server]], port: int) -> tuple[asyncio.Server, int]:
    """Listen by *on*, and say at which port: any one where it is 0, but the same at all addresses of a name."""
    if port:
        return await on(port), port
    for attempt in range(1, ATTEMPTS + 1):
        server = await on(0)
        ports = {each.getsockname()[1] for each in server.sockets}
        found: int = ports.pop()
        if not ports:
            return server, found
        server.close()
        try:
            return await on(found), found
        except OSError:
            if attempt == ATTEMPTS:
                raise
    raise AssertionError("there is a last attempt")

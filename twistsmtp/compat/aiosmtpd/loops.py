"""The loops that controllers run in threads of their own.

One of them, at a time, is the loop of the reactor: so what handlers use of Twisted's works as well, ``deferToThread``
and ``reactor.callLater`` among it. It is borrowed (`twistsmtp.reactorthread`), if nobody has installed a reactor, and
it does not run already. If somebody has, or trial is there, which will, it is theirs to run, and here there are plain
loops.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from twistsmtp.reactorthread import LentReactor, lend_reactor

__all__ = ["a_moment", "is_shared", "listen", "running"]

#: How often another port is looked for, where any will do.
ATTEMPTS = 10

#: What has a reactor of its own, or will have, when it is asked for.
THEIRS = frozenset({"twisted.trial", "pytest_twisted"})

#: The reactor, while a controller has it.
_borrowed: list[LentReactor] = []


@contextmanager
def running() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop for this thread to run."""
    lent = _borrow()
    loop = asyncio.new_event_loop() if lent is None or lent.loop is None else lent.loop
    executor = ThreadPoolExecutor(thread_name_prefix="aiosmtpd")
    loop.set_default_executor(executor)
    asyncio.set_event_loop(loop)
    try:
        yield loop
    finally:
        asyncio.set_event_loop(None)
        if not is_shared(loop):
            executor.shutdown(wait=False, cancel_futures=True)
        if lent is None:
            loop.close()
        else:
            _borrowed.remove(lent)
            lent.give_back()


def _borrow() -> LentReactor | None:
    """The reactor, in this thread, if it is to be had."""
    if THEIRS & sys.modules.keys() and "twisted.internet.reactor" not in sys.modules:
        return None
    lent = lend_reactor(made_here=True)
    if lent is not None:
        lent.begin()
        _borrowed.append(lent)
    return lent


def is_shared(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether *loop* is the reactor's, and has more to do than what a controller has begun."""
    return any(each.loop is loop and each.held for each in _borrowed)


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

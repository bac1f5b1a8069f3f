"""A server that is a whole program by itself.

This is one::

    from twistsmtp import Callback, SMTPFactory, serve

    serve(SMTPFactory(Callback(print)))

An application with a reactor that runs already listens with the factory instead, as with any of Twisted's; and what is
told by files and options, to be a daemon, is `twistsmtp.service`.
"""

import signal
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import react

from twistsmtp.eager import eager
from twistsmtp.factory import SMTPFactory
from twistsmtp.lifecycle import Parts

__all__ = ["serve"]


def serve(factory: SMTPFactory, endpoint: str = "tcp:8025:interface=127.0.0.1", *, drain_time: float = 30.0) -> None:
    """Run a server until the process is told to end, by SIGINT or SIGTERM. Messages that are under way then may still
    end; at a second signal they may not.

    It runs the reactor, and does not return: the process ends. The delivery, the policies and the checkers are started
    before and stopped after that, where they can be: `twistsmtp.lifecycle`. On the standard output it says
    ``listening on 8025``.

    :param endpoint: where to listen, as Twisted's `serverFromString` has it.
    :param drain_time: seconds that messages have to end.
    :raises SystemExit: always. The status is 1 where it could not begin, and the log says why; else it is 0.
    """
    react(_serve, (factory, endpoint, drain_time))


async def _serve(reactor: Any, factory: SMTPFactory, endpoint: str, drain_time: float) -> None:
    parts = Parts(partial(_parts_of, factory), reactor)
    try:
        parts.start()
        port = eager(await serverFromString(reactor, endpoint).listen(factory))
    except Exception:
        await parts.stop()
        raise
    reactor.addSystemEventTrigger("before", "shutdown", _stop, reactor, port, factory, parts, drain_time)
    sys.stdout.write(f"listening on {getattr(port.getHost(), 'port', endpoint)}\n")
    sys.stdout.flush()
    await Deferred()  # which is the reactor's to end


def _parts_of(factory: SMTPFactory) -> Iterator[tuple[str, object]]:
    portal = factory.security.portal
    for part in factory.delivery, *(portal.checkers.values() if portal else ()), *factory.policies:
        yield type(part).__name__, part


def _stop(
    reactor: Any, port: IListeningPort, factory: SMTPFactory, parts: Parts, drain_time: float
) -> "Deferred[None]":
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, lambda *_: reactor.callFromThread(factory.shutdown, 0))

    async def stop() -> None:
        await maybeDeferred(port.stopListening)
        await factory.shutdown(drain_time)
        await parts.stop()

    return Deferred.fromCoroutine(stop())

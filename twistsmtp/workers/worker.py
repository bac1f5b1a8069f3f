"""A worker: a whole server, in a process that its parent has started, on sockets that the parent has opened.

It does what the parent says, and drains when the parent is gone, or at SIGTERM. The other signals that a terminal or an
operator sends are for the parent.
"""

import pickle
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.application.reactors import installReactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger, globalLogBeginner
from twisted.python.failure import Failure
from twisted.python.reflect import namedModule
from zope.interface import implementer

from twistsmtp.assembly import make_certificates
from twistsmtp.config import Config, ConfigError
from twistsmtp.factory import SMTPFactory
from twistsmtp.log import OBSERVERS, next_turn
from twistsmtp.metrics import Metrics
from twistsmtp.policy.rate import RateLimits
from twistsmtp.service import SMTPService, StartError
from twistsmtp.tls.certificates import Certificates
from twistsmtp.workers.failures import SharedFailures
from twistsmtp.workers.figures import Counted
from twistsmtp.workers.logs import Upwards
from twistsmtp.workers.memory import Memory
from twistsmtp.workers.messages import Frames, Start, read_start, say
from twistsmtp.workers.rates import SharedBuckets
from twistsmtp.workers.turns import Turns

__all__ = ["WorkerService", "main"]

_log = Logger(namespace="twistsmtp.workers")

#: Seconds that the parent has to take a worker's last words.
_LAST_WORDS = 5.0


class WorkerService(SMTPService):
    """The server of a worker.

    :param start: what it is to be.
    :raises ConfigError: it cannot be.
    """

    def __init__(self, start: Start, reactor: Any) -> None:
        self._files = start.files
        super().__init__(start.config, reactor, sockets=start.sockets)
        memory, number = Memory(start.workers, start.memory), start.number - 1
        failures, rates = SharedFailures(memory.scores(0), reactor.seconds), memory.scores(1)
        self._turns = Turns(memory.loads, number, reactor)
        for kind, factory in enumerate(self._factories):
            factory.clients = memory.clients(number, kind, self._turns.look)
            factory.security = replace(factory.security, failures=failures)
        for place, policy in enumerate(self.factory.policies):
            if isinstance(policy, RateLimits):
                policy.share(lambda kind, rate, place=place: SharedBuckets(rate, rates, f"{place}:{kind}"))  # type: ignore[misc]  # its default

    def families(self) -> list[list[Any]]:
        """What has been counted, if something is."""
        return self.monitor.families() if self.monitor else []

    def renew(self, config: Config) -> "Deferred[None]":
        """Take up *config*, which the parent has read, and read all else again."""
        if config != self.config:
            self._take_up(config)
        return self.reload()

    def _listens(self, text: str, factory: SMTPFactory, port: IListeningPort) -> None:
        super()._listens(text, factory, port)
        self._turns.take(port)

    def _make_certificates(self) -> Certificates | None:
        return make_certificates(self.config, self._reactor, self._files)

    def _make_monitor(self) -> Counted | None:
        """To count is all: it is the parent that tells."""
        if not self.config.metrics:
            return None
        used = {"smtp": (self.config.listen, self.factory), "lmtp": (self.config.listen_lmtp, self.lmtp_factory)}
        return Counted(Metrics({name: factory for name, (places, factory) in used.items() if places}))


@implementer(IPushProducer)
class Link(Protocol):
    """The worker's side of the pipes to its parent.

    :param start: what the worker is to be.
    """

    transport: Any

    def __init__(self, start: Start, reactor: Any) -> None:
        self._start = start
        self._reactor = reactor
        self._frames = Frames(self._told)
        self._log = Upwards(self._send)
        self._service: WorkerService | None = None
        #: Whether it is about to end, has said all, and has no parent any more.
        self._draining = self._silent = self._alone = False
        #: What the process is to return.
        self.status = 0

    # --- its life --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Take mail."""
        signal.signal(signal.SIGTERM, lambda *_: self._reactor.callFromThread(self.drain))
        try:
            self._service = WorkerService(self._start, self._reactor)
            self._service.startService()
        except (ConfigError, StartError, OSError) as error:
            self._fail(str(error))
        except Exception as error:
            _log.failure("the worker cannot start")
            self._fail(type(error).__name__)
        else:
            self._send(say("ready"))

    def _fail(self, why: str) -> None:
        self._send(say("failed", why=why))
        self._service, self.status = None, 1
        self._end()

    def drain(self) -> None:
        """Stop listening, end what is under way, and then the process."""
        if self._draining:
            return
        self._draining = True
        if self._service is None:
            self._end()
        else:
            stopped = maybeDeferred(self._service.stopService)
            stopped.addErrback(lambda failure: _log.failure("the worker did not stop as it should", failure))
            stopped.addCallback(lambda _: self._end())

    def _end(self) -> None:
        self._observer.lines.write_out()  # those that wait for the next turn of the reactor
        if self._service is not None:
            self._send(say("metrics", families=self._service.families()))
        self._silent = True
        if self._alone:
            self._reactor.stop()
        else:
            self.transport.unregisterProducer()
            self.transport.loseConnection()  # when all is sent; then `connectionLost` stops the reactor
            self._late = self._reactor.callLater(_LAST_WORDS, self._reactor.stop)

    # --- the parent ------------------------------------------------------------------------------------------

    def _send(self, octets: bytes) -> None:
        if not (self._alone or self._silent):
            self.transport.write(octets)

    def _told(self, message: bytes) -> None:
        kind, *more = pickle.loads(message)
        todo: dict[str, Callable[..., object]] = {
            "ping": lambda: self._send(say("ping")),
            "metrics": lambda: self._send(say("metrics", families=self._service.families() if self._service else [])),
            "reload": self._reload,
            "drain": self._drain,
            "hurry": self._hurry,
        }
        todo[kind](*more)

    def _reload(self, config: Config) -> None:
        if self._service is None or self._draining:  # nobody needs it any more, and the parent waits
            self._send(say("reload"))
            return
        renewed = maybeDeferred(self._service.renew, config)
        renewed.addErrback(lambda failure: _log.failure("not all could be read again", failure))
        renewed.addCallback(lambda _: self._send(say("reload")))

    def _drain(self) -> None:
        self.drain()
        self._send(say("drain"))  # it listens no more by now

    def _hurry(self) -> None:
        if self._service is not None:
            self._service.hurry()

    # --- Twisted's words -------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """The parent hears."""
        self.transport.registerProducer(self, True)
        make: Any = OBSERVERS[self._start.log_format]
        self._observer = make(self._log, next_turn, self._start.number)
        globalLogBeginner.beginLoggingTo([self._observer])

    def dataReceived(self, data: bytes) -> None:
        """It says something."""
        self._frames.feed(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is gone, or has heard the last word."""
        self._alone = True
        if not self._silent:
            self.drain()
        elif self._late.active():
            self._late.cancel()
            self._reactor.stop()

    def pauseProducing(self) -> None:
        """It takes nothing now."""
        self._log.paused = True

    def resumeProducing(self) -> None:
        """It takes what there is."""
        lost = self._log.resume()
        if lost:
            _log.error("{lost} lines of the log are lost, as the parent did not take them", lost=lost)

    def stopProducing(self) -> None:
        """It will take nothing any more."""


def main() -> None:
    """Be a worker, in a process that has its parent at its standard input and output."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    start = read_start(0)
    if "." in start.reactor:
        module: Any = namedModule(start.reactor)
        module.install()
    else:
        installReactor(start.reactor)
    from twisted.internet import reactor
    from twisted.internet.stdio import StandardIO

    running: Any = reactor
    link = Link(start, running)
    StandardIO(link, reactor=running)
    running.callWhenRunning(link.begin)
    running.run()
    sys.exit(link.status)

"""The service of the parent: it opens the ports, and has workers take mail there."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet import tcp
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IListeningPort

from twistsmtp.assembly import make_certificates, reason
from twistsmtp.config import Config
from twistsmtp.factory import SMTPFactory
from twistsmtp.lifecycle import Parts
from twistsmtp.service import Command, SMTPService, StartError
from twistsmtp.tls.certificates import Certificates
from twistsmtp.workers.crew import Crew
from twistsmtp.workers.figures import Gathered
from twistsmtp.workers.logs import passing_on
from twistsmtp.workers.memory import Memory
from twistsmtp.workers.messages import Start, pack
from twistsmtp.workers.process import Worker

__all__ = ["Parent"]

#: What a worker is, to Python. Its path is that of its parent, wherever that was started.
_PROGRAM = "import sys; sys.path[:] = {path!r}; from twistsmtp.workers.worker import main; main()"


class Parent(Command):
    """The server as twistd's or twist's only business, in several processes.

    It is made as one process is, so that what is wrong with the configuration is found before anything begins, and
    listens as one does. But it never accepts a connection, and it starts neither delivery nor policy nor checker.

    :param parent: the options of twistd or twist.
    """

    def __init__(self, config: Config, parent: Mapping[str, Any], read: Callable[[str], Config] | None) -> None:
        self._path = [os.path.abspath(each) for each in sys.path]  # a daemon goes to another folder
        self._memory = Memory(config.workers)
        #: What the certificates are made of, which the user that the workers run as may not be able to read.
        self._files: dict[Path, bytes] = {}
        from twisted.internet import reactor

        clock: Any = reactor
        self.crew = Crew(
            config.workers,
            self._spawn,
            clock,
            logged=self._log,
            ready=lambda: self._is_ready(None),
            failed=lambda text: self.start_failed(StartError(text)),
            counted=self._counted,
            left=self._left,
        )
        self._gathered = Gathered(self.crew)
        super().__init__(config, parent, read)
        #: How workers are to write their log, and what becomes of that.
        self._log_format, self._write = passing_on(self._observer, config.log_format)

    def privilegedStartService(self) -> None:
        """Listen, and accept nothing."""
        super().privilegedStartService()
        with self._giving_up():
            if len(self.ports) < len(self.endpoints) + len(self.lmtp_endpoints):
                raise StartError("one of the endpoints takes its time to listen, which workers cannot wait for")

    def startService(self) -> None:
        """Start the workers. What they would not start with is looked for here already, where it ends the start."""
        with self._giving_up():
            for error in Parts(super()._find_parts, self._reactor).check():
                raise StartError(f"{error.name}: {reason(error.error)}")
        super().startService()

    def stopService(self) -> "Deferred[None]":
        """Have the workers end in order."""
        self._notifier.stopping(f"workers to end: {len(self.crew.workers)}")
        return SMTPService.stopService(self).addBoth(self._has_stopped)

    def hurry(self) -> None:
        """See `SMTPService.hurry`."""
        self.crew.hurry()

    def reload(self) -> "Deferred[None]":
        """Read the configuration again, and have all workers take it up, and read again what else they read."""
        if not self.running:
            return succeed(None)
        self._notifier.reloading()
        read = SMTPService.reload(self)
        return read.addCallback(lambda _: self.crew.renew(self.config)).addBoth(self._is_ready)

    # --- what is different from one process --------------------------------------------------------------------

    def _find_parts(self) -> Iterator[tuple[str, object]]:
        yield f"metrics {self.config.metrics!r}", self.monitor
        yield "workers", self.crew

    def _make_monitor(self) -> Any:
        monitor = super()._make_monitor()
        return monitor and monitor.of(
            self._gathered,
            lambda: self.running and self.ports and self.crew.started and self.crew.ready,
            lambda: self.crew.alive,
        )

    def _make_certificates(self) -> Certificates | None:
        return make_certificates(self.config, self._reactor, self._files)

    def _listens(self, text: str, factory: SMTPFactory, port: IListeningPort) -> None:
        super()._listens(text, factory, port)
        if port not in self.ports:
            return
        if isinstance(port, tcp.Port):
            port.stopReading()
        else:
            self._tell(StartError(f"cannot listen on {text}: it is no socket that workers could share"))

    def _stop_listening(self) -> "Deferred[Any]":
        """The workers first: to them a port that is shut would look broken."""
        return self.crew.quiet().addCallback(lambda _: SMTPService._stop_listening(self))

    def _drain(self) -> "Deferred[Any]":
        return self.crew.drain(self.config.drain_time)

    def _is_ready(self, _: object) -> None:
        if self.crew.started:
            super()._is_ready(_)

    # --- workers -----------------------------------------------------------------------------------------------

    def _spawn(self, worker: Worker) -> None:
        sockets: list[int] = [port.fileno() for port in self.ports]  # type: ignore[attr-defined]  # they are of TCP
        inherited = dict(enumerate([self._memory.descriptor, *sockets], 3))
        command = [sys.executable, "-c", _PROGRAM.format(path=self._path), f"worker {worker.number}"]
        pipes: dict[int, Any] = {0: "w", 1: "r", 2: "r"}
        self._reactor.spawnProcess(worker, command[0], command, None, childFDs=pipes | inherited)
        # twist has the name of the reactor in one place, and twistd in the other.
        chosen = self._parent.get("reactorName", self._parent.get("reactor", "default"))
        start = Start(
            number=worker.number,
            config=self.config,
            reactor=type(self._reactor).__module__ if chosen == "default" else chosen,
            log_format=self._log_format,
            workers=len(self.crew.places),
            memory=3,
            sockets=tuple(range(4, 4 + len(sockets))),
            files=self._files,
        )
        worker.transport.writeToChild(0, pack(start))

    def _log(self, text: str) -> None:
        with suppress(OSError):  # a disk that is full is no fault of the worker, nor of mail that goes elsewhere
            self._write(text)

    def _counted(self, number: int, said: Mapping[str, Any]) -> None:
        self._gathered.told(number, said)

    def _left(self, number: int) -> None:
        self._memory.forget(number - 1)
        self._gathered.left(number)

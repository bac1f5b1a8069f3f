"""A worker, as its parent has it: a process that is asked, and answers."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from twistsmtp.wire.text import printable
from twistsmtp.workers.messages import Frames, pack, unpack

__all__ = ["NAME", "Owner", "Spawn", "Worker"]

_log = Logger(namespace="twistsmtp.workers")

#: A worker in the log.
NAME = "worker {worker} (process {process})"
#: Octets of a line on the standard error that are kept.
_LINE = 1000


class Owner(Protocol):
    """Whoever has workers."""

    def logged(self, text: str) -> object:
        """A worker has lines for the log."""

    def said(self, worker: "Worker", kind: str, more: dict[str, Any]) -> object:
        """*worker* says something, which may be an answer."""

    def gone(self, worker: "Worker", why: str, *, killed: bool) -> object:
        """*worker* has ended; *why* is for people. It was *killed* by a signal, or ended by itself."""


class Worker(ProcessProtocol):
    """A worker.

    :param number: from 1 on. One that takes the place of another has its number.
    """

    transport: Any

    def __init__(self, number: int, owner: Owner) -> None:
        self.number = number
        self._owner = owner
        self._frames = Frames(self._received)
        self._errors = b""
        #: What it was asked, and has not answered; and who waits for that.
        self._asked: set[str] = set()
        self._waiting: dict[str, list[Deferred[dict[str, Any] | None]]] = {}
        #: The number of the process.
        self.process = 0
        #: Whether it takes mail.
        self.ready = False
        #: Whether it has been told to end.
        self.leaving = False

    @property
    def facts(self) -> dict[str, Any]:
        """What it is, for `NAME`."""
        return {"worker": self.number, "process": self.process}

    def __str__(self) -> str:
        return NAME.format_map(self.facts) if self.process else f"worker {self.number}"

    def tell(self, kind: str, *more: object) -> None:
        """Say something to it."""
        with suppress(KeyError):  # Twisted's word for a pipe that is shut: it is about to be gone
            self.transport.writeToChild(0, pack((kind, *more)))

    def ask(self, kind: str, *more: object) -> "Deferred[dict[str, Any] | None]":
        """Say something that it answers. What it was asked and has not answered is not asked again, unless there is
        *more* to it: it may never answer.

        :returns: the answer, or ``None`` if it has ended.
        """
        waiting = self._waiting.setdefault(kind, [])
        answer: Deferred[dict[str, Any] | None] = Deferred(waiting.remove)
        waiting.append(answer)
        if more or kind not in self._asked:
            self._asked.add(kind)
            self.tell(kind, *more)
        return answer

    def kill(self, signal: str = "KILL") -> None:
        """Send it a signal, unless it is gone."""
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(signal)

    # --- what it says ----------------------------------------------------------------------------------------

    def _received(self, message: bytes) -> None:
        said = unpack(message)
        if isinstance(said, str):
            self._owner.logged(said)
            return
        kind = str(said.pop("kind", ""))
        self._owner.said(self, kind, said)
        if kind in self._asked:
            self._asked.discard(kind)
            self._answer(kind, said)

    def _answer(self, kind: str, answer: dict[str, Any] | None) -> None:
        waiting, self._waiting[kind] = self._waiting.get(kind, []), []
        for each in waiting:
            each.callback(answer)

    def _complains(self, octets: bytes) -> None:
        """What it says on its standard error is none of its log's: the interpreter's last words, or those of C."""
        *lines, self._errors = (self._errors + octets).split(b"\n")
        if len(self._errors) > _LINE:
            lines, self._errors = [*lines, self._errors], b""
        for line in filter(None, lines):
            _log.warn(f"{NAME}: {{line}}", line=printable(line[:_LINE].decode(errors="replace")), **self.facts)

    # --- Twisted's words -------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """The process has been started."""
        self.process = self.transport.pid

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N802, N803
        """It says something."""
        if childFD == 2:
            self._complains(data)
            return
        try:
            self._frames.feed(data)
        except Exception:
            _log.failure(f"{NAME} says what cannot be understood, and is killed", **self.facts)
            self.kill()

    def processEnded(self, reason: Failure) -> None:  # noqa: N802
        """It is gone, and all that it has said has come."""
        if self._errors:
            self._complains(b"\n")
        end: Any = reason.value
        self.ready = False
        for kind in list(self._waiting):
            self._answer(kind, None)
        why = f"was killed by signal {end.signal}" if end.signal else f"ended with status {end.exitCode}"
        self._owner.gone(self, why, killed=bool(end.signal))


#: Starts the process of a worker.
Spawn = Callable[[Worker], object]

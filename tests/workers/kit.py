"""What tests of workers share."""

import pickle
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from twistsmtp.workers.messages import Frames, say
from twistsmtp.workers.process import Worker

__all__ = ["Process", "logged_by"]


class Process:
    """The process of a worker, which does nothing by itself."""

    def __init__(self, worker: Worker, pid: int) -> None:
        self.worker = worker
        self.pid: int | None = pid
        #: What it was told, and which signals it got.
        self.told: list[tuple[Any, ...]] = []
        self.signals: list[str] = []
        self._frames = Frames(lambda message: self.told.append(pickle.loads(message)))
        worker.makeConnection(self)

    def writeToChild(self, number: int, octets: bytes) -> None:  # noqa: N802
        self._frames.feed(octets)

    def signalProcess(self, name: str) -> None:  # noqa: N802
        if self.pid is None:
            raise ProcessExitedAlready
        self.signals.append(name)
        if name == "KILL":
            self.end(signal=9)

    def say(self, kind: str, **more: object) -> None:
        """It says something."""
        self.worker.childDataReceived(1, say(kind, **more))

    def end(self, status: int = 0, signal: int | None = None) -> None:
        """It ends."""
        self.pid = None
        reason = ProcessTerminated(status, signal) if status or signal else ProcessDone(0)
        self.worker.processEnded(Failure(reason))

    @property
    def kinds(self) -> list[str]:
        """What it was told, in words; and forget it."""
        told, self.told = self.told, []
        return [kind for kind, *_ in told]


def logged_by(case: SynchronousTestCase | TestCase, namespace: str) -> Callable[[], list[str]]:
    """A function that says what was logged there since it was last asked: the level and the text of each."""
    said: list[str] = []

    def observe(event: LogEvent) -> None:
        if event.get("log_namespace") == namespace and "log_failure" not in event:
            said.append(f"{event['log_level'].name} {formatEvent(event)}")

    def take() -> list[str]:
        taken, said[:] = said[:], []
        return taken

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]  # a function does
    case.addCleanup(globalLogPublisher.removeObserver, observe)  # type: ignore[arg-type]  # the same
    return take

"""What a part of a running server may take part in: a check beforehand, its start, its reloads and its end.

A delivery, a policy or a checker that has one of these methods is called; nothing is to be declared. One that holds
other such parts passes the call on to them. `Parts` is all that a server has of them.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, runtime_checkable

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from twistsmtp.later import Later, drive, is_later

__all__ = ["Checkable", "PartError", "Parts", "Reloader", "Starter", "Stopper"]

_log = Logger(namespace="twistsmtp.lifecycle")

#: Seconds that a part has to stop.
STOP_TIME = 10.0


@runtime_checkable
class Checkable(Protocol):
    """Can tell beforehand whether it would start."""

    def check(self) -> None:
        """Say what `Starter.start` would raise, as far as that can be known, and change nothing.

        :raises Exception: the server could not start; the text is shown to the operator.
        """


@runtime_checkable
class Starter(Protocol):
    """Has something to do before the first mail comes."""

    def start(self) -> None:
        """The server is about to run: as the user, in the folder and with the umask that it will have from now on.

        :raises Exception: the server cannot start; the text is shown to the operator.
        """


@runtime_checkable
class Reloader(Protocol):
    """Has something that is to be read again."""

    def reload(self) -> None:
        """Read files again: the operator asks for it (SIGHUP). What cannot be read is logged, and the old stays."""


@runtime_checkable
class Stopper(Protocol):
    """Has something to end, once the last connection is gone."""

    def stop(self) -> Later[None]:
        """The server has ended its last connection. Close what is open: connections, files, timers. It may be started
        again."""


class PartError(Exception):
    """A part cannot start.

    :param name: what the operator calls it.
    :param error: what it has raised.
    """

    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(f"{name}: {error}")
        self.name = name
        self.error = error


class Parts:
    """The parts of a server: started in their order, each once, and stopped in the other direction.

    :param find: the parts as they are now, and what the operator calls each.
    :param clock: for the time that a part has to stop.
    """

    def __init__(self, find: Callable[[], Iterable[tuple[str, object]]], clock: IReactorTime) -> None:
        self._find = find
        self._clock = clock
        #: Those that have been started, or had no need to be.
        self._started: list[tuple[str, object]] = []

    def check(self) -> Iterator[PartError]:
        """Which of them would not start, as far as they know beforehand."""
        for name, part in self._all():
            if isinstance(part, Checkable):
                try:
                    part.check()
                except Exception as error:
                    yield PartError(name, error)

    def start(self) -> None:
        """Start all.

        :raises PartError: one of them does not start. Those before it are to be stopped.
        """
        for name, part in self._all():
            if isinstance(part, Starter):
                try:
                    part.start()
                except Exception as error:
                    raise PartError(name, error) from error
            self._started.append((name, part))

    def reload(self) -> None:
        """Have all read again what they read."""
        for name, part in self._all():
            if isinstance(part, Reloader):
                try:
                    part.reload()
                except Exception:
                    _log.failure("{name} could not be loaded again", name=name)

    async def stop(self) -> None:
        """Stop those that have been started. One that fails, or takes too long, does not keep the others from it."""
        started, self._started = self._started, []
        for name, part in reversed(started):
            if isinstance(part, Stopper):
                try:
                    await maybeDeferred(_stop, part).addTimeout(STOP_TIME, self._clock)
                except Exception:
                    _log.failure("{name} did not stop as it should", name=name)

    def _all(self) -> Iterable[tuple[str, object]]:
        """Each part once, wherever it stands more than once."""
        parts: dict[int, tuple[str, object]] = {}
        for name, part in self._find():
            parts.setdefault(id(part), (name, part))
        return parts.values()


def _stop(part: Stopper) -> "Deferred[None] | None":
    answer = part.stop()
    return drive(answer) if is_later(answer) else None

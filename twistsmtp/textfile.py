"""Files that people write by hand while the server runs: their lines, and how they are read again.

`TextFile` serves what a file has to whoever asks for it::

    file = TextFile("/etc/twistsmtp/senders", parse, seconds=reactor.seconds)
    then(file.current(), use)  # at once, but when it has to be read again

The file is looked at when somebody asks, not more often than every so many seconds. So there is no timer that somebody
would have to stop, and a server to whom nobody talks does not look. Reading and parsing take a thread, as a file may
be long; whoever asks meanwhile waits for it, so that nobody who comes when a change has been seen gets what was before.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from twistsmtp.wire.text import printable

__all__ = ["BadLines", "Stamp", "TextFile", "parse_lines", "stamp_of"]

T = TypeVar("T")

_log = Logger(namespace="twistsmtp.textfile")

#: How many bad lines an error names.
_SHOWN = 5


class BadLines(ValueError):
    """Lines that cannot be read. The text names their numbers and what is wrong with them.

    :param problems: by the number of the line, from 1 on.
    """

    def __init__(self, problems: Mapping[int, str]) -> None:
        shown = [f"line {number}: {problem}" for number, problem in list(problems.items())[:_SHOWN]]
        more = len(problems) - _SHOWN
        super().__init__("; ".join(shown) + (f"; and {more} more" if more > 0 else ""))
        self.problems = dict(problems)


def parse_lines(octets: bytes, parse: Callable[[str], object]) -> None:
    """Call *parse* with each line that says something: that is not empty, and does not begin with ``#``.

    :param octets: UTF-8; lines end with LF or CRLF. A byte order mark in front is no part of the first line.
    :param parse: raises `ValueError` with what is wrong with the line. The text is logged: what nobody is to see must
        not be in it.
    :raises BadLines: it did, or a line is not UTF-8. All other lines have been parsed.
    """
    problems = {}
    for number, line in enumerate(octets.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip() or line.lstrip().startswith(b"#"):
            continue
        try:
            parse(line.removesuffix(b"\r").decode())
        except UnicodeDecodeError:
            problems[number] = "not UTF-8"
        except ValueError as error:
            problems[number] = str(error)
    if problems:
        raise BadLines(problems)


#: What is another when a file is another, or becomes one that can be read: times of its last change and of the last
#: change of its mode in nanoseconds, inode, octets.
Stamp: TypeAlias = tuple[int, int, int, int]


def stamp_of(path: str | os.PathLike[str]) -> Stamp | None:
    """The stamp of the file at *path*; ``None`` where there is none that can be seen.

    Whoever could not read the file forgets its stamp: what was wrong can be mended and leave the file as it is.
    """
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size


class TextFile(Generic[T]):
    """What is in a file, read again when the file has changed.

    If it then cannot be read or parsed, that is logged, once, and the content stays what it was.

    :param path: of the file. If it is relative it is so to the folder that is the current one now: a server that
        becomes a daemon goes to another.
    :param parse: makes the content of the file's octets, in a thread. It raises `ValueError` (`BadLines`) if it cannot.
    :param seconds: the clock.
    :param every: how many seconds at least lie between two looks at the file.
    :param in_thread: calls a function, with arguments, in a thread; as `deferToThread`.
    :raises OSError: the file cannot be read.
    :raises ValueError: it cannot be parsed; the text names the file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        parse: Callable[[bytes], T],
        *,
        seconds: Callable[[], float] = time.monotonic,
        every: float = 1.0,
        in_thread: Callable[..., Deferred[Any]] = deferToThread,
    ) -> None:
        self.path = str(Path(path).absolute())
        self._parse = parse
        self._seconds = seconds
        self._every = every
        self._in_thread = in_thread
        self._looked = seconds()
        self._stamp = stamp_of(self.path)
        try:
            #: What the file had when it was read last.
            self.content = self._read()
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error
        #: Why the file cannot be read now: it is gone, or not for us to read; ``None`` where it can.
        self.error: OSError | None = None
        self._reading = False
        #: Those who wait until it has been read. A list, and not a lock that each passes on to the next: of a lock
        #: for which hundreds wait, Python's stack would end.
        self._waiting: list[Deferred[None]] = []

    def current(self) -> T | Deferred[T]:
        """What the file has: at once, unless it has changed since it was read."""
        if self._is_due():
            self._look()
        return self._wait() if self._reading else self.content

    def reload(self) -> None:
        """Read the file now, whether it seems to have changed or not. Who asks meanwhile waits for that."""
        if not self._reading:
            self._looked = self._seconds()
            self.error = None  # so that what is still wrong is said again
            self._begin(stamp_of(self.path))

    def _wait(self) -> Deferred[T]:
        turn: Deferred[None] = Deferred()
        self._waiting.append(turn)
        return turn.addCallback(lambda _: self.content)

    def _is_due(self) -> bool:
        return not self._reading and self._seconds() - self._looked >= self._every

    def _look(self) -> None:
        self._looked = self._seconds()
        # Before reading: what changes meanwhile is a change still to come.
        stamp = stamp_of(self.path)
        if stamp != self._stamp:
            self._begin(stamp)

    def _begin(self, stamp: Stamp | None) -> None:
        change = "has changed, and" if stamp != self._stamp else "is as it was, and"
        self._stamp = stamp
        self._reading = True
        reading = maybeDeferred(self._in_thread, self._read)
        reading.addCallbacks(self._changed, self._failed, callbackArgs=(change,)).addBoth(self._end)

    def _read(self) -> T:
        """What the file has. It blocks."""
        with open(self.path, "rb") as file:
            octets = file.read()
        return self._parse(octets)

    def _changed(self, content: T, change: str) -> None:
        self.content, self.error = content, None
        _log.info("{path} {change} was read again", path=self.path, change=change)

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, OSError):
            known, self.error = self.error, error
            self._stamp = None
            if str(known) == str(error):
                return
        else:
            self.error = None
            if not isinstance(error, ValueError):
                _log.failure("{path} could not be parsed", failure, path=self.path)
                return
        _log.error(
            "{path} was not read again, and what was read before stays in use: {problem}",
            path=self.path,
            problem=printable(str(error)),
        )

    def _end(self, result: object) -> object:
        self._reading = False
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            turn.callback(None)
        return result

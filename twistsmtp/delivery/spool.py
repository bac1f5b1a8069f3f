"""A message that is kept until it is whole: in memory as long as it is small, then in a file without a name.

For deliveries that hand a message on in one go. Of a client that goes away in the middle nothing is ever handed on, and
whoever takes the message does not have to wait for a slow client. Whatever becomes of the server, nothing is left: the
file is gone when it is closed. It is in the folder for temporary files (``TMPDIR``).
"""

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from twistsmtp.delivery.api import Refusal, Session
from twistsmtp.later import Later
from twistsmtp.wire.text import printable

__all__ = ["CHUNK", "PIECE", "InThread", "LineFeeds", "Spool", "Threads"]

P = ParamSpec("P")
T = TypeVar("T")

#: Octets of a message that are kept in memory before they are written.
CHUNK = 256 * 1024

#: Octets that are read of a message at once.
PIECE = 64 * 1024

#: What the system says when there is no room, on the disk or in somebody's quota.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_log = Logger()


class InThread(Protocol):
    """Calls a function that blocks in a thread."""

    def __call__(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """A Deferred for what *work* returns."""
        ...


class Threads:
    """An `InThread` of a reactor's own threads.

    :param reactor: the reactor that results come back to; the global one if none is given.
    :param pool: the threads; the reactor's own if none are given.
    """

    def __init__(self, reactor: IReactorThreads | None = None, pool: ThreadPool | None = None) -> None:
        self._reactor = reactor
        self._pool = pool

    def __call__(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """See `InThread`."""
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = cast(IReactorThreads, reactor)
        pool = self._pool or self._reactor.getThreadPool()
        if pool.joined:  # the process ends, and nothing that is left to do takes long
            return execute(work, *args, **kwargs)
        return deferToThreadPool(self._reactor, pool, work, *args, **kwargs)


class LineFeeds:
    """Has the lines of a message end with LF, as programs and mailbox files on Unix have them."""

    def __init__(self) -> None:
        self._kept = b""

    def feed(self, octets: bytes) -> bytes:
        """The next octets, cut anywhere. What may be half of a CRLF is kept back."""
        octets = self._kept + octets
        self._kept = b"\r" if octets.endswith(b"\r") else b""
        return (octets[:-1] if self._kept else octets).replace(b"\r\n", b"\n")

    def end(self) -> bytes:
        """What was kept back."""
        kept, self._kept = self._kept, b""
        return kept


class Spool:
    """One message. Its methods are called one after the other: each when the one before it has ended.

    :param session: who sends it.
    :param in_thread: what calls functions that block.
    """

    def __init__(self, session: Session, in_thread: InThread) -> None:
        self._session = session
        self._in_thread = in_thread
        #: What is not in the file, and how many octets that is.
        self._kept: list[bytes] = []
        self._kept_size = 0
        self._file: Any = None
        self._busy = False
        self._closed = False
        #: Octets of the message so far.
        self.size = 0

    def write(self, octets: bytes) -> Deferred[None] | None:
        """Keep *octets*. When they are many, have them written, and wait for that."""
        self._kept.append(octets)
        self._kept_size += len(octets)
        self.size += len(octets)
        return self.work(self._flush) if self._kept_size > CHUNK else None

    def work(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """What *function* returns, which blocks and may use the message: meanwhile its file is not closed, also where
        nobody waits any more.

        :raises Refusal: 452: there is no room, on the disk or in somebody's quota.
        """
        self._busy = True
        answer: Deferred[T] = Deferred()
        self._in_thread(function, *args, **kwargs).addBoth(self._worked, answer)
        return answer

    def read(self, offset: int) -> Later[bytes]:
        """The octets from *offset* on, as many as there are at once; none at the end."""
        return self.work(self._read, offset) if offset < self._in_file else self._read(offset)

    async def open(self) -> int:
        """A file descriptor of the message, to be read from its beginning; it is yours to close."""
        await self.work(self._flush)
        descriptor = self._file.fileno()
        try:
            # Opened once more, so that nobody can write, and each has a place of its own where it reads.
            opened = os.open(f"/dev/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # there is no such folder
            opened = os.dup(descriptor)
        os.lseek(opened, 0, os.SEEK_SET)
        return opened

    def close(self) -> None:
        """Drop the message. It may be called at any time."""
        self._closed = True
        if not self._busy:
            self._drop()

    # What follows blocks.

    def pieces(self) -> Iterator[bytes]:
        """The whole message, piece by piece."""
        offset = 0
        while octets := self._read(offset):
            yield octets
            offset += len(octets)

    @property
    def _in_file(self) -> int:
        return self.size - self._kept_size

    def _flush(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (it is closed with the spool)
        rest = memoryview(b"".join(self._kept))
        end = self._in_file
        while rest:
            written = os.pwrite(self._file.fileno(), rest, end)
            rest, end = rest[written:], end + written
        self._kept.clear()
        self._kept_size = 0

    def _read(self, offset: int) -> bytes:
        in_file = self._in_file
        if offset < in_file:
            return os.pread(self._file.fileno(), min(PIECE, in_file - offset), offset)
        if len(self._kept) > 1:
            self._kept = [b"".join(self._kept)]
        return self._kept[0][offset - in_file :][:PIECE] if self._kept else b""

    def _drop(self) -> None:
        self._kept.clear()
        file, self._file = self._file, None
        if file is not None:  # to give the disk back what a long one had takes a while
            self._in_thread(file.close).addErrback(partial(_log.failure, "a file was not closed"))

    def _worked(self, result: Any, answer: Deferred[Any]) -> None:
        self._busy = False
        if self._closed:
            self._drop()
        if answer.called:  # nobody waits any more
            return
        if isinstance(result, Failure) and isinstance(result.value, OSError) and result.value.errno in _NO_ROOM:
            _log.warn("{id} no room for a message: {error}", id=self._session.id, error=printable(str(result.value)))
            result = Failure(Refusal(self._session.replies.insufficient_storage))
        answer.callback(result)

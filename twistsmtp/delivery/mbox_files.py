"""The files of mbox mailboxes, and how a message is appended. All of it blocks; none of it knows Twisted.

The form is mboxrd: a line ``From sender date`` stands in front of each message and an empty line behind it, lines end
with LF, and a line of the message that looks like the first one, behind any number of ``>``, gets one more ``>``.

A message is appended while nobody else may write: a dot lock (``PATH.lock``) and a lock of the file itself (``fcntl``)
are held, as programs that read mail have them. What could not be written whole is cut off again. Only where the server
is killed, or the power fails, in the middle of it may a part of a message stay; its client has no 250.
"""

import errno
import fcntl
import itertools
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Lock

from twistsmtp.delivery.maildir_files import make_folder, sync_folder

__all__ = ["LOCK_SUFFIX", "STALE", "Busy", "Quoting", "append"]

#: What a dot lock has behind the name of its file.
LOCK_SUFFIX = ".lock"

#: Seconds after which a dot lock was left behind by somebody who died.
STALE = 600

_FROM = re.compile(rb"(?<=\n)(?=>*From )")
#: What may become a line to be quoted when more octets come.
_UNDECIDED = re.compile(rb">*(?:F|Fr|Fro|From)?")

#: Our own threads remove a lock that is stale one by one: none of them is to remove the one that another made.
_taking = Lock()


class Busy(Exception):
    """Somebody else holds the lock of a file."""


class Quoting:
    """Puts a ``>`` in front of lines that could be taken for the beginning of a message. Lines end with LF."""

    def __init__(self) -> None:
        self._kept = b""
        self._at_start = True

    def feed(self, octets: bytes) -> bytes:
        """The next octets, cut anywhere. What may become such a line is kept back."""
        octets = self._kept + octets
        start = octets.rfind(b"\n") + 1
        undecided = (start > 0 or self._at_start) and _UNDECIDED.fullmatch(octets, start) is not None
        cut = start if undecided else len(octets)
        self._kept = octets[cut:]
        quoted = _FROM.sub(b">", b"\n" + octets[:cut])[1:] if self._at_start else _FROM.sub(b">", octets[:cut])
        self._at_start = undecided
        return quoted

    def end(self) -> bytes:
        """What was kept back, the end of the last line if it has none, and the empty line."""
        return self._kept + (b"\n" if self._at_start and not self._kept else b"\n\n")


def append(paths: Iterable[str], pieces: Callable[[], Iterable[bytes]], *, create: bool) -> None:
    """Append a message to all files, or to none. When this returns, it survives a power cut.

    :param paths: each once, and always in the same order, so that nobody waits for each other.
    :param pieces: gives the message, once for each file.
    :param create: whether files and their folders are made.
    :raises Busy: somebody else holds the lock of one.
    :raises OSError: one cannot be written to. Nothing is left of the message then.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(_locked(path, create=create)) for path in paths]
        sizes = [os.fstat(file).st_size for file in files]
        try:
            for file, size in zip(files, sizes, strict=True):
                _write(file, size, pieces())
            for file in files:
                os.fsync(file)
        except BaseException:
            for file, size in zip(files, sizes, strict=True):
                with suppress(OSError):
                    os.ftruncate(file, size)
                    os.fsync(file)
            raise


@contextmanager
def _locked(path: str, *, create: bool) -> Iterator[int]:
    """The file, open, while we alone may write."""
    if create and not os.path.isdir(folder := os.path.dirname(path)):
        make_folder(folder)
    lock = path + LOCK_SUFFIX
    _take(lock)
    try:
        # Behind the dot lock: a process that closes a file loses all its locks of it, whichever thread has them.
        file = _open(path, create=create)
        try:
            _lock(file, path)
            yield file
        finally:
            os.close(file)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(lock)


def _take(lock: str) -> None:
    """Make a dot lock."""
    with _taking:
        with suppress(FileNotFoundError):
            if time.time() - os.lstat(lock).st_mtime > STALE:
                os.unlink(lock)
        try:
            file = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            raise Busy(lock) from None
    try:
        os.write(file, b"%d\n" % os.getpid())
    finally:
        os.close(file)


def _open(path: str, *, create: bool) -> int:
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(path, flags)
    except FileNotFoundError:
        if not create:
            raise
        file = os.open(path, flags | os.O_CREAT, 0o600)
        sync_folder(os.path.dirname(path))
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "it is not a file", path)
    return file


def _lock(file: int, path: str) -> None:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise Busy(path) from None
    if not os.path.samestat(os.fstat(file), os.lstat(path)):  # somebody has put another one in its place
        raise Busy(path)


def _write(file: int, size: int, pieces: Iterable[bytes]) -> None:
    tail = os.pread(file, 2, max(size - 2, 0))
    # A message of another program may lack the empty line behind it, and then ours would be a part of it.
    missing = b"" if not size or tail == b"\n\n" else b"\n" if tail.endswith(b"\n") else b"\n\n"
    for octets in itertools.chain([missing], pieces):
        rest = memoryview(octets)
        while rest:
            written = os.pwrite(file, rest, size)
            rest, size = rest[written:], size + written

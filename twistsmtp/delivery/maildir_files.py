"""The files of Maildirs, and the one order in which they may be made. All of it blocks; none of it knows Twisted.

A Maildir is a folder with the folders ``tmp``, ``new`` and ``cur`` in it (https://cr.yp.to/proto/maildir.html). A
message gets into one like this, and is then there whole or not at all, whenever the power fails::

    tmp/NAME    created, written, fsync: its octets are on the disk
    new/NAME    renamed from tmp: readers see it, whole
    new         fsync: its name is on the disk, too

Messages that come together go these steps together (`publish`), and a folder is synced once, for all that were renamed
before.
"""

import errno
import itertools
import os
import socket
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import PurePath
from threading import Lock

__all__ = ["Draft", "Withdrawn", "is_maildir", "make_folder", "make_maildir", "publish", "remove_stale", "sync_folder"]

PARTS = ("tmp", "new", "cur")

#: Seconds after which a file in tmp was left behind by a process that died: the Maildir page says 36 hours.
STALE = 36 * 3600

#: What `os.link` says where a copy is needed instead: another file system, or one that has no hard links or no more.
NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})

_CHUNK = 256 * 1024

_deliveries = itertools.count(1)


# --- folders ------------------------------------------------------------------------------------------------


def is_maildir(path: str) -> bool:
    """Whether *path* is a Maildir.

    :raises OSError: that cannot be known, as where a folder above it may not be searched.
    """
    try:
        return all(stat.S_ISDIR(os.stat(f"{path}/{part}").st_mode) for part in PARTS)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}:
            return False
        raise


def sync_folder(path: str) -> None:
    """Have the names in the folder *path* survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: str) -> None:
    """Make the folder *path*, and those above it that are missing, for the owner alone (mode 0700)."""
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        make_folder(parent)
    _mkdir(path)
    sync_folder(parent)


def make_maildir(path: str, base: str) -> None:
    """Make the Maildir *path*, and what is missing between it and *base*, which is *path* or a folder above it.

    All that is on the way is synced, also what is there: whoever made that may not be done with it yet.
    """
    folder = base
    for name in PurePath(path).relative_to(base).parts:
        parent, folder = folder, os.path.join(folder, name)
        _mkdir(folder)
        sync_folder(parent)
    for part in PARTS:
        _mkdir(f"{path}/{part}")
    sync_folder(path)


def _mkdir(path: str) -> None:
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)


def remove_stale(path: str) -> None:
    """Remove what killed processes have left in tmp of the Maildir *path*, as far as that can be done."""
    oldest = time.time() - STALE
    with suppress(OSError), os.scandir(f"{path}/tmp") as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime < oldest:
                    os.unlink(entry.path)


# --- files --------------------------------------------------------------------------------------------------


def unique_name() -> str:
    """A name that no other message has: time, microseconds, process, its count of deliveries, host."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{seconds}.M{nanoseconds // 1000}P{os.getpid()}Q{next(_deliveries)}.{_host()}"


@cache
def _host() -> str:
    return socket.gethostname().replace("/", r"\057").replace(":", r"\072")


def _write_all(descriptor: int, octets: bytes) -> None:
    rest = memoryview(octets)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


class Withdrawn(Exception):
    """The message was given up, or failed, before."""


class Draft:
    """One message on its way into Maildirs: into all of them, or into none.

    `append`, `publish` and `discard` block and come one after the other, from any thread. `withdraw` does not block
    and may come at any time. Of `withdraw` and the step in `publish` that makes the message seen, the first wins.

    :param folders: tells which Maildirs the message is for, at least one; called once, when the first octets come.
    """

    __slots__ = (
        "_busy",
        "_descriptor",
        "_find_folders",
        "_folders",
        "_lock",
        "_made",
        "_name",
        "_withdrawn",
    )

    def __init__(self, folders: Callable[[], Iterable[str]]) -> None:
        self._find_folders = folders
        self._name = ""
        self._folders: list[str] = []
        #: The Maildirs that hold a file of ours by now, in tmp or new.
        self._made: list[str] = []
        self._descriptor: int | None = None
        #: Guards the two below.
        self._lock = Lock()
        #: Whether somebody is at work on the files, or is to clean them up: nobody else may touch them.
        self._busy = False
        #: Whether it was given up, or a step of it failed.
        self._withdrawn = False

    def append(self, octets: bytes) -> None:
        """Write *octets* behind those that were written before.

        :raises OSError: nothing is left of the message then.
        :raises Withdrawn: nor then.
        """
        with self._at_work():
            self._write(octets)

    def publish(self, octets: bytes) -> None:
        """Write the last *octets*, and make the message safe and seen. When this returns, it survives a power cut.

        :raises OSError: nothing is left of the message then.
        :raises Withdrawn: nor then.
        """
        for error in filter(None, publish([(self, octets)])):
            raise error

    def publishing(self, octets: bytes, sync: Callable[[str], object]) -> Iterator[None]:
        """`publish` in steps, between which others may take theirs.

        :param sync: has the names in a folder survive a power cut; called in the last step.
        :raises OSError: nothing is left of the message then.
        :raises Withdrawn: nor then.
        """
        with self._at_work():
            descriptor = self._write(octets)
            yield
            os.fsync(descriptor)
            self._descriptor = None
            os.close(descriptor)  # a network file system may say only now that there is no room
            for folder in self._folders[1:]:
                self._copy(folder)
            yield
            if self._withdrawn:  # the last moment at which it makes a difference
                raise Withdrawn
            for folder in self._folders:
                os.rename(self._path(folder, "tmp"), self._path(folder, "new"))
            yield
            for folder in self._folders:
                sync(f"{folder}/new")
            self._made.clear()

    def withdraw(self) -> bool:
        """Give the message up, unless `publish` has begun to have readers see it.

        :returns: whether `discard` is to be called. Where a step is at work still, that step cleans up.
        """
        with self._lock:
            self._withdrawn = True
            idle, self._busy = not self._busy, True
            return idle and bool(self._made)

    def discard(self) -> None:
        """Remove all there is of the message."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with suppress(OSError):
                os.close(descriptor)
        while self._made:
            folder = self._made.pop()
            for part in ("new", "tmp"):
                with suppress(FileNotFoundError):
                    os.unlink(self._path(folder, part))

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        with self._lock:
            if self._withdrawn:
                raise Withdrawn
            self._busy = True
        done = False
        try:
            yield
            done = True
        finally:
            self._end_work(done)

    def _end_work(self, done: bool) -> None:
        with self._lock:
            # A message that lacks some of its octets must not be published by the next step.
            self._withdrawn = self._withdrawn or not done
            self._busy = cleaning = self._withdrawn
        if cleaning:
            self.discard()

    def _write(self, octets: bytes) -> int:
        descriptor = self._descriptor
        if descriptor is None:
            self._name = unique_name()
            self._folders = list(dict.fromkeys(self._find_folders()))
            descriptor = self._descriptor = self._create(self._folders[0])
        _write_all(descriptor, octets)
        return descriptor

    def _create(self, folder: str) -> int:
        descriptor = os.open(self._path(folder, "tmp"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._made.append(folder)
        return descriptor

    def _copy(self, folder: str) -> None:
        source = self._path(self._folders[0], "tmp")
        try:
            os.link(source, self._path(folder, "tmp"))
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
        else:
            self._made.append(folder)
            return
        descriptor = self._create(folder)
        try:
            with open(source, "rb") as file:
                while octets := file.read(_CHUNK):
                    _write_all(descriptor, octets)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _path(self, folder: str, part: str) -> str:
        return f"{folder}/{part}/{self._name}"


class _Syncs:
    """Syncs each folder once.

    Also one that cannot be: where `os.fsync` has failed, the system may have dropped what was not on the disk, and says
    so only the first time.
    """

    def __init__(self) -> None:
        self._errors: dict[str, OSError | None] = {}

    def __call__(self, folder: str) -> None:
        if folder not in self._errors:
            self._errors[folder] = None
            try:
                sync_folder(folder)
            except OSError as error:
                self._errors[folder] = error
        failed = self._errors[folder]
        if failed is not None:
            raise failed


def publish(messages: Sequence[tuple[Draft, bytes]]) -> list[Exception | None]:
    """Write the last octets of each of *messages*, and make it safe and seen.

    Each step is gone for all of them before the next, and those that fail do not hold up the others.

    :returns: for each, ``None`` where it survives a power cut from now on, or why nothing is left of it.
    """
    sync = _Syncs()
    outcomes: list[Exception | None] = [None] * len(messages)
    under_way = {number: draft.publishing(octets, sync) for number, (draft, octets) in enumerate(messages)}
    while under_way:
        for number, steps in list(under_way.items()):
            try:
                next(steps)
            except StopIteration:
                del under_way[number]
            except Exception as error:
                outcomes[number] = error
                del under_way[number]
    return outcomes

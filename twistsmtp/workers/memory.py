"""What workers count together, in memory that all of them have.

**Connections** are counted where only one may write: each worker has rows of its own, and a count is the sum over the
rows of all. Nobody needs a lock, nobody waits for a worker that has been stopped, and when one is gone its rows are
made empty, as its connections are gone with it. A row has no names. A client is one cell in each of four rows, by a
hash with a key that nobody outside knows; others may share some of them, so the least of the four is the count. It may
be too great, which takes somebody who shares all four, and is never too small.

A worker counts a connection before it asks. So of those that come to several workers at the same time, none is let in
beyond the limit; where there is one place left for two, both may be refused.

**Scores** are what is remembered of a client for some time: how often it has failed, and how much it has brought. A
name has a number that says at once how much that is and how old, so the smallest is what there is least to remember of,
and goes when there is no room. They are changed under a lock that the system takes from a process that ends. A worker
that waits for one that was stopped gives up soon, and changes the number without: then one of the two changes may be
lost, and nothing else.
"""

import fcntl
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from struct import Struct

from twistsmtp.clients import Clients

__all__ = ["Memory", "Scores", "SharedClients"]

#: Rows of a worker for one kind of connections, and cells of a row.
ROWS, CELLS = 4, 1 << 14
#: Cells that a worker has for one kind of connections; the last is the sum.
_SHEET = ROWS * CELLS + 2
#: Kinds of connections: SMTP and LMTP.
KINDS = 2
#: How many `Scores` there are, how many names each has room for, and places that one of them may have.
SCORES = 2
ROOM, WAYS = 1 << 16, 8
#: How often a lock is tried.
_TRIES = 100
#: Octets of the key of hashes.
_KEY = 32

_FOUR = Struct("4H")
_PLACE = Struct("QI")


class Memory:
    """The memory of some workers.

    :param workers: how many there are.
    :param descriptor: what `descriptor` of the process is that has made it; without one it is made.
    :raises OSError: there is none, or no room.
    """

    def __init__(self, workers: int, descriptor: int | None = None) -> None:
        self.workers = workers
        #: The number of the file that it is.
        self.descriptor = _file() if descriptor is None else descriptor
        counts = 4 * workers * KINDS * _SHEET
        size = _KEY + counts + 16 * ROOM * SCORES
        if descriptor is None:
            os.truncate(self.descriptor, size)
            os.pwrite(self.descriptor, os.urandom(_KEY), 0)
        octets = memoryview(mmap.mmap(self.descriptor, size))
        self._key = bytes(octets[:_KEY])
        self._counts = octets[_KEY : _KEY + counts].cast("I")
        self._scores = octets[_KEY + counts :]

    def clients(self, worker: int, kind: int, left: Callable[[], object] = bool) -> "SharedClients":
        """The connections of one *kind*, as *worker*, a number from 0 on, counts them.

        :param left: called when there is one less.
        """
        sheets = [self._sheet(each, kind) for each in range(self.workers)]
        return SharedClients(self._key, sheets, sheets[worker], left)

    def scores(self, number: int) -> "Scores":
        """The scores of that *number*, from 0 on."""
        begin = 16 * ROOM * number
        table = self._scores[begin : begin + 16 * ROOM]
        return Scores(self._key + bytes([number]), table, self.descriptor, _KEY + self._counts.nbytes + begin)

    def loads(self) -> list[int]:
        """How many connections each worker has."""
        return [
            sum(self._counts[_SHEET * (each * KINDS + kind + 1) - 1] for kind in range(KINDS))
            for each in range(self.workers)
        ]

    def forget(self, worker: int) -> None:
        """*worker* is gone, and its connections with it."""
        for kind in range(KINDS):
            sheet = self._sheet(worker, kind)
            sheet[:] = memoryview(bytes(sheet.nbytes)).cast("I")

    def _sheet(self, worker: int, kind: int) -> memoryview:
        begin = _SHEET * (worker * KINDS + kind)
        return self._counts[begin : begin + _SHEET]


def _file() -> int:
    """A file that is nowhere but in memory, where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("twistsmtp")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class SharedClients(Clients):
    """How many connections all workers have, by whom they are counted for.

    :param sheets: those of all workers.
    :param own: the one to write to.
    :param left: called when there is one less.
    """

    def __init__(
        self, key: bytes, sheets: list[memoryview], own: memoryview, left: Callable[[], object] = bool
    ) -> None:
        super().__init__()
        self._key = key
        self._left = left
        self._sheets, self._own = sheets, own

    def enter(self, network: str) -> None:
        """There is one more."""
        super().enter(network)
        self._add(network, 1)

    def leave(self, network: str) -> None:
        """There is one less."""
        super().leave(network)
        self._add(network, -1)
        self._left()

    def count(self, network: str) -> int:
        """How many there are: this many, or less."""
        return min(sum(sheet[cell] for sheet in self._sheets) for cell in self._cells(network))

    @property
    def total(self) -> int:
        """How many there are of all."""
        return sum(sheet[-1] for sheet in self._sheets)

    def _add(self, network: str, count: int) -> None:
        own = self._own
        for cell in self._cells(network):
            own[cell] += count
        own[-1] = self._total

    def _cells(self, network: str) -> list[int]:
        digest = blake2b(network.encode(), digest_size=_FOUR.size, key=self._key).digest()
        return [row * CELLS + cell % CELLS for row, cell in enumerate(_FOUR.unpack(digest))]


class Scores:
    """Numbers by name, 0.0 where there is none.

    :param table: where they are.
    :param descriptor: the file that this is, for its locks; and *offset*, where in it.
    """

    def __init__(self, key: bytes, table: memoryview, descriptor: int, offset: int) -> None:
        self._key = key
        self._names, self._numbers = table[: 8 * ROOM].cast("Q"), table[8 * ROOM :].cast("d")
        self._descriptor, self._offset = descriptor, offset

    def __getitem__(self, name: str) -> float:
        hash, begin = self._place(name)
        return next((self._numbers[each] for each in range(begin, begin + WAYS) if self._names[each] == hash), 0.0)

    def change(self, name: str, change: Callable[[float], float]) -> None:
        """Have the number of *name* be what *change* makes of it. If it is new, the smallest goes that is in its
        way."""
        hash, begin = self._place(name)
        with self._locked(begin):
            places = range(begin, begin + WAYS)
            place = next((each for each in places if self._names[each] == hash), None)
            if place is None:
                place = min(places, key=self._numbers.__getitem__)
                self._numbers[place] = 0.0  # whoever reads meanwhile is not told another's
                self._names[place] = hash
            self._numbers[place] = change(self._numbers[place])

    def _place(self, name: str) -> tuple[int, int]:
        """The hash that stands for *name*, and the first of its places."""
        digest = blake2b(name.encode(), digest_size=_PLACE.size, key=self._key).digest()
        hash, place = _PLACE.unpack(digest)
        return hash, place % (ROOM // WAYS) * WAYS

    @contextmanager
    def _locked(self, place: int) -> Iterator[None]:
        where = 1, self._offset + place
        for _ in range(_TRIES):
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, *where)
                break
            except OSError:
                continue
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, *where)

"""What greylisting remembers: a table of who has come, and of whom much has passed, in a SQLite file.

A row is a triplet of network, sender and recipient, or, without these two, a network by itself. Each has a time when it
is forgotten. There is no timer: whenever a row comes, two that are to be forgotten go, and when there are too many
rows, the one that would go next. So the table has an end, and a flood of senders pushes out what has not passed before
it pushes out what has.

Everything here blocks, and is called by one thread at a time.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

__all__ = ["Rule", "Triplet", "Triplets", "Verdict"]

#: Seconds to wait for another server that writes: its transactions take thousandths of one.
_BUSY = 0.5
#: Marks the file as ours (``PRAGMA application_id``), and says which form it has (``PRAGMA user_version``).
_APPLICATION, _VERSION = 0x74736772, 1
#: The part of its lifetime after which a row that is used is written again: not for each message.
_REFRESH = 0.01

#: The number of rows is kept, as SQLite would have to read all of them to count them.
_SCHEMA = (
    """CREATE TABLE triplets (
        network TEXT NOT NULL, sender TEXT NOT NULL, recipient TEXT NOT NULL,
        first REAL NOT NULL, passes INTEGER NOT NULL, expires REAL NOT NULL,
        UNIQUE (network, sender, recipient))""",
    "CREATE INDEX expires ON triplets (expires)",
    "CREATE TABLE size (triplets INTEGER NOT NULL)",
    "INSERT INTO size VALUES (0)",
    "CREATE TRIGGER more AFTER INSERT ON triplets BEGIN UPDATE size SET triplets = triplets + 1; END",
    "CREATE TRIGGER less AFTER DELETE ON triplets BEGIN UPDATE size SET triplets = triplets - 1; END",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_VERSION}",
)

_FIND = """SELECT rowid, first, passes, expires FROM triplets WHERE network = ? AND sender = ? AND recipient = ?"""
_ADD = "INSERT INTO triplets (network, sender, recipient, first, passes, expires) VALUES (?, ?, ?, ?, ?, ?)"
_SET = "UPDATE triplets SET first = ?, passes = ?, expires = ? WHERE rowid = ?"
_FORGET = """DELETE FROM triplets WHERE rowid IN (
    SELECT rowid FROM triplets WHERE expires <= ? ORDER BY expires LIMIT 2)"""
_MAKE_ROOM = """DELETE FROM triplets WHERE rowid IN (
    SELECT rowid FROM triplets ORDER BY expires LIMIT max(0, (SELECT triplets FROM size) - ?))"""


@dataclass(frozen=True, slots=True)
class Rule:
    """How long is waited, and what is remembered. Times are in seconds.

    :raises ValueError: the window closes before the delay is over.
    """

    #: From the first time on a triplet is deferred for so long.
    delay: float = 300.0
    #: It has to have come again by then.
    window: float = 2 * 86400.0
    #: How long it is known after that, from the last time on.
    lifetime: float = 35 * 86400.0
    #: How many messages of a network pass before all do.
    passes: int = 5
    #: Rows of the table.
    most: int = 200_000

    def __post_init__(self) -> None:
        if self.window <= self.delay:
            raise ValueError("window has to be longer than delay")


class Triplet(NamedTuple):
    """Who sends to whom."""

    network: str
    #: Empty for the null reverse-path.
    sender: str
    recipient: str


class Verdict(NamedTuple):
    """What becomes of a message, as far as its triplets tell."""

    #: Seconds that it is still too early: 0 where it passes.
    wait: float
    #: Seconds that it was deferred, where it passes for the first time.
    delayed: float | None = None


class _Row(NamedTuple):
    rowid: int
    first: float
    passes: int
    expires: float


class Triplets:
    """The table.

    :param path: of the file. If it is relative it is so to the folder that is the current one now: a server that
        becomes a daemon goes to another.
    """

    def __init__(self, path: str | os.PathLike[str], rule: Rule) -> None:
        self.path = str(Path(path).absolute())
        self._rule = rule
        self._connection: sqlite3.Connection | None = None

    def open(self) -> sqlite3.Connection:
        """Open the file, and make it if it is not there, unless it is open.

        :raises sqlite3.Error: that is not possible.
        :raises ValueError: the file is another's.
        """
        if self._connection is None:
            # Called by one thread at a time, if not always the same: at the start it is the reactor's.
            connection = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def look(self) -> None:
        """See whether the file could be opened, and leave it as it is.

        :raises sqlite3.Error: it could not.
        :raises ValueError: the file is another's.
        """
        if not os.path.lexists(self.path):
            if not os.access(os.path.dirname(self.path), os.W_OK | os.X_OK):
                raise sqlite3.OperationalError("unable to open database file")
            return
        if not os.access(self.path, os.W_OK):
            raise sqlite3.OperationalError("attempt to write a readonly database")
        # By its name SQLite makes files beside it, for others that may have it open.
        connection = sqlite3.connect(f"{Path(self.path).as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            self._is_new(connection)
        finally:
            connection.close()

    def close(self) -> None:
        """Close the file. It is opened again when it is needed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def check(self, triplets: Sequence[Triplet], now: float, counts: bool) -> Verdict:
        """Whether a message of *triplets* passes, all of the same network; and remember that it has come.

        :param counts: whether it counts for its network, if it passes.
        :raises sqlite3.Error: the file fails. It is opened again the next time.
        :raises ValueError: it is another's.
        """
        try:
            with _transaction(self.open()) as connection:
                return self._check(connection, triplets, now, counts)
        except Exception:
            self.close()
            raise

    def _check(self, connection: sqlite3.Connection, triplets: Sequence[Triplet], now: float, counts: bool) -> Verdict:
        client = Triplet(triplets[0].network, "", "")
        known = _find(connection, client, now)
        if known is not None and known.passes >= self._rule.passes:
            self._use(connection, known, now)
            return Verdict(0)
        verdicts = [self._come(connection, each, now) for each in triplets]
        delayed = [each.delayed for each in verdicts if each.delayed is not None]
        wait = max(each.wait for each in verdicts)
        if delayed and counts and not wait:
            self._count(connection, client, known, now)
        return Verdict(wait, max(delayed, default=None))

    def _come(self, connection: sqlite3.Connection, triplet: Triplet, now: float) -> Verdict:
        rule = self._rule
        row = _find(connection, triplet, now)
        if row is None:
            self._add(connection, triplet, now, 0, now + rule.window)
            return Verdict(rule.delay)
        if row.passes:
            self._use(connection, row, now)
            return Verdict(0)
        waited = max(0.0, now - row.first)  # the clock may have been set back
        if waited < rule.delay:
            return Verdict(rule.delay - waited)
        connection.execute(_SET, (row.first, 1, now + rule.lifetime, row.rowid))
        return Verdict(0, waited)

    def _use(self, connection: sqlite3.Connection, row: _Row, now: float) -> None:
        lifetime = self._rule.lifetime
        if now + lifetime - row.expires > lifetime * _REFRESH:
            connection.execute(_SET, (row.first, row.passes, now + lifetime, row.rowid))

    def _count(self, connection: sqlite3.Connection, client: Triplet, known: _Row | None, now: float) -> None:
        until = now + self._rule.lifetime
        if known is None:
            self._add(connection, client, now, 1, until)
        else:
            connection.execute(_SET, (known.first, known.passes + 1, until, known.rowid))

    def _add(self, connection: sqlite3.Connection, triplet: Triplet, now: float, passes: int, expires: float) -> None:
        connection.execute(_FORGET, (now,))
        connection.execute(_ADD, (*triplet, now, passes, expires))
        connection.execute(_MAKE_ROOM, (self._rule.most,))

    def _prepare(self, connection: sqlite3.Connection) -> None:
        with _transaction(connection):
            if self._is_new(connection):
                for statement in _SCHEMA:
                    connection.execute(statement)
        # A write costs no fsync, and what a power failure takes of the last seconds is no more than another delay.
        with suppress(sqlite3.OperationalError):  # another server is just doing the same
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")

    def _is_new(self, connection: sqlite3.Connection) -> bool:
        """Whether there is nothing in the file yet.

        :raises ValueError: there is, and it is another's.
        """
        application = _pragma(connection, "application_id")
        if not application and not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            return True
        if application != _APPLICATION:
            raise ValueError(f"{self.path} is the database of something else")
        if _pragma(connection, "user_version") != _VERSION:
            raise ValueError(f"{self.path} is of another version of twistsmtp")
        return False


def _find(connection: sqlite3.Connection, triplet: Triplet, now: float) -> _Row | None:
    found = connection.execute(_FIND, triplet).fetchone()
    if found is None:
        return None
    row = _Row(*found)
    if row.expires <= now:
        connection.execute("DELETE FROM triplets WHERE rowid = ?", (row.rowid,))
        return None
    return row


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    [value] = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """A transaction that may write from its beginning on, so that no other server comes between."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")

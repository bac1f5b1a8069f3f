"""Mail kept in mbox files, one for all mail or one for each mailbox.

`twistsmtp.delivery.mbox_files` appends to the files; this module says to which, and keeps the reactor from waiting.
"""

import errno
import os
import time
from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from twistsmtp.delivery.api import (
    Delivery,
    DeliveryTransaction,
    Envelope,
    Recipient,
    Refusal,
    ReversePath,
    Session,
)
from twistsmtp.delivery.mailbox_path import NAME_LIMIT, MailboxPath
from twistsmtp.delivery.maildir_files import make_folder
from twistsmtp.delivery.mbox_files import LOCK_SUFFIX, Busy, Quoting, append
from twistsmtp.delivery.spool import InThread, LineFeeds, Spool, Threads
from twistsmtp.later import awaited
from twistsmtp.makers import number, yes_or_no
from twistsmtp.trace import return_path
from twistsmtp.wire.grammar import Mailbox
from twistsmtp.wire.text import printable

__all__ = ["Mbox"]

#: Seconds to wait for somebody else's lock, and between two looks at it.
LOCK_TIME = 30.0
LOOK = 0.25


_log = Logger()


class Mbox(Delivery):
    """Appends each message to the mbox file of each of its recipients, to all of them or to none.

    A mailbox that has no file is refused (550 5.1.1), and so is one whose address cannot be the name of a file. Names
    are in lower case, domains in A-labels. A full disk is 452 4.3.1; any other error of the file system, and a lock
    that somebody else does not let go of, goes to the log and is 451 4.3.0.

    `twistsmtp.delivery.mbox_files` has the form of the files.

    :param path: one file for all mail, or with ``{local}`` and ``{domain}`` one for each mailbox, as in
        ``/var/mail/{local}``. The server must be able to make files in its folder, for the dot lock.
    :param create: whether files that are missing are made (mode 0600), and folders (0700), when there is mail for them.
    :param lock_time: seconds to wait for somebody else's lock.
    :param in_thread: what calls functions that block.
    :raises ValueError: the path is none.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        create: bool = False,
        lock_time: float = LOCK_TIME,
        in_thread: InThread | None = None,
    ) -> None:
        self._path = MailboxPath(os.fspath(path))
        self._create = create
        self._lock_time = lock_time
        self._in_thread = Threads() if in_thread is None else in_thread

    @classmethod
    def from_options(cls, path: str, *, create: str = "no", lock_time: str = f"{LOCK_TIME:g}") -> "Mbox":
        """The delivery that ``mbox:PATH`` with these options names.

        :raises ValueError: as `Mbox` does, or an option is wrong.
        """
        return cls(path, create=yes_or_no("create", create), lock_time=number("lock_time", lock_time))

    def start(self) -> None:
        """See that there is what there must be.

        :raises ValueError: the file, or the folder that all are in, is missing and may not be made.
        """
        self._see_what_there_is()
        if self._create and not os.path.isdir(self._folder):
            make_folder(self._folder)

    def check(self) -> None:
        """See `Checkable`."""
        self._see_what_there_is()
        folder = self._folder
        while not os.path.lexists(folder):
            folder = os.path.dirname(folder)
        if not os.path.isdir(folder) or (folder != self._folder and not os.access(folder, os.W_OK | os.X_OK)):
            raise ValueError(f"{self._folder} cannot be made")

    @property
    def _folder(self) -> str:
        """The one that all files are in."""
        base = self._path.base
        return base if self._path.placeholders else os.path.dirname(base)

    def _see_what_there_is(self) -> None:
        base, shared = self._path.base, not self._path.placeholders
        if not self._create and not (os.path.isfile(base) if shared else os.path.isdir(base)):
            raise ValueError(f"{base} is no {'file' if shared else 'folder'} (create=yes would make it)")

    def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
        """Mail from anybody is taken."""
        return _Transaction(self, session)

    def _find(self, session: Session, mailbox: Mailbox) -> str:
        """The file of *mailbox*.

        :raises Refusal: it cannot have one.
        """
        path = self._path.fill(local=mailbox.local, domain=mailbox.host or session.hostname.lower())
        if path is None or (self._path.placeholders and not _has_room_for_lock(path)):
            raise Refusal(session.replies.mailbox_unknown)
        return path


class _Transaction(DeliveryTransaction):
    """One message on its way into mbox files."""

    def __init__(self, mbox: Mbox, session: Session) -> None:
        self._mbox = mbox
        self._session = session
        self._spool = Spool(session, mbox._in_thread)
        self._lines = LineFeeds()
        self._quoting = Quoting()
        self._given_up = False

    def rcpt(self, recipient: Recipient) -> Deferred[None] | None:
        """Take a mailbox that has a file, or is to have one."""
        path = self._mbox._find(self._session, recipient.mailbox)
        if self._mbox._create or not self._mbox._path.placeholders:
            return None
        return self._mbox._in_thread(self._exists, path).addCallback(self._refuse_unless)

    def open(self, envelope: Envelope) -> None:
        """Begin to keep the message."""
        self._paths = sorted({self._mbox._find(self._session, each.mailbox) for each in envelope.recipients})
        self._sender = envelope.reverse_path

    def write(self, octets: bytes) -> Deferred[None] | None:
        """Keep *octets*, as they will be in the file."""
        return self._spool.write(self._quoting.feed(self._lines.feed(octets)))

    async def commit(self) -> None:
        """Append the message to its files, as soon as nobody else holds their locks."""
        await awaited(self._spool.write(self._quoting.feed(self._lines.end()) + self._quoting.end()))
        clock: Any = self._session.clock
        last = clock.seconds() + self._mbox._lock_time
        while True:
            try:
                await self._spool.work(self._append)
            except Busy as error:
                if clock.seconds() >= last:
                    _log.warn("{id} {path} is locked by somebody else", id=self._session.id, path=printable(str(error)))
                    raise Refusal(self._session.replies.local_error) from None
                await deferLater(clock, LOOK)
            else:
                break
        self._spool.close()

    def abort(self) -> None:
        """Leave nothing of the message, unless it is on the disk by now."""
        self._given_up = True
        self._spool.close()

    def _append(self) -> None:
        append(self._paths, self._pieces, create=self._mbox._create)

    def _pieces(self) -> Iterator[bytes]:
        sender = str(self._sender)
        # Nobody is MAILER-DAEMON in this line, as other servers write it. The date is English in any locale.
        yield f"From {sender or 'MAILER-DAEMON'} {time.asctime(time.gmtime())}\n".encode()
        yield return_path(self._sender).replace(b"\r\n", b"\n")
        for octets in self._spool.pieces():
            if self._given_up:  # then none of it is to stay
                raise CancelledError
            yield octets

    def _exists(self, path: str) -> bool:
        try:
            os.lstat(path)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}:
                raise
            os.stat(self._mbox._path.base)  # if all of them are gone, a disk is: that does not make them unknown
            return False
        return True

    def _refuse_unless(self, known: bool) -> None:
        if not known:
            raise Refusal(self._session.replies.mailbox_unknown)


def _has_room_for_lock(path: str) -> bool:
    """Whether a file can be locked, and is no lock of another one."""
    name = os.path.basename(path)
    return not name.endswith(LOCK_SUFFIX) and len(os.fsencode(name + LOCK_SUFFIX)) <= NAME_LIMIT

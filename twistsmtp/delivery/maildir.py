"""Mail kept in Maildirs: the durable delivery that needs nothing but a file system.

`twistsmtp.delivery.maildir_files` makes the files; this module says which, and keeps the reactor from waiting for
the disk. Messages of up to `CHUNK` octets are written, synced and renamed by a thread in one piece of work, together
with others that came while threads were busy. A longer one goes to its file in tmp chunk by chunk while it comes, and
the client is held back while one is written.
"""

import errno
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple, ParamSpec, TypeVar, cast, get_args

from twisted.internet.defer import Deferred, execute, maybeDeferred
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from twistsmtp.delivery.api import (
    Delivery,
    DeliveryTransaction,
    Envelope,
    Recipient,
    Refusal,
    ReversePath,
    Session,
)
from twistsmtp.delivery.mailbox_path import MailboxPath, is_file_name
from twistsmtp.delivery.maildir_files import Draft, is_maildir, make_folder, make_maildir, publish, remove_stale
from twistsmtp.later import Later
from twistsmtp.makers import yes_or_no
from twistsmtp.trace import return_path
from twistsmtp.wire.grammar import GrammarError, Mailbox, parse_mailbox
from twistsmtp.wire.text import printable

__all__ = ["CHUNK", "Layout", "Maildir"]

P = ParamSpec("P")
T = TypeVar("T")

#: Octets of a message that are kept in memory before they are written.
CHUNK = 256 * 1024

#: What becomes of ``user+detail``: see `Maildir`.
Layout = Literal["flat", "maildir++"]

#: Messages that are one piece of work together, at most, and so many that wait before another thread begins with them.
#: Each thread costs time, as all of them want Python; but what one syncs, it waits for one by one.
_TOGETHER = 6

#: Such pieces of work at a time, so that there are threads left for others.
_AT_A_TIME = 6

#: Maildirs that are remembered to be in order; when there are more, all are looked at again.
_REMEMBERED = 10_000

#: What the system says when there is no room, on the disk or in somebody's quota.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})

_log = Logger()


class _Place(NamedTuple):
    """Where mail for a mailbox goes."""

    maildir: str
    #: The folder in it that its owner may have for such mail, or ``""``.
    subfolder: str


class Maildir(Delivery):
    """Keeps each message as a file in the Maildir of each of its recipients.

    A stored message is the Return-Path field, the Received field, and then octet for octet what the client sent: lines
    end with CRLF, in these two fields as well. When `commit` answers, it survives a power cut. A message for several
    Maildirs gets into all of them or into none. Its files are for the owner alone (mode 0600).

    A mailbox that has no Maildir is refused (550 5.1.1), and so is one whose address cannot be the name of a folder,
    as with a slash, a dot in front or a control character. Names of folders are in lower case, domains in A-labels. A
    full disk is 452 4.3.1; any other error of the file system goes to the log and is 451 4.3.0.

    :param path: one Maildir for all mail, or with ``{local}`` and ``{domain}`` one for each mailbox, as in
        ``/var/mail/{domain}/{local}``. A mailbox without a domain has the one that the server is called by.
    :param create: whether Maildirs that are missing are made (mode 0700) when there is mail for them.
    :param layout: ``"flat"``: ``user+detail`` is a mailbox of its own. ``"maildir++"``: its mail goes to the folder
        ``.detail`` in the Maildir of ``user``, if it is there, and else to that Maildir itself.
    :param reactor: the reactor that results come back to; the global one if none is given.
    :param pool: the threads that do the work; the reactor's own if none are given.
    :raises ValueError: the path or the layout is none, or the folder is missing and may not be made.
    """

    #: A file keeps any octets.
    honours = frozenset({"binarymime"})

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        create: bool = False,
        layout: Layout = "flat",
        reactor: IReactorThreads | None = None,
        pool: ThreadPool | None = None,
    ) -> None:
        if layout not in get_args(Layout):
            raise ValueError(f"layout is {' or '.join(get_args(Layout))}, not {layout!r}")
        self._path = MailboxPath(os.fspath(path))
        self._create = create
        self._subfolders = layout == "maildir++"
        self._reactor = reactor
        self._pool = pool
        #: The Maildirs that are there, safe on the disk themselves, and tidied up.
        self._prepared: set[str] = set()
        self._started = False
        #: Messages to be made safe by the next thread, each with its last octets and who waits for that.
        self._finished: list[tuple[Draft, bytes, Deferred[None]]] = []
        #: How many threads make messages safe now.
        self._publishing = 0
        if not create:  # what is only looked at can be looked at here and now
            self.start()

    @classmethod
    def from_options(cls, path: str, *, create: str = "no", layout: str = "flat") -> "Maildir":
        """The delivery that ``maildir:PATH`` with these options names.

        :raises ValueError: as `Maildir` does, or *create* is neither yes nor no.
        """
        return cls(path, create=yes_or_no("create", create), layout=cast(Layout, layout))

    def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
        """Mail from anybody is taken."""
        return _Transaction(self, session)

    def verify(self, session: Session, text: str) -> Later[Sequence[str]]:
        """The mailbox that *text* is, ``user@domain`` or the user alone, if it has a Maildir.

        :returns: nothing, for "cannot say": *text* is no mailbox, every mailbox has a Maildir or is to have one, or
            Maildirs are named by the user alone and the domain is not the one that the server is called by.
        :raises Refusal: it has none (550 5.1.1).
        """
        address = text.removeprefix("<").removesuffix(">")
        try:
            mailbox = parse_mailbox(address if "@" in address else f"{address}@{session.hostname}")
        except GrammarError:
            return ()
        known = "domain" in self._path.placeholders or mailbox.host == session.hostname.lower()
        if self._takes_all or not known or not mailbox.is_ascii:
            return ()
        place = self._place(session, mailbox)

        def answer(found: bool) -> Sequence[str]:
            if not found:
                raise Refusal(session.replies.mailbox_unknown)
            return (f"<{mailbox}>",)

        return self._in_thread(self._exists, place.maildir).addCallback(answer)

    def start(self) -> None:
        """Make what is missing, and see that there is what there must be: what would go wrong with every message is to
        go wrong before the first. A server calls this when it runs as the user that it will stay.

        :raises ValueError: the folder is missing and may not or cannot be made.
        """
        base, shared = self._path.base, not self._path.placeholders
        try:
            if self._create and not os.path.isdir(base):
                make_folder(base)
            if self._create and shared:
                make_maildir(base, base)
            found = is_maildir(base) if shared else os.path.isdir(base)
        except OSError as error:
            raise ValueError(f"{base}: {error.strerror}") from error
        if not found:
            raise ValueError(f"{base} is no {'Maildir' if shared else 'folder'} (create=yes would make it)")
        self._started = True

    @property
    def _takes_all(self) -> bool:
        """Whether there is a Maildir, or will be, for every address that can have one."""
        return self._create or not self._path.placeholders

    def _place(self, session: Session, mailbox: Mailbox) -> _Place:
        """Where mail for *mailbox* goes.

        :raises Refusal: it cannot have a place.
        """
        local, detail = mailbox.local, ""
        if self._subfolders and "+" in local[1:]:
            user, _, detail = local[1:].partition("+")
            local = local[0] + user
        maildir = self._path.fill(local=local, domain=mailbox.host or session.hostname.lower())
        if maildir is None:
            raise Refusal(session.replies.mailbox_unknown)
        return _Place(maildir, f".{detail}" if detail and detail.isascii() and is_file_name(detail) else "")

    def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = cast(IReactorThreads, reactor)
        if self._pool is None:
            self._pool = self._reactor.getThreadPool()
        if self._pool.joined:  # the process ends, and nothing that is left to do takes long
            return execute(work, *args, **kwargs)
        return deferToThreadPool(self._reactor, self._pool, work, *args, **kwargs)

    def _publish(self, draft: Draft, octets: bytes) -> Deferred[None]:
        """Have the last *octets* of a message written, and it made safe, with others that come meanwhile."""
        answer: Deferred[None] = Deferred()
        self._finished.append((draft, octets, answer))
        self._publish_more()
        return answer

    def _publish_more(self) -> None:
        if self._publishing >= _AT_A_TIME or len(self._finished) < (_TOGETHER if self._publishing else 1):
            return
        batch, self._finished = self._finished[:_TOGETHER], self._finished[_TOGETHER:]
        self._publishing += 1
        # There may be no thread to be had, which the pool raises at once.
        done = maybeDeferred(self._in_thread, publish, [(draft, octets) for draft, octets, _ in batch])
        done.addErrback(lambda failure: [failure.value] * len(batch))
        done.addCallback(self._published, [answer for _, _, answer in batch])

    def _published(self, outcomes: list[Exception | None], answers: list[Deferred[None]]) -> None:
        self._publishing -= 1
        self._publish_more()
        for answer, error in zip(answers, outcomes, strict=True):
            if error is None:
                answer.callback(None)
            else:
                answer.errback(error)

    # What follows blocks.

    def _exists(self, maildir: str) -> bool:
        """Whether there is the Maildir of a mailbox.

        :raises OSError: that cannot be known.
        """
        found = is_maildir(maildir)
        if not found:
            os.stat(self._path.base)  # if all of them are gone, a disk is: that does not make them unknown
        return found

    def _folder(self, place: _Place) -> str:
        """The Maildir that a message for *place* goes into, made if need be."""
        maildir, subfolder = place
        if maildir not in self._prepared:
            if self._create:
                if not self._started:  # nobody told us to; later on, a folder that is gone is a disk that is
                    if not os.path.isdir(self._path.base):
                        make_folder(self._path.base)
                    self._started = True
                make_maildir(maildir, self._path.base)
            remove_stale(maildir)
            if len(self._prepared) >= _REMEMBERED:
                self._prepared.clear()
            self._prepared.add(maildir)
        inner = f"{maildir}/{subfolder}"
        return inner if subfolder and is_maildir(inner) else maildir


class _Transaction(DeliveryTransaction):
    """One message on its way into Maildirs."""

    def __init__(self, maildir: Maildir, session: Session) -> None:
        self._maildir = maildir
        self._session = session
        self._places: list[_Place] = []
        self._draft = Draft(self._folders)
        #: What is not handed to the draft yet, and how many octets that is.
        self._kept: list[bytes] = []
        self._size = 0
        #: Whether some of it is written by now.
        self._large = False

    def rcpt(self, recipient: Recipient) -> Deferred[None] | None:
        """Take a mailbox that has a Maildir, or is to have one."""
        place = self._maildir._place(self._session, recipient.mailbox)
        if self._maildir._takes_all:
            return None
        return self._maildir._in_thread(self._maildir._exists, place.maildir).addCallback(self._refuse_unless)

    def open(self, envelope: Envelope) -> None:
        """Begin with the Return-Path, as final delivery does (RFC 5321 section 4.4)."""
        self._places = [self._maildir._place(self._session, each.mailbox) for each in envelope.recipients]
        self._keep(return_path(envelope.reverse_path))

    def write(self, octets: bytes) -> Deferred[None] | None:
        """Keep *octets*; have them written with those before, and wait for that, when they are many."""
        self._keep(octets)
        if self._size <= CHUNK:
            return None
        self._large = True
        return self._hand_over(lambda octets: self._maildir._in_thread(self._draft.append, octets))

    def commit(self) -> Deferred[None]:
        """Write what there is, and answer when it is safe."""
        if self._large:  # the disk may be busy with it for a while, and nobody else is to wait for that
            return self._hand_over(lambda octets: self._maildir._in_thread(self._draft.publish, octets))
        return self._hand_over(lambda octets: self._maildir._publish(self._draft, octets))

    def abort(self) -> None:
        """Leave nothing of the message, unless it is in its Maildirs by now."""
        self._kept.clear()
        if self._draft.withdraw():
            cleaned = self._maildir._in_thread(self._draft.discard)
            cleaned.addErrback(partial(_log.failure, "a file may be left in tmp"))

    def _folders(self) -> list[str]:
        return [self._maildir._folder(place) for place in self._places]

    def _refuse_unless(self, known: bool) -> None:
        if not known:
            raise Refusal(self._session.replies.mailbox_unknown)

    def _keep(self, octets: bytes) -> None:
        self._kept.append(octets)
        self._size += len(octets)

    def _hand_over(self, step: Callable[[bytes], Deferred[None]]) -> Deferred[None]:
        """Have *step* done with what is kept. Whoever gives up waiting gives up the message."""
        octets = b"".join(self._kept)
        self._kept.clear()
        self._size = 0
        # Not the Deferred of the step: that goes on, and ends, also when nobody waits for it any more.
        answer: Deferred[None] = Deferred(lambda _: self.abort())
        step(octets).addCallbacks(self._done, self._failed, (answer,), errbackArgs=(answer,))
        return answer

    def _done(self, _: None, answer: Deferred[None]) -> None:
        if not answer.called:
            answer.callback(None)

    def _failed(self, failure: Failure, answer: Deferred[None]) -> None:
        error = failure.value
        if isinstance(error, FileNotFoundError):
            self._maildir._prepared.clear()  # somebody removed a folder: look again
        if answer.called:
            return
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            _log.warn("{id} no room for a message: {error}", id=self._session.id, error=printable(str(error)))
            failure = Failure(Refusal(self._session.replies.insufficient_storage))
        answer.errback(failure)

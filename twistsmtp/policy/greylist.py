"""Greylisting (RFC 6647): who is not known yet is told to come again, as a mail server does, and most spam does not.

A client's network, a sender and a recipient are a triplet. The first time that it comes the recipient is deferred, and
so it is until a delay is over. If it comes again after that, and before a window has closed, it passes; and whenever it
comes after that. A network of which so many messages have passed is let in with all it has.

All that is in a SQLite file, which several servers of one machine may share: `twistsmtp.policy.triplets`. Where the
file fails mail passes, unless ``on_failure`` says ``defer``: greylisting is not worth a mail that does not come. It is
asked again some seconds later, so that nobody waits for one that stays locked; and where too many wait, the next does
not.
"""

import re
import time
from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import ip_network
from math import ceil
from sqlite3 import Error
from threading import Thread
from typing import Any, Literal, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from twistsmtp.envelope import Envelope, Recipient
from twistsmtp.later import Later
from twistsmtp.makers import several
from twistsmtp.policy.api import Policy
from twistsmtp.policy.dns import Address
from twistsmtp.policy.strangers import Strangers
from twistsmtp.policy.triplets import Rule, Triplet, Triplets, Verdict
from twistsmtp.policy.user import user_of
from twistsmtp.session import Session
from twistsmtp.trace import date_time
from twistsmtp.wire.grammar import Mailbox
from twistsmtp.wire.reply import Refusal
from twistsmtp.wire.text import printable

__all__ = ["Greylist", "network_of"]

_log = Logger(namespace="twistsmtp.policy")

#: Seconds between two complaints about the file.
_QUIET = 60.0

#: Seconds in which a file that has failed is not asked again, and questions that may wait for it.
_REST = 5.0
_WAITING = 100

#: The bits of an address that one site has in common.
_SITE = {4: 24, 6: 64}

_TIME = re.compile(r"([0-9]{1,9})([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def network_of(address: Address) -> str:
    """The network that *address* is taken for: mail servers of one site come from several addresses."""
    return str(ip_network((address, _SITE[address.version]), strict=False))


class _Thread(Thread):
    """A process that ends, and has not stopped its server, does not wait for it: SQLite's files outlive that."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options, daemon=True)


class _Pool(ThreadPool):
    threadFactory = _Thread  # noqa: N815 (Twisted's name)


class Worker:
    """A thread of one's own, for what blocks. What it is given it does one after the other."""

    def __init__(self) -> None:
        self._pool: ThreadPool | None = None
        self._reactor: IReactorThreads | None = None

    def __call__(self, work: Callable[..., Any], *arguments: object) -> Deferred[Any]:
        """What *work* returns."""
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = cast(IReactorThreads, reactor)
        if self._pool is None:
            self._pool = _Pool(minthreads=1, maxthreads=1, name="greylist")
            self._pool.start()
        return deferToThreadPool(self._reactor, self._pool, work, *arguments)

    def stop(self) -> None:
        """End the thread, when all is done that it was given. It may be given more after that."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()


class Greylist(Policy):
    """Defers recipients by 450 4.7.1 until they have been tried long enough.

    Users pass, and so do clients that are trusted or whose address is a private one. The null reverse-path is asked
    about at DATA, for all recipients together, so that those who only look whether an address exists are not deferred
    (RFC 6647 section 4.3). What was deferred and passes now gets a field ``X-Greylist`` that says how long that took.

    :param path: of the file; it is made if it is not there.
    :param rule: the times, and what is remembered.
    :param trusted: networks whose clients pass.
    :param now: the time, in seconds since the epoch.
    :param in_thread: calls a function in a thread, always the same; by default in one of its own.
    :raises ValueError: one of *trusted* is no network.
    """

    on_failure: Literal["defer", "pass"] = "pass"

    def __init__(
        self,
        path: str,
        rule: Rule | None = None,
        *,
        trusted: Iterable[str] = (),
        now: Callable[[], float] = time.time,
        in_thread: Callable[..., Deferred[Any]] | None = None,
    ) -> None:
        self._triplets = Triplets(path, rule or Rule())
        self._strangers = Strangers(trusted)
        self._now = now
        self._worker = Worker()
        self._in_thread = in_thread or self._worker
        self._complained = ("", 0.0)
        self._waiting = 0
        self._resumes = 0.0
        #: How often the file has failed, and how the last time: so that who waits then need not ask it as well.
        self._failures, self._problem = 0, ""

    @classmethod
    def from_options(
        cls,
        path: str,
        *,
        delay: str = "5m",
        window: str = "2d",
        lifetime: str = "35d",
        passes: str = "5",
        most: str = "200000",
        trusted: str = "",
    ) -> "Greylist":
        """The policy that the parts of a string describe.

        :raises ValueError: they describe none.
        """
        rule = Rule(
            delay=_seconds("delay", delay),
            window=_seconds("window", window),
            lifetime=_seconds("lifetime", lifetime),
            passes=_count("passes", passes),
            most=_count("most", most),
        )
        return cls(path, rule, trusted=several(trusted))

    def start(self) -> None:
        """See that the file is there, or can be made.

        :raises ValueError: it cannot, or is another's.
        """
        self._try(self._triplets.open)

    def check(self) -> None:
        """See `Checkable`."""
        self._try(self._triplets.look)

    def _try(self, function: Callable[[], object]) -> None:
        try:
            function()
        except (Error, OSError) as error:
            raise ValueError(f"{self._triplets.path}: {error}") from error

    def rcpt(self, session: Session, recipient: Recipient) -> Later[None]:
        """Defer *recipient*, if it is too early."""
        mailbox = session.current.reverse_path.mailbox
        address = self._strangers.address(session)
        if mailbox is None or address is None or user_of(session) is not None:
            return None
        return self._ask(session, address, _text(mailbox), [recipient.mailbox])

    def data(self, session: Session, envelope: Envelope) -> Later[None]:
        """Defer a notification, if it is too early for one of its recipients."""
        address = self._strangers.address(session)
        if envelope.reverse_path.mailbox is not None or address is None or user_of(session) is not None:
            return None
        return self._ask(session, address, "", [each.mailbox for each in envelope.recipients])

    def reload(self) -> None:
        """Open the file again: it may be another."""
        self._in_thread(self._triplets.close).addErrback(self._not_closed)

    async def stop(self) -> None:
        """Close the file, and end the thread."""
        await self._in_thread(self._triplets.close).addErrback(self._not_closed)
        self._worker.stop()

    # --- asking ----------------------------------------------------------------------------------------------

    def _ask(self, session: Session, address: Address, sender: str, recipients: list[Mailbox]) -> Later[None]:
        if session.seconds() < self._resumes:
            self._do_without(session)
            return None
        if self._waiting >= _WAITING:
            self._complain(session, f"{_WAITING} questions wait for it")
            self._do_without(session)
            return None
        network = network_of(address)
        triplets = [Triplet(network, sender, _text(each)) for each in recipients]
        # A message counts once for its client, however many recipients it has.
        counts = "greylist" not in session.notes
        self._waiting += 1
        asked = self._in_thread(self._look_up, self._failures, triplets, self._now(), counts).addBoth(self._answered)
        return asked.addCallbacks(partial(self._decide, session), partial(self._failed, session))

    def _look_up(self, failures: int, triplets: list[Triplet], now: float, counts: bool) -> Verdict:
        """What the file says. It blocks.

        :param failures: how often it had failed when this was asked.
        """
        if failures != self._failures:
            raise Error(self._problem)
        try:
            return self._triplets.check(triplets, now, counts)
        except (Error, ValueError) as error:
            self._failures, self._problem = self._failures + 1, str(error)
            raise

    def _answered(self, answer: Verdict | Failure) -> Verdict | Failure:
        self._waiting -= 1
        return answer

    def _decide(self, session: Session, verdict: Verdict) -> None:
        if verdict.wait > 0:
            raise Refusal(session.replies.greylisted.fill(seconds=ceil(verdict.wait)))
        if verdict.delayed is not None and "greylist" not in session.notes:
            session.notes["greylist"] = verdict.delayed
            waited = f"delayed {verdict.delayed:.0f} seconds by twistsmtp at {session.hostname}"
            session.add_field("X-Greylist", f"{waited}; {date_time(int(self._now()))}")

    def _failed(self, session: Session, failure: Failure) -> None:
        failure.trap(Error, ValueError)
        self._resumes = session.seconds() + _REST
        self._complain(session, printable(str(failure.value)))
        self._do_without(session)

    def _complain(self, session: Session, text: str) -> None:
        known, since = self._complained
        if text != known or session.seconds() - since >= _QUIET:
            self._complained = text, session.seconds()
            becomes = "passes" if self.on_failure == "pass" else "is deferred"
            _log.error(
                "{path} fails, and mail {becomes}: {error}", path=self._triplets.path, becomes=becomes, error=text
            )

    def _do_without(self, session: Session) -> None:
        if self.on_failure == "defer":
            raise Refusal(session.replies.local_error)

    def _not_closed(self, failure: Failure) -> Deferred[None]:
        _log.failure("{path} was not closed", failure, path=self._triplets.path)
        return succeed(None)


def _text(mailbox: Mailbox) -> str:
    """*mailbox* in one form, as far as it is known to be the same."""
    return f"{mailbox.local.lower()}@{mailbox.host}"


def _seconds(name: str, text: str) -> float:
    match = _TIME.fullmatch(text.lower())
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not seconds:
        raise ValueError(f"{name} is a time, such as 300, 5m, 2h or 35d, not {text!r}")
    return float(seconds)


def _count(name: str, text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise ValueError(f"{name} is a number from 1 on, not {text!r}")
    return int(text)

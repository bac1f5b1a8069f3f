"""Sender access: who may not send here at all, by a map in a file.

Each line of the file is for an address, ``@`` and a domain, or ``*``, and what stands behind that is ``ok`` or a
verdict::

    @spam.example         reject
    ada@spam.example      ok
    news@example.net      defer Once a day is enough
    @example.com          554 5.7.1 We have agreed that you do not write to us

`twistsmtp.policy.addresses` says which line is for an address, and how a verdict is written.
"""

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from twistsmtp.addresskeys import Key
from twistsmtp.envelope import ReversePath
from twistsmtp.later import Later, then
from twistsmtp.policy.addresses import (
    AddressMap,
    MapPolicy,
    Verdict,
    parse_key,
    parse_verdict,
    shown_key,
    split_line,
)
from twistsmtp.session import Session
from twistsmtp.textfile import parse_lines
from twistsmtp.wire.grammar import Mailbox
from twistsmtp.wire.reply import Refusal

__all__ = ["AccessMap", "SenderAccess", "parse_access_map"]


class AccessMap:
    """Who is refused. It does not change.

    :param verdicts: by key; ``None`` for those who are not, whatever other lines say.
    """

    def __init__(self, verdicts: dict[Key, Verdict | None]) -> None:
        self._lines = AddressMap({key: (verdict,) for key, verdict in verdicts.items()})

    def find(self, mailbox: Mailbox) -> Verdict | None:
        """Why mail of *mailbox* is not taken; ``None`` if it is."""
        found = self._lines.find(mailbox) or self._lines.others
        return found[0] if found else None


def parse_access_map(octets: bytes) -> AccessMap:
    """The map that a file has.

    :param octets: all of the file.
    :raises BadLines: there are lines that cannot be read.
    """
    verdicts: dict[Key, Verdict | None] = {}

    def parse(line: str) -> None:
        sender, said = split_line(line)
        key, verdict = parse_key(sender), parse_verdict(said)
        if verdict is None and said.lower() != "ok":
            raise ValueError("not an address, @domain or *, with ok, reject, defer or a reply's code behind it")
        if verdicts.setdefault(key, verdict) != verdict:
            raise ValueError(f"another line says something else of {shown_key(key)}")

    parse_lines(octets, parse)
    return AccessMap(verdicts)


class SenderAccess(MapPolicy[AccessMap]):
    """Refuses senders that a file has, whoever the client is. The null reverse-path is not in it: who refuses that
    hears of no mail that could not be delivered (RFC 5321 section 4.5.5).

    The file is read again when it has changed (see `TextFile`); while it is broken or gone the map stays what it was.

    :param path: of the file with the map; `twistsmtp.policy.sender_access` has its form.
    :param seconds: the clock.
    :param in_thread: calls a function in a thread, as `deferToThread`.
    :raises OSError: the file cannot be read.
    :raises ValueError: a line of the file is bad.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        seconds: Callable[[], float] = time.monotonic,
        in_thread: Callable[..., Deferred[Any]] = deferToThread,
    ) -> None:
        super().__init__(path, parse_access_map, seconds=seconds, in_thread=in_thread)

    @classmethod
    def from_options(cls, path: str) -> "SenderAccess":
        """What ``sender-access:FILE`` means."""
        return cls(path)

    def mail(self, session: Session, reverse_path: ReversePath) -> Later[None]:
        """Refuse *reverse_path* if the map says so."""
        if reverse_path.mailbox is None:
            return None
        return then(self._file.current(), partial(_check, session, reverse_path.mailbox))


def _check(session: Session, mailbox: Mailbox, senders: AccessMap) -> None:
    verdict = senders.find(mailbox)
    if verdict is not None:
        raise Refusal(verdict.reply(session.replies.sender_refused, session.replies.sender_deferred))

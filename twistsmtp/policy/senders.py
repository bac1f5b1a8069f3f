"""Senders and logins: who may have which address in MAIL, by a map in a file.

Each line of the file is an address, ``@`` and a domain, or ``*``, and behind it, parted by blanks or commas, the users
that it is for::

    # address             users
    ada@example.org       ada
    office@example.org    ada, bob
    @example.net          carl
    noreply@example.org   *

For a sender, the line that fits it most exactly counts, and no other, as `twistsmtp.policy.addresses` has it. Several
lines for the same are one, with all their users. The user ``*`` is everybody who has authenticated. A user's name with
blanks or commas in it is in quotes. Its case matters, and it is compared as authentication does: as SASLprep has it
(RFC 4013).
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from twistsmtp.addresskeys import Key
from twistsmtp.envelope import ReversePath
from twistsmtp.later import Later, then
from twistsmtp.policy.addresses import ALL, AddressMap, MapPolicy, parse_key, split_line
from twistsmtp.policy.user import ANONYMOUS, user_of
from twistsmtp.sasl.prep import saslprep
from twistsmtp.session import Session
from twistsmtp.textfile import parse_lines
from twistsmtp.wire.grammar import Mailbox
from twistsmtp.wire.reply import Refusal
from twistsmtp.wire.text import printable

__all__ = ["SenderLogins", "SenderMap", "parse_sender_map"]

_log = Logger(namespace="twistsmtp.policy")

#: Characters of a user's name in the log.
_SHOWN = 100

_NAME = r'"[^"]++"|[^\s,"]++'
_USERS = re.compile(rf"(?:{_NAME})(?:[\s,]++(?:{_NAME}))*+[\s,]*+")


class SenderMap:
    """Whose the sender addresses are. It does not change.

    :param users: by the key of the sender.
    """

    def __init__(self, users: Mapping[Key, Iterable[str]]) -> None:
        self._users = AddressMap({key: frozenset(names) for key, names in users.items()})
        self._others = self._users.others or frozenset()

    def is_owned(self, mailbox: Mailbox) -> bool:
        """Whether *mailbox* is for its users only: a line is for its address or its domain."""
        return self._users.find(mailbox) is not None

    def allows(self, user: str, mailbox: Mailbox) -> bool:
        """Whether *user* may send as *mailbox*."""
        users = self._users.find(mailbox)
        users = self._others if users is None else users
        return user in users or ALL in users


def parse_sender_map(octets: bytes) -> SenderMap:
    """The map that a file has.

    :param octets: all of the file.
    :raises BadLines: there are lines that cannot be read.
    """
    users: dict[Key, set[str]] = {}

    def parse(line: str) -> None:
        key, names = _parse_line(line)
        users.setdefault(key, set()).update(names)

    parse_lines(octets, parse)
    return SenderMap(users)


def _parse_line(line: str) -> tuple[Key, set[str]]:
    sender, users = split_line(line)
    if not _USERS.fullmatch(users):
        raise ValueError("not an address, @domain or *, with users behind it")
    return parse_key(sender), {_parse_name(each) for each in re.findall(_NAME, users)}


def _parse_name(text: str) -> str:
    try:
        name = saslprep(text.strip('"'))
    except ValueError:
        name = ""
    if not name or name == ANONYMOUS:
        raise ValueError(f"{printable(text)} cannot be a user")
    return name


class SenderLogins(MapPolicy[SenderMap]):
    """Holds users to their own sender addresses, and keeps these from everybody else.

    A sender that a line is for, other than that of ``*``, is for its users only: a client that has not authenticated,
    or as somebody else, is refused by 553 5.7.1. So nobody outside can send mail to us in the name of one of us; nor
    can the servers of mailing lists and other forwarders that leave the sender as it is. A user has no senders but
    those that the file gives them. The null reverse-path is everybody's, as notifications have it (RFC 5321 section
    4.5.5). Those whom SASL ANONYMOUS let in are no users.

    The file is read again when it has changed (see `TextFile`); while it is broken or gone the map stays what it was.
    Header fields are not looked at.

    :param path: of the file with the map; `twistsmtp.policy.senders` has its form.
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
        super().__init__(path, parse_sender_map, seconds=seconds, in_thread=in_thread)

    def mail(self, session: Session, reverse_path: ReversePath) -> Later[None]:
        """Refuse *reverse_path*, unless it is the client's to use."""
        if reverse_path.mailbox is None:
            return None
        return then(self._file.current(), partial(_check, session, reverse_path.mailbox))


def _check(session: Session, mailbox: Mailbox, senders: SenderMap) -> None:
    user = user_of(session)
    if user is None:
        if senders.is_owned(mailbox):
            raise Refusal(session.replies.sender_login_needed)
    elif not senders.allows(user, mailbox):
        _log.info(
            "{id} client={client} user={user} may not send as {sender}",
            id=session.id,
            client=session.client,
            user=printable(user[:_SHOWN]),
            sender=printable(str(mailbox)),
        )
        raise Refusal(session.replies.sender_not_owned)

"""Senders and logins: who may have which address in MAIL, by a map in a file.

Each line of the file is an address, ``@`` and a domain, or ``*``, and behind it, parted by blanks or commas, the users
that it is for::

    # address             users
    ada@example.org       ada
    office@example.org    ada, bob
    @example.net          carl
    noreply@example.org   *

For a sender, the line that fits it most exactly counts, and no other: that of its address; that of its address without
``+`` and what is behind it in the local part; that of its domain; that of ``*``, which stands for all senders that no
other line is for. Several lines for the same are one, with all their users. The user ``*`` is everybody who has
authenticated. A user's name with blanks or commas in it is in quotes.

The case of an address does not matter, and its domain may be in U-labels or A-labels; the case of a user's name does
matter. Both are compared as authentication and delivery compare them: names as SASLprep has them (RFC 4013), local
parts as they name Maildirs.
"""

import os
import re
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from twistsmtp.envelope import ReversePath
from twistsmtp.later import Later, then
from twistsmtp.policy.api import Policy
from twistsmtp.policy.user import ANONYMOUS, user_of
from twistsmtp.sasl.prep import saslprep
from twistsmtp.session import Session
from twistsmtp.textfile import TextFile, parse_lines
from twistsmtp.wire.grammar import GrammarError, Mailbox, parse_mailbox
from twistsmtp.wire.reply import Refusal
from twistsmtp.wire.text import printable

__all__ = ["SenderLogins", "SenderMap", "parse_sender_map"]

_log = Logger(namespace="twistsmtp.policy")

#: In a line, all senders that no other line is for, or everybody who has authenticated.
_ALL = "*"
#: What a mailing list, or a user with many addresses, puts behind their own name: RFC 5233's separator.
_DETAIL = "+"
#: Characters of a user's name in the log.
_SHOWN = 100

#: A local part that is quoted may have blanks in it.
_SENDER = r'(?P<sender>"(?:[^"\\]|\\.)*+"\S*|\S++)'
_NAME = r'"[^"]++"|[^\s,"]++'
_LINE = re.compile(rf"{_SENDER}\s++(?P<users>(?:{_NAME})(?:[\s,]++(?:{_NAME}))*+)[\s,]*+")

#: A local part and a domain, made comparable: ``None`` for all local parts, and then ``""`` for all domains.
_Key = tuple[str | None, str]
_EVERYWHERE: _Key = (None, "")


def _local(local: str) -> str:
    return unicodedata.normalize("NFC", local.lower())


def _keys(mailbox: Mailbox) -> Iterator[_Key]:
    """What *mailbox* is looked for under, the most exact first."""
    local, host = _local(mailbox.local), mailbox.host
    yield local, host
    name, detail, _ = local.partition(_DETAIL)
    if name and detail:
        yield name, host
    yield None, host


class SenderMap:
    """Whose the sender addresses are. It does not change.

    :param users: by the key of the sender.
    """

    def __init__(self, users: Mapping[_Key, Iterable[str]]) -> None:
        self._users = {key: frozenset(names) for key, names in users.items()}
        self._others = self._users.get(_EVERYWHERE, frozenset())

    def is_owned(self, mailbox: Mailbox) -> bool:
        """Whether *mailbox* is for its users only: a line is for its address or its domain."""
        return self._find(mailbox) is not None

    def allows(self, user: str, mailbox: Mailbox) -> bool:
        """Whether *user* may send as *mailbox*."""
        users = self._find(mailbox)
        users = self._others if users is None else users
        return user in users or _ALL in users

    def _find(self, mailbox: Mailbox) -> frozenset[str] | None:
        return next((self._users[key] for key in _keys(mailbox) if key in self._users), None)


def parse_sender_map(octets: bytes) -> SenderMap:
    """The map that a file has.

    :param octets: all of the file.
    :raises BadLines: there are lines that cannot be read.
    """
    users: dict[_Key, set[str]] = {}

    def parse(line: str) -> None:
        key, names = _parse_line(line)
        users.setdefault(key, set()).update(names)

    parse_lines(octets, parse)
    return SenderMap(users)


def _parse_line(line: str) -> tuple[_Key, set[str]]:
    if line[0].isspace():  # other servers' maps have the rest of the line before there
        raise ValueError("it begins with a blank")
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError("not an address, @domain or *, with users behind it")
    return _parse_key(match["sender"]), {_parse_name(each) for each in re.findall(_NAME, match["users"])}


def _parse_key(text: str) -> _Key:
    if text == _ALL:
        return _EVERYWHERE
    try:
        if text.startswith("@"):
            return None, parse_mailbox(f"postmaster{text}").host
        mailbox = parse_mailbox(text)
    except GrammarError as error:
        raise ValueError(error.text) from None
    return _local(mailbox.local), mailbox.host


def _parse_name(text: str) -> str:
    try:
        name = saslprep(text.strip('"'))
    except ValueError:
        name = ""
    if not name or name == ANONYMOUS:
        raise ValueError(f"{printable(text)} cannot be a user")
    return name


class SenderLogins(Policy):
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
        self._file = TextFile(path, parse_sender_map, seconds=seconds, in_thread=in_thread)

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

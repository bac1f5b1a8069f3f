"""Maps of addresses in files: whom a line is for, which line fits an address most exactly, and what it may say of it.

A line begins with whom it is for: an address, ``@`` and a domain, or ``*``. Behind it, parted by blanks, stands what it
says. The line that fits an address most exactly counts, and no other: that of the address; that of the address without
``+`` and what is behind it in the local part; that of its domain; that of ``*``, which is for all addresses that no
other line is for.

The case of an address does not matter, and its domain may be in U-labels or A-labels. Local parts are compared as they
name Maildirs. A local part that is in quotes may have blanks in it.
"""

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from twistsmtp.addresskeys import EVERYWHERE, Key, address_key, keys_of
from twistsmtp.policy.api import Policy
from twistsmtp.textfile import TextFile
from twistsmtp.wire.grammar import GrammarError, Mailbox, parse_mailbox
from twistsmtp.wire.reply import Reply

__all__ = [
    "ALL",
    "AddressMap",
    "MapPolicy",
    "Verdict",
    "parse_key",
    "parse_verdict",
    "shown_key",
    "split_line",
]

T = TypeVar("T")

#: Begins a line for all addresses that no other line is for.
ALL = "*"
_LINE = re.compile(r'("(?:[^"\\]|\\.)*+"\S*|\S++)\s*+(.*)', re.DOTALL)
_VERDICT = re.compile(
    r"(?:(?P<word>reject|defer)|(?P<code>[45]\d\d)(?:\s++(?P<enhanced>\d\.\d{1,3}\.\d{1,3}))?+)(?:\s++(?P<text>.*))?+",
    re.IGNORECASE | re.DOTALL,
)

# --- whom a line is for --------------------------------------------------------------------------------------


def parse_key(text: str) -> Key:
    """The key that *text* names: an address, ``@`` and a domain, or ``*``.

    :raises ValueError: it is none of these.
    """
    if text == ALL:
        return EVERYWHERE
    try:
        if text.startswith("@"):
            return None, parse_mailbox(f"postmaster{text}").host
        return address_key(parse_mailbox(text))
    except GrammarError as error:
        raise ValueError(error.text) from None


def shown_key(key: Key) -> str:
    """*key* as a line has it."""
    local, host = key
    if local is None:
        return f"@{host}" if host else ALL
    return str(Mailbox(local, host))


def split_line(line: str) -> tuple[str, str]:
    """Whom *line* is for, and what it says; neither has blanks around it.

    :raises ValueError: it begins with a blank: other servers' maps have the rest of the line before there.
    """
    match = _LINE.match(line)
    if match is None:
        raise ValueError("it begins with a blank")
    return match[1], match[2].rstrip()


class AddressMap(Generic[T]):
    """Something for each of some addresses. It does not change.

    :param entries: by key; that of `EVERYWHERE` is `others`.
    """

    def __init__(self, entries: Mapping[Key, T]) -> None:
        self.entries = dict(entries)
        #: What there is for all addresses that no other line is for; ``None`` without such a line.
        self.others = self.entries.pop(EVERYWHERE, None)
        #: The domains of which it has something, comparable.
        self.hosts = frozenset(host for _, host in self.entries if host)

    def key_for(self, mailbox: Mailbox) -> Key | None:
        """The key that fits *mailbox* most exactly, if one does."""
        return next((key for key in keys_of(mailbox) if key in self.entries), None)

    def find(self, mailbox: Mailbox) -> T | None:
        """What there is for *mailbox* or its domain; ``None`` where there is nothing but `others`."""
        key = self.key_for(mailbox)
        return None if key is None else self.entries[key]


# --- what it may say -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """That somebody is refused.

    :param temporary: whether only for now.
    :param code: what the line says of the reply; 0 or empty where it leaves that to the catalogue, as for the others.
    """

    temporary: bool
    code: int = 0
    enhanced: str = ""
    text: str = ""

    def reply(self, rejected: Reply, deferred: Reply) -> Reply:
        """What the client is told.

        :param rejected: the catalogue's reply to what is refused.
        :param deferred: the same to what is refused for now.
        """
        usual = deferred if self.temporary else rejected
        if self == Verdict(self.temporary):
            return usual
        return Reply(self.code or usual.code, self.enhanced or usual.enhanced, self.text or usual.text)


def parse_verdict(text: str) -> Verdict | None:
    """The verdict of *text*: ``reject`` or ``defer``, or a reply's code with or without an enhanced one, and perhaps
    words for the client. ``None`` if it is something else.

    :raises ValueError: the two codes do not fit each other.
    """
    match = _VERDICT.fullmatch(text)
    if match is None:
        return None
    enhanced, words = match["enhanced"] or "", match["text"] or ""
    if match["word"]:
        return Verdict(match["word"].lower() == "defer", text=words)
    code = int(match["code"])
    Reply(code, enhanced, words)  # which raises
    return Verdict(code < 500, code, enhanced, words)


# --- policies that have one ----------------------------------------------------------------------------------


class MapPolicy(Policy, Generic[T]):
    """A policy by what is in a file.

    The file is read again when it has changed (see `TextFile`); while it is broken or gone, what was read before stays.

    :param path: of the file.
    :param parse: makes something of the file's octets, in a thread; raises `ValueError` if it cannot.
    :param seconds: the clock.
    :param in_thread: calls a function in a thread, as `deferToThread`.
    :raises OSError: the file cannot be read.
    :raises ValueError: a line of the file is bad.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        parse: Callable[[bytes], T],
        *,
        seconds: Callable[[], float] = time.monotonic,
        in_thread: Callable[..., Deferred[Any]] = deferToThread,
    ) -> None:
        self._file = TextFile(path, parse, seconds=seconds, in_thread=in_thread)

    def reload(self) -> None:
        """Read the file now, so that the log says at once if something is wrong with it."""
        self._file.reload()

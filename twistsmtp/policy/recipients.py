"""Recipients: which there are, and who else gets their mail, by a map in a file.

Each line of the file is for an address, ``@`` and a domain, or ``*``. What stands behind that says what becomes of mail
for it: nothing, and it is taken as it is; addresses, and these get it; a verdict, and it is refused::

    ada@example.org
    office@example.org    ada@example.org, bob@example.org, carl@example.net
    bob@example.org       bob@example.org, archive@example.org
    archive@example.org
    eve@example.org       reject Eve has left us
    postmaster            ada@example.org
    @lists.example.org    lists@example.org

`twistsmtp.policy.addresses` says which line is for an address, and how a verdict is written. Several lines of targets
for the same are one, with all their targets.

A target for which there is a line is looked up in turn, but where it is what the line itself is for: bob above gets a
copy. Targets in domains that the file does not have are other people's, and taken as they are. All this is done when
the file is read, and so it is then that a target that nobody has, aliases that go round, or more targets than `TARGETS`
are found.

``<postmaster>`` has no domain, and a line ``postmaster`` is for it; also for the postmaster of each domain that has no
line for that one. Without such a line they are taken as they are: RFC 5321 section 4.5.1 has them always there.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from twistsmtp.addresskeys import EVERYWHERE, Key, address_key
from twistsmtp.envelope import Recipient
from twistsmtp.later import Later, then
from twistsmtp.makers import yes_or_no
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
from twistsmtp.textfile import BadLines, parse_lines
from twistsmtp.wire.grammar import GrammarError, Mailbox, parse_mailbox
from twistsmtp.wire.reply import Refusal
from twistsmtp.wire.text import printable

__all__ = ["TARGETS", "Aliases", "RecipientMap", "Recipients", "parse_recipient_map"]

#: Mailboxes that one recipient may stand for.
TARGETS = 1000
#: Aliases that may stand between a recipient and a target.
_NESTED = 50

#: Recipients that get mail for another one; none where it is taken as it is.
Aliases: TypeAlias = tuple[Mailbox, ...]

_POSTMASTER: Key = ("postmaster", "")
_TARGET = re.compile(r'"(?:[^"\\]|\\.)*+"[^\s,]*+|[^\s,"]++')
_TARGET_LIST = re.compile(rf"(?:{_TARGET.pattern})(?:[\s,]++(?:{_TARGET.pattern}))*+[\s,]*+")


def _is_postmaster(mailbox: Mailbox) -> bool:
    return mailbox.local.lower() == "postmaster"


# --- what a file has -----------------------------------------------------------------------------------------


class BadTargets(ValueError):
    """Targets lead nowhere, go round, or are too many.

    :param problems: what is wrong, by the key of the line.
    """

    def __init__(self, problems: Mapping[Key, str]) -> None:
        super().__init__("; ".join(problems.values()))
        self.problems = dict(problems)


class RecipientMap:
    """What becomes of mail, by recipient. It does not change.

    :param entries: targets or a verdict, by key.
    :raises BadTargets: targets lead nowhere, go round, or are too many.
    """

    def __init__(self, entries: Mapping[Key, Aliases | Verdict]) -> None:
        self._lines = AddressMap(entries)
        self._ends: dict[Key, Aliases] = {}
        problems: dict[Key, str] = {}
        for key, entry in entries.items():
            if isinstance(entry, tuple):
                try:
                    self._end_of(key, entry, ())
                except BadTargets as error:
                    problems |= error.problems
        if problems:
            raise BadTargets(problems)

    def find(self, mailbox: Mailbox) -> Aliases | Verdict | None:
        """What becomes of mail for *mailbox*; ``None`` if no line is for it."""
        key = self._lines.key_for(mailbox)
        if key is None and _is_postmaster(mailbox) and mailbox.host in self._lines.hosts:
            key = _POSTMASTER if _POSTMASTER in self._lines.entries else None
        if key is None:
            return self._ends.get(EVERYWHERE, self._lines.others) if mailbox.domain else None
        return self._ends.get(key, self._lines.entries[key])

    def has_domain(self, mailbox: Mailbox) -> bool:
        """Whether there are lines for addresses in the domain of *mailbox*."""
        return mailbox.host in self._lines.hosts

    def _end_of(self, key: Key, targets: Aliases, path: tuple[Key, ...]) -> Aliases:
        """Who gets the mail of *key* in the end.

        :param path: the keys through which it has come here.
        """
        if key not in self._ends:
            path = (*path, key)
            if key in path[:-1]:
                raise BadTargets({key: _round(path[path.index(key) : -1])})
            if len(path) > _NESTED:
                raise BadTargets({path[0]: f"{shown_key(path[0])}: more than {_NESTED} aliases, one behind the other"})
            ends: dict[Key, Mailbox] = {}
            for mailbox in self._resolve(key, targets, path):
                ends.setdefault(address_key(mailbox), mailbox)
                if len(ends) > TARGETS:
                    raise BadTargets({key: f"{shown_key(key)}: more than {TARGETS} targets"})
            self._ends[key] = tuple(ends.values())
        return self._ends[key]

    def _resolve(self, key: Key, targets: Aliases, path: tuple[Key, ...]) -> Iterator[Mailbox]:
        for target in targets:
            found = self._lines.key_for(target)
            if found is None or found == key:
                if found is None and self.has_domain(target) and not _is_postmaster(target):
                    raise BadTargets({key: f"{shown_key(key)}: no line is for its target {target}"})
                yield target
                continue
            entry = self._lines.entries[found]
            if isinstance(entry, Verdict):
                raise BadTargets({key: f"{shown_key(key)}: its target {target} is refused by another line"})
            yield from self._end_of(found, entry, path) or (target,)


def _round(keys: tuple[Key, ...]) -> str:
    """That each of *keys* is an alias for the next, and the last for the first; the same wherever one begins."""
    names = [shown_key(key) for key in keys]
    first = names.index(min(names))
    return f"aliases go round: {' -> '.join((*names[first:], *names[: first + 1]))}"


def parse_recipient_map(octets: bytes) -> RecipientMap:
    """The map that a file has.

    :param octets: all of the file.
    :raises BadLines: there are lines that cannot be read; or all can, but targets lead nowhere, go round, or are too
        many.
    """
    entries: dict[Key, Aliases | Verdict] = {}

    def parse(line: str) -> None:
        key, said = _split(line)
        entry = parse_verdict(said) or _parse_targets(said)
        known = entries.get(key, entry)
        if isinstance(entry, tuple) and isinstance(known, tuple) and bool(entry) == bool(known):
            entries[key] = known if known is entry else (*known, *entry)
        elif known == entry:
            entries[key] = entry
        else:
            raise ValueError(f"another line says something else of {shown_key(key)}")

    parse_lines(octets, parse)
    try:
        return RecipientMap(entries)
    except BadTargets as error:
        raise _with_lines(error.problems, octets) from None


def _split(line: str) -> tuple[Key, str]:
    recipient, said = split_line(line)
    return _POSTMASTER if recipient.lower() == "postmaster" else parse_key(recipient), said


def _with_lines(problems: Mapping[Key, str], octets: bytes) -> BadLines:
    """*problems* by the first line of each key."""
    found: dict[int, str] = {}
    for number, line in enumerate(octets.decode("utf-8-sig").split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            problem = problems.get(_split(line)[0])
            if problem is not None and problem not in found.values():
                found[number] = problem
    return BadLines(found)


def _parse_targets(text: str) -> Aliases:
    if text and not _TARGET_LIST.fullmatch(text):
        raise ValueError("not addresses, parted by blanks or commas, nor a verdict")
    return tuple(map(_parse_target, _TARGET.findall(text)))


def _parse_target(text: str) -> Mailbox:
    try:
        return parse_mailbox(text)
    except GrammarError as error:
        raise ValueError(f"{printable(text)}: {error.text}") from None


# --- the policy ----------------------------------------------------------------------------------------------


class Recipients(MapPolicy[RecipientMap]):
    """Takes mail for those recipients that a file has, and gives it to whom the file says.

    A recipient that no line is for is refused by 550 5.1.1, if lines are for others of its domain; the recipients of
    all other domains are not its business.

    The file is read again when it has changed (see `TextFile`); while it is broken or gone the map stays what it was.

    :param path: of the file with the map; `twistsmtp.policy.recipients` has its form.
    :param strict: whether recipients of other domains are refused as well.
    :param seconds: the clock.
    :param in_thread: calls a function in a thread, as `deferToThread`.
    :raises OSError: the file cannot be read.
    :raises ValueError: a line of the file is bad.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        strict: bool = False,
        seconds: Callable[[], float] = time.monotonic,
        in_thread: Callable[..., Deferred[Any]] = deferToThread,
    ) -> None:
        super().__init__(path, parse_recipient_map, seconds=seconds, in_thread=in_thread)
        self.strict = strict

    @classmethod
    def from_options(cls, path: str, *, strict: str = "no") -> "Recipients":
        """What ``recipients:FILE[:strict=yes]`` means."""
        return cls(path, strict=yes_or_no("strict", strict))

    def rcpt(self, session: Session, recipient: Recipient) -> Later[None]:
        """Refuse *recipient*, take it as it is, or redirect its mail."""
        return then(self._file.current(), partial(self._check, session, recipient.mailbox))

    def _check(self, session: Session, mailbox: Mailbox, recipients: RecipientMap) -> None:
        replies, found = session.replies, recipients.find(mailbox)
        if found is None:
            ours = recipients.has_domain(mailbox)
            if (ours and not _is_postmaster(mailbox)) or (self.strict and not ours and mailbox.domain):
                raise Refusal(replies.mailbox_unknown)
        elif isinstance(found, Verdict):
            raise Refusal(found.reply(replies.mailbox_unknown, replies.mailbox_deferred))
        elif found:
            taken = session.current.recipients
            # A client may name an alias as often as a transaction has recipients: each time it would be all targets.
            if taken and len(taken) + len(found) > session.limits.recipients:
                raise Refusal(replies.too_many_recipients)
            session.redirect(*found)

"""A mailbox's folder: a path in which ``{local}`` and ``{domain}`` stand for the parts of an address.

An address is text from a stranger, and names a folder just as it is or does not name one: nothing in it is escaped,
cut or replaced. Only, addresses that differ in case alone are one mailbox.
"""

import os
from itertools import takewhile
from string import Formatter

from twistsmtp.addresskeys import comparable_local

__all__ = ["MailboxPath", "is_file_name"]

PLACEHOLDERS = frozenset({"local", "domain"})

#: Octets that a file's name may have on nearly all file systems.
NAME_LIMIT = 255


def is_file_name(text: str) -> bool:
    """Whether *text*, which anybody may have written, can name a file: it is neither empty nor too long, and has no
    slash, no dot in front and no character that cannot be shown."""
    if not text.isprintable() or text.startswith(".") or "/" in text:
        return False
    try:
        return 0 < len(os.fsencode(text)) <= NAME_LIMIT
    except UnicodeEncodeError:
        return False


class MailboxPath:
    """A path with placeholders, as in ``/var/mail/{domain}/{local}``, or without. ``{{`` stands for a brace.

    :raises ValueError: it is empty, or has another placeholder.
    """

    def __init__(self, path: str) -> None:
        if not path:
            raise ValueError("the path is empty")
        path = os.path.abspath(path)
        #: The placeholders that it has.
        self.placeholders = _placeholders(path)
        names = path.split("/")
        fixed = list(takewhile(lambda name: not _placeholders(name), names))
        self._names = names[len(fixed) :]
        #: The folder, absolute, that all others are in; without placeholders, the only one.
        self.base = "/".join(fixed).format() or "/"

    def fill(self, *, local: str, domain: str) -> str | None:
        """The folder of a mailbox, always inside of `base`; ``None`` where the mailbox can have none.

        :param local: the local part without its quotes; its case does not matter.
        :param domain: the domain, made comparable (`Mailbox.host`).
        """
        if not self._names:
            return self.base
        values = {"local": comparable_local(local), "domain": domain}
        names = [name.format_map(values) for name in self._names]
        if all(is_file_name(values[name]) for name in self.placeholders) and all(map(_fits, names)):
            return os.path.join(self.base, *names)
        return None


def _fits(name: str) -> bool:
    return len(os.fsencode(name)) <= NAME_LIMIT


def _placeholders(text: str) -> frozenset[str]:
    try:
        fields = [field for field in Formatter().parse(text) if field[1] is not None]
    except ValueError as error:
        raise ValueError(f"{text}: {error}") from None
    for _, name, form, conversion in fields:
        if name not in PLACEHOLDERS or form or conversion:
            raise ValueError(f"{text}: the placeholders are {{local}} and {{domain}}, not {{{name}}}")
    return frozenset(name for _, name, _, _ in fields if name)

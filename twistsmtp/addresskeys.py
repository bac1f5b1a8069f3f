"""What addresses are compared by, where a configuration has something for some of them.

The case of an address does not matter here, although RFC 5321 (section 2.4) leaves that of a local part to its host: no
host of today has two mailboxes that differ in nothing else. Domains may be in U-labels or A-labels.
"""

import unicodedata
from collections.abc import Iterator
from typing import TypeAlias

from twistsmtp.wire.address import Mailbox

__all__ = ["DETAIL", "EVERYWHERE", "Key", "address_key", "comparable_local", "keys_of", "without_detail"]

#: What a mailing list, or a user with many addresses, puts behind their own name: RFC 5233's separator.
DETAIL = "+"

#: A local part and a domain, made comparable: ``None`` for all local parts, and then ``""`` for all domains.
Key: TypeAlias = tuple[str | None, str]
EVERYWHERE: Key = (None, "")


def comparable_local(local: str) -> str:
    """A local part, without its quotes, as it is compared."""
    return unicodedata.normalize("NFC", local.lower())


def without_detail(local: str) -> str:
    """*local* without ``+`` and what is behind it; as it is, where nothing would be left."""
    return local.partition(DETAIL)[0] or local


def address_key(mailbox: Mailbox) -> tuple[str, str]:
    """The key of *mailbox* itself."""
    return comparable_local(mailbox.local), mailbox.host


def keys_of(mailbox: Mailbox) -> Iterator[Key]:
    """What *mailbox* is looked for under, the most exact first; `EVERYWHERE` is not among them."""
    local, host = address_key(mailbox)
    yield local, host
    if (name := without_detail(local)) != local:
        yield name, host
    if host:
        yield None, host

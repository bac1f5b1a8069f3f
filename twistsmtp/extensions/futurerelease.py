"""FUTURERELEASE (RFC 4865): a message is to be held until some time, and to go on its way then.

That is a service of message submission, so a server that knows users offers it to them alone.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import time

from twistsmtp.envelope import Parameter, ReversePath
from twistsmtp.extensions.timestamps import LONGEST, format_timestamp, parse_timestamp
from twistsmtp.session import Session
from twistsmtp.verb import Extension, honoured
from twistsmtp.wire.grammar import GrammarError
from twistsmtp.wire.reply import Refusal

__all__ = ["DAY", "HOLDFOR", "HOLDUNTIL", "Hold", "extension", "held"]

#: Seconds of a day.
DAY = 24 * 60 * 60

_usable = honoured("futurerelease", lambda session: session.identity is not None or session.security.portal is None)


@dataclass(frozen=True, slots=True)
class Hold:
    """How long a message is to be held.

    :param until: when it is to go on its way, in UTC; it may have passed.
    :param request: what the client asked for, as reports about the message tell it:
        ``"for;3600"`` or ``"until;2026-11-22T12:00:00Z"``.
    """

    until: datetime
    request: str


# future-release-interval: an integer, 1 to 999999999, without zeros in front
_INTERVAL = re.compile("[1-9][0-9]{0,8}")


def _now() -> datetime:
    return datetime.fromtimestamp(time(), UTC)


def _parameters(longest: int) -> tuple[Parameter[Hold | None], Parameter[Hold | None]]:
    """HOLDFOR and HOLDUNTIL, for messages that are held for *longest* seconds at most."""

    def too_long(session: Session) -> Refusal:
        return Refusal(session.replies.hold_too_long.fill(longest=longest))

    def parse_for(session: Session, value: str | None) -> Hold:
        if value is None or not _INTERVAL.fullmatch(value):
            raise GrammarError("future-release-interval", 501, "5.5.4", "HOLDFOR is 1 to 999999999 seconds")
        if int(value) > longest:
            raise too_long(session)
        return Hold(_now() + timedelta(seconds=int(value)), f"for;{value}")

    def parse_until(session: Session, value: str | None) -> Hold:
        try:
            until = parse_timestamp(value or "")
        except ValueError:
            raise GrammarError("date-time", 501, "5.5.4", "HOLDUNTIL is a date-time of RFC 3339") from None
        if until > _now() + timedelta(seconds=longest):
            raise too_long(session)
        return Hold(until, f"until;{value}")

    return (
        Parameter(
            keyword="HOLDFOR",
            parse=parse_for,
            default=None,
            octets=len(" HOLDFOR=999999999"),
            usable=_usable,
            excludes=frozenset({"HOLDUNTIL"}),
        ),
        Parameter(
            keyword="HOLDUNTIL",
            parse=parse_until,
            default=None,
            octets=len(" HOLDUNTIL=" + LONGEST),
            usable=_usable,
            excludes=frozenset({"HOLDFOR"}),
        ),
    )


#: ``reverse_path.get(HOLDFOR)`` and ``reverse_path.get(HOLDUNTIL)``; `held` asks for whichever there is.
HOLDFOR, HOLDUNTIL = _parameters(30 * DAY)


def held(reverse_path: ReversePath) -> Hold | None:
    """How long the message is to be held; ``None`` for not at all."""
    return reverse_path.get(HOLDFOR) or reverse_path.get(HOLDUNTIL)


def extension(longest: int = 30 * DAY) -> Extension:
    """All that it adds.

    :param longest: seconds that a message may be held for; EHLO tells it.
    :raises ValueError: *longest* is not 1 to 999999999.
    """
    if not 1 <= longest <= 999_999_999:
        raise ValueError(f"the longest time is 1 to 999999999 seconds, not {longest}")

    def keyword(session: Session) -> str:
        # To the minute, so that not every second has an EHLO of its own.
        until = (_now() + timedelta(seconds=longest)).replace(second=0)
        return f"FUTURERELEASE {longest} {format_timestamp(until)}"

    return Extension(
        name="futurerelease",
        rfc="RFC 4865",
        keyword=keyword,
        usable=_usable,
        mail_parameters=_parameters(longest),
    )

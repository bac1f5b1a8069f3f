"""Points in time as parameters have them: the ``date-time`` of RFC 3339 section 5.6."""

import re
from datetime import UTC, datetime, timedelta

__all__ = ["LONGEST", "format_timestamp", "parse_timestamp"]

# date-time       = full-date "T" full-time
# full-date       = date-fullyear "-" date-month "-" date-mday
# full-time       = partial-time time-offset
# partial-time    = time-hour ":" time-minute ":" time-second [time-secfrac]
# time-secfrac    = "." 1*DIGIT
# time-offset     = "Z" / time-numoffset
# time-numoffset  = ("+" / "-") time-hour ":" time-minute
_DATE_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)

#: One of the greatest length that is read.
LONGEST = "2026-11-22T12:00:00.123456789+01:00"


def parse_timestamp(text: str) -> datetime:
    """The point in time that *text* stands for, in UTC. Digits past a microsecond are dropped.

    :raises ValueError: *text* is no ``date-time``, or not between the years 1 and 9999.
    """
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        raise ValueError("no date-time")
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    fraction, sign, hours, minutes = match.groups()[6:]
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    if second > 60 or int(hours or 0) > 23 or int(minutes or 0) > 59:
        raise ValueError("no date-time")
    microsecond = int((fraction or "0").ljust(6, "0")[:6])
    try:
        # A leap second is 60, and is here the first second of the next minute.
        moment = datetime(year, month, day, hour, minute, tzinfo=UTC)
        moment += timedelta(seconds=second, microseconds=microsecond)
        return moment + offset if sign == "-" else moment - offset
    except OverflowError:
        raise ValueError("no date-time") from None


def format_timestamp(moment: datetime) -> str:
    """*moment*, which is in UTC and not before the year 1000, to the second."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"

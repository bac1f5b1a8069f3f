"""The date-time of RFC 3339 section 5.6."""

import contextlib
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.extensions.timestamps import LONGEST, format_timestamp, parse_timestamp

_OFFSETS = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_MOMENTS = st.datetimes(datetime.fromisoformat("0002-01-01"), datetime.fromisoformat("9998-12-31"), timezones=_OFFSETS)


class TimestampTests(SynchronousTestCase):
    def test_rfc3339_5_6_the_examples_of_section_5_8(self) -> None:
        for text, moment in (
            ("1985-04-12T23:20:50.52Z", datetime(1985, 4, 12, 23, 20, 50, 520000, UTC)),
            ("1996-12-19T16:39:57-08:00", datetime(1996, 12, 20, 0, 39, 57, tzinfo=UTC)),
            ("1990-12-31T23:59:60Z", datetime(1991, 1, 1, tzinfo=UTC)),
            ("1990-12-31T15:59:60-08:00", datetime(1991, 1, 1, tzinfo=UTC)),
            ("1937-01-01T12:00:27.87+00:20", datetime(1937, 1, 1, 11, 40, 27, 870000, UTC)),
        ):
            self.assertEqual(parse_timestamp(text), moment)
            self.assertEqual(parse_timestamp(text.lower()), moment)

    def test_rfc3339_5_6_what_is_none(self) -> None:
        for text in (
            "",
            "now",
            "1985-04-12",
            "1985-04-12T23:20:50",
            "1985-04-12 23:20:50Z",
            "1985-4-12T23:20:50Z",
            "85-04-12T23:20:50Z",
            "1985-04-12T23:20Z",
            "1985-04-12T23:20:50.Z",
            "1985-04-12T23:20:50,5Z",
            "1985-13-12T23:20:50Z",
            "1985-02-29T23:20:50Z",
            "1985-04-12T24:00:00Z",
            "1985-04-12T23:60:00Z",
            "1985-04-12T23:20:61Z",
            "1985-04-12T23:20:50+24:00",
            "1985-04-12T23:20:50+01:60",
            "1985-04-12T23:20:50+0100",
            "1985-04-12T23:20:50Z ",
            "١٩٨٥-04-12T23:20:50Z",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:60Z",
            "9999-12-31T23:59:00-00:01",
        ):
            self.assertRaises(ValueError, parse_timestamp, text)

    def test_rfc3339_5_6_digits_past_a_microsecond_are_dropped(self) -> None:
        self.assertEqual(parse_timestamp(LONGEST), datetime(2026, 11, 22, 11, 0, 0, 123456, UTC))

    @given(_MOMENTS)
    def test_rfc3339_5_6_any_moment_comes_back(self, moment: datetime) -> None:
        self.assertEqual(parse_timestamp(moment.isoformat()), moment)
        self.assertIs(parse_timestamp(moment.isoformat()).tzinfo, UTC)
        if moment.year > 1000:
            text = format_timestamp(moment.astimezone(UTC))
            self.assertEqual(parse_timestamp(text), moment.replace(microsecond=0))

    @given(st.text() | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", fullmatch=True))
    @example("9999-12-31T23:59:59-23:59")
    def test_rfc3339_5_6_nothing_else_is_raised(self, text: str) -> None:
        with contextlib.suppress(ValueError):
            self.assertIs(parse_timestamp(text).tzinfo, UTC)

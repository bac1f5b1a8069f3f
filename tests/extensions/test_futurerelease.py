"""FUTURERELEASE: RFC 4865."""

from datetime import UTC, datetime, timedelta

from tests.authentication import portal
from tests.extensions.parameters import ParameterTestCase
from twistsmtp.extensions import futurerelease
from twistsmtp.extensions.futurerelease import DAY, HOLDFOR, HOLDUNTIL, Hold, extension, held
from twistsmtp.security import Security

NOW = datetime(2026, 11, 22, 12, 30, 15, tzinfo=UTC)


class FutureReleaseTests(ParameterTestCase):
    def setUp(self) -> None:
        self.patch(futurerelease, "time", NOW.timestamp)

    def test_rfc4865_it_is_offered_where_the_delivery_holds_messages(self) -> None:
        self.assert_offered_where_honoured("FUTURERELEASE", mail="HOLDFOR=60")

    def test_rfc4865_how_long_a_message_may_be_held(self) -> None:
        # Both an interval and a date-time.
        self.assertIn("FUTURERELEASE 2592000 2026-12-22T12:30:00Z", self.offers(self.client()))
        self.assertEqual(
            self.offers(self.client(extensions=[extension(DAY)])), ["FUTURERELEASE 86400 2026-11-23T12:30:00Z"]
        )
        for each in (0, -1, 1_000_000_000):
            self.assertRaises(ValueError, extension, each)
        self.assertIn("2058-07-31", self.offers(self.client(extensions=[extension(999_999_999)]))[0])

    def test_rfc4865_a_server_that_knows_users_offers_it_to_them(self) -> None:
        # It is for message submission.
        client = self.client(security=Security(portal=portal()))
        self.assertNotIn("FUTURERELEASE", " ".join(self.offers(client)))
        self.mail_refused("555 5.5.4", "HOLDFOR=60", client=client)
        client.session.authenticated("ada", client.session.delivery, lambda: None)
        self.assertIn("FUTURERELEASE", " ".join(self.offers(client)))
        self.assertIsNotNone(held(self.mail("HOLDFOR=60", client)))

    def test_rfc4865_for_a_while(self) -> None:
        for seconds in (1, 3600, 2_592_000):
            path = self.mail(f"HOLDFOR={seconds}")
            hold = Hold(NOW + timedelta(seconds=seconds), f"for;{seconds}")
            self.assertEqual((path.get(HOLDFOR), path.get(HOLDUNTIL), held(path)), (hold, None, hold))

    def test_rfc4865_until_some_time(self) -> None:
        for text, until in (
            ("2026-11-22T13:00:00Z", datetime(2026, 11, 22, 13, tzinfo=UTC)),
            ("2026-11-22T13:00:00+01:00", datetime(2026, 11, 22, 12, tzinfo=UTC)),
            ("2026-12-22T12:30:00Z", datetime(2026, 12, 22, 12, 30, tzinfo=UTC)),  # as offered
            ("2020-01-01T00:00:00Z", datetime(2020, 1, 1, tzinfo=UTC)),  # it goes on its way at once
        ):
            path = self.mail(f"HOLDUNTIL={text}")
            hold = Hold(until, f"until;{text}")
            self.assertEqual((path.get(HOLDFOR), path.get(HOLDUNTIL), held(path)), (None, hold, hold))

    def test_rfc4865_not_at_all(self) -> None:
        self.assertIsNone(held(self.mail("")))

    def test_rfc4865_for_too_long(self) -> None:
        # As an error of syntax.
        self.assertEqual(
            self.client(extensions=[extension(DAY)]).say("MAIL FROM:<> HOLDFOR=86401"),
            ["501 A message is held for 86400 seconds at most"],
        )
        self.mail_refused("501 5.5.4", "HOLDFOR=2592001", "HOLDFOR=999999999", "HOLDUNTIL=2026-12-22T12:30:16Z")
        self.mail_refused("501 5.5.4", "HOLDUNTIL=9999-12-31T23:59:60Z", "HOLDUNTIL=9999-12-31T23:59:59-23:59")

    def test_rfc4865_only_one_of_them(self) -> None:
        both = ["HOLDFOR=60", "HOLDUNTIL=2026-11-22T13:00:00Z"]
        self.mail_refused("501 5.5.4", " ".join(both), " SIZE=1 ".join(reversed(both)))

    def test_rfc4865_what_is_no_time(self) -> None:
        for each in ("", "=", "=x", "=0", "=-1", "=+1", "=060", "=1.5", "=1234567890", "=0000000001", "=\u0661"):
            self.mail_refused("501 5.5.4", f"HOLDFOR{each}")
        for each in ("", "=", "=3600", "=2026-11-22", "=2026-11-22T13:00:00", "=2026-02-30T00:00:00Z", "=now"):
            self.mail_refused("501 5.5.4", f"HOLDUNTIL{each}")

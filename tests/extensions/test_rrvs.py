"""RRVS: RFC 7293."""

from datetime import UTC, datetime

from tests.extensions.parameters import ParameterTestCase
from twistsmtp.extensions.rrvs import RRVS, ValidSince, extension
from twistsmtp.wire.reply import Catalogue

MOMENT = datetime(2014, 4, 3, 23, 1, tzinfo=UTC)


class RRVSTests(ParameterTestCase):
    def test_rfc7293_it_is_offered_where_the_delivery_knows_owners(self) -> None:
        self.assertEqual(extension().keyword, "RRVS")
        self.assert_offered_where_honoured("RRVS", rcpt="RRVS=2014-04-03T23:01:00Z")

    def test_rfc7293_3_1_values(self) -> None:
        # Section 3.1.
        for text, value in (
            ("2014-04-03T23:01:00Z", ValidSince(MOMENT)),
            ("2014-04-03T23:01:00Z;R", ValidSince(MOMENT)),
            ("2014-04-03T23:01:00Z;C", ValidSince(MOMENT, required=False)),
            ("2014-04-04T01:01:00+02:00;c", ValidSince(MOMENT, required=False)),
            ("2014-04-03T23:01:00.000000000+00:00;R", ValidSince(MOMENT)),
        ):
            self.assertEqual(self.rcpt(f"RRVS={text}").get(RRVS), value, text)
        self.assertIsNone(self.rcpt("").get(RRVS))

    def test_rfc7293_each_recipient_has_its_own(self) -> None:
        client = self.client()
        client.say("MAIL FROM:<>", "RCPT TO:<b@mx.test> RRVS=2014-04-03T23:01:00Z;C", "RCPT TO:<c@mx.test>")
        self.assertEqual(
            [each.get(RRVS) for each in client.session.current.recipients], [ValidSince(MOMENT, required=False), None]
        )

    def test_rfc7293_what_is_malformed(self) -> None:
        for each in ("", "=", "=;C", "=2014-04-03", "=2014-04-03T23:01:00", "=2014-04-03T23:01:00Z;", "=yesterday"):
            self.rcpt_refused("501 5.5.4", f"RRVS{each}")
        for each in ("X", "CR", "C;R", "ç"):
            self.rcpt_refused("501 5.5.4", f"RRVS=2014-04-03T23:01:00Z;{each}")

    def test_rfc7293_it_belongs_to_rcpt(self) -> None:
        self.mail_refused("555 5.5.4", "RRVS=2014-04-03T23:01:00Z")

    def test_rfc7293_the_refusals(self) -> None:
        # The codes that the RFC has registered.
        replies = Catalogue()
        refusals = [str(each)[:10] for each in (replies.owner_changed, replies.domain_changed, replies.owner_unknown)]
        self.assertEqual(refusals, ["550 5.7.17", "550 5.7.18", "550 5.7.19"])

"""DELIVERBY: RFC 2852."""

from tests.extensions.parameters import ParameterTestCase
from tests.support import Client
from twistsmtp.extensions import load_extensions
from twistsmtp.extensions.deliverby import BY, DeliverBy, Mode, extension


class DeliverByTests(ParameterTestCase):
    def limited(self) -> Client:
        return self.client(extensions=[*load_extensions(["enhancedstatuscodes"]), extension(600)])

    def test_rfc2852_it_is_offered_where_the_delivery_looks_at_the_time(self) -> None:
        self.assertEqual(extension().keyword, "DELIVERBY")
        self.assert_offered_where_honoured("DELIVERBY", mail="BY=120;R")

    def test_rfc2852_values(self) -> None:
        for text, value in (
            ("120;R", DeliverBy(120, Mode.RETURN)),
            ("+120;r", DeliverBy(120, Mode.RETURN)),
            ("999999999;RT", DeliverBy(999_999_999, Mode.RETURN, True)),
            ("1;nt", DeliverBy(1, Mode.NOTIFY, True)),
            ("0;N", DeliverBy(0, Mode.NOTIFY)),
            ("-000000120;N", DeliverBy(-120, Mode.NOTIFY)),
        ):
            self.assertEqual(self.mail(f"BY={text}").get(BY), value, text)
        self.assertIsNone(self.mail("").get(BY))

    def test_rfc2852_4_a_message_is_not_to_be_returned_at_once(self) -> None:
        # Section 4: "a negative or zero value is not allowed with a by-mode of "R"".
        self.mail_refused("501 5.5.4", "BY=0;R", "BY=-1;R", "BY=-0;RT", "BY=+0;r")

    def test_rfc2852_what_is_no_time(self) -> None:
        for each in (
            "",
            "=",
            "=120",
            "=120;",
            "=;R",
            "=120;X",
            "=120;T",
            "=120;TR",
            "=120;RTT",
            "=1.5;R",
            "=1234567890;R",
        ):
            self.mail_refused("501 5.5.4", f"BY{each}")
        self.mail_refused("501 5.5.4", "BY=120;R;T", "BY=--1;N", "BY=\u0661;R", "BY=120;ʀ")

    def test_rfc2852_3_the_least_time(self) -> None:
        # Section 3.
        self.assertEqual(self.offers(self.limited()), ["ENHANCEDSTATUSCODES", "DELIVERBY 600"])
        self.mail_refused("555 5.5.4", "BY=599;R", "BY=1;RT", client=self.limited())
        self.assertEqual(self.mail("BY=600;R", self.limited()).get(BY), DeliverBy(600, Mode.RETURN))
        self.assertEqual(self.mail("BY=1;N", self.limited()).get(BY), DeliverBy(1, Mode.NOTIFY))

    def test_rfc2852_a_least_time_that_is_none(self) -> None:
        for each in (-1, 1_000_000_000):
            self.assertRaises(ValueError, extension, each)

"""Values in the strings that things are made of; what makes them is in tests/delivery/test_find.py."""

from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.makers import number, yes_or_no


class ValueTests(SynchronousTestCase):
    def test_switches(self) -> None:
        self.assertEqual((yes_or_no("x", "yes"), yes_or_no("x", "no")), (True, False))
        for text in ("", "Yes", "1", "true"):
            with self.assertRaisesRegex(ValueError, f"x is yes or no, not '{text}'"):
                yes_or_no("x", text)

    def test_seconds(self) -> None:
        self.assertEqual((0.5, 3600), (number("x", "0.5"), number("x", "3600")))
        for text in ("", "0", "-1", "nan", "inf", "3601", "five"):
            self.assertIn(repr(text), str(self.assertRaises(ValueError, number, "x", text)))

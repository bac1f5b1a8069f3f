"""Header fields that the server writes."""

from email import message_from_bytes
from email.policy import SMTPUTF8

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.wire.field import header_field


class HeaderFieldTests(SynchronousTestCase):
    def test_fields(self) -> None:
        for name, value, octets in (
            ("X-Score", "4.2", b"X-Score: 4.2\r\n"),
            ("X", "", b"X: \r\n"),
            ("X-Name", "Jørgen\t€", "X-Name: Jørgen\t€\r\n".encode()),
            ("X", "one;\r\n two\n\tthree", b"X: one;\r\n two\r\n\tthree\r\n"),
            ("X", "a" * 995, b"X: " + b"a" * 995 + b"\r\n"),
        ):
            self.assertEqual(header_field(name, value), octets)

    def test_no_fields(self) -> None:
        for name, value in (
            ("", "x"), ("A B", "x"), ("A:", "x"), ("Ä", "x"), ("A\r\nB", "x"), ("a" * 77, "x"),
            ("X", "one\r\nY: two"), ("X", "one\n"), ("X", "one\r\n"), ("X", "one\r\n \r\nbody"), ("X", "one\r two"),
            ("X", "nul\0"), ("X", "\x1b[31m"), ("X", "\u2028x"), ("X", "\udc80"), ("X", "a" * 996), ("X", "\x85"),
        ):  # fmt: skip
            with self.assertRaises(ValueError, msg=repr((name, value))):
                header_field(name, value)

    @given(st.text(max_size=60))
    def test_whatever_it_is_given_is_one_field(self, value: str) -> None:
        """Another program reads one field, and the body behind it."""
        try:
            octets = header_field("X-Test", value)
        except ValueError:
            return
        parsed = message_from_bytes(octets + b"\r\nbody", policy=SMTPUTF8)
        self.assertEqual((parsed.keys(), parsed.get_payload()), (["X-Test"], "body"))

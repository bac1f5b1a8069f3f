"""SASLprep: the examples of RFC 4013, and another implementation of it."""

import stringprep
from unicodedata import ucd_3_2_0

from hypothesis import example, given
from hypothesis import strategies as st
from scramp import ScramException  # type: ignore[import-untyped]  # it has no types
from scramp.utils import saslprep as scramps  # type: ignore[import-untyped]  # the same
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.sasl.api import Malformed
from twistsmtp.sasl.prep import identities, prepared, saslprep, traceprep, utf8


class SaslprepTests(SynchronousTestCase):
    def test_the_examples_of_rfc_4013(self) -> None:
        for given_, wanted in (
            ("I\xadX", "IX"),
            ("user", "user"),
            ("USER", "USER"),
            ("\xaa", "a"),
            ("\u2168", "IX"),
        ):
            self.assertEqual(saslprep(given_), wanted)
        for refused in ("\x07", "\u0627\x31"):
            self.assertRaises(ValueError, saslprep, refused)

    def test_every_character_that_a_table_has_or_that_looks_as_if(self) -> None:
        tables = [
            getattr(stringprep, f"in_table_{each}") for each in ("c21_c22", "c3", "c4", "c5", "c6", "c7", "c8", "c9")
        ]
        for each in map(
            chr, (*range(0x3100), *range(0xD7F0, 0x10000), *range(0x1D100, 0x1D200), *range(0xE0000, 0xE0080))
        ):
            mapped = "" if stringprep.in_table_b1(each) else " " if stringprep.in_table_c12(each) else each
            normal = ucd_3_2_0.normalize("NFKC", mapped)
            ends = normal[:1] + normal[-1:]
            refused = any(table(every) for table in tables for every in set(normal)) or (
                any(map(stringprep.in_table_d1, normal)) and not all(map(stringprep.in_table_d1, ends))
            )
            if refused:
                self.assertRaises(ValueError, saslprep, each)
            else:
                self.assertEqual(saslprep(each), normal, ascii(each))

    def test_spaces_are_one_kind_of_space(self) -> None:
        self.assertEqual(saslprep("a\xa0b\u2003c\u3000d e"), "a b c d e")

    def test_text_from_right_to_left(self) -> None:
        self.assertEqual(saslprep("\u05d0 1 \u05d1"), "\u05d0 1 \u05d1")
        for refused in ("\u05d0b\u05d1", "\u05d01", "1\u05d0", "a\u05d0"):
            self.assertRaises(ValueError, saslprep, refused)

    def test_characters_newer_than_unicode_3_2_are_compared_and_not_stored(self) -> None:
        self.assertEqual(saslprep("\U0001f600"), "\U0001f600")
        self.assertRaises(ValueError, saslprep, "\U0001f600", stored=True)
        self.assertEqual(saslprep("na\xefve", stored=True), "na\xefve")

    @given(
        st.text(st.characters(exclude_categories=["Cs"])) | st.text("aA1 \xa0\xad\u05d0\u0627\u200b\u2168\ufdfa\x07")
    )
    @example("\u200b")
    @example("\xad")
    def test_as_another_implementation_has_it(self, text: str) -> None:
        def one() -> str | None:
            try:
                return saslprep(text, stored=True)
            except ValueError:
                return None

        def other() -> str | None:
            try:
                return str(scramps(text))
            except ScramException:
                return None

        self.assertEqual(one(), other())

    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def test_what_is_prepared_has_no_control_character(self, text: str) -> None:
        try:
            prepared_ = saslprep(text)
        except ValueError:
            return
        self.assertFalse(any(ord(each) < 32 or 127 <= ord(each) < 160 or each in "\u2028\u2029" for each in prepared_))


class OctetsTests(SynchronousTestCase):
    def test_text(self) -> None:
        self.assertEqual(utf8("\u20ac".encode(), "name", 3), "\u20ac")
        self.assertEqual(prepared(b"x" * 1024, "name"), "x" * 1024)

    def test_what_is_none(self) -> None:
        for octets in (b"\xff", b"\0", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"abcd"):
            self.assertRaises(Malformed, utf8, octets, "name", 3)
        # U+FDFA is one character of three octets, and eighteen when it is prepared.
        for octets in (b"", b"x" * 1025, b"\x07", "\xad".encode(), "\ufdfa".encode() * 340):
            self.assertRaises(Malformed, prepared, octets, "name")

    def test_an_error_knows_nothing_of_the_octets(self) -> None:
        for octets in (b"secret\xff", b"secret\0", b"secret\x07", b"secret" * 1000):
            error: BaseException | None = self.assertRaises(Malformed, prepared, octets, "password")
            while error is not None:
                self.assertNotIn("secret", repr(vars(error)) + repr(error.args))
                error = error.__context__

    def test_traces(self) -> None:
        self.assertEqual(traceprep("\xa0 a"), "\xa0 a")
        self.assertRaises(ValueError, traceprep, "\x85")

    def test_identities(self) -> None:
        self.assertEqual(identities("a", None), ("a", None))
        self.assertEqual(identities("a", "a"), ("a", None))
        self.assertEqual(identities("a", "b"), ("b", "a"))

"""Client's text made safe to show."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.wire.text import printable

#: Everything that Python's text can hold, surrogates too.
any_text = st.text(st.characters(codec=None, exclude_categories=[]))


class PrintableTests(SynchronousTestCase):
    @given(any_text, st.integers(4, 60))
    def test_it_is_printable_ascii_within_the_limit(self, text: str, limit: int) -> None:
        shown = printable(text, limit)
        self.assertTrue(all(" " <= character <= "~" for character in shown), shown)
        self.assertLessEqual(len(shown), limit)

    @given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=60))
    def test_what_is_printable_stays(self, text: str) -> None:
        self.assertEqual(printable(text, 60), text)

    @given(any_text)
    def test_nothing_is_lost_within_the_limit(self, text: str) -> None:
        # But for backslashes of its own, a text can be had back.
        if "\\" not in text:
            shown = printable(text, 10 * len(text) + 3)
            self.assertEqual(shown.encode("ascii").decode("unicode_escape"), text)

    def test_what_breaks_a_line_or_a_screen_is_escaped(self) -> None:
        self.assertEqual(
            printable("a\r\nb\x1b[2J\x7f\x00\x85\u2028é😀"), r"a\x0d\x0ab\x1b[2J\x7f\x00\x85\u2028\xe9\U0001f600"
        )

    def test_a_cut_is_marked(self) -> None:
        self.assertEqual(printable("abcdefgh", 8), "abcdefgh")
        self.assertEqual(printable("abcdefghi", 8), "abcde...")

    def test_a_cut_is_marked_where_it_is_what_is_cut_off_that_is_not_printable(self) -> None:
        self.assertEqual(printable("abcdefgh\n", 8), "abcde...")

"""Tests of twistsmtp.wire.xtext."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.wire import strategies
from twistsmtp.wire.abnf import GrammarError
from twistsmtp.wire.xtext import decode_xtext, decode_xtext_octets, encode_xtext, encode_xtext_octets


class XtextTests(SynchronousTestCase):
    def test_rfc2554_5_examples(self) -> None:
        """RFC 2554 section 5, and RFC 3461 section 4."""
        for decoded, encoded in {
            "e=mc2@example.com": "e+3Dmc2@example.com",
            "rfc822;a+b@c": "rfc822;a+2Bb@c",
            "two words": "two+20words",
            "<>": "<>",
            "": "",
        }.items():
            self.assertEqual(encode_xtext(decoded), encoded)
            self.assertEqual(decode_xtext(encoded), decoded)

    def test_rfc3461_4_any_octet_may_be_a_hexchar(self) -> None:
        """RFC 3461 section 4: a CHAR that could stand for itself MAY be encoded as a hexchar."""
        self.assertEqual(decode_xtext("+41+42C"), "ABC")

    def test_malformed(self) -> None:
        for text in ("+", "a+", "+4", "+4g", "+3d", "+ 41", "a=b", "a b", "a\tb", "a\n", "\x7f", "+-1"):
            for decode in (decode_xtext, decode_xtext_octets):
                error = self.assertRaises(GrammarError, decode, text)
                self.assertEqual((error.production, error.code, error.enhanced), ("xtext", 501, "5.5.4"), text)

    def test_beyond_ascii(self) -> None:
        error = self.assertRaises(GrammarError, decode_xtext, "\u00fc")
        self.assertEqual((error.production, error.code, error.enhanced), ("xtext", 501, "5.6.7"))

    def test_rfc3461_4_2_what_it_carries_must_be_printable(self) -> None:
        """RFC 3461 sections 4.2 and 4.4: ORCPT and ENVID may end up in a header field."""
        for text in ("+0D+0A", "+00", "+09", "+7F", "+C3+BC"):
            self.assertEqual(self.assertRaises(GrammarError, decode_xtext, text).production, "xtext", text)
            self.assertEqual(encode_xtext_octets(decode_xtext_octets(text)), text)
        for text in ("a\r\nb", "\u00fc", "\ud800", "\x7f"):
            self.assertRaises(GrammarError, encode_xtext, text)

    @given(st.text(strategies.graphic_or_space))
    def test_text_round_trips(self, text: str) -> None:
        encoded = encode_xtext(text)
        self.assertEqual(decode_xtext(encoded), text)
        self.assertTrue(encoded.isascii() and encoded.isprintable() and not set(encoded) & set(" ="))

    @given(st.binary())
    def test_octets_round_trip(self, octets: bytes) -> None:
        encoded = encode_xtext_octets(octets)
        self.assertEqual(decode_xtext_octets(encoded), octets)
        self.assertTrue(encoded.isascii() and encoded.isprintable() and not set(encoded) & set(" ="))

    @given(strategies.anything | st.text(st.sampled_from("+0AFaf= \u00fc")))
    def test_nothing_but_a_grammar_error_is_raised(self, text: str) -> None:
        for function in (decode_xtext, decode_xtext_octets, encode_xtext):
            try:
                function(text)
            except GrammarError as error:
                self.assertEqual((error.production, error.code), ("xtext", 501))

    def test_hostile_length(self) -> None:
        for text in ("+" * 100_000, "+41" * 33_000 + "+", "a" * 100_000 + "="):
            self.assertRaises(GrammarError, decode_xtext, text)
        self.assertEqual(decode_xtext("+41" * 33_000), "A" * 33_000)

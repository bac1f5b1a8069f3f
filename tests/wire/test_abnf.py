"""Tests of twistsmtp.wire.abnf."""

import pickle
import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.wire import strategies
from twistsmtp.wire import abnf
from twistsmtp.wire.abnf import CONTROL, GrammarError


class GrammarErrorTests(SynchronousTestCase):
    def test_it_shows_as_a_reply(self) -> None:
        error = GrammarError("Domain", 553, "5.1.3", "Domain is too long")
        self.assertEqual(str(error), "553 5.1.3 Domain is too long")
        self.assertIsInstance(error, ValueError)

    def test_it_survives_pickling(self) -> None:
        error = GrammarError("Domain", 553, "5.1.3", "Domain is too long")
        again = pickle.loads(pickle.dumps(error))
        self.assertEqual(vars(again), vars(error))


class ControlTests(SynchronousTestCase):
    @given(st.characters(exclude_categories=()))
    def test_what_breaks_a_line_or_has_no_octets_is_found(self, character: str) -> None:
        breaks = len(f"a{character}b".splitlines()) > 1
        controls = ord(character) < 0xA0 and not character.isprintable()
        surrogate = 0xD800 <= ord(character) < 0xE000
        if breaks or controls or surrogate:
            self.assertTrue(CONTROL.search(character))

    @given(strategies.graphic_or_space | strategies.utf8_non_ascii)
    def test_nothing_else_is(self, character: str) -> None:
        self.assertIsNone(CONTROL.search(character))


class ProductionTests(SynchronousTestCase):
    def test_no_repetition_gives_back_what_it_matched(self) -> None:
        """But for those of a few characters, which bound what they can give back."""
        patterns = [value.pattern for value in vars(abnf).values() if isinstance(value, re.Pattern)]
        self.assertTrue(patterns)
        for pattern in (*patterns, abnf.ASCII_DOT_STRING, abnf.ASCII_DOMAIN):
            outside_classes = re.sub(r"\\.|\[(?:\\.|[^\]\\])+\]", "x", pattern, flags=re.DOTALL)
            self.assertNotRegex(outside_classes, r"(?<![+*?}])[+*](?![+])")

    def assert_agrees(self, expression: str, examples: dict[str, bool]) -> None:
        for text, matches in examples.items():
            self.assertEqual(bool(re.fullmatch(expression, text)), matches, text)

    def test_the_flat_domain_is_the_domain(self) -> None:
        sub_domain = abnf.SUB_DOMAIN.pattern
        by_the_rfc = rf"{sub_domain}(?:\.{sub_domain})*"

        @given(st.text(st.sampled_from("aZ09_-."), max_size=12))
        def agree(text: str) -> None:
            self.assertEqual(bool(re.fullmatch(abnf.ASCII_DOMAIN, text)), bool(re.fullmatch(by_the_rfc, text)), text)

        agree()

    def test_rfc5321_4_1_2_sub_domain(self) -> None:
        """RFC 5321 section 4.1.2, and the underscore."""
        self.assert_agrees(
            abnf.SUB_DOMAIN.pattern,
            {
                "a": True,
                "a-b": True,
                "a--b": True,
                "1": True,
                "_dmarc": True,
                "a-": False,
                "-a": False,
                "": False,
            },
        )

    def test_rfc5321_4_1_3_snum(self) -> None:
        """RFC 5321 section 4.1.3: one to three digits, 0 through 255."""
        for number in range(1000):
            for text in {str(number), f"{number:02}", f"{number:03}"}:
                found = abnf.IPV4_ADDRESS_LITERAL.fullmatch(f"1.{text}.2.3")
                self.assertEqual(found is not None, number <= 255, text)
        self.assertIsNone(abnf.IPV4_ADDRESS_LITERAL.fullmatch("1.0001.2.3"))

    def test_rfc5321_4_1_3_general_address_literal(self) -> None:
        """RFC 5321 section 4.1.3."""
        self.assert_agrees(
            abnf.GENERAL_ADDRESS_LITERAL.pattern,
            {
                "x:y": True,
                "-a-b:!~": True,
                "a-:b": False,
                ":b": False,
                "a:": False,
                "a:[": False,
                "a:b c": False,
            },
        )

"""Octets as text, and back."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.testing.notation import SECRET, Event, Token, lines_of, parse_octets, written


def together(tokens: list[Token]) -> list[Token]:
    """What *tokens* say, however they are cut."""
    return parse_octets(written(tokens) + "\\")


class NotationTests(SynchronousTestCase):
    def test_lines(self) -> None:
        for octets, lines in (
            (b"", []),
            (b"\r\n", [""]),
            (b"NOOP\r\nQUIT\r\n", ["NOOP", "QUIT"]),
            (b"NO", ["NO\\"]),
            (b"a\\b\\\r\n", ["a\\\\b\\\\"]),
            (b"\xe9\x00\t\r\n", ["\\xe9\\x00\\t"]),
            (b"a\nb\rc\r\n", ["a\\nb\\rc"]),
            (b"(closes)\r\n", ["\\x28closes)"]),
        ):
            self.assertEqual(lines_of([octets]), lines)

    def test_secrets(self) -> None:
        self.assertEqual(lines_of([b"AUTH PLAIN ", SECRET, b"\r\n"]), ["AUTH PLAIN \\*"])
        self.assertEqual(parse_octets("AUTH PLAIN \\*"), [b"AUTH PLAIN ", SECRET, b"\r\n"])
        self.assertEqual(parse_octets("\\\\*"), [b"\\*\r\n"])

    @given(st.binary())
    def test_octets(self, octets: bytes) -> None:
        """They are the same, there and back; each line is printable ASCII, and none is an event."""
        lines = lines_of([octets])
        parts = [part for line in lines for part in parse_octets(line)]
        self.assertEqual(b"".join(part for part in parts if isinstance(part, bytes)), octets)
        self.assertNotIn(SECRET, parts)
        self.assertTrue(all(line.isascii() and (line.isprintable() or not line) for line in lines))
        self.assertFalse({*Event} & {*lines})

    @given(st.lists(st.one_of(st.binary(), st.just(SECRET))))
    def test_tokens(self, tokens: list[Token]) -> None:
        lines = lines_of(tokens)
        self.assertEqual(
            together([part for line in lines for part in parse_octets(line)]), together(tokens) if tokens else []
        )

    def test_malformed(self) -> None:
        for text in ("\\q", "\\x1", "\\xgg", "a\\ b"):
            with self.assertRaisesRegex(ValueError, "a backslash may stand before"):
                parse_octets(text)

"""Kinds of values: what is read, what is refused, what is shown."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.values import (
    BARE_NEWLINE,
    COUNT,
    DOMAIN,
    DURATION,
    FLAG,
    HOST,
    LOG_FORMAT,
    SIZE,
    TEXT,
    WORD,
    Kind,
    parse_duration,
    parse_size,
)
from twistsmtp.wire.dotstream import BareNewline

JUNK: tuple[object, ...] = (
    "",
    " ",
    "x",
    "-1",
    "0",
    "1e3",
    "1,000",
    "½",
    "1x",
    "M",
    "nan",
    "inf",
    True,
    False,
    None,
    [],
    {},
    -1,
    0,
)


class ValueTests(SynchronousTestCase):
    """Each kind of value, from the command line and from TOML."""

    def assert_refused(self, kind: Kind, *values: object) -> None:
        for value in values:
            error = self.assertRaises(ValueError, kind.parse, value)
            self.assertRegex(str(error), r"\Ais (neither|not) [^\n]+\Z", repr(value))

    def test_size(self) -> None:
        cases = {"1": 1, "512": 512, "500K": 512000, "32M": 32 << 20, "32m": 32 << 20, "1 G": 1 << 30, " 7 ": 7}
        for text, size in cases.items():
            self.assertEqual(parse_size(text), size)
        self.assertEqual(parse_size(4096), 4096)
        self.assert_refused(SIZE, *JUNK, "1.5M", "32MB", "1T", "1" * 5000)

    def test_duration(self) -> None:
        cases = {"300": 300, "300s": 300, "5m": 300, "1.5h": 5400, "2D": 172800, "0.25": 0.25, " 1 m ": 60}
        for text, seconds in cases.items():
            self.assertEqual(parse_duration(text), seconds)
        self.assertEqual(parse_duration(90), 90.0)
        self.assertEqual(parse_duration(0.5), 0.5)
        self.assert_refused(DURATION, *JUNK, "5 minutes", "1h30m", float("nan"), float("inf"))

    def test_count(self) -> None:
        self.assertEqual(COUNT.parse("100"), 100)
        self.assertEqual(COUNT.parse(7), 7)
        self.assert_refused(COUNT, *JUNK, "1K", 1.5, "1" * 5000)

    def test_text(self) -> None:
        self.assertEqual(TEXT.parse("maildir:/srv/mail"), "maildir:/srv/mail")
        self.assert_refused(TEXT, "", "  ", 5, True, None, [])

    def test_word(self) -> None:
        self.assertEqual(WORD.parse("get"), "GET")
        self.assert_refused(WORD, "", "two words", "tab\t", "ü", 5)

    def test_flag(self) -> None:
        self.assertIs(FLAG.parse(True), True)
        self.assertIs(FLAG.parse(False), False)
        self.assert_refused(FLAG, "true", "yes", 1, 0, None)

    def test_host(self) -> None:
        cases = {
            "MX1.Example.Org": "mx1.example.org",
            "münchen.example": "xn--mnchen-3ya.example",
            "[192.0.2.1]": "[192.0.2.1]",
            "localhost": "localhost",
        }
        for text, host in cases.items():
            self.assertEqual(HOST.parse(text), host)
        self.assert_refused(HOST, "", "a b", "a..b", "*", "a@b", "x" * 64, "[192.0.2.300]", "a\nb", 5)

    def test_domain(self) -> None:
        self.assertEqual(DOMAIN.parse("Example.Org"), "example.org")
        self.assertEqual(DOMAIN.parse("*"), "*")
        self.assert_refused(DOMAIN, "*.example.org", "", 5)

    def test_choices(self) -> None:
        for choice in BareNewline:
            self.assertEqual(BARE_NEWLINE.parse(choice.value), choice)
            self.assertIn(choice.value, BARE_NEWLINE.metavar.split("|"))
        for name in ("text", "json"):
            self.assertEqual(LOG_FORMAT.parse(name), name)
        self.assert_refused(BARE_NEWLINE, "REFUSE", "", None, ["refuse"])
        self.assert_refused(LOG_FORMAT, "xml", "", None, {})

    @given(st.integers(1, 10**14))
    def test_shown_size_is_read_again(self, size: int) -> None:
        self.assertEqual(parse_size(SIZE.show(size)), size)

    @given(st.integers(1, 10**7) | st.sampled_from([0.25, 0.5, 90.0, 300.0, 3600.0]))
    def test_shown_duration_is_read_again(self, seconds: float) -> None:
        self.assertEqual(parse_duration(DURATION.show(seconds)), seconds)

    def test_shown(self) -> None:
        self.assertEqual(SIZE.show(32 << 20), "32M")
        self.assertEqual(SIZE.show(1000), "1000")
        self.assertEqual(DURATION.show(300.0), "5m")
        self.assertEqual(DURATION.show(90.0), "90s")
        self.assertEqual(DURATION.show(0.5), "0.5")
        self.assertEqual(BARE_NEWLINE.show(BareNewline.REFUSE), "refuse")

    def test_named(self) -> None:
        self.assertEqual(TEXT.named("ENDPOINT").metavar, "ENDPOINT")
        self.assertEqual(TEXT.named("ENDPOINT").parse("x"), "x")

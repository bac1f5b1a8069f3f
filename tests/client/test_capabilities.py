"""What a server offers."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.client import Capabilities
from twistsmtp.wire.reply import Reply


def read(*lines: str) -> Capabilities:
    return Capabilities.of(Reply(250, "", "\n".join(("mx.test at your service", *lines))))


class CapabilitiesTests(SynchronousTestCase):
    def test_keywords(self) -> None:
        offered = read("pipelining", "SIZE 1000", "AUTH PLAIN login", "AUTH=LOGIN CRAM-MD5", "X-THING a  b ", "", "!")
        self.assertEqual(offered.domain, "mx.test")
        self.assertEqual(set(offered.keywords), {"PIPELINING", "SIZE", "AUTH", "X-THING"})
        self.assertIn("PIPELINING", offered)
        self.assertNotIn("CHUNKING", offered)
        self.assertEqual(offered.mechanisms, ("PLAIN", "LOGIN", "CRAM-MD5"))
        self.assertEqual(offered.keywords["X-THING"], "a  b")

    def test_size(self) -> None:
        for line, size in (("SIZE 1000", 1000), ("SIZE", None), ("SIZE 0", None), ("SIZE -1", None), ("SIZE ²", None)):
            self.assertEqual(read(line).size, size, line)
        self.assertIsNone(read("SIZE " + "9" * 21).size)
        self.assertIsNone(read().size)

    def test_limits(self) -> None:
        offered = read("LIMITS RCPTMAX=100 mailmax=3 OTHER X=y")
        self.assertEqual([offered.limit(each) for each in ("RCPTMAX", "MAILMAX", "OTHER", "X")], [100, 3, None, None])

    def test_nothing(self) -> None:
        self.assertEqual(read().keywords, {})
        self.assertEqual(Capabilities().mechanisms, ())

    @given(st.lists(st.text(max_size=40), max_size=5))
    def test_any_lines(self, lines: list[str]) -> None:
        offered = read(*lines)
        self.assertTrue(all(each == each.upper() for each in offered.keywords))
        _ = offered.size, offered.mechanisms, offered.limit("RCPTMAX")

"""Received fields, counted while a message comes."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support import cuts
from twistsmtp.wire.hops import HopCount

_PIECES = [b"Received: by x", b"received:", b"RECEIVED:", b"Received", b"X-Received: y", b" Received:", b"a", b"\r\n"]
# Newlines are half of it, so that headers have lines, and ends.
messages = st.lists(st.sampled_from(_PIECES) | st.just(b"\r\n"), max_size=16).map(b"".join)


def reference(message: bytes) -> int:
    """The fields named Received above the first empty line."""
    count = 0
    for line in message.split(b"\r\n"):
        if not line:
            break
        count += line.lower().startswith(b"received:")
    return count


class HopCountTests(SynchronousTestCase):
    @given(messages, st.lists(st.integers(0, 100), max_size=5))
    def test_the_same_count_however_it_is_cut(self, message: bytes, positions: list[int]) -> None:
        expected = reference(message)
        pieces = [cuts(message, positions), cuts(message, range(len(message))), [message]]
        pieces.extend([message[:position], message[position:]] for position in range(len(message)))
        for each in pieces:
            hops = HopCount()
            for piece in each:
                hops.feed(piece)
            self.assertEqual(hops.count, expected, each)

    def test_only_the_header_is_counted(self) -> None:
        hops = HopCount()
        self.assertEqual(hops.feed(b"Received: a\r\nReceived: b\r\n\r\nReceived: c\r\n"), 2)
        self.assertEqual(hops.feed(b"\r\nReceived: d\r\n"), 2)

    def test_a_message_without_a_header(self) -> None:
        self.assertEqual(HopCount().feed(b"\r\nReceived: a\r\n"), 0)

    def test_any_case_counts_and_other_names_do_not(self) -> None:
        self.assertEqual(HopCount().feed(b"RECEIVED: a\r\nX-Received: b\r\nReceived-SPF: c\r\n\treceived: d\r\n"), 1)

"""Dots and line ends of a message that goes out."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support import cuts
from twistsmtp.client.errors import BadMessage
from twistsmtp.client.stuffing import DotStuffer, LineCheck, crlf
from twistsmtp.wire.dotstream import DotStream

#: Lines, and parts of them, of which messages can be made.
PARTS = st.lists(st.sampled_from([b"\r\n", b".", b"..", b"text", b".\r\n", b"\r\n.\r\n"]), max_size=12).map(b"".join)
ANY = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"x"]), max_size=12).map(b"".join)
POSITIONS = st.lists(st.integers(0, 60), max_size=6)


def stuff(*pieces: bytes) -> bytes:
    stuffer = DotStuffer()
    return b"".join([*map(stuffer.feed, pieces), stuffer.end()])


class DotStufferTests(SynchronousTestCase):
    def test_examples(self) -> None:
        for octets, wire in (
            (b"", b".\r\n"),
            (b"a\r\n", b"a\r\n.\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b".", b"..\r\n.\r\n"),
            (b".\r\n", b"..\r\n.\r\n"),
            (b"a\r\n.b\r\n..\r\nc.d\r\n", b"a\r\n..b\r\n...\r\nc.d\r\n.\r\n"),
        ):
            self.assertEqual(stuff(octets), wire, octets)

    @given(PARTS, POSITIONS)
    def test_comes_back(self, octets: bytes, positions: list[int]) -> None:
        """However it is cut, our own server's decoder makes the message of it, and nothing is left over."""
        wire = stuff(*cuts(octets, positions))
        stream = DotStream()
        body, end = stream.feed(wire)
        self.assertEqual(end, len(wire))
        self.assertEqual(body, octets if octets.endswith(b"\r\n") or not octets else octets + b"\r\n")
        self.assertIsNone(stream.bare_newline)

    @given(ANY, POSITIONS)
    def test_bare_newlines(self, octets: bytes, positions: list[int]) -> None:
        """They are refused, however the message is cut, and nothing else is."""
        bare = octets.replace(b"\r\n", b"")
        if b"\r" in bare or b"\n" in bare:
            with self.assertRaises(BadMessage) as caught:
                stuff(*cuts(octets, positions))
            self.assertFalse(caught.exception.temporary)
        else:
            stuff(*cuts(octets, positions))

    def test_the_end_is_not_made_up(self) -> None:
        """What a server that takes bare LF for a line's end would read as the end of the message."""
        for octets in (b"a\n.\nb", b"a\r.\rb", b"a\r\n.\nb", b"a\n.\r\nb", b"a\r\n.\rb"):
            self.assertRaises(BadMessage, stuff, octets)


class LineCheckTests(SynchronousTestCase):
    def test_across_pieces(self) -> None:
        check = LineCheck()
        for piece in (b"a\r", b"\nb\r\n", b"", b"\r", b"\n"):
            check.feed(piece)
        check.end()
        check.feed(b"\r")
        self.assertRaises(BadMessage, check.end)


class CRLFTests(SynchronousTestCase):
    @given(ANY)
    def test_all_ends(self, octets: bytes) -> None:
        made = crlf(octets)
        LineCheck().feed(made)
        self.assertEqual(made.replace(b"\r\n", b"\n"), octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))

"""DATA decoded, against a decoder that is written octet by octet from RFC 5321 section 4.5.2."""

from dataclasses import dataclass
from itertools import product

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support import cuts
from twistsmtp.wire.dotstream import BareNewline, DotStream

ALL_MODES = list(BareNewline)
END = b"\r\n.\r\n"

# Few octets, so that what is special about them meets often.
_PIECES = [
    b"\r\n",
    b"\r",
    b"\n",
    b".",
    b"..",
    b"a",
    b"bcd",
    b"\0",
    b"\xff",
    b"\r\n.",
    b"\r\n..",
    END,
    b"\r\n.\r",
    b"\n.",
]
streams = st.lists(st.sampled_from(_PIECES), max_size=14).map(b"".join)
modes = st.sampled_from(BareNewline)
limits = st.integers(1, 8) | st.just(1000)


@dataclass
class Decoded:
    """What came of a stream; *end* is -1 where it did not end."""

    body: bytes
    end: int
    bare_newline: str | None
    line_too_long: bool


def reference(stream: bytes, mode: BareNewline, line_limit: int) -> Decoded:
    """Line by line, each line octet by octet.

    "If the line is composed of a single period, it is treated as the end of mail indicator. If the first character
    is a period and there are other characters on the line, the first character is deleted."
    """
    decoded = Decoded(b"", -1, None, False)
    line = bytearray()
    for position, octet in enumerate(stream):
        line.append(octet)
        if not line.endswith(b"\r\n"):
            continue
        if line == b".\r\n":
            decoded.end = position + 1
            break
        text = bytes(line[1:-2] if line.startswith(b".") else line[:-2])
        decoded.line_too_long |= len(text) > line_limit
        for index, each in enumerate(text):
            # A line's text has no CRLF, so whatever CR or LF is in it stands alone.
            if each not in b"\r\n":
                decoded.body += text[index : index + 1]
            elif mode is BareNewline.NORMALIZE:
                decoded.body += b"\r\n"
            else:
                decoded.body += text[index : index + 1]
                if mode is BareNewline.REFUSE and decoded.bare_newline is None:
                    decoded.bare_newline = "CR" if each == 0x0D else "LF"
        decoded.body += b"\r\n"
        line.clear()
    return decoded


def ours(pieces: list[bytes], mode: BareNewline, line_limit: int) -> Decoded:
    """Decoded piece by piece, each behind octets that are not the stream's, as in a connection's buffer."""
    stream = DotStream(mode, line_limit)
    bodies = []
    before = 0
    end = -1
    for number, piece in enumerate(pieces):
        junk = b"DATA\r\n.\r\n"[: number % 10]
        body, end = stream.feed(junk + piece, len(junk))
        bodies.append(body)
        if end >= 0:
            end += before - len(junk)
            break
        before += len(piece)
    return Decoded(b"".join(bodies), end, stream.bare_newline, stream.line_too_long)


class AgainstTheReferenceTests(SynchronousTestCase):
    """The same body, end and verdicts, however the octets are cut."""

    @given(streams, streams, modes, limits, st.lists(st.integers(0, 100), max_size=6))
    @example(b".", b"", BareNewline.REFUSE, 1000, [])
    @example(b"\r", b"", BareNewline.NORMALIZE, 1000, [])
    def test_every_way_to_cut(
        self, message: bytes, behind: bytes, mode: BareNewline, line_limit: int, positions: list[int]
    ) -> None:
        stream = message + END + behind
        expected = reference(stream, mode, line_limit)
        self.assertEqual(ours([stream], mode, line_limit), expected)
        self.assertEqual(ours(cuts(stream, range(len(stream))), mode, line_limit), expected)
        self.assertEqual(ours(cuts(stream, positions), mode, line_limit), expected)
        for position in range(1, len(stream)):
            self.assertEqual(ours(cuts(stream, [position]), mode, line_limit), expected, position)

    def test_every_short_message_in_every_pair_of_cuts(self) -> None:
        for message in map(b"".join, product([b"\r", b"\n", b".", b"a"], repeat=4)):
            stream = message + END
            for mode in ALL_MODES:
                expected = reference(stream, mode, 2)
                for first, second in product(range(len(stream)), repeat=2):
                    self.assertEqual(ours(cuts(stream, [first, second]), mode, 2), expected, (stream, first, second))

    @given(streams, modes)
    def test_nothing_is_said_before_it_is_certain(self, message: bytes, mode: BareNewline) -> None:
        # Whatever follows, what has come out stays the beginning of the message.
        decoder = DotStream(mode)
        body, end = decoder.feed(message)
        if end < 0:
            for follower in (b"", b"\n", b".\r\n", b"\r\n", b"x", b"\r\nx"):
                whole = reference(message + follower + END, mode, 1 << 20)
                self.assertTrue(whole.body.startswith(body), (message, follower, body))

    @given(streams, modes)
    def test_what_is_held_back_is_the_beginning_of_an_end(self, message: bytes, mode: BareNewline) -> None:
        decoder = DotStream(mode)
        body, end = decoder.feed(b"x" + message)
        if end < 0:
            rest, end = decoder.feed(b"y" + END)
            self.assertGreaterEqual(end, 0)
            self.assertLessEqual(len(rest), len(END) - 1 + len(b"y\r\n"))
            self.assertTrue((body + rest).endswith(b"y\r\n"))


class StuffingTests(SynchronousTestCase):
    """RFC 5321 section 4.5.2, as the client does it."""

    @given(st.lists(st.binary(max_size=20).map(lambda line: line.translate(None, b"\r\n"))), modes)
    def test_rfc5321_4_5_2_what_a_client_stuffs_comes_out_as_it_was(
        self, lines: list[bytes], mode: BareNewline
    ) -> None:
        body = b"".join(line + b"\r\n" for line in lines)
        stuffed = b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines)
        self.assertEqual(
            ours([stuffed + b".\r\n" + b"QUIT\r\n"], mode, 1000), Decoded(body, len(stuffed) + 3, None, False)
        )

    def test_rfc5321_4_5_2_an_empty_message_is_a_dot_alone(self) -> None:
        self.assertEqual(DotStream().feed(b".\r\nQUIT\r\n"), (b"", 3))

    def test_rfc5321_4_5_2_an_empty_line_is_a_message(self) -> None:
        self.assertEqual(DotStream().feed(b"\r\n.\r\n"), (b"\r\n", 5))

    def test_rfc5321_4_5_2_the_first_line_may_be_stuffed(self) -> None:
        self.assertEqual(DotStream().feed(b"..\r\n.\r\n"), (b".\r\n", 7))

    def test_rfc5321_4_5_2_dots_inside_a_line_stay(self) -> None:
        self.assertEqual(DotStream().feed(b"a.\r\n.b\r\n...\r\n.\r\n"), (b"a.\r\nb\r\n..\r\n", 16))

    def test_rfc5321_4_5_2_all_other_octets_come_through(self) -> None:
        octets = bytes(octet for octet in range(256) if octet not in b"\r\n")
        for mode in ALL_MODES:
            self.assertEqual(DotStream(mode).feed(octets + END), (octets + b"\r\n", len(octets) + 5))

    def test_rfc5321_4_5_2_what_is_behind_the_end_is_not_touched(self) -> None:
        data = b"MAIL\r\nDATA\r\ntext\r\n.\r\n.\r\nQUIT\r\n"
        self.assertEqual(DotStream().feed(data, 12), (b"text\r\n", 21))


class SmugglingTests(SynchronousTestCase):
    """What is taken for an end of message elsewhere, and is none: only CRLF.CRLF is."""

    #: What stands between two parts of one message, what `ACCEPT` and `NORMALIZE` make of it, and what is bare in it.
    NOT_THE_END = (
        (b"\n.\n", b"\n.\n", b"\r\n.\r\n", "LF"),
        (b"\r.\r", b"\r.\r", b"\r\n.\r\n", "CR"),
        (b"\n.\r\n", b"\n.\r\n", b"\r\n.\r\n", "LF"),
        (b"\r.\r\n", b"\r.\r\n", b"\r\n.\r\n", "CR"),
        (b"\r\n.\n", b"\r\n\n", b"\r\n\r\n", "LF"),
        (b"\r\n.\r", b"\r\n\r", b"\r\n\r\n", "CR"),
        (b"\n\r.\n\r", b"\n\r.\n\r", b"\r\n\r\n.\r\n\r\n", "LF"),
        (b"\r\n.\0\r\n", b"\r\n\0\r\n", b"\r\n\0\r\n", None),
        (b"\r\n\0.\r\n", b"\r\n\0.\r\n", b"\r\n\0.\r\n", None),
        (b"\r\0\n.\r\0\n", b"\r\0\n.\r\0\n", b"\r\n\0\r\n.\r\n\0\r\n", "CR"),
        (b"\0\r\n.\0\n", b"\0\r\n\0\n", b"\0\r\n\0\r\n", "LF"),
        (b"\r\n..\r\n", b"\r\n.\r\n", b"\r\n.\r\n", None),
        (b"\r\n.\r\r\n", b"\r\n\r\r\n", b"\r\n\r\n\r\n", "CR"),
        (b"\r\n. \r\n", b"\r\n \r\n", b"\r\n \r\n", None),
        (b"\r\n.\x1a\r\n", b"\r\n\x1a\r\n", b"\r\n\x1a\r\n", None),
        (b"\x85.\x85", b"\x85.\x85", b"\x85.\x85", None),
        (b"\x0b.\x0c", b"\x0b.\x0c", b"\x0b.\x0c", None),
    )
    BEHIND = b"MAIL FROM:<smuggled@client.test>\r\n"

    def test_nothing_else_ends_a_message(self) -> None:
        for between, accepted, normalized, found in self.NOT_THE_END:
            stream = b"text" + between + self.BEHIND + b".\r\n"
            for mode in ALL_MODES:
                body = normalized if mode is BareNewline.NORMALIZE else accepted
                expected = Decoded(
                    b"text" + body + self.BEHIND, len(stream), found if mode is BareNewline.REFUSE else None, False
                )
                for position in range(len(stream)):
                    self.assertEqual(ours(cuts(stream, [position]), mode, 1000), expected, (between, position))

    def test_a_bare_cr_before_the_end_does_not_hide_it(self) -> None:
        # CR CRLF.CRLF: the end is there, and a CR in front of it.
        stream = DotStream()
        self.assertEqual(stream.feed(b"a\r\r\n.\r\nQUIT\r\n"), (b"a\r\r\n", 7))
        self.assertEqual(stream.bare_newline, "CR")

    def test_normalizing_makes_no_end_and_no_stuffing(self) -> None:
        # What becomes CRLF . CRLF in the output was no end, and its dot was no stuffing.
        stream = DotStream(BareNewline.NORMALIZE)
        self.assertEqual(stream.feed(b"a\n.\nb\n..c\r\n.\r\n"), (b"a\r\n.\r\nb\r\n..c\r\n", 14))

    def test_the_first_bare_newline_is_what_is_said(self) -> None:
        for octets, found in ((b"a\rb\nc", "CR"), (b"a\nb\rc", "LF")):
            for position in range(len(octets)):
                self.assertEqual(ours(cuts(octets + END, [position]), BareNewline.REFUSE, 1000).bare_newline, found)


class LineLengthTests(SynchronousTestCase):
    """RFC 5321 section 4.5.3.1.6: a line's length, its CRLF and the dot that stuffing adds not counted."""

    def assert_too_long(self, expected: bool, message: bytes, limit: int) -> None:
        for pieces in ([message + b".\r\n"], cuts(message + b".\r\n", range(5000))):
            self.assertIs(ours(pieces, BareNewline.REFUSE, limit).line_too_long, expected, message)

    def test_rfc5321_4_5_3_1_6_at_the_limit_and_one_over_it(self) -> None:
        for limit in (1, 2, 3, 998):
            self.assert_too_long(False, b"x" * limit + b"\r\n", limit)
            self.assert_too_long(True, b"x" * (limit + 1) + b"\r\n", limit)

    def test_rfc5321_4_5_3_1_6_the_dot_that_stuffing_adds_is_not_counted(self) -> None:
        self.assert_too_long(False, b".." + b"x" * 9 + b"\r\n", 10)
        self.assert_too_long(True, b".." + b"x" * 10 + b"\r\n", 10)

    def test_rfc5321_4_5_3_1_6_a_bare_newline_ends_no_line(self) -> None:
        self.assert_too_long(True, b"xxxxx\nxxxxx\r\n", 10)
        self.assert_too_long(True, b"xxxxx\rxxxxx\r\n", 10)

    def test_rfc5321_4_5_3_1_6_every_line_is_looked_at(self) -> None:
        lines = b"xxxxx\r\n" * 100
        self.assert_too_long(False, lines, 5)
        self.assert_too_long(True, lines + b"xxxxxx\r\n" + lines, 5)

    def test_rfc5321_4_5_3_1_6_a_line_without_an_end_is_found_before_it_ends(self) -> None:
        stream = DotStream(line_limit=1000)
        for _ in range(11):
            stream.feed(b"x" * 100)
        self.assertTrue(stream.line_too_long)

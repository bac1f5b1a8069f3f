"""Replies, however they are cut."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support import cuts
from twistsmtp.client.errors import ProtocolError
from twistsmtp.client.replies import LINE_LIMIT, LINES, ReplyReader
from twistsmtp.wire.reply import Reply

#: Pieces of which all sorts of replies can be made, good and bad.
PIECES = [
    b"250 2.1.0 OK\r\n",
    b"250-first\r\n",
    b"250 last\r\n",
    b"250\r\n",
    b"354 Go on\r\n",
    b"550-5.1.1 No\r\n",
    b"550 5.1.1 such user\r\n",
    b"550 2.1.1 other class\r\n",
    b"220 \xc3\xa9\x1b[1m\r\n",
    b"421 4.3.2 Bye\r\n",
    b"bad\r\n",
    b"250 bare\n",
    b"250 a\rb\r\n",
    b"250-",
    b"\r\n",
    b"x" * 300,
]


def read(*pieces: bytes, line_limit: int = LINE_LIMIT) -> list[Reply | str]:
    """The replies in *pieces*, and the error's text that ends them."""
    reader = ReplyReader(line_limit)
    told: list[Reply | str] = []
    for piece in pieces:
        reader.feed(piece)
        try:
            while (reply := reader.next()) is not None:
                told.append(reply)
        except ProtocolError as error:
            if not told or told[-1] != str(error):
                told.append(str(error))
    return told


class ReplyTests(SynchronousTestCase):
    def test_one_line(self) -> None:
        self.assertEqual(read(b"250 2.1.0 Sender OK\r\n"), [Reply(250, "2.1.0", "Sender OK")])
        self.assertEqual(read(b"220 mx.test ESMTP\r\n"), [Reply(220, "", "mx.test ESMTP")])

    def test_without_text(self) -> None:
        """RFC 5321 section 4.2.1: a client must take a code alone, too."""
        for line in (b"250\r\n", b"250 \r\n"):
            self.assertEqual(read(line), [Reply(250, "", "")])
        self.assertEqual(read(b"250 2.0.0\r\n"), [Reply(250, "2.0.0", "")])

    def test_several_lines(self) -> None:
        self.assertEqual(read(b"250-a\r\n250-\r\n250 b\r\n"), [Reply(250, "", "a\n\nb")])

    def test_enhanced_code_on_each_line(self) -> None:
        self.assertEqual(read(b"550-5.1.1 No\r\n550-5.1.1\r\n550 such\r\n"), [Reply(550, "5.1.1", "No\n\nsuch")])

    def test_enhanced_code_of_another_class(self) -> None:
        """It means nothing, and stays text."""
        self.assertEqual(read(b"250 5.1.1 odd\r\n"), [Reply(250, "", "5.1.1 odd")])
        self.assertEqual(read(b"250 2.1.1234 odd\r\n"), [Reply(250, "", "2.1.1234 odd")])

    def test_text_is_printable(self) -> None:
        [reply] = read(b"550 \x1b[31mn\xc3\xb6\x00 \xff\r\n")
        assert isinstance(reply, Reply)
        self.assertEqual(reply.text, "\\x1b[31mn\\xf6\\x00 \\xff")

    def test_malformed(self) -> None:
        for line in (
            b"250 bare\n",
            b"250 a\rb\r\n",
            b"250 a\r\r\n",
            b"\r\n",
            b"25 x\r\n",
            b"2500 x\r\n",
            b"150 x\r\n",
            b"650 x\r\n",
            b"250x\r\n",
            b"250\tx\r\n",
            b" 250 x\r\n",
            b"HTTP/1.1 400 Bad Request\r\n",
            b"250-a\r\n251 b\r\n",
            b"250-a\r\n\r\n",
        ):
            [error] = read(line)
            self.assertIsInstance(error, str, line)

    def test_nothing_behind_an_error(self) -> None:
        told = read(b"250 a\r\nbad\r\n250 b\r\n", b"250 c\r\n")
        self.assertEqual(told, [Reply(250, "", "a"), "not a line of a reply: bad\\x0d\\x0a"])

    def test_bounds(self) -> None:
        longest = b"250 " + b"x" * (LINE_LIMIT - 6) + b"\r\n"
        [reply] = read(longest)
        assert isinstance(reply, Reply)
        self.assertEqual(len(reply.text), LINE_LIMIT - 6)
        self.assertEqual(read(b"250 x" + longest[4:]), ["a line of its reply is too long"])
        self.assertEqual(read(b"2" * LINE_LIMIT), ["a line of its reply has no end"])
        self.assertIsInstance(read(b"250-x\r\n" * (LINES - 1) + b"250 x\r\n")[0], Reply)
        self.assertEqual(read(b"250-x\r\n" * LINES), ["a reply of too many lines"])

    def test_a_flood_is_not_kept(self) -> None:
        reader = ReplyReader()
        reader.feed(b"250 x\r\n" * 5000)
        with self.assertRaises(ProtocolError):
            while reader.next() is not None:
                pass

    def test_empty(self) -> None:
        reader = ReplyReader()
        self.assertTrue(reader.empty)
        for octets in (b"2", b"50-a\r\n", b"250 b\r\n"):
            reader.feed(octets)
            self.assertFalse(reader.empty)
        reader.next()
        self.assertTrue(reader.empty)

    @given(st.lists(st.sampled_from(PIECES), max_size=8).map(b"".join), st.lists(st.integers(0, 2000), max_size=6))
    def test_any_cut(self, octets: bytes, positions: list[int]) -> None:
        """The same replies and the same error, however the octets come."""
        self.assertEqual(read(octets), read(*cuts(octets, positions)))

    @given(
        st.integers(200, 599),
        st.lists(st.text(st.characters(codec="utf-8"), max_size=30), min_size=1, max_size=5),
    )
    def test_what_a_server_of_ours_says(self, code: int, texts: list[str]) -> None:
        """A reply comes back as it is, but for what is made printable."""
        said = Reply(code, "", "\n".join(text.replace("\n", " ") for text in texts))
        self.assertEqual([each.octets for each in read(said.octets) if isinstance(each, Reply)], [said.octets])

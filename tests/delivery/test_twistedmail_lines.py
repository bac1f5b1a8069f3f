"""Deliveries of twisted.mail: the lines that their message objects are given."""

from itertools import pairwise
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from tests.delivery.twistedmail import JOE, SUE, AdapterTestCase, answer
from twistsmtp.wire.dotstream import BareNewline


class LinesTests(AdapterTestCase):
    def lines_of(self, *chunks: bytes) -> list[bytes]:
        """The lines that a message is given behind its header: begin() to commit()."""
        self.delivery.calls.clear()
        self.delivery.received = None
        transaction = self.opened()
        for chunk in chunks:
            self.assertIsNone(answer(transaction.write(chunk)))
        self.assertIsNone(answer(transaction.commit()))
        return self.delivery.lines()

    @given(
        st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"x", b"yy", b".", b": "]).map(bytes), max_size=12), st.data()
    )
    @example([b"\r", b"\n"], None)
    def test_any_cut(self, pieces: list[bytes], data: Any) -> None:
        self.session = self.new_session(bare_newline=BareNewline.ACCEPT)
        body = b"a: b\r\n" + b"".join(pieces) + b"\r\n"
        cuts = range(len(body)) if data is None else data.draw(st.sets(st.integers(0, len(body))))
        edges = [0, *sorted(cuts), len(body)]
        chunks = [body[start:stop] for start, stop in pairwise(edges)]
        self.assertEqual(self.lines_of(*chunks), body.split(b"\r\n")[:-1])

    def test_bare_newlines(self) -> None:
        """As BDAT may bring them; a delivery of lines cannot have them."""
        for chunks, found in (
            ([b"a: b\r\nc\nd\r\n"], "LF"),
            ([b"a: b\r\nc\n", b"d\r\n"], "LF"),
            ([b"a: b\r\nc\r", b"d\r\n"], "CR"),
            ([b"a: b\r\n\r\r\n"], "CR"),
            ([b"a: b\r\nc\nd"], "LF"),
            ([b"a: b\r\nc\r"], "CR"),
        ):
            self.delivery.calls.clear()
            transaction = self.opened(JOE, SUE)

            def give(transaction: Any = transaction, chunks: list[bytes] = chunks) -> Any:
                for chunk in chunks:
                    transaction.write(chunk)
                return transaction.commit()

            expected = f"550 5.6.0 Message holds a bare {found}: lines end with CRLF (RFC 5321 section 2.3.8)"
            self.assertEqual(self.refusal(give), expected, chunks)
            self.assertEqual(self.delivery.said("lost", "eom"), [(b"joe", "lost"), (b"sue", "lost")], chunks)

    def test_end_without_crlf(self) -> None:
        self.assertEqual(self.lines_of(b"a: b\r\n\r\nc", b"d"), [b"a: b", b"", b"cd"])

    def test_empty_message(self) -> None:
        self.assertEqual(self.lines_of(), [])

    def test_body_without_header(self) -> None:
        self.assertEqual(self.lines_of(b"Hello\r\nJoe\r\n"), [b"", b"Hello", b"Joe"])
        self.assertEqual(self.lines_of(b"\r\nHello\r\n"), [b"", b"Hello"])
        self.assertEqual(self.lines_of(b"a: b\r\nHello\r\n"), [b"a: b", b"Hello"])
        self.assertEqual(self.lines_of(b"Hello"), [b"", b"Hello"])

    def test_line_without_end(self) -> None:
        self.session = self.new_session(message_line=1000)
        transaction = self.opened(JOE, SUE)
        transaction.write(b"x" * 600 + b"\r\n" + b"x" * 999)
        transaction.write(b"x\r")
        refusal = self.refusal(transaction.write, b"x")
        self.assertEqual(refusal, "554 5.6.0 A line of the message exceeds the limit of 1000 octets")
        transaction.abort()
        self.assertEqual(self.delivery.said("lost"), [(b"joe", "lost"), (b"sue", "lost")])

    def test_line_of_the_limit_in_single_octets(self) -> None:
        self.session = self.new_session(message_line=1000)
        line = b":" * 1000
        self.assertEqual(self.lines_of(*[line[:1]] * 1000, b"\r", b"\n"), [line])

"""Messages, however their octets come."""

import os
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.config import Config
from twistsmtp.limits import Limits
from twistsmtp.workers.messages import LOG, MOST, Frames, Start, frame, pack, read_start, say, unpack

START = Start(
    number=2,
    config=Config(auth=("memory:ada:secret",), limits=Limits(hops=7), routes=(("a.test", ("discard:",)),)),
    reactor="twisted.internet.epollreactor",
    log_format="json",
    workers=4,
    memory=3,
    sockets=(4, 5),
)


class FrameTests(SynchronousTestCase):
    @given(st.lists(st.binary(max_size=100)), st.lists(st.integers(1, 50)))
    def test_any_pieces(self, messages: list[bytes], sizes: list[int]) -> None:
        received: list[bytes] = []
        frames = Frames(received.append)
        octets = b"".join(map(frame, messages))
        for size in sizes:
            frames.feed(octets[:size])
            octets = octets[size:]
        frames.feed(octets)
        self.assertEqual(received, messages)

    def test_too_long(self) -> None:
        octets = (MOST + 1).to_bytes(4, "big")
        self.assertRaises(ValueError, Frames(lambda _: None).feed, octets)

    def test_a_receiver_that_fails(self) -> None:
        """Nothing is received twice."""
        received: list[bytes] = []

        def fail(message: bytes) -> None:
            received.append(message)
            raise ValueError("no")

        frames = Frames(fail)
        self.assertRaises(ValueError, frames.feed, frame(b"a"))
        self.assertRaises(ValueError, frames.feed, frame(b"b"))
        self.assertEqual(received, [b"a", b"b"])


class StartTests(SynchronousTestCase):
    def test_all_of_it(self) -> None:
        """The configuration is as it was, to the last limit; what comes behind is left for others to read."""
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        os.write(write, pack(START) + b"more")
        os.close(write)
        self.assertEqual(read_start(read), START)
        self.assertEqual(os.read(read, 10), b"more")

    def test_the_parent_is_gone(self) -> None:
        for octets in b"", pack(START)[:-1]:
            read, write = os.pipe()
            os.write(write, octets)
            os.close(write)
            self.assertRaises(EOFError, read_start, read)
            os.close(read)

    def test_no_secret_is_shown(self) -> None:
        self.assertNotIn("secret", repr(replace(START, number=1)))


class SayingTests(SynchronousTestCase):
    def said(self, octets: bytes) -> object:
        """What the parent makes of it."""
        received: list[bytes] = []
        Frames(received.append).feed(octets)
        [message] = received
        return unpack(message)

    def test_both(self) -> None:
        self.assertEqual(self.said(frame(LOG + "grüß\n".encode())), "grüß\n")
        self.assertEqual(self.said(say("failed", why="no\nroom")), {"kind": "failed", "why": "no\nroom"})

    def test_nonsense(self) -> None:
        for message in b"", b"J", b"J[]", b"J{", b"\x80\x04N.":
            self.assertRaises(ValueError, unpack, message)

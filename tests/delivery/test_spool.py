"""A message that is kept until it is whole."""

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.delivery.kit import Threads as FakeThreads
from tests.delivery.kit import new_session
from twistsmtp.delivery.api import Refusal
from twistsmtp.delivery.discard import Discard
from twistsmtp.delivery.spool import CHUNK, PIECE, LineFeeds, Spool, Threads

MANY = bytes(range(256)) * (CHUNK // 256)


def open_files() -> int:
    return len(os.listdir("/dev/fd"))


class LineFeedsTests(SynchronousTestCase):
    @given(st.lists(st.text("\r\na").map(str.encode)))
    def test_however_it_is_cut(self, pieces: list[bytes]) -> None:
        lines = LineFeeds()
        got = b"".join(map(lines.feed, pieces)) + lines.end()
        self.assertEqual(b"".join(pieces).replace(b"\r\n", b"\n"), got)


class SpoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.threads = FakeThreads()
        self.before = open_files()
        self.spool = Spool(new_session(Discard()), Threads(self.threads.reactor, self.threads))

    def fill(self, *pieces: bytes) -> bytes:
        for each in pieces:
            written = self.spool.write(each)
            if written is not None:
                self.successResultOf(written)
        return b"".join(pieces)

    def read(self) -> bytes:
        got: list[bytes] = []
        while octets := self.now(self.spool.read(sum(map(len, got)))):
            self.assertLessEqual(len(octets), PIECE)
            got.append(octets)
        return b"".join(got)

    def now(self, value: Any) -> Any:
        return self.successResultOf(value) if isinstance(value, Deferred) else value

    def opened(self) -> bytes:
        descriptor = self.successResultOf(Deferred.fromCoroutine(self.spool.open()))
        with open(descriptor, "rb") as file:
            return file.read()

    def test_small(self) -> None:
        """It needs no file and no thread."""
        octets = self.fill(b"a", b"", b"bc")
        self.assertEqual((octets, octets, 3), (self.read(), b"".join(self.spool.pieces()), self.spool.size))
        self.assertEqual((0, None), (self.threads.count, self.spool._file))

    def test_large(self) -> None:
        """It is in a file, that nobody else can find, and that is gone in the end."""
        folder = Path(self.mktemp())
        folder.mkdir()
        self.patch(tempfile, "tempdir", str(folder))
        octets = self.fill(MANY, b"x", MANY, b"y" * (PIECE + 1))
        self.assertEqual(octets, self.read())
        self.assertEqual(octets, b"".join(self.spool.pieces()))
        self.assertEqual(([], self.before + 1), (list(folder.iterdir()), open_files()))
        self.spool.close()
        self.assertEqual(self.before, open_files())

    def test_opened(self) -> None:
        """Each has a descriptor of its own, from the beginning."""
        for more in ((b"a", b"b"), (MANY, MANY, b"c"), ()):
            self.fill(*more)
            octets = b"".join(self.spool.pieces())
            self.assertEqual([octets, octets], [self.opened(), self.opened()])
        descriptor = self.successResultOf(Deferred.fromCoroutine(self.spool.open()))
        self.addCleanup(os.close, descriptor)
        self.assertRaises(OSError, os.write, descriptor, b"not to be written")

    def test_no_such_folder(self) -> None:
        """Where there is no /dev/fd, it is read from its beginning all the same."""
        octets = self.fill(MANY, b"x")
        real = os.open
        self.patch(os, "open", lambda path, *args: real("/nowhere" if "/dev/fd" in str(path) else path, *args))
        self.assertEqual([octets, octets], [self.opened(), self.opened()])

    def test_closed_while_written(self) -> None:
        """A file is not closed under a thread that writes to it."""
        self.threads.at_once = False
        self.fill(MANY)
        written: Any = self.spool.write(b"x")
        written.cancel()
        self.spool.close()
        self.threads.run()
        self.failureResultOf(written, CancelledError)
        self.assertEqual(self.before, open_files())

    def test_no_room(self) -> None:
        """A full disk is 452; other errors stay what they are."""
        for code, kind in ((errno.ENOSPC, Refusal), (errno.EDQUOT, Refusal), (errno.EIO, OSError)):

            def fail(*args: object, code: int = code) -> int:
                raise OSError(code, os.strerror(code))

            self.patch(os, "pwrite", fail)
            spool = Spool(new_session(Discard()), Threads(self.threads.reactor, self.threads))
            error = self.failureResultOf(spool.write(MANY + b"x"), kind).value
            spool.close()
            if isinstance(error, Refusal):
                self.assertEqual(452, error.reply.code)
        self.assertEqual(self.before, open_files())


class ThreadsTests(TestCase):
    async def test_real(self) -> None:
        """The reactor's own threads."""
        self.assertEqual(7, await Threads()(sum, [3, 4]))

    def test_after_the_end(self) -> None:
        """When the threads have ended, what is left is done at once."""
        pool = FakeThreads()
        pool.joined = True
        self.assertEqual(7, self.successResultOf(Threads(pool.reactor)(sum, [3, 4])))

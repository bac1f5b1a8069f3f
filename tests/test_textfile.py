"""Files that are read again when they change."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.support import logged
from twistsmtp.textfile import BadLines, TextFile, parse_lines, stamp_of


def words(octets: bytes) -> list[str]:
    """A parser: one word a line."""
    found: list[str] = []

    def parse(line: str) -> None:
        if " " in line:
            raise ValueError("two words")
        found.append(line)

    parse_lines(octets, parse)
    return found


def at_once(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    """In place of `deferToThread`."""
    try:
        return succeed(function(*arguments))
    except Exception:
        return fail()


class Threads:
    """In place of `deferToThread`: functions are called when the test has them called."""

    def __init__(self) -> None:
        self.begun: list[tuple[Deferred[Any], Callable[[], Any]]] = []

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        self.begun.append((answer, lambda: function(*arguments)))
        return answer

    def finish(self) -> None:
        begun, self.begun = self.begun, []
        for answer, function in begun:
            at_once(function).chainDeferred(answer)


class LinesTests(SynchronousTestCase):
    def test_lines(self) -> None:
        octets = "\ufeffone\r\n\r\n# two\n  # three\n \t\n\u00fc\u2028x\nlast".encode()
        self.assertEqual(["one", "\u00fc\u2028x", "last"], words(octets))
        self.assertEqual([], words(b""))

    def test_bad_lines(self) -> None:
        """All are named, and the others are parsed."""
        parsed: list[str] = []

        def parse(line: str) -> None:
            parsed.append(line)
            if line == "bad":
                raise ValueError("why")

        error = self.assertRaises(BadLines, parse_lines, b"bad\ngood\n#\n\xff\n", parse)
        self.assertEqual({1: "why", 4: "not UTF-8"}, error.problems)
        self.assertEqual("line 1: why; line 4: not UTF-8", str(error))
        self.assertEqual(["bad", "good"], parsed)

    def test_many_bad_lines(self) -> None:
        error = self.assertRaises(BadLines, words, b"a b\n" * 7)
        self.assertEqual(7, len(error.problems))
        self.assertTrue(str(error).endswith("line 5: two words; and 2 more"), str(error))

    @given(st.binary())
    def test_anything(self, octets: bytes) -> None:
        """Nothing else is raised, whatever a file has, and no line comes twice."""
        try:
            found = words(octets)
        except BadLines as error:
            self.assertLessEqual(max(error.problems), octets.count(b"\n") + 1)
        else:
            self.assertLessEqual(sum(map(len, found)), len(octets))


class StampTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def test_the_same(self) -> None:
        self.assertIsNone(stamp_of(self.path))
        self.path.write_bytes(b"x")
        self.assertEqual(stamp_of(self.path), stamp_of(self.path))

    def test_another_size_or_time(self) -> None:
        seen = set()
        for octets, time in (b"x", 1), (b"xy", 1), (b"xy", 2):
            self.path.write_bytes(octets)
            os.utime(self.path, (time, time))
            seen.add((stamp_of(self.path) or ())[::3])  # without those of the file system's own
        self.assertEqual(len(seen), 3)

    def test_a_link_that_leads_elsewhere(self) -> None:
        """As certbot renews."""
        for name in "1", "2":
            Path(f"{self.path}{name}").write_bytes(b"x")
        self.path.symlink_to(f"{self.path.name}1")
        before = stamp_of(self.path)
        self.path.unlink()
        self.path.symlink_to(f"{self.path.name}2")
        self.assertNotEqual(stamp_of(self.path), before)

    def test_another_mode(self) -> None:
        """One that becomes readable. The clock of a file system goes in steps."""
        self.path.write_bytes(b"x")
        before, when = stamp_of(self.path), self.path.stat().st_ctime_ns
        while self.path.stat().st_ctime_ns == when:
            self.path.chmod(0o640)
        self.assertNotEqual(stamp_of(self.path), before)


class FileCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.clock = Clock()
        self.times = iter(range(1, 1000))
        self.threads = Threads()

    def write(self, text: str) -> None:
        """Change the file, so that it shows."""
        self.path.write_text(text)
        time = next(self.times) * 10**9
        os.utime(self.path, ns=(time, time))

    def file(self, text: str = "one\n", in_thread: Any = at_once) -> TextFile[list[str]]:
        self.write(text)
        return TextFile(self.path, words, seconds=self.clock.seconds, in_thread=in_thread)

    def have(self, file: TextFile[list[str]], *expected: str) -> None:
        """It has this, at once."""
        self.assertEqual(list(expected), file.current())


class ReadTests(FileCase):
    def test_begin(self) -> None:
        file = self.file("one\ntwo\n")
        self.assertEqual(["one", "two"], file.content)
        self.have(file, "one", "two")

    def test_no_file(self) -> None:
        self.assertRaises(FileNotFoundError, TextFile, self.path, words)

    def test_in_another_folder(self) -> None:
        """A server that becomes a daemon goes to another."""
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(self.path.parent)
        self.write("one\n")
        file = TextFile(self.path.name, words, seconds=self.clock.seconds, in_thread=at_once)
        os.chdir("/")
        self.write("two\n")
        self.clock.advance(1)
        self.have(file, "two")

    def test_broken(self) -> None:
        error = self.assertRaises(ValueError, self.file, "one\na b\n")
        self.assertEqual(f"{self.path}: line 2: two words", str(error))

    def test_changed(self) -> None:
        file = self.file()
        self.write("two\n")
        self.clock.advance(1)
        with logged("twistsmtp.textfile") as events:
            self.have(file, "two")
        self.assertEqual([f"{self.path} has changed, and was read again"], [formatEvent(each) for each in events])

    def test_reload(self) -> None:
        """At once, whether it has changed or not, and what is wrong is said again."""
        file = self.file()
        self.write("two\n")
        with logged("twistsmtp.textfile") as events:
            file.reload()
            self.assertEqual(file.content, ["two"])
            file.reload()
            self.path.unlink()
            for _ in range(2):
                file.reload()
        said = [formatEvent(each).removeprefix(f"{self.path} ") for each in events]
        self.assertEqual(said[:2], ["has changed, and was read again", "is as it was, and was read again"])
        self.assertEqual([each[:18] for each in said[2:]], ["was not read again"] * 2)
        self.assertEqual(file.content, ["two"])

    def test_replaced(self) -> None:
        """A file that differs in nothing but that it is another."""
        file = self.file()
        other = Path(self.mktemp())
        other.write_text("two\n")
        status = self.path.stat()
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        other.rename(self.path)
        self.clock.advance(1)
        self.have(file, "two")

    def test_looks_once_a_second(self) -> None:
        looks: list[str] = []
        real = os.stat

        def stat(path: Any, **options: Any) -> os.stat_result:
            looks.append(str(path))
            return real(path, **options)

        self.patch(os, "stat", stat)
        file = self.file()
        looks.clear()
        for _ in range(30):
            self.clock.advance(0.125)
            self.have(file, "one")
        self.assertEqual([str(self.path)] * 3, looks)

    def test_change_within_the_second(self) -> None:
        file = self.file()
        self.write("two\n")
        self.clock.advance(0.875)
        self.have(file, "one")
        self.clock.advance(0.125)
        self.have(file, "two")

    def test_unchanged_is_not_read(self) -> None:
        file = self.file(in_thread=self.threads)
        self.clock.advance(1000)
        self.have(file, "one")
        self.assertEqual([], self.threads.begun)


class TroubleTests(FileCase):
    def look(self, file: TextFile[list[str]], *expected: str) -> list[str]:
        """What is logged when it is looked at, a second later."""
        self.clock.advance(1)
        with logged("twistsmtp.textfile") as events:
            self.have(file, *expected)
        return [f"{event['log_level'].name} {formatEvent(event)}" for event in events]

    def test_broken(self) -> None:
        """What was read before stays, and the log has the line, once."""
        file = self.file()
        self.write("two\na b\n\x1b[2J \n")
        stays = f"error {self.path} was not read again, and what was read before stays in use: "
        self.assertEqual([stays + "line 2: two words; line 3: two words"], self.look(file, "one"))
        self.assertEqual([], self.look(file, "one"))
        self.write("two\n")
        self.assertEqual([f"info {self.path} has changed, and was read again"], self.look(file, "two"))

    def test_gone(self) -> None:
        file = self.file()
        self.path.unlink()
        [line] = self.look(file, "one")
        self.assertIn("No such file or directory", line)
        self.assertIsInstance(file.error, FileNotFoundError)
        self.assertEqual([], self.look(file, "one"))
        self.write("two\n")
        self.assertEqual(1, len(self.look(file, "two")))
        self.assertIsNone(file.error)

    def test_not_ours_to_read(self) -> None:
        """It is tried again each second, as what is wrong is not in the file; and said once."""
        file = self.file()
        self.path.unlink()
        self.path.mkdir()  # which not even root can read as a file
        self.assertEqual(1, len(self.look(file, "one")))
        self.assertEqual([], self.look(file, "one"))
        self.assertIsInstance(file.error, IsADirectoryError)
        self.path.rmdir()
        self.write("bro ken\n")
        self.assertEqual(1, len(self.look(file, "one")))
        self.assertIsNone(file.error)

    def test_mended_without_a_change(self) -> None:
        """What was wrong was not the file, and so the file does not show that it is right now."""
        file = self.file()
        self.write("two\n")
        real, errors = file._read, [OSError(5, "Input/output error"), OSError(5, "Input/output error")]

        def read() -> list[str]:
            if errors:
                raise errors.pop()
            return real()

        self.patch(file, "_read", read)
        self.assertEqual(1, len(self.look(file, "one")))
        self.assertEqual([], self.look(file, "one"))
        self.assertEqual(1, len(self.look(file, "two")))

    def test_parser_fails(self) -> None:
        """In a way that it did not choose: the log has the traceback, and nobody waits forever."""
        file = self.file()
        self.patch(file, "_parse", lambda octets: octets.nothing)
        self.write("two\n")
        self.clock.advance(1)
        self.have(file, "one")
        self.assertEqual(1, len(self.flushLoggedErrors(AttributeError)))
        self.have(file, "one")

    def test_no_thread(self) -> None:
        def none(function: object) -> Deferred[Any]:
            raise RuntimeError("no threads any more")

        file = self.file(in_thread=none)
        self.write("two\n")
        self.clock.advance(1)
        self.have(file, "one")
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))


class WaitTests(FileCase):
    """Reading takes time."""

    def wait(self, file: TextFile[list[str]], count: int) -> list[Deferred[list[str]]]:
        """As many ask, and get no answer yet."""
        answers = [file.current() for _ in range(count)]
        waiting = [each for each in answers if isinstance(each, Deferred)]
        self.assertEqual(count, len(waiting))
        for each in waiting:
            self.assertNoResult(each)
        return waiting

    def changed(self) -> TextFile[list[str]]:
        file = self.file(in_thread=self.threads)
        self.write("two\n")
        self.clock.advance(1)
        return file

    def test_all_wait(self) -> None:
        """Nobody who comes when a change was seen gets what was before, and the file is read once. They may be many:
        more than Python's stack has room for."""
        file = self.changed()
        waiting = self.wait(file, 3000)
        self.assertEqual(1, len(self.threads.begun))
        self.threads.finish()
        self.assertEqual([["two"]] * 3000, [self.successResultOf(each) for each in waiting])
        self.have(file, "two")

    def test_longer_than_a_second(self) -> None:
        file = self.changed()
        [first] = self.wait(file, 1)
        self.clock.advance(5)
        [second] = self.wait(file, 1)
        self.threads.finish()
        self.assertEqual([["two"]] * 2, [self.successResultOf(each) for each in (first, second)])

    def test_changed_while_it_is_read(self) -> None:
        """It is not read twice at once, but once more, later."""
        file = self.changed()
        [first] = self.wait(file, 1)
        self.write("three\n")
        self.clock.advance(1)
        [second] = self.wait(file, 1)
        self.assertEqual(1, len(self.threads.begun))
        self.threads.finish()
        self.assertEqual([["three"]] * 2, [self.successResultOf(each) for each in (first, second)])
        [third] = self.wait(file, 1)
        self.threads.finish()
        self.assertEqual(["three"], self.successResultOf(third))

    def test_changed_behind_it(self) -> None:
        file = self.changed()
        self.wait(file, 1)
        self.threads.finish()
        self.write("three\n")
        self.clock.advance(1)
        [late] = self.wait(file, 1)
        self.threads.finish()
        self.assertEqual(["three"], self.successResultOf(late))

    def test_one_goes_away(self) -> None:
        """The others have their answer all the same."""
        file = self.changed()
        first, second = self.wait(file, 2)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertNoResult(second)
        self.threads.finish()
        self.assertEqual(["two"], self.successResultOf(second))

    def test_broken(self) -> None:
        file = self.changed()
        self.write("a b\n")
        [waiting] = self.wait(file, 1)
        self.threads.finish()
        self.assertEqual(["one"], self.successResultOf(waiting))

    def test_asked_again_by_who_has_waited(self) -> None:
        file = self.changed()
        [waiting] = self.wait(file, 1)
        again = waiting.addCallback(lambda _: file.current())
        self.threads.finish()
        self.assertEqual(["two"], self.successResultOf(again))


class ThreadTests(TestCase):
    """With Twisted's own threads."""

    async def test_thread(self) -> None:
        path = Path(self.mktemp())
        path.write_text("one\n")
        clock = Clock()
        file = TextFile(path, words, seconds=clock.seconds)
        path.write_text("one\ntwo\n")
        clock.advance(1)
        answer = file.current()
        assert isinstance(answer, Deferred)
        self.assertEqual(["one", "two"], await answer)

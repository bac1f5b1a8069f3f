"""The files of Maildirs: their order, and what is left of them when something goes wrong."""

import errno
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from tests.delivery.kit import Disk, files
from twistsmtp.delivery import maildir_files
from twistsmtp.delivery.maildir_files import (
    STALE,
    Draft,
    Withdrawn,
    is_maildir,
    make_folder,
    make_maildir,
    remove_stale,
    unique_name,
)


class FilesTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir()
        self.boxes = 0

    def watch(self) -> Disk:
        disk = Disk(self.root)
        self.patch(maildir_files, "os", disk)
        return disk

    def new_maildir(self, name: str = "a") -> str:
        path = str(self.root / name)
        make_maildir(path, str(self.root))
        return path


class FolderTests(FilesTestCase):
    def test_is_maildir(self) -> None:
        path = self.new_maildir()
        self.assertTrue(is_maildir(path))
        for part in ("cur", "new", "tmp"):
            (self.root / "a" / part).rename(self.root / "elsewhere")
            self.assertFalse(is_maildir(path))
            (self.root / "elsewhere").rename(self.root / "a" / part)

    def test_what_is_no_maildir(self) -> None:
        (self.root / "file").touch()
        for name in ("file", "missing", "missing/below", "file/below", "x" * 256):
            self.assertFalse(is_maildir(str(self.root / name)))

    def test_not_to_know_is_not_to_be_without(self) -> None:
        """Mail must not be refused for good because a disk has an error."""
        (self.root / "loop").symlink_to("loop")
        with self.assertRaises(OSError):
            is_maildir(str(self.root / "loop"))

    def test_make_maildir(self) -> None:
        """Each folder reaches the disk before the one in it is made, and all are for the owner alone."""
        disk = self.watch()
        path = str(self.root / "two.example" / "joe")
        make_maildir(path, str(self.root))
        calls = [call for call in disk.calls if not call.startswith(("open", "close"))]
        self.assertEqual(
            calls,
            [
                "mkdir two.example",
                "fsync .",
                "mkdir two.example/joe",
                "fsync two.example",
                "mkdir two.example/joe/tmp",
                "mkdir two.example/joe/new",
                "mkdir two.example/joe/cur",
                "fsync two.example/joe",
            ],
        )
        self.assertEqual(disk.open_files, {})
        for made, _, _ in os.walk(self.root / "two.example"):
            self.assertEqual(os.stat(made).st_mode & 0o777, 0o700)

    def test_make_what_is_there(self) -> None:
        """It is synced all the same: who made it may not have come to that."""
        path = self.new_maildir()
        disk = self.watch()
        make_maildir(path, str(self.root))
        self.assertEqual([call for call in disk.calls if "fsync" in call], ["fsync .", "fsync a"])

    def test_make_folder(self) -> None:
        disk = self.watch()
        make_folder(str(self.root / "x" / "y"))
        calls = [call for call in disk.calls if not call.startswith(("open", "close"))]
        self.assertEqual(calls, ["mkdir x", "fsync .", "mkdir x/y", "fsync x"])

    def test_a_file_is_in_the_way(self) -> None:
        (self.root / "x").touch()
        with self.assertRaises(NotADirectoryError):
            make_maildir(str(self.root / "x"), str(self.root))

    def test_remove_stale(self) -> None:
        path = Path(self.new_maildir())
        now = (path / "tmp").stat().st_mtime
        for name, age in (("old", STALE + 60), ("young", STALE - 600)):
            for part in ("tmp", "new"):
                (path / part / name).touch()
                os.utime(path / part / name, (now - age, now - age))
        (path / "tmp" / "folder").mkdir()
        os.utime(path / "tmp" / "folder", (0, 0))
        remove_stale(str(path))
        self.assertEqual(sorted(os.listdir(path / "tmp")), ["folder", "young"])
        self.assertEqual(sorted(os.listdir(path / "new")), ["old", "young"])

    def test_remove_stale_needs_no_folder(self) -> None:
        remove_stale(str(self.root / "missing"))


class NameTests(FilesTestCase):
    def test_form(self) -> None:
        self.patch(socket, "gethostname", lambda: "mx/1:a")
        maildir_files._host.cache_clear()
        self.addCleanup(maildir_files._host.cache_clear)
        name = unique_name()
        self.assertRegex(name, rf"\A\d+\.M\d{{1,6}}P{os.getpid()}Q\d+\.mx\\0571\\072a\Z")

    def test_no_two_are_the_same(self) -> None:
        """Not even if the clock stands still."""
        self.patch(time, "time_ns", lambda: 10**18)
        self.assertEqual(len({unique_name() for _ in range(100)}), 100)

    def test_the_process_is_the_one_that_writes(self) -> None:
        """A daemon forks after the module was imported."""
        self.patch(os, "getpid", lambda: 4711)
        self.assertIn("P4711Q", unique_name())


class DraftTests(FilesTestCase):
    def draft(self, *names: str) -> Draft:
        folders = [self.new_maildir(name) for name in names or ("a",)]
        return Draft(lambda: folders)

    def test_order(self) -> None:
        """The octets reach the disk before the name does, and the name before there is an answer."""
        draft = self.draft()
        disk = self.watch()
        draft.publish(b"mail")
        self.assertEqual(
            disk.calls,
            [
                "open a/tmp/*",
                "write a/tmp/*",
                "fsync a/tmp/*",
                "close a/tmp/*",
                "rename a/tmp/* a/new/*",
                "open a/new",
                "fsync a/new",
                "close a/new",
            ],
        )
        self.assertEqual(files(self.root), [("a/new", b"mail")])

    def test_order_with_several(self) -> None:
        """All are safe before readers see the first."""
        draft = self.draft("a", "b", "c")
        disk = self.watch()
        draft.append(b"ma")
        draft.publish(b"il")
        self.assertEqual(
            [call for call in disk.calls if not call.startswith(("open", "close"))],
            [
                "write a/tmp/*",
                "write a/tmp/*",
                "fsync a/tmp/*",
                "link a/tmp/* b/tmp/*",
                "link a/tmp/* c/tmp/*",
                "rename a/tmp/* a/new/*",
                "rename b/tmp/* b/new/*",
                "rename c/tmp/* c/new/*",
                "fsync a/new",
                "fsync b/new",
                "fsync c/new",
            ],
        )
        self.assertEqual(files(self.root), [(f"{name}/new", b"mail") for name in "abc"])

    def test_copies_where_it_cannot_link(self) -> None:
        draft = self.draft("a", "b")
        disk = self.watch()
        disk.fail("link", errno.EXDEV)
        self.patch(maildir_files, "_CHUNK", 3)
        draft.publish(b"0123456789")
        self.assertLess(disk.calls.index("fsync b/tmp/*"), disk.calls.index("rename a/tmp/* a/new/*"))
        self.assertEqual(files(self.root), [("a/new", b"0123456789"), ("b/new", b"0123456789")])
        self.assertEqual(disk.open_files, {})

    def test_a_folder_is_written_to_once(self) -> None:
        draft = self.draft("a", "a", "b", "a")
        draft.publish(b"mail")
        self.assertEqual(files(self.root), [("a/new", b"mail"), ("b/new", b"mail")])

    def test_files_are_for_the_owner_alone(self) -> None:
        self.draft().publish(b"mail")
        (file,) = (self.root / "a" / "new").iterdir()
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)

    def test_writes_all_that_is_left(self) -> None:
        """The system may write less than it is given."""
        draft = self.draft()
        disk = self.watch()
        disk.at_once = 3
        draft.publish(b"0123456789")
        self.assertEqual(disk.written, [3, 3, 3, 1])
        self.assertEqual(files(self.root), [("a/new", b"0123456789")])

    def test_does_not_touch_a_file_of_the_same_name(self) -> None:
        """Names are unique, but for a clock and a process number that come again."""
        self.patch(maildir_files, "unique_name", lambda: "name")
        for taken in ("a", "b"):
            draft = self.draft("a", "b")
            for part in ("tmp", "new"):
                (self.root / taken / part / "name").write_bytes(b"other")
            self.assertRaises(FileExistsError, draft.publish, b"mail")
            self.assertEqual(files(self.root), [(f"{taken}/new", b"other"), (f"{taken}/tmp", b"other")])
            for part in ("tmp", "new"):
                (self.root / taken / part / "name").unlink()

    def test_the_folders_are_asked_for_once_and_not_before(self) -> None:
        asked: list[str] = []

        def folders() -> list[str]:
            asked.append("")
            return [str(self.root / "a")]

        self.new_maildir()
        draft = Draft(folders)
        self.assertEqual(len(asked), 0)
        draft.append(b"ma")
        draft.publish(b"il")
        self.assertEqual(len(asked), 1)


class FailureTests(FilesTestCase):
    """Whatever fails, and whenever somebody gives up: all or nothing."""

    def play(self, names: str, *, links: bool, at: int, act: Callable[[Draft], None]) -> tuple[Disk, str]:
        """Write a message to some Maildirs and *act* before call number *at*; what has become of it."""
        self.boxes += 1
        root = self.root / str(self.boxes)
        folders = [str(root / name) for name in names]

        def prepare() -> list[str]:
            for folder in folders:
                make_maildir(folder, str(root))
            return folders

        draft = Draft(prepare)

        def before(number: int) -> None:
            if number == at:
                act(draft)
            if not links and disk.calls[number].startswith("link"):
                raise OSError(errno.EPERM, "Operation not permitted")

        root.mkdir()
        disk = Disk(root)
        disk.before = before
        outcome = "published"
        with patch.object(maildir_files, "os", disk):
            try:
                draft.append(b"ma")
                draft.publish(b"il")
            except (OSError, Withdrawn) as error:
                outcome = type(error).__name__
        self.assertEqual(disk.open_files, {}, outcome)
        whole = [(f"{name}/new", b"mail") for name in names]
        self.assertEqual(files(root), whole if outcome == "published" else [], (at, outcome))
        return disk, outcome

    def moments(self, names: str, *, links: bool) -> int:
        """How many calls there are without a failure, and so how many moments for one."""
        disk, outcome = self.play(names, links=links, at=-1, act=lambda draft: None)
        self.assertEqual(outcome, "published")
        return len(disk.calls)

    def test_any_call_fails(self) -> None:
        def fail(draft: Draft) -> None:
            raise OSError(errno.EIO, "Input/output error")

        for names, links in (("a", True), ("abc", True), ("ab", False)):
            for at in range(self.moments(names, links=links)):
                _, outcome = self.play(names, links=links, at=at, act=fail)
                self.assertEqual(outcome, "OSError")

    def test_given_up_at_any_call(self) -> None:
        """Until the first rename there is nothing of it, from then on it is whole."""

        def give_up(draft: Draft) -> None:
            self.assertFalse(draft.withdraw(), "who is at work cleans up")

        for names, links in (("a", True), ("abc", True), ("ab", False)):
            for at in range(self.moments(names, links=links)):
                disk, outcome = self.play(names, links=links, at=at, act=give_up)
                self.assertEqual(outcome == "published", "rename" in " ".join(disk.calls[: at + 1]))

    def test_given_up_in_another_thread(self) -> None:
        """`withdraw` does not wait for the disk."""

        def give_up(draft: Draft) -> None:
            thread = threading.Thread(target=draft.withdraw)
            thread.start()
            thread.join(60)
            self.assertFalse(thread.is_alive())

        for at in range(self.moments("a", links=True)):
            self.play("a", links=True, at=at, act=give_up)

    def test_given_up_between_calls(self) -> None:
        path = self.new_maildir()
        draft = Draft(lambda: [path])
        draft.append(b"ma")
        self.assertTrue(draft.withdraw(), "who gives up cleans up")
        self.assertFalse(draft.withdraw(), "once")
        self.assertRaises(Withdrawn, draft.publish, b"il")
        self.assertEqual(files(self.root), [("a/tmp", b"ma")])
        draft.discard()
        self.assertEqual(files(self.root), [])

    def test_given_up_before_there_is_anything(self) -> None:
        path = self.new_maildir()
        draft = Draft(lambda: [path])
        self.assertFalse(draft.withdraw())
        self.assertRaises(Withdrawn, draft.publish, b"mail")
        self.assertEqual(files(self.root), [])

    def test_given_up_too_late(self) -> None:
        path = self.new_maildir()
        draft = Draft(lambda: [path])
        draft.publish(b"mail")
        self.assertFalse(draft.withdraw())
        draft.discard()
        self.assertEqual(files(self.root), [("a/new", b"mail")])

    def test_what_failed_is_not_published(self) -> None:
        """A message without its first octets is none."""
        path = self.new_maildir()
        draft = Draft(lambda: [path])
        disk = self.watch()
        disk.fail("write", errno.ENOSPC)
        self.assertRaises(OSError, draft.append, b"ma")
        disk.heal()
        self.assertRaises(Withdrawn, draft.publish, b"il")
        self.assertEqual(files(self.root), [])

    def test_what_a_reader_has_taken_stays(self) -> None:
        """A failure behind the rename takes back what is in new, and not what has gone to cur by then."""
        first, second = self.new_maildir("a"), self.new_maildir("b")
        draft = Draft(lambda: [first, second])
        disk = self.watch()

        def read_then_fail(number: int) -> None:
            if disk.calls[number].startswith("rename b/"):
                (file,) = (self.root / "a" / "new").iterdir()
                file.rename(self.root / "a" / "cur" / f"{file.name}:2,S")
                raise OSError(errno.EIO, "Input/output error")

        disk.before = read_then_fail
        self.assertRaises(OSError, draft.publish, b"mail")
        self.assertEqual(files(self.root), [("a/cur", b"mail")])


class CompatibilityTests(FilesTestCase):
    def test_the_standard_library_reads_it(self) -> None:
        import mailbox

        path = self.new_maildir()
        Draft(lambda: [path]).publish(b"Subject: x\r\n\r\nhello\r\n")
        (message,) = mailbox.Maildir(path, create=False)
        self.assertEqual(message["Subject"], "x")
        (key,) = mailbox.Maildir(path, create=False).keys()
        self.assertTrue(re.match(r"\d+\.M\d+P\d+Q\d+\.", key))

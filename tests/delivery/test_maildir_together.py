"""Messages that are made safe together: what they share, and what each has for itself."""

import errno
import itertools
import math
import os
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.delivery.kit import Disk, Threads, deliver, files, opened
from twistsmtp.delivery import maildir as maildir_module
from twistsmtp.delivery import maildir_files
from twistsmtp.delivery.api import Refusal
from twistsmtp.delivery.maildir import CHUNK, Maildir
from twistsmtp.delivery.maildir_files import Draft, Withdrawn, make_maildir, publish

JOE = "joe@two.example"
SUE = "sue@two.example"
MAIL = b"Subject: x\r\n\r\nhello\r\n"


class Record(Disk):
    """A disk that keeps when each call began and ended, with the names of messages."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.clock = itertools.count()
        #: Each call that did not fail.
        self.times: dict[str, list[tuple[int, int]]] = defaultdict(list)

    def _call(self, name: str, *args: Any) -> Any:
        paths = [arg for arg in args if isinstance(arg, str)] or [self.names[args[0]]]
        began = next(self.clock)
        result = super()._call(name, *args)
        self.times[" ".join([name, *(os.path.relpath(path, self.root) for path in paths)])].append(
            (began, next(self.clock))
        )
        if name == "open":
            self.names[result] = paths[0]
        return result

    @cached_property
    def names(self) -> dict[int, str]:
        """The paths of open files."""
        return {}

    def lacks(self, folders: Sequence[str], name: str, *, at: float = math.inf) -> str:
        """What the message *name* in *folders* lacks that is to survive a power cut at that time; else nothing."""
        first = folders[0]
        syncs = self.times[f"fsync {first}/tmp/{name}"]
        if not syncs or any(ended > syncs[0][0] for _, ended in self.times[f"write {first}/tmp/{name}"]):
            return "a sync of all its octets"
        for folder in folders:
            ((began, ended),) = self.times[f"rename {folder}/tmp/{name} {folder}/new/{name}"] or [(-1, -1)]
            if began < syncs[0][1]:
                return "a name in new that it got when its octets were safe"
            if not any(ended < start and end < at for start, end in self.times[f"fsync {folder}/new"]):
                return "a sync of its folder that began when it had its name there"
        return ""


def fail_second(disk: Disk, call: str, number: int) -> None:
    """Have no room for the second of the calls that begin with *call*."""
    calls = [each.startswith(call) for each in disk.calls]
    if calls[number] and sum(calls) == 2:
        raise OSError(errno.ENOSPC, "No space left on device")


class PublishTests(SynchronousTestCase):
    """Several drafts."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir()
        for name in "abc":
            make_maildir(str(self.root / name), str(self.root))

    def draft(self, names: str = "a") -> Draft:
        return Draft(lambda: [str(self.root / name) for name in names])

    def watch(self) -> Disk:
        disk = Disk(self.root)
        self.patch(maildir_files, "os", disk)
        return disk

    def test_nothing(self) -> None:
        self.assertEqual(publish([]), [])

    def test_order(self) -> None:
        """Each step for all of them before the next, and one sync of the folder."""
        disk = self.watch()
        self.assertEqual(publish([(self.draft(), b"one"), (self.draft(), b"two")]), [None, None])
        self.assertEqual(
            disk.calls,
            [
                *("open a/tmp/*", "write a/tmp/*") * 2,
                *("fsync a/tmp/*", "close a/tmp/*") * 2,
                *("rename a/tmp/* a/new/*",) * 2,
                *("open a/new", "fsync a/new", "close a/new"),
            ],
        )
        self.assertCountEqual(files(self.root), [("a/new", b"one"), ("a/new", b"two")])

    def test_each_folder_once(self) -> None:
        disk = self.watch()
        publish([(self.draft(names), b"mail") for names in ("a", "ab", "ba", "c")])
        syncs = [call for call in disk.calls if call.startswith("fsync") and "/new" in call]
        self.assertCountEqual(syncs, ["fsync a/new", "fsync b/new", "fsync c/new"])
        self.assertEqual(len(files(self.root)), 6)

    def test_one_that_fails_is_alone_with_it(self) -> None:
        for call in ("open", "write", "fsync a/tmp", "close a/tmp", "rename"):
            disk = self.watch()
            disk.before = lambda number, disk=disk, call=call: fail_second(disk, call, number)  # type: ignore[misc]
            outcomes = publish([(self.draft(), octets) for octets in (b"one", b"two", b"three")])
            self.assertEqual([type(outcome) for outcome in outcomes], [type(None), OSError, type(None)], call)
            self.assertCountEqual(files(self.root), [("a/new", b"one"), ("a/new", b"three")])
            self.assertEqual(disk.open_files, {})
            for file in (self.root / "a" / "new").iterdir():
                file.unlink()

    def test_a_folder_that_cannot_be_synced(self) -> None:
        """All that is in it fails, and it is not asked again: the system says so once, and forgets what it lost."""
        disk = self.watch()
        disk.fail("fsync a/new", errno.EIO)
        outcomes = publish([(self.draft(names), b"mail") for names in ("a", "b", "ba", "a")])
        self.assertEqual([type(outcome) for outcome in outcomes], [OSError, type(None), OSError, OSError])
        self.assertEqual(disk.calls.count("fsync a/new"), 1)
        self.assertEqual(files(self.root), [("b/new", b"mail")])
        self.assertEqual(disk.open_files, {})

    def test_one_that_was_given_up(self) -> None:
        drafts = [self.draft(), self.draft()]
        disk = self.watch()

        def give_up(number: int) -> None:
            if disk.calls[number].startswith("fsync"):
                drafts[1].withdraw()

        disk.before = give_up
        outcomes = publish([(draft, b"%d" % number) for number, draft in enumerate(drafts)])
        self.assertIsNone(outcomes[0])
        self.assertIsInstance(outcomes[1], Withdrawn)
        self.assertEqual(files(self.root), [("a/new", b"0")])

    @given(
        st.lists(st.tuples(st.sampled_from(["a", "b", "ab", "bca"]), st.binary(max_size=3)), max_size=5),
        st.sets(st.integers(0, 70), max_size=4),
        st.dictionaries(st.integers(0, 70), st.integers(0, 4), max_size=3),
    )
    def test_whatever_fails(self, mails: list[tuple[str, bytes]], failing: set[int], given_up: dict[int, int]) -> None:
        """What has succeeded is in all its Maildirs, safe; of the others nothing is left."""
        root = Path(self.mktemp()).absolute()
        root.mkdir()
        for name in "abc":
            make_maildir(str(root / name), str(root))
        drafts = [Draft(lambda names=names: [str(root / name) for name in names]) for names, _ in mails]  # type: ignore[misc]  # mypy knows no defaults
        disk = Record(root)

        def before(number: int) -> None:
            if number in given_up and given_up[number] < len(drafts):
                drafts[given_up[number]].withdraw()
            if number in failing and not disk.calls[number].startswith("unlink"):
                raise OSError(errno.EIO, "Input/output error")

        disk.before = before
        with patch.object(maildir_files, "os", disk):
            outcomes = publish([(draft, octets) for draft, (_, octets) in zip(drafts, mails, strict=True)])
        self.assertEqual(disk.open_files, {})
        expected = []
        for draft, outcome, (names, octets) in zip(drafts, outcomes, mails, strict=True):
            if outcome is None:
                expected += [(f"{name}/new", octets) for name in names]
                self.assertEqual(disk.lacks(names, draft._name), "")
        self.assertCountEqual(files(root), expected)


class BatchTests(TestCase):
    """The delivery, which hands them to threads."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir()
        self.threads = Threads(at_once=False)
        self.patch(maildir_module, "_TOGETHER", 3)
        self.patch(maildir_module, "_AT_A_TIME", 2)
        self.delivery = Maildir(self.root, create=True, reactor=self.threads.reactor)
        self.delivery.start()
        self.disk = Disk(self.root)
        self.patch(maildir_files, "os", self.disk)

    async def commit(self, mail: bytes = MAIL) -> "Deferred[None]":
        transaction: Any = await opened(self.delivery, JOE)
        transaction.write(mail)
        answer: Deferred[None] = transaction.commit()
        return answer

    async def test_who_comes_meanwhile_goes_together(self) -> None:
        """The first does not wait for others; those that come meanwhile wait for it, and go together."""
        answers = [await self.commit() for _ in range(3)]
        self.assertEqual(self.threads.count, 1)
        self.threads.run(1)
        self.successResultOf(answers[0])
        self.assertNoResult(answers[1])
        self.assertEqual(self.threads.count, 2)
        self.threads.run(1)
        for answer in answers[1:]:
            self.successResultOf(answer)
        self.assertEqual(self.disk.calls.count("fsync new"), 2)
        self.assertEqual(len(files(self.root)), 3)
        self.assertEqual(self.threads.waiting, [])

    async def test_another_thread_when_there_is_work_for_it(self) -> None:
        """And no more of them than so many."""
        counts = []
        answers = []
        for _ in range(12):
            answers.append(await self.commit())
            counts.append(self.threads.count)
        self.assertEqual(counts, [1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2])
        self.threads.run()
        for answer in answers:
            self.successResultOf(answer)
        self.assertEqual(self.threads.count, 5)
        self.assertEqual(len(files(self.root)), 12)

    async def test_a_large_one_goes_alone(self) -> None:
        """Nobody waits for all its octets to reach the disk."""
        transaction: Any = await opened(self.delivery, JOE)
        written = transaction.write(b"x" * (CHUNK + 1))
        self.threads.run()
        self.successResultOf(written)
        small = await self.commit()
        large = transaction.commit()
        self.assertEqual(len(self.threads.waiting), 2)
        self.threads.run(1)
        self.successResultOf(small)
        self.assertNoResult(large)
        self.threads.run()
        self.successResultOf(large)

    async def test_each_has_its_own_answer(self) -> None:
        answers = [await self.commit(mail) for mail in (b"first", b"full", b"last")]
        self.disk.before = lambda number: fail_second(self.disk, "write", number)
        self.threads.run()
        self.successResultOf(answers[0])
        self.failureResultOf(answers[1], Refusal)
        self.successResultOf(answers[2])
        self.assertEqual(len(files(self.root)), 2)

    async def test_given_up_while_it_waits_for_others(self) -> None:
        answers = [await self.commit() for _ in range(3)]
        answers[1].addErrback(lambda failure: None)
        answers[1].cancel()
        self.threads.run()
        self.successResultOf(answers[2])
        self.assertEqual(len(files(self.root)), 2)

    async def test_no_thread_to_be_had(self) -> None:
        """Who waits is told, and mail that comes when there are threads again is as ever."""

        def refuse(*_: object) -> None:
            raise RuntimeError("can't start new thread")

        first = await self.commit()
        others = [await self.commit() for _ in range(2)]
        with patch.object(self.threads, "callInThreadWithCallback", refuse):
            others.append(await self.commit())
            for each in others:
                self.failureResultOf(each, RuntimeError)
        last = await self.commit()
        self.threads.run()
        for each in first, last:
            self.successResultOf(each)
        self.assertEqual(len(files(self.root)), 2)

    async def test_a_failure_of_all(self) -> None:
        """Something that is nobody's in particular is everybody's answer, and the next are served."""
        self.patch(maildir_module, "publish", lambda messages: 1 // 0)
        answers = [await self.commit() for _ in range(2)]
        self.threads.run()
        for answer in answers:
            self.failureResultOf(answer, ZeroDivisionError)
        self.patch(maildir_module, "publish", publish)
        answer = await self.commit()
        self.threads.run()
        self.successResultOf(answer)


class ThreadTests(TestCase):
    """With threads, many at a time."""

    async def test_no_answer_before_it_is_safe(self) -> None:
        """For each message, by the time of its answer: its octets synced, renamed, and a sync of the folder that began
        behind that."""
        root = Path(self.mktemp()).absolute()
        pool = ThreadPool(4, 4)
        pool.start()
        self.addCleanup(pool.stop)
        self.patch(maildir_module, "_TOGETHER", 5)
        delivery = Maildir(root / "{local}", create=True, pool=pool)
        await gatherResults([ensureDeferred(deliver(delivery, [name], [MAIL])) for name in (JOE, SUE)])
        before = set(root.rglob("new/*"))
        disk = Record(root)
        self.patch(maildir_files, "os", disk)
        answered: dict[bytes, int] = {}

        async def send(number: int) -> None:
            mail = b"%d" % number
            await deliver(delivery, [(JOE, SUE)[number % 2]], [mail])
            answered[mail] = next(disk.clock)

        await gatherResults([ensureDeferred(send(number)) for number in range(200)])
        self.assertEqual(len(answered), 200)
        found = set(root.rglob("new/*")) - before
        self.assertEqual(len(found), 200)
        for path in found:
            at = answered[path.read_bytes().rpartition(b"\n")[2]]
            self.assertEqual(disk.lacks([path.parent.parent.name], path.name, at=at), "")
        self.assertLess(len(disk.times["fsync joe/new"]) + len(disk.times["fsync sue/new"]), 200, "they share")

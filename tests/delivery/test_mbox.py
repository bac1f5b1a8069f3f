"""Mail in mbox files, as their readers find it."""

import calendar
import errno
import fcntl
import mailbox
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, ensureDeferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.delivery.kit import ANN, Disk, Threads, deliver, new_session, opened, settled, to
from twistsmtp.delivery import mbox_files
from twistsmtp.delivery.api import Envelope, Recipient, Refusal, Reply, ReversePath
from twistsmtp.delivery.find import make_delivery
from twistsmtp.delivery.mbox import LOOK, Mbox
from twistsmtp.delivery.mbox_files import STALE, Quoting, append
from twistsmtp.delivery.spool import CHUNK
from twistsmtp.delivery.spool import Threads as InThreads
from twistsmtp.wire.grammar import Mailbox

MAIL = b"Subject: x\r\n\r\nhello\r\n"
JOE, SUE = "joe@two.example", "sue@two.example"
STAMP = re.compile(rb"(?m)^From (\S+) (\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4})$")


class QuotingTests(SynchronousTestCase):
    def quoted(self, *pieces: bytes) -> bytes:
        quoting = Quoting()
        return b"".join(map(quoting.feed, pieces)) + quoting.end()

    @given(st.lists(st.text(st.sampled_from(">From x\n")).map(str.encode)))
    def test_can_be_undone(self, pieces: list[bytes]) -> None:
        """However it is cut: no line begins as a message does, and one ``>`` less is what was sent."""
        octets = b"".join(pieces)
        quoted = self.quoted(*pieces)
        self.assertEqual(self.quoted(octets), quoted)
        self.assertNotIn(b"\nFrom ", b"\n" + quoted)
        whole = octets if octets.endswith(b"\n") or not octets else octets + b"\n"
        self.assertEqual(whole + b"\n", re.sub(rb"(?m)^>(>*From )", rb"\1", quoted))

    def test_examples(self) -> None:
        for octets, quoted in {
            b"": b"\n",
            b"From x": b">From x\n\n",
            b"a\n>From \nFrom": b"a\n>>From \nFrom\n\n",
            b"a From b\nFromage\n": b"a From b\nFromage\n\n",
        }.items():
            self.assertEqual(quoted, self.quoted(octets))


class MboxCase(TestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir()
        self.threads = Threads()

    def new(self, path: str = "all", **settings: Any) -> Mbox:
        in_thread = InThreads(self.threads.reactor, self.threads)
        mbox = Mbox(self.root / path, **{"create": True, "in_thread": in_thread, **settings})
        mbox.start()
        return mbox

    def names(self) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())

    async def refusal(self, mbox: Mbox, local: str, domain: str = "two.example") -> Reply | None:
        transaction: Any = mbox.begin(new_session(mbox), ANN)
        try:
            await settled(transaction.rcpt(Recipient(mailbox=Mailbox(local, domain))))
        except Refusal as refusal:
            return refusal.reply
        return None


class StoringTests(MboxCase):
    async def test_form(self) -> None:
        """As mboxrd has it, octet for octet."""
        before = int(time.time())
        mbox = self.new()
        await deliver(mbox, [JOE], [MAIL, b"From here\r\n>From there\r", b"\n\xff\rx"])
        octets = (self.root / "all").read_bytes()
        [found] = STAMP.finditer(octets)
        self.assertEqual(b"ann@one.example", found[1])
        stamp = time.strptime(found[2].decode() + " UTC", "%a %b %d %H:%M:%S %Y %Z")
        self.assertIn(calendar.timegm(stamp) - before, range(60))
        self.assertEqual(
            b"\nReturn-Path: <ann@one.example>\nSubject: x\n\nhello\n>From here\n>>From there\n\xff\rx\n\n",
            octets[found.end() :],
        )
        self.assertEqual((0o600, ["all"]), ((self.root / "all").stat().st_mode & 0o777, self.names()))

    async def test_nobody_sends(self) -> None:
        mbox = self.new()
        transaction: Any = mbox.begin(new_session(mbox), ReversePath(mailbox=None))
        transaction.open(Envelope("s.1", ReversePath(mailbox=None), (to(JOE),)))
        await transaction.commit()
        octets = (self.root / "all").read_bytes()
        self.assertTrue(octets.startswith(b"From MAILER-DAEMON "))
        self.assertTrue(octets.endswith(b"\nReturn-Path: <>\n\n"))

    async def test_a_reader(self) -> None:
        """The standard library reads what was written, many and long ones, and locks as we do."""
        mbox = self.new()
        bodies = [b"x" * size + b"\r\n" for size in (0, 1, CHUNK, 3 * CHUNK)]
        for body in bodies:
            await deliver(mbox, [JOE], [b"Subject: y\r\n\r\n", body[:5], body[5:]])
        reader = mailbox.mbox(self.root / "all")
        reader.lock()
        reader.unlock()
        payloads = [str(each.get_payload()).encode() for each in reader]
        self.assertEqual([body.replace(b"\r\n", b"\n") for body in bodies], payloads)
        self.assertEqual(["y"] * 4, [each["Subject"] for each in reader])
        reader.close()

    async def test_behind_a_message_that_has_no_end(self) -> None:
        """It begins behind an empty line, whatever another program has left."""
        for content in (b"", b"From a\nx\n\n", b"From a\nx\n", b"From a\nx", b"x"):
            (self.root / "all").write_bytes(content)
            await deliver(self.new(), [JOE], [MAIL])
            octets = (self.root / "all").read_bytes()
            front = octets[: octets.index(b"From ann@")]
            self.assertEqual(content.rstrip(b"\n") + b"\n\n" if content else b"", front)

    async def test_each_mailbox(self) -> None:
        """A file for each, for all of them or none; recipients with one file have it once."""
        mbox = self.new("{domain}/{local}")
        await deliver(mbox, [JOE, SUE, "Joe@TWO.example"], [MAIL])
        self.assertEqual(["two.example/joe", "two.example/sue"], self.names())
        joe, sue = ((self.root / name).read_bytes() for name in self.names())
        self.assertEqual((joe, 1), (sue, joe.count(b"Subject")))

    async def test_real_threads(self) -> None:
        """Many at once: all are there, each whole."""
        mbox = Mbox(self.root / "all", create=True)
        from twisted.internet import reactor

        async def one(number: int) -> None:
            session = new_session(mbox)
            session.clock = reactor
            transaction: Any = mbox.begin(session, ANN)
            transaction.open(Envelope("s.1", ANN, (to(JOE),)))
            await settled(transaction.write(b"Subject: %d\r\n\r\n" % number + b"x" * CHUNK))
            await transaction.commit()

        await gatherResults([ensureDeferred(one(number)) for number in range(10)])
        reader = mailbox.mbox(self.root / "all")
        self.assertEqual(set(range(10)), {int(each["Subject"]) for each in reader})
        self.assertEqual({"x" * CHUNK + "\n"}, {str(each.get_payload()) for each in reader})
        reader.close()
        self.assertEqual(["all"], self.names())


class MailboxTests(MboxCase):
    """For whom it takes mail."""

    async def test_unknown(self) -> None:
        (self.root / "joe").touch()
        mbox = self.new("{local}", create=False)
        self.assertIsNone(await self.refusal(mbox, "Joe"))
        for local in ("sue", "joe.lock", "../joe", ".joe", "x" * 254, "x" * 251, "a\nb"):
            reply = await self.refusal(mbox, local)
            self.assertEqual((550, "5.1.1"), (reply and reply.code, reply and reply.enhanced), local)

    async def test_created(self) -> None:
        """Whoever can have a file has one; one that would be a lock, or has no room for one, cannot."""
        mbox = self.new("{local}")
        for local, taken in {"sue": True, "x" * 250: True, "x" * 251: False, "joe.lock": False, "../x": False}.items():
            self.assertEqual(taken, await self.refusal(mbox, local) is None, local)

    async def test_disk_is_gone(self) -> None:
        """A folder that is gone makes nobody unknown."""
        mbox = self.new("a/{local}")
        mbox._create = False
        os.rmdir(self.root / "a")
        with self.assertRaises(FileNotFoundError):
            await self.refusal(mbox, "joe")

    def test_start(self) -> None:
        for path in ("all", "x/{local}"):
            error = self.assertRaises(ValueError, self.new, path, create=False)
            self.assertIn("(create=yes would make it)", str(error))
        self.new("y/z/all")
        self.assertTrue((self.root / "y" / "z").is_dir())

    def test_check(self) -> None:
        """It says what a start would, and makes nothing."""
        (self.root / "file").touch()
        for path, create in ("all", False), ("x/{local}", False), ("file/x/{local}", True), ("file/all", True):
            self.assertRaises(ValueError, Mbox(self.root / path, create=create).check)
        for path, create in ("file", False), ("{local}", False), ("all", True), ("x/y/{local}", True), ("x/all", True):
            Mbox(self.root / path, create=create).check()
        self.assertEqual([self.root / "file"], list(self.root.iterdir()))


class FailureTests(MboxCase):
    """What fails leaves nothing."""

    async def test_disk_fails(self) -> None:
        """Whatever call fails, both files are as they were, and there is no lock."""
        for name, code, reply in (
            ("write", errno.ENOSPC, 452),
            ("fsync", errno.EDQUOT, 452),
            ("write", errno.EIO, None),
        ):
            for which in (0, 1):
                for path in (self.root / "joe", self.root / "sue"):
                    path.write_bytes(b"From a\nx\n")
                self.fail_from(name, which, code)
                with self.assertRaises((Refusal, OSError)) as caught:
                    await deliver(self.new("{local}"), [JOE, SUE], [MAIL])
                self.patch(mbox_files, "os", os)
                self.assertEqual(["joe", "sue"], self.names())
                self.assertEqual({b"From a\nx\n"}, {(self.root / each).read_bytes() for each in self.names()})
                error = caught.exception
                self.assertEqual(reply, error.reply.code if isinstance(error, Refusal) else None)

    def fail_from(self, name: str, which: int, code: int) -> None:
        """Have a call fail for the file *which*, from its second time on."""
        real, seen = getattr(os, f"p{name}" if name == "write" else name), dict[int, int]()

        class Failing:
            def __getattr__(self, asked: str) -> Any:
                return call if asked == real.__name__ else getattr(os, asked)

        def call(file: int, *args: Any) -> Any:
            seen[file] = seen.get(file, 0) + 1
            if list(seen).index(file) == which and (name == "fsync" or seen[file] > 1):
                seen[file] = -1000  # what mends it is not to fail
                raise OSError(code, os.strerror(code))
            return real(file, *args)

        self.patch(mbox_files, "os", Failing())

    async def test_client_goes_before(self) -> None:
        """What is not being written is not written."""
        mbox = self.new()
        transaction: Any = await opened(mbox, JOE)
        transaction.write(MAIL)
        self.threads.at_once = False
        committing = ensureDeferred(transaction.commit())
        committing.cancel()
        transaction.abort()
        self.threads.run()
        self.failureResultOf(committing, CancelledError)
        self.assertEqual((b"", ["all"]), ((self.root / "all").read_bytes(), self.names()))

    async def test_client_goes_meanwhile(self) -> None:
        """What is written by halves is cut off."""
        (self.root / "all").write_bytes(b"From a\nx\n\n")
        transaction: Any = await opened(self.new(), JOE)
        transaction.write(MAIL)
        real = transaction._spool.pieces

        def pieces() -> Iterator[bytes]:
            for octets in real():
                yield octets
                self.assertIn(b"Subject", (self.root / "all").read_bytes())
                transaction.abort()
                yield b"more"

        transaction._spool.pieces = pieces
        with self.assertRaises(CancelledError):
            await transaction.commit()
        self.assertEqual((b"From a\nx\n\n", ["all"]), ((self.root / "all").read_bytes(), self.names()))

    async def test_not_a_file(self) -> None:
        """A link, a folder, a pipe: nothing is written through them."""
        (self.root / "aim").touch()
        os.symlink(self.root / "aim", self.root / "link")
        (self.root / "folder").mkdir()
        os.mkfifo(self.root / "pipe")
        for local in ("link", "folder", "pipe"):
            with self.assertRaises(OSError):
                await deliver(self.new("{local}"), [f"{local}@two.example"], [MAIL])
        self.assertEqual(b"", (self.root / "aim").read_bytes())
        self.assertEqual([], [name for name in self.names() if name.endswith(".lock")])


class LockTests(MboxCase):
    """Others who write, too."""

    def setUp(self) -> None:
        super().setUp()
        self.path = self.root / "all"
        self.path.touch()
        self.lock = self.root / "all.lock"

    async def begin(self, **settings: Any) -> tuple[Any, Clock]:
        """A message that is being committed, and its clock."""
        mbox = self.new(**settings)
        session = new_session(mbox)
        transaction: Any = mbox.begin(session, ANN)
        transaction.open(Envelope("s.1", ANN, (to(JOE),)))
        transaction.write(MAIL)
        clock: Any = session.clock
        return ensureDeferred(transaction.commit()), clock

    async def test_dot_lock(self) -> None:
        """It waits for it."""
        self.lock.touch()
        committing, clock = await self.begin()
        clock.pump([LOOK] * 5)
        self.assertNoResult(committing)
        self.assertEqual(b"", self.path.read_bytes())
        self.lock.unlink()
        clock.advance(LOOK)
        self.successResultOf(committing)
        self.assertEqual(1, self.path.read_bytes().count(b"Subject"))

    async def test_not_let_go(self) -> None:
        """In the end it is 451, and nothing was touched."""
        self.lock.touch()
        committing, clock = await self.begin(lock_time=10)
        clock.pump([LOOK] * 50)
        error: Any = self.failureResultOf(committing, Refusal).value
        self.assertEqual(451, error.reply.code)
        self.assertTrue(self.lock.exists())
        self.assertEqual((b"", []), (self.path.read_bytes(), clock.getDelayedCalls()))

    async def test_client_does_not_wait(self) -> None:
        self.lock.touch()
        committing, clock = await self.begin()
        committing.cancel()
        self.failureResultOf(committing, CancelledError)
        self.assertEqual([], clock.getDelayedCalls())

    async def test_left_behind(self) -> None:
        """A dot lock of somebody who died is removed."""
        self.lock.touch()
        old = time.time() - STALE - 5
        os.utime(self.lock, (old, old))
        committing, _ = await self.begin()
        self.successResultOf(committing)
        self.assertFalse(self.lock.exists())

    async def test_fcntl(self) -> None:
        """A reader in another process that has locked the file itself, and then rewrites it."""
        code = (
            "import fcntl, sys\nfile = open(sys.argv[1], 'r+')\nfcntl.lockf(file, fcntl.LOCK_EX)\n"
            "print('locked', flush=True)\nsys.stdin.read()\n"
        )
        pipe = subprocess.PIPE
        with subprocess.Popen([sys.executable, "-c", code, str(self.path)], stdin=pipe, stdout=pipe) as reader:
            assert reader.stdout is not None and reader.stdin is not None
            reader.stdout.readline()
            committing, clock = await self.begin()
            clock.advance(LOOK)
            self.assertNoResult(committing)
            self.assertFalse(self.lock.exists())
            reader.stdin.close()
            reader.wait()
        clock.advance(LOOK)
        self.successResultOf(committing)

    async def test_put_in_its_place(self) -> None:
        """A reader puts another file in its place just when it was opened: the message goes into the new one."""
        real, looks = fcntl.lockf, 0

        def lockf(*args: Any) -> None:
            nonlocal looks
            looks += 1
            if looks == 1:
                other = self.root / "other"
                other.touch()
                os.rename(other, self.path)
            real(*args)

        self.patch(fcntl, "lockf", lockf)
        committing, clock = await self.begin()
        self.assertNoResult(committing)
        clock.advance(LOOK)
        self.successResultOf(committing)
        self.assertEqual(1, self.path.read_bytes().count(b"Subject"))

    def test_held(self) -> None:
        """Both locks are held while it is written, and by the next thread as well."""
        seen: list[object] = []

        def pieces() -> Any:
            seen.append(self.lock.read_text())
            other = threading.Thread(target=try_too)
            other.start()
            other.join()
            code = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
            command = [sys.executable, "-c", code, str(self.path)]
            seen.append(subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode)
            yield b"x"

        def try_too() -> None:
            try:
                append([str(self.path)], lambda: [b"y"], create=False)
            except mbox_files.Busy:
                seen.append("busy")

        append([str(self.path)], pieces, create=False)
        self.assertEqual([f"{os.getpid()}\n", "busy", 1], seen)
        self.assertEqual((b"x", ["all"]), (self.path.read_bytes(), self.names()))

    def test_synced(self) -> None:
        """The octets, and the name of a new file, are on the disk when it answers; and before the locks are gone."""
        disk = Disk(self.root)
        self.patch(mbox_files, "os", disk)
        synced: list[str] = []
        self.patch(mbox_files, "sync_folder", lambda path: synced.append(os.path.relpath(path, self.root)))
        append([str(self.root / "new")], lambda: [b"x"], create=True)
        calls = [call for call in disk.calls if "new" in call]
        self.assertEqual(["fsync new", "close new", "unlink new.lock"], calls[-3:])
        self.assertEqual(["."], synced)


class OptionsTests(SynchronousTestCase):
    def test_right(self) -> None:
        path = Path(self.mktemp()).absolute()
        made = make_delivery(f"mbox:{path}/{{local}}:create=yes:lock_time=5")
        assert isinstance(made, Mbox)
        self.assertEqual((str(path), True, 5.0), (made._path.base, made._create, made._lock_time))
        self.assertFalse(path.exists())

    def test_wrong(self) -> None:
        for text, problem in {
            "mbox:": "missing a required argument",
            "mbox:/x/{user}": "the placeholders are",
            "mbox:/x:create=1": "create is yes or no",
            "mbox:/x:lock_time=x": "lock_time is a number of seconds",
        }.items():
            self.assertIn(problem, str(self.assertRaises(ValueError, make_delivery, text)))

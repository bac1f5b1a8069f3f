"""The Maildir delivery: for whom it takes mail, when it answers, and what it leaves behind."""

import errno
import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, gatherResults
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SkipTest, TestCase

from tests.delivery.kit import ANN, Disk, Threads, deliver, files, new_session, opened, settled
from twistsmtp.delivery import maildir as maildir_module
from twistsmtp.delivery import maildir_files
from twistsmtp.delivery.api import Envelope, Recipient, Refusal, Reply, ReversePath
from twistsmtp.delivery.maildir import CHUNK, Maildir
from twistsmtp.delivery.maildir_files import STALE, make_maildir
from twistsmtp.factory import SMTPFactory
from twistsmtp.wire.grammar import Mailbox
from twistsmtp.wire.reply import Catalogue

REPLIES = Catalogue()
RETURN_PATH = b"Return-Path: <ann@one.example>\r\n"
MAIL = b"Subject: x\r\n\r\nhello\r\n"
STORED = RETURN_PATH + MAIL

JOE = "joe@two.example"
SUE = "sue@two.example"

#: A chunk that is written before the message ends.
LARGE = b"x" * (CHUNK + 1)


class MaildirTestCase(TestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir()
        self.threads = Threads()

    def watch(self) -> Disk:
        disk = Disk(self.root)
        self.patch(maildir_files, "os", disk)
        return disk

    def new(self, path: str = "", **settings: Any) -> Maildir:
        """A delivery into *path* in the folder of the test; it makes folders, if it is not told otherwise."""
        maildir = Maildir(self.root / path, **{"create": True, "reactor": self.threads.reactor, **settings})
        maildir.start()
        return maildir

    def exist(self, *names: str) -> None:
        for name in names:
            make_maildir(str(self.root / name), str(self.root))

    async def refusal(self, delivery: Maildir, local: str, domain: str) -> Reply | None:
        """The reply that refuses a mailbox, or ``None``."""
        transaction: Any = delivery.begin(new_session(delivery), ANN)
        try:
            await settled(transaction.rcpt(Recipient(mailbox=Mailbox(local, domain))))
        except Refusal as refusal:
            return refusal.reply
        return None


class SharedTests(MaildirTestCase):
    """One Maildir for all."""

    async def test_stores_what_was_sent(self) -> None:
        """Octet for octet, NULs, 8-bit octets and line ends as they are, behind the Return-Path."""
        octets = MAIL + bytes(range(256)) + b"\r\n.\r\n"
        await deliver(self.new(), [JOE], [octets])
        self.assertEqual(files(self.root), [("new", RETURN_PATH + octets)])

    async def test_once_for_all_recipients(self) -> None:
        await deliver(self.new(), [JOE, SUE], [MAIL])
        self.assertEqual(files(self.root), [("new", STORED)])

    async def test_each_message_is_a_file(self) -> None:
        delivery = self.new()
        for _ in range(3):
            await deliver(delivery, [JOE], [MAIL])
        self.assertEqual(files(self.root), [("new", STORED)] * 3)

    async def test_null_reverse_path(self) -> None:
        delivery = self.new()
        nobody = ReversePath(mailbox=None)
        transaction: Any = delivery.begin(new_session(delivery), nobody)
        transaction.open(Envelope("s.1", nobody, (Recipient(mailbox=Mailbox("joe", "two.example")),)))
        await transaction.commit()
        self.assertEqual(files(self.root), [("new", b"Return-Path: <>\r\n")])

    async def test_an_empty_message(self) -> None:
        await deliver(self.new(), [JOE], [])
        self.assertEqual(files(self.root), [("new", RETURN_PATH)])

    async def test_takes_all_mailboxes(self) -> None:
        """Which domains there are is the relay rule's to say; no address is used as a name here."""
        delivery = self.new()
        for local, domain in (("joe", "two.example"), ("..", "x"), ("a/b", "x"), ("postmaster", "")):
            self.assertIsNone(await self.refusal(delivery, local, domain))
        self.assertEqual(self.threads.count, 0)

    async def test_one_piece_of_work(self) -> None:
        """A small message takes one turn of a thread, and nothing is written before it."""
        delivery = self.new()
        transaction: Any = await opened(delivery, JOE)
        self.assertIsNone(transaction.write(b"x" * (CHUNK - len(RETURN_PATH))))
        self.assertEqual((self.threads.count, files(self.root)), (0, []))
        await transaction.commit()
        self.assertEqual(self.threads.count, 1)

    async def test_order(self) -> None:
        """The answer comes when all is on the disk."""
        delivery = self.new()
        await deliver(delivery, [JOE], [MAIL])
        answers: list[None] = []
        disk = self.watch()
        disk.before = lambda number: self.assertEqual(answers, [])
        transaction: Any = await opened(delivery, JOE)
        transaction.write(MAIL)
        self.threads.at_once = False
        transaction.commit().addCallback(answers.append)
        self.assertEqual((disk.calls, answers), ([], []))
        self.threads.run()
        self.assertEqual(
            [call for call in disk.calls if not call.startswith(("open", "close"))],
            ["write tmp/*", "fsync tmp/*", "rename tmp/* new/*", "fsync new"],
        )
        self.assertEqual(answers, [None])


class LargeTests(MaildirTestCase):
    """Messages that are written while they come."""

    @given(st.lists(st.binary(max_size=40), max_size=12), st.integers(1, 60))
    def test_however_it_is_cut(self, chunks: list[bytes], size: int) -> None:
        root = Path(self.mktemp()).absolute()
        with patch.object(maildir_module, "CHUNK", size), patch.object(maildir_files, "os", Disk(root)):
            delivery = Maildir(root, create=True, reactor=Threads().reactor)
            self.successResultOf(ensureDeferred(deliver(delivery, [JOE], chunks)))
        self.assertEqual(files(root), [("new", RETURN_PATH + b"".join(chunks))])

    async def test_backpressure(self) -> None:
        """Nothing more is to come while a chunk is written, and what was written is not kept."""
        delivery = self.new()
        disk = self.watch()
        transaction: Any = await opened(delivery, JOE)
        self.threads.at_once = False
        read = b"x" * 65536
        for count in range(1, 65):
            answer = transaction.write(read)
            if answer is not None:
                self.assertNoResult(answer)
                self.threads.run()
                self.assertIsNone(self.successResultOf(answer))
            self.assertLessEqual(count * len(read) - sum(disk.written), CHUNK)
        self.assertLessEqual(max(disk.written), CHUNK + len(read))
        self.assertLessEqual(self.threads.count, 16, "and no more often than that")
        answer = transaction.commit()
        self.threads.run()
        self.successResultOf(answer)
        self.assertEqual(files(self.root), [("new", RETURN_PATH + read * 64)])

    async def test_aborted(self) -> None:
        delivery = self.new()
        transaction: Any = await opened(delivery, JOE)
        await transaction.write(LARGE)
        self.assertEqual([where for where, _ in files(self.root)], ["tmp"])
        transaction.abort()
        self.assertEqual(files(self.root), [])


class MailboxTests(MaildirTestCase):
    """A Maildir for each mailbox."""

    async def test_each_has_their_own(self) -> None:
        self.exist("two.example/joe", "two.example/sue")
        await deliver(self.new("{domain}/{local}", create=False), [JOE, SUE], [MAIL])
        self.assertEqual(files(self.root), [("two.example/joe/new", STORED), ("two.example/sue/new", STORED)])

    async def test_a_mailbox_gets_it_once(self) -> None:
        """However its address is written."""
        delivery = self.new("{domain}/{local}")
        await deliver(delivery, [JOE, "JOE@Two.Example", '"joe"@two.example'], [MAIL])
        self.assertEqual(files(self.root), [("two.example/joe/new", STORED)])

    async def test_domains_are_a_labels(self) -> None:
        await deliver(self.new("{domain}/{local}"), ["joe@bücher.example"], [MAIL])
        self.assertEqual(files(self.root), [("xn--bcher-kva.example/joe/new", STORED)])

    async def test_postmaster_without_a_domain(self) -> None:
        delivery = self.new("{domain}/{local}")
        self.exist("mx.example/postmaster")
        transaction: Any = delivery.begin(new_session(delivery), ANN)
        recipient = Recipient(mailbox=Mailbox("Postmaster", ""))
        await settled(transaction.rcpt(recipient))
        place = delivery._place(new_session(delivery), recipient.mailbox)
        self.assertEqual(place.maildir, str(self.root / "mx.example" / "postmaster"))

    async def test_unknown(self) -> None:
        self.exist("two.example/joe")
        (self.root / "two.example" / "plain").mkdir()
        (self.root / "two.example" / "file").touch()
        delivery = self.new("{domain}/{local}", create=False)
        self.assertIsNone(await self.refusal(delivery, "joe", "two.example"))
        for local, domain in (
            ("sue", "two.example"),
            ("joe", "three.example"),
            ("plain", "two.example"),
            ("file", "two.example"),
            ("x" * 300, "two.example"),
        ):
            self.assertEqual(await self.refusal(delivery, local, domain), REPLIES.mailbox_unknown)

    async def test_a_missing_disk_makes_nobody_unknown(self) -> None:
        """It is no reason to send all mail back."""
        self.exist("mail/joe")
        delivery = self.new("mail/{local}", create=False)
        (self.root / "mail").rename(self.root / "gone")
        with self.assertRaises(FileNotFoundError):
            await self.refusal(delivery, "joe", "two.example")

    async def test_looks_in_a_thread(self) -> None:
        self.exist("joe")
        self.threads.at_once = False
        delivery = self.new("{local}", create=False)
        transaction: Any = delivery.begin(new_session(delivery), ANN)
        answer = transaction.rcpt(Recipient(mailbox=Mailbox("joe", "two.example")))
        self.assertNoResult(answer)
        self.threads.run()
        self.assertIsNone(self.successResultOf(answer))

    async def test_looking_can_be_given_up(self) -> None:
        self.threads.at_once = False
        delivery = self.new("{local}", create=False)
        transaction: Any = delivery.begin(new_session(delivery), ANN)
        answer = transaction.rcpt(Recipient(mailbox=Mailbox("joe", "two.example")))
        answer.cancel()
        transaction.abort()
        self.failureResultOf(answer, CancelledError)
        self.threads.run()

    async def test_created_when_there_is_mail(self) -> None:
        """Not by RCPT: it costs a client nothing to ask for any number of mailboxes."""
        delivery = self.new("{domain}/{local}")
        transaction: Any = await opened(delivery, JOE)
        self.assertEqual(list(self.root.iterdir()), [])
        transaction.write(MAIL)
        await transaction.commit()
        self.assertEqual(files(self.root), [("two.example/joe/new", STORED)])
        for path in (self.root / "two.example", self.root / "two.example" / "joe"):
            self.assertEqual(path.stat().st_mode & 0o777, 0o700)

    async def test_a_new_maildir_is_safe_before_the_answer(self) -> None:
        delivery = self.new("{domain}/{local}")
        disk = self.watch()
        await deliver(delivery, [JOE], [MAIL])
        renamed = disk.calls.index("rename two.example/joe/tmp/* two.example/joe/new/*")
        for folder in (".", "two.example", "two.example/joe"):
            self.assertLess(disk.calls.index(f"fsync {folder}"), renamed)
        disk.calls.clear()
        await deliver(delivery, [JOE], [MAIL])
        self.assertEqual(len(disk.calls), 8, "the second message finds all in order")

    async def test_made_again_when_somebody_removed_it(self) -> None:
        delivery = self.new("{local}")
        await deliver(delivery, [JOE], [MAIL])
        (self.root / "joe").rename(self.root / "away")
        with self.assertRaises(FileNotFoundError):
            await deliver(delivery, [JOE], [MAIL])
        await deliver(delivery, [JOE], [MAIL])
        self.assertIn(("joe/new", STORED), files(self.root))

    async def test_remembers_so_many(self) -> None:
        self.patch(maildir_module, "_REMEMBERED", 3)
        delivery = self.new("{local}")
        for number in range(10):
            await deliver(delivery, [f"{number}@two.example"], [MAIL])
            self.assertLessEqual(len(delivery._prepared), 3)
        self.assertEqual(len(files(self.root)), 10)

    async def test_tidies_up(self) -> None:
        self.exist("joe")
        left = self.root / "joe" / "tmp" / "left"
        left.touch()
        old = left.stat().st_mtime - STALE - 60
        os.utime(left, (old, old))
        await deliver(self.new("{local}", create=False), [JOE], [MAIL])
        self.assertEqual(files(self.root), [("joe/new", STORED)])

    async def test_no_way_out(self) -> None:
        """Whatever is in an address, nothing is made outside of the folder."""
        base = self.root / "mail"
        delivery = self.new("mail/{domain}/{local}")
        for trick in ("..", ".", "", "../x", "/etc", "a/../../x", "x\0y", ".hidden", "x\r\ny", "\u202e", "{domain}"):
            for local, domain in ((trick, "two.example"), ("joe", trick or ".")):
                reply = await self.refusal(delivery, local, domain)
                if trick == "{domain}":
                    self.assertIsNone(reply)
                else:
                    self.assertEqual(reply, REPLIES.mailbox_unknown, (local, domain))
        self.assertEqual(os.listdir(self.root), ["mail"])
        self.assertEqual(os.listdir(base), [])


class SubfolderTests(MaildirTestCase):
    """user+detail"""

    async def test_flat(self) -> None:
        """It is a mailbox of its own."""
        self.exist("joe")
        delivery = self.new("{local}", create=False)
        self.assertEqual(await self.refusal(delivery, "joe+lists", "two.example"), REPLIES.mailbox_unknown)
        self.exist("joe+lists")
        await deliver(delivery, ["joe+lists@two.example"], [MAIL])
        self.assertEqual(files(self.root), [("joe+lists/new", STORED)])

    async def test_maildirpp(self) -> None:
        """It is in the subfolder that there is, or with all the rest."""
        self.exist("joe", "joe/.Lists")
        delivery = self.new("{local}", create=False, layout="maildir++")
        for address, where in {
            "joe+Lists@two.example": "joe/.Lists/new",
            "joe@two.example": "joe/new",
            "joe+other@two.example": "joe/new",
            "joe+@two.example": "joe/new",
            "JOE+x+y@two.example": "joe/new",
            '"joe+../../x"@two.example': "joe/new",
            "joe+ü@two.example": "joe/new",
        }.items():
            await deliver(delivery, [address], [MAIL])
            ((found, _),) = files(self.root)
            self.assertEqual(found, where, address)
            next((self.root / where).iterdir()).unlink()

    async def test_maildirpp_makes_no_subfolders(self) -> None:
        """Else a client could make any number of them."""
        await deliver(self.new("{local}", layout="maildir++"), ["joe+lists@two.example"], [MAIL])
        self.assertEqual(files(self.root), [("joe/new", STORED)])

    async def test_maildirpp_each_folder_once(self) -> None:
        self.exist("joe", "joe/.lists")
        delivery = self.new("{local}", create=False, layout="maildir++")
        await deliver(delivery, [JOE, "joe+x@two.example", "joe+lists@two.example"], [MAIL])
        self.assertEqual(files(self.root), [("joe/.lists/new", STORED), ("joe/new", STORED)])

    async def test_a_plus_in_front(self) -> None:
        """There is no user without a name."""
        self.exist("+joe")
        delivery = self.new("{local}", create=False, layout="maildir++")
        self.assertIsNone(await self.refusal(delivery, "+joe", "two.example"))
        self.assertIsNone(await self.refusal(delivery, "+joe+lists", "two.example"))


class FailureTests(MaildirTestCase):
    """The disk does not do what it is asked for."""

    async def test_no_room(self) -> None:
        """The client is to try again later, and nothing is left, wherever that turned out."""
        delivery = self.new("{local}")
        disk = self.watch()
        for code in (errno.ENOSPC, errno.EDQUOT):
            for call in ("mkdir", "open", "write", "fsync", "close", "link", "rename"):
                delivery._prepared.clear()
                disk.fail(call, code)
                with self.assertRaises(Refusal) as caught:
                    await deliver(delivery, [JOE, SUE], [MAIL])
                self.assertEqual(caught.exception.reply, REPLIES.insufficient_storage)
                self.assertEqual(files(self.root), [], call)

    async def test_no_room_for_a_large_message(self) -> None:
        delivery = self.new()
        self.watch().fail("write", errno.ENOSPC)
        with self.assertRaises(Refusal):
            await deliver(delivery, [JOE], [LARGE])
        self.assertEqual(files(self.root), [])

    async def test_anything_else(self) -> None:
        """It rises, for the log and the server's 451, and nothing is left."""
        delivery = self.new("{local}")
        disk = self.watch()
        for code in (errno.EACCES, errno.EROFS, errno.EIO, errno.EMFILE):
            for call in ("mkdir", "open", "write", "fsync", "close", "link", "rename"):
                delivery._prepared.clear()
                disk.fail(call, code)
                with self.assertRaises(OSError) as caught:
                    await deliver(delivery, [JOE, SUE], [MAIL])
                self.assertEqual(caught.exception.errno, code)
                self.assertEqual(files(self.root), [], call)

    async def test_a_folder_that_may_not_be_written_to(self) -> None:
        self.exist("joe")
        folder = self.root / "joe" / "tmp"
        folder.chmod(0o500)
        self.addCleanup(folder.chmod, 0o700)
        if os.access(folder, os.W_OK):
            raise SkipTest("whoever runs this may write everywhere")
        with self.assertRaises(PermissionError):
            await deliver(self.new("{local}", create=False), [JOE], [MAIL])
        self.assertEqual(files(self.root), [])

    async def test_cleaning_up_fails(self) -> None:
        """Nobody waits for it, so it goes to the log."""
        disk = self.watch()
        transaction: Any = await opened(self.new(), JOE)
        await transaction.write(LARGE)
        disk.fail("unlink", errno.EIO)
        transaction.abort()
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)


class AbortTests(MaildirTestCase):
    """The client goes away: what waits is cancelled, and the transaction aborted."""

    async def test_before_the_message(self) -> None:
        delivery = self.new()
        delivery.begin(new_session(delivery), ANN).abort()
        (await opened(delivery, JOE)).abort()
        self.assertEqual((files(self.root), self.threads.count), ([], 0))

    async def test_while_it_is_in_memory(self) -> None:
        transaction: Any = await opened(self.new(), JOE)
        transaction.write(MAIL)
        transaction.abort()
        self.assertEqual((files(self.root), self.threads.count), ([], 0))

    async def test_before_a_thread_comes_to_it(self) -> None:
        for octets in (MAIL, LARGE):
            transaction: Any = await opened(self.new(), JOE)
            self.threads.at_once = False
            answer = transaction.write(octets) or transaction.commit()
            self.give_up(transaction, answer)
            self.threads.run()
            self.assertEqual(files(self.root), [])

    async def test_before_a_thread_comes_to_the_rest(self) -> None:
        for octets in (MAIL, LARGE):
            transaction: Any = await opened(self.new(), JOE)
            self.threads.at_once = True
            await transaction.write(LARGE)
            self.threads.at_once = False
            answer = transaction.write(octets) or transaction.commit()
            self.give_up(transaction, answer)
            self.threads.run()
            self.assertEqual(files(self.root), [])

    async def test_while_a_thread_is_at_it(self) -> None:
        """At any call: before the first rename nothing is left, from then on the message is there, whole."""
        for chunks in ([MAIL], [LARGE, MAIL]):
            whole = [(f"{name}/new", RETURN_PATH + b"".join(chunks)) for name in ("joe", "sue")]
            at = 0
            while True:
                calls, found = await self.given_up_at(at, chunks)
                renamed = any(call.startswith("rename") for call in calls[: at + 1])
                self.assertEqual(found, whole if renamed else [], (at, calls))
                if at >= len(calls):
                    break
                at += 1
            self.assertGreater(at, 20)

    async def given_up_at(self, at: int, chunks: list[bytes]) -> tuple[list[str], list[tuple[str, bytes]]]:
        """Send a message to two, and give up in call number *at*: the calls that there were, and what is left."""
        root = Path(self.mktemp()).absolute()
        threads = Threads(at_once=False)
        delivery = Maildir(root / "{local}", create=True, reactor=threads.reactor)
        disk = Disk(root)
        transaction: Any = await opened(delivery, JOE, SUE)
        disk.before = lambda number: self.give_up(transaction, answer) if number == at else None
        with patch.object(maildir_files, "os", disk):
            for chunk in [*chunks, None]:
                answer = transaction.commit() if chunk is None else transaction.write(chunk)
                threads.run()
                if at < len(disk.calls):
                    break
        self.assertEqual(disk.open_files, {})
        return disk.calls, files(root)

    async def test_behind_a_failure(self) -> None:
        """The server aborts what has failed, too."""
        delivery = self.new()
        self.watch().fail("fsync", errno.EIO)
        transaction: Any = await opened(delivery, JOE)
        transaction.write(MAIL)
        self.failureResultOf(transaction.commit(), OSError)
        transaction.abort()
        self.assertEqual(files(self.root), [])

    async def test_what_fails_then_is_nobodys_business(self) -> None:
        """It must not turn up as a failure that nobody has handled."""
        delivery = self.new()
        self.watch().fail("", errno.EIO)
        transaction: Any = await opened(delivery, JOE)
        transaction.write(MAIL)
        self.threads.at_once = False
        self.give_up(transaction, transaction.commit())
        self.threads.run()
        self.assertEqual(files(self.root), [])

    async def test_who_does_not_wait_has_given_up(self) -> None:
        """To cancel is enough."""
        transaction: Any = await opened(self.new(), JOE)
        transaction.write(MAIL)
        self.threads.at_once = False
        answer = transaction.commit()
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.threads.run()
        self.assertEqual(files(self.root), [])

    async def test_without_waiting_for_the_disk(self) -> None:
        transaction: Any = await opened(self.new(), JOE)
        await transaction.write(LARGE)
        self.threads.at_once = False
        transaction.abort()
        self.assertEqual(len(files(self.root)), 1)
        self.threads.run()
        self.assertEqual(files(self.root), [])

    async def test_when_the_threads_are_gone(self) -> None:
        """At the end of the process there is no pool any more to clean up."""
        transaction: Any = await opened(self.new(), JOE)
        await transaction.write(LARGE)
        self.threads.at_once = False
        self.threads.joined = True
        transaction.abort()
        self.assertEqual(files(self.root), [])

    def give_up(self, transaction: Any, answer: "Deferred[None] | None") -> None:
        """What the server does when a connection is lost."""
        if answer is not None:
            answer.cancel()
            self.failureResultOf(answer, CancelledError)
        transaction.abort()


class StartTests(MaildirTestCase):
    """What would go wrong with each message goes wrong at once, and says so in a line."""

    def test_shared(self) -> None:
        with self.assertRaisesRegex(ValueError, rf"\A{self.root}/mail is no Maildir \(create=yes would make it\)\Z"):
            self.new("mail", create=False)
        self.new("mail")
        self.assertEqual(sorted(os.listdir(self.root / "mail")), ["cur", "new", "tmp"])
        self.new("mail", create=False)

    def test_per_mailbox(self) -> None:
        with self.assertRaisesRegex(ValueError, rf"\A{self.root}/mail is no folder \(create=yes would make it\)\Z"):
            self.new("mail/{local}", create=False)
        self.new("mail/{local}")
        self.assertEqual(os.listdir(self.root / "mail"), [])
        self.new("mail/{local}", create=False)

    def test_made_on_the_disk(self) -> None:
        disk = self.watch()
        self.new("x/mail")
        self.assertEqual([call for call in disk.calls if "fsync" in call], ["fsync .", "fsync x", "fsync x/mail"])

    def test_a_file_is_in_the_way(self) -> None:
        (self.root / "file").touch()
        for path in ("file", "file/below", "file/{local}"):
            with self.assertRaisesRegex(ValueError, rf"\A{self.root}/file[^\n]*\Z"):
                self.new(path)

    def test_it_cannot_be_made(self) -> None:
        self.watch().fail("mkdir", errno.EACCES)
        with self.assertRaisesRegex(ValueError, rf"\A{self.root}/mail: Permission denied\Z"):
            self.new("mail")

    def test_layout(self) -> None:
        with self.assertRaisesRegex(ValueError, r"\Alayout is flat or maildir\+\+, not 'tree'\Z"):
            self.new(layout="tree")

    def test_options(self) -> None:
        folder = str(self.root / "mail")
        made = Maildir.from_options(folder, create="yes")
        self.assertTrue(made._create)
        made.start()
        delivery = Maildir.from_options(folder, layout="maildir++")
        self.assertEqual((delivery._create, delivery._subfolders), (False, True))
        with self.assertRaisesRegex(ValueError, "create is yes or no, not 'maybe'"):
            Maildir.from_options(folder, create="maybe")


class ServerTests(MaildirTestCase):
    """With the server in front of it."""

    def talk(self, delivery: Maildir, mail: bytes) -> bytes:
        """What the server answers to the end of a message."""
        factory = SMTPFactory(delivery, hostname="mx.example", reactor=Clock())
        client = IPv4Address("TCP", "192.0.2.7", 25025)
        protocol: Any = factory.buildProtocol(client)
        transport = StringTransport(peerAddress=client)
        protocol.makeConnection(transport)
        protocol.dataReceived(
            b"EHLO client.example\r\nMAIL FROM:<ann@one.example>\r\nRCPT TO:<joe@two.example>\r\nDATA\r\n"
        )
        self.assertIn(b"\r\n354 ", transport.value())
        transport.clear()
        protocol.dataReceived(mail + b".\r\n")
        reply: bytes = transport.value()
        protocol.connectionLost(Failure(ConnectionDone()))
        return reply

    def test_stored(self) -> None:
        reply = self.talk(self.new(), MAIL)
        self.assertTrue(reply.startswith(b"250 2.0.0 "), reply)
        ((where, octets),) = files(self.root)
        self.assertEqual(where, "new")
        self.assertTrue(octets.startswith(RETURN_PATH + b"Received: from client.example ([192.0.2.7])\r\n"), octets)
        self.assertTrue(octets.endswith(b"\r\n" + MAIL), octets)

    def test_what_the_client_is_told(self) -> None:
        """Of whatever fails, and wherever: 452 or 451, and nothing is left."""
        delivery = self.new()
        disk = self.watch()
        for call in ("open tmp", "write", "fsync tmp", "close tmp", "rename", "open new", "fsync new", "close new"):
            for code in (errno.ENOSPC, errno.EDQUOT):
                disk.fail(call, code)
                self.assertEqual(self.talk(delivery, MAIL), REPLIES.insufficient_storage.octets, call)
            for code in (errno.EIO, errno.EROFS, errno.EACCES):
                disk.fail(call, code)
                self.assertEqual(self.talk(delivery, MAIL), REPLIES.local_error.octets, call)
                self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
            self.assertEqual((files(self.root), disk.open_files), ([], {}))


class ThreadTests(TestCase):
    """With the reactor and its threads."""

    async def test_many_at_once(self) -> None:
        root = Path(self.mktemp())
        delivery = Maildir(root / "{domain}" / "{local}", create=True)
        mails = [b"%d\r\n" % number + b"x" * (number % 3 * CHUNK) for number in range(30)]
        cut = [[mail[start : start + 65536] for start in range(0, len(mail), 65536)] for mail in mails]
        jobs = [ensureDeferred(deliver(delivery, [JOE, SUE], chunks)) for chunks in cut]
        await gatherResults(jobs)
        for name in ("joe", "sue"):
            self.assertCountEqual(files(root / "two.example" / name), [("new", RETURN_PATH + mail) for mail in mails])

    async def test_given_up_at_once(self) -> None:
        """Each of them is there whole, or not at all."""
        root = Path(self.mktemp())
        pool = ThreadPool(1, 1)  # so that the last work is done when all is
        pool.start()
        self.addCleanup(pool.stop)
        delivery = Maildir(root, create=True, pool=pool)
        for number in range(20):
            transaction: Any = await opened(delivery, JOE)
            answer = transaction.write(LARGE) if number % 2 else transaction.commit()
            answer.addErrback(lambda failure: failure.trap(CancelledError))
            answer.cancel()
            transaction.abort()
        await deliver(delivery, [JOE], [MAIL])
        self.assertIn(("new", STORED), files(root))
        self.assertEqual({octets for _, octets in files(root)} - {STORED, RETURN_PATH}, set())

"""Mail kept in memory."""

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.delivery.kit import ANN, deliver, envelope, opened
from twistsmtp.delivery.memory import Memory, Message

MAIL = b"Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n\r\nhello\r\n"


class MemoryTests(TestCase):
    async def test_keeps_a_message_whole(self) -> None:
        memory = Memory()
        await deliver(memory, ["joe@two.example"], [MAIL[:5], MAIL[5:]])
        self.assertEqual(memory.messages, [Message(envelope("joe@two.example"), MAIL)])
        self.assertEqual(memory.messages[0].envelope.reverse_path, ANN)

    async def test_parses_it(self) -> None:
        memory = Memory()
        await deliver(memory, ["joe@two.example"], [MAIL])
        mail = memory.messages[0].email
        self.assertEqual(mail["Subject"], "grüße")
        self.assertEqual(mail.get_content(), "hello\r\n")

    async def test_does_not_show_mail_in_a_log(self) -> None:
        memory = Memory()
        await deliver(memory, ["joe@two.example"], [MAIL])
        self.assertNotIn("hello", repr(memory.messages))

    async def test_an_aborted_message_leaves_nothing(self) -> None:
        memory = Memory()
        transaction = await opened(memory, "joe@two.example")
        transaction.write(MAIL)
        transaction.abort()
        self.assertEqual(memory.messages, [])

    async def test_drops_the_oldest(self) -> None:
        memory = Memory(keep=2)
        for octets in (b"1", b"2", b"3"):
            await deliver(memory, ["joe@two.example"], [octets])
        self.assertEqual([message.octets for message in memory.messages], [b"2", b"3"])

    async def test_messages_come_one_by_one(self) -> None:
        """A transaction that ends is no part of the next one of its connection."""
        memory = Memory()
        transaction = await opened(memory, "joe@two.example")
        transaction.write(b"1")
        await deliver(memory, ["joe@two.example"], [b"2"])
        transaction.write(b"1")
        transaction.commit()
        self.assertEqual([message.octets for message in memory.messages], [b"2", b"11"])


class WaitTests(TestCase):
    async def test_for_what_is_there(self) -> None:
        memory = Memory()
        await deliver(memory, ["joe@two.example"], [MAIL])
        self.assertEqual(self.successResultOf(memory.wait()), memory.messages)

    async def test_for_what_comes(self) -> None:
        memory = Memory()
        one, two = memory.wait(), memory.wait(2)
        self.assertNoResult(one)
        await deliver(memory, ["joe@two.example"], [b"1"])
        self.assertEqual([message.octets for message in self.successResultOf(one)], [b"1"])
        self.assertNoResult(two)
        await deliver(memory, ["joe@two.example"], [b"2"])
        self.assertEqual([message.octets for message in self.successResultOf(two)], [b"1", b"2"])

    async def test_who_wakes_up_may_wait_again(self) -> None:
        memory = Memory()
        again = memory.wait().addCallback(lambda _: memory.messages.clear()).addCallback(lambda _: memory.wait())
        await deliver(memory, ["joe@two.example"], [b"1"])
        self.assertNoResult(again)
        await deliver(memory, ["joe@two.example"], [b"2"])
        self.assertEqual([message.octets for message in self.successResultOf(again)], [b"2"])

    async def test_can_be_given_up(self) -> None:
        memory = Memory()
        waiting = memory.wait()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        await deliver(memory, ["joe@two.example"], [MAIL])

    def test_not_for_more_than_are_kept(self) -> None:
        with self.assertRaisesRegex(ValueError, "only 2 messages are kept, never 3"):
            Memory(keep=2).wait(3)


class OptionTests(SynchronousTestCase):
    def test_keep(self) -> None:
        self.assertEqual(Memory.from_options().keep, 1000)
        self.assertEqual(Memory.from_options(keep="7").keep, 7)

    def test_keep_is_a_number(self) -> None:
        for text in ("", "x", "-1", "1.5", "٣"):
            with self.assertRaisesRegex(ValueError, f"keep is a number, not '{text}'"):
                Memory.from_options(keep=text)

    def test_something_is_kept(self) -> None:
        with self.assertRaisesRegex(ValueError, "keep must be more than 0, not 0"):
            Memory.from_options(keep="0")

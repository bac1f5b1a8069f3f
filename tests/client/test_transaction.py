"""A transaction step by step, as who has the message in pieces takes it."""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.client.kit import ALL, GONE, Net, extensions, result_of
from twistsmtp.client import (
    BadMessage,
    ClientError,
    ClientTransaction,
    ConnectionLost,
    NotOffered,
    Refused,
    TimedOut,
    Timeouts,
)
from twistsmtp.envelope import Recipient, ReversePath
from twistsmtp.wire.grammar import parse_mailbox

DATA = extensions("CHUNKING", "BINARYMIME")
BOTH = (ALL, DATA)
ANN = ReversePath(mailbox=parse_mailbox("ann@one.test"))


def to(address: str, **options: str) -> Recipient:
    return Recipient(mailbox=parse_mailbox(address), options=tuple(options.items()))


class TransactionTestCase(SynchronousTestCase):
    net: Net
    transaction: ClientTransaction

    def start(self, *offers: str, begin: bool = True, settings: Any = None, **replies: str) -> ClientTransaction:
        """A transaction; by default one with a recipient, whose octets are about to come."""
        self.net = Net.scripted(*offers, **replies)
        self.connection = self.net.open(**settings or {})
        self.transaction = ClientTransaction(self.connection)
        if begin:
            self.run_now(self.transaction.mail(ANN))
            self.run_now(self.transaction.rcpt(to("bob@far.test")))
            self.run_now(self.transaction.open())
        return self.transaction

    def run_now(self, work: Any) -> Any:
        return result_of(self.net.run(work))

    def write(self, octets: bytes) -> Any:
        """Whether there is room for more."""
        written = self.transaction.write(octets)
        self.net.turn()
        if written is not None:
            written.addErrback(lambda failure: None)
        return written

    @property
    def near(self) -> Any:
        return self.net.ends[0]


class StepTests(TransactionTestCase):
    def test_in_steps(self) -> None:
        for offers in BOTH:
            transaction = self.start(*offers, begin=False)
            self.assertEqual(self.run_now(transaction.mail(ANN)).code, 250)
            for address in ("bob@far.test", "eve@far.test"):
                self.run_now(transaction.rcpt(to(address)))
            self.run_now(transaction.open())
            for octets in (b"Subject: x\r", b"\n\r\n.", b".\r\n", b"", b"end"):
                self.write(octets)
            verdicts = self.run_now(transaction.commit())
            self.assertEqual([str(v.recipient) for v in verdicts], ["bob@far.test", "eve@far.test"])
            [(_, recipients, octets)] = self.net.far.taken
            end = b"" if "CHUNKING" in offers else b"\r\n"
            self.assertEqual((len(recipients), octets), (2, b"Subject: x\r\n\r\n..\r\nend" + end))
            transaction.abort()
            self.assertTrue(self.connection.usable)

    def test_a_refused_recipient(self) -> None:
        transaction = self.start(*ALL, begin=False, RCPT_1="452 4.5.3 Too many")
        self.run_now(transaction.mail(ANN))
        with self.assertRaises(Refused) as caught:
            self.run_now(transaction.rcpt(to("bob@far.test")))
        self.assertEqual((caught.exception.step, caught.exception.temporary), ("RCPT", True))
        self.run_now(transaction.rcpt(to("eve@far.test")))
        self.assertEqual([str(each) for each in transaction.recipients], ["eve@far.test"])

    def test_nobody(self) -> None:
        for offers in BOTH:
            transaction = self.start(*offers, begin=False)
            self.run_now(transaction.mail(ANN))
            with self.assertRaises(Refused):
                self.run_now(transaction.open())
            self.assertEqual(self.net.far.heard[2:], [])

    def test_options(self) -> None:
        """Those that are offered are said, as they are; those that mean nothing elsewhere are not."""
        path = ReversePath(
            mailbox=ANN.mailbox, options=(("RET", "hdrs"), ("AUTH", "<>"), ("X-OURS", "1"), ("BODY", "8BITMIME"))
        )
        transaction = self.start(*ALL, begin=False)
        self.run_now(transaction.mail(path))
        self.run_now(transaction.rcpt(to("bob@far.test", ORCPT="rfc822;b+2Bc@x.test")))
        self.assertEqual(
            self.net.far.heard[1:],
            ["MAIL FROM:<ann@one.test> RET=hdrs BODY=8BITMIME", "RCPT TO:<bob@far.test> ORCPT=rfc822;b+2Bc@x.test"],
        )

    def test_requiretls(self) -> None:
        """RFC 8689: not without TLS that was verified."""
        transaction = self.start("REQUIRETLS", begin=False)
        path = ReversePath(mailbox=None, options=(("REQUIRETLS", None),))
        for verified in (False, True):
            self.connection.verified = verified
            if verified:
                self.run_now(transaction.mail(path))
            else:
                with self.assertRaises(NotOffered):
                    self.run_now(transaction.mail(path))
        self.assertEqual(self.net.far.heard[1:], ["MAIL FROM:<> REQUIRETLS"])


class BodyTests(TransactionTestCase):
    def test_backpressure(self) -> None:
        for offers in BOTH:
            self.start(*offers)
            self.near.other.pauseProducing()
            waited = False
            for _ in range(300):
                waited = self.write(b"x" * 998 + b"\r\n") is not None or waited
            self.assertTrue(waited)
            room = self.transaction.write(b"x" * 70_000)
            assert room is not None
            self.net.turn()
            self.assertNoResult(room)
            self.near.other.resumeProducing()
            self.net.turn()
            result_of(room)

    def test_no_room_for_too_long(self) -> None:
        self.start(*DATA, settings={"timeouts": Timeouts(block=30)})
        self.near.other.pauseProducing()
        room: Deferred[None] | None = None
        while room is None:
            room = self.transaction.write(b"x" * 998 + b"\r\n")
        self.net.clock.advance(29)
        self.assertNoResult(room)
        self.net.clock.advance(1)
        with self.assertRaises(TimedOut):
            result_of(room)
        with self.assertRaises(TimedOut):
            self.run_now(self.transaction.commit())

    def test_chunks(self) -> None:
        """A few octets are no chunk of their own; and with PIPELINING several are on their way."""
        self.start(*ALL)
        for _ in range(200):
            self.write(b"x" * 998 + b"\r\n")
        self.run_now(self.transaction.commit())
        sizes = [int(line.split()[1]) for line in self.net.far.heard if line.startswith("BDAT")]
        self.assertEqual((sizes, sum(sizes)), ([66000, 66000, 66000, 2000], 200_000))

    def test_chunks_without_pipelining(self) -> None:
        self.start(*extensions("PIPELINING"), BDAT="")
        written = self.write(b"x" * 70_000)
        self.assertNoResult(written)

    def test_a_refused_chunk(self) -> None:
        """Nothing follows it; RSET ends it."""
        self.start(*ALL, BDAT_2="452 4.3.1 Full")
        self.write(b"x" * 70_000)
        self.write(b"x" * 70_000)
        with self.assertRaises(Refused) as caught:
            self.write(b"x" * 70_000)
        self.assertEqual((str(caught.exception.reply), caught.exception.step), ("452 4.3.1 Full", "BDAT"))
        with self.assertRaises(Refused):
            self.run_now(self.transaction.commit())
        self.transaction.abort()
        self.net.turn()
        self.assertTrue(self.connection.usable)
        self.assertEqual(self.net.far.heard[-1], "RSET")
        self.assertEqual(self.net.far.taken, [])

    def test_a_chunk_refused_late(self) -> None:
        """When the last has been written already: it is not sent."""
        self.start(*ALL, BDAT="452 4.3.1 Full")
        self.assertIsNotNone(self.transaction.write(b"x" * 70_000))
        with self.assertRaises(Refused):
            self.run_now(self.transaction.commit())
        self.assertNotIn("LAST", " ".join(self.net.far.heard))

    def test_what_may_not_be_sent(self) -> None:
        for offers, octets, kind in (
            (ALL, b"a\nb", BadMessage),
            (DATA, b"a\nb", BadMessage),
            (extensions("8BITMIME"), b"\xff", NotOffered),
            (extensions("8BITMIME", "CHUNKING"), b"\xff", NotOffered),
        ):
            self.start(*offers)
            self.write(b"good\r\n")
            for octets_again in (octets, b"good\r\n"):
                with self.assertRaises(kind):
                    self.write(octets_again)
            with self.assertRaises(kind):
                self.run_now(self.transaction.commit())
            self.transaction.abort()
            self.net.turn()
            self.assertEqual(self.net.far.taken, [])
            self.assertEqual(self.connection.usable, "CHUNKING" in offers)

    def test_a_last_word_in_the_body(self) -> None:
        self.start(*DATA)
        self.net.far.transport.write(b"421 4.3.2 Shutting down\r\n")
        self.net.turn()
        for work in (lambda: self.write(b"x"), lambda: self.run_now(self.transaction.commit())):
            try:
                written = work()
                result_of(written)
            except ClientError as error:
                self.assertEqual(str(error.reply), "421 4.3.2 Shutting down")

    def test_lost_in_the_body(self) -> None:
        for offers in BOTH:
            self.start(*offers)
            self.write(b"x\r\n")
            self.near.break_off()
            with self.assertRaises(ConnectionLost) as caught:
                self.run_now(self.transaction.commit())
            self.assertEqual(type(caught.exception), ConnectionLost)


class AbortTests(TransactionTestCase):
    def test_before_the_message(self) -> None:
        for steps in range(3):
            transaction = self.start(*ALL, begin=False)
            if steps:
                self.run_now(transaction.mail(ANN))
            if steps > 1:
                self.run_now(transaction.rcpt(to("bob@far.test")))
            transaction.abort()
            transaction.abort()
            self.net.turn()
            self.assertTrue(self.connection.usable)
            self.assertEqual(self.net.far.heard.count("RSET"), int(steps > 0))

    def test_in_the_message(self) -> None:
        """By BDAT the connection lives on; by DATA only its end can end the message."""
        for offers in BOTH:
            transaction = self.start(*offers)
            self.write(b"Subject: x\r\n" * 9000)
            transaction.abort()
            self.net.turn()
            self.assertEqual(self.connection.usable, "CHUNKING" in offers)
            self.assertEqual(self.net.far.taken, [])

    def test_behind_the_message(self) -> None:
        for offers in BOTH:
            transaction = self.start(*offers)
            self.run_now(transaction.commit())
            transaction.abort()
            self.assertNotIn("RSET", self.net.far.heard)
            self.assertTrue(self.connection.usable)

    def test_while_something_is_pending(self) -> None:
        """What would come could not be told from others: the connection ends."""
        for step in ("MAIL", "RCPT", "DATA", "end"):
            transaction = self.start(*DATA, begin=False, **{step: ""})
            steps = iter(
                [transaction.mail(ANN), transaction.rcpt(to("bob@far.test")), transaction.open(), transaction.commit()]
            )
            pending = self.net.run(next(steps))
            while pending.called:
                pending = self.net.run(next(steps))
            for rest in steps:
                rest.close()
            pending.addErrback(lambda failure: failure.trap(ClientError, CancelledError))
            pending.cancel()
            self.net.turn()
            self.assertFalse(self.connection.usable, step)
            self.assertTrue(self.near.lost)
            self.assertEqual(self.net.far.taken, [] if step != "end" else self.net.far.taken)

    def test_reset_refused(self) -> None:
        for reply in ("500 5.5.1 What", GONE):
            transaction = self.start(*ALL, RSET=reply)
            transaction.abort()
            self.net.turn()
            self.assertFalse(self.connection.usable)

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.mail.relay import DomainQueuer
from twisted.mail.smtp import Address, SMTPAddressError, SMTPBadRcpt, SMTPBadSender, SMTPServerError
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.delivery.twistedmail import (
    ANN,
    CLIENT,
    JOE,
    SUE,
    WAYS,
    AdapterTestCase,
    Broken,
    RecordingDelivery,
    RecordingMessage,
    answer,
    raise_,
)
from twistsmtp.delivery.api import Envelope, Recipient, Refusal, Reply, ReversePath
from twistsmtp.delivery.twistedmail_adapter import Connection, address_of, refusal_of
from twistsmtp.tls.facts import TLS
from twistsmtp.wire.grammar import Mailbox


class EnvelopeTests(AdapterTestCase):
    def address(self, local: str, domain: str) -> tuple[bytes, bytes, bytes]:
        address = address_of(Mailbox(local, domain), self.session)
        self.assertEqual(str(address), f"{address.local.decode()}@{address.domain.decode()}")
        return address.local, address.domain, address.addrstr

    def test_null_reverse_path(self) -> None:
        address = address_of(None, self.session)
        self.assertEqual((address.local, address.domain, str(address)), (b"", b"", ""))

    def test_addresses(self) -> None:
        cases = {
            ("joe", "two.example"): (b"joe", b"two.example", b"<joe@two.example>"),
            ("Postmaster", ""): (b"Postmaster", b"mx.example", b"<Postmaster>"),
            ("joe blow", "two.example"): (b'"joe blow"', b"two.example", b'<"joe blow"@two.example>'),
            ('a"@\\', "two.example"): (rb'"a\"@\\"', b"two.example", rb'<"a\"@\\"@two.example>'),
            ("joe", "[192.0.2.1]"): (b"joe", b"[192.0.2.1]", b"<joe@[192.0.2.1]>"),
            ("joe", "bücher.example"): (b"joe", b"xn--bcher-kva.example", b"<joe@xn--bcher-kva.example>"),
        }
        for parts, expected in cases.items():
            self.assertEqual(self.address(*parts), expected)

    def test_address_makes_other_addresses(self) -> None:
        address = address_of(Mailbox("a b", "[IPv6:::1]"), self.session)
        self.assertEqual(str(SMTPBadRcpt(address).addr), '"a b"@[IPv6:::1]')

    def test_local_part_that_is_not_ascii(self) -> None:
        eve = Mailbox("ève", "two.example")
        for refusal in (
            self.refusal(lambda: self.begin(reverse_path=ReversePath(mailbox=eve))),
            self.refusal(self.begin().rcpt, Recipient(mailbox=eve)),
        ):
            self.assertEqual(refusal, "553 5.6.7 The local part of a mailbox must be ASCII here")

    def test_user_has_no_need_of_its_protocol(self) -> None:
        self.begin(JOE)
        (user,) = self.delivery.users
        copy = pickle.loads(pickle.dumps(user))
        self.assertEqual((str(copy), str(copy.orig), copy.helo), ("joe@two.example", "ann@one.example", user.helo))

    def test_protocol_of_user(self) -> None:
        self.begin(JOE)
        self.session.identity = "ann"
        self.session.tls = TLS("TLSv1.3", "TLS_AES_256_GCM_SHA384")
        (protocol,) = (user.protocol for user in self.delivery.users)
        self.assertEqual(protocol.host, b"mx.example")
        self.assertEqual(protocol.transport.getPeer(), self.session.peer)
        self.assertTrue(protocol.authenticated)
        self.assertTrue(protocol.startedTLS)
        self.assertIs(protocol.delivery, self.delivery)
        self.assertIs(protocol.session, self.session)

    def test_protocol_is_one_for_all_messages_of_a_connection(self) -> None:
        self.assertEqual(len({Connection(self.session, RecordingDelivery()) for _ in range(2)}), 1)
        self.assertNotEqual(Connection(self.session, self.delivery), Connection(self.new_session(), self.delivery))

    def test_relay_asks_the_protocol(self) -> None:
        self.begin(JOE)
        self.session.peer = IPv4Address("TCP", "127.0.0.1", 25025)
        local = DomainQueuer(None).willRelay(None, self.delivery.users[0].protocol)
        self.session.peer = IPv4Address("TCP", CLIENT, 25025)
        distant = DomainQueuer(None).willRelay(None, self.delivery.users[0].protocol)
        self.assertEqual((local, distant), (True, False))


class AskingTests(AdapterTestCase):
    def test_sender_taken_later(self) -> None:
        origin: Deferred[Address] = Deferred()
        self.delivery.sender = lambda _: origin
        begun = answer(self.session.delivery.begin(self.session, ANN))
        self.assertNoResult(begun)
        origin.callback(Address(b"list@two.example"))
        answer(self.successResultOf(begun).rcpt(JOE))
        self.assertEqual(str(self.delivery.users[0].orig), "list@two.example")

    def test_recipient_taken_later(self) -> None:
        transaction = self.begin()
        maker: Deferred[Any] = Deferred()
        self.delivery.give = lambda make: maker.addCallback(lambda _: make)
        taken = answer(transaction.rcpt(JOE))
        self.assertNoResult(taken)
        maker.callback(None)
        self.assertIsNone(self.successResultOf(taken))
        transaction.open(Envelope("s.1", ANN, (JOE,)))
        self.assertEqual(len(self.delivery.lines()), 1)

    def test_ways_to_refuse(self) -> None:
        async def in_coroutine(error: Exception) -> None:
            raise error

        for refuse in (raise_, fail, Failure, in_coroutine):
            self.delivery.sender = partial(_refuse_sender, refuse)
            self.assertEqual(self.refusal(self.begin), "571 5.1.0 Go away")

    def test_code_that_does_not_refuse(self) -> None:
        self.delivery.sender = lambda origin: raise_(SMTPServerError(250, "Fine"))
        self.assertRaises(SMTPServerError, self.begin)

    def test_cancelled(self) -> None:
        pending: Deferred[Any] = Deferred()
        self.delivery.give = lambda value: pending
        begun = answer(self.session.delivery.begin(self.session, ANN))
        begun.cancel()
        self.failureResultOf(begun, CancelledError)
        self.assertTrue(pending.called)

    def test_delivery_that_returns_no_sender(self) -> None:
        self.delivery.sender = lambda origin: None
        self.begin(JOE)
        self.assertEqual(str(self.delivery.users[0].orig), "ann@one.example")

    def test_sender_that_is_no_address_object(self) -> None:
        self.delivery.sender = lambda origin: b"list@two.example"
        self.begin(JOE)
        self.assertIsInstance(self.delivery.users[0].orig, Address)
        self.assertEqual(str(self.delivery.users[0].orig), "list@two.example")

    def test_refused_recipient_gets_no_message(self) -> None:
        transaction = self.begin(JOE)
        self.delivery.recipient = lambda user: raise_(SMTPBadRcpt(user))
        self.assertEqual(self.refusal(transaction.rcpt, SUE), "550 5.1.0 Cannot receive for specified address")
        transaction.open(Envelope("s.1", ANN, (JOE,)))
        self.assertEqual(self.delivery.lines(b"sue"), [])
        self.assertEqual(len(self.delivery.lines(b"joe")), 1)


def _refuse_sender(refuse: Callable[[Exception], Any], origin: Address) -> Any:
    return refuse(SMTPBadSender(origin, 571, "Go away"))


class MessageTests(AdapterTestCase):
    """The messages of one transaction stand and fall together until the end comes."""

    def break_message(self, of: bytes, error: Exception, where: str) -> None:
        class Breaking(RecordingMessage):
            def lineReceived(self, line: bytes) -> None:
                super().lineReceived(line)
                if self.name == of and line == b"break: here":
                    raise error

        def message(calls: Any, name: bytes, end: Any) -> RecordingMessage:
            if where == "maker" and name == of:
                raise error
            return Breaking(calls, name, end)

        self.delivery.message = message

    def test_maker_fails(self) -> None:
        self.break_message(b"sue", SMTPServerError(452, "4.3.1 No room"), "maker")
        transaction = self.begin(JOE, SUE)
        envelope = Envelope("s.1", ANN, (JOE, SUE))
        self.assertEqual(self.refusal(transaction.open, envelope), "452 4.3.1 No room")
        self.assertEqual(self.delivery.said("lost"), [(b"joe", "lost")])
        # The client may try once more.
        self.delivery.message = RecordingMessage
        transaction.open(envelope)
        transaction.write(b"a: b\r\n")
        answer(transaction.commit())
        self.assertEqual(self.delivery.said("lost", "eom")[1:], [(b"joe", "eom"), (b"sue", "eom")])

    def test_header_fails(self) -> None:
        self.delivery.received = b"break: here"
        self.break_message(b"joe", SMTPServerError(450, "Not now"), "line")
        transaction = self.begin(JOE)
        self.assertEqual(self.refusal(transaction.open, Envelope("s.1", ANN, (JOE,))), "450 4.0.0 Not now")
        self.assertEqual(self.delivery.said("lost"), [(b"joe", "lost")])

    def test_line_is_refused(self) -> None:
        self.break_message(b"joe", SMTPServerError(554, b"5.6.0 Spam"), "line")
        transaction = self.opened(JOE, SUE)
        refusal = self.refusal(transaction.write, b"a: b\r\nbreak: here\r\nc: d\r\n")
        self.assertEqual(refusal, "554 5.6.0 Spam")
        transaction.abort()
        self.assertEqual(self.delivery.said("lost", "eom"), [(b"joe", "lost"), (b"sue", "lost")])
        self.assertEqual(self.delivery.lines(b"sue")[1:], [b"a: b"])

    def test_line_fails(self) -> None:
        self.break_message(b"sue", Broken(), "line")
        transaction = self.opened(JOE, SUE)
        self.assertRaises(Broken, transaction.write, b"break: here\r\n")
        transaction.abort()
        self.assertEqual(self.delivery.said("lost", "eom"), [(b"joe", "lost"), (b"sue", "lost")])

    def test_abort_without_messages(self) -> None:
        self.begin().abort()
        self.begin(JOE).abort()
        self.assertEqual(self.delivery.said("lost"), [])

    def test_abort_reaches_all(self) -> None:
        class Clumsy(RecordingMessage):
            def connectionLost(self) -> None:
                super().connectionLost()
                raise Broken

        self.delivery.message = Clumsy
        self.opened(JOE, SUE).abort()
        self.assertEqual(self.delivery.said("lost"), [(b"joe", "lost"), (b"sue", "lost")])
        self.assertEqual(len(self.flushLoggedErrors(Broken)), 2)


class CommitTests(AdapterTestCase):
    def commit(self, *ends: Any) -> Any:
        """Commit a message whose recipients' ends are *ends*."""
        for recipient, end in zip((JOE, SUE), ends, strict=False):
            self.delivery.ends[recipient.mailbox.local.encode()] = end
        self.transaction = self.opened(*(JOE, SUE)[: len(ends)])
        self.transaction.write(b"a: b\r\n")
        return answer(self.transaction.commit())

    def replies(self, *ends: Any) -> list[str]:
        return [str(reply) for reply in self.commit(*ends)]

    def test_stored(self) -> None:
        for way in WAYS:
            self.assertIsNone(self.commit(lambda way=way: way(b"stored"), lambda: succeed(None)))

    def test_stored_later(self) -> None:
        first, second = Deferred[None](), Deferred[None]()
        committed = self.commit(lambda: first, lambda: second)
        second.callback(None)
        self.assertNoResult(committed)
        first.callback(None)
        self.assertIsNone(self.successResultOf(committed))
        self.transaction.abort()
        self.assertEqual(self.delivery.said("lost"), [])

    def test_one_of_two_is_refused(self) -> None:
        replies = self.replies(lambda: None, lambda: fail(SMTPServerError(452, "4.2.2 Full")))
        self.assertEqual(replies, ["250 2.0.0 OK: message s.1 accepted", "452 4.2.2 Full"])

    def test_refusals(self) -> None:
        refusal = Refusal(Reply(550, "5.7.1", "By ours"))
        replies = self.replies(lambda: raise_(SMTPServerError(554, "Theirs")), lambda: raise_(refusal))
        self.assertEqual(replies, ["554 5.0.0 Theirs", "550 5.7.1 By ours"])

    def test_exception_concerns_one(self) -> None:
        replies = self.replies(lambda: raise_(Broken("secret")), lambda: None)
        self.assertEqual(replies[0], str(self.session.replies.local_error))
        self.assertEqual(replies[1][:3], "250")
        self.assertEqual(len(self.flushLoggedErrors(Broken)), 1)

    def test_cancelled(self) -> None:
        pending, done = Deferred[None](), Deferred[None]()
        committed = self.commit(lambda: pending, lambda: done)
        done.callback(None)
        committed.cancel()
        self.failureResultOf(committed, CancelledError)
        self.assertTrue(pending.called)
        self.transaction.abort()
        self.assertEqual(self.delivery.said("lost"), [(b"joe", "lost")])

    def test_last_line_is_refused(self) -> None:
        class Strict(RecordingMessage):
            def lineReceived(self, line: bytes) -> None:
                if line == b"tail":
                    raise SMTPServerError(550, "5.6.0 No CRLF")

        self.delivery.message = Strict
        transaction = self.opened()
        transaction.write(b"a: b\r\ntail")
        self.assertEqual(self.refusal(transaction.commit), "550 5.6.0 No CRLF")
        self.assertEqual(self.delivery.said("eom", "lost"), [(b"joe", "lost")])


class RefusalTests(SynchronousTestCase):
    def reply(self, code: Any, resp: Any, kind: Any = SMTPServerError) -> bytes | None:
        error = kind(code, resp) if kind is SMTPServerError else kind(b"joe@two.example", code, resp)
        refusal = refusal_of(error)
        return None if refusal is None else refusal.reply.octets

    def test_replies(self) -> None:
        cases = [
            (550, "No such user", b"550 5.0.0 No such user\r\n"),
            (450, b"Busy", b"450 4.0.0 Busy\r\n"),
            (550, "5.1.1 No such user", b"550 5.1.1 No such user\r\n"),
            (550, "5.1.1", b"550 5.1.1 \r\n"),
            (550, "4.1.1 Of another class", b"550 5.0.0 4.1.1 Of another class\r\n"),
            (550, "5.1.1.1 is no code", b"550 5.0.0 5.1.1.1 is no code\r\n"),
            (421, "One\nTwo", b"421-4.0.0 One\r\n421 4.0.0 Two\r\n"),
            (554, b"5.7.1 One\r\n5.7.1 Two\r\n", b"554-5.7.1 One\r\n554 5.7.1 Two\r\n"),
            (554, "5.7.1 One\nTwo", b"554-5.7.1 One\r\n554 5.7.1 Two\r\n"),
            (500, "", b"500 5.0.0 \r\n"),
            (599, "sm\u00f8rrebr\u00f8d\x07", b"599 5.0.0 sm\\xf8rrebr\\xf8d\\x07\r\n"),
            (599, b"\xff", b"599 5.0.0 \\xff\r\n"),
            (599, "\udcff", b"599 5.0.0 \\udcff\r\n"),
        ]
        for code, resp, octets in cases:
            self.assertEqual(self.reply(code, resp), octets)

    def test_addresses(self) -> None:
        for kind in (SMTPAddressError, SMTPBadRcpt, SMTPBadSender):
            self.assertEqual(self.reply(553, "Odd", kind), b"553 5.1.0 Odd\r\n")
            self.assertEqual(self.reply(553, "5.7.0 Odd", kind), b"553 5.7.0 Odd\r\n")

    def test_codes_that_do_not_refuse(self) -> None:
        for code in (0, -1, 200, 250, 354, 399, 600, 5500, "550", None):
            self.assertIsNone(self.reply(code, "Text"))

    def test_other_errors(self) -> None:
        self.assertIsNone(refusal_of(Broken()))
        self.assertIsNone(refusal_of(None))
        refusal = Refusal(Reply(550, "5.7.1", "By ours"))
        self.assertIs(refusal_of(refusal), refusal)

    @given(st.integers(400, 599), st.text() | st.binary())
    def test_any_text(self, code: int, resp: str | bytes) -> None:
        octets = self.reply(code, resp)
        lines = (octets or b"").split(b"\r\n")
        self.assertEqual(lines.pop(), b"")
        self.assertTrue(all(line.startswith(b"%d" % code) and line.isascii() for line in lines))
        self.assertEqual([line[3:4] for line in lines], [b"-"] * (len(lines) - 1) + [b" "])

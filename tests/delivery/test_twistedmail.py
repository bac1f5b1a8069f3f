"""Deliveries of ``twisted.mail`` behind our server, beside the same ones behind ``twisted.mail``'s own."""

import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import run
from types import SimpleNamespace
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from twisted.mail.mail import BounceDomain, FileMessage
from twisted.mail.protocols import ESMTPDomainDelivery
from twisted.mail.smtp import ESMTP, Address, SMTPBadRcpt, SMTPBadSender, SMTPServerError, User
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.delivery.twistedmail import CLIENT, WAYS, RecordingDelivery, RecordingFactory, raise_
from twistsmtp.delivery.api import Delivery, DeliveryTransaction, ReversePath, Session
from twistsmtp.delivery.twistedmail import adapt
from twistsmtp.factory import SMTPFactory

HELLO = [b"EHLO client.example"]
ENVELOPE = [*HELLO, b"MAIL FROM:<ann@one.example>", b"RCPT TO:<joe@two.example>"]
LETTER = [b"Subject: lunch", b"", b"At noon?"]
ADDRESS = IPv4Address("TCP", CLIENT, 25025)
GONE = Failure(ConnectionDone())


def ours(delivery: Any) -> Any:
    return SMTPFactory(delivery, hostname="mx.example", reactor=Clock()).buildProtocol(ADDRESS)


def theirs(delivery: Any) -> Any:
    protocol: Any = ESMTP()
    protocol.host = b"mx.example"
    protocol.callLater = Clock().callLater  # else its timeout would be left in the reactor
    protocol.delivery = delivery if IMessageDelivery.providedBy(delivery) else None
    protocol.deliveryFactory = delivery if IMessageDeliveryFactory.providedBy(delivery) else None
    return protocol


SERVERS = (ours, theirs)


def connect(protocol: Any) -> StringTransport:
    transport = StringTransport(peerAddress=ADDRESS)
    protocol.makeConnection(transport)
    return transport


def talk(protocol: Any, lines: list[bytes]) -> bytes:
    """The reply to the last of *lines*, each sent when the one before it has its reply."""
    transport = connect(protocol)
    for line in lines:
        transport.clear()
        protocol.dataReceived(line + b"\r\n")
    return bytes(transport.value())


class AdaptTests(SynchronousTestCase):
    def test_delivery_of_ours_comes_back(self) -> None:
        class Ours(Delivery):
            def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
                raise NotImplementedError

        delivery = Ours()
        self.assertIs(adapt(delivery), delivery)

    def test_delivery_of_ours_need_not_inherit(self) -> None:
        delivery = SimpleNamespace(wants_received=True, begin=lambda session, reverse_path: None)
        self.assertIs(adapt(delivery), delivery)

    def test_received_field_is_the_deliverys(self) -> None:
        self.assertFalse(adapt(RecordingDelivery()).wants_received)
        self.assertFalse(adapt(RecordingFactory(None)).wants_received)

    def test_factory_goes_before_delivery(self) -> None:
        for server in SERVERS:
            inner = RecordingDelivery()

            @implementer(IMessageDeliveryFactory)
            class Both(RecordingDelivery):
                def getMessageDelivery(self, inner: RecordingDelivery = inner) -> RecordingDelivery:
                    return inner

            both = Both()
            talk(server(both), ENVELOPE)
            self.assertEqual(both.calls, [])
            self.assertEqual([call[0] for call in inner.calls], ["from", "to"])

    def test_anything_else_is_refused(self) -> None:
        error = self.assertRaises(TypeError, adapt, "maildir:var")
        self.assertIn("'maildir:var' is no delivery", str(error))
        self.assertIn("IMessageDeliveryFactory", str(error))

    def test_class_is_refused(self) -> None:
        error = self.assertRaises(TypeError, adapt, RecordingDelivery)
        self.assertEqual(str(error), "RecordingDelivery is a class: a delivery is an instance of one")

    def test_reactor_can_still_be_chosen(self) -> None:
        script = (
            "import sys; sys.path[:] = {!r}; import twistsmtp.delivery.twistedmail; "
            "sys.exit('twisted.internet.reactor' in sys.modules)"
        )
        done = run([sys.executable, "-c", script.format(sys.path)], capture_output=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, b""))


class SameCallsTests(SynchronousTestCase):
    """One conversation with both servers: a delivery cannot tell which one it is behind."""

    def same_calls(
        self, lines: list[bytes], prepare: Callable[[RecordingDelivery], None] = lambda delivery: None
    ) -> list[Any]:
        """What the delivery was asked, by the one as by the other."""
        calls = []
        for server in SERVERS:
            delivery = RecordingDelivery()
            prepare(delivery)
            talk(server(delivery), lines)
            calls.append(delivery.calls)
        self.assertEqual(*calls)
        return calls[0]

    def test_message(self) -> None:
        calls = self.same_calls([*ENVELOPE, b"DATA", *LETTER, b"."])
        helo = (b"client.example", CLIENT.encode())
        ann = (Address, b"ann", b"one.example")
        joe = (Address, b"joe", b"two.example")
        expected = [
            ("from", helo, ann),
            ("to", User, helo, joe, ann),
            ("received", helo, "ann@one.example", [joe]),
            (b"joe", "line", b"Received: from client\n\tby server"),
            *((b"joe", "line", line) for line in LETTER),
            (b"joe", "eom"),
        ]
        self.assertEqual(calls, expected)

    def test_recipients_take_turns(self) -> None:
        calls = self.same_calls([*ENVELOPE, b"RCPT TO:<sue@two.example>", b"DATA", *LETTER, b"."])
        turns = [call[0] for call in calls if call[1:] == ("line", b"At noon?") or call[1] == "eom"]
        self.assertEqual(turns, [b"joe", b"sue", b"joe", b"sue"])

    def test_ways_to_answer(self) -> None:
        for way in WAYS:

            def prepare(delivery: RecordingDelivery, way: Callable[[Any], Any] = way) -> None:
                delivery.give = way

            self.assertEqual(self.same_calls([*ENVELOPE, b"DATA", b"."], prepare)[-1], (b"joe", "eom"))

    def test_addresses(self) -> None:
        senders = (
            b"<>",
            b"ann@one.example",
            b"<Ann.B@One.Example>",
            b"<@a.example,@b.example:ann@one.example>",
        )
        recipients = (b"<postmaster>", b'<"joe blow"@two.example>', b"<JOE+x@Two.Example>")
        for sender in senders:
            for recipient in recipients:
                calls = self.same_calls([*HELLO, b"MAIL FROM:" + sender, b"RCPT TO:" + recipient])
                self.assertEqual([call[0] for call in calls], ["from", "to"])

    def test_sender_that_the_delivery_changed(self) -> None:
        def prepare(delivery: RecordingDelivery) -> None:
            delivery.sender = lambda origin: Address(b"list-bounces@two.example")

        calls = self.same_calls([*ENVELOPE, b"DATA", *LETTER, b"."], prepare)
        self.assertEqual(calls[1][-1], (Address, b"list-bounces", b"two.example"))
        self.assertEqual(calls[2][2], "list-bounces@two.example")

    def test_no_received_field(self) -> None:
        def prepare(delivery: RecordingDelivery) -> None:
            delivery.received = None

        calls = self.same_calls([*ENVELOPE, b"DATA", *LETTER, b"."], prepare)
        self.assertEqual([call[2] for call in calls if call[1] == "line"], LETTER)

    def test_two_messages(self) -> None:
        mail = [*ENVELOPE[1:], b"DATA", *LETTER, b"."]
        for server in SERVERS:
            delivery = RecordingDelivery()
            factory = RecordingFactory(delivery)
            talk(server(factory), [*HELLO, *mail, b"MAIL FROM:<>", b"RSET", *mail])
            self.assertEqual(factory.asked, 3)
            self.assertEqual(delivery.said("eom", "lost"), [(b"joe", "eom")] * 2)

    def test_client_leaves_in_a_message(self) -> None:
        for server in SERVERS:
            delivery = RecordingDelivery()
            protocol = server(delivery)
            talk(protocol, [*ENVELOPE, b"RCPT TO:<sue@two.example>", b"DATA", *LETTER])
            protocol.connectionLost(GONE)
            self.assertEqual(delivery.said("eom", "lost"), [(b"joe", "lost"), (b"sue", "lost")])

    lines = st.lists(st.text("ab:. \t", max_size=6).map(str.encode) | st.sampled_from([b"", b".", b"..", b"\xff\x00"]))

    @given(lines)
    @example([])
    @example([b"no header here"])
    @example([b"", b""])
    @example([b".hidden: dot"])
    def test_any_body(self, lines: list[bytes]) -> None:
        stuffed = [b"." + line if line.startswith(b".") else line for line in lines]
        calls = self.same_calls([*ENVELOPE, b"DATA", *stuffed, b"."])
        given = [call[2] for call in calls if call[1] == "line"][1:]
        headless = lines[:1] != [b""] and b":" not in b"".join(lines[:1]) and lines != []
        self.assertEqual(given, [b"", *lines] if headless else lines)


class ReplyTests(SynchronousTestCase):
    """What the client is told."""

    def setUp(self) -> None:
        self.delivery = RecordingDelivery()

    def reply(self, lines: list[bytes]) -> bytes:
        return talk(ours(self.delivery), lines)

    def test_sender_refused(self) -> None:
        for refuse in (fail, raise_):

            def sender(origin: Address, refuse: Callable[[Exception], Any] = refuse) -> Any:
                return refuse(SMTPBadSender(origin, 503, "Who are you?"))

            self.delivery.sender = sender
            self.assertEqual(self.reply(ENVELOPE[:2]), b"503 5.1.0 Who are you?\r\n")

    def test_recipient_refused(self) -> None:
        self.delivery.recipient = lambda user: raise_(SMTPBadRcpt(user, 551, "5.1.6 Moved\nto three.example"))
        self.assertEqual(self.reply(ENVELOPE), b"551-5.1.6 Moved\r\n551 5.1.6 to three.example\r\n")

    def test_factory_without_delivery(self) -> None:
        reply = talk(ours(RecordingFactory(None)), ENVELOPE[:2])
        self.assertEqual(reply, b"550 5.1.0 Sender not acceptable\r\n")

    def test_message_refused_at_its_end(self) -> None:
        self.delivery.ends[b"joe"] = lambda: fail(SMTPServerError(452, b"Full"))
        self.assertEqual(self.reply([*ENVELOPE, b"DATA", *LETTER, b"."]), b"452 4.0.0 Full\r\n")

    def test_message_refused_for_one_of_two(self) -> None:
        self.delivery.ends[b"sue"] = lambda: fail(SMTPServerError(554, "5.6.0 Rubbish"))
        lines = [*ENVELOPE, b"RCPT TO:<sue@two.example>", b"DATA", *LETTER, b"."]
        self.assertEqual(self.reply(lines), b"554 5.6.0 Rubbish\r\n")

    def test_exceptions_stay_in_the_log(self) -> None:
        failing = [
            ("sender", ENVELOPE[:2]),
            ("recipient", ENVELOPE),
            ("message", [*ENVELOPE, b"DATA"]),
        ]
        for part, lines in failing:
            self.delivery = RecordingDelivery()
            setattr(self.delivery, part, lambda *_: raise_(LookupError("secret")))
            self.assertEqual(self.reply(lines)[:9], b"451 4.3.0")
            self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    def test_client_leaves_while_the_message_is_stored(self) -> None:
        stored: Deferred[None] = Deferred()
        self.delivery.ends[b"joe"] = lambda: stored
        protocol = ours(self.delivery)
        talk(protocol, [*ENVELOPE, b"RCPT TO:<sue@two.example>", b"DATA", *LETTER, b"."])
        protocol.connectionLost(GONE)
        self.assertTrue(stored.called)
        self.assertEqual(self.delivery.said("lost"), [(b"joe", "lost")])


class RealDeliveryTests(SynchronousTestCase):
    """Deliveries that come with Twisted."""

    def test_domains_and_files(self) -> None:
        tmp, new = Path(self.mktemp()), Path(self.mktemp())

        class FileDomain:
            def exists(self, user: User) -> Callable[[], FileMessage]:
                return lambda: FileMessage(tmp.open("wb"), str(tmp), str(new))

        service = SimpleNamespace(queue=None, domains={b"two.example": FileDomain(), b"closed.example": BounceDomain()})
        delivery = ESMTPDomainDelivery(service, None, b"mx.example")
        protocol = ours(delivery)
        transport = connect(protocol)
        bounced = b"RCPT TO:<joe@closed.example>"
        protocol.dataReceived(b"\r\n".join([*ENVELOPE, bounced, b"DATA", *LETTER, b".", b""]))
        codes = [line[:9] for line in transport.value().splitlines() if line[3:4] == b" "]
        self.assertEqual(codes[2:], [b"250 2.1.0", b"250 2.1.5", b"550 5.1.0", b"354 Start", b"250 2.0.0"])
        self.assertFalse(tmp.exists())
        received, *rest = new.read_bytes().split(b"\nSubject:")
        self.assertTrue(received.startswith(b"Received: from client.example ([192.0.2.7] helo=client.example"))
        self.assertEqual(rest, [b" lunch\n\nAt noon?\n"])

    def test_file_of_a_message_without_end_goes(self) -> None:
        tmp = Path(self.mktemp())
        delivery = RecordingDelivery()
        delivery.message = lambda *_: FileMessage(tmp.open("wb"), str(tmp), "nowhere")
        protocol = ours(delivery)
        talk(protocol, [*ENVELOPE, b"DATA", *LETTER])
        self.assertTrue(tmp.exists())
        protocol.connectionLost(GONE)
        self.assertFalse(tmp.exists())

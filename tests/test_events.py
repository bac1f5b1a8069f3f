"""What is logged: one event for each message and one for each connection, whole, and safe to print."""

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.logger import LogEvent, eventAsJSON, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.scripted import Answer, Script, ScriptedDelivery, ScriptedTransaction
from tests.support import Server, logged
from tests.tls.support import build
from twistsmtp.envelope import Recipient, ReversePath
from twistsmtp.events import connection_ended, exception_caught, message_ended
from twistsmtp.session import Session
from twistsmtp.tls.facts import TLS, Known, Peer
from twistsmtp.wire.grammar import Mailbox, parse_mailbox
from twistsmtp.wire.reply import Refusal, Reply

MESSAGE = "twistsmtp.message"
CONNECTION = "twistsmtp.connection"

any_text = st.text(st.characters(codec=None, exclude_categories=[]), max_size=60)


def new_session() -> Session:
    return Server().connect().hello().session


def end_connection(session: Session, reason: str = "closed by client") -> None:
    connection_ended(session, reason=reason, octets_in=1, octets_out=2, early_talker=False, duration=1.5)


class MessageEventTests(SynchronousTestCase):
    def events(self, server: Server, body: bytes = b"text\r\n") -> list[LogEvent]:
        with logged(MESSAGE) as events:
            client = server.connect().hello()
            client.begin("b@mx.test", "c@mx.test").say("DATA")
            server.clock.advance(2.5)
            client.send(body + b".\r\n")
            client.say("RSET", "QUIT")
        return events

    def test_a_message_that_was_accepted(self) -> None:
        server = Server()
        [event] = self.events(server)
        [transaction] = server.delivery.transactions
        expected = {
            "id": transaction.envelope.id,
            "client": "192.0.2.1",
            "identity": None,
            "sender": "a@client.test",
            "recipients": ["b@mx.test", "c@mx.test"],
            "recipient_count": 2,
            "size": 6,
            "result": "accepted",
            "duration": 2.5,
        }
        self.assertEqual({name: event[name] for name in expected}, expected)
        self.assertEqual(
            formatEvent(event),
            f"{event['id']} from=<a@client.test> to=b@mx.test, c@mx.test nrcpt=2 size=6 accepted in 2.500s",
        )
        self.assertEqual(event["log_render"](event), formatEvent(event))
        self.assertEqual(json.loads(eventAsJSON(event))["result"], "accepted")

    def test_a_message_that_was_refused_while_it_came(self) -> None:
        [event] = self.events(Server(), b"a\nb\r\n")
        self.assertRegex(event["result"], r"^550 5\.6\.0 .*bare LF")
        self.assertEqual(event["size"], 5)

    def test_a_message_that_the_delivery_refused(self) -> None:
        script = Script(commit=Answer(result=Refusal(Reply(552, "5.2.2", "Full"))))
        [event] = self.events(Server(ScriptedDelivery(script)))
        self.assertEqual(event["result"], "552 5.2.2 Full")

    def test_a_message_that_was_cut_off(self) -> None:
        server = Server()
        for reason, expected in (
            (ConnectionDone(), "aborted: closed by client"),
            (ConnectionLost(), "aborted: connection lost"),
        ):
            with logged(MESSAGE) as events:
                client = server.connect().data()
                client.send(b"half a mess")
                client.vanish(reason)
            self.assertEqual([event["result"] for event in events], [expected])

    def test_no_message_no_event(self) -> None:
        with logged(MESSAGE) as events:
            client = Server().connect().hello().begin()
            client.say("RSET", "MAIL FROM:<>", "EHLO x", "MAIL FROM:<>", "RCPT TO:<b@mx.test>", "QUIT")
        self.assertEqual(events, [])

    def test_a_message_that_was_not_let_begin_is_none(self) -> None:
        # The same whether the client then goes by QUIT, by RSET or without a word: nothing of it has come.
        for ending in ("QUIT", "RSET", None):
            script = Script(open=Answer(result=Refusal(Reply(451, "4.3.0", "Not now"))))
            with logged(MESSAGE) as events:
                client = Server(ScriptedDelivery(script)).connect().data()
                if ending:
                    client.say(ending)
                client.vanish()
            self.assertEqual([event["result"] for event in events], [], ending)

    def test_only_the_first_recipients_are_named(self) -> None:
        server = Server()
        with logged(MESSAGE) as events:
            server.connect().hello().begin(*[f"b{n}@mx.test" for n in range(100)]).say("DATA", "x", ".")
        self.assertEqual(events[0]["recipient_count"], 100)
        self.assertEqual(len(events[0]["recipients"]), 100)
        self.assertEqual(formatEvent(events[0]).count("@mx.test"), 20)


class ConnectionEventTests(SynchronousTestCase):
    def test_all_that_is_known_of_a_connection(self) -> None:
        server = Server()
        with logged(CONNECTION) as events:
            client = server.connect()
            server.clock.advance(1.5)
            client.hello().message()
            client.message(b"a\rb\r\n")
            client.say("NONSENSE")
            said = b"".join(client.wire.writes)
            client.vanish()
        [event] = events
        expected = {
            "id": client.session.id,
            "client": "192.0.2.1",
            "helo": "client.test",
            "identity": None,
            "tls": None,
            "cipher": None,
            "server_name": None,
            "alpn": None,
            "peer": None,
            "encryption": None,
            "accepted": 1,
            "refused": 1,
            "errors": 2,
            "octets_out": len(said),
            "early_talker": False,
            "reason": "connection lost",
            "duration": 1.5,
        }
        self.assertEqual({name: event[name] for name in expected}, expected)
        self.assertGreater(event["octets_in"], 150)
        self.assertRegex(
            formatEvent(event), r"accepted=1 refused=1 errors=2 in=\d+ out=\d+ connection lost after 1\.500s$"
        )
        self.assertEqual(event["log_render"](event), formatEvent(event))
        self.assertEqual(json.loads(eventAsJSON(event))["reason"], "connection lost")

    def test_what_is_known_of_its_tls(self) -> None:
        with logged(CONNECTION) as events:
            client = Server().connect()
            channel = Known(peer=Peer(build("ada (work)").certificate))
            client.session.encrypted(TLS("TLSv1.3", "TLS_AES_256_GCM_SHA384", "mx.test", "smtp", channel))
            client.hello().say("QUIT")
            client.vanish()
        [event] = events
        names = ("tls", "cipher", "server_name", "alpn", "peer")
        self.assertEqual(
            [event[name] for name in names],
            ["TLSv1.3", "TLS_AES_256_GCM_SHA384", "mx.test", "smtp", "CN=ada (work)"],
        )
        self.assertIn(
            ' tls=TLSv1.3/TLS_AES_256_GCM_SHA384 sni=mx.test alpn=smtp peer="CN=ada (work)" accepted=0 ',
            formatEvent(event),
        )
        self.assertEqual(event["log_render"](event), formatEvent(event))

    def test_why_it_ended(self) -> None:
        server = Server()
        with logged(CONNECTION) as events:
            server.connect().say("QUIT")
            server.connect().vanish(ConnectionDone())
            server.connect().vanish(ConnectionLost())
            server.connect().say("GET / HTTP/1.1")
            server.clock.advance(0)
        self.assertEqual(
            [event["reason"] for event in events],
            ["221 2.0.0 Bye", "closed by client", "connection lost", "421 4.7.0 This is an SMTP server"],
        )

    def test_octets_are_counted_both_ways(self) -> None:
        with logged(CONNECTION) as events:
            client = Server().connect()
            client.send(b"NOOP\r\nNO")
            client.vanish()
        self.assertEqual(events[0]["octets_in"], 8)
        self.assertEqual(events[0]["octets_out"], sum(map(len, client.wire.writes)))


class ExceptionEventTests(SynchronousTestCase):
    def test_it_has_the_traceback_and_the_session(self) -> None:
        session = new_session()
        with logged(CONNECTION) as events:
            try:
                raise ZeroDivisionError
            except ZeroDivisionError:
                exception_caught(session, Failure(), "451 4.3.0 Sorry")
        [event] = events
        self.assertEqual((event["id"], event["client"], event["reply"]), (session.id, "192.0.2.1", "451 4.3.0 Sorry"))
        self.assertIn("test_it_has_the_traceback_and_the_session", event["log_failure"].getTraceback())
        self.assertIn(session.id, formatEvent(event))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class SafetyTests(SynchronousTestCase):
    """Whatever a client, a delivery or a checker says, an event is a line of printable text."""

    def assert_safe(self, events: list[LogEvent]) -> None:
        [event] = events
        for text in (
            formatEvent(event),
            event["log_render"](event),
            *(event[name] for name in event if not name.startswith("log_")),
        ):
            if isinstance(text, str):
                self.assertTrue(text.isascii() and text.isprintable(), text)

    @given(any_text, any_text)
    def test_addresses(self, sender: str, recipient: str) -> None:
        session = new_session()
        delivery = ScriptedTransaction(Script(), ReversePath(mailbox=None))
        session.begin(ReversePath(mailbox=Mailbox(sender, "client.test")), delivery)
        session.add(Recipient(mailbox=Mailbox(recipient, "mx.test")))
        with logged(MESSAGE) as events:
            message_ended(session, session.current, "accepted")
        self.assert_safe(events)

    @given(any_text, any_text)
    def test_greetings_and_reasons(self, helo: str, reason: str) -> None:
        session = new_session()
        session.hello(helo, esmtp=True)
        with logged(CONNECTION) as events:
            end_connection(session, reason)
        self.assert_safe(events)

    def test_identities(self) -> None:
        session = new_session()
        session.identity = "ann\r\nroot"
        session.begin(ReversePath(mailbox=None), ScriptedTransaction(Script(), ReversePath(mailbox=None)))
        with logged(CONNECTION) as events:
            end_connection(session)
        self.assert_safe(events)
        with logged(MESSAGE) as events:
            message_ended(session, session.current, "accepted")
        self.assert_safe(events)

    def test_what_a_delivery_refuses_by(self) -> None:
        # It may quote the message, and a reply may have lines.
        script = Script(commit=Answer(result=Refusal(Reply(554, "5.7.1", "Spam:\nSubject \x1b[2J\r\nüber"))))
        with logged(MESSAGE) as events:
            Server(ScriptedDelivery(script)).connect().hello().message()
        self.assert_safe(events)

    def test_a_sender_that_is_not_ascii(self) -> None:
        session = new_session()
        path = ReversePath(mailbox=parse_mailbox("jörg@bücher.example"), internationalized=True)
        session.begin(path, ScriptedTransaction(Script(), path))
        with logged(MESSAGE) as events:
            message_ended(session, session.current, "accepted")
        self.assert_safe(events)
        self.assertEqual(events[0]["sender"], r"j\xf6rg@b\xfccher.example")

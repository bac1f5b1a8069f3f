"""What a connection knows, apart from any octets."""

from functools import partial
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import portal
from tests.scripted import AT_ONCE, LATER, Answer, Script, ScriptedDelivery, ScriptedPolicy, ScriptedTransaction
from tests.support import Server
from twistsmtp.clients import ProxiedAddress
from twistsmtp.envelope import Parameter, Recipient, ReversePath
from twistsmtp.later import drive, is_later
from twistsmtp.security import Security
from twistsmtp.session import Phase, Session, Stage
from twistsmtp.tls.facts import TLS
from twistsmtp.transaction import Counts
from twistsmtp.wire.grammar import parse_mailbox
from twistsmtp.wire.proxy import read_header
from twistsmtp.wire.reply import Refusal, Reply

ANN = ReversePath(mailbox=parse_mailbox("ann@client.test"))
BOB = Recipient(mailbox=parse_mailbox("bob@mx.test"))
ENCRYPTED = TLS("TLSv1.3", "TLS_AES_256_GCM_SHA384")


def new_session(peer: IAddress | None = None, *policies: ScriptedPolicy) -> Session:
    return Server(policies=policies).factory.new_session(StringTransport(peerAddress=peer))


class StageTests(SynchronousTestCase):
    """The stages follow from greeting and transaction: RFC 5321 section 4.1.4."""

    def setUp(self) -> None:
        self.session = new_session()
        self.delivery = ScriptedTransaction(Script(), ANN)

    def test_from_the_greeting_to_the_last_recipient(self) -> None:
        session = self.session
        self.assertIs(session.stage, Stage.CONNECTED)
        session.hello("client.test", esmtp=True)
        self.assertIs(session.stage, Stage.READY)
        self.assertEqual((session.helo, session.esmtp), ("client.test", True))
        session.begin(ANN, self.delivery)
        self.assertIs(session.stage, Stage.MAIL)
        session.add(BOB)
        self.assertIs(session.stage, Stage.RCPT)
        session.finish()
        self.assertIs(session.stage, Stage.READY)
        self.assertEqual((session.transaction, self.delivery.aborts), (None, 0))

    def test_reset_aborts_what_is_open(self) -> None:
        self.session.hello("client.test", esmtp=True)
        self.session.begin(ANN, self.delivery)
        self.session.reset()
        self.session.reset()
        self.assertEqual((self.session.stage, self.session.transaction), (Stage.READY, None))
        self.assertEqual(self.delivery.aborts, 1)

    def test_reset_before_the_greeting(self) -> None:
        self.session.reset()
        self.assertIs(self.session.stage, Stage.CONNECTED)

    def test_a_second_greeting_resets(self) -> None:
        self.session.hello("client.test", esmtp=True)
        self.session.begin(ANN, self.delivery)
        self.session.hello("other.test", esmtp=False)
        self.assertEqual((self.session.helo, self.session.esmtp, self.session.transaction), ("other.test", False, None))
        self.assertEqual(self.delivery.aborts, 1)

    def test_a_transaction_is_aborted_once(self) -> None:
        self.session.begin(ANN, self.delivery)
        self.session.current.abort()
        self.session.current.abort()
        self.session.reset()
        self.assertEqual(self.delivery.aborts, 1)

    def test_without_a_transaction_there_is_no_current_one(self) -> None:
        self.assertRaises(LookupError, lambda: self.session.current)

    def test_every_transaction_has_an_id_of_its_own(self) -> None:
        ids = []
        for _ in range(3):
            self.session.begin(ANN, self.delivery)
            ids.append(self.session.current.id)
            self.session.finish()
        self.assertEqual(len({self.session.id, *ids}), 4)
        self.assertTrue(all(each.startswith(self.session.id) for each in ids))

    def test_the_envelope_is_what_was_taken(self) -> None:
        self.session.begin(ANN, self.delivery)
        self.session.add(BOB)
        envelope = self.session.current.envelope()
        self.session.add(BOB)
        self.assertEqual((envelope.reverse_path, envelope.recipients), (ANN, (BOB,)))
        self.assertEqual(envelope.id, self.session.current.id)


class BarredTests(SynchronousTestCase):
    """A session that has not what the server requires is at a stage of its own, until it has."""

    def session(self, **security: Any) -> Session:
        session = Server(security=Security(**security)).factory.new_session(StringTransport())
        self.assertIs(session.stage, Stage.BARRED)
        return session

    def test_encryption(self) -> None:
        session = self.session(require_tls=True)
        self.assertTrue(session.needs_tls)
        for _ in range(2):
            session.hello("client.test", esmtp=True)
            self.assertIs(session.stage, Stage.BARRED)
            session.reset()
            self.assertIs(session.stage, Stage.BARRED)
        session.restart()
        session.encrypted(ENCRYPTED)
        self.assertIs(session.stage, Stage.CONNECTED)
        self.assertFalse(session.needs_tls)
        session.hello("client.test", esmtp=True)
        self.assertIs(session.stage, Stage.READY)

    def test_authentication(self) -> None:
        session = self.session(require_auth=True, portal=portal())
        session.hello("client.test", esmtp=True)
        self.assertEqual((session.stage, session.needs_tls), (Stage.BARRED, False))
        session.authenticated("tim", ScriptedDelivery(), lambda: None)
        self.assertIs(session.stage, Stage.READY)
        session.begin(ANN, ScriptedTransaction(Script(), ANN))
        session.finish()
        self.assertIs(session.stage, Stage.READY)
        session.restart()
        self.assertIs(session.stage, Stage.BARRED)

    def test_both(self) -> None:
        session = self.session(require_tls=True, require_auth=True, portal=portal())
        session.encrypted(ENCRYPTED)
        session.hello("client.test", esmtp=True)
        self.assertEqual((session.stage, session.needs_tls), (Stage.BARRED, False))


class AvatarTests(SynchronousTestCase):
    """Whose delivery it is, and when the realm is told that it is not used any more."""

    def setUp(self) -> None:
        self.left: list[str] = []
        self.session = new_session()
        self.factory_s = self.session.delivery
        self.visitors, self.own = ScriptedDelivery(), ScriptedDelivery()

    def receive(self) -> None:
        self.session.received(self.visitors, lambda: self.left.append("visitor"))

    def authenticate(self) -> None:
        self.session.authenticated("tim", self.own, lambda: self.left.append("tim"))

    def test_the_servers(self) -> None:
        self.session.end()
        self.assertEqual((self.session.over, self.left), (True, []))
        self.assertIs(self.session.delivery, self.factory_s)

    def test_the_visitors_stays_through_tls(self) -> None:
        self.receive()
        self.assertIs(self.session.delivery, self.visitors)
        self.session.restart()
        self.assertIs(self.session.delivery, self.visitors)
        self.assertEqual(self.left, [])
        self.session.end()
        self.session.end()
        self.assertEqual(self.left, ["visitor"])

    def test_the_users_does_not(self) -> None:
        self.receive()
        self.session.hello("client.test", esmtp=True)
        self.authenticate()
        self.assertEqual((self.session.identity, self.session.delivery), ("tim", self.own))
        self.session.hello("client.test", esmtp=True)
        self.assertEqual((self.session.identity, self.left), ("tim", []))
        self.session.restart()
        self.assertEqual((self.session.identity, self.session.delivery), (None, self.visitors))
        self.assertEqual((self.session.helo, self.session.esmtp, self.left), (None, False, ["tim"]))
        self.authenticate()
        self.session.end()
        self.session.end()
        self.assertEqual(sorted(self.left), ["tim", "tim", "visitor"])

    def test_who_it_was_is_known_to_the_end(self) -> None:
        # What is logged of the connection is logged when it has ended.
        self.authenticate()
        self.session.end()
        self.assertEqual(self.session.identity, "tim")

    def test_a_transaction_is_given_up_before_the_avatar(self) -> None:
        for end in ("restart", "end"):
            session, done = new_session(), list[str]()
            transaction = ScriptedTransaction(Script(), ANN)
            self.patch(transaction, "abort", partial(done.append, "abort"))
            session.authenticated("tim", self.own, partial(done.append, "log out"))
            session.begin(ANN, transaction)
            getattr(session, end)()
            self.assertEqual((done, session.transaction), (["abort", "log out"], None))

    def test_a_realm_that_fails_to_log_out(self) -> None:
        def fail() -> None:
            raise ZeroDivisionError

        self.session.received(self.visitors, lambda: self.left.append("visitor"))
        self.session.authenticated("tim", self.own, fail)
        self.session.end()
        self.assertEqual(self.left, ["visitor"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_what_is_done_when_the_client_has_gone(self) -> None:
        """It is done once, and not when TLS begins."""
        done: list[str] = []
        for what in ("one", "two"):
            self.session.at_end(partial(done.append, what))
        self.session.restart()
        self.assertEqual(done, [])
        self.session.end()
        self.session.end()
        self.assertEqual(done, ["one", "two"])
        self.session.at_end(partial(done.append, "late"))
        self.assertEqual(done, ["one", "two", "late"])

    def test_what_is_done_when_another_client_takes_its_place(self) -> None:
        done: list[str] = []
        self.session.at_end(partial(done.append, "one"))
        self.session.become(IPv4Address("TCP", "192.0.2.9", 1))
        self.session.at_end(partial(done.append, "other"))
        self.assertEqual(done, ["one"])
        self.session.end()
        self.assertEqual(done, ["one", "other"])

    def test_what_fails_at_the_end_is_logged(self) -> None:
        done: list[str] = []
        self.session.at_end(lambda: 1 / 0)
        self.session.at_end(partial(done.append, "done"))
        self.session.end()
        self.assertEqual((done, len(self.flushLoggedErrors(ZeroDivisionError))), (["done"], 1))

    def test_what_stays(self) -> None:
        session = self.session
        session.annotations["mark"] = 1
        session.counts.errors = 7
        known = session.peer, session.annotations, session.counts, session.id
        session.restart()
        self.assertEqual((session.peer, session.annotations, session.counts, session.id), known)
        self.assertEqual((session.annotations, session.counts.errors), ({"mark": 1}, 7))


class ClientTests(SynchronousTestCase):
    def test_the_client_by_its_address(self) -> None:
        for peer, client in (
            (IPv4Address("TCP", "192.0.2.1", 1), "192.0.2.1"),
            (IPv6Address("TCP", "2001:db8::1", 1), "2001:db8::1"),
            (IPv6Address("TCP", "::ffff:192.0.2.1", 1), "192.0.2.1"),
            (UNIXAddress(None), "local"),
            (UNIXAddress("/run/x"), "local"),
        ):
            self.assertEqual(new_session(peer).client, client)

    def test_where_it_has_connected_to(self) -> None:
        for host, text in (
            (IPv4Address("TCP", "192.0.2.25", 25), "192.0.2.25"),
            (IPv6Address("TCP", "::ffff:192.0.2.25", 25), "192.0.2.25"),
            (UNIXAddress("/run/x"), "local"),
        ):
            session = Server().factory.new_session(StringTransport(hostAddress=host))
            self.assertEqual(session.host, text)
            session.end()
            self.assertEqual(session.host, "unknown")

    def test_where_a_proxy_says_that_it_has(self) -> None:
        factory = Server().factory
        for line, text in (
            (b"PROXY TCP4 192.0.2.1 192.0.2.25 50000 25\r\n", "192.0.2.25"),
            (b"PROXY UNKNOWN\r\n", "192.0.2.99"),
        ):
            header, _ = read_header(line) or self.fail("no header")
            transport = StringTransport(hostAddress=IPv4Address("TCP", "192.0.2.99", 25))
            address = ProxiedAddress(transport.getPeer(), header)
            self.assertEqual(factory.new_session(transport, address).host, text)

    def test_it_can_be_shown(self) -> None:
        session = new_session()
        self.assertEqual(repr(session), f"<Session {session.id} 192.168.1.1 CONNECTED>")


class PathTests(SynchronousTestCase):
    def test_as_text(self) -> None:
        self.assertEqual(str(ReversePath(mailbox=None)), "")
        self.assertEqual(str(ANN), "ann@client.test")
        self.assertEqual(str(BOB), "bob@mx.test")

    def test_a_parameter_is_the_key_to_its_value(self) -> None:
        colour: Parameter[str] = Parameter(
            keyword="COLOUR", parse=lambda _, value: value or "", default="grey", octets=9
        )
        self.assertEqual(ANN.get(colour), "grey")
        path = ReversePath(mailbox=None, options=(("COLOUR", "Red"),), parameters={"COLOUR": "red"})
        self.assertEqual(path.get(colour), "red")
        self.assertEqual(path.options, (("COLOUR", "Red"),))


class CountsTests(SynchronousTestCase):
    def test_a_message_that_was_accepted_makes_good(self) -> None:
        counts = Counts(errors=7, errors_in_a_row=7, idle_commands=7, unknown_commands=7)
        counts.message(accepted=False)
        self.assertEqual((counts.accepted, counts.refused, counts.errors_in_a_row), (0, 1, 7))
        counts.message(accepted=True)
        self.assertEqual((counts.accepted, counts.refused), (1, 1))
        self.assertEqual((counts.errors, counts.errors_in_a_row, counts.idle_commands), (7, 0, 0))
        self.assertEqual(counts.unknown_commands, 7)


class AskTests(SynchronousTestCase):
    """Policies are asked in order, one at a time, until one refuses."""

    NO = Refusal(Reply(550, "5.7.1", "No"))

    def ask(self, script: Script, count: int) -> object:
        session = new_session(None, *[ScriptedPolicy(script) for _ in range(count)])
        answer = session.ask(Phase.RCPT, BOB)
        return drive(answer) if is_later(answer) else answer

    def test_nobody_is_asked(self) -> None:
        self.assertIsNone(new_session().ask(Phase.RCPT, BOB))

    def test_all_at_once(self) -> None:
        for how in AT_ONCE:
            script = Script(how)
            self.assertIsNone(self.ask(script, 3))
            self.assertEqual(script.calls, ["policy_rcpt"] * 3)

    def test_each_waits_for_the_one_before(self) -> None:
        for how in LATER:
            script = Script(how)
            answer = self.ask(script, 3)
            assert isinstance(answer, Deferred)
            for asked in (1, 2, 3):
                self.assertEqual((len(script.calls), len(script.waiting)), (asked, 1))
                self.assertNoResult(answer)
                script.release()
            self.assertIsNone(self.successResultOf(answer))

    def test_the_first_refusal_ends_it(self) -> None:
        for how in AT_ONCE:
            script = Script(policy_rcpt=[Answer(), Answer(how, self.NO), Answer()])
            self.assertIs(self.assertRaises(Refusal, self.ask, script, 3), self.NO)
            self.assertEqual(len(script.calls), 2)

    def test_a_refusal_later(self) -> None:
        for first in LATER:
            for second in (*AT_ONCE, *LATER):
                script = Script(policy_rcpt=[Answer(first), Answer(second, self.NO), Answer()])
                answer = self.ask(script, 3)
                assert isinstance(answer, Deferred)
                script.release_all()
                self.assertIs(self.failureResultOf(answer, Refusal).value, self.NO)
                self.assertEqual(len(script.calls), 2)

"""Where mechanisms meet the portal: whose avatar a client gets and for how long, and what failing costs."""

from base64 import b64decode, b64encode
from collections.abc import Callable
from io import StringIO
from typing import Any

from twisted.cred.error import LoginFailed, Unauthorized
from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogEvent, capturedLogs, formatEvent
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import (
    PASSWORD,
    TOKEN,
    USER,
    WRONG,
    Anybody,
    Bearers,
    Digests,
    Passwords,
    Realm,
    Scrams,
    authenticate,
    encoded,
    plain,
    responder,
    secured,
)
from tests.delivery.twistedmail import RecordingDelivery, RecordingFactory
from tests.scripted import AT_ONCE, LATER, Answer, How, Script, ScriptedDelivery, ScriptedPolicy
from tests.support import Client, Server, logged
from twistsmtp.cred import AVATARS, Authentication, offered
from twistsmtp.delivery.api import IDelivery
from twistsmtp.limits import Limits
from twistsmtp.log import JSONObserver, TextObserver
from twistsmtp.policy.api import Policy
from twistsmtp.sasl import MECHANISMS, load_mechanisms
from twistsmtp.sasl.api import Context, Exchange, Mechanism, ask
from twistsmtp.sasl.credentials import IBearerToken
from twistsmtp.security import Failures
from twistsmtp.session import Session
from twistsmtp.wire.reply import Refusal, Reply

RIGHT, NOT_RIGHT, TOO_MANY = "235 2.7.0", "535 5.7.8", "421 4.7.0"
ID = USER.encode()
NO = Refusal(Reply(550, "5.7.1", "Not today"))


class Oops(Exception):
    """What nobody meant to raise."""


class AuthPolicy(Policy):
    """Asked about identities only, in the step ``policy_auth``."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.identities: list[str] = []

    def auth(self, session: Session, identity: str) -> Any:
        self.identities.append(identity)
        return self.script.play("policy_auth", lambda: None)


def _challenge(reply: str) -> bytes:
    return b64decode(reply[4:], validate=True)


class CredTestCase(SynchronousTestCase):
    def connect(self, server: Server, peer: Any = "192.0.2.1") -> Client:
        return server.connect(peer).hello()

    def guess(self, client: Client, message: str = plain(WRONG)) -> tuple[float, list[str]]:
        """Try a wrong password.

        :returns: the seconds that it took to be told so, in steps of 1/8, and the replies.
        """
        clock = client.server.clock
        since = clock.seconds()
        replies = client.codes(f"AUTH PLAIN {message}")
        while not replies and clock.seconds() < since + 60:
            clock.advance(0.125)
            replies = client.codes()
        return clock.seconds() - since, replies


# --- what failing costs --------------------------------------------------------------------------------------


class DelayTests(CredTestCase):
    def test_each_failure_costs_twice_as_much(self) -> None:
        client = self.connect(secured(limits=Limits(auth_failures=8)))
        costs = [self.guess(client) for _ in range(7)]
        self.assertEqual(costs, [(delay, [NOT_RIGHT]) for delay in (1, 2, 4, 8, 16, 16, 16)])

    def test_it_can_be_set(self) -> None:
        client = self.connect(secured(limits=Limits(auth_delay=0.25, auth_delay_most=0.75)))
        self.assertEqual([self.guess(client)[0] for _ in range(3)], [0.25, 0.5, 0.75])

    def test_success_costs_nothing(self) -> None:
        client = self.connect(secured())
        self.guess(client)
        self.assertEqual(client.codes(f"AUTH PLAIN {plain()}"), [RIGHT])

    def test_nothing_is_answered_meanwhile_and_nothing_is_lost(self) -> None:
        client = self.connect(secured())
        self.assertEqual(client.codes(f"AUTH PLAIN {plain(WRONG)}", "NOOP", f"AUTH PLAIN {plain()}"), [])
        client.server.clock.advance(0.99)
        self.assertEqual(client.codes(), [])
        client.server.clock.advance(0.01)
        self.assertEqual(client.codes(), [NOT_RIGHT, "250 2.0.0", RIGHT])

    def test_other_connections_do_not_wait(self) -> None:
        server = secured()
        waiting = self.connect(server)
        waiting.say(f"AUTH PLAIN {plain(WRONG)}")
        for peer in ("192.0.2.1", "192.0.2.2"):
            other = self.connect(server, peer)
            self.assertEqual(other.codes("NOOP", f"AUTH PLAIN {plain()}", "MAIL FROM:<>")[1:], [RIGHT, "250 2.1.0"])
        self.assertEqual(waiting.codes(), [])

    def test_how_long_the_check_took_does_not_show(self) -> None:
        # A user who is there costs a hash, and one who is not may cost none.
        for taken, expected in ((0, 1), (0.25, 1), (0.875, 1), (1.125, 2), (2.5, 3)):
            script = Script(check=Answer(How.DEFERRED))
            client = self.connect(secured(Passwords(script)))
            client.say(f"AUTH PLAIN {plain(WRONG)}")
            client.server.clock.advance(taken)
            script.release()
            client.server.clock.advance(expected - taken - 0.0625)
            self.assertEqual(client.codes(), [], taken)
            client.server.clock.advance(0.0625)
            self.assertEqual(client.codes(), [NOT_RIGHT], taken)

    def test_whatever_the_delay_and_the_check_take(self) -> None:
        # 0.7 * 17 is a little less than what 17 steps of 0.7 add up to; nothing can be put off by less than nothing.
        script = Script(check=Answer(How.DEFERRED))
        server = secured(Passwords(script), limits=Limits(auth_delay=0.7))
        later: Callable[..., Any] = server.clock.callLater
        delays: list[float] = []
        self.patch(server.clock, "callLater", lambda delay, *rest: (delays.append(delay), later(delay, *rest))[1])
        client = self.connect(server)
        client.say(f"AUTH PLAIN {plain(WRONG)}")
        server.clock.advance(11.9)
        script.release()
        client.server.clock.advance(0.7)
        self.assertEqual(client.codes(), [NOT_RIGHT])
        self.assertGreaterEqual(min(delays), 0)

    def test_what_is_no_guess_costs_nothing(self) -> None:
        client = self.connect(secured(Passwords(), Digests()))
        for lines in (["AUTH PLAIN !"], ["AUTH PLAIN ="], ["AUTH PLAIN", "*"], ["AUTH CRAM-MD5", ""], ["AUTH X"]):
            self.assertEqual(client.codes(*lines)[-1][:2], "50")
        self.assertEqual(client.session.counts.auth_failures, 0)
        self.assertEqual(self.guess(client), (1, [NOT_RIGHT]))

    def test_what_a_mechanism_has_to_say_to_a_failure_does_not_make_it_free(self) -> None:
        # RFC 7628 section 3.2.3: the reason is one more challenge, and only then does it fail.
        for end in (b"", b"\x01", None, b"*", b"!", b"x" * 13_000):
            client = self.connect(secured(Bearers()))
            message = responder("XOAUTH2", WRONG)(b"")
            self.assertEqual(client.codes(f"AUTH XOAUTH2 {encoded(message)}"), ["334"])
            if end is None:
                client.vanish()
            else:
                client.say(encoded(end) if len(end) < 2 and end not in (b"*", b"!") else end)
                client.server.clock.advance(1)
                self.assertEqual(client.codes(), [NOT_RIGHT], end)
            self.assertEqual(client.session.counts.auth_failures, 1, end)
            self.assertEqual(client.session.security.failures.count("192.0.2.1", 0), 1)


class LimitTests(CredTestCase):
    def test_of_a_connection(self) -> None:
        client = self.connect(secured())
        costs = [self.guess(client) for _ in range(5)]
        self.assertEqual(costs, [*((delay, [NOT_RIGHT]) for delay in (1, 2, 4, 8)), (16, [TOO_MANY])])
        self.assertEqual(client.wire.writes[-1], b"421 4.7.0 Too many authentication failures\r\n")
        self.assertTrue(client.closed)

    def test_of_a_client_in_all_its_connections(self) -> None:
        server = secured(limits=Limits(auth_failures_per_client=3, auth_delay=0.125))
        for delay in (0.125, 0.25, 0.5):
            self.assertEqual(self.guess(self.connect(server)), (delay, [NOT_RIGHT]))
        client = self.connect(server)
        self.assertEqual(client.codes(f"AUTH PLAIN {plain()}"), [TOO_MANY])
        self.assertTrue(client.closed)
        self.assertEqual(self.connect(server).codes("NOOP", "MAIL FROM:<>"), ["250 2.0.0", "250 2.1.0"])
        self.assertEqual(self.connect(server, "192.0.2.2").codes(f"AUTH PLAIN {plain()}"), [RIGHT])

    def test_nobody_is_asked_beyond_it(self) -> None:
        checker = Passwords()
        server = secured(checker, limits=Limits(auth_failures_per_client=1))
        self.guess(self.connect(server))
        self.guess(self.connect(server))
        self.assertEqual(len(checker.credentials), 1)

    def test_it_halves_in_time(self) -> None:
        failures = Failures(half_life=100)
        server = secured(limits=Limits(auth_failures_per_client=2), failures=failures)
        for _ in range(3):
            failures.add("192.0.2.1", server.clock.seconds())
        server.clock.advance(90)
        self.assertEqual(self.connect(server).codes(f"AUTH PLAIN {plain()}"), [TOO_MANY])
        server.clock.advance(20)
        self.assertEqual(self.connect(server).codes(f"AUTH PLAIN {plain()}"), [RIGHT])

    def test_the_network_that_a_site_has_counts_as_one(self) -> None:
        server = secured(limits=Limits(auth_failures_per_client=2))
        peers = [IPv6Address("TCP", f"2001:db8:1:2::{host}", 1) for host in (1, 2, 3)]
        for peer in peers[:2]:
            self.guess(self.connect(server, peer))
        self.assertEqual(self.connect(server, peers[2]).codes(f"AUTH PLAIN {plain()}"), [TOO_MANY])
        other = IPv6Address("TCP", "2001:db8:1:3::1", 1)
        self.assertEqual(self.connect(server, other).codes(f"AUTH PLAIN {plain()}"), [RIGHT])

    def test_the_table_is_bounded(self) -> None:
        failures = Failures(room=10)
        server = secured(limits=Limits(auth_delay=0.125), failures=failures)
        for host in range(1, 30):
            self.guess(self.connect(server, f"192.0.2.{host}"))
        now = server.clock.seconds()
        known = [host for host in range(1, 30) if failures.count(f"192.0.2.{host}", now)]
        self.assertEqual(known, list(range(20, 30)))

    def test_clients_of_a_unix_socket(self) -> None:
        # They all have the same address, which is none: one cannot lock out the others.
        server = secured(limits=Limits(auth_failures_per_client=1, auth_failures=2))
        for _ in range(3):
            client = self.connect(server, UNIXAddress("/run/smtp"))
            self.assertEqual([self.guess(client), self.guess(client)], [(1, [NOT_RIGHT]), (2, [TOO_MANY])])
        other = self.connect(server, UNIXAddress(None))
        self.assertEqual(other.codes(f"AUTH PLAIN {plain()}"), [RIGHT])

    def test_failures_are_errors_too(self) -> None:
        client = self.connect(secured(limits=Limits(errors=2)))
        self.guess(client)
        self.assertEqual(self.guess(client)[1], [NOT_RIGHT, TOO_MANY])


# --- who gets what -------------------------------------------------------------------------------------------


class AvatarTests(CredTestCase):
    def avatar(self, avatar: object) -> tuple[Client, Realm]:
        realm = Realm()
        realm.delivery = avatar
        client = self.connect(secured(realm=realm))
        return client, realm

    def test_what_the_realm_is_asked(self) -> None:
        delivery = ScriptedDelivery()
        client, realm = self.avatar(delivery)
        client.say(f"AUTH PLAIN {plain()}")
        self.assertEqual(realm.asked, [(ID, client.session, (IDelivery, IMessageDeliveryFactory, IMessageDelivery))])
        self.assertEqual(AVATARS, realm.asked[0][2])
        self.assertIs(client.session.delivery, delivery)

    def test_a_delivery_of_ours(self) -> None:
        delivery = ScriptedDelivery()
        client, _ = self.avatar(delivery)
        client.say(f"AUTH PLAIN {plain()}")
        client.message(b"text\r\n")
        self.assertEqual((delivery.bodies, client.server.delivery.transactions), ([b"text\r\n"], []))
        self.assertIn(b" with ESMTPA id ", delivery.transactions[0].octets)

    def test_those_of_twisted_mail(self) -> None:
        for avatar in (RecordingDelivery(), RecordingFactory(RecordingDelivery())):
            client, _ = self.avatar(avatar)
            self.assertEqual(client.codes(f"AUTH PLAIN {plain()}"), [RIGHT])
            self.assertEqual(client.message()[0][:9], "250 2.0.0")
            self.assertEqual(client.server.delivery.transactions, [])

    def test_one_that_is_none(self) -> None:
        for avatar in (object(), ScriptedDelivery):
            client, realm = self.avatar(avatar)
            self.assertEqual(client.codes(f"AUTH PLAIN {plain()}"), ["454 4.7.0"])
            self.assertEqual((realm.left, client.session.identity), ([ID], None))
            self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_a_realm_that_has_none(self) -> None:
        for error in (LoginFailed(), Unauthorized("locked")):
            realm = Realm(Script(realm=[Answer(result=error)]))
            client = self.connect(secured(realm=realm))
            self.assertEqual(self.guess(client, plain()), (1, [NOT_RIGHT]))
            self.assertEqual(client.codes(f"AUTH PLAIN {plain()}"), [RIGHT])

    def test_every_way_in_which_checker_and_realm_can_answer(self) -> None:
        for how in (*AT_ONCE, *LATER):
            for step in ("check", "realm", "keys", "policy_auth"):
                script = Script(**{step: Answer(how)})
                checkers = Passwords(script), Scrams(script)
                server = secured(*checkers, realm=Realm(script), policies=[AuthPolicy(script)])
                client = self.connect(server)
                respond = responder("SCRAM-SHA-256", PASSWORD)
                replies = client.say("AUTH SCRAM-SHA-256")
                for _ in range(3):
                    replies = client.say(encoded(respond(_challenge(replies[-1]))))
                    script.release_all()
                    replies += client.say()
                self.assertEqual(replies[-1][:9], RIGHT, (how, step))

    def test_a_checker_that_knows_who_it_is(self) -> None:
        server = secured(Bearers())
        for message, identity in (
            (f"n,,\x01auth=Bearer {TOKEN}\x01\x01", USER),
            (f"n,a={USER},\x01auth=Bearer {TOKEN}\x01\x01", USER),
        ):
            client = self.connect(server)
            self.assertEqual(client.codes(f"AUTH OAUTHBEARER {encoded(message)}"), [RIGHT])
            self.assertEqual(client.session.identity, identity)

    def test_a_checker_that_does_not_say_who_it_is(self) -> None:
        class Silent(Bearers):
            def knows(self, credentials: Any) -> bool:
                return True

        realm = Realm()
        client = self.connect(secured(Silent(), realm=realm))
        message = encoded(f"n,,\x01auth=Bearer {TOKEN}\x01\x01")
        self.assertEqual(client.codes(f"AUTH OAUTHBEARER {message}", "AQ=="), ["334"])
        client.server.clock.advance(1)
        self.assertEqual(client.codes(), [NOT_RIGHT])
        self.assertEqual((realm.given, realm.left), ([ID], [ID]))


class ActingTests(CredTestCase):
    """RFC 4422 section 3.4.1: to have one's own credentials, and to act as another."""

    def test_nobody_may(self) -> None:
        realm = Realm()
        client = self.connect(secured(realm=realm))
        self.assertEqual(self.guess(client, plain(identity="ann")), (1, [NOT_RIGHT]))
        self.assertEqual((client.session.identity, realm.given, realm.left), (None, [ID], [ID]))

    def test_as_oneself(self) -> None:
        client = self.connect(secured())
        self.assertEqual(client.codes(f"AUTH PLAIN {plain(identity=USER)}"), [RIGHT])
        self.assertEqual(client.session.identity, USER)

    def test_who_may(self) -> None:
        asked: list[tuple[str, str]] = []

        def may_act_as(*names: str) -> bool:
            asked.append((names[0], names[1]))
            return names == (USER, "ann")

        server = secured(may_act_as=may_act_as)
        client = self.connect(server)
        self.assertEqual(client.codes(f"AUTH PLAIN {plain(identity='ann')}"), [RIGHT])
        self.assertEqual(client.session.identity, "ann")
        self.assertEqual(self.guess(self.connect(server), plain(identity="joe"))[1], [NOT_RIGHT])
        self.assertEqual(asked, [(USER, "ann"), (USER, "joe")])

    def test_only_whose_credentials_are_right(self) -> None:
        asked: list[object] = []
        client = self.connect(secured(may_act_as=lambda *names: bool(asked.append(names))))
        self.assertEqual(self.guess(client, plain(WRONG, identity="ann"))[1], [NOT_RIGHT])
        self.assertEqual(asked, [])

    def test_a_rule_that_fails(self) -> None:
        def may_act_as(*names: str) -> bool:
            raise Oops

        realm = Realm()
        client = self.connect(secured(realm=realm, may_act_as=may_act_as))
        self.assertEqual(client.codes(f"AUTH PLAIN {plain(identity='ann')}"), ["454 4.7.0"])
        self.assertEqual((client.session.identity, realm.left), (None, [ID]))
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)


class PolicyTests(CredTestCase):
    def test_asked_who_it_is_when_the_credentials_are_right(self) -> None:
        policy = AuthPolicy(Script())
        client = self.connect(secured(policies=[policy]))
        self.guess(client)
        self.assertEqual(policy.identities, [])
        client.say(f"AUTH PLAIN {plain()}")
        self.assertEqual(policy.identities, [USER])

    def test_a_refusal(self) -> None:
        for how in (*AT_ONCE, *LATER):
            script = Script(policy_auth=[Answer(how, NO)])
            realm = Realm()
            client = self.connect(secured(realm=realm, policies=[AuthPolicy(script)]))
            client.say(f"AUTH PLAIN {plain()}")
            self.assertEqual(realm.left, [] if how in LATER else [ID])
            script.release_all()
            self.assertEqual((client.session.identity, realm.given, realm.left), (None, [ID], [ID]))
            self.assertIs(client.session.delivery, client.server.delivery)
            self.assertEqual(client.session.counts.auth_failures, 0)
            self.assertEqual(client.codes(f"AUTH PLAIN {plain()}")[-1], RIGHT)
            client.say("QUIT")
            self.assertEqual(realm.left, [ID, ID])

    def test_one_that_fails(self) -> None:
        for how in (*AT_ONCE, *LATER):
            script = Script(policy_auth=Answer(how, Oops()))
            realm = Realm()
            client = self.connect(secured(realm=realm, policies=[AuthPolicy(script)]))
            codes = client.codes(f"AUTH PLAIN {plain()}")
            script.release_all()
            self.assertEqual(codes + client.codes(), ["451 4.3.0"])
            self.assertEqual((client.session.identity, realm.left), (None, [ID]))
            self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)

    def test_a_421_ends_the_connection(self) -> None:
        script = Script(policy_auth=Answer(result=Refusal(Reply(421, "4.7.0", "Go away"))))
        realm = Realm()
        client = self.connect(secured(realm=realm, policies=[AuthPolicy(script)]))
        self.assertEqual(client.codes(f"AUTH PLAIN {plain()}"), ["421 4.7.0"])
        self.assertEqual((client.closed, realm.left), (True, [ID]))


# --- how it ends ---------------------------------------------------------------------------------------------


class EndTests(CredTestCase):
    """`log_out` is called once for each avatar that was given."""

    def assert_over(self, client: Client, realm: Realm, given: int = 1) -> None:
        self.assertEqual((realm.given, realm.left), ([ID] * given, [ID] * given))
        self.assertTrue(client.closed)
        self.assertEqual(self.flushLoggedErrors(), [])
        client.server.clock.advance(30)
        self.assertEqual(client.server.clock.getDelayedCalls(), [])
        self.assertEqual(realm.left, [ID] * given)

    def test_quit_or_a_lost_connection_or_the_server(self) -> None:
        for end in (
            lambda client: client.say("QUIT"),
            lambda client: client.vanish(),
            lambda client: client.finish_sending(),
            lambda client: client.server.factory.shutdown(),
            lambda client: client.server.clock.pump([10] * 40),
        ):
            realm = Realm()
            client = self.connect(secured(realm=realm))
            client.say(f"AUTH PLAIN {plain()}")
            self.assertEqual((realm.given, realm.left), ([ID], []))
            end(client)
            self.assert_over(client, realm)

    def test_with_a_transaction_open(self) -> None:
        realm = Realm()
        client = self.connect(secured(realm=realm))
        client.say(f"AUTH PLAIN {plain()}", "MAIL FROM:<>", "RCPT TO:<b@mx.test>", "DATA", "text")
        client.vanish()
        delivery: Any = realm.delivery
        self.assertEqual(delivery.transactions[0].aborts, 1)
        self.assert_over(client, realm)

    def test_gone_while_something_is_pending(self) -> None:
        for how in LATER:
            for step, given in (("check", 0), ("realm", 0), ("policy_auth", 1)):
                script = Script(**{step: Answer(how)})
                realm = Realm(script)
                server = secured(Passwords(script), realm=realm, policies=[AuthPolicy(script)])
                client = self.connect(server)
                client.say(f"AUTH PLAIN {plain()}")
                self.assertEqual([name for name, _ in script.waiting], [step])
                client.vanish()
                self.assertEqual(script.waiting, [], "it is cancelled")
                self.assert_over(client, realm, given)

    def test_gone_while_keys_are_looked_up(self) -> None:
        for how in LATER:
            script = Script(keys=Answer(how))
            realm = Realm()
            client = self.connect(secured(Scrams(script), realm=realm))
            client.say("AUTH SCRAM-SHA-1", encoded(responder("SCRAM-SHA-1", PASSWORD)(b"")))
            self.assertEqual(len(script.waiting), 1)
            client.vanish()
            self.assertEqual(script.waiting, [])
            self.assert_over(client, realm, 0)

    def test_gone_while_a_challenge_waits_for_its_response(self) -> None:
        for lines in (["AUTH PLAIN"], ["AUTH LOGIN", encoded(USER)], ["AUTH CRAM-MD5"], ["AUTH SCRAM-SHA-1"]):
            realm = Realm()
            client = self.connect(secured(Passwords(), Digests(), Scrams(), realm=realm))
            client.say(*lines)
            client.vanish()
            self.assert_over(client, realm, 0)

    def test_gone_or_otherwise_while_the_last_challenge_waits(self) -> None:
        # SCRAM shows that the server knows the keys, too, when the avatar is there already.
        for end, reply in (
            (lambda client: client.vanish(), None),
            (lambda client: client.say("*"), "501 5.7.0"),
            (lambda client: client.say("!"), "501 5.5.2"),
            (lambda client: client.say("AAAA"), "501 5.5.2"),
            (lambda client: client.say("A" * 13_000), "500 5.5.6"),
            (lambda client: client.server.factory.shutdown(), None),
            (lambda client: client.server.clock.pump([10] * 40), None),
        ):
            realm = Realm()
            client = self.connect(secured(Scrams(), realm=realm))
            respond = responder("SCRAM-SHA-256", PASSWORD)
            replies = client.say("AUTH SCRAM-SHA-256")
            for _ in range(2):
                replies = client.say(encoded(respond(_challenge(replies[-1]))))
            self.assertEqual((replies[-1][:6], realm.given, realm.left), ("334 dj", [ID], []))
            end(client)
            self.assertEqual(realm.left, [ID], reply)
            self.assertIsNone(client.session.identity)
            if reply is not None:
                client.say("QUIT")
            self.assert_over(client, realm)

    def test_gone_while_it_is_to_learn_that_it_failed(self) -> None:
        realm = Realm()
        client = self.connect(secured(realm=realm))
        client.say(f"AUTH PLAIN {plain(WRONG)}")
        client.vanish()
        self.assert_over(client, realm, 0)

    def test_an_answer_that_takes_too_long(self) -> None:
        for step in ("check", "realm"):
            script = Script(**{step: Answer(How.DEFERRED)})
            realm = Realm(script)
            client = self.connect(secured(Passwords(script), realm=realm, limits=Limits(answer_time=60)))
            client.say(f"AUTH PLAIN {plain()}")
            client.server.clock.pump([10] * 8)
            self.assertEqual((client.codes(), script.waiting, realm.given), (["454 4.7.0"], [], []))
            self.assertEqual(len(self.flushLoggedErrors(CancelledError)), 1)

    def test_an_avatar_that_comes_in_spite_of_being_cancelled(self) -> None:
        """By a Deferred that is none the less fired, or by a coroutine that goes on."""

        class Stubborn(Realm):
            coroutine = False

            def requestAvatar(self, avatarId: Any, mind: object, *interfaces: Any) -> Any:  # noqa: N803
                if not self.coroutine:
                    return Deferred(lambda waiting: waiting.callback(self._give(avatarId)))

                async def give() -> Any:
                    try:
                        await Deferred()
                    except CancelledError:
                        return self._give(avatarId)

                return Deferred.fromCoroutine(give())

        for coroutine in (False, True):
            realm = Stubborn()
            realm.coroutine = coroutine
            client = self.connect(secured(realm=realm))
            client.say(f"AUTH PLAIN {plain()}")
            client.vanish()
            self.assert_over(client, realm)

    def test_logging_out_fails(self) -> None:
        realm = Realm()
        realm.error = Oops()
        client = self.connect(secured(realm=realm))
        client.say(f"AUTH PLAIN {plain()}")
        self.assertEqual(client.codes("QUIT"), ["221 2.0.0"])
        self.assertEqual((client.closed, realm.left), (True, [ID]))
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)

    def test_logging_out_fails_where_another_is_refused(self) -> None:
        # A realm's trouble is not to make guessing cheap.
        realm = Realm()
        realm.error = Oops()
        client = self.connect(secured(realm=realm))
        self.assertEqual(self.guess(client, plain(identity="ann")), (1, [NOT_RIGHT]))
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)


class VisitorTests(CredTestCase):
    """The avatar of those who have not authenticated."""

    def server(self, visitors: object, script: Script | None = None, **settings: Any) -> tuple[Server, Realm]:
        realm = Realm(script, visitors)
        return secured(Passwords(), Anybody(), realm=realm, **settings), realm

    def test_it_takes_their_mail(self) -> None:
        visitors = ScriptedDelivery()
        server, realm = self.server(visitors)
        client = server.connect()
        self.assertEqual((client.codes(), realm.given), (["220"], [()]))
        self.assertEqual((client.session.delivery, client.session.identity), (visitors, None))
        client.hello().message(b"text\r\n")
        self.assertEqual((visitors.bodies, server.delivery.transactions), ([b"text\r\n"], []))
        self.assertIn(b" with ESMTP id ", visitors.transactions[0].octets)

    def test_a_realm_that_has_none_for_them(self) -> None:
        server, realm = self.server(None)
        client = self.connect(server)
        self.assertEqual((len(realm.asked), realm.given), (1, []))
        self.assertIs(client.session.delivery, server.delivery)
        client.say("QUIT")
        self.assertEqual(realm.left, [])

    def test_a_realm_that_refuses_them(self) -> None:
        server, realm = self.server(ScriptedDelivery(), Script(realm=Answer(How.DEFERRED, LoginFailed())))
        client = server.connect()
        realm.script.release_all()
        self.assertEqual(client.codes(), ["220"])
        self.assertIs(client.session.delivery, server.delivery)

    def test_a_portal_that_nobody_may_visit(self) -> None:
        realm = Realm(visitors=ScriptedDelivery())
        client = self.connect(secured(realm=realm))
        self.assertEqual(realm.asked, [])
        self.assertIs(client.session.delivery, client.server.delivery)

    def test_those_who_authenticate_get_their_own(self) -> None:
        server, realm = self.server(ScriptedDelivery())
        client = self.connect(server)
        client.say(f"AUTH PLAIN {plain()}")
        self.assertEqual((realm.given, realm.left), ([(), ID], []))
        self.assertIs(client.session.delivery, realm.delivery)
        client.say("QUIT")
        self.assertEqual(sorted(map(str, realm.left)), sorted(map(str, realm.given)))

    def test_it_is_logged_out_once(self) -> None:
        for end in (lambda client: client.say("QUIT"), lambda client: client.vanish()):
            server, realm = self.server(ScriptedDelivery())
            client = self.connect(server)
            end(client)
            self.assertEqual((realm.given, realm.left, client.closed), ([()], [()], True))

    def test_a_slow_realm_holds_the_greeting_back(self) -> None:
        for how in LATER:
            server, realm = self.server(ScriptedDelivery(), Script(realm=Answer(how)))
            client = server.connect()
            self.assertEqual(client.read(), b"")
            realm.script.release()
            self.assertEqual(client.codes(), ["220"])
            self.assertIs(client.session.delivery, realm.visitors)

    def test_gone_before_it_has_answered(self) -> None:
        for how in LATER:
            server, realm = self.server(ScriptedDelivery(), Script(realm=Answer(how)))
            client = server.connect()
            client.vanish()
            self.assertEqual((realm.script.waiting, client.wire.writes), ([], []))
            self.assertEqual((realm.given, realm.left), ([], []))
            self.assertEqual(self.flushLoggedErrors(), [])

    def test_gone_and_it_answers_all_the_same(self) -> None:
        class Stubborn(Realm):
            def requestAvatar(self, avatarId: Any, mind: object, *interfaces: Any) -> Any:  # noqa: N803
                return Deferred(lambda waiting: waiting.callback(self._give(avatarId)))

        realm = Stubborn(visitors=ScriptedDelivery())
        client = secured(Passwords(), Anybody(), realm=realm).connect()
        client.vanish()
        self.assertEqual((realm.given, realm.left, client.wire.writes), ([()], [()], []))

    def test_a_realm_that_fails(self) -> None:
        for how in (*AT_ONCE, *LATER):
            server, realm = self.server(ScriptedDelivery(), Script(realm=Answer(how, Oops())))
            client = server.connect()
            realm.script.release_all()
            self.assertEqual((client.codes(), client.closed), (["451 4.3.0"], True))
            self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)

    def test_an_avatar_that_is_no_delivery(self) -> None:
        server, realm = self.server(object())
        client = server.connect()
        self.assertEqual((client.codes(), client.closed), (["451 4.3.0"], True))
        self.assertEqual(realm.left, [()])
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_a_policy_may_refuse_before_the_realm_is_asked(self) -> None:
        script = Script(policy_connect=Answer(result=NO))
        server, realm = self.server(ScriptedDelivery(), policies=[ScriptedPolicy(script)])
        self.assertEqual((server.connect().codes(), realm.asked), (["550 5.7.1"], []))


# --- mechanisms and the log ----------------------------------------------------------------------------------


class MechanismTests(CredTestCase):
    def own(self, start: Callable[[Context], Exchange]) -> Client:
        mechanism = Mechanism(name="X-OWN", start=start, interface=IBearerToken)
        return self.connect(secured(Bearers(), mechanisms=(mechanism,)))

    def test_one_that_ends_without_a_login(self) -> None:
        def start(context: Context) -> Exchange:
            yield from ask(b"Well?")

        client = self.own(start)
        self.assertEqual(client.codes("AUTH X-OWN", encoded("Well.")), ["334", "451 4.3.0"])
        self.assertIsNone(client.session.identity)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_one_that_fails(self) -> None:
        def start(context: Context) -> Exchange:
            yield from ask(b"Well?")
            raise Oops

        client = self.own(start)
        self.assertEqual(client.codes("AUTH X-OWN", encoded("Well.")), ["334", "454 4.7.0"])
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)

    def test_what_it_knows(self) -> None:
        seen: list[Context] = []

        def start(context: Context) -> Exchange:
            seen.append(context)
            yield from ask(b"Well?")

        self.own(start).say("AUTH X-OWN")
        self.assertEqual((seen[0].hostname, seen[0].certificate), ("mx.test", None))
        self.assertIsNone(seen[0].binding("tls-exporter"))

    def test_what_is_offered_can_be_asked(self) -> None:
        client = self.connect(secured())
        self.assertEqual([each.name for each in offered(client.session)], ["PLAIN", "LOGIN"])


class LogTests(CredTestCase):
    def test_one_line_for_each_exchange(self) -> None:
        server = secured(limits=Limits(auth_delay=0.125))
        with logged("twistsmtp.auth") as events:
            client = self.connect(server)
            self.guess(client, plain(WRONG, "no\nbody\x1b[2J"))
            self.guess(client, plain(WRONG, "x" * 1000))
            self.guess(client, plain(identity="ann"))
            client.say(f"AUTH PLAIN {plain()}")
        start = f"{client.session.id} client=192.0.2.1 mechanism=PLAIN user="
        self.assertEqual([formatEvent(event)[: len(start)] for event in events], [start] * len(events))
        self.assertEqual(
            [formatEvent(event)[len(start) :] for event in events],
            ["x" * 100 + " failed", "tim failed", "tim succeeded"],  # the first is no name: 501
        )

    def test_who_it_was(self) -> None:
        client = self.connect(secured(Bearers()))
        with logged("twistsmtp.auth") as events:
            client.say(f"AUTH OAUTHBEARER {encoded(f'n,,{chr(1)}auth=Bearer {TOKEN}{chr(1)}{chr(1)}')}")
        self.assertEqual([(event["user"], event["result"]) for event in events], [(USER, "succeeded")])

    def test_the_connection_and_its_messages_say_who_it_was(self) -> None:
        for namespace in ("twistsmtp.connection", "twistsmtp.message"):
            for end in (lambda client: client.say("QUIT"), lambda client: client.vanish()):
                client = self.connect(secured())
                with logged(namespace) as events:
                    client.say(f"AUTH PLAIN {plain()}")
                    client.message()
                    client.begin().say("DATA", "text")
                    end(client)
                    self.assertTrue(client.closed or client.codes(".", "QUIT"))
                    client.vanish()
                self.assertEqual({event["identity"] for event in events}, {USER}, namespace)


class SecretTests(CredTestCase):
    """Secrets are in no log, no reply, no text of an object and no traceback."""

    SECRETS = (PASSWORD, WRONG, TOKEN)

    def setUp(self) -> None:
        #: What was seen anywhere.
        self.seen: list[str] = []

    def see(self, events: list[LogEvent], *objects: object) -> None:
        text, json = StringIO(), StringIO()
        for event in events:
            TextObserver(text)(event)
            JSONObserver(json)(event)
            self.seen.append(formatEvent(event))
            self.seen += [repr(event), *(repr(value) for value in event.values()), *map(str, event.values())]
            failure = event.get("log_failure")
            if isinstance(failure, Failure):
                for detail in ("default", "brief", "verbose"):
                    if detail != "verbose" or not failure.captureVars:
                        self.seen.append(failure.getTraceback(detail=detail))
                self.seen += [failure.getErrorMessage(), repr(failure), str(failure.value)]
        self.seen += [text.getvalue(), json.getvalue()]
        self.seen += [shown(each) for each in objects for shown in (repr, str)]

    def assert_no_secret(self) -> None:
        everything = "\n".join(self.seen)
        for secret in self.SECRETS:
            octets = secret.encode()
            # In base64 a text looks in three ways, as it begins at one octet of three.
            forms = [secret, repr(octets)[2:-1], octets.hex()]
            forms += [b64encode(b"\0" * skip + octets).decode()[4 if skip else 0 : -4] for skip in range(3)]
            for form in forms:
                self.assertEqual([seen[:2000] for seen in self.seen if form in seen], [], form)
        self.assertGreater(len(everything), 1000)

    def talk(
        self, mechanism: str, secret: str, username: str = USER, script: Script | None = None, **settings: Any
    ) -> None:
        checkers = Passwords(script), Digests(script), Bearers(script), Scrams(script), Anybody(script)
        realm = Realm(script, ScriptedDelivery())
        objects: list[object] = []
        init = Authentication.__init__

        def spy(exchange: Any, *arguments: Any) -> None:
            init(exchange, *arguments)
            objects.extend((exchange, exchange._machine))

        self.patch(Authentication, "__init__", spy)
        with capturedLogs() as captured:
            server = secured(
                *checkers,
                realm=realm,
                mechanisms=load_mechanisms([m for m in MECHANISMS if "PLUS" not in m]),
                **settings,
            )
            client = self.connect(server)
            replies = authenticate(client, mechanism, secret, username)
            asked = client.protocol._asked
            replies += client.say("HELP", "MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>", "DATA", "text", ".")
            objects += [client.session, client.session.security, client.protocol, asked, server.factory, *replies]
            objects += [credentials for checker in checkers for credentials in checker.credentials]
            client.say("AUTH", f"AUTH {mechanism} {encoded(secret)} {encoded(secret)}", "QUIT")
            client.vanish()
        self.see(captured, *objects)
        self.flushLoggedErrors()

    def test_every_mechanism_with_right_and_wrong_secrets(self) -> None:
        for mechanism in MECHANISMS:
            if mechanism == "EXTERNAL" or mechanism.endswith("-PLUS"):
                continue
            for secret in (TOKEN if "AUTH" in mechanism else PASSWORD, WRONG):
                for username in (USER, "nobody"):
                    self.talk(mechanism, secret, username)
        self.assert_no_secret()

    def test_checkers_and_realms_that_fail(self) -> None:
        for step in ("check", "realm", "keys", "policy_auth"):
            for how in (How.PLAIN, How.COROUTINE, How.FIRED):
                for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5", "OAUTHBEARER", "SCRAM-SHA-256"):
                    # The visitor's avatar is the realm's first answer.
                    script = Script(**{step: [Answer(), Answer(how, Oops("out of order")), Answer(how, Oops())]})
                    secret = TOKEN if "AUTH" in mechanism else PASSWORD
                    self.talk(mechanism, secret, script=script, policies=[AuthPolicy(script)])
        self.assert_no_secret()

    def test_what_does_not_parse(self) -> None:
        for line in (
            f"AUTH PLAIN {encoded(PASSWORD)}",
            f"AUTH PLAIN {encoded(PASSWORD)}!",
            f"AUTH PLAIN {PASSWORD}!",
            f"AUTH LOGIN {encoded(USER)} {encoded(PASSWORD)}",
            f"AUTH {encoded(PASSWORD)}",
            f"AUTH PLAIN {plain()}\0",
            f"AUTHPLAIN {plain()}",
            encoded(PASSWORD),
            f"AUTH PLAIN {encoded(PASSWORD) * 1000}",
        ):
            with capturedLogs() as captured:
                client = self.connect(secured())
                replies = client.say(line, "AUTH PLAIN", line, "AUTH LOGIN", encoded(USER), line)
                client.say("QUIT")
                client.vanish()
            self.see(captured, *replies, client.session)
        self.assert_no_secret()

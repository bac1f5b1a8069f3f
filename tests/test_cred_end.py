"""When an avatar is logged out, whichever way a client leaves; and the avatar of those who have not authenticated."""

# Not `suppress` by itself: trial would take that name in a module for its own setting.
import contextlib
from typing import Any

from twisted.cred.error import LoginFailed
from twisted.internet.defer import CancelledError, Deferred

from tests.authentication import (
    PASSWORD,
    USER,
    WRONG,
    Anybody,
    Digests,
    Passwords,
    Realm,
    Scrams,
    encoded,
    plain,
    responder,
    secured,
)
from tests.credkit import ID, NO, NOT_RIGHT, AuthPolicy, CredTestCase, Oops, challenge_of
from tests.scripted import AT_ONCE, LATER, Answer, How, Script, ScriptedDelivery, ScriptedPolicy
from tests.support import Client, Server
from twistsmtp.limits import Limits


class Stubborn(Realm):
    """Has an avatar, in spite of being cancelled.

    :param way: by a ``"Deferred"`` that fires none the less, by a ``"coroutine"`` that goes on, or by one that
        goes on when `later` has fired.
    """

    def __init__(self, way: str, **settings: Any) -> None:
        super().__init__(**settings)
        self._way = way
        self.later: Deferred[None] = Deferred()

    def requestAvatar(self, avatarId: Any, mind: object, *interfaces: Any) -> Any:  # noqa: N803
        if self._way == "Deferred":
            return Deferred(lambda waiting: waiting.callback(self._give(avatarId)))
        return Deferred.fromCoroutine(self._go_on(avatarId))

    async def _go_on(self, avatar_id: object) -> Any:
        with contextlib.suppress(CancelledError):
            await Deferred()
        if self._way == "later":
            await self.later
        return self._give(avatar_id)


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
                replies = client.say(encoded(respond(challenge_of(replies[-1]))))
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
        for way in ("Deferred", "coroutine", "later"):
            realm = Stubborn(way)
            client = self.connect(secured(realm=realm))
            client.say(f"AUTH PLAIN {plain()}")
            client.vanish()
            realm.later.callback(None)
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
        for way in ("Deferred", "coroutine", "later"):
            realm = Stubborn(way, visitors=ScriptedDelivery())
            client = secured(Passwords(), Anybody(), realm=realm).connect()
            client.vanish()
            realm.later.callback(None)
            self.assertEqual((realm.given, realm.left, client.wire.writes), ([()], [()], []), way)

    def test_a_realm_that_fails(self) -> None:
        for how in (*AT_ONCE, *LATER):
            server, realm = self.server(ScriptedDelivery(), Script(realm=Answer(how, Oops())))
            client = server.connect()
            realm.script.release_all()
            self.assertEqual((client.codes(), client.closed), (["421 4.3.0"], True))
            self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)

    def test_an_avatar_that_is_no_delivery(self) -> None:
        server, realm = self.server(object())
        client = server.connect()
        self.assertEqual((client.codes(), client.closed), (["421 4.3.0"], True))
        self.assertEqual(realm.left, [()])
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_a_policy_may_refuse_before_the_realm_is_asked(self) -> None:
        script = Script(policy_connect=Answer(result=NO))
        server, realm = self.server(ScriptedDelivery(), policies=[ScriptedPolicy(script)])
        self.assertEqual((server.connect().codes(), realm.asked), (["554 5.7.1"], []))

"""Where mechanisms meet the portal: whose avatar a client gets and for how long, and what failing costs."""

from collections.abc import Callable
from typing import Any

from twisted.cred.error import LoginFailed, Unauthorized
from twisted.logger import formatEvent
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory

from tests.authentication import (
    PASSWORD,
    TOKEN,
    USER,
    WRONG,
    Bearers,
    Passwords,
    Realm,
    Scrams,
    encoded,
    plain,
    responder,
    secured,
)
from tests.credkit import ID, NO, NOT_RIGHT, RIGHT, AuthPolicy, CredTestCase, Oops, challenge_of
from tests.delivery.twistedmail import RecordingDelivery, RecordingFactory
from tests.scripted import AT_ONCE, LATER, Answer, Script, ScriptedDelivery
from tests.support import Client, logged
from twistsmtp.cred import AVATARS, offered
from twistsmtp.delivery.api import IDelivery
from twistsmtp.limits import Limits
from twistsmtp.sasl.api import Context, Exchange, Mechanism, ask
from twistsmtp.sasl.credentials import IBearerToken
from twistsmtp.wire.reply import Refusal, Reply


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
                    replies = client.say(encoded(respond(challenge_of(replies[-1]))))
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
        self.assertEqual(client.codes(f"AUTH OAUTHBEARER {message}", "AQ=="), [])
        client.server.clock.advance(1)
        self.assertEqual(client.codes(), ["334", NOT_RIGHT])
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
        def may_act_as(*names: str) -> bool:
            raise Oops

        client = self.connect(secured(may_act_as=may_act_as))
        self.assertEqual(self.guess(client, plain(WRONG, identity="ann"))[1], [NOT_RIGHT])

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
            self.assertEqual(codes + client.codes(), ["454 4.7.0"])
            self.assertEqual((client.session.identity, realm.left), (None, [ID]))
            self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)

    def test_a_421_ends_the_connection(self) -> None:
        script = Script(policy_auth=Answer(result=Refusal(Reply(421, "4.7.0", "Go away"))))
        realm = Realm()
        client = self.connect(secured(realm=realm, policies=[AuthPolicy(script)]))
        self.assertEqual(client.codes(f"AUTH PLAIN {plain()}"), ["421 4.7.0"])
        self.assertEqual((client.closed, realm.left), (True, [ID]))


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
        self.assertTrue(all(event["log_dialect"] is server.factory.registry for event in events))
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

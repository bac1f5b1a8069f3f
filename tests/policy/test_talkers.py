"""Early talkers: who does not wait for the greeting."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.lmtp import LMTPServer
from tests.scripted import Answer, How, Script, ScriptedPolicy
from tests.support import Client, Server, logged
from twistsmtp.extensions.xclient import xclient
from twistsmtp.policy.api import Policy
from twistsmtp.policy.find import make_policy
from twistsmtp.policy.talkers import EarlyTalkers
from twistsmtp.session import Session

EARLY = "554 5.5.1 You talked before the greeting"


class Sees(Policy):
    """Sees who has talked early."""

    def __init__(self) -> None:
        self.seen: list[bool] = []

    def connect(self, session: Session) -> None:
        self.seen.append(session.talked_early)


class TalkersTests(SynchronousTestCase):
    def connect(self, *before: Policy, peer: str = "192.0.2.1", **settings: Any) -> Client:
        self.server = Server(policies=[*before, EarlyTalkers(**settings)])
        return self.server.connect(peer)

    def test_who_waits(self) -> None:
        client = self.connect()
        self.assertEqual([], client.codes())
        self.server.clock.advance(1.9)
        self.assertEqual([], client.codes())
        self.server.clock.advance(0.1)
        self.assertEqual(["220"], client.codes())
        self.assertEqual(["250"], client.codes("EHLO client.test"))

    def test_who_does_not(self) -> None:
        with logged("twistsmtp.connection") as events:
            client = self.connect()
            self.server.clock.advance(1.9)
            self.assertEqual([EARLY], client.say("EHLO client.test", "QUIT"))
            self.assertTrue(client.closed)
        self.assertEqual([True], [event["early_talker"] for event in events])
        self.assertEqual([], self.server.clock.getDelayedCalls())

    def test_who_talked_while_another_policy_was_asked(self) -> None:
        """And was not refused for it, as nobody had said by then that it is to be."""
        script = Script(policy_connect=Answer(How.DEFERRED))
        client = self.connect(ScriptedPolicy(script))
        self.assertEqual([], client.say("EHLO client.test"))
        script.release()
        self.assertEqual([EARLY], client.say())
        self.assertTrue(client.closed)

    def test_who_goes_away(self) -> None:
        client = self.connect()
        client.vanish()
        self.assertEqual(([], []), (client.wire.writes, self.server.clock.getDelayedCalls()))
        self.assertEqual([], self.flushLoggedErrors())

    def test_one_does_not_wait_for_another(self) -> None:
        self.connect()
        self.server.clock.advance(1)
        second = self.server.connect()
        self.assertEqual([EARLY], second.say("EHLO client.test"))
        third = self.server.connect()
        self.server.clock.advance(2)
        self.assertEqual(["220"], third.codes())

    def test_who_is_known(self) -> None:
        """Local and trusted clients are greeted at once, and may talk as they like."""
        for peer in ("127.0.0.1", "192.168.1.7", "198.51.100.7"):
            client = self.connect(peer=peer, trusted=["198.51.100.0/24"])
            self.assertEqual(["220"], client.codes(), peer)
            self.assertEqual(["250"], client.codes("EHLO client.test"))
            self.assertEqual([], self.server.clock.getDelayedCalls()[1:])  # but for the sweep

    def test_to_note_it_only(self) -> None:
        for words, seen in (["EHLO client.test"], True), ([], False):
            policy = Sees()
            server = Server(policies=[EarlyTalkers(refuse=False, seconds=5), policy])
            client = server.connect()
            self.assertEqual([], client.say(*words))
            server.clock.advance(5)
            self.assertEqual(["220", "250"][: len(words) + 1], client.codes())
            self.assertEqual([seen], policy.seen)

    def test_whom_another_speaks_for(self) -> None:
        """They have no connection of their own that they could talk on."""
        server = Server(
            policies=[EarlyTalkers(trusted=["192.0.2.1"])],
            extensions=[xclient(["192.0.2.1"])],
        )
        client = server.connect("192.0.2.1").hello()
        self.assertEqual(["220", "250"], client.codes("XCLIENT ADDR=203.0.113.2", "EHLO client.test"))

    def test_lmtp(self) -> None:
        client = LMTPServer(policies=[EarlyTalkers()]).connect()
        self.assertEqual(["220"], client.codes())

    def test_by_name(self) -> None:
        policy = make_policy("early-talker:seconds=0.5:trusted=198.51.100.7:refuse=no")
        assert isinstance(policy, EarlyTalkers)
        self.assertEqual((0.5, False), (policy.seconds, policy.refuse))
        self.assertEqual((2.0, True), (EarlyTalkers.from_options().seconds, EarlyTalkers.from_options().refuse))
        for wrong in ("seconds=0", "seconds=61", "seconds=x", "trusted=x", "refuse=x"):
            self.assertRaises(ValueError, make_policy, f"early-talker:{wrong}")

"""Who is a user, and who is nobody."""

from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import USER, Anybody, Realm, authenticate, plain, secured
from tests.scripted import ScriptedDelivery
from twistsmtp.policy.user import ANONYMOUS, user_of
from twistsmtp.sasl import load_mechanisms


class UserTests(SynchronousTestCase):
    def test_nobody_yet(self) -> None:
        client = secured().connect().hello()
        self.assertIsNone(user_of(client.session))

    def test_authenticated(self) -> None:
        client = secured().connect().hello()
        self.assertEqual(["235 2.7.0"], client.codes(f"AUTH PLAIN {plain()}"))
        self.assertEqual(USER, user_of(client.session))

    def test_anonymous(self) -> None:
        """The identity that SASL ANONYMOUS gives is no user's."""
        realm = Realm(visitors=ScriptedDelivery())
        client = secured(Anybody(), realm=realm, mechanisms=load_mechanisms(["ANONYMOUS"])).connect().hello()
        self.assertTrue(authenticate(client, "ANONYMOUS")[-1].startswith("235 "))
        self.assertEqual(ANONYMOUS, client.session.identity)
        self.assertIsNone(user_of(client.session))

"""XCLIENT: whom the realm has for the client that is spoken for, and how its connections are counted."""

from tests.authentication import Anybody, Realm, portal
from tests.extensions.test_xclient import CLAIM, TRUSTED, XClientTestCase
from tests.scripted import ScriptedDelivery
from twistsmtp.limits import Limits
from twistsmtp.security import Security


class VisitorTests(XClientTestCase):
    def test_the_realm_is_asked_again(self) -> None:
        """And the avatar of who has connected is not used any more."""
        first, second = ScriptedDelivery(), ScriptedDelivery()
        realm = Realm(visitors=first)
        client = self.connect(security=Security(portal=portal(Anybody(), realm=realm)))
        self.assertIs(client.session.delivery, first)
        realm.visitors = second
        client.say(CLAIM)
        self.assertIs(client.session.delivery, second)
        self.assertEqual((realm.given, realm.left), ([(), ()], [()]))
        client.vanish()
        self.assertEqual(realm.left, [(), ()])

    def test_a_realm_that_has_nobody_any_more(self) -> None:
        realm = Realm(visitors=ScriptedDelivery())
        client = self.connect(security=Security(portal=portal(Anybody(), realm=realm)))
        realm.visitors = None
        client.say(CLAIM)
        self.assertEqual(realm.left, [()])
        session = client.session
        self.assertIs(session.delivery, self.server.delivery)
        self.assertIs(session.visitor, self.server.delivery)


class CountTests(XClientTestCase):
    """A connection is counted for the client that it is for, once."""

    def test_for_the_client(self) -> None:
        limits = Limits(connections_per_client=2)
        clients = [self.connect(limits=limits)]
        for number in range(5):
            self.assertEqual(clients[-1].codes(f"XCLIENT ADDR=203.0.113.{number}"), ["220"])
            clients.append(self.again())
        counts = self.server.factory.clients
        self.assertEqual((len(counts), counts.count(TRUSTED)), (6, 1))
        for client in clients:
            client.vanish()
        self.assertEqual(len(counts), 0)

    def test_too_many_of_one_client(self) -> None:
        first = self.connect(limits=Limits(connections_per_client=1))
        self.assertEqual(first.codes(CLAIM), ["220"])
        second = self.again()
        self.assertEqual(second.codes(CLAIM), ["421 4.7.0"])
        self.assertTrue(second.closed)
        self.assertEqual(self.again().codes(CLAIM), ["421 4.7.0"])
        first.vanish()
        self.assertEqual(self.again().codes(CLAIM), ["220"])

    def test_unknown_ones_are_not_limited(self) -> None:
        self.connect(limits=Limits(connections_per_client=1))
        for number in range(2, 6):
            self.assertEqual(self.again(f"192.0.2.{number}").codes("XCLIENT ADDR=[UNAVAILABLE]"), ["220"])

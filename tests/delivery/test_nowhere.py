"""The delivery of a client that has none."""

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import Anybody, Passwords, Realm, plain, portal
from tests.delivery.kit import ANN, new_session
from tests.support import Client
from twistsmtp.delivery.api import Refusal
from twistsmtp.delivery.nowhere import Nowhere
from twistsmtp.factory import SMTPFactory
from twistsmtp.security import Security


class Here:
    """What a `Client` is a client of."""

    def __init__(self, factory: SMTPFactory, clock: Clock) -> None:
        self.factory = factory
        self.clock = clock


class NowhereTests(SynchronousTestCase):
    def client(self, security: Security | None = None) -> Client:
        clock = Clock()
        here = Here(SMTPFactory(hostname="mx.test", security=security, reactor=clock), clock)
        return Client(here, IPv4Address("TCP", "192.0.2.1", 50000)).hello()  # type: ignore[arg-type]  # as far as it is one

    def test_it_refuses(self) -> None:
        delivery = Nowhere()
        refusal = self.assertRaises(Refusal, delivery.begin, new_session(delivery), ANN)
        self.assertEqual(str(refusal.reply), "530 5.7.0 Authentication required")

    def test_a_factory_without_a_delivery(self) -> None:
        for sender in ("", "a@client.test"):
            self.assertEqual(
                self.client().codes(f"MAIL FROM:<{sender}>", "RCPT TO:<b@mx.test>"), ["530 5.7.0", "503 5.5.1"]
            )

    def test_until_the_client_has_authenticated(self) -> None:
        realm = Realm()
        client = self.client(Security(portal=portal(realm=realm), plaintext_auth=True))
        codes = client.codes("MAIL FROM:<>", f"AUTH PLAIN {plain()}", "MAIL FROM:<>")
        self.assertEqual(codes, ["530 5.7.0", "235 2.7.0", "250 2.1.0"])

    def test_or_the_realm_has_an_avatar_for_it(self) -> None:
        realm = Realm(visitors=Realm().delivery)
        client = self.client(Security(portal=portal(Passwords(), Anybody(), realm=realm)))
        self.assertEqual(client.codes("MAIL FROM:<>"), ["250 2.1.0"])

"""What EHLO offers follows the session that asks. It is put together once for all that are offered the same, so what
others were offered before must not be seen in it."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import Realm, TLSClient, authenticate, certificates, secured
from tests.scripted import ScriptedDelivery
from tests.support import Client, Server
from twistsmtp.delivery.discard import Discard
from twistsmtp.delivery.memory import Memory
from twistsmtp.extensions import futurerelease, load_extensions
from twistsmtp.extensions.xclient import xclient
from twistsmtp.limits import Limits
from twistsmtp.security import Audience
from twistsmtp.session import Session


class Helpful(Memory):
    """Honours all that can be asked for, and answers VRFY."""

    def verify(self, session: Session, text: str) -> list[str]:
        return [text]


class OfferTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(futurerelease, "time", lambda: 0.0)

    def offers(self, client: Client) -> list[str]:
        """The lines of a new EHLO, which are those that the extensions and verbs make for this session."""
        [reply] = client.say("EHLO client.test")
        lines = [line[4:] for line in reply.split("\r\n")[1:]]
        session, registry = client.session, client.server.factory.registry
        made: list[Any] = [each.offer(session) for each in registry.extensions]
        keywords = [verb.keyword for verb in registry.verbs.values()]
        made += [each(session) if callable(each) else each for each in keywords]
        self.assertEqual(lines, [line for line in made if line])
        return lines

    def words(self, client: Client) -> set[str]:
        """Those that tell the states apart."""
        words = {line.partition(" ")[0] for line in self.offers(client)}
        return words & {"STARTTLS", "AUTH", "DSN", "REQUIRETLS", "FUTURERELEASE", "VRFY", "XCLIENT"}

    def test_in_every_state(self) -> None:
        realm = Realm()
        realm.delivery = Helpful()
        extensions = (*load_extensions(), xclient(["192.0.2.1"]))
        security = {"tls": certificates(), "plaintext_auth": False, "verify": Audience.USERS}
        server = secured(realm=realm, delivery=Discard(), extensions=extensions, **security)
        user = {"DSN", "REQUIRETLS", "FUTURERELEASE", "VRFY", "XCLIENT"}
        for _ in range(2):  # the second finds what the first has left
            client, stranger = TLSClient(server), TLSClient(server, "198.51.100.1")
            client.read(), stranger.read()
            self.assertEqual(self.words(client), {"STARTTLS", "XCLIENT"})
            self.assertEqual(self.words(stranger), {"STARTTLS"})
            client.start_tls()
            self.assertEqual(self.words(client), {"AUTH", "XCLIENT"})
            authenticate(client, "PLAIN")
            self.assertEqual(self.words(client), user)
            self.assertEqual(self.words(stranger), {"STARTTLS"})
            client.say("XCLIENT ADDR=198.51.100.2")
            self.assertEqual(self.words(client), {"AUTH", "XCLIENT"})
            client.say("XCLIENT LOGIN=ann")
            self.assertEqual(self.words(client), {"XCLIENT"})  # and the mail goes where that of all goes
            self.assertEqual(self.words(stranger.start_tls()), {"AUTH"})

    def test_limits_that_change(self) -> None:
        """Those who were here keep theirs."""
        server = Server(Discard(), limits=Limits(message_size=1000, recipients=1))
        before = server.connect()
        before.read()
        self.assertIn("SIZE 1000", self.offers(before))
        server.factory.renew(Limits(message_size=2000, recipients=2), ())
        after = server.connect()
        after.read()
        for _ in range(2):
            for client, size, limits in (before, "1000", "RCPTMAX=1"), (after, "2000", "RCPTMAX=2"):
                lines = self.offers(client)
                self.assertIn(f"SIZE {size}", lines)
                self.assertIn(f"LIMITS {limits} MAILMAX=100000", lines)

    def test_a_delivery_that_changes(self) -> None:
        """As one that honours what a server behind it does."""
        delivery = ScriptedDelivery()
        client = Server(delivery).connect()
        client.read()
        for honours in (), ("dsn",), ("dsn", "futurerelease"), ("dsn",), ():
            delivery.honours = frozenset(honours)
            self.assertEqual(self.words(client), {name.upper() for name in honours})

    def test_time_that_passes(self) -> None:
        client = Server(Memory()).connect()
        client.read()
        for seconds, until in (0.0, "1970-01-31T00:00:00Z"), (90.0, "1970-01-31T00:01:00Z"):
            self.patch(futurerelease, "time", lambda seconds=seconds: seconds)
            self.assertIn(f"FUTURERELEASE 2592000 {until}", self.offers(client))

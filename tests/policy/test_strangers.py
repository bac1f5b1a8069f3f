"""Whom policies against spam are for."""

from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import plain, secured
from tests.lmtp import LMTPServer
from tests.support import Server
from twistsmtp.clients import UnknownAddress
from twistsmtp.policy.strangers import Strangers


class StrangersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.strangers = Strangers(["198.51.100.0/24", "2001:db8:1::/48"])

    def address(self, peer: IAddress | str) -> str | None:
        """What *peer* is looked up by."""
        session = Server().connect(peer).session
        address = self.strangers.address(session)
        self.assertEqual(address is not None, session in self.strangers)
        return None if address is None else str(address)

    def test_strangers(self) -> None:
        for client in ("192.0.2.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "198.51.101.1"):
            self.assertEqual(client, self.address(client))
        for client in ("2001:db8::1", "2a00::1"):
            self.assertEqual(client, self.address(IPv6Address("TCP", client, 1)))
        self.assertEqual("192.0.2.1", self.address(IPv6Address("TCP", "::ffff:192.0.2.1", 1)))

    def test_local(self) -> None:
        for client in (
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.0.1",
            "100.64.0.1",
        ):
            self.assertIsNone(self.address(client), client)
        for client in ("::1", "fe80::1%eth0", "fd00::1", "::ffff:10.1.2.3"):
            self.assertIsNone(self.address(IPv6Address("TCP", client, 1)), client)
        self.assertIsNone(self.address(UNIXAddress(b"/run/x")))

    def test_trusted(self) -> None:
        self.assertIsNone(self.address("198.51.100.7"))
        self.assertIsNone(self.address(IPv6Address("TCP", "2001:db8:1:2::3", 1)))

    def test_unknown(self) -> None:
        """One that a proxy could not name: there is nothing to look up."""
        self.assertIsNone(self.address(UnknownAddress()))

    def test_users(self) -> None:
        client = secured().connect().hello()
        self.assertIn(client.session, self.strangers)
        self.assertEqual(["235 2.7.0"], client.codes(f"AUTH PLAIN {plain()}"))
        self.assertNotIn(client.session, self.strangers)

    def test_lmtp(self) -> None:
        """The client is a mail server, and the stranger was its own client."""
        session = LMTPServer().connect().session
        self.assertNotIn(session, self.strangers)

    def test_no_network(self) -> None:
        self.assertRaises(ValueError, Strangers, ["x"])

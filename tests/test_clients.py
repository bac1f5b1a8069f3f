"""Who a client is, and who is trusted, by its address."""

from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.clients import Clients, Networks, UnknownAddress, client_of, network_of


class ClientTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        for address, client, network in (
            (IPv4Address("TCP", "192.0.2.1", 1), "192.0.2.1", "192.0.2.1"),
            (IPv6Address("TCP", "::ffff:192.0.2.1", 1), "192.0.2.1", "192.0.2.1"),
            (IPv6Address("TCP", "::ffff:c000:201", 1), "192.0.2.1", "192.0.2.1"),
            (IPv6Address("TCP", "::ffff:0:0:1", 1), "::ffff:0:0:1", "::/64"),
            (IPv6Address("TCP", "2001:db8:1:2:3::4", 1), "2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
            (IPv6Address("TCP", "fe80::1%eth0", 1), "fe80::1%eth0", "fe80::/64"),
            (UNIXAddress("/run/x"), "local", ""),
            (UNIXAddress(None), "local", ""),
            (UnknownAddress(), "unknown", ""),
        ):
            self.assertEqual(client_of(address), client)
            self.assertEqual(network_of(client), network)


class NetworksTests(SynchronousTestCase):
    def test_who_is_one_of_them(self) -> None:
        networks = Networks(["192.0.2.0/24", "198.51.100.7", "2001:db8::/32", "fe80::1"])
        for host in "192.0.2.1", "192.0.2.255", "198.51.100.7":
            self.assertIn(IPv4Address("TCP", host, 1), networks)
            self.assertIn(IPv6Address("TCP", f"::ffff:{host}", 1), networks)
        for host in "2001:db8::1", "fe80::1", "fe80::1%eth0":
            self.assertIn(IPv6Address("TCP", host, 1), networks)
        for other in (
            IPv4Address("TCP", "192.0.3.1", 1),
            IPv4Address("TCP", "198.51.100.8", 1),
            IPv6Address("TCP", "2001:db9::1", 1),
            IPv6Address("TCP", "::192.0.2.1", 1),
            UNIXAddress("/run/x"),
            UnknownAddress(),
            HostnameAddress(b"localhost", 1),
            "192.0.2.1",
            None,
        ):
            self.assertNotIn(other, networks)

    def test_unix_sockets(self) -> None:
        self.assertIn(UNIXAddress("/run/x"), Networks(["unix"]))
        self.assertIn(UNIXAddress(None), Networks(["unix"]))
        for other in UnknownAddress(), IPv4Address("TCP", "127.0.0.1", 1), HostnameAddress(b"x", 1):
            self.assertNotIn(other, Networks(["unix"]))

    def test_what_is_none(self) -> None:
        for name in "localhost", "", "192.0.2.1/24", "192.0.2.0/33", "192.0.2", "::1::", "local":
            self.assertIn(name, str(self.assertRaises(ValueError, Networks, [name])))

    def test_nobody(self) -> None:
        self.assertFalse(Networks([]))
        self.assertTrue(Networks(["unix"]))
        self.assertEqual(repr(Networks(["::1", "unix"])), "Networks(('::1', 'unix'))")


class CountTests(SynchronousTestCase):
    def test_as_many_as_have_come_and_not_gone(self) -> None:
        clients = Clients()
        for network in "a", "b", "a":
            clients.enter(network)
        self.assertEqual([clients.count(each) for each in "abc"], [2, 1, 0])
        clients.leave("a")
        clients.leave("b")
        self.assertEqual([clients.count(each) for each in "abc"], [1, 0, 0])

    def test_nothing_is_kept_of_those_that_are_gone(self) -> None:
        clients = Clients()
        clients.enter("a")
        clients.leave("a")
        clients.leave("a")
        clients.count("b")
        self.assertEqual(len(clients), 0)

"""Connections that come by a proxy."""

import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from tests.loopback import CODES, CONVERSATION, codes
from tests.scripted import Answer, How, Script
from tests.support import Server, Wire, cuts, logged, split_replies
from tests.wire.proxies import INET, block, value
from twistsmtp.clients import Networks, ProxiedAddress
from twistsmtp.limits import Limits
from twistsmtp.proxied import ProxiedFactory
from twistsmtp.session import Session
from twistsmtp.wire.proxy import Command, Family
from twistsmtp.wire.reply import Refusal, Reply

PROXY, ELSEWHERE = IPv4Address("TCP", "10.0.0.1", 40000), IPv4Address("TCP", "10.0.1.1", 40000)
LINE = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 25\r\n"
BLOCK = block(INET, value(0x05, b"id of 1"))
#: A header for each version, both of the same client.
HEADERS = (LINE, BLOCK)


class Proxy:
    """A proxy's side of one connection, in memory."""

    def __init__(self, factory: ProxiedFactory, server: Server, peer: IAddress = PROXY) -> None:
        self.clock = server.clock
        self.wire = Wire(server.clock, peer)
        self._read = 0
        protocol: Any = factory.buildProtocol(peer)
        #: Whether the connection was not even taken.
        self.refused = protocol is None
        if not self.refused:
            self.wire.protocol = protocol
            protocol.makeConnection(self.wire)

    @property
    def session(self) -> Session:
        return self.wire.protocol.session

    @property
    def closed(self) -> bool:
        self.clock.advance(0)
        return self.wire.lost

    def send(self, octets: bytes) -> bytes:
        if not self.wire.lost:
            self.wire.protocol.dataReceived(octets)
        self.clock.advance(0)
        read, self._read = self._read, len(self.wire.writes)
        return b"".join(self.wire.writes[read:])

    def codes(self, octets: bytes) -> list[str]:
        return [reply[:3] for reply in split_replies(self.send(octets))]


class ProxiedTestCase(SynchronousTestCase):
    def serve(self, script: Script | None = None, trusted: Any = ("10.0.0.0/24",), **settings: Any) -> None:
        own = {name: settings.pop(name) for name in ("proxy_time", "waiting") if name in settings}
        self.server = Server.scripted(script or Script(), **settings)
        self.factory = ProxiedFactory(self.server.factory, trusted, reactor=self.server.clock, **own)

    def connect(self, peer: IAddress = PROXY) -> Proxy:
        return Proxy(self.factory, self.server, peer)


class ClientTests(ProxiedTestCase):
    """What the server knows of the client."""

    def test_its_address(self) -> None:
        for header in HEADERS:
            self.serve()
            client = self.connect()
            self.assertEqual(client.codes(header), ["220"])
            session = client.session
            self.assertEqual(session.peer, IPv4Address("TCP", "192.0.2.1", 56324))
            self.assertEqual((session.client, session.network), ("192.0.2.1", "192.0.2.1"))
            assert session.proxy
            self.assertEqual(session.proxy.command, Command.PROXY)

    def test_in_the_received_field_and_in_the_log(self) -> None:
        for header in HEADERS:
            self.serve()
            with logged("twistsmtp.connection") as connections, logged("twistsmtp.message") as messages:
                client = self.connect()
                self.assertEqual(client.codes(header + CONVERSATION), CODES)
                self.assertTrue(client.closed)
            self.assertEqual([each["client"] for each in (*messages, *connections)], ["192.0.2.1"] * 2)
            [transaction] = self.server.delivery.transactions
            self.assertIn(b"Received: from client.test ([192.0.2.1])\r\n", transaction.octets)

    def test_ipv6(self) -> None:
        for text, client, network in (
            ("2001:db8:1:2:3::4", "2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
            ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ):
            self.serve()
            proxy = self.connect()
            proxy.send(f"PROXY TCP6 {text} ::1 1 25\r\n".encode())
            self.assertEqual(proxy.session.peer, IPv6Address("TCP", text, 1))
            self.assertEqual((proxy.session.client, proxy.session.network), (client, network))

    def test_a_unix_socket(self) -> None:
        self.serve()
        proxy = self.connect()
        proxy.send(block(b"/run/client".ljust(108, b"\0") + bytes(108), family=0x31))
        self.assertEqual(proxy.session.peer, UNIXAddress("/run/client"))
        self.assertEqual((proxy.session.client, proxy.session.network), ("local", ""))

    def test_none_but_the_proxy_itself(self) -> None:
        for header, command in (
            (b"PROXY UNKNOWN\r\n", Command.PROXY),
            (block(family=0), Command.PROXY),
            (block(command=0x20, family=0), Command.LOCAL),
        ):
            self.serve()
            proxy = self.connect()
            self.assertEqual(proxy.codes(header), ["220"])
            self.assertEqual(proxy.session.peer, PROXY)
            assert proxy.session.proxy
            self.assertEqual((proxy.session.proxy.command, proxy.session.proxy.family), (command, Family.UNSPEC))

    def test_what_else_the_proxy_says(self) -> None:
        self.serve()
        proxy = self.connect()
        tls = struct.pack("!BI", 1, 0) + value(0x21, b"TLSv1.3")
        proxy.send(block(INET, value(0x02, b"mx.test") + value(0x05, b"7") + value(0x20, tls)))
        header = proxy.session.proxy
        assert header and header.tls
        self.assertEqual((header.authority, header.unique_id, header.tls.version), ("mx.test", b"7", "TLSv1.3"))
        # It is the proxy's word, about another connection.
        self.assertIsNone(proxy.session.tls)

    def test_a_connection_without_a_proxy_has_none(self) -> None:
        self.serve()
        session = self.server.connect().session
        self.assertIsNone(session.proxy)
        self.assertEqual(session.client, "192.0.2.1")


class RulesTests(ProxiedTestCase):
    """What is for each client is for the client, not for the proxy."""

    def test_connections_of_one_client(self) -> None:
        self.serve(limits=Limits(connections_per_client=1))
        header = b"PROXY TCP4 192.0.2.%d 198.51.100.7 56324 25\r\n"
        first = self.connect()
        self.assertEqual(first.codes(header % 1), ["220"])
        self.assertEqual(self.connect().codes(header % 2), ["220"])
        second = self.connect()
        self.assertEqual(second.codes(header % 1), ["421"])
        self.assertTrue(second.closed)
        first.send(b"QUIT\r\n")
        self.assertTrue(first.closed)
        self.assertEqual(self.connect().codes(header % 1), ["220"])

    def test_policies(self) -> None:
        reply = Reply(554, "5.7.1", "Not you")
        self.serve(Script(policy_connect=Answer(result=Refusal(reply))))
        proxy = self.connect()
        self.assertEqual(proxy.codes(LINE), ["554"])
        self.assertTrue(proxy.closed)
        self.assertEqual(proxy.session.client, "192.0.2.1")

    def test_who_talks_before_the_greeting(self) -> None:
        self.serve(strict_greeting=True)
        self.assertEqual(self.connect().codes(LINE + b"EHLO x\r\n"), ["554"])
        patient = self.connect()
        self.assertEqual(patient.codes(LINE), [])
        self.server.clock.advance(1)
        self.assertEqual(patient.codes(b"EHLO x\r\n"), ["220", "250"])

    def test_the_facts_stay_over_starttls(self) -> None:
        self.serve()
        proxy = self.connect()
        proxy.send(LINE)
        header, session = proxy.session.proxy, proxy.session
        session.restart()
        self.assertEqual((session.client, session.proxy), ("192.0.2.1", header))


class CutTests(ProxiedTestCase):
    @given(st.sampled_from(HEADERS), st.lists(st.integers(0, 200), max_size=6))
    def test_however_it_comes(self, header: bytes, positions: list[int]) -> None:
        self.serve()
        proxy = self.connect()
        said = b"".join([proxy.send(piece) for piece in cuts(header + CONVERSATION, positions)])
        self.assertEqual(codes(said), CODES)
        self.assertEqual(proxy.session.client, "192.0.2.1")

    def test_octet_by_octet(self) -> None:
        for header in HEADERS:
            self.serve()
            proxy = self.connect()
            said = b"".join([proxy.send(bytes([octet])) for octet in header + CONVERSATION])
            self.assertEqual(codes(said), CODES)

    def test_nothing_is_said_before_the_header_is_there(self) -> None:
        for header in HEADERS:
            self.serve()
            proxy = self.connect()
            self.assertEqual(proxy.send(header[:-1]), b"")
            self.assertEqual(self.server.factory.connections, set())
            self.assertEqual(proxy.codes(header[-1:]), ["220"])

    def test_what_is_behind_it_waits_for_the_greeting(self) -> None:
        script = Script(policy_connect=Answer(How.DEFERRED))
        self.serve(script)
        proxy = self.connect()
        self.assertEqual(proxy.codes(LINE + b"EHLO x\r\nNOOP\r\n"), [])
        script.release()
        self.assertEqual(proxy.codes(b""), ["220", "250", "250"])


class RefusedTests(ProxiedTestCase):
    def test_who_is_not_trusted(self) -> None:
        self.serve()
        with logged("twistsmtp.proxied") as events:
            for peer in ELSEWHERE, IPv6Address("TCP", "::1", 1), UNIXAddress("/run/x"):
                self.assertTrue(self.connect(peer).refused)
        self.assertEqual([each["address"] for each in events], ["10.0.1.1", "::1", "local"])

    def test_what_is_no_header(self) -> None:
        for octets in (
            b"EHLO client.test\r\n",
            b"PROXY TCP4 192.0.2.1\r\n",
            block(INET, value(0x03, bytes(4))),
            b"PROXY UNKNOWN " + b"x" * 100,
        ):
            self.serve()
            with logged("twistsmtp.proxied") as events:
                proxy = self.connect()
                self.assertEqual(proxy.send(octets), b"")
                self.assertTrue(proxy.closed)
                proxy.send(LINE)
            self.assertEqual([each["address"] for each in events], ["10.0.0.1"], octets)
            self.assertEqual((self.server.factory.connections, self.factory.connections), (set(), set()))
            self.assertEqual(self.server.clock.getDelayedCalls(), [])

    def test_too_late(self) -> None:
        self.serve(proxy_time=3)
        proxy = self.connect()
        proxy.send(LINE[:10])
        self.server.clock.advance(2.9)
        self.assertFalse(proxy.closed)
        proxy.send(LINE[10:20])
        with logged("twistsmtp.proxied") as events:
            self.server.clock.advance(0.1)
            self.assertTrue(proxy.closed)
        self.assertEqual([each["why"] for each in events], ["no PROXY header came in time"])
        self.assertEqual(self.factory.connections, set())

    def test_in_time(self) -> None:
        """The time is that of the header alone."""
        self.serve(proxy_time=3)
        proxy = self.connect()
        proxy.send(LINE)
        self.server.clock.advance(100)
        self.assertEqual(proxy.codes(b"NOOP\r\n"), ["250"])

    def test_a_connection_that_is_lost_meanwhile(self) -> None:
        self.serve()
        proxy = self.connect()
        proxy.send(LINE[:10])
        proxy.wire.lose(ConnectionError())
        self.assertEqual(self.factory.connections, set())
        self.assertEqual(self.server.clock.getDelayedCalls(), [])

    def test_too_many_that_wait(self) -> None:
        self.serve(waiting=2)
        first, second, third = (self.connect() for _ in range(3))
        self.assertEqual([each.refused for each in (first, second, third)], [False, False, True])
        first.send(LINE)
        self.assertFalse(self.connect().refused)

    def test_the_server_shuts_down(self) -> None:
        self.serve()
        self.factory.doStart()
        waiting, through = self.connect(), self.connect()
        through.send(LINE)
        self.factory.doStop()
        self.assertTrue(waiting.closed)
        self.assertFalse(through.closed)
        self.assertEqual(self.server.factory.numPorts, 0)

    def test_a_factory_that_wants_no_more(self) -> None:
        self.serve()
        proxy = self.connect()
        self.patch(self.server.factory, "buildProtocol", lambda address: None)
        proxy.send(LINE)
        self.assertTrue(proxy.closed)


class FactoryTests(ProxiedTestCase):
    def test_what_the_other_factory_is_told(self) -> None:
        self.serve()
        told: list[Any] = []
        self.patch(self.server.factory, "buildProtocol", told.append)
        self.connect().send(BLOCK)
        [address] = told
        self.assertIsInstance(address, ProxiedAddress)
        self.assertEqual(address.client, IPv4Address("TCP", "192.0.2.1", 56324))
        self.assertEqual(address.header.unique_id, b"id of 1")

    def test_unix_sockets_are_trusted_by_name(self) -> None:
        self.serve(trusted=Networks(["unix"]))
        self.assertEqual(self.connect(UNIXAddress("/run/x")).codes(LINE), ["220"])
        self.assertTrue(self.connect().refused)

    def test_what_makes_no_sense(self) -> None:
        for trusted, more in (
            ([], {}),
            (["10.0.0.1/8"], {}),
            (["localhost"], {}),
            (["unix"], {"proxy_time": 0}),
            (["unix"], {"proxy_time": float("nan")}),
            (["unix"], {"proxy_time": float("inf")}),
            (["unix"], {"waiting": 0}),
        ):
            with self.assertRaises(ValueError):
                ProxiedFactory(Server().factory, trusted, **more)

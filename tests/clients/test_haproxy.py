"""HAProxy in front of the server, and swaks that says XCLIENT."""

import socket
from contextlib import closing
from pathlib import Path
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.authentication import certificates
from tests.clients.kit import ClientTestCase, Process, program, start
from tests.loopback import CODES, codes, read_all
from tests.test_loopback_starttls import read_until, under_tls
from twistsmtp.clients import Networks
from twistsmtp.eager import eager
from twistsmtp.extensions import load_extensions
from twistsmtp.extensions.xclient import xclient
from twistsmtp.factory import SMTPFactory
from twistsmtp.policy.api import Policy
from twistsmtp.proxied import ProxiedEndpoint
from twistsmtp.security import Security
from twistsmtp.session import Session
from twistsmtp.tls.transport import TLSFactory
from twistsmtp.wire.proxy import Command

CONFIGURATION = """
global
    log stderr format raw local0
    maxconn 100
defaults
    mode tcp
    timeout connect 20s
    timeout client 60s
    timeout server 60s
listen mail
    bind 127.0.0.1:{port}
    {more}
    server mx 127.0.0.1:{server} {options}
"""

#: From an address of its own, which is not that of the proxy.
CLIENT = "127.0.0.9"
CONVERSATION = (
    b"EHLO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\nSubject: x\r\n\r\n.\r\nQUIT\r\n"
)


class Sessions(Policy):
    """Keeps all sessions."""

    def __init__(self) -> None:
        self.all: list[Session] = []

    def connect(self, session: Session) -> None:
        self.all.append(session)


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return cast(int, probe.getsockname()[1])


def from_the_client(port: int) -> socket.socket:
    client = socket.socket()
    client.settimeout(60)
    client.bind((CLIENT, 0))
    client.connect(("127.0.0.1", port))
    return client


class HAProxyTests(ClientTestCase):
    """What the server knows is about the client, not about the proxy."""

    async def start(self, options: str, *, tls: bool = False, more: str = "", **settings: Any) -> int:
        """A server, and a proxy in front of it.

        :returns: the proxy's port.
        """
        from twisted.internet import reactor

        program("haproxy")
        self.sessions = Sessions()
        factory = SMTPFactory(
            self.memory,
            hostname="mx.test",
            policies=[self.sessions],
            security=Security(tls=certificates()),
            **settings,
        )
        inner: Any = TLSFactory(certificates(), False, factory) if tls else factory
        plain = serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        server = eager(await ProxiedEndpoint(plain, Networks(["127.0.0.1"])).listen(inner))
        self.addCleanup(factory.shutdown, 0.1)
        self.addCleanup(server.stopListening)
        port, behind = free_port(), cast(IPv4Address, server.getHost()).port
        text = CONFIGURATION.format(port=port, server=behind, options=options, more=more)
        path = Path(self.file("haproxy.cfg", text.encode()))
        self.proxy = start(self, [program("haproxy"), "-db", "-f", str(path)], folder=self.folder)
        await self.until_it_listens(port)
        return port

    async def until_it_listens(self, port: int) -> None:
        from twisted.internet import reactor

        while True:
            self.assertIsNone(self.proxy.status, str(self.proxy))
            with closing(socket.socket()) as probe:
                # Not connected to, which would be one more client: somebody else may not have it any more.
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    return
            await deferLater(cast(Any, reactor), 0.01)

    def talk(self, port: int) -> bytes:
        with closing(from_the_client(port)) as client:
            read_until(client, b"\r\n")
            client.sendall(CONVERSATION)
            return b"220 \r\n" + read_all(client)

    def assert_taken(self, said: bytes, protocol: str) -> None:
        self.assertEqual(codes(said), CODES, str(self.proxy))
        [message] = self.memory.messages
        self.assertIn(f"Received: from client.test ([{CLIENT}])\r\n".encode(), message.octets)
        self.assertIn(f" with {protocol} id ".encode(), message.octets)
        session = self.session()
        self.assertEqual((session.client, session.network), (CLIENT, CLIENT))

    def session(self) -> Session:
        """The only one that is a client's."""
        clients = [each for each in self.sessions.all if each.proxy and each.proxy.command is Command.PROXY]
        self.assertEqual(len(clients), 1)
        return clients[0]

    async def test_each_version(self) -> None:
        for options, version in ("send-proxy", 1), ("send-proxy-v2", 2):
            port = await self.start(options)
            self.assert_taken(await deferToThread(self.talk, port), "ESMTP")
            header = self.session().proxy
            assert header
            self.assertEqual((header.version, header.command), (version, Command.PROXY))
            self.memory.messages.clear()

    async def test_starttls_and_tls_behind_the_header(self) -> None:
        for options in "send-proxy", "send-proxy-v2":
            for implicit in False, True:
                port = await self.start(options, tls=implicit)

                def talk(port: int = port, implicit: bool = implicit) -> bytes:
                    with closing(from_the_client(port)) as client:
                        if not implicit:
                            read_until(client, b"\r\n")
                            client.sendall(b"EHLO client.test\r\nSTARTTLS\r\n")
                            read_until(client, b"Ready to start TLS\r\n")
                        with under_tls(client) as tls:
                            if implicit:
                                read_until(tls, b"\r\n")
                            tls.sendall(CONVERSATION)
                            return b"220 \r\n" + read_all(tls)

                self.assert_taken(await deferToThread(talk), "ESMTPS")
                self.memory.messages.clear()

    async def test_values(self) -> None:
        """A checksum that is right, and an id that HAProxy has made."""
        options = "send-proxy-v2 proxy-v2-options crc32c,unique-id"
        port = await self.start(options, more="unique-id-format %{+X}o\\ %ci:%cp")
        self.assert_taken(await deferToThread(self.talk, port), "ESMTP")
        header = self.session().proxy
        assert header
        self.assertRegex(header.unique_id, rb"^7F000009:[0-9A-F]+$")

    async def test_health_checks(self) -> None:
        """They are the proxy's own."""
        port = await self.start(
            "send-proxy-v2 check-send-proxy check inter 50ms", more="option smtpchk EHLO proxy.test"
        )
        await self.checked()
        self.assert_taken(await deferToThread(self.talk, port), "ESMTP")

    async def checked(self) -> None:
        from twisted.internet import reactor

        def checks() -> list[Session]:
            return [each for each in self.sessions.all if each.proxy and each.proxy.command is Command.LOCAL]

        while not any(each.helo == "proxy.test" for each in checks()):
            await deferLater(cast(Any, reactor), 0.01)
        self.assertEqual({each.client for each in checks()}, {"127.0.0.1"})

    async def test_a_proxy_that_says_nothing(self) -> None:
        port = await self.start("")

        def talk() -> bytes:
            with closing(from_the_client(port)) as client:
                client.sendall(CONVERSATION)
                try:
                    return read_all(client)
                except ConnectionError:
                    return b""

        self.assertEqual(await deferToThread(talk), b"")
        self.assertEqual(self.sessions.all, [])


class SwaksTests(ClientTestCase):
    """XCLIENT by a real client."""

    async def swaks(self, port: int, *arguments: str) -> Process:
        common = ("--server", "127.0.0.1", "--port", str(port), "--helo", "client.test", "--timeout", "100")
        return await self.run_program("swaks", *common, "--from", "a@client.test", "--to", "b@mx.test", *arguments)

    async def test_xclient(self) -> None:
        sessions = Sessions()
        extensions = (*load_extensions(), xclient(["127.0.0.1"]))
        port = await self.serve(extensions=extensions, policies=[sessions], security=Security(tls=certificates()))
        claims = ("--xclient-addr", "203.0.113.2", "--xclient-name", "spike.test", "--xclient-port", "4711")
        more = ("--xclient-proto", "ESMTP", "--xclient-destaddr", "198.51.100.7", "--xclient-destport", "25")
        for arguments in (
            (*claims, *more),
            (*claims, "--xclient-delim", *more),
            (*claims, "-tls"),
            (*claims, "-tls", "--xclient-before-starttls"),
            ("--xclient", "NAME=spike.test ADDR=203.0.113.2 PORT=4711 LOGIN=ada"),
        ):
            process = await self.swaks(port, *arguments)
            self.assertEqual(process.status, 0, str(process))
            octets = self.memory.messages[-1].octets
            self.assertRegex(
                octets, rb"\AReceived: from client\.test \((?:spike\.test )?\[203\.0\.113\.2\]\)\r\n", arguments
            )
            self.assertEqual(sessions.all[-1].peer, IPv4Address("TCP", "203.0.113.2", 4711))

    async def test_an_ipv6_address(self) -> None:
        port = await self.serve(extensions=(*load_extensions(), xclient(["127.0.0.1"])))
        process = await self.swaks(port, "--xclient-addr", "IPV6:2001:db8::1")
        self.assertEqual(process.status, 0, str(process))
        self.assertIn(b"([IPv6:2001:db8::1])\r\n", self.memory.messages[-1].octets)

    async def test_who_is_not_trusted(self) -> None:
        port = await self.serve(extensions=(*load_extensions(), xclient(["192.0.2.1"])))
        process = await self.swaks(port, "--xclient-addr", "203.0.113.2")
        self.assertIn("Host did not advertise XCLIENT", str(process))
        self.assertEqual(self.memory.messages, [])

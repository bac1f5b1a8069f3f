"""On real sockets: connections that come by a proxy."""

import socket
import ssl
from contextlib import closing
from typing import Any

from twisted.internet.endpoints import serverFromString

from tests.authentication import certificates
from tests.loopback import CODES, CONVERSATION, LoopbackTestCase, codes, connect, read_all
from tests.support import Server
from tests.test_loopback_starttls import read_until, under_tls
from tests.test_proxied import BLOCK, HEADERS, LINE
from twistsmtp.clients import Networks
from twistsmtp.eager import eager
from twistsmtp.proxied import ProxiedEndpoint
from twistsmtp.security import Security
from twistsmtp.tls.transport import TLSFactory


class LoopbackTests(LoopbackTestCase):
    """In front of STARTTLS, and of TLS from the first octet."""

    async def listen(self, endpoint: str = "tcp:0:interface=127.0.0.1", *, tls: bool = False) -> Any:
        from twisted.internet import reactor

        self.delivery = Server().delivery
        self.factory = Server(self.delivery, reactor=None, security=Security(tls=certificates())).factory
        inner: Any = TLSFactory(certificates(), False, self.factory) if tls else self.factory
        proxied = ProxiedEndpoint(serverFromString(reactor, endpoint), Networks(["127.0.0.1", "unix"]))
        port: Any = self.prepare(await proxied.listen(inner))
        self.addCleanup(self.factory.shutdown, 0.1)
        self.addCleanup(port.stopListening)
        address = port.getHost()
        return (address.host, address.port) if hasattr(address, "host") else address.name

    def assert_taken(self, said: bytes, protocol: bytes) -> None:
        self.assertEqual(codes(said), CODES)
        [transaction] = self.delivery.transactions
        self.assertIn(b"Received: from client.test ([192.0.2.1])\r\n", transaction.octets)
        self.assertIn(b" with " + protocol + b" id ", transaction.octets)

    async def test_plain(self) -> None:
        for header in HEADERS:
            address = await self.listen()

            def talk(header: bytes = header, address: Any = address) -> bytes:
                with closing(connect(address)) as client:
                    client.sendall(header + CONVERSATION)
                    return read_all(client)

            self.assert_taken(await self.in_thread(talk), b"ESMTP")

    async def test_starttls(self) -> None:
        for header in HEADERS:
            address = await self.listen()

            def talk(header: bytes = header, address: Any = address) -> bytes:
                with closing(connect(address)) as client:
                    client.sendall(header)
                    greeting = read_until(client, b"\r\n")
                    client.sendall(b"EHLO x\r\nSTARTTLS\r\n")
                    read_until(client, b"220 2.0.0 Ready to start TLS\r\n")
                    with under_tls(client) as tls:
                        tls.sendall(CONVERSATION)
                        return greeting + read_all(tls)

            self.assert_taken(await self.in_thread(talk), b"ESMTPS")

    async def test_tls_from_the_first_octet(self) -> None:
        """The header is plain, and in front of the handshake."""
        for header in HEADERS:
            address = await self.listen(tls=True)

            def talk(header: bytes = header, address: Any = address) -> bytes:
                with closing(connect(address)) as client:
                    client.sendall(header)
                    with under_tls(client) as tls:
                        tls.sendall(CONVERSATION)
                        return read_all(tls)

            self.assert_taken(await self.in_thread(talk), b"ESMTPS")

    async def test_the_header_and_the_handshake_in_one_segment(self) -> None:
        address = await self.listen(tls=True)

        def talk() -> bytes:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = context.wrap_bio(incoming, outgoing)
            with closing(connect(address)) as client:
                header, said = LINE, b""
                for step in (tls.do_handshake, lambda: tls.write(CONVERSATION), lambda: tls.read(65536)):
                    while True:
                        try:
                            result = step()
                        except ssl.SSLWantReadError:
                            client.sendall(header + outgoing.read())
                            header = b""
                            incoming.write(client.recv(65536))
                            continue
                        client.sendall(outgoing.read())
                        break
                said = result if isinstance(result, bytes) else b""
                while b"221 " not in said:
                    try:
                        said += tls.read(65536)
                    except ssl.SSLWantReadError:
                        incoming.write(client.recv(65536))
                return said

        self.assert_taken(await self.in_thread(talk), b"ESMTPS")

    async def test_a_unix_socket(self) -> None:
        path = self.mktemp()[-60:].replace("/", "-")
        address = await self.listen(f"unix:{path}")

        def talk() -> bytes:
            with closing(connect(address, socket.AF_UNIX)) as client:
                client.sendall(BLOCK + CONVERSATION)
                return read_all(client)

        self.assert_taken(await self.in_thread(talk), b"ESMTP")

    async def test_no_header(self) -> None:
        address = await self.listen()

        def talk() -> bytes:
            with closing(connect(address)) as client:
                client.sendall(CONVERSATION)
                try:
                    return read_all(client)
                except ConnectionError:
                    return b""

        self.assertEqual(await self.in_thread(talk), b"")


class EagerTests(LoopbackTests):
    """The same where what is written is sent at once."""

    prepare = staticmethod(eager)

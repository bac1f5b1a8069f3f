"""On real sockets: behind Twisted's ``haproxy:`` endpoint, which puts a wrapper between TLS and the connection."""

import socket
import ssl
from contextlib import closing
from pathlib import Path

from tests.authentication import Passwords, plain, portal
from tests.loopback import LoopbackTestCase, connect
from tests.tls.support import issue, write
from twistsmtp.security import Security
from twistsmtp.tls.certificates import Certificates


class StartTLSTests(LoopbackTestCase):
    async def test_tls_and_authentication(self) -> None:
        certificates = Certificates(write(Path(self.mktemp()) / "mx.pem", issue("mx.test")))
        security = Security(tls=certificates, portal=portal(Passwords()), require_tls=True, require_auth=True)
        address = await self.serve("haproxy:tcp:0:interface=127.0.0.1", security=security)
        said = await self.in_thread(lambda: self.talk(address))
        self.assertIn(b"250-AUTH ", said)
        self.assertNotIn(b"STARTTLS", said)
        self.assertIn(b"\r\n235 2.7.0 ", said)
        self.assertIn(b" accepted\r\n", said)

    def talk(self, address: tuple[str, int]) -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with closing(connect(address)) as plain_socket:
            plain_socket.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 25\r\n")
            self.expect(plain_socket, b"220 ")
            plain_socket.sendall(b"EHLO client.test\r\n")
            self.expect(plain_socket, b"STARTTLS")
            plain_socket.sendall(b"STARTTLS\r\n")
            self.expect(plain_socket, b"220 ")
            with closing(context.wrap_socket(plain_socket)) as client:
                said = b""
                for line in (
                    "EHLO client.test",
                    f"AUTH PLAIN {plain()}",
                    "MAIL FROM:<>",
                    "RCPT TO:<b@mx.test>",
                    "DATA",
                    "x\r\n.",
                ):
                    client.sendall(line.encode() + b"\r\n")
                    said += client.recv(4096)
                return said

    def expect(self, client: socket.socket, what: bytes) -> None:
        self.assertIn(what, client.recv(4096))

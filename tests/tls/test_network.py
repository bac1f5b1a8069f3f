"""On real sockets of this machine, with the clients that people look at servers with."""

import shutil
import ssl
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree

from OpenSSL import SSL
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase
from zope.interface import implementer

from tests.loopback import connect
from tests.tls.support import Built, authority, build, issue, pem, write
from twistsmtp.eager import eager
from twistsmtp.tls.certificates import Certificates
from twistsmtp.tls.context import ClientAuth
from twistsmtp.tls.facts import TLS
from twistsmtp.tls.transport import TLSFactory

T = TypeVar("T")


@implementer(IHandshakeListener)
class Echo(Protocol):
    """Says what it hears, in TLS: from the first octet on, or when it has heard "STARTTLS"."""

    transport: Any
    factory: "Echoes"

    def connectionMade(self) -> None:
        self.factory.open.add(self)

    def handshakeCompleted(self) -> None:
        self.factory.facts.append(TLS.of(self.transport.getHandle()))

    def dataReceived(self, data: bytes) -> None:
        if data == b"STARTTLS\r\n":
            self.transport.write(b"220\r\n")
            self.transport.startTLS(self.factory.certificates)
        elif data == b"QUIT\r\n":
            self.transport.loseConnection()
        else:
            self.transport.write(data)

    def connectionLost(self, reason: Failure = Failure(Exception())) -> None:  # noqa: B008  # as in the base class
        self.factory.open.discard(self)


class Echoes(Factory):
    def __init__(self, certificates: Certificates) -> None:
        self.protocol: Any = Echo
        self.certificates = certificates
        self.facts: list[TLS] = []
        self.open: set[Echo] = set()


class NetworkTestCase(TestCase):
    """Serves on a socket; clients block in a thread."""

    timeout = 120
    #: What is done to the port that was made.
    prepare: Callable[[Any], Any] = staticmethod(lambda port: port)

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        write(self.folder / "a.pem", issue("a.test"))
        write(self.folder / "b.pem", issue("b.test"))
        self.ca = self.folder / "ca"
        self.ca.write_bytes(authority().cert_pem.bytes())

    async def serve(self, *, implicit: bool = True, **settings: Any) -> Any:
        from twisted.internet import reactor

        self.certificates = Certificates(self.folder, **settings)
        self.echoes = Echoes(self.certificates)
        factory = TLSFactory(self.certificates, False, self.echoes) if implicit else self.echoes
        port = self.prepare(await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory))
        self.addCleanup(self.until, lambda: not self.echoes.open)
        self.addCleanup(port.stopListening)
        return ("127.0.0.1", port.getHost().port)

    async def until(self, condition: Callable[[], object]) -> None:
        from twisted.internet import reactor

        while not condition():
            await task.deferLater(reactor, 0.005)

    def in_thread(self, function: Callable[..., T], *arguments: Any) -> "Deferred[T]":
        return deferToThread(function, *arguments)

    def trusting(self, built: Built | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca))
        if built is not None:
            path = Path(self.mktemp())
            path.write_bytes(built.all_pem)
            context.load_cert_chain(path)
        return context


class ClientTests(NetworkTestCase):
    """The standard library's client."""

    def echo(self, address: Any, context: ssl.SSLContext, name: str, octets: bytes, *, plain: bool = False) -> bytes:
        """What comes back; it is sent while it comes back."""
        with closing(connect(address)) as bare:
            if plain:
                bare.sendall(b"STARTTLS\r\n")
                self.assertEqual(bare.recv(100), b"220\r\n")
            with closing(context.wrap_socket(bare, server_hostname=name)) as client:
                back = b""
                for start in range(0, len(octets), 1 << 16):
                    piece = octets[start : start + (1 << 16)]
                    client.sendall(piece)
                    while len(back) < start + len(piece):
                        back += client.recv(1 << 16)
                client.sendall(b"QUIT\r\n")
                self.assertEqual(client.recv(1), b"")
                return back

    async def test_both_ways_to_begin(self) -> None:
        octets = bytes(range(256)) * 4096
        for implicit in True, False:
            address = await self.serve(implicit=implicit)
            for name in "a.test", "b.test":
                back = await self.in_thread(
                    lambda name=name, address=address, implicit=implicit: self.echo(
                        address, self.trusting(), name, octets, plain=not implicit
                    )
                )
                self.assertTrue(back == octets)
            self.assertEqual([each.server_name for each in self.echoes.facts], ["a.test", "b.test"])

    async def test_what_is_read_again_is_for_those_who_come_then(self) -> None:
        address = await self.serve()

        def talk(client: ssl.SSLSocket) -> bytes:
            client.sendall(b"x")
            return client.recv(1)

        def dial() -> tuple[ssl.SSLSocket, Any]:
            client = self.trusting().wrap_socket(connect(address), server_hostname="a.test")
            return client, (client.getpeercert() or {}).get("subjectAltName")

        old, names = await self.in_thread(dial)
        write(self.folder / "a.pem", issue("a.test", "new.test"))
        self.certificates.reload()
        new, new_names = await self.in_thread(dial)
        with closing(old), closing(new):
            self.assertEqual((await self.in_thread(talk, old), await self.in_thread(talk, new)), (b"x", b"x"))
        self.assertEqual(names, (("DNS", "a.test"),))
        self.assertEqual(new_names, (("DNS", "a.test"), ("DNS", "new.test")))

    async def test_certificates_of_clients(self) -> None:
        root = build("Root", ca=True)
        (self.folder / "clients").write_bytes(pem(root.certificate))
        shown = build("ada", build("Between", root, ca=True)), build("eve"), None
        address = await self.serve(client_auth=ClientAuth.OPTIONAL, client_ca=self.folder / "clients")
        for built in shown:
            await self.in_thread(self.echo, address, self.trusting(built), "a.test", b"x")
        self.assertEqual([each.peer and each.peer.subject for each in self.echoes.facts], ["CN=ada", None, None])
        address = await self.serve(client_auth=ClientAuth.REQUIRED, client_ca=self.folder / "clients")
        await self.in_thread(self.echo, address, self.trusting(shown[0]), "a.test", b"x")
        for built in shown[1:]:
            error = await self.assertFailure(
                self.in_thread(self.echo, address, self.trusting(built), "a.test", b"x"), ssl.SSLError, OSError
            )
            self.assertIsInstance(error, OSError)
        self.assertEqual([each.peer and each.peer.subject for each in self.echoes.facts], ["CN=ada"])


class EagerTests(ClientTests):
    """The same, on connections that send at once."""

    prepare = staticmethod(eager)


class OpenSSLTests(NetworkTestCase):
    """``openssl s_client``."""

    def setUp(self) -> None:
        super().setUp()
        if shutil.which("openssl") is None:
            raise SkipTest("openssl is not installed")

    async def s_client(self, *options: str, name: str = "a.test", says: bytes = b"QUIT\r\n", **settings: Any) -> str:
        """All that it prints."""
        address = await self.serve(**settings)
        where = f"{address[0]}:{address[1]}"
        # -crlf and no -quiet: a line of one Q or R is a command to it.
        command = [
            "openssl",
            "s_client",
            "-crlf",
            "-connect",
            where,
            "-servername",
            name,
            "-CAfile",
            str(self.ca),
            *options,
        ]
        done = await self.in_thread(
            lambda: subprocess.run(command, input=says, capture_output=True, timeout=60, check=False)
        )
        return (done.stdout + done.stderr).decode("utf-8", "replace")

    async def test_versions(self) -> None:
        for option, name in ("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3"):
            said = await self.s_client(option)
            self.assertIn(f"New, {name}, Cipher is", said)
            self.assertIn("Verification: OK", said)
            self.assertEqual(self.echoes.facts[0].version, name)

    async def test_versions_that_are_too_old(self) -> None:
        for option in "-tls1", "-tls1_1":
            said = await self.s_client(option, "-cipher", "ALL:@SECLEVEL=0")
            self.assertIn("alert protocol version", said)
            self.assertEqual(self.echoes.facts, [])

    async def test_suites(self) -> None:
        said = await self.s_client("-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256")
        self.assertIn("Cipher is ECDHE-ECDSA-AES128-GCM-SHA256", said)
        said = await self.s_client("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:AES128-SHA:@SECLEVEL=0")
        self.assertIn("handshake failure", said)

    async def test_names(self) -> None:
        for name, shown in ("b.test", "b.test"), ("other.test", "a.test"):
            said = await self.s_client("-verify_hostname", shown, name=name)
            self.assertIn(f"Verified peername: {shown}", said)

    async def test_renegotiation(self) -> None:
        said = await self.s_client("-tls1_2", says=b"R\n")
        self.assertIn("RENEGOTIATING", said)
        self.assertIn("no renegotiation", said)

    async def test_compression(self) -> None:
        self.assertIn("Compression: NONE", await self.s_client("-tls1_2", "-comp"))

    async def test_tickets(self) -> None:
        self.assertIn("TLS session ticket:", await self.s_client("-tls1_2"))

    async def test_authorities(self) -> None:
        (self.folder / "clients").write_bytes(pem(build("Root", ca=True).certificate))
        for auth in ClientAuth.OPTIONAL, ClientAuth.REQUIRED:
            said = await self.s_client("-tls1_2", client_auth=auth, client_ca=self.folder / "clients")
            self.assertIn("Acceptable client certificate CA names\nCN = Root\n", said)
        self.assertIn("No client certificate CA names sent", await self.s_client("-tls1_2"))


class ScanTests(NetworkTestCase):
    """``sslscan``."""

    async def test_what_it_finds(self) -> None:
        if shutil.which("sslscan") is None:
            raise SkipTest("sslscan is not installed")
        host, port = await self.serve()
        command = ["sslscan", "--xml=-", "--no-colour", "--sni-name=a.test", f"{host}:{port}"]
        done = await self.in_thread(lambda: subprocess.run(command, capture_output=True, timeout=100, check=True))
        self.flushLoggedErrors(SSL.Error)
        found = ElementTree.fromstring(done.stdout).find("ssltest")
        assert found is not None
        enabled = {
            f"{each.get('type')} {each.get('version')}" for each in found.iter("protocol") if each.get("enabled") == "1"
        }
        self.assertEqual(enabled, {"tls 1.2", "tls 1.3"})
        for each in found.iter("cipher"):
            self.assertIn(each.get("strength"), ("strong", "acceptable"), each.attrib)
            self.assertNotRegex(each.get("cipher", ""), "CBC|SHA$|RC4|3DES|NULL|EXPORT|MD5|anon", each.attrib)
        self.assertTrue(list(found.iter("cipher")))
        # sslscan says nothing of compression where its own OpenSSL has none.
        for finding, what in ("compression", "supported"), ("renegotiation", "supported"), ("heartbleed", "vulnerable"):
            self.assertLessEqual({each.get(what) for each in found.iter(finding)}, {"0"}, finding)
        groups = " ".join(each.get("name", "") for each in found.iter("group"))
        for group in "x25519", "P-256", "P-384":
            self.assertIn(group, groups)

"""Encryption, on real sockets: whom a client believes, and what it sends to whom it does not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import task
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate, TLSVersion, optionsForClientTLS, trustRootFromCertificates
from twisted.trial.unittest import TestCase

from tests.authentication import PASSWORD, USER, Passwords, Realm, Scrams, portal
from tests.loopback import LoopbackTestCase
from tests.tls.support import authority, issue, write
from twistsmtp.checkers.certificate import CertificateChecker
from twistsmtp.client import (
    AuthError,
    ClientTLS,
    ConnectionLost,
    Credentials,
    Destination,
    ProtocolError,
    Result,
    TLSError,
    TLSMode,
    send,
)
from twistsmtp.security import Security
from twistsmtp.tls.certificates import Certificates
from twistsmtp.tls.context import ClientAuth
from twistsmtp.tls.transport import TLSFactory

MESSAGE = b"Subject: x\r\n\r\ntext\r\n"


class TLSTests(LoopbackTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.ca = self.folder / "ca.pem"
        write(self.folder / "server.pem", issue("127.0.0.1", "localhost"))
        self.ca.write_bytes(authority().cert_pem.bytes())

    def security(self, *checkers: Any, **settings: Any) -> Security:
        certificates = Certificates(self.folder / "server.pem", **settings)
        self.realm = Realm()
        return Security(tls=certificates, portal=portal(*checkers, realm=self.realm) if checkers else None)

    async def start(self, *checkers: Any, implicit: bool = False, **settings: Any) -> None:
        """Serve."""
        security = self.security(*checkers, **settings)
        if implicit:
            from twisted.internet import reactor

            await self.serve(security=security)
            factory = TLSFactory(security.tls, False, self.factory)
            port: Any = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
            self.addCleanup(port.stopListening)
            self.number = port.getHost().port
        else:
            _, self.number = await self.serve(security=security)
        self.realm.delivery = self.delivery

    async def send(self, **settings: Any) -> Result:
        settings = {"host": "127.0.0.1", "port": self.number, "ca": str(self.ca), **settings}
        return await send("a@client.test", "b@mx.test", MESSAGE, **settings)

    def sessions(self) -> list[str]:
        """With what each message came."""
        return [str(each.octets.split(b" with ")[1].split()[0], "ascii") for each in self.delivery.transactions]

    async def fails(self, kind: type[Exception], **settings: Any) -> str:
        """Why nothing was sent."""
        with self.assertRaises(kind) as caught:
            await self.send(**settings)
        self.assertEqual(self.delivery.transactions, [])
        return str(caught.exception)

    async def test_required(self) -> None:
        await self.start()
        await self.send(tls="required")
        await self.send(tls="required", host="localhost")
        self.assertEqual(self.sessions(), ["ESMTPS", "ESMTPS"])

    async def test_implicit(self) -> None:
        await self.start(implicit=True)
        await self.send(tls="implicit")
        self.assertEqual(self.sessions(), ["ESMTPS"])

    async def test_opportunistic(self) -> None:
        """Any certificate will do."""
        await self.start()
        await self.send(tls="opportunistic", ca="")
        await self.send(ca="")
        await self.send(tls="none", ca="")
        self.assertEqual(self.sessions(), ["ESMTPS", "ESMTPS", "ESMTP"])

    async def test_another_host(self) -> None:
        write(self.folder / "server.pem", issue("other.test", "192.0.2.1"))
        for implicit in (False, True):
            await self.start(implicit=implicit)
            mode = "implicit" if implicit else "required"
            for host in ("127.0.0.1", "localhost"):
                self.assertIn("the certificate is for another host", await self.fails(TLSError, tls=mode, host=host))

    async def test_of_nobody_we_know(self) -> None:
        """Nor does the system know them."""
        self.ca.write_bytes(authority("Other CA").cert_pem.bytes())
        await self.start()
        for ca in (str(self.ca), ""):
            self.assertIn("certificate verify failed", await self.fails(TLSError, tls="required", ca=ca))

    async def test_options_of_ones_own(self) -> None:
        await self.start()
        trust = trustRootFromCertificates([Certificate.loadPEM(authority().cert_pem.bytes())])
        await self.send(ssl=optionsForClientTLS("localhost", trust), tls="required", ca="")
        self.assertEqual(self.sessions(), ["ESMTPS"])
        await self.fails_again(ssl=optionsForClientTLS("other.test", trust), tls="required", ca="")

    async def fails_again(self, **settings: Any) -> None:
        with self.assertRaises(TLSError):
            await self.send(**settings)

    async def test_not_offered(self) -> None:
        _, self.number = await self.serve()
        self.assertEqual(await self.fails(TLSError, tls="required"), "STARTTLS is not offered")
        await self.send(tls="opportunistic", ca="")
        self.assertEqual(self.sessions(), ["ESMTP"])

    async def test_a_password(self) -> None:
        """Only under TLS with whom we mean, unless that is not asked for."""
        await self.start(Passwords())
        account: dict[str, Any] = {"username": USER, "password": PASSWORD}
        for mode in ("none", "opportunistic"):
            await self.fails(AuthError, tls=mode, ca="", **account)
        await self.send(**account)
        credentials = Credentials(**account, plaintext=True)
        await self.send(tls="opportunistic", ca="", credentials=credentials)
        self.assertEqual(self.sessions(), ["ESMTPSA", "ESMTPSA"])

    async def test_a_bound_channel(self) -> None:
        """By what TLS 1.3 exports, and by the server's certificate."""
        trust = trustRootFromCertificates([Certificate.loadPEM(authority().cert_pem.bytes())])
        await self.start(Scrams())
        for version in (TLSVersion.TLSv1_3, TLSVersion.TLSv1_2):
            options = optionsForClientTLS(
                "localhost", trust, extraCertificateOptions={"lowerMaximumSecurityTo": version}
            )
            for mechanism in ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"):
                credentials = Credentials(username=USER, password=PASSWORD, mechanisms=(mechanism,))
                await self.send(credentials=credentials, tls="required", ssl=options, ca="")
        self.assertEqual(self.sessions(), ["ESMTPSA"] * 4)

    async def test_the_best_is_bound(self) -> None:
        await self.start(Scrams(), Passwords())
        await self.send(username=USER, password=PASSWORD)
        self.assertEqual(self.sessions(), ["ESMTPSA"])

    async def test_a_certificate_of_ours(self) -> None:
        ours = write(self.folder / "client" / "tim.pem", issue("tim@client.test"))
        await self.start(CertificateChecker(), client_auth=ClientAuth.OPTIONAL, client_ca=self.ca)
        for credentials in (Credentials(), Credentials(username="tim@client.test")):
            await self.send(tls="required", certificate=str(ours), credentials=credentials)
        self.assertEqual(self.sessions(), ["ESMTPSA", "ESMTPSA"])
        with self.assertRaises(AuthError):
            await self.send(tls="required", credentials=Credentials())
        with self.assertRaises(AuthError):
            await self.send(tls="required", certificate=str(ours), credentials=Credentials(username="eve@client.test"))


class Scripted(Protocol):
    """Says a piece for each line that it hears, and the first at once."""

    transport: Any
    pieces: list[bytes]
    heard: list[bytes]

    def connectionMade(self) -> None:
        self._say()

    def _say(self) -> None:
        if self.pieces:
            self.transport.write(self.pieces.pop(0))

    def dataReceived(self, data: bytes) -> None:
        self.heard.append(data)
        self._say()


class LyingServerTests(TestCase):
    """Servers, and whoever sits between, that say more than they should."""

    timeout = 60

    async def serve(self, *pieces: bytes) -> int:
        """A server that says these; each connection the same."""
        from twisted.internet import reactor

        self.heard: list[bytes] = []
        self.open: set[Any] = set()

        def build() -> Scripted:
            protocol = Scripted()
            protocol.pieces, protocol.heard = list(pieces), self.heard
            self.open.add(protocol)
            return protocol

        factory = Factory.forProtocol(build)
        port: Any = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
        self.addCleanup(self.until, lambda: not any(each.connected for each in self.open if each.transport))
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    async def until(self, condition: Callable[[], object]) -> None:
        from twisted.internet import reactor

        for protocol in self.open:
            protocol.transport.loseConnection()
        while any(protocol.transport.connected for protocol in self.open):
            await task.deferLater(reactor, 0.005)

    async def fails(self, kind: type[Exception], port: int, mode: str) -> str:
        with self.assertRaises(kind) as caught:
            await send("a@client.test", "b@mx.test", MESSAGE, host="127.0.0.1", port=port, tls=mode)
        self.assertFalse(any(b"MAIL" in each for each in self.heard))
        return str(caught.exception)

    async def test_behind_starttls(self) -> None:
        """Plain text behind the word to begin is somebody's who wants it to be believed under TLS."""
        for extra in (b"250-mx.test\r\n250 AUTH PLAIN\r\n", b"2", b"250 OK\r\n"):
            ready = b"220 Ready\r\n" + extra
            for mode in ("required", "opportunistic"):
                port = await self.serve(b"220 mx.test\r\n", b"250-mx.test\r\n250 STARTTLS\r\n", ready)
                text = await self.fails(ProtocolError, port, mode)
                self.assertEqual(text, "something stands behind the reply to STARTTLS")
                self.assertEqual(len(self.heard), 2)

    async def test_instead_of_a_handshake(self) -> None:
        port = await self.serve(
            b"220 mx.test\r\n", b"250-mx.test\r\n250 STARTTLS\r\n", b"220 Ready\r\n", b"250 mx.test\r\n"
        )
        self.assertIn("handshake failed", await self.fails(TLSError, port, "required"))

    async def test_plain_text_where_tls_should_be(self) -> None:
        port = await self.serve(b"220 mx.test ESMTP\r\n")
        await self.fails(TLSError, port, "implicit")
        self.assertFalse(any(b"EHLO" in each for each in self.heard))

    async def test_a_refusal_to_begin(self) -> None:
        hello = b"250-mx.test\r\n250 STARTTLS\r\n"
        port = await self.serve(b"220 mx.test\r\n", hello, b"454 4.7.0 Not now\r\n")
        self.assertEqual(await self.fails(TLSError, port, "required"), "STARTTLS: 454 4.7.0 Not now")

    async def test_without_it_then(self) -> None:
        """Where encryption is only opportunistic, mail goes without: after a refusal, and after a failure."""
        hello, rest = (
            b"250-mx.test\r\n250 STARTTLS\r\n",
            [b"250 OK\r\n", b"250 OK\r\n", b"354 Go\r\n", b"250 Done\r\n", b"221 Bye\r\n"],
        )
        port = await self.serve(b"220 mx.test\r\n", hello, b"454 4.7.0 Not now\r\n", *rest)
        result = await send("a@x.test", "b@mx.test", MESSAGE, host="127.0.0.1", port=port, tls="opportunistic")
        self.assertTrue(result.accepted)

    async def test_after_a_failed_handshake(self) -> None:
        hello = b"250-mx.test\r\n250 STARTTLS\r\n"
        port = await self.serve(b"220 mx.test\r\n", hello, b"220 Ready\r\n", b"no TLS\r\n", b"250 OK\r\n")
        with self.assertRaises((ProtocolError, ConnectionLost)):
            await send("a@x.test", "b@mx.test", MESSAGE, host="127.0.0.1", port=port, tls="opportunistic")
        self.assertEqual([each for each in self.heard if each.startswith(b"MAIL")], [b"MAIL FROM:<a@x.test>\r\n"])


class ClientTLSTests(TestCase):
    def test_files(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "empty").write_bytes(b"")
        for settings in ({"ca": "empty"}, {"certificate": "empty"}):
            paths = {name: str(folder / path) for name, path in settings.items()}
            self.assertRaises(ValueError, ClientTLS, TLSMode.REQUIRED, **paths)
        self.assertRaises(OSError, ClientTLS, TLSMode.REQUIRED, ca=str(folder / "none"))
        self.assertRaises(ValueError, ClientTLS, "sometimes")

    def test_options_alone(self) -> None:
        options: Any = optionsForClientTLS("mx.test")
        self.assertRaises(ValueError, ClientTLS, TLSMode.REQUIRED, ca="x", options=options)
        self.assertRaises(ValueError, ClientTLS, TLSMode.REQUIRED, options=object())
        self.assertIs(ClientTLS(TLSMode.REQUIRED, options=options).creator("other.test"), options)

    def test_read_again(self) -> None:
        """Two that were made of other files are not taken for one, whatever their names."""
        path = Path(self.mktemp())
        made = []
        for name in ("One CA", "Two CA", "Two CA"):
            path.write_bytes(authority(name).cert_pem.bytes())
            made.append(ClientTLS(TLSMode.REQUIRED, ca=str(path)))
        self.assertNotEqual(made[0], made[1])
        self.assertEqual(made[1], made[2])
        self.assertIsNot(made[0].creator("mx.test"), made[1].creator("mx.test"))
        self.assertIs(made[1].creator("mx.test"), made[2].creator("mx.test"))

    def test_nothing_secret_is_shown(self) -> None:
        path = write(Path(self.mktemp()), issue("client.test"))
        tls = ClientTLS(TLSMode.REQUIRED, certificate=str(path))
        shown = repr(Destination(host="mx.test", tls=tls, credentials=Credentials(username="a", password="geheim")))
        self.assertNotIn("PRIVATE", shown)
        self.assertNotIn("geheim", shown)

    def test_no_host(self) -> None:
        for host in ("a..b", "x" * 64 + ".test"):
            self.assertRaises(ValueError, ClientTLS(TLSMode.REQUIRED).creator, host)

"""twisted.mail's server, over ours: what programs see of a connection, time, and TLS."""

import base64
import socket
import ssl
from typing import Any

import trustme
from twisted.cred.checkers import AllowAnonymousAccess, ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IAnonymous
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ConnectionDone
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.mail import smtp as original
from twisted.mail.imap4 import PLAINCredentials
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from tests.chunks import COMMANDS, bdat
from tests.support import split_replies
from twistsmtp.compat import twistedmail as smtp
from twistsmtp.limits import Limits

PLAIN = base64.b64encode(b"\0bob\0secret").decode()


@implementer(smtp.IMessage)
class Message:
    """Keeps its lines."""

    def __init__(self, delivery: "Delivery") -> None:
        self.delivery = delivery
        self.lines: list[bytes] = []

    def lineReceived(self, line: bytes) -> None:
        self.lines.append(line)

    def eomReceived(self) -> "Deferred[None]":
        self.delivery.messages.append(self.lines)
        return succeed(None)

    def connectionLost(self) -> None:
        self.delivery.lost += 1


@implementer(smtp.IMessageDelivery)
class Delivery:
    """Takes all there is, and keeps it."""

    def __init__(self) -> None:
        self.messages: list[list[bytes]] = []
        self.users: list[Any] = []
        self.lost = 0

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> None:
        return None

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        return origin

    def validateTo(self, user: Any) -> Any:
        self.users.append(user)
        return lambda: Message(self)


@implementer(IRealm)
class Realm:
    def __init__(self) -> None:
        self.delivery = Delivery()
        self.log_outs = 0

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:  # noqa: N803
        return smtp.IMessageDelivery, self.delivery, self._log_out

    def _log_out(self) -> None:
        self.log_outs += 1


def portal() -> tuple[Any, Realm]:
    realm = Realm()
    return Portal(realm, [InMemoryUsernamePasswordDatabaseDontUse(bob=b"secret")]), realm


class InMemory(SynchronousTestCase):
    """A server on a transport in memory, and a clock."""

    def connect(self, server: Any, factory: Any = None) -> Any:
        self.clock = Clock()
        server.callLater = self.clock.callLater
        if factory is not None:
            server.factory = factory
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.1", 5000))
        self.server = server
        server.makeConnection(self.transport)
        self.addCleanup(server.connectionLost, ConnectionDone())
        self.say()
        return server

    def say(self, *lines: bytes) -> list[str]:
        for line in lines:
            self.server.dataReceived(line + b"\r\n")
        said = self.transport.value()
        self.transport.clear()
        return split_replies(said)


class NameTests(SynchronousTestCase):
    """What the module has."""

    def test_names(self) -> None:
        """All that the original has, and of that the server is ours."""
        for name in original.__all__:
            self.assertIn(name, smtp.__all__)
            ours = name in {"SMTP", "ESMTP", "SMTPFactory"}
            self.assertEqual(ours, getattr(smtp, name) is not getattr(original, name), name)


class ConnectionTests(InMemory):
    """What programs see, and do."""

    def test_no_greeting(self) -> None:
        """Who has not said HELO is nobody, in all that is asked about its mail."""
        seen: list[Any] = []

        class Asked(Delivery):
            def validateFrom(self, helo: Any, origin: Any) -> Any:
                seen.append(helo)
                return origin

            def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> None:
                seen.append(helo)

        delivery = Asked()
        server = self.connect(smtp.SMTP(delivery))
        self.assertEqual([], server._to)
        self.say(b"MAIL FROM:<a@b.test>", b"RCPT TO:<c@d.test>")
        [(user, make)] = server._to
        self.assertEqual(("c@d.test", True), (str(user), isinstance(make(), Message)))
        self.say(b"DATA", b"x", b".")
        self.assertEqual([(None, b"192.0.2.1")] * 3, [*seen, user.helo])

    def test_no_sender(self) -> None:
        """To return no sender is no way to say yes."""
        delivery = Delivery()
        self.patch(delivery, "validateFrom", lambda helo, origin: None)
        self.connect(smtp.SMTP(delivery))
        said = self.say(b"HELO x", b"MAIL FROM:<a@b.test>", b"RCPT TO:<c@d.test>")
        self.assertEqual(
            ["550 Cannot receive from specified address <a@b.test>: Sender not acceptable",
             "503 Must have sender before recipient"],
            said[1:],
        )  # fmt: skip

    def test_attributes(self) -> None:
        """Who the client is, who it is from, and in which mode the connection is."""
        delivery = Delivery()
        server = self.connect(smtp.ESMTP())
        server.delivery = delivery
        self.assertEqual((None, b"192.0.2.1"), server._helo)
        self.assertEqual(("COMMAND", None, False), (server.mode, server._from, server.startedTLS))
        server.host = "näme".encode("punycode").decode()
        self.say(b"HELO me", b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>")
        self.assertEqual((b"me", b"192.0.2.1"), server._helo)
        self.assertEqual("a@b", str(server._from))
        self.assertIs(server, delivery.users[0].protocol)
        self.assertEqual(["354 Continue"], self.say(b"DATA"))
        self.assertEqual("DATA", server.mode)
        self.assertEqual(["250 Delivery in progress"], self.say(b"A: b", b"."))
        self.assertEqual([[b"A: b"]], delivery.messages)

    def test_before_a_connection(self) -> None:
        """There is no session yet, and an end is no error."""
        server = smtp.SMTP()
        self.assertEqual("COMMAND", server.mode)
        with self.assertRaises(RuntimeError):
            server.session  # noqa: B018
        server.connectionLost(ConnectionDone())

    def test_says(self) -> None:
        """A reply has as many lines as its text, and none that anybody slipped in."""
        server = self.connect(smtp.SMTP())
        server.sendCode(250, b"one\r\ntwo\nthree\x07\xff")
        server.sendCode(250)
        server.sendLine(b"250-four")
        server.transport.writeSequence([b"250 ", b"five\r\n"])
        self.assertEqual(
            ["250-one\r\n250-two\r\n250 three\\x07\\xff", "250 ", "250-four\r\n250 five"],
            self.say(),
        )

    def test_waits(self) -> None:
        """Nothing is carried out until a command has been answered, however late."""

        class Server(smtp.SMTP):
            def do_XSLOW(self, rest: bytes) -> None:  # noqa: N802
                self.callLater(5, lambda: self.sendCode(250, b"slow " + rest))

        self.connect(Server())
        self.assertEqual([], self.say(b"XSLOW x", b"NOOP"))
        self.clock.advance(5)
        self.assertEqual(["250 slow x", "250 OK"], self.say())

    def test_fails(self) -> None:
        """A command that raises is 451; one that has answered already ends the connection."""

        class Server(smtp.SMTP):
            def do_XFAIL(self, rest: bytes) -> None:  # noqa: N802
                if rest:
                    self.sendCode(250, b"first")
                raise RuntimeError("secret")

        self.connect(Server())
        self.assertEqual(["451 Requested action aborted: local error in processing"], self.say(b"XFAIL"))
        self.assertFalse(self.transport.disconnecting)
        self.assertEqual(["250 first"], self.say(b"XFAIL x", b"NOOP"))
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(2, len(self.flushLoggedErrors(RuntimeError)))

    def test_chunk(self) -> None:
        """BDAT is no command here, and what stands behind it neither; but a program may have one of its own."""
        self.connect(smtp.SMTP())
        self.server.dataReceived(bdat(COMMANDS, True))
        self.assertEqual(["502 BDAT is not implemented"], self.say())
        self.assertTrue(self.transport.disconnecting)

        class Server(smtp.SMTP):
            def do_BDAT(self, rest: bytes) -> None:  # noqa: N802
                self.sendCode(250, rest)

        self.connect(Server())
        self.assertEqual(["250 0", "250 OK"], self.say(b"BDAT 0", b"NOOP"))

    def test_received(self) -> None:
        """Without a delivery the server writes the Received field itself."""
        message = Message(Delivery())

        class Server(smtp.SMTP):
            def validateFrom(self, helo: Any, origin: Any) -> Any:
                return origin

            def validateTo(self, user: Any) -> Any:
                return lambda: message

        self.connect(Server())
        self.say(b"HELO me", b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", b"DATA", b"A: b", b".")
        received, *rest = message.lines
        self.assertEqual([b"A: b"], rest)
        self.assertRegex(
            received, rb"\AReceived: from me \(\[192\.0\.2\.1\] helo=me\)\n\tby \S+ with Server \(.*\)\n\tfor c@d; "
        )

    def test_lost(self) -> None:
        """A connection that ends before its message has does not leave one behind."""
        server = self.connect(smtp.SMTP(Delivery()))
        self.say(b"HELO me", b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", b"DATA", b"A: b")
        server.connectionLost(ConnectionDone())
        self.assertEqual((1, []), (server.delivery.lost, server.delivery.messages))

    def test_limits(self) -> None:
        """A factory may have limits of its own, for all connections together."""
        factory = smtp.SMTPFactory()
        factory.limits = Limits(connections_per_client=1, errors=2, unknown_commands=3)
        self.connect(factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)))
        self.assertEqual(b"421 Too many connections from your address\r\n", self.greeting(factory, "192.0.2.1"))
        self.assertEqual(["500 Command not implemented"], self.say(b"XA"))
        self.assertEqual(["500 Command not implemented", "421 Too many errors"], self.say(b"XB"))

    def test_full(self) -> None:
        """A house has room for so many connections."""
        factory = smtp.SMTPFactory()
        factory.limits = Limits(connections=1)
        self.connect(smtp.SMTP(), factory)
        self.assertEqual(b"421 Too many connections; try again later\r\n", self.greeting(factory, "192.0.2.2"))

    def greeting(self, factory: smtp.SMTPFactory, client: str) -> bytes:
        """What one more connection of *factory*, from the address *client*, is greeted with."""
        server = smtp.SMTP()
        server.factory = factory
        transport = StringTransport(peerAddress=IPv4Address("TCP", client, 2))
        server.makeConnection(transport)
        server.connectionLost(ConnectionDone())
        said: bytes = transport.value()
        return said


class StrangerTests(InMemory):
    """Clients that have not authenticated."""

    def mail(self, checkers: Any, avatar: Any = None) -> list[str]:
        server = smtp.ESMTP()
        realm = Realm()
        if avatar is not None:
            self.patch(realm, "requestAvatar", lambda *_: (*avatar, realm._log_out))
        server.portal = Portal(realm, checkers)
        self.connect(server)
        self.realm = realm
        return self.say(b"HELO me", b"MAIL FROM:<a@b>")[1:]

    def test_anonymous(self) -> None:
        """The portal may have a delivery for them, which is used for all their mail; and is told when they go."""
        self.assertEqual(["250 Sender address accepted"], self.mail([AllowAnonymousAccess()]))
        self.say(b"RSET", b"MAIL FROM:<a@b>")
        self.assertEqual(["250 Recipient address accepted"], self.say(b"RCPT TO:<c@d>"))
        self.assertEqual(0, self.realm.log_outs)
        self.server.connectionLost(ConnectionDone())
        self.assertEqual(1, self.realm.log_outs)

    def test_factory(self) -> None:
        """Or a factory, which is asked for each mail."""
        deliveries: list[Delivery] = []

        @implementer(smtp.IMessageDeliveryFactory)
        class Deliveries:
            def getMessageDelivery(self) -> Delivery:
                deliveries.append(Delivery())
                return deliveries[-1]

        avatar = smtp.IMessageDeliveryFactory, Deliveries()
        self.assertEqual(["250 Sender address accepted"], self.mail([AllowAnonymousAccess()], avatar))
        self.say(b"RSET", b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>")
        self.assertEqual([0, 1], [len(each.users) for each in deliveries])

    def test_nobody(self) -> None:
        """Or nothing, for different reasons."""
        refused = "550 Cannot receive from specified address <a@b>: "
        self.assertEqual([f"{refused}Unauthenticated senders not allowed"], self.mail([]))

        @implementer(ICredentialsChecker)
        class Denies:
            credentialInterfaces = (IAnonymous,)

            def __init__(self, error: Exception) -> None:
                self.error = error

            def requestAvatarId(self, credentials: Any) -> Any:
                return fail(self.error)

        self.assertEqual([f"{refused}Sender not acceptable"], self.mail([Denies(UnauthorizedLogin())]))
        local_error = "451 Requested action aborted: local error in processing"
        self.assertEqual([local_error], self.mail([Denies(RuntimeError())]))
        self.assertEqual([local_error], self.mail([AllowAnonymousAccess()], (IRealm, None)))
        self.assertEqual(2, len(self.flushLoggedErrors(RuntimeError)))
        self.connect(smtp.SMTP())
        self.assertEqual([f"{refused}Sender not acceptable"], self.say(b"HELO me", b"MAIL FROM:<a@b>")[1:])

    def test_no_such_user(self) -> None:
        """A server without a delivery has no users."""

        class Server(smtp.SMTP):
            def validateFrom(self, helo: Any, origin: Any) -> Any:
                return origin

        self.connect(Server())
        said = self.say(b"MAIL FROM:<a@b>", b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", b"DATA", b"VRFY x", b"RSET", b"QUIT")
        self.assertEqual(
            [
                "250 Sender address accepted",
                "503 Only one sender per message, please",
                "550 Cannot receive for specified address",
                "503 Must have valid receiver and originator",
                "252 Cannot VRFY user, but will accept message and attempt delivery",
                "250 I remember nothing.",
                "221 See you later",
            ],
            said,
        )
        self.assertTrue(self.transport.disconnecting)

    def test_ends(self) -> None:
        """Where ``eomReceived`` fails later that is 550, with the count of recipients; where at once it is 451."""

        class Failing(Message):
            def eomReceived(self) -> "Deferred[None]":
                if self.delivery.users[-1].dest.local == b"raises":
                    raise RuntimeError
                return fail(RuntimeError())

        delivery = Delivery()

        def take(user: Any) -> Any:
            delivery.users.append(user)
            return lambda: Failing(delivery)

        self.patch(delivery, "validateTo", take)
        self.connect(smtp.SMTP(delivery))
        said = []
        for users in ([b"x"], [b"x", b"y"], [b"raises"]):
            self.say(b"MAIL FROM:<a@b>", *(b"RCPT TO:<%s@d>" % user for user in users), b"DATA")
            said += self.say(b"A: b", b".")
        self.assertEqual(
            [
                "550 Could not send e-mail",
                "550 Could not send e-mail (2 failures out of 2 recipients)",
                "451 Requested action aborted: local error in processing",
            ],
            said,
        )
        self.assertEqual(4, len(self.flushLoggedErrors(RuntimeError)))


class TimeTests(InMemory):
    """How long a client may take."""

    def test_idle(self) -> None:
        """A client that says nothing is told so, and each command gives it new time."""
        server = self.connect(smtp.SMTP())
        server.host = b"mx.test"
        self.clock.advance(599)
        self.say(b"NOOP")
        self.clock.advance(599)
        self.assertEqual([], self.say())
        self.clock.advance(1)
        self.assertEqual(["421 mx.test Timeout. Try talking faster next time!"], self.say())
        self.assertTrue(self.transport.disconnecting)

    def test_any_number(self) -> None:
        """It may have any number of seconds; nothing is left of the calls then."""
        server = self.connect(smtp.SMTP())
        self.assertEqual(600, server.setTimeout(None))
        self.assertEqual([], self.clock.getDelayedCalls())
        server.resetTimeout()
        self.assertIsNone(server.setTimeout(5))
        self.clock.advance(5)
        self.assertEqual(1, len(self.say()))

    def test_servers_turn(self) -> None:
        """While it is the server's turn the client has all the time."""

        class Server(smtp.SMTP):
            def do_XSLOW(self, rest: bytes) -> None:  # noqa: N802
                self.callLater(700, lambda: self.sendCode(250, b"slow"))

        self.connect(Server())
        self.say(b"XSLOW")
        self.clock.pump([100] * 7)
        self.assertEqual(["250 slow"], self.say())

    def test_message(self) -> None:
        """Octets of a message give it new time."""
        self.connect(smtp.SMTP(Delivery()))
        self.say(b"HELO me", b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", b"DATA")
        for _ in range(3):
            self.clock.advance(500)
            self.assertEqual([], self.say(b"line"))
        self.assertEqual(["250 Delivery in progress"], self.say(b"."))


class TLSTests(TestCase):
    """STARTTLS, with a client on a real socket."""

    timeout = 60

    async def test_begins_anew(self) -> None:
        """AUTH waits for TLS, what was slipped in behind STARTTLS is not carried out, and nothing said before it is
        known behind it."""
        from twisted.internet import reactor

        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        issued = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
        pem = issued.private_key_pem.bytes() + issued.cert_chain_pems[0].bytes()
        checks, realm = portal()
        servers: list[Any] = []

        class Factory(smtp.SMTPFactory):
            protocol = smtp.ESMTP
            domain = b"mx.test"

            def buildProtocol(self, addr: Any) -> Any:
                server = smtp.SMTPFactory.buildProtocol(self, addr)
                server.ctx = PrivateCertificate.loadPEM(pem).options()
                server.challengers = {b"PLAIN": PLAINCredentials}
                servers.append(server)
                return server

        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(Factory(checks))
        self.addCleanup(port.stopListening)
        context = ssl.create_default_context()
        authority.configure_trust(context)

        def talk() -> list[bytes]:
            with socket.create_connection(("127.0.0.1", port.getHost().port), 20) as plain:
                said = [plain.recv(4096)]

                def say(client: Any, octets: bytes) -> None:
                    client.sendall(octets + b"\r\n")
                    said.append(client.recv(4096))

                say(plain, b"EHLO me")
                say(plain, b"AUTH PLAIN " + PLAIN.encode())
                say(plain, b"MAIL FROM:<a@b>")
                say(plain, b"STARTTLS\r\nXSLIPPED in")
                with context.wrap_socket(plain, server_hostname="127.0.0.1") as client:
                    say(client, b"RCPT TO:<c@d>")
                    say(client, b"STARTTLS")
                    say(client, b"EHLO me")
                    say(client, b"AUTH PLAIN " + PLAIN.encode())
                    for line in b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", b"DATA", b"A: b\r\n.", b"QUIT":
                        say(client, line)
                    said.append(client.recv(4096))
            return said

        said = await deferToThread(talk)
        self.assertEqual(
            [
                b"220 mx.test NO UCE NO UBE NO RELAY PROBES ESMTP\r\n",
                b"250-mx.test Hello 127.0.0.1, nice to meet you\r\n250 STARTTLS\r\n",
                b"538 Encryption required for authentication: say STARTTLS first\r\n",
                b"550 Cannot receive from specified address <a@b>: Unauthenticated senders not allowed\r\n",
                b"220 Begin TLS negotiation now\r\n",
                b"503 Must have sender before recipient\r\n",
                b"503 TLS already negotiated\r\n",
                b"250-mx.test Hello 127.0.0.1, nice to meet you\r\n250 AUTH PLAIN\r\n",
                b"235 Authentication successful.\r\n",
                b"250 Sender address accepted\r\n",
                b"250 Recipient address accepted\r\n",
                b"354 Continue\r\n",
                b"250 Delivery in progress\r\n",
                b"221 See you later\r\n",
                b"",
            ],
            said,
        )
        self.assertEqual([[b"A: b"]], realm.delivery.messages)
        self.assertEqual((1, True), (realm.log_outs, servers[0].authenticated))


class AuthenticationTests(InMemory):
    """AUTH, without a socket."""

    def test_plain_text(self) -> None:
        """Where there is no TLS to be had it is offered in plain text; where there is, if the program wants that."""
        server = smtp.ESMTP({b"PLAIN": PLAINCredentials, "LOGIN": smtp.LOGINCredentials})
        server.portal, realm = portal()
        self.connect(server)
        self.assertIn("250 AUTH PLAIN LOGIN", self.say(b"EHLO me")[0])
        server.canStartTLS = True
        self.assertNotIn("AUTH", self.say(b"EHLO me")[0])
        server.plaintextAuth = True
        self.assertIn("AUTH", self.say(b"EHLO me")[0])
        self.assertEqual(["235 Authentication successful."], self.say(b"AUTH PLAIN " + PLAIN.encode()))
        self.assertEqual((True, "bob"), (server.authenticated, server.session.identity))
        server.connectionLost(ConnectionDone())
        self.assertEqual(1, realm.log_outs)

    def test_forgotten(self) -> None:
        """Who has authenticated is a stranger again when TLS begins."""
        server = smtp.ESMTP({b"PLAIN": PLAINCredentials})
        server.portal, realm = portal()
        self.connect(server)
        self.say(b"EHLO me", b"AUTH PLAIN " + PLAIN.encode())
        server.session.restart()
        self.assertEqual((False, None, 1), (server.authenticated, server.delivery, realm.log_outs))

    def test_no_portal(self) -> None:
        """Where nobody can be asked AUTH is refused for now; and a mechanism that there is not is refused before."""
        self.connect(smtp.ESMTP({b"PLAIN": PLAINCredentials}))
        self.say(b"EHLO me")
        said = self.say(b"AUTH PLAIN", b"AUTH XYZ", b"STARTTLS", b"MAIL FROM:<a@b>")
        self.assertEqual(["454 ", "504 ", "454 ", "550 "], [each[:4] for each in said])

    def test_malformed(self) -> None:
        """A response that is none of the mechanism's is 501; AUTH has its place behind EHLO."""
        server = smtp.ESMTP({b"PLAIN": PLAINCredentials})
        server.portal, _ = portal()
        self.connect(server)
        said = self.say(b"AUTH PLAIN", b"EHLO me", b"AUTH PLAIN eA==", b"AUTH", b"AUTH PLAIN", b"*")
        self.assertEqual(["503", "250", "501", "501", "334", "501"], [each[:3] for each in said])
        self.assertEqual("COMMAND", server.mode)

    def test_odd_avatar(self) -> None:
        """An avatar that is nothing to deliver by is the server's trouble."""
        server = smtp.ESMTP({b"PLAIN": PLAINCredentials})
        server.portal, realm = portal()
        self.patch(realm, "requestAvatar", lambda *_: (IRealm, None, lambda: None))
        self.connect(server)
        self.say(b"EHLO me")
        said = self.say(b"AUTH PLAIN " + PLAIN.encode())
        self.assertEqual(["451 Requested action aborted: local error in processing"], said)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

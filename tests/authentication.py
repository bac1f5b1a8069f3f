"""Portals whose parts do as they are told, clients of SASL, and TLS in memory."""

from base64 import b64decode, b64encode
from collections.abc import Callable, Coroutine
from functools import cache
from hmac import digest as hmac_digest
from typing import Any

import trustme
from OpenSSL import SSL
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IAnonymous, IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet._newtls import _BypassTLS
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer
from zope.interface.interface import InterfaceClass

from tests.sasl.scram_client import ScramClient, scram_keys
from tests.scripted import Script, ScriptedDelivery
from tests.support import Client, Server, Wire
from twistsmtp.delivery.api import IDelivery
from twistsmtp.later import Later
from twistsmtp.sasl.credentials import IBearerToken, IScramChecker, IScramProof, ScramKeys, decoy_keys
from twistsmtp.security import Security
from twistsmtp.tls.adapt import creator_of

__all__ = [
    "PASSWORD",
    "TOKEN",
    "USER",
    "WRONG",
    "Anybody",
    "Bearers",
    "Digests",
    "Passwords",
    "Realm",
    "Scrams",
    "TLSClient",
    "authenticate",
    "certificates",
    "encoded",
    "plain",
    "portal",
    "responder",
    "secured",
]

USER, PASSWORD, WRONG = "tim", "tanstaaftanstaaf", "correcthorsebattery"
TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg"


# --- the portal's parts --------------------------------------------------------------------------------------


@implementer(IRealm)
class Realm:
    """Has an avatar for everybody, and counts who comes and goes. Its step in the script is ``realm``.

    :param visitors: what those get who have not authenticated; ``None`` if there is nothing for them.
    """

    def __init__(self, script: Script | None = None, visitors: object = None) -> None:
        self.script = script or Script()
        self.delivery: object = ScriptedDelivery()
        self.visitors = visitors
        #: For each avatar: the id, the mind and the interfaces that were asked for.
        self.asked: list[tuple[object, object, tuple[object, ...]]] = []
        #: The ids of the avatars that were given, and of those that were logged out.
        self.given: list[object] = []
        self.left: list[object] = []
        #: What logging out fails with.
        self.error: Exception | None = None

    def requestAvatar(self, avatarId: bytes | tuple[()], mind: object, *interfaces: Any) -> Any:  # noqa: N803
        self.asked.append((avatarId, mind, interfaces))
        given = self.script.play("realm", lambda: self._give(avatarId))
        return Deferred.fromCoroutine(given) if isinstance(given, Coroutine) else given  # Twisted's portal awaits none

    def _give(self, avatar_id: object) -> tuple[Any, object, Callable[[], None]]:
        avatar = self.visitors if avatar_id == () else self.delivery
        if avatar is None:
            raise NotImplementedError("nobody in particular is nobody here")
        self.given.append(avatar_id)
        return IDelivery, avatar, lambda: self._log_out(avatar_id)

    def _log_out(self, avatar_id: object) -> None:
        self.left.append(avatar_id)
        if self.error is not None:
            raise self.error


class Checker:
    """Checks as its script has it, in the step ``check``; what it is asked about, it keeps."""

    credentialInterfaces: tuple[InterfaceClass, ...]

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()
        self.credentials: list[Any] = []

    def requestAvatarId(self, credentials: Any) -> Any:
        self.credentials.append(credentials)
        return self.script.play("check", lambda: self._check(credentials))

    def _check(self, credentials: Any) -> bytes | tuple[()]:
        if not self.knows(credentials):
            raise UnauthorizedLogin
        return USER.encode()

    def knows(self, credentials: Any) -> bool:
        """Whether *credentials* are right."""
        raise NotImplementedError


@implementer(ICredentialsChecker)
class Passwords(Checker):
    credentialInterfaces: tuple[InterfaceClass, ...] = (IUsernamePassword,)

    def knows(self, credentials: Any) -> bool:
        return credentials.username == USER.encode() and bool(credentials.checkPassword(PASSWORD.encode()))


@implementer(ICredentialsChecker)
class Digests(Passwords):
    credentialInterfaces = (IUsernameHashedPassword,)


@implementer(ICredentialsChecker)
class Anybody(Checker):
    credentialInterfaces = (IAnonymous,)

    def _check(self, credentials: Any) -> tuple[()]:
        return ()


@implementer(ICredentialsChecker)
class Bearers(Checker):
    """Knows one token, and whose it is."""

    credentialInterfaces = (IBearerToken,)

    def knows(self, credentials: Any) -> bool:
        credentials.username = credentials.username or USER
        return bool(credentials.token == TOKEN and credentials.username == USER)


@cache
def _keys(digest: str) -> ScramKeys:
    return scram_keys(PASSWORD, b"sixteen octets..", 4096, digest)


@implementer(IScramChecker)
class Scrams(Checker):
    """Keys are looked up in the step ``keys``."""

    credentialInterfaces = (IScramProof,)

    def scram_keys(self, username: str, digest: str) -> Later[ScramKeys]:
        keys = _keys(digest) if username == USER else decoy_keys(username, digest, 4096)
        return self.script.play("keys", lambda: keys)

    def knows(self, credentials: Any) -> bool:
        return credentials.username == USER and bool(credentials.proves(_keys(credentials.digest)))


def portal(*checkers: Any, realm: Realm | None = None) -> Portal:
    """By default for passwords."""
    return Portal(realm or Realm(), checkers or [Passwords()])


def secured(*checkers: Any, realm: Realm | None = None, delivery: object = None, **settings: Any) -> Server:
    """A server with a `portal`, to whom clients may authenticate in plain text.

    :param settings: of the `Security` those that it has, and of the server the others.
    """
    own = {name: settings.pop(name) for name in Security.__dataclass_fields__ if name in settings}
    security = Security(**{"portal": portal(*checkers, realm=realm), "plaintext_auth": True, **own})
    return Server(delivery, security=security, **settings)


# --- clients of SASL -----------------------------------------------------------------------------------------


def encoded(octets: bytes | str) -> str:
    """In base64."""
    return b64encode(octets.encode() if isinstance(octets, str) else octets).decode()


def plain(password: str = PASSWORD, username: str = USER, identity: str = "") -> str:
    """The message of PLAIN, encoded."""
    return encoded(f"{identity}\0{username}\0{password}")


def responder(mechanism: str, secret: str, username: str = USER) -> Callable[[bytes], bytes]:
    """The client's side of *mechanism*: from challenge to response."""

    def cram_md5(challenge: bytes) -> bytes:
        return f"{username} ".encode() + hmac_digest(secret.encode(), challenge, "md5").hex().encode()

    def bearer(challenge: bytes) -> bytes:
        if challenge:  # why it has failed
            return b"" if mechanism == "XOAUTH2" else b"\x01"
        header = f"user={username}" if mechanism == "XOAUTH2" else f"n,a={username},"
        return f"{header}\x01auth=Bearer {secret}\x01\x01".encode()

    if mechanism.startswith("SCRAM-"):
        return ScramClient(username, secret, mechanism.removeprefix("SCRAM-").lower())
    return {
        "PLAIN": lambda challenge: f"\0{username}\0{secret}".encode(),
        "LOGIN": lambda challenge: (username if challenge == b"Username:" else secret).encode(),
        "CRAM-MD5": cram_md5,
        "XOAUTH2": bearer,
        "OAUTHBEARER": bearer,
        "ANONYMOUS": lambda challenge: b"trace",
    }[mechanism]


def authenticate(client: Client, mechanism: str, secret: str = PASSWORD, username: str = USER) -> list[str]:
    """Go through an exchange of *mechanism*, for as long as it takes on the server's clock.

    :returns: all replies.
    """
    respond = responder(mechanism, secret, username)
    replies = client.say(f"AUTH {mechanism}")
    while replies[-1].startswith("334 "):
        more = client.say(encoded(respond(b64decode(replies[-1][4:], validate=True))))
        for _ in range(60):  # seconds, of which a failure costs some
            if more:
                break
            client.server.clock.advance(1)
            more = client.say()
        replies += more or ["silence"]
    return replies


# --- TLS -----------------------------------------------------------------------------------------------------


@cache
def certificates() -> Any:
    """A server's side of TLS, for ``mx.test``."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    trustme.CA(key_type=trustme.KeyType.ECDSA).issue_cert("mx.test", key_type=trustme.KeyType.ECDSA).configure_cert(
        context
    )
    return creator_of(context)


class TLSWire(Wire):
    """A transport on which TLS can begin, as it does on Twisted's own, but by our clock."""

    TLS = False

    def startTLS(self, creator: Any, normal: bool = True) -> None:
        producer = self.producer
        self.unregisterProducer()
        nobody: Any = None  # makes the protocol, as there is one
        factory: Any = TLSMemoryBIOFactory(creator, False, nobody, self._clock)
        upper = self.protocol = factory.protocol(factory, self.protocol, False)
        self.getHandle = upper.getHandle
        self.TLS = True
        upper.makeConnection(_BypassTLS(Wire, self))
        if producer is not None:
            self.registerProducer(producer, True)

    def write(self, data: bytes) -> None:
        self.protocol.write(data) if self.TLS else super().write(data)  # type: ignore[attr-defined]  # TLS is between

    def loseConnection(self) -> None:
        self.protocol.loseConnection() if self.TLS else super().loseConnection()  # type: ignore[attr-defined]  # the same

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        upper: Any = self.protocol if self.TLS else super()
        upper.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        upper: Any = self.protocol if self.TLS else super()
        upper.unregisterProducer()


class TLSClient(Client):
    """A client that can begin TLS.

    :param implicit: TLS is what the connection begins with.
    """

    def __init__(self, server: Server, peer: IAddress | str = "192.0.2.1", *, implicit: bool = False) -> None:
        self.server = server
        address = IPv4Address("TCP", peer, 50000) if isinstance(peer, str) else peer
        self.wire: TLSWire = TLSWire(server.clock, address)
        factory: Any = server.factory
        if implicit:
            factory = TLSMemoryBIOFactory(certificates(), False, server.factory, server.clock)
        upper: Any = factory.buildProtocol(address)
        self.wire.protocol = upper
        self.protocol = upper.wrappedProtocol if implicit else upper
        self._outbox = b""
        #: What came and is not read, and how much of the wire's has come.
        self._came = b""
        self._read = 0
        self._tls: SSL.Connection | None = None
        upper.makeConnection(self.wire)

    def start_tls(self) -> "TLSClient":
        """Say STARTTLS, and begin."""
        if self.codes("STARTTLS")[-1][:3] != "220":
            raise AssertionError("no TLS")
        return self.shake_hands()

    def shake_hands(self) -> "TLSClient":
        """Begin TLS: the handshake, as far as the server goes along."""
        self._tls = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        self._tls.set_connect_state()
        self._turn()
        return self

    def raw(self, octets: bytes) -> bytes:
        """Send *octets* beneath TLS.

        :returns: what the server says there.
        """
        upper: Any = self.wire.protocol
        upper.dataReceived(octets)
        self.server.clock.advance(0)
        said, self._read = b"".join(self.wire.writes[self._read :]), len(self.wire.writes)
        return said

    def read(self) -> bytes:
        self._turn()
        came, self._came = self._came, b""
        return came

    def _turn(self) -> None:
        self.server.clock.advance(0)
        busy = True
        while busy:
            busy = self._receive()
            octets = self._to_send()
            if octets and not self.wire.lost and self.wire.producerState == "producing":
                upper: Any = self.wire.protocol
                upper.dataReceived(octets)
                busy = True
            self.server.clock.advance(0)

    def _receive(self) -> bool:
        came, self._read = b"".join(self.wire.writes[self._read :]), len(self.wire.writes)
        if self._tls is None:
            self._came += came
        elif came:
            self._tls.bio_write(came)
        return bool(came)

    def _to_send(self) -> bytes:
        """What is to go over the wire."""
        tls = self._tls
        if tls is None:
            octets, self._outbox = self._outbox, b""
            return octets
        try:
            if tls.get_state_string() != b"SSL negotiation finished successfully":
                tls.do_handshake()
            for start in range(0, len(self._outbox), 16384):
                tls.send(self._outbox[start : start + 16384])
            self._outbox = b""
            while True:
                self._came += tls.recv(65536)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            tls.shutdown()
        try:
            return tls.bio_read(1 << 20)
        except SSL.WantReadError:
            return b""

    def hang_up(self) -> None:
        """Close the connection, and say so in TLS if it has begun."""
        if self._tls is not None:
            self._tls.shutdown()
            self.raw(self._tls.bio_read(65536))
        self.wire.lose(ConnectionDone())

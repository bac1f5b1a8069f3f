"""The server's side of one connection: what programs see, and subclass."""

import re
from collections.abc import Callable, Iterator
from typing import Any, cast

from twisted.copyright import longversion
from twisted.cred.credentials import Anonymous
from twisted.cred.error import UnauthorizedLogin, UnhandledCredentials
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, IReactorTime, ITransport
from twisted.internet.protocol import Protocol
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from twisted.mail.smtp import AUTH as AUTH_MODE
from twisted.mail.smtp import COMMAND, DATA, DNSNAME, Address, SMTPBadRcpt, SMTPBadSender, User, rfc822date
from twisted.python import log
from twisted.python.failure import Failure
from zope.interface import implementer

from twistsmtp.compat.methods import Engine
from twistsmtp.compat.twistedmail.parts import ROWS, Door, Mail, house_of, octets_of
from twistsmtp.compat.twistedmail.timing import Timed
from twistsmtp.limits import Limits
from twistsmtp.wire.reply import Reply

__all__ = ["SMTP"]


@implementer(IHalfCloseableProtocol, IHandshakeListener)
class SMTP(Protocol, Timed):
    """The server's side of one connection, without extensions.

    :param delivery: an ``IMessageDelivery``, for all mail of the connection.
    :param deliveryFactory: an ``IMessageDeliveryFactory``, which is asked for a delivery for each mail.
    """

    portal: Any = None
    #: Whether each message that begins to come is put in the log.
    noisy = True
    delivery: Any = None
    deliveryFactory: Any = None
    #: What else is limited. Not in the original.
    limits = Limits()

    _onLogout: Callable[[], object] | None = None
    _engine: Engine | None = None

    def __init__(self, delivery: Any = None, deliveryFactory: Any = None) -> None:
        self.delivery = delivery
        self.deliveryFactory = deliveryFactory
        self.host = DNSNAME

    @property
    def host(self) -> bytes:
        """The name of the server."""
        return self._host

    @host.setter
    def host(self, value: bytes | str) -> None:
        self._host = value if isinstance(value, bytes) else str(value).encode("ascii")

    @property
    def mode(self) -> str:
        """What the next octets are: `COMMAND`, `DATA` or `AUTH`."""
        return COMMAND if self._engine is None else self._engine.mode

    @property
    def session(self) -> Any:
        """What our protocol knows of the connection, a `twistsmtp.session.Session`. Not in the original."""
        return self._of_engine.session

    @property
    def _of_engine(self) -> Engine:
        if self._engine is None:
            raise RuntimeError("there is no connection yet")
        return self._engine

    @property
    def _helo(self) -> tuple[bytes | None, bytes]:
        """What the client calls itself, and its address."""
        name = self.session.helo
        return (None if name is None else name.encode(), self._client)

    @property
    def _from(self) -> Any:
        """Whom the mail is from, if there is one."""
        transaction = self.session.transaction
        return None if transaction is None else transaction.delivery.sender

    @property
    def _to(self) -> list[tuple[User, Callable[[], Any]]]:
        """Whom it is for, with what makes the message object of each."""
        transaction = self.session.transaction
        return [] if transaction is None else list(transaction.delivery._recipients)

    @property
    def _client(self) -> bytes:
        peer = cast(ITransport, self.transport).getPeer()
        return octets_of(getattr(peer, "host", None) or str(peer))

    # --- Twisted's words -------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """There is a client: greet it."""
        house = getattr(self.factory, "_house", None) or house_of(self.limits)
        engine: Any = Engine(self, house, _reactor(self.factory), self.host.decode(), Mail(self))
        self._engine, transport = engine, self.transport
        self.transport = cast(ITransport, Door(transport, engine))
        self.setTimeout(self.timeout)
        self._begin_to_sweep()
        engine.makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        """Octets came."""
        if self.mode == DATA:
            self.resetTimeout()
        self._of_engine.dataReceived(data)

    def connectionLost(self, reason: Any = None) -> None:
        """The connection is gone."""
        self.setTimeout(None)
        if self._engine is not None:
            self._engine.connectionLost(reason if isinstance(reason, Failure) else Failure(reason))
        log_out, self._onLogout = self._onLogout, None
        if log_out is not None:
            log_out()

    def readConnectionLost(self) -> None:
        """The client has closed its side."""
        self._of_engine.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """Our side is closed."""
        self._of_engine.writeConnectionLost()

    def handshakeCompleted(self) -> None:
        """TLS stands."""
        self._of_engine.handshakeCompleted()

    def timeoutConnection(self) -> None:
        """The client has had its time."""
        self.sendCode(421, self.host + b" Timeout. Try talking faster next time!")
        self._lose()

    # --- what is said ----------------------------------------------------------------------------------------

    def greeting(self) -> bytes:
        """The text of the greeting."""
        return self.host + b" NO UCE NO UBE NO RELAY PROBES"

    def sendCode(self, code: int, message: bytes = b"") -> None:
        """Say a reply. A line break in *message* makes it one of several lines."""
        text = "\n".join(line.decode("utf-8", "backslashreplace") for line in octets_of(message).splitlines())
        self._of_engine.put(Reply(code, "", text).octets)

    def sendLine(self, line: bytes) -> None:
        """Say one line of a reply, as it is."""
        cast(ITransport, self.transport).write(line + b"\r\n")

    def sendSyntaxError(self) -> None:
        """Say that a line is no command."""
        self.sendCode(500, b"Error: bad syntax")

    def _lose(self) -> None:
        cast(ITransport, self.transport).loseConnection()

    # --- commands --------------------------------------------------------------------------------------------

    def lineReceived(self, line: bytes) -> None:
        """A command line, or one of an exchange of AUTH. Those of messages do not come this way."""
        self.resetTimeout()
        self._of_engine.command(line if self.mode == AUTH_MODE else line.strip())

    def lookupMethod(self, command: str | bytes) -> Callable[[bytes], object] | None:
        """The method for *command*."""
        name = command.decode("ascii") if isinstance(command, bytes) else command
        return getattr(self, "do_" + name.upper(), None)

    def do_UNKNOWN(self, rest: bytes) -> None:
        """What is no command of ours."""
        self.sendCode(500, b"Command not implemented")

    def do_HELO(self, rest: bytes) -> None:
        """The client says who it is."""
        self._hello(rest, esmtp=False)
        self.sendCode(250, self._welcome)

    def do_QUIT(self, rest: bytes) -> None:
        """The client goes."""
        self.session.reset()
        self.sendCode(221, b"See you later")
        self._lose()

    def do_MAIL(self, rest: bytes) -> None:
        """A mail begins."""
        self._perform("MAIL", rest)

    def do_RCPT(self, rest: bytes) -> None:
        """Somebody whom it is for."""
        self._perform("RCPT", rest)

    def do_DATA(self, rest: bytes) -> None:
        """Its octets come."""
        if self.noisy and self.session.transaction is not None:
            recipients = [str(each) for each in self.session.transaction.recipients]
            log.msg(f"Receiving message for delivery: from={self._from} to={recipients}")
        self._perform("DATA", b"")

    def do_RSET(self, rest: bytes) -> None:
        """Give it up."""
        self.session.reset()
        self.sendCode(250, b"I remember nothing.")

    def do_NOOP(self, rest: bytes) -> None:
        """Do nothing. The original has no such command."""
        self._perform("NOOP", rest)

    def do_VRFY(self, rest: bytes) -> None:
        """Cannot say. The original has no such command."""
        self._perform("VRFY", rest)

    def _hello(self, rest: bytes, *, esmtp: bool) -> None:
        self.session.hello(rest.decode(), esmtp=esmtp)

    @property
    def _welcome(self) -> bytes:
        return self.host + b" Hello " + self._client + b", nice to meet you"

    def _perform(self, name: str, rest: bytes) -> None:
        self._of_engine.perform(ROWS[name], rest.decode())

    # --- what may be overridden ------------------------------------------------------------------------------

    def validateFrom(self, helo: tuple[bytes, bytes], origin: Address) -> Any:
        """*origin*, or a Deferred for it, if it may send.

        :raises SMTPBadSender: it may not.
        """
        if self.deliveryFactory is not None:
            self.delivery = self.deliveryFactory.getMessageDelivery()
        if self.delivery is not None:
            return maybeDeferred(self.delivery.validateFrom, helo, origin)
        if self.portal:
            return self._log_in_anonymously(origin).addCallback(lambda _: self.validateFrom(helo, origin))
        raise SMTPBadSender(origin)

    def _log_in_anonymously(self, origin: Address) -> "Deferred[None]":
        def fail(failure: Failure) -> Failure:
            if failure.check(UnauthorizedLogin):
                return Failure(SMTPBadSender(origin))
            if failure.check(UnhandledCredentials):
                return Failure(SMTPBadSender(origin, resp="Unauthenticated senders not allowed"))
            return failure

        result: Deferred[Any] = self.portal.login(Anonymous(), None, IMessageDeliveryFactory, IMessageDelivery)
        return result.addCallbacks(self._cbAnonymousAuthentication, fail)

    def _cbAnonymousAuthentication(self, result: tuple[Any, Any, Callable[[], object]]) -> None:
        """Somebody was logged in: the avatar is where the mail goes."""
        self._onLogout = self._take_avatar(*result)

    def _take_avatar(self, interface: Any, avatar: Any, log_out: Callable[[], object]) -> Callable[[], object]:
        if issubclass(interface, IMessageDeliveryFactory):
            self.deliveryFactory, self.delivery = avatar, None
        elif issubclass(interface, IMessageDelivery):
            self.deliveryFactory, self.delivery = None, avatar
        else:
            raise RuntimeError(f"{interface.__name__} is not a supported interface")
        return log_out

    def validateTo(self, user: User) -> Any:
        """What makes a message object for *user*, or a Deferred for it.

        :raises SMTPBadRcpt: there is no such user.
        """
        if self.delivery is not None:
            return self.delivery.validateTo(user)
        raise SMTPBadRcpt(user)

    def receivedHeader(self, helo: tuple[bytes | None, bytes], origin: Address, recipients: list[User]) -> bytes | None:
        """The Received field."""
        if self.delivery is not None:
            return cast("bytes | None", self.delivery.receivedHeader(helo, origin, recipients))
        name, client = helo[0] or b"", helo[1]
        source = b"from %s ([%s]%s)" % (name, client, b" helo=" + name if name else b"")
        host = getattr(cast(ITransport, self.transport).getHost(), "host", "") or self.host
        by = b"by %s with %s (%s)" % (octets_of(host), type(self).__name__.encode(), longversion.encode())
        to = b"for %s; %s" % (b" ".join(map(bytes, recipients)), rfc822date())
        return b"Received: " + source + b"\n\t" + by + b"\n\t" + to

    # --- what the engine asks --------------------------------------------------------------------------------

    def _find(self, name: str) -> Callable[[str], object] | None:
        method = self.lookupMethod(name)
        return None if method is None else lambda argument: method(argument.encode())

    def _names(self) -> Iterator[str]:
        return (match[1] for match in map(_COMMAND.fullmatch, dir(self)) if match)

    def _allowance(self, name: str) -> int:
        row = ROWS.get(name)
        return 0 if row is None else row.octets + (_PARAMETERS if name == "MAIL" else 0)

    def _unknown(self, name: str) -> None:
        self.do_UNKNOWN(b"")

    def _greet(self) -> None:
        self.sendCode(220, self.greeting())

    def _answer(self, reply: Reply) -> None:
        self.sendCode(reply.code, reply.text.encode())

    def _line(self, line: bytes) -> None:
        self.lineReceived(line)

    def _encrypt(self) -> None:
        """There is none to begin."""

    def _lost(self) -> None:
        """`connectionLost` has seen to it."""


_COMMAND = re.compile(r"(?:do|ext)_([A-Z0-9-]+)")
#: Octets that the parameters of MAIL may have: SIZE, BODY and AUTH.
_PARAMETERS = 26 + 16 + 500


def _reactor(factory: Any) -> IReactorTime:
    if getattr(factory, "_clock", None) is not None:
        return cast(IReactorTime, factory._clock)
    from twisted.internet import reactor

    return cast(IReactorTime, reactor)

"""The server with extensions, and the factory."""

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.interfaces import IAddress, ITLSTransport
from twisted.internet.protocol import ServerFactory
from twisted.mail.smtp import DNSNAME

from twistsmtp.compat.methods import House
from twistsmtp.compat.twistedmail.parts import NO_PORTAL, REPLIES, Portal, authentication, house_of, octets_of
from twistsmtp.compat.twistedmail.smtp import SMTP
from twistsmtp.limits import Limits
from twistsmtp.verb import BeginTLS

__all__ = ["ESMTP", "SMTPFactory"]


class ESMTP(SMTP):
    """The server's side of one connection, with AUTH and STARTTLS.

    :param chal: factories of ``IChallengeResponse``, by the name of their mechanism: ``{b"LOGIN": LOGINCredentials}``.
    :param contextFactory: what TLS is made with; without it there is none.
    """

    ctx: Any = None
    #: Whether the connection can be encrypted, and whether it is.
    canStartTLS = False
    startedTLS = False
    authenticated = False
    #: Whether a client may authenticate without TLS where it could have it. Not in the original, which lets it.
    plaintextAuth = False

    def __init__(self, chal: Any = None, contextFactory: Any = None) -> None:
        SMTP.__init__(self)
        self.challengers = {} if chal is None else chal
        self.authenticated = False
        self.ctx = contextFactory

    def connectionMade(self) -> None:
        """There is a client: greet it."""
        self.canStartTLS = ITLSTransport.providedBy(self.transport) and self.ctx is not None
        SMTP.connectionMade(self)

    def greeting(self) -> bytes:
        """The text of the greeting."""
        return SMTP.greeting(self) + b" ESMTP"

    def extensions(self) -> dict[bytes, Any]:
        """What EHLO offers: arguments, or ``None``, by keyword. One whose list is empty is not offered."""
        names = [octets_of(name) for name in self.challengers] if self._may_authenticate else []
        extensions: dict[bytes, list[bytes] | None] = {b"AUTH": names}
        if self.canStartTLS and not self.startedTLS:
            extensions[b"STARTTLS"] = None
        return extensions

    @property
    def _may_authenticate(self) -> bool:
        return self.plaintextAuth or not self.canStartTLS or self.session.tls is not None

    def lookupMethod(self, command: str | bytes) -> Callable[[bytes], object] | None:
        """The method for *command*."""
        name = command.decode("ascii") if isinstance(command, bytes) else command
        return SMTP.lookupMethod(self, name) or getattr(self, "ext_" + name.upper(), None)

    def listExtensions(self) -> bytes:
        """The lines of the reply to EHLO behind the first."""
        lines = []
        for keyword, arguments in self.extensions().items():
            if arguments is None:
                lines.append(octets_of(keyword))
            elif arguments:
                lines.append(b" ".join(map(octets_of, (keyword, *arguments))))
        return b"\n".join(lines)

    def do_EHLO(self, rest: bytes) -> None:
        """The client says who it is, and learns what there is."""
        self._hello(rest, esmtp=True)
        self.sendCode(250, self._welcome + b"\n" + self.listExtensions())

    def ext_STARTTLS(self, rest: bytes) -> None:
        """Begin TLS."""
        if self.startedTLS:
            self.sendCode(503, b"TLS already negotiated")
        elif self.ctx and self.canStartTLS:
            self._of_engine.outcome(BeginTLS(REPLIES.ready_for_tls, self.ctx))
        else:
            self.sendCode(454, b"TLS not available")

    def _encrypt(self) -> None:
        self.startedTLS = True

    def ext_AUTH(self, rest: bytes) -> None:
        """Say who you are, and prove it."""
        if self.portal is None and not self.authenticated and rest.split(None, 1)[:1] != []:
            names = [octets_of(name) for name in self.challengers]
            known = rest.split(None, 1)[0].upper() in names
            self._of_engine.outcome(NO_PORTAL if known else REPLIES.mechanism_unknown)
            return
        self.session.security = authentication(self, Portal(self))
        self._perform("AUTH", rest)

    def _cbAuthenticated(self, loginInfo: tuple[Any, Any, Callable[[], object]]) -> Callable[[], object]:
        """The client is who it says it is.

        :returns: what makes it a stranger again.
        """
        before = self.delivery, self.deliveryFactory
        log_out = self._take_avatar(*loginInfo)
        self.authenticated = True

        def end() -> None:
            if not self.session.over:
                self.authenticated = False
                self.delivery, self.deliveryFactory = before
            log_out()

        return end


class SMTPFactory(ServerFactory):
    """Makes the connections of a server.

    :param portal: where clients get their deliveries from.
    """

    #: The name of the server.
    domain = DNSNAME
    timeout = 600
    protocol: Any = SMTP
    portal: Any = None
    #: What else is limited, for all connections together. Not in the original.
    limits = Limits()
    _shared: House | None = None

    def __init__(self, portal: Any = None) -> None:
        self.portal = portal

    @property
    def _house(self) -> House:
        if self._shared is None:
            self._shared = house_of(self.limits)
        return self._shared

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A client is there."""
        protocol: Any = ServerFactory.buildProtocol(self, cast(Any, addr))
        protocol.portal = self.portal
        protocol.host = self.domain
        return protocol

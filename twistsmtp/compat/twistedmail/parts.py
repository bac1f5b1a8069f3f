"""What this package is made of: the original's words, and where its objects meet ours."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from twisted.cred.credentials import ICredentials
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.mail._except import IllegalClientResponse
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from twisted.mail.smtp import Address, SMTPBadSender, SMTPServerError, User
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

from twistsmtp.compat.methods import Engine, House, Words
from twistsmtp.delivery.twistedmail_adapter import TwistedMailDelivery, refusal_of
from twistsmtp.extensions import load_extensions
from twistsmtp.limits import Limits
from twistsmtp.sasl.api import Challenge, Context, Login, Malformed, Mechanism
from twistsmtp.security import Security
from twistsmtp.session import Session, Stage
from twistsmtp.verb import Verb
from twistsmtp.verbs import CORE
from twistsmtp.wire.grammar import GrammarError
from twistsmtp.wire.reply import Catalogue, Refusal, Reply
from twistsmtp.wire.text import printable

__all__ = ["NO_PORTAL", "REPLIES", "ROWS", "WORDS", "Door", "Mail", "Portal", "authentication", "house_of", "octets_of"]

# --- the original's words ------------------------------------------------------------------------------------


class _Replies(Catalogue):
    """The original has one text for all that does not parse."""

    __slots__ = ()

    def of_grammar(self, error: GrammarError) -> Reply:
        """What to say when a command does not parse."""
        if error.code == 500:
            return Reply(500, "", "Error: bad syntax")
        return Reply(501, "", "Syntax error") if error.code == 501 else Reply(error.code, "", error.text)


REPLIES = _Replies(
    ready_for_tls=Reply(220, "", "Begin TLS negotiation now"),
    authenticated=Reply(235, "", "Authentication successful."),
    authenticated_already=Reply(503, "", "Already authenticated"),
    mechanism_unknown=Reply(504, "", "Unrecognized authentication type"),
    credentials_invalid=Reply(535, "", "Authentication failed"),
    authentication_cancelled=Reply(501, "", "Authentication aborted"),
    not_base64=Reply(501, "", "Syntax error in parameters or arguments"),
    authentication_unavailable=Reply(451, "", "Requested action aborted: local error in processing"),
    sender_ok=Reply(250, "", "Sender address accepted"),
    recipient_ok=Reply(250, "", "Recipient address accepted"),
    start_message=Reply(354, "", "Continue"),
    accepted=Reply(250, "", "Delivery in progress"),
    unrecognized=Reply(500, "", "Command not implemented"),
    no_recipients=Reply(503, "", "Must have valid receiver and originator"),
)
NO_PORTAL = Reply(454, "", "Temporary authentication failure")

_EXTENSIONS = load_extensions(["size", "eightbitmime", "auth"])

#: What this server says, and what parameters it takes.
WORDS = Words(
    replies=REPLIES,
    out_of_place={
        "MAIL": Reply(503, "", "Only one sender per message, please"),
        "RCPT": Reply(503, "", "Must have sender before recipient"),
        "DATA": REPLIES.no_recipients,
        "AUTH": Reply(503, "", "AUTH comes behind EHLO, and before MAIL"),
    },
    extensions=_EXTENSIONS,
)


def _rows() -> dict[str, Verb[Any]]:
    rows = {verb.name: verb for verb in (*CORE, *(verb for each in _EXTENSIONS for verb in each.verbs))}
    # As in the original, nobody has to say HELO.
    rows["MAIL"] = replace(rows["MAIL"], stages=Stage.CONNECTED | Stage.READY)
    return rows


#: Our own verbs, by name.
ROWS = _rows()


def house_of(limits: Limits) -> House:
    """The house of a server with *limits*. How long a client may be idle is said by the server's ``timeout`` alone."""
    return House(replace(limits, idle_time=1e9), WORDS)


def octets_of(text: object) -> bytes:
    """*text*, which programs have in either form."""
    return text if isinstance(text, bytes) else str(text).encode("utf-8", "backslashreplace")


# --- mail ----------------------------------------------------------------------------------------------------


@implementer(IMessageDelivery)
class _Asked:
    """The methods of a server about its mail, as a delivery of twisted.mail's."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def validateTo(self, user: User) -> Any:
        """Ask whether *user* is there."""
        user.helo = self._server._helo
        return self._server.validateTo(user)

    def receivedHeader(self, helo: tuple[bytes, bytes], origin: Address, recipients: Sequence[User]) -> Any:
        """Ask for the Received field."""
        return self._server.receivedHeader(self._server._helo, origin, recipients)

    def validateFrom(self, helo: tuple[bytes, bytes], origin: Address) -> "Deferred[Any]":
        """Ask whether *origin* may send."""

        def insist(sender: Any) -> Any:
            if sender is None:  # the original says 250, and then that there is no sender
                raise SMTPBadSender(origin)
            return sender

        allowed: Deferred[Any] = maybeDeferred(self._server.validateFrom, self._server._helo, origin)
        return allowed.addCallback(insist).addErrback(_say_of_sender)


def _say_of_sender(failure: Failure) -> Failure:
    error = failure.value
    if not isinstance(error, SMTPBadSender):
        return failure
    text = b"Cannot receive from specified address <%s>: %s" % (bytes(error.addr), octets_of(error.resp))
    return Failure(SMTPServerError(error.code, text))


class Mail(TwistedMailDelivery):
    """Where a server's mail goes: it is asked itself. What it refuses with is said as it is."""

    def __init__(self, server: Any) -> None:
        super().__init__(cast(IMessageDelivery, _Asked(server)))
        self._server = server

    def connection(self, session: Session, delivery: IMessageDelivery) -> Any:
        """What ``user.protocol`` is."""
        return self._server

    def refusal_of(self, error: BaseException | None) -> Refusal | None:
        """The refusal that *error* means, with nothing read out of its text."""
        refusal = refusal_of(error)
        if refusal is None or not isinstance(error, SMTPServerError):
            return refusal
        lines = octets_of(error.resp).splitlines()
        return Refusal(Reply(error.code, "", "\n".join(line.decode("utf-8", "backslashreplace") for line in lines)))

    def unforeseen(self, session: Session, failures: int, recipients: int) -> Reply:
        """What is said where the Deferred of ``eomReceived()`` fails in a way that nobody chose."""
        count = f" ({failures} failures out of {recipients} recipients)" if recipients > 1 else ""
        return Reply(550, "", f"Could not send e-mail{count}")


# --- authentication ------------------------------------------------------------------------------------------


@implementer(ICredentials)
@dataclass(frozen=True, slots=True)
class _Response:
    """What a challenger was answered."""

    challenger: Any

    @property
    def username(self) -> str:
        """Who the client says that it is, where that can be told."""
        name = getattr(self.challenger, "username", None)
        return printable(octets_of(name).decode("utf-8", "backslashreplace")) if name else "unknown"


def _mechanism(name: str, make: Callable[[], Any]) -> Mechanism:
    def start(context: Context) -> Generator[Challenge | Login, Any, None]:
        challenger = make()
        while True:
            # A client may answer the first challenge unseen, as in the original.
            response = yield Challenge(challenger.getChallenge(), prompt=True)
            try:
                challenger.setResponse(response)
            except (IllegalClientResponse, ValueError):
                raise Malformed(name) from None
            if not challenger.moreChallenges():
                break
        yield Login(_Response(challenger), None)

    return Mechanism(name=name, start=start, interface=cast(Any, ICredentials))


class Portal:
    """The portal of a server, as our side asks it."""

    def __init__(self, server: Any) -> None:
        self._server = server
        #: A challenger has whatever credentials it likes.
        self.checkers = {ICredentials: None}

    def login(self, credentials: _Response, mind: object, *interfaces: object) -> "Deferred[Any]":
        """Log in with what a challenger was answered."""
        login = self._server.portal.login
        result = maybeDeferred(login, credentials.challenger, None, IMessageDeliveryFactory, IMessageDelivery)
        return result.addCallback(self._logged_in)

    def _logged_in(self, info: tuple[Any, Any, Callable[[], object]]) -> tuple[Any, Mail, Callable[[], object]]:
        return info[0], Mail(self._server), self._server._cbAuthenticated(info)


def authentication(server: Any, portal: Portal) -> Security:
    """How the clients of *server*, an ``ESMTP``, prove who they are."""
    named = [(octets_of(name).decode("ascii"), make) for name, make in server.challengers.items()]
    return Security(
        portal=cast(Any, portal),
        plaintext_auth=server.plaintextAuth or not server.canStartTLS,
        mechanisms=tuple(_mechanism(name, make) for name, make in named),
        failures=server._engine.house.failures,
    )


# --- the transport -------------------------------------------------------------------------------------------


class Door:
    """What a program sees of the transport. What it does there goes by the engine, so that all keeps its order."""

    def __init__(self, transport: Any, engine: Engine) -> None:
        self._transport = transport
        self._engine = engine
        directlyProvides(self, providedBy(transport))

    def write(self, data: bytes) -> None:
        """Say *data*: whole lines of a reply."""
        self._engine.put(data)

    def writeSequence(self, data: Sequence[bytes]) -> None:
        """Say *data*."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """End the connection when everything is sent."""
        self._engine.leave()

    def startTLS(self, contextFactory: Any, *normal: bool) -> None:
        """Begin TLS. What the client has sent by now is thrown away."""
        self._engine.begin_tls(contextFactory)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

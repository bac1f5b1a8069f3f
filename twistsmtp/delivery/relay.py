"""Mail handed on to another server while it comes: ``relay:HOST:PORT``.

Each step of a client's transaction is a step of one with the far side, and the far side's word is ours: a recipient
that it refuses is refused, octets go on as fast as it takes them, and 250 is said when it has said 250. Nothing is
kept here, so nothing can be lost here; nor is there anything to bounce.

MAIL alone waits: the far side is told of it with the first recipient, so that a client which says no more than that,
or whose recipients are all refused here, holds no connection. A sender that the far side refuses is refused then.

What the far side says of the mail reaches the client, made printable. What it says of *us* does not: that it does not
let us in, or cannot be reached, is in the log, and is a 451 for the client, who is to come again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from twistsmtp.client.capabilities import Capabilities
from twistsmtp.client.destination import Destination
from twistsmtp.client.errors import AuthError, BadMessage, ClientError, NotOffered, Refused
from twistsmtp.client.pool import Pool
from twistsmtp.client.sending import destination_of
from twistsmtp.client.timeouts import Timeouts
from twistsmtp.client.transaction import ClientTransaction
from twistsmtp.client.verdict import Verdict
from twistsmtp.delivery.api import Delivery, DeliveryTransaction, Envelope, Recipient, Refusal, ReversePath, Session
from twistsmtp.makers import number, yes_or_no
from twistsmtp.sasl.client_api import Credentials
from twistsmtp.wire.reply import Reply
from twistsmtp.wire.text import printable

__all__ = ["Relay", "Relayed", "destination_from_options", "pool_from_options", "refusal", "said"]

_log = Logger(namespace="twistsmtp.relay")

#: Our extensions whose parameters are passed on, and the far side's keywords that they need.
_PASSED_ON: dict[str, tuple[str, ...]] = {
    "binarymime": ("BINARYMIME", "CHUNKING", "8BITMIME"),
    "deliverby": ("DELIVERBY",),
    "dsn": ("DSN",),
    "futurerelease": ("FUTURERELEASE",),
    "mtpriority": ("MT-PRIORITY",),
    "nosoliciting": ("NO-SOLICITING",),
    "requiretls": ("REQUIRETLS",),
    "rrvs": ("RRVS",),
}

#: The parameter of MAIL whose value is a `twistsmtp.extensions.mtpriority.Priority`.
_PRIORITY = "MT-PRIORITY"

#: What is said of us, and not of the mail: that we are to authenticate or encrypt first, that we say what it does not
#: understand, that it ends the connection. A client of ours that was told this would take it to itself. 504 is not
#: among them: behind MAIL and RCPT it is said of a parameter or an address of the client's.
_OF_US = frozenset({421, 500, 502, 503, 530, 534, 535, 538})
#: The steps whose refusals are about the mail.
_OF_MAIL = frozenset({"MAIL", "RCPT", "DATA", "BDAT", "end of message"})

_NOT_NOW = Reply(451, "4.4.0", "The next server does not take mail from here now")
#: Characters of what the far side says that reach a client.
_TEXT = 400
#: Connections to the far side, unless the string says otherwise. Each client that is in a transaction has one: they are
#: more than a single client address may have to us (`Limits.connections_per_client`), or it would keep all others out.
CONNECTIONS = 200
#: Seconds in which a connection to the far side is to stand, greeting, TLS and AUTH included. A client waits meanwhile,
#: and RFC 5321 has it wait for five minutes at the least.
OPENING = 60.0


class Relay(Delivery):
    """Hands mail on to another server by SMTP.

    :param destination: where to, and how. Where it has no ``hostname``, the server's own is said in EHLO.
    :param pool: keeps the connections; one of its own if none is given.
    """

    def __init__(self, destination: Destination, *, pool: Pool | None = None) -> None:
        #: Where to, and how.
        self.destination = destination
        self._pool = pool or Pool()
        #: What the far side offered when it was spoken to last.
        self._offered = Capabilities()
        self._secure = False
        self._asking: Deferred[None] = succeed(None)

    @classmethod
    def from_options(cls, host: str, port: str, **options: str) -> "Relay":
        """The delivery that ``relay:HOST:PORT`` with these options names.

        :raises ValueError: an option is wrong.
        :raises OSError: a file cannot be read.
        """
        pool = pool_from_options(options)
        return cls(destination_from_options(host, port, "", options), pool=pool)

    @property
    def honours(self) -> frozenset[str]:  # type: ignore[override]  # it follows the far side
        """The extensions that the far side offered when it was spoken to last."""
        keywords = self._offered.keywords
        names = {name for name, needed in _PASSED_ON.items() if all(each in keywords for each in needed)}
        return frozenset(names if self._secure else names - {"requiretls"})

    def start(self) -> None:
        """Ask the far side what it offers, so that the first clients can be offered that, too."""
        if _trusts_anybody(self.destination):
            _log.warn(
                "{destination} does not have to show who it is (tls={mode}), and may be told a password",
                destination=printable(str(self.destination)),
                mode=self.destination.tls.mode.value,
            )
        self._asking = Deferred.fromCoroutine(self._ask()).addErrback(self._unasked)

    def stop(self) -> Deferred[None]:
        """Close the connections."""
        self._asking.cancel()
        return self._pool.close()

    def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
        """Take mail from anybody, for now: the far side is asked with the first recipient."""
        return Relayed(self, session, reverse_path)

    async def take(self, session: Session, path: ReversePath) -> tuple[ClientTransaction, Callable[[], object]]:
        """Say MAIL to the far side.

        :returns: the transaction, and what has its connection go to whoever is next.
        :raises ClientError: it is not begun.
        :raises ValueError: the path is none by default limits, say.
        """
        destination = self.destination
        if not destination.hostname:
            destination = replace(destination, hostname=session.hostname)
        transaction, _ = await self._pool.begin(destination, lambda new: new.mail(_passed_on(path)))
        self._learn(transaction)
        return transaction, partial(self._pool.give_back, destination, transaction.connection)

    def _learn(self, transaction: ClientTransaction) -> None:
        self._offered = transaction.connection.capabilities
        self._secure = transaction.connection.verified

    async def _ask(self) -> None:
        transaction, _ = await self._pool.begin(self.destination, _say_nothing)
        self._learn(transaction)
        self._pool.give_back(self.destination, transaction.connection)

    def _unasked(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        failure.trap(ClientError)
        _log.warn(
            "{destination} does not say what it offers: {problem}",
            destination=printable(str(self.destination)),
            problem=str(failure.value),
        )


def _passed_on(path: ReversePath) -> ReversePath:
    """*path* with what is to be said of it: the priority that was granted in place of the one that was asked for (RFC
    6710 section 4.1), and that there may be octets above 127, unless the client has said what there is (RFC 6152):
    many send them and do not say so, and what has not come yet cannot be looked at."""
    options = {key.upper(): value for key, value in path.options}
    options.setdefault("BODY", "8BITMIME")
    priority = path.parameters.get(_PRIORITY)
    if priority is not None:
        options[_PRIORITY] = str(priority.granted)
    return replace(path, options=tuple(options.items()))


def _nothing() -> None:
    """What is done where there is nothing to do."""


async def _say_nothing(transaction: ClientTransaction) -> None:
    """Begin no mail."""


class Relayed(DeliveryTransaction):
    """One mail on its way through *relay*."""

    def __init__(self, relay: Relay, session: Session, reverse_path: ReversePath) -> None:
        self._relay = relay
        self._session = session
        self._reverse_path = reverse_path
        self._begun: ClientTransaction | None = None
        self._give_back: Callable[[], object] = _nothing
        #: Why it was not begun, which is said of every recipient.
        self._not_begun: Reply | None = None

    async def rcpt(self, recipient: Recipient) -> None:
        """The far side's word is ours."""
        if self._begun is None:
            await self._begin()
        with self._refusing():
            await self._far.rcpt(recipient)

    async def open(self, envelope: Envelope) -> None:
        """Begin the message there as well."""
        with self._refusing():
            await self._far.open()

    def write(self, octets: bytes) -> Deferred[None] | None:
        """Pass *octets* on, as fast as they are taken."""
        with self._refusing():
            written = self._far.write(octets)
        return None if written is None else written.addErrback(self._failed)

    async def commit(self) -> Reply | Sequence[Reply]:
        """Have the far side take the message; its word is ours."""
        with self._refusing():
            verdicts = await self._commit()
        self._release()
        return self._answer(verdicts)

    def abort(self) -> None:
        """Leave nothing of the message there."""
        self._release()

    async def _commit(self) -> Sequence[Verdict]:
        return await self._far.commit()

    def _answer(self, verdicts: Sequence[Verdict]) -> Reply | Sequence[Reply]:
        return said(verdicts[0].reply)

    @property
    def _far(self) -> ClientTransaction:
        if self._begun is None:
            raise LookupError("the far side has been told of no recipient")
        return self._begun

    async def _begin(self) -> None:
        """Have the far side's word for MAIL."""
        if self._not_begun is None:
            try:
                with self._refusing():
                    self._begun, self._give_back = await self._relay.take(self._session, self._reverse_path)
                return
            except Refusal as refused:
                self._not_begun = refused.reply
                if refused.reply.code == 552:  # behind RCPT it would mean: not so many recipients (RFC 5321 4.5.3.1.10)
                    self._not_begun = replace(refused.reply, code=554)
        raise Refusal(self._not_begun)

    def _release(self) -> None:
        if self._begun is not None:
            self._begun.abort()  # which does nothing when all is done
        give_back, self._give_back = self._give_back, _nothing
        give_back()

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Make refusals of what goes wrong there."""
        try:
            yield
        except (ClientError, ValueError) as error:
            raise refusal(error, self._session, self._relay.destination) from None

    def _failed(self, failure: Failure) -> NoReturn:
        error = failure.value
        if not isinstance(error, ClientError):
            failure.raiseException()
        raise refusal(error, self._session, self._relay.destination)


def said(reply: Reply) -> Reply:
    """The far side's *reply* as ours."""
    if reply.code in _OF_US:
        return _NOT_NOW
    text = printable(reply.text.replace("\n", " "), _TEXT)
    if reply.code < 300:
        return Reply(250, reply.enhanced or "2.0.0", text)
    return Reply(reply.code, reply.enhanced or f"{reply.code // 100}.0.0", text)


def refusal(error: Exception, session: Session, destination: Destination) -> Refusal:
    """What to say to the client when *error* came of the far side. What is not about the mail is logged."""
    if isinstance(error, ClientError) and _is_of_mail(error):
        return Refusal(said(error.reply))
    if isinstance(error, ValueError):  # an address of ours that is none by default limits, say
        return Refusal(Reply(553, "5.1.3", "The next server would not understand this address"))
    _log.warn(
        "{id} {destination}: {problem}",
        id=session.id,
        destination=printable(str(destination)),
        problem=printable(str(error), _TEXT),
    )
    reply = error.reply if isinstance(error, ClientError) else _NOT_NOW
    return Refusal(_NOT_NOW if isinstance(error, AuthError | Refused) or not reply.temporary else reply)


def _is_of_mail(error: ClientError) -> bool:
    if isinstance(error, Refused):
        return error.step in _OF_MAIL and error.reply.code not in _OF_US
    return isinstance(error, NotOffered | BadMessage)


# --- strings ------------------------------------------------------------------------------------------------

#: The options of ``relay:`` and ``lmtp:``. Their names have hyphens, so that no keyword of Python's is one.
OPTIONS = (
    "tls",
    "ca",
    "certificate",
    "username",
    "password-file",
    "token-file",
    "insecure",
    "hostname",
    "chunking",
    "connections",
    "idle",
    "timeout",
)


def pool_from_options(options: Mapping[str, str]) -> Pool:
    """The pool that *options* describe.

    :raises ValueError: one is wrong.
    """
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise ValueError(f"there is no option {unknown[0]!r}; there are {', '.join(OPTIONS)}")
    connections = options.get("connections", str(CONNECTIONS))
    if not (connections.isascii() and connections.isdigit() and 0 < int(connections) <= 10_000):
        raise ValueError(f"connections is a number, at least 1, not {connections!r}")
    return Pool(connections=int(connections), idle=number("idle", options.get("idle", "30")))


def destination_from_options(
    host: str, port: str, path: str, options: Mapping[str, str], *, lmtp: bool = False
) -> Destination:
    """The destination that *options* describe.

    :raises ValueError: one is wrong.
    :raises OSError: a file cannot be read.
    """
    if not (port.isascii() and port.isdigit()):
        raise ValueError(f"a port is a number, not {port!r}")
    destination = destination_of(
        host,
        int(port),
        path=path,
        tls=options.get("tls"),
        ca=options.get("ca", ""),
        certificate=options.get("certificate", ""),
        credentials=_credentials(options),
        lmtp=lmtp,
        hostname=options.get("hostname", ""),
        chunking=yes_or_no("chunking", options.get("chunking", "yes")),
        timeouts=_timeouts(options.get("timeout")),
    )
    if _trusts_anybody(destination) and not getattr(destination.credentials, "plaintext", False):
        raise ValueError("with a username tls is required or implicit; insecure=yes has it be used with anybody")
    return destination


def _trusts_anybody(destination: Destination) -> bool:
    """Whether there are credentials, and whoever answers at the far side's address is taken for it."""
    return destination.credentials is not None and not (destination.path or destination.tls.mode.verifies)


def _timeouts(text: str | None) -> Timeouts:
    if text is None:
        return Timeouts(opening=OPENING)
    seconds = number("timeout", text)
    return Timeouts(command=seconds, opening=max(OPENING, seconds))


def _credentials(options: Mapping[str, str]) -> Credentials | None:
    username, plaintext = options.get("username", ""), yes_or_no("insecure", options.get("insecure", "no"))
    password, token = (_secret(options.get(name, "")) for name in ("password-file", "token-file"))
    if not (username or token):
        if password or plaintext:
            raise ValueError("a password, and insecure, are of use with a username only")
        return None
    return Credentials(username=username, password=password, token=token, plaintext=plaintext)


def _secret(path: str) -> str:
    """The first line of the file at *path*."""
    if not path:
        return ""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    if not lines or not lines[0]:
        raise ValueError(f"{path} is empty")
    return lines[0]

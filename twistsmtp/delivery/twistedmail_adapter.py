"""What `twistsmtp.delivery.twistedmail` adapts with. Both sides, as their methods meet:

================================= =====================================================================
`DeliveryTransaction`             `twisted.mail.interfaces`
================================= =====================================================================
``begin`` (MAIL)                  ``getMessageDelivery()``, ``validateFrom(helo, origin)``
``rcpt`` (RCPT, each)             ``validateTo(user)``, which gives a maker of message objects
``open`` (DATA)                   for each recipient ``maker()``, ``receivedHeader(helo, origin, [user])``
``write``                         ``lineReceived(line)`` of each message object
``commit`` (end of message)       ``eomReceived()`` of each
``abort``                         ``connectionLost()`` of each whose ``eomReceived()`` has not succeeded
================================= =====================================================================

Whatever ``twisted.mail.smtp.ESMTP`` calls is called here, in the same order and with the same. What differs
is what happens when something fails:

- an `SMTPServerError` is always the reply, with its code and its text; ``twisted.mail`` answers 550 to
  whatever ``eomReceived()`` fails with, and puts words in front of what ``validateFrom()`` says;
- any other exception is logged and answered by 451, so that the client comes again; ``twisted.mail`` answers
  451, 550 or not at all;
- a client that leaves while ``eomReceived()`` is pending has not got its 250, and will come again: the
  Deferred is cancelled, and ``connectionLost()`` has the message discarded; in ``twisted.mail`` it goes on.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory, IMessageSMTP
from twisted.mail.smtp import Address, SMTPAddressError, SMTPBadSender, SMTPServerError, User
from twisted.python.failure import Failure

from twistsmtp.delivery.api import Delivery, DeliveryTransaction, Envelope, Recipient, ReversePath, Session
from twistsmtp.events import exception_caught
from twistsmtp.later import is_later
from twistsmtp.wire.dotstream import BareNewline
from twistsmtp.wire.grammar import Mailbox
from twistsmtp.wire.reply import Refusal, Reply

__all__ = ["Connection", "TwistedMailDelivery", "refusal_of"]

_log = Logger(namespace="twistsmtp.delivery.twistedmail")

#: RFC 3463 section 2, at the beginning of a text, for the codes that refuse.
_ENHANCED = re.compile(r"[45]\.\d{1,3}\.\d{1,3}(?= |$)", re.MULTILINE)

#: `Address` and `User` make ASCII text of themselves whenever they are shown (RFC 6531 section 3.5).
_NOT_ASCII = Reply(553, "5.6.7", "The local part of a mailbox must be ASCII here")

# --- the delivery ------------------------------------------------------------------------------------------


class TwistedMailDelivery(Delivery):
    """A delivery of ``twisted.mail``, or a factory of them, as a delivery of ours.

    :param delivery: serves all transactions, if there is no factory.
    :param factory: is asked for a delivery at each MAIL; ``None`` from it refuses the sender.
    """

    #: ``receivedHeader()`` makes it.
    wants_received = False

    def __init__(self, delivery: IMessageDelivery | None, factory: IMessageDeliveryFactory | None = None) -> None:
        self._delivery = delivery
        self._factory = factory

    async def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
        """Ask about the sender of one message."""
        helo = ((session.helo or "").encode(), session.client.encode())
        origin = address_of(reverse_path.mailbox, session)
        with _refusing(self):
            delivery = self._delivery if self._factory is None else self._factory.getMessageDelivery()
            if delivery is None:
                raise SMTPBadSender(origin)
            sender = await _settled(delivery.validateFrom(helo, origin))
        # Of a delivery that returns nothing twisted.mail takes the sender, and then says that there is none.
        return _Transaction(self, session, delivery, helo, origin if sender is None else sender)

    def connection(self, session: Session, delivery: IMessageDelivery) -> Any:
        """What ``user.protocol`` is."""
        return Connection(session, delivery)

    def refusal_of(self, error: BaseException | None) -> Refusal | None:
        """The refusal that *error* means; see `refusal_of`."""
        return refusal_of(error)

    def unforeseen(self, session: Session, failures: int, recipients: int) -> Reply:
        """What is said where the Deferred of ``eomReceived()`` fails in a way that nobody chose.

        :param failures: of how many of the *recipients* it failed, in whatever way.
        """
        return session.replies.local_error


class _Transaction(DeliveryTransaction):
    """One message for one or more recipients, each with a message object of its own."""

    def __init__(
        self,
        owner: TwistedMailDelivery,
        session: Session,
        delivery: IMessageDelivery,
        helo: tuple[bytes, bytes],
        sender: Any,
    ) -> None:
        self._owner = owner
        self._session = session
        self._delivery = delivery
        self._helo = helo
        #: As `validateFrom` gave it: an `Address`, or what can be made one.
        self.sender = sender
        self._connection = owner.connection(session, delivery)
        self._recipients: list[tuple[User, Callable[[], IMessageSMTP]]] = []
        #: The message objects whose `eomReceived` has not succeeded, by the position of their recipient.
        self._messages: dict[int, IMessageSMTP] = {}
        #: The positions of those whose `eomReceived` did not get as far as to a Deferred.
        self._raised: set[int] = set()
        self._message_id = ""
        #: The octets behind the last CRLF.
        self._rest = bytearray()
        self._first_line = True

    async def rcpt(self, recipient: Recipient) -> None:
        dest = address_of(recipient.mailbox, self._session)
        user = User(dest, self._helo, self._connection, self.sender)
        with _refusing(self._owner):
            maker = await _settled(self._delivery.validateTo(user))
        self._recipients.append((user, maker))

    def open(self, envelope: Envelope) -> None:
        self._message_id = envelope.id
        with self._all_or_none():
            for position, (user, maker) in enumerate(self._recipients):
                message = self._messages[position] = maker()
                received = self._delivery.receivedHeader(self._helo, self.sender, [user])
                if received:
                    message.lineReceived(received)

    def write(self, octets: bytes) -> None:
        rest = self._rest
        if b"\r\n" in octets or (octets[:1] == b"\n" and rest[-1:] == b"\r"):
            lines = (bytes(rest) + octets if rest else octets).split(b"\r\n")
            self._rest = bytearray(lines.pop())
            self._give(lines)
        else:
            rest += octets
        # The server looks at the length of lines too, but may do so later. A CR may be half of a line's end.
        limit = self._session.limits.message_line
        if len(self._rest) > limit + 1:
            self.abort()
            raise Refusal(self._session.replies.message_line_too_long.fill(limit=limit))

    async def commit(self) -> Sequence[Reply] | None:
        if self._rest:
            self._give([bytes(self._rest)])
        ends: list[Deferred[Any]] = [
            maybeDeferred(self._end, message, position).addCallback(self._succeeded, position)
            for position, message in list(self._messages.items())
        ]
        outcomes = await DeferredList(ends, consumeErrors=True)
        if all(succeeded for succeeded, _ in outcomes):
            return None
        accepted = self._session.replies.accepted.fill(id=self._message_id)
        failures = sum(not succeeded for succeeded, _ in outcomes)
        unforeseen = self._owner.unforeseen(self._session, failures, len(outcomes))
        raised = self._session.replies.local_error
        return [
            accepted if succeeded else self._answer(result, raised if position in self._raised else unforeseen)
            for position, (succeeded, result) in enumerate(outcomes)
        ]

    def _end(self, message: IMessageSMTP, position: int) -> Any:
        try:
            return message.eomReceived()
        except Exception:
            self._raised.add(position)
            raise

    def abort(self) -> None:
        messages = list(self._messages.values())
        self._messages.clear()
        self._rest.clear()
        for message in messages:
            try:
                message.connectionLost()
            except Exception:
                _log.failure("{id} connectionLost() of {message!r} failed", id=self._session.id, message=message)

    def _give(self, lines: list[bytes]) -> None:
        """*lines* to every message object, line by line as they would come from the wire."""
        self._refuse_bare(lines)
        if self._first_line:
            self._first_line = False
            # A body without a header must not become one behind the Received field.
            if lines[0] and b":" not in lines[0]:
                lines.insert(0, b"")
        messages = tuple(self._messages.values())
        with self._all_or_none():
            for line in lines:
                for message in messages:
                    message.lineReceived(line)

    def _refuse_bare(self, lines: list[bytes]) -> None:
        """BDAT brings octets as they are, and there is nothing that ``lineReceived()`` could be given for them: what is
        no line here may be two for whoever reads what it writes."""
        if self._session.limits.bare_newline is BareNewline.ACCEPT:
            return
        for octet, found in ((b"\n", "LF"), (b"\r", "CR")):
            if any(octet in line for line in lines):
                self.abort()
                raise Refusal(self._session.replies.bare_newline.fill(found=found))

    @contextmanager
    def _all_or_none(self) -> Iterator[None]:
        """A message object that fails before the message's end takes all others with it."""
        try:
            with _refusing(self._owner):
                yield
        except BaseException:
            self.abort()
            raise

    def _succeeded(self, _result: object, position: int) -> None:
        self._messages.pop(position, None)

    def _answer(self, failure: Failure, unforeseen: Reply) -> Reply:
        """What to say of a recipient whose `eomReceived` failed."""
        if failure.check(CancelledError):
            failure.raiseException()
        refusal = self._owner.refusal_of(failure.value)
        if refusal is not None:
            return refusal.reply
        exception_caught(self._session, failure, str(unforeseen))
        return unforeseen


async def _settled(value: Any) -> Any:
    """What `maybeDeferred` would make of *value*: it may be there, come later, or be a `Failure`."""
    if is_later(value):
        value = await value
    if isinstance(value, Failure):
        value.raiseException()
    return value


# --- what it is asked with ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Connection:
    """``user.protocol``: what of ``twisted.mail.smtp.ESMTP`` concerns one who decides about a recipient."""

    #: Everything else there is to know.
    session: Session
    delivery: IMessageDelivery = field(compare=False)

    @property
    def host(self) -> bytes:
        """The name of the server."""
        return self.session.hostname.encode()

    @property
    def transport(self) -> "Connection":
        """Has `getPeer`."""
        return self

    def getPeer(self) -> IAddress:
        """The client's address."""
        return self.session.peer

    @property
    def authenticated(self) -> bool:
        """Whether the client has proved who it is."""
        return self.session.identity is not None

    @property
    def startedTLS(self) -> bool:
        """Whether the connection is encrypted."""
        return self.session.tls is not None


def address_of(mailbox: Mailbox | None, session: Session) -> Address:
    """*mailbox* as ``twisted.mail`` has it: quoted where it must be, and always with a domain, of A-labels.

    :raises Refusal: the local part is not ASCII.
    """
    address = Address(b"<>")
    if mailbox is None:
        return address
    if not mailbox.local.isascii():
        raise Refusal(_NOT_ASCII)
    domain = mailbox.domain if mailbox.domain.isascii() else mailbox.host
    # Set, not parsed: its parser knows no address literals and no quoted pairs.
    path = str(Mailbox(mailbox.local, domain))
    address.addrstr = f"<{path}>".encode("ascii")
    address.local = path.removesuffix(f"@{domain}").encode("ascii")
    address.domain = (domain or session.hostname).encode("ascii")
    return address


# --- what it answers ---------------------------------------------------------------------------------------


@contextmanager
def _refusing(owner: TwistedMailDelivery) -> Iterator[None]:
    """An `SMTPServerError` becomes the `Refusal` that it means."""
    try:
        yield
    except SMTPServerError as error:
        refusal = owner.refusal_of(error)
        if refusal is None:
            raise
        raise refusal from error


def refusal_of(error: BaseException | None) -> Refusal | None:
    """The refusal that *error* means.

    The code and the text, which may have several lines, are as given. If the text begins with an enhanced
    code of the code's class, that is taken from it; else it is X.1.0 for an address and X.0.0 for all else,
    because a reply must have one (RFC 2034 section 4).

    :returns: ``None`` where *error* is no refusal: of another type, or its code is none of 400 to 599.
    """
    if isinstance(error, Refusal):
        return error
    if not isinstance(error, SMTPServerError) or error.code not in range(400, 600):
        return None
    response = error.resp if isinstance(error.resp, bytes) else str(error.resp).encode("utf-8", "backslashreplace")
    text = "\n".join([line.decode("utf-8", "backslashreplace") for line in response.splitlines()])
    match = _ENHANCED.match(text)
    if match is None or match[0][0] != str(error.code)[0]:
        subject = 1 if isinstance(error, SMTPAddressError) else 0
        return Refusal(Reply(error.code, f"{error.code // 100}.{subject}.0", text))
    # A careful delivery has it on every line, where `Reply` will put it too.
    bare = re.sub(rf"^{re.escape(match[0])}(?: |$)", "", text, flags=re.MULTILINE)
    return Refusal(Reply(error.code, match[0], bare))

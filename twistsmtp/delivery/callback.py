"""Mail for a function: the shortest way from a message to an application.

The function is called with each message when all of it has come, and the client is answered when the function has::

    async def on_mail(mail):
        print(mail.envelope.reverse_path, mail.email["Subject"])

    factory = SMTPFactory(Callback(on_mail))

It may be a plain function, be ``async def`` or return a Deferred. It answers as `DeliveryTransaction.commit` does:
``None`` is the server's 250, a reply is that reply, `Refusal` refuses, and what else it raises is 451. One that blocks
is called in a thread, if it is said so: ``Callback(store, in_thread=True)``.

A function that wants the octets while they come, of messages that are too big to wait for, is called when the message
begins, with a `MailStream`::

    async def on_mail(mail):
        async for octets in mail:
            await upload.send(octets)

    factory = SMTPFactory(StreamCallback(on_mail))
"""

import codecs
import email
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import default
from functools import partial
from typing import IO, TypeAlias, TypedDict, Unpack, cast

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from twistsmtp.delivery.api import Delivery, DeliveryTransaction, Envelope, Recipient, ReversePath, Session
from twistsmtp.held import Held
from twistsmtp.later import Later, awaited, then
from twistsmtp.phases import no_refusal
from twistsmtp.wire.reply import Reply

__all__ = ["Callback", "Mail", "MailStream", "StreamCallback"]

#: What may be answered to a message: see `DeliveryTransaction.commit`.
Answer: TypeAlias = Reply | Sequence[Reply] | None


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail object (RFC 5321 section 2.3.1): an envelope, and a message that has come. The message can be read until
    the function has answered."""

    session: Session
    envelope: Envelope
    _held: Held

    @property
    def size(self) -> int:
        """Octets of the message, with the fields that the server wrote."""
        return self._held.size

    @property
    def octets(self) -> bytes:
        """The message, with CRLF line ends."""
        return self.open().read()

    @property
    def email(self) -> EmailMessage:
        """The message parsed, anew each time. It is what a client sent: it may have defects, or no sense."""
        return email.message_from_binary_file(self.open(), policy=default)

    @property
    def text(self) -> str:
        """What the message says in plain text, with LF line ends; nothing if it has no such part, as where it is HTML
        alone. What cannot be decoded is U+FFFD."""
        part = self.email.get_body(("plain",))
        if part is None:  # one without header fields is false
            return ""
        octets = part.get_payload(decode=True)
        text = _decoded(octets, part.get_content_charset("ascii")) if isinstance(octets, bytes) else ""
        return text.replace("\r\n", "\n")

    def open(self) -> IO[bytes]:
        """The message as a file, at its beginning; there is one at a time."""
        return self._held.open()


def _decoded(octets: bytes, charset: str) -> str:
    """*octets* in *charset*, which a client may have made up."""
    try:
        codec = codecs.lookup(charset).name
        # Of what can be decoded to text this one takes a time that grows with the square of the length.
        return octets.decode("ascii" if codec == "punycode" else codec, "replace")
    except (LookupError, ValueError):
        return octets.decode("ascii", "replace")


class MailStream:
    """A mail object whose message is coming: an asynchronous iterator of its octets, with CRLF line ends, cut anywhere.

    The client is not read from while nobody asks for more. If the message does not come whole, because the client goes
    or a limit is reached, the function is cancelled where it waits.
    """

    def __init__(self, session: Session, envelope: Envelope) -> None:
        self.session = session
        self.envelope = envelope
        self._octets: list[bytes] = []
        self._ended = False
        self._wanted: Deferred[None] | None = None
        self._taken: Deferred[None] | None = None

    def __aiter__(self) -> "MailStream":
        return self

    async def __anext__(self) -> bytes:
        """The next octets.

        :raises StopAsyncIteration: there are no more.
        """
        if not (self._octets or self._ended):
            wanted = self._wanted = Deferred[None]()
            self.ask_for_more()  # they may come at once
            await wanted
        if not self._octets:
            raise StopAsyncIteration
        octets, self._octets = b"".join(self._octets), []
        return octets

    def feed(self, octets: bytes) -> Deferred[None]:
        """The next *octets* have come. The Deferred fires when more may come."""
        self._octets.append(octets)
        self._taken = taken = Deferred[None]()
        self._wake()
        return taken

    def end(self) -> None:
        """There are no more octets."""
        self._ended = True
        self._wake()

    def ask_for_more(self) -> None:
        """More octets may come: those that did are taken, or nobody wants them."""
        taken, self._taken = self._taken, None
        if taken is not None:
            taken.callback(None)

    def _wake(self) -> None:
        wanted, self._wanted = self._wanted, None
        if wanted is not None and not wanted.called:  # it may have been cancelled
            wanted.callback(None)


class _Asked(TypedDict, total=False):
    """What both kinds take by keyword: see `_Callback`."""

    on_mail: Callable[[Session, ReversePath], Later[None]] | None
    on_rcpt: Callable[[Session, Recipient], Later[None]] | None
    honours: Iterable[str]


class _Callback(Delivery):
    """What both kinds share.

    :param function: called with each message.
    :param on_mail: asked about the reverse-path of each transaction, with the session in front; raises `Refusal` to
        refuse it. Without one, everybody may send.
    :param on_rcpt: the same for each recipient. Without one, mail for everybody is taken: policies say for whom.
    :param honours: see `Delivery.honours`.
    """

    def __init__(
        self,
        *,
        on_mail: Callable[[Session, ReversePath], Later[None]] | None = None,
        on_rcpt: Callable[[Session, Recipient], Later[None]] | None = None,
        honours: Iterable[str] = (),
    ) -> None:
        self._on_mail = on_mail
        self.on_rcpt = on_rcpt
        self.honours = frozenset(honours)

    def begin(self, session: Session, reverse_path: ReversePath) -> Later[DeliveryTransaction]:
        """Ask about *reverse_path*, and begin."""
        asked = None if self._on_mail is None else self._on_mail(session, reverse_path)
        return then(asked, partial(self._taken, session))

    def _taken(self, session: Session, answer: None) -> DeliveryTransaction:
        if answer is not None:
            raise no_refusal("on_mail", answer)
        return self._begun(session)

    def _begun(self, session: Session) -> DeliveryTransaction:
        raise NotImplementedError


class _Transaction(DeliveryTransaction):
    def __init__(self, delivery: _Callback, session: Session) -> None:
        self._asked_about_recipients = delivery.on_rcpt
        self._session = session

    def rcpt(self, recipient: Recipient) -> Later[None]:
        """Ask about *recipient*."""
        ask = self._asked_about_recipients
        return None if ask is None else ask(self._session, recipient)


# --- whole messages ------------------------------------------------------------------------------------------


class Callback(_Callback):
    """Calls a function with each message that has come, a `Mail`.

    :param function: what it answers, the client is told.
    :param in_thread: call it in a thread of the reactor's pool, as it blocks. It is not interrupted if the client goes
        meanwhile, which then sends the message again.
    :param more: see `_Callback`.
    """

    def __init__(
        self, function: Callable[[Mail], Later[Answer]], *, in_thread: bool = False, **more: Unpack[_Asked]
    ) -> None:
        super().__init__(**more)
        self.function = function
        self.in_thread = in_thread

    def _begun(self, session: Session) -> DeliveryTransaction:
        return _Whole(self, session)


class _Whole(_Transaction):
    def __init__(self, delivery: Callback, session: Session) -> None:
        super().__init__(delivery, session)
        self._callback = delivery
        self._held = Held()

    def open(self, envelope: Envelope) -> None:
        """Begin."""
        self._envelope = envelope

    def write(self, octets: bytes) -> None:
        """Keep *octets*."""
        self._held.write(octets)

    async def commit(self) -> Answer:
        """Call the function, and answer as it does."""
        spool, self._held = self._held, Held()  # a thread may still read it when the client is gone
        mail = Mail(self._session, self._envelope, spool)
        if self._callback.in_thread:
            return await deferToThread(_call, cast(Callable[[Mail], Answer], self._callback.function), mail)
        try:
            return await awaited(self._callback.function(mail))
        finally:
            spool.close()

    def abort(self) -> None:
        """Drop what there is."""
        self._held.close()


def _call(function: Callable[[Mail], Answer], mail: Mail) -> Answer:
    try:
        return function(mail)
    finally:
        mail._held.close()


# --- messages that come --------------------------------------------------------------------------------------


class StreamCallback(_Callback):
    """Calls a function with each message when it begins, a `MailStream`.

    :param function: what it answers, the client is told; if it fails before the message has ended, that is refused, and
        the rest of it thrown away.
    :param more: see `_Callback`.
    """

    def __init__(self, function: Callable[[MailStream], Awaitable[Answer]], **more: Unpack[_Asked]) -> None:
        super().__init__(**more)
        self.function = function

    def _begun(self, session: Session) -> DeliveryTransaction:
        return _Coming(self, session, self.function)


class _Coming(_Transaction):
    def __init__(
        self, delivery: StreamCallback, session: Session, function: Callable[[MailStream], Awaitable[Answer]]
    ) -> None:
        super().__init__(delivery, session)
        self._function = function
        self._answer: Deferred[Answer] | None = None
        #: What the function has failed with, until somebody is told.
        self._failure: Failure | None = None

    def open(self, envelope: Envelope) -> None:
        """Call the function."""
        self._stream = MailStream(self._session, envelope)
        self._answer = answer = Deferred.fromCoroutine(_run(self._function, self._stream))
        answer.addBoth(self._ended)

    def write(self, octets: bytes) -> Later[None]:
        """Give *octets* to the function, or throw them away, if it has ended.

        :raises Exception: what the function failed with.
        """
        self._raise()
        if self._answer is None or self._answer.called:
            return None
        return self._stream.feed(octets)

    async def commit(self) -> Answer:
        """Answer as the function does, when it has."""
        self._stream.end()
        answer = None if self._answer is None else await self._answer
        self._raise()
        return answer

    def abort(self) -> None:
        """End the function."""
        self._failure = None
        if self._answer is not None:
            self._answer.cancel()

    def _ended(self, answer: Answer | Failure) -> Answer:
        self._stream.ask_for_more()  # they are thrown away
        if isinstance(answer, Failure):
            self._failure = answer
            return None
        return answer

    def _raise(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            failure.raiseException()


async def _run(function: Callable[[MailStream], Awaitable[Answer]], stream: MailStream) -> Answer:
    return await function(stream)

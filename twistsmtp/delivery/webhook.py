"""Mail sent to a web server: one POST for each message, as it is, with its envelope in header fields.

The request is made when the message is whole, and its body is streamed from where the message was kept. So a server
never sees a part of a message, knows from the beginning how long it is, does not wait for a slow mail client, and has
a signature to check. `Webhook` says what the request looks like.
"""

import hmac
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from twistsmtp.delivery.api import (
    Delivery,
    DeliveryTransaction,
    Envelope,
    Recipient,
    Refusal,
    Reply,
    ReversePath,
    Session,
)
from twistsmtp.delivery.spool import InThread, Spool, Threads
from twistsmtp.later import awaited
from twistsmtp.makers import number, yes_or_no
from twistsmtp.web import checked_url, place, trust_root
from twistsmtp.wire.text import printable

__all__ = ["Webhook", "address", "signature"]

#: Seconds for one request, from the look-up of the name to the end of the answer.
TIMEOUT = 60.0

#: Octets that X-Envelope-To may have, enough for a hundred recipients (RFC 5321 section 4.5.3.1.8); web servers refuse
#: fields of more than 8 KiB, or 16 KiB of them in all.
RECIPIENTS_LIMIT = 7 * 1024

#: Octets of an answer that are read, and characters of it that are logged.
ANSWER_LIMIT = 4096
_SHOWN = 200

#: Seconds that a connection is kept for the next message: fewer than servers keep one.
KEPT = 4.0

#: Octets of a secret: fewer could be guessed.
SECRET_LEAST = 16

#: What refuses a message for good, but for 404 and 410, by the status of HTTP.
_REFUSALS = {
    403: Reply(550, "5.7.1", "The message is not permitted"),
    413: Reply(552, "5.3.4", "The message is too big"),
}
_REFUSED = Reply(554, "5.6.0", "The message was refused")

#: Statuses below 500 that say nothing about the message, but about the time, the URL or the credentials: what is wrong
#: can be mended here or there, and the client is to come again.
_NOT_ABOUT_THE_MESSAGE = frozenset({401, 402, 405, 407, 408, 421, 423, 424, 425, 426, 429})

_log = Logger()


class Webhook(Delivery):
    """Sends each message to a web server.

    The request is a POST of ``message/rfc822``: the octets of the message. Its header has ``X-Envelope-Id``,
    ``X-Envelope-From`` (empty for the null reverse-path), ``X-Envelope-To`` with commas between the recipients,
    ``X-Client-Address`` and ``X-Client-Helo``, and ``X-Client-Login`` if the client has authenticated. In these
    values everything that is neither a letter or digit of ASCII nor one of ``@.+-_~:[]`` is percent-encoded UTF-8. With
    a secret there are ``X-Timestamp`` and ``X-Signature``: see `signature`.

    2xx takes the message. 404 and 410 are 550 5.1.1, 403 is 550 5.7.1, 413 is 552 5.3.4, and any other 4xx 554 5.6.0.
    What is not about the message (401, 402, 405, 407, 408, 421, 423 to 426, 429), 3xx (a redirect is not followed),
    5xx, and no answer in time are 451 4.3.0, and are logged: the client is to come again.

    :param url: where to send it.
    :param secret: a file with what signs requests, at least 16 octets; blanks around it do not count. It is read again
        when the server reloads.
    :param timeout: seconds for one request.
    :param ca: a file of certificates (PEM) of authorities to trust instead of the system's.
    :param insecure: whether the URL may be ``http:`` where that is not this machine.
    :param reactor: the global one if none is given.
    :param in_thread: what calls functions that block.
    :param now: seconds since the epoch, for the signature.
    :raises ValueError: the URL is none, a file has not what it should, or treq is not installed.
    :raises OSError: a file cannot be read.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: str = "",
        timeout: float = TIMEOUT,
        ca: str = "",
        insecure: bool = False,
        reactor: Any = None,
        in_thread: InThread | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        try:
            import treq
        except ImportError as error:
            raise ValueError(f"{error.name} is not installed (pip install 'twistsmtp[http]')") from error
        self._treq: Any = treq
        self._url = checked_url(url, insecure=insecure)
        self._secret_path = secret
        self._secret = _read_secret(secret) if secret else b""
        self._timeout = timeout
        self._trust = trust_root(ca) if ca else None
        self._reactor = reactor
        self._in_thread = Threads(reactor) if in_thread is None else in_thread
        self._now = now
        self._agent: Any = None
        self._pool: Any = None

    @classmethod
    def from_options(
        cls, *url: str, secret: str = "", timeout: str = f"{TIMEOUT:g}", ca: str = "", insecure: str = "no"
    ) -> "Webhook":
        """The delivery that ``webhook:URL`` with these options names.

        :param url: the parts of the URL between its colons.
        :raises ValueError: as `Webhook` does, or an option is wrong.
        :raises OSError: a file cannot be read.
        """
        return cls(
            ":".join(url),
            secret=secret,
            timeout=number("timeout", timeout),
            ca=ca,
            insecure=yes_or_no("insecure", insecure),
        )

    def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
        """Mail from anybody is taken."""
        return _Transaction(self, session)

    def reload(self) -> None:
        """Read the secret again."""
        if self._secret_path:
            try:
                self._secret = _read_secret(self._secret_path)
            except (OSError, ValueError) as error:
                _log.error("the secret stays what it was: {error}", error=printable(str(error)))

    async def stop(self) -> None:
        """Close the connections that are kept for the next message."""
        pool, self._agent, self._pool = self._pool, None, None
        if pool is not None:
            await pool.closeCachedConnections()

    async def send(self, headers: dict[str, str], spool: Spool) -> int:
        """Send a message.

        :returns: the status of the answer, or 0 if there was none.
        """
        if self._secret:
            stamp = str(int(self._now()))
            signed = await spool.work(
                signature, self._secret, stamp, headers["X-Envelope-From"], headers["X-Envelope-To"], spool.pieces
            )
            headers |= {"X-Timestamp": stamp, "X-Signature": signed}
        if self._agent is None:
            self._connect()
        body, answer, problem = _Body(spool), _Answer(), ""
        talk = Deferred.fromCoroutine(self._talk(headers, body, answer))
        timer = self._reactor.callLater(self._timeout, talk.cancel)
        try:
            await talk
        except Exception as error:
            reason = _reason(error)
            if isinstance(reason, (CancelledError, ConnectingCancelledError)) and timer.active():
                raise CancelledError from None  # the client has gone
            if not answer.code:
                # What kind of error it is: its own text could have anything in it.
                problem = type(reason).__name__ if timer.active() else f"no answer in {self._timeout:g} s"
        finally:
            if timer.active():
                timer.cancel()
        taken = 200 <= answer.code < 300
        if taken and not body.sent:
            problem = f"answered {answer.code} before it had the message"
        if problem:
            _log.warn("{id} {place}: {problem}", id=headers["X-Envelope-Id"], place=place(self._url), problem=problem)
            return 0
        if not taken:
            said = printable(" ".join(answer.octets.decode(errors="replace").split()), _SHOWN)
            text, id = "{id} {place} answered {code}: {said}", headers["X-Envelope-Id"]
            _log.warn(text, id=id, place=place(self._url), code=answer.code, said=said or "-")
        return answer.code

    async def _talk(self, headers: dict[str, str], body: "_Body", answer: "_Answer") -> None:
        # This makes a client for this one request, which knows no cookies.
        response = await self._treq.post(
            self._url,
            headers=headers,
            data=body,
            allow_redirects=False,
            unbuffered=True,
            agent=self._agent,
            reactor=self._reactor,
        )
        answer.code = response.code
        response.deliverBody(answer)
        await answer.ended

    def _connect(self) -> None:
        from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool

        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        self._pool = HTTPConnectionPool(self._reactor)
        self._pool.cachedConnectionTimeout = KEPT
        self._pool.retryAutomatically = False  # a message must not be sent twice
        policy = BrowserLikePolicyForHTTPS(self._trust)
        self._agent = Agent(self._reactor, policy, connectTimeout=self._timeout, pool=self._pool)


class _Transaction(DeliveryTransaction):
    """One message on its way to a web server."""

    def __init__(self, webhook: Webhook, session: Session) -> None:
        self._webhook = webhook
        self._session = session
        self._spool = Spool(session, webhook._in_thread)
        self._room = RECIPIENTS_LIMIT

    def rcpt(self, recipient: Recipient) -> None:
        """Take any mailbox, as long as there is room in a header."""
        self._room -= len(address(str(recipient))) + 1
        if self._room < 0:  # the client sends the message to the others by itself (RFC 5321 section 4.5.3.1.10)
            raise Refusal(self._session.replies.too_many_recipients)

    def open(self, envelope: Envelope) -> None:
        """Begin to keep the message."""
        session = self._session
        self._headers = {
            "Content-Type": "message/rfc822",
            "User-Agent": "twistsmtp",
            "X-Envelope-Id": address(envelope.id),
            "X-Envelope-From": address(str(envelope.reverse_path)),
            "X-Envelope-To": ",".join(address(str(each)) for each in envelope.recipients),
            "X-Client-Address": address(session.client),
            "X-Client-Helo": address(session.helo or ""),
        }
        if session.identity is not None:
            self._headers["X-Client-Login"] = address(session.identity)

    def write(self, octets: bytes) -> Deferred[None] | None:
        """Keep *octets*."""
        return self._spool.write(octets)

    async def commit(self) -> None:
        """Send the message, and wait for the answer."""
        code = await self._webhook.send(self._headers, self._spool)
        if not 200 <= code < 300:
            raise Refusal(_refusal(self._session, code))
        self._spool.close()

    def abort(self) -> None:
        """Nothing of the message is left. A request that is under way was cut off when `commit` was cancelled."""
        self._spool.close()


def address(text: str) -> str:
    """*text* as it is in a header field: percent-encoded, but for what plain addresses are made of."""
    return quote(text, safe="@.+-_~:[]")


def signature(secret: bytes, timestamp: str, sender: str, recipients: str, pieces: Callable[[], Any]) -> str:
    """The value of ``X-Signature``: ``sha256=`` and the HMAC, in hexadecimal digits, of ``X-Timestamp``, a newline,
    ``X-Envelope-From``, a newline, ``X-Envelope-To``, a newline, and the body.

    :param pieces: gives the body.
    """
    digest = hmac.new(secret, f"{timestamp}\n{sender}\n{recipients}\n".encode(), "sha256")
    for octets in pieces():
        digest.update(octets)
    return f"sha256={digest.hexdigest()}"


def _refusal(session: Session, code: int) -> Reply:
    if not 400 <= code < 500 or code in _NOT_ABOUT_THE_MESSAGE:
        return session.replies.local_error
    if code in {404, 410}:
        return session.replies.mailbox_unknown
    return _REFUSALS.get(code, _REFUSED)


def _read_secret(path: str) -> bytes:
    with open(path, "rb") as file:
        secret = file.read().strip()
    if len(secret) < SECRET_LEAST:
        raise ValueError(f"{path}: a secret has {SECRET_LEAST} octets at least")
    return secret


def _reason(error: Exception) -> BaseException:
    """Why there is no answer, where *error* only says that there is none."""
    reasons = getattr(error, "reasons", None)
    reason: BaseException = reasons[0].value if reasons else error
    return reason


@implementer(IBodyProducer)
class _Body:
    """Streams a message, at the pace of who takes it."""

    def __init__(self, spool: Spool) -> None:
        self.length = spool.size
        #: Whether all of it has been.
        self.sent = not self.length
        self._spool = spool
        self._paused: Deferred[None] | None = None
        self._producing: Deferred[None] = Deferred()
        self._stopped = False

    def startProducing(self, consumer: Any) -> Deferred[None]:  # noqa: N802 (Twisted's name, as those below)
        # Not the Deferred of the work itself: where this is stopped, ours does not fire any more.
        finished: Deferred[None] = Deferred()
        self._producing = Deferred.fromCoroutine(self._produce(consumer))
        self._producing.addBoth(lambda result: None if self._stopped else finished.callback(result))
        return finished

    async def _produce(self, consumer: Any) -> None:
        offset = 0
        while octets := await awaited(self._spool.read(offset)):
            if self._paused is not None:
                await self._paused
            consumer.write(octets)
            offset += len(octets)
            self.sent = offset == self.length

    def pauseProducing(self) -> None:
        if self._paused is None:
            self._paused = Deferred()

    def resumeProducing(self) -> None:
        paused, self._paused = self._paused, None
        if paused is not None:
            paused.callback(None)

    def stopProducing(self) -> None:
        self._stopped = True
        self._producing.cancel()


class _Answer(Protocol):
    """Reads the beginning of an answer. How its text ends does not matter once the status is known."""

    def __init__(self) -> None:
        #: The status, or 0 as long as there is none.
        self.code = 0
        self.octets = b""
        self.ended: Deferred[None] = Deferred(lambda _: self._lose())

    def dataReceived(self, data: bytes) -> None:
        self.octets = (self.octets + data)[:ANSWER_LIMIT]
        if len(self.octets) == ANSWER_LIMIT:
            self._done()
            self._lose()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._done()

    def _done(self) -> None:
        if not self.ended.called:
            self.ended.callback(None)

    def _lose(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

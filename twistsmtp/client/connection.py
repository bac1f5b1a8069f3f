"""One connection to a server: commands out, replies in, in order.

`Connection` knows how SMTP is spoken and nothing of what is said. A command is answered by a Deferred; any number may
be sent before the first is answered (RFC 2920), and the replies go to them in the order in which they come::

    greeting = await connection.greeting
    reply = await connection.command("EHLO client.example")

Each answer has its time (RFC 5321 section 4.5.3.2). When the connection ends, whatever the reason, all that waits for
it fails with a `ClientError`, and everything that is tried afterwards does so, too.

Octets of a message go out by `write`, which may answer with a Deferred: whoever writes waits for it, so that memory
does not grow with what the far side does not take.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IHandshakeListener, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from twistsmtp.client.capabilities import Capabilities
from twistsmtp.client.commands import line
from twistsmtp.client.errors import (
    ClientError,
    ConnectionLost,
    OutcomeUnknown,
    ProtocolError,
    Refused,
    TimedOut,
    TLSError,
)
from twistsmtp.client.replies import ReplyReader
from twistsmtp.client.timeouts import Awaited, Timeouts
from twistsmtp.client.tls import in_words
from twistsmtp.tls.facts import TLS
from twistsmtp.wire.reply import Reply

__all__ = ["LINGER", "Connection"]

#: Seconds that a connection has to go away when it was told to.
LINGER = 3.0


@implementer(IHandshakeListener)
class Connection(Protocol):
    """The client's side of one connection.

    :param clock: measures the time that answers take.
    """

    transport: Any = None

    def __init__(self, clock: IReactorTime, timeouts: Timeouts | None = None) -> None:
        self.timeouts = timeouts or Timeouts()
        #: What the far side offers, once it has been asked.
        self.capabilities = Capabilities()
        #: Whether LMTP is spoken (RFC 2033), which has a reply for each recipient behind a message.
        self.lmtp = False
        #: What is known of the encryption; ``None`` without it.
        self.tls: TLS | None = None
        #: Whether the far side has shown by its certificate that it is who we mean.
        self.verified = False
        #: Messages whose end was sent.
        self.messages = 0
        #: Why nothing can be said any more; ``None`` while that is not so.
        self.error: ClientError | None = None
        #: Fires with ``None`` when the connection is gone.
        self.gone: Deferred[None] = Deferred()
        #: Is called once when `error` is set.
        self.on_end: Callable[[], object] = _nothing
        self._clock = clock
        self._reader = ReplyReader()
        self._timer: IDelayedCall | None = None
        self._awaited: deque[Awaited] = deque()
        self._room: Deferred[None] | None = None
        self._room_timer: IDelayedCall | None = None
        self._paused = False
        self._handshake: Deferred[None] | None = None
        self._lost = False
        self._resting: list[Deferred[None]] = []
        #: The server's first word.
        self.greeting = self._await(Awaited("greeting", self.timeouts.greeting))

    # --- what is said -----------------------------------------------------------------------------------------

    def command(self, text: str, *, step: str = "", alone: bool = False) -> Deferred[Reply]:
        """Send one command; the Deferred is for its reply, whatever that is.

        :param step: what errors call it: its verb, unless another name is given, as where the text is a secret.
        :param alone: nothing may come behind the reply; if it does, that is a `ProtocolError`.
        :raises ValueError: see `line`.
        """
        [reply] = self.send(line(text), [step or text.partition(" ")[0]], alone=alone)
        return reply

    def send(
        self,
        octets: bytes | Sequence[bytes],
        steps: Sequence[str],
        *,
        alone: bool = False,
        ends: bool = False,
    ) -> list[Deferred[Reply]]:
        """Send *octets* in one write; the Deferreds are for the replies to them.

        :param steps: what each reply is to, for errors.
        :param ends: the octets end a message. A connection that is lost from here on is an `OutcomeUnknown`.
        """
        if not self._awaited:
            self._listen()  # what has come by now is no reply to this
            if self.usable and not self._reader.empty:
                self._end(ProtocolError("a reply to nothing"))
        if self.error is not None:
            return [fail(self.error) for _ in steps]
        if ends:
            self.messages += 1
        replies = [self._await(Awaited(step, self.timeouts.of(step), ends, alone)) for step in steps]
        if isinstance(octets, bytes):
            self.transport.write(octets)
        else:
            self.transport.writeSequence(octets)
        return replies

    def write(self, octets: bytes | Sequence[bytes]) -> Deferred[None] | None:
        """Send octets of a message.

        :returns: a Deferred for when there is room for more, if there is none now.
        """
        if self.error is not None:
            return fail(self.error)
        if octets:
            self.transport.write(octets) if isinstance(octets, bytes) else self.transport.writeSequence(octets)
        return self.room()

    def room(self) -> Deferred[None] | None:
        """A Deferred for when there is room for more octets, if there is none now."""
        if self.error is not None:
            return fail(self.error)
        if not self._paused:
            return None
        if self._room is None:
            self._room = Deferred(self._given_up)
            self._room_timer = self._clock.callLater(self.timeouts.block, self._end, TimedOut("message"))
        return self._room

    def extend_lines(self, octets: int) -> None:
        """Have lines of replies be as long as this (RFC 4954 section 4 has challenges of 12288)."""
        self._reader.line_limit = octets

    @property
    def usable(self) -> bool:
        """Whether anything can be said."""
        return self.error is None

    @property
    def waiting(self) -> int:
        """How many replies have to come still."""
        return len(self._awaited)

    def at_rest(self) -> Deferred[None]:
        """A Deferred for when no reply has to come any more, or none will."""
        resting: Deferred[None] = Deferred()
        if self._awaited:
            self._resting.append(resting)
        else:
            resting.callback(None)
        return resting

    # --- the end ----------------------------------------------------------------------------------------------

    def quit(self) -> Deferred[None]:
        """Say QUIT and go; the Deferred is for when the connection is gone. If something is pending, go at once."""
        if self._awaited or self._paused:
            self.abort()
        if self.error is None:
            self.send(line("QUIT"), ["QUIT"])[0].addBoth(lambda _: self._close())
        return self.when_gone()

    def abort(self) -> None:
        """End the connection here and now."""
        self._end(self._unless_sent(ConnectionLost(self._step(), "given up")))

    def when_gone(self) -> Deferred[None]:
        """A Deferred for when the connection is gone."""
        waiting: Deferred[None] = Deferred()
        if self._lost:
            waiting.callback(None)
        else:
            self.gone.addCallback(lambda _: waiting.callback(None))
        return waiting

    # --- encryption -------------------------------------------------------------------------------------------

    def start_tls(self, creator: Any, *, verified: bool) -> Deferred[None]:
        """Begin TLS; the Deferred is for when it stands, and fails with a `TLSError` if it does not.

        :param creator: an ``IOpenSSLClientConnectionCreator``.
        :param verified: whether it fails where the far side's certificate is not the right one.
        """
        if self.error is not None:
            return fail(self.error)
        if not hasattr(self.transport, "startTLS"):
            return fail(TLSError("there is no TLS on a connection of this kind"))
        if not self._reader.empty:
            self._end(ProtocolError("something stands in front of the handshake"))
            return fail(ProtocolError("something stands in front of the handshake"))
        self.capabilities = Capabilities()
        self._handshake = Deferred(self._given_up)
        self._verifies = verified
        handshake = self._handshake
        self._set_timer(self.timeouts.handshake, TLSError("the handshake took too long"))
        try:
            self.transport.startTLS(creator)
        except Exception as error:  # what it was given to begin with
            self._end(TLSError(f"TLS could not begin: {error}"))
            return handshake
        self.resumeProducing()  # of what was paused in plain text nothing would tell
        return handshake

    def handshakeCompleted(self) -> None:
        """Twisted's word that TLS stands."""
        handshake, self._handshake = self._handshake, None
        if self.error is not None or handshake is None:
            return
        self.tls, self.verified = TLS.of(self.transport.getHandle()), self._verifies
        self._watch()
        handshake.callback(None)

    # --- Twisted's words --------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """There is a connection."""
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        self._watch()

    def dataReceived(self, data: bytes) -> None:
        """Octets came."""
        if self.error is not None:
            return
        self._reader.feed(data)
        self._listen()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self._lost = True
        if self.error is None:
            self._end(self._why(reason))
        self._set_timer(None)
        self.gone.callback(None)

    def pauseProducing(self) -> None:
        """There is no room for more octets."""
        self._paused = True

    def resumeProducing(self) -> None:
        """There is room again."""
        self._paused = False
        room, self._room = self._room, None
        if self._room_timer is not None:
            self._room_timer.cancel()
            self._room_timer = None
        if room is not None:
            room.callback(None)

    def stopProducing(self) -> None:
        """There will be no room any more: the connection is lost."""

    # --- inside -----------------------------------------------------------------------------------------------

    def _await(self, awaited: Awaited) -> Deferred[Reply]:
        awaited.reply = Deferred(self._given_up)
        self._awaited.append(awaited)
        if len(self._awaited) == 1:
            self._watch()
        return awaited.reply

    def _given_up(self, _: object) -> None:
        """Nobody waits for an answer that has to come: what comes could not be told from others."""
        self.abort()

    def _listen(self) -> None:
        """Read the replies that have come."""
        try:
            while self.usable and (reply := self._reader.next()) is not None:
                self._heard(reply)
        except ProtocolError as error:
            # An error names the line that is none of a reply; here that may be our own, with a secret.
            shown = ProtocolError("no reply to AUTH") if self._step() == "AUTH" else error
            self._end(self._unless_sent(shown))

    def _heard(self, reply: Reply) -> None:
        if not self._awaited:
            # Nobody asked; and all that a server says unasked is that it will not go on.
            if reply.positive:
                raise ProtocolError(f"a reply to nothing: {reply.code}")
            self._end(Refused("connection", reply))
            return
        awaited = self._awaited[0]
        if awaited.step == "AUTH" and not reply.positive:  # some servers say again what they were told: here, a secret
            reply = Reply(reply.code, reply.enhanced, "AUTH was refused")
        if awaited.alone and not self._reader.empty:
            raise ProtocolError(f"something stands behind the reply to {awaited.step}")
        self._awaited.popleft()
        self._watch()
        awaited.reply.callback(reply)
        if not self._awaited:
            if reply.code == 421:
                self._end(Refused(awaited.step, reply))
            self._rest()

    def _rest(self) -> None:
        resting, self._resting = self._resting, []
        for each in resting:
            each.callback(None)

    def _step(self) -> str:
        return self._awaited[0].step if self._awaited else "connection"

    def _watch(self) -> None:
        """Have the reply that comes next come in time."""
        if self.transport is None or self._handshake is not None:
            return
        awaited = self._awaited[0] if self._awaited else None
        self._set_timer(None if awaited is None else awaited.seconds, None)

    def _set_timer(self, seconds: float | None, error: ClientError | None = None) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None if seconds is None else self._clock.callLater(seconds, self._timed_out, error)

    def _timed_out(self, error: ClientError | None) -> None:
        self._end(error or self._unless_sent(TimedOut(self._step())))

    def _why(self, reason: Failure) -> ClientError:
        if self._handshake is not None:
            return TLSError(f"handshake failed: {in_words(reason.value)}")
        text = "closed by the far side" if reason.check(ConnectionDone) else "connection lost"
        return self._unless_sent(ConnectionLost(self._step(), text))

    def _unless_sent(self, error: ClientError) -> ClientError:
        """*error*; or, if a message whose end was sent has no reply, that this is so."""
        return OutcomeUnknown(str(error)) if any(each.ends for each in self._awaited) else error

    def _end(self, error: ClientError) -> None:
        """Nothing is said any more, for the reason of *error*; the connection goes."""
        if self.error is not None:
            return
        self.error = error
        self._set_timer(None)
        failing = [each.reply for each in self._awaited]
        self._awaited.clear()
        handshake, self._handshake = self._handshake, None
        self._close(at_once=True)
        room, self._room = self._room, None
        if self._room_timer is not None and self._room_timer.active():
            self._room_timer.cancel()
        self._room_timer = None
        on_end, self.on_end = self.on_end, _nothing
        on_end()
        waiting: list[Deferred[Any]] = [*failing, *filter(None, (handshake, room))]
        for each in waiting:
            if not each.called:
                each.errback(error)
        self._rest()

    def _close(self, *, at_once: bool = False) -> None:
        """Have the connection go."""
        if self.error is None:
            self.error = ConnectionLost("QUIT", "closed")
            on_end, self.on_end = self.on_end, _nothing
            on_end()
        transport = self.transport
        if transport is None or self._lost:
            return
        transport.unregisterProducer()
        if at_once:
            transport.abortConnection()
        else:
            transport.loseConnection()
            self._set_timer(None)
            self._timer = self._clock.callLater(LINGER, transport.abortConnection)


def _nothing(*_: object) -> None:
    """What is done where there is nothing to do."""

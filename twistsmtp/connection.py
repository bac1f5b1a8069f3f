"""One connection's octets, and its life: how it begins, what is kept of it, and the ways in which it ends.

`Connection` is the small typed door to Twisted's base classes. What the octets mean is `SMTPProtocol`'s affair.

There is no timer in a connection, but for a greeting that is held back: it notes when it was last heard, and its
factory's sweep looks at all of them.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IHandshakeListener,
    IOpenSSLServerConnectionCreator,
)
from twisted.protocols.basic import LineReceiver
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from twistsmtp.events import connection_ended, exception_caught, message_ended
from twistsmtp.session import Session
from twistsmtp.shared import Shared
from twistsmtp.tls.facts import TLS
from twistsmtp.transport import discard_input, has_input, why_lost
from twistsmtp.verb import Ask, Intake, Verb
from twistsmtp.wire.reply import Reply
from twistsmtp.wire.text import printable

__all__ = ["Connection"]

#: Seconds that a connection has to go away when it was told to; and when the server waits for it to do so.
LINGER, LAST_LINGER = 10.0, 1.0


@implementer(IHalfCloseableProtocol, IHandshakeListener)
class Connection(LineReceiver):
    """What a connection is, whatever is spoken on it."""

    # More than 29 attributes, and CPython 3.11 has each instance keep a dictionary of its own.
    __slots__ = (
        "_asked",
        "_buffer",
        "_closing_since",
        "_draining",
        "_greeting_call",
        "_half_closed",
        "_handshake_since",
        "_intake",
        "_intake_since",
        "_lines",
        "_out",
        "_overlong",
        "_overlong_verb",
        "_pending",
        "_reason",
        "_reply_octets",
        "_waiting_since",
        "_window",
        "address",
        "connected",
        "connected_at",
        "factory",
        "greeted",
        "last_heard",
        "octets_in",
        "octets_out",
        "paused",
        "ready",
        "seconds",
        "session",
        "transport",
    )

    factory: Shared
    session: Session
    transport: Any
    #: Whom the connection is with, as its factory was told; and the clock.
    address: Any
    seconds: Callable[[], float]

    def __init__(self) -> None:
        # All of it on the instance, and none as a default on the class: CPython 3.11 takes about six times as long to
        # read an attribute of a class through an instance, and these are read for each command.
        self.transport = self.address = None
        self.connected = 0
        self.paused = False
        self._buffer = b""
        #: When a whole command, octets of a message or an answer of ours were last there, and when the connection was
        #: made, in the clock's seconds.
        self.last_heard = 0.0
        self.connected_at = 0.0
        self.octets_in = 0
        self.octets_out = 0
        #: Whether what comes can be carried out: the client was greeted, no answer is pending, the client reads its
        #: replies, and the connection is not ending.
        self.ready = False
        #: Whether the client was greeted; what is said before is the last that is said.
        self.greeted = False
        self._greeting_call: IDelayedCall | None = None
        #: Replies that are not sent yet.
        self._out: list[bytes] = []
        #: The answer that is waited for.
        self._pending: Deferred[Any] | None = None
        self._waiting_since = 0.0
        #: Where octets go that are no commands, since when, and the window in which their rate is measured.
        self._intake: Intake | None = None
        self._intake_since = 0.0
        self._window = (0.0, 0)
        #: Where a verb asked for the next line.
        self._asked: Ask | None = None
        #: Octets thrown away so far of a line that is too long, and the verb that it begins with.
        self._overlong = 0
        self._overlong_verb: Verb[Any] | None = None
        #: Since when TLS is about to begin, while it is.
        self._handshake_since: float | None = None
        #: Whether the connection is to end when what is pending is done: the client has closed its side, or we drain.
        self._half_closed = False
        self._draining = False
        #: Why and since when the connection is ending.
        self._reason = ""
        self._closing_since: float | None = None

    # --- what the protocol on top does ------------------------------------------------------------------------

    def greet(self) -> None:
        """Say the first word."""
        raise NotImplementedError

    def work(self) -> None:
        """Carry out what is kept in the buffer, as far as that goes now."""
        raise NotImplementedError

    def said_goodbye(self) -> bool:
        """Whether something that is kept in the buffer says that the client is done."""
        raise NotImplementedError

    # --- the beginning ----------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Twisted's word that there is a client."""
        factory = self.factory
        self.session = factory.new_session(self.transport, self.address)
        self.seconds = self.session.seconds
        self.connected_at = self.last_heard = self.seconds()
        self._reply_octets = factory.registry.reply_octets
        self._lines = factory.registry.lines_within(self.session.limits)
        self.transport.registerProducer(self, True)
        if isinstance(self.transport, TLSMemoryBIOProtocol):
            self._handshake_since = self.connected_at
        refusal = factory.admit(self)
        if refusal is not None:
            self.close(refusal, linger=False)
            return
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        if self._handshake_since is None:
            self._open()

    def _open(self) -> None:
        """The client can be spoken to."""
        if self.factory.strict_greeting:
            self.session.strict_greeting = True
            self._greeting_call = self.session.clock.callLater(self.session.limits.greeting_delay, self._start)
        else:
            self.session.talked_early = has_input(self.transport)
            self.greet()

    def _start(self) -> None:
        self._greeting_call = None
        self.greet()

    # --- encryption -------------------------------------------------------------------------------------------

    def begin_tls(self, certificates: IOpenSSLServerConnectionCreator) -> None:
        """Begin TLS, and the session anew. What the client has sent by now is plain text, and is not looked at, as
        anybody may have slipped it in."""
        self._buffer = b""
        discard_input(self.transport)
        self.flush()
        self.session.restart()
        self._handshake_since = self.seconds()
        self._see_whether_ready()
        try:
            self.transport.startTLS(certificates)
        except Exception as error:  # an application's certificates: the client was told to begin, and cannot
            exception_caught(self.session, Failure(error), "nothing")
            self._give_up("TLS could not begin")
            self.transport.abortConnection()
            return
        if self.paused:  # which ended with the plain text: nothing would tell so
            self.resumeProducing()

    def handshakeCompleted(self) -> None:
        """Twisted's word that TLS stands."""
        self._handshake_since = None
        self.last_heard = self.seconds()
        self.session.encrypted(TLS.of(self.transport.getHandle()))
        self._see_whether_ready()
        if self._draining:
            self.drain()
        elif not self.greeted and self._closing_since is None:
            self._open()

    # --- octets -----------------------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Twisted's word that octets came."""
        self.octets_in += len(data)
        self._buffer = self._buffer + data if self._buffer else data
        if self.ready:
            self.work()
        elif self._closing_since is not None:
            self._buffer = b""
        else:
            self._keep()

    def _keep(self) -> None:
        """What came has to wait."""
        if self._handshake_since is not None:
            # Decrypted octets: TLS stands, and what wraps the transport (as HAProxy's protocol) has kept it to itself.
            self.handshakeCompleted()
            self.go_on()
            return
        if not self.greeted:
            self.session.talked_early = True
            if self.session.strict_greeting:
                self.close(self.factory.replies.talked_early)
                return
        if len(self._buffer) > self.session.limits.buffered:
            self.transport.pauseProducing()

    def wait_for(self, pending: Deferred[Any] | None) -> None:
        """Nothing is to be carried out before *pending* fires; ``None`` if there is nothing to wait for any more."""
        self._pending = pending
        self._waiting_since = self.seconds()
        self.last_heard = self.seconds()  # a client that waited for us was not idle
        self._see_whether_ready()

    def pauseProducing(self) -> None:
        """The client does not read its replies: nothing is carried out before it does. What it sends meanwhile is
        kept up to the bound; to stop reading here and now would stop a TLS handshake, too."""
        self.paused = True
        self._see_whether_ready()

    def resumeProducing(self) -> None:
        """The client has read its replies."""
        self.paused = False
        self.go_on()

    def _see_whether_ready(self) -> None:
        at_rest = self._pending is None and self._handshake_since is None and self._closing_since is None
        self.ready = self.greeted and at_rest and not self.paused

    def go_on(self) -> None:
        """Something is not in the way any more: work on what was kept meanwhile, and read again."""
        self._see_whether_ready()
        if self.ready:
            self.work()
        self.flush()
        if self._closing_since is None and (self.ready or len(self._buffer) <= self.session.limits.buffered):
            self.transport.resumeProducing()

    def flush(self) -> None:
        """Send the replies that have gathered, in one write."""
        if self._out:
            octets = b"".join(self._out)
            self._out.clear()
            self.octets_out += len(octets)
            self.transport.write(octets)

    # --- the end ---------------------------------------------------------------------------------------------

    def close(self, reply: Reply, *, linger: bool = True) -> None:
        """Say *reply*, and end the connection.

        A client that is refused may be sending still, and closing on unread octets would destroy the reply in its
        hands: so only our side is closed, and the client has a moment to read and to close its own.
        """
        if self._closing_since is not None:
            return
        self._out.append(self._reply_octets(reply))
        self.flush()
        self._give_up(str(reply))
        transport = self.transport
        transport.unregisterProducer()
        if self._handshake_since is not None:  # there is no way to say anything, nor to wait that it is heard
            transport.abortConnection()
            return
        # Under TLS, loseConnection() itself waits for the client's word that it has read all.
        if linger and not self._half_closed and isinstance(transport, FileDescriptor) and not self.session.tls:
            transport.resumeProducing()
            transport.loseWriteConnection()
        else:
            transport.loseConnection()

    def _give_up(self, reason: str) -> None:
        """Nothing more is taken from the client, and what was begun for it is undone."""
        self._closing_since = self.seconds()
        self.ready = False
        self._reason = reason
        asked, self._asked = self._asked, None
        self._buffer, self._intake = b"", None
        if asked is not None:
            self.abandon(asked)
        if self._greeting_call is not None:
            self._greeting_call.cancel()
        session, transaction = self.session, self.session.transaction
        session.over = True
        if self._pending is not None:
            try:
                self._pending.cancel()
            except Exception as error:
                exception_caught(session, Failure(error), "nothing")
        session.end()
        if transaction is not None and transaction.opened is not None:
            message_ended(session, transaction, f"aborted: {printable(reason)}")

    def abandon(self, asked: Ask) -> None:
        """There will be no answer to what was asked."""
        try:
            asked.abandon()
        except Exception as error:
            exception_caught(self.session, Failure(error), "nothing")

    def drain(self) -> None:
        """End the connection as soon as it is between two transactions, and can be told so."""
        self._draining = True
        busy = self._pending is not None or self._intake is not None or self._handshake_since is not None
        if not busy and self.session.transaction is None:
            self.close(self.factory.replies.shutting_down.fill(hostname=self.session.hostname))

    def sweep(self, now: float) -> None:
        """Look whether the client has had its time. The factory calls this every so often."""
        limits, replies = self.session.limits, self.factory.replies
        if self._closing_since is not None:
            if now - self._closing_since > (LAST_LINGER if self._draining else LINGER):
                self.transport.abortConnection()
        elif self._handshake_since is not None:
            if now - self._handshake_since > limits.handshake_time:
                self._give_up("TLS handshake took too long")
                self.transport.abortConnection()
        elif self._pending is not None:  # it is the server's turn
            if now - self._waiting_since > limits.answer_time:
                self._waiting_since = now  # for what is asked next, where a policy that takes too long is passed by
                self._pending.cancel()
        elif now - self.last_heard > limits.idle_time:
            self.close(replies.idle_timeout)
        elif self._chunks_take_too_long(now):
            self.close(replies.data_timeout)
        elif self._intake is not None:
            since, octets = self._window
            if now - self._intake_since > limits.data_time:
                self.close(replies.data_timeout)
            elif now - since >= limits.data_window:
                if self.octets_in - octets < limits.data_rate * (now - since):
                    self.close(replies.data_too_slow)
                self._window = (now, self.octets_in)

    def _chunks_take_too_long(self, now: float) -> bool:
        """Whether a message that comes in chunks has had its time, less what the delivery took of it."""
        transaction = self.session.transaction
        if transaction is None or transaction.chunked is None or transaction.opened is None:
            return False
        return now - transaction.opened - transaction.spared > self.session.limits.data_time

    def readConnectionLost(self) -> None:
        """The client closed its sending side. If it said that it was done, it still gets every reply; if not, it
        cannot be told from one that is gone, and what is pending for it is given up."""
        self._half_closed = True
        if self.ready or self._closing_since is not None:
            self.transport.loseConnection()
        elif not self.said_goodbye():
            self.transport.abortConnection()

    def writeConnectionLost(self) -> None:
        """Ours is closed: by ourselves, or because the client will not hear any more."""
        if self._closing_since is None:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        """Twisted's word that the connection is gone, whoever ended it."""
        if self._closing_since is None:
            self._give_up(why_lost(reason, handshake=self._handshake_since is not None))
        try:
            connection_ended(
                self.session,
                reason=self._reason,
                octets_in=self.octets_in,
                octets_out=self.octets_out,
                early_talker=self.session.talked_early,
                duration=self.seconds() - self.connected_at,
            )
        finally:
            self.factory.release(self)

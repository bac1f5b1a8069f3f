"""Our protocol behind a server of aiosmtpd's: it cuts lines, and calls methods for them.

A method is a coroutine that says what it likes, when it likes (`SMTP.push`), asks the client for a line
(`SMTP.challenge_auth`), and has a message come (DATA). For the protocol it is a verb as any other. It runs as a task
of asyncio's. What it wants that the protocol does for verbs, it hands over as an outcome, and is given the answer::

    method    await engine.exchange(lambda answer: Ask(None, answer))
    protocol  carries the Ask out, and calls answer(line)
    method    goes on with the line, and the protocol waits for what it wants next, or for its end
"""

import asyncio
import weakref
from collections.abc import Callable, Coroutine
from functools import lru_cache, partial
from itertools import count
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from twistsmtp.compat.aiosmtpd.lines import read_command
from twistsmtp.compat.aiosmtpd.values import log, sanitized_log
from twistsmtp.compat.aiosmtpd.wire import LoopClock, Wire, bridged
from twistsmtp.connection import Connection
from twistsmtp.delivery.nowhere import Nowhere
from twistsmtp.extensions import load_extensions
from twistsmtp.later import Later
from twistsmtp.limits import Limits
from twistsmtp.phases import Checks
from twistsmtp.protocol import SMTPProtocol
from twistsmtp.security import Security
from twistsmtp.session import Session
from twistsmtp.tls.facts import TLS
from twistsmtp.transport import why_lost
from twistsmtp.verb import Close, Intake, Outcome, Registry, Verb
from twistsmtp.verbs.data import BDAT
from twistsmtp.wire.dotstream import DotStream
from twistsmtp.wire.reply import Catalogue, Refusal, Reply
from twistsmtp.wire.text import printable

if TYPE_CHECKING:
    from twistsmtp.compat.aiosmtpd.server import Server

__all__ = ["LINE", "Engine", "Incoming"]

#: Octets of a line, with its CRLF, that is looked at: an exchange of AUTH may need them (RFC 4954 section 4).
LINE = 12288
#: Commands that the original has, which move no mail.
IDLE = frozenset({"AUTH", "EHLO", "EXPN", "HELO", "HELP", "LHLO", "NOOP", "RSET", "STARTTLS", "VRFY"})
#: The original's replies, where the protocol has the word.
REPLIES = Catalogue(
    line_too_long=Reply(500, "", "Command line too long"),
    too_many_unknown=Reply(502, "5.5.1", "Too many unrecognized commands, goodbye."),
)
TOO_MUCH = Reply(552, "", "Error: Too much mail data")
#: Octets, past twice the greatest message, that are read of one that is refused before the connection ends.
PATIENCE = 1024 * 1024 * 1024
#: The greatest message where the server was made with no limit.
CEILING = 1024 * 1024 * 1024

_numbers = count(1)


class Incoming:
    """The octets of a message behind DATA: an `Intake`.

    :param answer: is told when all has come.
    """

    def __init__(self, limits: Limits, answer: Callable[["Incoming"], Later[Outcome]]) -> None:
        self._limit, self._line_limit = limits.message_size, limits.message_line
        self._stream = DotStream(limits.bare_newline, limits.message_line)
        self._answer = answer
        self._pieces: list[bytes] = []
        self.size = 0
        #: Why it is to be refused: ``"line"`` or ``"size"``, whichever came first.
        self.fault = ""
        self.reply: Reply | None = None
        self.waiting: Deferred[None] | None = None

    def feed(self, data: bytes, start: int) -> int:
        """Take *data* from *start* on; see `Intake`."""
        octets, end = self._stream.feed(data, start)
        self.size += len(octets)
        if not self.fault:
            self.fault = self._fault_in(octets)
            self._pieces.append(octets)
        if self.fault:
            self._pieces.clear()
            if self.size > 2 * self._limit + PATIENCE:
                raise Refusal(TOO_MUCH)
        return end

    def _fault_in(self, octets: bytes) -> str:
        is_too_big = self.size > self._limit
        if not self._stream.line_too_long:
            return "size" if is_too_big else ""
        if not is_too_big:
            return "line"
        good = octets[: self._limit - (self.size - len(octets))]
        return "line" if max(map(len, good.split(b"\r\n"))) > self._line_limit else "size"

    def end(self) -> Later[Outcome]:
        """All has come; see `Intake`."""
        return self._answer(self)

    def take(self) -> bytes:
        """The message, once."""
        octets = b"".join(self._pieces)
        self._pieces.clear()
        return octets


#: The connections of each loop.
_engines: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.WeakSet[Connection]]" = (
    weakref.WeakKeyDictionary()
)


class Shared:
    """What our protocol takes from its factory: a server of aiosmtpd's is one for each connection."""

    strict_greeting = False

    def __init__(self, server: "Server", limits: Limits) -> None:
        self._server = server
        self.limits = limits
        self.replies = REPLIES
        self.greeting = Reply(220, "", f"{server.hostname} {server.__ident__}")
        self.registry = _registry(tuple(server._smtp_methods))
        self.reactor = LoopClock(server.loop)

    def new_session(self, transport: Wire, address: object = None) -> Session:
        """A session for the connection of *transport*."""
        session = Session(
            id=f"aiosmtpd-{next(_numbers):x}",
            peer=transport.getPeer(),
            hostname=self._server.hostname,
            delivery=_NOWHERE,
            dialect=self.registry,
            limits=self.limits,
            replies=self.replies,
            checks=_NO_CHECKS,
            security=_SECURITY,
            clock=self.reactor,
        )
        session.annotations[_SERVER] = self._server
        if transport.encrypted:
            session.encrypted(TLS.of(transport.getHandle()))
        return session

    def receive(self, session: Session) -> None:
        """There is no portal."""

    def admit(self, protocol: Connection) -> Reply | None:
        """Count *protocol* in, or say why it has to go."""
        connections = _engines.setdefault(self._server.loop, weakref.WeakSet())
        connections.add(protocol)
        return self.replies.too_many_connections if len(connections) > self.limits.connections else None

    def release(self, protocol: Connection) -> None:
        """*protocol* is gone."""
        _engines[self._server.loop].discard(protocol)


_SERVER = "aiosmtpd"
_NOWHERE, _NO_CHECKS, _SECURITY = Nowhere(), Checks(), Security()


@lru_cache(64)
def _registry(names: tuple[str, ...]) -> Registry:
    """The table of servers that have methods for these verbs."""
    return Registry(map(_verb, names), load_extensions(["enhancedstatuscodes"]))


def _verb(name: str) -> Verb[str | None]:
    return Verb(
        name=name,
        syntax=name,
        help=name,
        parse=lambda _, argument: argument or None,
        run=partial(_run, name),
        idle=name in IDLE,
        ends=name == "QUIT",
        octets=LINE,
    )


def _run(name: str, session: Session, argument: str | None) -> Later[Outcome]:
    server: Server = session.annotations[_SERVER]
    return server._run(name, argument)


class Engine(SMTPProtocol):
    """Our protocol, for one server of aiosmtpd's."""

    __slots__ = ("_leaving", "_outcome", "_server", "_sweeper", "_task", "_turn", "_written")

    transport: Any

    def __init__(self, server: "Server", limits: Limits) -> None:
        super().__init__()
        self._server = server
        self.factory = Shared(server, limits)
        self._task: asyncio.Task[None] | None = None
        #: Fires when the method that runs wants something, or has ended.
        self._turn: Deferred[Outcome] | None = None
        #: What is to be done when it has ended.
        self._outcome: Outcome = ()
        #: Is done when the client reads its replies again.
        self._written: asyncio.Future[None] | None = None
        self._leaving = False
        self._sweeper: asyncio.TimerHandle | None = None

    # --- methods that run -------------------------------------------------------------------------------------

    def run(self, coroutine: Coroutine[Any, Any, None]) -> Later[Outcome]:
        """Run *coroutine*, a method, as a task."""
        self._outcome = ()
        turn = self._next_turn()
        self._task = self._server.loop.create_task(bridged(coroutine, self._server.loop))
        self._task.add_done_callback(self._ended)
        return turn

    def _next_turn(self) -> "Deferred[Outcome]":
        self._turn = Deferred(lambda _: self._cancel())
        return self._turn

    def _ended(self, task: "asyncio.Task[None]") -> None:
        turn, self._turn, self._task = self._turn, None, None
        error = CancelledError() if task.cancelled() else task.exception()
        if self._leaving:
            self.leave("said QUIT")
        if turn is None or turn.called:
            return
        if error is not None:
            turn.errback(Failure(error))
        else:
            turn.callback(self._outcome)

    def _cancel(self) -> None:
        """Nobody waits for the method any more. One that ends the connection by itself is let to its end."""
        if self._task is not None and self._task is not asyncio.current_task(self._server.loop):
            self._task.cancel()

    async def exchange(self, want: Callable[[Callable[[Any], Later[Outcome]]], Outcome]) -> Any:
        """Have the protocol do something for the method that runs, and wait for the answer.

        :param want: makes the outcome, of the function that is to be given the answer.
        """
        answer = self._server.loop.create_future()

        def give(value: Any) -> Later[Outcome]:
            if not answer.done():
                answer.set_result(value)
            return self._next_turn()

        turn, self._turn = self._turn, None
        if turn is None or turn.called or self._closing_since is not None:
            raise ConnectionResetError("Connection lost")
        turn.callback(want(give))
        return await answer

    def leave_at_last(self) -> None:
        """End the connection when the method that runs has ended, which has said so."""
        self._leaving = True

    def finally_do(self, outcome: Outcome) -> None:
        """Do this when the method that runs has ended."""
        self._outcome = outcome

    # --- octets -----------------------------------------------------------------------------------------------

    def say(self, octets: bytes) -> None:
        """Send a reply, as it is.

        :raises ConnectionResetError: there is nobody who reads it.
        """
        if not self.connected:
            raise ConnectionResetError("Connection lost")
        if self._closing_since is not None:
            return
        self._out.append(octets)
        self.flush()
        if octets[:1] in (b"4", b"5"):
            self._count_error()

    async def written(self) -> None:
        """Wait until the client reads its replies."""
        if self.paused:
            self._written = self._written or self._server.loop.create_future()
            await self._written

    def resumeProducing(self) -> None:
        """The client has read its replies."""
        self._let_write()
        super().resumeProducing()

    def _let_write(self) -> None:
        written, self._written = self._written, None
        if written is not None and not written.done():
            written.set_result(None)

    def lineReceived(self, line: bytes) -> None:
        """One command line, without its CRLF."""
        if self._asked is not None:
            self._give_answer(self._asked, line)
            return
        server = self._server
        sanitized_log(log.debug, "_handle_client readline: %r", line + b"\r\n")
        sanitized_log(log.info, "%r >> %r", server._peer, line)
        self._carry_out_of(partial(self._command, line))

    def _command(self, line: bytes) -> Later[Outcome]:
        name, argument = read_command(line, self._server)
        if not self._server._calls.spend(name):
            log.warning("%r over limit for %s", self._server._peer, name)
            return Close(Reply(421, "4.7.0", f"{name} sent too many times"))
        verb = self.factory.registry.verbs.get(name)
        if verb is None:
            self._unrecognized(name)
            return ()
        if verb.idle:
            self.session.count_idle_command()
        return verb.run(self.session, argument)

    def _unrecognized(self, name: str) -> None:
        log.warning("%r unrecognised: %s", self._server._peer, name)
        counts = self.session.counts
        counts.unknown_commands += 1
        if name in self.session.limits.not_smtp:
            self.close(self.factory.replies.not_smtp)
        elif counts.unknown_commands >= self.session.limits.unknown_commands:
            self.close(self.factory.replies.too_many_unknown)
        elif name == BDAT.name:  # its octets are no commands
            self.close(self.factory.replies.not_implemented.fill(verb=name))
        else:
            self._say(Reply(500, "", f'Error: command "{name}" not recognized'))

    # --- the beginning and the end ----------------------------------------------------------------------------

    def take(self, wire: Wire) -> None:
        """There is a connection, *wire*."""
        make_connection: Callable[[Any], None] = self.makeConnection
        make_connection(wire)

    def connectionMade(self) -> None:
        """There is a client."""
        super().connectionMade()
        self._sweep_again()

    def _sweep_again(self) -> None:
        limits = self.factory.limits
        interval = min(10.0, max(0.05, min(limits.idle_time, limits.handshake_time) / 10))
        self._sweeper = self._server.loop.call_later(interval, self._sweep)

    def _sweep(self) -> None:
        self._sweep_again()
        self.sweep(self.seconds())

    def close(self, reply: Reply, *, linger: bool = True) -> None:
        """Say *reply*, and end the connection. One that is idle is told nothing, as the original has it."""
        if reply is self.factory.replies.idle_timeout:
            log.info("%r connection timeout", self._server._peer)
            self.leave(str(reply))
        else:
            super().close(reply, linger=linger)

    def leave(self, reason: str) -> None:
        """End the connection without a word."""
        if self._closing_since is None:
            self.flush()
            self._give_up(reason)
            self.transport.unregisterProducer()
        self.transport.loseConnection()
        self._server._is_over()

    def _give_up(self, reason: str) -> None:
        super()._give_up(reason)
        self._cancel()

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        """The connection is gone, whoever ended it. What is to be said of it goes to the log of `logging`."""
        self.connected = 0
        if self._closing_since is None:
            self._give_up(printable(why_lost(reason, handshake=self._handshake_since is not None)))
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._let_write()
        self.factory.release(self)


_: type[Intake] = Incoming

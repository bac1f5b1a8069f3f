"""Connections: what a channel is, but for its commands."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from twistsmtp.compat.methods import Engine, House, Words
from twistsmtp.compat.smtpd.dispatcher import Dispatcher
from twistsmtp.compat.smtpd.loops import add, in_loop, remove
from twistsmtp.compat.smtpd.values import DATA_SIZE_DEFAULT, __version__, debug, package
from twistsmtp.delivery.nowhere import Nowhere
from twistsmtp.eager import EagerServer
from twistsmtp.later import Later, then
from twistsmtp.limits import Limits
from twistsmtp.verb import Outcome
from twistsmtp.wire.dotstream import DotStream
from twistsmtp.wire.grammar import GrammarError
from twistsmtp.wire.reply import Catalogue, Refusal, Reply
from twistsmtp.wire.text import printable

if TYPE_CHECKING:
    from twistsmtp.compat.smtpd.server import SMTPServer

__all__ = ["REPLIES", "Channel"]


class Incoming:
    """The octets of a message behind DATA: an `Intake`. They are kept, as the program wants them all.

    :param size: octets that there may be.
    :param answer: is told when all has come.
    """

    def __init__(self, limits: Limits, size: int, answer: Callable[["Incoming"], Later[Outcome]]) -> None:
        self._size = size
        self._stream = DotStream(limits.bare_newline, limits.message_line)
        self._answer = answer
        self._pieces: list[bytes] = []
        self._count = 0
        #: What is to be said of it, if it is refused.
        self.fault = ""
        self.reply: Reply | None = None
        self.waiting: Deferred[None] | None = None

    def feed(self, data: bytes, start: int) -> int:
        """Take *data* from *start* on; see `Intake`."""
        octets, end = self._stream.feed(data, start)
        self._count += len(octets)
        self._pieces.append(octets)
        if not self.fault:
            self.fault = self._look()
        if self.fault:
            self._pieces.clear()
            if self._count > 2 * self._size + PATIENCE:
                raise Refusal(Reply(552, "", TOO_MUCH))
        return end

    def _look(self) -> str:
        """What is wrong with it by now."""
        if self._count > self._size:
            return f"552 {TOO_MUCH}"
        if self._stream.line_too_long:
            return "554 Error: A line of the message is too long"
        return f"550 Error: The message has a bare {self._stream.bare_newline}" if self._stream.bare_newline else ""

    def end(self) -> Later[Outcome]:
        """All has come; see `Intake`."""
        return self._answer(self)

    def take(self) -> bytes:
        """The message."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


class _Replies(Catalogue):
    """The original has one text for all that is no command."""

    __slots__ = ()

    def of_grammar(self, error: GrammarError) -> Reply:
        """What to say when a line is no command."""
        return Reply(500, "", "Error: bad syntax")


REPLIES = _Replies(line_too_long=Reply(500, "", "Error: line too long"))

#: Octets of a command line, without its CRLF; MAIL may have more, for what EHLO offers.
LINE = 512
#: The greatest message where there is no limit, and octets, past twice as many as there may be, that are read of one
#: that is too big before the connection ends.
CEILING = PATIENCE = 1024 * 1024 * 1024
TOO_MUCH = "Error: Too much mail data"
#: Characters of a command that is not known, in the reply.
SHOWN = 100

_NOWHERE = Nowhere()


class Channel(Dispatcher):
    """A connection of *server*.

    :param conn: its socket.
    :param addr: the client's address.
    :param data_size_limit: octets of a message; ``None`` or 0 for the most that there can be.
    :param map: where `loop` finds the connection.
    :raises ValueError: both *enable_SMTPUTF8* and *decode_data*.
    """

    COMMAND = 0
    DATA = 1

    command_size_limit = LINE
    _terminator: Any = b"\r\n"

    def __init__(  # noqa: PLR0917  # as in the original
        self,
        server: "SMTPServer",
        conn: Any,
        addr: Any,
        data_size_limit: int | None = DATA_SIZE_DEFAULT,
        map: dict[int, Any] | None = None,
        enable_SMTPUTF8: bool = False,
        decode_data: bool = False,
    ) -> None:
        self._take_options(data_size_limit, map, enable_SMTPUTF8, decode_data)
        self.smtp_server = server
        self.conn = self.socket = conn
        self.addr = addr
        #: Octets that the line of a command may have, where it is not `command_size_limit`.
        self.command_size_limits: dict[str, int] = defaultdict(lambda: self.command_size_limit)
        self._set_rset_state()
        self.seen_greeting = ""
        self.extended_smtp = False
        self.fqdn: str = package().socket.getfqdn()
        try:
            self.peer = conn.getpeername()
        except OSError:  # the client is gone again
            conn.close()
            return
        debug("Peer:", repr(self.peer))
        self._connect(conn)

    def _connect(self, conn: Any) -> None:
        from twisted.internet import reactor

        house: House = getattr(self.smtp_server, "_house", None) or House(Limits(), Words(REPLIES))
        engine: Any = Engine(self, house, cast(IReactorTime, reactor), self.fqdn, _NOWHERE)
        self._engine: Engine = engine
        self._descriptor = conn.fileno()
        self._transport = EagerServer(conn, self._engine, self.peer, None, self._descriptor, reactor)
        self._sweeper: Any = None
        self.connected = True
        #: What was raised while the program reads by hand.
        self._raised: list[BaseException] | None = None
        add(self._map, self._descriptor, self)
        engine.makeConnection(self._transport)
        self._sweep()

    def _sweep(self) -> None:
        if self._engine.connected:
            self._sweeper = self._engine.session.clock.callLater(10, self._sweep)
            self._engine.sweep(self._engine.seconds())

    # --- what is known of the connection ---------------------------------------------------------------------

    @property
    def max_command_size_limit(self) -> int:
        """Octets of the longest command line that there may be."""
        return max(self.command_size_limits.values(), default=self.command_size_limit)

    def _set_post_data_state(self) -> None:
        """There is no mail any more."""
        self.smtp_state: Any = self.COMMAND
        self.mailfrom: str | None = None
        self.rcpttos: list[str] = []
        self.mail_options: list[str] = []
        self.rcpt_options: list[str] = []
        self.require_SMTPUTF8 = False

    def _set_rset_state(self) -> None:
        """There is no mail any more, nor anything of the last one."""
        self._set_post_data_state()
        self.received_data: str | bytes = ""
        self.received_lines: list[Any] = []

    # --- what is said, and the end ---------------------------------------------------------------------------

    def push(self, msg: str | bytes) -> None:
        """Say *msg*, a line of a reply without its CRLF. With a hyphen behind its code, another is to follow."""
        text = msg.decode("utf-8", "backslashreplace") if isinstance(msg, bytes) else msg
        for line in text.splitlines() or [""]:
            octets = line.encode() if self.require_SMTPUTF8 and line.isprintable() else printable(line).encode()
            self._engine.put(octets + b"\r\n")

    def close_when_done(self) -> None:
        """End the connection when everything is sent."""
        in_loop(self._transport.reactor, self._engine.leave)

    def close(self) -> None:
        """End the connection, as `close_when_done` does: what has been said is sent."""
        self.close_when_done()

    def handle_close(self) -> None:
        """The connection is gone: for programs to override."""

    def handle_read(self) -> None:
        """Read what has come. Who calls it is told by what it raises that a method of the program has failed."""
        raised: list[BaseException] = []
        self._raised = raised
        self._transport.doRead()
        self._raised = None
        if raised:
            raise raised[0]

    def set_terminator(self, term: Any) -> None:
        """Have the next octets be a message, up to *term*, ``b"\\r\\n.\\r\\n"``: for a ``smtp_DATA`` of a program's."""
        self._terminator = term
        if term == b"\r\n.\r\n":
            limits = self._engine.session.limits
            self._engine.outcome(Incoming(limits, self.data_size_limit or CEILING, self._message_came))

    def get_terminator(self) -> Any:
        """What the next octets end with."""
        return self._terminator if self.smtp_state == self.DATA else b"\r\n"

    # --- what the engine asks --------------------------------------------------------------------------------

    def _attend(self, reactor: Any) -> None:
        """It has been since there was a connection."""

    def _find(self, name: str) -> Callable[[str], object] | None:
        method = getattr(self, f"smtp_{name}", None)
        return None if method is None else lambda argument: self._call(method, argument or None)

    def _call(self, method: Callable[[str | None], object], argument: str | None) -> object:
        try:
            return method(argument)
        except Exception as error:
            self._fail(error)
            raise

    def _fail(self, error: BaseException) -> None:
        """A method of the program has raised *error*, which is the one that is handled."""
        self.handle_error()
        if self._raised is not None:
            self._raised.append(error)

    def _names(self) -> Iterator[str]:
        return (name[5:] for name in dir(self) if name.startswith("smtp_") and name[5:].isupper())

    def _allowance(self, name: str) -> int:
        limit = self.command_size_limits[name] if self.extended_smtp else self.command_size_limit
        return limit + 2 - self._engine.session.limits.command_line

    def _unknown(self, name: str) -> None:
        self.push(f'500 Error: command "{printable(name, SHOWN)}" not recognized')

    def _greet(self) -> None:
        self.push(f"220 {self.fqdn} {__version__}")

    def _answer(self, reply: Reply) -> None:
        *lines, last = reply.text.split("\n")
        for line in lines:
            self.push(f"{reply.code}-{line}")
        self.push(f"{reply.code} {last}")

    def _line(self, line: bytes) -> None:
        debug("Data:", repr(line))
        if self.smtp_state == self.COMMAND:
            self._engine.command(line)
        else:
            self.push("451 Internal confusion")

    def _encrypt(self) -> None:
        """Nothing is known any more."""
        self._set_rset_state()
        self.seen_greeting, self.extended_smtp = "", False

    def _lost(self) -> None:
        """The connection is gone."""
        self.connected = False
        if self._sweeper is not None and self._sweeper.active():
            self._sweeper.cancel()
        remove(self._map, self._descriptor, self)
        self.handle_close()

    # --- messages --------------------------------------------------------------------------------------------

    def _message_came(self, message: Incoming) -> Later[Outcome]:
        try:
            later: Later[Outcome] = then(self._processed(message), self._over)
        except Exception as error:
            self._set_post_data_state()
            self._fail(error)
            raise
        return later.addErrback(self._failed) if isinstance(later, Deferred) else later

    def _processed(self, message: Incoming) -> Later[str | None]:
        """What the server says of *message*."""
        if message.fault:
            return message.fault
        octets = message.take().removesuffix(b"\r\n").replace(b"\r\n", b"\n")
        try:
            self.received_data = octets.decode() if self._decode_data else octets
        except UnicodeDecodeError:
            return "554 Error: The message is not UTF-8"
        options = {"mail_options": self.mail_options, "rcpt_options": self.rcpt_options}
        arguments = (self.peer, self.mailfrom, self.rcpttos, self.received_data)
        process: Callable[..., Any] = getattr(self.smtp_server, "_process", self.smtp_server.process_message)
        answer: Later[str | None] = process(*arguments, **({} if self._decode_data else options))
        return answer

    def _failed(self, failure: Failure) -> Failure:
        self._set_post_data_state()
        try:
            failure.raiseException()
        except Exception as error:
            self._fail(error)
        return failure

    def _over(self, status: str | None) -> Outcome:
        """The message has ended, and *status* is what to say."""
        accepted = not status or status[:1] == "2"
        self._engine.session.counts.message(accepted=accepted)
        self._set_post_data_state()
        self.push(status or "250 OK")
        return ()

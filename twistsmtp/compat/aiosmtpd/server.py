"""What a server is, but for its commands: its settings, its hooks, and its connection."""

import asyncio
import inspect
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, NamedTuple, cast
from warnings import warn

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from twistsmtp.compat.aiosmtpd import __version__, _get_or_new_eventloop
from twistsmtp.compat.aiosmtpd.budget import CALL_LIMIT_DEFAULT, CallLimits, LineSizes
from twistsmtp.compat.aiosmtpd.engine import CEILING, Engine
from twistsmtp.compat.aiosmtpd.header import Header
from twistsmtp.compat.aiosmtpd.proxy_protocol import get_proxy
from twistsmtp.compat.aiosmtpd.values import MISSING, Envelope, Session, TLSSetupException, log
from twistsmtp.compat.aiosmtpd.wire import Wire, bridged, facts_of
from twistsmtp.later import Later
from twistsmtp.limits import Limits
from twistsmtp.verb import Outcome
from twistsmtp.wire.dotstream import BareNewline
from twistsmtp.wire.text import printable

__all__ = ["BOGUS_LIMIT", "CALL_LIMIT_DEFAULT", "DATA_SIZE_DEFAULT", "Server"]

__ident__ = f"Python SMTP {__version__}"

#: Commands that are not recognized, until the connection ends.
BOGUS_LIMIT = 5
#: The greatest message.
DATA_SIZE_DEFAULT = 2**25

#: What an exception is answered by: its text is for the log.
LOCAL_ERROR = "451 4.3.0 Requested action aborted: local error in processing"

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_LINE = rb"[^\x00-\x1f\x7f]*"
_LINES = re.compile(
    rb"(?P<code>\d{3})-%(line)b(?:\r\n(?P=code)-%(line)b)*\r\n(?P=code)(?: %(line)b)?" % {b"line": _LINE}
)


class _Mechanism(NamedTuple):
    method: Callable[..., Awaitable[Any]]
    is_builtin: bool


def login_always_fail(mechanism: str, login: bytes, password: bytes) -> bool:
    """What lets nobody in."""
    return False


class Server(asyncio.Protocol):
    """What `smtp.SMTP` is, but for its commands. It has that class's parameters."""

    command_size_limit = 512
    command_size_limits: MutableMapping[str, int] = LineSizes(command_size_limit)
    #: Octets of a line in a message, with its CRLF and with the dot that stuffing adds.
    line_length_limit = 1001
    #: Characters of an address in front of its last ``@``; 0 for any number.
    local_part_limit = 0

    #: What of several lines `push` lets through: one reply.
    several_lines = _LINES
    #: These are there from the time on that there is a connection.
    session: Session
    envelope: Envelope
    _engine: Engine
    _writer: Wire

    def __init__(
        self,
        handler: Any,
        *,
        data_size_limit: int | None = DATA_SIZE_DEFAULT,
        enable_SMTPUTF8: bool = False,
        decode_data: bool = False,
        hostname: str | None = None,
        ident: str | None = None,
        tls_context: ssl.SSLContext | None = None,
        require_starttls: bool = False,
        timeout: float = 300,
        auth_required: bool = False,
        auth_require_tls: bool = True,
        auth_exclude_mechanism: Iterable[str] | None = None,
        auth_callback: Callable[[str, bytes, bytes], Any] | None = None,
        command_call_limit: int | dict[str, int] | None = None,
        authenticator: Callable[..., Any] | None = None,
        proxy_protocol_timeout: float | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not (data_size_limit is None or isinstance(data_size_limit, int)):
            raise TypeError("data_size_limit is a number of octets, or None")
        if not (tls_context is None or isinstance(tls_context, ssl.SSLContext)):
            raise TypeError(f"tls_context is an ssl.SSLContext, not {tls_context!r}")
        self.__ident__ = ident or __ident__
        self.loop = loop or _get_or_new_eventloop()
        self.event_handler = handler
        self.data_size_limit = data_size_limit
        self.enable_SMTPUTF8 = enable_SMTPUTF8
        self.command_size_limits = LineSizes(self.command_size_limit)
        self.hostname = hostname or socket.getfqdn()
        self.tls_context = tls_context
        self.require_starttls: Any = tls_context and require_starttls
        self.transport: asyncio.Transport | None = None
        self._decode_data = decode_data
        self._timeout_duration = timeout
        self._tls_handshake_okay = True
        self._auth_require_tls = auth_require_tls
        self._auth_required = auth_required
        self._authenticator = authenticator
        self._auth_callback = auth_callback or login_always_fail
        self._proxy_timeout = proxy_protocol_timeout
        self._header: Header | None = None
        self._header_task: asyncio.Task[None] | None = None
        #: Is cancelled when the connection is over, or about to be.
        self._handler_coroutine: asyncio.Future[None] | None = None
        self._raised_mail_size = False
        #: Replies that were said, where somebody counts them.
        self._said = 0
        self._peer: Any = None
        self._warn_of_settings()
        self._find_methods(auth_exclude_mechanism or ())
        self._calls = CallLimits(command_call_limit)
        self.session, self.envelope = cast(Session, None), cast(Envelope, None)

    def _warn_of_settings(self) -> None:
        context, timeout = self.tls_context, self._proxy_timeout
        if context and context.verify_mode not in {ssl.CERT_NONE, ssl.CERT_OPTIONAL}:
            log.warning(
                "tls_context.verify_mode not in {CERT_NONE, CERT_OPTIONAL}; this might cause client connection problems"
            )
        elif context and context.check_hostname:
            log.warning("tls_context.check_hostname == True; this might cause client connection problems")
        if self._auth_required and not self._auth_require_tls:
            warn("Requiring AUTH while not requiring TLS can lead to security vulnerabilities!", stacklevel=4)
            log.warning("auth_required == True but auth_require_tls == False")
        if timeout is not None and timeout <= 0:
            raise ValueError("proxy_protocol_timeout must be > 0")
        if timeout is not None and timeout < 3:
            log.warning("proxy_protocol_timeout < 3.0")

    def _find_methods(self, excluded: Iterable[str]) -> None:
        handler = self.event_handler
        self._auth_methods = {
            getattr(method, "__auth_mechanism_name__", name.removeprefix("auth_").replace("__", "-")): _Mechanism(
                method, whose is self
            )
            for whose in (self, handler)
            for name, method in _methods(whose, "auth_")
        }
        for each in excluded:
            self._auth_methods.pop(each, None)
        names = (f"{name}(builtin)" if it.is_builtin else name for name, it in sorted(self._auth_methods.items()))
        log.info("Available AUTH mechanisms: %s", " ".join(names))
        self._handle_hooks = {name.removeprefix("handle_"): hook for name, hook in _methods(handler, "handle_")}
        self._smtp_methods = {name.removeprefix("smtp_"): method for name, method in _methods(self, "smtp_")}
        self._ehlo_hook_is_old = self._has_old_ehlo_hook()

    def _has_old_ehlo_hook(self) -> bool:
        hook = self._handle_hooks.get("EHLO")
        count = 5 if hook is None else len(inspect.signature(hook).parameters)
        if count not in (4, 5):
            raise RuntimeError("Unsupported EHLO Hook")
        if count == 4:
            warn(
                "Use the 5-argument handle_EHLO() hook instead of the 4-argument handle_EHLO() hook; "
                "support for the 4-argument handle_EHLO() hook will be removed in version 2.0",
                DeprecationWarning,
                stacklevel=4,
            )
        return count == 4

    @property
    def _call_limit_default(self) -> int:
        return self._calls.default

    # --- what programs override -------------------------------------------------------------------------------

    def _create_session(self) -> Session:
        return Session(self.loop)

    def _create_envelope(self) -> Envelope:
        return Envelope()

    async def push(self, status: str | bytes) -> None:
        """Say *status*, a line without its CRLF, and wait until the client reads.

        A control character in it is escaped: it may be a client's text. What is well-formed as a reply of several lines
        is let through as it is.
        """
        octets = status.encode("utf-8" if self.enable_SMTPUTF8 else "ascii") if isinstance(status, str) else status
        assert isinstance(octets, bytes), f"a hook has answered {status!r}, which is no reply"
        if _CONTROL.search(octets) and not self.several_lines.fullmatch(octets):
            octets = printable(octets.decode("latin-1")).encode("ascii")
        log.debug("%r << %r", self._peer, octets)
        self._engine.say(octets + b"\r\n")
        await self._engine.written()

    async def handle_exception(self, error: Exception) -> str:
        """What to say when a method has raised *error*: what the handler says, or that it is our fault."""
        hook = getattr(self.event_handler, "handle_exception", None)
        if hook is not None:
            return cast(str, await hook(error))
        log.error("%r SMTP session exception", self._peer, exc_info=error)
        return LOCAL_ERROR

    async def check_helo_needed(self, helo: str = "HELO") -> bool:
        """Whether the client has still to greet, and was told so."""
        if self.session.host_name:
            return False
        await self.push(f"503 Error: send {helo} first")
        return True

    async def check_auth_needed(self, caller_method: str) -> bool:
        """Whether the client has still to authenticate, and was told so."""
        if not self._auth_required or self.session.authenticated:
            return False
        log.info("%s: Authentication required", caller_method)
        await self.push("530 5.7.0 Authentication required")
        return True

    @property
    def max_command_size_limit(self) -> int:
        """Octets of the longest command line that there may be."""
        return max(self.command_size_limits.values(), default=self.command_size_limit)

    async def _call_handler_hook(self, command: str, *args: object) -> Any:
        hook = self._handle_hooks.get(command)
        if hook is None:
            return MISSING
        status = hook(self, self.session, self.envelope, *args)
        return await status if hasattr(status, "__await__") else status

    def _set_post_data_state(self) -> None:
        self.envelope = self._create_envelope()

    def _set_rset_state(self) -> None:
        self._set_post_data_state()

    # --- commands ---------------------------------------------------------------------------------------------

    def _run(self, name: str, argument: str | None) -> Later[Outcome]:
        """Call the method of a command. It is for the engine."""
        return self._engine.run(self._carry_out(self._smtp_methods[name], argument))

    async def _carry_out(self, method: Callable[..., Awaitable[None]], argument: str | None) -> None:
        try:
            await method(argument)
        except ConnectionResetError:
            log.info("%r Connection lost during _handle_client()", self._peer)
            self._engine.leave("connection lost")
        except Exception as error:
            await self._failed(error)

    async def _failed(self, error: Exception) -> None:
        try:
            status = await self.handle_exception(error)
        except Exception:
            log.exception("%r Exception in handle_exception()", self._peer)
            status = LOCAL_ERROR
        if not isinstance(error, TLSSetupException):
            await self.push(status)

    # --- the connection ---------------------------------------------------------------------------------------

    def _limits(self) -> Limits:
        return Limits(
            command_line=max(self.line_length_limit, self.max_command_size_limit + 2),
            message_size=self.data_size_limit or CEILING,
            message_line=max(self.line_length_limit - 2, 1),
            bare_newline=BareNewline.ACCEPT,
            unknown_commands=BOGUS_LIMIT,
            idle_time=self._timeout_duration,
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's word that there is a client. Called again when TLS stands, as with the original: what was said in
        plain text is forgotten."""
        self.transport = cast(asyncio.Transport, transport)
        self._set_rset_state()
        self.session = self._create_session()
        self._peer = self.session.peer = transport.get_extra_info("peername")
        self.session.ssl = facts_of(transport)
        if getattr(self, "_writer", None) is not None:
            hook = self._handle_hooks.get("STARTTLS")
            self._tls_handshake_okay = True if hook is None else hook(self, self.session, self.envelope)
            return
        log.info("Peer: %r", self._peer)
        self._handler_coroutine = self.loop.create_future()
        self._writer = Wire(self.transport, self, self.loop)
        self._engine = Engine(self, self._limits())
        if self._proxy_timeout is None:
            self._begin(b"")
        else:
            self._header = Header()
            self._header_task = self.loop.create_task(bridged(self._read_header(self._header), self.loop))

    def _begin(self, octets: bytes) -> None:
        log.info("%r handling connection", self._peer)
        self._engine.take(self._writer)
        if octets:
            self._engine.dataReceived(octets)

    async def _read_header(self, header: Header) -> None:
        """Wait for what a proxy says, and ask the handler whether it may."""
        try:
            data = await asyncio.wait_for(get_proxy(header), self._proxy_timeout)
            self.session.proxy_data = data
            log.info("%r %s PROXY handshake", self._peer, "valid" if data else "invalid")
            status = await self._call_handler_hook("PROXY", data) if data else False
        except Exception as error:
            log.warning("%r PROXY handshake failed: %r", self._peer, error)
            status = False
        self._header = self._header_task = None
        if status is MISSING or not status:
            log.info("%r rejected by handle_PROXY", self._peer)
            self._writer.close()
            self._is_over()
        elif self.transport is not None:
            self._begin(header.rest())

    def data_received(self, data: bytes) -> None:
        """asyncio's word that octets came."""
        if self._writer.expects_tls:
            return  # plain text behind STARTTLS, whoever has slipped it in
        if self._writer.early is not None:
            self._writer.early.append(data)
        elif self._header is not None:
            if not self._header.feed(data):
                self._writer.close()
        elif self._engine.connected:
            self._engine.dataReceived(data)

    def eof_received(self) -> bool:
        """asyncio's word that the client has closed its side. Under TLS that is the end of the connection."""
        log.info("%r EOF received", self._peer)
        if self.session.ssl is not None:
            return False
        if not self._engine.connected:  # still at the header of a proxy
            return False
        self._engine.readConnectionLost()
        return True

    def pause_writing(self) -> None:
        """asyncio's word that the client does not read."""
        if self._writer.producer is not None:
            self._writer.producer.pauseProducing()

    def resume_writing(self) -> None:
        """asyncio's word that the client reads again."""
        if self._writer.producer is not None:
            self._writer.producer.resumeProducing()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's word that the connection is gone."""
        if self.transport is None:
            return
        log.info("%r connection lost", self._peer)
        self.transport = None
        self._writer.close()
        self._is_over()
        if self._header_task is not None:
            self._header_task.cancel()
        if self._engine.connected:
            self._engine.connectionLost(Failure(ConnectionDone() if exc is None else ConnectionLost(str(exc))))

    def _is_over(self) -> None:
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()

    def _tls_stands(self, transport: asyncio.Transport, early: bytes) -> None:
        """TLS has begun, and *early* has come by it."""
        try:
            self.connection_made(transport)
        except Exception as error:
            self._tls_failed(error)
            return
        self._engine.handshakeCompleted()
        if early:
            self._engine.dataReceived(early)
        self._engine.go_on()

    def _tls_failed(self, error: Exception) -> None:
        """TLS could not begin."""
        failure = TLSSetupException()
        failure.__cause__ = error
        task = self.loop.create_task(bridged(self._failed(failure), self.loop))
        task.add_done_callback(lambda _: self._writer.abortConnection())


def _methods(of: object, prefix: str) -> list[tuple[str, Any]]:
    return [(name, getattr(of, name)) for name in dir(of) if name.startswith(prefix)]

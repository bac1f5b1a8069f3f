"""The server, which programs subclass and hand to ``loop.create_server``, and what hooks are given.

A hook owns what it is asked about: where the handler has one, HELO and EHLO do not set ``session.host_name``, MAIL not
``envelope.mail_from``, and RCPT does not add to ``envelope.rcpt_tos``.
"""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast
from warnings import warn

from twistsmtp.compat.aiosmtpd import __version__
from twistsmtp.compat.aiosmtpd.authentication import Authentication
from twistsmtp.compat.aiosmtpd.engine import TOO_MUCH, Incoming
from twistsmtp.compat.aiosmtpd.lines import ALLOWED_BEFORE_STARTTLS, behind_keyword, read_address, read_parameters
from twistsmtp.compat.aiosmtpd.proxy_protocol import ProxyData  # noqa: F401  # programs look for it here
from twistsmtp.compat.aiosmtpd.server import (
    BOGUS_LIMIT,
    CALL_LIMIT_DEFAULT,
    DATA_SIZE_DEFAULT,
    __ident__,
    login_always_fail,  # noqa: F401
)
from twistsmtp.compat.aiosmtpd.values import (
    MISSING,
    AuthResult,
    Envelope,
    LoginPassword,
    Session,
    TLSSetupException,
    _Missing,
    auth_mechanism,
    log,
    sanitize,
    sanitized_log,
    syntax,
)
from twistsmtp.verb import BeginTLS

__all__ = [
    "ALLOWED_BEFORE_STARTTLS",
    "BOGUS_LIMIT",
    "CALL_LIMIT_DEFAULT",
    "DATA_SIZE_DEFAULT",
    "MISSING",
    "SMTP",
    "AuthCallbackType",
    "AuthMechanismType",
    "AuthResult",
    "AuthenticatorType",
    "Envelope",
    "LoginPassword",
    "Session",
    "TLSSetupException",
    "__ident__",
    "__version__",
    "auth_mechanism",
    "sanitize",
    "sanitized_log",
    "syntax",
]

AuthCallbackType = Callable[[str, bytes, bytes], bool]
AuthenticatorType = Callable[["SMTP", Session, Envelope, str, Any], AuthResult]
AuthMechanismType = Callable[["SMTP", list[str]], Awaitable[Any]]
_TriStateType = None | _Missing | bytes

OK = "250 OK"
MALFORMED = "553 5.1.3 Error: malformed address"
PARAMETERS = " [SP <mail-parameters>]"


class SMTP(Authentication):
    """The server's side of one connection, a protocol of asyncio's.

    :param handler: has hooks, ``handle_X``, and perhaps mechanisms, ``auth_X``.
    :param data_size_limit: octets of a message. ``None`` announces no limit; there is one of a gibibyte all the same.
    :param enable_SMTPUTF8: whether addresses, and replies, may be in UTF-8.
    :param decode_data: whether handlers are given messages as text.
    :param hostname: the name that the server goes by; by default the machine's own.
    :param ident: what stands behind it in the greeting.
    :param tls_context: for STARTTLS; without one it is not offered.
    :param require_starttls: whether nothing of importance may be said before it.
    :param timeout: seconds that a client may be idle.
    :param auth_required: whether mail is taken from those who have authenticated only.
    :param auth_require_tls: whether that may be done under TLS only.
    :param auth_exclude_mechanism: those that are not offered.
    :param auth_callback: asked whether the mechanism, the name and the password are right.
    :param authenticator: the same, with an `AuthResult`; it is given the server, the session, the envelope, the
        mechanism, and what that has brought.
    :param command_call_limit: how often each command may be given, in all or by its name.
    :param proxy_protocol_timeout: seconds to wait for the header of the PROXY protocol; ``None`` where there is none.
    :param loop: whose transport it will be given; by default that of this thread.
    :raises TypeError: an argument is of the wrong type.
    :raises ValueError: the timeout is not more than 0.
    """

    # --- greeting ---------------------------------------------------------------------------------------------

    @syntax("HELO hostname")
    async def smtp_HELO(self, hostname: str | None) -> None:
        """HELO."""
        if not hostname:
            await self.push("501 Syntax: HELO hostname")
            return
        self._set_rset_state()
        self.session.extended_smtp = False
        status = await self._call_handler_hook("HELO", hostname)
        if status is MISSING:
            self.session.host_name = hostname
            status = f"250 {self.hostname}"
        await self.push(status)

    @syntax("EHLO hostname")
    async def smtp_EHLO(self, hostname: str | None) -> None:
        """EHLO."""
        if not hostname:
            await self.push("501 Syntax: EHLO hostname")
            return
        self._set_rset_state()
        self.session.extended_smtp = True
        self._raise_mail_size()
        lines = [f"250-{self.hostname}", *(f"250-{each}" for each in self._keywords())]
        hook: Any = getattr(self, "ehlo_hook", None)
        if hook is not None:
            warn("Use handler.handle_EHLO() instead of .ehlo_hook()", DeprecationWarning, stacklevel=1)
            await hook()
        if "EHLO" not in self._handle_hooks:
            self.session.host_name = hostname
            lines.append("250 HELP")
        elif self._ehlo_hook_is_old:  # it has the last word, after all the others
            for each in lines:
                await self.push(each)
            lines = [await self._call_handler_hook("EHLO", hostname)]
        else:
            lines = await self._call_handler_hook("EHLO", hostname, [*lines, "250 HELP"])
        for each in lines:
            await self.push(each)

    def _keywords(self) -> list[str]:
        offered = {
            f"SIZE {self.data_size_limit}": self.data_size_limit,
            "8BITMIME": not self._decode_data,
            "SMTPUTF8": self.enable_SMTPUTF8,
            "STARTTLS": self.tls_context and self.session.ssl is None,
            " ".join(["AUTH", *sorted(self._auth_methods)]): self._auth_methods
            and (not self._auth_require_tls or self.session.ssl is not None),
        }
        return [keyword for keyword, is_offered in offered.items() if is_offered]

    def _raise_mail_size(self) -> None:
        """What EHLO offers makes MAIL longer, once."""
        if not self._raised_mail_size:
            self._raised_mail_size = True
            self.command_size_limits["MAIL"] += 26 * bool(self.data_size_limit) + 10 * self.enable_SMTPUTF8

    @syntax("STARTTLS", when="tls_context")
    async def smtp_STARTTLS(self, arg: str | None) -> None:
        """STARTTLS. TLS begins when this has ended."""
        if arg:
            await self.push("501 Syntax: STARTTLS")
        elif self.tls_context is None:
            await self.push("454 TLS not available")
        elif self.session.ssl is not None:
            await self.push("503 5.5.1 TLS has begun already")
        else:
            await self.push("220 Ready to start TLS")
            self._engine.finally_do(BeginTLS(None, cast(Any, self.tls_context)))

    # --- what the methods of programs may call, or override --------------------------------------------------

    _strip_command_keyword = staticmethod(behind_keyword)
    _getparams = staticmethod(read_parameters)

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        return read_address(arg, self.local_part_limit)

    def _reset_timeout(self, duration: float | None = None) -> None:
        """The client has its time anew. It has so in any case when a method has ended, however long that took."""
        self._engine.last_heard = self._engine.seconds()

    # --- a mail -----------------------------------------------------------------------------------------------

    async def _read_path(self, keyword: str, arg: str | None, usage: str) -> tuple[str, list[str]] | None:
        """The address and the parameters, in upper case, of MAIL and RCPT; ``None`` where the client was refused."""
        path = None if arg is None else self._strip_command_keyword(keyword, arg)
        address, rest = ("", "") if path is None else self._getaddr(path)
        if address is None:
            await self.push(MALFORMED)
        elif not address or (rest and not self.session.extended_smtp):
            await self.push(usage)
        else:
            return address, (rest or "").upper().split()
        return None

    @syntax("MAIL FROM: <address>", extended=PARAMETERS)
    async def smtp_MAIL(self, arg: str | None) -> None:
        """MAIL."""
        if await self.check_helo_needed() or await self.check_auth_needed("MAIL"):
            return
        usage = "501 Syntax: MAIL FROM: <address>" + PARAMETERS * self.session.extended_smtp
        path = await self._read_path("FROM:", arg, usage)
        if path is None:
            return
        address, options = path
        if self.envelope.mail_from:
            await self.push("503 Error: nested MAIL command")
            return
        refusal = self._read_mail_options(options, usage)
        if refusal:
            await self.push(refusal)
            return
        status = await self._call_handler_hook("MAIL", address, options)
        if status is MISSING:
            self.envelope.mail_from = address
            self.envelope.mail_options.extend(options)
            status = OK
        log.info("%r sender: %s", self._peer, address)
        await self.push(status)

    def _read_mail_options(self, options: Sequence[str], usage: str) -> str:
        """Why *options* are not taken; empty where they are."""
        values = self._getparams(options)
        if values is None:
            return usage
        if not self._decode_data and values.pop("BODY", "7BIT") not in ("7BIT", "8BITMIME"):
            return "501 Error: BODY can only be one of 7BIT, 8BITMIME"
        is_utf8, size = values.pop("SMTPUTF8", False), values.pop("SIZE", None)
        if not isinstance(is_utf8, bool):
            return "501 Error: SMTPUTF8 takes no arguments"
        if is_utf8 and not self.enable_SMTPUTF8:
            return "501 Error: SMTPUTF8 disabled"
        self.envelope.smtp_utf8 = is_utf8
        if size is not None:
            if isinstance(size, bool) or not (size.isascii() and size.isdigit()):
                return usage
            if self.data_size_limit and int(size) > self.data_size_limit:
                return "552 Error: message size exceeds fixed maximum message size"
        return "555 MAIL FROM parameters not recognized or not implemented" if values else ""

    @syntax("RCPT TO: <address>", extended=PARAMETERS)
    async def smtp_RCPT(self, arg: str | None) -> None:
        """RCPT."""
        if await self.check_helo_needed() or await self.check_auth_needed("RCPT"):
            return
        if not self.envelope.mail_from:
            await self.push("503 Error: need MAIL command")
            return
        usage = "501 Syntax: RCPT TO: <address>" + PARAMETERS * self.session.extended_smtp
        path = await self._read_path("TO:", arg, usage)
        if path is None:
            return
        address, options = path
        if options:
            malformed = self._getparams(options) is None
            await self.push(usage if malformed else "555 RCPT TO parameters not recognized or not implemented")
            return
        if len(self.envelope.rcpt_tos) >= self._engine.session.limits.recipients:
            await self.push("452 4.5.3 Too many recipients in one transaction")
            return
        status = await self._call_handler_hook("RCPT", address, options)
        if status is MISSING:
            self.envelope.rcpt_tos.append(address)
            self.envelope.rcpt_options.extend(options)
            status = OK
        log.info("%r recip: %s", self._peer, address)
        await self.push(status)

    @syntax("DATA")
    async def smtp_DATA(self, arg: str | None) -> None:
        """DATA."""
        if await self.check_helo_needed() or await self.check_auth_needed("DATA"):
            return
        if not self.envelope.rcpt_tos:
            await self.push("503 Error: need RCPT command")
            return
        if arg:
            await self.push("501 Syntax: DATA")
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        limits = self._engine.session.limits
        message: Incoming = await self._engine.exchange(lambda answer: Incoming(limits, answer))
        recipients, said = len(self.envelope.rcpt_tos), self._said
        status = await self._take(message)
        if status is not MISSING:
            self._set_post_data_state()
            await self._answer(status, recipients - (self._said - said))
            self._engine.session.counts.message(accepted=status[:1] in ("2", b"2"))

    async def _answer(self, status: str | bytes, count: int) -> None:
        """Say what became of a message. LMTP says it for each of so many recipients."""
        await self.push(status)

    async def _take(self, message: Incoming) -> Any:
        """The reply to *message*; ``MISSING`` where that was given, and the envelope is still open."""
        if message.fault:
            return str(TOO_MUCH) if message.fault == "size" else "500 Line too long (see RFC5321 4.5.3.1.6)"
        octets = self.envelope.original_content = message.take()
        content: bytes | str = octets
        if self._decode_data:
            try:
                utf8 = self.enable_SMTPUTF8
                content = octets.decode("utf-8" if utf8 else "ascii", "surrogateescape" if utf8 else "strict")
            except UnicodeDecodeError:
                await self.push("500 Error: strict ASCII mode")
                return MISSING
        self.envelope.content = content
        status = await (self._call_handler_hook("DATA") if "DATA" in self._handle_hooks else self._process_message())
        return OK if status is MISSING else status

    async def _process_message(self) -> Any:
        """Give the message to a handler that is older than hooks are."""
        process: Any = getattr(self.event_handler, "process_message", None)
        if process is None:
            return MISSING
        warn("Use handler.handle_DATA() instead of .process_message()", DeprecationWarning, stacklevel=1)
        envelope = self.envelope
        status = process(self.session.peer, envelope.mail_from, envelope.rcpt_tos, envelope.content)
        if inspect.isawaitable(status):
            status = await status
        return MISSING if status is None else status

    # --- the others -------------------------------------------------------------------------------------------

    @syntax("RSET")
    async def smtp_RSET(self, arg: str | None) -> None:
        """RSET."""
        if arg:
            await self.push("501 Syntax: RSET")
            return
        self._set_rset_state()
        hook: Any = getattr(self, "rset_hook", None)
        if hook is not None:
            warn("Use handler.handle_RSET() instead of .rset_hook()", DeprecationWarning, stacklevel=1)
            await hook()
        status = await self._call_handler_hook("RSET")
        await self.push(OK if status is MISSING else status)

    @syntax("NOOP [ignored]")
    async def smtp_NOOP(self, arg: str | None) -> None:
        """NOOP."""
        status = await self._call_handler_hook("NOOP", arg)
        await self.push(OK if status is MISSING else status)

    @syntax("QUIT")
    async def smtp_QUIT(self, arg: str | None) -> None:
        """QUIT. The connection ends when this has."""
        if arg:
            await self.push("501 Syntax: QUIT")
            return
        status = await self._call_handler_hook("QUIT")
        await self.push("221 Bye" if status is MISSING else status)
        self._engine.leave_at_last()

    @syntax("HELP [command]")
    async def smtp_HELP(self, arg: str | None) -> None:
        """HELP."""
        if await self.check_auth_needed("HELP"):
            return
        method = self._smtp_methods.get(arg.upper()) if arg else None
        if method is not None and self._syntax_available(method):
            extended = method.__smtp_syntax_extended__ if self.session.extended_smtp else None
            await self.push(f"250 Syntax: {method.__smtp_syntax__}{extended or ''}")
            return
        names = sorted(name for name, each in self._smtp_methods.items() if self._syntax_available(each))
        await self.push(f"{501 if arg else 250} Supported commands: {' '.join(names)}")

    def _syntax_available(self, method: Any) -> bool:
        """Whether HELP tells of *method*."""
        if not hasattr(method, "__smtp_syntax__"):
            return False
        when = method.__smtp_syntax_when__
        return bool(getattr(self, when)) if when else True

    @syntax("VRFY <address>")
    async def smtp_VRFY(self, arg: str | None) -> None:
        """VRFY."""
        if await self.check_auth_needed("VRFY"):
            return
        if not arg:
            await self.push("501 Syntax: VRFY <address>")
            return
        address, _ = self._getaddr(arg)
        if address is None:
            await self.push(f"502 Could not VRFY {arg}")
            return
        status = await self._call_handler_hook("VRFY", address)
        await self.push(
            "252 Cannot VRFY user, but will accept message and attempt delivery" if status is MISSING else status
        )

    async def smtp_EXPN(self, arg: str | None) -> None:
        """EXPN."""
        await self.push("502 EXPN not implemented")

"""The values that handlers and hooks are given, and the two decorators."""

import asyncio
import enum
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, AnyStr, NamedTuple, TypeVar

if TYPE_CHECKING:
    from twistsmtp.compat.aiosmtpd.proxy_protocol import ProxyData

__all__ = [
    "MISSING",
    "AuthResult",
    "Envelope",
    "LoginPassword",
    "Session",
    "TLSSetupException",
    "auth_mechanism",
    "log",
    "sanitize",
    "sanitized_log",
    "syntax",
]

F = TypeVar("F", bound=Callable[..., Any])

#: What the original logs to, and programs listen to.
log = logging.getLogger("mail.log")

_MECHANISM_NAME = re.compile(r"[A-Z0-9_-]+")
#: AUTH with an initial response, which is likely to be a password.
_SECRET = re.compile(rb"(\s*AUTH\s+\S+[^\S\r\n]+)\S[^\r\n]*", re.IGNORECASE)


class _Missing(enum.Enum):
    MISSING = object()


#: "There is no such hook", or "no answer".
MISSING = _Missing.MISSING


@dataclass(kw_only=True)
class AuthResult:
    """What came of an authentication."""

    success: bool
    #: Whether everything was said already. Of interest where it was no success.
    handled: bool = True
    #: The reply in place of the usual one.
    message: str | None = None
    #: What is to be known of the user; `LoginPassword` for the built-in mechanisms.
    auth_data: Any = field(default=None, repr=False)

    def __repr__(self) -> str:
        return (
            f"AuthResult(success={self.success!r}, handled={self.handled!r}, message={self.message!r}, auth_data=...)"
        )


class LoginPassword(NamedTuple):
    """What PLAIN and LOGIN have brought. The password is in no `repr`."""

    login: bytes
    password: bytes

    def __str__(self) -> str:
        return f"LoginPassword(login={self.login.decode(errors='backslashreplace')!r}, password=...)"

    def __repr__(self) -> str:
        return str(self)


class Session:
    """One connection, as hooks see it; another one when TLS begins."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        #: As the socket says: ``("192.0.2.1", 4711)``, or four of them for IPv6.
        self.peer: Any = None
        #: What asyncio knows of the encryption: ``ssl_object``, ``cipher``, ``peercert`` ...; ``None`` without.
        self.ssl: dict[str, Any] | None = None
        #: The name in HELO or EHLO.
        self.host_name: str | None = None
        #: Whether that was EHLO.
        self.extended_smtp = False
        self.loop = loop
        #: What came in front, by the PROXY protocol.
        self.proxy_data: ProxyData | None = None
        self._login_data: Any = None
        #: What the authenticator has brought.
        self.auth_data: Any = None
        #: Whether the client has authenticated.
        self.authenticated: bool | None = None

    @property
    def login_data(self) -> Any:
        """Whom the client has authenticated as; `auth_data` has taken its place."""
        _warn_of_login_data()
        return self._login_data

    @login_data.setter
    def login_data(self, value: Any) -> None:
        _warn_of_login_data()
        self._login_data = value


def _warn_of_login_data() -> None:
    log.warning("Session.login_data is deprecated and will be removed in version 2.0")


class Envelope:
    """One mail, as hooks see it."""

    def __init__(self) -> None:
        self.mail_from: str | None = None
        #: The parameters of MAIL, in upper case.
        self.mail_options: list[str] = []
        self.smtp_utf8 = False
        #: The message: text where the server was made with ``decode_data=True``.
        self.content: bytes | str | None = None
        self.original_content: bytes | None = None
        self.rcpt_tos: list[str] = []
        self.rcpt_options: list[str] = []


class TLSSetupException(Exception):
    """The client was told to begin TLS, and could not."""


def syntax(text: str, extended: str | None = None, when: str | None = None) -> Callable[[F], F]:
    """For a method ``smtp_X``: what HELP says about it.

    :param extended: what is added behind EHLO.
    :param when: the attribute of the server that says whether HELP lists the command.
    """

    def decorate(function: F) -> F:
        vars(function).update(__smtp_syntax__=text, __smtp_syntax_extended__=extended, __smtp_syntax_when__=when)
        return function

    return decorate


def auth_mechanism(actual_name: str) -> Callable[[F], F]:
    """For a method ``auth_X``: what the mechanism is called, if not X.

    :raises ValueError: a mechanism has letters, digits, hyphens and underscores in its name.
    """
    name = actual_name.upper()
    if not _MECHANISM_NAME.fullmatch(name):
        raise ValueError(f"Invalid AUTH mechanism name: {name}")

    def decorate(function: F) -> F:
        vars(function)["__auth_mechanism_name__"] = name
        return function

    return decorate


def sanitize(text: bytes) -> bytes:
    """A command line without the secret behind AUTH."""
    return _SECRET.sub(rb"\1********", text, count=1) if _SECRET.match(text) else text


def sanitized_log(func: Callable[..., None], msg: AnyStr, *args: object, **kwargs: Any) -> None:
    """Call *func*, a method of a logger, without secrets."""
    func(msg, *[sanitize(each) if isinstance(each, bytes) else each for each in args], **kwargs)

"""The contract of a SASL mechanism (RFC 4422), seen from the server.

A mechanism is a generator. It knows nothing of sockets, of SMTP or of time: it yields a step, and is sent what came
of it::

    def plain(context: Context) -> Exchange:
        message = yield from ask()
        authorization, username, password = message.split(b"\\0")
        yield from log_in(UsernamePassword(username, password), username.decode())

When it returns, the client is who it says it is; then it must have yielded a `Login`. To end the exchange otherwise
it raises a `SASLError`. So a mechanism is tested by sending octets into it, and works for any protocol that has SASL.
"""

import re
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from twisted.cred.credentials import ICredentials
from zope.interface.interface import InterfaceClass

from twistsmtp.sasl.credentials import ScramKeys

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = [
    "Challenge",
    "Context",
    "Denied",
    "Exchange",
    "Login",
    "Lookup",
    "Malformed",
    "Mechanism",
    "SASLError",
    "ask",
    "log_in",
    "look_up",
]


class SASLError(Exception):
    """The exchange has failed. The text never holds a secret, and is not shown to the client."""


class Malformed(SASLError):
    """What the client sent is not what the mechanism has at this point."""


class Denied(SASLError):
    """The credentials are not right. It is thrown into the mechanism at its `Login`, and may be raised by it, too."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """Send *octets* (not encoded in any way), and wait for the client's response, which is sent back."""

    octets: bytes
    #: They only prompt: a client that knows what is wanted need not wait for them.
    prompt: bool = False

    @property
    def awaited(self) -> bool:
        """Whether the client can answer only when it has seen them.

        If not, and they are the first, the response may have come with the command (RFC 4422 section 3); and they are
        not sent then.
        """
        return bool(self.octets) and not self.prompt


@dataclass(frozen=True, slots=True)
class Lookup:
    """Ask the checker for the keys of *username*: a `ScramKeys` is sent back, a decoy where there is no such user.

    :param digest: ``"sha-1"`` or ``"sha-256"``.
    """

    username: str
    digest: str


@dataclass(frozen=True, slots=True)
class Login:
    """Have *credentials* checked. ``None`` is sent back if they are right, and `Denied` thrown if not.

    :param identity: whom the client acts as from then on: the authorization identity. Where it is ``None`` the checker
        finds out, and leaves it in the credentials' ``username`` (see `IBearerToken`).
    :param authentication: whose credentials they are, where that is somebody else (proxy authorization, RFC 4422
        section 3.4.1); whether that may be is not the mechanism's affair.
    """

    credentials: ICredentials
    identity: str | None
    authentication: str | None = None


#: A mechanism at work.
Exchange: TypeAlias = Generator[Challenge | Lookup | Login, Any, None]


def ask(octets: bytes = b"", *, prompt: bool = False) -> Generator[Challenge, bytes, bytes]:
    """Send a challenge; the value is the client's response. See `Challenge`."""
    return (yield Challenge(octets, prompt))


def look_up(username: str, digest: str) -> Generator[Lookup, ScramKeys, ScramKeys]:
    """Ask for keys; see `Lookup`."""
    return (yield Lookup(username, digest))


def log_in(
    credentials: ICredentials, identity: str | None, authentication: str | None = None
) -> Generator[Login, None, None]:
    """Have *credentials* checked; see `Login`.

    :raises Denied: they are not right.
    """
    yield Login(credentials, identity, authentication)


def _no_binding(name: str) -> bytes | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a mechanism may know of the connection that it works for."""

    #: The server's name, as in its greeting.
    hostname: str
    #: The octets of the channel binding of that name (``"tls-exporter"``, ``"tls-server-end-point"``), or ``None``
    #: where the channel has none of it (RFC 5056). Where there is any, a client that says that it could bind to the
    #: channel but that the server cannot is refused (RFC 5802 section 6): a server that does not offer the mechanisms
    #: that bind must have none here.
    binding: Callable[[str], bytes | None] = _no_binding
    #: The certificate of the client, verified; ``None`` if it gave none.
    certificate: "Certificate | None" = None


_NAME = re.compile(r"[A-Z0-9_-]{1,20}")


def _everywhere(context: Context) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """A mechanism as a server lists it.

    :raises ValueError: the name is none by RFC 4422 section 3.1, which has only capitals, digits, ``-`` and ``_``.
    """

    #: As on the wire (RFC 4422 section 3.1), ``"PLAIN"``.
    name: str
    #: Begins an exchange.
    start: Callable[[Context], Exchange]
    #: The interface of the credentials that it ends in: it is offered where a checker can check these.
    interface: InterfaceClass
    #: Whether it can be used on a connection; else it is not offered there.
    usable: Callable[[Context], bool] = _everywhere
    #: Of the keys that it looks up: it is offered where the checker has such keys, if that says which it has (as
    #: ``scram_digests``).
    digest: str | None = None

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None:
            raise ValueError(f"not a mechanism's name: {self.name!r}")

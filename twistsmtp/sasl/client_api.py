"""The contract of a SASL mechanism (RFC 4422), seen from the client.

A mechanism is a generator, as on the server's side: it yields a response (``None`` where the server speaks first), and
is sent the challenge that follows. When the server says that we are in, it is sent ``None``; one that has not seen all
by then, as a server's proof that it knows us, raises `Failed`::

    def login(credentials, context):
        yield from respond(None)
        yield from respond(credentials.username.encode())
        yield credentials.password.encode()
"""

from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["NAMES", "ClientContext", "ClientMechanism", "Credentials", "Failed", "Responses", "respond"]

#: The mechanisms that a client has here, the strongest first.
NAMES = (
    "EXTERNAL",
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-1-PLUS",
    "SCRAM-SHA-256",
    "SCRAM-SHA-1",
    "OAUTHBEARER",
    "XOAUTH2",
    "CRAM-MD5",
    "PLAIN",
    "LOGIN",
)


class Failed(Exception):
    """The server has not behaved as the mechanism has it. The text holds no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who we are to a server. No secret is in its ``repr``.

    :raises ValueError: there is a password and a token; or a text has a character that no SASL mechanism can send.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    #: Of OAuth 2 (RFC 6750), in place of a password.
    token: str = field(default="", repr=False)
    #: Whom we act as, where that is somebody else (RFC 4422 section 3.4.1).
    authorization: str = ""
    #: The only mechanisms that may be used, the best first; all that fit where there are none here.
    mechanisms: tuple[str, ...] = ()
    #: Whether a mechanism that shows the server the secret may be used where the server is not known to be the right
    #: one: without TLS, or with a certificate that was not verified.
    plaintext: bool = False

    def __post_init__(self) -> None:
        if self.password and self.token:
            raise ValueError("a password or a token, not both")
        if self.password and not self.username:
            raise ValueError("a password needs a username")
        for name in ("username", "password", "token", "authorization"):
            text = getattr(self, name)
            if any(ord(each) < 32 or ord(each) == 127 for each in text) or not _is_utf8(text):
                raise ValueError(f"the {name} has a character that cannot be sent")
        if not (self.token.isascii() and " " not in self.token):
            raise ValueError("the token has a character that cannot be sent")
        for name in self.mechanisms:
            if name.upper() not in NAMES:
                raise ValueError(f"no mechanism {name!r}; there are {', '.join(NAMES)}")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _no_binding(name: str) -> bytes | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientContext:
    """What a mechanism may know of the connection that it works for."""

    host: str = ""
    port: int = 0
    #: Whether the connection is encrypted, and the server has shown that it is who we mean.
    verified: bool = False
    #: Whether we have shown a certificate.
    certificate: bool = False
    #: The octets of the channel binding of that name, or ``None`` (RFC 5056).
    binding: Callable[[str], bytes | None] = _no_binding
    #: What the server offers.
    offered: Collection[str] = ()


#: A mechanism at work.
Responses: TypeAlias = Generator[bytes | None, bytes | None, None]


def respond(octets: bytes | None) -> Generator[bytes | None, bytes | None, bytes]:
    """Send a response that is not the last; the value is the challenge that follows.

    :raises Failed: the server takes it for the last.
    """
    challenge = yield octets
    if challenge is None:
        raise Failed("the server lets us in before it has shown who it is")
    return challenge


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientMechanism:
    """A mechanism as a client knows it."""

    name: str
    start: Callable[[Credentials, ClientContext], Responses]
    #: Whether the credentials are of the kind that it has, and the connection has what it needs.
    fits: Callable[[Credentials, ClientContext], bool]
    #: Whether it shows the server the secret itself.
    plaintext: bool = False
    #: Whether its steps take long enough to be taken in a thread.
    slow: bool = False

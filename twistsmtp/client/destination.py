"""Where to send, and how: all that one connection is made by, as one value."""

import socket
from dataclasses import dataclass, field

from twistsmtp.client.timeouts import Timeouts
from twistsmtp.client.tls import ClientTLS, TLSMode
from twistsmtp.sasl.client_api import Credentials
from twistsmtp.wire.grammar import GrammarError, parse_hello

__all__ = ["Destination"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A server, and how it is spoken to. Two that are equal share connections.

    :raises ValueError: it makes no sense; the text says why, in one line.
    """

    #: A name or an address; also what a certificate has to be for.
    host: str = ""
    port: int = 25
    #: The path of a UNIX socket, in place of host and port.
    path: str = ""
    tls: ClientTLS = field(default_factory=ClientTLS)
    credentials: Credentials | None = None
    #: Whether it is LMTP (RFC 2033) that is spoken.
    lmtp: bool = False
    #: What the client calls itself: a domain, or an address literal; the name of this machine where it is empty.
    hostname: str = ""
    #: Whether messages go by BDAT (RFC 3030) where that is offered; else they do only where nothing else will do.
    chunking: bool = True
    timeouts: Timeouts = field(default_factory=Timeouts)

    def __post_init__(self) -> None:
        if bool(self.host) == bool(self.path):
            raise ValueError("a destination is a host, or the path of a UNIX socket")
        if not 0 < self.port < 65536:
            raise ValueError(f"a port is 1 to 65535, not {self.port}")
        if self.path and self.tls.mode.verifies:
            raise ValueError("there is no TLS on a UNIX socket")
        if self.path and self.tls.mode is TLSMode.OPPORTUNISTIC:
            object.__setattr__(self, "tls", ClientTLS(TLSMode.NONE))
        if not self.host.isprintable() or "\0" in self.path:
            raise ValueError("a host or a path has no control characters")
        if self.hostname:
            object.__setattr__(self, "hostname", parse_hello(self.hostname))

    @property
    def own_name(self) -> str:
        """What is said in EHLO."""
        return self.hostname or _name_of_this_machine()

    def __str__(self) -> str:
        """For people: no secret is in it."""
        return self.path or (f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}")


def _name_of_this_machine() -> str:
    """As it knows itself: to ask DNS would take time."""
    try:
        return parse_hello(socket.gethostname())
    except GrammarError:
        return "localhost"

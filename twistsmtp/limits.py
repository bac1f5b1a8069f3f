"""What one client, and all of them together, may ask of the server. No limit is optional; all have a default."""

from dataclasses import dataclass, field, fields
from math import inf

from twistsmtp.wire.dotstream import BareNewline
from twistsmtp.wire.grammar import PathLimits

__all__ = ["Limits"]

#: Browsers, proxies and scanners that were pointed at a mail server: nothing sensible can follow.
HTTP_METHODS = frozenset({"GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "CONNECT", "PATCH", "TRACE", "PRI"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a server, shared by its connections.

    :raises ValueError: a limit is not positive.
    """

    #: Octets of a command line with its CRLF (RFC 5321 section 4.5.3.1.4); an extension's parameters add to it.
    command_line: int = 512
    #: Octets of paths and their parts (RFC 5321 sections 4.5.3.1.1 to 4.5.3.1.3).
    path: PathLimits = field(default_factory=PathLimits)
    #: Octets of a message, without the dots that stuffing adds (RFC 1870 section 3).
    message_size: int = 32 * 1024 * 1024
    #: Octets of a line in a message. RFC 5321 says 998 and deployed mail often disagrees.
    message_line: int = 1024 * 1024
    #: What becomes of a bare CR or LF in a message.
    bare_newline: BareNewline = BareNewline.REFUSE
    #: Received fields that make a message a loop (RFC 5321 section 6.3).
    hops: int = 100
    #: Recipients of a transaction (RFC 5321 section 4.5.3.1.8: at least 100).
    recipients: int = 1000
    #: Messages in one connection.
    messages: int = 100_000
    #: Commands answered by a 4xx or 5xx since the last message that was accepted.
    errors: int = 200
    #: Commands that are not recognized, in one connection.
    unknown_commands: int = 10
    #: Commands that move no mail (NOOP, RSET, VRFY, ...) since the last message that was accepted.
    idle_commands: int = 100
    #: Credentials that are not right, in one connection.
    auth_failures: int = 5
    #: Credentials that are not right, from one client address in all its connections; the count halves every half
    #: hour.
    auth_failures_per_client: int = 50
    #: Seconds that the first failure costs; each that follows costs twice as much. Alone of all limits it may be 0,
    #: for tests that are not to wait.
    auth_delay: float = 1.0
    #: The most seconds that a failure costs.
    auth_delay_most: float = 16.0
    #: Command names that end the connection at once.
    not_smtp: frozenset[str] = HTTP_METHODS
    #: Connections in all.
    connections: int = 5000
    #: Connections from one client address.
    connections_per_client: int = 100
    #: Seconds without a whole command from the client, or without an octet of its message (RFC 5321 section 4.5.3.2.7:
    #: at least 5 minutes).
    idle_time: float = 300.0
    #: Seconds that a delivery or policy may take for one answer; it is cancelled then, and the client told 451.
    answer_time: float = 600.0
    #: Seconds for the whole of a message's DATA.
    data_time: float = 3600.0
    #: Octets a second that a message must come in at, on the average of a window.
    data_rate: int = 100
    #: Seconds of that window.
    data_window: float = 120.0
    #: Seconds for a TLS handshake.
    handshake_time: float = 30.0
    #: Seconds that the greeting is held back where talking before it is refused.
    greeting_delay: float = 0.5
    #: Octets kept of a client that sends faster than its commands are carried out.
    buffered: int = 64 * 1024

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "auth_delay" and value == 0:
                continue
            if isinstance(value, (int, float)) and not (0 < value < inf):
                raise ValueError(f"{each.name} must be more than 0, and have an end, not {value}")

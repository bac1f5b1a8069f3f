"""How long a client waits for what (RFC 5321 section 4.5.3.2)."""

from dataclasses import dataclass, field, fields

from twisted.internet.defer import Deferred

from twistsmtp.wire.reply import Reply

__all__ = ["Awaited", "Timeouts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds. The defaults are the least that the RFC has; where it has none, what is usual.

    :raises ValueError: one is not positive: none of them can be turned off.
    """

    #: For all of it until mail can be sent: connection, greeting, EHLO, TLS, AUTH together. The RFC has no such time.
    opening: float = 900.0
    #: For a connection, the look-up of the name included.
    connect: float = 30.0
    #: For a handshake of TLS.
    handshake: float = 30.0
    #: For the greeting (section 4.5.3.2.1).
    greeting: float = 300.0
    #: For MAIL and RCPT (4.5.3.2.2, 4.5.3.2.3), and for other commands.
    command: float = 300.0
    #: For the reply to DATA (4.5.3.2.4).
    data: float = 120.0
    #: For room for the next octets of a message (4.5.3.2.5).
    block: float = 180.0
    #: For the reply to a message (4.5.3.2.6).
    end: float = 600.0
    #: For the replies to QUIT and RSET, which nothing depends on. A server of ours that ends waits for it.
    quit: float = 5.0

    def __post_init__(self) -> None:
        for each in fields(self):
            if not getattr(self, each.name) > 0:
                raise ValueError(f"{each.name} must be more than 0, not {getattr(self, each.name)}")

    def of(self, step: str) -> float:
        """What the reply to *step* may take."""
        match step:
            case "DATA":
                return self.data
            case "end of message":
                return self.end
            case "BDAT":
                return self.end
            case "QUIT" | "RSET":
                return self.quit
        return self.command


@dataclass(slots=True, eq=False)
class Awaited:
    """A reply that has to come."""

    #: What it is to.
    step: str
    #: How long it may take from when it is its turn.
    seconds: float
    #: Whether it is the reply to a whole message: without it, nobody knows what became of that.
    ends: bool = False
    #: Whether nothing may come behind it, as what is in plain text behind STARTTLS's reply is nobody's word.
    alone: bool = False
    reply: Deferred[Reply] = field(default_factory=Deferred)

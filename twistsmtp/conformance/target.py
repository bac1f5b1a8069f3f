"""What is judged, and how to talk to it."""

import enum
from dataclasses import dataclass

__all__ = ["Security", "Target"]


class Security(enum.Enum):
    """How a connection is encrypted."""

    NONE = "none"
    #: By STARTTLS (RFC 3207).
    STARTTLS = "starttls"
    #: From the first octet on (RFC 8314).
    IMPLICIT = "implicit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server.

    :param sender: for MAIL, without brackets.
    :param recipient: for RCPT, without brackets: one that the server takes mail for.
    :param name: for EHLO; ``None`` for the address literal of the client.
    :param user: who to authenticate as; ``None`` for nobody.
    :param always: whether mail is taken from those alone who have authenticated. Else that is done only where a check
        is about it: to verify a password may cost the server a tenth of a second.
    :param timeout: seconds that one answer may take.
    :param patience: seconds that all of one check may take.
    """

    host: str
    port: int
    sender: str = "conformance@example.com"
    recipient: str = "postmaster"
    name: str | None = None
    security: Security = Security.NONE
    lmtp: bool = False
    user: str | None = None
    password: str = ""
    always: bool = False
    timeout: float = 5.0
    patience: float = 20.0

    @property
    def hello(self) -> str:
        """The verb that greets."""
        return "LHLO" if self.lmtp else "EHLO"

    @property
    def sender_domain(self) -> str:
        """The domain of the sender."""
        return self.sender.rpartition("@")[2]

    def __repr__(self) -> str:  # which would show the password
        return f"<Target {self.host}:{self.port}>"

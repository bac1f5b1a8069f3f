"""What the connections of a factory share, as a connection sees it."""

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.interfaces import IReactorTime

from twistsmtp.later import Later
from twistsmtp.limits import Limits
from twistsmtp.session import Session
from twistsmtp.verb import Registry
from twistsmtp.wire.reply import Catalogue, Reply

if TYPE_CHECKING:
    from twistsmtp.connection import Connection

__all__ = ["Shared"]


class Shared(Protocol):
    """What the connections of a factory share, as a connection sees it."""

    registry: Registry
    limits: Limits
    replies: Catalogue
    #: The greeting, filled.
    greeting: Reply
    strict_greeting: bool

    def new_session(self, transport: Any, address: Any) -> Session:
        """A session for the connection of *transport*, with *address*."""
        ...

    def receive(self, session: Session) -> Later[None]:
        """Find out what becomes of the mail of a client that has not authenticated."""
        ...

    def admit(self, protocol: "Connection") -> Reply | None:
        """Count *protocol* in, or say why it has to go."""
        ...

    def release(self, protocol: "Connection") -> None:
        """*protocol* is gone."""
        ...

    @property
    def reactor(self) -> IReactorTime:
        """The clock."""
        ...

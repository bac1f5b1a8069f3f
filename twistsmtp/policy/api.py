"""The contract of a policy: one method for each phase of a session, each free to refuse.

Policies run in the order in which they are listed, before the verb does its work: a method that returns lets the
command pass on to the next one. To refuse, raise `Refusal`. A method may answer at once, with a Deferred, or be
``async def``. What one learns, it leaves in ``session.annotations`` for those behind it. Those notes outlive STARTTLS,
as what is known of the client's address does; what came of EHLO is to be written anew when EHLO comes again.
"""

from typing import Protocol

from twistsmtp.envelope import Envelope, Recipient, ReversePath
from twistsmtp.later import Later
from twistsmtp.session import Phase, Session

__all__ = ["Phase", "Policy"]


class Policy(Protocol):
    """Subclass this and write the phases that you care for; one that is not written costs nothing."""

    def connect(self, session: Session) -> Later[None]:
        """A client connected, and is not greeted yet. A refusal is the greeting, and ends the connection."""
        return None

    def hello(self, session: Session, name: str) -> Later[None]:
        """HELO or EHLO gave *name*."""
        return None

    def auth(self, session: Session, identity: str) -> Later[None]:
        """The client proved that it is *identity*."""
        return None

    def mail(self, session: Session, reverse_path: ReversePath) -> Later[None]:
        """MAIL asks for a transaction."""
        return None

    def rcpt(self, session: Session, recipient: Recipient) -> Later[None]:
        """RCPT adds *recipient* to the open transaction."""
        return None

    def data(self, session: Session, envelope: Envelope) -> Later[None]:
        """The message is about to come."""
        return None

    def message(self, session: Session, envelope: Envelope) -> Later[None]:
        """The message has come, whole and well-formed, and is about to be committed."""
        return None

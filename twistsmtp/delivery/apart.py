"""Recipients that do not share a message, where SMTP has one reply for all of them.

Some deliveries learn only at a message's end who has it, and of each recipient by itself. A client of LMTP is told all
of that. A client of SMTP is told one thing, and takes it to be said of all: it sends again to those who have the
message, or reports as lost what was delivered.

Who prefers that nothing is doubled has such a delivery take one verdict for a message: a recipient that could have
another one is refused with 452 4.5.3, and the client sends the message to it by itself (RFC 5321 section 4.5.3.1.10).
Nobody has that unasked: a server is to take 100 recipients (section 4.5.3.1.8), and not every client sends again.

Recipients that stand for the one of a RCPT, as those of an alias do, share a message: the client knows of one.
"""

from twistsmtp.delivery.api import Refusal, Session

__all__ = ["Apart"]


class Apart:
    """Keeps recipients apart in one transaction. Over LMTP it does not, as there each is told of by itself.

    :param wanted: whether it does so at all.
    """

    def __init__(self, session: Session, *, wanted: bool = True) -> None:
        self._session = session
        self._wanted = wanted and not session.lmtp
        #: Which RCPT brought the first.
        self._first: int | None = None

    def check(self) -> None:
        """Somebody is to be taken who has a verdict of their own.

        :raises Refusal: 452 4.5.3: another RCPT has brought somebody.
        """
        transaction = self._session.transaction
        if not self._wanted or self._first is None or transaction is None:
            return
        if transaction.recipients and transaction.asked != self._first:
            raise Refusal(self._session.replies.too_many_recipients)

    def taken(self) -> None:
        """Somebody has been taken."""
        if self._first is None and self._session.transaction is not None:
            self._first = self._session.transaction.asked

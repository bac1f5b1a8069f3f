"""What became of a message: the far side's word for each recipient."""

from collections.abc import Sequence
from dataclasses import dataclass

from twistsmtp.wire.grammar import Mailbox
from twistsmtp.wire.reply import Reply

__all__ = ["Result", "Verdict", "first_temporary"]


def first_temporary(replies: Sequence[Reply]) -> Reply:
    """Of *replies* that all refuse, the one for all: whoever is told it does not give up a recipient that has hope."""
    return next((each for each in replies if each.temporary), replies[0])


@dataclass(frozen=True, slots=True)
class Verdict:
    """The far side's word for one recipient."""

    recipient: Mailbox
    #: To RCPT where that was refused, else to the message.
    reply: Reply

    @property
    def accepted(self) -> bool:
        """Whether the far side has taken the message for this recipient."""
        return self.reply.code < 300

    @property
    def temporary(self) -> bool:
        """Whether the same may succeed later."""
        return self.reply.temporary


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a message that was accepted for at least one recipient."""

    #: In the order of the recipients.
    verdicts: Sequence[Verdict]

    @property
    def accepted(self) -> tuple[Verdict, ...]:
        """Of those who get it."""
        return tuple(each for each in self.verdicts if each.accepted)

    @property
    def refused(self) -> tuple[Verdict, ...]:
        """Of those who do not."""
        return tuple(each for each in self.verdicts if not each.accepted)

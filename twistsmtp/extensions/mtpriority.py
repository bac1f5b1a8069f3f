"""MT-PRIORITY (RFC 6710): how urgent a message is, from -9 to 9.

Anybody may ask for less urgency than usual. More of it is granted to clients that have authenticated, and to those of
LMTP, which are servers that have asked their own; for others it would be a way to get in front of all other mail.
"""

import re
from dataclasses import dataclass

from twistsmtp.envelope import Parameter
from twistsmtp.session import Session
from twistsmtp.verb import Extension, honoured
from twistsmtp.wire.grammar import GrammarError
from twistsmtp.wire.reply import Reply

__all__ = ["MT_PRIORITY", "Priority", "extension"]

_usable = honoured("mtpriority")

# Section 7
#   priority-value   = (["-"] NZDIGIT) / "0"
#   priority-profile = 1*20(ALPHA / DIGIT / "-" / "_" / ".")
_PRIORITY = re.compile(r"-?[1-9]|0")
_PROFILE = re.compile(r"[A-Za-z0-9\-_.]{1,20}")


@dataclass(frozen=True, slots=True)
class Priority:
    """The priority of a message; 0 is the usual one, 9 the most urgent.

    :param asked: what the client asked for, to be noted where it was not granted.
    :param granted: what the message is to be handled by, and passed on with.
    """

    asked: int = 0
    granted: int = 0


def _parse(session: Session, value: str | None) -> Priority:
    if not _PRIORITY.fullmatch(value or ""):
        # Section 4.1 has this enhanced code.
        raise GrammarError("priority-value", 501, "5.5.2", "MT-PRIORITY is a number from -9 to 9")
    asked = int(value or "0")
    # Section 4.1: from a source that is not trusted the server takes a lower one.
    return Priority(asked, asked if session.lmtp or session.identity is not None else min(asked, 0))


def _taken(session: Session, priority: Priority, reply: Reply) -> Reply:
    """The reply tells who asked for another priority which one the message has, unless it does so by itself: X.3.6 has
    the number in front of the text."""
    if priority.granted == priority.asked or reply.enhanced == session.replies.priority_changed.enhanced:
        return reply
    return session.replies.priority_changed.fill(priority=priority.granted, text=reply.text.replace("\n", " "))


#: ``reverse_path.get(MT_PRIORITY)``. Section 3 (6) adds 15 octets to MAIL; section 4.1 wants the clause.
MT_PRIORITY = Parameter(
    keyword="MT-PRIORITY",
    parse=_parse,
    default=Priority(),
    octets=len(" MT-PRIORITY=-9"),
    usable=_usable,
    clause=lambda priority: f"PRIORITY {priority.granted}",
    taken=_taken,
)


def extension(profile: str | None = None) -> Extension:
    """All that it adds.

    :param profile: the priority assignment policy that EHLO names, as in ``"MIXER"``: what the numbers mean to the
        delivery.
    :raises ValueError: *profile* is no name.
    """
    if profile is not None and not _PROFILE.fullmatch(profile):
        raise ValueError(f"no name of a priority assignment policy: {profile!r}")
    return Extension(
        name="mtpriority",
        rfc="RFC 6710",
        keyword="MT-PRIORITY" if profile is None else f"MT-PRIORITY {profile}",
        usable=_usable,
        mail_parameters=(MT_PRIORITY,),
    )

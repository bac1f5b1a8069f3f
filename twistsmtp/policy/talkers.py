"""Early talkers: clients that do not wait for the greeting.

RFC 5321 section 3.1 has the server speak first. A program that sends spam to millions does not care to listen, and
begins at once; so whoever begins while the greeting is held back is most likely one.
"""

from collections.abc import Iterable

from twisted.internet.task import deferLater

from twistsmtp.makers import number, several, yes_or_no
from twistsmtp.policy.api import Policy
from twistsmtp.policy.strangers import Strangers
from twistsmtp.session import Session
from twistsmtp.wire.reply import Refusal

__all__ = ["EarlyTalkers"]

#: Clients wait 5 minutes for the greeting (RFC 5321 section 4.5.3.2.1); people wait less.
_LONGEST = 60.0


class EarlyTalkers(Policy):
    """Holds the greeting back, and refuses clients that do not wait for it, other than local and trusted ones.

    It does for strangers what ``strict_greeting`` of `SMTPFactory` does for everybody, and by the same means.

    :param seconds: how long a client has to wait.
    :param trusted: networks whose clients are greeted at once.
    :param refuse: whether one that talks is refused. If not, policies behind this one see ``session.talked_early``.
    :raises ValueError: the time is none, or one of *trusted* is no network.
    """

    def __init__(self, *, seconds: float = 2.0, trusted: Iterable[str] = (), refuse: bool = True) -> None:
        if not 0 < seconds <= _LONGEST:
            raise ValueError(f"seconds is more than 0, and at most {_LONGEST:g}, not {seconds:g}")
        self.seconds = seconds
        self.refuse = refuse
        self._strangers = Strangers(trusted)

    @classmethod
    def from_options(cls, *, seconds: str = "2", trusted: str = "", refuse: str = "yes") -> "EarlyTalkers":
        """What ``early-talker[:seconds=2][:trusted=NETWORKS][:refuse=no]`` means."""
        return cls(seconds=number("seconds", seconds), trusted=several(trusted), refuse=yes_or_no("refuse", refuse))

    async def connect(self, session: Session) -> None:
        """Have the client of *session* wait, unless it is known by its address."""
        # Whom another client speaks for has waited there; and who speaks LMTP is a server that we know.
        if session.peer is not session.origin or session.lmtp or session not in self._strangers:
            return
        if self.refuse:
            if session.talked_early:
                raise Refusal(session.replies.talked_early)
            session.strict_greeting = True
        await deferLater(session.clock, self.seconds)

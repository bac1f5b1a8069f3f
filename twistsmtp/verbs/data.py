"""DATA (RFC 5321 section 4.1.1.4), and BDAT where it is not offered."""

from typing import Any

from twistsmtp.envelope import Envelope
from twistsmtp.later import Later
from twistsmtp.session import Phase, Session, Stage
from twistsmtp.verb import Close, Outcome, Verb
from twistsmtp.verbs.arguments import any_text, no_argument
from twistsmtp.verbs.message import Message, open_message
from twistsmtp.wire.dotstream import DotStream
from twistsmtp.wire.reply import Refusal, Reply

__all__ = ["DATA", "VERBS", "DataIntake"]


class DataIntake(Message):
    """The octets behind 354, up to CRLF.CRLF: an `Intake`."""

    __slots__ = ("_stream", "reply")

    def __init__(self, session: Session, envelope: Envelope) -> None:
        Message.__init__(self, session, envelope)  # super() takes longer than most of what is done there
        self._stream = DotStream(session.limits.bare_newline, session.limits.message_line)
        self.reply: Reply | None = session.replies.start_message

    def feed(self, data: bytes, start: int) -> int:
        """Decode *data* from *start* on; see `Intake`."""
        stream = self._stream
        self.waiting = None
        octets, end = stream.feed(data, start)
        if stream.bare_newline or stream.line_too_long:
            self.refuse(self._fault())
        if octets:
            self.take(octets)
        return end

    def _fault(self) -> Reply:
        """What is wrong with the lines of the message."""
        replies, limits = self._session.replies, self._session.limits
        if self._stream.bare_newline:
            return replies.bare_newline.fill(found=self._stream.bare_newline)
        return replies.message_line_too_long.fill(limit=limits.message_line)


_no_argument = no_argument("DATA")


def _parse(session: Session, argument: str) -> Envelope:
    _no_argument(session, argument)
    return session.current.envelope()


def _run(session: Session, envelope: Envelope) -> Later[Outcome]:
    return open_message(session, envelope, DataIntake)


DATA: Verb[Envelope] = Verb(
    name="DATA",
    syntax="DATA",
    help="Send the message, ended by a line of a single dot.",
    parse=_parse,
    run=_run,
    stages=Stage.RCPT,
    recurs=True,
    phase=Phase.DATA,
)


def _not_offered(session: Session, argument: str) -> Outcome:
    raise Refusal(session.replies.not_implemented.fill(verb="BDAT"))


#: A client that sends chunks (RFC 3030) to a server that does not offer that is not listened to any more, as with
#: Postfix: what stands behind the line is no command, and would be carried out as if it were. The extension's verb
#: takes the place of this one.
BDAT: Verb[str] = Verb(
    name="BDAT",
    syntax="BDAT chunk-size [LAST]",
    help="Not offered here.",
    parse=any_text,
    run=_not_offered,
    usable=lambda session: False,
    refused=lambda session, argument, reply: Close(reply),
)

VERBS: tuple[Verb[Any], ...] = (DATA, BDAT)

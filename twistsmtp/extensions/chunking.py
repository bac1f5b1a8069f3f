"""CHUNKING (RFC 3030 section 2): BDAT sends a message in chunks of a given size, its octets as they are.

The octets of a chunk follow the command at once, whatever becomes of it. So a chunk that is refused is read as well,
and thrown away: nothing in it is ever taken for a command.
"""

import re
from dataclasses import dataclass
from functools import partial

from twisted.internet.defer import Deferred

from twistsmtp.events import message_ended
from twistsmtp.later import Later, then
from twistsmtp.session import Session, Stage
from twistsmtp.verb import Close, Extension, Outcome, Verb
from twistsmtp.verbs.message import PATIENCE, Message
from twistsmtp.wire.grammar import GrammarError
from twistsmtp.wire.reply import Reply

__all__ = ["extension"]

#: bdat-cmd ::= "BDAT" SP chunk-size [ SP end-marker ] CR LF; chunk-size ::= 1*DIGIT; end-marker ::= "LAST"
_ARGUMENT = re.compile(r"([0-9]{1,20})(?: (LAST))?", re.IGNORECASE | re.ASCII)


#: Over LMTP, the recipients of a transaction that a chunk has ended, until the last chunk comes; and how many errors
#: there are then. With one more, as where MAIL is refused, what comes has nothing to do with that transaction.
_OWED = "twistsmtp.extensions.chunking.owed"


@dataclass(frozen=True, slots=True)
class _Chunk:
    size: int
    last: bool


def _parse(session: Session, argument: str) -> _Chunk:
    match = _ARGUMENT.fullmatch(argument)
    if match is None:
        raise GrammarError("bdat-cmd", 501, "5.5.4", "Syntax: BDAT chunk-size [LAST]")
    return _Chunk(int(match[1]), match[2] is not None)


class _Chunked(Message):
    """A message whose octets come in chunks."""

    __slots__ = ()

    def aborted(self) -> None:
        """The delivery drops what it has of the message. Where nobody else will say so, a command gave it up: RSET, a
        greeting or QUIT between two chunks."""
        if not (self.refused or self._session.over):
            message_ended(self._session, self._transaction, "aborted: given up by the client")

    def is_too_slow(self) -> bool:
        """Whether what has come is too little for the time since the message was opened. The time that the delivery
        took of that does not count.

        The rate inside of a chunk is seen to where octets are taken in, in windows that begin with each chunk: so
        there it would never show in many small ones.
        """
        transaction, limits = self._transaction, self._session.limits
        taken = self._session.seconds() - (transaction.opened or 0.0) - transaction.spared
        return taken >= limits.data_window and transaction.octets < limits.data_rate * taken

    def opened_since(self, asked: float) -> None:
        """The delivery has opened it, and was asked at *asked*: the client is not to blame for that time."""
        self._transaction.spared += self._session.seconds() - asked


class _Octets:
    """Counts the octets of a chunk: an `Intake`."""

    def __init__(self, size: int) -> None:
        self._left = size
        self.reply: Reply | None = None
        self.waiting: Deferred[None] | None = None

    def feed(self, data: bytes, start: int) -> int:
        """Take what is the chunk's; see `Intake`."""
        end = min(len(data), start + self._left)
        self._left -= end - start
        self.take(data[start:end])
        return end if not self._left else -1

    def take(self, octets: bytes) -> None:
        """Throw them away."""


class _Refused(_Octets):
    """A chunk that is thrown away, and refused when it has come: RFC 3030 section 2."""

    def __init__(self, size: int, answer: Outcome) -> None:
        super().__init__(size)
        self._answer = answer

    def end(self) -> Outcome:
        """See `Intake`."""
        return self._answer


class _Taken(_Octets):
    """A chunk that is part of *message*."""

    def __init__(self, session: Session, message: _Chunked, chunk: _Chunk) -> None:
        super().__init__(chunk.size)
        self._session = session
        self._message = message
        self._chunk = chunk

    def take(self, octets: bytes) -> None:
        """Hand them over."""
        self._message.waiting = None
        self._message.take(octets)
        self.waiting = self._message.waiting

    def end(self) -> Later[Outcome]:
        """See `Intake`."""
        if self._chunk.last:
            return self._message.end()
        if self._message.refused:
            owed = self._session.current.accepted
            reply = self._message.give_up()
            if self._session.lmtp:
                _owe(self._session, owed)
            return reply
        return self._session.replies.chunk_ok.fill(octets=self._chunk.size)


def _run(session: Session, chunk: _Chunk) -> Later[Outcome]:
    if not (chunk.size or chunk.last):
        session.count_idle_command()
    if _is_impossible(session, chunk):
        return Close(session.replies.message_too_big.fill(limit=session.limits.message_size))
    message = session.current.chunked
    if message is not None:
        if message.is_too_slow():
            return Close(session.replies.data_too_slow)
        return _taken(session, chunk, message)
    session.notes.pop(_OWED, None)
    message = _Chunked(session, session.current.envelope())
    session.take_chunks(message)
    asked = session.seconds()
    return then(message.open(), partial(_opened, session, chunk, message, asked))


def _opened(session: Session, chunk: _Chunk, message: _Chunked, asked: float, _: None) -> Later[Outcome]:
    message.opened_since(asked)
    return _taken(session, chunk, message)


def _taken(session: Session, chunk: _Chunk, message: _Chunked) -> Later[Outcome]:
    intake = _Taken(session, message, chunk)
    return intake if chunk.size else intake.end()


def _refused(session: Session, argument: str, reply: Reply) -> Outcome:
    try:
        chunk = _parse(session, argument)
    except GrammarError:
        return Close(reply)  # where the chunk ends is not known, so nothing behind it can be taken for a command
    if _is_impossible(session, chunk):
        return Close(reply)
    answer = (reply,) * _owed(session, chunk) if session.lmtp else reply
    return _Refused(chunk.size, answer) if chunk.size else answer


def _is_impossible(session: Session, chunk: _Chunk) -> bool:
    """Whether nobody would wait for the end of *chunk*."""
    return chunk.size > 2 * session.limits.message_size + PATIENCE


def _owed(session: Session, chunk: _Chunk) -> int:
    """How many replies a client waits for whose *chunk* is refused (RFC 2033 section 4.3). Behind the last: one for
    each recipient, also where a chunk before it has ended the transaction; and one where there was none, as then there
    was no RCPT."""
    owed, errors = session.notes.pop(_OWED, (1, 0))
    recipients: int = owed if errors == session.counts.errors else 1
    if not chunk.last:
        _owe(session, recipients)
        return 1
    return 0 if session.stage == Stage.MAIL else recipients


def _owe(session: Session, recipients: int) -> None:
    session.notes[_OWED] = recipients, session.counts.errors + 1  # the chunk that is being refused


def extension() -> Extension:
    """All that it adds."""
    return Extension(
        name="chunking",
        rfc="RFC 3030",
        keyword="CHUNKING",
        verbs=(
            Verb(
                name="BDAT",
                syntax="BDAT chunk-size [LAST]",
                help="Send a chunk of the message: so many octets follow at once.",
                parse=_parse,
                run=_run,
                stages=Stage.RCPT | Stage.CHUNKS,
                refused=_refused,
            ),
        ),
    )

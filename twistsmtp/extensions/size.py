"""SIZE (RFC 1870): the greatest message is announced, and a message declared greater is refused before it comes.

The same limit holds for what really comes, declared or not: that is the message's own affair (`Message`).
"""

from twistsmtp.envelope import Parameter
from twistsmtp.session import Session
from twistsmtp.verb import Extension
from twistsmtp.wire.grammar import GrammarError
from twistsmtp.wire.reply import Refusal

__all__ = ["SIZE", "extension"]


def _parse(session: Session, value: str | None) -> int | None:
    # size-value ::= 1*20DIGIT (RFC 1870 section 3)
    if value is None or not (value.isascii() and value.isdigit() and len(value) <= 20):
        raise GrammarError("size-value", 501, "5.5.4", "SIZE is a number of at most 20 digits")
    size = int(value)
    limit = session.limits.message_size
    if size > limit:
        raise Refusal(session.replies.message_too_big.fill(limit=limit))
    return size


#: ``reverse_path.get(SIZE)``: octets, or ``None`` where the client declared none. RFC 1870 section 3 adds 26 octets.
SIZE: Parameter[int | None] = Parameter(keyword="SIZE", parse=_parse, default=None, octets=26)


def extension() -> Extension:
    """All that it adds."""
    return Extension(
        name="size",
        rfc="RFC 1870",
        keyword=lambda session: f"SIZE {session.limits.message_size}",
        mail_parameters=(SIZE,),
    )

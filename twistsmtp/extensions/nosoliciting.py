"""NO-SOLICITING (RFC 3865): a client says what kind of solicitation a message is, a server which kinds it refuses."""

import re
from collections.abc import Iterable, Sequence

from twistsmtp.envelope import Parameter
from twistsmtp.session import Session
from twistsmtp.verb import Extension, honoured
from twistsmtp.wire.grammar import GrammarError
from twistsmtp.wire.reply import Refusal

__all__ = ["SOLICIT", "extension"]

#: Characters of all keywords of a message with their commas (section 2.2).
LIMIT = 1000
#: Characters of those that EHLO names, which have to fit into a line of its reply.
OFFER_LIMIT = 450

#: Characters of them in a line of the Received field, which may have 998 octets (RFC 5322 section 2.1.1).
LINE = 900

_usable = honoured("nosoliciting")

# Solicitation-keywords = word 0*("," word) ; length of this string is limited to <= 1000 characters
# word                  = ALPHA 0*(wordchar)
# wordchar              = ("." / "-" / "_" / ":" / ALPHA / DIGIT)
_WORD = r"[A-Za-z][A-Za-z0-9.\-_:]*+"
_KEYWORDS = re.compile(f"{_WORD}(?:,{_WORD})*+")


def _parse(session: Session, value: str | None) -> tuple[str, ...]:
    if value is None or len(value) > LIMIT or not _KEYWORDS.fullmatch(value):
        raise GrammarError("Solicitation-keywords", 501, "5.5.4", "SOLICIT is class keywords with commas")
    return tuple(value.split(","))


def _comment(classes: Sequence[str]) -> str:
    """The classes in the Received field, for servers further on that were not told by MAIL (section 2.6)."""
    fitting = [each for each in classes if len(each) <= LINE]
    together = ",".join(fitting)
    if len(together) > LINE:
        together = ",\r\n\t".join(fitting)
    return f"(SOLICIT={together})" if fitting else ""


def _solicit(refused: Sequence[str]) -> Parameter[tuple[str, ...]]:
    """The parameter, for a server that takes no message of the classes *refused*."""

    def parse(session: Session, value: str | None) -> tuple[str, ...]:
        classes = _parse(session, value)
        said = frozenset(map(str.lower, classes))
        matched = ",".join(each for each in refused if each.lower() in said)
        if matched:
            # Section 2.4 has the enhanced code, and wants the classes that matched to be told.
            raise Refusal(session.replies.soliciting.fill(classes=matched))
        return classes

    return Parameter(
        keyword="SOLICIT",
        parse=parse,
        default=(),
        octets=len(" SOLICIT=") + LIMIT,
        usable=_usable,
        comment=_comment,
    )


#: ``reverse_path.get(SOLICIT)``: the classes that the sender says the message is of, their case kept.
SOLICIT: Parameter[tuple[str, ...]] = _solicit(())


def extension(refused: Iterable[str] = ()) -> Extension:
    """All that it adds.

    :param refused: the classes whose messages nobody here wants, as in ``"org.example:ADV"``: EHLO names them, and
        MAIL is refused. What else single recipients do not want is for the delivery to refuse in
        `DeliveryTransaction.rcpt`: ``Refusal(session.replies.soliciting.fill(classes="org.example:ADV"))``.
    :raises ValueError: one of *refused* is no class, or they are too many for EHLO.
    """
    classes = ",".join(refused)
    if classes and not (_KEYWORDS.fullmatch(classes) and len(classes) <= OFFER_LIMIT):
        raise ValueError(f"no solicitation class keywords of at most {OFFER_LIMIT} characters: {classes!r}")
    return Extension(
        name="nosoliciting",
        rfc="RFC 3865",
        keyword=f"NO-SOLICITING {classes}".rstrip(),
        usable=_usable,
        mail_parameters=(_solicit(classes.split(",") if classes else ()),),
    )

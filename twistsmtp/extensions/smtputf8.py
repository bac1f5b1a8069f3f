"""SMTPUTF8 (RFC 6531): mailboxes, and header fields, in UTF-8."""

from twistsmtp.envelope import Parameter
from twistsmtp.session import Session
from twistsmtp.verb import Extension
from twistsmtp.wire.grammar import GrammarError

__all__ = ["SMTPUTF8", "extension"]


def _parse(session: Session, value: str | None) -> bool:
    # RFC 6531 section 3.4: the parameter has no value, and 501 answers one that has.
    if value is not None:
        raise GrammarError("SMTPUTF8", 501, "5.5.4", "SMTPUTF8 takes no value")
    return True


#: ``reverse_path.get(SMTPUTF8)``. RFC 6531 section 3.1 (5) adds 10 octets to MAIL.
SMTPUTF8 = Parameter(keyword="SMTPUTF8", parse=_parse, default=False, octets=10, internationalizes=True)


def extension() -> Extension:
    """All that it adds."""
    return Extension(
        name="smtputf8",
        rfc="RFC 6531",
        keyword="SMTPUTF8",
        needs=("eightbitmime",),  # RFC 6531 section 3.1 (8)
        mail_parameters=(SMTPUTF8,),
    )

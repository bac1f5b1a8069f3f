"""REQUIRETLS (RFC 8689): a message is to go on under TLS, to servers that promise the same, or not at all.

The promise is for the delivery to keep, and holds of reports about the message as well: those bring back its header
alone, whatever RET says (section 5). It is made only to a client that speaks TLS itself (section 2). A message that
MAIL does not tag may ask for the contrary by its header field ``TLS-Required: No``, which is for the delivery to read
(section 4.1).
"""

from twistsmtp.envelope import Parameter
from twistsmtp.session import Session
from twistsmtp.verb import Extension, honoured
from twistsmtp.wire.grammar import GrammarError

__all__ = ["REQUIRETLS", "extension"]

_usable = honoured("requiretls", lambda session: session.tls is not None)


def _parse(session: Session, value: str | None) -> bool:
    if value is not None:
        raise GrammarError("requiretls-param", 501, "5.5.4", "REQUIRETLS takes no value")
    return True


#: ``reverse_path.get(REQUIRETLS)``. Section 2 (5) adds 11 octets to MAIL.
REQUIRETLS = Parameter(keyword="REQUIRETLS", parse=_parse, default=False, octets=11, usable=_usable)


def extension() -> Extension:
    """All that it adds."""
    return Extension(
        name="requiretls", rfc="RFC 8689", keyword="REQUIRETLS", usable=_usable, mail_parameters=(REQUIRETLS,)
    )

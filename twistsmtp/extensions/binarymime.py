"""BINARYMIME (RFC 3030 section 3): a message of any octets, which can come in chunks only."""

from dataclasses import replace

from twistsmtp.envelope import Envelope
from twistsmtp.extensions.eightbitmime import BODY, Body
from twistsmtp.session import Session
from twistsmtp.verb import Extension, honoured
from twistsmtp.verbs.data import DATA
from twistsmtp.wire.reply import Refusal

__all__ = ["extension"]


def _parse(session: Session, argument: str) -> Envelope:
    envelope = DATA.parse(session, argument)
    path = envelope.reverse_path
    if path.parameters and path.get(BODY) is Body.BINARYMIME:
        raise Refusal(session.replies.chunks_only)  # section 3: 503
    return envelope


def extension() -> Extension:
    """All that it adds. The value of BODY is 8BITMIME's affair."""
    return Extension(
        name="binarymime",
        rfc="RFC 3030",
        keyword="BINARYMIME",
        usable=honoured("binarymime"),
        needs=("chunking", "eightbitmime"),
        verbs=(replace(DATA, parse=_parse),),
    )

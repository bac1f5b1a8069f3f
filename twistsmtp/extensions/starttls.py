"""STARTTLS (RFC 3207)."""

from twistsmtp.session import Session, Stage
from twistsmtp.verb import BeginTLS, Extension, Outcome, Verb
from twistsmtp.verbs.arguments import no_argument
from twistsmtp.wire.reply import Refusal

__all__ = ["extension"]


def _run(session: Session, _: None) -> Outcome:
    if session.tls is not None:
        raise Refusal(session.replies.tls_active)
    if session.security.tls is None:
        raise Refusal(session.replies.tls_unavailable)
    return BeginTLS(session.replies.ready_for_tls, session.security.tls)


def _usable(session: Session) -> bool:
    return session.security.tls is not None and session.tls is None


def extension() -> Extension:
    """All that it adds."""
    return Extension(
        name="starttls",
        rfc="RFC 3207",
        keyword=lambda session: "STARTTLS" if _usable(session) else None,
        verbs=(
            Verb(
                name="STARTTLS",
                syntax="STARTTLS",
                help="Begin TLS.",
                parse=no_argument("STARTTLS"),
                run=_run,
                stages=Stage.CONNECTED | Stage.READY | Stage.BARRED,
                usable=_usable,
                idle=True,
                recurs=True,
            ),
        ),
    )

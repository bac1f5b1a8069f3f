"""LIMITS (RFC 9422): how many recipients a transaction may have, and how many transactions a session."""

from functools import lru_cache

from twistsmtp.session import Session
from twistsmtp.verb import Extension

__all__ = ["extension"]

#: The greatest limit that has a notation (section 4): six digits. There is none for 0.
GREATEST = 999_999


def _keyword(session: Session) -> str | None:
    # A client counts from where its session began, and a connection may have had another one before that.
    return _line(session.limits.recipients, session.limits.messages - session.counts.before)


@lru_cache(maxsize=64)
def _line(recipients: int, messages: int) -> str | None:
    limits = {"RCPTMAX": recipients, "MAILMAX": messages}
    named = [f"{name}={value}" for name, value in limits.items() if 0 < value <= GREATEST]
    return " ".join(["LIMITS", *named]) if named else None


def extension() -> Extension:
    """All that it adds."""
    return Extension(name="limits", rfc="RFC 9422", keyword=_keyword)

"""Who a client is, as far as that is worth something."""

from twistsmtp.sasl.anonymous import ANONYMOUS
from twistsmtp.session import Session

__all__ = ["ANONYMOUS", "user_of"]


def user_of(session: Session) -> str | None:
    """The user whom the client has proved to be; ``None`` where it is nobody, or nobody in particular."""
    return None if session.identity == ANONYMOUS else session.identity

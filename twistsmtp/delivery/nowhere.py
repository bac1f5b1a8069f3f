"""The delivery of a client that has none: it has to authenticate first, and gets that of its avatar then."""

from typing import NoReturn

from twistsmtp.delivery.api import Delivery, Refusal, ReversePath, Session

__all__ = ["Nowhere"]


class Nowhere(Delivery):
    """Takes nothing."""

    def begin(self, session: Session, reverse_path: ReversePath) -> NoReturn:
        """Refuse: 530."""
        raise Refusal(session.replies.authentication_required)

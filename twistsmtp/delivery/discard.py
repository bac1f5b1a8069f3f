"""Mail that goes nowhere: for benchmarks, and as the smallest delivery there is."""

from twistsmtp.delivery.api import Delivery, DeliveryTransaction, ReversePath, Session

__all__ = ["Discard"]


class _Discarding(DeliveryTransaction):
    """The contract's own methods, which take everything and keep nothing."""


#: It has no state, so one does for all.
_DISCARDING = _Discarding()


class Discard(Delivery):
    """Takes every message and drops it."""

    def __init__(self) -> None:
        """There is nothing to say; without this, the contract's own `__init__` would take anything."""

    def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
        """Mail from anybody is taken."""
        return _DISCARDING

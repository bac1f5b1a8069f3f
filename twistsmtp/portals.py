"""Portals for whoever has no realm of their own: all who log in have the same delivery."""

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.portal import IRealm, Portal
from zope.interface import implementer

from twistsmtp.checkers.together import by_interface
from twistsmtp.delivery.api import Delivery, IDelivery

__all__ = ["SameDelivery", "portal_for"]


@implementer(IRealm)
class SameDelivery:
    """Everybody's mail goes to one delivery."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery

    def requestAvatar(self, avatar_id: bytes | tuple[()], mind: object, *interfaces: Any) -> Any:
        """See `IRealm`."""
        return IDelivery, self._delivery, lambda: None


def portal_for(delivery: Delivery, *checkers: ICredentialsChecker) -> Portal:
    """A portal that gives *delivery* to whom one of *checkers* knows: for `Security`.

    Several checkers may be for one kind of credentials, as two files of accounts are: they are asked in their order.
    """
    return Portal(SameDelivery(delivery), by_interface(checkers))

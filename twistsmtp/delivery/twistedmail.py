"""Deliveries written for ``twisted.mail``, unchanged: where one meets the server.

`adapt` is the door; behind it `twistsmtp.delivery.twistedmail_adapter` does the work. That is a module of its own
because it needs `twisted.mail.smtp`, which installs the default reactor as it is imported, and an application
that has no such delivery is to stay free to choose its reactor.
"""

from typing import cast

from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory

from twistsmtp.delivery.api import Delivery

__all__ = ["adapt"]


def adapt(obj: object) -> Delivery:
    """*obj* as a delivery.

    :param obj: a `Delivery`, which comes back as it is; or what provides `IMessageDeliveryFactory`, to be
        asked for a delivery for each transaction, or `IMessageDelivery`, to serve all. What provides both is
        used as a factory, as in ``twisted.mail.smtp.SMTP``.
    :raises TypeError: it is none of them.
    """
    if isinstance(obj, type):
        raise TypeError(f"{obj.__qualname__} is a class: a delivery is an instance of one")
    if callable(getattr(obj, "begin", None)):
        return cast(Delivery, obj)
    factory = obj if IMessageDeliveryFactory.providedBy(obj) else None
    delivery = obj if IMessageDelivery.providedBy(obj) else None
    if factory is None and delivery is None:
        raise TypeError(
            f"{obj!r} is no delivery: it has no begin() (see twistsmtp.delivery.api), and provides neither "
            "IMessageDelivery nor IMessageDeliveryFactory of twisted.mail.interfaces"
        )
    from twistsmtp.delivery.twistedmail_adapter import TwistedMailDelivery

    return TwistedMailDelivery(delivery, factory)

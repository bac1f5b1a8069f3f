r"""Deliveries by name: what ``--delivery maildir:/var/mail:create=yes`` means.

The string is read as Twisted's endpoint strings are: ``:`` separates, ``key=value`` is an option, and ``\`` makes the
character behind it an ordinary one. Its first part is the name of an `IDeliveryMaker`, which is looked for among the
plugins of `twisted.plugin`. Anybody can add one: a file ``twisted/plugins/NAME.py`` in a package of their own, with no
``__init__.py`` beside it, and in it::

    from twistsmtp.delivery.find import DeliveryMaker

    queue = DeliveryMaker(
        name="queue",
        synopsis="queue:URL[:workers=N]",
        help=r"hands mail to a queue: queue:redis\://localhost:workers=4",
        function="mypackage.queue.make_queue",
    )

The function is imported when somebody asks for it. It takes the parts of the string as text, its options by keyword;
what does not fit its signature is refused before it is called.
"""

from dataclasses import dataclass

from twisted.plugin import IPlugin, getPlugins
from zope.interface import Attribute, Interface, implementer

from twistsmtp.delivery.api import Delivery
from twistsmtp.makers import LazyMaker, made_by_name

__all__ = ["DeliveryMaker", "IDeliveryMaker", "delivery_makers", "make_delivery"]


class IDeliveryMaker(Interface):
    """A plugin that makes deliveries of one kind."""

    name: str = Attribute("The first part of the string: ``maildir``.")
    synopsis: str = Attribute("The form of the string: ``maildir:PATH[:create=yes]``.")
    help: str = Attribute("What it does with mail, and an example, in one line.")

    def make(*args: str, **options: str) -> Delivery:
        """The delivery for the parts of a string behind its name.

        :raises ValueError: they are wrong; its text, one line, tells the user how.
        """


@implementer(IPlugin, IDeliveryMaker)
@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryMaker(LazyMaker):
    """A `LazyMaker` of deliveries."""


def delivery_makers() -> list[IDeliveryMaker]:
    """All makers there are, by name."""
    return sorted(getPlugins(IDeliveryMaker), key=lambda maker: maker.name)


def make_delivery(text: str) -> Delivery:
    """The delivery that *text* names.

    :raises ValueError: there is none of that name, or the rest of *text* is wrong; its text, one line, says what.
    """
    delivery: Delivery = made_by_name("delivery", text, delivery_makers())
    return delivery

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

import inspect
from dataclasses import dataclass

from twisted.plugin import IPlugin, getPlugins
from twisted.python.reflect import namedAny
from zope.interface import Attribute, Interface, implementer

from twistsmtp.delivery.api import Delivery

__all__ = ["DeliveryMaker", "IDeliveryMaker", "delivery_makers", "make_delivery", "yes_or_no"]


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
class DeliveryMaker:
    """A maker that imports a function when it is asked to make something.

    :param function: the function's full name; a class and its method will do as well.
    """

    name: str
    synopsis: str
    help: str
    function: str

    def make(self, *args: str, **options: str) -> Delivery:
        """What the function makes of the parts of a string.

        :raises ValueError: they do not fit it or it refuses them, or something that it needs is not installed.
        """
        try:
            function = namedAny(self.function)
        except ImportError as error:
            raise ValueError(f"it needs something that is not installed: {error}") from error
        signature = inspect.signature(function)
        try:
            signature.bind(*args, **options)
        except TypeError as error:
            unknown = [key for key in options if key not in signature.parameters]
            problem = f"there is no option {unknown[0]!r}" if unknown else str(error)
            raise ValueError(f"{problem} (the form is {self.synopsis})") from None
        delivery: Delivery = function(*args, **options)
        return delivery


def delivery_makers() -> list[IDeliveryMaker]:
    """All makers there are, by name."""
    return sorted(getPlugins(IDeliveryMaker), key=lambda maker: maker.name)


def make_delivery(text: str) -> Delivery:
    """The delivery that *text* names.

    :raises ValueError: there is none of that name, or the rest of *text* is wrong; its text, one line, says what.
    """
    named, *rest = _split(text)
    name = "=".join(named)
    makers = delivery_makers()
    found = [maker for maker in makers if maker.name == name]
    if not found:
        known = ", ".join(maker.name for maker in makers)
        raise ValueError(f"no delivery is called {name!r}; there are {known}")
    if len(found) > 1:
        raise ValueError(f"{len(found)} plugins are called {name!r}")
    try:
        args, options = _sort(rest)
        return found[0].make(*args, **options)
    except (ValueError, OSError) as error:
        raise ValueError(f"{name}: {error}") from error


def yes_or_no(name: str, text: str) -> bool:
    """The value of an option that is a switch.

    :param name: what the option is called.
    :raises ValueError: *text* is neither ``yes`` nor ``no``.
    """
    if text not in {"yes", "no"}:
        raise ValueError(f"{name} is yes or no, not {text!r}")
    return text == "yes"


def _split(text: str) -> list[list[str]]:
    """The parts of *text*: each is one string, or a key and its value."""
    parts = [[""]]
    characters = iter(text)
    for character in characters:
        if character == ":":
            parts.append([""])
        elif character == "=" and len(parts[-1]) == 1:
            parts[-1].append("")
        else:
            parts[-1][-1] += next(characters, "") if character == "\\" else character
    return parts


def _sort(parts: list[list[str]]) -> tuple[list[str], dict[str, str]]:
    """The arguments and the options among *parts*."""
    if parts == [[""]]:  # as in "discard:"
        return [], {}
    options: dict[str, str] = {}
    for key, value in (part for part in parts if len(part) == 2):
        if key in options:
            raise ValueError(f"the option {key!r} stands there twice")
        options[key] = value
    return [part[0] for part in parts if len(part) == 1], options

r"""Things by name: what ``maildir:/var/mail:create=yes`` means.

The string is read as Twisted's endpoint strings are: ``:`` separates, ``key=value`` is an option, and ``\`` makes the
character behind it an ordinary one. Its first part is the name of a maker, which is looked for among the plugins of
`twisted.plugin`; the others are what it makes something of. `twistsmtp.delivery.find` and `twistsmtp.policy.find` say
what there is to be made.
"""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.python.reflect import namedAny

__all__ = ["LazyMaker", "Maker", "call", "made_by_name", "number", "several", "yes_or_no"]


class Maker(Protocol):
    """What makes things of one kind."""

    @property
    def name(self) -> str:
        """The first part of the string."""
        ...

    def make(self, *args: str, **options: str) -> Any:
        """What the parts of a string behind its name describe.

        :raises ValueError: they are wrong; its text, one line, tells the user how.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LazyMaker:
    """A maker that imports a function when it is asked to make something.

    :param name: the first part of the string: ``maildir``.
    :param synopsis: the form of the string: ``maildir:PATH[:create=yes]``.
    :param help: what it makes, and an example, in one line.
    :param function: the function's full name; a class and its method will do as well.
    """

    name: str
    synopsis: str
    help: str
    function: str

    def make(self, *args: str, **options: str) -> Any:
        """What the function makes of the parts of a string.

        :raises ValueError: they do not fit it or it refuses them, or something that it needs is not installed.
        """
        return call(self.function, args, options, self.synopsis)


def call(function: str, args: Sequence[str], options: Mapping[str, str], synopsis: str) -> Any:
    """What the function of that full name makes of *args* and *options*.

    :param synopsis: the form that they have, for whoever got it wrong.
    :raises ValueError: they do not fit it or it refuses them, or something that it needs is not installed.
    """
    try:
        called = namedAny(function)
    except ImportError as error:
        raise ValueError(f"it needs something that is not installed: {error}") from error
    signature = inspect.signature(called)
    try:
        signature.bind(*args, **options)
    except TypeError as error:
        unknown = [key for key in options if key not in signature.parameters]
        problem = f"there is no option {unknown[0]!r}" if unknown else str(error)
        raise ValueError(f"{problem} (the form is {synopsis})") from None
    return called(*args, **options)


def made_by_name(kind: str, text: str, makers: Iterable[Maker]) -> Any:
    """What *text* describes.

    :param kind: what it is, for whoever got it wrong: ``"delivery"``.
    :param makers: all there are.
    :raises ValueError: there is no such maker, or the rest of *text* is wrong; its text, one line, says what.
    """
    named, *rest = _split(text)
    name = "=".join(named)
    makers = list(makers)
    found = [maker for maker in makers if maker.name == name]
    if not found:
        known = ", ".join(sorted(maker.name for maker in makers))
        raise ValueError(f"no {kind} is called {name!r}; there are {known}")
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


def number(name: str, text: str) -> float:
    """The value of an option that is a number of seconds.

    :raises ValueError: *text* is no number over 0 and up to 3600.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 3600:
        raise ValueError(f"{name} is a number of seconds over 0, at most 3600, not {text!r}")
    return value


def several(text: str) -> tuple[str, ...]:
    """The value of an option that is several, parted by commas."""
    return tuple(each.strip() for each in text.split(",") if each.strip())


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

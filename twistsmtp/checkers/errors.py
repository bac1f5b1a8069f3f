"""Why a checker gives no answer, and libraries that need not be installed."""

from importlib import import_module
from types import ModuleType

__all__ = ["MissingExtra", "Unavailable", "extra"]


class Unavailable(Exception):
    """Whether the credentials are right cannot be known now. The text holds no secret."""


class MissingExtra(ImportError):
    """A library that is an extra of twistsmtp is not installed; the text tells how to install it."""


def extra(module: str, name: str) -> ModuleType:
    """A module that one of our extras installs.

    :param name: of the extra.
    :raises MissingExtra: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(f"{module} is not installed (pip install 'twistsmtp[{name}]')", name=module) from error

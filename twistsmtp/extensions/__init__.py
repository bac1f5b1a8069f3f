"""ESMTP extensions, one module each, and how they are found by name.

A module has a function ``extension()`` that returns its `Extension`. One of ours is named by its module
(``"pipelining"``), any other by its dotted path (``"yourpackage.yourmodule"``).
"""

from collections.abc import Iterable
from importlib import import_module

from twistsmtp.verb import Extension

__all__ = ["DEFAULT", "load_extensions"]

#: On by default, in the order in which EHLO lists them.
DEFAULT = (
    "pipelining",
    "size",
    "eightbitmime",
    "chunking",
    "binarymime",
    "enhancedstatuscodes",
    "smtputf8",
    "dsn",
    "deliverby",
    "futurerelease",
    "mtpriority",
    "nosoliciting",
    "requiretls",
    "rrvs",
    "etrn",
    "limits",
    "starttls",
    "auth",
)


def load_extensions(names: Iterable[str] = DEFAULT) -> tuple[Extension, ...]:
    """The extensions of these *names*.

    :raises ValueError: there is no such module, or it makes no extension; the text names it.
    """
    return tuple(_load(name) for name in names)


def _load(name: str) -> Extension:
    path = name if "." in name else f"{__name__}.{name}"
    try:
        module = import_module(path)
    except (ImportError, TypeError, ValueError) as error:
        raise ValueError(f"no extension {name!r}: {error}") from error
    make = getattr(module, "extension", None)
    made = make() if callable(make) else None
    if not isinstance(made, Extension):
        raise ValueError(f"{path} has no function extension() that returns an Extension")
    return made

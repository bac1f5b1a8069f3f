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

    :param names: all of them, or changes to `DEFAULT`: ``"-etrn"`` leaves one out, ``"+yourpackage.yourmodule"`` adds
        one.
    :raises ValueError: there is no such module, it makes no extension, or there is none to leave out: the text names
        it.
    """
    return tuple(_load(name) for name in _chosen(tuple(names)))


def _chosen(names: tuple[str, ...]) -> tuple[str, ...]:
    changes = [name.startswith(("-", "+")) for name in names]
    if not any(changes):
        return names
    if not all(changes):
        raise ValueError("extensions are either named all, or as changes to the usual ones, by + and -")
    out = {name[1:] for name in names if name.startswith("-")}
    if not out.issubset(DEFAULT):
        raise ValueError(f"no extension {min(out.difference(DEFAULT))!r} that could be left out")
    return (*(name for name in DEFAULT if name not in out), *(name[1:] for name in names if name.startswith("+")))


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

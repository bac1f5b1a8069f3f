"""Frozen values, made quickly."""

from dataclasses import MISSING, fields
from typing import Any, TypeVar

__all__ = ["quick_to_make"]

T = TypeVar("T")


def quick_to_make(cls: type[T]) -> type[T]:
    """Give the frozen, slotted dataclass *cls* an ``__init__`` that takes two thirds of the time.

    The one that dataclass writes sets each field through ``object.__setattr__``, which looks the slot up by its name;
    this one has the slots at hand. It is worth it for values that are made for every message. Fields that are made by a
    factory, and ``__post_init__``, are not provided for.
    """
    known = fields(cls)  # type: ignore[arg-type]  # which is a dataclass
    names: dict[str, Any] = {}
    arguments: dict[bool, list[str]] = {False: ["self"], True: ["*"]}
    for each in known:
        names[f"set_{each.name}"] = getattr(cls, each.name).__set__
        names[f"default_{each.name}"] = each.default
        default = "" if each.default is MISSING else f"=default_{each.name}"
        arguments[bool(each.kw_only)].append(each.name + default)
    signature = ", ".join(arguments[False] + (arguments[True] if len(arguments[True]) > 1 else []))
    body = "".join(f"\n    set_{each.name}(self, {each.name})" for each in known)
    exec(f"def __init__({signature}):{body}", names)  # as dataclass itself does it
    cls.__init__ = names["__init__"]  # type: ignore[method-assign]  # it takes just what the one before took
    return cls

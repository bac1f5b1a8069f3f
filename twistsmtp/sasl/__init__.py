"""SASL mechanisms (RFC 4422) as pure machines, and how they are found by name.

`twistsmtp.sasl.api` is the contract. One of ours is named as on the wire (``"SCRAM-SHA-256"``), in any case; any other
by the dotted path of a module that has a `Mechanism` by the name ``MECHANISM`` (``"yourpackage.yourmodule"``).
"""

from collections import Counter
from collections.abc import Iterable
from importlib import import_module
from types import MappingProxyType

from twistsmtp.sasl.api import Mechanism

__all__ = ["DEFAULT", "MECHANISMS", "load_mechanisms"]

#: The module and the attribute of each of ours, the strongest first.
_OURS = MappingProxyType(
    {
        "EXTERNAL": ("external", "MECHANISM"),
        "SCRAM-SHA-256-PLUS": ("scram", "SHA_256_PLUS"),
        "SCRAM-SHA-1-PLUS": ("scram", "SHA_1_PLUS"),
        "SCRAM-SHA-256": ("scram", "SHA_256"),
        "SCRAM-SHA-1": ("scram", "SHA_1"),
        "OAUTHBEARER": ("oauth", "OAUTHBEARER"),
        "XOAUTH2": ("oauth", "XOAUTH2"),
        "CRAM-MD5": ("cram_md5", "MECHANISM"),
        "PLAIN": ("plain", "MECHANISM"),
        "LOGIN": ("login", "MECHANISM"),
        "ANONYMOUS": ("anonymous", "MECHANISM"),
    }
)

#: The names of all that there are here, the strongest first.
MECHANISMS = tuple(_OURS)

#: On by default, and offered in this order where they can be used: all but ANONYMOUS, which lets everybody in.
DEFAULT = tuple(name for name in MECHANISMS if name != "ANONYMOUS")


def load_mechanisms(names: Iterable[str] = DEFAULT) -> tuple[Mechanism, ...]:
    """The mechanisms of these *names*, in their order.

    :raises ValueError: there is no such mechanism, or module, or the module has none; or two have the same name on the
        wire. The text names it.
    """
    mechanisms = tuple(_load(name) for name in names)
    for name, times in Counter(each.name for each in mechanisms).items():
        if times > 1:
            raise ValueError(f"{times} mechanisms {name}")
    return mechanisms


def _load(name: str) -> Mechanism:
    module, attribute = _OURS.get(name.upper(), (None, "MECHANISM"))
    if module is None and "." not in name:
        raise ValueError(f"no mechanism {name!r}; there are {', '.join(MECHANISMS)}")
    path = name if module is None else f"{__name__}.{module}"
    try:
        mechanism = getattr(import_module(path), attribute, None)
    except (ImportError, TypeError, ValueError) as error:
        raise ValueError(f"no mechanism {name!r}: {error}") from error
    if not isinstance(mechanism, Mechanism):
        raise ValueError(f"{path} has no {attribute} that is a Mechanism")
    return mechanism

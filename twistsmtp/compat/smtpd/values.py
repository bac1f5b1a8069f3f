"""What the modules of `twistsmtp.compat.smtpd` share: the original's constants, and its debugging prints."""

import sys
from typing import Any

from twistsmtp.wire.text import printable

__all__ = ["COMMASPACE", "DATA_SIZE_DEFAULT", "NEWLINE", "Devnull", "__version__", "debug", "package"]

__version__ = "Python SMTP proxy version 0.3"

NEWLINE = "\n"
COMMASPACE = ", "
#: Octets of a message.
DATA_SIZE_DEFAULT = 33554432


class Devnull:
    """A file that keeps nothing."""

    def write(self, msg: str) -> None:
        """Drop *msg*."""

    def flush(self) -> None:
        """Nothing waits."""


def package() -> Any:
    """The package, some of whose names programs replace: ``DEBUGSTREAM``, ``socket``."""
    return sys.modules["twistsmtp.compat.smtpd"]


def debug(*values: object) -> None:
    """Print *values* where programs want it."""
    print(*(printable(str(value)) for value in values), file=package().DEBUGSTREAM)

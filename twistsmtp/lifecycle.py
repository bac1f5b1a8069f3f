"""What a part of a running server may take part in: its start, its reloads and its end.

A delivery or a policy that has one of these methods is called; nothing is to be declared. One that holds other such
parts passes the call on to them.
"""

from typing import Protocol, runtime_checkable

from twistsmtp.later import Later

__all__ = ["Reloader", "Starter", "Stopper"]


@runtime_checkable
class Starter(Protocol):
    """Has something to do before the first mail comes."""

    def start(self) -> None:
        """The server is about to run: as the user, in the folder and with the umask that it will have from now on.

        :raises Exception: the server cannot start; the text is shown to the operator.
        """


@runtime_checkable
class Reloader(Protocol):
    """Has something that is to be read again."""

    def reload(self) -> None:
        """Read files again: the operator asks for it (SIGHUP). What cannot be read is logged, and the old stays."""


@runtime_checkable
class Stopper(Protocol):
    """Has something to end, once the last connection is gone."""

    def stop(self) -> Later[None]:
        """The server has ended its last connection. Close what is open: connections, files, timers. It may be started
        again."""

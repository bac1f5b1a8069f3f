"""What a service says to the service manager that has started it: sd_notify(3) of systemd, without its library.

A manager that wants to hear passes the address of a datagram socket in the environment. A word is one datagram of
lines ``NAME=value``. Nothing is kept open between two words, and nobody waits: a manager that does not listen misses
it, and the log says so, once.
"""

import os
import socket
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from twistsmtp.wire.text import printable

__all__ = ["Notifier"]

_log = Logger(namespace="twistsmtp.notify")


class Notifier:
    """Says how the service is.

    :param address: of the manager's socket: a path, or ``@`` and a name in the abstract namespace; empty for nobody
        who wants to hear.
    :param watchdog: seconds after which the manager takes a service for dead that has said nothing; 0 for never.
    :param monotonic: the system's own monotonic clock, in nanoseconds.
    """

    def __init__(
        self, address: str = "", *, watchdog: float = 0.0, monotonic: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog = watchdog
        self._monotonic = monotonic
        self._alive: IDelayedCall | None = None
        self._failed = False

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] = os.environ) -> "Notifier":
        """The notifier that *environment* asks for. What it says of that is taken out, as it is not for processes
        that are started from here."""
        address, microseconds, process = (
            environment.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
        )
        watchdog = 0.0
        if process in ("", str(os.getpid())):
            with suppress(ValueError):
                watchdog = max(int(microseconds), 0) / 1e6
        return cls(address if address.startswith(("/", "@")) else "", watchdog=watchdog)

    def ready(self, status: str) -> None:
        """The service has started, or has been loaded again.

        :param status: what it does, in a line for people.
        """
        self._say("READY=1", _status(status))

    def reloading(self) -> None:
        """It begins to load its configuration again; `ready` ends that."""
        self._say("RELOADING=1", f"MONOTONIC_USEC={self._monotonic() // 1000}")

    def stopping(self, status: str) -> None:
        """It begins to stop."""
        self._say("STOPPING=1", _status(status))

    def keep_alive(self, reactor: IReactorTime) -> None:
        """Say twice in the time of the watchdog that the service is alive, which it is while *reactor* turns."""
        if self._watchdog and self._address:
            self._say("WATCHDOG=1")
            self._alive = reactor.callLater(self._watchdog / 2, self.keep_alive, reactor)

    def stop(self) -> None:
        """Say nothing any more by oneself."""
        alive, self._alive = self._alive, None
        if alive is not None and alive.active():
            alive.cancel()

    def _say(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
                manager.setblocking(False)
                manager.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            if not self._failed:
                _log.warn("the service manager cannot be told: {error}", error=printable(str(error)))
            self._failed = True
        else:
            self._failed = False


def _status(text: str) -> str:
    return f"STATUS={printable(text)}"

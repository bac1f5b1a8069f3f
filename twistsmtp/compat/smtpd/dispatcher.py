"""What programs know of asyncore's dispatcher, and servers and channels have of it."""

import sys
from typing import Any

from twistsmtp.compat.smtpd.loops import socket_map

__all__ = ["Dispatcher"]


class Dispatcher:
    """A socket that is looked after."""

    debug = False
    connected = False
    accepting = False
    connecting = False
    closing = False
    addr: object = None
    #: Types of `log_info` that are not printed.
    ignore_log_types = frozenset({"warning"})

    def _take_options(
        self, data_size_limit: int | None, map: dict[int, Any] | None, enable_SMTPUTF8: bool, decode_data: bool
    ) -> None:
        """Keep what a server is made with, and each of its channels.

        :raises ValueError: both *enable_SMTPUTF8* and *decode_data*.
        """
        if enable_SMTPUTF8 and decode_data:
            raise ValueError("decode_data and enable_SMTPUTF8 cannot be set to True at the same time")
        self.data_size_limit = data_size_limit
        self.enable_SMTPUTF8 = enable_SMTPUTF8
        self._decode_data = decode_data
        self._map = socket_map if map is None else map

    def readable(self) -> bool:
        """Whether it is to be looked after. Nobody asks; the reactor reads when it can."""
        return True

    def writable(self) -> bool:
        """Whether it has something to send. Nobody asks; the reactor writes when it can."""
        return False

    def handle_error(self) -> None:
        """A method of the program has raised what `sys.exc_info` gives: for programs to override.

        It was logged already, and the client is told that there was an error here; all that is left is what the program
        wants to do about it.
        """

    def log(self, message: object) -> None:
        """Write *message* to the standard error."""
        sys.stderr.write(f"log: {message}\n")

    def log_info(self, message: object, type: str = "info") -> None:
        """Print *message*, unless its *type* is one of `ignore_log_types`."""
        if type not in self.ignore_log_types:
            print(f"{type}: {message}")  # noqa: T201

"""What programs know of asyncore's dispatcher, and servers and channels have of it."""

import sys

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

"""A program that runs for a delivery: in a session of its own, with an end to its time and to what it says."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from shutil import which
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

__all__ = ["GRACE", "OUTPUT_LIMIT", "Run", "leading"]

#: Seconds that a program has to end in when it is told to, and others to let go of its output when it has ended.
GRACE = 2.0

#: Octets that are kept of what a program says.
OUTPUT_LIMIT = 4096

#: What setsid(1) does, where there is none. Python ignores two signals; what it starts is not to.
_SETSID = """\
import os, signal, sys
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
os.setsid()
os.execvp(sys.argv[1], sys.argv[1:])
"""


def leading() -> list[str]:
    """What stands in front of a command to have it lead a session, and with it a group of processes, of its own:
    reactors start programs in the server's."""
    found = which("setsid")
    return [found] if found else [sys.executable, "-I", "-S", "-c", _SETSID]


class Run(ProcessProtocol):
    """A program that runs, and leads a group of processes. What it says on any output is kept together.

    :param reactor: its clock.
    :param timeout: seconds until it is told to end.
    """

    def __init__(self, reactor: Any, timeout: float) -> None:
        self._reactor = reactor
        self._timeout = timeout
        self._timer: Any = None
        self._pid = 0
        self._ended_by = ""
        #: How it ended: its exit status, or what ended it. Who cancels this has it end.
        self.ended: Deferred[int | str] = Deferred(lambda _: self._end("the client has gone"))
        #: Fires when it is gone, whoever waits for it.
        self.gone: Deferred[None] = Deferred()
        #: What it has said, or the beginning of it.
        self.output = bytearray()

    def connectionMade(self) -> None:
        """It has begun."""
        self._pid = self._process.pid
        self._later(self._timeout, lambda: self._end(f"it took more than {self._timeout:g} s"))

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N802, N803 (Twisted's names, as below)
        """It says something."""
        self.output += data[: OUTPUT_LIMIT - len(self.output)]

    def processExited(self, reason: Failure) -> None:  # noqa: N802
        """It has ended; something that it has started may not have, and hold its output still."""
        if self._ended_by:
            self._signal(signal.SIGKILL)
        self._later(GRACE, self._process.loseConnection)

    def processEnded(self, reason: Failure) -> None:  # noqa: N802
        """It has ended, and let go of its output."""
        if self._timer.active():
            self._timer.cancel()
        value: Any = reason.value
        status = self._ended_by or (f"signal {value.signal}" if value.signal else int(value.exitCode))
        if not self.ended.called:
            self.ended.callback(status)
        self.gone.callback(None)

    def _end(self, why: str) -> None:
        """Ask it to end, and all that it has started, and see that it does."""
        if self._process.pid is None:  # it has, and what it left behind is not ours
            self._process.loseConnection()
            return
        self._ended_by = why
        self._signal(signal.SIGTERM)
        self._later(GRACE, lambda: self._signal(signal.SIGKILL))

    def _later(self, seconds: float, step: Callable[[], object]) -> None:
        """Do *step* then, in place of what was to be done before."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._reactor.callLater(seconds, step)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._pid, number)
        except ProcessLookupError:  # there is no such group yet, or any more
            if self._process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(self._pid, number)

    @property
    def _process(self) -> Any:
        return self.transport

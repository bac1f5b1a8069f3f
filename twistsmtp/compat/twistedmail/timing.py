"""How long a client may take: what of ``twisted.protocols.policies.TimeoutMixin`` programs use, and our own limits."""

from collections.abc import Callable
from typing import Any

__all__ = ["Timed"]

#: Seconds between two looks at a connection, whether it has had its time.
SWEEP = 10.0


class Timed:
    """A client may be idle for so long; and how long all else may take is looked at every so often."""

    #: Seconds that a client may be idle; ``None`` for any number.
    timeout: float | None = 600
    #: The same, as `setTimeout` was told.
    timeOut: float | None = None
    _idle_call: Any = None
    _sweeper: Any = None
    #: The engine, where there is a connection.
    _engine: Any = None

    def callLater(self, period: float, func: Callable[[], object]) -> Any:
        """Call *func* in *period* seconds. Programs put that of a `Clock` here."""
        from twisted.internet import reactor

        clock: Any = reactor
        return clock.callLater(period, func)

    def setTimeout(self, period: float | None) -> float | None:
        """Have the client so many seconds from now on; or any number of them, and look no more at what takes its time.

        :returns: how many it had.
        """
        before, self.timeOut = self.timeOut, period
        if period is None:
            _cancel(self._sweeper)
        _cancel(self._idle_call)
        self._idle_call = None
        if period is not None:
            self._idle_call = self.callLater(period, self._was_idle)
        return before

    def resetTimeout(self) -> None:
        """The client was heard."""
        if self._idle_call is not None and self.timeOut is not None:
            self._idle_call.reset(self.timeOut)

    def timeoutConnection(self) -> None:
        """The client has had its time: for a subclass."""
        raise NotImplementedError

    def _was_idle(self) -> None:
        self._idle_call = None
        if self._engine is not None and self._engine.busy:  # it is the server's turn
            self.setTimeout(self.timeOut)
        else:
            self.timeoutConnection()

    def _begin_to_sweep(self) -> None:
        self._sweeper = self.callLater(SWEEP, self._sweep)

    def _sweep(self) -> None:
        self._begin_to_sweep()
        self._engine.sweep(self._engine.seconds())


def _cancel(call: Any) -> None:
    if call is not None and call.active():
        call.cancel()

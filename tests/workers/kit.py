"""What tests of workers share."""

from collections.abc import Callable

from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

__all__ = ["logged_by"]


def logged_by(case: SynchronousTestCase, namespace: str) -> Callable[[], list[str]]:
    """A function that says what was logged there since it was last asked: the level and the text of each."""
    said: list[str] = []

    def observe(event: LogEvent) -> None:
        if event.get("log_namespace") == namespace and "log_failure" not in event:
            said.append(f"{event['log_level'].name} {formatEvent(event)}")

    def take() -> list[str]:
        taken, said[:] = said[:], []
        return taken

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]  # a function does
    case.addCleanup(globalLogPublisher.removeObserver, observe)  # type: ignore[arg-type]  # the same
    return take

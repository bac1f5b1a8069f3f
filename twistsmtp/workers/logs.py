"""The log of all workers, which the parent writes.

A worker makes the lines as one process does, with its number in each. The parent adds them to its own, as many at a
time as have come together. So no line has two workers in it, and there is one file to rotate. Where the log is not ours
to write (``--syslog``, ``twist``), workers send their events, and the parent has them logged as its own.
"""

import json
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any

from twisted.logger import LogLevel, globalLogPublisher

from twistsmtp.log import JSONObserver, TextObserver
from twistsmtp.workers.messages import LOG, frame

__all__ = ["Upwards", "passing_on"]

#: Octets of the log that a worker keeps for a parent that does not take them.
ROOM = 4 * 1024 * 1024

_EVENT = "worker={worker} {line}"
_TAKEN = ("time", "level", "namespace", "message", "traceback")
_LEVELS = {each.name: each for each in LogLevel.iterconstants()}


def passing_on(observer: TextObserver | JSONObserver | None, log_format: str) -> tuple[str, Callable[[str], object]]:
    """How workers are to write their log, and what to do with it.

    :param observer: whose log it is; ``None`` if it is not ours.
    """
    return ("json", _publish) if observer is None else (log_format, observer.lines.write)


def _publish(text: str) -> None:
    for each in text.splitlines():
        said: dict[str, Any] = json.loads(each)
        time, level, namespace, line, traceback = (said.pop(name, None) for name in _TAKEN)
        # Not as "message": Twisted's older log has that for itself.
        said["line"] = line if traceback is None else f"{line}\n{traceback}"
        globalLogPublisher(
            {
                **{key: value for key, value in said.items() if not key.startswith("log_")},
                "log_time": datetime.fromisoformat(time).timestamp(),
                "log_level": _LEVELS.get(level, LogLevel.info),
                "log_namespace": namespace,
                "log_format": _EVENT,
            }
        )


class Upwards:
    """The log of a worker, as a file: what is written goes to the parent.

    It never waits. What a parent that has been stopped does not take is kept as far as there is room, and then lost,
    and the log says how much that was.

    :param send: sends octets.
    """

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self._send = send
        self._waiting: deque[str] = deque()
        self._room = ROOM
        self._lost = 0
        #: Whether the parent takes nothing now.
        self.paused = False

    def write(self, text: str) -> None:
        """Send whole lines."""
        if not self.paused:
            self._send(frame(LOG + text.encode(errors="replace")))
        elif len(text) > self._room:
            self._lost += text.count("\n")
        else:
            self._room -= len(text)
            self._waiting.append(text)

    def flush(self) -> None:
        """Nothing is kept that could be sent."""

    def resume(self) -> int:
        """The parent takes what there is again.

        :returns: how many lines were lost meanwhile.
        """
        self.paused = False
        while self._waiting and not self.paused:
            text = self._waiting.popleft()
            self._room += len(text)
            self.write(text)
        lost = 0
        if not self.paused:
            lost, self._lost = self._lost, 0
        return lost

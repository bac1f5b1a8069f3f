"""Observers that write the log: a line of text for an event, or a JSON object.

An event is one line. Nothing that a client sent can make it two, or reach the terminal as a command: what
is not printable is escaped. Only a traceback takes more lines, in the text, and each of them stands behind a
tab, so that none can be taken for an event.

Twisted's own text observer takes about as long as taking a small message does. So the text is made in the
plainest way here, and in Twisted's where the plain one does not do.
"""

import json
import re
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import repeat, starmap
from time import time as now
from typing import Any, TextIO, cast

from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, formatTime
from twisted.python.failure import Failure
from twisted.python.logfile import BaseLogFile, LogFile
from twisted.python.reflect import safe_repr
from zope.interface import implementer

__all__ = [
    "OBSERVERS",
    "JSONObserver",
    "Lines",
    "TextObserver",
    "logs_by_itself",
    "next_turn",
    "one_line",
    "twistd_observer",
]

#: Calls a function soon.
Soon = Callable[[Callable[[], object]], object]

_INFO = LogLevel.info
#: Keys of `JSONObserver`'s objects that are not fields of the event. Events of Twisted's older log have some
#: of them as fields, which say the same.
_OWN_KEYS = frozenset({"time", "level", "namespace", "message", "traceback"})

#: What Twisted says of the socket that each DNS query has: two lines, and a client may well cost ten queries.
_NOISE = re.compile(r"DNSDatagramProtocol starting on [0-9]+|\(UDP Port [0-9]+ Closed\)")


class Lines:
    """Lines on their way to *file*.

    To write a line and flush it takes a good part of what it takes to accept a small message. So the lines of messages
    and connections, of which a busy server has many at a time, are gathered and written together.

    :param file: where they are written, whatever its encoding; it is flushed.
    :param soon: calls a function soon: when the reactor has dealt with all the connections that had something to say,
        for instance. Without it nothing is gathered.
    """

    def __init__(self, file: TextIO | BaseLogFile, soon: Soon | None = None) -> None:
        self._put, self._flush = file.write, file.flush
        self._soon = soon
        self._waiting: deque[str] = deque()

    def gather(self, line: str) -> None:
        """Write *line* soon, behind those that were there before it."""
        self._waiting.append(line)
        if self._soon is None:
            self.write_out()
        elif len(self._waiting) == 1:
            self._soon(self.write_out)

    def write(self, line: str) -> None:
        """Write *line* now, and all that wait."""
        self._waiting.append(line)
        self.write_out()

    def write_out(self) -> None:
        """Write all that wait."""
        lines: list[str] = []
        with suppress(IndexError):  # one by one, as a signal handler or another thread may have lines to write, too
            lines.extend(starmap(self._waiting.popleft, repeat(())))
        text = "".join(lines)
        if text:
            try:
                self._put(text)
            except UnicodeEncodeError:
                self._put(text.encode("ascii", "backslashreplace").decode("ascii"))
            self._flush()


@implementer(ILogObserver)
class TextObserver:
    """Writes events as text: ``2026-11-21T23:14:12+0000 [twistsmtp.message] ...``.

    The level stands behind the namespace, unless it is ``info``.

    :param file: where to write; it is flushed.
    :param soon: calls a function soon; see `Lines`.
    :param worker: the number of this process, if it is one of several: it stands behind the time.
    """

    def __init__(self, file: TextIO | BaseLogFile, soon: Soon | None = None, worker: int | None = None) -> None:
        self.lines = lines = Lines(file, soon)
        self._write, self._gather = lines.write, lines.gather
        self._mark = "" if worker is None else f" worker={worker}"
        self._second = -1
        self._stamp = ""

    def __call__(self, event: LogEvent) -> None:
        """Write *event*, unless it says nothing."""
        ours = event.get("log_render")
        if ours is not None:  # of `twistsmtp.events`: its fields are printable
            self._gather(f"{self._time(event)} [{event['log_namespace']}] {ours(event)}\n")
            return
        text = _text(event)
        if "log_failure" in event:
            text += "\n" + _traceback(event["log_failure"])
            text = text.strip("\n").replace("\n", "\n\t")
        if text:
            self._write(f"{self._time(event)} [{_system(event)}] {text}\n")

    def _time(self, event: LogEvent) -> str:
        """The time of *event* in this place. Making it takes longer than all the rest: once a second."""
        time = event.get("log_time")
        if time is None:
            return f"-{self._mark}"
        second = int(time)
        if second != self._second:
            self._stamp = formatTime(second) + self._mark
            self._second = second
        return self._stamp


@implementer(ILogObserver)
class JSONObserver:
    """Writes events as JSON, one object a line.

    An object has ``time`` (ISO 8601, UTC), ``level``, ``namespace``, ``message`` (the text for people), the
    event's own fields by name, and ``traceback`` where there is one. What JSON has no form for is described.

    :param file: where to write; it is flushed.
    :param soon: calls a function soon; see `Lines`.
    :param worker: the number of this process, if it is one of several: each object has it as ``worker``.
    """

    def __init__(self, file: TextIO | BaseLogFile, soon: Soon | None = None, worker: int | None = None) -> None:
        self.lines = Lines(file, soon)
        self._own = {} if worker is None else {"worker": worker}

    def __call__(self, event: LogEvent) -> None:
        """Write *event*, unless it says nothing."""
        text = _text(event)
        failure = event.get("log_failure")
        if not text and failure is None:
            return
        time = datetime.fromtimestamp(event.get("log_time") or now(), UTC)
        entry: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": getattr(event.get("log_level"), "name", None),
            "namespace": event.get("log_system") or event.get("log_namespace"),
            "message": text,
            **self._own,
        }
        if failure is not None:
            entry["traceback"] = _traceback(failure)
        names = [key for key in event if not key.startswith("log_") and key not in (_OWN_KEYS | self._own.keys())]
        entry |= {name: event[name] for name in names}
        put = self.lines.gather if "log_render" in event else self.lines.write
        put(_json(entry) + "\n")


#: The observers by the names that ``--log-format`` has for them.
OBSERVERS: dict[str, type[TextObserver] | type[JSONObserver]] = {
    "text": TextObserver,
    "json": JSONObserver,
}

_encode = json.JSONEncoder(default=safe_repr, allow_nan=False).encode


def logs_by_itself(parent: Mapping[str, Any]) -> str | None:
    """Why the log is not ours to write under the options of twistd or twist, or ``None`` if it is."""
    if "fileLogObserverFactory" in parent:
        return "the log is twist's own: twist --log-format=... smtp"
    option = next((name for name in ("logger", "syslog") if parent.get(name)), None)
    return option and f"the log is written as twistd's --{option} says"


def twistd_observer(parent: Mapping[str, Any], log_format: str) -> TextObserver | JSONObserver | None:
    """The observer for the log that twistd would write, in the same place; ``None`` to leave it to twistd.

    :param parent: the options of twistd.
    :param log_format: one of `OBSERVERS`.
    :raises OSError: the file cannot be opened.
    """
    daemon = not parent.get("nodaemon")
    path = parent.get("logfile") or ("twistd.log" if daemon else "-")
    if logs_by_itself(parent) or (daemon and path == "-"):  # the latter it refuses
        return None
    make = OBSERVERS[log_format]
    return make(sys.stdout if path == "-" else _rotating(path), next_turn)


def next_turn(function: Callable[[], object]) -> None:
    """Have the reactor call *function* when it has dealt with all that it has now."""
    from twisted.internet import reactor

    cast(IReactorTime, reactor).callLater(0, function)


def _rotating(path: str) -> LogFile:
    """A log file that rotates as twistd's does: when it has grown, and on SIGUSR1."""
    file = cast(LogFile, LogFile.fromFullPath(path))

    def rotate(*_: object) -> None:
        from twisted.internet import reactor

        cast(IReactorFromThreads, reactor).callFromThread(file.rotate)

    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, rotate)
    return file


def _text(event: LogEvent) -> str:
    """What *event* says, in one line."""
    try:
        text: str = event["log_format"].format_map(event)
    except Exception:
        # Formats with calls in them, events that were kept as text, those that say nothing, and broken ones.
        text = formatEvent(event)
    if event.get("log_namespace") == "log_legacy" and _NOISE.fullmatch(text):
        return ""
    return text if text.isprintable() else one_line(text)


def one_line(text: str) -> str:
    """*text* with visible escapes for line breaks, control characters and what else is not printable."""
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


def _system(event: LogEvent) -> str:
    """Where *event* comes from, and how grave it is if it is more or less than information."""
    system = event.get("log_system")
    if system is not None:
        return one_line(str(system))
    namespace = event.get("log_namespace", "-")
    level = event.get("log_level", _INFO)
    return namespace if level is _INFO else f"{namespace}#{level.name}"


def _traceback(failure: Failure) -> str:
    try:
        lines = failure.getTraceback().splitlines()
    except Exception as error:
        lines = [f"the traceback cannot be had: {safe_repr(error)}"]
    return "\n".join(map(one_line, lines))


def _json(entry: dict[str, Any]) -> str:
    try:
        return _encode(entry)
    except (TypeError, ValueError, RecursionError):
        plain = (str, int, type(None))
        return _encode({key: each if isinstance(each, plain) else safe_repr(each) for key, each in entry.items()})

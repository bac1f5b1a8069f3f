"""The log: what a line is, whatever the event."""

import io
import json
import re
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor
from twisted.internet.udp import Port
from twisted.logger import ILogObserver, Logger, LogLevel, formatEvent, formatTime, globalLogPublisher
from twisted.names.dns import DNSDatagramProtocol
from twisted.python import log as legacy
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twistsmtp.log import OBSERVERS, JSONObserver, Lines, TextObserver, logs_by_itself, one_line, twistd_observer

#: 2026-11-21 23:14:12.25 in UTC.
TIME = 1795302852.25

#: As the server's own events are.
MESSAGE = {
    "log_namespace": "twistsmtp.message",
    "log_level": LogLevel.info,
    "log_format": "{id} from=<{sender}> size={size} in {duration:.3f}s",
    "log_time": TIME,
    "id": "6b-1.1",
    "sender": "a@example.org",
    "size": 1024,
    "duration": 0.0149,
}


def failure() -> Failure:
    try:
        raise RuntimeError("one\ntwo\x1b[31m")
    except RuntimeError:
        return Failure()


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("cannot be shown")


class File(io.StringIO):
    """Counts how often it is flushed, and keeps what each write wrote."""

    flushes = 0

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return super().write(text)

    def flush(self) -> None:
        self.flushes += 1
        super().flush()


def ended(id: str) -> dict[str, Any]:
    """The end of a message, as `twistsmtp.events` has it."""
    return MESSAGE | {"id": id, "log_render": MESSAGE["log_format"].format_map}


def text_of(event: dict[str, Any]) -> str:
    file = io.StringIO()
    TextObserver(file)(event)
    return file.getvalue()


def json_of(event: dict[str, Any]) -> Any:
    file = io.StringIO()
    JSONObserver(file)(event)
    (line,) = file.getvalue().splitlines()
    return json.loads(line)


class TextTests(SynchronousTestCase):
    """Events as text."""

    def test_provides(self) -> None:
        verifyObject(ILogObserver, TextObserver(io.StringIO()))

    def test_line(self) -> None:
        expected = f"{formatTime(TIME)} [twistsmtp.message] 6b-1.1 from=<a@example.org> size=1024 in 0.015s\n"
        self.assertEqual(text_of(MESSAGE), expected)
        self.assertRegex(expected, r"\A2026-11-2\dT\d\d:\d\d:12[+-]\d{4} ")

    def test_level(self) -> None:
        self.assertIn(" [twistsmtp.message#warn] ", text_of(MESSAGE | {"log_level": LogLevel.warn}))

    def test_system(self) -> None:
        """What Twisted's older log has in the place of a namespace."""
        self.assertIn(" [HTTPChannel,1,192.0.2.1] ", text_of(MESSAGE | {"log_system": "HTTPChannel,1,192.0.2.1"}))

    def test_time_of_each_second(self) -> None:
        file = io.StringIO()
        observer = TextObserver(file)
        times = [TIME, TIME + 0.5, TIME + 1, TIME]
        for time in times:
            observer(MESSAGE | {"log_time": time})
        self.assertEqual(
            [line.split()[0] for line in file.getvalue().splitlines()], [formatTime(time) for time in times]
        )

    def test_no_time(self) -> None:
        self.assertEqual(text_of({"log_format": "hello"}), "- [-] hello\n")

    def test_says_nothing(self) -> None:
        self.assertEqual(text_of({"log_time": TIME}), "")
        self.assertEqual(text_of({"log_format": "", "log_time": TIME}), "")

    def test_flushed(self) -> None:
        file = File()
        observer = TextObserver(file)
        observer(MESSAGE)
        observer(MESSAGE)
        self.assertEqual(file.flushes, 2)

    def test_calls_in_the_format(self) -> None:
        """Twisted's own way of formatting, which plain formatting does not know."""
        self.assertIn(
            "] up ABC x\n", text_of({"log_format": "up {word.upper()} {call()}", "word": "abc", "call": lambda: "x"})
        )

    def test_flattened(self) -> None:
        """Events that were kept as JSON and come back."""
        event = {"log_format": "{a}", "log_flattened": {"a!:": "kept"}}
        self.assertIn(formatEvent(event), text_of(event))

    def test_broken_format(self) -> None:
        self.assertIn("Unable to format event", text_of({"log_format": "{missing}"}))
        self.assertEqual(text_of({"log_format": "{missing}"}).count("\n"), 1)

    def test_legacy(self) -> None:
        file = io.StringIO()
        observer = TextObserver(file)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        legacy.msg("of the\nolder log", system="old")
        self.assertIn(" [old] of the\\nolder log\n", file.getvalue())

    def test_sockets_of_queries(self) -> None:
        """What Twisted says of each is not written, nor the end of another socket of UDP, which is worded alike."""
        file = io.StringIO()
        observer = TextObserver(file)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        for protocol in DNSDatagramProtocol(None), DatagramProtocol():
            protocol.noisy = False  # as `twistsmtp.policy.dns` has it
            port = Port(0, protocol, "127.0.0.1", reactor=MemoryReactor())
            port.startListening()
            port.connectionLost()
        self.assertRegex(file.getvalue(), r"\A\S+ \[-\] DatagramProtocol starting on [0-9]+\n\Z")

    def test_traceback(self) -> None:
        text = text_of(
            {"log_format": "it failed", "log_time": TIME, "log_level": LogLevel.critical, "log_failure": failure()}
        )
        first, *rest = text.splitlines()
        self.assertTrue(first.endswith(" [-#critical] it failed"))
        self.assertIn("\tTraceback (most recent call last):", rest)
        for line in rest:
            self.assertTrue(line.startswith("\t"), line)
        self.assertNotIn("\x1b", text)

    def test_traceback_alone(self) -> None:
        self.assertTrue(text_of({"log_failure": failure()}).startswith("- [-] Traceback"))

    def test_narrow_encoding(self) -> None:
        octets = io.BytesIO()
        file = io.TextIOWrapper(octets, encoding="ascii")
        TextObserver(file)(MESSAGE | {"sender": "ü@example.org"})
        self.assertIn(b"from=<\\xfc@example.org>", octets.getvalue())

    @given(st.text())
    def test_always_one_line(self, text: str) -> None:
        line = text_of(MESSAGE | {"sender": text})
        self.assertTrue(line.endswith("\n"))
        self.assertTrue(line[:-1].isprintable())

    @given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers() | st.text() | st.floats() | st.none()))
    def test_as_twisted_formats(self, fields: dict[str, Any]) -> None:
        event = {"log_format": "{a} {b!r} {c:>9}", **fields}
        self.assertEqual(text_of(event), f"- [-] {one_line(formatEvent(event))}\n")


class JSONTests(SynchronousTestCase):
    """Events as JSON."""

    def test_provides(self) -> None:
        verifyObject(ILogObserver, JSONObserver(io.StringIO()))

    def test_object(self) -> None:
        self.assertEqual(
            json_of(MESSAGE),
            {
                "time": "2026-11-21T23:14:12.250+00:00",
                "level": "info",
                "namespace": "twistsmtp.message",
                "message": "6b-1.1 from=<a@example.org> size=1024 in 0.015s",
                "id": "6b-1.1",
                "sender": "a@example.org",
                "size": 1024,
                "duration": 0.0149,
            },
        )

    def test_now(self) -> None:
        """An event without a time has that of its writing."""
        self.assertIsNotNone(datetime.fromisoformat(json_of({"log_format": "hello"})["time"]))

    def test_says_nothing(self) -> None:
        file = io.StringIO()
        JSONObserver(file)({"log_time": TIME})
        self.assertEqual(file.getvalue(), "")

    def test_own_keys_win(self) -> None:
        entry = json_of(MESSAGE | {"time": "then", "message": ("a", "b"), "level": 7})
        self.assertEqual(entry["time"], "2026-11-21T23:14:12.250+00:00")
        self.assertEqual(entry["level"], "info")

    def test_traceback(self) -> None:
        entry = json_of({"log_format": "it failed", "log_failure": failure()})
        self.assertEqual(entry["message"], "it failed")
        self.assertTrue(entry["traceback"].startswith("Traceback (most recent call last):\n"))
        self.assertIn("RuntimeError: one", entry["traceback"])

    def test_what_json_has_no_form_for(self) -> None:
        loop: list[object] = []
        loop.append(loop)
        fields = {
            "set": {1},
            "octets": b"\xff",
            "nan": float("nan"),
            "loop": loop,
            "keys": {(1, 2): 3},
            "bad": Unshowable(),
        }
        for name, value in fields.items():
            entry = json_of(MESSAGE | {name: value})
            self.assertIsInstance(entry[name], str)
            self.assertEqual(entry["size"], 1024)

    @given(
        st.dictionaries(
            st.text(max_size=5).filter(lambda name: not name.startswith("log_")),
            st.recursive(
                st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
                lambda children: st.lists(children) | st.dictionaries(st.integers() | st.text(), children),
                max_leaves=4,
            ),
            max_size=4,
        )
    )
    def test_always_one_object(self, fields: dict[str, Any]) -> None:
        self.assertIsInstance(json_of(fields | {"log_format": "hello"}), dict)


class GatheredTests(SynchronousTestCase):
    """Lines that are written together."""

    def setUp(self) -> None:
        self.file = File()
        self.soon: list[Callable[[], object]] = []

    def ids(self) -> list[str]:
        """Of what was written, in order."""
        written: list[str] = []
        for line in self.file.getvalue().splitlines():
            written += re.findall(r"(\d)-id", line)[:1]  # JSON has it twice
        return written

    def test_in_one_write(self) -> None:
        for make in OBSERVERS.values():
            self.setUp()
            observer = make(self.file, self.soon.append)
            for n in range(3):
                observer(ended(f"{n}-id"))
            self.assertEqual((self.file.writes, self.file.flushes), ([], 0))
            [write_out] = self.soon
            write_out()
            self.assertEqual((len(self.file.writes), self.file.flushes), (1, 1))
            self.assertEqual(self.file.getvalue().count("\n"), 3)

    def test_as_they_would_be_alone(self) -> None:
        alone = File()
        for make in OBSERVERS.values():
            self.setUp()
            one, many = make(alone, None), make(self.file, self.soon.append)
            for observer in (one, many):
                for n in range(3):
                    observer(ended(f"{n}-id"))
            self.soon[0]()
            self.assertEqual("".join(alone.writes[-3:]), self.file.getvalue())

    def test_each_time_anew(self) -> None:
        observer = TextObserver(self.file, self.soon.append)
        for n in range(3):
            observer(ended(f"{n}-id"))
            self.assertEqual(len(self.soon), n + 1)
            self.soon[n]()
        self.assertEqual(self.ids(), ["0", "1", "2"])

    def test_all_else_is_written_at_once_and_in_order(self) -> None:
        for make in OBSERVERS.values():
            self.setUp()
            observer = make(self.file, self.soon.append)
            for level in (LogLevel.info, LogLevel.warn, LogLevel.critical):
                observer(ended("1-id"))
                observer({"log_format": "2-id", "log_level": level})
                self.assertEqual(self.ids()[-2:], ["1", "2"])
            self.assertEqual(len(self.file.writes), 3)
            for write_out in self.soon:  # which now has nothing to do
                write_out()
            self.assertEqual((len(self.file.writes), self.file.flushes), (3, 3))

    def test_without_anybody_who_calls_soon(self) -> None:
        observer = TextObserver(self.file)
        observer(ended("1-id"))
        self.assertEqual((self.ids(), self.file.flushes), (["1"], 1))

    def test_narrow_encoding(self) -> None:
        octets = io.BytesIO()
        observer = TextObserver(io.TextIOWrapper(octets, encoding="ascii"), self.soon.append)
        for sender in ("a@example.org", "\xfc@example.org"):
            observer(ended("1-id") | {"sender": sender})
        self.soon[0]()
        self.assertIn(b"from=<a@example.org>", octets.getvalue())
        self.assertIn(b"from=<\\xfc@example.org>", octets.getvalue())

    def test_interrupted_by_a_line_at_once(self) -> None:
        """A signal handler that logs comes between any two steps: no line is lost, and none is written twice."""
        for step in range(1, 30):
            self.setUp()
            observer = TextObserver(self.file, self.soon.append)
            left = step

            def trace(frame: Any, event: str, argument: object, observer: TextObserver = observer) -> Any:
                nonlocal left
                if frame.f_code is Lines.write_out.__code__:
                    frame.f_trace_opcodes = True
                    left -= event == "opcode"
                    if left == 0:
                        left = -1
                        observer({"log_format": "9-id"})
                return trace

            for n in range(3):
                observer(ended(f"{n}-id"))
            before = sys.gettrace()
            sys.settrace(trace)
            try:
                self.soon[0]()
            finally:
                sys.settrace(before)
            self.assertEqual(sorted(self.ids()), ["0", "1", "2", "9"], step)


class TwistdTests(SynchronousTestCase):
    """Where the log goes, and whether it is ours."""

    def setUp(self) -> None:
        before = signal.getsignal(signal.SIGUSR1)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)

    def written(self, parent: dict[str, Any], log_format: str = "text") -> str:
        file = io.StringIO()
        self.patch(sys, "stdout", file)
        observer = twistd_observer(parent, log_format)
        assert observer is not None
        observer(MESSAGE)
        return file.getvalue()

    def test_to_standard_output(self) -> None:
        for logfile in (None, "", "-"):
            self.assertIn("[twistsmtp.message]", self.written({"nodaemon": 1, "logfile": logfile}))

    def test_gathers_for_a_turn_of_the_reactor(self) -> None:
        file, clock = File(), Clock()
        self.patch(sys, "stdout", file)
        self.patch(reactor, "callLater", clock.callLater)
        observer = twistd_observer({"nodaemon": 1}, "text")
        assert observer is not None
        observer(ended("1-id"))
        observer(ended("2-id"))
        self.assertEqual(file.writes, [])
        clock.advance(0)
        self.assertEqual(len(file.writes), 1)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_json(self) -> None:
        self.assertEqual(json.loads(self.written({"nodaemon": 1}, "json"))["id"], "6b-1.1")

    def test_to_a_file(self) -> None:
        path = self.mktemp()
        self.assertEqual(self.written({"nodaemon": 1, "logfile": path}), "")
        with open(path) as file:
            self.assertIn("[twistsmtp.message]", file.read())

    def test_daemon(self) -> None:
        """twistd's own default for a daemon; and standard output, which it refuses a daemon."""
        opened: list[str] = []

        def from_full_path(path: str) -> Any:
            opened.append(path)
            return original(self.mktemp())

        original = LogFile.fromFullPath
        self.patch(LogFile, "fromFullPath", from_full_path)
        self.assertEqual(self.written({}), "")
        self.assertEqual(opened, ["twistd.log"])
        self.assertIsNone(twistd_observer({"logfile": "-"}, "text"))

    def test_rotates_on_a_signal(self) -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        self.written({"nodaemon": 1, "logfile": self.mktemp()})
        self.assertTrue(callable(signal.getsignal(signal.SIGUSR1)))

    def test_leaves_a_handler_alone(self) -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        self.written({"nodaemon": 1, "logfile": self.mktemp()})
        self.assertEqual(signal.getsignal(signal.SIGUSR1), signal.SIG_IGN)

    def test_cannot_be_opened(self) -> None:
        path = f"{self.mktemp()}/missing"
        self.assertRaises(OSError, twistd_observer, {"nodaemon": 1, "logfile": path}, "text")

    def test_others_win(self) -> None:
        for parent in ({"syslog": 1}, {"logger": object()}, {"fileLogObserverFactory": object()}):
            self.assertIsNone(twistd_observer({"nodaemon": 1, **parent}, "json"))
            self.assertIn(next(iter(parent)) if "file" not in str(parent) else "twist", logs_by_itself(parent) or "")

    def test_ours(self) -> None:
        self.assertIsNone(logs_by_itself({"syslog": 0, "logger": None, "logfile": "x"}))


class LoggerTests(SynchronousTestCase):
    """With Twisted's loggers in front."""

    def test_every_observer(self) -> None:
        for make in OBSERVERS.values():
            file = io.StringIO()
            log = Logger(namespace="mine", observer=make(file, None))
            log.info("hello {who}", who="world")
            log.failure("it failed", failure())
            self.assertIn("hello world", file.getvalue())
            self.assertIn("Traceback", file.getvalue())
